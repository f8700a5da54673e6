"""MAML for policies: weights from which a step or two of policy gradient learn a new task.

Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", 2017,
arXiv:1703.03400, algorithm 3. Shapes: t steps, m tasks, e episodes of a task that are played side
by side, n = m * e environments, b = t * e steps of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.func import functional_call, vmap

from quickstudy.errors import UsageError
from quickstudy.learners.base import MetaGradient, Predictor, device_of, feature_size, trainable
from quickstudy.learners.reinforcement.advantages import generalized_advantages, standardised
from quickstudy.learners.reinforcement.base import ReinforcementLearner
from quickstudy.learners.reinforcement.baseline import linear_baseline
from quickstudy.learners.reinforcement.experience import Experience, play
from quickstudy.learners.reinforcement.policies import ActionHead, distribution_of
from quickstudy.learners.reinforcement.trpo import trust_region_step
from quickstudy.tasks.environments import Box, Discrete, Step
from quickstudy.tasks.environments.trials import Trial, Trials

__all__ = ["MAMLTRPO"]

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class _Batch:
    """Experience of m tasks: before each inner step, and of the adapted policies.

    Args:
        n_tasks: m.
        support: One a step.
        query: After the last step.
    """

    n_tasks: int
    support: list[Experience]
    query: Experience


@dataclass(frozen=True)
class _Steps:
    """Steps of m tasks, and how much better each action was than expected.

    Args:
        observations: (m, b, o).
        actions: (m, b), whole numbers, or (m, b, a).
        advantages: (m, b), of mean 0 and standard deviation 1 in the active steps of each task.
        active: (m, b), 1 or 0.
    """

    observations: Tensor
    actions: Tensor
    advantages: Tensor
    active: Tensor

    def mean_by_task(self, values: Tensor) -> Tensor:
        """Of values (m, b) of active steps: (m,)."""
        return (values * self.active).sum(1) / self.active.sum(1)

    def mean(self, values: Tensor) -> Tensor:
        """Of values (m, b) of active steps."""
        return (values * self.active).sum() / self.active.sum()

    def every(self, stride: int) -> _Steps:
        """One step of `stride`."""
        parts = (self.observations, self.actions, self.advantages, self.active)
        return _Steps(*(part[:, ::stride] for part in parts))


class MAMLTRPO(ReinforcementLearner):
    """Adapts a policy by steps of policy gradient on its own episodes, and meta-trains where they
    start from, through these steps, by trust-region policy optimisation.

    The engine gets the step of the trust region, negated, as the meta-gradient: train with SGD and
    a learning rate of 1. With `inner_steps=0` in training this is a multi-task policy, and steps
    in a test fine-tune it.

    Args:
        backbone: Maps observations (n, o) to features (n, d); says d in `out_features`.
        actions: What actions are.
        inner_lr: Rate of the first step of policy gradient.
        later_lr: Rate of the others; half of the first if not given, as in the paper's code.
        inner_steps: Steps that adapt.
        first_order: Whether meta-training takes the inner gradients for constant.
        discount, decay: Of generalized advantages.
        max_divergence, cg_steps, damping: Of the trust region.
        thinning: The curvature of the trust region is taken from one step of this many; what its
            steps are judged by, from all.
        deviation: See `ActionHead`.

    Example:
        >>> from quickstudy.nn import MLP
        >>> learner = MAMLTRPO(MLP((2,)), Box(2, -0.1, 0.1))
        >>> policy = learner.policy()
        >>> policy.reset(4)
        >>> policy.act(torch.zeros(4, 2)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        backbone: nn.Module,
        actions: Discrete | Box,
        *,
        inner_lr: float = 0.1,
        later_lr: float | None = None,
        inner_steps: int = 1,
        first_order: bool = False,
        discount: float = 0.99,
        decay: float = 1.0,
        max_divergence: float = 0.01,
        cg_steps: int = 10,
        damping: float = 1e-2,
        thinning: int = 4,
        deviation: float = 1.0,
    ) -> None:
        super().__init__(actions)
        if inner_steps < 0 or inner_lr <= 0 or max_divergence <= 0 or thinning < 1:
            raise UsageError(
                "expected inner_steps >= 0, inner_lr > 0, max_divergence > 0 and thinning >= 1, "
                f"got {inner_steps}, {inner_lr}, {max_divergence} and {thinning}"
            )
        self.inner_lr, self.inner_steps, self.first_order = inner_lr, inner_steps, first_order
        self.later_lr = inner_lr / 2 if later_lr is None else later_lr
        self.discount, self.decay = discount, decay
        self.max_divergence, self.cg_steps, self.damping = max_divergence, cg_steps, damping
        self.thinning = thinning
        self.network = nn.Sequential()
        self.network.add_module("backbone", backbone)
        self.network.add_module("head", ActionHead(feature_size(backbone), actions, deviation))

    def adapt(self, support: Experience) -> Predictor:
        weights = self._initial(1)
        for step in range(self.inner_steps):
            weights = self._inner_step(weights, self._steps(support, 1), step, create_graph=False)
        return lambda x: functional_call(self.network, {k: w[0] for k, w in weights.items()}, (x,))

    def policy(self) -> MAMLPolicy:
        return MAMLPolicy(self)

    def query_episodes(self, trials: Trials, indices: Sequence[int], seed: int = 0) -> Experience:
        """Those after `inner_steps` steps, each from `n_shot` episodes; all episodes of a step are
        played side by side."""
        *_, last = self._query_episodes(trials, indices, self.inner_steps, seed)
        return last()

    def adaptation_curve(
        self, trials: Trials, indices: Sequence[int], n: int, seed: int = 0
    ) -> Tensor:
        """As of `ReinforcementLearner`, where a time of adapting is a step from `n_shot`
        episodes."""
        after_each = self._query_episodes(trials, indices, n, seed)
        returns = [query().returns(trials.family.horizon)[0] for query in after_each]
        return torch.stack([each.unflatten(0, (len(indices), -1)).mean(1) for each in returns])

    def adapts_by(self, trials: Trials) -> str:
        return f"steps of {trials.n_shot} episodes"

    def _query_episodes(
        self, trials: Trials, indices: Sequence[int], n_steps: int, seed: int
    ) -> Iterator[Callable[[], Experience]]:
        """What plays the query episodes before the first step, and after each."""
        if n_steps:
            self._check_shots(trials.n_shot)
        family, weights = trials.family, self._initial(len(indices))

        def episodes(n: int, step: int, weights: Weights) -> Experience:
            environments = family.environments(
                indices, copies=n, seed=seed + step, device=device_of(self)
            )
            return play(environments, _AdaptedPolicy(self, weights))

        for step in range(n_steps + 1):
            yield partial(episodes, trials.n_query, step, weights)
            if step < n_steps:
                support = self._steps(episodes(trials.n_shot, step, weights), len(indices))
                weights = self._inner_step(weights, support, step, create_graph=False)

    def copies(self, trials: Trials) -> int:
        return max(trials.n_shot, trials.n_query)

    def updates(self, tasks: Sequence[Trial]) -> Iterator[Sequence[_Batch]]:
        if self.inner_steps:
            self._check_shots(tasks[0].n_shot)
        weights, support = self._initial(len(tasks)), []
        for step in range(self.inner_steps):
            environments = self.environments(tasks, tasks[0].n_shot)
            support.append(play(environments, _AdaptedPolicy(self, weights)))
            weights = self._inner_step(
                weights, self._steps(support[-1], len(tasks)), step, create_graph=False
            )
        environments = self.environments(tasks, tasks[0].n_query)
        query = play(environments, _AdaptedPolicy(self, weights))
        yield [_Batch(len(tasks), support, query)]

    def meta_gradient(self, episode: _Batch) -> MetaGradient:
        parameters = trainable(self)
        names = [name.removeprefix("network.") for name in parameters]
        n_tasks = episode.n_tasks
        support = [self._steps(experience, n_tasks) for experience in episode.support]
        query = self._steps(episode.query, n_tasks)
        few_support = [steps.every(self.thinning) for steps in support]
        few_query = query.every(self.thinning)

        start = [parameter.detach() for parameter in parameters.values()]

        def adapted(weights: Sequence[Tensor], support: Sequence[_Steps]) -> Weights:
            return self._adapted(
                _expanded(dict(zip(names, weights, strict=True)), n_tasks), support
            )

        with torch.no_grad():
            weights = adapted(start, support)
            before = self._distribution(weights, query)
            log_before = before.log_prob(query.actions)
            weights = adapted(start, few_support)
            few_before = self._distribution(weights, few_query)

        def objective(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            now = self._distribution(adapted(weights, support), query)
            ratio = (now.log_prob(query.actions) - log_before).exp()
            return query.mean(ratio * query.advantages), query.mean(kl_divergence(before, now))

        def divergence(weights: Sequence[Tensor]) -> Tensor:
            now = self._distribution(adapted(weights, few_support), few_query)
            return few_query.mean(kl_divergence(few_before, now))

        change = trust_region_step(
            objective,
            start,
            divergence=divergence,
            max_divergence=self.max_divergence,
            cg_steps=self.cg_steps,
            damping=self.damping,
        )
        gradients = {name: -c for name, c in zip(parameters, change, strict=True)}
        # The gain is 0 before the step; what falls as the policy improves is minus the return.
        loss = -episode.query.rewards.sum(0).mean()
        return MetaGradient(loss, gradients, {n: b.clone() for n, b in self.named_buffers()})

    def _check_shots(self, n_shot: int) -> None:
        if not n_shot:
            raise UsageError(
                "expected n_shot episodes to adapt to, got none: give the tasks n_shot, or the "
                "learner inner_steps = 0"
            )

    def _initial(self, n_tasks: int) -> Weights:
        """The weights to start from, once for each task: (m, ...)."""
        weights = {name: w.detach() for name, w in self.network.named_parameters()}
        return _expanded(weights, n_tasks)

    def _adapted(self, weights: Weights, support: Sequence[_Steps]) -> Weights:
        create_graph = torch.is_grad_enabled() and not self.first_order
        for step, steps in enumerate(support):
            weights = self._inner_step(weights, steps, step, create_graph=create_graph)
        return weights

    def _inner_step(
        self, weights: Weights, steps: _Steps, step: int, *, create_graph: bool
    ) -> Weights:
        """A step of policy gradient for each task, on a mean over its own steps."""
        with torch.enable_grad():
            each = {
                name: w if w.requires_grad else w.detach().requires_grad_()
                for name, w in weights.items()
            }
            log_probs = self._distribution(each, steps).log_prob(steps.actions)  # (m, b)
            gains = steps.mean_by_task(log_probs * steps.advantages)
            gradients = torch.autograd.grad(
                gains.sum(), list(each.values()), create_graph=create_graph
            )
        rate = self.later_lr if step else self.inner_lr
        pairs = zip(weights.items(), gradients, strict=True)
        return {name: w + rate * gradient for (name, w), gradient in pairs}

    def _distribution(self, weights: Weights, steps: _Steps) -> Any:
        """Over actions (m, b), by each task's own weights."""
        return distribution_of(self.actions, self._forward(weights, steps.observations))

    def _forward(self, weights: Weights, x: Tensor) -> Tensor:
        """(m, b, o) to (m, b, k)."""
        return vmap(lambda w, each: functional_call(self.network, w, (each,)))(weights, x)

    def _steps(self, experience: Experience, n_tasks: int) -> _Steps:
        rewards, ends = experience.rewards, experience.ends
        zeros = rewards.new_zeros(len(rewards) + 1, rewards.shape[1])
        returns = generalized_advantages(rewards, zeros, ends, self.discount, 1.0)
        values = linear_baseline(experience, returns, n_tasks)
        values = torch.cat([values, torch.zeros_like(values[:1])])
        advantages = generalized_advantages(rewards, values, ends, self.discount, self.decay)

        def by_task(part: Tensor) -> Tensor:  # (t, n, ...) -> (m, b, ...)
            return part.unflatten(1, (n_tasks, -1)).transpose(0, 1).flatten(1, 2)

        active = by_task(experience.active)
        return _Steps(
            by_task(experience.observations),
            by_task(experience.actions),
            standardised(by_task(advantages), active, (1,)),
            active.to(advantages),
        )


def _expanded(weights: Weights, n_tasks: int) -> Weights:
    """Once for each task: (m, ...)."""
    return {name: w.expand(n_tasks, *w.shape) for name, w in weights.items()}


class _AdaptedPolicy:
    """Acts by weights of each task."""

    def __init__(self, learner: MAMLTRPO, weights: Weights) -> None:
        self.learner, self.weights = learner, weights

    def reset(self, n: int) -> None:
        self._n_tasks = next(iter(self.weights.values())).shape[0]

    def act(self, observations: Tensor) -> Tensor:
        by_task = observations.unflatten(0, (self._n_tasks, -1))  # (m, e, o)
        out = self.learner._forward(self.weights, by_task).flatten(0, 1)
        return distribution_of(self.learner.actions, out).sample()

    def observe(self, actions: Tensor, step: Step) -> None:
        """Nothing: weights change between episodes."""


class MAMLPolicy:
    """Acts in trials of one episode after the other, and takes a step of policy gradient after
    each of the first."""

    def __init__(self, learner: MAMLTRPO) -> None:
        self.learner = learner

    def reset(self, n: int) -> None:
        self._weights, self._n_steps = self.learner._initial(n), 0
        self._episode: list[tuple[Tensor, Tensor, Step]] = []

    def act(self, observations: Tensor) -> Tensor:
        self._observations = observations
        out = self.learner._forward(self._weights, observations[:, None])[:, 0]
        return distribution_of(self.learner.actions, out).sample()

    def observe(self, actions: Tensor, step: Step) -> None:
        if not bool(step.active.any()):
            return  # all wait for the horizon
        self._episode.append((self._observations, actions, step))
        if not bool(step.dones.all()):
            return
        if self._n_steps < self.learner.inner_steps:
            n_tasks = step.rewards.shape[0]
            steps = self.learner._steps(Experience.of_steps(self._episode), n_tasks)
            self._weights = self.learner._inner_step(
                self._weights, steps, self._n_steps, create_graph=False
            )
            self._weights = {name: w.detach() for name, w in self._weights.items()}
            self._n_steps += 1
        self._episode = []
