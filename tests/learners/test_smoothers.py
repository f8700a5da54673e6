"""Closed forms against their definitions, each row left out in turn."""

import pytest
import torch
from torch.nn.functional import one_hot

from quickstudy.learners.model.smoothers import (
    N_SMOOTHERS,
    Columns,
    _gradient_products,
    _laplace,
    _naive_bayes,
    _nearest,
    _ridge,
    fit_smoothers,
)
from quickstudy.tasks import TableTasks


def table(m=40, seed=0):
    """A small table with a missing value, in float64."""
    episode = TableTasks(n_way=3, n_shot=m, n_query=10, n_columns=4, seed=seed)[1]
    x = episode.support.x.double()
    x[3, 0] = torch.nan
    columns = Columns(x)
    onehot = one_hot(episode.support.y, episode.n_way).double()
    return columns(x), onehot, columns(episode.query.x.double())


def test_a_ridge_left_out_is_one_fitted_to_the_others():
    shown, onehot, _ = table()
    gram = _laplace(shown.both)(shown)
    left_out, _ = _ridge(gram, onehot, 0.3)
    for i in (0, 17, 39):
        others = torch.arange(40) != i
        a = torch.linalg.solve(
            gram[others][:, others] + 0.3 * torch.eye(39).double(), onehot[others]
        )
        torch.testing.assert_close(left_out[i], gram[i, others] @ a)


@pytest.mark.parametrize("kind", [_nearest, _naive_bayes])
def test_a_left_out_answer_does_not_know_its_own_label(kind):
    shown, onehot, _ = table()
    given = shown.both if kind is _nearest else shown
    before, _ = kind(given, onehot)
    onehot[5] = onehot[5].roll(1)
    after, _ = kind(given, onehot)
    torch.testing.assert_close(before[5], after[5])
    assert not torch.allclose(before, after)


def test_gradient_products_are_those_of_autograd():
    shown, onehot, _ = table()
    kernel, known = _laplace(shown.both), shown.both
    gram = kernel(shown)
    a = _ridge(gram, onehot, 0.5)[1]
    mean = torch.cdist(known, known).sum() / (40 * 39)

    def f(x, others):
        return torch.exp(-(x - known[others]).norm(dim=1) / mean) @ a[others]

    total = torch.zeros(8, 8, dtype=torch.float64)
    for i in range(40):  # the kernel has a kink where the row itself is
        g = torch.func.jacrev(f)(known[i], torch.arange(40) != i)
        total += g.T @ g
    ours = _gradient_products(gram, known, a)
    torch.testing.assert_close(ours / ours.norm(), total / total.norm(), rtol=0.05, atol=2e-3)


def test_answers_are_near_to_probabilities_for_known_and_new_rows():
    shown, onehot, asked = table()
    left_out, answer = fit_smoothers(shown, onehot)
    assert left_out.shape == (40, N_SMOOTHERS, 3)
    answers = answer(asked)
    assert answers.shape == (10, N_SMOOTHERS, 3)
    for found in (left_out, answers):
        torch.testing.assert_close(found.sum(2), torch.ones(found.shape[:2]).double())
        assert -1 < found.min() < found.max() < 2


def test_a_column_that_matters_only_with_another_is_found():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 8, generator=generator, dtype=torch.float64)
    y = ((x[:, 2] > 0) ^ (x[:, 5] > 0)).long()
    columns = Columns(x[:200])
    _, answer = fit_smoothers(columns(x[:200]), one_hot(y[:200]).double())
    right = (answer(columns(x[200:])).argmax(2) == y[200:, None]).double().mean(0)
    plain, turned = right[3], right[6]  # the Laplace kernel before and after
    assert turned > plain + 0.05
    assert turned > 0.85
