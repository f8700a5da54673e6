import numpy as np
import pytest
import torch

from quickstudy.apps.recommend.meta_level.base import Drawn, Seen
from quickstudy.apps.recommend.meta_level.choice_level import N_NEXT, NEVER, ChoiceLevel

ACTIONS = [("neighbours", np.inf), ("popularity", np.inf)]


def drawn(n, rng, by_size=False):
    """Choices by the first action, or if `by_size` by the second in users with a negative value."""
    users = rng.normal(size=(n, 1))
    expected = rng.normal(size=(n, N_NEXT + 40, 2))
    target = np.zeros((n, N_NEXT + 40))
    target[:, :2] = 1
    which = (users[:, 0] < 0).astype(int) if by_size else np.zeros(n, int)
    expected[np.arange(n)[:, None], [[0, 1]], which[:, None]] += 3
    items = np.zeros((n, N_NEXT + 40, 1))
    items[:, 2:N_NEXT] = NEVER
    return Drawn(Seen(expected, users, items), target, np.arange(n))


def test_the_action_that_choices_go_by_gets_the_weight():
    level = ChoiceLevel(np.ones(1), ACTIONS, "blend").fit(drawn(300, np.random.default_rng(0)))
    first, second = level.decision()["weights"]
    assert first > 1 > 5 * abs(second)


def test_the_meta_level_tells_users_apart_and_a_blend_does_not():
    rng = np.random.default_rng(0)
    seen, unseen = drawn(300, rng, by_size=True), drawn(300, rng, by_size=True)
    meta, blend = (ChoiceLevel(np.ones(1), ACTIONS, kind).fit(seen) for kind in ("meta", "blend"))
    assert meta.error(unseen) < 0.8 * blend.error(unseen)
    plus, minus = (meta.decision(np.array([[x]]))["weights"] for x in (1.0, -1.0))
    assert plus[0] > plus[1]
    assert minus[0] < minus[1]


def test_a_sampled_item_ahead_counts_for_as_many_as_it_stands_for():
    level = ChoiceLevel(np.ones(1), ACTIONS[:1], "single")
    level.parameters = {
        "middle": torch.zeros(1),
        "scale": torch.ones(1),
        "weights": torch.ones(1),
        "weights_by_user": torch.zeros(1, 1),
        "sharpness": torch.zeros(()),
    }
    scores, odds = np.full(N_NEXT + 3, -9.0), np.full(N_NEXT + 3, NEVER)
    scores[0], odds[0] = 2.0, 0  # the choice
    scores[-3:], odds[-3:] = [3.0, 4.0, 1.0], np.log([2.0, 1.0, 50.0])
    target = np.zeros((1, N_NEXT + 3))
    target[0, 0] = 1
    seen = Seen(scores[None, :, None], np.zeros((1, 1)), odds[None, :, None])
    assert level.error(Drawn(seen, target, np.zeros(1, int))) == pytest.approx(1 - 1 / np.log2(5))
