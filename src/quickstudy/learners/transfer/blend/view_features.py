"""What the vectors of a view are like, whatever their labels."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["VIEW_FEATURES", "describe_view"]

VIEW_FEATURES = (
    "log size",
    "effective dimensions",
    "smoothness",
    "integers",
    "log kurtosis",
    "zeros",
    "spread of lengths",
    "spread of scales",
)


def describe_view(x: Tensor) -> list[float]:
    """The `VIEW_FEATURES` of vectors (n, d)."""
    x = x.double()
    n, d = x.shape
    deviation = x.std(0, correction=0)
    varies = deviation > 1e-8
    z = ((x - x.mean(0)) / deviation.clamp_min(1e-8))[:, varies]
    if not z.shape[1]:
        return [0.0] * len(VIEW_FEATURES)
    gram = z @ z.T if n <= z.shape[1] else z.T @ z
    dimensions = gram.trace().square() / gram.square().sum()
    lengths = x.norm(dim=1)
    return [
        math.log(d),
        float(dimensions / min(n, d)),
        float((z[:, 1:] * z[:, :-1]).mean()) if z.shape[1] > 1 else 0.0,
        float((x == x.round()).double().mean()),
        float((z.pow(4).mean(0).clamp_max(30).mean() + 0.1).log()),
        float((x == 0).double().mean()),
        float((lengths.std(correction=0) / lengths.mean().clamp_min(1e-9)).clamp_max(3)),
        float(deviation[varies].log().std(correction=0).clamp_max(4)),
    ]
