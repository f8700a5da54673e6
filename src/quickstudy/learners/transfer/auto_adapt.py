"""Learn from many tasks which ways of adapting a backbone suit which task.

The choice among algorithms by properties of the problem: Rice, "The Algorithm Selection Problem",
1976. Here it is soft, a mixture of experts (Jacobs, Jordan, Nowlan & Hinton, "Adaptive Mixtures of
Local Experts", 1991) whose gate is meta-learned and whose experts are ways to adapt.
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
    embed_once,
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

MAX_DEVIATIONS = 3.0
"""Standard deviations beyond which a meta-feature counts as this far."""

INITIAL_SCALE = 10.0
"""First factor on scores of strategies in closed form, which are too alike for a softmax."""


@dataclass(frozen=True)
class Advice:
    """What is chosen for a task, and why.

    Args:
        strategy: The strategy of the greatest share.
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

    The prediction is a mixture, sum_k softmax(W f + b)_k * softmax(a_k * scores_k), over
    strategies k. Meta-training leaves the backbone as it is, and finds W, b and the scales a by the
    cross-entropy of the mixture on the queries, for which every strategy is tried on every task.

    The meta-features f: ways; shots; how far apart classes are for their spread; how far the task
    lies from what the backbone was trained on; and for each strategy that trains nothing, its
    leave-one-out accuracy on the support set (for 1 shot there is none). They are standardised by
    their moving averages over tasks, and cut off at 3 standard deviations, so that a task unlike
    any other is judged as the most extreme one that was met. With strategies of raw inputs, and
    tasks of other domains in meta-training, it falls back on the support set alone where features
    do not help.

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
        scales = [math.log(INITIAL_SCALE) if s.is_closed_form else 0.0 for s in self.strategies]
        self.log_scales = nn.Parameter(torch.tensor(scales))
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
        predict = self._adapt(self._embedded(support), support)
        return lambda x: predict(self._embed(x), x)

    def advise(self, support: Support) -> Advice:
        """Which strategy is favoured for a task, and why."""
        self.check(support)
        with torch.no_grad():
            features = self._features(self._embedded(support))
            shares = self._log_shares(features).exp()
        best = int(shares.argmax())
        rounded = {n: round(v, 3) for n, v in zip(self.names, features.tolist(), strict=True)}
        known = {n: v for n, v in rounded.items() if not math.isnan(v)}
        reason = f"{self.strategies[best]} has the greatest share, {float(shares[best]):.0%}"
        if int(self.steps):
            reason += (
                f"; over {int(self.steps)} steps of meta-training it named "
                f"{float(self.accuracies[best]):.0%} right (the best on average: "
                f"{self.strategies[int(self.accuracies.argmax())]})"
            )
        reason += "; of this task: " + ", ".join(f"{n} {v:g}" for n, v in known.items())
        return Advice(self.strategies[best], shares.tolist(), known, reason)

    def compare(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """What every strategy would have scored on a task, and what AutoAdapt does.

        Returns:
            Accuracies on the queries: of each strategy, shape (k,), and of the mixture, a scalar.
        """
        self.check(episode.support)
        with torch.no_grad():
            embedded_support = self._embedded(episode.support)
            x = episode.query.x
            scores = self._learn(embedded_support, episode.support)(self._embed(x), x)
            mixed = self._mix(self._features(embedded_support), scores)
        right = torch.cat([scores, mixed[None]]).argmax(2)
        accuracies = (right == episode.query.y).to(scores.dtype).mean(1)
        return accuracies[:-1], accuracies[-1]

    def on(self, tasks: Tasks) -> tuple[Callable[[Support], Predictor], Tasks]:
        can_embed = all(s.keeps_backbone for s in self.strategies)
        embedded = embed_once(self, self._embed, tasks) if can_embed else None
        if embedded is None:
            return super().on(tasks)

        def adapt(support: Support) -> Predictor:
            self.check(support)
            predict = self._adapt(support, support)
            return lambda x: predict(x, x)

        return adapt, embedded

    def loss(self, episode: Episode) -> Tensor:
        """Cross-entropy of the mixture on the queries."""
        self.check(episode.support)
        support, query = episode.support, episode.query
        with torch.no_grad():
            embedded_support, embedded_x = self._embedded(support), self._embed(query.x)
            if self.training:
                self.steps += 1
                embedded = torch.cat([embedded_support.x, embedded_x])[:, : len(self.centre)]
                self.centre.lerp_(embedded.mean(0), self._share)
            scores = self._learn(embedded_support, support)(embedded_x, query.x)
            features = self._features(embedded_support)
            if self.training:
                self._remember(features, (scores.argmax(2) == query.y).to(scores.dtype).mean(1))
        return F.nll_loss(self._mix(features, scores), query.y)

    def _adapt(
        self, embedded_support: Support, support: Support
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Log-probabilities of the mixture, of embedded queries and the queries themselves."""
        features, learned = self._features(embedded_support), self._learn(embedded_support, support)
        return lambda embedded_x, x: self._mix(features, learned(embedded_x, x))

    def _learn(
        self, embedded_support: Support, support: Support
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The scores (k, n, n_way) by each strategy, of embedded queries and these themselves."""
        predictors = [
            s.adapt(nn.Identity(), self.centre, self._view(s, embedded_support))
            if s.keeps_backbone
            else s.adapt(self.backbone, self.centre, support)
            for s in self.strategies
        ]

        def scores(embedded_x: Tensor, x: Tensor) -> Tensor:
            pairs = zip(self.strategies, predictors, strict=True)
            return torch.stack(
                [p(self._part(s, embedded_x) if s.keeps_backbone else x) for s, p in pairs]
            )

        return scores

    def _mix(self, features: Tensor, scores: Tensor) -> Tensor:
        """Log-probabilities (n, n_way) of the mixture of (k, n, n_way)."""
        each = (self.log_scales.exp()[:, None, None] * scores).log_softmax(2)
        return (self._log_shares(features)[:, None, None] + each).logsumexp(0)

    def _log_shares(self, features: Tensor) -> Tensor:
        return self.chooser(self._standardised(features)).log_softmax(0)

    @property
    def _share(self) -> float:
        """Of a task in the moving averages."""
        return max(MOMENTUM, 1 / int(self.steps))

    def _remember(self, features: Tensor, accuracies: Tensor) -> None:
        known = torch.where(features.isnan(), self.feature_mean, features)
        self.feature_mean.lerp_(known, self._share)
        self.feature_square.lerp_(known.square(), self._share)
        self.accuracies.lerp_(accuracies, self._share)

    def _embed(self, x: Tensor) -> Tensor:
        """Features (n, d), and beside them the inputs where a strategy takes these."""
        features = widen(self.backbone(x))
        if not any(s.is_raw for s in self.strategies):
            return features
        return torch.cat([features, x.flatten(1).to(features.dtype)], dim=1)

    def _embedded(self, support: Support) -> Support:
        return Support(self._embed(support.x), support.y, support.n_way)

    def _part(self, strategy: TransferStrategy, embedded: Tensor) -> Tensor:
        """What a strategy takes of what `_embed` made."""
        d = len(self.centre)
        return embedded[:, d:] if strategy.is_raw else embedded[:, :d]

    def _view(self, strategy: TransferStrategy, embedded_support: Support) -> Support:
        return Support(
            self._part(strategy, embedded_support.x), embedded_support.y, embedded_support.n_way
        )

    def _standardised(self, features: Tensor) -> Tensor:
        deviation = (self.feature_square - self.feature_mean.square()).clamp_min(1e-6).sqrt()
        z = (features - self.feature_mean) / deviation
        return z.nan_to_num(0.0).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)

    def _features(self, support: Support) -> Tensor:
        """The meta-features of a task of embedded examples; NaN for what it does not show."""
        x, n_way = support.x[:, : len(self.centre)], support.n_way or 0
        means = class_means(x, support)
        apart = F.pdist(means).square().mean() if n_way > 1 else x.new_zeros(())
        far = (x - self.centre).square().sum(1).mean().clamp_min(1e-12)
        ways, shots = x.new_tensor(float(n_way)).log(), x.new_tensor(len(x) / n_way).log()
        return torch.stack(
            [ways, shots, (apart / far + 1e-6).log(), far.log(), *self._held_out(support)]
        )

    def _held_out(self, support: Support) -> list[Tensor]:
        """Leave-one-out accuracies of the strategies that train nothing."""
        if int(support.y.bincount(minlength=support.n_way or 0).min()) < 2:
            return [support.x.new_tensor(math.nan)] * len(self.tried)
        left_out = [s.left_out(self.centre, self._view(s, support)) for s in self.tried]
        return [(scores.argmax(1) == support.y).to(scores.dtype).mean() for scores in left_out]
