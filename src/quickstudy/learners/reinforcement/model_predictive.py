"""Model-predictive control: plan over a model of what a machine does next, act, and plan anew.

Shapes: n environments, c candidates, k actions of a plan, o numbers of an observation, a numbers
of an action.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import torch
from torch import Tensor

from quickstudy.errors import UsageError
from quickstudy.learners.base import Learner, Predictor, device_of
from quickstudy.learners.reinforcement.shooting import CrossEntropyMethod, Planner
from quickstudy.tasks import Support
from quickstudy.tasks.environments import Environments, Step
from quickstudy.tasks.environments.dynamics import Scaling
from quickstudy.tasks.environments.mechanics import Mechanics
from quickstudy.tasks.environments.options import check_whole

__all__ = ["AdaptiveModel", "DynamicsModel", "ModelPredictivePolicy", "TrueModel"]


class DynamicsModel(Protocol):
    """Says what n machines of a family do next, and may learn it as they go."""

    family: Mechanics
    device: torch.device

    def reset(self, n: int) -> None:
        """Begin with n machines, of which nothing is known."""
        ...

    def observe(self, observations: Tensor, actions: Tensor, next_observations: Tensor) -> None:
        """Learn from what each machine did: (n, o), (n, a), (n, o)."""
        ...

    def predict(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The next observations (n, c, o) after actions (n, c, a)."""
        ...


class TrueModel:
    """The machines' own dynamics, with their true parameters, which shows how good control could
    be.

    Args:
        environments: Those that are to be controlled.

    Raises:
        UsageError: If these are no machines.
    """

    def __init__(self, environments: Environments) -> None:
        self.family = _machines(environments.family)
        self.device = environments.device
        self._parameters, self._generator = environments.parameters, environments.generator

    def reset(self, n: int) -> None:
        if n != (rows := len(next(iter(self._parameters.values())))):
            raise UsageError(f"expected the {rows} environments of the model, got {n}")

    def observe(self, observations: Tensor, actions: Tensor, next_observations: Tensor) -> None:
        pass

    def predict(self, observations: Tensor, actions: Tensor) -> Tensor:
        n, c, _ = observations.shape
        parameters = {name: p.repeat_interleave(c, 0) for name, p in self._parameters.items()}
        state = self.family.state_of(observations.flatten(0, 1))
        state, *_ = self.family.step(parameters, state, actions.flatten(0, 1), self._generator)
        return self.family.observe(parameters, state).unflatten(0, (n, c))


