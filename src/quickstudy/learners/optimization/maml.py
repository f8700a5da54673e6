"""Model-agnostic meta-learning: an initialisation from which a few gradient steps suffice.

Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
ICML 2017, arXiv:1703.03400.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.func import functional_call

from quickstudy.errors import UsageError, check_option
from quickstudy.learners.base import Learner, Predictor, check_ways, feature_size, query_loss
from quickstudy.tasks import Support

__all__ = ["MAML"]


class MAML(Learner):
    """Meta-learn initial weights by differentiating through gradient steps on the support set.

    The inner loop (equation 1) is theta' = theta - inner_lr * gradient of the mean support
    loss; the meta-gradient (equation 2) is that of the query loss at theta'.

    Differs from the paper: the paper's code sums the inner cross-entropy over the ways, so its
    inner learning rate of 0.4 at 5 ways would be 2.0 here. Its batch norm has no scale, and a
    shift that only the outer loop changes; here the inner loop changes both, unless `adapted`
    leaves them out. Weights start as PyTorch's layers do.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`. With
            `batch_norm="batch"` its batch norms lose their running statistics.
        n_outputs: Classes, or size of a regression target; adapting needs the same.
        inner_lr: Step size of the inner loop.
        inner_steps: Gradient steps in meta-training.
        inner_steps_test: Gradient steps in evaluation; `inner_steps` if None.
        first_order: Leave out second derivatives (FOMAML).
        adapted: Patterns of the names of the parameters the inner loop changes.
        batch_norm: "batch": batch norm always uses the statistics of the batch at hand, as in
            the paper, so predictions for a query depend on the other queries (transductive).
            "running": in evaluation each query stands alone, normalised by averages that
            meta-training kept of the queries; the inner loop still uses the support's own.

    Raises:
        UsageError: If no parameter matches `adapted`.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = MAML(MLP((1,)), n_outputs=1, inner_lr=0.01)
        >>> learner.adapt(Support(torch.rand(10, 1), torch.rand(10, 1)))(torch.rand(3, 1)).shape
        torch.Size([3, 1])
    """

    batchable = True
    any_ways = False

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        inner_lr: float = 0.4,
        inner_steps: int = 1,
        inner_steps_test: int | None = None,
        first_order: bool = False,
        adapted: Sequence[str] = ("*",),
        batch_norm: Literal["batch", "running"] = "batch",
    ) -> None:
        super().__init__()
        check_option("batch_norm", batch_norm, ("batch", "running"))
        if min(inner_steps, inner_steps_test or 0) < 0:
            raise UsageError(f"expected inner steps >= 0, got {inner_steps}, {inner_steps_test}")
        self.model = nn.Sequential()
        self.model.add_module("backbone", backbone)
        self.model.add_module("head", nn.Linear(feature_size(backbone), n_outputs))
        self.n_outputs = n_outputs
        self.inner_lr, self.inner_steps, self.first_order = inner_lr, inner_steps, first_order
        self.inner_steps_test = inner_steps_test
        self.adapted = [
            name
            for name, _ in self.model.named_parameters()
            if any(fnmatch(name, pattern) for pattern in adapted)
        ]
        if not self.adapted:
            raise UsageError(f"expected `adapted` to match a parameter, got {list(adapted)}")
        if batch_norm == "batch":
            _forget_running_statistics(self.model)

    @classmethod
    def build(cls, backbone: nn.Module, n_outputs: int, **options: Any) -> Self:
        return cls(backbone, n_outputs, **options)

    def adapt(self, support: Support) -> Predictor:
        check_ways(support, self.n_outputs)
        weights: dict[str, Tensor] = dict(self.model.named_parameters())
        steps = self.inner_steps if len(support) else 0
        if not self.training and self.inner_steps_test is not None and len(support):
            steps = self.inner_steps_test
        with torch.enable_grad():
            for _ in range(steps):
                weights = self._inner_step(weights, support)
        state = {**weights, **dict(self.model.named_buffers())}
        if not self.training:
            state = {name: value.detach().clone() for name, value in state.items()}
        return lambda x: functional_call(self.model, state, (x,))

    def _inner_step(self, weights: dict[str, Tensor], support: Support) -> dict[str, Tensor]:
        def loss(adapted: dict[str, Tensor]) -> Tensor:
            # Running averages are kept of the queries alone, so these go to waste.
            waste = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            with _batch_statistics(self.model):
                scores = functional_call(self.model, {**weights, **adapted, **waste}, (support.x,))
            return query_loss(scores, support.y)

        adapted = {name: weights[name] for name in self.adapted}
        second_order = self.training and not self.first_order
        gradients = _gradient(loss, adapted, create_graph=second_order)
        return weights | {n: w - self.inner_lr * gradients[n] for n, w in adapted.items()}


def _gradient(loss: Any, weights: dict[str, Tensor], *, create_graph: bool) -> dict[str, Tensor]:
    """Gradient of `loss(weights)`, inside `torch.func` transforms and outside of them."""
    if _functorch.peek_interpreter_stack() is not None:
        gradients = torch.func.grad(loss)(weights)
        return gradients if create_graph else {n: g.detach() for n, g in gradients.items()}
    if not create_graph:
        # Gradients to the weights as they are now; the path through earlier steps stays open.
        leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}
    else:
        leaves = {
            n: w if w.requires_grad else w.detach().requires_grad_() for n, w in weights.items()
        }
    values = torch.autograd.grad(
        loss(leaves),
        list(leaves.values()),
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return dict(zip(leaves, values, strict=True))


@contextlib.contextmanager
def _batch_statistics(model: nn.Module) -> Iterator[None]:
    """Have batch norm use the statistics of the batch, also in evaluation."""
    norms = [m for m in _batch_norms(model) if not m.training]
    for norm in norms:
        norm.training = True
    try:
        yield
    finally:
        for norm in norms:
            norm.training = False


def _forget_running_statistics(model: nn.Module) -> None:
    for norm in _batch_norms(model):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None


def _batch_norms(model: nn.Module) -> Iterator[Any]:
    return (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
