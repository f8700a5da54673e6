"""Bad data in a support set: a wrong label, a copy in another class, an example that no other
resembles, a class that is two.

Examples are compared by the cosine of their vectors about the mean of the support set. All of it
takes milliseconds. `benchmarks/diagnostics.py` measures how often the thresholds are right.

Shapes: n examples, d features, c classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstudy.diagnostics.finding import Finding, Skipped, Threshold

__all__ = [
    "copies",
    "examine_support",
    "left_out_scores",
    "mislabelled",
    "outlier",
    "two_in_one_class",
    "unit_vectors",
]

Array = NDArray[Any]

RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Of which the one with the least error on examples left out is taken."""

MISLABELLED = (0.93, 0.73, 0.25)
"""The threshold at 5 shots where the median margin is 0, and what a unit of that margin and a
factor of e in shots add: the more classes overlap, the more misfits are usual. By quantile
regression on clean support sets of 2 to 10 ways and 3 to 8 shots: glyphs, Omniglot, digits and
photographs of signs as the run "handwriting" embeds them, and digits as they are."""

OVERLAP = -0.2
"""The median margin from which on classes overlap too much for any finding."""

MIN_NUMBERS = 8
"""Of an example: the directions of shorter vectors say little."""

COPY = 0.3
"""No pair of 480 clean support sets of Omniglot was nearer than 0.6."""

OUTLIER = (0.75, 0.45)
"""The threshold of an outlier, and what a factor of e in examples adds. It was set on clean support
sets of glyphs, Omniglot, digits and texts, of which at most 6 in 100 of a kind reach it; of
photographs of signs, on which it was not set, 3 in 100."""

TWO_IN_ONE = (0.11, 1.28, 0.20, 0.03)
"""The threshold of a class that is two at 5 ways and 5 shots where classes do not spread, and what
a unit of spread and a factor of e in ways and in shots add; by quantile regression on the same
kinds, 3 to 8 ways and 4 to 10 shots."""

MAX_SPREAD = 0.5
"""Distance within classes over that between them, from which on two classes look like one."""


def examine_support(x: Array, y: Array, *, standardise: bool = False) -> list[Finding | Skipped]:
    """Look for wrong labels and copies, the faults that are least often found where there are none.

    Args:
        x: Vectors of the support set, (n, d): embeddings, or numbers as they are.
        y: Labels 0..c-1, (n,).
        standardise: Whether to bring each column to variance 1 first, as suits numbers.

    Example:
        >>> x = np.repeat(np.eye(3, 8), 5, 0) + 0.1 * np.random.default_rng(0).normal(size=(15, 8))
        >>> y = np.repeat([0, 1, 2], 5)
        >>> y[7] = 2
        >>> [found.examples for found in examine_support(x, y) if found.is_warning]
        [(7,)]
    """
    u, y = unit_vectors(x, standardise=standardise), np.asarray(y)
    return [mislabelled(u, y), copies(u, y)]


def unit_vectors(x: Array, *, standardise: bool = False) -> Array:
    """Vectors (n, d) about their mean, of length 1."""
    centred = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    centred = centred - centred.mean(0)
    if standardise:
        deviation = centred.std(0)
        centred = centred / np.where(deviation > 1e-12, deviation, 1.0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)


def left_out_scores(u: Array, y: Array) -> Array:
    """Scores (n, c) of each example by the kernel ridge regression of one-hot labels on all others.

    The kernel is Gaussian, of the median distance. In closed form: with H the hat matrix, leaving
    i out changes its residual by 1 / (1 - H_ii) (Allen's PRESS, 1974). The regression has an
    intercept: without one, features about their common mean tell the label of the example left
    out, which is what the other labels lack.
    """
    n, c = len(y), int(y.max()) + 1
    targets, centring = np.eye(c)[y], np.eye(n) - 1 / n
    kernel = centring @ gaussian_kernel(u) @ centring
    kernel *= n / max(float(np.trace(kernel)), 1e-12)
    values, vectors = np.linalg.eigh(kernel)
    best: tuple[float, Array] | None = None
    for ridge in RIDGES:
        hat = vectors * (values / (values + ridge)) @ vectors.T + 1 / n
        residuals = (targets - hat @ targets) / (1 - np.diag(hat))[:, None]
        error = float((residuals**2).sum())
        if best is None or error < best[0]:
            best = error, residuals
    assert best is not None
    return targets - best[1]


def gaussian_kernel(x: Array) -> Array:
    """exp(-d^2 / m) of the distances d of examples (n, d), with m the median of d^2."""
    lengths = np.square(x).sum(1)
    squared = np.maximum(lengths[:, None] + lengths - 2 * x @ x.T, 0)
    median = float(np.median(squared[np.triu_indices(len(x), 1)]))
    return np.exp(-squared / max(median, 1e-12))


