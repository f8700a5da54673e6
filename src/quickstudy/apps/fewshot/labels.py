"""Labels and targets: what estimators take, and what they refuse."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from quickstudy.errors import DataError, require

try:
    from sklearn.utils.validation import check_array, column_or_1d
except ImportError:
    require("sklearn", "fewshot")
    raise

__all__ = [
    "as_labels",
    "as_targets",
    "is_text",
    "mixed_labels",
    "plain",
]


def as_labels(y: Any) -> np.ndarray:
    """Labels of shape (n,), all strings or all integers.

    Raises:
        DataError: If they are something else.
    """
    if y is None:
        raise DataError("a classifier requires y to be passed, but the target y is None")
    _refuse_several(y)
    array = np.asarray(y)
    if array.dtype.kind in "US":  # of integers beside strings, NumPy makes strings
        array = np.asarray(y, dtype=object)
    y = column_or_1d(array, warn=True)
    if not len(y):
        raise DataError("expected at least one label, got none")
    if (missing := [i for i, label in enumerate(y) if _is_missing(label)]) != []:
        raise DataError(
            f"expected a label for each example, got {plain(y[missing[0]])!r} for example "
            f"{missing[0]} ({len(missing)} are missing): leave those out, or label them"
        )
    if y.dtype == object:
        invalid = [v for v in y if not isinstance(v, str | numbers.Integral)]
        if invalid:
            raise _not_a_label(invalid[0])
        texts = [v for v in y if isinstance(v, str)]
        if 0 < len(texts) < len(y):
            raise mixed_labels(texts[0], next(v for v in y if not isinstance(v, str)))
        return np.array(y.tolist())
    if y.dtype.kind == "f":  # scikit-learn takes 1.0 for a label
        whole = (y == np.floor(y)) & (np.abs(y) < 2.0**63)
        if not whole.all():
            raise _not_a_label(y[~whole][0])
        return y.astype(np.int64)
    if y.dtype.kind not in "biuU":
        raise _not_a_label(y[0])
    return y


def _refuse_several(y: Any) -> None:
    """Refuse several labels an example.

    Raises:
        DataError: If there are.
    """
    several = ""
    if isinstance(y, list | tuple):
        for i, labels in enumerate(y):
            if isinstance(labels, list | tuple | set | frozenset) and len(labels) != 1:
                several = f"{labels!r} for example {i}"
                break
    elif len(shape := getattr(y, "shape", ())) > 1 and shape[1] != 1:
        several = f"an array of shape {tuple(shape)}"
    if several:
        raise DataError(
            f"expected one label for each example, got {several}: for several labels an example, "
            "fit one classifier for each label, as scikit-learn's MultiOutputClassifier does"
        )


def _is_missing(label: Any) -> bool:
    """Whether it is None, NaN, or pandas's NaT or NA."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return bool(isinstance(label, numbers.Real | np.datetime64) and label != label)


def as_targets(y: Any) -> np.ndarray:
    """Targets of a regression as numbers, shape (n,) or (n, d).

    Raises:
        ValueError: If they are missing or no numbers; a `DataError` or of scikit-learn.
    """
    if y is None:
        raise DataError("a regressor requires y to be passed, but the target y is None")
    y = check_array(y, ensure_2d=False, dtype="float64", input_name="y")
    return y if y.ndim == 2 else column_or_1d(y)


def is_text(labels: np.ndarray | np.generic) -> bool:
    """Whether labels are strings."""
    return labels.dtype.kind == "U"


def _not_a_label(value: Any) -> DataError:
    return DataError(
        f"expected labels that are strings or integers, got {plain(value)!r} of type "
        f"{type(value).__name__}: for continuous targets, use FewShotRegressor"
    )


def mixed_labels(one: Any, other: Any) -> DataError:
    """The error for strings beside integers."""
    return DataError(
        f"expected labels all strings or all integers, got {plain(one)!r} and {plain(other)!r}: "
        "make them alike"
    )


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
