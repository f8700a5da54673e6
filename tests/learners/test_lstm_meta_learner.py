"""The meta-LSTM against its equations weight by weight, and its protocol of batch norm."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.engine import meta_test
from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.optimization.lstm_meta_learner import LSTMMetaLearner, log_and_sign
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import Batch, ClassData, Episode, EpisodeSampler, GeneratedTasks, Support
from quickstudy.testing import LearnerContract, blob_classes, train_until


def make(n_way=3, **options) -> LSTMMetaLearner:
    torch.manual_seed(0)
    return LSTMMetaLearner(MLP((8,), (16,)), n_way, **{"inner_steps": 4, **options})


class TestLSTMMetaLearner(LearnerContract):
    exact_gradient = False
    steps, meta_batch_size, lr = 100, 4, 2e-2

    def make(self, n_way):
        return make(n_way)


def task(i=0):
    return EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=4)[i]


def images():
    data = blob_classes(8, 8, d=256)
    data = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    return EpisodeSampler(data, n_way=3, n_shot=2, n_query=2)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def shown(x):
    small = math.exp(-10)
    if abs(x) >= small:
        return math.log(abs(x)) / 10, math.copysign(1, x)
    return -1.0, x * math.exp(10)


def test_log_and_sign_is_its_definition():
    values = [1.0, -1.0, 3e-3, -7e2, 1e-6, -1e-9, 0.0]
    expected = torch.tensor([shown(v) for v in values], dtype=torch.float64)
    torch.testing.assert_close(log_and_sign(torch.tensor(values, dtype=torch.float64)), expected)
    assert log_and_sign(torch.tensor([0.0])).tolist() == [[-1.0, 0.0]]


def test_every_weight_follows_the_equations_of_the_paper():
    """Scalar by scalar, in float64, for a linear model with gradients in closed form."""
    torch.manual_seed(0)
    learner = LSTMMetaLearner(Identity(2), 1, inner_steps=3, hidden=4).double().eval()
    with torch.no_grad():
        for parameter in learner.parameters():  # larger, so that every term matters
            parameter.add_(0.3 * torch.randn_like(parameter))
    x, y = torch.randn(5, 2).double(), torch.randn(5, 1).double()
    state = {n: p.detach().numpy() for n, p in learner.named_parameters()}
    theta = np.concatenate([state["model.head.weight"].ravel(), state["model.head.bias"]])
    inputs, targets = np.hstack([x.numpy(), np.ones((5, 1))]), y.numpy().ravel()
    h, c, before = np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 2))
    for _ in range(3):
        residual = inputs @ theta - targets
        loss, gradient = np.mean(residual**2), 2 * inputs.T @ residual / 5
        for j in range(3):
            seen = np.array([*shown(loss), *shown(gradient[j])])
            gates = (
                state["lstm.weight_ih"] @ seen
                + state["lstm.bias_ih"]
                + state["lstm.weight_hh"] @ h[j]
                + state["lstm.bias_hh"]
            )
            for k in range(4):
                i, f, o = (sigmoid(gates[4 * at + k]) for at in (0, 1, 3))
                c[j, k] = f * c[j, k] + i * math.tanh(gates[8 + k])
                h[j, k] = o * math.tanh(c[j, k])
            for gate in range(2):
                before[j, gate] = (
                    state["from_hidden"][:, gate] @ h[j]
                    + state["from_weight"][gate] * theta[j]
                    + state["from_before"][gate] * before[j, gate]
                    + state["bias"][gate]
                )
            forget, step = sigmoid(before[j, 0]), sigmoid(before[j, 1])
            theta[j] = forget * theta[j] - step * gradient[j]
    query = torch.randn(4, 2).double()
    expected = query @ torch.from_numpy(theta[:2])[:, None] + theta[2]
    torch.testing.assert_close(learner.adapt(Support(x, y))(query), expected)


class Identity(nn.Identity):
    def __init__(self, size):
        super().__init__()
        self.out_features = size


def test_meta_gradient_takes_the_gradients_of_the_support_for_constants():
    """Finite differences with the support's gradients and losses frozen."""
    torch.manual_seed(0)
    learner = LSTMMetaLearner(Identity(2), 1, inner_steps=2, hidden=3).double().train()
    x, y, qx, qy = (torch.randn(5, d).double() for d in (2, 1, 2, 1))
    episode = Episode(Support(x, y), Batch(qx, qy))

    def meta_loss(recorded, record):
        theta = torch.cat([p.flatten() for p in learner.model.parameters()])
        cell, before = None, torch.zeros(3, 2).double()
        inputs = torch.cat([x, torch.ones(5, 1)], dim=1)
        for t in range(2):
            residual = inputs @ theta - y[:, 0]
            now = 2 * inputs.T @ residual / 5, residual.square().mean()
            if record:
                recorded.append(tuple(v.detach() for v in now))
            gradient, loss = recorded[t]
            seen = torch.tensor([[*shown(float(loss)), *shown(float(g))] for g in gradient])
            cell = learner.lstm(seen.double(), cell)
            before = torch.stack(
                [
                    cell[0] @ learner.from_hidden[:, g]
                    + theta * learner.from_weight[g]
                    + before[:, g] * learner.from_before[g]
                    + learner.bias[g]
                    for g in range(2)
                ],
                dim=1,
            )
            theta = before[:, 0].sigmoid() * theta - before[:, 1].sigmoid() * gradient
        return float(F.mse_loss(qx @ theta[:2, None] + theta[2], qy))

    recorded: list = []
    gradients = learner.meta_gradient(episode).gradients
    with torch.no_grad():
        meta_loss(recorded, True)
        for name, parameter in learner.named_parameters():
            flat = parameter.view(-1)
            for i in range(0, flat.numel(), 5):
                value = flat[i].item()
                flat[i] = value + 1e-6
                high = meta_loss(recorded, False)
                flat[i] = value - 1e-6
                low = meta_loss(recorded, False)
                flat[i] = value
                expected = (high - low) / 2e-6
                assert gradients[name].view(-1)[i].item() == pytest.approx(
                    expected, abs=1e-7, rel=1e-4
                )


