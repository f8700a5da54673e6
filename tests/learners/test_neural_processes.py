"""Neural processes against their equations in numpy, one query at a time."""

import math

import numpy as np
import pytest
import torch

from quickstudy.engine import meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.model.neural_processes import NeuralProcess
from quickstudy.nn import MLP
from quickstudy.tasks import Batch, Episode, EpisodeSampler, GeneratedTasks, SinusoidTasks, Support
from quickstudy.testing import LearnerContract, blob_classes


def make(n_outputs=3, size=8, **options) -> NeuralProcess:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NeuralProcess(MLP((size,), (32,)), n_outputs, width=32, heads=4, **options)


class TestAttentive(LearnerContract):
    def make(self, n_way):
        return make(n_way)


class TestConditional(LearnerContract):
    def make(self, n_way):
        return make(n_way, attention=False)


def network(layers, x):
    """A perceptron in numpy."""
    for layer in layers:
        if isinstance(layer, torch.nn.Linear):
            x = layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()
        elif isinstance(layer, torch.nn.ReLU):
            x = np.maximum(x, 0)
    return x


def represent(learner, query, keys, encoded):
    """The support as one query sees it, from lists of features and of encodings."""
    layer = learner.attention
    if layer is None:
        return sum(encoded) / len(encoded)
    wq, wk, wv, wo = (
        part.weight.detach().numpy() for part in (layer.query, layer.key, layer.value, layer.out)
    )
    read = []
    for rows in np.split(np.arange(len(wq)), layer.heads):
        q = wq[rows] @ network(learner.attention_layer, query)
        scores = [
            q @ wk[rows] @ network(learner.attention_layer, k) / math.sqrt(len(rows)) for k in keys
        ]
        weights = np.exp(scores) / np.exp(scores).sum()
        read.append(sum(w * (wv[rows] @ r) for w, r in zip(weights, encoded, strict=True)))
    return wo @ np.concatenate(read)


@pytest.mark.parametrize("attention", [True, False])
def test_regression_equals_the_equations(attention):
    learner = make(1, 1, likelihood="gaussian", attention=attention).double()
    episode = SinusoidTasks(n_shot=5, n_query=4)[0].to(torch.float64)
    support, query = episode.support, episode.query
    keys = [network(learner.backbone, x) for x in support.x.numpy()]
    encoded = [
        network(learner.encoder, np.concatenate([k, y]))
        for k, y in zip(keys, support.y.numpy(), strict=True)
    ]
    means, deviations, log_densities = [], [], []
    for x, y in zip(query.x.numpy(), query.y.numpy(), strict=True):
        features = network(learner.backbone, x)
        r = represent(learner, features, keys, encoded)
        mean, spread = network(learner.decoder, np.concatenate([features, r]))
        sigma = 0.1 + 0.9 * math.log1p(math.exp(spread))
        means.append(mean)
        deviations.append(sigma)
        z = (y[0] - mean) / sigma
        log_densities.append(-0.5 * z * z - math.log(sigma * math.sqrt(2 * math.pi)))
    found = learner.predict_distribution(support)(query.x)
    np.testing.assert_allclose(found.mean.detach()[:, 0], means)
    np.testing.assert_allclose(found.stddev.detach()[:, 0], deviations)
    torch.testing.assert_close(learner.adapt(support)(query.x), found.mean)
    assert learner.loss(episode).item() == pytest.approx(-np.mean(log_densities))


