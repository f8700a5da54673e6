import pytest
import torch

from quickstudy.learners.transfer.heads import FoldedView, Folds


def labels(*counts):
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(
    ("counts", "n_folds"),
    [
        ((2, 2), 4),
        ((3,) * 5, 12),
        ((24,) * 5, 12),
        ((25,) * 5, 5),
        ((80,) * 5, 5),
        ((81,) * 5, 3),
        ((100,) * 100, 2),
    ],
)
def test_larger_support_sets_have_fewer_folds(counts, n_folds):
    folds = Folds(labels(*counts), len(counts))
    assert len(folds) == n_folds + 1
    assert folds.trains[-1].all()


@pytest.mark.parametrize("counts", [(2, 2), (1, 9, 4), (7, 30, 2), (50, 60, 70), (3,) * 12])
def test_each_example_is_left_out_once_and_the_only_one_of_a_class_never(counts):
    y = labels(*counts)
    folds = Folds(y, len(counts))
    expected = torch.tensor(counts)[y] > 1
    assert torch.equal((~folds.trains).sum(0), expected.long())
    assert sorted(folds.row.tolist()) == expected.nonzero()[:, 0].tolist()
    assert torch.equal(folds.left_out_labels, y[folds.row])
    in_training = torch.stack(
        [y[trains].bincount(minlength=len(counts)) for trains in folds.trains]
    )
    assert (in_training > 0).all()


def test_folds_are_stratified():
    folds = Folds(labels(24, 36, 12), 3)
    left_out = torch.stack([folds.y[~trains].bincount(minlength=3) for trains in folds.trains[:-1]])
    assert torch.equal(left_out, torch.tensor([[2, 3, 1]]).expand(12, 3))
    uneven = Folds(labels(10, 17, 5), 3)
    for trains in uneven.trains[:-1]:
        counts = uneven.y[~trains].bincount(minlength=3).float()
        assert ((counts - torch.tensor([10, 17, 5]) / 12).abs() < 1).all()


def test_one_example_a_class_leaves_nothing_out():
    folds = Folds(torch.tensor([2, 0, 1]), 3)
    assert len(folds) == 1
    assert folds.left_out(torch.zeros(4, 1, 3, 3)).shape == (4, 0, 3)


def test_scores_of_examples_left_out_are_those_of_the_fold_that_leaves_them_out():
    folds = Folds(labels(6, 8), 2)
    scores = torch.arange(len(folds) * 14.0).view(1, len(folds), 14, 1)
    expected = [
        float(scores[0, f, i, 0]) for f in range(len(folds)) for i in range(14)
        if not folds.trains[f, i]
    ]  # fmt: skip
    assert folds.left_out(scores)[0, :, 0].tolist() == expected


@pytest.fixture
def view():
    x = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 2
    return FoldedView(x, Folds(labels(8, 12), 2))


def test_each_fold_prepares_by_what_it_trains_on_alone(view):
    for f, trains in enumerate(view.folds.trains):
        own = view.x[trains]
        centred = view.x - own.mean(0)
        direction = centred / centred.norm(dim=1, keepdim=True)
        torch.testing.assert_close(view.prepared("direction")[f].double(), direction)
        standardised = centred / own.std(0, correction=0) / 2
        torch.testing.assert_close(view.prepared("standardised")[f].double(), standardised)


def test_raw_vectors_keep_their_differences(view):
    between = torch.cdist(view.x, view.x).float()
    for raw in view.prepared("raw"):
        torch.testing.assert_close(torch.cdist(raw, raw), between, atol=1e-4, rtol=1e-4)


def test_queries_are_prepared_as_by_the_fold_of_all_examples(view):
    queries = view.queries(view.x[:3])
    for how in ("raw", "direction", "standardised"):
        torch.testing.assert_close(queries.prepared(how), view.prepared(how)[-1:, :3])


def test_a_feature_far_beyond_the_others_is_cut_off(view):
    far = view.queries(torch.full((1, 4), 1e12)).prepared("standardised")
    torch.testing.assert_close(far, torch.full((1, 1, 4), 10 / 2.0))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1, -7e-30])
def test_a_constant_feature_is_neither_divided_by_nothing_nor_by_rounding(value):
    x = torch.cat([torch.arange(10.0).double()[:, None], torch.full((10, 1), value).double()], 1)
    z = FoldedView(x, Folds(labels(5, 5), 2)).prepared("standardised")
    assert z[..., 1].abs().max() < 1e-6
