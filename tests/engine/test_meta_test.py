import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch
from scipy import stats
from torch import nn

from quickstudy.engine import meta_test
from quickstudy.engine.meta_test import TestReport, clustered_interval
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import RL2, NearestCentroid, PrototypicalNetworks
from quickstudy.learners.base import shared_embeddings
from quickstudy.nn import Flatten
from quickstudy.tasks import Batch, EpisodeSampler
from quickstudy.tasks.environments import BernoulliBandits, Trials
from quickstudy.testing import blob_classes


def test_interval_is_the_t_interval_of_the_scores():
    tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=4)
    report = meta_test(NearestCentroid(), tasks, 50)
    low, high = stats.t.interval(0.95, 49, report.mean, stats.sem(report.scores))
    assert report.interval == pytest.approx((high - low) / 2)
    assert report.mean == pytest.approx(sum(report.scores) / 50)


def test_clusters_of_equal_scores_widen_the_interval_to_that_of_the_clusters():
    values = torch.tensor([0.2, 0.4, 0.9, 0.5], dtype=torch.float64)
    scores, clusters = values.repeat_interleave(10), torch.arange(4).repeat_interleave(10)
    expected = stats.t.ppf(0.975, 3) * values.std().item() / math.sqrt(4)
    ones = torch.ones(40)
    assert clustered_interval(scores, ones, clusters) == pytest.approx(expected)
    # A second clustering in which nothing is alike, each score being alone, changes nothing.
    assert clustered_interval(scores, ones, clusters, torch.arange(40)) == pytest.approx(expected)


def test_two_way_interval_counts_what_is_alike_by_class_and_by_task():
    torch.manual_seed(0)
    classes, tasks = torch.arange(30).repeat(30), torch.arange(30).repeat_interleave(30)
    by_class, by_task = torch.randn(30).double(), torch.randn(30).double()
    scores = by_class[classes] + by_task[tasks]
    both = clustered_interval(scores, torch.ones(900), classes, tasks)
    # The mean is the sum of two independent means of 30, less what both count twice.
    variance = ((by_class.var() + by_task.var()) / 30 - scores.var() / 900).item()
    assert both == pytest.approx(stats.t.ppf(0.975, 29) * math.sqrt(variance), rel=1e-6)


def test_weights_count():
    scores = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    kept = clustered_interval(scores, torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0, 1, 1]))
    assert kept == clustered_interval(scores[:2], torch.ones(2), torch.arange(2))


def test_same_tasks_give_the_same_scores():
    tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=4)
    assert (
        meta_test(NearestCentroid(), tasks, 5).scores
        == meta_test(NearestCentroid(), tasks, 5).scores
    )


def test_one_task_gives_no_interval_and_is_refused():
    tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=4)
    with pytest.raises(UsageError, match="at least 2"):
        meta_test(NearestCentroid(), tasks, 1)


def test_a_task_without_queries_has_no_score_and_is_refused():
    episode = EpisodeSampler(blob_classes(), n_way=3, n_shot=1, n_query=4)[0]
    silent = replace(episode, query=Batch(episode.query.x[:0], episode.query.y[:0]))
    with pytest.raises(DataError, match="a query to score in task 0"):
        meta_test(NearestCentroid(), [silent, silent], 2)


class Counting(nn.Flatten):
    """Counts the examples it is given."""

    n = 0

    def forward(self, x):
        self.n += len(x)
        return super().forward(x)


class CountingFirst(Counting):
    """The first number of each example alone."""

    def forward(self, x):
        return super().forward(x)[:, :1]


class Unmapped:
    """Tasks of which the engine knows no more than `tasks[i]`."""

    def __init__(self, tasks):
        self.tasks = tasks

    def __getitem__(self, index):
        return self.tasks[index]


@pytest.mark.parametrize("limit", [2**30, 1])
def test_an_example_is_embedded_once_however_many_tasks_it_is_in(limit, monkeypatch):
    monkeypatch.setattr("quickstudy.tasks.sampler._CachedRows.MAX_BYTES", limit)
    data = blob_classes(6, 10)
    tasks = EpisodeSampler(data, n_way=3, n_shot=2, n_query=4)
    learner = PrototypicalNetworks(Counting())
    report = meta_test(learner, tasks, 50)
    assert (learner.backbone.n <= len(data.y)) is (limit > 1)
    assert report.scores == meta_test(learner, Unmapped(tasks), 50).scores


def test_tests_that_share_embeddings_embed_an_example_once_for_each_learner():
    data = blob_classes(6, 10)
    families = [EpisodeSampler(data, n_way=3, n_shot=n, n_query=4) for n in (1, 2)]
    learners = [PrototypicalNetworks(Counting()), PrototypicalNetworks(CountingFirst())]
    apart = [meta_test(a, tasks, 50).scores for a in learners for tasks in families]
    for learner in learners:
        learner.backbone.n = 0
    with shared_embeddings():
        shared = [meta_test(a, tasks, 50).scores for a in learners for tasks in families]
    assert shared == apart
    assert all(learner.backbone.n <= len(data.y) for learner in learners)


