import numpy as np
import pytest
import torch
from scipy import sparse

from quickstudy.apps.recommend import click_world, generated
from quickstudy.apps.recommend.bases import CLICK_BASES, UNORDERED_CLICK_BASES
from quickstudy.apps.recommend.meta_level.choice_level import (
    EXCLUDED,
    N_POSITIVES,
    N_REFERENCES,
    ChoiceLevel,
    UnorderedChoiceLevel,
    _references,
)
from quickstudy.apps.recommend.meta_level.inputs import (
    Configuration,
    MetaExamples,
    MetaInputs,
    OwnPredictions,
)

CONFIGURATIONS = [Configuration("neighbours", np.inf), Configuration("popularity", np.inf)]
N_OTHERS = 40


def choices(which, n_clicks, rng):
    """Scores (n, M, 2) and targets of choices by the configuration `which` of each user."""
    n, size = len(which), N_POSITIVES + N_OTHERS
    scores = rng.normal(size=(n, size, 2))
    scores[np.arange(n)[:, None], np.arange(n_clicks), which[:, None]] += 3
    targets, offsets = np.zeros((n, size)), np.zeros((n, size))
    targets[:, :n_clicks], offsets[:, n_clicks:N_POSITIVES] = 1, EXCLUDED
    return scores, targets, offsets


def made_examples(n, rng, shows_in):
    """Choices by the first configuration, or for half of the users by the second. Which one shows
    in a meta-feature ("features"), in the user's own clicks ("own"), or is the first for all
    ("")."""
    which = rng.integers(2, size=n) if shows_in else np.zeros(n, int)
    users = np.where(shows_in == "features", which - 0.5, rng.normal(size=n))[:, None]
    of_own = choices(which if shows_in == "own" else rng.integers(2, size=n), 3, rng)
    scores, targets, offsets = choices(which, 2, rng)
    inputs = MetaInputs(scores, users, offsets[..., None], OwnPredictions(*of_own))
    return MetaExamples(inputs, targets)


def fitted(examples, kind):
    return ChoiceLevel(np.ones(1), CONFIGURATIONS, kind).fit(examples)


def test_the_configuration_that_predicts_the_choices_gets_the_weight():
    first, second = fitted(made_examples(300, np.random.default_rng(0), ""), "blend").decision()[
        "weights"
    ]
    assert first > 1 > 5 * abs(second)


@pytest.mark.parametrize("shows_in", ["features", "own"])
def test_the_meta_level_tells_users_apart_and_a_blend_does_not(shows_in):
    rng = np.random.default_rng(0)
    training, held_out = (made_examples(300, rng, shows_in) for _ in range(2))
    meta, blend = (fitted(training, kind) for kind in ("meta", "blend"))
    # errors are -nDCG
    assert 1 + meta.selection_error(held_out) < 0.8 * (1 + blend.selection_error(held_out))


def test_the_step_goes_along_the_gradient_of_the_likelihood_of_the_own_clicks():
    examples = made_examples(20, np.random.default_rng(1), "own")
    level = fitted(examples, "meta")
    prepared = level._prepare(examples.inputs)
    prepared = prepared._replace(
        own_predictions=prepared.own_predictions.double(),
        own_offsets=prepared.own_offsets.double(),
        own_targets=prepared.own_targets.double(),
    )
    reference = level.parameters["reference_weights"].double()
    p = level.parameters
    level.parameters = {
        **p,
        "reference_weights": reference,
        "log_precisions": torch.full((2,), 20.0).double(),
    }
    step = level._step(prepared) * np.exp(20.0)  # so short that it is the gradient

    def log_likelihood(weights):
        logits = prepared.own_predictions @ weights + prepared.own_offsets
        others = logits[:, N_POSITIVES:]
        total = 0.0
        for k in range(3):
            alone = torch.cat([logits[:, k : k + 1], others], 1)
            total = total + (alone[:, 0] - alone.logsumexp(1))
        return total  # (N,)

    h = 1e-5
    for c in range(2):
        shift = torch.zeros(2).double()
        shift[c] = h
        difference = (log_likelihood(reference + shift) - log_likelihood(reference - shift)) / (
            2 * h
        )
        assert torch.allclose(step[:, c], difference, atol=1e-4)


