"""Reptile against PyTorch's own Adam, and its batches and statistics against explicit ones."""

import copy
from functools import partial
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LinearLR

from quickstudy.engine import meta_test, meta_train
from quickstudy.engine.executors import Serial, Threads
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.optimization.reptile import Reptile
from quickstudy.nn import MLP, Conv4, StridedConv4
from quickstudy.tasks import (
    Batch,
    ClassData,
    Episode,
    EpisodeSampler,
    GeneratedTasks,
    SinusoidTasks,
    Support,
)
from quickstudy.testing import LearnerContract, blob_classes


def make(n_way=3, **options) -> Reptile:
    torch.manual_seed(0)
    return Reptile(MLP((8,), (32, 32)), n_way, **options)


class TestReptile(LearnerContract):
    exact_gradient = False
    steps, meta_batch_size, lr = 200, 2, 1e-2

    def make(self, n_way):
        return make(n_way, **self.options)

    def test_it_can_learn_one_task_by_heart(self):
        """The task's support, that is, as meta-training never sees a query."""
        support = self.episode().support
        task = GeneratedTasks(lambda _: Episode(support, Batch(support.x, support.y)))
        assert meta_test(self.train(task, task, 0.9), task, 2).mean > 0.9

    options: ClassVar = {
        "inner_lr": 1e-2,
        "inner_steps": 6,
        "inner_batch": 6,
        "inner_steps_test": 12,
        "inner_batch_test": 6,
    }


class TestTransductiveReptile(TestReptile):
    transductive = True

    def make(self, n_way):
        return make(n_way, transductive=True, **self.options)


def images(n_way=3, n_shot=2):
    data = blob_classes(8, 8, d=256)
    data = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    return EpisodeSampler(data, n_way=n_way, n_shot=n_shot, n_query=2)


def tasks(n_shot=4):
    return EpisodeSampler(blob_classes(), n_way=3, n_shot=n_shot, n_query=1)


def warmed_up(**options):
    """A learner that has had two tasks, so that its moments are not zero."""
    learner = make(inner_steps=4, inner_batch=5, inner_lr=0.01, **options).train()
    for i in range(2):
        for name, buffer in learner.meta_gradient(tasks()[i]).buffers.items():
            learner.get_buffer(name).copy_(buffer)
    return learner


def by_hand(learner, support, batches):
    """The task's weights by `torch.optim.Adam`, its second moments handed on."""
    model = copy.deepcopy(learner.model)
    optimizer = Adam(model.parameters(), lr=learner.inner_lr, betas=(0.0, 0.999))
    sizes = [p.numel() for p in model.parameters()]
    moments = learner.second_moments.split(sizes)
    for parameter, moment in zip(model.parameters(), moments, strict=True):
        optimizer.state[parameter] = {
            "step": learner.adam_steps.float().clone(),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": moment.clone().view_as(parameter),
        }
    for rows in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(support.x[rows]), support.y[rows]).backward()
        optimizer.step()
    left = torch.cat([optimizer.state[p]["exp_avg_sq"].flatten() for p in model.parameters()])
    return model, left


CYCLE = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 0, 1, 2], [3, 4, 5, 6, 7]]


def test_meta_gradient_is_minus_the_way_that_adam_goes_from_the_moments_of_earlier_tasks():
    learner, episode = warmed_up(), tasks()[7]
    assert int(learner.adam_steps) == 8
    model, moments = by_hand(learner, episode.support, CYCLE)
    result = learner.meta_gradient(episode)
    for name, end in model.named_parameters():
        start = learner.model.get_parameter(name)
        torch.testing.assert_close(result.gradients[f"model.{name}"], start - end)
    torch.testing.assert_close(result.buffers["second_moments"], moments)
    assert int(result.buffers["adam_steps"]) == 12


def test_evaluation_starts_from_the_moments_of_meta_training_and_leaves_them():
    learner, episode = warmed_up(inner_steps_test=4, inner_batch_test=5).eval(), tasks()[7]
    before = copy.deepcopy(learner.state_dict())
    model, _ = by_hand(learner, episode.support, CYCLE)
    scores = learner.adapt(episode.support)(episode.query.x)
    torch.testing.assert_close(scores, model(episode.query.x).detach())
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    fresh = make(inner_steps_test=4, inner_batch_test=5, inner_lr=0.01).eval()
    fresh.model.load_state_dict(learner.model.state_dict())
    assert not torch.allclose(scores, fresh.adapt(episode.support)(episode.query.x), atol=1e-3)


