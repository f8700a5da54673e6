"""The contracts catch what breaks them, and say what to do."""

import pytest
import torch
from torch import nn

from quickstudy.learners import Learner
from quickstudy.tasks import ClassData, TextData
from quickstudy.tasks.datasets import DATASETS, Dataset
from quickstudy.testing import DatasetContract, LearnerContract


class TestDigits(DatasetContract):
    def make(self):
        return DATASETS["digits"]


def series(split, *, image_size, seed):
    generator = torch.Generator().manual_seed(seed + len(split))
    x = torch.randn(12, 2, 30, generator=generator)
    return ClassData(x, torch.arange(12) // 4, [f"{split}{i}" for i in range(3)])


class TestSeries(DatasetContract):
    def make(self):
        return Dataset(title="series", splits=("train", "test"), load=series, shape=(2, 30))


def same_classes(split, *, image_size, seed):
    data = series("all", image_size=image_size, seed=seed)
    return ClassData(data.x, data.y, data.names)


def unseeded(split, *, image_size, seed):
    return ClassData(torch.rand(4, 3), torch.tensor([0, 0, 1, 1]), ["a", "b"])


def texts(split, *, image_size, seed):
    return TextData(["x", "y"], torch.tensor([0, 1]), ["a", "b"], torch.tensor([0, 0]))


@pytest.mark.parametrize(
    ("check", "options", "message"),
    [
        ("examples_have_the_shape_that_it_declares", {"load": series}, r"\(2, 30\).*set shape="),
        ("examples_have_the_shape_that_it_declares", {"load": texts}, "set texts=True"),
        (
            "train_validation_and_test_share_no_class",
            {"load": same_classes, "shape": (2, 30)},
            "train and test share",
        ),
        ("loaded_again_it_is_the_same", {"load": unseeded, "shape": (3,)}, "draw by the seed"),
    ],
)
def test_a_data_set_that_breaks_its_contract_gets_a_message_that_says_what_to_do(
    check, options, message
):
    class Broken(DatasetContract):
        def make(self):
            return Dataset(title="broken", splits=("train", "test"), **options)

    with pytest.raises(AssertionError, match=message):
        getattr(Broken(), f"test_{check}")()


class Unchecked(Learner):
    """One gradient step from a linear layer, without the two lines that `adapt` needs."""

    ways = "same"

    def __init__(self, n_outputs):
        super().__init__()
        self.n_outputs, self.linear = n_outputs, nn.Linear(8, n_outputs)

    def adapt(self, support):
        loss = nn.functional.cross_entropy(self.linear(support.x), support.y)
        (step,) = torch.autograd.grad(loss, [self.linear.weight], create_graph=True)
        return lambda query: nn.functional.linear(query, self.linear.weight - step)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("it_takes_more_ways_than_it_was_made_for_or_says_why_not", r"self\.check\(support\)"),
        ("it_adapts_where_gradients_are_turned_off", r"torch\.enable_grad\(\)"),
    ],
)
def test_a_learner_that_breaks_its_contract_gets_a_message_that_says_what_to_do(check, message):
    class Broken(LearnerContract):
        def make(self, n_way):
            return Unchecked(n_way)

    with pytest.raises(AssertionError, match=message):
        getattr(Broken(), f"test_{check}")()
