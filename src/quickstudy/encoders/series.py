"""Time series as vectors: their values at one length, and features of fixed convolutions.

Shapes: n series, c channels, l points of a series, k kernels.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quickstudy.errors import DataError, UsageError

__all__ = ["SeriesEncoder", "n_rocket_features", "resample", "rocket"]

MIN_LENGTH = 3
"""Points of a series; fewer have no shape."""

KERNEL_LENGTH = 9
N_KERNELS = 84

MAX_DILATIONS = 5

THRESHOLDS = (-0.7, 0.1, 0.7, 1.5)
"""In standard deviations of a kernel's output."""

FEATURES_PER_KERNEL = len(THRESHOLDS) + 1

LOG_DEVIATION_SCALE = 0.3
"""Brings log-deviations to about the spread of shares, which are in 0..1."""

LEAST_CHANNEL_SHARE = 0.5
"""Of the channels of several that a kernel reads, on average."""

LEAST_RELATIVE_DEVIATION = 1e-7
"""A channel that varies less, as a share of its greatest value, is constant but for rounding."""

LEAST_OUTPUT_DEVIATION = 1e-6

MAX_CHUNK = 2**20
"""Outputs of kernels that are in memory at once, unless one series has more."""


@dataclass(frozen=True)
class SeriesEncoder:
    """Embed time series as their values and the features of `rocket`: (n, c * length + d).

    The vector of a series depends on no other series. It is first brought to `length` points, see
    `resample`. Save the arguments, and `SeriesEncoder(**saved)` makes the encoder again.

    Args:
        length: Points of a series, from 3.
        channels: Of a series.
        values: Whether the values are a part; without, the vector is the features alone.

    Raises:
        UsageError: If `length` is below 3, or `channels` below 1.

    Example:
        >>> encode = SeriesEncoder.fitted([[0.0, 1.0, 0.0, 2.0], [1.0, 2.0, 4.0, 8.0]])
        >>> encode
        SeriesEncoder(length=4, channels=1, values=True)
        >>> encode.parts
        (('raw', 4), ('rocket', 420))
        >>> encode([[0.0, 1.0, 2.0], [1.0, 2.0, 4.0, 8.0, 16.0]]).shape
        torch.Size([2, 424])
    """

    length: int
    channels: int = 1
    values: bool = True

    def __post_init__(self) -> None:
        if self.length < MIN_LENGTH or self.channels < 1:
            raise UsageError(
                f"expected a length from {MIN_LENGTH} and channels from 1, got {self.length} and "
                f"{self.channels}"
            )

    @classmethod
    def fitted(
        cls, examples: Sequence[Any] | NDArray[Any] | Tensor, *, values: bool = True
    ) -> SeriesEncoder:
        """One of the median length, and of the channels, of a support set.

        Warns if series have more channels than points, as they do when the two are swapped.

        Raises:
            UsageError, DataError: As of `resample`.
        """
        series = _read(examples)
        channels, length = len(series[0]), int(np.median([one.shape[1] for one in series]))
        if channels > length:
            warnings.warn(
                f"series have {channels} channels and {length} points: if it is the other way "
                "round, transpose each to (channels, length)",
                stacklevel=2,
            )
        return cls(length, channels, values)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """The name and size of each part of a vector, in order."""
        raw = (("raw", self.channels * self.length),) if self.values else ()
        return *raw, ("rocket", n_rocket_features(self.length))

    @property
    def seen(self) -> str:
        """What pretraining may have seen of the data of a test: nothing, as nothing is trained."""
        return ""

    def __call__(self, examples: Sequence[Any] | NDArray[Any] | Tensor) -> Tensor:
        """Embed n series: float32 of shape (n, c * length + d), or (n, d), on the CPU.

        Raises:
            UsageError, DataError: As of `resample`, and if a series has other channels.
        """
        x = resample(examples, self.length)  # (n, c, length)
        if x.shape[1] != self.channels:
            raise DataError(f"expected series of {self.channels} channels, got {x.shape[1]}")
        features = rocket(x)
        return torch.cat([x.flatten(1).float(), features], dim=1) if self.values else features


