"""An episode is one task: a support set to learn from, and a query set to be judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from quickstudy.errors import DataError
from quickstudy.tasks.pictures import episode_html

__all__ = ["Batch", "Episode", "Support", "stack"]


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """Examples and their targets.

    Args:
        x: Inputs, shape (n, ...).
        y: Labels, int64 of shape (n,), or regression targets, floating point of shape (n, d).

    Raises:
        DataError: If `x` and `y` differ in length or a target has an unusable type.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.shape[:1] != self.y.shape[:1]:
            raise DataError(
                f"expected as many targets as inputs, got x {tuple(self.x.shape)} "
                f"and y {tuple(self.y.shape)}"
            )
        labels = self.y.dtype == torch.int64 and self.y.ndim == 1
        targets = self.y.is_floating_point() and self.y.ndim == 2
        if not (labels or targets):
            raise DataError(
                "expected int64 labels of shape (n,) or floating-point targets of shape (n, d), "
                f"got {self.y.dtype} of shape {tuple(self.y.shape)}"
            )

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        shown = (f"{name}={_brief(value)}" for name, value in values if value is not None)
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, eq=False, repr=False)
class Support(Batch):
    """All that a learner may know of a task before it sees the queries.

    Args:
        x: Inputs, shape (n, ...); n may be 0 (zero-shot).
        y: Labels 0..n_way-1, or regression targets.
        n_way: Number of classes; None for regression.
        attributes: One vector per class, shape (n_way, d), for zero-shot learning; a row of NaN
            where a class has no description.
        unlabelled: More inputs, shape (m, ...), whose classes are not known and may be others; for
            learners that say `uses_unlabelled`.

    Raises:
        DataError: If a label lies outside 0..n_way-1, the attributes do not match n_way, or the
            unlabelled inputs have another shape than the others.

    Example:
        >>> support = Support(torch.rand(5, 1, 28, 28), torch.arange(5), n_way=5)
        >>> len(support), support.n_way
        (5, 5)
        >>> support
        Support(x=float32 (5, 1, 28, 28), y=int64 (5,), n_way=5)
    """

    n_way: int | None = None
    attributes: Tensor | None = None
    unlabelled: Tensor | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unlabelled is not None and self.unlabelled.shape[1:] != self.x.shape[1:]:
            raise DataError(
                f"expected unlabelled inputs of shape {tuple(self.x.shape[1:])} as the others, got "
                f"{tuple(self.unlabelled.shape[1:])}"
            )
        if self.n_way is None:
            if not self.y.is_floating_point():
                raise DataError("expected n_way with integer labels, got n_way=None")
            return
        _check_labels("support", self.y, self.n_way)
        if self.attributes is not None and len(self.attributes) != self.n_way:
            raise DataError(
                f"expected one attribute vector for each of {self.n_way} classes, "
                f"got {len(self.attributes)}"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Episode:
    """One task, validated once when it is made. A notebook shows a picture of it.

    Args:
        support: What the learner adapts to.
        query: What its predictor is judged on.
        classes: For classification, the data set's class id behind each label, shape (n_way,);
            -1 for a label that the episode does not use.
        clusters: The independent unit behind each label, shape (n_way,); defaults to `classes`.
            Rotations of one character are different classes of one cluster.
    """

    support: Support
    query: Batch
    classes: Tensor | None = None
    clusters: Tensor | None = None

    def __post_init__(self) -> None:
        if self.n_way is not None:
            _check_labels("query", self.query.y, self.n_way)
        elif not self.query.y.is_floating_point():
            raise DataError("expected floating-point query targets, as the support has no n_way")
        elif self.query.y.shape[1] != self.support.y.shape[1]:
            raise DataError(
                f"expected query targets of size {self.support.y.shape[1]} as of the support, "
                f"got {self.query.y.shape[1]}"
            )
        if self.clusters is None:
            object.__setattr__(self, "clusters", self.classes)

    def __repr__(self) -> str:
        return f"Episode(support={self.support!r}, query={self.query!r})"

    def _repr_html_(self) -> str:
        return episode_html(self)

    @property
    def n_way(self) -> int | None:
        """Number of classes; None for regression."""
        return self.support.n_way

    def to(self, target: torch.device | torch.dtype) -> Episode:
        """Move to a device, or convert floating-point tensors to a dtype."""
        parts = (self, self.support, self.query)
        tensors = [t for part in parts for t in vars(part).values() if isinstance(t, Tensor)]
        if all(t.device == target for t in tensors):
            return self

        def move(t: Tensor) -> Tensor:
            keep = isinstance(target, torch.dtype) and not t.is_floating_point()
            return t if keep else t.to(target)

        return pytree.tree_map_only(Tensor, move, self)


def _brief(value: Any) -> str:
    """A tensor by its type and shape."""
    if not isinstance(value, Tensor):
        return repr(value)
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"


def _check_labels(which: str, y: Tensor, n_way: int) -> None:
    if y.dtype != torch.int64:
        raise DataError(f"expected int64 {which} labels, got {y.dtype}")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < n_way:
        raise DataError(
            f"expected {which} labels in 0..{n_way - 1}, got {int(y.min())}..{int(y.max())}"
        )


def _unchecked(cls: type, values: dict[str, Any]) -> Any:
    """Make an object of fields that need no validation, or cannot have it."""
    made = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _register(cls: type[Batch] | type[Episode]) -> None:
    """Let `torch.func` map over the tensors of `cls`; what it rebuilds is not validated again."""

    def flatten(obj: Batch | Episode):
        values = {f.name: getattr(obj, f.name) for f in fields(cls)}
        fixed = {k: v for k, v in values.items() if v is None or isinstance(v, int)}
        leaves = {k: v for k, v in values.items() if k not in fixed}
        return list(leaves.values()), (tuple(leaves), tuple(fixed.items()))

    def unflatten(values, context) -> Batch | Episode:
        names, fixed = context
        return _unchecked(cls, {**dict(zip(names, values, strict=True)), **dict(fixed)})

    pytree.register_pytree_node(cls, flatten, unflatten)


for _cls in (Batch, Support, Episode):
    _register(_cls)


def stack(episodes: list[Episode]) -> Episode:
    """Stack episodes of one shape along a new leading task dimension.

    The result holds tensors of shape (n_tasks, ...); it is for `torch.func.vmap` alone.

    Raises:
        DataError: If the episodes differ in shape.
    """

    def stacked(parts: Sequence[Batch] | Sequence[Episode]) -> dict[str, Any]:
        values = {f.name: [getattr(part, f.name) for part in parts] for f in fields(parts[0])}
        return {k: torch.stack(v) if isinstance(v[0], Tensor) else v[0] for k, v in values.items()}

    try:
        made = stacked(episodes)
        made["support"] = _unchecked(Support, stacked([e.support for e in episodes]))
        made["query"] = _unchecked(Batch, stacked([e.query for e in episodes]))
    except (RuntimeError, TypeError) as error:
        raise DataError(f"expected episodes of one shape, got several: {error}") from None
    return _unchecked(Episode, made)
