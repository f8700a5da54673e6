"""Build a pipeline from the name of a family and its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sklearn.pipeline import Pipeline

from quickstudy.apps.automl.pipelines.encoder import TableEncoder
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.selector import ColumnSelector
from quickstudy.apps.automl.tables.columns import Column
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import UsageError, unknown

__all__ = ["PREPARATION", "can_make", "make_model"]

PREPARATION: dict[str, BaseDistribution] = {
    "construct": CategoricalDistribution(["products", "ratios"]),
    "select": CategoricalDistribution(["anova", "information", "l1"]),
    "kept": FloatDistribution(0.05, 0.95),
}
"""Options that every family may have: columns to construct (`TableEncoder`), and how to select
among all columns (`ColumnSelector`) together with the share of columns to keep.
"""


def make_model(
    family: str,
    options: Mapping[str, Any],
    goal: Goal,
    seed: int = 0,
    columns: Sequence[Column] | None = None,
) -> Pipeline:
    """A pipeline from a raw table to predictions.

    Args:
        family: A name of `FAMILIES`.
        options: All of the family's, and any of `PREPARATION`.
        goal: "classification" or "regression".
        seed: Of the model.
        columns: As `TableEncoder` takes them.

    Raises:
        UsageError: If the family or an option is unknown, or an option is missing or out of range.

    Example:
        >>> model = make_model("linear", {"C": 1.0}, "classification")
        >>> model.fit([["red"], ["blue"], ["red"], ["blue"]], [1, 0, 1, 0]).predict([["red"]])
        array([1])
    """
    preparation = {name: options[name] for name in PREPARATION if name in options}
    _check(family, options, preparation)
    model_options = {name: v for name, v in options.items() if name not in PREPARATION}
    construct = preparation.get("construct", "none")
    scaled = FAMILIES[family].scaled
    encoder = TableEncoder(goal, scaled=scaled, construct=construct, columns=columns)
    steps: list[tuple[str, Any]] = [("encoder", encoder)]
    if "select" in preparation:
        selector = ColumnSelector(preparation["select"], preparation["kept"], goal)
        steps.append(("selector", selector))
    return Pipeline([*steps, ("model", FAMILIES[family].make(goal, model_options, seed))])


def _check(family: str, options: Mapping[str, Any], preparation: Mapping[str, Any]) -> None:
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    space = FAMILIES[family].space
    for name in options:
        if name not in space and name not in PREPARATION:
            raise unknown(f"option of {family}", name, [*space, *PREPARATION])
    if ("select" in preparation) != ("kept" in preparation):
        raise UsageError(f"expected 'select' and 'kept' together, got {dict(preparation)}")
    for name, allowed in {**space, **{n: PREPARATION[n] for n in preparation}}.items():
        if name not in options:
            raise UsageError(f"expected the option {name!r} of {family}, got {dict(options)}")
        if not _contains(allowed, options[name]):
            raise UsageError(f"expected {name} of {family} in {allowed}, got {options[name]!r}")


def _contains(allowed: BaseDistribution, value: Any) -> bool:
    if isinstance(allowed, CategoricalDistribution):
        return value in allowed.choices
    assert isinstance(allowed, FloatDistribution | IntDistribution)
    return isinstance(value, int | float) and allowed.low <= value <= allowed.high


def can_make(family: str, options: Mapping[str, Any], goal: Goal) -> bool:
    """Whether `make_model` can build this pipeline.

    Example:
        >>> can_make("linear", {"C": 1.0}, "regression"), can_make("forest", {}, "regression")
        (True, False)
    """
    try:
        make_model(family, options, goal)
    except UsageError:
        return False
    return True
