import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy import EpisodeSampler, PrototypicalNetworks, meta_test
from quickstudy.errors import UsageError
from quickstudy.nn import MLP
from quickstudy.testing import LearnerContract, blob_classes


class TestTunedPrototypes(LearnerContract):
    def make(self, n_way):
        return PrototypicalNetworks(MLP((8,)), tune_steps=3)


def task(n_shot=3):
    return EpisodeSampler(blob_classes(20), n_way=4, n_shot=n_shot, n_query=5)[0]


def probabilities(learner, episode):
    return learner.eval().adapt(episode.support)(episode.query.x).softmax(1)


def test_tuning_starts_as_the_prototypes_score_and_ends_as_adam_takes_it():
    episode, d = task(), 8
    plain = probabilities(PrototypicalNetworks(nn.Flatten(), scale=0.5), episode)
    slow = PrototypicalNetworks(nn.Flatten(), scale=0.5, tune_steps=1, tune_lr=1e-12)
    torch.testing.assert_close(probabilities(slow, episode), plain)

    x, y = episode.support.x, episode.support.y
    means = torch.stack([x[y == k].mean(0) for k in range(4)])
    layer = nn.Linear(d, 4)
    with torch.no_grad():
        layer.weight.copy_(means)  # twice, times one half
        layer.bias.copy_(-0.5 * means.square().sum(1))
    adam = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(7):
        adam.zero_grad()
        F.cross_entropy(layer(x), y).backward()
        adam.step()
    tuned = PrototypicalNetworks(nn.Flatten(), scale=0.5, tune_steps=7, tune_lr=0.05)
    expected = layer(episode.query.x).softmax(1)
    torch.testing.assert_close(probabilities(tuned, episode), expected)
    assert not torch.allclose(expected, plain, atol=1e-3)


def test_meta_training_is_without_tuning():
    episode = task()
    losses = [PrototypicalNetworks(nn.Flatten(), tune_steps=n).loss(episode) for n in (0, 9)]
    assert torch.equal(*losses)


def test_meta_testing_tunes_embeddings_that_are_made_once():
    learner = PrototypicalNetworks(nn.Flatten(), tune_steps=5, tune_lr=0.05).eval()
    tasks = EpisodeSampler(blob_classes(20), n_way=4, n_shot=3, n_query=5)
    report = meta_test(learner, tasks, 5)
    right = [
        (learner.adapt(e.support)(e.query.x).argmax(1) == e.query.y).float().mean().item()
        for e in (tasks[i] for i in range(5))
    ]
    assert report.scores == pytest.approx(right)


@pytest.mark.parametrize(
    "options",
    [{"tune_steps": -1}, {"tune_lr": 0.0}, {"tune_steps": 1, "distance": "cosine"}],
)
def test_tuning_that_cannot_be_is_refused(options):
    with pytest.raises(UsageError, match="tune_steps"):
        PrototypicalNetworks(nn.Flatten(), **options)
