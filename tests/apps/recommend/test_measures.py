import numpy as np
import pytest
from scipy import sparse

from quickstudy.apps.recommend.measures import interval, ndcg, ranking


def test_ndcg_is_one_for_the_best_order_and_less_for_others():
    ratings = np.array([[5.0, 3.0, 1.0, 4.0]])
    assert ndcg(ratings, ratings)[0] == 1
    assert ndcg(ratings, np.zeros((1, 4)))[0] == 1
    by_hand = (1 + 7 / np.log2(3) + 31 / 2) / (31 + 7 / np.log2(3) + 1 / 2)
    assert ndcg(-ratings[:, :3], ratings[:, :3], k=3)[0] == pytest.approx(by_hand)


def test_ndcg_of_ratings_whose_gain_no_number_holds():
    half = ndcg(np.array([[2.0, 1.0, 0.0]]), np.array([[1.0, 5000.0, 4999.0]]))[0]
    discount = 1 / np.log2([2, 3, 4])
    assert half == pytest.approx(([0, 1, 0.5] @ discount) / ([1, 0.5, 0] @ discount))


def test_a_bootstrap_interval_is_about_two_standard_errors():
    values = np.random.default_rng(1).normal(size=400)
    low, high = interval(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_a_ranking_is_measured_against_what_followed():
    chosen = sparse.csr_matrix(np.eye(1, 5))
    measures = ranking(np.array([[9.0, 4, 3, 2, 1]]), chosen, np.array([[2, 4]]), k=2)
    assert measures["recall@2"].tolist() == [0.5]
    by_hand = (1 / np.log2(3)) / (1 + 1 / np.log2(3))
    assert measures["ndcg@2"][0] == pytest.approx(by_hand)
