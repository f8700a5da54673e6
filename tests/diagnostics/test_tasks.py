import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from quickstudy import EpisodeSampler, GeneratedTasks, SinusoidTasks
from quickstudy.diagnostics.diversity import (
    diversity_coefficient,
    probe_of,
    task_vectors,
    vendi_score,
)
from quickstudy.diagnostics.tables import leaking_column
from quickstudy.diagnostics.tasks import label_order, leaked_queries
from quickstudy.errors import DataError
from quickstudy.tasks import Batch, ClassData, Episode


@pytest.fixture(scope="module")
def tasks():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=generator)
    data = ClassData(x, torch.arange(200) % 20, [str(i) for i in range(20)])
    return EpisodeSampler(data, n_way=5, n_shot=2, n_query=3)


def changed(tasks, change):
    """The same tasks, each changed."""

    class Changed:
        def __getitem__(self, index):
            return change(index, tasks[index])

    return Changed()


def test_shuffled_labels_and_queries_without_copies_are_fine(tasks):
    assert label_order(tasks).status == "fine"
    assert label_order(tasks).interval[0] < 0.2 < label_order(tasks).interval[1]
    assert leaked_queries(tasks).value == 0
    assert leaked_queries(SinusoidTasks(n_shot=5, n_query=5)).value == 0


def test_labels_in_the_order_of_classes_are_found(tasks):
    def sort(_, task):
        order = task.classes.argsort()
        rank = order.argsort()
        support = task.support
        sorted_support = type(support)(support.x, rank[support.y], 5)
        return Episode(sorted_support, Batch(task.query.x, rank[task.query.y]), task.classes[order])

    assert label_order(changed(tasks, sort)).is_warning


def test_a_query_copied_from_the_support_set_is_found(tasks):
    def leak(index, task):
        x = task.query.x.clone()
        x[0] = task.support.x[task.support.y == task.query.y[0]][0] * 1.0001
        return Episode(task.support, Batch(x, task.query.y), task.classes)

    found = leaked_queries(changed(tasks, leak))
    assert found.is_warning
    assert found.value == pytest.approx(1 / 15)


def test_tasks_without_classes_have_no_order():
    with pytest.raises(DataError, match="that say their classes"):
        label_order(SinusoidTasks(n_shot=5, n_query=5))


def test_one_task_again_and_again_has_diversity_0_and_counts_as_one(tasks):
    probe = probe_of(None, tasks[0])
    one = task_vectors(probe, GeneratedTasks(lambda _: tasks[0]), 6)
    assert diversity_coefficient(one).value == pytest.approx(0, abs=1e-9)
    found = vendi_score(one, probe.name)
    assert found.value == pytest.approx(1)
    assert found.is_warning
    many = task_vectors(probe, tasks, 6)
    assert diversity_coefficient(many).value > 0.01
    assert vendi_score(many).details["distinct"] == 6


def test_tasks_of_two_kinds_are_more_diverse_than_of_either(tasks):
    scaled = changed(
        tasks,
        lambda i, t: Episode(
            type(t.support)(t.support.x.abs() * 3, t.support.y, 5),
            Batch(t.query.x.abs() * 3, t.query.y),
        ),
    )
    probe = probe_of(None, tasks[0])
    one, other = (task_vectors(probe, each, 8) for each in (tasks, scaled))
    both = diversity_coefficient(np.concatenate([one, other])).value
    assert both > max(diversity_coefficient(v).value for v in (one, other))


def test_the_vendi_score_is_the_exponential_of_von_neumann_entropy():
    x = np.abs(np.random.default_rng(0).normal(size=(6, 4)))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    from scipy.linalg import logm

    k = unit @ unit.T / 6 + 1e-15 * np.eye(6)
    k = (1 - 1e-9) * k + 1e-9 * np.eye(6) / 6
    assert vendi_score(x).value == pytest.approx(np.exp(-np.trace(k @ logm(k)).real), rel=1e-5)


def test_a_column_made_from_the_target_leaks_and_those_of_iris_do_not():
    x, y = load_iris(return_X_y=True)
    assert leaking_column(x, y).status == "fine"
    noisy = np.random.default_rng(0).permutation(x)
    leak = np.column_stack([noisy, y + 0.01 * noisy[:, 0]])
    found = leaking_column(leak, y, list("abcde"))
    assert found.is_warning
    assert "'e'" in found.verdict
