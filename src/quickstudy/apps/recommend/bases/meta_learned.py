"""Meta-learned networks as base recommenders: each user is a task, each rating an example.

Any learner of this package will do. What it learns is the rating less the mean of the item, from
embeddings of the item, of its attributes and of the user's (`RatingNetwork`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy.apps.recommend.bases.ratings import Base, Matrix, item_means, residuals
from quickstudy.engine import checkpoints, meta_train
from quickstudy.learners import MAML, Learner, Predictor, Reptile, TaNP
from quickstudy.nn import MLP
from quickstudy.tasks import Batch, Episode, Support, Tasks
from quickstudy.tasks.sampler import generator_for

__all__ = ["NEURAL_BASES", "LearnedBase", "RatingNetwork", "UserTasks"]


class RatingNetwork(nn.Module):
    """Features of a user's rating of an item, from its row (position of the item, attributes of the
    user): embeddings side by side, and fully connected layers ("decision") on these. The user's is
    linear in the attributes, and `shift` is what else it has.

    Args:
        items: Attributes, (n_items, e).
        n_attributes: Of users.
        width: Of the embeddings.
        hidden: Of the layers.
    """

    sides: Tensor

    def __init__(
        self, items: Tensor, n_attributes: int, width: int = 16, hidden: Sequence[int] = (32, 32)
    ) -> None:
        super().__init__()
        self.register_buffer("sides", items)
        self.items = nn.Embedding(len(items), width)
        nn.init.normal_(self.items.weight, std=0.1)
        self.item_sides = nn.Linear(items.shape[1], width, bias=False)
        self.users = nn.Linear(n_attributes, width, bias=False)
        self.shift = nn.Parameter(torch.zeros(width))
        self.decision = MLP((2 * width,), hidden)
        self.out_features = hidden[-1]

    def forward(self, x: Tensor) -> Tensor:
        item = x[:, 0].long()
        embedded = self.items(item) + self.item_sides(self.sides[item])
        return self.decision(torch.cat([embedded, self.users(x[:, 1:]) + self.shift], dim=1))


class UserTasks:
    """Users as tasks for learners: support sets of several sizes, and other ratings to predict.

    Each `group` tasks in a row have a size in common, so that they can be learned at once.

    Args:
        ratings: Users by items, of what is to be predicted.
        users: Attributes, (n_users, d).
        sizes: Of support sets, in turn; a user has one only if ratings enough.
        n_query: Ratings to predict.
        group: Tasks of one size in a row.
        seed: Decides users and ratings.

    Example:
        >>> from scipy import sparse
        >>> ratings = sparse.csr_matrix(np.ones((3, 8)))
        >>> tasks = UserTasks(ratings, np.ones((3, 1)), sizes=(2, 4), n_query=3, group=1)
        >>> [len(tasks[i].support) for i in range(3)], tasks[0].query.x.shape
        ([2, 4, 2], torch.Size([3, 2]))
    """

    def __init__(
        self,
        ratings: Matrix,
        users: np.ndarray,
        *,
        sizes: Sequence[int],
        n_query: int = 10,
        group: int = 1,
        seed: int = 0,
    ) -> None:
        self.x = torch.tensor(
            np.column_stack([ratings.indices, np.repeat(users, np.diff(ratings.indptr), 0)]),
            dtype=torch.float32,
        )
        self.y = torch.tensor(ratings.data, dtype=torch.float32)[:, None]
        self.start, counts = ratings.indptr, np.diff(ratings.indptr)
        able = {size: np.flatnonzero(counts >= size + n_query) for size in sizes}
        self.able = {size: users for size, users in able.items() if len(users)}
        self.sizes = list(self.able)
        self.n_query, self.group, self.seed = n_query, group, seed

    def __getitem__(self, index: int) -> Episode:
        generator = generator_for(self.seed, index)
        size = self.sizes[index // self.group % len(self.sizes)]
        able = self.able[size]
        user = able[int(torch.randint(len(able), (1,), generator=generator))]
        first, last = int(self.start[user]), int(self.start[user + 1])
        rows = first + torch.randperm(last - first, generator=generator)[: size + self.n_query]
        x, y = self.x[rows], self.y[rows]
        return Episode(Support(x[:size], y[:size]), Batch(x[size:], y[size:]))


class LearnedBase(Base):
    """A learner of this package as a base; the setting is how many steps it adapts by."""

    SETTINGS: ClassVar[tuple[float, ...]] = (1.0, 5.0)
    STATE = ("means", "item_attributes", "n_attributes")

    STEPS, GROUP, LR, DECAY = 300, 16, 3e-3, 1e-4
    SIZES: ClassVar[tuple[int, ...]] = (0, 1, 3, 5, 10, 20)
    N_QUERY: ClassVar[int] = 10
    BATCHED: ClassVar[bool] = True
    """Whether it adapts to several users at once."""

    @abstractmethod
    def make(self, network: RatingNetwork) -> Learner:
        """The learner, on a network of features."""

    def adapt(self, support: Support) -> Predictor:
        return self.learner.adapt(support)

    def set(self, setting: float) -> None:
        """Let the learner adapt by a setting."""
        self.learner.inner_steps_test = int(setting)  # type: ignore[assignment]

    def tasks(self, left: Matrix, users: np.ndarray, seed: int) -> Tasks:
        """What to meta-train on."""
        return UserTasks(
            left, users, sizes=self.SIZES, n_query=self.N_QUERY, group=self.GROUP, seed=seed
        )

    def optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=self.LR, weight_decay=self.DECAY)

    def fit(self, ratings: Matrix, users: np.ndarray, items: np.ndarray, seed: int = 0) -> Self:
        self.means = item_means(ratings, len(items))
        self.item_attributes, self.n_attributes = items, users.shape[1]
        left = residuals(ratings, self.means)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.learner = self._made()
        decay = partial(
            torch.optim.lr_scheduler.LinearLR,
            start_factor=1.0,
            end_factor=0.02,
            total_iters=self.STEPS,
        )
        meta_train(
            self.learner,
            self.tasks(left, users, seed),
            steps=self.STEPS,
            meta_batch_size=self.GROUP,
            optimizer=self.optimizer,
            schedule=decay,
            executor="vmap" if self.BATCHED else "serial",
        )
        return self

    def predict(self, ratings: Matrix, users: np.ndarray) -> np.ndarray:
        left = residuals(ratings, self.means)
        n = np.diff(left.indptr)
        found = np.empty((len(self.SETTINGS), len(users), len(self.means)))
        item = torch.arange(len(self.means), dtype=torch.float32)[:, None]
        sides = torch.tensor(users, dtype=torch.float32)
        known = torch.tensor(left.indices, dtype=torch.float32)[:, None]
        y = torch.tensor(left.data, dtype=torch.float32)[:, None]

        def one(x: Tensor, y: Tensor, side: Tensor) -> Tensor:
            asked = torch.cat([item, side.expand(len(item), -1)], 1)
            return self.adapt(Support(x, y))(asked)[:, 0]

        for size in np.unique(n):
            who = np.flatnonzero(n == size)
            for some in np.array_split(who, -(-len(who) // AT_ONCE)):
                rows = left.indptr[some][:, None] + np.arange(size)
                side = sides[some]
                shared = side[:, None].expand(-1, size, -1)
                x = torch.cat([known[rows], shared], 2)  # (n, size, 1 + d)
                for s, setting in enumerate(self.SETTINGS):
                    self.set(setting)
                    found[s, some] = self._each(one, x, y[rows], side)
        return self.means + found

    def state(self) -> dict[str, np.ndarray]:
        weights = {f"learner.{n}": t.numpy() for n, t in self.learner.state_dict().items()}
        return super().state() | weights

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        super().restore(state)
        with torch.random.fork_rng():  # its layers draw weights before they are given theirs
            self.learner = self._made().eval()
        prefix = "learner."
        weights = {
            name.removeprefix(prefix): torch.tensor(values)
            for name, values in state.items()
            if name.startswith(prefix)
        }
        try:
            checkpoints.load_weights(self.learner, weights)
        except RuntimeError as error:
            raise ValueError(f"weights of another network: {error}") from None
        return self

    def _made(self) -> Learner:
        items = torch.tensor(self.item_attributes, dtype=torch.float32)
        return self.make(RatingNetwork(items, int(self.n_attributes)))

    def _each(self, one: Any, *given: Tensor) -> np.ndarray:
        """Of several users, (n, n_items)."""
        if self.BATCHED:
            with torch.no_grad():
                return torch.func.vmap(one)(*given).numpy()
        return torch.stack([one(*each).detach() for each in zip(*given, strict=True)]).numpy()


class MeLU(LearnedBase):
    """MAML on the decision layers: the embeddings are the same for all users.

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
    """MAML on the last layer alone (Raghu et al., ICLR 2020)."""

    ADAPTED = ("head.*",)


