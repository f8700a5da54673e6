"""Closed-form answers to a table: what each says of a row, and of a known row without its label."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quickstudy.nn import squared_euclidean

__all__ = ["N_SMOOTHERS", "Columns", "Rows", "fit_smoothers"]

N_SMOOTHERS = 12
"""How many answers `fit_smoothers` gives for each row."""

N_TREES, DEPTH = 100, 4

N_BINS = 8

Kernel = Callable[["Rows"], Tensor]
"""How alike given rows and those of the support are: (n, m)."""


@dataclass(frozen=True)
class Rows:
    """Rows of a table as numbers that know no units.

    Args:
        z: Deviations from the column's mean in the support, in standard deviations, cut off at 5;
            0 where missing. Shape (n, d).
        u: Ranks among the support, of mean 0 and about unit variance; 0 where missing.
        missing: Whether there is no finite value.
    """

    z: Tensor
    u: Tensor
    missing: Tensor

    @property
    def both(self) -> Tensor:
        """Deviations and ranks, shape (n, 2 d)."""
        return torch.cat([self.z, self.u], 1) / math.sqrt(2)


class Columns:
    """What the support tells of each column: mean, deviation, ranks.

    Args:
        x: Shape (m, d); NaN and infinite values are missing.
    """

    def __init__(self, x: Tensor) -> None:
        missing = ~x.isfinite()
        self._count = (~missing).sum(0).clamp(min=1)
        x = x.masked_fill(missing, 0)
        self._mean = x.sum(0) / self._count
        square = (x - self._mean).masked_fill(missing, 0).square().sum(0) / self._count
        self._width = square.sqrt() + 1e-6 * (1 + self._mean.abs())
        self._sorted = x.masked_fill(missing, torch.inf).sort(0).values.T.contiguous()

    def __call__(self, x: Tensor) -> Rows:
        missing = ~x.isfinite()
        x = x.masked_fill(missing, 0)
        z = ((x - self._mean) / self._width).clamp(-5, 5)
        at = x.T.contiguous()
        below = torch.searchsorted(self._sorted, at) + torch.searchsorted(
            self._sorted, at, right=True
        )
        rank = (below.T / (2 * self._count)).clamp(max=1).to(x.dtype)
        u = math.sqrt(3) * (2 * rank - 1)
        return Rows(z.masked_fill(missing, 0), u.masked_fill(missing, 0), missing)


def fit_smoothers(support: Rows, onehot: Tensor) -> tuple[Tensor, Callable[[Rows], Tensor]]:
    """Fit all of them to a support set.

    They are ridge regressions of the classes' indicators, each with a weak and a strong penalty
    where two are given, on: the columns; a Gaussian kernel; a Laplace kernel; the same after each
    column is scaled by how much its first answer changes along it, or all are rotated so
    (Radhakrishnan, Beaglehole, Pandit & Belkin 2024, "Mechanism for feature learning in neural
    networks and backward-free machine learning models", Science 383, equation 3: recursive feature
    machines); the share of 100 random trees that put two rows in one leaf. And: the nearest rows,
    and a naive Bayes classifier of binned columns. A known row's answer leaves out its label, in
    closed form (Allen 1974, "The relationship between variable selection and data augmentation and
    a method for prediction"). The classes' shares, scales of columns and weights of trees are those
    of all rows, so the answers are features for a network that is meta-trained on them, and no
    estimate of error.

    Args:
        support: The support, m rows.
        onehot: Its labels, shape (m, n_way).

    Returns:
        The answers for the support, (m, N_SMOOTHERS, n_way), each near to probabilities, and a
        function that gives them for other rows.
    """
    share = onehot.mean(0)
    targets = onehot - share
    first = _laplace(support.both)
    answers = _ridge(first(support), targets, 0.5)[1]
    products = _gradient_products(first(support), support.both, answers)
    scale = products.diagonal().sqrt()
    scale = (scale / scale.mean().clamp(min=1e-9)).clamp(min=0.02).sqrt()
    scaled = _laplace(support.both, scale.diag())
    rotation = torch.eye(len(products), dtype=products.dtype, device=products.device)
    for _ in range(2):
        rotation = rotation @ _fourth_root(products)
        rotated = _laplace(support.both, rotation)
        answers = _ridge(rotated(support), targets, 0.5)[1]
        products = _gradient_products(rotated(support), support.both @ rotation, answers)
    m = len(onehot)
    kernels: list[tuple[Kernel, tuple[float, ...]]] = [
        (_linear(support.both), (1.0, 0.2 * m)),
        (_gaussian(support.both), (0.1,)),
        (first, (0.05, 0.5)),
        (scaled, (0.5,)),
        (rotated, (0.05, 0.5)),
        (_forest(support, onehot, scale), (0.3, 1.5)),
    ]
    left_out, fitted = [], []
    for kernel, penalties in kernels:
        gram = kernel(support)
        solved = [_ridge(gram, targets, penalty) for penalty in penalties]
        left_out += [share + without for without, _ in solved]
        fitted.append((kernel, torch.stack([a for _, a in solved])))
    others = (_nearest(support.both, onehot), _naive_bayes(support, onehot))
    left_out += [without for without, _ in others]

    def answer(queries: Rows) -> Tensor:
        ridges = [share + kernel(queries) @ a for kernel, a in fitted]  # (penalties, n, n_way)
        rest = torch.stack([predict(queries) for _, predict in others])
        return torch.cat([*ridges, rest]).transpose(0, 1)

    return torch.stack(left_out, 1), answer


def _ridge(gram: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Kernel ridge regression: the fit of each row without it, and the coefficients a, (m, k)."""
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram + penalty * eye))
    a = inverse @ targets
    return targets - a / inverse.diagonal()[:, None], a


