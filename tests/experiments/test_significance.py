import numpy as np
import pytest
from scipy import stats

from quickstudy.experiments.significance import interquartile_mean

SCORES = np.random.default_rng(0).standard_normal((5, 12)) ** 3 + np.arange(12) / 4


def middle_half(scores):
    ordered = np.sort(scores, axis=None)
    cut = ordered.size // 4
    return ordered[cut : ordered.size - cut].mean()


def test_the_mean_is_that_of_the_middle_half():
    assert interquartile_mean(SCORES).mean == pytest.approx(middle_half(SCORES), abs=1e-12)


def test_the_stratified_interval_is_that_of_scipy():
    """SciPy draws each of several samples on its own; here a sample is a task."""
    theirs = stats.bootstrap(
        tuple(SCORES.T),
        lambda *tasks: middle_half(np.stack(tasks)),
        vectorized=False,
        method="percentile",
        n_resamples=4000,
        random_state=1,
    ).confidence_interval
    ours = interquartile_mean(SCORES).stratified
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)


def test_the_interval_is_that_of_whole_runs():
    theirs = stats.bootstrap(
        (np.arange(5),),
        lambda runs: middle_half(SCORES[runs]),
        vectorized=False,
        method="percentile",
        n_resamples=4000,
        random_state=1,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert interquartile_mean(SCORES).interval == pytest.approx(
        (theirs.low, theirs.high), abs=0.1 * width
    )


def test_a_run_that_is_bad_everywhere_widens_the_interval_that_draws_whole_runs():
    scores = SCORES.copy()
    scores[0] -= 3
    found = interquartile_mean(scores)
    assert np.ptp(found.interval) > 1.5 * np.ptp(found.stratified)


def test_a_single_run_has_no_interval():
    found = interquartile_mean(SCORES[:1])
    assert (found.stratified, found.interval) == (None, None)
