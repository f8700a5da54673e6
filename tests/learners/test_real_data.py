"""Short meta-trainings on real data; the full ones are in benchmarks/results."""

import pytest
import torch

from quickstudy import MAML, EpisodeSampler, NearestCentroid, PrototypicalNetworks
from quickstudy.engine import meta_test
from quickstudy.nn import Conv4, StridedConv4
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.sources import split_by_share
from quickstudy.testing import train_until


@pytest.mark.data("omniglot")
@pytest.mark.parametrize("name", ["prototypical_networks", "maml"])
def test_a_short_training_on_omniglot_beats_raw_pixels_by_far_on_unseen_alphabets(name):
    torch.manual_seed(0)
    data = load_dataset("omniglot", "background")
    background, validation = map(data.select, split_by_share(data.names, (0.8, 0.2)))
    if name == "maml":
        learner = MAML(StridedConv4((1, 28, 28), width=32), 5, inner_lr=0.4)
        tasks = EpisodeSampler(background, n_way=5, n_shot=1, n_query=5)
        options = {"steps": 250, "meta_batch_size": 2, "lr": 3e-3}
    else:
        learner = PrototypicalNetworks(Conv4((1, 28, 28), width=32))
        tasks = EpisodeSampler(background, n_way=10, n_shot=1, n_query=5)
        options = {"steps": 60, "meta_batch_size": 1, "lr": 2e-3}
    new = EpisodeSampler(validation, n_way=5, n_shot=1, n_query=5)
    train_until(0.75, learner, tasks, new, n_validation=40, **options)
    unseen = EpisodeSampler(
        load_dataset("omniglot", "evaluation"), n_way=5, n_shot=1, n_query=5, seed=1
    )
    pixels = meta_test(NearestCentroid(), unseen, 100).mean
    assert pixels == pytest.approx(0.42, abs=0.05)  # published: 41.7 on another split
    assert meta_test(learner, unseen, 100).mean > pixels + 0.25
