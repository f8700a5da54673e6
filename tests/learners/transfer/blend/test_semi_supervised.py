import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors

from quickstudy.learners.transfer.blend import LearnedBlend, View, shipped_gate
from quickstudy.learners.transfer.blend.refinement import MAX_POOL, VectorSpace, view_shares
from quickstudy.learners.transfer.blend.semi_supervised import (
    DISTRACTOR_COSINE,
    N_NEIGHBOURS,
    N_STEPS,
    PROPAGATED,
    SEMI_SUPERVISED,
    SHARPNESS,
    label_propagation,
    soft_k_means,
)
from quickstudy.nn import Flatten
from quickstudy.tasks import Support

N_WAY, SIZE = 3, 16


def blobs(n_each, n_classes=N_WAY, *, seed=0, spread=0.5, shift=0.0):
    """Examples of Gaussian classes whose centres depend on nothing but their number."""
    centres = torch.randn(8, SIZE, generator=torch.Generator().manual_seed(42))[:n_classes]
    generator = torch.Generator().manual_seed(seed)
    noise = spread * torch.randn(n_classes, n_each, SIZE, generator=generator)
    x = (centres[:, None] + noise + shift).flatten(0, 1).double()
    return x, torch.arange(n_classes).repeat_interleave(n_each)


def blend(size=SIZE, name="other"):
    gate, accuracy, pool_gate = shipped_gate()
    views = [View.of(name, size)]
    learner = LearnedBlend(
        Flatten((size,)), views, "numbers", gate=gate, accuracy=accuracy, pool_gate=pool_gate
    )
    return learner.double().eval()


@pytest.fixture
def task():
    x, y = blobs(2)
    pool, _ = blobs(10, seed=1)
    query, _ = blobs(20, seed=2)
    return [F.normalize(part.float(), dim=1) for part in (x, pool, query)], F.one_hot(y).float()


def test_soft_k_means_is_the_sums_of_the_paper(task):
    (support, pool, query), targets = task
    prototypes = [support[targets[:, c] == 1].sum(0) for c in range(N_WAY)]
    labelled = list(prototypes)
    for _ in range(N_STEPS):
        directions = [p / p.norm() for p in prototypes]
        prototypes = [p.clone() for p in labelled]
        for u in pool:
            similar = torch.stack([SHARPNESS * (u @ p) for p in directions]).exp()
            total = similar.sum() + torch.tensor(SHARPNESS * DISTRACTOR_COSINE).exp()
            for c in range(N_WAY):
                prototypes[c] = prototypes[c] + similar[c] / total * u
    expected = torch.stack([SHARPNESS * (query @ (p / p.norm())) for p in prototypes], 1)
    found = soft_k_means(support, targets, pool)(query)
    torch.testing.assert_close(found, expected.log_softmax(1), atol=1e-4, rtol=1e-4)


