"""A column that gives the target away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.errors import DataError, require

__all__ = ["leaking_column"]

MIN_ACCURACY = 0.99
"""Balanced accuracy of one column alone from which on it may be a leak."""

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
    others = [j for j in range(x.shape[1]) if j != best]
    together = accuracy(ExtraTreesClassifier(100, random_state=seed), others)
    leaks = alone[best] >= MIN_ACCURACY and alone[best] > together + MARGIN
    name = names[best] if len(names) else f"column {best + 1}"
    return Finding(
        "leaking column",
        "warning" if leaks else "fine",
        alone[best],
        f"{name!r} alone predicts {alone[best]:.0%} of rows left out, all other columns together "
        f"{together:.0%}" + (": it may give the target away." if leaks else "."),
        f"Ask whether {name!r} is known before the target is; if not, remove it." if leaks else "",
        threshold=Threshold(
            MIN_ACCURACY, f"a convention; it has to be {MARGIN:g} better than the others too"
        ),
        details={"column": best, "others": together},
    )
