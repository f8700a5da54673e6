"""Reptile: move the initialisation towards the weights that training on each task ends with.

Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018, arXiv:1803.02999.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import (
    Learner,
    MetaGradient,
    Predictor,
    query_loss,
    trainable,
    with_head,
)
from quickstudy.nn import batch_norms, forget_running_statistics
from quickstudy.tasks import Episode, Support

__all__ = ["Reptile"]

BETA, EPSILON = 0.999, 1e-8


class Reptile(Learner):
    """Meta-learn initial weights without any second derivative, from the support sets alone.

    A task trains all weights theta by Adam without momentum (beta_1 = 0) on mini-batches of its
    support set; what the engine gets as the meta-gradient is theta - theta_task. Outer SGD of
    learning rate epsilon then does theta <- theta + epsilon * mean(theta_task - theta)
    (algorithm 2); the paper has epsilon fall linearly from 1 to 0. Queries are not used in
    meta-training: give episodes one, and in their support as many shots as the paper's
    train-shots.

    As in the paper's code, Adam's second moments are never reset: a task starts from those that
    earlier tasks left, in evaluation too. They are buffers here. Batch norm always uses the
    statistics of the batch at hand.

    Differs from the paper: the tasks of a meta-batch start from the same moments, which are
    averaged afterwards, where the code runs through them one after the other. Mini-batches cycle
    through the support set in the order of the episode, which is random, without shuffling it
    anew after each pass.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`. Its batch
            norms lose their running statistics.
        n_outputs: Classes, or size of a regression target; adapting needs the same.
        inner_lr: Step size of Adam.
        inner_steps: Mini-batches per task in meta-training.
        inner_batch: Examples in each of them.
        inner_steps_test: Mini-batches in evaluation.
        inner_batch_test: Examples in each of them.
        transductive: How batch norm sees queries: all of them as one batch, or (as the paper's
            "non-transductive" figures) each one in a batch with the whole support set.

    Raises:
        UsageError: If a number of steps or a batch is too small.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = Reptile(MLP((1,)), n_outputs=1).eval()
        >>> learner.adapt(Support(torch.rand(10, 1), torch.rand(10, 1)))(torch.rand(3, 1)).shape
        torch.Size([3, 1])
    """

    ways = "same"
    second_moments: Tensor
    adam_steps: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        inner_lr: float = 1e-3,
        inner_steps: int = 5,
        inner_batch: int = 10,
        inner_steps_test: int = 50,
        inner_batch_test: int = 5,
        transductive: bool = False,
    ) -> None:
        super().__init__()
        if min(inner_steps - 1, inner_steps_test) < 0 or min(inner_batch, inner_batch_test) < 1:
            raise UsageError(
                "expected inner_steps >= 1, inner_steps_test >= 0 and batches of 1 or more, got "
                f"{inner_steps}, {inner_steps_test}, {inner_batch} and {inner_batch_test}"
            )
        self.model = with_head(backbone, n_outputs)
        self.n_outputs, self.inner_lr, self.transductive = n_outputs, inner_lr, transductive
        self.inner_steps, self.inner_batch = inner_steps, inner_batch
        self.inner_steps_test, self.inner_batch_test = inner_steps_test, inner_batch_test
        forget_running_statistics(self.model)
        self.sizes = [p.numel() for p in self.model.parameters()]
        self.register_buffer("second_moments", torch.zeros(sum(self.sizes)))
        self.register_buffer("adam_steps", torch.tensor(0))

    def check(self, support: Support) -> None:
        super().check(support)
        if not len(support):
            raise DataError("expected examples to train on, got an empty support")

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        if self.training:
            weights = self._train(support, self.inner_steps, self.inner_batch)[0]
        else:
            weights = self._train(support, self.inner_steps_test, self.inner_batch_test)[0]

        def predict(x: Tensor) -> Tensor:
            if self.transductive or not batch_norms(self.model):
                return functional_call(self.model, weights, (x,))
            # A forward pass for each query, as each has a batch of its own.
            batches = (torch.cat([support.x, one[None]]) for one in x)
            return torch.cat(
                [functional_call(self.model, weights, (batch,))[-1:] for batch in batches]
            )

        return predict

    def meta_gradient(self, episode: Episode) -> MetaGradient:
        task, loss, moments = self._train(episode.support, self.inner_steps, self.inner_batch)
        way = {f"model.{n}": p.detach() - task[n] for n, p in self.model.named_parameters()}
        buffers = {name: buffer.clone() for name, buffer in self.named_buffers()}
        moved = {"second_moments": moments, "adam_steps": self.adam_steps + self.inner_steps}
        return MetaGradient(loss, {n: way[n] for n in trainable(self)}, buffers | moved)

    def _train(
        self, support: Support, steps: int, batch: int
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Weights after `steps` of Adam on the support set, mean loss, and second moments."""
        start = dict(self.model.named_parameters())
        shapes = [(n, p.shape) for n, p in start.items()]
        # All weights in one vector: Adam is a few operations, however many layers there are.
        theta = torch.cat([p.detach().flatten() for p in start.values()])

        def as_weights(theta: Tensor) -> dict[str, Tensor]:
            parts = zip(shapes, theta.split(self.sizes), strict=True)
            return {name: part.view(shape) for (name, shape), part in parts}

        moments, taken = self.second_moments.clone(), int(self.adam_steps)
        rows = torch.arange(steps * batch, device=support.y.device) % len(support)
        total = theta.new_zeros(())
        for i in range(steps):
            chosen = rows[i * batch : (i + 1) * batch]
            with torch.enable_grad():
                leaf = theta.detach().requires_grad_()
                scores = functional_call(self.model, as_weights(leaf), (support.x[chosen],))
                loss = query_loss(scores, support.y[chosen])
                (gradient,) = torch.autograd.grad(loss, leaf)
            total += loss.detach()
            moments.mul_(BETA).addcmul_(gradient, gradient, value=1 - BETA)
            correction = (1 - BETA ** (taken + i + 1)) ** 0.5
            deviation = moments.sqrt().add_(EPSILON * correction)
            theta.addcdiv_(gradient, deviation, value=-self.inner_lr * correction)
        return as_weights(theta), total / max(steps, 1), moments
