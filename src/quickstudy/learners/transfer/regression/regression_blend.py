"""A regression of vectors that weighs many heads by what it has learned from other tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quickstudy.errors import DataError
from quickstudy.learners.base import Learner
from quickstudy.learners.transfer.blend.candidates import View
from quickstudy.learners.transfer.blend.learned_blend import threads_for
from quickstudy.learners.transfer.regression.candidates import (
    HEAD_NAMES,
    RegressionCandidates,
    fit_regression_candidates,
)
from quickstudy.learners.transfer.regression.features import describe_regression
from quickstudy.learners.transfer.regression.gate import Prediction, RegressionGate
from quickstudy.nn import widen
from quickstudy.tasks import Support

__all__ = ["BlendedRegression", "RegressionBlend"]

LEAST_EXAMPLES = 3
"""Of a support set that an interval can be told from."""


class RegressionBlend(Learner):
    """Heads on views of the examples, weighed by a gate that was meta-trained over many tasks.

    The mechanism is that of `LearnedBlend`. A small network sees, for each head, how it did on
    examples left out, and what the task looks like. It weighs all heads, the mean of the targets
    among them, and the prediction is the weighted mean of theirs. A second network gives the
    variance, so that each prediction is a Student's t distribution. Each target has weights of its
    own.

    Args:
        backbone: Maps inputs (n, ...) to the views' vectors side by side, (n, d).
        views: The parts of these vectors.
        gate: Meta-trained; see `shipped_regression_gate`. A new gate weighs all heads alike.

    Example:
        >>> from quickstudy.learners.transfer.blend import View
        >>> from quickstudy.learners.transfer.regression import shipped_regression_gate
        >>> from quickstudy.nn import Flatten
        >>> x = torch.linspace(0, 1, 20)[:, None]
        >>> views = [View("raw", 1, "columns")]
        >>> blend = RegressionBlend(Flatten((1,)), views, gate=shipped_regression_gate()).eval()
        >>> predict = blend.adapt(Support(x, 4 * x + 1))
        >>> predict(torch.tensor([[0.5]])).round(decimals=1)
        tensor([[3.]])
    """

    def __init__(
        self, backbone: nn.Module, views: Sequence[View], *, gate: RegressionGate | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.views = backbone, list(views)
        self.gate = gate or RegressionGate(HEAD_NAMES)

    def check(self, support: Support) -> None:
        if support.n_way is not None or not len(support):
            raise DataError("expected regression targets, got labels or no example")

    def adapt(self, support: Support) -> BlendedRegression:
        self.check(support)
        with torch.no_grad(), threads_for(support.x.numel()):
            x = widen(self.backbone(support.x)).cpu()
            y = support.y.cpu().double()
            tasks = [_TargetTask.fit(self, x, target) for target in y.T]
        return BlendedRegression(self, tasks, x.numel())


@dataclass(frozen=True)
class _TargetTask:
    """The blend of one target.

    Args:
        mean, scale: Of the target in the support set; the candidates see it standardised.
        candidates, values: What was fitted, and its meta-features.
    """

    mean: Tensor
    scale: Tensor
    n: int
    candidates: RegressionCandidates
    values: Tensor

    @classmethod
    def fit(cls, blend: RegressionBlend, x: Tensor, y: Tensor) -> _TargetTask:
        mean, y = y.mean(), y - y.mean()
        scale = y.square().mean().sqrt()
        if bool(scale <= 10 * torch.finfo(y.dtype).eps * mean.abs()):  # equal but for rounding
            scale, y = scale.new_zeros(()), torch.zeros_like(y)
        else:
            y = y / scale
        rows = _order(x, y)
        candidates = fit_regression_candidates(blend.views, x[rows], y[rows].float())
        return cls(mean, scale, len(y), candidates, describe_regression(candidates, len(y)))

    def predict(self, gate: RegressionGate, predictions: Tensor) -> Prediction:
        """The distributions (1, m) of standardised targets, by the candidates' (k, m)."""
        heads = gate.ids(self.candidates.names)
        targets = self.candidates.targets.float()
        return gate(
            self.values[None],
            heads[None],
            torch.ones(1, len(heads), dtype=torch.bool),
            self.candidates.left_out.float()[None],
            targets[None],
            torch.ones(1, len(targets), dtype=torch.bool),
            predictions.float()[None],
        )


def _order(x: Tensor, y: Tensor) -> Tensor:
    """Rows in the order of their targets, and of their features' sums where these are equal, so
    that the order in which they came does not matter."""
    rows = x.double().sum(1).argsort(stable=True)
    return rows[y[rows].argsort(stable=True)]


@dataclass(frozen=True)
class BlendedRegression:
    """A blend adapted to a task: its predictor, and what it is made of.

    Args:
        blend: The learner.
        tasks: One of each target.
        size: How many numbers the support set has.
    """

    blend: RegressionBlend
    tasks: list[_TargetTask]
    size: int

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Predictions (m, t) of queries (m, ...)."""
        return self._distributions(x)[0].to(x)

    @torch.no_grad()
    def interval(self, x: Tensor, coverage: float) -> tuple[Tensor, Tensor]:
        """The ends of intervals, (m, t) each, that hold the targets of queries in a share
        `coverage` of cases.

        Raises:
            DataError: If there are fewer than three examples.
        """
        from scipy import special  # its import takes a while

        if self.tasks[0].n < LEAST_EXAMPLES:
            raise DataError(
                f"expected at least {LEAST_EXAMPLES} examples for an interval, got "
                f"{self.tasks[0].n}"
            )
        mean, scale, freedom = self._distributions(x)
        reach = torch.as_tensor(special.stdtrit(freedom.numpy(), (1 + coverage) / 2)) * scale
        return (mean - reach).to(x), (mean + reach).to(x)

    def _distributions(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means and scales (m, t) of the targets of queries, and degrees of freedom (t,)."""
        with threads_for(self.size):
            x = widen(self.blend.backbone(x)).cpu()
            each = [
                task.predict(self.blend.gate, task.candidates.predict(x)) for task in self.tasks
            ]
        means = torch.stack([task.mean for task in self.tasks])
        scales = torch.stack([task.scale for task in self.tasks])
        mean = torch.stack([one.mean[0] for one in each], 1).double() * scales + means
        scale = torch.stack([one.scale[0] for one in each], 1).double() * scales
        return mean, scale, torch.cat([one.freedom for one in each]).double()

    def weights(self, target: int = 0) -> dict[tuple[str, str], float]:
        """Of each view and head for a target, the greatest first."""
        task = self.tasks[target]
        with torch.no_grad():
            none = task.candidates.left_out[:, :0]
            weights = task.predict(self.blend.gate, none).weights[0].tolist()
        pairs = zip(task.candidates.names, weights, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def errors_left_out(self, target: int = 0) -> dict[tuple[str, str], float]:
        """Of each view and head, the root of the mean squared error on examples left out, in units
        of the target; nothing where none could be left out."""
        task = self.tasks[target]
        if not len(task.candidates.targets):
            return {}
        squares = (task.candidates.left_out - task.candidates.targets).square().mean(1)
        errors = (squares.sqrt() * task.scale).tolist()
        return dict(zip(task.candidates.names, errors, strict=True))
