from dataclasses import replace

import numpy as np
import torch
from scipy import sparse

from made_ratings import CONFIGURATIONS, RATING_VALUES, made_examples
from quickstudy.apps.recommend.meta_level.base import newton_step
from quickstudy.apps.recommend.meta_level.inputs import MetaExamples, MetaInputs, OwnPredictions
from quickstudy.apps.recommend.meta_level.rating_level import (
    N_OWN,
    RatingLevel,
    _own_predictions,
)


def test_the_step_finds_the_base_that_serves_a_user_and_one_blend_cannot():
    rng = np.random.default_rng(0)
    (examples, _), (held_out, served) = made_examples(200, rng), made_examples(100, rng)
    meta, blend = (
        RatingLevel(RATING_VALUES, CONFIGURATIONS, kind).fit(examples) for kind in ("meta", "blend")
    )
    assert meta.selection_error(held_out) < 0.8 * blend.selection_error(held_out)
    weights = np.array(
        [meta.decision(held_out.inputs.of_users(np.array([u])))["weights"] for u in range(100)]
    )
    assert np.mean((weights[:, 2] > weights[:, 1]) == served) > 0.9


def test_padding_of_queries_and_of_own_ratings_changes_nothing():
    rng = np.random.default_rng(1)
    examples, _ = made_examples(50, rng)
    level = RatingLevel(RATING_VALUES, CONFIGURATIONS).fit(examples)
    inputs = examples.inputs
    padded_own = OwnPredictions(
        np.pad(inputs.own.predictions, ((0, 0), (0, 5), (0, 0)), constant_values=3.0),
        np.pad(inputs.own.targets, ((0, 0), (0, 5)), constant_values=np.nan),
        np.pad(inputs.own.offsets, ((0, 0), (0, 5))),
    )
    padded = MetaInputs(inputs.predictions, inputs.user_features, inputs.item_features, padded_own)
    assert np.allclose(level.probabilities(padded), level.probabilities(inputs), atol=1e-6)
    targets = examples.targets.copy()
    targets[:, 6:] = np.nan
    few = level.errors(MetaExamples(inputs, targets))
    at = np.broadcast_to(np.arange(50)[:, None], (50, 6))
    columns = np.broadcast_to(np.arange(6), (50, 6))
    alone = level.errors(MetaExamples(inputs.select(at, columns), targets[:, :6]))
    assert all(np.allclose(a, b) for a, b in zip(few, alone, strict=True))


def test_what_fills_examples_with_fewer_queries_is_not_learned_from():
    examples, _ = made_examples(40, np.random.default_rng(3))
    targets = examples.targets.copy()
    targets[:20, 6:] = np.nan
    inputs = examples.inputs
    filled = replace(
        inputs,
        predictions=np.where(np.isnan(targets)[..., None], 1.0, inputs.predictions),
        item_features=np.where(np.isnan(targets)[..., None], 9.0, inputs.item_features),
    )
    one, other = (
        RatingLevel(RATING_VALUES, CONFIGURATIONS).fit(MetaExamples(given, targets))
        for given in (inputs, filled)
    )
    for name, value in one.parameters.items():
        assert torch.equal(value, other.parameters[name]), name


def test_a_shifted_and_stretched_scale_changes_the_ratings_alone():
    examples, _ = made_examples(60, np.random.default_rng(2))
    level = RatingLevel(RATING_VALUES, CONFIGURATIONS).fit(examples)
    inputs, own = examples.inputs, examples.inputs.own
    stretched = MetaExamples(
        MetaInputs(
            10 * inputs.predictions - 20,
            inputs.user_features,
            inputs.item_features,
            OwnPredictions(10 * own.predictions - 20, 10 * own.targets - 20, own.offsets),
        ),
        10 * examples.targets - 20,
    )
    again = RatingLevel(10 * RATING_VALUES - 20, CONFIGURATIONS).fit(stretched)
    assert np.allclose(
        again.probabilities(stretched.inputs), level.probabilities(inputs), atol=1e-3
    )


def test_the_step_is_the_posterior_mean_of_a_bayesian_regression():
    rng = np.random.default_rng(0)
    x, y, noise, precision = rng.normal(size=(7, 3)), rng.normal(size=7), 0.5, np.array([1, 2, 4.0])
    step = newton_step(
        torch.tensor(x.T @ y / noise)[None],
        torch.tensor(x.T @ x / noise)[None],
        torch.tensor(np.log(precision)),
    )
    augmented = np.concatenate([x / np.sqrt(noise), np.diag(np.sqrt(precision))])
    expected, *_ = np.linalg.lstsq(augmented, np.append(y / np.sqrt(noise), np.zeros(3)))
    assert np.allclose(step[0], expected)


def test_of_many_own_ratings_some_are_taken_that_are_evenly_spread():
    ratings = sparse.csr_matrix(np.arange(1.0, 91)[None])
    own = _own_predictions(ratings, np.arange(90.0)[None])
    assert own.targets.shape == (1, N_OWN)
    assert np.array_equal(own.targets[0], np.arange(1, 91, 3))
    assert np.array_equal(own.predictions[0, :, 0] + 1, own.targets[0])
