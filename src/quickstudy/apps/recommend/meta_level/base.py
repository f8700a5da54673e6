"""The level above: for each user, how far to trust which base recommender, and how to read it.

An action is a base recommender with a setting. From a user's few ratings or clicks and attributes
the meta-level decides on a blend of the actions. It is learned across training users, on what
neither the bases nor the support had seen. `RatingLevel` reads the blend as a rating, `ChoiceLevel`
as what is chosen next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from quickstudy.apps.recommend.bases.ratings import Base, Matrix
from quickstudy.apps.recommend.interactions import Interactions

__all__ = [
    "Action",
    "Drawn",
    "Kind",
    "MetaLevel",
    "Seen",
    "actions_of",
    "predictions",
    "tasks",
    "tensor",
]

Action = tuple[str, float]

Kind = Literal["single", "blend", "meta"]

SIZES = (0, 1, 3, 5, 10, 20)
"""Support sets that the meta-level is trained on."""


def actions_of(bases: Mapping[str, Base | type[Base]]) -> list[Action]:
    """Each base with each of its settings."""
    return [(name, setting) for name, base in bases.items() for setting in base.SETTINGS]


def predictions(bases: Mapping[str, Base], ratings: Matrix, users: np.ndarray) -> np.ndarray:
    """What each action expects, (n_users, n_items, n_actions)."""
    found = np.concatenate([base.predict(ratings, users) for base in bases.values()])
    return np.moveaxis(found, 0, -1)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a level decides by.

    Args:
        expected: By each action, (n, n_items, n_actions).
        users: Described, (n, d); the first value is log(1 + number of ratings or clicks).
        items: What else is known of each item for the user, (n, n_items, e).
    """

    expected: np.ndarray
    users: np.ndarray
    items: np.ndarray

    def at(self, rows: np.ndarray, items: np.ndarray) -> Seen:
        """Of some users some items: `rows` and `items` are (n, c), and so are the rows' users."""
        return Seen(self.expected[rows, items], self.users[rows[:, 0]], self.items[rows, items])


@dataclass(frozen=True, eq=False)
class Drawn:
    """What training users did, held out, and what is known of them without it.

    Args:
        seen: Of n cases and c items each.
        target: Their ratings, or of clicks 1 where chosen, (n, c).
        group: The same number for cases of one user with one support set, from 0, (n,).
    """

    seen: Seen
    target: np.ndarray
    group: np.ndarray

    @classmethod
    def of(cls, parts: Sequence[Drawn]) -> Drawn:
        """All in one; groups of different parts stay apart."""
        s = [part.seen for part in parts]
        counts = [int(part.group.max(initial=-1)) + 1 for part in parts]
        shifts = np.cumsum([0, *counts[:-1]])
        groups = [part.group + shift for part, shift in zip(parts, shifts, strict=True)]
        seen = Seen(
            np.concatenate([one.expected for one in s]),
            np.concatenate([one.users for one in s]),
            np.concatenate([one.items for one in s]),
        )
        return cls(seen, np.concatenate([part.target for part in parts]), np.concatenate(groups))


