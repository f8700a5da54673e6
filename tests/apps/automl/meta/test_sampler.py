"""A study that begins with what other data sets advise."""

import math

import numpy as np
import pytest

optuna = pytest.importorskip("optuna")

from quickstudy.apps.automl.meta.history import History  # noqa: E402
from quickstudy.apps.automl.meta.meta_learner import MetaLearner  # noqa: E402
from quickstudy.apps.automl.meta.sampler import MetaSampler  # noqa: E402
from quickstudy.errors import UsageError  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)

PLACES = [-2.0, -1.0, 0.0, 1.0, 2.0]
PARAMS = {str(x): {"x": x} for x in PLACES}


def history_of_hills(tops):
    """Data sets whose scores fall off from a top."""
    scores = [[-((x - top) ** 2) for x in PLACES] for top in tops]
    return History([f"hill {i}" for i in range(len(tops))], list(PARAMS), scores)


RIGHT = history_of_hills(np.linspace(0.8, 1.2, 12))


def hill(top):
    return lambda trial: -((trial.suggest_float("x", -3, 3) - top) ** 2)


def study_of(sampler, objective, n_trials, **options):
    study = optuna.create_study(**{"direction": "maximize", "sampler": sampler, **options})
    study.optimize(objective, n_trials)
    return study


def test_the_first_trial_is_what_did_best_elsewhere_and_none_is_repeated():
    study = study_of(MetaSampler(RIGHT, PARAMS), hill(1.0), 5)
    places = [trial.params["x"] for trial in study.trials]
    assert places[0] == 1.0
    assert len(set(places)) == 5
    (why,) = study.trials[0].user_attrs["reasons"]
    assert why == "among the best on 12 of 12 tables: hill 0, hill 1, hill 2, ..."


def test_a_study_may_minimise():
    study = study_of(
        MetaSampler(RIGHT, PARAMS), lambda trial: -hill(1.0)(trial), 1, direction="minimize"
    )
    assert study.best_params == {"x": 1.0}


def test_an_empty_history_leaves_all_to_search_and_says_so():
    sampler = MetaSampler(
        History([], [], []), {}, base_sampler=optuna.samplers.RandomSampler(seed=1)
    )
    study = study_of(sampler, hill(1.0), 3)
    alone = study_of(optuna.samplers.RandomSampler(seed=1), hill(1.0), 3)
    assert [t.params for t in study.trials] == [t.params for t in alone.trials]
    assert study.trials[0].user_attrs["reasons"] == ["found by search: no other table to go by"]


def test_search_goes_on_where_advice_is_used_up():
    study = study_of(MetaSampler(RIGHT, PARAMS), hill(1.1), 25)
    advised = [t for t in study.trials if t.params["x"] in PLACES]
    assert len(advised) <= len(PLACES)
    assert "promise nothing better" in study.trials[-1].user_attrs["reasons"][0]
    assert study.best_value > -0.01  # the nearest place that was advised has -0.01


def n_by_search(study):
    return sum("by search" in t.user_attrs["reasons"][0] for t in study.trials)


def test_a_history_that_misleads_is_left_for_search():
    """A long list of bad advice, of which all is alike in the history, so that none is used up."""
    rng = np.random.default_rng(0)
    params = {f"c{i}": {"x": -3 + i / 100} for i in range(100)}
    history = History([str(i) for i in range(12)], list(params), rng.random((12, 100)))
    study = study_of(MetaSampler(history, params), hill(2.0), 40)
    assert n_by_search(study) >= 20
    assert study.best_value > -0.2  # all advice is below -16


def test_good_advice_keeps_its_turns():
    params = {f"c{i}": {"x": 1.0 + i / 1e4} for i in range(40)}
    scores = np.random.default_rng(0).random((12, 40))
    study = study_of(
        MetaSampler(History(list("abcdefghijkl"), list(params), scores), params), hill(1.0), 11
    )
    is_searched = ["by search" in t.user_attrs["reasons"][0] for t in study.trials]
    if "promise" not in str([t.user_attrs for t in study.trials]):
        assert is_searched == [False] * 7 + [True, False, False, True]


def test_where_no_configuration_is_in_the_range_the_reason_says_so():
    study = study_of(MetaSampler(RIGHT, PARAMS), lambda t: t.suggest_float("x", 5, 6), 1)
    (why,) = study.trials[0].user_attrs["reasons"]
    assert why == "found by search: no configuration left fits the study's parameters"


def test_configurations_out_of_the_range_are_passed_over():
    def narrow(trial):
        return trial.suggest_float("x", -3, 0.5)

    study = study_of(MetaSampler(RIGHT, PARAMS), narrow, 3)
    assert study.trials[0].params == {"x": 0.0}


def test_a_family_that_is_not_searched_is_passed_over():
    params = {
        "svm": {"family": "svm", "svm.C": 1.0},
        "tree": {"family": "tree", "tree.depth": 3},
    }
    history = History(["a", "b"], ["svm", "tree"], [[0.9, 0.8], [0.9, 0.8]])

    def objective(trial):
        family = trial.suggest_categorical("family", ["tree", "line"])
        if family == "tree":
            trial.suggest_int("tree.depth", 1, 9)
        return 0.5

    study = study_of(MetaSampler(history, params), objective, 1)
    assert study.trials[0].params == {"family": "tree", "tree.depth": 3}


