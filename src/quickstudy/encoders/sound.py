"""Encoders of sounds, and log-mel features, which need no pretraining.

Shapes: n sounds, f frames, m mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.encoders.encoder import Encoder
from quickstudy.encoders.sound_files import RATE, read_sounds

__all__ = ["N_LOG_MEL_FEATURES", "SoundEncoder", "log_mel", "log_mel_features"]

N_BANDS = 64

WINDOW, HOP, N_FFT = RATE * 25 // 1000, RATE * 10 // 1000, 1024
"""Samples of a window and from one to the next, and points of its Fourier transform: enough that
each band holds one."""

FLOOR = 0.1
"""Energy added to each band; white noise as loud as the sound has about 1 in each frequency of a
band. Of 1e-6 to 0.1, this was best for words in noise of varying loudness, by synthetic voices."""

QUANTILES = (0.1, 0.5, 0.9)

PARTS, COARSE_BANDS = 8, 32

N_LOG_MEL_FEATURES = (3 + len(QUANTILES)) * N_BANDS + PARTS * COARSE_BANDS


class SoundEncoder(Encoder):
    """Embed sounds, given as paths or as samples with their rate; see `Encoder` for the arguments.

    `embed` maps a list of waveforms, each (samples,) at 16 kHz, to embeddings. The cache knows a
    sound by its waveform, so a file that changes is embedded anew.
    """

    def __call__(
        self, inputs: Sequence[Any] | NDArray[Any] | Tensor, rate: int | None = None
    ) -> Tensor:
        """Embed n sounds: float32 of shape (n, d), on the CPU.

        Args:
            inputs, rate: As of `read_sounds`.

        Raises:
            UsageError, MissingError, DataError: As of `read_sounds`.
        """
        return super().__call__(read_sounds(inputs, rate))


def log_mel() -> SoundEncoder:
    """Statistics of a sound's log-mel spectrogram (d = 640), see `log_mel_features`.

    Nothing is pretrained, so sounds of any kind are alike to it: speech, machines, animals.

    Example:
        >>> times = torch.arange(8000) / 16_000
        >>> tones = [((2 * math.pi * pitch * times).sin(), 16_000) for pitch in (220, 440)]
        >>> log_mel()(tones).shape
        torch.Size([2, 640])
    """
    return SoundEncoder(_embed, "log_mel", "1")


def _embed(sounds: list[Tensor]) -> Tensor:
    return torch.stack([log_mel_features(sound) for sound in sounds])


def log_mel_features(sound: Tensor) -> Tensor:
    """Features of a waveform (samples,) at 16 kHz: float32 of shape (640,).

    The waveform is brought to mean 0 and variance 1, so loudness does not matter. Its spectrogram
    has 64 mel bands, by Hann windows of 25 ms every 10 ms. The features are, for each band, the
    mean over time of its log energy, the standard deviation, the mean absolute difference from one
    frame to the next, and the 10th, 50th and 90th percentile; then the mean log energies of 8 equal
    parts of the sound in 32 bands.

    Example:
        >>> log_mel_features(torch.arange(8000.0).sin()).shape
        torch.Size([640])
    """
    spectrogram = log_mel_spectrogram(sound)  # (f, m)
    steps = spectrogram.diff(dim=0).abs().sum(0) / max(1, len(spectrogram) - 1)
    quantiles = spectrogram.quantile(torch.tensor(QUANTILES), dim=0)  # (3, m)
    coarse = F.adaptive_avg_pool2d(spectrogram[None], (PARTS, COARSE_BANDS))
    return torch.cat(
        [
            spectrogram.mean(0),
            spectrogram.std(0, correction=0),
            steps,
            quantiles.flatten(),
            coarse.flatten(),
        ]
    )


def log_mel_spectrogram(sound: Tensor) -> Tensor:
    """Log energies of 64 mel bands in each frame of a waveform (samples,), (f, m)."""
    sound = sound.double()
    sound = ((sound - sound.mean()) / sound.std(correction=0)).float()
    window = torch.hann_window(WINDOW)
    frames = sound.unfold(0, WINDOW, HOP) * window  # (f, samples of a window)
    power = torch.fft.rfft(frames, n=N_FFT).abs().square() / window.square().sum()
    return (power @ _mel_filters() + FLOOR).log()


@cache
def _mel_filters() -> Tensor:
    """Triangles of height 1, evenly spaced in mel = 2595 log10(1 + Hz / 700), (frequencies, m)."""
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    mel = torch.linspace(0, top, N_BANDS + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mel / 2595) - 1)  # Hz
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    frequencies = torch.linspace(0, RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)[:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return torch.minimum(rising, falling).clamp_min(0).float()
