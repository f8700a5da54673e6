"""The time of a search: budgets hold, and watching the clock changes no model."""

import time

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("optuna")
pytest.importorskip("lightgbm")

from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor  # noqa: E402
from quickstudy.apps.automl.importance import column_importance  # noqa: E402
from quickstudy.apps.automl.pipelines import budget  # noqa: E402
from quickstudy.apps.automl.pipelines.budget import (  # noqa: E402
    Deadline,
    OutOfTime,
    fit_pipeline,
    forecast,
    predict_in_parts,
)
from quickstudy.apps.automl.pipelines.build import make_model  # noqa: E402
from quickstudy.apps.automl.pipelines.families import FAMILIES  # noqa: E402
from quickstudy.apps.automl.search import problem  # noqa: E402

RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=120), "b": RNG.normal(size=120), "c": list("xyz") * 40})
Y = (X["a"] * X["b"] > 0).to_numpy().astype(int)


class Clock:
    """A clock that tests move: each fit takes what they say."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "transformer"])
@pytest.mark.parametrize("goal", ["classification", "regression"])
def test_a_deadline_that_is_met_changes_no_prediction(family, goal):
    target = Y if goal == "classification" else X["a"].to_numpy() ** 2
    models = [make_model(family, FAMILIES[family].default, goal) for _ in range(3)]
    models[0].fit(X, target)
    for model, deadline in zip(models[1:], (Deadline(None), Deadline(1000)), strict=True):
        fit_pipeline(model, X, target, deadline)
        np.testing.assert_array_equal(model.predict(X), models[0].predict(X))
        parts = predict_in_parts(model[-1].predict, model[:-1].transform(X), deadline)
        np.testing.assert_array_equal(parts, models[0].predict(X))


@pytest.mark.parametrize("family", ["lightgbm", "random forest", "extra trees"])
def test_trees_end_when_the_time_does(family, clock, monkeypatch):
    model = make_model(family, FAMILIES[family].default, "classification")
    looks = []

    def left(self):
        looks.append(clock.now)
        clock.now += 1.0
        return self.at - clock.now

    monkeypatch.setattr(Deadline, "left", property(left))
    with pytest.raises(OutOfTime):
        fit_pipeline(model, X, Y, Deadline(10))
    assert len(looks) <= 10


def test_predictions_end_when_the_time_does(monkeypatch):
    monkeypatch.setattr(budget, "ROWS_AT_ONCE", 10)
    with pytest.raises(OutOfTime):
        predict_in_parts(len, np.zeros((100, 2)), Deadline(0))


def test_a_forecast_tells_what_is_fixed_from_what_grows():
    for fixed, each, growth in ((0.0, 1e-4, 1.0), (0.3, 3e-5, 1.0), (0.1, 1e-8, 2.0)):
        times = [(n, fixed + each * n**growth) for n in (1000, 2000, 4000)]
        assert forecast(times, 100_000, growth) == pytest.approx(fixed + each * 100_000**growth)
    assert forecast([(1000, 1.0)], 3000) == 3.0
    assert forecast([(1000, 1.0), (2000, 1.0)], 10_000) > 1.0  # no time is for nothing


N = 40_000
BIG = pd.DataFrame(RNG.normal(size=(N, 4)), columns=list("abcd"))
SIGN = np.where(BIG["a"] > 0, "yes", "no")

SLOW = {"linear": 1e-3, "lightgbm": 2e-5, "random forest": 1e-2}
"""Seconds a row of a clock that is moved by hand."""


@pytest.fixture
def slow_fits(clock, monkeypatch):
    """Fits that take by the clock what `SLOW` says, and notice its end late by a tenth of that."""
    plain, fitted = budget.fit_pipeline, []

    def fit(model, frame, target, deadline):
        family = {"LogisticRegression": "linear", "Ridge": "linear"}.get(type(model[-1]).__name__)
        family = family or ("lightgbm" if "LGBM" in type(model[-1]).__name__ else "random forest")
        seconds = SLOW[family] * len(frame)
        deadline.check()
        if seconds > deadline.left:
            clock.now += max(deadline.left, 0.0)
            raise OutOfTime
        clock.now += seconds
        fitted.append((family, len(frame)))
        model[-1].set_params(**({"n_estimators": 3} if family != "linear" else {}))
        return plain(model, frame, target, Deadline(None))

    monkeypatch.setattr(problem, "fit_pipeline", fit)
    return fitted


@pytest.mark.parametrize("budget_seconds", [3.0, 10.0, 60.0])
@pytest.mark.parametrize("goal", ["classification", "regression"])
def test_a_budget_holds_on_many_rows(budget_seconds, goal, slow_fits, clock):
    automl = AutoMLClassifier if goal == "classification" else AutoMLRegressor
    target = SIGN if goal == "classification" else BIG["a"]
    model = automl(time_budget=budget_seconds, families=list(SLOW), history=None)
    model.fit(BIG, target)
    assert clock.now <= 1.1 * budget_seconds + 2
    assert model.members_
    assert len(model.out_of_fold_) == len(model.rows_)
    assert np.isfinite(model.out_of_fold_score_)
    assert model.predict(BIG[:5]).shape == (5,)
    notes = " ".join(model.notes_)
    assert (len(model.rows_) < N) == ("pipelines were tried on" in notes)
    assert (model.n_fitted_rows_ < N) == ("the ensemble learned from" in notes)
    assert slow_fits[-1][1] == model.n_fitted_rows_ or model.n_fitted_rows_ == N


def test_an_ensemble_fitted_on_a_part_is_fitted_again_alike(slow_fits):
    model = AutoMLClassifier(time_budget=1.0, families=list(SLOW), history=None).fit(BIG, SIGN)
    assert model.n_fitted_rows_ < N
    again = AutoMLClassifier().refit(BIG, SIGN, model.leaderboard_, n_rows=model.n_fitted_rows_)
    np.testing.assert_array_equal(again.predict_proba(BIG[:99]), model.predict_proba(BIG[:99]))


def test_each_class_is_in_the_part_that_is_learned_from():
    target = np.array([0] * 5000 + [1] * 5 + [2])
    table = problem.Problem(pd.DataFrame({"a": target}), target, (), n_classes=3)
    for n in (3, 10, 1000):
        rows = table.draw(n)
        assert len(set(rows)) == len(rows) == n
        assert set(target[rows]) == {0, 1, 2}


def test_a_checkpoint_comes_with_the_first_pipeline_and_can_predict():
    seen = []

    def checkpoint(model):
        seen.append([entry.number for entry in model.leaderboard_])
        again = AutoMLClassifier().refit(X, Y, model.leaderboard_, n_rows=model.n_fitted_rows_)
        assert again.predict(X).shape == (120,)
        if len(seen) == 2:
            raise KeyboardInterrupt

    model = AutoMLClassifier(n_trials=50, families=["linear"], history=None)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, checkpoint=checkpoint)
    assert seen[0] == [0]
    assert len(seen[1]) > 1


def test_importance_takes_fewer_shuffles_in_less_time_and_raises_without_time(clock, monkeypatch):
    model = AutoMLClassifier(n_trials=1, families=["linear"], history=None).fit(BIG, SIGN)
    importance = column_importance(model, BIG, SIGN)
    plain = AutoMLClassifier.score

    def score(self, *data):
        clock.now += 1.0
        return plain(self, *data)

    monkeypatch.setattr(AutoMLClassifier, "score", score)
    some = column_importance(model, BIG, SIGN, Deadline(12.5))  # a pass is five scores
    assert set(some) == set(importance)
    assert next(iter(some)) == next(iter(importance)) == "a"
    with pytest.raises(OutOfTime):
        column_importance(model, BIG, SIGN, Deadline(3))
