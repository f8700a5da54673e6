"""What a search on a new table begins with: results on other tables, as the user chose them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.knowledge import shipped_meta_learner
from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.apps.automl.pipelines.build import can_make
from quickstudy.apps.automl.pipelines.config import PipelineConfig
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.errors import QuickstudyError, UsageError, require

__all__ = ["PriorResults", "check_prior", "prior_meta_learner"]

PriorResults = History | MetaLearner | Literal["shipped", "experience"] | None
"""Results on other tables: those that ship with quickstudy, these and the user's own, others, or
none.
"""


def check_prior(history: PriorResults) -> None:
    """Refuse what is no history.

    Raises:
        UsageError: If it is something else.
        MissingError: If the packages for the experience store are not installed.
    """
    is_name = history is None or (isinstance(history, str) and history in ("shipped", "experience"))
    if not is_name and not isinstance(history, History | MetaLearner):
        raise UsageError(
            f"expected history to be 'shipped', 'experience', None or a History, got {history!r}"
        )
    if history == "experience":
        require("sqlalchemy", "experience")


def prior_meta_learner(
    history: PriorResults,
    goal: Goal,
    metric: str,
    features: Mapping[str, float],
    families: Sequence[str],
    seed: int,
) -> MetaLearner | None:
    """A meta-learner of the pipelines in a history that the search can try; None without one.

    Args:
        history: Results on other tables.
        goal, metric: Of the search.
        features: Meta-features of the new table.
        families: Of models, that can learn from the new table.
        seed: Of learning from a `History`.
    """
    if history is None:
        return None
    if isinstance(history, MetaLearner):
        meta = history
    elif isinstance(history, History):
        meta = MetaLearner(seed=seed).fit(history)
    else:
        meta = shipped_meta_learner(goal, metric)
    configs = {name: PipelineConfig.from_name(name) for name in meta.history_.configs}
    names = [
        name
        for name, config in configs.items()
        if config and config.family in families and can_make(*config, goal)
    ]
    meta = MetaLearner.restore(meta.learned(), meta.history_.only(names), meta.own_)
    if history != "experience":
        return meta
    from quickstudy.apps.automl.meta.own_tables import own_store, with_experience

    try:
        store = own_store()
        if store is None:
            return meta
        return with_experience(meta, store, goal, metric, features, families.__contains__)
    except QuickstudyError as error:
        warnings.warn(f"the experience store is not read: {error}", stacklevel=4)
        return meta
