"""quickstudy learns to learn: meta-train over many tasks, adapt to a new one from few examples."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from quickstudy.engine import meta_test, meta_train
    from quickstudy.learners import MAML, Learner, NearestCentroid, PrototypicalNetworks
    from quickstudy.tasks import Batch, ClassData, Episode, EpisodeSampler, SinusoidTasks, Support

__all__ = [
    "MAML",
    "Batch",
    "ClassData",
    "Episode",
    "EpisodeSampler",
    "Learner",
    "NearestCentroid",
    "PrototypicalNetworks",
    "SinusoidTasks",
    "Support",
    "meta_test",
    "meta_train",
]

# Loaded when first used, so that the command line answers --help without loading torch.
_HOME = {
    **dict.fromkeys(["meta_test", "meta_train"], "quickstudy.engine"),
    **dict.fromkeys(
        ["MAML", "Learner", "NearestCentroid", "PrototypicalNetworks"], "quickstudy.learners"
    ),
    **dict.fromkeys(
        ["Batch", "ClassData", "Episode", "EpisodeSampler", "SinusoidTasks", "Support"],
        "quickstudy.tasks",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'quickstudy' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
