"""Lists that are diverse, or that keep to the user's usual mix, at some cost in accuracy.

Shapes: n candidates, m items of the list, K factors, W words of an attribute.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["N_CANDIDATES", "Mix", "reranked"]

N_CANDIDATES = 100
"""Best items among which a list is chosen."""

SMOOTHING = 0.01
"""Share of the wanted mix that is added to that of a list, so that no word has the share 0 (Steck,
eq. 7)."""

Mix = tuple[np.ndarray, np.ndarray, float]
"""Shares of the words of an attribute in each candidate, (n, W); the wanted shares, (W,); and how
much they count."""


def reranked(
    scores: np.ndarray,
    n: int,
    *,
    diversity: float = 0.0,
    vectors: np.ndarray | None = None,
    mixes: Sequence[Mix] = (),
) -> list[int]:
    """Choose a list greedily. The next item is the one with the highest score, less its similarity
    to the items before it (maximal marginal relevance), less the divergence of the list's mix from
    the wanted one (calibration).

    Carbonell & Goldstein, "The Use of MMR", SIGIR 1998; Steck, "Calibrated Recommendations",
    RecSys 2018, eq. 8.

    Differs from the papers: scores are scaled to 0..1 over the candidates, as they have no unit.

    Args:
        scores: Of the candidates, (n,).
        n: How many to choose.
        diversity: Weight of the similarity, from 0 to 1; the score has 1 less this and the weights
            of the mixes.
        vectors: The candidates' vectors, whose cosine is the similarity, (n, K).
        mixes: Wanted mixes.

    Returns:
        Positions among the candidates.

    Example:
        >>> twins = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> reranked(np.array([3.0, 2.9, 2.0]), 2, diversity=0.5, vectors=twins)
        [0, 2]
    """
    span = float(np.ptp(scores)) or 1.0
    weight = 1 - diversity - sum(weight for *_, weight in mixes)
    utility = weight * (scores - scores.min()) / span
    similarity = np.zeros((len(scores), len(scores)))
    if diversity and vectors is not None:
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        similarity = unit @ unit.T
    sums = [np.zeros(shares.shape[1]) for shares, *_ in mixes]
    chosen: list[int] = []
    while len(chosen) < min(n, len(scores)):
        value = utility.copy()
        if chosen:
            value -= diversity * similarity[:, chosen].max(1)
        for (shares, wanted, strength), total in zip(mixes, sums, strict=True):
            value -= strength * _divergence(wanted, (total + shares) / (len(chosen) + 1))
        value[chosen] = -np.inf
        best = int(value.argmax())
        chosen.append(best)
        for (shares, *_), total in zip(mixes, sums, strict=True):
            total += shares[best]
    return chosen


def _divergence(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """KL divergence of mixes (n, W) from the wanted one, (n,)."""
    smoothed = (1 - SMOOTHING) * found + SMOOTHING * wanted
    is_wanted = wanted > 0
    ratio = wanted[is_wanted] / smoothed[:, is_wanted]
    return (wanted[is_wanted] * np.log(ratio)).sum(1)
