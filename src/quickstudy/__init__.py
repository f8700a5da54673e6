"""quickstudy learns to learn: meta-train over many tasks, adapt to a new one from few examples.

What `quickstudy.tasks`, `quickstudy.learners` and `quickstudy.engine` export is here too, and
`load_run`; so are `FewShotClassifier` and `FewShotRegressor`, which need scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quickstudy.version import __version__ as __version__

_EXTRA = {
    "FewShotClassifier": f"{__name__}.apps.fewshot.classifier",
    "FewShotRegressor": f"{__name__}.apps.fewshot.regressor",
}
"""Exports that need more packages, so `import *` leaves them out."""

_MODULES = ("encoders", "engine", "experience", "learners", "nn", "recipes", "tasks", "testing")

if TYPE_CHECKING:
    from quickstudy.apps.fewshot.classifier import FewShotClassifier as FewShotClassifier
    from quickstudy.apps.fewshot.regressor import FewShotRegressor as FewShotRegressor
    from quickstudy.engine import *  # noqa: F403
    from quickstudy.experiments.run import load_run as load_run
    from quickstudy.learners import *  # noqa: F403
    from quickstudy.tasks import *  # noqa: F403


def _exports() -> dict[str, str]:
    """The name of everything exported, and the package it comes from."""
    packages = [f"{__name__}.{package}" for package in ("tasks", "learners", "engine")]
    names = {name: p for p in packages for name in importlib.import_module(p).__all__}
    return {**names, "load_run": f"{__name__}.experiments.run"}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used, so that the command line need not wait for torch."""
    if name == "__all__":
        return list(_exports())
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if not name.startswith("_") and name in (home := {**_exports(), **_EXTRA}):
        return getattr(importlib.import_module(home[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    own = [name for name in globals() if name.startswith("__")]
    return [*own, *_MODULES, *_exports(), *_EXTRA]
