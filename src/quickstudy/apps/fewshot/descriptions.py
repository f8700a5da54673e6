"""Descriptions of classes: what is known of them in addition to examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.fewshot.labels import as_labels
from quickstudy.errors import DataError, UsageError, require

try:
    from sklearn.utils.validation import check_array
except ImportError:
    require("sklearn", "fewshot")
    raise

__all__ = [
    "attributes_by_label",
    "attributes_of_classes",
    "encode_descriptions",
    "labels_of_descriptions",
    "no_examples",
]


def labels_of_descriptions(descriptions: Any) -> np.ndarray:
    """The labels that descriptions are of.

    Raises:
        UsageError, DataError: If there is none, or it is none.
    """
    if not isinstance(descriptions, Mapping):
        kind = type(descriptions).__name__
        raise UsageError(f"expected descriptions as a dictionary by label, got {kind}")
    if not descriptions:
        raise DataError("expected the description of at least one class, got none")
    return as_labels(list(descriptions))


def encode_descriptions(
    descriptions: Mapping[Any, Any], encoder: Callable[[list[str]], Any] | None
) -> np.ndarray:
    """Texts as the encoder embeds them, or vectors as they are, shape (n_described, ...).

    Raises:
        DataError, UsageError: If they cannot serve.
    """
    values: Any = list(descriptions.values())
    texts = [isinstance(one, str) for one in values]
    if any(texts) != all(texts):
        raise DataError("expected descriptions all texts or all vectors, got both")
    if all(texts):
        empty = [label for label, one in descriptions.items() if not one.strip()]
        if empty:
            raise DataError(f"expected a text about each class, got none of {empty[0]!r}")
        if encoder is None:
            raise UsageError("expected vectors without an encoder, got texts: give encoder=")
        values = torch.as_tensor(encoder(values)).detach().cpu()
    elif len(shapes := {np.shape(one) for one in values}) > 1 or () in shapes:
        raise DataError(f"expected descriptions of one shape (d,), got {sorted(shapes)}")
    return check_array(values, allow_nd=True, input_name="descriptions")


def attributes_by_label(classes: np.ndarray, attributes: Tensor | None) -> dict[Any, Tensor]:
    """Of a support set, the description of each class that has one."""
    if attributes is None:
        return {}
    pairs = zip(classes.tolist(), attributes, strict=True)
    return {label: row for label, row in pairs if not bool(row.isnan().any())}


def attributes_of_classes(
    classes: np.ndarray, described: dict[Any, Tensor], x: Tensor, kind: str | None, learner: str
) -> Tensor | None:
    """For a support set, a description of each class: NaN where there is none.

    Args:
        classes: The labels, sorted, shape (n_way,).
        described: Descriptions by label.
        x: Examples, shape (n, ...).
        kind: As `descriptions` of the learner; `learner` is the name of its class.

    Returns:
        Shape (n_way, ...), or None if no class has one.

    Raises:
        UsageError: If the learner takes none.
        DataError: If one has another shape.
    """
    if not described:
        return None
    if kind is None:
        raise UsageError(
            f"expected a learner that takes descriptions, such as BayesianPrototypes, got {learner}"
        )
    shape = x.shape[1:] if kind == "inputs" else next(iter(described.values())).shape
    for label, one in described.items():
        if one.shape != shape:
            raise DataError(
                f"expected descriptions of shape {tuple(shape)}, as "
                f"{'the examples' if kind == 'inputs' else 'the others'}, got "
                f"{tuple(one.shape)} of {label!r}"
            )
    no_description = x.new_full(shape, torch.nan)
    return torch.stack([described.get(label, no_description) for label in classes.tolist()])


def no_examples(X: Any, like: Tensor, kind: str | None) -> Tensor:
    """A batch without examples, (0, ...), of the shape of those to come.

    Args:
        X: What the user gave, of length 0.
        like: A description.
        kind: As `descriptions` of the learner.

    Raises:
        DataError: If nothing says what examples look like.
    """
    if len(shape := np.shape(X)[1:]):
        return like.new_zeros(0, *shape)
    if kind == "attributes":
        raise DataError(
            "expected X of shape (0, ...), as attributes do not say what examples look like, "
            f"got {X!r}"
        )
    return like.new_zeros(0, *like.shape)
