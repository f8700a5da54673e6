"""What the meta-level decided for a user, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["sentences"]

PLAIN_NAMES = {
    "user_bias": "how high this user rates",
    "bayes": "the user's taste, from ratings",
    "implicit_feedback": "the user's taste, also from which items were rated",
    "expected_gain": "the chance of top ratings",
    "popularity": "popularity",
    "neighbours": "similarity to items known of the user",
    "markov_chain": "what usually follows the last items",
    "ease": "which items go together",
}
"""Bases by what they count on; others go by their names."""

MIN_SHARE = 0.05
"""A change of weight is named if it is at least this share of all weights."""

MIN_EVIDENCE = 0.3
"""Evidence, in standard deviations over users, from which on it is named as the reason."""

MAX_BASES = 3
"""Changes that are named, at most."""

MIN_SHIFT = 0.02
"""A shift of thresholds is named if it is at least this share of the range of ratings."""


def sentences(
    n_known: int,
    decided: Mapping[str, Any],
    usual: Mapping[str, Any],
    evidence: Mapping[str, float],
    level: str,
    kind: str,
) -> list[str]:
    """What is done for a user unlike for the average training user, and why.

    Args:
        n_known: Known ratings or clicks.
        decided, usual: What the meta-level decided for the user, and for the average training user:
            "weights" by configuration and, for ratings, "thresholds".
        evidence: How much better each base predicts the user's own support than that of the average
            user (see `MetaLevel.evidence`).
        level: The name of the level that serves users of whom so much is known.
        kind: Of that level: "meta", "blend" or "single".
    """
    what = "rating" if "thresholds" in decided else "click"
    known = f"{n_known} {what}{'' if n_known == 1 else 's'} of this user"
    if kind != "meta":
        chosen = "one blend for all users" if kind == "blend" else f"the base {level} for all users"
        return [
            f"With {known}, {chosen} did best on users left out of training: nothing is decided "
            "for this user alone."
        ]
    found = [f"With {known}, weights by user did best on users left out of training."]
    found += _changes(decided, usual, evidence, f"{what}s" if n_known > 1 else "")
    if what == "rating":
        found += _shift(np.array(decided["thresholds"]), np.array(usual["thresholds"]))
    if len(found) == 1:
        found.append("This user is treated like the average one.")
    return found


def _changes(
    decided: Mapping[str, Any], usual: Mapping[str, Any], evidence: Mapping[str, float], own: str
) -> list[str]:
    """The bases whose weights differ most from the usual, and recent against earlier clicks; `own`
    is what the user has of which one can be predicted from others, or nothing."""
    weights, average = (_by_base(decision["weights"]) for decision in (decided, usual))
    total = sum(map(abs, average.values())) + 1e-9
    changes = {base: (weights[base] - average[base]) / total for base in weights}
    largest = sorted(changes, key=lambda base: -abs(changes[base]))[:MAX_BASES]
    found = []
    for base in largest:
        if abs(changes[base]) < MIN_SHARE:
            continue
        more, z = changes[base] > 0, evidence.get(base, 0.0)
        reason = "as how much is known, and what kind of user it is, suggest"
        if own and (z > MIN_EVIDENCE if more else z < -MIN_EVIDENCE):
            better = "better" if more else "worse"
            reason = f"it predicts this user's own {own} from others {better} than usual"
        found.append(
            f"{PLAIN_NAMES.get(base, base).capitalize()} counts {'more' if more else 'less'} than "
            f"usual (weight {weights[base]:.2f}, usually {average[base]:.2f}): {reason}."
        )
    if "thresholds" not in decided:
        recent, usually = (_recent(decision["weights"]) for decision in (decided, usual))
        if abs(recent - usually) / total >= MIN_SHARE:
            more = "more" if recent > usually else "less"
            found.append(f"The last few clicks count {more} than usual against earlier ones.")
    return found


def _by_base(weights: Mapping[str, float]) -> dict[str, float]:
    """The sum of the weights of each base's settings."""
    total: dict[str, float] = {}
    for name, weight in weights.items():
        base = name.rpartition(" ")[0]
        total[base] = total.get(base, 0.0) + weight
    return total


def _recent(weights: Mapping[str, float]) -> float:
    """The weights of settings that forget early clicks, but popularity's, whose setting is another
    thing."""
    return sum(
        weight
        for name, weight in weights.items()
        if not name.endswith(" inf") and not name.startswith("popularity ")
    )


def _shift(own: np.ndarray, usual: np.ndarray) -> list[str]:
    """Whether ratings are read higher or lower than usual, and wider or closer together."""
    star = (usual[-1] - usual[0]) / max(len(usual) - 1, 1) or 1.0
    found, shift = [], float((own - usual).mean() / star)
    if abs(shift) >= MIN_SHIFT * len(usual):
        higher = "lower" if shift > 0 else "higher"
        found.append(f"Ratings are read {abs(shift):.1f} steps of the scale {higher} than usual.")
    if len(usual) > 1:
        width = float(np.ptp(own) / np.ptp(usual))
        if abs(width - 1) >= MIN_SHIFT * len(usual):
            closer = "closer to the middle" if width > 1 else "farther apart"
            found.append(f"Ratings are read {closer} than usual: so this user rates.")
    return found