def test_what_a_configuration_does_not_say_is_searched():
    def objective(trial):
        return hill(1.0)(trial) + 0 * trial.suggest_float("y", 0, 1)

    study = study_of(MetaSampler(RIGHT, PARAMS), objective, 3)
    places = [t.params["x"] for t in study.trials]
    assert places[0] == 1.0
    assert len(set(places)) == 3


@pytest.mark.parametrize(
    ("params", "absent"),
    [
        ({name: {"rate": x} for name, x in zip(PARAMS, PLACES, strict=True)}, "'rate'"),
        ({name: {"x": x, "y": 1.0} for name, x in zip(PARAMS, PLACES, strict=True)}, "'y'"),
    ],
)
def test_configurations_whose_parameters_the_study_does_not_have_are_warned_of(params, absent):
    with pytest.warns(UserWarning, match=f"set {absent}, which the study does not have .*'x'") as w:
        study_of(MetaSampler(RIGHT, params), hill(1.0), 4)
    assert len([one for one in w if "does not have" in str(one.message)]) == 1


def test_failed_and_infinite_trials_are_not_advised_again():
    def objective(trial):
        x = trial.suggest_float("x", -3, 3)
        if x == 1.0:
            raise RuntimeError("no")
        return math.inf if x == 2.0 else -abs(x)

    study = optuna.create_study(direction="maximize", sampler=MetaSampler(RIGHT, PARAMS))
    study.optimize(objective, 5, catch=(RuntimeError,))
    places = [t.params["x"] for t in study.trials]
    assert places.count(1.0) == 1
    assert len(set(places)) == 5


def test_samplers_that_share_a_study_share_what_was_observed():
    wide = history_of_hills(np.linspace(-2, 2, 12))
    storage = optuna.storages.InMemoryStorage()
    options = {"storage": storage, "study_name": "s", "load_if_exists": True}
    first = study_of(MetaSampler(wide, PARAMS), hill(1.0), 1, **options).trials[0].params["x"]
    running = optuna.create_study(
        direction="maximize", sampler=MetaSampler(wide, PARAMS), **options
    ).ask()
    second = running.suggest_float("x", -3, 3)
    third = study_of(MetaSampler(wide, PARAMS), hill(1.0), 1, **options).trials[-1].params["x"]
    assert len({first, second, third}) == 3
    assert {first, second, third} <= set(PLACES)


def test_a_pruned_trial_counts_by_what_finished_ones_gained_from_its_step_on():
    def next_after(**second):
        study = optuna.create_study(direction="maximize", sampler=MetaSampler(wide, PARAMS))
        for trial in (
            {"params": {"x": -2.0}, "value": -9.0, "intermediate_values": {0: -12.0, 1: -9.0}},
            {"params": {"x": 0.0}, **second},
        ):
            allowed = {"x": optuna.distributions.FloatDistribution(-3, 3)}
            study.add_trial(optuna.trial.create_trial(distributions=allowed, **trial))
        return study.ask().suggest_float("x", -3, 3)

    wide = history_of_hills(np.linspace(-2, 2, 12))
    pruned = next_after(
        state=optuna.trial.TrialState.PRUNED, value=-3.3, intermediate_values={0: -3.3}
    )
    assert pruned == next_after(value=-0.3) == 1.0
    assert next_after(value=-3.3) == 2.0


def test_scores_of_another_kind_than_the_historys_are_passed_over():
    scores = np.random.default_rng(0).random((12, len(PLACES)))
    history = History([str(i) for i in range(12)], list(PARAMS), scores)
    learned = {**MetaLearner().fit(history).learned(), "chosen": "logit mixture, likeness 0.7"}
    sampler = MetaSampler(MetaLearner.restore(learned, history), PARAMS)
    study = study_of(sampler, lambda trial: 100 + hill(1.0)(trial), 5)
    assert {t.params["x"] for t in study.trials} == set(PLACES)


def test_an_enqueued_trial_keeps_its_reasons_and_counts():
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(RIGHT, PARAMS))
    study.enqueue_trial({"x": 1.0}, user_attrs={"reasons": ["I like it"]})
    study.optimize(hill(1.0), 2)
    assert study.trials[0].user_attrs["reasons"] == ["I like it"]
    assert study.trials[1].params["x"] != 1.0


def test_what_cannot_be_used_is_refused():
    with pytest.raises(UsageError, match=r"expected parameters of '2\.0', got none"):
        MetaSampler(RIGHT, {**PARAMS, "2.0": {}})
    with pytest.raises(UsageError, match="expected n_first >= 0, got -1"):
        MetaSampler(RIGHT, PARAMS, n_first=-1)
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=MetaSampler(RIGHT, PARAMS)
    )
    with pytest.raises(UsageError, match="expected a study of one objective"):
        study.ask()
