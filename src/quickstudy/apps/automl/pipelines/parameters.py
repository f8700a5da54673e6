"""Pipelines as the parameters of Optuna's trials, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from quickstudy.apps.automl.pipelines.build import PREPARATION
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES

__all__ = ["as_parameters", "suggest_config"]


PREPARED: dict[str, tuple[str, ...]] = {
    "none": (),
    "construct": ("construct",),
    "select": ("select", "kept"),
    "construct+select": ("construct", "select", "kept"),
}
"""Values of the parameter "prepared": which options of `PREPARATION` a pipeline has."""


def suggest_config(trial: Trial, families: list[str]) -> PipelineConfig:
    """A pipeline of one of these families, as Optuna's sampler chooses it."""
    family = trial.suggest_categorical("family", families)
    space = FAMILIES[family].space
    options = {name: _suggest(trial, f"{family}.{name}", d) for name, d in space.items()}
    prepared = trial.suggest_categorical("prepared", list(PREPARED))
    options |= {name: _suggest(trial, name, PREPARATION[name]) for name in PREPARED[prepared]}
    return PipelineConfig(family, options)


def as_parameters(family: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a trial of Optuna from which `suggest_config` makes this pipeline.

    Example:
        >>> as_parameters("linear", {"C": 1.0})
        {'family': 'linear', 'linear.C': 1.0, 'prepared': 'none'}
    """
    prepared = next(
        value for value, names in PREPARED.items() if set(names) == options.keys() & PREPARATION
    )
    named = {n if n in PREPARATION else f"{family}.{n}": value for n, value in options.items()}
    return {"family": family, **named, "prepared": prepared}


def _suggest(trial: Trial, name: str, allowed: BaseDistribution) -> Any:
    if isinstance(allowed, CategoricalDistribution):
        return trial.suggest_categorical(name, allowed.choices)
    if isinstance(allowed, IntDistribution):
        return trial.suggest_int(name, allowed.low, allowed.high, log=allowed.log)
    assert isinstance(allowed, FloatDistribution)
    return trial.suggest_float(name, allowed.low, allowed.high, log=allowed.log)
