"""The Optuna study of a search: what chooses the next pipeline, and what is tried first."""

from __future__ import annotations

from collections.abc import Mapping

import optuna

from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.apps.automl.meta.sampler import REASONS, MetaSampler
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.pipelines.families import FAMILIES
from quickstudy.apps.automl.pipelines.parameters import as_parameters
from quickstudy.apps.automl.search.options import SearchOptions
from quickstudy.errors import UsageError, hide_passwords

__all__ = ["enqueue_quick", "open_study"]


def open_study(
    options: SearchOptions,
    meta: MetaLearner | None,
    features: Mapping[str, float],
    first: str | None,
) -> optuna.Study:
    """A study that begins with what other tables advise, or, without any, with each family's
    default; a stored one of this table goes on.

    Args:
        options: Of the search.
        meta: Results on other tables; None for none.
        features: Meta-features of this table.
        first: A family whose default is tried before all; None for none.

    Raises:
        UsageError: If the storage cannot be opened.
    """
    sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(seed=options.seed)
    is_advised = meta is not None and meta.can_advise
    if meta is not None and is_advised:
        configs = {name: PipelineConfig.from_name(name) for name in meta.history_.configs}
        params = {name: as_parameters(*config) for name, config in configs.items() if config}
        sampler = MetaSampler(meta, params, features, seed=options.seed)
    study = _create_study(options, sampler)
    if first:
        enqueue_quick(study, first)
    for family in () if is_advised else options.families:
        params = as_parameters(family, FAMILIES[family].default)
        reasons = {REASONS: ["the default of its family"]}
        study.enqueue_trial(params, user_attrs=reasons, skip_if_exists=True)
    return study


def _create_study(options: SearchOptions, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=options.storage,
            study_name=options.study_name,
            load_if_exists=options.study_name is not None,
            direction="maximize",
            sampler=sampler,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0),
        )
    except Exception as error:  # each database has errors of its own
        reason = hide_passwords(str(error).partition("\n")[0])
        raise UsageError(
            f"the storage cannot be opened ({reason}): give a URL such as sqlite:///search.db"
        ) from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def enqueue_quick(study: optuna.Study, family: str) -> None:
    """Let the default of a family be tried next, or after what is in the queue already."""
    reasons = {REASONS: ["quick, so that one is finished in time"]}
    study.enqueue_trial(as_parameters(family, FAMILIES[family].default), user_attrs=reasons)
