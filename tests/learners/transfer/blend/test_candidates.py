import pytest
import torch

from quickstudy.errors import DataError
from quickstudy.learners.transfer.blend import JOINED, PIXELS, RAW, View
from quickstudy.learners.transfer.blend.candidates import (
    HEADS,
    fit_candidates,
    heads_for,
    split_views,
    with_joined,
)
from quickstudy.tasks import Support


def task(d, n=12, n_way=3):
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Support(x, torch.arange(n) % n_way, n_way)


def test_several_embeddings_have_a_view_of_them_joined():
    one, two, raw = View.of("minilm", 3), View.of("other", 4), View.of(RAW, 2)
    assert with_joined([one, raw]) == [one, raw]
    assert with_joined([one, two, raw]) == [one, two, raw, View(JOINED, 7)]
    x = task(9).x
    joined = split_views([one, two, raw], x)[JOINED]
    torch.testing.assert_close(joined[:, :3] * x[:, :3].norm(dim=1, keepdim=True), x[:, :3])
    torch.testing.assert_close(joined[:, 3:].norm(dim=1), torch.ones(12).double())


def test_a_large_embedding_is_not_joined():
    assert with_joined([View.of("a", 3), View.of("b", 4000)])[-1].name == "b"


def test_examples_of_another_size_are_refused():
    with pytest.raises(DataError, match="examples of 5 numbers, got 4"):
        split_views([View.of(RAW, 5)], task(4).x)


def test_pixels_are_told_and_not_classified_by():
    views = [View.of("a", 3), View.of(PIXELS, 2)]
    support = task(5)
    candidates = fit_candidates(views, support)
    assert {view for view, _ in candidates.names} == {"a"}
    assert candidates.pixels == pytest.approx(support.x[:, 3:].mean(0).tolist())
    assert set(candidates.view_features) == {"a"}


@pytest.mark.parametrize(
    "views", [[View.of(RAW, 6)], [View.of("a", 2), View.of("b", 4)], [View.of("new", 6)]]
)
def test_each_candidate_has_scores_and_a_known_head(views):
    support = task(6)
    candidates = fit_candidates(views, support)
    k = len(candidates.names)
    assert len(set(candidates.names)) == k
    assert {head for _, head in candidates.names} <= set(HEADS)
    assert candidates.left_out.shape == (k, 12, 3)
    assert sorted(candidates.labels.tolist()) == support.y.sort().values.tolist()
    assert candidates.predict(support.x[:5]).shape == (k, 5, 3)


def test_heads_too_slow_for_a_support_set_are_left_out():
    def names(n, n_way, size=5, kind=RAW):
        view = View.of(kind, size)
        return {name for head in heads_for(view, n, n_way) for name in head.names}

    small = names(100, 5)
    assert "extra trees" in small - names(100, 31)
    large = names(5000, 5)
    assert not any("neighbours" in name or "rbf" in name for name in large)
    assert "logistic 0.1, standardised" in large
    assert "naive Bayes" in large
    wide = names(5000, 5, size=6000, kind="a")
    assert wide == {"nearest centroid, direction", "nearest centroid, raw", "linear discriminant 1"}
