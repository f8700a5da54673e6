import pytest
import torch

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks import Batch, ClassData, Episode, EpisodeSampler, SinusoidTasks, Support
from quickstudy.tasks.task_augmentation import (
    InterpolatedTasks,
    PermutedLabels,
    ShiftedTargets,
)

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


def test_shifted_targets_differ_from_the_task_by_one_number():
    tasks = SinusoidTasks(n_shot=4, n_query=3)
    shifts = []
    for index in range(20):
        task, plain = ShiftedTargets(tasks, largest=2.0)[index], tasks[index]
        shift = task.support.y - plain.support.y
        torch.testing.assert_close(shift, shift[:1].expand_as(shift), atol=1e-5, rtol=0)
        torch.testing.assert_close(task.query.y - plain.query.y, shift[:3], atol=1e-5, rtol=0)
        shifts.append(float(shift[0]))
    assert -2 <= min(shifts) < -1 < 1 < max(shifts) <= 2


def test_a_mixed_task_lies_between_two_tasks_class_by_class():
    # One number an example, which is that of its class: a mixed class has one number as well.
    data = ClassData(DATA.y.float()[:, None], DATA.y, DATA.names)
    plain = EpisodeSampler(data, n_way=3, n_shot=2, n_query=2)
    mixed = InterpolatedTasks(plain, share=1.0)
    between = 0
    for index in range(10):
        task = mixed[index]
        of_class = [task.support.x[task.support.y == k] for k in range(3)]
        of_class += [task.query.x[task.query.y == k] for k in range(3)]
        assert all(float(x.std()) < 1e-6 for x in of_class)
        assert torch.allclose(of_class[0][0], of_class[3][0])
        between += any(0.01 < float(x[0]) % 1 < 0.99 for x in of_class)
        assert task.classes is None
    assert between > 5


def test_a_share_of_tasks_stays_as_it_is():
    plain = SinusoidTasks(n_shot=4, n_query=3)
    mixed = InterpolatedTasks(plain, share=0.3)
    same = [torch.equal(mixed[i].support.x, plain[i].support.x) for i in range(200)]
    assert 0.6 < sum(same) / 200 < 0.8


def test_what_cannot_be_made_is_refused():
    with pytest.raises(DataError, match="regression"):
        PermutedLabels(SinusoidTasks(n_shot=1, n_query=1))[0]
    with pytest.raises(DataError, match="classes"):
        ShiftedTargets(FixedOrder(), largest=1.0)[0]
    with pytest.raises(UsageError, match="largest"):
        ShiftedTargets(FixedOrder(), largest=0.0)
    with pytest.raises(UsageError, match="share"):
        InterpolatedTasks(FixedOrder(), share=0.0)
    several = EpisodeSampler(DATA, n_way=(2, 5), n_shot=1, n_query=1)
    with pytest.raises(DataError, match="one shape"):
        [InterpolatedTasks(several, share=1.0)[index] for index in range(20)]
