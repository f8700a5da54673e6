"""Scores of another system, corrected where that system knows little.

Shapes: n scored pairs of user and item, U users, P regressors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from quickstudy.apps.recommend.cold_users import user_folds
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.memory import chunks
from quickstudy.apps.recommend.recommender import Recommender
from quickstudy.errors import DataError

__all__ = ["CorrectedScores", "correct_scores"]

FEW = 20
"""Interactions from which on a user or item counts as known."""

RIDGE = 3.0
N_FOLDS = 5
MIN_USERS = 20
"""Fewest users with held-out interactions to learn the correction from."""

MODELS = {
    "the scores": [0, 3],
    "the recommender": [0, 6],
    "one blend": [0, 3, 6],
    "a blend by how much is known": list(range(9)),
}
"""Regressors of each candidate, of those that `_regressors` returns; simpler ones first."""


@dataclass(frozen=True, eq=False)
class CorrectedScores:
    """What `correct_scores` returns.

    Args:
        scores: For each pair that was scored, (n,): the expected rating, or for clicks a log-odds.
        model: What is best for held-out users: a name in `MODELS`.
        errors: Of each candidate, by cross-validation over users: the mean squared error, or for
            clicks the mean negative log-likelihood.
    """

    scores: np.ndarray
    model: str
    errors: dict[str, float]


def correct_scores(
    scores: Interactions,
    data: Interactions,
    held_out: Interactions,
    *,
    recommender: Recommender | None = None,
    seed: int = 0,
) -> CorrectedScores:
    """Correct the scores of another system for users and items of whom little is known.

    A linear model of the score and of the rating that a `Recommender` expects predicts the rating.
    Both weights change with how many interactions of the user and of the item are known, up to 20:
    feature-weighted linear stacking (Sill et al., 2009). For clicks it is a conditional logit over
    the pairs of a user. Of this model, one blend for all, and each of the two alone, the one that
    is best for users left out is taken; among those within a standard error of the best, the
    simplest.

    Args:
        scores: Of the other system, in place of ratings: `load_interactions(path,
            columns={"rating": "score"})` reads them from a file.
        data: What is known of these users and of others: ratings or clicks.
        held_out: Interactions that neither `data` nor the other system has seen, to learn from.
        recommender: Fitted; by default one is fitted to `data`.
        seed: Of that recommender, and of the folds.

    Raises:
        DataError: If fewer than 20 users have held-out interactions with scores, or a user or item
            with a score is not in `data`.

    Example:
        >>> from dataclasses import replace
        >>> from quickstudy.apps.recommend import generated
        >>> ratings = generated(n_users=60, n_items=30)
        >>> later = np.random.default_rng(0).random(len(ratings.rating)) < 0.3
        >>> part = lambda rows: replace(
        ...     ratings,
        ...     user=ratings.user[rows],
        ...     item=ratings.item[rows],
        ...     rating=ratings.rating[rows],
        ...     time=None,
        ... )
        >>> scores = replace(part(later), rating=np.ones(later.sum()), scale=None)
        >>> correct_scores(scores, part(~later), part(later)).model  # these scores say nothing
        'the recommender'
    """
    recommender = recommender or Recommender(seed=seed).fit(data)
    user_of = {name: i for i, name in enumerate(data.users)}
    missing = [name for name in scores.users if name not in user_of]
    if missing:
        raise DataError(
            f"expected users of the data in the scores, got {missing[0]!r}: add what is known of "
            "them, or leave them out"
        )
    user = np.array([user_of[name] for name in scores.users])[scores.user]  # (n,)
    item = recommender.positions(scores.items)[scores.item]
    x = _regressors(scores.rating, recommender, data, user, item)  # (n, 9)
    rows, targets = _held_out_rows(scores, held_out, clicks=recommender.clicks_)
    fit, loss = (_fit_logit, _logit_losses) if recommender.clicks_ else (_fit_ridge, _square_losses)
    users = np.unique(user[rows])
    if len(users) < MIN_USERS:
        raise DataError(
            f"expected held-out interactions with scores of {MIN_USERS} users, got {len(users)}"
        )
    losses = {name: np.zeros(len(users)) for name in MODELS}  # a value a user
    for fold in user_folds(len(users), N_FOLDS, seed):
        held = np.isin(user[rows], users[fold])
        for name, columns in MODELS.items():
            x_rows = x[rows][:, columns]
            weights = fit(x_rows[~held], targets[~held], user[rows][~held])
            losses[name][fold] = loss(x_rows[held] @ weights, targets[held], user[rows][held])
    means = {name: float(values.mean()) for name, values in losses.items()}
    best = min(means, key=lambda name: means[name])
    model = next(name for name in MODELS if _not_worse(losses[name], losses[best]))
    weights = fit(x[rows][:, MODELS[model]], targets, user[rows])
    return CorrectedScores(x[:, MODELS[model]] @ weights, model, means)


def _regressors(
    scores: np.ndarray,
    recommender: Recommender,
    data: Interactions,
    user: np.ndarray,
    item: np.ndarray,
) -> np.ndarray:
    """The products of 1, the score and the recommender's expectation with 1 and the logarithms of
    how many interactions of the user and of the item are known, (n, 9)."""
    aligned, attributes = recommender.align(data, cold=False)
    histories, expected = aligned.matrix(), np.empty(len(user))
    for chunk in chunks(len(data.users), len(recommender.items_)):
        rows = np.flatnonzero((user >= chunk.start) & (user < chunk.stop))
        if len(rows):
            p = recommender.probabilities(histories[chunk], attributes[chunk])
            values = p[user[rows] - chunk.start, item[rows]] @ recommender.rating_values_
            expected[rows] = np.log(values + 1e-12) if recommender.clicks_ else values
    systems = np.column_stack([np.ones(len(user)), _standardised(scores), _standardised(expected)])
    known = [data.user_counts[user], recommender.item_counts[item]]
    few = [np.log1p(np.minimum(n, FEW)) / np.log1p(FEW) - 1 for n in known]  # 0 from 20 on
    by_known = np.column_stack([np.ones(len(user)), *few])
    return (systems[:, :, None] * by_known[:, None]).reshape(len(user), 9)


def _held_out_rows(
    scores: Interactions, held_out: Interactions, *, clicks: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs with a score to learn from, and their targets: ratings; of clicks 1 where clicked, else
    0, for all pairs of users with a click."""
    known = {
        (held_out.users[u], held_out.items[i]): rating
        for u, i, rating in zip(held_out.user, held_out.item, held_out.rating, strict=True)
    }
    pairs = zip(scores.user, scores.item, strict=True)
    found = np.array([known.get((scores.users[u], scores.items[i]), np.nan) for u, i in pairs])
    rows = np.flatnonzero(np.isfinite(found))
    if not clicks:
        return rows, found[rows]
    rows = np.flatnonzero(np.isin(scores.user, scores.user[rows]))
    return rows, np.isfinite(found[rows]).astype(float)


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-9)


