"""The decision-pretrained transformer: learn to name the best action, and act by what is named.

Lee, Xie, Pacchiano, Chandak, Finn, Nachum & Brunskill, "Supervised Pretraining Can Learn In-Context
Reinforcement Learning", 2023, arXiv:2306.14892. Shapes: t steps, n environments, k choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quickstudy.errors import UsageError
from quickstudy.learners.reinforcement.experience import Experience, play
from quickstudy.learners.reinforcement.history import HistoryLearner
from quickstudy.learners.reinforcement.memories import AttentiveMemory
from quickstudy.learners.reinforcement.oracles import oracle
from quickstudy.tasks.environments import Box, Discrete, Environments, Step
from quickstudy.tasks.environments.trials import Trial

__all__ = ["DecisionPretrainedTransformer"]


@dataclass(frozen=True)
class _Labelled:
    """Experience, and the best action at each step of it, (t, n)."""

    experience: Experience
    best: Tensor


class DecisionPretrainedTransformer(HistoryLearner):
    """A causal transformer that is trained, on histories of policies that know nothing, to predict
    what the oracle would do next. To act, it draws from its prediction, which is posterior sampling
    where the prediction is the posterior.

    Training tasks need an oracle (see `oracle`), and choices as actions.

    Differs from the paper: one history serves all its lengths, as the attention is causal; the
    policies that collect keep to one distribution over actions a task, a mixture of a Dirichlet
    draw and one action, as in the paper's code for bandits.

    Args:
        backbone: Maps observations (n, o) to features (n, d); says d in `out_features`.
        actions: What actions are.
        width: Of a token, a multiple of `heads`.
        layers, heads: Of the transformer.
        batches: Updates that the tasks of a meta-step are split into.

    Example:
        >>> from quickstudy.nn import Flatten
        >>> learner = DecisionPretrainedTransformer(Flatten((1,)), Discrete(5), width=8, heads=2)
        >>> policy = learner.policy()
        >>> policy.reset(3)
        >>> policy.act(torch.zeros(3, 1)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        backbone: nn.Module,
        actions: Discrete | Box,
        *,
        width: int = 32,
        layers: int = 4,
        heads: int = 4,
        batches: int = 1,
    ) -> None:
        if not isinstance(actions, Discrete):
            raise UsageError(f"expected actions that are choices, got {actions}")
        if batches < 1:
            raise UsageError(f"expected batches of 1 or more, got {batches}")
        size = self.input_size(backbone, actions)
        memory = AttentiveMemory(size, width, layers=layers, heads=heads)
        super().__init__(backbone, actions, memory, width)
        self.batches = batches

    def updates(self, tasks: Sequence[Trial]) -> Iterator[Sequence[_Labelled]]:
        environments = self.environments(tasks)
        collector = _Collector(environments)
        experience = play(environments, collector, tasks[0].n_shot + tasks[0].n_query)
        best = torch.stack(collector.best)
        for rows in torch.randperm(len(tasks)).tensor_split(min(self.batches, len(tasks))):
            yield [_Labelled(experience.of(rows), best[:, rows])]

    def loss(self, episode: _Labelled) -> Tensor:  # type: ignore[override]
        logits = self.through(episode.experience)  # (t, n, k)
        return nn.functional.cross_entropy(logits.flatten(0, 1), episode.best.flatten())


class _Collector:
    """Acts by a distribution that each task has for itself, and notes what the oracle would do."""

    def __init__(self, environments: Environments) -> None:
        self._oracle, self.best = oracle(environments), []
        n, k = environments.n, environments.family.actions
        assert isinstance(k, Discrete)
        spread = torch.distributions.Dirichlet(torch.ones(k.n)).sample((n,))  # (n, k)
        favourite = nn.functional.one_hot(torch.randint(k.n, (n,)), k.n)
        share = torch.randint(0, 11, (n, 1)) / 10
        self._probabilities = ((1 - share) * spread + share * favourite).to(environments.device)

    def reset(self, n: int) -> None:
        self._oracle.reset(n)

    def act(self, observations: Tensor) -> Tensor:
        self.best.append(self._oracle.act(observations))
        return torch.multinomial(self._probabilities, 1)[:, 0]

    def observe(self, actions: Tensor, step: Step) -> None:
        self._oracle.observe(actions, step)
