from functools import partial

import pytest
import torch
import torch.nn.functional as F

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import UsageError
from quickstudy.learners import DecisionPretrainedTransformer
from quickstudy.nn import Flatten
from quickstudy.tasks.environments import (
    BernoulliBandits,
    Box,
    Discrete,
    Pendulums,
    TabularMDPs,
    Trials,
)


def make(family, **options):
    torch.manual_seed(0)
    backbone = Flatten((family.observation_size,))
    sizes = {"width": 16, "layers": 2, "heads": 2}
    return DecisionPretrainedTransformer(backbone, family.actions, **{**sizes, **options})


def test_labels_are_what_the_oracle_does():
    family = BernoulliBandits(n_arms=4, horizon=6)
    trials = Trials(family, n_query=2)
    tasks = [trials[i] for i in range(5)]
    ((part,),) = make(family).updates(tasks)
    means = torch.stack([trial.task.parameters["means"] for trial in tasks])
    order = [int((means == m).all(1).nonzero()) for m in means]
    assert sorted(order) == list(range(5))
    best = means.argmax(1).sort().values
    assert part.best.shape == (12, 5)
    assert torch.equal(part.best[0].sort().values, best)
    assert torch.equal(part.best, part.best[:1].expand(12, -1))


def test_the_loss_is_the_mean_cross_entropy_over_all_steps():
    family = TabularMDPs()
    trials = Trials(family)
    learner = make(family)
    ((part,),) = learner.updates([trials[i] for i in range(3)])
    logits = learner.through(part.experience)
    expected = torch.stack(
        [F.cross_entropy(logits[t], part.best[t]) for t in range(len(part.experience))]
    )
    torch.testing.assert_close(learner.loss(part), expected.mean())


def test_batches_split_the_tasks():
    family = BernoulliBandits(n_arms=3)
    trials = Trials(family)
    parts = [part for (part,) in make(family, batches=3).updates([trials[i] for i in range(7)])]
    assert [part.best.shape[1] for part in parts] == [3, 2, 2]


def test_it_learns_which_arm_pays():
    family = BernoulliBandits(n_arms=2)
    learner = make(family)
    adam = partial(torch.optim.Adam, lr=0.01)
    meta_train(learner, Trials(family), steps=40, meta_batch_size=100, optimizer=adam)
    assert meta_test(learner, Trials(BernoulliBandits(n_arms=2, seed=1)), 1000).mean > 5.3


def test_what_it_cannot_learn_from_is_refused():
    with pytest.raises(UsageError, match="actions that are choices"):
        DecisionPretrainedTransformer(Flatten((2,)), Box(2, -1.0, 1.0))
    with pytest.raises(UsageError, match="batches of 1 or more"):
        DecisionPretrainedTransformer(Flatten((2,)), Discrete(2), batches=0)


def test_a_family_without_an_oracle_is_refused():
    family = Pendulums()
    family.actions = Discrete(2)
    learner = make(family)
    with pytest.raises(UsageError, match="environments with an oracle"):
        next(learner.updates([Trials(family)[0]]))