def _fit_ridge(x: np.ndarray, targets: np.ndarray, user: np.ndarray) -> np.ndarray:
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[0, 0] = 1e-9  # the constant
    return np.linalg.solve(x.T @ x + penalty, x.T @ targets)


def _square_losses(predicted: np.ndarray, targets: np.ndarray, user: np.ndarray) -> np.ndarray:
    """The mean squared error of each user, in the order of `np.unique(user)`."""
    _, index = np.unique(user, return_inverse=True)
    return np.bincount(index, (predicted - targets) ** 2) / np.bincount(index)


def _fit_logit(x: np.ndarray, targets: np.ndarray, user: np.ndarray) -> np.ndarray:
    _, index = np.unique(user, return_inverse=True)
    n_clicks = np.bincount(index, targets)  # of each user

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = _log_softmax(x @ weights, index)
        residual = targets - n_clicks[index] * np.exp(log_p)
        loss = -(targets * log_p).sum() + RIDGE / 2 * (weights**2).sum()
        return float(loss), RIDGE * weights - x.T @ residual

    return minimize(objective, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x


def _logit_losses(predicted: np.ndarray, targets: np.ndarray, user: np.ndarray) -> np.ndarray:
    """The mean negative log-likelihood of each user's clicks."""
    _, index = np.unique(user, return_inverse=True)
    log_p = _log_softmax(predicted, index)
    return -np.bincount(index, targets * log_p) / np.bincount(index, targets)


def _log_softmax(logits: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Over the pairs of each user."""
    highest = np.full(index.max() + 1, -np.inf)
    np.maximum.at(highest, index, logits)
    total = np.bincount(index, np.exp(logits - highest[index]))
    return logits - highest[index] - np.log(total)[index]


def _not_worse(losses: np.ndarray, best: np.ndarray) -> bool:
    """Whether a mean loss is within a standard error of the paired difference from the best."""
    difference = losses - best
    return bool(difference.mean() <= difference.std(ddof=1) / np.sqrt(len(difference)))
