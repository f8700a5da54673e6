"""Learn from many tasks which way of adapting a backbone suits which task.

The choice among algorithms by properties of the problem: Rice, "The Algorithm Selection Problem",
1976. Here it is trained by what every strategy would have scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.base import (
    Learner,
    Predictor,
    check_every_class,
    class_means,
    device_of,
    encode_targets,
    feature_size,
)
from quickstudy.learners.transfer.strategies import TransferStrategy
from quickstudy.nn import widen
from quickstudy.tasks import Episode, Support, Tasks

__all__ = ["Advice", "AutoAdapt"]

STRATEGIES: tuple[Mapping[str, Any], ...] = (
    {"method": "nearest_centroid"},
    {"method": "nearest_neighbour"},
    {"method": "ridge", "ridge": 0.1},
    {"method": "ridge", "ridge": 1.0},
    {"method": "linear_probe"},
    {"method": "linear_probe", "classifier": "cosine", "adapt_lr": 1e-2},
)

MOMENTUM = 0.01
"""Least share of a meta-step in the moving averages over tasks; the first ones have more."""

FARTHEST = 3.0
"""Standard deviations beyond which a meta-feature counts as this far."""

FOLDS = 3
"""Parts of a support set, each of which strategies are tried on after learning the others."""


@dataclass(frozen=True)
class Advice:
    """What is chosen for a task, and why.

    Args:
        strategy: Options of the chosen strategy.
        shares: How much each strategy is favoured; they sum to 1.
        features: The task's meta-features.
        reason: All this in words.
    """

    strategy: TransferStrategy
    shares: list[float]
    features: dict[str, float]
    reason: str


class AutoAdapt(Learner):
    """Choose by a task's meta-features how to adapt a backbone that is trained already.

    Meta-training leaves the backbone as it is, and minimises the expected error rate of a softmax
    over strategies, sum_k softmax(W f + b)_k * error_k, where every strategy has been tried on the
    queries. A new task is learned by the strategy of the greatest share alone.

    The meta-features f: ways; shots; how far apart classes are for their spread; how far the task
    lies from what the backbone was trained on; and for each strategy that trains nothing, its
    accuracy on parts of the support set held out (for 1 shot there are none). They are
    standardised by their moving averages over tasks, and cut off at 3 standard deviations, so
    that a task unlike any other is judged as the most extreme one that was met.

    Args:
        backbone: Maps inputs (n, ...) to features (n, d); give it trained weights (`train.start`
            in a recipe).
        strategies: Options of `TransferStrategy`, a table each.

    Raises:
        UsageError: If there are fewer than two strategies, or an option cannot be.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = AutoAdapt(MLP((4,))).eval()
        >>> support = Support(torch.rand(6, 4), torch.arange(6) % 3, n_way=3)
        >>> learner.adapt(support)(torch.rand(2, 4)).shape
        torch.Size([2, 3])
        >>> learner.advise(support).strategy.method
        'nearest_centroid'
    """

    centre: Tensor
    feature_mean: Tensor
    feature_square: Tensor
    accuracies: Tensor
    steps: Tensor

    def __init__(
        self, backbone: nn.Module, *, strategies: Sequence[Mapping[str, Any]] = STRATEGIES
    ) -> None:
        super().__init__()
        if len(strategies) < 2:
            raise UsageError(f"expected two strategies or more, got {len(strategies)}")
        try:
            self.strategies = [TransferStrategy(**options) for options in strategies]
        except TypeError as error:
            raise UsageError(f"expected options of a transfer strategy, got {error}") from None
        for strategy in self.strategies:
            strategy.names(backbone)
        self.backbone = backbone.requires_grad_(False)
        self.tried = [s for s in self.strategies if s.is_closed_form]
        self.names = ["log ways", "log shots", "separation", "distance"]
        self.names += [f"held-out accuracy of {strategy}" for strategy in self.tried]
        n, d = len(self.names), feature_size(backbone)
        self.chooser = nn.Linear(n, len(strategies))
        nn.init.zeros_(self.chooser.weight)
        nn.init.zeros_(self.chooser.bias)
        self.register_buffer("centre", torch.zeros(d))
        self.register_buffer("feature_mean", torch.zeros(n))
        self.register_buffer("feature_square", torch.ones(n))
        self.register_buffer("accuracies", torch.zeros(len(strategies)))
        self.register_buffer("steps", torch.tensor(0))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.backbone.eval()
        return self

    def check(self, support: Support) -> None:
        check_every_class(support)

    def adapt(self, support: Support) -> Predictor:
        self.check(support)
        shown = self._embedded(support)
        strategy = self._advise(shown).strategy
        if not strategy.keeps_backbone:
            return strategy.adapt(self.backbone, self.centre, support)
        predict = strategy.adapt(nn.Identity(), self.centre, shown)
        return lambda x: predict(self.backbone(x))

    def advise(self, support: Support) -> Advice:
        """Which strategy is chosen for a task, and why."""
        self.check(support)
        return self._advise(self._embedded(support))

    def _advise(self, shown: Support) -> Advice:
        with torch.no_grad():
            features = self._features(shown)
            shares = self.chooser(self._standardised(features)).softmax(0)
        best = int(shares.argmax())
        told = {n: round(v, 3) for n, v in zip(self.names, features.tolist(), strict=True)}
        known = {n: v for n, v in told.items() if not math.isnan(v)}
        reason = f"{self.strategies[best]} has the greatest share, {float(shares[best]):.0%}"
        if int(self.steps):
            reason += (
                f"; over {int(self.steps)} steps of meta-training it named "
                f"{float(self.accuracies[best]):.0%} right (the best on average: "
                f"{self.strategies[int(self.accuracies.argmax())]})"
            )
        reason += "; of this task: " + ", ".join(f"{n} {v:g}" for n, v in known.items())
        return Advice(self.strategies[best], shares.tolist(), known, reason)

    def on(self, tasks: Tasks) -> tuple[Callable[[Support], Predictor], Tasks]:
        map_examples = getattr(tasks, "map_examples", None)
        if map_examples is None or not all(s.keeps_backbone for s in self.strategies):
            return super().on(tasks)
        device = device_of(self)
        embedded = map_examples(lambda x: widen(self.backbone(x.to(device))))
        if embedded is None:
            return super().on(tasks)

        def adapt(shown: Support) -> Predictor:
            self.check(shown)
            return self._advise(shown).strategy.adapt(nn.Identity(), self.centre, shown)

        return adapt, embedded

    def loss(self, episode: Episode) -> Tensor:
        """The expected error rate of the choice."""
        self.check(episode.support)
        support, query = episode.support, episode.query
        with torch.no_grad():
            shown, asked = self._embedded(support), widen(self.backbone(query.x))
            features = self._features(shown)
            right = []
            for strategy in self.strategies:
                if strategy.keeps_backbone:
                    scores = strategy.adapt(nn.Identity(), self.centre, shown)(asked)
                else:
                    scores = strategy.adapt(self.backbone, self.centre, support)(query.x)
                right.append((scores.argmax(1) == query.y).to(scores.dtype).mean())
            accuracies = torch.stack(right)
            if self.training:
                self._remember(torch.cat([shown.x, asked]), features, accuracies)
        shares = self.chooser(self._standardised(features)).softmax(0)
        return (shares * (1 - accuracies)).sum()

    def _remember(self, embedded: Tensor, features: Tensor, accuracies: Tensor) -> None:
        self.steps += 1
        share = max(MOMENTUM, 1 / int(self.steps))
        known = torch.where(features.isnan(), self.feature_mean, features)
        self.centre.lerp_(embedded.mean(0), share)
        self.feature_mean.lerp_(known, share)
        self.feature_square.lerp_(known.square(), share)
        self.accuracies.lerp_(accuracies, share)

    def _embedded(self, support: Support) -> Support:
        return Support(widen(self.backbone(support.x)), support.y, support.n_way)

    def _standardised(self, features: Tensor) -> Tensor:
        deviation = (self.feature_square - self.feature_mean.square()).clamp_min(1e-6).sqrt()
        z = (features - self.feature_mean) / deviation
        return z.nan_to_num(0.0).clamp(-FARTHEST, FARTHEST)

    def _features(self, support: Support) -> Tensor:
        """The meta-features of a task of embedded examples; NaN for what it does not show."""
        x, n_way = support.x, support.n_way or 0
        means = class_means(x, support)
        apart = F.pdist(means).square().mean() if n_way > 1 else x.new_zeros(())
        far = (x - self.centre).square().sum(1).mean().clamp_min(1e-12)
        ways, shots = x.new_tensor(float(n_way)).log(), x.new_tensor(len(x) / n_way).log()
        return torch.stack(
            [ways, shots, (apart / far + 1e-6).log(), far.log(), *self._held_out(support)]
        )

    def _held_out(self, support: Support) -> list[Tensor]:
        """Accuracies on parts of the support set after learning the others."""
        turn = encode_targets(support.y, support.n_way or 0, support.x).cumsum(0)
        turn = turn[torch.arange(len(support)), support.y].long() - 1  # 0 for a class's first
        folds = min(FOLDS, int(support.y.bincount(minlength=support.n_way or 0).min()))
        if folds < 2:
            return [support.x.new_tensor(math.nan)] * len(self.tried)
        right = support.x.new_zeros(len(self.tried))
        for fold in range(folds):
            out = turn % folds == fold
            rest = Support(support.x[~out], support.y[~out], support.n_way)
            for i, strategy in enumerate(self.tried):
                predict = strategy.adapt(nn.Identity(), self.centre, rest)
                right[i] += (predict(support.x[out]).argmax(1) == support.y[out]).sum()
        return list(right / len(support))
