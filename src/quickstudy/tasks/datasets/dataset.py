"""What a data set is to recipes and to the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from quickstudy.tasks.sampler import Tasks
from quickstudy.tasks.sources import ClassData, TextData

__all__ = ["DataFiles", "Dataset"]


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """What `quickstudy data` lists, fetches and checks.

    Args:
        title: What it holds, in a line.
        files: Files in the data folder, with the hash of their content
            (`quickstudy.tasks.image_files.content_hash` of a zip of images, else SHA-256).
        url: Where the files can be fetched, with a slash at the end; None if nowhere.
    """

    title: str
    files: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset(DataFiles):
    """A data set of classes, in splits.

    Args:
        splits: Names of its splits of classes.
        load: Loads a split, as `load(split, image_size=..., seed=...)`: images at that size in
            pixels, and of a data set made by code what the seed draws.
        channels: Of an image, 1 or 3.
        shape: Of an example, for vectors (d,) and series (channels, length); None for images.
        texts: Whether examples are texts, which need an encoder.
        fixed_tasks: Further splits that are tasks instead of classes, with what makes them, as
            `make(image_size=...)`.

    Example:
        >>> import torch
        >>> def load(split, *, image_size, seed):
        ...     return ClassData.from_arrays(torch.rand(6, 4), [0, 0, 0, 1, 1, 1])
        >>> dataset = Dataset(title="six vectors", splits=("test",), load=load, shape=(4,))
        >>> dataset.example_shape(image_size=28)
        (4,)
    """

    splits: tuple[str, ...]
    load: Callable[..., ClassData | TextData]
    channels: int = 1
    shape: tuple[int, ...] | None = None
    texts: bool = False
    fixed_tasks: Mapping[str, Callable[..., Tasks]] = field(default_factory=dict)

    def example_shape(self, image_size: int) -> tuple[int, ...]:
        """The shape of an example, known without loading any."""
        return self.shape or (self.channels, image_size, image_size)
