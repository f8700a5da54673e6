"""The belief about the goal of a grid, as a run of VariBAD has it."""

import pytest
import torch
from PIL import Image

from quickstudy.errors import UsageError
from quickstudy.experiments.build import make_learner
from quickstudy.experiments.goal_beliefs import _way, draw_goal_beliefs, goal_beliefs
from quickstudy.learners import VariBAD
from quickstudy.recipes.loading import load_recipe

SMALL = ["learner.hidden=4", "data.options={size=4, horizon=3}", "backbone.sizes=[4,4]"]


def found_of(*changes, n_tasks=2):
    recipe = load_recipe("varibad_gridnavi", [*SMALL, "test.0.n_query=2", *changes])
    return goal_beliefs(recipe, make_learner(recipe), n_tasks=n_tasks)


def test_there_is_a_probability_for_each_cell_before_the_first_step_and_after_each():
    found = found_of()
    assert found.probabilities.shape == (7, 2, 4, 4)
    assert 0 < found.probabilities.min() < found.probabilities.max() < 1
    assert torch.equal(found.probabilities, found_of().probabilities)


def test_a_cell_is_where_its_column_and_row_say(monkeypatch):
    """The decoder is made to know one cell, (1, 2)."""
    recipe = load_recipe("varibad_gridnavi", SMALL)
    learner = make_learner(recipe)
    assert isinstance(learner, VariBAD)
    there = learner.backbone(torch.tensor([[1.0, 2.0]]))

    def forward(latents, steps):
        logits = 20 * (steps @ there.T - 0.5)  # (t, n, 1)
        return logits.transpose(0, 1)[:, None].expand(-1, len(latents), -1, -1)

    monkeypatch.setattr(learner.reward_decoder, "forward", forward)
    found = goal_beliefs(recipe, learner, n_tasks=1)
    assert found.probabilities[0, 0, 1, 2] > 0.99
    assert found.probabilities[0, 0].sum() < 1.01


def test_the_way_of_an_episode_ends_where_its_last_step_led():
    found = found_of(n_tasks=6)
    for task in range(6):
        for begin in (0, 3):
            way = _way(found, task, begin + 3)
            assert len(way) == 4
            assert way[0].tolist() == [0, 0]
            assert (way[1:] - way[:-1]).abs().sum(1).max() <= 1
            here = (way[1:] == found.goals[task]).all(1)
            rewards = found.experience.rewards[begin : begin + 3, task]
            assert torch.equal(here, rewards > 0)
        assert torch.equal(
            _way(found, task, 6)[-1].float(), found.experience.final_observations[task]
        )
        assert _way(found, task, 0).tolist() == [[0, 0]]


def test_it_is_drawn(tmp_path):
    with Image.open(draw_goal_beliefs(found_of(), tmp_path / "belief.png")) as picture:
        assert picture.size[0] > picture.size[1]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("rl2_gridnavi", []),
        ("varibad_gridnavi", ["learner.reward_model=normal"]),
        ("varibad_gridnavi", ['learner.reward_inputs=["action"]']),
    ],
)
def test_a_learner_of_which_no_goal_can_be_decoded_is_refused(name, changes):
    recipe = load_recipe(name, changes)
    with pytest.raises(UsageError, match="expected a run of varibad on gridnavi"):
        goal_beliefs(recipe, make_learner(recipe))
