"""What examples are compared by: the features of a learner's backbone, and plain statistics.

Shapes: n examples, d features.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from quickstudy.errors import DataError
from quickstudy.learners import Learner
from quickstudy.learners.base import device_of
from quickstudy.nn import batch_norms
from quickstudy.tasks import Batch, Episode

__all__ = [
    "backbone_of",
    "check_one_shape",
    "embed",
    "embed_as_is",
    "fixed_projection",
    "flat_features",
    "input_statistics",
    "probe_hash",
]

BATCH = 256


def backbone_of(learner: nn.Module) -> nn.Module | None:
    """The network that makes features of examples; None for a learner without one."""
    named = (m for name, m in learner.named_modules() if name.rpartition(".")[2] == "backbone")
    return next(named, None)


def check_one_shape(tasks: Iterable[Episode]) -> None:
    """Refuse tasks whose examples cannot be compared with each other's.

    Raises:
        DataError: If they are of several shapes, as tables of several columns are.
    """
    shapes = sorted({tuple(task.support.x.shape[1:]) for task in tasks})
    if len(shapes) > 1:
        raise DataError(f"expected tasks of examples of one shape, got {shapes[0]} and {shapes[1]}")


def embed(learner: Learner, x: Tensor) -> Tensor | None:
    """Features (n, d) of examples (n, ...), in float32 on the CPU; None as of `embed_as_is`."""
    made = embed_as_is(learner, x)
    return None if made is None else flat_features(made)


def flat_features(embedded: Tensor) -> Tensor:
    """What a backbone makes of n examples, as (n, d), in float32 on the CPU."""
    return embedded.flatten(1).float().cpu()


@torch.no_grad()
def embed_as_is(learner: Learner, x: Tensor) -> Tensor | None:
    """What the backbone makes of examples (n, ...), in its own shape.

    Returns:
        None where the learner has no backbone that takes single examples: it takes labels too, or
        batch norm has no running statistics, so that features depend on what else is in the batch.
    """
    backbone = backbone_of(learner)
    if backbone is None or not _takes_single_examples(backbone):
        return None
    was_training = backbone.training
    backbone.eval()
    try:
        made = [backbone(part.to(device_of(learner))) for part in x.float().split(BATCH)]
    finally:
        backbone.train(was_training)
    return torch.cat(made)


def _takes_single_examples(backbone: nn.Module) -> bool:
    if any(norm.running_mean is None for norm in batch_norms(backbone).values()):
        return False
    inputs = inspect.signature(backbone.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(i.kind in kinds and i.default is i.empty for i in inputs) <= 1


def input_statistics(batch: Batch) -> Tensor:
    """Plain statistics of examples as they are, shape (n, k): of images their brightness,
    contrast, edges and mid-grey; else the numbers themselves, and the targets of a regression."""
    x = batch.x.detach().float().cpu()
    if x.ndim == 4 and x.shape[1] in (1, 3):
        return _image_statistics(x)
    flat = x.flatten(1)
    if batch.y.is_floating_point():
        flat = torch.cat([flat, batch.y.detach().float().cpu()], dim=1)
    return flat


def _image_statistics(x: Tensor) -> Tensor:
    grey = x.mean(1)  # (n, height, width)
    flat = grey.flatten(1)
    low, middle, high = flat.quantile(flat.new_tensor([0.1, 0.5, 0.9]), dim=1)
    edges = [grey.diff(dim=dim).abs().flatten(1).mean(1) for dim in (1, 2)]
    mid_grey = ((flat > 0.2) & (flat < 0.8)).float().mean(1)
    colour = (x.amax(1) - x.amin(1)).flatten(1).mean(1)
    columns = [flat.mean(1), flat.std(1), low, middle, high, *edges, mid_grey, colour]
    return torch.stack(columns, dim=1)


def fixed_projection(x: Tensor, size: int) -> Tensor:
    """At most `size` numbers of each example, (n, d) -> (n, min(d, size)): a random projection, the
    same for the same d on every machine."""
    d = x.shape[1]
    if d <= size:
        return x
    directions = torch.randn(d, size, generator=torch.Generator().manual_seed(d))
    return x @ (directions / d**0.5)


def probe_hash(probe: nn.Module) -> str:
    """The first 12 digits of the SHA-256 of a network's weights: diversities are comparable under
    the same probe alone."""
    digest = hashlib.sha256()
    for name, tensor in sorted(probe.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
