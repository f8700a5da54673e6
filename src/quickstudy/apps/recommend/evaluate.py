"""How well a recommender does on users whom training has not seen.

Shapes: N cold users, I items, Q queries of a user, C configurations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quickstudy.apps.recommend.bases.base import Matrix
from quickstudy.apps.recommend.cold_users import ColdUsers, Order
from quickstudy.apps.recommend.identifiers import Unknown
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.measures import interval, ndcg, ranking
from quickstudy.apps.recommend.memory import chunks
from quickstudy.apps.recommend.meta_level import MetaInputs, MetaLevel
from quickstudy.apps.recommend.meta_level.guard import GuardedLevel
from quickstudy.apps.recommend.meta_level.rating_level import median
from quickstudy.apps.recommend.recommender import Recommender
from quickstudy.html import html_table

__all__ = ["SUPPORT_SIZES", "ScoreTable", "Scores", "evaluate"]

SUPPORT_SIZES = (0, 1, 3, 5, 10, 20)
"""Ratings or clicks of a new user that are known."""


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """The measures of one system, for one support size.

    Args:
        system: The name of a configuration, as `bayes 1`, or of a meta-level.
        support: Ratings or clicks known of each user.
        measures: By name, one value a user, (N,). For ratings "mae", the mean absolute error on the
            queries, of a configuration's prediction or of the median of a meta-level's
            probabilities; and "ndcg@5" of the queries, with the gains 2^r - 1, where r starts from
            0 if ratings may be negative. For clicks "recall@10" and "ndcg@10" of the queries among
            all items that were not chosen before.
    """

    system: str
    support: int
    measures: dict[str, np.ndarray]

    def __repr__(self) -> str:
        means = ", ".join(f"{name}={values.mean():.4f}" for name, values in self.measures.items())
        return f"Scores({self.system!r}, support={self.support}, {means})"

    def _repr_html_(self) -> str:
        """Means over users with 95 % intervals."""
        rows = []
        for name, values in self.measures.items():
            low, high = interval(values, n_resamples=1000)
            rows.append([name, f"{values.mean():.3f}", f"{low:.3f} to {high:.3f}", len(values)])
        header = ["measure", "mean", "95 % interval", "users"]
        return html_table(header, rows, f"{self.system}, support {self.support}")


class ScoreTable(list[Scores]):
    """The scores of several systems. Notebooks show the means as a table: a row for each system, a
    column for each support size."""

    def _repr_html_(self) -> str:
        sizes = list(dict.fromkeys(scores.support for scores in self))
        systems = list(dict.fromkeys(scores.system for scores in self))
        by_key = {(scores.system, scores.support): scores.measures for scores in self}
        names = list(self[0].measures) if self else []
        return "\n".join(
            html_table(
                ["system", *(f"support {size}" for size in sizes)],
                [
                    [system, *(_mean_text(by_key.get((system, size), {}), name) for size in sizes)]
                    for system in systems
                ],
                name,
            )
            for name in names
        )


def _mean_text(measures: Mapping[str, np.ndarray], name: str) -> str:
    return f"{measures[name].mean():.3f}" if name in measures else ""


def evaluate(
    recommender: Recommender,
    data: Interactions,
    *,
    supports: Sequence[int] = SUPPORT_SIZES,
    n_query: int = 10,
    order: Order | None = None,
    seed: int = 0,
    meta_levels: Mapping[str, MetaLevel | GuardedLevel] | None = None,
    unknown: Unknown = "ignore",
) -> ScoreTable:
    """Score all configurations and the recommender on cold users.

    For ratings, the queries are the same for all support sizes; for clicks, they are what comes
    next after the support set.

    Args:
        recommender: Fitted.
        data: Users whom training has not seen.
        supports: Support sizes; users with too few ratings for the largest are left out.
        n_query: Queries of each user.
        order: The order in which ratings or clicks become known; by default a random one for
            ratings, and time for clicks if their times were known in training.
        seed: Decides the random order.
        meta_levels: More meta-levels above the same bases to score, by name.
        unknown: "ignore" leaves out items that training did not have, with a warning; "raise"
            refuses them.

    Raises:
        DataError: If training has seen a user, or no user has ratings enough.

    Example:
        >>> from quickstudy.apps.recommend import generated, user_folds
        >>> data = generated(n_users=80, n_items=30)
        >>> cold, warm = user_folds(80, 2)
        >>> recommender = Recommender().fit(data.of_users(warm))
        >>> scores = evaluate(recommender, data.of_users(cold), supports=(0, 5))
        >>> first, last = scores[0], scores[-1]
        >>> better = last.measures["mae"].mean() < first.measures["mae"].mean()
        >>> first.system, last.system, bool(better)
        ('user_bias inf', 'recommender', True)
    """
    aligned, attributes = recommender.align(data, unknown=unknown)
    if order is None:
        in_time = recommender.clicks_ and recommender.ordered_
        order = "chronological" if in_time else "random"
    cold = ColdUsers(aligned, n_query=n_query, max_support=max(supports), order=order, seed=seed)
    users = attributes[cold.users]
    meta_levels = {**(meta_levels or {}), "recommender": recommender.meta_level_}
    table = ScoreTable()
    for size in supports:
        support, next_items = cold.support(size), cold.next_items(size)
        parts: dict[str, list[dict[str, np.ndarray]]] = {}
        for chunk in chunks(len(cold), len(aligned.items)):
            inputs = recommender.meta_inputs(support[chunk], users[chunk])
            if recommender.clicks_:
                scored = _score_clicks(
                    recommender, inputs, meta_levels, support[chunk], next_items[chunk]
                )
            else:
                queries = cold.query_items[chunk], cold.query_ratings[chunk]
                scored = _score_ratings(recommender, inputs, meta_levels, *queries)
            for system, measures in scored:
                parts.setdefault(system, []).append(measures)
        table += [
            Scores(system, size, _concatenated(measures)) for system, measures in parts.items()
        ]
    return table


def _concatenated(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _score_ratings(
    recommender: Recommender,
    inputs: MetaInputs,
    meta_levels: Mapping[str, MetaLevel | GuardedLevel],
    query_items: np.ndarray,
    query_ratings: np.ndarray,
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Each system with its measures, from queries (N, Q)."""
    values = recommender.rating_values_
    lowest = min(0.0, float(values[0]))  # no gain is negative
    rows = np.broadcast_to(np.arange(len(query_items))[:, None], query_items.shape)
    inputs = inputs.select(rows, query_items)
    for i, configuration in enumerate(recommender.configurations_):
        predictions = inputs.predictions[..., i]  # (N, Q)
        errors = np.abs(predictions.clip(values[0], values[-1]) - query_ratings).mean(1)
        yield (
            str(configuration),
            {"mae": errors, "ndcg@5": ndcg(predictions, query_ratings - lowest)},
        )
    for name, meta_level in meta_levels.items():
        p = meta_level.probabilities(inputs)  # (N, Q, V)
        errors = np.abs(median(p, values) - query_ratings).mean(1)
        expected_gains = p @ 2 ** (values - lowest)
        yield name, {"mae": errors, "ndcg@5": ndcg(expected_gains, query_ratings - lowest)}


def _score_clicks(
    recommender: Recommender,
    inputs: MetaInputs,
    meta_levels: Mapping[str, MetaLevel | GuardedLevel],
    support: Matrix,
    next_items: np.ndarray,
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Each system with its measures, from the items that come next, (N, Q)."""
    scores = {
        str(configuration): inputs.predictions[..., i]
        for i, configuration in enumerate(recommender.configurations_)
    }
    scores |= {name: level.probabilities(inputs)[..., 0] for name, level in meta_levels.items()}
    for system, values in scores.items():
        yield system, ranking(values, support, next_items)