def of_one_configuration():
    """A level whose scores are those of its only configuration."""
    level = ChoiceLevel(np.ones(1), CONFIGURATIONS[:1], "single")
    level.parameters = {
        "user_feature_means": torch.zeros(1),
        "user_feature_stds": torch.ones(1),
        "weights": torch.ones(1),
        "weights_by_user": torch.zeros(1, 1),
        "log_inverse_temperature": torch.zeros(()),
    }
    return level


def test_a_sampled_item_ahead_counts_for_as_many_as_it_stands_for():
    level = of_one_configuration()
    scores, odds = np.full(N_POSITIVES + 3, -9.0), np.full(N_POSITIVES + 3, EXCLUDED)
    scores[0], odds[0] = 2.0, 0  # the choice
    scores[-3:], odds[-3:] = [3.0, 4.0, 1.0], np.log([2.0, 1.0, 50.0])
    target = np.zeros((1, N_POSITIVES + 3))
    target[0, 0] = 1
    own = OwnPredictions(np.zeros((1, 0, 1)), np.zeros((1, 0)), np.zeros((1, 0)))
    inputs = MetaInputs(scores[None, :, None], np.zeros((1, 1)), odds[None, :, None], own)
    assert level.selection_error(MetaExamples(inputs, target)) == pytest.approx(-1 / np.log2(5))


@pytest.mark.parametrize(
    ("level", "bases", "earlier", "later"),
    [
        (ChoiceLevel, CLICK_BASES, [7, 2], [5, 0, 9]),  # in time
        (UnorderedChoiceLevel, UNORDERED_CLICK_BASES, [0, 5], [2, 7, 9]),  # about every other
    ],
)
def test_a_part_of_the_own_clicks_is_predicted_from_the_others(level, bases, earlier, later):
    data = generated(n_users=40, n_items=20).as_clicks()
    if level is UnorderedChoiceLevel:
        bases = {"popularity": bases["popularity"], "neighbours": bases["neighbours"]}
    ones = np.ones((40, 1)), np.ones((20, 1))
    fitted = {name: base().fit(data.matrix(), *ones) for name, base in bases.items()}
    clicks = [7, 2, 5, 0, 9]
    values = np.arange(1.0, 6) if level is ChoiceLevel else np.ones(5)
    history = sparse.csr_matrix((values, ([0] * 5, clicks)), shape=(1, 20))
    own = level._own_predictions(fitted, history, np.ones((1, 1)))
    assert own.targets[0].sum() == len(later)
    values = values[: len(earlier)]
    before = sparse.csr_matrix((values, ([0] * len(earlier), earlier)), shape=(1, 20))
    expected = np.concatenate(
        [base.predict(before, np.ones((1, 1)))[:, 0] for base in fitted.values()]
    ).T
    is_click = own.targets[0] > 0
    assert np.allclose(
        np.sort(own.predictions[0][is_click], 0), np.sort(expected[later], 0), atol=1e-6
    )


def test_reference_items_stand_for_all_items():
    counts = np.bincount(click_world(n_users=50, n_items=300).data.item, minlength=300)
    items, offsets = _references(counts)
    assert len(items) <= N_REFERENCES
    assert np.exp(offsets).sum() == pytest.approx(300, rel=0.1)


def test_items_with_the_same_score_are_above_each_other_by_half():
    level = of_one_configuration()
    scores, odds = np.zeros(N_POSITIVES + 2), np.full(N_POSITIVES + 2, EXCLUDED)
    odds[0], odds[-2:] = 0, np.log([1.0, 3.0])  # the choice, and four items that score alike
    target = np.zeros((1, N_POSITIVES + 2))
    target[0, 0] = 1
    own = OwnPredictions(np.zeros((1, 0, 1)), np.zeros((1, 0)), np.zeros((1, 0)))
    inputs = MetaInputs(scores[None, :, None], np.zeros((1, 1)), odds[None, :, None], own)
    assert level.selection_error(MetaExamples(inputs, target)) == pytest.approx(-1 / np.log2(4))
