"""Fine-tuning against an explicit loop of PyTorch's modules, and nearest neighbours by hand."""

import copy
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.engine import meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import FineTuning
from quickstudy.learners.transfer.strategies import TransferStrategy
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import Batch, Episode, EpisodeSampler, Support
from quickstudy.testing import LearnerContract, blob_classes


def make(**options) -> FineTuning:
    torch.manual_seed(0)
    return FineTuning(MLP((8,), (32, 32)), n_classes=200, **options)


class Pretrained(LearnerContract):
    steps, lr = 200, 1e-2
    options: ClassVar = {}
    trained: ClassVar = {}

    def make(self, n_way):
        return make(**self.options)

    def train(self, tasks, validation, accuracy):
        """Methods differ in adapting alone: each layer is pretrained once on tasks of a kind."""
        learner, key = self.make(3), (self.options.get("classifier"), type(tasks))
        if key not in self.trained:
            self.trained[key] = super().train(tasks, validation, accuracy).state_dict()
        learner.load_state_dict(self.trained[key])
        return learner.eval()


class TestFineTuning(Pretrained):
    pass


class TestLinearProbe(Pretrained):
    options: ClassVar = {"method": "linear_probe", "adapt_lr": 1e-2}


class TestNearestNeighbour(Pretrained):
    options: ClassVar = {"method": "nearest_neighbour"}


class TestBaselinePlusPlus(Pretrained):
    options: ClassVar = {"method": "linear_probe", "classifier": "cosine", "adapt_lr": 1e-2}


class TestSimpleShot(Pretrained):
    options: ClassVar = {"method": "nearest_centroid"}


class TestRidgeHead(Pretrained):
    options: ClassVar = {"method": "ridge"}


def test_pretraining_is_cross_entropy_over_the_classes_of_the_data():
    learner = make()
    episode = EpisodeSampler(blob_classes(), n_way=6, n_shot=1, n_query=2)[0]
    x = torch.cat([episode.support.x, episode.query.x])
    y = torch.cat([episode.support.y, episode.query.y])
    classes = torch.tensor([int(episode.classes[label]) for label in y])
    logits = learner.classifier(learner.backbone(x))
    torch.testing.assert_close(learner.loss(episode), F.cross_entropy(logits, classes))


@pytest.mark.parametrize("method", ["fine_tune", "linear_probe"])
def test_adapting_is_adam_on_the_support_set_with_the_statistics_of_pretraining(method):
    torch.manual_seed(0)
    learner = FineTuning(Conv4((1, 16, 16), width=4), method=method, adapt_steps=7, adapt_lr=0.01)
    learner.train()
    learner.backbone(torch.randn(30, 1, 16, 16))  # some running statistics
    learner.eval()
    x, y = torch.randn(6, 1, 16, 16), torch.arange(6) % 3
    scores = learner.adapt(Support(x, y, n_way=3))(x)

    head = nn.Linear(learner.backbone.out_features, 3)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    backbone = copy.deepcopy(learner.backbone).eval()
    tuned = [*head.parameters(), *(backbone.parameters() if method == "fine_tune" else [])]
    optimizer = torch.optim.Adam(tuned, lr=0.01)
    for _ in range(7):
        optimizer.zero_grad()
        F.cross_entropy(head(backbone(x)), y).backward()
        optimizer.step()
    torch.testing.assert_close(scores, head(backbone(x)), rtol=1e-4, atol=1e-5)


def test_pretraining_takes_episodes_without_shots_and_adapting_does_not():
    tasks = EpisodeSampler(blob_classes(), n_way=20, n_shot=0, n_query=2)
    learner = make()
    assert meta_train(learner, tasks, steps=2).steps == 2
    with pytest.raises(DataError, match="0 classes with examples"):
        learner.adapt(tasks[0].support)


