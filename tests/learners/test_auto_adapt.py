"""The choice against tasks for which it is known which strategy suits them."""

import math

import pytest
import torch
from torch import nn

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import AutoAdapt, FineTuning
from quickstudy.nn import MLP, Conv4, Flatten
from quickstudy.tasks import (
    Batch,
    ClassData,
    Episode,
    EpisodeSampler,
    GeneratedTasks,
    Support,
)
from quickstudy.testing import LearnerContract, blob_classes

CENTROID, NEIGHBOUR = {"method": "nearest_centroid"}, {"method": "nearest_neighbour"}


class TestAutoAdapt(LearnerContract):
    steps = 0  # the backbone, which is not trained here, is what would have to learn

    def make(self, n_way):
        torch.manual_seed(0)
        return AutoAdapt(MLP((8,), (32, 32)), strategies=[CENTROID, NEIGHBOUR])


def two_kinds(share=0.5, shots=6):
    """Tasks of three classes: a noisy direction each, which means find, or two opposite ones each,
    whose mean says nothing, so that only neighbours tell: this `share` of them."""

    def draw(generator):
        def normal(*shape):
            return torch.randn(*shape, generator=generator)

        several = torch.rand((), generator=generator) < share
        directions = nn.functional.normalize(normal(3, 16), dim=1) * (4 if several else 1.5)
        y = torch.arange(3).repeat(shots + 5)
        signs = torch.arange(len(y)) // 3 % 2 * 2 - 1 if several else torch.ones(len(y))
        x = directions[y] * signs[:, None] + 0.8 * normal(len(y), 16)
        k = 3 * shots
        return Episode(Support(x[:k], y[:k], 3), Batch(x[k:], y[k:]))

    return GeneratedTasks(draw, seed=1)


def fast(parameters):
    return torch.optim.Adam(parameters, lr=3e-2)


def accuracy(learner, tasks):
    return meta_test(learner.eval(), tasks, 200).mean


def test_it_learns_which_strategy_suits_which_task():
    learner, tasks = AutoAdapt(Flatten((16,)), strategies=[CENTROID, NEIGHBOUR]), two_kinds()
    centroid, neighbour = (FineTuning(Flatten((16,)), **s) for s in (CENTROID, NEIGHBOUR))
    fixed = [accuracy(one, tasks) for one in (centroid, neighbour)]
    meta_train(learner, two_kinds(), steps=100, meta_batch_size=4, optimizer=fast)
    knowing = (accuracy(centroid, two_kinds(0)) + accuracy(neighbour, two_kinds(1))) / 2
    assert accuracy(learner, tasks) > max(max(fixed) + 0.03, knowing - 0.02)
    assert learner.advise(two_kinds(0)[0].support).strategy.method == "nearest_centroid"
    assert learner.advise(two_kinds(1)[0].support).strategy.method == "nearest_neighbour"


def test_the_prediction_is_the_mixture_by_shares_and_the_loss_its_cross_entropy():
    learner = AutoAdapt(Flatten((16,)), strategies=[CENTROID, NEIGHBOUR]).eval()
    nn.init.constant_(learner.chooser.bias[0], 1.0)
    nn.init.constant_(learner.log_scales[1], 0.5)
    episode = two_kinds()[3]
    both = []
    for options, scale in ((CENTROID, 10.0), (NEIGHBOUR, math.exp(0.5))):
        predict = FineTuning(Flatten((16,)), **options).eval().adapt(episode.support)
        both.append((scale * predict(episode.query.x)).softmax(1))
    shares = torch.tensor([1.0, 0.0]).softmax(0)
    mixed = (shares[0] * both[0] + shares[1] * both[1]).log()
    torch.testing.assert_close(learner.adapt(episode.support)(episode.query.x).detach(), mixed)
    expected = nn.functional.nll_loss(mixed, episode.query.y)
    torch.testing.assert_close(learner.loss(episode).detach(), expected)
    assert learner.advise(episode.support).shares == pytest.approx(shares.tolist())


def test_compare_has_the_accuracy_of_each_strategy_and_of_the_mixture():
    learner = AutoAdapt(Flatten((16,)), strategies=[CENTROID, NEIGHBOUR]).eval()
    episode = two_kinds()[3]
    nn.init.constant_(learner.chooser.bias[1], 50.0)
    each, mixed = learner.compare(episode)
    for options, found in zip((CENTROID, NEIGHBOUR), each, strict=True):
        predict = FineTuning(Flatten((16,)), **options).eval().adapt(episode.support)
        right = predict(episode.query.x).argmax(1) == episode.query.y
        assert float(found) == pytest.approx(float(right.float().mean()))
    assert mixed == each[1]


