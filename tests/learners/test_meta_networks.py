"""Meta networks against algorithm 1 written out example by example, and their contract."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.model import meta_networks
from quickstudy.learners.model.meta_networks import MetaNetworks
from quickstudy.nn import MLP, Conv4, Conv5
from quickstudy.tasks import ClassData, EpisodeSampler, Support
from quickstudy.testing import LearnerContract, blob_classes


def images(side=16, **shape) -> EpisodeSampler:
    blobs = blob_classes(8, 6, d=side * side)
    data = ClassData(blobs.x.view(-1, 1, side, side), blobs.y, blobs.names)
    return EpisodeSampler(data, **{"n_way": 3, "n_shot": 2, "n_query": 3, **shape})


def small(backbone=None, n_outputs=3, *, bold=False, **options) -> MetaNetworks:
    """A small learner; a bold one writes fast weights as large as the slow ones."""
    torch.manual_seed(0)
    learner = MetaNetworks(backbone or Conv5((1, 8, 8), width=8), n_outputs, **options)
    if bold:
        for writer in (*learner.task_level.values(), *learner.example_level.values()):
            torch.nn.init.normal_(writer.output.weight, std=0.3)
    return learner


class TestMetaNetworks(LearnerContract):
    exact_gradient = False
    steps, meta_batch_size, lr = 150, 2, 5e-3

    def make(self, n_way):
        return small(MLP((8,), (24,)), n_way, hidden_size=10)


def preprocess(g: float) -> list[float]:
    """Andrychowicz et al. 2016, appendix A, as it stands there."""
    return (
        [math.log(abs(g)) / 7, math.copysign(1, g)]
        if abs(g) >= math.exp(-7)
        else [-1, g * math.exp(7)]
    )


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def numbers(layer):
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def lstm_by_hand(writer, gradients) -> float:
    (w, b), n = numbers(writer.input_layer), writer.hidden_size
    u = writer.recurrent_layer.weight.detach().numpy()
    h, c = np.zeros(n), np.zeros(n)
    for g in gradients:
        keep, add, show, new = np.split(w @ preprocess(g) + b + u @ h, 4)
        c = sigmoid(keep) * c + sigmoid(add) * np.tanh(new)
        h = sigmoid(show) * np.tanh(c)
    w, b = numbers(writer.output)
    return float((w @ h + b)[0])


def mlp_by_hand(writer, g) -> float:
    out = np.array(preprocess(g))
    for layer, last in ((writer.first, False), (writer.second, False), (writer.output, True)):
        w, b = numbers(layer)
        out = w @ out + b
        out = out if last else np.maximum(out, 0)
    return float(out[0])


def network_by_hand(weights, fast, x, *, head=True):
    """Conv5 with or without its head on one image, from the weights alone; `fast` may be None."""
    last = len(weights) - 1
    for i, w in enumerate(weights):
        conv = w.ndim == 4
        if not conv and x.ndim == 4:
            x = x.flatten(1)
        if i == last and not head:
            return x
        apply = partial(F.conv2d, padding=1) if conv else F.linear
        y = apply(x, w)
        if i == last:
            return y if fast is None else y + apply(x, fast[i])
        y = F.relu(y) if fast is None else F.relu(y) + F.relu(apply(x, fast[i]))
        x = F.max_pool2d(y, 2, ceil_mode=True) if conv else y
    raise AssertionError


def test_it_is_algorithm_1():
    learner = small(n_chunks=2, bold=True).double().eval()
    episode = images(side=8, n_shot=1)[0].to(torch.float64)
    support, query = episode.support, episode.query
    q, w = (
        [p.detach().clone().requires_grad_() for p in network.parameters()]
        for network in (learner.representation, learner.base)
    )
    kinds = ["conv" if p.ndim == 4 else "linear" for p in w]

    def gradients(weights, x, y):
        return torch.autograd.grad(F.cross_entropy(network_by_hand(weights, None, x), y), weights)

    chunks = [
        gradients(q, support.x[:2], support.y[:2]),
        gradients(q, support.x[2:], support.y[2:]),
    ]
    q_fast = []
    for i, kind in enumerate(kinds[:-1]):
        columns = torch.stack([g[i].flatten() for g in chunks], 1).tolist()
        made = [lstm_by_hand(learner.task_level[kind], column) for column in columns]
        q_fast.append(torch.tensor(made, dtype=torch.float64).view_as(q[i]))
    examples = []
    for x, y in zip(support.x, support.y, strict=True):
        made = []
        for g, kind in zip(gradients(w, x[None], y[None]), kinds, strict=True):
            values = [mlp_by_hand(learner.example_level[kind], v) for v in g.flatten().tolist()]
            made.append(torch.tensor(values, dtype=torch.float64).view_as(g))
        examples.append(made)
    keys = [network_by_hand(q, q_fast, x[None], head=False)[0] for x in support.x]
    expected = []
    for x in query.x:
        key = network_by_hand(q, q_fast, x[None], head=False)[0]
        attention = torch.stack([F.cosine_similarity(key, k, dim=0) for k in keys]).softmax(0)
        fast = [
            sum(a * made[i] for a, made in zip(attention, examples, strict=True))
            for i in range(len(w))
        ]
        expected.append(network_by_hand(w, fast, x[None])[0])
    torch.testing.assert_close(learner.adapt(support)(query.x), torch.stack(expected))


def test_with_gradients_as_data_the_meta_gradient_equals_finite_differences(monkeypatch):
    learner = small(bold=True).double()
    task = images(side=8)[0].to(torch.float64)
    found = {
        id(network): meta_networks._example_gradients(network, task.support)
        for network in (learner.base, learner.representation)
    }
    gradients = learner.meta_gradient(task).gradients
    monkeypatch.setattr(meta_networks, "_example_gradients", lambda network, _: found[id(network)])
    generator = torch.Generator().manual_seed(0)
    for name in gradients:
        parameter = learner.get_parameter(name)
        flat = parameter.detach().view(-1)
        i = int(torch.randint(flat.numel(), (), generator=generator))
        value, step, losses = flat[i].item(), 1e-6, []
        for at in (value + step, value - step):
            flat[i] = at
            losses.append(learner.loss(task).item())
        flat[i] = value
        expected = (losses[0] - losses[1]) / (2 * step)
        assert gradients[name].view(-1)[i].item() == pytest.approx(expected, abs=1e-7, rel=1e-4)


@pytest.mark.parametrize("backbone", [Conv5((1, 8, 8), width=4), MLP((1, 8, 8), (6,))])
def test_gradients_of_all_examples_at_once_are_those_of_each(backbone):
    learner, support = small(backbone), images(side=8)[0].support
    found = meta_networks._example_gradients(learner.base, support)
    for i in range(len(support)):
        loss = F.cross_entropy(learner.base(support.x[i : i + 1]), support.y[i : i + 1])
        weights = {n: layer.weight for n, layer in meta_networks._layers(learner.base)}
        expected = torch.autograd.grad(loss, list(weights.values()))
        for name, one in zip(weights, expected, strict=True):
            torch.testing.assert_close(found[name][i], one)


@pytest.mark.parametrize("strength", [1.0, 10.0])
def test_every_parameter_has_a_part_in_the_loss(strength):
    learner = small(bold=True, strength=strength)
    assert ("strength" in dict(learner.named_parameters())) is (strength > 1)
    gradients = learner.meta_gradient(images(side=8)[0]).gradients
    assert all(bool(g.abs().sum() > 0) for g in gradients.values())
    assert set(dict(learner.named_parameters())) - set(gradients) == {"representation.head.weight"}


def test_small_gradients_keep_their_sign_and_none_is_lost():
    g = torch.tensor([[0.0, 1e-9, -1e-9, 1e-3, -0.5, 20.0]])
    expected = [[-1.0, 0.0], *(preprocess(float(v)) for v in g[0, 1:])]
    torch.testing.assert_close(meta_networks._preprocess(g)[0].T, torch.tensor(expected))


def test_a_great_strength_reads_the_fast_weights_of_the_example_that_is_alike():
    learner = small(bold=True, strength=1e12).double().eval()
    support = images(side=8, n_shot=1)[0].to(torch.float64).support
    values = learner._make_fast_weights(support)[1]
    together = learner.adapt(support)(support.x)
    for i in range(len(support)):
        mine = {name: value[i] for name, value in values.items()}
        with meta_networks._fast_weights(learner.base, mine, rectify=True):
            alone = learner.base(support.x[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_with_batch_norm_gradients_are_those_of_training_and_queries_are_judged_alone():
    learner = small(Conv4((1, 16, 16), width=4), bold=True)
    task = images()[0]
    learner.train().loss(task)
    trained = meta_networks._example_gradients(learner.base, task.support)
    tested = meta_networks._example_gradients(learner.eval().base, task.support)
    for name, gradient in trained.items():
        torch.testing.assert_close(tested[name], gradient)
    predict = learner.adapt(task.support)
    alone = torch.cat([predict(x[None]) for x in task.query.x])
    torch.testing.assert_close(predict(task.query.x), alone, rtol=1e-4, atol=1e-4)


def test_the_representation_is_a_network_of_its_own():
    backbone = Conv5((1, 8, 8), width=4)
    learner = small(backbone)
    assert learner.base.backbone is backbone
    pairs = zip(learner.base.parameters(), learner.representation.parameters(), strict=True)
    assert not any(torch.equal(mine, other) for mine, other in pairs)


def test_it_leaves_no_hook_behind():
    learner, episode = small(), images(side=8)[0]
    learner.meta_gradient(episode)
    bad = Support(torch.zeros(3, 2, 8, 8), torch.arange(3), 3)
    with pytest.raises(RuntimeError):
        learner.adapt(bad)
    assert not any(module._forward_hooks for module in learner.modules())


def test_with_bfloat16_scores_are_wide():
    learner, episode = small().eval(), images(side=8)[0]
    with torch.autocast("cpu", torch.bfloat16):
        scores = learner.adapt(episode.support)(episode.query.x)
    assert scores.dtype == torch.float32
    exact = learner.adapt(episode.support)(episode.query.x)
    torch.testing.assert_close(scores, exact, rtol=0.1, atol=0.05)


def test_what_it_cannot_do_is_refused():
    learner = small()
    with pytest.raises(DataError, match="got 2-way"):
        learner.adapt(images(side=8, n_way=2)[0].support)
    with pytest.raises(DataError, match="each of 3 classes"):
        learner.adapt(Support(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), 3))
    with pytest.raises(DataError, match="regression"):
        learner.adapt(Support(torch.zeros(2, 1, 8, 8), torch.zeros(2, 3)))
    for options in ({"n_chunks": 0}, {"hidden_size": 0}, {"n_outputs": 0}):
        with pytest.raises(UsageError, match="positive sizes"):
            small(**options)


def test_conv5_keeps_odd_borders_down_to_one_pixel():
    backbone = Conv5((1, 28, 28), width=8)
    convolutions = torch.nn.Sequential(*list(backbone)[:-3])
    assert convolutions(torch.zeros(2, 1, 28, 28)).shape == (2, 8, 1, 1)
    assert backbone(torch.zeros(2, 1, 28, 28)).shape == (2, backbone.out_features)
    assert Conv5((3, 84, 84), width=8)(torch.zeros(2, 3, 84, 84)).shape == (2, 8)
    assert all(not name.endswith("bias") for name, _ in backbone.named_parameters())
