"""Meta-learned networks as base recommenders: each user is a task, each rating an example.

Any learner of this package will do. The networks predict the residual, the rating less the mean of
the item, from embeddings of the item, of its attributes and of the user's (`RatingNetwork`).

Shapes: U users, I items, N ratings of a support set, G users of a group, D attributes of a user.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from quickstudy.apps.recommend.bases.base import (
    ALL_ITEMS,
    Base,
    Items,
    Matrix,
    damped_item_means,
    residuals,
)
from quickstudy.apps.recommend.bases.user_tasks import RatingNetwork, UserTasks
from quickstudy.engine import checkpoints, meta_train
from quickstudy.learners import MAML, Learner, Predictor, Reptile, TaNP
from quickstudy.tasks import Support, Tasks

__all__ = ["META_LEARNED_BASES", "MetaLearnedBase"]

USERS_PER_GROUP = 50
"""Users for whom the ratings of all items are predicted at once."""

LEARNER_PREFIX = "learner."
"""Before the names of the network's weights in the saved state."""


class MetaLearnedBase(Base):
    """A learner of this package as a base. The setting is the number of steps it adapts by."""

    SETTINGS: ClassVar[tuple[float, ...]] = (1.0, 5.0)
    STATE = ("item_means", "item_attributes", "n_attributes")

    STEPS, META_BATCH_SIZE, OUTER_LR, WEIGHT_DECAY = 300, 16, 3e-3, 1e-4
    LAST_LR_FACTOR = 0.02
    SUPPORT_SIZES: ClassVar[tuple[int, ...]] = (0, 1, 3, 5, 10, 20)
    N_QUERY: ClassVar[int] = 10
    BATCHED: ClassVar[bool] = True
    """Whether it adapts to several users at once."""

    @abstractmethod
    def make(self, network: RatingNetwork) -> Learner:
        """Make the learner on a network of features."""

    def adapt(self, support: Support) -> Predictor:
        """Adapt the learner to the ratings of one user."""
        return self.learner.adapt(support)

    def set_inner_steps(self, setting: float) -> None:
        """Let the learner adapt by this many steps."""
        self.learner.inner_steps_test = int(setting)  # type: ignore[assignment]

    def tasks(self, targets: Matrix, users: np.ndarray, seed: int) -> Tasks:
        """The tasks to meta-train on."""
        return UserTasks(
            targets,
            users,
            sizes=self.SUPPORT_SIZES,
            n_query=self.N_QUERY,
            group=self.META_BATCH_SIZE,
            seed=seed,
        )

    def optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        """The optimizer of the outer loop."""
        return torch.optim.AdamW(parameters, lr=self.OUTER_LR, weight_decay=self.WEIGHT_DECAY)

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.item_means = damped_item_means(ratings, len(items))
        self.item_attributes, self.n_attributes = items, users.shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.learner = self._make_learner()
        decay = partial(
            torch.optim.lr_scheduler.LinearLR,
            start_factor=1.0,
            end_factor=self.LAST_LR_FACTOR,
            total_iters=self.STEPS,
        )
        meta_train(
            self.learner,
            self.tasks(residuals(ratings, self.item_means), users, seed),
            steps=self.STEPS,
            meta_batch_size=self.META_BATCH_SIZE,
            optimizer=self.optimizer,
            schedule=decay,
            executor="vmap" if self.BATCHED else "serial",
        )
        return self

    def predict(self, ratings: Matrix, users: np.ndarray, items: Items = ALL_ITEMS) -> np.ndarray:
        targets = residuals(ratings, self.item_means)
        positions = np.arange(len(self.item_means), dtype=np.float32)[items]
        asked, n_ratings = torch.from_numpy(positions)[:, None], np.diff(targets.indptr)  # (M, 1)
        attributes = torch.tensor(users, dtype=torch.float32)  # (U, D)
        rated = torch.tensor(targets.indices, dtype=torch.float32)[:, None]
        y = torch.tensor(targets.data, dtype=torch.float32)[:, None]

        def predict_user(x: Tensor, y: Tensor, user: Tensor) -> Tensor:
            """(N, 1 + D), (N, 1) and (D,) -> (M,)."""
            query = torch.cat([asked, user.expand(len(asked), -1)], 1)  # (M, 1 + D)
            return self.adapt(Support(x, y))(query)[:, 0]

        predictions = np.empty((len(self.SETTINGS), len(users), len(asked)))
        for size in np.unique(n_ratings):
            same_size = np.flatnonzero(n_ratings == size)
            for group in np.array_split(same_size, -(-len(same_size) // USERS_PER_GROUP)):
                rows = targets.indptr[group][:, None] + np.arange(size)  # (G, N)
                user = attributes[group]  # (G, D)
                x = torch.cat([rated[rows], user[:, None].expand(-1, size, -1)], 2)  # (G, N, 1 + D)
                for s, setting in enumerate(self.SETTINGS):
                    self.set_inner_steps(setting)
                    predictions[s, group] = self._map_users(predict_user, x, y[rows], user)
        return self.item_means[items] + predictions

    def state(self) -> dict[str, np.ndarray]:
        weights = self.learner.state_dict().items()
        return super().state() | {LEARNER_PREFIX + name: w.numpy() for name, w in weights}

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        super().restore(state)
        with torch.random.fork_rng():  # its layers draw weights before they are given theirs
            self.learner = self._make_learner().eval()
        weights = {
            name.removeprefix(LEARNER_PREFIX): torch.tensor(values)
            for name, values in state.items()
            if name.startswith(LEARNER_PREFIX)
        }
        try:
            checkpoints.load_weights(self.learner, weights)
        except RuntimeError as error:
            raise ValueError(f"weights of another network: {error}") from None
        return self

    def _make_learner(self) -> Learner:
        items = torch.tensor(self.item_attributes, dtype=torch.float32)
        return self.make(RatingNetwork(items, int(self.n_attributes)))

    def _map_users(self, predict_user: Callable[..., Tensor], *batched: Tensor) -> np.ndarray:
        """Apply a function of one user to each of a group: (G, M)."""
        if self.BATCHED:
            with torch.no_grad():
                return torch.func.vmap(predict_user)(*batched).numpy()
        per_user = zip(*batched, strict=True)
        return torch.stack([predict_user(*one).detach() for one in per_user]).numpy()


class MeLU(MetaLearnedBase):
    """MeLU: MAML on the decision layers, with embeddings that are the same for all users.

    Lee et al., "MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation", KDD
    2019.
    """

    ADAPTED: ClassVar[tuple[str, ...]] = ("backbone.decision.*", "head.*")
    INNER_STEPS, INNER_LR = 1, 0.01

    def make(self, network: RatingNetwork) -> Learner:
        return MAML(
            network, 1, inner_lr=self.INNER_LR, inner_steps=self.INNER_STEPS, adapted=self.ADAPTED
        )


class ANIL(MeLU):
    """ANIL: MAML on the last layer alone.

    Raghu et al., "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of
    MAML", ICLR 2020.
    """

    ADAPTED = ("head.*",)


class MetaEmb(MeLU):
    """Meta-Embedding: MAML on the user's embedding alone, which starts as a function of the user's
    attributes. For new items, train it on `Interactions.transpose()`.

    Pan et al., "Warm Up Cold-start Advertisements: Improving CTR Predictions via Learning to Learn
    ID Embeddings", SIGIR 2019.

    Differs from the paper: its loss sums that before the step and that after; here some tasks have
    an empty support set instead. The paper trains the generator of embeddings for a model that is
    trained already; here all weights are learned together.
    """

    ADAPTED = ("backbone.user_embedding",)
    INNER_LR = 0.5


class EmbeddingMLP(MeLU):
    """The same network trained on the ratings of all users without adaptation; no or five steps of
    gradient descent adapt it to a user."""

    SETTINGS = (0.0, 5.0)
    INNER_STEPS = 0


class ReptileUser(MetaLearnedBase):
    """Reptile on all weights.

    Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018.
    """

    BATCHED = False
    SETTINGS = (3.0, 10.0)
    SUPPORT_SIZES = (10, 20)
    N_QUERY = 1
    META_BATCH_SIZE, OUTER_LR = 4, 0.5

    def make(self, network: RatingNetwork) -> Learner:
        return Reptile(network, 1, inner_steps=5, inner_batch=10, inner_batch_test=10)

    def adapt(self, support: Support) -> Predictor:
        assert isinstance(self.learner, Reptile)
        return self.learner.adapt(support) if len(support) else self.learner.model

    def optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.OUTER_LR)


class TaNPUser(MetaLearnedBase):
    """A task-adaptive neural process: it takes no steps, so there is one setting.

    Lin et al., "Task-adaptive Neural Process for User Cold-Start Recommendation", WWW 2021.
    """

    SETTINGS = (0.0,)

    def make(self, network: RatingNetwork) -> Learner:
        return TaNP(network, 1, width=32)

    def set_inner_steps(self, setting: float) -> None:
        pass


META_LEARNED_BASES: dict[str, type[MetaLearnedBase]] = {
    "mlp": EmbeddingMLP,
    "melu": MeLU,
    "anil": ANIL,
    "metaemb": MetaEmb,
    "reptile": ReptileUser,
    "tanp": TaNPUser,
}
