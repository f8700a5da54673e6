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
from quickstudy.diagnostics.tables import leaking_column, suspect_rows
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


def out_of_fold(seed, n_wrong, n=400):
    """Exact posteriors of three Gaussian classes, their labels, and rows with another label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    x = rng.normal(size=(n, 2)) + 3 * np.eye(3)[y][:, :2]
    log_p = -0.5 * ((x[:, None] - 3 * np.eye(3)[None, :, :2]) ** 2).sum(2)
    p = np.exp(log_p - log_p.max(1, keepdims=True))
    wrong = rng.choice(n, n_wrong, replace=False)
    y[wrong] = (y[wrong] + rng.integers(1, 3, size=n_wrong)) % 3
    return p / p.sum(1, keepdims=True), y, set(wrong.tolist())


def test_rows_with_a_wrong_label_are_counted_and_named():
    for seed in range(5):
        p, y, wrong = out_of_fold(seed, 12)
        found = suspect_rows(p, y)
        assert found.is_warning
        assert len(wrong & set(found.examples)) >= 5
        assert len(set(found.examples) - wrong) <= 2
        assert 0.01 < found.value < 0.06


def test_right_probabilities_and_too_sure_ones_raise_no_alarm():
    alarms = 0
    for seed in range(40):
        p, y, _ = out_of_fold(seed, 0)
        sure = p**2 / (p**2).sum(1, keepdims=True)
        alarms += suspect_rows(p, y).is_warning + suspect_rows(sure, y).is_warning
    assert alarms <= 2
    with pytest.raises(DataError, match="probabilities"):
        suspect_rows(p, y[:-1])
