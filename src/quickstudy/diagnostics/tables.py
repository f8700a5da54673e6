"""Faults of a table: a column that gives the target away, and rows whose label is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.errors import DataError, require

__all__ = ["leaking_column", "suspect_rows"]

MIN_ACCURACY = 0.99
"""Balanced accuracy of one column alone from which on it may be a leak."""

BY_CHANCE = 0.001
"""Level of the test for wrong labels."""

MAX_ROWS = 5000
"""That the share of wrong labels is estimated from."""

TEMPERATURES, MOST_WRONG = (-1.5, 2.5), 0.4
"""Logarithms that a temperature may have, and the share of labels that may be wrong."""

MARGIN = 0.05
"""By which it has to be better than all other columns together."""


def leaking_column(
    x: NDArray[np.floating], y: NDArray[np.integer], names: Sequence[str] = (), *, seed: int = 0
) -> Finding:
    """Whether one column alone gives the class away, and all others together do not.

    Such a column is often made after the target, as an invoice is after the purchase, and is not
    there when predictions are needed. Each column is judged by a small decision tree on rows left
    out; the best one by the balanced accuracy of extra trees on the others.

    Args:
        x: Numbers, (n, columns).
        y: Classes, (n,).
        names: Of the columns.
        seed: Of the folds.

    Returns:
        The value is the balanced accuracy of the best column alone, on rows left out.

    Raises:
        DataError: With fewer than two columns, or fewer than five rows of a class.
        MissingError: Without scikit-learn.
    """
    require("sklearn", "fewshot")
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    x, y = np.asarray(x, float), np.unique(np.asarray(y), return_inverse=True)[1]
    if x.ndim != 2 or x.shape[1] < 2 or np.bincount(y).min() < 5:
        raise DataError("expected two columns or more, and five rows of each class or more")
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)

    def accuracy(model, columns) -> float:
        return float(
            cross_val_score(model, x[:, columns], y, cv=folds, scoring="balanced_accuracy").mean()
        )

    leaves = 2 * len(np.unique(y))
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=seed)
    alone = [accuracy(tree, [j]) for j in range(x.shape[1])]
    best = int(np.argmax(alone))
    name = names[best] if len(names) else f"column {best + 1}"
    verdict = f"{name!r} alone predicts {alone[best]:.0%} of rows left out"
    details: dict[str, Any] = {"column": best}
    leaks = alone[best] >= MIN_ACCURACY
    if leaks:
        others = [j for j in range(x.shape[1]) if j != best]
        together = accuracy(ExtraTreesClassifier(100, random_state=seed), others)
        leaks = alone[best] > together + MARGIN
        verdict += f", all other columns together {together:.0%}"
        details["others"] = together
    return Finding(
        "leaking column",
        "warning" if leaks else "fine",
        alone[best],
        verdict + (": it may give the target away." if leaks else "."),
        f"Ask whether {name!r} is known before the target is; if not, remove it." if leaks else "",
        threshold=Threshold(
            MIN_ACCURACY, f"a convention; it has to be {MARGIN:g} better than the others too"
        ),
        details=details,
    )


def suspect_rows(
    probabilities: NDArray[np.floating], y: NDArray[np.integer], most: int = 10
) -> Finding:
    """The share of rows with a wrong label, and the rows that most likely have one.

    A label is taken for another at random with probability e (Angluin & Laird, "Learning From Noisy
    Examples", 1988), so that label y has the probability (1 - e) p_y + e (1 - p_y) / (c - 1). e is
    estimated by maximum likelihood together with a temperature of the probabilities, which are
    often too sure; a likelihood-ratio test says whether e is above 0.

    Args:
        probabilities: Of each class, by models that were not fitted to the row, (n, c).
        y: Labels 0..c-1, (n,).
        most: Rows to name, the most likely first.

    Returns:
        The value is e.

    Raises:
        DataError: If the shapes do not fit each other, or there is one class.

    Example:
        >>> x = np.linspace(-8, 8, 100)
        >>> p, y = 1 / (1 + np.exp(-x)), (x > 0).astype(int)
        >>> y[[3, 90, 95]] ^= 1
        >>> suspect_rows(np.column_stack([1 - p, p]), y, most=1).examples
        (3,)
    """
    p, y = np.asarray(probabilities, float), np.asarray(y)
    if p.ndim != 2 or p.shape[1] < 2 or y.shape != p.shape[:1] or not len(y):
        raise DataError(
            f"expected probabilities (n, c) of two classes or more and n labels, got {p.shape} and "
            f"{y.shape}"
        )
    scores, others = np.log(np.clip(p, 1e-4, None)), p.shape[1] - 1
    some = np.linspace(0, len(y) - 1, min(len(y), MAX_ROWS)).astype(int)

    def of_own_labels(log_temperature: float, rows: NDArray[Any]) -> NDArray[np.floating]:
        tempered = special.softmax(scores[rows] / np.exp(log_temperature), axis=1)
        return tempered[np.arange(len(rows)), y[rows]]

    def loss(log_temperature: float, wrong: float) -> float:
        own = of_own_labels(log_temperature, some)
        return -float(np.log((1 - wrong) * own + wrong * (1 - own) / others + 1e-12).sum())

    cold = optimize.minimize_scalar(lambda t: loss(t, 0.0), bounds=TEMPERATURES, method="bounded")
    both = optimize.minimize(
        lambda at: loss(*at),
        (0.0, 0.03),
        bounds=(TEMPERATURES, (0.0, MOST_WRONG)),
        method="Nelder-Mead",
    )
    temperature, wrong = map(float, both.x)
    ratio = 2 * max(0.0, float(cold.fun - both.fun))  # type: ignore[attr-defined]
    chance = float(stats.chi2.sf(ratio, 1)) / 2  # half, as e cannot be below 0
    found = chance < BY_CHANCE and wrong > 0
    own = of_own_labels(temperature, np.arange(len(y)))
    likely = wrong * (1 - own) / others
    likely = likely / ((1 - wrong) * own + likely + 1e-12)  # to be wrong, given the label
    named = [int(i) for i in np.argsort(-likely, kind="stable")[:most] if found and likely[i] > 0.5]
    return Finding(
        "mislabelled rows",
        "warning" if found else "fine",
        wrong,
        f"About {max(1, round(wrong * len(y)))} of {len(y)} rows have a wrong label."
        if found
        else "No row's label is so unlikely that it has to be wrong.",
        f"Look at rows {', '.join(str(i + 1) for i in named)}." if named else "",
        threshold=Threshold(0.0, f"p < {BY_CHANCE:g} in a likelihood-ratio test"),
        details={"p": chance, "probabilities": {i + 1: float(likely[i]) for i in named}},
        examples=tuple(named),
    )
