import pytest
import torch

from quickstudy.errors import DataError
from quickstudy.tasks import Batch, ClassData, Episode, SinusoidTasks, Support
from quickstudy.tasks.permuted_labels import PermutedLabels

DATA = ClassData(
    torch.rand(60, 3, generator=torch.Generator().manual_seed(0)),
    torch.arange(60) % 6,
    list("abcdef"),
    attributes=torch.arange(6.0)[:, None],
)


class FixedOrder:
    """Classes 0, 1 and 2 with labels 0, 1 and 2 in all tasks."""

    def __getitem__(self, index):
        x, y, classes = DATA.x[DATA.index[:3, index]], torch.arange(3), torch.arange(3)
        return Episode(Support(x, y, 3, DATA.attributes[:3]), Batch(x, y), classes)


def test_permuted_labels_name_the_same_classes_in_all_orders():
    tasks, seen = PermutedLabels(FixedOrder(), seed=1), set()
    for index in range(10):
        task, fixed = tasks[index], FixedOrder()[index]
        seen.add(tuple(task.classes.tolist()))
        for part in (task.support, task.query):
            assert torch.equal(task.classes[part.y], fixed.support.y)
            assert torch.equal(task.support.attributes[part.y], fixed.support.attributes)
        assert torch.equal(task.support.x, fixed.support.x)
    assert len(seen) > 3
    assert torch.equal(tasks[4].support.y, tasks[4].support.y)


def test_a_regression_has_no_labels_to_permute():
    with pytest.raises(DataError, match="regression"):
        PermutedLabels(SinusoidTasks(n_shot=1, n_query=1))[0]
