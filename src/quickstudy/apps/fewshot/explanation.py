"""What the default learner weighed for a support set, and how accurate it expects to be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from quickstudy.html import html_table
from quickstudy.learners.transfer.blend import (
    JOINED,
    BlendedTask,
    ExpectedAccuracy,
    Kind,
    Refinement,
)

__all__ = ["Candidate", "Explanation", "PoolUse", "explain"]

N_NAMED = 3
"""Candidates that the line names."""


@dataclass(frozen=True)
class Candidate:
    """A way to classify, and what it counts for.

    Args:
        view: What it sees of an example: an encoder's embedding, or "raw".
        head: How it classifies.
        weight: Its share of the blend; those of all candidates sum to 1.
        accuracy: On the examples left out; None where none could be.
    """

    view: str
    head: str
    weight: float
    accuracy: float | None


@dataclass(frozen=True)
class PoolUse:
    """What was made of unlabelled examples.

    Args:
        n_unlabelled, n_used: How many there are, and how many were used.
        weights: How probable each use, and leaving them out, is to be the best.
        reason: Why.
    """

    n_unlabelled: int
    n_used: int
    weights: dict[str, float]
    reason: str

    def __str__(self) -> str:
        """All in one line."""
        if not self.n_used:
            return f"the {self.n_unlabelled} unlabelled examples are left out: {self.reason}"
        named = ", ".join(f"{name} {weight:.0%}" for name, weight in self.weights.items())
        some = "" if self.n_used == self.n_unlabelled else f" ({self.n_used} of them, at random)"
        return f"{self.n_unlabelled} unlabelled examples{some}: {named}; {self.reason}"


@dataclass(frozen=True)
class Explanation:
    """What was weighed, the greatest weight first. A notebook shows it as a table.

    Args:
        kind: What examples are taken for.
        n_examples, n_classes: Of the support set.
        n_left_out: How many examples were left out, each predicted without itself.
        expected: The accuracy to expect on queries like the examples.
        candidates: All that were weighed.
        unlabelled: What was made of unlabelled examples; None without any.
    """

    kind: Kind
    n_examples: int
    n_classes: int
    n_left_out: int
    expected: ExpectedAccuracy
    candidates: list[Candidate]
    unlabelled: PoolUse | None = None

    def __str__(self) -> str:
        """All in one line."""
        named = ", ".join(
            f"{one.head}{_on(one.view)} {one.weight:.0%}" for one in self.candidates[:N_NAMED]
        )
        n = len(self.candidates)
        line = f"a blend of {n} candidates ({named}, ...); expected accuracy {self.expected}"
        return line if self.unlabelled is None else f"{line}; {self.unlabelled}"

    def as_dict(self) -> dict[str, Any]:
        """The same, for JSON."""
        return {**asdict(self), "beats_chance": self.expected.beats_chance}

    def _repr_html_(self) -> str:
        rows = [
            [one.head, one.view, f"{one.weight:.1%}", _percent(one.accuracy)]
            for one in self.candidates
        ]
        header = ["head", "view", "weight", f"correct of {self.n_left_out} left out"]
        return html_table(header, rows, f"Expected accuracy {self.expected}")


def explain(task: BlendedTask) -> Explanation:
    """What an adapted blend weighed."""
    left_out, labels = task.features.left_out, task.candidates.labels
    n_left_out = len(labels)
    right = (left_out.argmax(2) == labels).double().mean(1).tolist() if n_left_out else []
    accuracies = dict(zip(task.candidates.names, right, strict=False))
    candidates = [
        Candidate(view, head, weight, accuracies.get((view, head)))
        for (view, head), weight in task.weights.items()
    ]
    n_classes = task.support.n_way or 0
    return Explanation(
        task.blend.kind,
        len(task.support),
        n_classes,
        n_left_out,
        task.expected_accuracy(),
        candidates,
        _pool_use(task.refinement),
    )


def _pool_use(refinement: Refinement | None) -> PoolUse | None:
    if refinement is None:
        return None
    return PoolUse(
        refinement.n_unlabelled, refinement.n_used, refinement.weights, refinement.reason
    )


def _on(view: str) -> str:
    return {"raw": "", JOINED: " on all encoders"}.get(view, f" on {view}")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
