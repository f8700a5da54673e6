"""Matching networks against attention written out with loops, in float64."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from quickstudy.engine import meta_test, meta_train
from quickstudy.engine.executors import Serial, Vmap, make_executor
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.metric.matching_networks import MatchingNetworks
from quickstudy.nn import MLP, Conv4, Flatten
from quickstudy.tasks import Batch, ClassData, Episode, EpisodeSampler, GeneratedTasks, Support
from quickstudy.testing import LearnerContract, blob_classes


def matching(**options) -> MatchingNetworks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MatchingNetworks(MLP((8,), (32, 32)), **options)


class TestMatchingNetworks(LearnerContract):
    def make(self, n_way):
        return matching()


class TestUnscaledMatchingNetworks(LearnerContract):
    lr = 3e-3

    def make(self, n_way):
        return matching(scale=1.0)


class TestMatchingNetworksWithFullContext(LearnerContract):
    steps = 100
    lr = 2e-3

    def make(self, n_way):
        return matching(full_context_embeddings=True)


def blobs(n_way=3, n_shot=2, seed=0) -> Episode:
    return EpisodeSampler(blob_classes(), n_way=n_way, n_shot=n_shot, n_query=4, seed=seed)[0]


def attention_by_hand(queries, keys, labels, n_way, scale):
    """Class log-probabilities by equation 1, one query and one example at a time."""
    queries, keys = np.asarray(queries), np.asarray(keys)
    scores = np.zeros((len(queries), n_way))
    for i, f in enumerate(queries):
        kernel = [
            math.exp(scale * f.dot(g) / (np.linalg.norm(f) * np.linalg.norm(g))) for g in keys
        ]
        for weight, label in zip(kernel, labels.tolist(), strict=True):
            scores[i, label] += weight / sum(kernel)
    return torch.from_numpy(np.log(scores))


@pytest.mark.parametrize("scale", [None, 1.0, 3.5])
def test_scores_are_the_logarithm_of_attention_to_each_class(scale):
    learner, episode = matching(scale=scale).double(), blobs().to(torch.float64)
    support, query = episode.support, episode.query
    with torch.no_grad():
        embedded = learner.backbone(support.x), learner.backbone(query.x)
        scores = learner.adapt(support)(query.x)
    expected = attention_by_hand(embedded[1], embedded[0], support.y, 3, scale or 10.0)
    torch.testing.assert_close(scores, expected)
    nll = -expected[torch.arange(len(query)), query.y].mean()
    torch.testing.assert_close(learner.loss(episode).detach(), nll)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_cell(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = np.split(w_ih @ x + w_hh @ h + b_ih + b_hh, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def test_full_context_embeddings_are_those_of_the_appendix():
    learner = matching(full_context_embeddings=True, attention_steps=4).double()
    episode = blobs().to(torch.float64)
    support, query = episode.support, episode.query
    with torch.no_grad():
        scores = learner.adapt(support)(query.x)
        s, q = (learner.backbone(part.x).numpy() for part in (support, query))
    weights = {n: p.detach().numpy() for n, p in learner.context.named_parameters()}
    d, n = s.shape[1], len(s)

    g = s.copy()
    for order, suffix in ((range(n), ""), (reversed(range(n)), "_reverse")):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        own = [weights[f"support_lstm.{name}_l0{suffix}"] for name in names]
        h = c = np.zeros(d)
        for i in order:
            h, c = lstm_cell(s[i], h, c, *own)
            g[i] += h

    # The cell's state [h, r] is twice as long as what it gives.
    w = weights["query_lstm.weight_ih"]
    w_input, w_state = w[:, :d], np.hstack([weights["query_lstm.weight_hh"], w[:, d:]])
    biases = weights["query_lstm.bias_ih"], weights["query_lstm.bias_hh"]
    f = []
    for x in q:
        h = c = np.zeros(d)
        for _ in range(4):
            a = np.exp([h.dot(key) for key in g])
            r = sum(weight * key for weight, key in zip(a / a.sum(), g, strict=True))
            h, c = lstm_cell(x, np.concatenate([h, r]), c, w_input, w_state, *biases)
            h = h + x
        f.append(h)
    torch.testing.assert_close(scores, attention_by_hand(f, g, support.y, 3, 10.0))


def test_unscaled_attention_over_20_classes_cannot_be_confident():
    """At best, the cosine is 1 for one class and -1 for the 19 others."""
    x = -torch.ones(20, 1)
    x[7] = 1
    support = Support(x, torch.arange(20), n_way=20)
    unscaled, learned = (MatchingNetworks(Flatten((1,)), scale=scale) for scale in (1.0, None))
    best = unscaled.adapt(support)(torch.ones(1, 1)).exp()
    assert best.max().item() == pytest.approx(math.e / (math.e + 19 / math.e))
    assert best.max() < 0.2801
    assert learned.adapt(support)(torch.ones(1, 1)).exp()[0, 7] > 0.99


def test_scores_stay_finite_where_attention_rounds_to_zero():
    support = Support(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]), n_way=2)
    scores = MatchingNetworks(Flatten((1,)), scale=200.0).adapt(support)(torch.ones(1, 1))
    torch.testing.assert_close(scores, torch.tensor([[0.0, -400.0]]))


@pytest.mark.parametrize(("context", "same"), [(False, True), (True, False)])
def test_only_full_context_depends_on_the_order_of_the_support(context, same):
    learner, episode = matching(full_context_embeddings=context).eval(), blobs()
    support, order = episode.support, torch.randperm(6, generator=torch.Generator().manual_seed(0))
    turned = Support(support.x[order], support.y[order], 3)
    scores = [learner.adapt(s)(episode.query.x) for s in (support, turned)]
    assert torch.allclose(*scores, atol=1e-5) is same


def test_an_example_is_embedded_by_itself_unless_with_full_context():
    support, query = blobs().support, blobs().query
    few = Support(support.x[support.y < 2], support.y[support.y < 2], 2)
    for context in (False, True):
        learner = matching(full_context_embeddings=context).eval()
        odds = []
        for part in (few, support):
            scores = learner.adapt(part)(query.x)
            odds.append(scores[:, 0] - scores[:, 1])
        assert torch.allclose(*odds, atol=1e-5) is not context


@pytest.mark.parametrize("context", [False, True])
def test_ways_and_shots_may_differ_between_training_and_testing(context):
    learner = matching(full_context_embeddings=context)
    tasks = EpisodeSampler(blob_classes(), n_way=7, n_shot=(1, 4), n_query=3)
    assert learner.meta_gradient(blobs(n_way=3)).loss.isfinite()
    assert len(meta_test(learner, tasks, 5).scores) == 5


def test_batched_over_tasks_it_equals_one_task_after_the_other():
    learner = matching().train()
    episodes = [blobs(seed=seed) for seed in range(3)]
    serial, batched = Serial()(learner, episodes), Vmap()(learner, episodes)
    torch.testing.assert_close(batched.loss, serial.loss)
    torch.testing.assert_close(batched.gradients, serial.gradients)
    with pytest.raises(UsageError, match="batchable"):
        make_executor("vmap", matching(full_context_embeddings=True), 4)


@pytest.mark.parametrize("context", [False, True])
def test_with_batch_norm_neither_adapting_nor_gradients_change_the_learner(context):
    torch.manual_seed(0)
    data = blob_classes(8, 6, d=256)
    data = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    episode = EpisodeSampler(data, n_way=3, n_shot=2, n_query=3)[0]
    learner = MatchingNetworks(Conv4((1, 16, 16), width=4), full_context_embeddings=context)
    before = copy.deepcopy(learner.state_dict())
    result = learner.train().meta_gradient(episode)
    learner.eval().adapt(episode.support)(episode.query.x)
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())
    name = "backbone.1.running_mean"
    assert not torch.equal(result.buffers[name], before[name])


@pytest.mark.parametrize("context", [False, True])
def test_in_half_precision_scores_are_close_and_of_full_precision(context):
    learner, episode = matching(full_context_embeddings=context).eval(), blobs()
    exact = learner.adapt(episode.support)(episode.query.x)
    with torch.autocast("cpu", torch.bfloat16):
        scores = learner.adapt(episode.support)(episode.query.x)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, exact, atol=0.3, rtol=0)


def test_what_it_cannot_do_is_refused():
    with pytest.raises(DataError, match="each of 3 classes"):
        matching().adapt(Support(torch.zeros(2, 8), torch.tensor([0, 1]), n_way=3))
    regression = Episode(
        Support(torch.zeros(2, 8), torch.zeros(2, 1)), Batch(torch.zeros(2, 8), torch.zeros(2, 1))
    )
    with pytest.raises(DataError, match="classification"):
        matching().adapt(regression.support)
    with pytest.raises(DataError, match="classification"):
        meta_train(matching(), GeneratedTasks(lambda _: regression), steps=1)
    with pytest.raises(UsageError, match="above 0"):
        matching(scale=0.0)
    for wrong in ({"attention_steps": 2}, {"full_context_embeddings": True, "attention_steps": 0}):
        with pytest.raises(UsageError, match="attention_steps"):
            matching(**wrong)
    with pytest.raises(UsageError, match="out_features"):
        MatchingNetworks(nn.Flatten(), full_context_embeddings=True)
