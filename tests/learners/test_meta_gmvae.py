"""Meta-GMVAE against scikit-learn, distributions of PyTorch, and a model with a closed form."""

import math
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)
from torch.optim import Adam

from quickstudy import CopyTasks, EpisodeSampler, UnlabelledData, meta_test, meta_train
from quickstudy.errors import DataError, UsageError
from quickstudy.learners import MetaGMVAE
from quickstudy.learners.model.meta_gmvae import (
    _expected_log_density,
    _generator_of,
    fit_classes,
    fit_mixture,
)
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import Batch, ClassData, Episode, Support
from quickstudy.tasks.augment import add_noise
from quickstudy.testing import LearnerContract, blob_classes


def gmvae(**options) -> MetaGMVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"size": 4, "hidden": 32, "decoder_width": 32, **options}
        return MetaGMVAE(MLP((8,), (32,)), **options)


class TestMetaGMVAE(LearnerContract):
    steps = 0  # it reads no label in training
    exact_gradient = False  # the mixture is fitted to the draws, and not differentiated

    def make(self, n_way):
        return gmvae()


def _episode() -> Episode:
    return EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=5)[0]


def _points(n: int, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_em_takes_the_steps_of_scikit_learn():
    """Whose variances are set to one before each step, as it fits them too."""
    z = 2 * _points(60)
    means: Any = z[:4].numpy()
    weights: Any = np.full(4, 1 / 4)
    for _ in range(5):
        start: dict[str, Any] = {
            "means_init": means,
            "weights_init": weights,
            "precisions_init": np.ones(4),
        }
        peer = GaussianMixture(4, covariance_type="spherical", max_iter=1, **start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            peer.fit(z.numpy())
        means, weights = peer.means_, peer.weights_
    ours = fit_mixture(z, z[:4], steps=5)
    np.testing.assert_allclose(ours[0].numpy(), means, rtol=1e-6)
    np.testing.assert_allclose(ours[1].numpy(), weights, rtol=1e-6)


def test_the_bound_is_tight_for_a_linear_model_at_its_exact_posterior():
    """x = W z + b + noise with orthogonal columns of W, so that the posterior is diagonal."""
    w = torch.zeros(8, 2, dtype=torch.float64)
    w[1, 0], w[4, 1] = 1.5, 0.7
    model = MultivariateNormal(torch.ones(8).double(), w @ w.T + torch.eye(8))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = model.sample(torch.Size([5000]))
    learner = gmvae(size=2, n_components=1, n_draws=1, free_nats=0.0).double()
    learner.decoder = nn.Linear(2, 8).double()
    with torch.no_grad():
        learner.decoder.weight.copy_(w)
        learner.decoder.bias.fill_(1.0)
    variance = 1 / (1 + w.square().sum(0))
    mean = (x - 1) @ w * variance
    learner.posterior = lambda features, mask=None: (mean, variance.expand_as(mean))
    y = torch.zeros(2500, dtype=torch.int64)
    episode = Episode(Support(x[:2500], y, 1), Batch(x[2500:], y))
    bound = -learner.loss(episode).item() - 4 * math.log(2 * math.pi)  # of 8 features, left out
    assert math.isclose(bound, float(model.log_prob(x).mean()), abs_tol=2e-3)


def test_the_divergence_is_that_of_distributions():
    learner, episode = gmvae(n_components=2, free_nats=0.0).double(), _episode().to(torch.float64)
    x = torch.cat([episode.support.x, episode.query.x])
    loss, drawn = learner.loss(episode), _generator_of(x)
    mean, variance = learner.posterior(learner.backbone(x))
    noise = torch.randn(16, *mean.shape, generator=drawn, dtype=torch.float64)
    start = torch.randperm(16 * len(x), generator=drawn)[:2]
    z = mean + variance.sqrt() * noise
    flat = z.flatten(0, 1)
    means, weights = fit_mixture(flat, flat[start])
    prior = MixtureSameFamily(Categorical(weights), Independent(Normal(means, 1.0), 1))
    posterior = Independent(Normal(mean, variance.sqrt()), 1)
    divergence = (posterior.log_prob(z) - prior.log_prob(z)).mean()
    error = (learner.decoder(z[0]) - x).square().sum(1).mean() / 2
    torch.testing.assert_close(loss, error + divergence)


def test_below_the_free_nats_the_divergence_costs_nothing():
    learner, episode = gmvae(free_nats=1e6), _episode()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        gradients = learner.meta_gradient(episode).gradients
        torch.manual_seed(0)
        costly = gmvae(free_nats=0.0).meta_gradient(episode).gradients
    # Without it, a narrower posterior makes a better reconstruction, and nothing widens it.
    assert gradients["posterior_head.bias"][4:].mean() > costly["posterior_head.bias"][4:].mean()


def test_the_labels_of_a_task_are_not_read():
    learner, episode = gmvae(n_components=3), _episode()
    support, query = episode.support, episode.query
    other = Episode(replace(support, y=support.y.flip(0)), Batch(query.x, query.y.flip(0)))
    losses = []
    for task in (episode, other):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            losses.append(learner.loss(task))
    assert losses[0] == losses[1]


def test_scores_are_expected_log_densities():
    """Against draws."""
    mean, variance, means = _points(2), (-1 + 0.3 * _points(2)).exp(), _points(3)
    variances = (0.2 * _points(3)).exp()
    scores = _expected_log_density(mean, variance, means, variances)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = Normal(mean, variance.sqrt()).sample(torch.Size([100_000]))  # (S, n, d)
    density = Independent(Normal(means, variances.sqrt()), 1).log_prob(z[:, :, None]).mean(0)
    torch.testing.assert_close(scores - 1.5 * math.log(2 * math.pi), density, atol=0.02, rtol=0)


def test_classes_end_where_the_likelihood_of_both_kinds_of_examples_has_no_slope():
    z = _points(60) + torch.arange(3.0).repeat(20)[:, None]
    labels = torch.arange(3).repeat(5)
    onehot = torch.eye(3).double()[labels]
    means, variances = fit_classes(z, torch.zeros_like(z), onehot, steps=300)
    means.requires_grad_()
    variances.requires_grad_()
    classes = Independent(Normal(means, variances.sqrt()), 1)
    densities = classes.log_prob(z[:, None])  # (n, k)
    labelled = densities[:15].gather(1, labels[:, None]).sum()
    likelihood = labelled + densities[15:].logsumexp(1).sum()
    slopes = torch.autograd.grad(likelihood, [means, variances])
    assert max(slope.abs().max() for slope in slopes) < 1e-5


def test_without_unlabelled_examples_the_variances_are_one():
    """Those of a class with one example would be its posterior's, which says nothing of others."""
    mean = torch.tensor([[0.0], [9.0]])
    means, variances = fit_classes(mean, torch.full((2, 1), 0.01), torch.eye(2))
    assert torch.equal(means, mean)
    assert torch.equal(variances, torch.ones(2, 1))


def test_labelled_examples_keep_their_labels():
    mean = torch.tensor([[0.0], [9.0], [10.0], [1.0], [5.0]])
    onehot = torch.eye(2).repeat_interleave(2, 0)
    means, _ = fit_classes(mean, torch.ones(5, 1), onehot)
    assert 4.5 < means[0] < 5.0
    assert 5.0 < means[1] < 5.5


def test_together_queries_are_unlabelled_examples():
    """Alone, a query is scored as it is among others; many are scored in parts."""
    learner, episode = gmvae().eval(), _episode()
    x = episode.query.x
    alone, many = learner.adapt(episode.support)(x[:1]), learner.adapt(episode.support)
    torch.testing.assert_close(alone, many(x.repeat(20, 1))[:1])
    learner.transductive = True
    together = learner.adapt(episode.support)
    assert not torch.allclose(together(x)[:1], together(x[:2])[:1])
    pool = replace(episode.support, unlabelled=x)
    learner.transductive = False
    assert not torch.allclose(learner.adapt(pool)(x), many(x))


def _classes_in_a_plane(n_classes: int, seed: int) -> ClassData:
    """Classes that differ along 3 of 32 directions, under noise along all."""
    plane = torch.linalg.qr(_points(32).float()).Q  # (32, 3)
    generator = torch.Generator().manual_seed(seed)
    centre = 4 * torch.randn(n_classes, 1, 3, generator=generator)
    x = centre @ plane.T + torch.randn(n_classes, 20, 32, generator=generator)
    y = torch.arange(n_classes).repeat_interleave(20)
    return ClassData(x.flatten(0, 1), y, [str(c) for c in range(n_classes)])


def test_trained_without_labels_it_knows_new_classes():
    unseen = EpisodeSampler(_classes_in_a_plane(60, 1), n_way=5, n_shot=1, n_query=5)
    pool = UnlabelledData(_classes_in_a_plane(200, 0).x)
    copies = CopyTasks(pool, n_way=8, n_query=4, augment=add_noise)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        learner = MetaGMVAE(MLP((32,), (32,)), size=4, hidden=32, decoder_width=32, n_draws=4)
    before = meta_test(learner, unseen, 100).mean
    options = {"optimizer": partial(Adam, lr=1e-2), "precision": "float32", "show_progress": False}
    meta_train(learner, copies, steps=100, executor="serial", **options)
    after = meta_test(learner, unseen, 100).mean
    learner.transductive = True
    together = meta_test(learner, unseen, 100).mean
    assert after > before + 0.2
    assert together > after


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 20)])
def test_images_are_decoded_to_their_own_shape(shape):
    learner = MetaGMVAE(Conv4(shape, width=4), size=4, hidden=8)
    assert learner.decoder(torch.zeros(2, 4)).shape == (2, *shape)


def test_what_it_cannot_use_is_refused():
    with pytest.raises(UsageError, match="em_steps=0"):
        gmvae(em_steps=0)
    with pytest.raises(UsageError, match="free_nats"):
        gmvae(free_nats=-1.0)
    with pytest.raises(UsageError, match="multiple of 4"):
        gmvae(hidden=30)
    backbone = nn.Linear(3, 4)
    backbone.out_features = 4
    with pytest.raises(UsageError, match="in_shape"):
        MetaGMVAE(backbone)
    with pytest.raises(DataError, match="at least one example of each"):
        gmvae().adapt(Support(torch.zeros(1, 8), torch.tensor([0]), n_way=2))
