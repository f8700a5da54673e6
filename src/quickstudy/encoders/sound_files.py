"""Sounds as waveforms: read from files or arrays, mixed down to one channel at 16 kHz."""

from __future__ import annotations

import os
import warnings
import wave
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.errors import DataError, MissingError, UsageError, require

__all__ = ["RATE", "SOUND_SUFFIXES", "read_sounds"]

RATE = 16_000
"""Samples a second of what is read."""

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")
"""How the names of the files that are read end."""

MOST_SECONDS = 60
"""Of a sound; what follows is left out."""

LEAST_SECONDS = 0.025
"""Of a sound: a window of its spectrum."""

RATES = (1_000, 768_000)
"""The lowest and highest sampling rate that is read."""

UNKNOWN_BYTES = 0x7FFF0000
"""From this size in its header, a wav was written into a pipe, before its size was known."""

DTYPES = {1: "u1", 2: "<i2", 3: "<i4", 4: "<i4"}
"""Of the samples of a wav, by their bytes."""


@dataclass(frozen=True)
class _Recording:
    """A sound as it was given: samples (n, channels), at most a minute of them."""

    samples: NDArray[Any]
    rate: int
    name: str
    is_cut: bool = False

    @property
    def changes(self) -> list[str]:
        """What is done to it, for a warning."""
        done = {
            f"cut off after {MOST_SECONDS} s": self.is_cut,
            "mixed down to one channel": self.samples.shape[1] > 1,
            f"resampled to {RATE} Hz": self.rate != RATE,
        }
        return [change for change, is_done in done.items() if is_done]


def read_sounds(
    examples: Sequence[Any] | NDArray[Any] | Tensor, rate: int | None = None
) -> list[Tensor]:
    """Read sounds: each as float32 of shape (samples,), mono, at 16 kHz, at most a minute.

    Channels are averaged. One warning a call counts the sounds that were resampled, mixed down or
    cut off after a minute. A `.wav` of whole numbers is read without any extra; a `.wav` of another
    kind, `.flac`, `.ogg`, `.opus`, `.mp3` and `.aiff` need the extra "sound".

    Args:
        examples: Paths of files of these kinds, or pairs of samples and their rate in Hz, or,
            with `rate`, samples. Samples have shape (n,), (n, channels) or (channels, n): the
            shorter side is the channels. Whole numbers are scaled to -1..1 by the range of their
            type.
        rate: Of all samples that are given without one.

    Raises:
        UsageError: If there is no sound, one instead of a list, or samples without a rate.
        MissingError: If a path names no file, or without the extra "sound" if it is needed.
        DataError: If a sound is empty, shorter than 25 ms, cut short, constant, or not of finite
            numbers, or a file cannot be read; names the first.

    Example:
        >>> tone = np.sin(np.arange(8000) / 10)
        >>> [sound.shape for sound in read_sounds([(tone, 16_000), (tone[:4000], 16_000)])]
        [torch.Size([8000]), torch.Size([4000])]
    """
    if isinstance(examples, str | bytes | os.PathLike) or not len(examples):
        raise UsageError(f"expected a list of one sound or more, got {examples!r:.80}")
    sounds, changes = [], Counter()
    for i, one in enumerate(examples):
        recording = _read(one, rate, i)
        sounds.append(_mono(recording))
        changes.update(recording.changes)
    if changes:
        counts = ", ".join(f"{changes[change]} {change}" for change in sorted(changes))
        warnings.warn(f"of {len(sounds)} sounds: {counts}", stacklevel=2)
    return sounds


def _read(one: Any, rate: int | None, number: int) -> _Recording:
    if isinstance(one, str | os.PathLike):
        return _read_file(Path(one))
    name = f"sound {number}"
    if isinstance(one, tuple) and len(one) == 2 and np.ndim(one[1]) == 0:
        one, rate = one
    if rate is None:
        raise UsageError(
            f"expected a path or a pair (samples, rate) as {name}, got {type(one).__name__}: give "
            "the sampling rate in Hz beside the samples"
        )
    rate = _checked_rate(rate, name)
    try:
        samples = np.asarray(one)
    except ValueError:
        raise DataError(f"expected samples, got rows of several lengths as {name}") from None
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf":
        raise DataError(
            f"expected samples of shape (n,) or (n, channels), got shape {samples.shape} of "
            f"{samples.dtype} as {name}"
        )
    if samples.ndim == 1:
        samples = samples[:, None]
    elif samples.shape[0] < samples.shape[1]:
        samples = samples.T
    n = MOST_SECONDS * rate
    return _Recording(_scaled(samples[:n]), rate, name, is_cut=len(samples) > n)