def mislabelled(u: Array, y: Array, names: Sequence[str] = ()) -> Finding | Skipped:
    """The example whose label fits it least, by the classifier of all others.

    The value is by how much another class scores higher than its own, where a perfect classifier
    would score 1 for the right class and 0 for others.

    Args:
        u: Unit vectors, (n, d).
        y: Labels 0..c-1, (n,).
        names: Of the classes.
    """
    counts = np.bincount(y)
    if len(counts) < 2 or counts.min() < 3 or u.shape[1] < MIN_NUMBERS:
        needed = f"two classes, three examples of each, and {MIN_NUMBERS} numbers an example"
        return Skipped("mislabelled example", f"it needs {needed}")
    scores, rows = left_out_scores(u, y), np.arange(len(y))
    own = scores[rows, y]
    others = scores.copy()
    others[rows, y] = -np.inf
    margins = others.max(1) - own
    at, usual = int(margins.argmax()), float(np.median(margins))
    base, per_margin, per_shot = MISLABELLED
    threshold = base + per_margin * usual + per_shot * math.log(len(y) / len(counts) / 5)
    found = usual < OVERLAP and margins[at] >= threshold
    looks_like = int(others[at].argmax())
    name = names[looks_like] if len(names) else f"class {looks_like}"
    given = names[y[at]] if len(names) else f"class {y[at]}"
    verdict = "No label is less likely than one in a clean support set may be."
    if found:
        verdict = f"Example {at + 1} is labelled {given} and looks like {name}."
    elif usual >= OVERLAP:
        verdict = "The classes overlap too much for a wrong label to show."
    return Finding(
        "mislabelled example",
        "warning" if found else "fine",
        float(margins[at]),
        verdict,
        "Look at it, and correct its label or remove it." if found else "",
        threshold=Threshold(threshold, "about 5 in 100 clean support sets like this one reach it"),
        details={"looks_like": name, "label": given} if found else {},
        examples=(at,) if found else (),
    )


def copies(u: Array, y: Array) -> Finding | Skipped:
    """Examples of two classes that are almost the same.

    The value is the distance of the nearest such pair, divided by the usual distance of an example
    to its nearest neighbour. `leaked_queries` looks for copies among the queries of tasks.

    Args:
        u: Unit vectors of the support set, (n, d).
        y: Labels, (n,).
    """
    if len(u) < 4 or u.shape[1] < MIN_NUMBERS:
        return Skipped("copies", f"it needs four examples of {MIN_NUMBERS} numbers or more")
    distances = np.sqrt(np.maximum(2 - 2 * u @ u.T, 0))
    np.fill_diagonal(distances, np.inf)
    usual = max(float(np.median(distances.min(1))), 1e-9)
    pairs = np.where(y[:, None] != y[None], distances, np.inf)
    i, j = (int(at) for at in np.unravel_index(int(pairs.argmin()), pairs.shape))
    value = float(pairs[i, j]) / usual
    found = value <= COPY
    return Finding(
        "copies",
        "warning" if found else "fine",
        value,
        f"Examples {i + 1} and {j + 1} are almost the same in two classes."
        if found
        else "No two examples of different classes are almost the same.",
        "Keep one of them, with the right label." if found else "",
        threshold=Threshold(
            COPY, "and below: no pair of clean support sets of Omniglot is as near"
        ),
        examples=(i, j) if found else (),
    )


def outlier(x: Array, *, standardise: bool = False) -> Finding | Skipped:
    """The example that resembles the others least: of another kind, or damaged.

    The value is the distance to its two nearest neighbours, the mean, divided by the usual one. An
    example that is merely of a class of its own is not far enough to be told.

    Args:
        x: Vectors, (n, d): embeddings, or numbers as they are.
        standardise: Whether to bring each column to variance 1 first, as suits numbers.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(20, 8))
        >>> x[7] += 20
        >>> outlier(x).examples
        (7,)
    """
    n = len(x)
    if n < 8:
        return Skipped("outlier", "it needs eight examples")
    x = np.asarray(x, dtype=np.float64).reshape(n, -1)
    if standardise:
        deviation = x.std(0)
        x = x / np.where(deviation > 1e-12, deviation, 1.0)
    lengths = np.square(x).sum(1)
    distances = np.sqrt(np.maximum(lengths[:, None] + lengths - 2 * x @ x.T, 0))
    np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)[:, :2].mean(1)
    at = int(nearest.argmax())
    value = float(nearest[at]) / max(float(np.median(nearest)), 1e-12)
    threshold = OUTLIER[0] + OUTLIER[1] * math.log(n)
    found = value >= threshold
    return Finding(
        "outlier",
        "warning" if found else "fine",
        value,
        f"Example {at + 1} is unlike all others."
        if found
        else "No example is farther from all others than is usual.",
        "Look at it: it may be damaged, or of another kind." if found else "",
        threshold=Threshold(threshold, "at most 6 in 100 clean support sets of a kind reach it"),
        examples=(at,) if found else (),
    )


