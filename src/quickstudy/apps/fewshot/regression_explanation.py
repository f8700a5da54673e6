"""What the default regressor weighed for a support set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from quickstudy.html import html_table
from quickstudy.learners.transfer.regression import BlendedRegression

__all__ = ["RegressionCandidate", "RegressionExplanation", "explain_regression"]

N_NAMED = 3
"""Candidates that the line names."""


@dataclass(frozen=True)
class RegressionCandidate:
    """A way to predict, and what it counts for.

    Args:
        view: What it sees of an example: an encoder's embedding, or "raw"; "" for the mean.
        head: How it predicts.
        weight: Its share of the blend; those of all candidates sum to 1.
        error: The root of its mean squared error on examples left out, in units of the target; None
            where none could be.
    """

    view: str
    head: str
    weight: float
    error: float | None


@dataclass(frozen=True)
class RegressionExplanation:
    """What was weighed for a target, the greatest weight first. A notebook shows it as a table.

    Args:
        n_examples: Of the support set.
        n_left_out: How many examples were left out, each predicted without itself.
        candidates: All that were weighed.
    """

    n_examples: int
    n_left_out: int
    candidates: list[RegressionCandidate]

    def __str__(self) -> str:
        """All in one line."""
        named = ", ".join(f"{one.head} {one.weight:.0%}" for one in self.candidates[:N_NAMED])
        return f"a blend of {len(self.candidates)} candidates ({named}, ...)"

    def as_dict(self) -> dict[str, Any]:
        """The same, for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        rows = [
            [
                one.head,
                one.view,
                f"{one.weight:.1%}",
                "" if one.error is None else f"{one.error:.3g}",
            ]
            for one in self.candidates
        ]
        header = ["head", "view", "weight", f"error of {self.n_left_out} left out"]
        return html_table(header, rows)


def explain_regression(task: BlendedRegression, target: int) -> RegressionExplanation:
    """What an adapted blend weighed for a target."""
    errors = task.errors_left_out(target)
    candidates = [
        RegressionCandidate(view, head, weight, errors.get((view, head)))
        for (view, head), weight in task.weights(target).items()
    ]
    one = task.tasks[target]
    return RegressionExplanation(one.n, len(one.candidates.targets), candidates)