def test_label_propagation_is_its_closed_form_and_a_query_takes_its_neighbours(task):
    (support, pool, query), targets = task
    x = torch.cat([support, pool]).double()
    n = len(x)
    distance, rows = NearestNeighbors(n_neighbors=N_NEIGHBOURS + 1).fit(x).kneighbors(x)
    scale = (distance[:, 1] ** 2).mean()
    weights = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for d, j in zip(distance[i, 1:], rows[i, 1:], strict=True):
            weights[i, j] = weights[j, i] = torch.tensor(-(d**2) / scale).exp()
    root = weights.sum(1).rsqrt()
    labels = torch.zeros(n, N_WAY, dtype=torch.float64)
    labels[: len(support)] = targets.double()
    system = torch.eye(n, dtype=torch.float64) - PROPAGATED * root[:, None] * weights * root
    spread = (1 - PROPAGATED) * torch.linalg.solve(system, labels)
    distance, rows = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(x).kneighbors(query.double())
    edges = torch.from_numpy(-(distance**2) / scale).softmax(1)
    expected = (edges[..., None] * spread[torch.from_numpy(rows)]).sum(1)
    expected = expected / expected.sum(1, keepdim=True)
    found = label_propagation(support, targets, pool)(query).exp()
    torch.testing.assert_close(found.double(), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("use", SEMI_SUPERVISED.values())
def test_an_answer_does_not_depend_on_other_queries(use, task):
    (support, pool, query), targets = task
    predict = use(support, targets, pool)
    torch.testing.assert_close(predict(query)[:3], predict(query[:3]))


def accuracy(predict, query):
    x, y = query
    return float((predict(x).argmax(1) == y).double().mean())


def gain(pool, n_shot, n_tasks=10):
    """Mean gain by a pool over several support sets."""
    gains = []
    for seed in range(n_tasks):
        x, y = blobs(n_shot, seed=100 + seed, spread=1.2)
        query = blobs(40, seed=2, spread=1.2)
        without = blend().adapt(Support(x, y, N_WAY))
        refined = blend().adapt(Support(x, y, N_WAY, unlabelled=pool))
        gains.append(accuracy(refined, query) - accuracy(without, query))
    return sum(gains) / n_tasks


def test_a_pool_helps_with_and_without_distractors():
    own, _ = blobs(30, seed=1, spread=1.2)
    with_others, _ = blobs(30, 6, seed=1, spread=1.2)
    assert gain(own, 1) > 0.05
    assert gain(with_others, 1) > 0.0


@pytest.mark.parametrize("n_shot", [1, 4])
def test_a_pool_from_elsewhere_changes_nothing(n_shot):
    x, y = blobs(n_shot)
    elsewhere, _ = blobs(20, seed=1, shift=5.0)
    query, _ = blobs(5, seed=2)
    without = blend().adapt(Support(x, y, N_WAY))
    refined = blend().adapt(Support(x, y, N_WAY, unlabelled=elsewhere))
    assert refined.refinement is not None
    assert refined.refinement.n_used == 0
    assert torch.equal(refined(query), without(query))
    assert torch.equal(refined.left_out()[0], without.left_out()[0])


def test_a_pool_that_misleads_is_left_out_by_the_examples_held_out():
    """Its clusters lie between the classes."""
    x, y = blobs(8, spread=0.3)
    a, b = blobs(40, seed=1, spread=0.3)[0], blobs(40, seed=3, spread=0.3)[0].roll(40, 0)
    refined = blend().adapt(Support(x, y, N_WAY, unlabelled=(a + b) / 2))
    query = blobs(40, seed=2, spread=0.3)
    without = blend().adapt(Support(x, y, N_WAY))
    assert accuracy(refined, query) >= accuracy(without, query) - 0.01


def test_examples_left_out_are_predicted_by_the_others_and_the_pool():
    x, y = blobs(3)
    pool, _ = blobs(10, seed=1)
    task = blend().adapt(Support(x, y, N_WAY, unlabelled=pool))
    scores, labels = task.left_out()
    first = int((y == labels[0]).nonzero()[0, 0])  # in the order of folds: one of few is left out
    rest = torch.arange(len(y)) != first
    without = blend().adapt(Support(x, y, N_WAY))
    views, shares = task.blend.views, view_shares(task.blend.views, without.weights)
    space = VectorSpace.of(views, shares, torch.cat([x[rest], pool]))
    targets = F.one_hot(y).float()[rest]
    own = without.left_out()[0].log_softmax(1)[:1].float()
    each = [own] + [
        ((own + use(space(x[rest]), targets, space(pool))(space(x[first : first + 1]))) / 2)
        for use in SEMI_SUPERVISED.values()
    ]
    assert task.refinement is not None
    weights = task.refinement.weights.values()
    weighed = [w * one.log_softmax(1) for w, one in zip(weights, each, strict=True)]
    expected = torch.stack(weighed).sum(0)
    torch.testing.assert_close(
        scores[:1].log_softmax(1).float(), expected.log_softmax(1), atol=1e-4, rtol=1e-4
    )


def test_one_unlabelled_example_is_allowed():
    x, y = blobs(1)
    task = blend().adapt(Support(x, y, N_WAY, unlabelled=x[:1]))
    assert task.refinement is not None
    assert sum(task.refinement.weights.values()) == pytest.approx(1)


def test_of_a_large_pool_a_part_is_used_and_the_same_each_time():
    x, y = blobs(1)
    pool, _ = blobs(MAX_POOL // N_WAY + 1, seed=1)
    first, second = (blend().adapt(Support(x, y, N_WAY, unlabelled=pool)) for _ in range(2))
    assert first.refinement is not None
    assert first.refinement.n_used == MAX_POOL
    assert torch.equal(first(x), second(x))


def test_views_share_the_distance_by_the_weights_of_their_heads():
    views = [View.of("a", 2), View.of("b", 3), View.of("pixels", 2)]
    weights = {("a", "head"): 0.5, ("b", "head"): 0.1, ("joined", "head"): 0.4}
    assert view_shares(views, weights) == pytest.approx({"a": 0.7, "b": 0.3})
    assert view_shares(views) == pytest.approx({"a": 0.5, "b": 0.5})
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(0)).double()
    vectors = VectorSpace.of(views, view_shares(views), x)(x)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
