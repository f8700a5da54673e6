from functools import partial

import pytest
import torch
from torch.optim import Adam

from quickstudy.engine import meta_test, meta_train
from quickstudy.errors import UsageError
from quickstudy.learners import TaNP
from quickstudy.nn import MLP
from quickstudy.tasks import SinusoidTasks, Support
from quickstudy.testing import LearnerContract


def made(n_outputs=1, size=1, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TaNP(MLP((size,), (32, 32)), n_outputs, **options)


class TestTaNP(LearnerContract):
    steps, meta_batch_size, lr = 300, 16, 3e-3

    def make(self, n_way):
        return made(n_way, 8)

    def test_it_can_learn_one_task_by_heart(self):
        self.steps = 80  # one task takes fewer than all
        super().test_it_can_learn_one_task_by_heart()


def test_the_order_of_the_support_does_not_matter():
    learner = made().eval()
    x, y, asked = torch.randn(6, 1), torch.randn(6, 1), torch.randn(4, 1)
    one = learner.adapt(Support(x, y))(asked)
    other = learner.adapt(Support(x.flip(0), y.flip(0)))(asked)
    torch.testing.assert_close(one, other)


def test_a_task_of_no_examples_is_answered():
    learner = made().eval()
    asked = learner.adapt(Support(torch.empty(0, 1), torch.empty(0, 1)))(torch.randn(4, 1))
    assert asked.shape == (4, 1)
    assert bool(torch.isfinite(asked).all())


def test_a_task_is_drawn_towards_the_kind_that_it_is_nearest_to():
    learner = made(n_kinds=2)
    learner.kinds.data = torch.stack([torch.zeros(64), 100 * torch.ones(64)])
    task = torch.full((64,), 99.0)
    torch.testing.assert_close(learner._kind(task), task + 100, atol=0.5, rtol=0)


def test_it_learns_sinusoids():
    learner = made()
    unseen = SinusoidTasks(n_shot=10, n_query=10, seed=1)
    before = meta_test(learner.eval(), unseen, 50).mean
    meta_train(
        learner,
        SinusoidTasks(n_shot=10, n_query=10),
        steps=300,
        meta_batch_size=8,
        optimizer=partial(Adam, lr=3e-3),
        executor="vmap",
    )
    assert meta_test(learner, unseen, 50).mean < 0.5 * before


def test_sizes_that_are_none_are_refused():
    with pytest.raises(UsageError, match="1 or more, got 64, 0 and 10"):
        made(n_layers=0)
