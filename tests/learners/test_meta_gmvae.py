"""Meta-GMVAE against distributions of PyTorch, and loops."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.optim import Adam

from quickstudy import CopyTasks, EpisodeSampler, UnlabelledData, meta_test, meta_train
from quickstudy.errors import UsageError
from quickstudy.learners import MetaGMVAE
from quickstudy.learners.model.meta_gmvae import _expected_log_density, fit_mixture
from quickstudy.nn import MLP, Conv4
from quickstudy.tasks import Batch, Episode, Support
from quickstudy.testing import LearnerContract, blob_classes


def gmvae(**options) -> MetaGMVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MetaGMVAE(MLP((8,), (32,)), **{"size": 4, "hidden": 32, **options})


class TestMetaGMVAE(LearnerContract):
    steps = 0  # it reads no label in training
    exact_gradient = False  # the mixture is fitted to the draws, and not differentiated

    def make(self, n_way):
        return gmvae()


def distort(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The second half of a blob's features says nothing of its class."""
    x = x + 0.25 * torch.randn(x.shape, generator=generator)
    x[:, 4:] = 2 * torch.randn(len(x), 4, generator=generator)
    return x


def _episode() -> Episode:
    return EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=5)[0]


def draws(n: int, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mixture(means: torch.Tensor, weights: torch.Tensor) -> MixtureSameFamily:
    components = Independent(Normal(means, 1.0), 1)
    return MixtureSameFamily(Categorical(weights), components)


def test_em_ends_where_the_likelihood_of_the_mixture_has_no_slope():
    z = 2 * draws(40)
    means, weights = fit_mixture(z, 3, steps=500)
    means.requires_grad_()
    likelihood = mixture(means, weights).log_prob(z).sum()
    assert torch.autograd.grad(likelihood, means)[0].abs().max() < 1e-6
    start = mixture(*fit_mixture(z, 3, steps=1)).log_prob(z).sum()
    assert likelihood > start


def test_the_loss_is_the_negative_evidence_lower_bound():
    learner = gmvae(n_components=2).double().train()
    episode = _episode().to(torch.float64)
    x = torch.cat([episode.support.x, episode.query.x])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        loss = learner.loss(episode)
        torch.manual_seed(1)
        mean, log_variance = learner.posterior(learner.backbone(x))
        q = Independent(Normal(mean, (log_variance / 2).exp()), 1)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
    prior = mixture(*fit_mixture(z.detach(), 2))
    likelihood = Independent(Normal(learner.decoder(z), 1.0), 1).log_prob(x)
    constant = 4 * torch.log(torch.tensor(2 * torch.pi))  # of 8 features, left out
    expected = -(likelihood + constant + prior.log_prob(z) - q.log_prob(z)).mean()
    # The densities of z have as many constants in q as in the prior.
    torch.testing.assert_close(loss, expected)


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
    mean, log_variance, means = draws(2), -1 + 0.3 * draws(2), draws(3)
    variances = (0.2 * draws(3)).exp()
    scores = _expected_log_density(mean, log_variance, means, variances)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = Normal(mean, (log_variance / 2).exp()).sample(torch.Size([100_000]))  # (S, n, d)
    density = Independent(Normal(means, variances.sqrt()), 1).log_prob(z[:, :, None]).mean(0)
    differences = (scores - density).detach()  # a constant
    torch.testing.assert_close(differences, differences[:1, :1].expand(2, 3), atol=0.02, rtol=0)


def test_unlabelled_examples_move_the_classes_and_labelled_ones_stay():
    learner = gmvae(em_steps=200)
    mean = torch.tensor([[0.0, 0.0], [10.0, 0.0], [2.0, 0.0], [13.0, 0.0]])
    log_variance = torch.zeros(4, 2)
    means, variances = learner._fit_classes(mean, log_variance, torch.eye(2))
    torch.testing.assert_close(means, torch.tensor([[1.0, 0.0], [11.5, 0.0]]))
    torch.testing.assert_close(variances, torch.tensor([[2.0, 1.0], [3.25, 1.0]]))
    # Two labelled examples of each class lie nearer to the other one, and keep their labels.
    mean = torch.tensor([[0.0], [9.0], [10.0], [1.0]])
    onehot = torch.eye(2).repeat_interleave(2, 0)
    means, _ = learner._fit_classes(mean, torch.zeros(4, 1), onehot)
    torch.testing.assert_close(means, torch.tensor([[4.5], [5.5]]))


def test_together_queries_are_unlabelled_examples():
    """Alone, a query is scored as it is among others; many are scored in parts."""
    learner, episode = gmvae().eval(), _episode()
    x = episode.query.x
    alone, many = learner.adapt(episode.support)(x[:1]), learner.adapt(episode.support)
    torch.testing.assert_close(alone, many(x.repeat(20, 1))[:1])
    learner.transductive = True
    together = learner.adapt(episode.support)
    assert not torch.allclose(together(x)[:1], together(x[:2])[:1])


def test_unlabelled_examples_change_the_classes():
    learner, episode = gmvae().eval(), _episode()
    with_pool = replace(episode.support, unlabelled=episode.query.x)
    scores = [learner.adapt(s)(episode.query.x) for s in (episode.support, with_pool)]
    assert not torch.allclose(*scores)


def test_trained_without_labels_it_knows_new_classes():
    unseen = EpisodeSampler(blob_classes(60, seed=1), n_way=5, n_shot=1, n_query=5)
    pool = UnlabelledData(blob_classes(200).x)
    copies = CopyTasks(pool, n_way=8, n_query=7, augment=distort, augment_support=True)
    learner = gmvae()
    before = meta_test(learner, unseen, 100).mean
    meta_train(
        learner,
        copies,
        steps=150,
        optimizer=partial(Adam, lr=1e-2),
        precision="float32",
        show_progress=False,
    )
    after = meta_test(learner, unseen, 100).mean
    print(before, after)
    assert after > before + 0.1


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 20)])
def test_images_are_decoded_to_their_own_shape(shape):
    learner = MetaGMVAE(Conv4(shape, width=4), size=4, hidden=8)
    assert learner.decoder(torch.zeros(2, 4)).shape == (2, *shape)


def test_what_it_cannot_use_is_refused():
    with pytest.raises(UsageError, match="em_steps of 1 or more"):
        gmvae(em_steps=0)
    backbone = nn.Linear(3, 4)
    backbone.out_features = 4
    with pytest.raises(UsageError, match="in_shape"):
        MetaGMVAE(backbone)
    with pytest.raises(Exception, match="at least one example of each"):
        gmvae().adapt(Support(torch.zeros(1, 8), torch.tensor([0]), n_way=2))
