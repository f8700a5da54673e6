import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import ExtraTreesClassifier

from quickstudy.learners.transfer.heads import ExtraTrees, FoldedView, Folds
from quickstudy.learners.transfer.heads.trees import _grow, _Labels


def query_scores(x, y, queries, seed=0):
    x, y = torch.as_tensor(x).double(), torch.as_tensor(y).long()
    view = FoldedView(x, Folds(y, int(y.max()) + 1))
    return ExtraTrees(seed).fit(view)(view.queries(torch.as_tensor(queries).double()))[0, 0]


def test_a_table_is_reproduced_by_heart():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 5, generator=generator)
    y = torch.randint(4, (150,), generator=generator)  # nothing to learn but by heart
    scores = query_scores(x, y, x)
    assert torch.equal(scores.argmax(1), y)
    assert scores.exp().amax(1).min() > 0.97


def test_the_same_seed_grows_the_same_trees_and_another_seed_others():
    x, y = load_iris(return_X_y=True)
    first, again, other = (query_scores(x[::3], y[::3], x, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scores_are_log_probabilities_that_rule_out_no_class():
    x, y = load_wine(return_X_y=True)
    scores = query_scores(x[::3], y[::3], x)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(len(x)))
    assert scores.min() > -6


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer, load_digits])
@pytest.mark.parametrize("n", [30, 100])
def test_they_are_about_as_good_as_scikit_learns(load, n):
    x, y = load(return_X_y=True)
    differences = []
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(len(y))
        support, query = order[:n], order[n : n + 400]
        classes, labels = np.unique(y[support], return_inverse=True)
        peer = ExtraTreesClassifier(random_state=seed).fit(x[support], labels)
        expected = peer.predict(x[query])
        found = query_scores(x[support], labels, x[query], seed).argmax(1).numpy()
        differences.append(
            np.mean(classes[found] == y[query]) - np.mean(classes[expected] == y[query])
        )
    assert np.mean(differences) > -0.03


def test_a_tree_does_not_see_what_its_fold_leaves_out():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 4, generator=generator).numpy(), np.arange(30) % 3
    trains = np.ones((5, 30), dtype=bool)
    trains[:, 20:] = False
    trees = _grow(x, _Labels(y, 3), trains, n_tries=3, seed=0)
    x[20:], y[20:] = 9.0, 0
    again = _grow(x, _Labels(y, 3), trains, n_tries=3, seed=0)
    for one, same in zip(vars(trees).values(), vars(again).values(), strict=True):
        assert np.array_equal(one, same)


def test_examples_left_out_of_noise_are_predicted_by_chance():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, dtype=torch.float64, generator=generator)
    y = torch.randint(2, (300,), generator=generator)
    view = FoldedView(x, Folds(y, 2))
    left_out = view.folds.left_out(ExtraTrees().fit(view)(view))[0]
    assert 0.4 < (left_out.argmax(1) == view.folds.left_out_labels).double().mean() < 0.6


def test_other_numbers_for_the_classes_change_little():
    x, y = load_wine(return_X_y=True)
    number = torch.tensor([2, 0, 1])  # of each class
    scores = query_scores(x[::5], y[::5], x)
    renumbered = query_scores(x[::5], number[torch.from_numpy(y[::5])], x)[:, number]
    assert (renumbered.exp() - scores.exp()).abs().mean() < 0.1


def test_numbers_next_to_each_other_are_split_between_them():
    """A threshold drawn between two neighbouring numbers rounds to one of them."""
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2.0))
    x = torch.tensor([[low]] * 3 + [[high]] * 3).double() - 1.0
    x = torch.cat([x, torch.full((1, 1), -3.0).double(), torch.full((1, 1), 3.0).double()])
    x += 1.0
    y = torch.tensor([0, 0, 0, 1, 1, 1, 0, 1])
    scores = query_scores(x, y, torch.tensor([[-9.0], [9.0]]))
    assert scores.isfinite().all()
    assert scores.argmax(1).tolist() == [0, 1]


def test_equal_examples_of_several_classes_share_their_leaf():
    scores = query_scores(torch.zeros(6, 2), torch.tensor([0, 0, 0, 0, 1, 1]), torch.zeros(1, 2))
    torch.testing.assert_close(scores[0].exp(), torch.tensor([2 / 3, 1 / 3]), atol=0.01, rtol=0)
