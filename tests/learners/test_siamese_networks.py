"""Siamese networks against distances and cross-entropies written out pair by pair."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from quickstudy.engine import meta_test, meta_train
from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.metric.siamese_networks import SiameseNetworks, verification_accuracy
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import Batch, ClassData, Episode, EpisodeSampler, GeneratedTasks, Support
from quickstudy.testing import LearnerContract, blob_classes


def siamese(embedding: int = 64) -> SiameseNetworks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SiameseNetworks(MLP((8,), (32, 32)), embedding)


class TestSiameseNetworks(LearnerContract):
    lr = 1e-2

    def make(self, n_way):
        return siamese()


class TestSiameseNetworksOnFeatures(LearnerContract):
    lr = 5e-3

    def make(self, n_way):
        return siamese(0)


def blobs(n_way=3, n_shot=2, n_query=4, seed=0, n_classes=40) -> EpisodeSampler:
    data = blob_classes(n_classes, seed=seed)
    return EpisodeSampler(data, n_way=n_way, n_shot=n_shot, n_query=n_query, seed=seed)


def same_probability(learner: SiameseNetworks, x1, x2) -> float:
    """Section 3.1 for one pair: a sigmoid of the weighted component-wise L1 distance."""
    with torch.no_grad():
        layers = [*learner.backbone] if isinstance(learner.backbone[0], MLP) else None
        network = layers[0] if layers else learner.backbone
        h1, h2 = (network(x[None])[0].numpy() for x in (x1, x2))
    if layers:
        layer = layers[1]
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        h1, h2 = (1 / (1 + np.exp(-(weight @ h + bias))) for h in (h1, h2))
    alpha, bias = learner.same.weight[0].tolist(), learner.same.bias.item()
    distance = sum(a * abs(u - v) for a, u, v in zip(alpha, h1, h2, strict=True))
    return 1 / (1 + math.exp(-(distance + bias)))


@pytest.mark.parametrize("embedding", [0, 64])
def test_loss_and_scores_are_those_of_each_pair_by_hand(embedding):
    learner, episode = siamese(embedding).double(), blobs()[0].to(torch.float64)
    support, query = episode.support, episode.query
    same, different, scores = [], [], torch.full((12, 3), -torch.inf, dtype=torch.float64)
    for i in range(12):
        for j in range(6):
            p = same_probability(learner, query.x[i], support.x[j])
            label = int(support.y[j])
            scores[i, label] = max(float(scores[i, label]), math.log(p))
            if query.y[i] == label:
                same.append(-math.log(p))
            else:
                different.append(-math.log(1 - p))
    assert len(same) == 24
    assert len(different) == 48
    torch.testing.assert_close(learner.adapt(support)(query.x).detach(), scores)
    expected = (sum(same) / 24 + sum(different) / 48) / 2
    assert learner.loss(episode).item() == pytest.approx(expected, rel=1e-9)


def test_weights_of_either_sign_count():
    learner = siamese(0).double()
    x = torch.randn(2, 8, dtype=torch.float64)
    for sign in (1, -1):
        with torch.no_grad():
            learner.same.weight.fill_(sign)
        expected = math.log(1 / same_probability(learner, x[0], x[1]) - 1)
        assert learner.compare(x[:1], x[1:]).item() == pytest.approx(-expected)


def collapsed() -> SiameseNetworks:
    """A network that says "the same" of any pair."""
    learner = siamese()
    with torch.no_grad():
        learner.same.weight.zero_()
        learner.same.bias.fill_(9.0)
    return learner


def test_a_collapsed_network_is_at_chance_not_perfect():
    """All its scores tie, and ties go to label 0; so label 0 must be any class."""
    tasks = blobs(n_way=5, n_shot=1, n_query=2)
    scores = collapsed().eval().adapt(tasks[0].support)(tasks[0].query.x)
    assert (scores.argmax(1) == 0).all()
    assert meta_test(collapsed(), tasks, 100).mean == pytest.approx(0.2)
    asked_once = GeneratedTasks(_one_query)
    assert meta_test(collapsed(), asked_once, 500).mean == pytest.approx(0.2, abs=0.06)
    assert verification_accuracy(collapsed(), tasks, 20) == (0.5, 0.0)


def _one_query(generator) -> Episode:
    tasks = blobs(n_way=5, n_shot=1, n_query=1)
    episode = tasks[int(torch.randint(10**6, (), generator=generator))]
    return Episode(episode.support, Batch(episode.query.x[:1], episode.query.y[:1]))


def test_verification_is_judged_on_a_balanced_set_of_pairs_at_one_half():
    learner, tasks = siamese(), blobs()
    with torch.no_grad():
        learner.same.weight.fill_(-0.7)
        learner.same.bias.fill_(0.3)
    scores = []
    for i in range(10):
        support, query = tasks[i].support, tasks[i].query
        right: dict[bool, list[bool]] = {True: [], False: []}
        for x1, y1 in zip(query.x, query.y, strict=True):
            for x2, y2 in zip(support.x, support.y, strict=True):
                said = same_probability(learner, x1, x2) > 0.5
                right[bool(y1 == y2)].append(said == bool(y1 == y2))
        scores.append((np.mean(right[True]) + np.mean(right[False])) / 2)
    mean, half = verification_accuracy(learner, tasks, 10)
    assert mean == pytest.approx(np.mean(scores))
    assert half == pytest.approx(2.262157 * np.std(scores, ddof=1) / math.sqrt(10), rel=1e-5)
    assert learner.training


def test_trained_to_verify_it_verifies_pairs_of_unseen_classes():
    learner = siamese()
    unseen = blobs(seed=1, n_classes=60)
    before, _ = verification_accuracy(learner, unseen, 100)
    meta_train(learner, blobs(n_classes=200), steps=300, meta_batch_size=4)
    after, half = verification_accuracy(learner, unseen, 100)
    assert after - half > 0.7
    assert after > before + 0.1


def test_ways_and_shots_may_differ_between_training_and_testing():
    learner = siamese()
    assert learner.meta_gradient(blobs(n_way=3)[0]).loss.isfinite()
    assert len(meta_test(learner, blobs(n_way=7, n_shot=3), 3).scores) == 3


def test_batched_over_tasks_it_equals_one_task_after_the_other():
    learner = siamese().train()
    episodes = [blobs()[i] for i in range(3)]
    serial, batched = Serial()(learner, episodes), Vmap()(learner, episodes)
    torch.testing.assert_close(batched.loss, serial.loss)
    torch.testing.assert_close(batched.gradients, serial.gradients)


def test_with_batch_norm_neither_adapting_nor_gradients_change_the_learner():
    torch.manual_seed(0)
    data = blob_classes(8, 6, d=256)
    data = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    episode = EpisodeSampler(data, n_way=3, n_shot=2, n_query=3)[0]
    learner = SiameseNetworks(Conv4((1, 16, 16), width=4), 16)
    before = copy.deepcopy(learner.state_dict())
    result = learner.train().meta_gradient(episode)
    learner.eval().adapt(episode.support)(episode.query.x)
    verification_accuracy(learner, GeneratedTasks(lambda _: episode), 2)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    name = "backbone.0.1.running_mean"
    assert not torch.equal(result.buffers[name], before[name])


def test_in_half_precision_scores_are_close_and_of_full_precision():
    learner, episode = siamese().eval(), blobs()[0]
    exact = learner.adapt(episode.support)(episode.query.x)
    with torch.autocast("cpu", torch.bfloat16):
        scores = learner.adapt(episode.support)(episode.query.x)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, exact, atol=0.02, rtol=0)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(DataError, match="each of 3 classes"):
        siamese().adapt(Support(torch.zeros(2, 8), torch.tensor([0, 1]), n_way=3))
    regression = Episode(
        Support(torch.zeros(2, 8), torch.zeros(2, 1)), Batch(torch.zeros(2, 8), torch.zeros(2, 1))
    )
    with pytest.raises(DataError, match="classification"):
        siamese().adapt(regression.support)
    with pytest.raises(DataError, match="classification"):
        meta_train(siamese(), GeneratedTasks(lambda _: regression), steps=1)
    with pytest.raises(UsageError, match="0 or more"):
        siamese(-1)
    with pytest.raises(UsageError, match="out_features"):
        SiameseNetworks(nn.Flatten())
    with pytest.raises(UsageError, match="at least 2 tasks"):
        verification_accuracy(siamese(), blobs(), 1)
    with pytest.raises(DataError, match="same and different pairs"):
        verification_accuracy(siamese(), blobs(n_way=1), 2)
