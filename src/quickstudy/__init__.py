"""quickstudy learns to learn: meta-train over many tasks, adapt to a new one from few examples.

What `quickstudy.tasks`, `quickstudy.learners` and `quickstudy.engine` export is here too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from quickstudy.engine import *  # noqa: F403
    from quickstudy.learners import *  # noqa: F403
    from quickstudy.tasks import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """Load a name when it is first used, so that the command line need not wait for torch."""
    if not name.startswith("_"):
        for package in ("tasks", "learners", "engine"):
            module = importlib.import_module(f"{__name__}.{package}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
