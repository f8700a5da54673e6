"""An Optuna sampler that begins with what worked on other data sets.

Needs Optuna, which quickstudy's extra `automl` installs.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from quickstudy.apps.automl.meta.advisors import Advisor
from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.meta_learner import MetaLearner
from quickstudy.errors import UsageError, require

require("optuna", "automl")
from optuna import Study  # noqa: E402
from optuna.distributions import BaseDistribution, CategoricalDistribution  # noqa: E402
from optuna.samplers import BaseSampler, TPESampler  # noqa: E402
from optuna.study import StudyDirection  # noqa: E402
from optuna.trial import FrozenTrial, TrialState  # noqa: E402

__all__ = ["REASONS", "MetaSampler"]

ADVISED = "quickstudy:advised"
"""Attribute of a trial that names the configuration it was advised to be."""

REASONS = "reasons"
"""Attribute of a trial that says in words why it came next."""

MIN_GAIN = 0.002
"""Least expected gain, in units of a data set's range, for which advice is followed."""


class MetaSampler(BaseSampler):
    """Suggests what results on other data sets advise, and searches on from there.

    A `MetaLearner` chooses the first `n_first` trials, and takes in the score of each. Of every
    three later trials it chooses two and `base_sampler` one; or the other way round while the best
    score so far comes from `base_sampler`. So at least a third of the later trials is searched for
    without the history, in case it misleads. `base_sampler` chooses all trials while the history
    is empty, has no configuration left or promises next to no gain.

    - A trial whose parameters are those of a configuration counts as that configuration, whoever
      chose it. So processes that share a study share what was observed.
    - A configuration of a running trial is not advised again, and neither is one that failed.
    - A pruned trial counts by its last report plus the gain of finished trials from that step on,
      in the median, since scores after fewer rows or epochs are lower.

    A study says which parameters it has only when it requests them. A configuration with a value
    out of the requested range is passed over for the next best. A parameter that the configuration
    does not have is chosen by `base_sampler`; the trial's score counts as the configuration's all
    the same. If configurations set parameters that the study does not have, their scores are not
    learned from: the sampler warns once and names the parameters.

    Args:
        history: Results on other data sets, or a meta-learner fitted to them.
        params: What each configuration of the history sets, by the configuration's name.
        features: Meta-features of the data set at hand.
        base_sampler: Samples the trials that are not chosen by advice; TPE if None.
        n_first: Trials to begin with that follow the advice.
        seed: Of TPE, and of learning from the history.

    Raises:
        UsageError: If a configuration has no parameters, or n_first is below 0.

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> params = {"low": {"x": -1.0}, "middle": {"x": 0.0}, "high": {"x": 1.0}}
        >>> history = History(["a", "b"], list(params), [[0.1, 0.5, 0.9], [0.3, 0.4, 0.6]])
        >>> study = optuna.create_study(direction="maximize", sampler=MetaSampler(history, params))
        >>> study.optimize(lambda trial: -((trial.suggest_float("x", -2, 2) - 1.2) ** 2), 1)
        >>> study.best_params
        {'x': 1.0}
    """

    def __init__(
        self,
        history: History | MetaLearner,
        params: Mapping[str, Mapping[str, Any]],
        features: Mapping[str, float] | None = None,
        *,
        base_sampler: BaseSampler | None = None,
        n_first: int = 5,
        seed: int = 0,
    ) -> None:
        meta = history if isinstance(history, MetaLearner) else MetaLearner(seed=seed).fit(history)
        if missing := [name for name in meta.history_.configs if not params.get(name)]:
            raise UsageError(f"expected parameters of {missing[0]!r}, got none")
        if n_first < 0:
            raise UsageError(f"expected n_first >= 0, got {n_first}")
        self._meta = meta
        self._params = {name: dict(params[name]) for name in meta.history_.configs}
        self._names = {_key(config): name for name, config in self._params.items()}
        self._features = dict(features or {})
        self._base_sampler = base_sampler or TPESampler(seed=seed, n_startup_trials=5)
        self._n_first = n_first
        self._advisors: dict[int, Advisor] = {}
        self._warned = False

    def reseed_rng(self) -> None:
        self._base_sampler.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        advisor, why = self._plan(study, trial)
        if advisor is not None:
            self._advisors[trial.number] = advisor
            return {}
        if REASONS not in trial.user_attrs:  # as of one that was enqueued
            study._storage.set_trial_user_attr(trial._trial_id, REASONS, [why])
        return self._base_sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if trial.number in self._advisors:
            return {}
        return self._base_sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if (advisor := self._advisors.get(trial.number)) is not None:
            requested = {param_name: param_distribution}
            while suggested := advisor.suggest():
                config = self._params[suggested[0]]
                if _fits(config, requested) and _agrees(config, trial.params):
                    if param_name not in config:
                        break
                    self._record(study, trial, advisor, suggested[0])
                    return config[param_name]
                advisor.observe(suggested[0], math.nan)  # not in this trial
            if not suggested and REASONS not in trial.user_attrs:
                why = "found by search: no configuration left fits the study's parameters"
                study._storage.set_trial_user_attr(trial._trial_id, REASONS, [why])
        return self._base_sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if len(study.directions) > 1:
            raise UsageError("expected a study of one objective, got several")
        self._base_sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        if self._advisors.pop(trial.number, None) is not None:
            self._check_names(trial)
        self._base_sampler.after_trial(study, trial, state, values)

    def _plan(self, study: Study, trial: FrozenTrial) -> tuple[Advisor | None, str]:
        """The advisor that chooses this trial; or None, and why there is none."""
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        advisor = self._meta.advise(self._features)
        for name, config in self._params.items():
            if not all(_fits(config, other.distributions) for other in others):
                advisor.observe(name, math.nan)
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        best_advised, best_searched = self._observe(advisor, others, sign)
        if not len(self._meta.history_.datasets):
            return None, "found by search: no other table to go by"
        n_later, gain = trial.number - self._n_first, advisor.gain()  # trials since the first ones
        if not gain or (n_later >= 0 and gain < MIN_GAIN):
            return None, "found by search: other tables promise nothing better"
        advice_leads = best_advised >= best_searched
        if n_later >= 0 and (n_later % 3 == 2) == advice_leads:
            turn = "one of three is left to it" if advice_leads else "it found the best so far"
            return None, f"found by search: {turn}"
        return advisor, ""

    def _observe(
        self, advisor: Advisor, trials: Sequence[FrozenTrial], sign: float
    ) -> tuple[float, float]:
        """Let the advisor observe trials; returns the best scores of those advised and not."""
        best_advised = best_searched = -math.inf
        for trial in trials:
            advised = trial.system_attrs.get(ADVISED)
            name = self._names.get(_key(trial.params), advised)
            score = sign * _final_value(trial, trials)
            if name in self._params:
                has_its_params = self._params[name].items() <= trial.params.items()
                try:
                    advisor.observe(name, score if has_its_params else math.nan)
                except UsageError:  # no score of the history's kind, as one above 1 of shares
                    advisor.observe(name, math.nan)
            if trial.state == TrialState.COMPLETE and not math.isnan(score):
                if advised is None:
                    best_searched = max(best_searched, score)
                else:
                    best_advised = max(best_advised, score)
        return best_advised, best_searched

    def _check_names(self, trial: FrozenTrial) -> None:
        """Warn once if a trial lacks parameters of the configuration it was advised to be, or has
        none of any configuration.
        """
        advised = trial.system_attrs.get(ADVISED)
        if advised in self._params:
            missing = self._params[advised].keys() - trial.params.keys()
        else:
            missing = {name for config in self._params.values() for name in config}
            missing = set() if missing & trial.params.keys() else missing
        if missing and trial.params and not self._warned:
            self._warned = True
            warnings.warn(
                f"the history's configurations set {_listed(missing)}, which the study does not "
                f"have (it has {_listed(trial.params)}): their scores are not learned from; name "
                "the parameters alike in both",
                stacklevel=2,
            )

    def _record(self, study: Study, trial: FrozenTrial, advisor: Advisor, name: str) -> None:
        """Record with the trial what it was advised to be, and why."""
        study._storage.set_trial_system_attr(trial._trial_id, ADVISED, name)
        study._storage.set_trial_user_attr(trial._trial_id, REASONS, [advisor.reason(name)])


def _final_value(trial: FrozenTrial, others: Sequence[FrozenTrial]) -> float:
    """The value of a trial, estimated if it was pruned; NaN if it has none."""
    value = trial.value
    if value is None or not math.isfinite(value):
        return math.nan
    if trial.state != TrialState.PRUNED or trial.last_step is None:
        return value
    gains = [
        other.value - other.intermediate_values[trial.last_step]
        for other in others
        if other.state == TrialState.COMPLETE
        and other.value is not None
        and trial.last_step in other.intermediate_values
    ]
    gains = [gain for gain in gains if math.isfinite(gain)]
    return value + (median(gains) if gains else 0.0)


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True, default=str)


def _fits(config: Mapping[str, Any], requested: Mapping[str, BaseDistribution]) -> bool:
    """Whether the values of a configuration are in the ranges requested."""
    for name, distribution in requested.items():
        if name in config and not _contains(distribution, config[name]):
            return False
    return True


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution._contains(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def _agrees(config: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    """Whether a configuration agrees with the parameters chosen so far that it has."""
    return all(config[name] == value for name, value in params.items() if name in config)
