"""The contract of data sets."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod

import torch

from quickstudy.tasks import ClassData, TextData
from quickstudy.tasks.datasets import Dataset

__all__ = ["DatasetContract"]


class DatasetContract(ABC):
    """Inherit, and say which data set."""

    image_size = 28

    @abstractmethod
    def make(self) -> Dataset:
        """The data set, as it is registered."""

    def load(self, split: str) -> ClassData | TextData:
        return self.make().load(split, image_size=self.image_size, seed=0)

    def test_each_split_has_two_classes_or_more_and_examples_of_each(self) -> None:
        for split in self.make().splits:
            data = self.load(split)
            counts = data.y.bincount(minlength=len(data.names))
            assert len(data.names) >= 2, f"{split} has fewer than two classes"
            assert len(counts) == len(data.names), f"labels of {split} go beyond its names"
            assert int(counts.min()) > 0, f"{split} has a class without examples"

    def test_examples_have_the_shape_that_it_declares(self) -> None:
        dataset = self.make()
        for split in dataset.splits:
            data = self.load(split)
            if isinstance(data, TextData):
                assert dataset.texts, "set texts=True, so that recipes ask for an encoder"
                continue
            shape, declared = tuple(data.x.shape[1:]), dataset.example_shape(self.image_size)
            assert shape == declared, (
                f"{split} has examples of shape {shape}, and the data set says {declared}: set "
                "shape= for vectors and series, channels= for images"
            )

    def test_train_validation_and_test_share_no_class(self) -> None:
        names = {
            split: set(self.load(split).names)
            for split in ("train", "validation", "test")
            if split in self.make().splits
        }
        for one, other in itertools.combinations(names, 2):
            common = names[one] & names[other]
            assert not common, f"{one} and {other} share {sorted(common)[:3]}: split by classes"

    def test_loaded_again_it_is_the_same(self) -> None:
        split = self.make().splits[0]
        first, again = self.load(split), self.load(split)
        assert first.names == again.names, "the classes are in another order: sort them"
        assert torch.equal(first.y, again.y), "the labels differ: draw by the seed"
        if not isinstance(first, TextData) and not isinstance(again, TextData):
            assert torch.equal(first.x, again.x), "the examples differ: draw by the seed"
