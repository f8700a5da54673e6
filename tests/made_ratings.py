"""Examples for meta-levels of ratings, in which users differ in which base serves them."""

import numpy as np

from quickstudy.apps.recommend.meta_level.inputs import (
    Configuration,
    MetaExamples,
    MetaInputs,
    OwnPredictions,
)

RATING_VALUES = np.arange(1.0, 6)
CONFIGURATIONS = [
    Configuration("user_bias", np.inf),
    Configuration("bayes", 1.0),
    Configuration("neighbours", 1.0),
]


def made_examples(n, rng, n_own=8):
    """Half of the users are served by the second configuration, half by the third; which one shows
    in their own ratings alone. The other configuration moves ratings at random."""
    served = rng.integers(2, size=n)

    def predictions(m):
        mean = rng.uniform(2, 4, (n, m))
        truth = mean + rng.normal(0, 1, (n, m))
        noise = mean + rng.normal(0, 1, (n, m))
        rating = np.clip(np.round(truth), 1, 5)
        is_second = (served == 0)[:, None]
        both = np.where(is_second, truth, noise), np.where(is_second, noise, truth)
        return np.stack([mean, *both], -1), rating

    queries, targets = predictions(10)
    own, ratings = predictions(n_own)
    features = np.column_stack([np.full(n, np.log1p(n_own)), rng.normal(size=n)])
    inputs = MetaInputs(
        queries,
        features,
        rng.normal(size=(n, 10, 2)),
        OwnPredictions(own, ratings, np.zeros(ratings.shape)),
    )
    return MetaExamples(inputs, targets), served