def test_where_features_do_not_help_it_falls_back_on_raw_inputs():
    """A backbone that keeps the half of the input that says nothing of half of the tasks."""

    class Half(nn.Module):
        out_features = 16

        def forward(self, x):
            return x[:, :16]

    def draw(generator):
        episode = two_kinds(0)[int(torch.randint(0, 10**6, (), generator=generator))]
        helps = torch.rand((), generator=generator) < 0.5

        def seen(x):
            noise = torch.randn(x.shape, generator=generator)
            return torch.cat([x, noise] if helps else [noise, 5 * x], dim=1)

        support, query = episode.support, episode.query
        return Episode(Support(seen(support.x), support.y, 3), Batch(seen(query.x), query.y))

    raw = {**CENTROID, "inputs": "raw"}
    learner, tasks = AutoAdapt(Half(), strategies=[CENTROID, raw]), GeneratedTasks(draw, seed=2)
    meta_train(learner, GeneratedTasks(draw), steps=80, meta_batch_size=4, optimizer=fast)
    compared = [learner.eval().compare(tasks[i]) for i in range(200)]
    each = torch.stack([each for each, _ in compared])
    mixed = torch.stack([mixed for _, mixed in compared])
    useless = each[:, 0] < 0.6
    assert useless.sum() > 50
    assert mixed[useless].mean() > each[useless, 1].mean() - 0.02
    assert mixed.mean() > each.mean(0).max() + 0.01


def test_held_out_accuracy_is_that_of_learning_the_others():
    learner = AutoAdapt(Flatten((2,)), strategies=[CENTROID, NEIGHBOUR]).eval()
    x = torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.9, 0.2]])  # the last is mislabelled
    support = Support(x, torch.tensor([0, 0, 1, 1]), 2)
    advice = learner.advise(support)
    assert advice.features["held-out accuracy of nearest_neighbour"] == 0.5
    assert advice.features["log shots"] == pytest.approx(0.693)
    assert "nearest_centroid" in advice.reason
    single = learner.advise(Support(x[1:3], support.y[1:3], 2))
    assert not any("held-out" in name for name in single.features)


def test_the_backbone_is_left_as_it_is_and_embeds_each_example_once():
    torch.manual_seed(0)
    learner = AutoAdapt(Conv4((1, 16, 16), width=4), strategies=[CENTROID, NEIGHBOUR])
    before = {name: t.clone() for name, t in learner.backbone.state_dict().items()}
    data = blob_classes(10, d=256)
    images = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    tasks = EpisodeSampler(images, n_way=3, n_shot=2, n_query=2)
    meta_train(learner, tasks, steps=3)
    assert all(torch.equal(t, before[n]) for n, t in learner.backbone.state_dict().items())
    adapt, embedded = learner.on(tasks)
    assert embedded[0].query.x.shape == (6, 4)
    expected = learner.adapt(tasks[0].support)(tasks[0].query.x)
    torch.testing.assert_close(adapt(embedded[0].support)(embedded[0].query.x), expected)


def test_strategies_that_change_the_backbone_can_be_chosen():
    torch.manual_seed(0)
    tune = {"method": "fine_tune", "adapt_steps": 2}
    learner = AutoAdapt(MLP((16,), (16,)), strategies=[CENTROID, tune])
    meta_train(learner, two_kinds(), steps=2)
    nn.init.constant_(learner.chooser.bias[1], 50.0)
    assert learner.advise(two_kinds()[0].support).strategy.method == "fine_tune"
    assert 0 <= accuracy(learner, two_kinds()) <= 1


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ([CENTROID], "two strategies"),
        ([CENTROID, {"method": "guess"}], "method"),
        ([CENTROID, {"speed": 3}], "speed"),
        ([CENTROID, {"tuned": ["nothing"]}], "tuned"),
        ([CENTROID, {"inputs": "audio"}], "inputs"),
        ([CENTROID, {"inputs": "raw"}], "fine_tune"),
    ],
)
def test_strategies_that_cannot_be_are_refused(strategies, message):
    with pytest.raises(UsageError, match=message):
        AutoAdapt(MLP((4,)), strategies=strategies)


def test_a_class_without_example_is_refused():
    support = Support(torch.rand(2, 4), torch.tensor([0, 2]), 3)
    with pytest.raises(DataError, match="example"):
        AutoAdapt(MLP((4,))).eval().adapt(support)
