"""The meta-level: how far to trust which base recommender, for each user.

The meta-level blends the predictions of all configurations (a base recommender with a setting). The
weights are linear in meta-features of the user, as in Sill et al., "Feature-Weighted Linear
Stacking", 2009. It is learned across training users, on interactions that neither the bases nor the
support sets contain. `RatingLevel` turns the blend into a rating, `ChoiceLevel` into what is chosen
next.

For each user the blend then takes one step on the user's own support, each interaction of which is
predicted from others: a Newton step from the learned weights, with learned precisions that say how
far users differ. For a linear blend and squared errors that is the posterior mean under a Gaussian
prior (Harrison, Sharma & Pavone, "Meta-Learning Priors for Efficient Online Bayesian Regression",
WAFR 2018); for a conditional logit it is a Laplace approximation of it.

Shapes: N examples, M items, C configurations, F meta-features of a user, G meta-features of an
item, S interactions of a user's own support, D directions of the step, V rating values (1 for
clicks).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases.base import ALL_ITEMS, Base, Items, Matrix
from quickstudy.apps.recommend.interactions import Interactions
from quickstudy.apps.recommend.meta_level.inputs import Configuration, MetaExamples, MetaInputs

if TYPE_CHECKING:
    from quickstudy.apps.recommend.meta_level.prior import LevelPrior

__all__ = ["Kind", "LevelInputs", "MetaLevel", "newton_step", "tensor"]

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
    """Effects of meta-features, and what the step on a user's own support takes; learned for
    "meta"."""
    PENALTIES: ClassVar[Mapping[str, float]]
    """Penalties on the squared distance of parameters from the prior; without a prior, those on
    `LEARNED_IN_BLENDS` are left out and the others are on the distance from where they start."""

    LBFGS_ITERATIONS, LBFGS_HISTORY = 40, 20
    PENALTY_EXAMPLES = 4500
    """Examples at which the penalties have their values; the more examples, the less they count."""

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
        items: Items = ALL_ITEMS,
    ) -> MetaInputs:
        """Predict the ratings of items by the bases, and compute the meta-features.

        Args:
            bases: Fitted.
            ratings: What is known of the users, (N, I).
            users: Their attributes, (N, D).
            rating_values: (V,).
            items: Positions of the items, (M,); by default all.
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
    def errors(self, examples: MetaExamples) -> list[np.ndarray]:
        """What this level is selected by: the error of each example, then its errors of ranking,
        (N,) each; NaN where there are too few targets."""

    def selection_error(self, examples: MetaExamples) -> float:
        """The mean error of the examples."""
        return float(np.nanmean(self.errors(examples)[0]))

    def fit(self, examples: MetaExamples, prior: LevelPrior | None = None) -> Self:
        """Learn the parameters by maximum likelihood, with L-BFGS; with a prior, a posteriori.

        Args:
            examples: Of training users.
            prior: What was learned from other data sets; not for a single configuration.
        """
        if self.kind == "single" and len(self.configurations) > 2:
            return self._fit_single(examples)
        self.initialise(examples, prior)
        learned = self.learned
        optimizer = torch.optim.LBFGS(
            [self.parameters[name].requires_grad_() for name in learned],
            max_iter=self.LBFGS_ITERATIONS,
            history_size=self.LBFGS_HISTORY,
            line_search_fn="strong_wolfe",
        )
        centres = {name: self.parameters[name].detach().clone() for name in learned}
        if prior is None:
            for name in self.LEARNED_IN_BLENDS:
                centres.pop(name, None)
        objective = self.objective(examples)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = objective() + self.penalty(centres, len(examples.targets))
            loss.backward()
            return loss

        optimizer.step(closure)
        self.parameters = {name: p.detach() for name, p in self.parameters.items()}
        return self

    def _fit_single(self, examples: MetaExamples) -> Self:
        """`fit` without the predictions of the other configurations, for speed."""
        index = self.configurations.index(self.configuration)
        kept = sorted({0, index})  # the first is the item's mean
        configurations = [self.configurations[i] for i in kept]
        level = type(self)(self.rating_values, configurations, "single", self.configuration)
        level.fit(examples.of_configurations(kept))
        self.initialise(examples)
        self.parameters |= {name: level.parameters[name] for name in self.LEARNED_ALWAYS}
        return self

    @property
    def learned(self) -> list[str]:
        """Names of the parameters that are learned for this kind."""
        in_blends = self.LEARNED_IN_BLENDS if self.kind != "single" else ()
        by_user = self.LEARNED_BY_USER if self.kind == "meta" else ()
        return [*self.LEARNED_ALWAYS, *in_blends, *by_user]

    def initialise(self, examples: MetaExamples, prior: LevelPrior | None = None) -> None:
        """Set the parameters to where learning starts."""
        inputs = examples.inputs
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
        if prior is not None:
            self.parameters |= prior.start(self)

    def objective(self, examples: MetaExamples) -> Callable[[], Tensor]:
        """Returns a function of the parameters: the mean negative log-likelihood."""
        inputs, targets = self._prepare(examples.inputs), tensor(examples.targets)
        return lambda: self._loss(self._probabilities(inputs), targets)

    def penalty(self, centres: Mapping[str, Tensor], n_examples: int) -> Tensor:
        """How far the parameters are from some centres, weighted by `PENALTIES`."""
        distances = [
            self.PENALTIES[name] * (self.parameters[name] - centre).square().sum()
            for name, centre in centres.items()
            if name in self.PENALTIES
        ]
        return sum(distances, torch.zeros(())) * (self.PENALTY_EXAMPLES / n_examples)

    def probabilities(self, inputs: MetaInputs) -> np.ndarray:
        """The probability of each rating value, (N, M, V); of clicks, of being chosen next,
        (N, M, 1)."""
        return self._probabilities(self._prepare(inputs)).numpy()

    def decision(self, inputs: MetaInputs | None = None) -> dict[str, list[float]]:
        """What is decided for the one user of these inputs, or for the average training user: the
        "weights" of the configurations, and what a subclass adds."""
        if inputs is None:
            decided = self._decide(self.parameters["user_feature_means"][None], None)
        else:
            prepared = self._prepare(inputs)
            decided = self._decide(prepared.user_features, prepared)
        return {name: [float(x) for x in row[0]] for name, row in decided.items()}

    @abstractmethod
    def evidence(self, inputs: MetaInputs) -> dict[str, float]:
        """How much better each base predicts the own support of the one user of these inputs than
        it predicts that of the average training user, in standard deviations, by its name."""

    @abstractmethod
    def _decide(self, user_features: Tensor, inputs: LevelInputs | None) -> dict[str, Tensor]:
        """For users with these meta-features, (N, F): the "weights", (N, C), and more; without
        inputs no step is taken."""

    @abstractmethod
    def _initial_parameters(self, examples: MetaExamples) -> dict[str, Tensor]:
        """The parameters beside the weights."""

    @abstractmethod
    def _probabilities(self, inputs: LevelInputs) -> Tensor:
        """(N, M, V)."""

    @abstractmethod
    def _loss(self, probabilities: Tensor, targets: Tensor) -> Tensor:
        """The mean negative log-likelihood of targets (N, M)."""

    def _prepare(self, inputs: MetaInputs) -> LevelInputs:
        """As tensors, with what does not change while parameters are learned."""
        own = inputs.own
        targets = tensor(own.targets)
        return LevelInputs(
            tensor(inputs.predictions),
            tensor(inputs.user_features),
            tensor(inputs.item_features),
            tensor(own.predictions),
            torch.nan_to_num(targets),
            torch.isfinite(targets).float(),
            tensor(own.offsets),
        )

    def _weights(self, standardised: Tensor) -> Tensor:
        """The weights of the configurations, (N, C), from standardised meta-features (N, F)."""
        return self.parameters["weights"] + standardised @ self.parameters["weights_by_user"]

    def _standardised(self, user_features: Tensor) -> Tensor:
        p = self.parameters
        return (user_features - p["user_feature_means"]) / p["user_feature_stds"]


class LevelInputs(NamedTuple):
    """`MetaInputs` as tensors: predictions (N, M, C), meta-features of users (N, F) and items
    (N, M, G), and of their own support predictions (N, S, C), targets, masks and offsets (N, S)."""

    predictions: Tensor
    user_features: Tensor
    item_features: Tensor
    own_predictions: Tensor
    own_targets: Tensor
    own_mask: Tensor
    own_offsets: Tensor


def newton_step(gradient: Tensor, information: Tensor, log_precisions: Tensor) -> Tensor:
    """(Λ + H)⁻¹ g, (N, D): from gradients g (N, D) and information H (N, D, D) of a user's own
    support, and the precisions Λ of a Gaussian prior, given by their logarithms (D,).

    Example:
        >>> newton_step(torch.ones(1, 2), torch.eye(2)[None], torch.zeros(2)).tolist()
        [[0.5, 0.5]]
    """
    return torch.linalg.solve(torch.diag(log_precisions.exp()) + information, gradient)


def tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
