"""What the meta-learner learns from a history, and when it does not."""

import numpy as np
import pytest

from quickstudy.apps.automl import History, MetaLearner, Portfolio, RandomOrder, regret_curve
from quickstudy.errors import UsageError


def history_by_size(n=60, c=10, seed=0):
    """What is good depends on one meta-feature, `size`; `noise` tells nothing."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(0, 1, n)
    scores = -np.abs(sizes[:, None] - np.linspace(0, 1, c)) + 0.01 * rng.normal(size=(n, c))
    names = [f"d{i}" for i in range(n)]
    features = {
        name: {"size": size, "noise": noise}
        for name, size, noise in zip(names, sizes, rng.uniform(0, 1, n), strict=True)
    }
    return History(names, [f"c{i}" for i in range(c)], scores, features)


def test_an_empty_history_gives_random_order():
    meta = MetaLearner().fit(History([], ["x", "y"], []))
    assert (meta.chosen_, meta.judged_) == ("random", {})
    assert isinstance(advisor := meta.advise({"size": 3.0}), RandomOrder)
    assert sorted(advisor.suggest(5)) == ["x", "y"]
    assert advisor.neighbours() == []


def test_a_short_history_gives_a_portfolio():
    history = history_by_size(5)
    meta = MetaLearner().fit(history)
    assert meta.judged_ == {}
    assert meta.advise().suggest(3) == Portfolio(history).suggest(3)


def test_the_meta_feature_that_tells_what_is_good_is_learned_and_used():
    history = history_by_size()
    meta = MetaLearner(n_trials=3).fit(history)
    assert meta.distance_["size"] > 10 * meta.distance_["noise"]
    assert meta.judged_["random"] > 2 * min(meta.judged_.values())
    assert meta.chosen_ == min(meta.judged_, key=lambda way: meta.judged_[way])
    for size, best in [(0.02, {"c0", "c1"}), (0.98, {"c8", "c9"})]:
        advisor = meta.advise({"size": size})
        assert set(advisor.suggest()) <= best
        near = [history.features[name]["size"] for name, _ in advisor.neighbours(3)]
        assert np.abs(np.array(near) - size).max() < 0.2


def test_a_history_of_noise_does_no_worse_than_random():
    """The guard against negative transfer: scores that tell nothing of another data set."""
    rng = np.random.default_rng(0)
    names = [f"d{i}" for i in range(80)]
    history = History(names, [f"c{i}" for i in range(15)], rng.normal(size=(80, 15)))
    known = history.without(names[40:])
    meta = MetaLearner(n_trials=8).fit(known)
    ours, random = (
        np.mean([regret_curve(make(i), history, i, 8) for i in range(40, 80)])
        for make in (lambda i: meta.advise(), lambda i: RandomOrder(known, seed=i))
    )
    assert ours < random + 0.03


def test_the_same_seed_learns_the_same():
    history = history_by_size(20)
    one, other = (MetaLearner(n_trials=4, seed=3).fit(history) for _ in range(2))
    assert (one.judged_, one.distance_) == (other.judged_, other.distance_)


def test_a_history_that_has_grown_is_taken_with_what_was_learned():
    history = history_by_size(20)
    meta = MetaLearner(n_trials=3).fit(history.without(["d0"]))
    learned = meta.chosen_, meta.distance_
    assert meta.update(history).history_ is history
    assert (meta.chosen_, meta.distance_) == learned
    assert len(meta.advise({"size": 0.5}).neighbours(99)) == 20


def test_regret_of_a_data_set_falls_to_0_when_all_is_tried():
    history = history_by_size(12)
    known = history.without(["d3"])
    curve = regret_curve(RandomOrder(known), history, 3, 11)
    assert (np.diff(curve) <= 0).all()
    assert curve[-1] == 0


def test_less_than_one_trial_is_refused():
    with pytest.raises(UsageError, match="n_trials >= 1"):
        MetaLearner(n_trials=0)


def test_a_version_of_an_own_data_set_counts_above_all_others_and_needs_many_features():
    rng = np.random.default_rng(0)
    names, numbers = [f"d{i}" for i in range(30)], rng.normal(size=(30, 12))
    features = {
        n: {f"f{j}": float(v) for j, v in enumerate(x)} for n, x in zip(names, numbers, strict=True)
    }
    scores = np.tile(np.linspace(0, 1, 5), (30, 1))
    scores[-1] = scores[-1][::-1]  # what is best elsewhere is the worst on d29
    history = History(names, list("abcde"), scores, features)
    meta = MetaLearner(n_trials=3).fit(history)
    near = {name: value + 0.1 for name, value in features["d29"].items()}
    assert meta.advise(near).suggest() == ["e"]
    own = MetaLearner.restore(meta.learned(), history, ["d29", "unknown"])
    assert own.own_ == ["d29"]
    assert own.advise(near).suggest() == ["a"]
    assert own.nearest(near)[0] == "d29"
    far = {name: value + 1.0 for name, value in near.items()}
    few = {name: near[name] for name in ("f0", "f1", "f2")}
    for other in (far, few, {}):
        assert own.advise(other).suggest() == ["e"]
