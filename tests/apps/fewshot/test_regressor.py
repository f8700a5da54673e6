import numpy as np
import pytest

from quickstudy import FewShotRegressor
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import BayesianRidge


def linear(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, X @ [1.0, 2.0, -1.0] + 0.3 * rng.normal(size=n)


def test_intervals_are_shaped_as_predictions_and_widen_with_their_coverage():
    X, y = linear(25)
    regressor = FewShotRegressor().fit(X[:20], y[:20])
    low, high = regressor.predict_interval(X[20:])
    lower, higher = regressor.predict_interval(X[20:], coverage=0.99)
    predicted = regressor.predict(X[20:])
    assert predicted.shape == low.shape == (5,)
    for smaller, greater in ((lower, low), (low, predicted), (predicted, high), (high, higher)):
        assert (smaller < greater).all()
    regressor.fit(X, np.stack([y, -y], 1))
    low, high = regressor.predict_interval(X)
    assert low.shape == high.shape == (25, 2)


def test_intervals_that_cannot_be_told_are_refused():
    X, y = linear(10)
    with pytest.raises(UsageError, match="leave out learner="):
        FewShotRegressor(BayesianRidge()).fit(X, y).predict_interval(X)
    with pytest.raises(UsageError, match="between 0 and 1, got 90"):
        FewShotRegressor().fit(X, y).predict_interval(X, coverage=90)
    with pytest.raises(DataError, match="at least 3 examples"):
        FewShotRegressor().fit(X[:2], y[:2]).predict_interval(X)


def test_an_explanation_has_the_weight_and_the_error_of_each_candidate():
    X, y = linear(20)
    explanation = FewShotRegressor().fit(X, y).explain()
    weights = [one.weight for one in explanation.candidates]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    errors = {one.head: one.error for one in explanation.candidates}
    assert errors["Bayesian ridge"] < errors["mean"]
    assert explanation.n_left_out == explanation.n_examples == 20
    assert explanation.candidates[0].head in str(explanation)
    assert "error of 20 left out" in explanation._repr_html_()
    assert explanation.as_dict()["n_examples"] == 20
    with pytest.raises(UsageError, match=r"a target in 0\.\.0"):
        FewShotRegressor().fit(X, y).explain(target=1)


def test_a_saved_regressor_predicts_and_tells_intervals_as_before(tmp_path):
    X, y = linear(20)
    regressor = FewShotRegressor().fit(X, np.stack([y, y**2], 1))
    regressor.save(tmp_path / "saved")
    again = FewShotRegressor.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.predict(X), regressor.predict(X))
    np.testing.assert_array_equal(again.predict_interval(X), regressor.predict_interval(X))
