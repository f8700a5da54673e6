"""How far the examples of two domains lie apart: source, trained on, and target, to be used on.

Shapes: n source and m target examples, d features. Features are what a network makes of examples,
or numbers as they are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, spatial, special

from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.errors import DataError, require

__all__ = ["dataset_distance", "kernel_distance", "mmd_test", "proxy_a_distance"]

Array = NDArray[Any]

MIN_EXAMPLES = 5
"""Of each domain: with fewer no interval means anything."""

MAX_EXAMPLES = 500
"""Of each domain that are compared; more are drawn from, by the seed."""


def proxy_a_distance(source: Array, target: Array, *, folds: int = 5, seed: int = 0) -> Finding:
    """How well a linear classifier tells source from target: 0 the same, 2 told apart always.

    2 (1 - 2 error) with the error of a logistic regression on examples that it was not fitted to,
    the mean over both domains (Ben-David et al., "Analysis of Representations for Domain
    Adaptation", NeurIPS 2007). The interval is Wilson's, of the error.

    Args:
        source, target: Features, (n, d) and (m, d).
        folds: Of the cross-validation; the features are standardised within each.
        seed: Of the split into folds.

    Raises:
        DataError: With fewer than 5 examples of a domain.
        MissingError: Without scikit-learn.

    Example:
        >>> far = proxy_a_distance(np.eye(20), np.eye(20) + 9)
        >>> far.value, far.status
        (2.0, 'warning')
    """
    require("sklearn", "fewshot")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    source, target = _domains(source, target, seed)
    x = np.concatenate([source, target])
    domain = np.repeat([0, 1], [len(source), len(target)])
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    )
    split = StratifiedKFold(min(folds, len(source), len(target)), shuffle=True, random_state=seed)
    predicted: Array = np.asarray(cross_val_predict(model, x, domain, cv=split))
    wrong = predicted != domain
    error = (wrong[domain == 0].mean() + wrong[domain == 1].mean()) / 2
    low, high = _wilson(error, 2 * min(len(source), len(target)))
    value = max(0.0, 2 * (1 - 2 * error))
    interval = tuple(float(np.clip(2 * (1 - 2 * e), 0, 2)) for e in (high, low))
    is_far = interval[0] > 1
    return Finding(
        "proxy A-distance",
        "warning" if is_far else "fine",
        float(value),
        f"A linear classifier tells the domains apart with {1 - error:.0%} accuracy"
        + (", so the new examples are of another domain." if is_far else "."),
        "Test the learner on labelled examples of the new domain before relying on it; if it does "
        "badly, meta-train on data like it, or use a pretrained encoder."
        if is_far
        else "",
        (interval[0], interval[1]),
        Threshold(1.0, "a classifier that is right 3 times in 4; the interval has to lie above"),
    )


def mmd_test(
    source: Array, target: Array, *, permutations: int = 500, seed: int = 0, level: float = 0.05
) -> Finding:
    """The squared maximum mean discrepancy, and how often it is as large by chance.

    The unbiased estimate of Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, equation 3. The
    kernel is the mean of three Gaussian kernels whose widths are half, one and two times the
    median distance. Its null distribution is made by permuting which example is of which domain.

    Args:
        source, target: Features, (n, d) and (m, d).
        permutations: How many.
        seed: Of the permutations.
        level: A smaller p-value is a warning.

    Returns:
        The value is the squared discrepancy; `details["p"]` is the p-value.

    Raises:
        DataError: With fewer than 5 examples of a domain.
    """
    source, target = _domains(source, target, seed)
    kernel = _gaussian_kernels(np.concatenate([source, target]))
    np.fill_diagonal(kernel, 0.0)
    n, m = len(source), len(target)
    rng = np.random.default_rng(seed)
    in_source = np.zeros((permutations + 1, n + m))
    in_source[0, :n] = 1
    for row in in_source[1:]:
        row[rng.permutation(n + m)[:n]] = 1
    values = _squared_mmd(kernel, in_source, n, m)
    p = float((values[1:] >= values[0] - 1e-12).sum() + 1) / (permutations + 1)
    threshold = float(np.quantile(values[1:], 1 - level))
    differs = p < level
    return Finding(
        "MMD",
        "warning" if differs else "fine",
        float(values[0]),
        f"The examples {'differ' if differs else 'do not differ'} from those of training more than "
        f"by chance (p = {p:.2g}).",
        "Look at the proxy A-distance for how much they differ." if differs else "",
        threshold=Threshold(threshold, f"{1 - level:.0%} of {permutations} permutations are below"),
        details={"p": p, "n_source": n, "n_target": m},
    )


def kernel_distance(
    source: Array, target: Array, *, subsets: int = 50, size: int = 100, seed: int = 0
) -> Finding:
    """The kernel distance of features, KID: MMD with the kernel (x'y / d + 1)^3.

    Unlike the Fréchet distance it is unbiased at any number of examples (Bińkowski et al.,
    "Demystifying MMD GANs", ICLR 2018). The value is the estimate from all examples, the interval
    that of the mean over subsets.

    Args:
        source, target: Features, (n, d) and (m, d).
        subsets: Random subsets of each domain for the interval.
        size: Of a subset, at most half of the smaller domain.
        seed: Of the subsets.

    Raises:
        DataError: With fewer than 5 examples of a domain.
    """
    source, target = _domains(source, target, seed)
    n, m, d = len(source), len(target), source.shape[1]
    both = np.concatenate([source, target])
    kernel = (both @ both.T / d + 1) ** 3
    np.fill_diagonal(kernel, 0.0)
    value = _squared_mmd(kernel, _membership(n + m, np.arange(n)), n, m)[0]
    rng, k = np.random.default_rng(seed), max(2, min(size, n // 2, m // 2))
    drawn = []
    for _ in range(subsets):
        rows = np.concatenate(
            [rng.choice(n, k, replace=False), n + rng.choice(m, k, replace=False)]
        )
        part = kernel[np.ix_(rows, rows)]
        drawn.append(_squared_mmd(part, _membership(2 * k, np.arange(k)), k, k)[0])
    # The deviation over subsets of k, scaled to all examples.
    half = 1.96 * float(np.std(drawn, ddof=1)) * math.sqrt(k / min(n, m))
    return Finding(
        "kernel distance",
        "information",
        float(value),
        "0 means the same distribution; compare it with other data under the same features.",
        interval=(float(value - half), float(value + half)),
        details={"n_source": n, "n_target": m},
    )


def dataset_distance(
    source: Array, source_y: Array, target: Array, target_y: Array, *, seed: int = 0
) -> Finding:
    """The optimal-transport distance of two labelled data sets, OTDD.

    Alvarez-Melis & Fusi, "Geometric Dataset Distances via Optimal Transport", NeurIPS 2020: moving
    an example costs its squared distance plus that of the two classes, each taken for a Gaussian.
    So no class has to be named alike in both. As many examples of both are compared; then an
    optimal plan is an assignment, which is computed exactly.

    Differs from the paper: the covariance of a class of fewer examples than features is shrunk
    towards the mean variance (weight 0.5), and the value is the root of the mean cost, so that it
    has the unit of the features.

    Args:
        source, target: Features, (n, d) and (m, d).
        source_y, target_y: The class of each.
        seed: Of the examples that are left out.

    Raises:
        DataError: With fewer than 5 examples of a domain.
    """
    rng = np.random.default_rng(seed)
    k = min(len(source), len(target), MAX_EXAMPLES)
    if k < MIN_EXAMPLES:
        raise _too_few(len(source), len(target))
    take = [
        np.sort(rng.choice(len(x), k, replace=False)) if len(x) > k else np.arange(k)
        for x in (source, target)
    ]
    x, y = np.asarray(source, float)[take[0]], np.asarray(source_y)[take[0]]
    u, v = np.asarray(target, float)[take[1]], np.asarray(target_y)[take[1]]
    first, second = _gaussians(x, y), _gaussians(u, v)
    between = {
        (a, b): gaussian_distance(*first[a], *second[b]) for a in first for b in second
    }  # squared
    cost = spatial.distance.cdist(x, u, "sqeuclidean")
    cost += np.array([[between[a, b] for b in v.tolist()] for a in y.tolist()])
    rows, columns = optimize.linear_sum_assignment(cost)
    return Finding(
        "data set distance",
        "information",
        float(np.sqrt(cost[rows, columns].mean())),
        "0 means the same data set; compare it with other data under the same features.",
        details={"examples": int(k), "classes": [len(first), len(second)]},
    )


def gaussian_distance(mean: Array, cov: Array, other_mean: Array, other_cov: Array) -> float:
    """The squared 2-Wasserstein distance of two Gaussians, in closed form (Bures).

    Example:
        >>> one = np.zeros(2), np.eye(2)
        >>> round(gaussian_distance(*one, np.ones(2), 4 * np.eye(2)), 6)  # 2 + 2 (2 - 1)^2
        4.0
    """
    root = _root(cov)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ other_cov @ root), 0, None)).sum()
    bures = np.trace(cov) + np.trace(other_cov) - 2 * cross
    return float(((mean - other_mean) ** 2).sum() + max(bures, 0.0))


def _root(cov: Array) -> Array:
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def _gaussians(x: Array, y: Array) -> dict[object, tuple[Array, Array]]:
    """Mean (d,) and covariance (d, d) of each class."""
    d, found = x.shape[1], {}
    for label in np.unique(y).tolist():
        rows = x[y == label]
        cov = np.cov(rows.T, bias=True).reshape(d, d) if len(rows) > 1 else np.zeros((d, d))
        if len(rows) <= d:
            cov = 0.5 * cov + 0.5 * np.trace(cov) / d * np.eye(d)
        found[label] = rows.mean(0), cov
    return found


def _domains(source: Array, target: Array, seed: int) -> tuple[Array, Array]:
    """Both as float64 (n, d), at most `MAX_EXAMPLES` of each."""
    pair = []
    for x in (source, target):
        x = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
        if len(x) > MAX_EXAMPLES:
            x = x[np.random.default_rng(seed).choice(len(x), MAX_EXAMPLES, replace=False)]
        pair.append(x)
    source, target = pair
    if min(len(source), len(target)) < MIN_EXAMPLES:
        raise _too_few(len(source), len(target))
    if source.shape[1] != target.shape[1]:
        raise DataError(
            f"expected features of one size, got {source.shape[1]} and {target.shape[1]}"
        )
    return source, target


def _too_few(n: int, m: int) -> DataError:
    return DataError(f"expected {MIN_EXAMPLES} examples of each domain to compare, got {n} and {m}")


def _gaussian_kernels(x: Array) -> Array:
    distances = spatial.distance.cdist(x, x, "sqeuclidean")
    median = float(np.median(distances[np.triu_indices(len(x), 1)])) or 1.0
    kernel = np.zeros_like(distances)
    for factor in (0.25, 1.0, 4.0):  # of the squared width
        kernel += np.exp(-distances / (2 * factor * median)) / 3
    return kernel


def _membership(n: int, rows: Array) -> Array:
    members = np.zeros((1, n))
    members[0, rows] = 1
    return members


def _squared_mmd(kernel: Array, in_source: Array, n: int, m: int) -> Array:
    """The unbiased estimates (k,) of k ways to split (k, n + m), of a kernel of diagonal 0."""
    in_target = 1 - in_source
    within = (in_source @ kernel * in_source).sum(1) / (n * (n - 1))
    others = (in_target @ kernel * in_target).sum(1) / (m * (m - 1))
    return within + others - 2 * (in_source @ kernel * in_target).sum(1) / (n * m)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of n."""
    z = float(special.ndtri(0.975))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half
