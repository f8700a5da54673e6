"""What holds for every head."""

from typing import Any

import pytest
import torch

from quickstudy.learners.transfer.heads import (
    ExtraTrees,
    FoldedView,
    Folds,
    KernelHead,
    LinearDiscriminant,
    NaiveBayes,
    NearestCentroid,
    NearestNeighbours,
    kernels,
)

PREPARATIONS = ("raw", "direction", "standardised")
CLOSED_FORM = [
    *(NearestCentroid(how) for how in PREPARATIONS),
    *(NearestNeighbours(how) for how in PREPARATIONS),
    KernelHead("standardised", ridge=(0.1, 1.0)),
    KernelHead("direction", ridge=(0.1,)),
    KernelHead("standardised", "rbf", ridge=(0.1,)),
    KernelHead("standardised", "laplace", ridge=(0.1,)),
    LinearDiscriminant(),
    LinearDiscriminant(0.1),
    NaiveBayes(),
]
LOGISTIC = [
    KernelHead("standardised", logistic=(0.01, 0.1, 1.0)),
    KernelHead("direction", logistic=(0.1,)),
    KernelHead("standardised", "rbf", logistic=(0.1,)),
]
HEADS = [*CLOSED_FORM, *LOGISTIC, ExtraTrees()]
every_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: head.names[0])
every_head_but_trees = pytest.mark.parametrize(
    "head", [*CLOSED_FORM, *LOGISTIC], ids=lambda head: head.names[0]
)
"""Trees are drawn anew whenever a fold differs; `test_trees.py` compares them otherwise."""

sizes = pytest.mark.parametrize(("counts", "d"), [((6, 9, 4), 5), ((4, 3, 5), 40)])


def clusters(counts, d, seed=0, apart=1.5):
    """Vectors (n, d) around a centre a class, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(counts), d, dtype=torch.float64, generator=generator)
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    y = y[torch.randperm(len(y), generator=generator)]
    noise = torch.randn(len(y), d, dtype=torch.float64, generator=generator)
    return apart * centres[y] + noise, y


def fit(head, x, y, n_way=None):
    """A view of examples, and the head fitted to it."""
    view = FoldedView(x, Folds(y, n_way or int(y.max()) + 1))
    return view, head.fit(view)


def query_scores(head, x, y, queries, n_way=None):
    """Scores (k, m, c) of queries."""
    view, scores = fit(head, x, y, n_way)
    return scores(view.queries(queries))[:, 0]


def tolerance(head) -> dict[str, Any]:
    if head in LOGISTIC:  # folds converge together, to about this
        return {"atol": 0.01, "rtol": 0.01}
    return {"atol": 2e-4, "rtol": 1e-4}


@pytest.fixture(autouse=True)
def converged(monkeypatch):
    """Let logistic regression take its time."""
    monkeypatch.setattr(kernels, "MAX_STEPS", 1000)
    monkeypatch.setattr(kernels, "TOLERANCE", 1e-5)


@every_head
@sizes
def test_scores_have_a_row_for_each_candidate_fold_and_example(head, counts, d):
    x, y = clusters(counts, d)
    view, scores = fit(head, x, y)
    k, n, c = len(head.names), len(y), len(counts)
    assert scores(view).shape == (k, len(view.folds), n, c)
    assert scores(view.queries(x[:4])).shape == (k, 1, 4, c)
    assert scores(view).isfinite().all()


@every_head
@sizes
def test_classes_far_apart_are_told_apart_left_out_or_new(head, counts, d):
    x, y = clusters(counts, d, apart=6)
    view, scores = fit(head, x[::2], y[::2])
    left_out = view.folds.left_out(scores(view))
    assert (left_out.argmax(2) == view.folds.left_out_labels).float().mean() > 0.9
    assert (query_scores(head, x[::2], y[::2], x[1::2]).argmax(2) == y[1::2]).float().mean() > 0.9


@every_head_but_trees
@pytest.mark.parametrize(("counts", "d"), [((6, 9, 4), 5), ((4, 3, 5), 40), ((40, 50, 60), 7)])
def test_a_fold_is_the_head_fitted_to_what_the_fold_trains_on(head, counts, d):
    x, y = clusters(counts, d)
    view, scores = fit(head, x, y)
    all_scores = scores(view)
    for f, trains in enumerate(view.folds.trains[:-1]):
        alone = query_scores(head, x[trains], y[trains], x[~trains], len(counts))
        torch.testing.assert_close(all_scores[:, f, ~trains], alone, **tolerance(head))


@every_head_but_trees
@sizes
def test_nothing_of_what_a_fold_leaves_out_reaches_it(head, counts, d):
    """Other values and labels of these examples leave the fold's scores of all others alone."""
    x, y = clusters(counts, d)
    folds = Folds(y, len(counts))
    view = FoldedView(x, folds)
    before = head.fit(view)(view)
    for f in range(0, len(folds) - 1, 4):
        out = ~folds.trains[f]
        changed = folds.y.clone()
        changed[out] = (changed[out] + 1) % len(counts)
        other = Folds(y, len(counts))  # the same folds, of other labels
        other.y = changed
        far = x.clone()
        far[out] = x[out] * -3 + 5
        of_changed = FoldedView(far, other)
        after = head.fit(of_changed)(of_changed)
        torch.testing.assert_close(after[:, f, ~out], before[:, f, ~out], **tolerance(head))


