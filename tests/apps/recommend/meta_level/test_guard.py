import numpy as np

from quickstudy.apps.recommend.meta_level.guard import GuardedLevel, choose_by_size
from quickstudy.apps.recommend.meta_level.inputs import SUPPORT_SIZES, MetaInputs, OwnPredictions

SIZES = np.repeat(SUPPORT_SIZES, 50)
RNG = np.random.default_rng(0)


def test_the_lowest_error_is_taken_for_each_size():
    one, two = np.where(SIZES < 5, 1.0, 2.0), np.where(SIZES < 5, 2.0, 1.0)
    assert choose_by_size({"one": [one], "two": [two]}, SIZES) == ["one"] * 3 + ["two"] * 3


def test_a_low_error_does_not_make_up_for_a_ranking_that_is_worse():
    error, ranking = RNG.random(len(SIZES)), -RNG.random(len(SIZES))
    worse_from_5 = ranking + np.where(SIZES >= 5, 0.2, 0) + 0.01 * RNG.normal(size=len(SIZES))
    chosen = choose_by_size(
        {"exact": [error - 0.1, worse_from_5], "ranks well": [error, ranking]}, SIZES
    )
    assert chosen[3:] == ["ranks well"] * 3


def test_a_ranking_that_differs_by_chance_does_not_count():
    error, ranking = RNG.random(len(SIZES)), -RNG.random(len(SIZES))
    noisy = ranking + 0.1 * RNG.permuted(np.tile([-1.0, 1.0], len(SIZES) // 2))
    candidates = {"exact": [error - 0.1, noisy - noisy.mean() + ranking.mean()]}
    chosen = choose_by_size({**candidates, "other": [error, ranking]}, SIZES)
    assert chosen.count("exact") >= 4


def test_where_it_is_close_the_preferred_candidate_is_taken():
    one = RNG.random(len(SIZES))
    close = one + 0.3 * RNG.permuted(np.tile([-1.0, 1.0], len(SIZES) // 2))
    candidates = {"one": [one], "close": [close - close.mean() + one.mean() + 1e-3]}
    assert choose_by_size(candidates, SIZES, ["close"]).count("close") >= 4
    candidates["far"] = [one + 0.1]
    assert "far" not in choose_by_size(candidates, SIZES, ["far"])


def test_users_without_queries_do_not_count_in_the_ranking():
    nothing = np.full(len(SIZES), np.nan)
    assert choose_by_size(
        {"a": [np.ones(len(SIZES)), nothing], "b": [np.zeros(len(SIZES)), nothing]}, SIZES
    ) == ["b"] * len(SUPPORT_SIZES)


class Constant:
    def __init__(self, value):
        self.value, self.parameters = value, {}

    def probabilities(self, inputs):
        return np.full((*inputs.predictions.shape[:2], 1), self.value)


def test_each_user_gets_the_level_for_the_nearest_size():
    chosen = ["none", "few", "few", "many", "many", "many"]
    levels = {name: Constant(i) for i, name in enumerate(("none", "few", "many"))}
    guarded = GuardedLevel(levels, chosen)
    n_known = np.array([0, 1, 2, 3, 4, 5, 100])
    inputs = MetaInputs(
        np.zeros((7, 3, 1)),
        np.log1p(n_known)[:, None],
        np.zeros((7, 3, 1)),
        OwnPredictions(np.zeros((7, 0, 1)), np.zeros((7, 0)), np.zeros((7, 0))),
    )
    assert guarded.probabilities(inputs)[:, 0, 0].tolist() == [0, 1, 1, 1, 2, 2, 2]
    assert [guarded.name_for(n) for n in (0, 3, 30)] == ["none", "few", "many"]
