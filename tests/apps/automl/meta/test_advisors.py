"""What advisors suggest, compared with closed forms and with what cannot be beaten."""

import itertools

import numpy as np
import pytest
from scipy import stats

from quickstudy.apps.automl import History, MixtureAdvisor, Portfolio, RandomOrder
from quickstudy.errors import UsageError


def made_history(n=30, c=12, seed=0):
    """Two factors, and a scale of each data set's own."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 2)) @ rng.normal(size=(2, c)) + 0.1 * rng.normal(size=(n, c))
    scores = rng.uniform(0.01, 100, (n, 1)) * scores + rng.normal(0, 50, (n, 1))
    return History([f"d{i}" for i in range(n)], [f"c{i}" for i in range(c)], scores)


ADVISORS = [RandomOrder, Portfolio, MixtureAdvisor]


@pytest.mark.parametrize("make", ADVISORS)
def test_each_configuration_is_suggested_once(make):
    advisor = make(made_history())
    names = []
    while suggested := advisor.suggest(5):
        assert len(suggested) == len(set(suggested))
        names.append(suggested[0])
        advisor.observe(suggested[0], float(len(names)))
    assert sorted(names) == sorted(advisor.history.configs)


@pytest.mark.parametrize("make", ADVISORS)
def test_what_cannot_be_observed_or_suggested_is_refused(make):
    advisor = make(made_history())
    with pytest.raises(UsageError, match="unknown configuration 'c12'"):
        advisor.observe("c12", 1.0)
    with pytest.raises(UsageError, match="finite"):
        advisor.observe("c1", float("inf"))
    with pytest.raises(UsageError, match="k >= 1"):
        advisor.suggest(0)
    assert advisor.observed == {}


@pytest.mark.parametrize("make", ADVISORS)
def test_a_failure_is_not_suggested_again(make):
    advisor = make(made_history())
    (name,) = advisor.suggest()
    advisor.observe(name, float("nan"))
    assert name not in advisor.suggest(12)


def test_the_first_two_of_a_portfolio_are_each_the_best_addition():
    history = made_history()
    regret = history.regret
    first = min(range(12), key=lambda i: regret[:, i].mean())
    second = min(range(12), key=lambda i: np.minimum(regret[:, first], regret[:, i]).mean())
    assert Portfolio(history).suggest(2) == [f"c{first}", f"c{second}"]


def test_a_weight_of_one_makes_the_portfolio_of_that_data_set():
    history = made_history()
    weights = np.zeros(30)
    weights[7] = 2.0
    best = int(history.regret[7].argmin())
    advisor = Portfolio(history, weights)
    assert advisor.suggest() == [f"c{best}"]
    assert advisor.neighbours(1) == [("d7", 1.0)]


def test_weights_of_hypotheses_are_bayes_rule_by_scipy():
    history = made_history()
    advisor = MixtureAdvisor(history, power=1.0, likeness=0.6, shrinkage=0.1)
    regret = history.regret
    centre = regret.mean(0)
    covariance = np.cov(regret.T)
    covariance = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance)) + 1e-3 * np.eye(12)
    covariance *= 1 - 0.6**2
    given = [3, 8, 1]
    for i in given:
        advisor.observe(f"c{i}", history.scores[4, i] + 0.1)
    likelihood = []
    for row, own in zip(history.scores, regret, strict=True):
        spread = np.ptp(row)
        mean = row.max() - spread * (centre + 0.6 * (own - centre))
        observed = history.scores[4, given] + 0.1
        normal = stats.multivariate_normal(
            mean[given], spread**2 * covariance[np.ix_(given, given)]
        )
        likelihood.append(normal.logpdf(observed))
    weights = np.exp(np.array(likelihood) - max(likelihood))
    weights /= weights.sum()
    shares = dict(advisor.neighbours(30))
    np.testing.assert_allclose([shares[f"d{i}"] for i in range(30)], weights, rtol=1e-6)


def test_scores_change_what_a_mixture_suggests_towards_the_best():
    """In the mean over data sets left out, five adaptive trials beat the portfolio's."""
    history = made_history(60)
    regrets = {MixtureAdvisor: [], Portfolio: []}
    for i, make in itertools.product(range(60), regrets):
        advisor = make(history.without([f"d{i}"]))
        for _ in range(5):
            (name,) = advisor.suggest()
            advisor.observe(name, history.scores[i, int(name[1:])])
        numbers = [int(name[1:]) for name in advisor.observed]
        regrets[make].append(history.regret[i, numbers].min())
    assert np.mean(regrets[MixtureAdvisor]) < 0.8 * np.mean(regrets[Portfolio])