class Reversed(PrototypicalNetworks):
    """Names the farthest class."""

    def adapt(self, support):
        predict = super().adapt(support)
        return lambda x: -predict(x)


def test_a_subclass_that_adapts_in_its_own_way_is_tested_so():
    tasks = EpisodeSampler(blob_classes(6, 10), n_way=3, n_shot=2, n_query=4)
    learner = Reversed(nn.Flatten())
    assert meta_test(learner, tasks, 20).scores == meta_test(learner, Unmapped(tasks), 20).scores


def test_where_batch_norm_sees_the_batch_alone_each_task_is_embedded_by_itself():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    learner = PrototypicalNetworks(nn.Sequential(nn.Linear(8, 8), norm))
    tasks = EpisodeSampler(blob_classes(6, 10), n_way=3, n_shot=2, n_query=4)
    assert meta_test(learner, tasks, 20).scores == meta_test(learner, Unmapped(tasks), 20).scores


def test_a_task_whose_embeddings_are_elsewhere_is_moved_whole():
    """On the device "meta", as meta-testing on a GPU embeds there what is drawn on the CPU."""
    there = torch.device("meta")
    tasks = EpisodeSampler(blob_classes(6, 10), n_way=3, n_shot=2, n_query=4)
    episode = tasks.map_examples(lambda x: x.to(there))[0].to(there)
    tensors = [*vars(episode.support).values(), *vars(episode.query).values(), episode.classes]
    assert {t.device for t in tensors if isinstance(t, torch.Tensor)} == {there}


def test_examples_that_are_distorted_are_embedded_each_time():
    tasks = EpisodeSampler(
        blob_classes(6, 10), n_way=3, n_shot=2, n_query=4, augment=lambda x, generator: x + 1
    )
    learner = PrototypicalNetworks(Counting())
    meta_test(learner, tasks, 10)
    assert learner.backbone.n == 10 * 18


def test_trials_are_scored_by_the_return_of_their_query_episodes():
    family = BernoulliBandits(n_arms=2, seed=3)
    learner = RL2(Flatten((1,)), family.actions, hidden=4)
    report = meta_test(learner, Trials(family, n_query=2), 200)
    assert report.metric == "return"
    assert (report.clustered_interval, report.by_class) == (None, None)
    assert learner.training
    n = torch.tensor(report.scores)
    assert bool(((2 * n).round() == 2 * n).all())  # means of two whole numbers
    assert report.mean == pytest.approx(5, abs=0.5)
    assert report.mean == pytest.approx(n.mean().item())
    half = stats.t.ppf(0.975, 199) * n.std().item() / math.sqrt(200)
    assert report.interval == pytest.approx(half, rel=1e-5)
    assert "return 5" in repr(report) or "return 4" in repr(report)
    assert f"<td>{report.mean:.4g}</td>" in report._repr_html_()  # no per cent


def test_the_luck_of_trials_depends_on_the_tasks_seed_and_not_on_the_caller():
    family = BernoulliBandits(n_arms=2)
    learner = RL2(Flatten((1,)), family.actions, hidden=4)
    scores = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        scores.append(meta_test(learner, Trials(family), 20).scores)
    assert scores[0] == scores[1]
    other = BernoulliBandits(n_arms=2, seed=1)
    assert meta_test(learner, Trials(other), 20).scores != scores[0]
    with pytest.raises(UsageError, match="at least 2 test tasks"):
        meta_test(learner, Trials(family), 1)


def test_a_report_shows_its_score_and_no_list_of_scores():
    report = report_of("accuracy", [0.25, 0.75, 0.5, 0.5], 0.1234)
    assert repr(report) == "TestReport(accuracy 0.5 ± 0.12, 4 tasks)"
    html = report._repr_html_()
    for shown in ("50 %", "± 12 %", "± 32 %", "clustered by class", "<td>4</td>", "from 0.25"):
        assert shown in html
    (svg,) = re.findall(r"<svg.*?</svg>", html)
    bars = ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}rect")
    assert len([bar for bar in bars if float(bar.attrib["height"]) > 0]) == 3


def test_a_report_of_regression_has_no_per_cent():
    report = report_of("mse", [2.0, 4.0], None)
    assert repr(report) == "TestReport(mse 3 ± 0.32, 2 tasks)"
    assert "%" not in report._repr_html_().replace("95 %", "")
    assert "clustered" not in report._repr_html_()


def report_of(metric, scores, clustered):
    return TestReport(metric, sum(scores) / len(scores), 0.32, clustered, scores)
