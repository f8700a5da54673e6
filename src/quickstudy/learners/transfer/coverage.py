"""Which examples of a pool to label next: those that stand for many that nothing stands for yet.

Shapes: p examples of the pool, n labelled ones, d features.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["choose_to_cover"]

MAX_CANDIDATES, MAX_COVERED = 2000, 10_000
"""Examples of a pool that may be chosen, and that are to be covered; of more, as many at random."""


def choose_to_cover(
    pool: Tensor,
    n_choices: int,
    *,
    labelled: Tensor | None = None,
    importance: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Choose examples one by one, each so that the pool is then covered best.

    An example u is covered by the nearest example s that is chosen or labelled, as
    exp(-|u - s|^2 / width), and counts by its importance. So choices are typical, as many are near,
    and diverse, as what is near them is covered already. The greedy rule has at least 1 - 1/e of
    the best sum (Nemhauser, Wolsey & Fisher, Mathematical Programming 1978). With a cover of 0 or 1
    it is ProbCover (Yehuda et al., "Active Learning Through a Covering Lens", NeurIPS 2022,
    arXiv:2205.11320).

    The width is the mean squared distance to the farthest of an example's share of the pool, if all
    that is chosen or labelled has an equal share: it falls as labels come.

    Time grows with p^2 d, and memory with p^2, up to `MAX_COVERED` times `MAX_CANDIDATES` pairs.

    Args:
        pool: Vectors (p, d).
        n_choices: How many, p at most.
        labelled: Vectors (n, d) that cover already.
        importance: Of each example of the pool, shape (p,), not negative; by default all alike.
        seed: Of what is drawn at random of a large pool.

    Returns:
        Rows of the pool, shape (n_choices,), the most useful first.

    Example:
        >>> pool = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
        >>> choose_to_cover(pool, 2).tolist()
        [2, 4]
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pool), generator=generator)
    covered = order[:MAX_COVERED].sort().values
    candidates = order[: max(MAX_CANDIDATES, n_choices)].sort().values
    x = pool[covered]
    weights = pool.new_ones(len(pool)) if importance is None else importance.to(pool)
    weights = weights[covered]
    distance = torch.cdist(x, pool[candidates]).square()  # (covered, candidates)
    n_sharing = n_choices + (0 if labelled is None else len(labelled))
    share = max(1, len(candidates) // n_sharing)
    width = distance.kthvalue(min(share + 1, distance.shape[1]), dim=1).values.mean()
    kernel = distance.div_(-width.clamp_min(1e-12)).exp_()
    cover = x.new_zeros(len(x))
    if labelled is not None and len(labelled):
        nearest = torch.cdist(x, labelled).amin(1).square()
        cover = (-nearest / width.clamp_min(1e-12)).exp()
    chosen: list[int] = []
    taken = torch.zeros(len(candidates), dtype=torch.bool)
    for _ in range(n_choices):
        gains = weights @ (kernel - cover[:, None]).clamp_min_(0)  # (candidates,)
        best = int(gains.masked_fill(taken, -1.0).argmax())
        taken[best] = True
        chosen.append(best)
        cover = torch.maximum(cover, kernel[:, best])
    return candidates[chosen]
