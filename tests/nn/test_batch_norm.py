import copy
from statistics import median

import pytest
import torch
from torch import nn

from quickstudy.learners import MAML
from quickstudy.nn import BatchNorm2d, Conv4
from quickstudy.tasks import ClassData, EpisodeSampler


def images(n=21, channels=8, side=15, seed=0):
    """Channels-last images, most of whose pixels are 0, as those of characters are."""
    x = torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(seed))
    return (torch.relu(x) ** 3).contiguous(memory_format=torch.channels_last)


def pair(**options):
    ours, theirs = BatchNorm2d(8, **options), nn.BatchNorm2d(8, **options)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.uniform_(0.5, 1.5)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("n", [21, 300])
def test_statistics_have_all_the_digits_of_float32(n):
    x = images(n)
    ours, theirs = pair()
    exact = theirs.double()(x.double())
    assert torch.allclose(ours(x).double(), exact, rtol=1e-5, atol=1e-6)
    for name in ("running_mean", "running_var"):
        assert torch.allclose(getattr(ours, name).double(), getattr(theirs, name), rtol=1e-6)
    assert ours.num_batches_tracked == 1


@pytest.mark.parametrize("momentum", [0.3, None])
def test_it_keeps_running_statistics_as_pytorch_does_and_uses_them_in_evaluation(momentum):
    ours, theirs = pair(momentum=momentum)
    for seed in range(3):
        ours(images(seed=seed))
        theirs(images(seed=seed))
    assert torch.allclose(ours.running_var, theirs.running_var, rtol=1e-4)
    assert torch.allclose(ours.eval()(images(seed=9)), theirs.eval()(images(seed=9)), atol=1e-3)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_first_and_second_derivatives_are_those_of_pytorch_in_float64(affine, kept):
    x, way = images(), torch.randn(21, 8, 15, 15)
    results = []
    for norm, kind in zip(
        pair(affine=affine, track_running_stats=kept), (torch.float32, torch.float64), strict=True
    ):
        norm, given = norm.to(kind), x.to(kind).requires_grad_()
        inputs = [given, *norm.parameters()]
        first = torch.autograd.grad((norm(given) * way.to(kind)).sum(), inputs, create_graph=True)
        total = sum(g.square().sum() for g in first)
        second = torch.autograd.grad(total, inputs, materialize_grads=True)
        results.append([t.double() for t in (*first, *second)])
    for ours, exact in zip(*results, strict=True):
        assert (ours - exact).norm() <= 1e-4 * exact.norm()


def test_the_meta_gradient_of_channels_last_images_is_as_exact_as_that_of_others():
    x = images(200, 1, 28).contiguous()
    tasks = EpisodeSampler(
        ClassData.from_arrays(x, torch.arange(20).repeat_interleave(10)),
        n_way=5,
        n_shot=2,
        n_query=5,
    )

    def error(learner, exact, episode):
        found = learner.meta_gradient(episode).gradients
        off = sum(float((found[n].double() - g).square().sum()) for n, g in exact.items())
        return (off / sum(float(g.square().sum()) for g in exact.values())) ** 0.5

    class Contiguous(Conv4):
        def forward(self, x):
            return nn.Sequential.forward(self, x)

    errors = []
    for seed in range(7):
        torch.manual_seed(seed)
        learner = MAML(Conv4((1, 28, 28), width=16), 5, inner_lr=0.4, inner_steps=3).train()
        plain = copy.deepcopy(learner).to(memory_format=torch.contiguous_format)
        plain.model.backbone.__class__ = Contiguous
        episode = tasks[seed]
        exact = copy.deepcopy(learner).double().meta_gradient(episode.to(torch.float64)).gradients
        errors.append((error(learner, exact, episode), error(plain, exact, episode)))
    ours, theirs = (median(column) for column in zip(*errors, strict=True))
    assert ours < 3 * theirs
