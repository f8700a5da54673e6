"""Soft k-means and label propagation: classifiers that learn from unlabelled examples too.

Shapes: n support examples, p unlabelled ones (the pool), m queries, c classes, d features. Vectors
have length one at most, so that d_ij^2, the squared distance of two, lies in 0..4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["SEMI_SUPERVISED", "label_propagation", "soft_k_means"]

SHARPNESS = 10.0
"""Factor on the cosine to a prototype, for the softmax."""

DISTRACTOR_COSINE = 0.4
"""The cosine to every prototype of an example that is as likely of none of the classes: that of the
distractor cluster."""

N_NEIGHBOURS, PROPAGATED = 5, 0.5
"""Edges of an example in the graph; and the share of its score that comes from its neighbours."""

N_STEPS = 10
"""Of both: what a further step of propagation adds is below a thousandth."""

LEAST_SHARE = 1e-6
"""Of a class at a query that no label reaches, so that its logarithm is finite."""


def soft_k_means(support: Tensor, targets: Tensor, pool: Tensor) -> Callable[[Tensor], Tensor]:
    """Prototypes that move to the unlabelled examples near them; a further cluster takes the
    distractors (Ren et al., "Meta-Learning for Semi-Supervised Few-Shot Classification", ICLR 2018,
    arXiv:1803.00676, equations 3 to 5).

    Differs from the paper: similarity is the cosine, so the distractor cluster, which lies at the
    origin, is as near to all examples, and its length-scale is one constant; several steps.

    Args:
        support: Vectors (n, d).
        targets: Their one-hot labels (n, c).
        pool: Vectors (p, d) without labels.

    Returns:
        A function from vectors (m, d) to log-probabilities (m, c).

    Example:
        >>> support, targets = torch.eye(2), torch.eye(2)
        >>> pool = F.normalize(torch.tensor([[1.0, 0.5], [1.0, 0.6]]), dim=1)
        >>> query = F.normalize(torch.tensor([[0.9, 1.0]]), dim=1)
        >>> soft_k_means(support, targets, pool[:0])(query).argmax(1).item()
        1
        >>> soft_k_means(support, targets, pool)(query).argmax(1).item()
        0
    """
    sums = targets.T @ support  # (c, d)
    prototypes = F.normalize(sums, dim=1)
    distractor = pool.new_full((len(pool), 1), SHARPNESS * DISTRACTOR_COSINE)
    for _ in range(N_STEPS):
        logits = torch.cat([SHARPNESS * pool @ prototypes.T, distractor], dim=1)  # (p, c + 1)
        shares = logits.softmax(1)[:, :-1]
        prototypes = F.normalize(sums + shares.T @ pool, dim=1)
    return lambda x: (SHARPNESS * x @ prototypes.T).log_softmax(1)


def label_propagation(support: Tensor, targets: Tensor, pool: Tensor) -> Callable[[Tensor], Tensor]:
    """Labels that spread along the edges of a graph of nearest neighbours: F <- a S F + (1 - a) Y,
    with S the normalised weights (Zhou, Bousquet, Lal, Weston & Schölkopf, "Learning with Local and
    Global Consistency", NeurIPS 2003).

    A query takes the mean of its neighbours' scores (Delalleau, Bengio & Le Roux, "Efficient
    Non-Parametric Function Induction in Semi-Supervised Learning", AISTATS 2005), so it changes
    nothing for other queries.

    An edge weighs exp(-d^2 / s), where s is the mean squared distance to the nearest neighbour.

    Args:
        support, targets, pool: As of `soft_k_means`.

    Returns:
        A function from vectors (m, d) to log-probabilities (m, c).

    Example:
        >>> support, targets = torch.tensor([[0.0], [1.0]]), torch.eye(2)
        >>> pool = torch.linspace(0.05, 0.5, 6)[:, None]
        >>> label_propagation(support, targets, pool)(torch.tensor([[0.6]])).argmax(1).item()
        0
    """
    x = torch.cat([support, pool])
    k = min(N_NEIGHBOURS, len(x) - 1)
    distance = torch.cdist(x, x).square().fill_diagonal_(torch.inf)
    nearest, rows = distance.topk(k, largest=False)  # (n + p, k)
    scale = nearest[:, 0].mean().clamp_min(1e-12)
    weights = torch.zeros_like(distance).scatter_(1, rows, (-nearest / scale).exp())
    weights = torch.maximum(weights, weights.T)
    root = weights.sum(1).clamp_min(1e-12).rsqrt()
    normalised = PROPAGATED * root[:, None] * weights * root
    labels = torch.cat([targets, targets.new_zeros(len(pool), targets.shape[1])])
    labels = spread = (1 - PROPAGATED) * labels  # (n + p, c)
    for _ in range(N_STEPS):
        spread = normalised @ spread + labels

    def log_probabilities(q: Tensor) -> Tensor:
        nearest, rows = torch.cdist(q, x).square().topk(min(N_NEIGHBOURS, len(x)), largest=False)
        edges = (-nearest / scale).softmax(1)
        shares = torch.einsum("mk,mkc->mc", edges, spread[rows])
        return (shares + LEAST_SHARE).log().log_softmax(1)

    return log_probabilities


SEMI_SUPERVISED = {"soft k-means": soft_k_means, "label propagation": label_propagation}
"""The ways to learn from a pool, by name."""
