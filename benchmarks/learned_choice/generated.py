"""Generated classes of numbers: families unlike each other, each with variants of random size.

B rows, C classes, D columns, K latent or informative columns. A family draws the parameters of its
classes and then the rows of labels `y` (B,).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bank import Domain, Jobs, generator

Generator = np.random.Generator
Family = Callable[[Generator, np.ndarray, int], np.ndarray]

N_VARIANTS, MAX_CLASSES, MAX_ROWS = 4, 20, 3000


def with_nuisance(x: np.ndarray, rng: Generator, n: int) -> np.ndarray:
    """Columns x (B, K), and n that no class depends on, in random order."""
    x = np.concatenate([x, x.std() * rng.normal(size=(len(x), n))], 1)
    return x[:, rng.permutation(x.shape[1])]


def whole(rng: Generator, low: int, high: int) -> int:
    """From low to below high."""
    return int(rng.integers(low, high))


def rotation(rng: Generator, n_rows: int, n_columns: int) -> np.ndarray:
    """Orthonormal rows (K, D)."""
    return np.linalg.qr(rng.normal(size=(n_columns, n_rows)))[0].T


def clusters_with_nuisance(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    informative, nuisance = whole(rng, 2, 12), int(np.exp(rng.uniform(0, np.log(100))))
    centres = rng.uniform(1.5, 4) * rng.normal(size=(n_classes, informative))
    return with_nuisance(centres[y] + rng.normal(size=(len(y), informative)), rng, nuisance)


def curved_manifolds(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """A class is a stretch of a curve through D dimensions, by sinusoids of its position."""
    n_columns = whole(rng, 3, 40)
    position = (y + rng.uniform(0, 1, len(y))) / n_classes * rng.uniform(1, 3)  # (B,)
    frequencies, phases = rng.uniform(0.3, 2.5, n_columns), rng.uniform(0, 2 * np.pi, n_columns)
    x = np.sin(2 * np.pi * position[:, None] * frequencies + phases)  # (B, D)
    return x + rng.uniform(0.02, 0.3) * rng.normal(size=x.shape)


def rotated_low_rank(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Few directions tell classes apart, and stronger ones do not; all are rotated."""
    informative, strong, n_columns = whole(rng, 2, 6), whole(rng, 2, 8), whole(rng, 20, 120)
    centres = rng.uniform(1.5, 4) * rng.normal(size=(n_classes, informative))
    latent = np.concatenate(
        [
            centres[y] + rng.normal(size=(len(y), informative)),
            rng.uniform(3, 20) * rng.normal(size=(len(y), strong)),
        ],
        1,
    )
    x = latent @ rotation(rng, latent.shape[1], n_columns)
    return x + 0.1 * rng.normal(size=x.shape)


