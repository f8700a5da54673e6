"""The ridge head against scikit-learn and the normal equations, on either side of Woodbury."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from quickstudy.engine import meta_test
from quickstudy.engine.executors import Serial, Vmap
from quickstudy.errors import DataError, UsageError
from quickstudy.learners.optimization.r2d2 import R2D2
from quickstudy.nn import MLP, Conv4, Flatten
from quickstudy.tasks import ClassData, EpisodeSampler, SinusoidTasks, Support
from quickstudy.testing import LearnerContract, blob_classes


def make(**options) -> R2D2:
    torch.manual_seed(0)
    return R2D2(MLP((8,), (32, 32)), **options)


class TestR2D2(LearnerContract):
    def make(self, n_way):
        return make()


def task(n_shot, n_way=3):
    return EpisodeSampler(blob_classes(), n_way=n_way, n_shot=n_shot, n_query=4)[0]


@pytest.mark.parametrize("n_shot", [1, 10])  # 3 examples, and 30, of 8 features and an intercept
def test_logits_are_the_scaled_solution_of_scikit_learns_ridge(n_shot):
    episode = task(n_shot).to(torch.float64)
    learner = R2D2(Flatten((8,)), ridge=0.7, scale=3.0).double()
    with torch.no_grad():
        learner.bias.fill_(0.2)
    scores = learner.adapt(episode.support)(episode.query.x)
    ones = np.ones((len(episode.query), 1))
    ridge = Ridge(alpha=0.7, fit_intercept=False).fit(
        np.hstack([episode.support.x.numpy(), ones[:1].repeat(3 * n_shot, axis=0)]),
        np.eye(3)[episode.support.y.numpy()],
    )
    expected = 3 * ridge.predict(np.hstack([episode.query.x.numpy(), ones])) + 0.2
    torch.testing.assert_close(scores.detach(), torch.from_numpy(expected))


def test_both_sides_of_the_identity_agree_where_they_meet():
    """With as many examples as features, one more or fewer takes the other way."""
    torch.manual_seed(0)
    x, y = torch.randn(10, 8).double(), torch.randn(10, 2).double()
    learner = R2D2(Flatten((8,)), ridge=0.3).double()
    for n in (8, 9, 10):
        a = torch.cat([x[:n], torch.ones(n, 1)], dim=1)
        normal = torch.linalg.inv(a.T @ a + 0.3 * torch.eye(9)) @ a.T @ y[:n]
        query = torch.randn(4, 8).double()
        expected = query @ normal[:8] + normal[8]
        torch.testing.assert_close(learner.adapt(Support(x[:n], y[:n]))(query), expected)


def test_meta_gradient_goes_through_the_solution():
    """Against the implicit derivative: dW/d ridge = -(X'X + ridge I)^-1 W."""
    episode = task(5).to(torch.float64)
    learner = R2D2(Flatten((8,)), ridge=0.5, scale=2.0).double()
    x = torch.cat([episode.support.x, torch.ones(15, 1)], dim=1)
    inverse = torch.linalg.inv(x.T @ x + 0.5 * torch.eye(9))
    weights = inverse @ x.T @ F.one_hot(episode.support.y, 3).double()
    query = torch.cat([episode.query.x, torch.ones(12, 1)], dim=1)
    p = (2 * query @ weights).softmax(1) - F.one_hot(episode.query.y, 3)
    expected = (p * (2 * query @ (-inverse @ weights))).sum() / 12 * 0.5
    gradients = learner.meta_gradient(episode).gradients
    torch.testing.assert_close(gradients["log_ridge"], expected)
    expected = (p * (2 * query @ weights)).sum() / 12
    torch.testing.assert_close(gradients["log_scale"], expected)


def test_it_regresses_in_closed_form():
    episode = SinusoidTasks(n_shot=30, n_query=50)[0]
    torch.manual_seed(0)
    learner = R2D2(MLP((1,), (64, 64)), ridge=1e-3).eval()
    report = meta_test(learner, SinusoidTasks(n_shot=30, n_query=50), 20)
    assert report.mean < 0.5 * float(episode.query.y.var())


def test_ways_may_differ_and_one_learner_takes_classes_and_targets():
    learner = make().eval()
    for n_way in (2, 3, 7):
        episode = task(1, n_way)
        assert learner.adapt(episode.support)(episode.query.x).shape == (4 * n_way, n_way)
    assert learner.adapt(Support(torch.rand(4, 8), torch.rand(4, 2)))(torch.rand(3, 8)).shape == (
        3,
        2,
    )


def test_vmap_gives_what_serial_gives():
    episodes = [task(2, 3) for _ in range(3)]
    learner = make().train()
    one, other = Serial()(learner, episodes), Vmap()(learner, episodes)
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(other.gradients[name], gradient, atol=1e-5, rtol=1e-4)


def test_with_batch_norm_and_bfloat16_it_stays_finite_and_the_learner_as_it_was():
    data = blob_classes(6, 6, d=256)
    data = ClassData(data.x.view(-1, 1, 16, 16), data.y, data.names)
    episode = EpisodeSampler(data, n_way=3, n_shot=2, n_query=2)[0]
    torch.manual_seed(0)
    learner = R2D2(Conv4((1, 16, 16), width=4))
    before = copy.deepcopy(learner.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        result = learner.train().meta_gradient(episode)
        scores = learner.eval().adapt(episode.support)(episode.query.x)
    assert scores.dtype == torch.float32
    assert all(g.isfinite().all() for g in result.gradients.values())
    assert all(torch.equal(v, before[k]) for k, v in learner.state_dict().items())


def test_what_it_cannot_do_is_refused():
    with pytest.raises(DataError, match="each of 3 classes"):
        make().adapt(Support(torch.zeros(2, 8), torch.tensor([0, 1]), n_way=3))
    with pytest.raises(DataError, match="got none"):
        make().adapt(Support(torch.zeros(0, 8), torch.zeros(0, 1)))
    with pytest.raises(UsageError, match="positive ridge"):
        make(ridge=0.0)
