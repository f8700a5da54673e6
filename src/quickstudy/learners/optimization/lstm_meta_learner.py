"""LSTM meta-learner: an LSTM whose cell state is the weights of a network learns to train it.

Ravi & Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from quickstudy.errors import DataError, UsageError
from quickstudy.learners.base import Learner, Predictor, query_loss, with_head
from quickstudy.learners.optimization.inner_gradient import inner_gradient
from quickstudy.nn import (
    batch_norms,
    batch_statistics,
    fresh_running_statistics,
    give_up_running_statistics,
    widen,
)
from quickstudy.tasks import Support

__all__ = ["LSTMMetaLearner", "log_and_sign"]


class LSTMMetaLearner(Learner):
    """Meta-learn the update rule and the initial weights of a network.

    All weights theta of the network are the cell state of an LSTM, whose update (equation 2) is
    theta_t = f_t * theta_{t-1} - i_t * gradient of the support loss L at theta_{t-1}. The gates
    (section 3.1) look at each weight alone, with parameters shared by all:
    i_t = sigmoid(W_i [h_t, theta_{t-1}, i_{t-1}] + b_i), f_t likewise, where h_t is the output
    of an ordinary LSTM over the gradient and the loss as `log_and_sign` shows them. The initial
    cell state is learned. The meta-loss is that of the queries at the last theta; gradients and
    losses of the support enter as constants, so there are no second derivatives.

    Running statistics of batch norm belong to a task: the steps on its support gather them
    afresh, and in evaluation queries are normalised by them, each alone; in meta-training
    queries are normalised as a batch.

    Differs from the paper: as in its code, the gates see i_{t-1} and f_{t-1} before the sigmoid.
    That code divides the gradient, a mean already, by the size of the batch once more; here it
    is not. The support set is always one batch, as in that code for 1 and 5 shots. Initial
    weights start as PyTorch's layers do.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); says d in `out_features`. Its batch
            norms lose their running statistics and get the momentum and epsilon of the code.
        n_outputs: Classes, or size of a regression target; adapting needs the same.
        inner_steps: Steps on the support set, in meta-training as in evaluation.
        hidden: Units of the ordinary LSTM.
        bn_momentum: Weight of a new batch in the running statistics.

    Raises:
        UsageError: If an option is out of range.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = LSTMMetaLearner(MLP((1,)), n_outputs=1).eval()
        >>> learner.adapt(Support(torch.rand(10, 1), torch.rand(10, 1)))(torch.rand(3, 1)).shape
        torch.Size([3, 1])
    """

    batchable = True
    ways = "same"

    def __init__(
        self,
        backbone: nn.Module,
        n_outputs: int,
        *,
        inner_steps: int = 12,
        hidden: int = 20,
        bn_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        if min(inner_steps, hidden) < 1 or not 0 < bn_momentum <= 1:
            raise UsageError(
                "expected inner_steps and hidden of 1 or more and bn_momentum in (0, 1], got "
                f"{inner_steps}, {hidden} and {bn_momentum}"
            )
        self.model = with_head(backbone, n_outputs)
        self.n_outputs, self.inner_steps = n_outputs, inner_steps
        give_up_running_statistics(self.model)
        for norm in batch_norms(self.model).values():
            norm.momentum, norm.eps = bn_momentum, 1e-3
        self.lstm = nn.LSTMCell(4, hidden)
        # The gates f and i side by side: W applied to h, to theta and to the gate before.
        self.from_hidden = nn.Parameter(torch.empty(hidden, 2))
        self.from_weight = nn.Parameter(torch.empty(2))
        self.from_before = nn.Parameter(torch.empty(2))
        self.bias = nn.Parameter(torch.empty(2))
        gates = (self.from_hidden, self.from_weight, self.from_before)
        with torch.no_grad():
            for parameter in (*self.lstm.parameters(), *gates):
                parameter.uniform_(-0.01, 0.01)
            self.bias[0].uniform_(4, 5)  # forget little
            self.bias[1].uniform_(-5, -4)  # and step by about a hundredth of the gradient

    def check(self, support: Support) -> None:
        super().check(support)
        if not len(support):
            raise DataError("expected examples to train on, got an empty support")

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        state = self._learn(support)
        if not self.training:
            state = {name: value.detach() for name, value in state.items()}
        return lambda x: functional_call(self.model, state, (x,))

    def _learn(self, support: Support) -> dict[str, Tensor]:
        """The weights after the last step, and the running statistics of batch norm."""
        weights: dict[str, Tensor] = dict(self.model.named_parameters())
        theta = torch.cat([w.flatten() for w in weights.values()])
        statistics = fresh_running_statistics(self.model, like=theta)

        def support_loss(weights: dict[str, Tensor]) -> Tensor:
            with batch_statistics(self.model):
                scores = functional_call(self.model, {**weights, **statistics}, (support.x,))
            return query_loss(scores, support.y)

        cell: tuple[Tensor, Tensor] | None = None
        before = theta.new_zeros(len(theta), 2)
        for _ in range(self.inner_steps):
            slopes, loss = inner_gradient(support_loss, weights, create_graph=False)
            slope = torch.cat([g.flatten() for g in slopes.values()])
            seen = torch.cat(
                [log_and_sign(loss.expand(1)).expand(len(slope), 2), log_and_sign(slope)], dim=1
            )
            if cell is None:  # zeros made from `seen`, which vmap gives a task dimension
                blank = torch.zeros_like(seen[:, :1]).expand(-1, self.lstm.hidden_size)
                cell = (blank, blank)
            cell = self._lstm_step(seen, cell)
            hidden, _ = cell
            before = (
                widen(hidden) @ self.from_hidden
                + theta[:, None] * self.from_weight
                + before * self.from_before
                + self.bias
            )  # (n_weights, 2)
            forget, step = before.sigmoid().unbind(1)
            theta = forget * theta - step * slope
            parts = theta.split([w.numel() for w in weights.values()])
            weights = {n: p.view_as(w) for (n, w), p in zip(weights.items(), parts, strict=True)}
        return {**weights, **statistics}

    def _lstm_step(self, x: Tensor, cell: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step of the LSTM over all coordinates; PyTorch's own has no batching rule."""
        hidden, memory = cell
        gates = F.linear(x, self.lstm.weight_ih, self.lstm.bias_ih)
        gates = gates + F.linear(hidden, self.lstm.weight_hh, self.lstm.bias_hh)
        take, keep, new, show = gates.chunk(4, dim=1)
        memory = keep.sigmoid() * memory + take.sigmoid() * new.tanh()
        return show.sigmoid() * memory.tanh(), memory


def log_and_sign(x: Tensor, p: float = 10.0) -> Tensor:
    """Show numbers of any magnitude to a network (Andrychowicz et al. 2016, appendix A).

    Args:
        x: Shape (n,).
        p: Magnitudes below e^-p are small.

    Returns:
        (log|x| / p, sign of x) where |x| >= e^-p, else (-1, e^p x); of shape (n, 2).

    Example:
        >>> log_and_sign(torch.tensor([1.0, -1e-9])).tolist()[0]
        [0.0, 1.0]
    """
    small = math.exp(-p)
    large = x.abs() >= small
    return torch.stack(
        [
            torch.where(large, x.abs().clamp_min(small).log() / p, -1.0),
            torch.where(large, x.sign(), x / small),
        ],
        dim=1,
    )