class MetaLevel(ABC):
    """Blends the actions with weights that are linear in the description of the user.

    A subclass says which bases there are to blend, which action to begin with, and which base tells
    reasons; it describes users, draws cases to learn from, and turns the blend into probabilities.

    Args:
        levels: The different ratings, ascending; of clicks [1].
        actions: What to blend.
        kind: "meta" as told; "blend", the same for all users; "single", one action for all.
        action: Of "single", and what the weights of others begin at.
    """

    BASES: ClassVar[dict[str, type[Base]]]
    START: ClassVar[Action]
    REASONS: ClassVar[str]
    LEARNED: ClassVar[tuple[str, ...]]
    """Parameters that are learned even of a single action."""
    BLENDED: ClassVar[tuple[str, ...]] = ("weights",)
    """Those that are learned of a blend."""

    STEPS = 60
    RIDGE = 1e-3

    def __init__(
        self,
        levels: np.ndarray,
        actions: Sequence[Action],
        kind: Kind = "meta",
        action: Action | None = None,
    ) -> None:
        self.levels = levels
        self.actions = list(actions)
        self.kind: Kind = kind
        self.action = action or self.START
        self.parameters: dict[str, Tensor] = {}

    @classmethod
    @abstractmethod
    def see(
        cls, bases: Mapping[str, Base], ratings: Matrix, users: np.ndarray, levels: np.ndarray
    ) -> Seen:
        """What is known of users with these ratings and attributes."""

    @classmethod
    @abstractmethod
    def draw(
        cls,
        bases: Mapping[str, Base],
        data: Interactions,
        users: np.ndarray,
        levels: np.ndarray,
        rng: np.random.Generator,
    ) -> Drawn:
        """Support sets of each size for users whom the bases have not seen, and what they did
        else."""

    @abstractmethod
    def error(self, drawn: Drawn) -> float:
        """What the best single action has least of."""

    def fit(self, drawn: Drawn) -> Self:
        """Learn from what training users did."""
        s, target = drawn.seen, torch.tensor(drawn.target, dtype=torch.float32)
        n_actions, n_users = s.expected.shape[-1], s.users.shape[1]
        weights = torch.zeros(n_actions)
        weights[self.actions.index(self.action)] = 1.0
        self.parameters = {
            "middle": tensor(s.users.mean(0)),
            "scale": tensor(s.users.std(0)) + 1e-6,
            "weights": weights,
            "weights_by_user": torch.zeros(n_users, n_actions),
            **self._start(drawn),
        }
        learned = [*self.LEARNED, *(self.BLENDED if self.kind != "single" else [])]
        by_user = [name for name in self.parameters if "_by" in name] if self.kind == "meta" else []
        chosen = [self.parameters[name].requires_grad_() for name in learned + by_user]
        data = [tensor(a) for a in (s.expected, s.users, s.items)]
        optimizer = torch.optim.LBFGS(
            chosen, max_iter=self.STEPS, history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = self._loss(self._distribution(*data), target)
            for name in by_user:
                value = value + self.RIDGE * self.parameters[name].square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        self.parameters = {name: p.detach() for name, p in self.parameters.items()}
        return self

    def distribution(self, seen: Seen) -> np.ndarray:
        """A probability for each level, (n, n_items, n_levels)."""
        return self._distribution(
            *(tensor(a) for a in (seen.expected, seen.users, seen.items))
        ).numpy()

    def decision(self, users: np.ndarray | None = None) -> dict[str, list[float]]:
        """What is decided for one user, described, (1, d), or for the average training user:
        "weights" of the actions, and whatever else."""
        p = self.parameters
        described = p["middle"][None] if users is None else tensor(users)
        return {
            name: [float(x) for x in found[0]] for name, found in self._decide(described).items()
        }

    def _decide(self, users: Tensor) -> dict[str, Tensor]:
        return {"weights": self._weights(self._standard(users))}

    @abstractmethod
    def _start(self, drawn: Drawn) -> dict[str, Tensor]:
        """Parameters beside the weights; those with "_by" in their names tell users apart."""

    @abstractmethod
    def _distribution(self, expected: Tensor, users: Tensor, items: Tensor) -> Tensor: ...

    @abstractmethod
    def _loss(self, probabilities: Tensor, target: Tensor) -> Tensor: ...

    def _weights(self, users: Tensor) -> Tensor:
        p = self.parameters
        return p["weights"] + users @ p["weights_by_user"]

    def _standard(self, users: Tensor) -> Tensor:
        return (users - self.parameters["middle"]) / self.parameters["scale"]


def tasks(
    data: Interactions, lots: Callable[[], np.ndarray], n_query: int
) -> Iterator[tuple[Matrix, np.ndarray]]:
    """For each size of support set, those of all users, users by items, and the rows of up to
    `n_query` interactions of each that come after.

    Args:
        lots: Decides the order of interactions, anew for each size.
    """
    start = np.concatenate([[0], data.counts.cumsum()])
    for size in SIZES:
        rows = np.lexsort((lots(), data.user))
        at = np.arange(len(rows)) - start[data.user[rows]]  # the place in the user's order
        able = data.counts[data.user[rows]] > size
        shown, asked = rows[able & (at < size)], rows[able & (at >= size) & (at < size + n_query)]
        values = at[able & (at < size)] + 1.0 if data.clicks else data.rating[shown]
        ratings = sparse.csr_matrix(
            (values, (data.user[shown], data.item[shown])),
            shape=(len(data.users), len(data.items)),
        )
        yield ratings, asked


def tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