def test_outer_sgd_moves_the_weights_by_epsilon_of_the_mean_way():
    """theta <- theta + epsilon * mean(theta_task - theta), with epsilon from 1 to 0."""
    learner = make(inner_steps=4, inner_batch=5)
    expected = {n: p.detach().clone() for n, p in learner.named_parameters()}
    twin = copy.deepcopy(learner).train()
    for step in range(4):
        results = [twin.meta_gradient(tasks()[2 * step + i]) for i in range(2)]
        for name, parameter in twin.named_parameters():
            ends = [expected[name] - r.gradients[name] for r in results]
            moved = expected[name] + (1 - step / 4) * ((ends[0] + ends[1]) / 2 - expected[name])
            expected[name] = moved
            parameter.data.copy_(moved)
        for name, buffer in twin.named_buffers():
            mean = (results[0].buffers[name] + results[1].buffers[name]) / 2
            buffer.copy_(mean)
    meta_train(
        learner,
        tasks(),
        steps=4,
        meta_batch_size=2,
        executor="serial",
        optimizer=partial(SGD, lr=1.0),
        schedule=partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=4),
    )
    for name, parameter in learner.named_parameters():
        torch.testing.assert_close(parameter, expected[name], atol=1e-5, rtol=1e-4)


def test_queries_play_no_part_in_meta_training():
    learner, (one, other) = make().train(), (tasks()[0], tasks()[1])
    mixed = type(one)(one.support, other.query)
    a, b = learner.meta_gradient(one).gradients, learner.meta_gradient(mixed).gradients
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_batch_norm_sees_a_query_with_the_support_or_all_queries_together():
    episode = images()[0]
    support, x = episode.support, episode.query.x
    for transductive in (False, True):
        torch.manual_seed(0)
        learner = Reptile(
            StridedConv4((1, 16, 16), width=4), 3, inner_steps_test=0, transductive=transductive
        ).eval()
        assert not [n for n in learner.state_dict() if "running" in n]
        scores = learner.adapt(support)(x)
        model = learner.model.train()
        if transductive:
            expected = model(x)
        else:
            expected = torch.cat([model(torch.cat([support.x, q[None]]))[-1:] for q in x])
        torch.testing.assert_close(scores, expected)


def test_with_batch_norm_neither_adapting_nor_gradients_change_the_learner():
    torch.manual_seed(0)
    learner, episode = Reptile(Conv4((1, 16, 16), width=4), 3), images()[0]
    before = copy.deepcopy(learner.state_dict())
    learner.train().meta_gradient(episode)
    learner.eval().adapt(episode.support)(episode.query.x)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())


def test_threads_give_what_serial_gives():
    episodes = [tasks()[i] for i in range(4)]
    learner = warmed_up()
    one, other = Serial()(learner, episodes), Threads(2)(learner, episodes)
    for n in one.gradients:
        torch.testing.assert_close(one.gradients[n], other.gradients[n])
    for n in one.buffers:
        torch.testing.assert_close(one.buffers[n], other.buffers[n])


def test_it_learns_to_regress_sinusoids():
    torch.manual_seed(0)
    options = {"inner_steps": 10, "inner_lr": 2e-3, "inner_steps_test": 20, "inner_batch_test": 10}
    learner = Reptile(MLP((1,), (40, 40)), 1, **options)
    family = SinusoidTasks(n_shot=10, n_query=20)
    unseen = SinusoidTasks(n_shot=10, n_query=20, seed=1)
    before = meta_test(learner, unseen, 50).mean
    meta_train(
        learner,
        family,
        steps=150,
        meta_batch_size=1,
        optimizer=partial(SGD, lr=1.0),
        schedule=partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=150),
    )
    assert meta_test(learner, unseen, 50).mean < 0.75 * before


def test_what_it_cannot_do_is_refused():
    with pytest.raises(DataError, match="5-way"):
        make(5).adapt(Support(torch.zeros(3, 8), torch.arange(3), n_way=3))
    with pytest.raises(DataError, match="empty support"):
        make().adapt(Support(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), n_way=3))
    for wrong in ({"inner_steps": 0}, {"inner_steps_test": -1}, {"inner_batch": 0}):
        with pytest.raises(UsageError, match="batches of 1 or more"):
            make(**wrong)
