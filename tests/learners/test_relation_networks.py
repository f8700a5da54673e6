"""Relation networks against explicit concatenation of every pair."""

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.engine import meta_test, meta_train
from quickstudy.engine.executors import Serial, Threads, Vmap
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.metric.relation_networks import RelationNetworks
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import Batch, ClassData, Episode, EpisodeSampler, GeneratedTasks, Support
from quickstudy.tasks.datasets._glyph_strokes import draw_glyphs
from quickstudy.testing import LearnerContract, blob_classes


def relation() -> RelationNetworks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RelationNetworks(MLP((8,), (32, 32)), width=32)


def relation_of_maps(**options) -> RelationNetworks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RelationNetworks(Conv4((1, 16, 16), width=4, pools=2), width=6, **options)


class TestRelationNetworks(LearnerContract):
    steps, lr = 200, 3e-3

    def make(self, n_way):
        return relation()


def vectors(n_way=3, n_shot=2, seed=0) -> Episode:
    return EpisodeSampler(blob_classes(), n_way=n_way, n_shot=n_shot, n_query=4, seed=seed)[0]


def images() -> Episode:
    data = blob_classes(8, 6, d=256)
    pixels = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    return EpisodeSampler(pixels, n_way=3, n_shot=2, n_query=3)[0]


def relations_by_hand(learner: RelationNetworks, support, query, shape):
    """Logits pair by pair: mean of the class, then the query, along the channels (equation 1).

    In training mode, batch norm needs all pairs as one batch.
    """
    embedded = learner.backbone(torch.cat([support.x, query.x]))
    shown, asked = embedded[: len(support)], embedded[len(support) :]
    classes = [shown[support.y == c].mean(0).view(shape) for c in range(support.n_way)]
    pairs = torch.stack([torch.cat([c, q.view(shape)]) for q, c in product(asked, classes)])
    first, rest = learner.comparator.first, learner.comparator.rest
    return rest(first(pairs)).view(len(query), len(classes))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("maps", [True, False])
def test_scores_and_loss_are_those_of_concatenated_pairs(maps, training):
    learner = (relation_of_maps() if maps else relation()).double().train(training)
    episode = (images() if maps else vectors()).to(torch.float64)
    support, query = episode.support, episode.query
    with torch.no_grad():
        logits = relations_by_hand(learner, support, query, (4, 4, 4) if maps else (32,))
        if not training:
            torch.testing.assert_close(learner.adapt(support)(query.x), logits)
        errors = [
            (relation - (c == label)) ** 2
            for row, label in zip(logits.sigmoid().tolist(), query.y.tolist(), strict=True)
            for c, relation in enumerate(row)
        ]
        assert learner.loss(episode).item() == pytest.approx(sum(errors) / len(errors), rel=1e-9)


def test_the_comparator_of_maps_is_the_papers():
    """64 channels of 7x7 twice: 128 -> 64 at 3x3, 64 -> 64 at 1x1, 64 -> 8 -> 1."""
    learner = RelationNetworks(Conv4((1, 28, 28), pools=2))
    weights = [p.shape for p in learner.comparator.parameters() if p.ndim > 1]
    assert weights == [(64, 128, 3, 3), (64, 64, 3, 3), (8, 64), (1, 8)]


def test_maps_smaller_than_4x4_are_compared_as_vectors():
    learner = RelationNetworks(Conv4((1, 16, 16), width=4, pools=3))
    assert isinstance(learner.comparator.first, nn.Linear)
    assert learner.comparator.first.in_features == 2 * 4 * 2 * 2
    assert isinstance(relation_of_maps().comparator.first, nn.Conv2d)


def test_the_number_of_shots_does_not_change_the_scale_of_a_class():
    learner, support = relation().eval(), vectors(n_shot=1).support
    thrice = Support(support.x.repeat(3, 1), support.y.repeat(3), 3)
    x = torch.randn(5, 8)
    torch.testing.assert_close(learner.adapt(thrice)(x), learner.adapt(support)(x))