def test_suggestions_do_not_depend_on_the_unit_of_scores():
    history = made_history()
    scaled = History(history.datasets, history.configs, 1000 * history.scores - 7)
    one, other = MixtureAdvisor(history), MixtureAdvisor(scaled)
    for i in range(4):
        names = one.suggest(3)
        assert names == other.suggest(3)
        one.observe(names[0], float(i))
        other.observe(names[0], 1000.0 * i - 7)


def test_a_mixture_fills_what_is_missing():
    history = made_history(60, 12)
    scores = history.scores.copy()
    hidden = np.random.default_rng(1).random(scores.shape) < 0.3
    hidden[:, 0] = False
    scores[hidden] = np.nan
    partial = History(history.datasets, history.configs, scores)
    top = MixtureAdvisor(history).suggest(4)
    assert len(set(top) & set(MixtureAdvisor(partial).suggest(4))) >= 2
    whole, part = history.regret[:, 1:].mean(0), Portfolio(partial)._regret[:, 1:].mean(0)
    assert np.corrcoef(whole, part)[0, 1] > 0.9


def test_options_that_cannot_be_are_refused():
    history = made_history()
    for options, message in [
        ({"likeness": 1.0}, "likeness"),
        ({"power": 2.0}, "power"),
        ({"shrinkage": -1.0}, "shrinkage"),
        ({"scale": "log"}, "did you mean 'logit'"),
        ({"scale": "logit"}, "from 0 to 1"),
    ]:
        with pytest.raises(UsageError, match=message):
            MixtureAdvisor(history, **options)
    with pytest.raises(UsageError, match="at least 2"):
        MixtureAdvisor(history.without(history.datasets[1:]))


def test_a_share_outside_its_range_is_refused_by_a_logit_mixture():
    advisor = MixtureAdvisor(
        History(["a", "b"], ["x", "y"], [[0.1, 0.2], [0.4, 0.3]]), scale="logit"
    )
    with pytest.raises(UsageError, match="from 0 to 1"):
        advisor.observe("x", 1.5)
    assert len(advisor.suggest(2)) == 2
    assert advisor.observed == {}


def test_a_portfolio_makes_up_for_what_failed():
    scores = [[0.9, 0.89, 0.1], [0.9, 0.89, 0.1], [0.8, 0.79, 0.9]]
    history = History(["a", "b", "c"], ["x", "like x", "y"], scores)
    tried, failed = Portfolio(history), Portfolio(history)
    assert tried.suggest() == failed.suggest() == ["x"]
    tried.observe("x", 0.7)
    failed.observe("x", float("nan"))
    assert tried.suggest() == ["y"]
    assert failed.suggest() == ["like x"]


@pytest.mark.parametrize("make", ADVISORS)
def test_the_gain_falls_to_nothing(make):
    history = made_history()
    advisor = make(history)
    gains = [advisor.gain()]
    while suggested := advisor.suggest():
        advisor.observe(suggested[0], history.scores[0, history.configs.index(suggested[0])])
        gains.append(advisor.gain())
    assert gains[-1] == 0
    assert min(gains) >= 0
    if make is RandomOrder:
        assert max(gains) == 0
    else:
        assert gains[0] > 0.5 > gains[3]


def test_a_reason_says_on_which_tables_a_configuration_was_good():
    scores = [[0.9, 0.1, 0.5], [0.8, 0.2, np.nan], [0.1, 0.9, 0.5]]
    history = History(["keel/wine", "keel/iris", "your tea (y)"], ["x", "y", "z"], scores)
    assert Portfolio(history).reason("x") == "among the best on 2 of 3 tables: wine, iris"
    assert Portfolio(history).reason("z") == "among the best on none of 2 tables"
    certain = Portfolio(history, np.array([0.1, 0.1, 0.8]))
    place = "of 3 on the table most like this one: your tea (y)"
    assert [certain.reason(name) for name in "yx"] == [f"the best {place}", f"number 3 {place}"]
    likely = Portfolio(history, np.array([0.45, 0.1, 0.45]))
    assert (
        likely.reason("y") == "among the best on 1 of the 3 tables most like this one: your tea (y)"
    )
    assert "no table has tried it" in RandomOrder(History([], ["x"], [])).reason("x")
    with pytest.raises(UsageError, match="unknown configuration 'w'"):
        certain.reason("w")


@pytest.mark.parametrize("scale", ["identity", "logit"])
def test_expected_scores_are_those_observed_and_the_history_s_on_a_known_data_set(scale):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.2, 0.9, (12, 6))
    history = History([f"d{i}" for i in range(12)], list("abcdef"), scores)
    advisor = MixtureAdvisor(history, np.eye(12)[3] + 1e-9, likeness=0.99, scale=scale, power=0.0)
    np.testing.assert_allclose(advisor.expected(), scores[3], atol=0.02)
    advisor.observe("b", 0.55)
    assert advisor.expected()[1] == pytest.approx(0.55, abs=0.05)