def resample(examples: Sequence[Any] | NDArray[Any] | Tensor, length: int) -> Tensor:
    """Bring series to one length by linear interpolation: float64 of shape (n, c, length).

    The first and the last point stay, and the others lie evenly between them. A series of that
    length stays as it is.

    Args:
        examples: Series of one channel, (n, l), of several, (n, c, l), or a list of series of any
            lengths, each (l,) or (c, l).
        length: Points that each is brought to.

    Raises:
        UsageError: If there is no series, or one series instead of a list.
        DataError: If a series is empty, shorter than 3 points, constant in all channels, or not of
            finite numbers, or if series differ in their channels; names the first.

    Example:
        >>> resample([[0.0, 1.0, 4.0], [0.0, 1.0, 2.0, 3.0, 8.0]], 5).tolist()
        [[[0.0, 0.5, 1.0, 2.5, 4.0]], [[0.0, 1.0, 2.0, 3.0, 8.0]]]
    """
    return torch.from_numpy(np.stack([_interpolate(one, length) for one in _read(examples)]))


def _interpolate(one: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(c, l) -> (c, length)"""
    here = np.arange(one.shape[1])
    if len(here) == length:
        return one
    there = np.linspace(0, len(here) - 1, length)
    return np.stack([np.interp(there, here, channel) for channel in one])


def _read(examples: Sequence[Any] | NDArray[Any] | Tensor) -> list[NDArray[np.float64]]:
    """Each series as (c, l)."""
    if isinstance(examples, str | bytes) or not hasattr(examples, "__len__") or not len(examples):
        raise UsageError(f"expected a list of one series or more, got {examples!r:.80}")
    series = [_read_one(one, i) for i, one in enumerate(_each(examples))]
    for i, one in enumerate(series):
        if len(one) != len(series[0]):
            raise DataError(
                f"expected series of as many channels, got {len(series[0])} in series 0 and "
                f"{len(one)} in series {i}"
            )
    return series


def _each(examples: Any) -> Any:
    """The examples one by one: rows of a table, which would iterate over its columns."""
    return np.asarray(examples) if getattr(examples, "ndim", 0) > 1 else examples


def _read_one(one: Any, number: int) -> NDArray[np.float64]:
    """A series as (c, l), or an error that says which it is and what is wrong with it."""
    try:
        values = np.asarray(one)
        values = values.astype(np.float64, casting="same_kind" if values.size else "unsafe")
    except (TypeError, ValueError, OverflowError):
        raise DataError(
            f"expected series of numbers, got {one!r:.60} as series {number}: give each as "
            "(length,) or (channels, length)"
        ) from None
    if values.ndim not in (1, 2):
        raise DataError(
            f"expected series of shape (length,) or (channels, length), got {values.shape} as "
            f"series {number}"
        )
    values = np.atleast_2d(values)
    channels, length = values.shape
    if channels == 0 or length < MIN_LENGTH:
        raise DataError(
            f"expected series of {MIN_LENGTH} points or more, got {length} in series {number}"
            + (f" of {channels} channels: give it as (channels, length)" if channels > 1 else "")
        )
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32))
    if not finite.all():
        channel, point = np.argwhere(~finite)[0]
        raise DataError(
            f"expected finite numbers, got {values[channel, point]} at point {point} of series "
            f"{number}: fill it in, or cut it off and give a list of series of their own lengths"
        )
    if (values == values[:, :1]).all():
        raise DataError(
            f"expected series that vary, got {values[0, 0]} at all {length} points of series "
            f"{number}: leave it out"
        )
    return values


def n_rocket_features(length: int) -> int:
    """How many features `rocket` makes of series of a length.

    Example:
        >>> n_rocket_features(100)
        1680
    """
    return N_KERNELS * FEATURES_PER_KERNEL * len(_dilations(length))


def rocket(x: Tensor) -> Tensor:
    """Features of series by MiniRocket's kernels: float32 of shape (n, d).

    Each channel is brought to mean 0 and variance 1; a constant channel becomes 0. The series are
    convolved with the 84 kernels of length 9 that hold three weights of 2 and six of -1, in up to
    five dilations. Each output (l,) gives five features: the shares of its points above -0.7, 0.1,
    0.7 and 1.5 of its own standard deviation, and 0.3 times the logarithm of that deviation.

    Dempster, Schmidt & Webb, "MiniRocket: A Very Fast (Almost) Deterministic Transform for Time
    Series Classification", KDD 2021, arXiv:2012.08791.

    Differs from the paper: thresholds (its biases) are in units of each output's own deviation,
    where the paper takes quantiles of outputs for a training series, so here a series' features
    depend on no other series. All outputs have the same four thresholds, at most five dilations,
    and padding; the deviation is a feature beside the shares. Of several channels, a kernel reads
    each with a chance of one half, drawn from a fixed seed, with weights divided by the root of
    how many it reads.

    Args:
        x: Series of shape (n, c, l).

    Example:
        >>> rocket(torch.arange(20.0).sin().view(1, 1, 20)).shape
        torch.Size([1, 840])
    """
    _, channels, length = x.shape
    x = F.pad(_standardise(x), (0, max(0, KERNEL_LENGTH - length)))
    chunk = max(1, MAX_CHUNK // (N_KERNELS * x.shape[2]))
    features = [_rocket_of_chunk(part, channels, length) for part in x.split(chunk)]
    return torch.cat(features)


def _rocket_of_chunk(x: Tensor, channels: int, length: int) -> Tensor:
    features = []
    for dilation, weight in _weights(channels, length):
        padding = dilation * (KERNEL_LENGTH // 2)
        out = F.conv1d(x, weight, dilation=dilation, padding=padding)  # (n, k, l)
        variance = (out - out.mean(2, keepdim=True)).square().mean(2)  # std() takes 5 times as long
        deviation = variance.sqrt().clamp_min(LEAST_OUTPUT_DEVIATION)  # (n, k)
        out = out / deviation[..., None]
        above = torch.empty_like(out)  # as numbers at once, which is faster than bool
        features += [torch.gt(out, threshold, out=above).mean(2) for threshold in THRESHOLDS]
        features.append(LOG_DEVIATION_SCALE * deviation.log())
    return torch.cat(features, dim=1)


def _standardise(x: Tensor) -> Tensor:
    """Each channel with mean 0 and variance 1, or 0 if it is constant."""
    x = x.double()
    deviation = x.std(2, correction=0, keepdim=True)
    constant = deviation <= LEAST_RELATIVE_DEVIATION * x.abs().amax(2, keepdim=True)
    x = (x - x.mean(2, keepdim=True)) / deviation.where(~constant, math.inf)
    return x.float()


def _dilations(length: int) -> list[int]:
    """Up to five, evenly spaced on a log scale up to a kernel as long as the series."""
    most = max(0.0, math.log2((max(length, KERNEL_LENGTH) - 1) / (KERNEL_LENGTH - 1)))
    return sorted({int(2**e) for e in torch.linspace(0, most, MAX_DILATIONS).tolist()})


def _weights(channels: int, length: int) -> Iterator[tuple[int, Tensor]]:
    """Each dilation, and the weights of its kernels (k, c, 9)."""
    generator = torch.Generator().manual_seed(0)
    for dilation in _dilations(length):
        if channels == 1:
            yield dilation, _kernels()[:, None]
            continue
        share = max(LEAST_CHANNEL_SHARE, 1 / channels)
        reads = (torch.rand(N_KERNELS, channels, generator=generator) < share).float()  # (k, c)
        reads[reads.sum(1) == 0, 0] = 1  # at least the first
        scale = reads / reads.sum(1, keepdim=True).sqrt()
        yield dilation, _kernels()[:, None] * scale[..., None]


@cache
def _kernels() -> Tensor:
    """All 84 kernels of three weights of 2 and six of -1, (k, 9)."""
    kernels = torch.full((N_KERNELS, KERNEL_LENGTH), -1.0)
    for kernel, twos in zip(kernels, itertools.combinations(range(KERNEL_LENGTH), 3), strict=True):
        kernel[list(twos)] = 2.0
    return kernels