def test_finite_differences_agree_through_both_comparators_batch_norms():
    learner, episode = relation_of_maps().double().train(), images().to(torch.float64)
    gradients = learner.meta_gradient(episode).gradients
    step, generator = 1e-6, torch.Generator().manual_seed(0)
    for name, parameter in learner.named_parameters():
        weight = parameter.detach()
        at = tuple(int(torch.randint(n, (), generator=generator)) for n in weight.shape)
        value = weight[at].item()
        weight[at] = value + step
        high = learner.loss(episode).item()
        weight[at] = value - step
        low = learner.loss(episode).item()
        weight[at] = value
        expected = (high - low) / (2 * step)
        assert gradients[name][at].item() == pytest.approx(expected, abs=1e-7, rel=1e-4)


def test_with_maps_it_learns_to_tell_characters_apart():
    torch.manual_seed(0)
    parts = []
    for seed in (1, 2):
        drawn = draw_glyphs(4, seed=seed, n_characters=(12, 12), n_drawers=10)
        x = F.avg_pool2d(torch.from_numpy(drawn.images)[:, None].float() / 255, 2)
        parts.append(ClassData(x, torch.from_numpy(drawn.labels), drawn.class_names))
    seen, unseen = (EpisodeSampler(d, n_way=5, n_shot=1, n_query=4) for d in parts)
    learner = RelationNetworks(Conv4((1, 14, 14), width=16, pools=1), width=16)
    meta_train(learner, seen, steps=250, meta_batch_size=1)
    assert meta_test(learner, unseen, 100).mean > 0.5


def test_ways_may_differ_between_training_and_testing():
    learner = relation()
    assert learner.meta_gradient(vectors(n_way=3)).loss.isfinite()
    tasks = EpisodeSampler(blob_classes(), n_way=7, n_shot=1, n_query=2)
    assert len(meta_test(learner, tasks, 3).scores) == 3


def test_batched_over_tasks_it_equals_one_task_after_the_other():
    learner = relation().train()
    episodes = [vectors(seed=seed) for seed in range(3)]
    serial, batched = Serial()(learner, episodes), Vmap()(learner, episodes)
    torch.testing.assert_close(batched.loss, serial.loss)
    torch.testing.assert_close(batched.gradients, serial.gradients)


def test_threads_equal_one_task_after_the_other():
    learner, episodes = relation_of_maps().train(), [images() for _ in range(3)]
    serial, threads = Serial()(learner, episodes), Threads(2)(learner, episodes)
    torch.testing.assert_close(threads.gradients, serial.gradients)
    torch.testing.assert_close(threads.buffers, serial.buffers)


@pytest.mark.parametrize("pools", [2, 4])
def test_with_batch_norm_neither_adapting_nor_gradients_change_the_learner(pools):
    torch.manual_seed(0)
    learner, episode = RelationNetworks(Conv4((1, 16, 16), width=4, pools=pools)), images()
    before = copy.deepcopy(learner.state_dict())
    result = learner.train().meta_gradient(episode)
    learner.eval().adapt(episode.support)(episode.query.x)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    means = [n for n in result.buffers if n.endswith("running_mean")]
    assert len(means) == (6 if pools == 2 else 4)
    assert all(not torch.equal(result.buffers[n], before[n]) for n in means)


def test_with_maps_a_query_is_judged_alone():
    learner, episode = relation_of_maps().eval(), images()
    predict, x = learner.adapt(episode.support), episode.query.x
    torch.testing.assert_close(torch.cat([predict(one[None]) for one in x]), predict(x))


@pytest.mark.parametrize("maps", [True, False])
def test_in_half_precision_scores_are_close_and_of_full_precision(maps):
    learner = (relation_of_maps() if maps else relation()).eval()
    episode = images() if maps else vectors()
    exact = learner.adapt(episode.support)(episode.query.x)
    with torch.autocast("cpu", torch.bfloat16):
        scores = learner.adapt(episode.support)(episode.query.x)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, exact, atol=0.05, rtol=0)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(DataError, match="each of 3 classes"):
        relation().adapt(Support(torch.zeros(2, 8), torch.tensor([0, 1]), n_way=3))
    regression = Episode(
        Support(torch.zeros(2, 8), torch.zeros(2, 1)), Batch(torch.zeros(2, 8), torch.zeros(2, 1))
    )
    with pytest.raises(DataError, match="classification"):
        relation().adapt(regression.support)
    with pytest.raises(DataError, match="classification"):
        meta_train(relation(), GeneratedTasks(lambda _: regression), steps=1)
    with pytest.raises(UsageError, match="1 or more"):
        relation_of_maps(hidden=0)
    with pytest.raises(UsageError, match="out_features"):
        RelationNetworks(nn.Flatten())
