"""What neural processes, SNAIL and the in-context transformer have in common."""

import copy
from functools import partial

import pytest
import torch
from torch.optim import Adam

from quickstudy.engine import meta_test, meta_train
from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import DataError
from quickstudy.learners.model.in_context_transformer import InContextTransformer
from quickstudy.learners.model.neural_processes import NeuralProcess
from quickstudy.learners.model.snail import SNAIL
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import (
    Batch,
    ClassData,
    Episode,
    EpisodeSampler,
    GeneratedTasks,
    SinusoidTasks,
    Support,
)
from quickstudy.testing import blob_classes


def neural_process(backbone, n_outputs, *, regression=False, **options):
    likelihood = "gaussian" if regression else "categorical"
    return NeuralProcess(backbone, n_outputs, likelihood=likelihood, width=32, heads=4, **options)


def snail(backbone, n_outputs, *, regression=False):
    return SNAIL(backbone, n_outputs, length=11, filters=16, sizes=((16, 16), (16, 16)))


def transformer(backbone, n_outputs, *, regression=False):
    return InContextTransformer(backbone, n_outputs, width=32, layers=2, heads=4)


KINDS = {
    "attentive": neural_process,
    "conditional": partial(neural_process, attention=False),
    "snail": snail,
    "transformer": transformer,
}


@pytest.fixture(params=KINDS)
def make(request):
    torch.manual_seed(0)
    return KINDS[request.param]


def images(n_way=3):
    data = blob_classes(8, 6, d=256)
    pixels = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    return EpisodeSampler(pixels, n_way=n_way, n_shot=2, n_query=3)


def test_with_batch_norm_neither_adapting_nor_gradients_change_the_learner(make):
    learner, episode = make(Conv4((1, 16, 16), width=4), 3), images()[0]
    before = copy.deepcopy(learner.state_dict())
    result = learner.train().meta_gradient(episode)
    learner.eval().adapt(episode.support)(episode.query.x)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    means = [n for n in result.buffers if n.endswith("running_mean")]
    assert means
    assert all(not torch.equal(result.buffers[n], before[n]) for n in means)


def test_it_learns_sinusoids(make):
    learner = make(MLP((1,), (32,)), 1, regression=True)
    tasks, unseen = (SinusoidTasks(n_shot=10, n_query=10, seed=seed) for seed in (0, 1))
    meta_train(learner, tasks, steps=300, meta_batch_size=16, optimizer=partial(Adam, lr=3e-3))
    spread = [unseen[i].query.y.sub(unseen[i].support.y.mean()).square().mean() for i in range(100)]
    assert meta_test(learner, unseen, 100).mean < 0.6 * float(torch.stack(spread).mean())


@pytest.mark.parametrize("regression", [False, True])
def test_batched_over_tasks_the_gradient_is_that_of_one_task_after_the_other(make, regression):
    if regression:
        learner = make(MLP((1,), (16,)), 1, regression=True).double()
        tasks = SinusoidTasks(n_shot=5, n_query=4)
    else:
        learner = make(MLP((8,), (16,)), 3).double()
        tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)
    episodes = [tasks[i].to(torch.float64) for i in range(3)]
    one, batched = Serial()(learner, episodes), Vmap()(learner, episodes)
    torch.testing.assert_close(one.loss, batched.loss)
    torch.testing.assert_close(one.gradients, batched.gradients)


@pytest.mark.parametrize("regression", [False, True])
def test_half_precision_gives_nearly_the_same_loss(make, regression):
    if regression:
        learner = make(MLP((1,), (16,)), 1, regression=True)
        episode = SinusoidTasks(n_shot=5, n_query=4)[0]
    else:
        learner, episode = make(Conv4((1, 16, 16), width=4), 3), images()[0]
    exact = learner.loss(episode)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        rounded = learner.loss(episode)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_tasks_of_fewer_ways_than_trained_for_are_answered(make):
    learner = make(MLP((8,), (32,)), 5).eval()
    episode = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)[0]
    assert learner.adapt(episode.support)(episode.query.x).shape == (6, 3)
    assert learner.loss(episode).isfinite()


def test_after_training_the_labels_names_hardly_matter(make):
    tasks = EpisodeSampler(blob_classes(200), n_way=3, n_shot=2, n_query=5)
    unseen = EpisodeSampler(blob_classes(60, seed=1), n_way=3, n_shot=2, n_query=5, seed=1)
    learner = make(MLP((8,), (32,)), 3)
    meta_train(learner, tasks, steps=200, meta_batch_size=8, optimizer=partial(Adam, lr=2e-3))
    renamed, same = torch.tensor([2, 0, 1]), []
    for i in range(50):
        support, x = unseen[i].support, unseen[i].query.x
        other = Support(support.x, renamed[support.y], 3)
        plain, permuted = (learner.adapt(one)(x).argmax(1) for one in (support, other))
        same.append((renamed[plain] == permuted).double().mean())
    assert float(torch.stack(same).mean()) > 0.8


def test_without_examples_a_regression_task_gets_finite_predictions(make):
    learner = make(MLP((1,), (16,)), 1, regression=True).eval()
    nothing = Support(torch.zeros(0, 1), torch.zeros(0, 1))
    assert learner.adapt(nothing)(torch.rand(4, 1)).isfinite().all()


def test_regression_targets_of_another_size_are_refused(make):
    learner = make(MLP((1,), (16,)), 1, regression=True)
    episode = Episode(
        Support(torch.rand(5, 1), torch.rand(5, 2)), Batch(torch.rand(5, 1), torch.rand(5, 2))
    )
    with pytest.raises(DataError, match="size 1, got 2"):
        learner.adapt(episode.support)(episode.query.x)
    with pytest.raises(DataError, match="size 1, got 2"):
        learner.loss(episode)


@pytest.mark.parametrize("kind", [snail, transformer])
def test_more_ways_than_trained_for_are_refused(kind):
    learner = kind(MLP((8,), (16,)), 3)
    episode = EpisodeSampler(blob_classes(), n_way=4, n_shot=1, n_query=1)[0]
    tasks = GeneratedTasks(lambda _: episode)
    for use in (
        lambda: learner.adapt(episode.support),
        lambda: meta_train(learner, tasks, steps=1),
    ):
        with pytest.raises(DataError, match="at most 3-way"):
            use()
