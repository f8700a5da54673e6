"""Lake's one-shot classification runs on Omniglot: fixed 20-way tasks within one alphabet.

Lake, Salakhutdinov & Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 2015. People err on 4.5 % of them; the modified Hausdorff distance on 38.8 %.
The characters are of the "evaluation" alphabets, so train on "background" alone.

Runs 1 to 10 come with quickstudy, in `omniglot_one_shot/`, under Omniglot's MIT licence.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from quickstudy.errors import DataError, MissingError
from quickstudy.tasks.datasets import store
from quickstudy.tasks.episode import Batch, Episode, Support
from quickstudy.tasks.images import decode_image
from quickstudy.tasks.sampler import generator_for

__all__ = ["OneShotRuns"]

ALL_RUNS = "all_runs.zip"
"""Lake's file of all 20 runs, which is read where it lies in the data folder."""

FIRST_RUNS = Path(__file__).parent / "omniglot_one_shot" / "one_shot_runs_01_10.zip"


class OneShotRuns:
    """The runs as tasks: `tasks[i]` is run i + 1, one drawing of each of 20 characters to learn
    from and 20 drawings by another drawer to name.

    The score is the mean over runs of the share of drawings named rightly, each on its own. The
    label is the number of the class in the run, and the support is in an order of its own for
    each run.

    Args:
        path: Zip in the layout of Lake's `all_runs.zip`, or of a part of its runs; by default
            `omniglot/all_runs.zip` in the data folder, or else runs 1 to 10, which are here.
        image_size: Side to resize to, in pixels; 105 as drawn.

    Raises:
        MissingError: If there is no such file.
        DataError: If it is not in that layout.
    """

    def __init__(self, path: str | Path | None = None, *, image_size: int = 28) -> None:
        if path is None:
            everything = store.data_folder() / "omniglot" / ALL_RUNS
            path = everything if everything.exists() else FIRST_RUNS
        path = Path(path)
        if not path.is_file():
            raise MissingError(f"expected a zip of one-shot runs at {path}, found none")
        try:
            self.episodes = _read_all(path, path.stat().st_mtime_ns, image_size)
        except Exception as error:  # of many types, if the file is malformed
            raise DataError(f"{path} is not in the layout of all_runs.zip: {error}") from None
        if not self.episodes:
            raise DataError(f"expected runs with a class_labels.txt each in {path}, found none")

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> Episode:
        if not 0 <= index < len(self):
            raise IndexError(f"expected a run in 0..{len(self) - 1}, got {index}")
        return self.episodes[index]


@lru_cache(maxsize=4)
def _read_all(path: Path, _modified: int, image_size: int) -> list[Episode]:
    """Read every run of a zip, once a process: tests of a recipe, and their costs, share them."""
    with zipfile.ZipFile(path) as archive:
        listings = sorted(n for n in archive.namelist() if n.endswith("/class_labels.txt"))
        return [_read(archive, n, i, image_size) for i, n in enumerate(listings)]


def _read(archive: zipfile.ZipFile, listing: str, index: int, image_size: int) -> Episode:
    """Read one run; each line of `listing` names a test image and the training image it is like."""
    root = PurePosixPath(listing).parents[1]
    pairs = [line.split() for line in archive.read(listing).decode().splitlines() if line.strip()]
    training_images = sorted({answer for _, answer in pairs})

    def images(names: list[str]) -> torch.Tensor:
        pixels = [
            decode_image(archive.read(str(root / n)), n, size=image_size, ink="dark") for n in names
        ]
        return torch.from_numpy(np.stack(pixels)).float() / 255

    order = torch.randperm(len(training_images), generator=generator_for(0, index))
    support = Support(images(training_images)[order], order, n_way=len(training_images))
    query = Batch(
        images([item for item, _ in pairs]),
        torch.tensor([training_images.index(a) for _, a in pairs]),
    )
    return Episode(support, query)
