"""The meta-gradient of MAML against finite differences and an unrolled reference, in float64."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.engine import meta_test, meta_train
from quickstudy.learners import MAML
from quickstudy.nn import MLP, StridedConv4
from quickstudy.tasks import ClassData, EpisodeSampler, SinusoidTasks, Support
from quickstudy.tasks.datasets._glyph_strokes import draw_glyphs
from quickstudy.testing import blob_classes


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
    drawn = draw_glyphs(3, seed=1, n_characters=(12, 12), n_drawers=10)
    data = ClassData(
        torch.from_numpy(drawn.images)[:, None], torch.from_numpy(drawn.labels), drawn.class_names
    )
    tasks = EpisodeSampler(data, n_way=5, n_shot=1, n_query=3)
    learner = MAML(StridedConv4((1, 28, 28), width=16), 5, batch_norm="running")
    meta_train(learner, tasks, steps=400, meta_batch_size=4)
    assert meta_test(learner, tasks, 100).mean > 0.5
    predict, x = learner.adapt(tasks[0].support), tasks[0].query.x
    torch.testing.assert_close(torch.cat([predict(one[None]) for one in x]), predict(x))


def test_a_task_without_examples_gets_the_initial_predictions():
    learner = sinusoid_maml().eval()
    x = episode().query.x
    nothing = Support(torch.zeros(0, 1).double(), torch.zeros(0, 1).double())
    torch.testing.assert_close(learner.adapt(nothing)(x), learner.model(x))