@pytest.mark.parametrize("attention", [True, False])
def test_each_class_is_represented_by_its_own_examples(attention):
    learner = make(attention=attention).double()
    # Initially the decoder sees no more than a difference; here it is to see both sides.
    torch.nn.init.normal_(learner.decoder[0].weight, generator=torch.Generator().manual_seed(0))
    episode = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=2)[0].to(torch.float64)
    support, query = episode.support, episode.query
    keys = [network(learner.backbone, x) for x in support.x.numpy()]
    expected = np.zeros((6, 3))
    for i, x in enumerate(query.x.numpy()):
        features = network(learner.backbone, x)
        for label in range(3):
            own = [k for k, y in zip(keys, support.y.tolist(), strict=True) if y == label]
            encoded = [network(learner.encoder, k) for k in own]
            r = represent(learner, features, own, encoded)
            both = np.concatenate([network(learner.encoder, features), r])
            expected[i, label] = network(learner.decoder, both)[0]
    np.testing.assert_allclose(learner.adapt(support)(query.x).detach(), expected)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_the_support_is_a_set(attention, likelihood):
    if likelihood == "gaussian":
        episode = SinusoidTasks(n_shot=6, n_query=4)[0]
    else:
        episode = EpisodeSampler(blob_classes(d=1), n_way=3, n_shot=2, n_query=2)[0]
    learner = make(1, 1, attention=attention, likelihood=likelihood).eval()
    support, x, order = episode.support, episode.query.x, torch.randperm(6)
    shuffled = Support(support.x[order], support.y[order], support.n_way)
    torch.testing.assert_close(learner.adapt(support)(x), learner.adapt(shuffled)(x))


def test_attention_reads_each_query_differently_and_the_mean_does_not():
    torch.manual_seed(0)
    support = Support(torch.randn(6, 1), torch.randn(6, 1))
    readings = []
    for attention in (True, False):
        learner = make(1, 1, likelihood="gaussian", attention=attention)
        # A decoder that passes on r alone.
        learner.decoder = torch.nn.Sequential(torch.nn.Linear(64, 2))
        learner.decoder[0].weight.data[:, :32] = 0
        readings.append(learner.adapt(support)(torch.randn(5, 1)).std())
    assert readings[0] > 1e-3
    assert readings[1] < 1e-6


def test_the_deviation_has_a_lower_bound():
    learner = make(1, 1, likelihood="gaussian")
    learner.decoder[-1].bias.data[1] = -1e4
    support = Support(torch.randn(6, 1), torch.randn(6, 1))
    deviation = learner.predict_distribution(support)(torch.randn(5, 1)).stddev
    torch.testing.assert_close(deviation, torch.full((5, 1), 0.1))


def test_targets_of_several_dimensions_are_independent_given_the_support():
    torch.manual_seed(0)
    learner = make(2, 1, likelihood="gaussian")
    support = Support(torch.randn(6, 1), torch.randn(6, 2))
    query = Batch(torch.randn(5, 1), torch.randn(5, 2))
    found = learner.predict_distribution(support)(query.x)
    each = [
        torch.distributions.MultivariateNormal(m, torch.diag(s.square())).log_prob(y)
        for m, s, y in zip(found.mean, found.stddev, query.y, strict=True)
    ]
    torch.testing.assert_close(learner.loss(Episode(support, query)), -torch.stack(each).mean())


def test_tasks_of_more_ways_than_in_training_are_answered():
    episode = EpisodeSampler(blob_classes(), n_way=7, n_shot=1, n_query=1)[0]
    assert make(3).adapt(episode.support)(episode.query.x).shape == (7, 7)


def test_what_it_cannot_do_is_refused():
    numbers = SinusoidTasks(n_shot=3, n_query=2)[0]
    labels = EpisodeSampler(blob_classes(d=1), n_way=3, n_shot=1, n_query=1)[0]
    with pytest.raises(DataError, match="classification"):
        make(1, 1).adapt(numbers.support)
    with pytest.raises(DataError, match="classification"):
        meta_train(make(1, 1), GeneratedTasks(lambda _: numbers), steps=1)
    gaussian = make(1, 1, likelihood="gaussian")
    with pytest.raises(DataError, match="regression"):
        gaussian.adapt(labels.support)
    with pytest.raises(DataError, match="regression"):
        meta_train(gaussian, GeneratedTasks(lambda _: labels), steps=1)
    with pytest.raises(DataError, match="each of 3 classes"):
        make().adapt(Support(torch.zeros(2, 8), torch.tensor([0, 1]), n_way=3))
    with pytest.raises(UsageError, match="gaussian"):
        make(1, 1).predict_distribution(labels.support)
    with pytest.raises(UsageError, match="likelihood"):
        make(likelihood="poisson")
    with pytest.raises(UsageError, match="width"):
        NeuralProcess(MLP((8,)), width=0)
    with pytest.raises(UsageError, match="heads"):
        NeuralProcess(MLP((8,)), width=30, heads=4)