def two_in_one_class(u: Array, y: Array, names: Sequence[str] = ()) -> Finding | Skipped:
    """The class whose examples fall into two groups most clearly.

    The value tells how far apart its two groups are, from 0, as near as examples of one class, to
    1, as far as examples of two classes.

    Args:
        u: Unit vectors, (n, d).
        y: Labels 0..c-1, (n,).
        names: Of the classes.

    Example:
        >>> centres = np.eye(4, 8)[[0, 0, 1, 1, 2, 3]]  # the last class has two
        >>> x = centres.repeat(3, 0) + 0.1 * np.random.default_rng(0).normal(size=(18, 8))
        >>> two_in_one_class(unit_vectors(x), np.repeat([0, 1, 2], 6)).examples
        (12, 13, 14)
    """
    counts = np.bincount(y)
    if len(counts) < 3 or counts.min() < 4 or u.shape[1] < MIN_NUMBERS:
        needed = f"three classes, four examples of each, and {MIN_NUMBERS} numbers an example"
        return Skipped("class that is two", f"it needs {needed}")
    cosines, members = u @ u.T, [np.flatnonzero(y == c) for c in range(len(counts))]
    within = np.array([_mean_pair(cosines[np.ix_(rows, rows)]) for rows in members])
    between = np.array([[cosines[np.ix_(a, b)].mean() for b in members] for a in members])
    parts = [_two_parts(cosines[np.ix_(rows, rows)]) for rows in members]
    values = np.array([_separation(c, within, between, parts[c][0]) for c in range(len(counts))])
    at = int(values.argmax())
    spread = (1 - within.mean()) / max(1 - _mean_pair(between), 1e-12)
    base, per_spread, per_way, per_shot = TWO_IN_ONE
    threshold = base + per_spread * spread + per_way * math.log(len(counts) / 5)
    threshold += per_shot * math.log(counts.mean() / 5)
    found = spread < MAX_SPREAD and values[at] >= threshold
    examples = tuple(int(i) for i in members[at][parts[at][1]]) if found else ()
    name = names[at] if len(names) else f"class {at}"
    verdict = "No class falls into two groups more clearly than is usual."
    if found:
        listing = ", ".join(str(i + 1) for i in examples)
        verdict = f"{name} falls into two groups: examples {listing}, and the rest."
    elif spread >= MAX_SPREAD:
        verdict = "The classes overlap too much for one that is two to show."
    return Finding(
        "class that is two",
        "warning" if found else "fine",
        float(values[at]),
        verdict,
        "If these are two classes to you, give them two labels." if found else "",
        threshold=Threshold(
            float(threshold), "about 5 in 100 clean support sets like this one reach it"
        ),
        details={"class": name} if found else {},
        examples=examples,
    )


def _mean_pair(cosines: Array) -> float:
    """The mean over pairs of different examples."""
    return float(cosines[np.triu_indices(len(cosines), 1)].mean())


def _two_parts(cosines: Array) -> tuple[float, Array]:
    """The mean cosine (n, n) across the parts of the best split in two, and which examples are of
    the smaller part. Splits are along the first principal axis, with two examples a part or more.
    """
    n = len(cosines)
    centring = np.eye(n) - 1 / n
    order = np.linalg.eigh(centring @ cosines @ centring)[1][:, -1].argsort()
    best: tuple[float, Array] | None = None
    for size in range(2, n - 1):
        part, rest = order[:size], order[size:]
        across = float(cosines[np.ix_(part, rest)].mean())
        if best is None or across < best[0]:
            best = across, np.sort(min(part, rest, key=len))
    assert best is not None
    return best


def _separation(at: int, within: Array, between: Array, across: float) -> float:
    """How far apart the parts of a class are: 0 as examples of one other class, 1 as those of two,
    from the mean cosines within classes (c,), between them (c, c), and across the parts."""
    others = np.delete(np.arange(len(within)), at)
    within_others, between_others = (
        within[others].mean(),
        _mean_pair(between[np.ix_(others, others)]),
    )
    return float((within_others - across) / max(within_others - between_others, 1e-12))
