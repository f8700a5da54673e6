"""Classes to train on in a test, and training until a goal is reached."""

from __future__ import annotations

import contextlib
from functools import partial

import torch
from torch.optim import Adam

from quickstudy.engine import Callback, make_executor, meta_train
from quickstudy.learners import Learner
from quickstudy.tasks import ClassData, Tasks

__all__ = ["blob_classes", "train_until"]


def blob_classes(n_classes: int = 40, n_each: int = 20, *, d: int = 8, seed: int = 0) -> ClassData:
    """Gaussian blobs as classes, in `d` dimensions of which only the first half matter."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(n_classes, d, generator=generator)
    x = centre[:, None] + 0.25 * torch.randn(n_classes, n_each, d, generator=generator)
    x[..., d // 2 :] = 2 * torch.randn(n_classes, n_each, d - d // 2, generator=generator)
    y = torch.arange(n_classes).repeat_interleave(n_each)
    return ClassData(x.flatten(0, 1), y, [f"blob{c}" for c in range(n_classes)])


class _GoalReached(Exception):
    pass


class _Goal(Callback):
    """Ends a training at the first validation that is better than `score`."""

    def __init__(self, score: float) -> None:
        self.score = score

    def on_validation(self, step: int, metrics: dict[str, float]) -> None:
        ((metric, value),) = metrics.items()
        if value < self.score if metric == "mse" else value > self.score:
            raise _GoalReached


def train_until(
    score: float,
    learner: Learner,
    tasks: Tasks,
    validation: Tasks,
    *,
    steps: int,
    meta_batch_size: int = 4,
    lr: float = 1e-3,
    n_validation: int = 10,
) -> None:
    """Meta-train until a validation is better than a score, for tests of what was learned.

    Adam trains in float32. Tasks go in one batch where the learner allows it, found without a
    trial. There are five validations on the way.

    Args:
        score: Accuracy or return to exceed, or mean squared error to fall below.
        steps: Meta-steps at most; if all are made, the best weights by validation are kept.
        n_validation: Tasks of a validation.

    Example:
        >>> from quickstudy import EpisodeSampler, PrototypicalNetworks
        >>> from quickstudy.nn import MLP
        >>> tasks = EpisodeSampler(blob_classes(), n_way=3, n_shot=2, n_query=5)
        >>> train_until(0.5, PrototypicalNetworks(MLP((8,))), tasks, tasks, steps=100)
    """
    executor = make_executor("auto", learner, meta_batch_size, trial=False)
    with contextlib.closing(executor), contextlib.suppress(_GoalReached):
        meta_train(
            learner,
            tasks,
            steps=steps,
            meta_batch_size=meta_batch_size,
            optimizer=partial(Adam, lr=lr),
            executor=executor,
            precision="float32",
            validation=validation,
            validation_tasks=n_validation,
            validate_every=max(1, steps // 5),
            callbacks=[_Goal(score)],
        )
    learner.eval()
