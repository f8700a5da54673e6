"""Task families: infinite, indexable sequences of episodes.

`tasks[i]` is the same episode every time, on every machine, so a run resumes, validates and
spreads over processes by counting alone: there is no generator state to keep.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Sequence
from copy import copy
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import torch

from quickstudy.errors import DataError, UsageError
from quickstudy.tasks.augment import Augment
from quickstudy.tasks.episode import Batch, Episode, Support
from quickstudy.tasks.sources import ClassData

__all__ = [
    "Curriculum",
    "EpisodeSampler",
    "GeneratedTasks",
    "InstanceTasks",
    "Range",
    "SinusoidTasks",
    "Tasks",
    "as_range",
    "draw_members",
    "draw_size",
    "generator_for",
    "split_and_shuffle",
]

Range = int | tuple[int, int]


class Tasks(Protocol):
    """A task family: `tasks[i]` is an episode that depends on the family's seed and `i` alone."""

    def __getitem__(self, index: int, /) -> Episode: ...


def generator_for(seed: int, *path: int) -> torch.Generator:
    """A fresh generator for one place in a run, such as (seed, episode)."""
    state = np.random.SeedSequence((seed, *path)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class EpisodeSampler:
    """Draw N-way K-shot episodes from labelled data.

    Labels are 0..n_way-1 in an order drawn anew for every episode, and examples come in random
    order. No example is both support and query of an episode.

    Args:
        data: Examples grouped by class.
        n_way: Classes per episode, or a range (fewest, most) drawn from for every episode.
        n_shot: Support examples per class, 0 or more, or a range.
        n_query: Query examples per class.
        seed: Decides every episode.
        augment: Distorts the drawn examples, as `affine` does: `augment(x, generator)`.
        n_labels: If given, labels are distinct random numbers below `n_labels` instead of
            0..n_way-1. The episode then has `n_labels` ways; those without examples have class -1.
        within_group: Draw the classes of an episode from one group of the data, such as an
            alphabet, each group as often as another. Groups of too few classes are left out.
        balance_groups: Draw the classes of every group as often as those of another, however many
            there are of each: those of a small group come more often.

    Raises:
        DataError: If `data`, or each of its groups, has too few classes, or a class too few
            examples.
        UsageError: If there are fewer labels than ways, or the data has attributes with them.

    Example:
        >>> data = ClassData(torch.rand(40, 3), torch.arange(40) % 8, list("abcdefgh"))
        >>> tasks = EpisodeSampler(data, n_way=5, n_shot=1, n_query=2)
        >>> tasks[0].support.x.shape, tasks[0].query.x.shape
        (torch.Size([5, 3]), torch.Size([10, 3]))
    """

    def __init__(
        self,
        data: ClassData,
        *,
        n_way: Range,
        n_shot: Range,
        n_query: int,
        seed: int = 0,
        augment: Augment | None = None,
        n_labels: int | None = None,
        within_group: bool = False,
        balance_groups: bool = False,
    ) -> None:
        self.data, self.n_query, self.seed, self.augment = data, n_query, seed, augment
        self._rows: Callable[[torch.Tensor], torch.Tensor] = data.rows
        self.n_way = as_range("n_way", n_way, 1)
        self.n_shot = as_range("n_shot", n_shot, 0)
        self.n_labels = n_labels
        if n_labels is not None and n_labels < self.n_way[1]:
            raise UsageError(f"expected n_labels of {self.n_way[1]} ways or more, got {n_labels}")
        if n_labels is not None and data.attributes is not None:
            raise UsageError("expected no n_labels with class attributes")
        if n_query < 1:
            raise UsageError(f"expected n_query of 1 or more, got {n_query}")
        if data.n_classes < self.n_way[1]:
            raise DataError(
                f"expected at least {self.n_way[1]} classes for {self.n_way[1]}-way episodes, "
                f"got {data.n_classes}: lower n_way or add classes"
            )
        need, least = self.n_shot[1] + n_query, int(data.counts.min())
        if least < need:
            poorest = data.names[int(data.counts.argmin())]
            raise DataError(
                f"expected {need} examples of every class ({self.n_shot[1]} shot + {n_query} "
                f"query), got {least} of {poorest!r}: lower n_shot or n_query, or add examples"
            )
        if within_group and balance_groups:
            raise UsageError("expected within_group or balance_groups, got both")
        self.groups = _groups(data, self.n_way[1]) if within_group else None
        self.class_weights = _balanced(data) if balance_groups else None

    def __getitem__(self, index: int) -> Episode:
        generator = generator_for(self.seed, index)
        n_way = draw_size(self.n_way, generator)
        n_shot = draw_size(self.n_shot, generator)
        data, take = self.data, n_shot + self.n_query
        classes = self._draw_classes(n_way, generator)
        rows = draw_members(data.index, data.counts, classes, take, generator)
        support_rows, support_y, query_rows, query_y = split_and_shuffle(rows, n_shot, generator)
        support_x, query_x = self._rows(support_rows), self._rows(query_rows)
        if self.augment:
            support_x = self.augment(support_x, generator) if n_shot else support_x
            query_x = self.augment(query_x, generator)
        attributes = None if data.attributes is None else data.attributes[classes]
        clusters = None if data.clusters is None else data.clusters[classes]
        if self.n_labels is not None:
            ids = torch.randperm(self.n_labels, generator=generator)[:n_way]
            support_y, query_y, n_way = ids[support_y], ids[query_y], self.n_labels
            classes = torch.full((n_way,), -1).index_copy_(0, ids, classes)
            if clusters is not None:
                clusters = torch.full((n_way,), -1).index_copy_(0, ids, clusters)
        return Episode(
            Support(support_x, support_y, n_way, attributes),
            Batch(query_x, query_y),
            classes,
            clusters,
        )

    def map_examples(
        self,
        f: Callable[[torch.Tensor], torch.Tensor],
        computed: dict[ClassData, Any] | None = None,
    ) -> EpisodeSampler | None:
        """The same episodes with `f(x)` for each example x, computed once however often x is drawn;
        None with `augment`, which makes different examples each time.

        Args:
            f: Maps examples (n, ...) to anything of n rows.
            computed: What `f` gave for the samplers that were mapped before, by their data: read
                and added to. It must not serve another `f`.
        """
        if self.augment:
            return None
        mapped = copy(self)
        rows = _CachedRows(self.data, f)
        mapped._rows = rows if computed is None else computed.setdefault(self.data, rows)
        return mapped

    def _draw_classes(self, n_way: int, generator: torch.Generator) -> torch.Tensor:
        if self.class_weights is not None:
            return torch.multinomial(self.class_weights, n_way, generator=generator)
        if self.groups is None:
            return torch.randperm(self.data.n_classes, generator=generator)[:n_way]
        group = self.groups[draw_size((0, len(self.groups) - 1), generator)]
        return group[torch.randperm(len(group), generator=generator)[:n_way]]


class Curriculum:
    """Easier tasks first: one family for a number of episodes, then the next, and so on.

    Args:
        stages: Each family with its number of episodes.
        last: The family of all episodes after those.

    Raises:
        UsageError: If a stage has no episode.

    Example:
        >>> easy, hard = (SinusoidTasks(n_shot=k, n_query=5) for k in (10, 2))
        >>> tasks = Curriculum([(easy, 100)], hard)
        >>> len(tasks[99].support), len(tasks[100].support)
        (10, 2)
    """

    def __init__(self, stages: Sequence[tuple[Tasks, int]], last: Tasks) -> None:
        if min((n for _, n in stages), default=1) < 1:
            raise UsageError("expected stages of 1 episode or more")
        self.families = [*(family for family, _ in stages), last]
        self.starts = [0, *accumulate(n for _, n in stages)]

    def __getitem__(self, index: int) -> Episode:
        return self.families[bisect_right(self.starts, index) - 1][index]


class InstanceTasks:
    """Tasks that measure accuracy on the k-th instance of a class in a sequence of examples.

    An episode is a shuffled sequence of `n_each` examples of each class. Its query is the k-th
    example of a class, and its support all that came before: the protocol of Santoro et al. 2016,
    "instance accuracy". The queried class is another in each episode.

    Args:
        data: Examples grouped by class.
        n_way: Classes per sequence.
        n_each: Examples per class.
        instance: Which example of its class is queried, from 1, the first.
        seed: Decides every episode.
        n_labels: As of `EpisodeSampler`.

    Example:
        >>> data = ClassData(torch.rand(40, 3), torch.arange(40) % 8, list("abcdefgh"))
        >>> episode = InstanceTasks(data, n_way=5, n_each=4, instance=2)[0]
        >>> int((episode.support.y == episode.query.y).sum())
        1
    """

    def __init__(
        self,
        data: ClassData,
        *,
        n_way: int,
        n_each: int = 10,
        instance: int = 2,
        seed: int = 0,
        n_labels: int | None = None,
    ) -> None:
        if not 1 <= instance <= n_each:
            raise UsageError(f"expected an instance in 1..{n_each}, got {instance}")
        self.sequences = EpisodeSampler(
            data, n_way=n_way, n_shot=0, n_query=n_each, seed=seed, n_labels=n_labels
        )
        self.instance = instance

    def __getitem__(self, index: int) -> Episode:
        sequence = self.sequences[index]
        x, y = sequence.query.x, sequence.query.y
        queried = y.unique()[index % self.sequences.n_way[0]]
        at = int((y == queried).nonzero()[self.instance - 1])
        support = Support(x[:at], y[:at], sequence.n_way)
        query = Batch(x[at : at + 1], y[at : at + 1])
        return Episode(support, query, sequence.classes, sequence.clusters)


class GeneratedTasks:
    """Tasks made by a function.

    Args:
        draw: Makes an episode; all that is random in it comes from the generator it is given.
        seed: Decides every task.

    Example:
        >>> def line(generator):
        ...     x = torch.rand(8, 1, generator=generator)
        ...     y = x * torch.randn(1, generator=generator)
        ...     return Episode(Support(x[:3], y[:3]), Batch(x[3:], y[3:]))
        >>> GeneratedTasks(line)[0].query.x.shape
        torch.Size([5, 1])
    """

    def __init__(self, draw: Callable[[torch.Generator], Episode], *, seed: int = 0) -> None:
        self.draw, self.seed = draw, seed

    def __getitem__(self, index: int) -> Episode:
        return self.draw(generator_for(self.seed, index))


class SinusoidTasks(GeneratedTasks):
    """Regression to sinusoids, the toy family of MAML (Finn et al. 2017, section 5.1).

    Each task is y = a sin(x - p), with amplitude a in [0.1, 5], phase p in [0, pi], and x in
    [-5, 5].

    Args:
        n_shot: Support points.
        n_query: Query points.
        seed: Decides every task.

    Example:
        >>> SinusoidTasks(n_shot=10, n_query=10)[0].support.x.shape
        torch.Size([10, 1])
    """

    def __init__(self, *, n_shot: int, n_query: int, seed: int = 0) -> None:
        if n_shot < 0 or n_query < 1:
            raise UsageError(f"expected n_shot >= 0 and n_query >= 1, got {n_shot} and {n_query}")
        super().__init__(self._draw, seed=seed)
        self.n_shot, self.n_query = n_shot, n_query

    def _draw(self, generator: torch.Generator) -> Episode:
        u = torch.rand(self.n_shot + self.n_query + 2, 1, generator=generator)
        amplitude, phase, x = 0.1 + 4.9 * u[0], math.pi * u[1], 10 * u[2:] - 5
        y = amplitude * torch.sin(x - phase)
        k = self.n_shot
        return Episode(Support(x[:k], y[:k]), Batch(x[k:], y[k:]))


class _CachedRows:
    """The examples of `data` after `f`, each computed when it is first read.

    If all of them would take more than `MAX_BYTES`, they are computed every time.
    """

    MAX_BYTES = 2**30

    def __init__(self, data: ClassData, f: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._data, self._f = data, f
        self._made: torch.Tensor | None = None
        self._known = torch.zeros(len(data.y), dtype=torch.bool)

    def __call__(self, index: torch.Tensor) -> torch.Tensor:
        new = index[~self._known[index]].unique()
        if self._made is None:
            made = self._f(self._data.rows(index))
            if made.nbytes // max(len(index), 1) * len(self._known) > self.MAX_BYTES:
                return made
            self._made = made.new_empty(len(self._known), *made.shape[1:])
            self._made[index] = made
        elif len(new):
            self._made[new] = self._f(self._data.rows(new))
        self._known[new] = True
        return self._made[index]


def _balanced(data: ClassData) -> torch.Tensor:
    """The weight of each class (n_classes,) by which all groups are drawn alike."""
    if data.groups is None:
        raise DataError("expected data with groups of classes, such as folders of class folders")
    _, group, sizes = data.groups.unique(return_inverse=True, return_counts=True)
    return 1 / sizes[group].double()


def _groups(data: ClassData, n_way: int) -> list[torch.Tensor]:
    """The classes of each group that has enough of them."""
    if data.groups is None:
        raise DataError("expected data with groups of classes, such as folders of class folders")
    groups = [(data.groups == g).nonzero()[:, 0] for g in data.groups.unique()]
    largest = max(map(len, groups))
    if largest < n_way:
        raise DataError(
            f"expected a group of at least {n_way} classes for {n_way}-way episodes within a "
            f"group, got groups of at most {largest}: lower n_way"
        )
    return [group for group in groups if len(group) >= n_way]


def as_range(name: str, value: Range, least: int) -> tuple[int, int]:
    """The bounds (fewest, most) of an option that is given as one number or as both.

    Raises:
        UsageError: If there can be fewer than `least`, or none.
    """
    low, high = value if isinstance(value, Sequence) else (value, value)
    if not least <= low <= high:
        raise UsageError(f"expected {name} of {least} or more, or (fewest, most), got {value}")
    return operator.index(low), operator.index(high)


def draw_size(bounds: tuple[int, int], generator: torch.Generator) -> int:
    """A number from a range (fewest, most), both of which it may be."""
    low, high = bounds
    return low if low == high else int(torch.randint(low, high + 1, (), generator=generator))


def draw_members(
    index: torch.Tensor,
    counts: torch.Tensor,
    classes: torch.Tensor,
    take: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Rows of `take` different examples of each of `classes`, shape (n_way, take).

    Args:
        index, counts: As of `quickstudy.tasks.sources.group_rows`.
    """
    width = index.shape[1]  # examples of the largest class
    sort_keys = torch.rand(len(classes), width, generator=generator)
    sort_keys[torch.arange(width) >= counts[classes, None]] = 2.0  # padding is drawn last
    return index[classes[:, None], sort_keys.argsort(dim=1)[:, :take]]


def split_and_shuffle(
    rows: torch.Tensor, n_shot: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows (n_way, take) of an episode's classes as support rows, their labels, query rows, and
    theirs, each set in random order."""
    n_way, take = rows.shape
    y = torch.arange(n_way)[:, None].expand(n_way, take)
    support_order, query_order = (
        torch.randperm(n_way * n, generator=generator) for n in (n_shot, take - n_shot)
    )
    return (
        rows[:, :n_shot].flatten()[support_order],
        y[:, :n_shot].flatten()[support_order],
        rows[:, n_shot:].flatten()[query_order],
        y[:, n_shot:].flatten()[query_order],
    )
