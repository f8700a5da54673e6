"""The causal transformer: prefixes against one prediction at a time, and gradient descent at the
start."""

from functools import partial

import pytest
import torch
from torch.optim import Adam

from quickstudy.engine import meta_test, meta_train
from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import UsageError
from quickstudy.learners.base import query_loss
from quickstudy.learners.model.causal_transformer import CausalTransformer
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import EpisodeSampler, Support
from quickstudy.tasks.functions import LinearTasks
from quickstudy.testing import LearnerContract, blob_classes

KINDS = {
    "softmax": {"layers": 2, "heads": 4, "hidden": 32},
    "linear": {"layers": 2, "attention": "linear", "hidden": 0},
}


def make(backbone, n_outputs, **options) -> CausalTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CausalTransformer(backbone, n_outputs, **{"width": 32, **options})


class TestSoftmax(LearnerContract):
    steps, meta_batch_size, lr = 100, 4, 3e-3

    def make(self, n_way):
        return make(MLP((8,), (24,)), n_way, **KINDS["softmax"])


class TestLinear(LearnerContract):
    steps, meta_batch_size, lr = 100, 4, 3e-3

    def make(self, n_way):
        return make(MLP((8,), (24,)), n_way, **KINDS["linear"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_mean_over_examples_each_predicted_from_those_before_it(kind):
    for learner, episode in (
        (
            make(MLP((8,), (16,)), 3, **KINDS[kind]),
            EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=1)[0],
        ),
        (make(Flatten((20,)), 1, **KINDS[kind]), LinearTasks(n_shot=5, n_query=2)[0]),
    ):
        learner, episode = learner.double(), episode.to(torch.float64)
        x, y, n_way = episode.support.x, episode.support.y, episode.n_way
        losses = [
            query_loss(learner.adapt(Support(x[:i], y[:i], n_way))(x[i : i + 1]), y[i : i + 1])
            for i in range(len(y))
        ]
        predict, query = learner.adapt(episode.support), episode.query
        losses += [
            query_loss(predict(query.x[i : i + 1]), query.y[i : i + 1]) for i in range(len(query))
        ]
        torch.testing.assert_close(learner.loss(episode), torch.stack(losses).mean())


def test_before_training_a_layer_of_linear_attention_is_a_step_of_gradient_descent():
    learner = make(Flatten((20,)), 1, layers=1, attention="linear", hidden=0).double()
    episode = LinearTasks(n_shot=12, n_query=4)[0].to(torch.float64)
    x, y = episode.support.x, episode.support.y
    weights = torch.zeros(20, 1, dtype=torch.float64, requires_grad=True)
    loss = (x @ weights - y).square().sum() / 2
    (gradient,) = torch.autograd.grad(loss, weights)
    step = 0.4 / (20 + 13)  # the pseudocount, and 12 examples after the start
    expected = episode.query.x @ (-step * gradient)
    torch.testing.assert_close(
        learner.adapt(episode.support)(episode.query.x), expected, atol=1e-5, rtol=0
    )


def test_before_training_more_layers_of_linear_attention_come_nearer():
    tasks = LinearTasks(n_shot=40, n_query=10)
    errors = [
        meta_test(
            make(Flatten((20,)), 1, layers=n, attention="linear", hidden=0).eval(), tasks, 50
        ).mean
        for n in (1, 3, 6)
    ]
    assert 1 > errors[0] > errors[1] > errors[2]


def test_it_learns_linear_functions_in_context():
    learner = make(Flatten((20,)), 1, layers=3, attention="linear", hidden=0)
    tasks, unseen = (LinearTasks(n_shot=10, n_query=1, active=5, seed=seed) for seed in (0, 1))
    signal = 5 / 20
    meta_train(learner, tasks, steps=60, meta_batch_size=8, optimizer=partial(Adam, lr=3e-3))
    assert meta_test(learner, unseen, 200).mean < 0.35 * signal


@pytest.mark.parametrize("kind", KINDS)
def test_batched_over_tasks_the_gradient_is_that_of_one_task_after_the_other(kind):
    learner = make(Flatten((20,)), 1, **KINDS[kind]).double()
    tasks = LinearTasks(n_shot=5, n_query=1)
    episodes = [tasks[i].to(torch.float64) for i in range(3)]
    one, batched = Serial()(learner, episodes), Vmap()(learner, episodes)
    torch.testing.assert_close(one.loss, batched.loss)
    torch.testing.assert_close(one.gradients, batched.gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_without_examples_predictions_are_finite(kind):
    learner = make(Flatten((20,)), 1, **KINDS[kind]).eval()
    nothing = Support(torch.zeros(0, 20), torch.zeros(0, 1))
    assert learner.adapt(nothing)(torch.rand(4, 20)).isfinite().all()


def test_options_that_do_not_fit_are_refused():
    for option in ({"width": 0}, {"layers": 0}, {"hidden": -1}):
        with pytest.raises(UsageError, match="width >= 1, layers >= 1 and hidden >= 0"):
            CausalTransformer(Flatten((20,)), 1, **option)
    with pytest.raises(UsageError, match="attention"):
        make(Flatten((20,)), 1, attention="none")
    with pytest.raises(UsageError, match="heads"):
        make(Flatten((20,)), 1, heads=5)
