import math

import pytest
import torch
from scipy import stats

from quickstudy.engine import meta_test
from quickstudy.engine.meta_test import clustered_interval
from quickstudy.errors import UsageError
from quickstudy.learners import NearestCentroid
from quickstudy.tasks import EpisodeSampler
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
    assert clustered_interval(scores, clusters) == pytest.approx(expected)


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