@every_head
@sizes
def test_a_prediction_does_not_depend_on_the_other_queries(head, counts, d):
    x, y = clusters(counts, d)
    queries = clusters((30, 30), d, seed=1)[0]
    view, scores = fit(head, x, y)
    whole = scores(view.queries(queries))
    single = torch.cat([scores(view.queries(one[None])) for one in queries], dim=2)
    torch.testing.assert_close(single, whole, atol=1e-3, rtol=1e-4)


@every_head_but_trees
@sizes
def test_other_numbers_for_the_classes_give_the_same_scores(head, counts, d):
    x, y = clusters(counts, d)
    queries = clusters((5, 5), d, seed=1)[0]
    number = torch.tensor([2, 0, 1])  # of each class
    scores = query_scores(head, x, y, queries)
    renumbered = query_scores(head, x, number[y], queries)
    torch.testing.assert_close(renumbered[..., number], scores, **tolerance(head))


@every_head_but_trees
def test_the_order_of_examples_does_not_matter(head):
    x, y = clusters((6, 9, 4), 5)
    queries = clusters((5, 5), 5, seed=1)[0]
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        query_scores(head, x[order], y[order], queries),
        query_scores(head, x, y, queries),
        **tolerance(head),
    )


@every_head
def test_one_example_a_class_is_enough(head):
    x, y = clusters((1, 1, 1, 1), 6, apart=5)
    view, scores = fit(head, x, y)
    assert scores(view).isfinite().all()
    near = query_scores(head, x, y, x + 0.01)
    assert torch.equal(near.argmax(2), y.expand(len(head.names), 4))


@every_head
def test_a_class_of_one_stands_beside_classes_of_many(head):
    x, y = clusters((1, 30, 25), 6, apart=5)
    view, scores = fit(head, x, y)
    assert view.folds.left_out(scores(view)).isfinite().all()
    found = query_scores(head, x, y, x).argmax(2)
    assert (found == y).float().mean() > 0.9


@every_head
def test_a_constant_column_and_examples_that_are_alike_do_no_harm(head):
    x, y = clusters((5, 6), 3, apart=4)
    x = torch.cat([x, torch.full((11, 1), 7.3, dtype=torch.float64)], dim=1)
    x[1] = x[0]
    y[1] = y[0]
    view, scores = fit(head, x, y)
    assert view.folds.left_out(scores(view)).isfinite().all()
    assert (query_scores(head, x, y, x).argmax(2) == y).float().mean() > 0.8


@every_head
def test_all_examples_alike_give_finite_scores(head):
    x, y = torch.full((6, 3), 0.1, dtype=torch.float64), torch.arange(6) % 2
    view, scores = fit(head, x, y)
    assert view.folds.left_out(scores(view)).isfinite().all()
    assert query_scores(head, x, y, torch.eye(3, dtype=torch.float64)).isfinite().all()


@every_head
@pytest.mark.parametrize("offset", [1e9, -1e6])
def test_features_far_from_zero_are_told_apart_by_their_differences(head, offset):
    x, y = clusters((8, 9), 4, apart=4)
    queries = clusters((10, 10), 4, seed=1)[0]
    near = query_scores(head, x, y, queries)
    far = query_scores(head, x + offset, y, queries + offset)
    if isinstance(head, ExtraTrees):  # whose thresholds round otherwise
        assert (far.argmax(2) == near.argmax(2)).float().mean() > 0.85
    else:
        torch.testing.assert_close(far, near, atol=0.02, rtol=0.02)


@every_head
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_all_features_does_not_change_a_label(head, factor):
    x, y = clusters((8, 9), 4)
    queries = clusters((10, 10), 4, seed=1)[0]
    before = query_scores(head, x, y, queries).argmax(2)
    after = query_scores(head, x * factor, y, queries * factor).argmax(2)
    assert (after == before).float().mean() > 0.95
