"""One line about a support set that may disappoint, without being asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from torch import Tensor

from quickstudy.diagnostics.expectation import expected_accuracy
from quickstudy.diagnostics.features import embed_as_is, flat_features
from quickstudy.diagnostics.finding import Finding
from quickstudy.diagnostics.support import copies, mislabelled, unit_vectors
from quickstudy.diagnostics.training_statistics import TrainingStatistics, novelty
from quickstudy.errors import QuickstudyError
from quickstudy.experiments.run import find_run
from quickstudy.learners import Learner
from quickstudy.tasks import Support

__all__ = ["support_notes"]

MAX_EXAMPLES = 300
"""Of a support set that is looked at, so that it takes milliseconds."""


def support_notes(
    support: Support,
    classes: Iterable[object],
    learner: Learner | None = None,
    run: str | Path | None = None,
    *,
    of_numbers: bool = False,
) -> list[str]:
    """A line each about an example whose label does not fit, about copies in two classes,
    and about examples unlike those that a run was trained on, with the accuracy to expect.

    Args:
        support: Examples as the learner takes them; regressions are passed over.
        classes: Labels in words.
        learner: The learner of `run`.
        run: A run folder or the name of one that comes with quickstudy.
        of_numbers: Whether examples are columns, which are brought to variance 1.
    """
    if support.n_way is None or not 0 < len(support) <= MAX_EXAMPLES:
        return []
    embedded = None if learner is None else embed_as_is(learner, support.x)
    vectors = flat_features(support.x.detach() if embedded is None else embedded)
    y = support.y.cpu().numpy()
    with np.errstate(all="ignore"):  # of numbers that are too large to square
        u = unit_vectors(vectors.numpy(), standardise=of_numbers)
        if not np.isfinite(u).all():  # of damaged weights: predictions say so
            return []
        found = [mislabelled(u, y, [str(name) for name in classes]), copies(u, y)]
    warned = [one for one in found if isinstance(one, Finding) and one.is_warning]
    notes = [f"{one.verdict} {one.advice}" for one in warned]
    if learner is not None and run is not None:
        with contextlib.suppress(QuickstudyError):  # the run is gone, or of other examples
            notes += _against_training(find_run(run), learner, support, embedded)
    return notes


def _against_training(
    run: Path, learner: Learner, support: Support, embedded: Tensor | None
) -> list[str]:
    """A line about examples that are unlike those of training."""
    statistics = TrainingStatistics.read(run)
    if statistics is None:
        return []
    features = None if embedded is None else flat_features(embedded)
    new = novelty(statistics, learner, support, features=features)
    if not new.is_warning:
        return []
    expected = expected_accuracy(
        statistics, learner, support, novelty=new, always_folds=False, embedded=embedded
    )
    told = [new.verdict, expected.verdict if isinstance(expected, Finding) else "", new.advice]
    return [" ".join(part for part in told if part)]
