"""The meta-level: how far to trust which base recommender, for each user.

The meta-level blends the predictions of all configurations (a base recommender with a setting). The
weights are linear in meta-features of the user, as in Sill et al., "Feature-Weighted Linear
Stacking", 2009. It is learned across training users, on interactions that neither the bases nor the
support sets contain. `RatingLevel` turns the blend into a rating, `ChoiceLevel` into what is chosen
next.

Shapes: N examples, M items, C configurations, F meta-features of a user, G meta-features of an
item, V rating values (1 for clicks).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases.base import Base, Matrix
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.meta_level.inputs import Configuration, MetaExamples, MetaInputs

__all__ = ["Kind", "MetaLevel", "tensor"]

Kind = Literal["single", "blend", "meta"]


class MetaLevel(ABC):
    """Blends the predictions of the configurations, with weights that are linear in meta-features
    of the user.

    A subclass says which bases to blend, where the weights start and which base explains
    suggestions; it computes meta-features, builds training examples, and turns the blend into
    probabilities.

    Args:
        rating_values: The different ratings, ascending, (V,); of clicks [1].
        configurations: What to blend.
        kind: "meta", weights by user; "blend", the same weights for all users; "single", one
            configuration for all.
        configuration: That of "single"; for the other kinds, the one the weights start at.

    Attributes:
        parameters: Learned tensors by name.
    """

    BASES: ClassVar[dict[str, type[Base]]]
    DEFAULT_CONFIGURATION: ClassVar[Configuration]
    EXPLAINING_BASE: ClassVar[str]
    """The base whose `contributions` explain suggestions."""

    LEARNED_ALWAYS: ClassVar[tuple[str, ...]]
    """Parameters that are learned for every kind."""
    LEARNED_IN_BLENDS: ClassVar[tuple[str, ...]] = ("weights",)
    """Parameters that are learned for "blend" and "meta"."""
    LEARNED_BY_USER: ClassVar[tuple[str, ...]] = ("weights_by_user",)
    """Effects of meta-features, which are learned for "meta"."""

    LBFGS_ITERATIONS, LBFGS_HISTORY = 60, 20
    L2_PENALTY = 1e-3
    """On the effects of meta-features."""

    def __init__(
        self,
        rating_values: np.ndarray,
        configurations: Sequence[Configuration],
        kind: Kind = "meta",
        configuration: Configuration | None = None,
    ) -> None:
        self.rating_values = rating_values
        self.configurations = list(configurations)
        self.kind: Kind = kind
        self.configuration = configuration or self.DEFAULT_CONFIGURATION
        self.parameters: dict[str, Tensor] = {}

    @classmethod
    @abstractmethod
    def inputs(
        cls,
        bases: Mapping[str, Base],
        ratings: Matrix,
        users: np.ndarray,
        rating_values: np.ndarray,
    ) -> MetaInputs:
        """Predict the ratings of all items by the bases, and compute the meta-features.

        Args:
            bases: Fitted.
            ratings: What is known of the users, (N, I).
            users: Their attributes, (N, D).
            rating_values: (V,).
        """

    @classmethod
    @abstractmethod
    def examples(
        cls,
        bases: Mapping[str, Base],
        data: Interactions,
        users: np.ndarray,
        rating_values: np.ndarray,
        rng: np.random.Generator,
    ) -> MetaExamples:
        """Build training examples from users whom the bases have not seen, for support sets of each
        size."""

    @abstractmethod
    def selection_error(self, examples: MetaExamples) -> float:
        """The error by which the best single configuration is selected."""

    def fit(self, examples: MetaExamples) -> Self:
        """Learn the parameters by maximum likelihood, with L-BFGS."""
        inputs, targets = examples.inputs, tensor(examples.targets)
        n_configurations, n_features = inputs.predictions.shape[-1], inputs.user_features.shape[1]
        weights = torch.zeros(n_configurations)
        weights[self.configurations.index(self.configuration)] = 1.0
        self.parameters = {
            "user_feature_means": tensor(inputs.user_features.mean(0)),
            "user_feature_stds": tensor(inputs.user_features.std(0)) + 1e-6,
            "weights": weights,
            "weights_by_user": torch.zeros(n_features, n_configurations),
            **self._initial_parameters(examples),
        }
        by_user = list(self.LEARNED_BY_USER) if self.kind == "meta" else []
        in_blends = self.LEARNED_IN_BLENDS if self.kind != "single" else ()
        learned = [*self.LEARNED_ALWAYS, *in_blends, *by_user]
        optimizer = torch.optim.LBFGS(
            [self.parameters[name].requires_grad_() for name in learned],
            max_iter=self.LBFGS_ITERATIONS,
            history_size=self.LBFGS_HISTORY,
            line_search_fn="strong_wolfe",
        )
        as_tensors = _tensors(inputs)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self._loss(self._probabilities(*as_tensors), targets)
            for name in by_user:
                loss = loss + self.L2_PENALTY * self.parameters[name].square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        self.parameters = {name: p.detach() for name, p in self.parameters.items()}
        return self

    def probabilities(self, inputs: MetaInputs) -> np.ndarray:
        """The probability of each rating value, (N, M, V); of clicks, of being chosen next,
        (N, M, 1)."""
        return self._probabilities(*_tensors(inputs)).numpy()

    def decision(self, user_features: np.ndarray | None = None) -> dict[str, list[float]]:
        """What is decided for one user with these meta-features, (1, F), or for the average
        training user: the "weights" of the configurations, and what a subclass adds."""
        if user_features is None:
            features = self.parameters["user_feature_means"][None]
        else:
            features = tensor(user_features)
        return {name: [float(x) for x in row[0]] for name, row in self._decide(features).items()}

    def _decide(self, user_features: Tensor) -> dict[str, Tensor]:
        return {"weights": self._weights(self._standardised(user_features))}

    @abstractmethod
    def _initial_parameters(self, examples: MetaExamples) -> dict[str, Tensor]:
        """The parameters beside the weights."""

    @abstractmethod
    def _probabilities(
        self, predictions: Tensor, user_features: Tensor, item_features: Tensor
    ) -> Tensor:
        """(N, M, C), (N, F) and (N, M, G) -> (N, M, V)."""

    @abstractmethod
    def _loss(self, probabilities: Tensor, targets: Tensor) -> Tensor:
        """The mean negative log-likelihood of targets (N, M)."""

    def _weights(self, standardised: Tensor) -> Tensor:
        """The weights of the configurations, (N, C), from standardised meta-features (N, F)."""
        return self.parameters["weights"] + standardised @ self.parameters["weights_by_user"]

    def _standardised(self, user_features: Tensor) -> Tensor:
        p = self.parameters
        return (user_features - p["user_feature_means"]) / p["user_feature_stds"]


def tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)


def _tensors(inputs: MetaInputs) -> tuple[Tensor, Tensor, Tensor]:
    return (
        tensor(inputs.predictions),
        tensor(inputs.user_features),
        tensor(inputs.item_features),
    )
