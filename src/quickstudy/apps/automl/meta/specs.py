"""The advisors that a meta-learner chooses among."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from quickstudy.apps.automl.meta.advisors import Advisor, Portfolio, RandomOrder
from quickstudy.apps.automl.meta.history import History
from quickstudy.apps.automl.meta.mixture import MixtureAdvisor, Scale

__all__ = ["ADVISORS", "AdvisorKind", "AdvisorSpec"]

VERSION_LIKENESS = 0.7
"""Likeness of a mixture where the new data set is a version of another one."""


class AdvisorKind(StrEnum):
    """What an advisor goes by."""

    RANDOM = "random"
    PORTFOLIO = "portfolio"
    NEAR_PORTFOLIO = "portfolio of near data sets"
    MIXTURE = "mixture"


@dataclass(frozen=True)
class AdvisorSpec:
    """An advisor with its options, before it has a history.

    Args:
        kind: What it goes by.
        likeness, scale: Of a `MixtureAdvisor`.

    Example:
        >>> AdvisorSpec(AdvisorKind.MIXTURE, likeness=0.7).name
        'identity mixture, likeness 0.7'
    """

    kind: AdvisorKind
    likeness: float = 0.0
    scale: Scale = "identity"

    @property
    def name(self) -> str:
        """Its name among `ADVISORS`, for people and files."""
        if self.kind is AdvisorKind.MIXTURE:
            return f"{self.scale} mixture, likeness {self.likeness}"
        return self.kind.value

    def make(self, history: History, weights: np.ndarray, seed: int) -> Advisor:
        """The advisor.

        Args:
            history: Results on n other data sets.
            weights: The prior weight of each, of shape (n,).
            seed: Of random order.
        """
        match self.kind:
            case AdvisorKind.RANDOM:
                return RandomOrder(history, weights, seed=seed)
            case AdvisorKind.PORTFOLIO:
                return Portfolio(history)
            case AdvisorKind.NEAR_PORTFOLIO:
                return Portfolio(history, weights)
            case AdvisorKind.MIXTURE:
                return MixtureAdvisor(history, weights, likeness=self.likeness, scale=self.scale)

    def trusting_weights(self) -> AdvisorSpec:
        """The advisor to use where the new data set is a version of another: its weight must count,
        and scores must be able to speak against it.
        """
        if self.kind is AdvisorKind.MIXTURE:
            return replace(self, likeness=self.likeness or VERSION_LIKENESS)
        return AdvisorSpec(AdvisorKind.NEAR_PORTFOLIO)

    def suits(self, history: History) -> bool:
        """Whether a history has what it needs: meta-features, or scores that are shares."""
        if self.kind is AdvisorKind.NEAR_PORTFOLIO:
            return bool(history.features)
        if self.scale == "logit":
            return bool(np.nanmin(history.scores) >= 0 and np.nanmax(history.scores) <= 1)
        return True


ADVISORS: dict[str, AdvisorSpec] = {
    spec.name: spec
    for spec in (
        AdvisorSpec(AdvisorKind.RANDOM),
        AdvisorSpec(AdvisorKind.PORTFOLIO),
        AdvisorSpec(AdvisorKind.NEAR_PORTFOLIO),
        *(
            AdvisorSpec(AdvisorKind.MIXTURE, likeness, scale)
            for scale in ("identity", "logit")
            for likeness in (0.0, 0.7, 0.85)
        ),
    )
}
"""The advisors by name; of those that do equally well, the first is chosen."""