def test_it_starts_as_slow_gradient_descent_that_forgets_little():
    learner = make()
    forget, step = learner.bias.tolist()
    assert 4 <= forget <= 5
    assert -5 <= step <= -4
    small = (*learner.lstm.parameters(), learner.from_hidden, learner.from_weight)
    assert all(bool((p.abs() <= 0.01).all()) for p in small)


def test_in_evaluation_queries_are_normalised_by_statistics_of_this_support_alone():
    torch.manual_seed(0)
    learner = LSTMMetaLearner(Conv4((1, 16, 16), width=4), 3, inner_steps=3).eval()
    assert not [n for n in learner.state_dict() if "running" in n]
    first, second = images()[0], images()[1]
    before = copy.deepcopy(learner.state_dict())
    alone = learner.adapt(first.support)(first.query.x)
    learner.train().meta_gradient(second)
    learner.eval().adapt(second.support)(second.query.x)
    predict = learner.adapt(first.support)
    assert torch.equal(predict(first.query.x), alone)
    one_by_one = torch.cat([predict(x[None]) for x in first.query.x])
    torch.testing.assert_close(one_by_one, alone)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())


def test_running_statistics_weigh_the_last_batch_by_the_momentum():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.BatchNorm1d(8))
    backbone.out_features = 8
    learner = LSTMMetaLearner(backbone, 3, inner_steps=2, bn_momentum=0.9).eval()
    with torch.no_grad():
        learner.bias[0], learner.bias[1] = 30.0, -30.0  # weights that stay as they are
    support, x = task().support, task().query.x
    mean = 0.99 * support.x.mean(0)  # 0.9, and 0.9 of the rest
    var = 0.99 * support.x.var(0) + 0.01
    expected = learner.model.head((x - mean) / (var + 1e-3).sqrt())
    torch.testing.assert_close(learner.adapt(support)(x), expected)


def test_in_meta_training_queries_are_normalised_as_a_batch():
    torch.manual_seed(0)
    learner = LSTMMetaLearner(Conv4((1, 16, 16), width=4), 3, inner_steps=2).train()
    predict, x = learner.adapt(images()[0].support), images()[0].query.x
    assert not torch.allclose(predict(x)[:1], predict(x[:2])[:1], atol=1e-5)


def test_vmap_gives_what_serial_gives():
    episodes, learner = [task(i) for i in range(3)], make().train()
    one, other = Serial()(learner, episodes), Vmap()(learner, episodes)
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(other.gradients[name], gradient, atol=1e-6, rtol=1e-4)


def test_it_learns_to_regress_lines_of_any_slope():
    def line(generator):
        x = 2 * torch.rand(15, 1, generator=generator) - 1
        y = 3 * torch.randn(1, generator=generator) * x
        return Episode(Support(x[:5], y[:5]), Batch(x[5:], y[5:]))

    torch.manual_seed(0)
    learner = LSTMMetaLearner(MLP((1,), (16,)), 1, inner_steps=4)
    tasks, unseen, validation = (GeneratedTasks(line, seed=seed) for seed in (0, 1, 2))
    before = meta_test(learner, unseen, 50).mean
    options = {"steps": 120, "meta_batch_size": 8, "lr": 3e-2, "n_validation": 50}
    train_until(0.2 * before, learner, tasks, validation, **options)
    assert meta_test(learner, unseen, 50).mean < 0.3 * before


def test_targets_may_be_wider_than_the_weights():
    x = torch.linspace(-1, 1, 48).view(6, 8)
    y = x.sum(1, keepdim=True)
    narrow, wide = (make(1).loss(Episode(Support(x, t), Batch(x, t))) for t in (y, y.double()))
    torch.testing.assert_close(narrow, wide)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(DataError, match="5-way"):
        make(5).adapt(Support(torch.zeros(3, 8), torch.arange(3), n_way=3))
    with pytest.raises(DataError, match="empty support"):
        make().adapt(Support(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), n_way=3))
    for wrong in ({"inner_steps": 0}, {"hidden": 0}, {"bn_momentum": 0.0}):
        with pytest.raises(UsageError, match=r"in \(0, 1\]"):
            make(**wrong)
