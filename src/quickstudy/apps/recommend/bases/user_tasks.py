"""Users as meta-learning tasks: a network of embeddings, and episodes of a user's ratings.

Shapes: U users, I items, B ratings of a batch, D attributes of a user, E attributes of an item.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy.apps.recommend.bases.base import Matrix
from quickstudy.nn import MLP
from quickstudy.tasks import Batch, Episode, Support
from quickstudy.tasks.sampler import generator_for

__all__ = ["RatingNetwork", "UserTasks"]


class RatingNetwork(nn.Module):
    """Features of a (user, item) pair: the embeddings of both, concatenated, through fully
    connected decision layers. This is the network of MeLU (Lee et al., KDD 2019, figure 2).

    An input row is the position of the item, then the attributes of the user. The user's embedding
    is linear in the attributes, plus `user_embedding`, which methods such as MetaEmb adapt.

    Args:
        items: Attributes of the items, (I, E).
        n_attributes: Number of attributes of a user, D.
        embedding_dim: Length of an embedding.
        hidden: Widths of the decision layers.
    """

    item_attributes: Tensor

    def __init__(
        self,
        items: Tensor,
        n_attributes: int,
        embedding_dim: int = 16,
        hidden: Sequence[int] = (32, 32),
    ) -> None:
        super().__init__()
        self.register_buffer("item_attributes", items)
        self.item_embeddings = nn.Embedding(len(items), embedding_dim)
        nn.init.normal_(self.item_embeddings.weight, std=0.1)
        self.embed_item_attributes = nn.Linear(items.shape[1], embedding_dim, bias=False)
        self.embed_user_attributes = nn.Linear(n_attributes, embedding_dim, bias=False)
        self.user_embedding = nn.Parameter(torch.zeros(embedding_dim))
        self.decision = MLP((2 * embedding_dim,), hidden)
        self.out_features = hidden[-1]

    def forward(self, x: Tensor) -> Tensor:
        position, user_attributes = x[:, 0].long(), x[:, 1:]  # (B,), (B, D)
        of_attributes = self.embed_item_attributes(self.item_attributes[position])
        item = self.item_embeddings(position) + of_attributes  # (B, embedding_dim)
        user = self.embed_user_attributes(user_attributes) + self.user_embedding
        return self.decision(torch.cat([item, user], dim=1))  # (B, hidden[-1])


class UserTasks:
    """Users as tasks for any learner of this package. The support set and the queries of an episode
    are ratings of one user.

    Support sizes take turns; each stays for `group` tasks in a row, so that a meta-batch of that
    size has support sets of equal length.

    Args:
        ratings: Users by items, of the values to predict, (U, I).
        users: Attributes, (U, D).
        sizes: Support sizes. A size for which no user has ratings enough is left out.
        n_query: Queries a task.
        group: Tasks of one support size in a row.
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
        self.start, counts = ratings.indptr, np.diff(ratings.indptr)
        user_attributes = np.repeat(users, counts, 0)  # a row a rating
        self.x = torch.tensor(
            np.column_stack([ratings.indices, user_attributes]), dtype=torch.float32
        )
        self.y = torch.tensor(ratings.data, dtype=torch.float32)[:, None]
        eligible = {size: np.flatnonzero(counts >= size + n_query) for size in sizes}
        self.eligible = {size: users for size, users in eligible.items() if len(users)}
        self.sizes = list(self.eligible)
        self.n_query, self.group, self.seed = n_query, group, seed

    def __getitem__(self, index: int) -> Episode:
        generator = generator_for(self.seed, index)
        size = self.sizes[index // self.group % len(self.sizes)]
        eligible = self.eligible[size]
        user = eligible[int(torch.randint(len(eligible), (1,), generator=generator))]
        first, last = int(self.start[user]), int(self.start[user + 1])
        order = torch.randperm(last - first, generator=generator)
        rows = first + order[: size + self.n_query]
        x, y = self.x[rows], self.y[rows]
        return Episode(Support(x[:size], y[:size]), Batch(x[size:], y[size:]))
