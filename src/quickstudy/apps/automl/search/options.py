"""The options of a search, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.metrics import Metric
from quickstudy.errors import UsageError, unknown

__all__ = ["SearchOptions", "check_options"]


@dataclass(frozen=True)
class SearchOptions:
    """As `AutoMLClassifier` takes them, with the families that can learn from the table.

    Args:
        metric, score: The name of a metric, and its function.
    """

    families: list[str]
    metric: str
    score: Metric
    n_trials: int | None
    n_folds: int
    storage: str | None
    study_name: str | None
    seed: int


def check_options(
    *,
    n_trials: int | None,
    time_budget: float | None,
    metric: str | None,
    metrics: Mapping[str, Metric],
    families: Sequence[str] | None,
    n_folds: int,
    storage: str | None,
    study_name: str | None,
    seed: int,
) -> SearchOptions:
    """The options with defaults filled in.

    Raises:
        UsageError: If one cannot be used.
    """
    if n_trials is None and time_budget is None:
        raise UsageError("expected n_trials or time_budget, got neither")
    if n_trials is not None and n_trials < 1:
        raise UsageError(f"expected n_trials >= 1, got {n_trials}")
    if time_budget is not None and not time_budget > 0:
        raise UsageError(f"expected time_budget > 0 seconds, got {time_budget}")
    if not 0 <= seed < 2**32:
        raise UsageError(f"expected a seed from 0 to 2**32 - 1, got {seed}")
    if n_folds < 2:
        raise UsageError(f"expected n_folds >= 2, got {n_folds}")
    metric = metric or next(iter(metrics))
    if metric not in metrics:
        raise unknown("metric", metric, metrics)
    names = list(FAMILIES if families is None else families)
    for name in names:
        if name not in FAMILIES:
            raise unknown("family", name, FAMILIES)
    return SearchOptions(
        names, metric, metrics[metric], n_trials, n_folds, storage, study_name, seed
    )