def test_the_nearest_neighbour_is_that_of_greatest_cosine():
    backbone = nn.Identity()
    backbone.out_features = 2
    learner = FineTuning(backbone, method="nearest_neighbour").eval()
    support = Support(
        torch.tensor([[1.0, 0.0], [9.0, 9.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]), 2
    )
    scores = learner.adapt(support)(torch.tensor([[2.0, 1.0]]))
    best = max(2 / 5**0.5, 3 / 10**0.5)
    torch.testing.assert_close(scores, torch.tensor([[best, 1 / 5**0.5]]))


def flat(**options) -> FineTuning:
    """Its features are the inputs, two numbers; centred at (1, 0)."""
    backbone = nn.Identity()
    backbone.out_features = 2
    learner = FineTuning(backbone, **options).eval()
    learner.centre.copy_(torch.tensor([1.0, 0.0]))
    return learner


SUPPORT = Support(
    torch.tensor([[4.0, 4.0], [1.0, 2.0], [2.0, 0.0]]), torch.tensor([0, 0, 1]), n_way=2
)


def test_simple_shot_is_the_nearest_mean_of_centred_features_of_length_one():
    scores = flat(method="nearest_centroid").adapt(SUPPORT)(torch.tensor([[1.0, 5.0]]))
    first = (torch.tensor([0.6, 0.8]) + torch.tensor([0.0, 1.0])) / 2
    query = torch.tensor([0.0, 1.0])
    expected = [-float((query - c).square().sum()) for c in (first, torch.tensor([1.0, 0.0]))]
    torch.testing.assert_close(scores, torch.tensor([expected]))


def test_the_ridge_head_is_the_closed_form():
    scores = flat(method="ridge", ridge=0.5).adapt(SUPPORT)(torch.tensor([[1.0, 5.0]]))
    x = torch.tensor([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    y = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    weights = torch.linalg.inv(x.T @ x + 0.5 * torch.eye(2)) @ x.T @ y
    torch.testing.assert_close(scores, torch.tensor([[0.0, 1.0]]) @ weights)


def test_a_cosine_layer_starts_at_the_class_means_and_learns():
    options = {"method": "linear_probe", "classifier": "cosine", "adapt_lr": 0.1}
    before, after = (
        flat(adapt_steps=n, **options).adapt(SUPPORT)(SUPPORT.x).detach() for n in (0, 20)
    )
    means = [F.normalize(SUPPORT.x, dim=1)[SUPPORT.y == c].mean(0) for c in (0, 1)]
    expected = 10 * F.cosine_similarity(SUPPORT.x[:, None], torch.stack(means), dim=2)
    torch.testing.assert_close(before, expected)
    assert F.cross_entropy(after, SUPPORT.y) < F.cross_entropy(before, SUPPORT.y)


def test_the_centre_is_the_moving_average_of_the_features_of_pretraining():
    learner = make().train()
    episode = EpisodeSampler(blob_classes(), n_way=6, n_shot=0, n_query=2)[0]
    moved = learner.meta_gradient(episode).buffers["centre"]
    assert not learner.centre.any()
    torch.testing.assert_close(moved, 0.05 * learner.backbone(episode.query.x).mean(0).detach())


def test_parts_of_the_backbone_can_be_left_as_they_are():
    support = Support(torch.randn(6, 8), torch.arange(6) % 3, n_way=3)
    probe, last, everything = (
        make(**options).eval().adapt(support)(support.x)
        for options in ({"method": "linear_probe"}, {"tuned": ["3.*"]}, {})
    )
    assert not torch.allclose(probe, last)
    assert not torch.allclose(last, everything)
    with pytest.raises(UsageError, match="tuned"):
        make(tuned=["nothing"])


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UsageError, match="adapt_steps"):
        make(adapt_steps=-1)
    with pytest.raises(UsageError, match="n_classes"):
        FineTuning(MLP((8,)), n_classes=0)
    many = EpisodeSampler(blob_classes(), n_way=30, n_shot=0, n_query=1)[0]
    with pytest.raises(DataError, match="set n_classes"):
        FineTuning(MLP((8,)), n_classes=3).loss(many)
    regression = Support(torch.rand(3, 8), torch.rand(3, 1))
    with pytest.raises(DataError, match="classification"):
        make().adapt(regression)
    with pytest.raises(DataError, match="ids"):
        make().loss(Episode(regression, Batch(torch.rand(3, 8), torch.rand(3, 1))))


@pytest.mark.parametrize("inputs", ["features", "raw"])
@pytest.mark.parametrize(
    "options",
    [{"method": "nearest_centroid"}, {"method": "nearest_neighbour"}, {"method": "ridge"}],
)
def test_what_is_left_out_is_scored_by_what_the_others_teach(options, inputs):
    strategy = TransferStrategy(**options, inputs=inputs)
    torch.manual_seed(0)
    x, y = torch.randn(9, 6, dtype=torch.float64), torch.arange(9) % 3
    centre = torch.randn(6, dtype=torch.float64)
    found = strategy.left_out(centre, Support(x, y, 3))
    for i in range(9):
        rest = torch.arange(9) != i
        predict = strategy.adapt(nn.Identity(), centre, Support(x[rest], y[rest], 3))
        torch.testing.assert_close(found[i], predict(x[i : i + 1])[0])


def test_leaving_one_out_needs_a_closed_form_and_two_examples_of_each_class():
    support = Support(torch.rand(3, 4), torch.tensor([0, 0, 1]), 2)
    with pytest.raises(DataError, match="two examples"):
        TransferStrategy("ridge").left_out(torch.zeros(4), support)
    with pytest.raises(UsageError, match="closed form"):
        TransferStrategy("linear_probe").left_out(torch.zeros(4), support)


def test_raw_inputs_do_without_the_backbone():
    strategy = TransferStrategy("ridge", inputs="raw")
    support = Support(torch.rand(6, 2, 2), torch.arange(6) % 3, 3)
    mean = support.x.flatten(1).mean(0)
    expected = TransferStrategy("ridge").adapt(nn.Flatten(), mean, support)
    scores = strategy.adapt(nn.Linear(1, 1), torch.zeros(1), support)
    torch.testing.assert_close(scores(support.x), expected(support.x))


@pytest.mark.parametrize("method", ["fine_tune", "linear_probe", "nearest_centroid", "ridge"])
def test_meta_testing_predicts_as_adapting_does_and_embeds_what_stays_once(method):
    learner = make(method=method).eval()
    tasks = EpisodeSampler(blob_classes(10), n_way=3, n_shot=2, n_query=4)
    adapt, taken = learner.on(tasks)
    assert (taken is tasks) == (method == "fine_tune")
    for i in range(3):
        expected = learner.adapt(tasks[i].support)(tasks[i].query.x)
        torch.testing.assert_close(adapt(taken[i].support)(taken[i].query.x), expected)