def heavy_tails(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    n_columns, freedom = whole(rng, 3, 30), rng.uniform(1.0, 3.0)
    centres = rng.uniform(1, 4) * rng.normal(size=(n_classes, n_columns))
    x = centres[y] + rng.standard_t(freedom, size=(len(y), n_columns))
    return np.clip(x, -1e4, 1e4) * np.exp(rng.normal(0, 2, n_columns))


def unequal_scales(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Columns from thousandths to thousands, of which those with small numbers matter as much."""
    n_columns = whole(rng, 4, 30)
    centres = rng.uniform(0.5, 2) * rng.normal(size=(n_classes, n_columns))
    x = centres[y] + rng.normal(size=(len(y), n_columns))
    return (x + 10 * rng.normal(size=n_columns)) * 10 ** rng.uniform(-3, 3, n_columns)


def unequal_spreads(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Classes near each other that differ in how far they spread along each column."""
    n_columns = whole(rng, 2, 20)
    spread = np.exp(rng.normal(0, 1, (n_classes, n_columns)))
    centres = rng.uniform(0, 0.7) * rng.normal(size=(n_classes, n_columns))
    return centres[y] + spread[y] * rng.normal(size=(len(y), n_columns))


def rings(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """A class is a shell about a common centre."""
    dimensions = whole(rng, 2, 8)
    x = rng.normal(size=(len(y), dimensions))
    x *= (1 + y + rng.uniform(0.05, 0.3) * rng.normal(size=len(y)))[:, None] / np.linalg.norm(
        x, axis=1, keepdims=True
    )
    return with_nuisance(x, rng, whole(rng, 0, 6))


def several_clusters_a_class(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    n_columns, modes = whole(rng, 2, 25), whole(rng, 2, 5)
    centres = rng.uniform(2, 5) * rng.normal(size=(n_classes, modes, n_columns))
    x = centres[y, rng.integers(0, modes, len(y))] + rng.normal(size=(len(y), n_columns))
    return with_nuisance(x, rng, whole(rng, 0, 10))


def counts(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Poisson counts, like words of a topic, at unlike lengths."""
    n_columns = whole(rng, 10, 120)
    shared = np.exp(rng.normal(0, 1.5, n_columns))
    rates = shared * np.exp(rng.uniform(0.4, 1) * rng.normal(size=(n_classes, n_columns)))
    length = np.exp(rng.normal(0, 0.5, (len(y), 1))) * rng.uniform(10, 200)
    return rng.poisson(length * rates[y] / rates[y].sum(1, keepdims=True)).astype(np.float64)


def shares(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Parts of a whole, by a Dirichlet distribution."""
    n_columns = whole(rng, 4, 40)
    mean = rng.dirichlet(np.full(n_columns, rng.uniform(0.5, 3)), n_classes)
    drawn = rng.gamma(rng.uniform(10, 60) * mean[y] + 0.05)
    return drawn / drawn.sum(1, keepdims=True)


def binary_prototypes(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Answers yes or no, each turned over now and then."""
    n_columns = whole(rng, 10, 80)
    prototypes = rng.random((n_classes, n_columns)) < rng.uniform(0.1, 0.5)
    flipped = rng.random((len(y), n_columns)) < rng.uniform(0.05, 0.3)
    return (prototypes[y] ^ flipped).astype(np.float64)


def subspaces(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """A class is a plane through the origin."""
    n_columns, rank = whole(rng, 10, 50), whole(rng, 1, 5)
    bases = np.stack([rotation(rng, rank, n_columns) for _ in range(n_classes)])  # (C, K, D)
    x = np.einsum("bk,bkd->bd", rng.normal(size=(len(y), rank)), bases[y])
    return x + rng.uniform(0.02, 0.2) * rng.normal(size=x.shape)


def skewed_marginals(rng: Generator, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Log-normal amounts, prices, sizes."""
    n_columns = whole(rng, 3, 25)
    centres = rng.uniform(0.5, 2) * rng.normal(size=(n_classes, n_columns))
    mixing = np.eye(n_columns) + 0.3 * rng.normal(size=(n_columns, n_columns))
    return np.exp((centres[y] + rng.normal(size=(len(y), n_columns)) @ mixing).clip(-8, 8))


DRAWN: dict[str, Family] = {
    f.__name__: f
    for f in (
        clusters_with_nuisance,
        curved_manifolds,
        rotated_low_rank,
        heavy_tails,
        unequal_scales,
        unequal_spreads,
        rings,
        several_clusters_a_class,
        counts,
        shares,
        binary_prototypes,
        subspaces,
        skewed_marginals,
    )
}
"""Families that draw rows of given labels."""


def parity(rng: Generator, x: np.ndarray, n_classes: int) -> np.ndarray:
    """Exclusive or of the signs of some columns; more classes by more such rules."""
    n_bits = int(np.ceil(np.log2(n_classes)))
    y = np.zeros(len(x), np.int64)
    for bit in range(n_bits):
        columns = rng.choice(x.shape[1], 2, replace=False)
        y += ((x[:, columns] > 0).sum(1) % 2) << bit
    return y % n_classes


def axis_aligned(rng: Generator, x: np.ndarray, n_classes: int) -> np.ndarray:
    """A decision tree of random columns, each split at its median, whose leaves are classes."""
    depth = int(np.ceil(np.log2(n_classes))) + 1
    y, n_leaves = np.zeros(len(x), np.int64), 1
    for _ in range(depth):
        new = np.zeros_like(y)
        for leaf in range(n_leaves):
            own = y == leaf
            column = x[own, rng.integers(x.shape[1])]
            new[own] = 2 * leaf + (column > np.median(column) if own.any() else 0)
        y, n_leaves = new, 2 * n_leaves
    return rng.permutation(np.arange(n_leaves) % n_classes)[y]


def network_regions(rng: Generator, x: np.ndarray, n_classes: int) -> np.ndarray:
    """The output of a random network that is largest."""
    hidden = np.tanh(x @ rng.normal(size=(x.shape[1], 32)) + rng.normal(size=32))
    scores = hidden @ rng.normal(size=(32, n_classes))
    return ((scores - scores.mean(0)) / scores.std(0)).argmax(1)


RULES: dict[str, Family] = {f.__name__: f for f in (parity, axis_aligned, network_regions)}
"""Families that label rows of numbers drawn alike."""


def generate(name: str, family: str, variant: int) -> Domain:
    rng = generator(name)
    n_classes = int((2, 3, 6, MAX_CLASSES)[variant])
    if family in DRAWN:
        y = rng.permutation(np.arange(min(MAX_ROWS, 400 * n_classes)) % n_classes)
        x = DRAWN[family](rng, y, n_classes)
        about = DRAWN[family].__doc__ or ""
    else:
        n_classes = min(n_classes, 8)
        x = rng.uniform(-1, 1, (MAX_ROWS, int(rng.integers(3, 9))))
        y = RULES[family](rng, x, n_classes)
        x = with_nuisance(x, rng, int(rng.integers(0, 6)))
        about = RULES[family].__doc__ or ""
    return Domain("numbers", family, y, {"raw": x}, f"Generated: {family}. {about.strip()}")


def jobs(sources: Path) -> Jobs:
    del sources
    for family in (*DRAWN, *RULES):
        for variant in range(N_VARIANTS):
            name = f"generated_{family}_{variant}"
            yield name, partial(generate, name, family, variant)
