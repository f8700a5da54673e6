from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import BayesianPrototypes
from quickstudy.nn import MLP, Flatten
from quickstudy.tasks import ClassData, EpisodeSampler, Support
from quickstudy.testing import LearnerContract, blob_classes


def mlp() -> MLP:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLP((8,), (32, 32))


class TestDescribedByVectors(LearnerContract):
    """Some of an episode's classes have a description, by a vector, and some have none."""

    options: ClassVar = {"n_attributes": 8}

    def make(self, n_way):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return BayesianPrototypes(mlp(), **self.options)

    def episode(self, n_shot=2):
        episode, generator = super().episode(n_shot), torch.Generator().manual_seed(0)
        attributes = torch.randn(3, 8, generator=generator)
        attributes[1] = torch.nan
        return replace(episode, support=replace(episode.support, attributes=attributes))


class TestDescribedByInputs(TestDescribedByVectors):
    options: ClassVar = {"distance": "cosine"}


def test_trained_on_zero_to_five_shots_it_knows_unseen_classes_with_none_and_more_with_each():
    """The attributes leave out one of the four dimensions that matter, and do next to no harm."""
    described = []
    for blobs in (blob_classes(200), blob_classes(60, seed=1)):
        centres = torch.stack([blobs.x[blobs.y == c].mean(0)[:3] for c in range(blobs.n_classes)])
        attributes = centres @ torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
        described.append(ClassData(blobs.x, blobs.y, blobs.names, attributes=attributes))
    torch.manual_seed(0)
    learner = BayesianPrototypes(mlp(), n_attributes=6)
    train = EpisodeSampler(described[0], n_way=5, n_shot=(0, 5), n_query=5)
    meta_train(learner, train, steps=200, meta_batch_size=4)
    none, one, five = (
        meta_test(learner, EpisodeSampler(described[1], n_way=5, n_shot=n, n_query=5), 100).mean
        for n in (0, 1, 5)
    )
    bare = ClassData(described[1].x, described[1].y, described[1].names)
    alone = meta_test(learner, EpisodeSampler(bare, n_way=5, n_shot=1, n_query=5), 100).mean
    assert 0.6 < none < one < five
    assert one > alone - 0.03


def described(x, y, attributes, n_way, **options):
    """A learner of plain vectors, and the support set, as tensors."""
    learner = BayesianPrototypes(Flatten((1,)), **options)
    x, y = torch.tensor(x).view(-1, 1), torch.tensor(y, dtype=torch.int64)
    return learner, Support(x, y, n_way, torch.tensor(attributes)[:, None])


def test_a_described_class_is_the_posterior_of_a_gaussian():
    """Of a mean with prior N(v, 1 / strength), and examples of variance 1 about it."""
    strength, x = 2.0, [1.0, 2.5, 3.0]
    learner, support = described(x, [0, 0, 0], [0.0, 5.0], 2, prior_strength=strength)
    grid = torch.linspace(-10, 10, 100_001, dtype=torch.float64)
    log_posterior = -strength * grid**2 / 2 - sum((one - grid) ** 2 for one in x) / 2
    posterior = (log_posterior - log_posterior.max()).exp()
    posterior /= posterior.sum()
    mean = (posterior * grid).sum()
    predicted_variance = 1 + (posterior * (grid - mean) ** 2).sum()
    queries = torch.tensor([[0.3], [4.0]])
    scores = learner.adapt(support)(queries).detach().double()
    queries = queries.double()
    expected = torch.stack(
        [
            -((queries[:, 0] - mean) ** 2) * (1 + 1 / strength) / predicted_variance,
            -((queries[:, 0] - 5) ** 2),
        ],
        1,
    )
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_of_a_class_without_a_description_the_examples_decide():
    learner, support = described([2.0, 4.0], [0, 0], [torch.nan, 0.0], 2)
    scores = learner.adapt(support)(torch.tensor([[5.0]]))
    torch.testing.assert_close(scores, torch.tensor([[-4 * 2 / 1.5, -25.0]]))


def test_the_more_examples_the_less_a_description_says():
    examples = 1 + 0.1 * torch.randn(2000, generator=torch.Generator().manual_seed(0))
    for n, expected in ((0, 0.0), (1, 0.5), (9, 0.9), (2000, 1.0)):
        learner, support = described(examples[:n].tolist(), [0] * n, [0.0, 9.0], 2)
        centres = torch.linspace(-1, 2, 3001)[:, None]
        best = centres[learner.adapt(support)(centres)[:, 0].argmax()]
        assert float(best) == pytest.approx(expected, abs=0.1)


def test_a_prior_without_strength_is_refused():
    with pytest.raises(UsageError, match="positive prior_strength, got 0"):
        BayesianPrototypes(mlp(), prior_strength=0.0)


def test_a_class_with_neither_example_nor_description_is_refused():
    learner, support = described([1.0], [0], [0.0, torch.nan], 2)
    with pytest.raises(DataError, match="neither of class 1"):
        learner.adapt(support)
    with pytest.raises(DataError, match="each of 2 classes"):
        learner.adapt(replace(support, attributes=None))


def test_attributes_of_another_size_are_refused():
    learner = BayesianPrototypes(mlp(), n_attributes=4)
    with pytest.raises(
        DataError, match=r"shape \(4,\), as the learner has n_attributes, got \(3,\)"
    ):
        learner.adapt(Support(torch.zeros(2, 8), torch.arange(2), 2, torch.zeros(2, 3)))