def _checked_rate(rate: Any, name: str) -> int:
    least, most = RATES
    if not isinstance(rate, int | float | np.number) or not least <= rate <= most:
        raise DataError(f"expected a rate of {least} to {most} Hz, got {rate!r:.40} for {name}")
    return round(float(rate))


def _scaled(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Whole numbers as -1..1; others as they are."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    limits = np.iinfo(samples.dtype)
    half = (int(limits.max) - int(limits.min) + 1) / 2
    middle = half if samples.dtype.kind == "u" else 0.0
    return (samples.astype(np.float64) - middle) / half


def _read_file(path: Path) -> _Recording:
    if not path.is_file():
        raise MissingError(f"expected a sound at {path}, found none")
    if path.suffix.lower() not in SOUND_SUFFIXES:
        known = ", ".join(SOUND_SUFFIXES)
        raise DataError(f"expected a sound file ({known}), got {path}: convert it")
    if path.suffix.lower() != ".wav":
        return _read_by_soundfile(path)
    try:
        return _read_pcm(path)
    except (wave.Error, EOFError, RuntimeError) as error:  # if the file is malformed
        if not str(error).startswith("unknown"):  # a format other than whole numbers
            reason = str(error) or "it ends early"
            raise DataError(f"{path} is not a whole wav file: {reason}") from None
    _check_riff_size(path)  # soundfile would read what there is
    return _read_by_soundfile(path)


def _read_pcm(path: Path) -> _Recording:
    """A wav of whole numbers."""
    with wave.open(str(path)) as file:
        rate = _checked_rate(file.getframerate(), str(path))
        channels, width, n_all = file.getnchannels(), file.getsampwidth(), file.getnframes()
        n = min(n_all, MOST_SECONDS * rate)
        data = file.readframes(n)
    if width not in DTYPES:
        raise wave.Error(f"{8 * width} bits a sample")
    block = channels * width
    if len(data) < n * block and n_all * block < UNKNOWN_BYTES:
        raise _cut_short(path, f"{n_all} samples", len(data) // block)
    data = data[: len(data) // block * block]
    if width == 3:  # as the upper bytes of four
        bytes_ = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = np.pad(bytes_, ((0, 0), (1, 0))).tobytes()
    samples = np.frombuffer(data, DTYPES[width]).reshape(-1, channels)
    return _Recording(_scaled(samples), rate, str(path), is_cut=n < min(n_all, len(samples) + 1))


def _read_by_soundfile(path: Path) -> _Recording:
    require("soundfile", "sound")
    soundfile: Any = import_module("soundfile")
    try:
        with soundfile.SoundFile(path) as file:
            rate, n_all = _checked_rate(file.samplerate, str(path)), file.frames
            samples = file.read(MOST_SECONDS * rate, dtype="float64", always_2d=True)
    except soundfile.SoundFileError as error:
        raise DataError(f"{path} is not a whole sound file: {error}") from None
    n = min(n_all, MOST_SECONDS * rate)
    if len(samples) < n:
        raise _cut_short(path, f"{n_all} samples", len(samples))
    return _Recording(samples, rate, str(path), is_cut=n_all > n)


def _check_riff_size(path: Path) -> None:
    with path.open("rb") as file:
        size = 8 + int.from_bytes(file.read(8)[4:], "little")
    if (n := path.stat().st_size) < size < UNKNOWN_BYTES:
        raise _cut_short(path, f"{size} bytes", n)


def _cut_short(path: Path, by_header: str, n: int) -> DataError:
    return DataError(
        f"{path} is cut short: {by_header} by its header, {n} in the file: copy it again"
    )


def _mono(recording: _Recording) -> Tensor:
    """One channel at 16 kHz, (samples,)."""
    samples, name = recording.samples, recording.name
    if len(samples) < LEAST_SECONDS * recording.rate:
        raise DataError(
            f"expected a sound of {LEAST_SECONDS * 1000:.0f} ms or more, got {len(samples)} "
            f"samples at {recording.rate} Hz in {name}"
        )
    if not (np.abs(samples) <= np.finfo(np.float32).max).all():
        raise DataError(f"expected finite samples, got NaN or infinity in {name}")
    mono = samples.mean(1)
    if np.ptp(mono) <= 1e-9 * np.abs(samples).max():
        of = f" in the mean of its {samples.shape[1]} channels" if samples.shape[1] > 1 else ""
        raise DataError(f"expected a sound, got silence in {name}: all samples are alike{of}")
    if recording.rate != RATE:
        from scipy.signal import resample_poly  # takes a while to import

        common = gcd(RATE, recording.rate)
        mono = resample_poly(mono, RATE // common, recording.rate // common)
    return torch.from_numpy(mono.astype(np.float32))
