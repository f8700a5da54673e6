import numpy as np
import pytest
import torch

from quickstudy.apps.recommend.meta_level.choice_level import EXCLUDED, N_POSITIVES, ChoiceLevel
from quickstudy.apps.recommend.meta_level.inputs import Configuration, MetaExamples, MetaInputs

CONFIGURATIONS = [Configuration("neighbours", np.inf), Configuration("popularity", np.inf)]


def made_examples(n, rng, by_size=False):
    """Choices by the first configuration, or if `by_size` by the second for users with a negative
    value."""
    users = rng.normal(size=(n, 1))
    expected = rng.normal(size=(n, N_POSITIVES + 40, 2))
    target = np.zeros((n, N_POSITIVES + 40))
    target[:, :2] = 1
    which = (users[:, 0] < 0).astype(int) if by_size else np.zeros(n, int)
    expected[np.arange(n)[:, None], [[0, 1]], which[:, None]] += 3
    items = np.zeros((n, N_POSITIVES + 40, 1))
    items[:, 2:N_POSITIVES] = EXCLUDED
    return MetaExamples(MetaInputs(expected, users, items), target, np.arange(n))


def test_the_configuration_that_predicts_the_choices_gets_the_weight():
    level = ChoiceLevel(np.ones(1), CONFIGURATIONS, "blend").fit(
        made_examples(300, np.random.default_rng(0))
    )
    first, second = level.decision()["weights"]
    assert first > 1 > 5 * abs(second)


def test_the_meta_level_tells_users_apart_and_a_blend_does_not():
    rng = np.random.default_rng(0)
    training, held_out = (
        made_examples(300, rng, by_size=True),
        made_examples(300, rng, by_size=True),
    )
    meta, blend = (
        ChoiceLevel(np.ones(1), CONFIGURATIONS, kind).fit(training) for kind in ("meta", "blend")
    )
    assert meta.selection_error(held_out) < 0.8 * blend.selection_error(held_out)
    plus, minus = (meta.decision(np.array([[x]]))["weights"] for x in (1.0, -1.0))
    assert plus[0] > plus[1]
    assert minus[0] < minus[1]


def test_a_sampled_item_ahead_counts_for_as_many_as_it_stands_for():
    level = ChoiceLevel(np.ones(1), CONFIGURATIONS[:1], "single")
    level.parameters = {
        "user_feature_means": torch.zeros(1),
        "user_feature_stds": torch.ones(1),
        "weights": torch.ones(1),
        "weights_by_user": torch.zeros(1, 1),
        "log_inverse_temperature": torch.zeros(()),
    }
    scores, odds = np.full(N_POSITIVES + 3, -9.0), np.full(N_POSITIVES + 3, EXCLUDED)
    scores[0], odds[0] = 2.0, 0  # the choice
    scores[-3:], odds[-3:] = [3.0, 4.0, 1.0], np.log([2.0, 1.0, 50.0])
    target = np.zeros((1, N_POSITIVES + 3))
    target[0, 0] = 1
    inputs = MetaInputs(scores[None, :, None], np.zeros((1, 1)), odds[None, :, None])
    assert level.selection_error(MetaExamples(inputs, target, np.zeros(1, int))) == pytest.approx(
        1 - 1 / np.log2(5)
    )
