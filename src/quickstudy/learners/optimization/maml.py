"""Model-agnostic meta-learning: an initialisation from which a few gradient steps suffice.

Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
ICML 2017, arXiv:1703.03400. Its relatives are options here:

- ANIL: Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020, arXiv:1909.09157.
- BOIL: Oh et al., "BOIL: Towards Representation Change for Few-shot Learning", ICLR 2021,
  arXiv:2008.08882.
- Meta-SGD: Li et al., "Meta-SGD: Learning to Learn Quickly", 2017, arXiv:1707.09835.
- MAML++: Antoniou, Edwards & Storkey, "How to Train Your MAML", ICLR 2019, arXiv:1810.09502.
- ProtoMAML: Triantafillou et al., "Meta-Dataset", ICLR 2020, arXiv:1903.03096.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import UsageError, check_option
from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_every_class,
    class_means,
    feature_size,
    names_matching,
    query_loss,
)
from quickstudy.learners.optimization.inner_gradient import inner_gradient
from quickstudy.nn import batch_statistics, forget_running_statistics, full_precision, widen
from quickstudy.tasks import Episode, Support

__all__ = ["MAML"]


class MAML(Learner):
    """Meta-learn initial weights by differentiating through gradient steps on the support set.

    The inner loop (equation 1) is theta' = theta - inner_lr * gradient of the mean support
    loss; the meta-gradient (equation 2) is that of the query loss at theta'.

    Relatives: `adapted=["head.*"]` is ANIL and `adapted=["backbone.*"]` is BOIL;
    `inner_rates="per_parameter"` is Meta-SGD; `inner_rates="per_layer_and_step"` with a
    `multi_step_loss` is MAML++; `head="prototypes"` is ProtoMAML.

    Differs from the paper: the paper's code sums the inner cross-entropy over the ways, so its
    inner learning rate of 0.4 at 5 ways would be 2.0 here. Its batch norm has no scale, and a
    shift that only the outer loop changes; here the inner loop changes both, unless `adapted`
    leaves them out. Weights start as PyTorch's layers do. Learned rates all start at
    `inner_lr`, where Meta-SGD draws them. Of MAML++, statistics of batch norm per step and
    first-order steps to begin with are left out; the weights of its multi-step loss move by the
    meta-step rather than the epoch, and those of the early steps to 0, where its code keeps some.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`. With
            `batch_norm="batch"` its batch norms lose their running statistics.
        n_outputs: Classes, or size of a regression target; adapting needs the same, but for
            `head="prototypes"`, which takes any number of classes.
        inner_lr: Step size of the inner loop, or where learned step sizes start.
        inner_rates: "fixed", or learned: "per_parameter", one for each weight, or
            "per_layer_and_step", one for each weight or bias tensor and step; further steps in
            evaluation use those of the last.
        inner_steps: Gradient steps in meta-training.
        inner_steps_test: Gradient steps in evaluation; `inner_steps` if None.
        first_order: Leave out second derivatives (FOMAML).
        multi_step_loss: Meta-steps during which the query loss after every inner step counts;
            the weights move from equal ones to the last step alone. A meta-step is a call of the
            learner, as `meta_train` makes; a call of `loss` is none.
        head: "linear", meta-learned as all else; "prototypes": for every task the head starts
            as the nearest prototype in squared distance, W_k = 2 c_k and b_k = -||c_k||^2, with
            c_k the mean of the features of class k.
        adapted: Patterns of the names of the parameters the inner loop changes.
        batch_norm: "batch": batch norm always uses the statistics of the batch at hand, as in
            the paper, so predictions for a query depend on the other queries (transductive).
            "running": in evaluation each query stands alone, normalised by averages that
            meta-training averaged over queries; the inner loop still uses the support's own.

    Raises:
        UsageError: If no parameter matches `adapted`, or an option needs at least one step.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = MAML(MLP((1,)), n_outputs=1, inner_lr=0.01)
        >>> learner.adapt(Support(torch.rand(10, 1), torch.rand(10, 1)))(torch.rand(3, 1)).shape
        torch.Size([3, 1])
    """

    batchable = True
    ways = "same"
    meta_steps: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        inner_lr: float = 0.4,
        inner_rates: Literal["fixed", "per_parameter", "per_layer_and_step"] = "fixed",
        inner_steps: int = 1,
        inner_steps_test: int | None = None,
        first_order: bool = False,
        multi_step_loss: int = 0,
        head: Literal["linear", "prototypes"] = "linear",
        adapted: Sequence[str] = ("*",),
        batch_norm: Literal["batch", "running"] = "batch",
    ) -> None:
        super().__init__()
        check_option("batch_norm", batch_norm, ("batch", "running"))
        check_option("head", head, ("linear", "prototypes"))
        check_option("inner_rates", inner_rates, ("fixed", "per_parameter", "per_layer_and_step"))
        if min(inner_steps, inner_steps_test or 0, multi_step_loss) < 0:
            raise UsageError(
                f"expected steps >= 0, got {inner_steps}, {inner_steps_test}, {multi_step_loss}"
            )
        if not inner_steps and (multi_step_loss or inner_rates == "per_layer_and_step"):
            raise UsageError("expected inner_steps >= 1 with multi_step_loss or rates per step")
        if inner_rates == "per_parameter" and head == "prototypes":
            raise UsageError("expected no rates per_parameter with a head of prototypes")
        linear = (
            nn.Linear(feature_size(backbone), n_outputs)
            if head == "linear"
            else _FunctionalLinear()
        )
        self.model = nn.Sequential()
        self.model.add_module("backbone", backbone)
        self.model.add_module("head", linear)
        self.n_outputs, self.head = n_outputs, head
        if head == "prototypes":
            self.ways = "any"
        self.inner_lr, self.inner_steps, self.first_order = inner_lr, inner_steps, first_order
        self.inner_steps_test = inner_steps_test
        start: dict[str, Tensor] = dict(self.model.named_parameters())
        if head == "prototypes":
            start |= {"head.weight": torch.empty(0), "head.bias": torch.empty(0)}
        self.adapted = names_matching(adapted, list(start), "adapted")
        self.rates = nn.ParameterList()
        if inner_rates != "fixed":
            per_parameter = inner_rates == "per_parameter"
            shapes = [start[n].shape if per_parameter else (inner_steps,) for n in self.adapted]
            self.rates.extend(torch.full(shape, float(inner_lr)) for shape in shapes)
        self.inner_rates = inner_rates
        self.multi_step_loss = multi_step_loss
        if multi_step_loss:
            self.register_buffer("meta_steps", torch.tensor(0))
            self.batchable = False  # as it counts meta-steps
        if batch_norm == "batch":
            forget_running_statistics(self.model)

    def check(self, support: Support) -> None:
        super().check(support)
        if self.head == "prototypes":
            check_every_class(support)

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        state = {**self._inner_loop(support)[-1], **dict(self.model.named_buffers())}
        if not self.training:
            state = {name: value.detach().clone() for name, value in state.items()}
        return lambda x: functional_call(self.model, state, (x,))

    def loss(self, episode: Episode) -> Tensor:
        trajectory, query = self._inner_loop(episode.support), episode.query
        if not self.multi_step_loss:
            return query_loss(functional_call(self.model, trajectory[-1], (query.x,)), query.y)
        losses = [
            query_loss(functional_call(self.model, w, (query.x,)), query.y) for w in trajectory[1:]
        ]
        early = (1 - self.meta_steps / self.multi_step_loss).clamp_min(0)  # from 1 to 0
        return early * torch.stack(losses).mean() + (1 - early) * losses[-1]

    def forward(self, episode: Episode) -> Tensor:
        loss = self.loss(episode)
        if self.multi_step_loss:
            self.meta_steps += 1
        return loss

    def _inner_loop(self, support: Support) -> list[dict[str, Tensor]]:
        """The weights before the inner loop and after each of its steps."""
        weights: dict[str, Tensor] = dict(self.model.named_parameters())
        steps = self.inner_steps if len(support) else 0
        if not self.training and self.inner_steps_test is not None and len(support):
            steps = self.inner_steps_test
        if self.head == "prototypes":
            # Copies, so that the inner gradient does not pass through the prototypes.
            weights = {name: w.clone() for name, w in weights.items()}
            weights |= self._prototypes(support)
        module, x = self.model, support.x
        if steps and all(name.startswith("head.") for name in self.adapted):
            # Features that no step changes (ANIL) are computed once.
            module, x = (
                self.model.get_submodule("head"),
                self._on_support(
                    self.model.get_submodule("backbone"),
                    _weights_of_part("backbone.", weights),
                    support.x,
                ),
            )
        trajectory = [weights]
        for step in range(steps):
            trajectory.append(self._inner_step(module, trajectory[-1], x, support.y, step))
        return trajectory

    def _inner_step(
        self, module: nn.Module, weights: dict[str, Tensor], x: Tensor, y: Tensor, step: int
    ) -> dict[str, Tensor]:
        def loss(adapted: dict[str, Tensor]) -> Tensor:
            all_weights = {**weights, **adapted}
            if module is not self.model:
                all_weights = _weights_of_part("head.", all_weights)
            return query_loss(self._on_support(module, all_weights, x), y)

        adapted = {name: weights[name] for name in self.adapted}
        second_order = self.training and not self.first_order
        gradients, _ = inner_gradient(loss, adapted, create_graph=second_order)
        rates: Sequence[Any] = [self.inner_lr] * len(adapted)
        if self.inner_rates == "per_parameter":
            rates = list(self.rates)
        elif self.inner_rates == "per_layer_and_step":
            rates = [rate[min(step, self.inner_steps - 1)] for rate in self.rates]
        moved = zip(adapted.items(), rates, strict=True)
        return weights | {n: w - rate * gradients[n] for (n, w), rate in moved}

    def _on_support(self, module: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        # Running averages are of the queries alone, so those of the support are discarded.
        discarded = {name: buffer.clone() for name, buffer in module.named_buffers()}
        with batch_statistics(module):
            return functional_call(module, {**weights, **discarded}, (x,))

    def _prototypes(self, support: Support) -> dict[str, Tensor]:
        """The head that scores by nearness to the class means, up to a constant per query."""
        features = self._on_support(self.model.get_submodule("backbone"), {}, support.x)
        means = class_means(features, support)
        return {"head.weight": 2 * means, "head.bias": -means.square().sum(1)}


def _weights_of_part(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one part of the model, named as that part names them."""
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


class _FunctionalLinear(nn.Module):
    """A linear layer without weights of its own: `functional_call` gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", None)
        self.register_buffer("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):  # 8 bits cannot hold the difference
            return F.linear(widen(x), self.weight, self.bias)  # pyright: ignore
