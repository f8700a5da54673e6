"""A prior for the parameters of a meta-level, learned over many data sets.

A small shop has too few users to learn a meta-level from. What serves which user is much the same
elsewhere: so the parameters are learned jointly on many data sets, and those of a new one start
from there and are drawn towards it.

Shapes: C configurations, F meta-features of a user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from quickstudy.apps.recommend.meta_level.base import MetaLevel
from quickstudy.apps.recommend.meta_level.inputs import MetaExamples

__all__ = ["LevelPrior", "learn_prior", "shipped_prior", "write_priors"]

SHIPPED = Path(__file__).parents[3] / "shipped" / "recommender_level.json"

BY_CONFIGURATION = {
    "RatingLevel": {"weights": 0, "weights_by_threshold": 0, "weights_by_user": 1},
    "ChoiceLevel": {"weights": 0, "weights_by_user": 1},
}
BY_CONFIGURATION["UnorderedChoiceLevel"] = BY_CONFIGURATION["ChoiceLevel"]
"""Parameters of each class with a dimension of configurations, and which one it is."""

BY_FEATURE = ("weights_by_user", "thresholds_by_user", "log_scale_by_user")
"""Parameters whose first dimension are the meta-features of a user. A data set's own attributes
come after the others, and the prior says nothing of them."""


@dataclass(frozen=True, eq=False)
class LevelPrior:
    """Parameters of a meta-level to start from.

    Args:
        configurations: Their names.
        parameters: By name.
    """

    configurations: list[str]
    parameters: Mapping[str, Tensor]

    def start(self, level: MetaLevel) -> dict[str, Tensor]:
        """The parameters of an initialised level, those that the prior knows set to it. Weights of
        configurations that it does not know are 0."""
        names = list(map(str, level.configurations))
        positions = [names.index(name) for name in self.configurations]
        of_configurations = BY_CONFIGURATION[type(level).__name__]
        started = {}
        for name, value in self.parameters.items():
            start = level.parameters[name].clone()
            if name in BY_FEATURE or name in of_configurations:
                start = torch.zeros_like(start)
            known = start[: len(value)] if name in BY_FEATURE else start
            if name in of_configurations:
                known.index_copy_(of_configurations[name], torch.tensor(positions), value)
            elif name == "weights_by_item":
                known[:, [*positions, len(names)]] = value
            else:
                known[: len(value)] = value
            started[name] = start
        return started


def learn_prior(
    levels: Sequence[MetaLevel], examples: Sequence[MetaExamples], n_iterations: int = 40
) -> LevelPrior:
    """Learn the parameters that several data sets share, jointly with what each has of its own
    (thresholds, scale).

    Args:
        levels: New meta-levels of kind "meta" and of one class, with the same configurations; one
            for each data set.
        examples: Of each data set, whose users have no attributes.
        n_iterations: Of L-BFGS.
    """
    for level, of_level in zip(levels, examples, strict=True):
        level.initialise(of_level)
    first = levels[0]
    names = [*first.LEARNED_IN_BLENDS, *first.LEARNED_BY_USER]
    names = [name for name in names if first.parameters[name].ndim]
    shared = {
        name: torch.stack([level.parameters[name] for level in levels]).mean(0) for name in names
    }
    own = []
    for level in levels:
        level.parameters |= shared
        own += [level.parameters[name] for name in level.LEARNED_ALWAYS]
    learned = [tensor.requires_grad_() for tensor in (*shared.values(), *own)]
    centres = {name: value.detach().clone() for name, value in shared.items()}
    objectives = [level.objective(e) for level, e in zip(levels, examples, strict=True)]
    n_examples = sum(len(e.targets) for e in examples)
    optimizer = torch.optim.LBFGS(
        learned, max_iter=n_iterations, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.stack([objective() for objective in objectives]).mean()
        loss = loss + first.penalty(centres, n_examples)
        loss.backward()
        return loss

    optimizer.step(closure)
    return LevelPrior(
        list(map(str, first.configurations)),
        {name: value.detach() for name, value in shared.items()},
    )


def write_priors(priors: Mapping[str, LevelPrior], path: Path = SHIPPED) -> None:
    """Write the priors of classes of meta-levels, by the name of the class, as JSON."""
    written = {
        name: {
            "configurations": prior.configurations,
            "parameters": {
                key: [round(x, 5) for x in value.flatten().tolist()]
                for key, value in prior.parameters.items()
            },
            "shapes": {key: list(value.shape) for key, value in prior.parameters.items()},
        }
        for name, prior in priors.items()
    }
    path.write_text(json.dumps(written) + "\n")


@cache
def shipped_prior(level: str) -> LevelPrior | None:
    """The prior for a class of meta-levels, by its name, that comes with the package."""
    written = json.loads(SHIPPED.read_text()).get(level) if SHIPPED.exists() else None
    if written is None:
        return None
    return LevelPrior(
        written["configurations"],
        {
            key: torch.tensor(values).reshape(written["shapes"][key])
            for key, values in written["parameters"].items()
        },
    )
