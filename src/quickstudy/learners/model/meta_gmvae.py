"""Meta-GMVAE: a variational autoencoder whose prior is a mixture of Gaussians, fitted to each task.

Lee, Min, Lee & Hwang, "Meta-GMVAE: Mixture of Gaussian VAE for Unsupervised Meta-Learning", ICLR
2021. n is the number of examples of a set, k of components, d the size of a latent vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_every_class,
    encode_targets,
    feature_size,
    input_shape,
)
from quickstudy.nn import attention, full_precision, squared_euclidean, visible, widen
from quickstudy.tasks import Episode, Support

__all__ = ["MetaGMVAE", "fit_mixture"]

QUERIES_AT_ONCE = 256

HEADS = 4
"""Of the attention over a set."""

FIRST_LOG_VARIANCE = -3.0
"""Of the posterior; with unit variance, the decoder would at first see little but noise."""


class MetaGMVAE(Learner):
    """Meta-GMVAE, which learns from sets of examples without their labels.

    In training, all examples of a task are one set D; labels are not read. Attention over the set
    makes the posterior q(z|x, D), a diagonal Gaussian. EM fits a mixture of Gaussians of unit
    variance to draws z from all posteriors (`fit_mixture`), and is not differentiated. The loss is

        -log p(x|z) + max(KL, free_nats),   KL = E log q(z|x, D) - log sum_j pi_j N(z; mu_j, I)

    averaged over the set: the negative evidence lower bound, as long as the KL is above
    `free_nats`. Below, the KL costs nothing, which keeps the posterior from collapsing to the prior
    (the free bits of Kingma et al., "Improved Variational Inference with Inverse Autoregressive
    Flow", NeurIPS 2016, arXiv:1606.04934).

    To adapt, the classes are Gaussians of unit variance around the means of their examples. Where
    there are unlabelled examples, EM goes on from there: support examples keep their labels,
    unlabelled ones get soft labels, and each class has its own variances. A query's scores are the
    expected log-densities of the classes under its posterior.

    The decoder takes pixels of images for Bernoulli variables, so those below 0 count as 0 and
    those above 1 as 1; other inputs are Gaussian, of unit variance.

    Differs from the paper:
        - A query is predicted alone, unless `transductive`, which is the paper's protocol.
        - One draw of each example is decoded in training, not all; `n_draws` of them make the
          mixture and the KL. A task of the same examples has the same draws again.
        - To adapt, expectations over the posterior are in closed form.
        - `free_nats`, and a posterior that starts narrow; the paper takes 60,000 steps.
        - The decoder has fully connected layers, not transposed convolutions.

    Args:
        backbone: Maps inputs (n, ...) to features (n, m).
        n_components: Of the mixture in training; the ways of the task by default.
        size: Length of the latent vectors, d.
        hidden: Width of the attention, a multiple of its 4 heads.
        decoder_width: Of both hidden layers of the decoder.
        em_steps: Of EM, in training and to adapt.
        n_draws: From each posterior in training.
        free_nats: KL that costs nothing; 0 is the paper's bound.
        transductive: Whether the queries that are predicted in one call are unlabelled examples,
            and attend to each other. A prediction then depends on the other queries.

    Raises:
        UsageError: If a number is out of range, or the backbone has no `in_shape` or
            `out_features`.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = MetaGMVAE(MLP((4,)), size=8, hidden=16).eval()
        >>> support = Support(torch.eye(4), torch.arange(4), n_way=4)
        >>> learner.adapt(support)(torch.eye(4)).shape
        torch.Size([4, 4])
    """

    uses_unlabelled = True

    def __init__(
        self,
        backbone: nn.Module,
        n_components: int | None = None,
        size: int = 64,
        hidden: int = 256,
        decoder_width: int = 512,
        em_steps: int = 10,
        n_draws: int = 16,
        free_nats: float = 10.0,
        transductive: bool = False,
    ) -> None:
        super().__init__()
        counts = {"n_components": n_components or 1, "size": size, "decoder_width": decoder_width}
        counts |= {"em_steps": em_steps, "n_draws": n_draws}
        if low := [f"{name}={count}" for name, count in counts.items() if count < 1]:
            raise UsageError(f"expected numbers of 1 or more, got {', '.join(low)}")
        if free_nats < 0 or hidden < 1 or hidden % HEADS:
            raise UsageError(
                f"expected free_nats of 0 or more and a multiple of {HEADS} as hidden, got "
                f"{free_nats} and {hidden}"
            )
        self.n_components, self.em_steps, self.n_draws = n_components, em_steps, n_draws
        self.free_nats, self.transductive = free_nats, transductive
        self.backbone = backbone
        self.project = nn.Linear(feature_size(backbone), hidden)
        self.attention = nn.ModuleList([_SetAttention(hidden), _SetAttention(hidden)])
        self.posterior_head = nn.Linear(hidden, 2 * size)
        with torch.no_grad():
            self.posterior_head.weight[:size] *= 2
            self.posterior_head.weight[size:] /= 10
            self.posterior_head.bias[size:] = FIRST_LOG_VARIANCE
        shape = input_shape(backbone)
        self.of_images = len(shape) == 3
        self.decoder = _decoder(shape, size, decoder_width)

    def check(self, support: Support) -> None:
        check_every_class(support)

    def posterior(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(z|x, D), each (n, d), of the features (n, m) of a set.

        Args:
            mask: Who attends to whom, bool (n, n); all to all by default.
        """
        h = self.project(features)
        for block in self.attention:
            h = block(h, mask)
        mean, log_variance = widen(self.posterior_head(h)).chunk(2, dim=1)
        return mean, log_variance.exp()

    def loss(self, episode: Episode) -> Tensor:
        x = torch.cat([episode.support.x, episode.query.x])
        mean, variance = self.posterior(self.backbone(x))
        generator = _generator_of(x)
        shape = self.n_draws, *mean.shape
        noise = torch.randn(shape, generator=generator, dtype=mean.dtype, device=mean.device)
        z = mean + variance.sqrt() * noise  # (n_draws, n, d)
        decoded = widen(self.decoder(z[0]))
        with full_precision(z):
            if self.of_images:
                pixels = x.clamp(0, 1)
                nll = F.binary_cross_entropy_with_logits(decoded, pixels, reduction="none")
            else:
                nll = (decoded - x).square() / 2  # up to a constant
            # The constants of both densities of z are left out, which are the same.
            log_q = -(noise.square() + variance.log()).sum(2) / 2  # (n_draws, n)
            log_p = self._log_prior(z.flatten(0, 1), episode.n_way or 1, generator)
            divergence = log_q.mean() - log_p.mean()
            return nll.flatten(1).sum(1).mean() + divergence.clamp_min(self.free_nats)

    def _log_prior(self, z: Tensor, n_way: int, generator: torch.Generator) -> Tensor:
        """Log-density of draws (n, d) under the mixture that EM fits to them, (n,)."""
        order = torch.randperm(len(z), generator=generator, device=z.device)
        start = order[: self.n_components or n_way]
        with torch.no_grad():
            means, weights = fit_mixture(z, z[start], self.em_steps)
        return (weights.log() - squared_euclidean(z, means) / 2).logsumexp(1)

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        labelled, others = support.x, support.unlabelled
        known = self.backbone(labelled if others is None else torch.cat([labelled, others]))
        onehot = encode_targets(support.y, support.n_way or 0, widen(known))  # (n, k)

        def predict_together(x: Tensor) -> Tensor:
            mean, variance = self.posterior(torch.cat([known, self.backbone(x)]))
            classes = fit_classes(mean, variance, onehot, self.em_steps)
            return _expected_log_density(mean[len(known) :], variance[len(known) :], *classes)

        if self.transductive:
            return predict_together
        classes = fit_classes(*self.posterior(known), onehot, self.em_steps)

        def predict(x: Tensor) -> Tensor:
            mask = visible(len(known), len(x)).to(x.device)
            mean, variance = self.posterior(torch.cat([known, self.backbone(x)]), mask)
            return _expected_log_density(mean[len(known) :], variance[len(known) :], *classes)

        return lambda x: torch.cat([predict(part) for part in x.split(QUERIES_AT_ONCE)])


def fit_mixture(z: Tensor, means: Tensor, steps: int = 10) -> tuple[Tensor, Tensor]:
    """Fit a mixture of Gaussians of unit variance by EM, from equal weights.

    Args:
        z: Shape (n, d).
        means: Those to start from, (k, d).
        steps: Of EM.

    Returns:
        Means (k, d) and weights (k,).

    Example:
        >>> z = torch.tensor([[0.0], [9.0], [9.0], [9.0]])
        >>> means, weights = fit_mixture(z, z[:2])
        >>> means.round().flatten(), weights
        (tensor([0., 9.]), tensor([0.2500, 0.7500]))
    """
    weights = z.new_full((len(means),), 1 / len(means))
    for _ in range(steps):
        shares = (weights.log() - squared_euclidean(z, means) / 2).softmax(1)  # (n, k)
        counts = shares.sum(0).clamp_min(1e-6)
        means, weights = shares.T @ z / counts[:, None], counts / counts.sum()
    return means, weights


def fit_classes(
    mean: Tensor, variance: Tensor, onehot: Tensor, steps: int = 10
) -> tuple[Tensor, Tensor]:
    """Fit a Gaussian to each class by semi-supervised EM; all classes are as likely.

    Args:
        mean: Of the posteriors, those of labelled examples first, (n, d).
        variance: Of the posteriors, (n, d).
        onehot: Labels of the first ones, (n_labelled, k).
        steps: Of EM, if there are unlabelled examples.

    Returns:
        Means and variances, (k, d) each. The variances are 1 without unlabelled examples.

    Example:
        >>> mean = torch.tensor([[0.0], [9.0], [1.0]])
        >>> fit_classes(mean, torch.ones(3, 1), torch.eye(2))[0]
        tensor([[0.5000],
                [9.0000]])
    """
    n = len(onehot)
    with full_precision(mean):
        means = onehot.T @ mean[:n] / onehot.sum(0)[:, None]
        variances = torch.ones_like(means)
        for _ in range(steps if len(mean) > n else 0):
            scores = _expected_log_density(mean[n:], variance[n:], means, variances)
            shares = torch.cat([onehot, scores.softmax(1)])  # (n, k)
            shares = shares / shares.sum(0)
            means = shares.T @ mean
            squares = (mean[:, None] - means).square() + variance[:, None]  # (n, k, d)
            variances = (shares[..., None] * squares).sum(0)
        return means, variances


def _expected_log_density(
    mean: Tensor, variance: Tensor, means: Tensor, variances: Tensor
) -> Tensor:
    """E log N(z; means, variances) over z ~ N(mean, variance), up to a constant: (n, k)."""
    with full_precision(mean):
        squares = (mean[:, None] - means).square() + variance[:, None]  # (n, k, d)
        return -(squares / variances + variances.log()).sum(2) / 2


def _generator_of(x: Tensor) -> torch.Generator:
    """A generator for draws that depend on the examples alone, so that a task has the same draws
    in whatever order and by whatever executor tasks are computed."""
    bits = x.detach().float().contiguous().view(torch.int32)
    seed = int(bits.sum(dtype=torch.int64).item()) & (2**63 - 1)
    return torch.Generator(x.device).manual_seed(seed)


class _SetAttention(nn.Module):
    """Self-attention over the examples of a set, and a layer on each: (n, width) -> (n, width).

    Lee et al., "Set Transformer", ICML 2019, arXiv:1810.00825, without layer norm.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.layer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor, mask: Tensor | None) -> Tensor:
        query = self.query(h)
        read = attention(_heads(query), _heads(self.key(h)), _heads(self.value(h)), mask)
        h = query + read.transpose(0, 1).flatten(1)
        return h + self.layer(h).relu()


def _heads(h: Tensor) -> Tensor:
    return h.unflatten(1, (HEADS, -1)).transpose(0, 1)  # (n, width) -> (heads, n, width / heads)


def _decoder(shape: Sequence[int], size: int, width: int) -> nn.Module:
    """Latent vectors (n, size) to examples (n, *shape), or logits of their pixels."""
    return nn.Sequential(
        nn.Linear(size, width),
        nn.ELU(),
        nn.Linear(width, width),
        nn.ELU(),
        nn.Linear(width, math.prod(shape)),
        nn.Unflatten(1, tuple(shape)),
    )