def _linear(known: Tensor) -> Kernel:
    return lambda rows: 1 + rows.both @ known.T


def _gaussian(known: Tensor) -> Kernel:
    distance = _distances(known)
    return lambda rows: torch.exp(-2 * distance(rows.both).square())


def _laplace(known: Tensor, rotation: Tensor | None = None) -> Kernel:
    """exp(-|a - b|), in units of the mean distance, after `rotation` if any."""
    if rotation is None:
        distance = _distances(known)
        return lambda rows: torch.exp(-distance(rows.both))
    distance = _distances(known @ rotation)
    return lambda rows: torch.exp(-distance(rows.both @ rotation))


def _distances(known: Tensor) -> Callable[[Tensor], Tensor]:
    """Distances to known rows, of which the mean of two is 1."""
    m = len(known)
    mean = squared_euclidean(known, known).clamp(min=0).sqrt().sum() / max(m * (m - 1), 1) + 1e-9
    return lambda x: squared_euclidean(x, known).clamp(min=0).sqrt() / mean


def _gradient_products(gram: Tensor, known: Tensor, a: Tensor) -> Tensor:
    """The sum over rows and classes of g g', with g the gradient of sum_k a_k exp(-|x - x_k|),
    but for a factor: (d, d)."""
    weight = gram / (1e-3 - gram.clamp(min=1e-12).log())
    weight = weight - weight.diagonal().diag()
    g = torch.einsum("ik,kc,kj->icj", weight, a, known) - (weight @ a)[..., None] * known[:, None]
    g = g.flatten(0, 1)
    return g.T @ g


def _fourth_root(square: Tensor) -> Tensor:
    """Of a symmetric matrix, in units of its mean diagonal."""
    eye = torch.eye(len(square), dtype=square.dtype, device=square.device)
    values, vectors = torch.linalg.eigh(
        square / square.diagonal().mean().clamp(min=1e-12) + 1e-3 * eye
    )
    return vectors * values.clamp(min=1e-4) ** 0.25 @ vectors.T


def _forest(support: Rows, onehot: Tensor, scale: Tensor) -> Kernel:
    """The weighted share of trees in which two rows end in one leaf.

    A tree compares the same four columns of every row with a rank each. Columns are drawn by
    their scale, and a tree weighs by how much better than the classes' shares its leaves do.
    """
    generator = torch.Generator().manual_seed(0)
    draws, ranks = torch.rand(2, N_TREES, DEPTH, generator=generator).to(onehot)
    d = support.u.shape[1]
    chance = scale[:d].square() + scale[d:].square()
    chance = chance / chance.sum() + 0.25 / d
    cumulated = (chance / chance.sum()).cumsum(0)
    columns = torch.searchsorted(cumulated, draws).clamp(max=d - 1)
    at = 1.6 * (2 * ranks - 1)
    powers = 2 ** torch.arange(DEPTH, device=columns.device)

    def leaves(rows: Rows) -> Tensor:
        leaf = ((rows.u[:, columns] > at) * powers).sum(-1)  # (n, trees)
        return (leaf[..., None] == torch.arange(2**DEPTH, device=leaf.device)).to(onehot)

    known = leaves(support)
    counts = torch.einsum("mtl,mc->tlc", known, onehot)
    others = torch.einsum("mtl,tlc->mtc", known, counts) - onehot[:, None]
    share = onehot.mean(0)
    guess = (others + share) / (others.sum(-1, keepdim=True) + 1)
    error = (guess - onehot[:, None]).square().sum(-1).mean(0)
    plain = (share - onehot).square().sum(-1).mean()
    weight = (1 - error / plain.clamp(min=1e-9)).clamp(min=0) + 0.01
    root = (weight / weight.sum()).sqrt()[:, None]
    known = (known * root).flatten(1)
    return lambda rows: (leaves(rows) * root).flatten(1) @ known.T


def _nearest(known: Tensor, onehot: Tensor) -> tuple[Tensor, Callable[[Rows], Tensor]]:
    """The mean of labels, by a steep function of distance."""
    distance = _distances(known)

    def weights(distances: Tensor) -> Tensor:
        return (-12 * distances.square()).softmax(1)

    self_excluded = distance(known) + 1e3 * torch.eye(len(known)).to(known)
    return weights(self_excluded) @ onehot, lambda rows: weights(distance(rows.both)) @ onehot


def _naive_bayes(support: Rows, onehot: Tensor) -> tuple[Tensor, Callable[[Rows], Tensor]]:
    """Columns in bins of equal size and one for missing values, evidence divided by sqrt(d)."""
    d = support.u.shape[1]

    def bins(rows: Rows) -> Tensor:
        rank = rows.u / math.sqrt(3) / 2 + 0.5
        bin_ = (rank * N_BINS).long().clamp(max=N_BINS - 1).masked_fill(rows.missing, N_BINS)
        return (bin_[..., None] == torch.arange(N_BINS + 1, device=bin_.device)).to(onehot)

    def posterior(counts: Tensor, totals: Tensor) -> Tensor:
        likelihood = (counts + 1) / (totals[:, None] + N_BINS + 1)  # (n, d, n_way)
        return (likelihood.log().sum(1) / math.sqrt(d) + (totals + 0.5).log()).softmax(1)

    known = bins(support)
    table = torch.einsum("mdb,mc->dbc", known, onehot)
    totals = onehot.sum(0)
    without_own = torch.einsum("mdb,dbc->mdc", known, table) - onehot[:, None]

    def predict(rows: Rows) -> Tensor:
        counts = torch.einsum("ndb,dbc->ndc", bins(rows), table)
        return posterior(counts, totals.expand(len(counts), -1))

    return posterior(without_own, totals - onehot), predict
