"""The same seed gives the same bits with as many threads; with others, the same to rounding."""

import contextlib

import pytest
import torch

from quickstudy.engine import meta_train
from quickstudy.learners import LEARNERS
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import ClassData, EpisodeSampler, Tasks
from quickstudy.tasks.environments import GridNavi, Trials


@contextlib.contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def images():
    x = torch.rand(200, 1, 16, 16, generator=torch.Generator().manual_seed(0)).round()
    return ClassData.from_arrays(x, torch.arange(20).repeat_interleave(10))


def trained(name, n_threads):
    """The weights of a learner after two meta-steps."""
    with torch.random.fork_rng(), threads(n_threads):
        torch.manual_seed(0)
        if LEARNERS[name].acts:
            learner = LEARNERS[name].build(MLP((2,), (16,)), GridNavi().actions)
            tasks: Tasks = Trials(GridNavi(horizon=5), n_shot=3)
        else:
            learner = LEARNERS[name].build(Conv4((1, 16, 16), width=16), 3)
            tasks = EpisodeSampler(images(), n_way=3, n_shot=1, n_query=2)
        meta_train(learner, tasks, steps=2, meta_batch_size=2)
        state = learner.state_dict().values()
        return torch.cat([torch.zeros(0), *(t.double().flatten() for t in state)])


@pytest.mark.parametrize("name", LEARNERS)
def test_as_many_threads_give_the_same_bits_and_others_the_same_to_rounding(name):
    once = trained(name, 2)
    assert torch.equal(once, trained(name, 2))
    assert torch.allclose(once, trained(name, 1), rtol=1e-2, atol=1e-2)  # Adam's first steps
