import numpy as np

from quickstudy.apps.recommend.meta_level.inputs import (
    SUPPORT_SIZES,
    Configuration,
    MetaExamples,
    MetaInputs,
)
from quickstudy.apps.recommend.meta_level.rating_level import RatingLevel

RATING_VALUES = np.arange(1.0, 6)
CONFIGURATIONS = [Configuration("user_bias", np.inf), Configuration("bayes", 1.0)]


def made_examples(n_groups, rng, sizes=SUPPORT_SIZES, useless_at=0):
    """Ratings around the item's mean for each support size; the second configuration knows them
    better, but at one size only moves them at random."""
    parts = []
    for size in sizes:
        mean = rng.uniform(2, 4, (n_groups, 10))
        truth = mean + rng.normal(0, 1, mean.shape)
        personal = mean + rng.normal(0, 1, mean.shape) if size == useless_at else truth
        rating = np.clip(np.round(truth if size != useless_at else mean), 1, 5)
        predictions = np.stack([mean, personal], -1).reshape(-1, 1, 2)
        n = len(predictions)
        user_features = np.column_stack([np.full(n, np.log1p(size)), rng.normal(size=n)])
        item_features = rng.normal(size=(n, 1, 2))
        groups = np.repeat(np.arange(n_groups), 10)
        parts.append(
            MetaExamples(
                MetaInputs(predictions, user_features, item_features), rating.reshape(-1, 1), groups
            )
        )
    return MetaExamples.concatenate(parts)


def test_a_ranking_worse_than_that_by_the_item_means_is_given_up():
    level = RatingLevel(RATING_VALUES, CONFIGURATIONS, "single").fit(
        made_examples(60, np.random.default_rng(0))
    )
    assert level.parameters["cold_start_weight"] == 0
    new = made_examples(1, np.random.default_rng(1), sizes=(0,))
    expected = level.probabilities(new.inputs)[:, 0] @ RATING_VALUES
    means = new.inputs.predictions[:, 0, 0]
    assert np.array_equal(np.argsort(expected), np.argsort(means))


def test_the_ranking_is_guarded_for_users_without_ratings_alone():
    rng = np.random.default_rng(0)
    level = RatingLevel(RATING_VALUES, CONFIGURATIONS, "single").fit(
        made_examples(60, rng, useless_at=3)
    )
    assert level.parameters["cold_start_weight"] == 1
    level = RatingLevel(RATING_VALUES, CONFIGURATIONS, "single").fit(made_examples(60, rng))
    weights = [level.decision(np.array([[np.log1p(n), 0.0]]))["weights"][1] for n in (0, 1, 20)]
    assert weights == [0, 1, 1]


def test_groups_of_different_parts_stay_apart():
    rng = np.random.default_rng(0)
    both = MetaExamples.concatenate(
        [made_examples(2, rng, sizes=(0,)), made_examples(3, rng, sizes=(1,))]
    )
    assert np.bincount(both.groups).tolist() == [10] * 5
