"""The meta-gradient of MAML against finite differences and an unrolled reference, in float64."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.optim import Adam

from quickstudy.engine import meta_test, meta_train
from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import MAML
from quickstudy.nn import MLP, Conv4, Flatten, StridedConv4
from quickstudy.tasks import ClassData, EpisodeSampler, SinusoidTasks, Support
from quickstudy.tasks.datasets._glyph_strokes import draw_glyphs
from quickstudy.testing import LearnerContract, blob_classes


def sinusoid_maml(**options) -> MAML:
    torch.manual_seed(0)
    learner = MAML(MLP((1,), (8, 8)), 1, **{"inner_lr": 0.05, "inner_steps": 3, **options})
    return learner.double().train()


def images(n_classes, side):
    data = blob_classes(n_classes, 6, d=side * side)
    return ClassData(data.x.view(-1, 1, side, side), data.y, data.names)


def episode():
    return SinusoidTasks(n_shot=5, n_query=7)[0].to(torch.float64)


def test_meta_gradient_equals_finite_differences_over_three_inner_steps():
    learner, task = sinusoid_maml(), episode()
    gradients = learner.meta_gradient(task).gradients
    step = 1e-6
    for name, parameter in learner.named_parameters():
        flat = parameter.detach().view(-1)
        for i in range(0, flat.numel(), 7):
            value = flat[i].item()
            flat[i] = value + step
            high = learner.loss(task).item()
            flat[i] = value - step
            low = learner.loss(task).item()
            flat[i] = value
            expected = (high - low) / (2 * step)
            assert gradients[name].view(-1)[i].item() == pytest.approx(expected, abs=1e-6, rel=1e-5)


def test_meta_gradient_with_batch_norm_equals_finite_differences():
    torch.manual_seed(0)
    learner = MAML(StridedConv4((1, 8, 8), width=3), 3, inner_lr=0.3, inner_steps=2)
    learner = learner.double().train()
    generator = torch.Generator().manual_seed(0)
    data = images(5, 8)
    task = EpisodeSampler(data, n_way=3, n_shot=2, n_query=2)[0].to(torch.float64)
    gradients = learner.meta_gradient(task).gradients
    for name, parameter in learner.named_parameters():
        flat = parameter.detach().view(-1)
        i = int(torch.randint(flat.numel(), (), generator=generator))
        value, step = flat[i].item(), 1e-6
        flat[i] = value + step
        high = learner.loss(task).item()
        flat[i] = value - step
        low = learner.loss(task).item()
        flat[i] = value
        expected = (high - low) / (2 * step)
        assert gradients[name].view(-1)[i].item() == pytest.approx(expected, abs=1e-6, rel=1e-4)


def unrolled(learner: MAML, task, *, first_order: bool):
    """MAML by hand for a 1-8-8-1 network: explicit weights, explicit steps."""
    weights = [p.detach().clone().requires_grad_() for p in learner.parameters()]

    def network(w, x):
        return F.linear(F.relu(F.linear(F.relu(F.linear(x, w[0], w[1])), w[2], w[3])), w[4], w[5])

    fast = weights
    for _ in range(learner.inner_steps):
        loss = (network(fast, task.support.x) - task.support.y).square().mean()
        grads = torch.autograd.grad(loss, fast, create_graph=True)
        if first_order:
            grads = [g.detach() for g in grads]
        fast = [w - learner.inner_lr * g for w, g in zip(fast, grads, strict=True)]
    outer = (network(fast, task.query.x) - task.query.y).square().mean()
    return outer, torch.autograd.grad(outer, weights)


@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_equals_the_unrolled_reference(first_order):
    learner, task = sinusoid_maml(first_order=first_order), episode()
    result = learner.meta_gradient(task)
    loss, expected = unrolled(learner, task, first_order=first_order)
    torch.testing.assert_close(result.loss, loss.detach())
    for mine, reference in zip(result.gradients.values(), expected, strict=True):
        torch.testing.assert_close(mine, reference)


def test_first_order_differs_from_second_order():
    task = episode()
    exact = sinusoid_maml().meta_gradient(task).gradients
    first = sinusoid_maml(first_order=True).meta_gradient(task).gradients
    assert any(not torch.allclose(exact[n], first[n], rtol=1e-3) for n in exact)


def test_only_the_named_parameters_are_adapted():
    learner = sinusoid_maml(adapted=["head.*"]).eval()
    task = episode()
    predict = learner.adapt(task.support)
    state = dict(zip(predict.__code__.co_freevars, predict.__closure__, strict=True))
    adapted = state["state"].cell_contents
    changed = {n for n, p in learner.model.named_parameters() if not torch.equal(p, adapted[n])}
    assert changed == {"head.weight", "head.bias"}


def test_batch_norm_policy_decides_whether_queries_see_each_other():
    x = torch.rand(4, 1, 32, 32)
    support = EpisodeSampler(images(5, 32), n_way=2, n_shot=2, n_query=1)[0].support
    for policy, alone_is_same in (("running", True), ("batch", False)):
        torch.manual_seed(0)
        learner = MAML(StridedConv4((1, 32, 32), width=4), 2, batch_norm=policy).eval()
        predict = learner.adapt(support)
        assert torch.allclose(predict(x)[:1], predict(x[:1]), atol=1e-5) is alone_is_same


def test_with_running_statistics_it_learns_and_judges_each_query_alone():
    torch.manual_seed(0)
    drawn = draw_glyphs(3, seed=1, n_characters=(4, 4), n_drawers=10)
    data = ClassData(
        torch.from_numpy(drawn.images)[:, None], torch.from_numpy(drawn.labels), drawn.class_names
    )
    tasks = EpisodeSampler(data, n_way=5, n_shot=1, n_query=3)
    learner = MAML(StridedConv4((1, 28, 28), width=16), 5, batch_norm="running")
    options = {"executor": "serial", "precision": "float32", "optimizer": partial(Adam, lr=1e-2)}
    meta_train(learner, tasks, steps=100, meta_batch_size=2, **options)
    assert meta_test(learner, tasks, 100).mean > 0.5
    predict, x = learner.adapt(tasks[0].support), tasks[0].query.x
    torch.testing.assert_close(torch.cat([predict(one[None]) for one in x]), predict(x))


def test_a_task_without_examples_gets_the_initial_predictions():
    learner = sinusoid_maml().eval()
    x = episode().query.x
    nothing = Support(torch.zeros(0, 1).double(), torch.zeros(0, 1).double())
    torch.testing.assert_close(learner.adapt(nothing)(x), learner.model(x))


def blobs_maml(n_way=3, **options) -> MAML:
    torch.manual_seed(0)
    return MAML(MLP((8,), (32, 32)), n_way, **{"inner_lr": 0.2, "inner_steps": 2, **options})


class TestMetaSGD(LearnerContract):
    def make(self, n_way):
        return blobs_maml(n_way, inner_rates="per_parameter")


class TestMAMLPlusPlus(LearnerContract):
    def make(self, n_way):
        return blobs_maml(n_way, inner_rates="per_layer_and_step", multi_step_loss=100)


class TestProtoMAML(LearnerContract):
    def make(self, n_way):
        return blobs_maml(n_way, head="prototypes", inner_lr=0.02)


class TestBOIL(LearnerContract):
    def make(self, n_way):
        return blobs_maml(n_way, adapted=["backbone.*"])


def blobs_episode(n_way=3, i=0):
    return EpisodeSampler(blob_classes(), n_way=n_way, n_shot=2, n_query=4)[i]


def by_hand(learner, task, rates, *, head=None, detach=False):
    """The weights after each inner step of a network 8-32-32-n, and the losses on the queries.

    `rates[step][i]` is the rate of the i-th weight; `head` makes the first head of the features.
    """
    weights = [p.detach().clone().requires_grad_() for p in learner.model.parameters()]

    def features(w, x):
        return F.relu(F.linear(F.relu(F.linear(x, w[0], w[1])), w[2], w[3]))

    start = weights + (head(features(weights, task.support.x)) if head else [])
    fast, losses = start, []
    for step_rates in rates:
        frozen = [w.clone() for w in fast]  # so that no gradient goes by way of another weight
        scores = F.linear(features(frozen, task.support.x), frozen[4], frozen[5])
        loss = F.cross_entropy(scores, task.support.y)
        grads = torch.autograd.grad(loss, frozen, create_graph=not detach)
        fast = [w - r * g for w, r, g in zip(fast, step_rates, grads, strict=True)]
        scores = F.linear(features(fast, task.query.x), fast[4], fast[5])
        losses.append(F.cross_entropy(scores, task.query.y))
    return weights, losses


def set_rates(learner):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for rate in learner.rates:
            rate.copy_(0.3 * torch.rand(rate.shape, generator=generator, dtype=rate.dtype))


@pytest.mark.parametrize("kind", ["per_parameter", "per_layer_and_step"])
def test_learned_rates_step_and_get_gradients_as_by_hand(kind):
    learner, task = blobs_maml(inner_rates=kind).double().train(), blobs_episode()
    task = task.to(torch.float64)
    set_rates(learner)
    rates = [r.detach().clone().requires_grad_() for r in learner.rates]
    per_step = kind == "per_layer_and_step"
    _, losses = by_hand(learner, task, [[r[s] if per_step else r for r in rates] for s in (0, 1)])
    result = learner.meta_gradient(task)
    torch.testing.assert_close(result.loss, losses[-1].detach())
    expected = torch.autograd.grad(losses[-1], rates)
    for i, gradient in enumerate(expected):
        torch.testing.assert_close(result.gradients[f"rates.{i}"], gradient)


def test_steps_beyond_those_of_training_use_the_rates_of_the_last():
    options = {"inner_rates": "per_layer_and_step", "inner_steps_test": 4}
    learner, task = blobs_maml(**options).double().eval(), blobs_episode().to(torch.float64)
    set_rates(learner)
    rates = [[r.detach()[min(s, 1)] for r in learner.rates] for s in range(4)]
    _, losses = by_hand(learner, task, rates)
    scores = learner.adapt(task.support)(task.query.x)
    torch.testing.assert_close(F.cross_entropy(scores, task.query.y), losses[-1].detach())


@pytest.mark.parametrize("meta_steps", [0, 30, 100, 500])
def test_multi_step_loss_moves_from_all_steps_alike_to_the_last_alone(meta_steps):
    learner = blobs_maml(inner_steps=3, multi_step_loss=100).double().train()
    task = blobs_episode().to(torch.float64)
    learner.meta_steps.fill_(meta_steps)
    weights, losses = by_hand(learner, task, [[0.2] * 6] * 3)
    share = max(0.0, (1 - meta_steps / 100) / 3)
    loss = share * losses[0] + share * losses[1] + (1 - 2 * share) * losses[2]
    result = learner.meta_gradient(task)
    torch.testing.assert_close(result.loss, loss.detach())
    expected = torch.autograd.grad(loss, weights)
    for mine, reference in zip(result.gradients.values(), expected, strict=True):
        torch.testing.assert_close(mine, reference)
    assert int(result.buffers["meta_steps"]) == meta_steps + 1
    assert int(learner.meta_steps) == meta_steps


def test_meta_training_counts_the_steps_of_the_multi_step_loss():
    learner, tasks = (
        blobs_maml(multi_step_loss=5),
        EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2),
    )
    for executor in ("serial", "threads"):
        meta_train(learner, tasks, steps=3, meta_batch_size=4, executor=executor)
    assert int(learner.meta_steps) == 6
    meta_test(learner, tasks, 2)
    assert int(learner.meta_steps) == 6


def test_a_head_of_prototypes_scores_as_prototypical_networks_before_any_step():
    task = blobs_episode()
    learner = MAML(Flatten((8,)), 3, head="prototypes", inner_steps=0).eval()
    means = torch.stack([task.support.x[task.support.y == c].mean(0) for c in range(3)])
    distances = torch.cdist(task.query.x.double(), means.double()).square().float()
    scores = learner.adapt(task.support)(task.query.x)
    torch.testing.assert_close(scores.softmax(1), (-distances).softmax(1), atol=1e-4, rtol=1e-3)
    assert not list(learner.parameters())


@pytest.mark.parametrize("first_order", [False, True])
def test_proto_maml_differentiates_through_its_prototypes_but_steps_by_partial_gradients(
    first_order,
):
    task = blobs_episode().to(torch.float64)
    options = {"head": "prototypes", "inner_lr": 0.05, "first_order": first_order}
    learner = blobs_maml(**options).double().train()

    def head(features):
        means = torch.stack([features[task.support.y == c].mean(0) for c in range(3)])
        return [2 * means, -(means**2).sum(1)]

    weights, losses = by_hand(learner, task, [[0.05] * 6] * 2, head=head, detach=first_order)
    result = learner.meta_gradient(task)
    torch.testing.assert_close(result.loss, losses[-1].detach())
    expected = torch.autograd.grad(losses[-1], weights)
    for mine, reference in zip(result.gradients.values(), expected, strict=True):
        torch.testing.assert_close(mine, reference)


def test_proto_maml_takes_other_ways_than_it_was_trained_with():
    learner = blobs_maml(3, head="prototypes", inner_lr=0.01).eval()
    for n_way in (2, 6):
        task = blobs_episode(n_way)
        assert learner.adapt(task.support)(task.query.x).shape == (4 * n_way, n_way)


@pytest.mark.parametrize(
    "options",
    [
        {"inner_rates": "per_parameter"},
        {"inner_rates": "per_layer_and_step", "first_order": True},
        {"head": "prototypes"},
    ],
)
def test_relatives_are_the_same_under_vmap(options):
    learner, tasks = blobs_maml(**options).train(), [blobs_episode(i=i) for i in range(3)]
    one, other = Serial()(learner, tasks), Vmap()(learner, tasks)
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(other.gradients[name], gradient, atol=1e-5, rtol=1e-3)


def test_a_multi_step_loss_counts_so_vmap_refuses_it():
    with pytest.raises(UsageError, match="batchable"):
        Vmap()(blobs_maml(multi_step_loss=5), [blobs_episode()])


@pytest.mark.parametrize(
    "options",
    [
        {"inner_rates": "per_layer_and_step", "multi_step_loss": 9, "batch_norm": "running"},
        {"head": "prototypes", "batch_norm": "running"},
    ],
)
def test_relatives_with_batch_norm_and_bfloat16_leave_the_learner_as_it_was(options):
    torch.manual_seed(0)
    task = EpisodeSampler(images(6, 16), n_way=3, n_shot=2, n_query=2)[0]
    learner = MAML(Conv4((1, 16, 16), width=4), 3, inner_lr=0.01, **options)
    before = copy.deepcopy(learner.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        result = learner.train().meta_gradient(task)
        scores = learner.eval().adapt(task.support)(task.query.x)
    assert scores.isfinite().all()
    assert all(g.isfinite().all() for g in result.gradients.values())
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())


def test_relatives_refuse_what_they_cannot_do():
    for wrong in (
        {"inner_steps": 0, "multi_step_loss": 5},
        {"inner_steps": 0, "inner_rates": "per_layer_and_step"},
        {"inner_rates": "per_parameter", "head": "prototypes"},
        {"inner_rates": "learned"},
        {"head": "cosine"},
        {"multi_step_loss": -1},
    ):
        with pytest.raises(UsageError):
            blobs_maml(**wrong)
    proto = blobs_maml(head="prototypes").eval()
    with pytest.raises(DataError, match="each of 3 classes"):
        proto.adapt(Support(torch.zeros(2, 8), torch.tensor([0, 1]), n_way=3))
    with pytest.raises(DataError, match="regression"):
        proto.adapt(Support(torch.zeros(2, 8), torch.zeros(2, 1)))
