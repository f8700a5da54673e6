"""How new a single support set is to a learner, by a few numbers kept from its meta-training.

No example is kept: a mean and a covariance of projected features and statistics, how far examples
of new classes of the same domain lie from them, and how accurate the learner is on these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from quickstudy.diagnostics.features import embed, fixed_projection, input_statistics
from quickstudy.diagnostics.finding import Finding, Threshold
from quickstudy.diagnostics.memorisation import task_scores
from quickstudy.errors import DataError, RunError
from quickstudy.files import write_atomically
from quickstudy.learners import Learner
from quickstudy.tasks import Batch, Episode, Tasks

__all__ = ["STATISTICS_FILE", "TrainingStatistics", "novelty"]

STATISTICS_FILE = "statistics.safetensors"

N_EXAMPLES, N_UNITS, PER_UNIT = 1500, 120, 5
"""Examples of training that the mean and covariance are taken of, at most; and classes (or tasks of
a regression) whose distances are kept, with so many examples each."""

SIZE = 20
"""Numbers that features, and inputs that are no images, are projected to."""

MAX_TASKS = 200
N_SCORED = 40
"""Reference tasks whose accuracies are kept."""

DRAWS = 2000
LEVEL = 0.01
"""Support sets that are simulated for the null distribution, and the share of them beyond the
threshold."""


@dataclass(frozen=True)
class TrainingStatistics:
    """What is kept of the training tasks of a learner, k numbers an example.

    Args:
        mean: Shape (k,).
        whitening: Turns deviations from the mean into uncorrelated ones of variance 1, (k, k).
        distances: How far examples of reference classes lie from the mean, (units, per unit),
            NaN where a class has fewer examples. References are validation classes where there
            are any, which the learner was not trained on.
        new_classes: Whether they are, a scalar.
        scored: Accuracy, ways and examples a class of reference tasks, (tasks, 3); none of
            regressions, and of runs from before they were kept.
    """

    mean: Tensor
    whitening: Tensor
    distances: Tensor
    new_classes: Tensor
    scored: Tensor = field(default_factory=lambda: torch.empty(0, 3))

    @classmethod
    def of(
        cls, learner: Learner, tasks: Tasks, validation: Tasks | None = None
    ) -> TrainingStatistics:
        """Take them from the first training tasks, and from validation tasks if there are any.

        Raises:
            DataError: If the tasks have too few examples, or examples of several shapes.
        """
        parts = list(_some(_described(learner, tasks, 0), N_EXAMPLES))
        if len(sizes := {part.shape[1] for part in parts}) > 1:
            raise DataError(f"expected tasks of one shape, got examples of {sorted(sizes)} numbers")
        described = torch.cat(parts).double()
        if len(described) < 2 * PER_UNIT:
            raise DataError(f"expected {2 * PER_UNIT} training examples, got {len(described)}")
        mean = described.mean(0)
        centred = described - mean
        cov = centred.T @ centred / len(described)
        scale = cov.diagonal().mean().clamp_min(1e-12)
        # Shrunk, so that what never varied in training does not make all else infinitely far.
        identity = torch.eye(len(cov)).to(cov)
        cov = cov + 1e-3 * cov.diagonal().diag() + 1e-6 * scale * identity
        root = torch.linalg.cholesky(cov)
        whitening = torch.linalg.solve_triangular(root, identity, upper=False).float()
        made = cls(mean.float(), whitening, torch.empty(0), torch.tensor(validation is not None))
        units = []
        first = 0 if validation else MAX_TASKS
        for task in _episodes(validation or tasks, first):
            for unit in _units(task):
                units.append(made._distances(_describe(learner, unit))[:PER_UNIT])
            if len(units) >= N_UNITS:
                break
        filled = [
            torch.nn.functional.pad(u, (0, PER_UNIT - len(u)), value=torch.nan) for u in units
        ]
        return cls(
            made.mean,
            whitening,
            torch.stack(filled[:N_UNITS]),
            made.new_classes,
            _scored(learner, validation or tasks, first),
        )

    def distances_of(
        self, learner: Learner, batch: Batch, features: Tensor | None = None
    ) -> Tensor:
        """How far each example lies from those of training, (n,): 1 is usual there.

        Args:
            features: What `embed` made of the examples, if that is known.

        Raises:
            DataError: If they are of another shape than those of training.
        """
        return self._distances(_describe(learner, batch, features))

    def reference_distances(self, n_units: int, per_unit: int) -> np.ndarray:
        """Mean distances of support sets of so many classes and examples a class that are drawn
        from the reference classes, (DRAWS,)."""
        return _null(self.distances.numpy(), n_units, per_unit)

    def _distances(self, described: Tensor) -> Tensor:
        """Mahalanobis distances (n,), per number, of descriptions (n, k)."""
        k = described.shape[1]
        if k != len(self.mean):
            raise DataError(
                f"expected examples described by {len(self.mean)} numbers as in training, got {k}"
            )
        z = (described - self.mean) @ self.whitening.T
        return (z.square().sum(1) / k).sqrt()

    def write(self, folder: Path) -> None:
        """Write them to a run folder.

        Raises:
            DiskError: If they cannot be written.
        """
        tensors = {f.name: getattr(self, f.name).contiguous() for f in fields(self)}
        write_atomically(folder / STATISTICS_FILE, safetensors.torch.save(tensors))

    @classmethod
    def read(cls, folder: Path) -> TrainingStatistics | None:
        """Those of a run folder; None of a run from before they were kept.

        Raises:
            RunError: If they are damaged.
        """
        path = folder / STATISTICS_FILE
        if not path.is_file():
            return None
        try:
            return cls(**safetensors.torch.load(path.read_bytes()))
        except (safetensors.SafetensorError, TypeError, ValueError) as error:
            raise RunError(f"{path} is damaged ({error}): remove it, or train anew") from None


def novelty(
    statistics: TrainingStatistics,
    learner: Learner,
    support: Batch,
    *,
    features: Tensor | None = None,
) -> Finding:
    """How far a support set lies from the examples that its learner was trained on.

    The value is the mean Mahalanobis distance of its examples, 1 being usual in training. Support
    sets of the same size are drawn from the reference classes; one that is farther than 99 in 100
    of them is a warning.

    Args:
        statistics: Kept at training.
        learner: The same, which embeds the examples.
        support: Examples and labels, or targets.
        features: What `embed` made of the examples, if that is known.

    Raises:
        DataError: If it is empty, or its examples are of another shape than those of training.
    """
    if not len(support):
        raise DataError("expected an example to compare with training, got none")
    distances = statistics.distances_of(learner, support, features)
    value = float(distances.mean())
    counts = [1] if support.y.is_floating_point() else support.y.unique().shape[:1]
    n_units = int(counts[0])
    per_unit = max(1, round(len(support) / n_units))
    null = statistics.reference_distances(n_units, per_unit)
    threshold, p = float(np.quantile(null, 1 - LEVEL)), float((null >= value).mean())
    is_new = value > threshold
    reference = "new classes of" if bool(statistics.new_classes) else "other tasks of"
    return Finding(
        "novelty",
        "warning" if is_new else "fine",
        value,
        f"These examples lie {value / float(np.median(null)):.1f} times as far from the training "
        f"data as {reference} the same domain"
        + (": they are unlike what this learner was trained on." if is_new else "."),
        "Test it on labelled examples before relying on it, or leave out the learner's name to "
        "use the default learner."
        if is_new
        else "",
        threshold=Threshold(
            threshold, f"99 in 100 of {DRAWS} simulated support sets of this size are nearer"
        ),
        details={"p": p, "median_of_reference": float(np.median(null))},
        examples=tuple(distances.argsort(descending=True)[:3].tolist()) if is_new else (),
    )


def _null(distances: np.ndarray, n_units: int, per_unit: int) -> np.ndarray:
    """Mean distances of support sets drawn from the reference, shape (DRAWS,)."""
    rng = np.random.default_rng(0)
    units = rng.integers(len(distances), size=(DRAWS, n_units))
    drawn = distances[units]
    if per_unit < distances.shape[1]:
        columns = rng.random(drawn.shape).argsort(-1)[..., :per_unit]
        drawn = np.take_along_axis(drawn, columns, -1)
    filled = np.isfinite(drawn)
    sums = np.where(filled, drawn, 0).sum((1, 2))
    return sums / np.maximum(filled.sum((1, 2)), 1)


def _describe(learner: Learner, batch: Batch, features: Tensor | None = None) -> Tensor:
    """The numbers (n, k) that examples are compared by."""
    parts = [fixed_projection(input_statistics(batch), SIZE)]
    features = embed(learner, batch.x) if features is None else features
    if features is not None:
        length = features.norm(dim=1, keepdim=True)
        parts += [fixed_projection(features, SIZE), length.clamp_min(1e-6).log()]
    return torch.cat(parts, dim=1)


def _described(learner: Learner, tasks: Tasks, first: int) -> Iterator[Tensor]:
    for task in _episodes(tasks, first):
        for batch in (task.support, task.query):
            if len(batch):
                yield _describe(learner, batch)


def _scored(learner: Learner, tasks: Tasks, first: int) -> Tensor:
    """Accuracy, ways and examples a class of tasks, (N_SCORED, 3)."""
    if tasks[first].n_way is None:
        return torch.empty(0, 3)
    shapes = []
    for i in range(first, first + N_SCORED):
        y = tasks[i].support.y
        n_way = len(y.unique())
        shapes.append([n_way, len(y) / max(n_way, 1)])
    scores = task_scores(learner, tasks, N_SCORED, first=first)
    return torch.cat([scores[:, None].float(), torch.tensor(shapes)], dim=1)


def _episodes(tasks: Tasks, first: int) -> Iterator[Episode]:
    return (tasks[i] for i in range(first, first + MAX_TASKS))


def _units(task: Episode) -> Iterator[Batch]:
    """The examples of each class of a task, or of a regression task all."""
    x, y = torch.cat([task.support.x, task.query.x]), torch.cat([task.support.y, task.query.y])
    if task.n_way is None:
        yield Batch(x[:PER_UNIT], y[:PER_UNIT])
        return
    for label in y.unique():
        rows = (y == label).nonzero()[:PER_UNIT, 0]
        yield Batch(x[rows], y[rows])


def _some(parts: Iterator[Tensor], n: int) -> Iterator[Tensor]:
    """Parts until they have n rows together."""
    so_far = 0
    for part in parts:
        yield part
        so_far += len(part)
        if so_far >= n:
            return