class MetaEmb(MeLU):
    """MAML on the user's embedding alone, which begins as what the attributes tell; of items, if
    these are the users (`Interactions.swapped`).

    Pan et al., "Warm Up Cold-start Advertisements: Improving CTR Predictions via Learning to Learn
    ID Embeddings", SIGIR 2019. There each task counts before a step and after it; here tasks of no
    ratings are among the others, and all weights are learned at once, where the paper learns the
    embeddings' generator for a model that is trained.
    """

    ADAPTED = ("backbone.shift",)
    INNER_LR = 0.5


class EmbeddingMLP(MeLU):
    """The same network trained on all users' ratings at once; none or five steps adapt it."""

    SETTINGS = (0.0, 5.0)
    INNER_STEPS = 0


class ReptileUser(LearnedBase):
    """Reptile on all weights."""

    BATCHED = False
    SETTINGS = (3.0, 10.0)
    SIZES = (10, 20)
    N_QUERY = 1
    STEPS, GROUP, LR = 300, 4, 0.5

    def make(self, network: RatingNetwork) -> Learner:
        return Reptile(network, 1, inner_steps=5, inner_batch=10, inner_batch_test=10)

    def adapt(self, support: Support) -> Predictor:
        assert isinstance(self.learner, Reptile)
        return self.learner.adapt(support) if len(support) else self.learner.model

    def optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=self.LR)


class TaNPUser(LearnedBase):
    """A task-adaptive neural process: no steps, so there is one setting."""

    SETTINGS = (0.0,)

    def make(self, network: RatingNetwork) -> Learner:
        return TaNP(network, 1, width=32)

    def set(self, setting: float) -> None:
        pass


AT_ONCE = 50
"""Users whose ratings of all items are computed at once."""

NEURAL_BASES: dict[str, type[LearnedBase]] = {
    "mlp": EmbeddingMLP,
    "melu": MeLU,
    "anil": ANIL,
    "metaemb": MetaEmb,
    "reptile": ReptileUser,
    "tanp": TaNPUser,
}
