from dataclasses import replace

import numpy as np
import pytest

from quickstudy.apps.recommend import Recommender, correct_scores, generated
from quickstudy.errors import DataError

DATA = generated(n_users=120, n_items=40, seed=3)
LATER = np.random.default_rng(0).random(len(DATA.rating)) < 0.3


def part(rows, data=DATA):
    return replace(
        data,
        user=data.user[rows],
        item=data.item[rows],
        rating=data.rating[rows],
        time=data.time[rows],
    )


@pytest.fixture(scope="module")
def recommender():
    return Recommender(meta=False).fit(part(~LATER))


def test_scores_that_are_right_are_kept(recommender):
    true = part(LATER)
    noise = 0.1 * np.random.default_rng(1).normal(size=LATER.sum())
    scores = replace(true, rating=10 * true.rating + noise, scale=None)
    corrected = correct_scores(scores, part(~LATER), true, recommender=recommender)
    assert np.abs(corrected.scores - true.rating).mean() < 0.05
    assert corrected.errors["the scores"] < 0.01 < corrected.errors["the recommender"]


def test_scores_that_know_popular_items_alone_are_corrected_for_others():
    """They are right where an item has many ratings, and noise elsewhere."""
    rng = np.random.default_rng(2)
    later = rng.random(len(DATA.rating)) < 0.85
    true, counts = part(later), np.bincount(DATA.item[~later], minlength=40)
    noise = np.where(counts[true.item] >= 15, 0.1, 4.0) * rng.normal(size=later.sum())
    scores = replace(true, rating=true.rating + noise, scale=None)
    recommender = Recommender(meta=False).fit(part(~later))
    corrected = correct_scores(scores, part(~later), true, recommender=recommender)
    assert corrected.model == "a blend by how much is known"
    assert np.abs(corrected.scores - true.rating).mean() < np.abs(noise).mean()
    assert corrected.errors[corrected.model] < min(
        corrected.errors[name] for name in ("the scores", "the recommender")
    )


def test_scores_of_clicks_are_corrected_to_log_odds():
    clicks = DATA.as_clicks()
    recommender = Recommender(meta=False).fit(part(~LATER, clicks))
    users, items = np.divmod(np.arange(120 * 40), 40)
    rng = np.random.default_rng(0)
    will_click = np.zeros(120 * 40)
    will_click[DATA.user[LATER] * 40 + DATA.item[LATER]] = 1
    scores = replace(
        DATA,
        user=users,
        item=items,
        rating=will_click + 0.5 * rng.normal(size=len(users)),
        time=None,
        scale=None,
    )
    corrected = correct_scores(
        scores, part(~LATER, clicks), part(LATER, clicks), recommender=recommender
    )
    clicked, others = corrected.scores[will_click == 1], corrected.scores[will_click == 0]
    assert clicked.mean() > others.mean() + 1
    assert corrected.errors[corrected.model] <= corrected.errors["the scores"] + 0.05


def test_too_few_held_out_users_are_refused(recommender):
    few = part(LATER & (DATA.user < 5))
    with pytest.raises(DataError, match="20 users, got 5"):
        correct_scores(part(LATER), part(~LATER), few, recommender=recommender)


def test_a_user_without_data_is_refused(recommender):
    scores = replace(part(LATER), users=["stranger", *DATA.users[1:]])
    with pytest.raises(DataError, match="got 'stranger'"):
        correct_scores(scores, part(~LATER), part(LATER), recommender=recommender)
