from dataclasses import replace

import numpy as np
import torch

from made_ratings import CONFIGURATIONS, RATING_VALUES, made_examples
from quickstudy.apps.recommend.meta_level import ChoiceLevel, RatingLevel, UnorderedChoiceLevel
from quickstudy.apps.recommend.meta_level import prior as prior_module
from quickstudy.apps.recommend.meta_level.inputs import Configuration, configurations_of
from quickstudy.apps.recommend.meta_level.prior import (
    LevelPrior,
    learn_prior,
    shipped_prior,
    write_priors,
)


def levels(n):
    return [RatingLevel(RATING_VALUES, CONFIGURATIONS) for _ in range(n)]


def test_a_prior_from_other_data_helps_where_users_are_few():
    rng = np.random.default_rng(0)
    others = [made_examples(60, rng)[0] for _ in range(4)]
    prior = learn_prior(levels(4), others)
    few, (held_out, _) = made_examples(8, rng)[0], made_examples(200, rng)
    with_prior = RatingLevel(RATING_VALUES, CONFIGURATIONS).fit(few, prior)
    without = RatingLevel(RATING_VALUES, CONFIGURATIONS).fit(few)
    assert with_prior.selection_error(held_out) < 0.95 * without.selection_error(held_out)


def test_a_prior_is_read_as_it_was_written(tmp_path, monkeypatch):
    learned = learn_prior(
        levels(2), [made_examples(20, np.random.default_rng(i))[0] for i in (0, 1)]
    )
    write_priors({"RatingLevel": learned}, tmp_path / "prior.json")
    monkeypatch.setattr(prior_module, "SHIPPED", tmp_path / "prior.json")
    again = shipped_prior.__wrapped__("RatingLevel")
    assert again.configurations == learned.configurations
    for name, value in learned.parameters.items():
        assert torch.allclose(again.parameters[name], value, atol=1e-5)
    assert shipped_prior.__wrapped__("ChoiceLevel") is None


def test_configurations_and_attributes_that_the_prior_does_not_know_start_from_zero():
    level = RatingLevel(RATING_VALUES, [*CONFIGURATIONS, Configuration("other", 0.0)])
    examples, _ = made_examples(10, np.random.default_rng(0))
    inputs = examples.inputs
    wider = [
        np.concatenate([a, a[..., :1]], -1) for a in (inputs.predictions, inputs.own.predictions)
    ]
    examples = replace(
        examples,
        inputs=replace(
            inputs,
            predictions=wider[0],
            own=replace(inputs.own, predictions=wider[1]),
            user_features=np.column_stack([inputs.user_features, inputs.user_features]),
        ),
    )
    names = list(map(str, CONFIGURATIONS))
    prior = LevelPrior(names, {"weights": torch.ones(3), "weights_by_user": torch.ones(2, 3)})
    level.initialise(examples, prior)
    assert level.parameters["weights"].tolist() == [1, 1, 1, 0]
    expected = torch.zeros(4, 4)
    expected[:2, :3] = 1
    assert torch.equal(level.parameters["weights_by_user"], expected)


def test_the_shipped_prior_fits_each_class_of_levels():
    for level in (RatingLevel, ChoiceLevel, UnorderedChoiceLevel):
        prior = shipped_prior(level.__name__)
        assert prior is not None
        assert prior.configurations == list(map(str, configurations_of(level.BASES)))
        assert {*level.LEARNED_BY_USER, *level.LEARNED_IN_BLENDS} >= prior.parameters.keys()
        assert all(torch.isfinite(p).all() for p in prior.parameters.values())
