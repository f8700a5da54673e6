"""Unlabelled examples: a pool to learn from beside the labelled ones, and to label next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quickstudy.apps.fewshot.inputs import kind_of
from quickstudy.apps.fewshot.views import KINDS
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import Learner
from quickstudy.learners.transfer.blend import (
    RAW,
    BlendedTask,
    Kind,
    LearnedBlend,
    VectorSpace,
    View,
    view_shares,
)
from quickstudy.learners.transfer.coverage import choose_to_cover
from quickstudy.tasks import Support

__all__ = ["check_pool", "choose_to_label"]

TYPICALITY = 0.5
"""Importance of an example whose class is certain, beside one less the margin between the two most
probable classes."""


def check_pool(pool: Any, kind: Kind | None) -> None:
    """Refuse a pool that is empty, or of another kind than the examples.

    Args:
        kind: Of the examples; None if an encoder of the user's own takes them.

    Raises:
        DataError: If it cannot serve.
    """
    if isinstance(pool, str | bytes) or not hasattr(pool, "__len__"):
        raise DataError(f"expected a list or an array of unlabelled examples, got {pool!r:.80}")
    if not len(pool):
        raise DataError("expected at least one unlabelled example, got none")
    if kind is None or kind == "series":  # arrays are series if the user says so
        return
    if (found := KINDS[kind_of(pool)]) != kind:
        raise DataError(f"expected unlabelled examples of the kind {kind}, got {found}")


def choose_to_label(
    x: Tensor,
    n: int,
    learner: Learner,
    support: Support | None = None,
    task: Any = None,
    probabilities: Tensor | None = None,
) -> Tensor:
    """The examples of a pool to label next, see `choose_to_cover`.

    Args:
        x: The pool, shape (p, ...).
        n: How many to choose.
        learner: If it is a `LearnedBlend`, examples are compared by its views.
        support: What is labelled already.
        task: The learner adapted to that; a `BlendedTask` says what each view counts for.
        probabilities: Of the classes for each example of the pool, shape (p, n_way).

    Returns:
        Rows of the pool, shape (n,), the most useful first.

    Raises:
        UsageError: If the pool has fewer than n, or n is not positive.
    """
    if not 1 <= n <= len(x):
        raise UsageError(f"expected to choose 1 to {len(x)} of {len(x)} examples, got n={n}")
    x = x.detach().cpu().flatten(1).double()
    views = learner.views if isinstance(learner, LearnedBlend) else [View.of(RAW, x.shape[1])]
    shares = view_shares(views, task.weights if isinstance(task, BlendedTask) else None)
    if support is None:
        return choose_to_cover(VectorSpace.of(views, shares, x)(x), n)
    labelled = support.x.detach().cpu().flatten(1).double()
    space = VectorSpace.of(views, shares, torch.cat([labelled, x]))
    importance = None
    if probabilities is not None:
        best = probabilities.topk(2, dim=1).values  # (p, 2)
        importance = TYPICALITY + 1 - (best[:, 0] - best[:, 1])
    return choose_to_cover(space(x), n, labelled=space(labelled), importance=importance)
