"""The one contract: a learner turns a support set into a predictor.

adapt(support) -> predictor            predictor(query) -> scores
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import DataError
from quickstudy.tasks import Episode, Support

__all__ = ["Learner", "MetaGradient", "Predictor", "query_loss"]

Predictor = Callable[[Tensor], Tensor]
"""Maps query inputs (n, ...) to logits (n, n_way), or to regression predictions (n, d)."""


@dataclass(frozen=True)
class MetaGradient:
    """What one task (or the mean of several) says about the meta-parameters.

    Args:
        loss: Scalar meta-training loss.
        gradients: Gradient of each trainable parameter, by name.
        buffers: Buffers as the task left them, such as running statistics, by name.
    """

    loss: Tensor
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]


class Learner(nn.Module, ABC):
    """A learner that is meta-trained over many tasks, and adapts to a new one.

    A new algorithm defines `adapt`; it overrides `loss` if it has an objective of its own, and
    `meta_gradient` if its update is not the gradient of a loss. The engine knows only these.

    In training mode, which a new learner is in as any module, batch norm uses and updates
    statistics; call `eval()` before adapting to a real task. `meta_train` ends so.
    """

    batchable: ClassVar[bool] = False
    """Whether `loss` may run under `torch.func.vmap`: no `item()`, no branch on a value."""

    @classmethod
    def build(cls, backbone: nn.Module, n_outputs: int, **options: Any) -> Self:
        """Make the learner from a backbone; `n_outputs` is the ways or target size in training."""
        del n_outputs  # most learners take any number of ways
        return cls(backbone, **options)  # type: ignore[call-arg]

    @abstractmethod
    def adapt(self, support: Support) -> Predictor:
        """Learn from a support set; in evaluation mode the learner is left as it was.

        A predictor serves until its learner is trained further.
        """

    def loss(self, episode: Episode) -> Tensor:
        """The meta-training objective of one episode, a scalar."""
        return query_loss(self.adapt(episode.support)(episode.query.x), episode.query.y)

    def forward(self, episode: Episode) -> Tensor:
        return self.loss(episode)

    def meta_gradient(self, episode: Episode) -> MetaGradient:
        """The gradient of `loss`, without touching the learner's own `.grad` or buffers."""
        parameters = {
            name: p.detach().requires_grad_()
            for name, p in self.named_parameters()
            if p.requires_grad
        }
        buffers = {name: b.clone() for name, b in self.named_buffers()}
        loss = functional_call(self, {**parameters, **buffers}, (episode,))
        if not parameters:
            return MetaGradient(loss.detach(), {}, buffers)
        gradients = torch.autograd.grad(
            loss, list(parameters.values()), allow_unused=True, materialize_grads=True
        )
        return MetaGradient(loss.detach(), dict(zip(parameters, gradients, strict=True)), buffers)


def query_loss(scores: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy for labels, mean squared error for regression targets.

    Raises:
        DataError: If predictions and regression targets differ in shape.
    """
    if not y.is_floating_point():
        return F.cross_entropy(scores, y)
    if scores.shape != y.shape:
        raise DataError(
            f"expected predictions of shape {tuple(y.shape)}, got {tuple(scores.shape)}"
        )
    return F.mse_loss(scores, y)
