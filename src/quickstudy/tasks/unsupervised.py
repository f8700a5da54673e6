"""Task families made of examples without labels: what is a class, the family decides.

- Khodadadeh, Bölöni & Shah, "Unsupervised Meta-Learning for Few-Shot Image Classification" (UMTRA),
  NeurIPS 2019, arXiv:1811.11819.
- Medina, Devos & Grossglauser, "Self-Supervised Prototypical Transfer Learning for Few-Shot
  Classification" (ProtoTransfer, with ProtoCLR), 2020, arXiv:2006.11325.
- Hsu, Levine & Finn, "Unsupervised Learning via Meta-Learning" (CACTUs), ICLR 2019,
  arXiv:1810.02334.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.cache import FileCache
from quickstudy.errors import DataError, UsageError, require
from quickstudy.progress import track
from quickstudy.tasks.augment import Augment
from quickstudy.tasks.episode import Batch, Episode, Support
from quickstudy.tasks.sampler import (
    Range,
    as_range,
    draw_members,
    draw_size,
    generator_for,
    split_and_shuffle,
)
from quickstudy.tasks.sources import group_rows
from quickstudy.tasks.unlabelled import UnlabelledData

__all__ = ["ClusterTasks", "CopyTasks", "cluster_repeatedly"]

PARTITION_CACHE = FileCache("partitions")


class CopyTasks:
    """Tasks in which each drawn example is a class, and distorted copies of it its examples.

    With n_way = 5 and n_query = 1 these are the tasks of UMTRA, with n_way = 50 and n_query = 3
    those of ProtoCLR. Two drawn examples may be of one class in truth; where there are many classes
    that is rare.

    Args:
        data: Examples without labels.
        n_way: Examples per episode, each a class, or a range (fewest, most).
        n_shot: Support examples per class, or a range. With one, it is the example as it is, unless
            `augment_support`; with more, all are distorted copies.
        n_query: Query examples per class, all of them distorted copies.
        augment: Distorts, as `quickstudy.tasks.augment` has it.
        augment_support: Whether one support example per class is distorted as well.
        seed: Decides every episode.

    Raises:
        DataError: If there are fewer examples than ways.
        UsageError: If a number is out of range.

    Example:
        >>> from quickstudy.tasks.augment import elastic
        >>> pool = UnlabelledData(torch.rand(30, 1, 28, 28))
        >>> tasks = CopyTasks(pool, n_way=5, n_query=3, augment=elastic)
        >>> tasks[0].support.x.shape, tasks[0].query.x.shape
        (torch.Size([5, 1, 28, 28]), torch.Size([15, 1, 28, 28]))
    """

    def __init__(
        self,
        data: UnlabelledData,
        *,
        n_way: Range,
        n_shot: Range = 1,
        n_query: int = 1,
        augment: Augment,
        augment_support: bool = False,
        seed: int = 0,
    ) -> None:
        self.data, self.n_query, self.seed = data, n_query, seed
        self.augment, self.augment_support = augment, augment_support
        self.n_way, self.n_shot = as_range("n_way", n_way, 1), as_range("n_shot", n_shot, 1)
        if n_query < 1:
            raise UsageError(f"expected n_query of 1 or more, got {n_query}")
        if len(data) < self.n_way[1]:
            raise DataError(
                f"expected at least {self.n_way[1]} examples for {self.n_way[1]}-way tasks, each "
                f"a class, got {len(data)}: lower n_way or add examples"
            )

    def __getitem__(self, index: int) -> Episode:
        generator = generator_for(self.seed, index)
        n_way, n_shot = draw_size(self.n_way, generator), draw_size(self.n_shot, generator)
        drawn = torch.randperm(len(self.data), generator=generator)[:n_way]
        places = torch.arange(n_way)[:, None].expand(n_way, n_shot + self.n_query)
        support, support_y, query, query_y = split_and_shuffle(places, n_shot, generator)
        x = self.data.rows(drawn)
        support_x = x[support]
        if self.augment_support or n_shot > 1:
            support_x = self.augment(support_x, generator)
        query_x = self.augment(x[query], generator)
        return Episode(Support(support_x, support_y, n_way), Batch(query_x, query_y), drawn)


class ClusterTasks:
    """Tasks in which clusters of an embedding are the classes: those of CACTUs.

    An episode draws a partition, then clusters of it, then examples of each; labels are fresh. As
    in the paper, clusters with fewer than n_shot + n_query examples are dropped.

    Args:
        data: Examples without labels.
        partitions: Cluster of each example in each partition, int64 of shape (n_partitions, n), as
            `cluster_repeatedly` makes them.
        n_way: Clusters per episode.
        n_shot: Support examples per cluster.
        n_query: Query examples per cluster.
        augment: Distorts support and query examples, if given.
        seed: Decides every episode.

    Raises:
        DataError: If a partition has another length than the data, or none has enough clusters.
        UsageError: If a number is out of range.

    Example:
        >>> pool = UnlabelledData(torch.rand(30, 4))
        >>> tasks = ClusterTasks(pool, torch.arange(30)[None] % 6, n_way=3, n_shot=1, n_query=2)
        >>> tasks[0].support.x.shape, tasks[0].query.x.shape
        (torch.Size([3, 4]), torch.Size([6, 4]))
    """

    def __init__(
        self,
        data: UnlabelledData,
        partitions: Tensor,
        *,
        n_way: int,
        n_shot: int = 1,
        n_query: int = 5,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.data, self.augment, self.seed = data, augment, seed
        self.n_way, _ = as_range("n_way", n_way, 2)
        self.n_shot, _ = as_range("n_shot", n_shot, 1)
        self.n_query, _ = as_range("n_query", n_query, 1)
        if partitions.shape[1:] != (len(data),):
            raise DataError(
                f"expected partitions of shape (n_partitions, {len(data)}), got "
                f"{tuple(partitions.shape)}"
            )
        groups = (group_rows(partition, int(partition.max()) + 1) for partition in partitions)
        take, most = n_shot + n_query, 0
        self.partitions: list[tuple[Tensor, Tensor]] = []
        for index, counts in groups:
            large = counts >= take
            most = max(most, int(large.sum()))
            if int(large.sum()) >= n_way:
                self.partitions.append((index[large], counts[large]))
        if not self.partitions:
            raise DataError(
                f"expected {n_way} clusters of {take} examples or more ({n_shot} shot + {n_query} "
                f"query), got {most} at most: lower n_way, n_shot, n_query or the number of "
                "clusters, or add examples"
            )

    def __getitem__(self, index: int) -> Episode:
        generator = generator_for(self.seed, index)
        members, counts = self.partitions[draw_size((0, len(self.partitions) - 1), generator)]
        clusters = torch.randperm(len(counts), generator=generator)[: self.n_way]
        take = self.n_shot + self.n_query
        rows = draw_members(members, counts, clusters, take, generator)
        support, support_y, query, query_y = split_and_shuffle(rows, self.n_shot, generator)
        support_x, query_x = self.data.rows(support), self.data.rows(query)
        if self.augment:
            support_x = self.augment(support_x, generator)
            query_x = self.augment(query_x, generator)
        return Episode(Support(support_x, support_y, self.n_way), Batch(query_x, query_y), clusters)


def cluster_repeatedly(
    embeddings: Tensor, *, n_clusters: int = 500, n_partitions: int = 50, seed: int = 0
) -> Tensor:
    """Partition embeddings by k-means, each time with their features scaled anew at random.

    As in CACTUs (section 2.2), the scaling is a diagonal matrix; its entries are uniform on (0, 1).
    The partitions are kept in the user's cache.

    Args:
        embeddings: Shape (n, ...); what is not flat is flattened.
        n_clusters: Of a partition, at most n.
        n_partitions: Times that all of them are partitioned.

    Returns:
        Cluster of each embedding in each partition, int64 of shape (n_partitions, n).

    Raises:
        DataError: If there are fewer embeddings than clusters.
        MissingError: If scikit-learn is not installed.

    Example:
        >>> cluster_repeatedly(torch.rand(20, 4), n_clusters=3, n_partitions=2).shape
        torch.Size([2, 20])
    """
    if min(n_clusters, n_partitions) < 1:
        raise UsageError(f"expected 1 cluster or more, got {n_clusters} in {n_partitions}")
    if len(embeddings) < n_clusters:
        raise DataError(
            f"expected at least {n_clusters} examples for {n_clusters} clusters, got "
            f"{len(embeddings)}: lower the number of clusters or add examples"
        )
    require("sklearn", "fewshot")
    x = embeddings.flatten(1).float().numpy()
    about = f"1\0{x.shape}\0{n_clusters}\0{n_partitions}\0{seed}\0".encode()
    key = hashlib.sha256(about + x.tobytes()).hexdigest()[:32]
    if kept := PARTITION_CACHE.get(key):
        ids = np.frombuffer(kept, np.int32).astype(np.int64)
        return torch.from_numpy(ids.reshape(n_partitions, -1))
    import sklearn.cluster

    partitions = np.empty((n_partitions, len(x)), np.int32)
    for p in track(range(n_partitions), "clustering"):
        scale = torch.rand(x.shape[1], generator=generator_for(seed, p)).numpy()
        options: dict[str, Any] = {"n_init": 1, "max_iter": 50, "random_state": p}
        k_means = sklearn.cluster.KMeans(n_clusters, **options)
        partitions[p] = k_means.fit_predict(x * scale)
    PARTITION_CACHE.put(key, partitions.tobytes())
    return torch.from_numpy(partitions).long()
