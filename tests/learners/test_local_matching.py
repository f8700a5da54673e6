"""Local matching against loops over cells."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.metric.local_matching import LocalMatching
from quickstudy.nn import MLP, Conv4, cosine_similarity
from quickstudy.tasks import ClassData, Episode, EpisodeSampler, Support
from quickstudy.testing import LearnerContract, blob_classes


class TestLocalMatching(LearnerContract):
    lr = 3e-3

    def make(self, n_way):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return LocalMatching(MLP((8,), (32, 32)))


class AsMap(nn.Flatten):
    """Images as maps of their own pixels."""

    def __init__(self, shape):
        super().__init__()
        self.out_shape = shape


def learner_of_maps(**options) -> LocalMatching:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LocalMatching(Conv4((1, 16, 16), width=4, pools=2), **options)


def images(n_shot=2, seed=0) -> Episode:
    data = blob_classes(8, 6, d=256)
    pixels = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    return EpisodeSampler(pixels, n_way=3, n_shot=n_shot, n_query=3, seed=seed)[0]


def cell_by_cell(learner, a, examples):
    """Weighted mean over the cells of map `a` of the greatest cosine near them in any of
    `examples`."""
    _, height, width = a.shape
    total = weights = 0.0
    for i in range(height):
        for j in range(width):
            best = max(
                F.cosine_similarity(a[:, i, j], b[:, k, m], dim=0).item()
                for b in examples
                for k in range(max(0, i - learner.radius), min(height, i + learner.radius + 1))
                for m in range(max(0, j - learner.radius), min(width, j + learner.radius + 1))
            )
            weight = 1.0
            if learner.weigh:
                weight = math.log1p(math.exp(float(learner.weigh(a[:, i, j]))))
            total, weights = total + weight * best, weights + weight
    return total / weights


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 2, 5)])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("radius", "weighted"), [(0, True), (1, False), (1, True), (9, True)])
@torch.no_grad()
def test_scores_are_those_of_a_loop_over_cells(radius, weighted, symmetric, shape):
    generator = torch.Generator().manual_seed(0)
    shown, asked = (
        torch.randn(n, *shape, generator=generator, dtype=torch.float64) for n in (4, 3)
    )
    support = Support(shown, torch.tensor([1, 0, 1, 0]), n_way=2)
    learner = LocalMatching(AsMap(shape), radius, symmetric, weighted, scale=1.0).double()
    if learner.weigh:
        nn.init.normal_(learner.weigh.weight, generator=generator)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    for i, query in enumerate(asked):
        for label in range(2):
            examples = list(shown[support.y == label])
            score = cell_by_cell(learner, query, examples)
            if symmetric:
                back = [cell_by_cell(learner, example, [query]) for example in examples]
                score = (score + sum(back) / len(back)) / 2
            expected[i, label] = score
    torch.testing.assert_close(learner.adapt(support)(asked), expected)


@torch.no_grad()
def test_a_shift_by_one_cell_leaves_the_score():
    shape = (16, 6, 6)
    figure = torch.zeros(1, *shape)
    figure[..., 2:4, 2:4] = torch.randn(16, 2, 2, generator=torch.Generator().manual_seed(0))
    support = Support(figure, torch.tensor([0]), n_way=1)
    moved = torch.cat([figure, figure.roll((1, -1), (2, 3)), figure.roll(2, 2)])
    same, by_one, by_two = LocalMatching(AsMap(shape)).adapt(support)(moved)[:, 0].tolist()
    assert by_one == pytest.approx(same)
    assert by_two < 0.7 * same
    rigid = LocalMatching(AsMap(shape), radius=0).adapt(support)(moved)[:, 0].tolist()
    assert rigid[1] < 0.7 * rigid[0]


def test_without_a_map_it_is_the_cosine_of_embeddings():
    learner = LocalMatching(MLP((8,)), scale=7.0).eval()
    x = torch.randn(5, 8)
    support = Support(x[:3], torch.arange(3), n_way=3)
    expected = 7 * cosine_similarity(learner.backbone(x[3:]), learner.backbone(x[:3]))
    torch.testing.assert_close(learner.adapt(support)(x[3:]), expected)


def test_its_gradient_is_that_of_finite_differences_in_double_precision():
    generator = torch.Generator().manual_seed(0)
    shape, labels = (3, 2, 4), torch.tensor([0, 1, 0])
    shown, asked = (
        torch.randn(n, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (3, 2)
    )
    learner = LocalMatching(AsMap(shape)).double()
    nn.init.normal_(learner.weigh.weight, generator=generator)
    assert torch.autograd.gradcheck(
        lambda a, b: learner.adapt(Support(a, labels, n_way=2))(b), (shown, asked)
    )


def test_tasks_batched_give_the_gradient_of_tasks_in_turn():
    learner = learner_of_maps().double()
    learner.backbone = nn.Sequential(*[m for m in learner.backbone if not _is_norm(m)])
    episodes = [images(seed=seed).to(torch.float64) for seed in range(3)]
    batched, in_turn = Vmap()(learner, episodes), Serial()(learner, episodes)
    for name, gradient in in_turn.gradients.items():
        torch.testing.assert_close(batched.gradients[name], gradient)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d)


def test_half_precision_changes_no_more_than_the_rounding_of_maps():
    learner, episode = learner_of_maps().eval(), images()
    predict = learner.adapt(episode.support)
    full = predict(episode.query.x)
    with torch.autocast("cpu", torch.bfloat16):
        half = learner.adapt(episode.support)(episode.query.x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.3, rtol=0)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="radius"):
        learner_of_maps(radius=-1)
    with pytest.raises(UsageError, match="scale"):
        learner_of_maps(scale=0.0)
    with pytest.raises(UsageError, match="out_features"):
        LocalMatching(nn.Flatten())
    with pytest.raises(DataError, match="each of 3 classes"):
        learner_of_maps().adapt(Support(torch.zeros(2, 1, 16, 16), torch.tensor([0, 1]), n_way=3))
