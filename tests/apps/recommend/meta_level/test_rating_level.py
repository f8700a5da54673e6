import numpy as np

from quickstudy.apps.recommend.meta_level.base import SIZES, Drawn, Seen
from quickstudy.apps.recommend.meta_level.rating_level import RatingLevel

LEVELS = np.arange(1.0, 6)
ACTIONS = [("user_bias", np.inf), ("bayes", 1.0)]


def drawn(n_groups, rng, sizes=SIZES, useless_at=0):
    """Ratings around the item's mean for each support size; the second action knows them better,
    but at one size only moves them at random."""
    parts = []
    for size in sizes:
        mean = rng.uniform(2, 4, (n_groups, 10))
        truth = mean + rng.normal(0, 1, mean.shape)
        personal = mean + rng.normal(0, 1, mean.shape) if size == useless_at else truth
        rating = np.clip(np.round(truth if size != useless_at else mean), 1, 5)
        expected = np.stack([mean, personal], -1).reshape(-1, 1, 2)
        n = len(expected)
        users = np.column_stack([np.full(n, np.log1p(size)), rng.normal(size=n)])
        doubts = rng.normal(size=(n, 1, 2))
        group = np.repeat(np.arange(n_groups), 10)
        parts.append(Drawn(Seen(expected, users, doubts), rating.reshape(-1, 1), group))
    return Drawn.of(parts)


def test_an_order_worse_than_that_of_the_means_is_given_up():
    level = RatingLevel(LEVELS, ACTIONS, "single").fit(drawn(60, np.random.default_rng(0)))
    assert level.parameters["trust"] == 0
    new = drawn(1, np.random.default_rng(1), sizes=(0,))
    expected = level.distribution(new.seen)[:, 0] @ LEVELS
    means = new.seen.expected[:, 0, 0]
    assert np.array_equal(np.argsort(expected), np.argsort(means))


def test_the_order_is_guarded_of_users_without_ratings_alone():
    rng = np.random.default_rng(0)
    level = RatingLevel(LEVELS, ACTIONS, "single").fit(drawn(60, rng, useless_at=3))
    assert level.parameters["trust"] == 1
    level = RatingLevel(LEVELS, ACTIONS, "single").fit(drawn(60, rng))
    weights = [level.decision(np.array([[np.log1p(n), 0.0]]))["weights"][1] for n in (0, 1, 20)]
    assert weights == [0, 1, 1]


def test_groups_of_different_parts_stay_apart():
    rng = np.random.default_rng(0)
    both = Drawn.of([drawn(2, rng, sizes=(0,)), drawn(3, rng, sizes=(1,))])
    assert np.bincount(both.group).tolist() == [10] * 5
