import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend import generated
from quickstudy.apps.recommend.bases.bayesian import BayesianMF

DATA = generated(n_users=150, n_items=40, seed=1)
USERS, ITEMS = np.ones((150, 1)), np.ones((40, 1))


@pytest.fixture(scope="module")
def bayes():
    return BayesianMF(n_factors=4).fit(DATA.matrix(), USERS, ITEMS)


@pytest.fixture(scope="module")
def exact(bayes):
    """The same model with item vectors that are known exactly."""
    certain = np.zeros_like(bayes.item_covariances)
    return BayesianMF().restore({**bayes.state(), "item_covariances": certain})


def history(pairs):
    items, ratings = zip(*sorted(pairs.items()), strict=True)
    return sparse.csr_matrix((ratings, (np.zeros(len(items), int), items)), shape=(1, 40))


def test_the_posterior_of_a_user_is_that_of_a_gaussian_regression(bayes, exact):
    """Against conditioning of the joint Gaussian of vector and ratings, items known exactly."""
    rated, ratings = [1, 4, 9], np.array([5.0, 2.0, 3.0])
    z, covariance = exact.posterior(history(dict(zip(rated, ratings, strict=True))), USERS[:1])
    v, prior, m0 = bayes.item_vectors[rated, 1:], bayes.user_covariance, bayes.user_effects[0]
    gain = prior @ v.T @ np.linalg.inv(v @ prior @ v.T + bayes.noise_variance * np.eye(3))
    np.testing.assert_allclose(z[0], m0 + gain @ (ratings - bayes.item_vectors[rated, 0] - v @ m0))
    np.testing.assert_allclose(covariance[0], prior - gain @ v @ prior, atol=1e-10)


def test_a_leave_one_out_residual_is_that_of_a_model_without_the_rating(bayes, exact):
    pairs = {1: 5.0, 4: 2.0, 9: 3.0}
    ratings = history(pairs)
    left_out = exact.leave_one_out_residuals(ratings, exact.posterior(ratings, USERS[:1]))
    for i, (item, rating) in enumerate(pairs.items()):
        rest = history({k: r for k, r in pairs.items() if k != item})
        assert left_out[i] == pytest.approx(rating - exact.predict(rest, USERS[:1])[1, 0, item])


def test_the_contributions_of_all_ratings_add_up_to_what_they_change(bayes, exact):
    ratings = history({1: 5.0, 4: 2.0, 9: 3.0})
    nothing = sparse.csr_matrix((1, 40))
    moved = exact.predict(ratings, USERS[:1])[1, 0] - exact.predict(nothing, USERS[:1])[1, 0]
    contributions = exact.contributions(ratings, USERS[:1], np.arange(40))
    np.testing.assert_allclose(contributions.sum(0), moved, atol=1e-10)


def test_em_recovers_the_noise_and_the_effects_of_attributes():
    rng = np.random.default_rng(0)
    attributes = np.column_stack([np.ones(400), rng.normal(size=400)])
    z = 1.5 * attributes[:, 1:] + 0.5 * rng.normal(size=(400, 1))
    v = rng.normal(size=(60, 1))
    ratings = 3 + z @ v.T + 0.5 * rng.normal(size=(400, 60))
    is_rated = rng.random((400, 60)) < 0.5
    model = BayesianMF(n_factors=2, n_iterations=40).fit(
        sparse.csr_matrix(ratings * is_rated), attributes, np.ones((60, 1))
    )
    assert model.noise_variance == pytest.approx(0.25, rel=0.1)
    nothing = sparse.csr_matrix((1, 60))
    expected = model.predict(nothing, np.array([[1.0, 2.0]]))[1, 0]
    assert np.corrcoef(expected - 3, 3.0 * v[:, 0])[0, 1] > 0.98


def test_the_first_question_reduces_the_variance_of_what_others_rate_most(bayes, exact):
    nothing = sparse.csr_matrix((1, 40))
    questions = bayes.ask(nothing, USERS[:1], 5)
    assert len(set(questions)) == 5
    weight = bayes.item_counts / 150

    def remaining_variance(item):
        v, prior = bayes.item_vectors[:, 1:], bayes.user_covariance
        moved = prior @ v[item]
        left = prior - weight[item] * np.outer(moved, moved) / (
            v[item] @ moved + bayes.noise_variance
        )
        return float(weight @ np.einsum("ij,jk,ik->i", v, left, v))

    first = exact.ask(nothing, USERS[:1], 1)[0]
    assert first == min(range(40), key=remaining_variance)
    assert questions[0] not in bayes.ask(history({questions[0]: 5.0}), USERS[:1], 5)
    assert questions[0] not in bayes.ask(nothing, USERS[:1], 5, skip=questions[:1])