class AdaptiveModel:
    """The dynamics that a learner meta-trained on `DynamicsTasks` knows of each machine, adapted
    to its last transitions.

    Sources: Nagabandi, Clavera, Liu, Fearing, Abbeel, Levine, Finn, "Learning to Adapt in Dynamic,
    Real-World Environments through Meta-Reinforcement Learning", ICLR 2019, arXiv:1803.11347,
    algorithm 2.

    Differs from the paper: the learner adapts every few steps, where the paper adapts at each, and
    not to fewer transitions than `min_shot`, since one that was meta-trained on many may be worse
    after a few than before.

    Args:
        learner: Maps an observation and an action to the change of the observation. It is put in
            evaluation mode.
        family: The machines, as in meta-training.
        n_shot: Transitions that are kept of each machine. With 0, nothing is learned.
        min_shot: Transitions from which on the learner adapts.
        every: Steps from one time of adapting to the next.

    Raises:
        UsageError: If `family` has no machines, or the learner is of another one.
        DataError: If the learner predicts nothing without transitions.
    """

    def __init__(
        self,
        learner: Learner,
        family: Mechanics,
        *,
        n_shot: int = 50,
        min_shot: int = 20,
        every: int = 10,
    ) -> None:
        self.learner, self.family = learner.eval(), _machines(family)
        self.device = device_of(learner)
        self.n_shot = check_whole("n_shot", n_shot, least=0)
        self.min_shot = check_whole("min_shot", min_shot)
        self.every = check_whole("every", every)
        self.scaling = Scaling(*(part.to(self.device) for part in Scaling.of(type(family))))
        self._unadapted = self._without_transitions()

    def reset(self, n: int) -> None:
        self._predictors: list[Predictor] = []
        self._recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.n_shot)
        self._steps = 0

    def observe(self, observations: Tensor, actions: Tensor, next_observations: Tensor) -> None:
        inputs = self.scaling.inputs(observations, actions)
        self._recent.append((inputs, self.scaling.targets(observations, next_observations)))
        self._steps += 1
        enough = len(self._recent) >= min(self.min_shot, self.n_shot) > 0
        if enough and self._steps % self.every == 0:
            x, y = (torch.stack(parts, 1) for parts in zip(*self._recent, strict=True))
            self._predictors = [self.learner.adapt(Support(*one)) for one in zip(x, y, strict=True)]

    @torch.no_grad()
    def predict(self, observations: Tensor, actions: Tensor) -> Tensor:
        x = self.scaling.inputs(observations, actions)  # (n, c, o + a)
        if self._predictors:
            found = [predict(rows) for predict, rows in zip(self._predictors, x, strict=True)]
            targets = torch.stack(found)
        else:
            targets = self._unadapted(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.scaling.next_observations(observations, targets)

    def _without_transitions(self) -> Predictor:
        o = self.family.observation_size
        x = torch.zeros(1, o + self.family.actions.size, device=self.device)
        y = torch.zeros(0, o, device=self.device)
        try:
            predict = self.learner.adapt(Support(x[:0], y))
            with torch.no_grad():
                size = predict(x).shape[1]
        except RuntimeError as error:
            raise UsageError(self._mismatch(str(error).partition("\n")[0])) from None
        if size != o:
            raise UsageError(self._mismatch(f"predictions of {size} numbers"))
        return predict

    def _mismatch(self, found: str) -> str:
        o, a = self.family.observation_size, self.family.actions.size
        return (
            f"expected a learner of the dynamics of {type(self.family).__name__}, of {o + a} "
            f"numbers to {o}, got {found}"
        )


class ModelPredictivePolicy:
    """Acts by the first action of a plan over a model, and then plans anew from what it sees.

    Args:
        model: What the machines are believed to do next.
        planner: Finds plans; the cross-entropy method if None.
        seed: Decides which plans are tried.

    Example:
        >>> from quickstudy.learners.reinforcement import play
        >>> from quickstudy.tasks.environments import Pendulums
        >>> environments = Pendulums(horizon=20).environments(range(2))
        >>> policy = ModelPredictivePolicy(TrueModel(environments))
        >>> play(environments, policy).returns(20).shape
        torch.Size([1, 2])
    """

    def __init__(
        self, model: DynamicsModel, planner: Planner | None = None, *, seed: int = 0
    ) -> None:
        self.model, self.planner = model, planner or CrossEntropyMethod()
        self.seed = check_whole("seed", seed, least=0)

    def reset(self, n: int) -> None:
        self.model.reset(n)
        self._generator = torch.Generator(self.model.device).manual_seed(self.seed)
        self._begin(n)

    def act(self, observations: Tensor) -> Tensor:
        self._observations = observations
        if self._held == 0:
            self._plan = self.planner.plan(
                self._returns, self._plan, self.model.family.actions, self._generator
            )
        return self._plan[:, 0]

    def observe(self, actions: Tensor, step: Step) -> None:
        self.model.observe(self._observations, actions, step.final_observations)
        self._held = (self._held + 1) % self.planner.action_repeat
        if bool(step.dones.all()):
            self._begin(len(actions))
        elif self._held == 0:  # go on from what is left of the plan
            self._plan = torch.cat([self._plan[:, 1:], self._plan[:, -1:]], 1)

    def _begin(self, n: int) -> None:
        """An episode, without a plan yet."""
        actions = self.model.family.actions
        middle = (actions.low + actions.high) / 2
        shape = (n, self.planner.length, actions.size)
        self._plan, self._held = torch.full(shape, middle, device=self.model.device), 0

    def _returns(self, plans: Tensor) -> Tensor:
        """What the model says of the sums of rewards (n, c) of plans (n, c, k, a)."""
        n, c = plans.shape[:2]
        before = self._observations[:, None].expand(n, c, -1)
        total = plans.new_zeros(n, c)
        for t in range(self.planner.horizon):
            actions = plans[:, :, t // self.planner.action_repeat]
            after = self.model.predict(before, actions)
            total = total + self.model.family.reward(before, actions, after)
            before = after
        return total


def _machines(family: object) -> Mechanics:
    """Refuse a family whose reward does not follow from what is seen."""
    if not isinstance(family, Mechanics):
        raise UsageError(
            f"expected machines to plan for, such as Pendulums, got {type(family).__name__}"
        )
    return family
