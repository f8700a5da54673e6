"""An encoder of spoken words, by the network in the package efficientword-net."""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.encoders.sound import SoundEncoder
from quickstudy.encoders.sound_files import RATE
from quickstudy.errors import MissingError, require

__all__ = ["speech_resnet50"]

PACKAGE = "efficientword-net"

MODEL = "eff_word_net/models/resnet_50_arc/slim_93%_accuracy_72.7390%.onnx"
"""In the package."""

INSTALL = f"pip install --no-deps {PACKAGE}"
"""Without its dependencies, which record from a microphone and publish packages."""

SPEECH_WINDOW, SPEECH_HOP = RATE * 3 // 2, RATE * 3 // 4
"""Samples that the network takes, and from one such window to the next."""

FRAME, FRAME_HOP, N_FFT, N_BANDS = 400, 160, 512, 64

LEAST_ENERGY = 2.0**-52
"""Stands for an energy of 0, which has no logarithm."""

WORDS = (
    "words of the Multilingual Spoken Words Corpus, cut out of Common Voice: a score on words of "
    "that corpus is not one on unseen classes"
)


def speech_resnet50() -> SoundEncoder:
    """A ResNet-50 for spoken words (d = 2048, of length one), from the package efficientword-net.

    It was trained with the ArcFace loss to tell words of the Multilingual Spoken Words Corpus
    apart, so that a few recordings define a new one. It takes 1.5 s at once: shorter sounds are
    padded with silence, the sound in the middle, and longer ones cut into windows of 1.5 s every
    0.75 s, whose embeddings are averaged.

    Chidhambararajan et al., "EfficientWord-Net: An Open Source Hotword Detection Engine Based on
    Few-Shot Learning", Journal of Information & Knowledge Management 2022, arXiv:2111.00379; the
    network is that of version 1.0 of the package, later than the paper. Only the file of the
    network is read from the package; none of its code is run.

    The extra "speech" has what runs the network. Install the package beside it, without its
    dependencies, one of which needs a C compiler and PortAudio:
    `pip install --no-deps efficientword-net`.

    Raises:
        MissingError: Without the extra "speech" or the package.
    """
    require("onnxruntime", "speech")
    _model_file()
    return SoundEncoder(_embed, "speech_resnet50", distribution(PACKAGE).version, seen=WORDS)


def _model_file() -> Path:
    try:
        path = Path(str(distribution(PACKAGE).locate_file(MODEL)))
    except PackageNotFoundError:
        raise MissingError(f"expected {PACKAGE}: install it with {INSTALL}") from None
    if not path.is_file():
        raise MissingError(f"expected a network at {path}: install it with {INSTALL}")
    return path


@cache
def _network() -> Any:
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(
        str(_model_file()), options, providers=["CPUExecutionProvider"]
    )


def _embed(sounds: list[Tensor]) -> Tensor:
    return torch.stack([_embed_one(sound) for sound in sounds])


def _embed_one(sound: Tensor) -> Tensor:
    network = _network()
    name = network.get_inputs()[0].name
    embeddings = []
    for window in _windows(sound):  # the network takes one at a time
        frames = log_energies(window)[None, None].numpy()
        embeddings.append(torch.from_numpy(network.run(None, {name: frames})[0][0]))
    return F.normalize(torch.stack(embeddings).mean(0), dim=0)


def _windows(sound: Tensor) -> Tensor:
    """Windows of 1.5 s that cover a sound, (windows, samples): evenly spaced, 0.75 s at most."""
    missing = max(0, SPEECH_WINDOW - len(sound))
    sound = F.pad(sound, (missing // 2, missing - missing // 2))
    last = len(sound) - SPEECH_WINDOW
    starts = torch.linspace(0, last, 1 + math.ceil(last / SPEECH_HOP)).long()
    return torch.stack([sound[start : start + SPEECH_WINDOW] for start in starts])


def log_energies(sound: Tensor) -> Tensor:
    """Log energies in 64 mel bands of each frame of a waveform (samples,), as the network expects.

    The frames, of 25 ms every 10 ms, are not windowed, and the last is padded with zeros.
    """
    missing = -(len(sound) - FRAME) % FRAME_HOP
    frames = F.pad(sound.double(), (0, missing)).unfold(0, FRAME, FRAME_HOP)
    power = torch.fft.rfft(frames, n=N_FFT).abs().square() / N_FFT
    energies = power @ _filters().T  # (frames, 64)
    return energies.where(energies > 0, LEAST_ENERGY).log().float()


@cache
def _filters() -> Tensor:
    """Triangles evenly spaced in mel, (64, frequencies), their corners rounded down to frequencies
    of the Fourier transform. Low ones may coincide, and a triangle then lacks a side.
    """
    top = 2595 * math.log10(1 + RATE / 2 / 700)
    mel = torch.linspace(0, top, N_BANDS + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (mel / 2595) - 1)
    corners = ((N_FFT + 1) * hertz / RATE).floor()[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    frequency = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)
    rises = (low <= frequency) & (frequency < middle)
    falls = (middle <= frequency) & (frequency < high)
    rising = ((frequency - low) / (middle - low)).where(rises, 0.0)
    falling = ((high - frequency) / (high - middle)).where(falls, 0.0)
    return rising + falling
