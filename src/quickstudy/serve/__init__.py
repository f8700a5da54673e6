"""Applications as an HTTP service with a web page.

`create_app` makes the service from the routes of applications; `run` serves it until a signal.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quickstudy.errors import require

for _package in ("fastapi", "uvicorn"):
    require(_package, "serve")

from quickstudy.serve.service import create_app, is_local, listen, run  # noqa: E402

if TYPE_CHECKING:
    from quickstudy.serve.demo_films import demo
    from quickstudy.serve.recommend import recommender_routes

__all__ = ["create_app", "demo", "is_local", "listen", "recommender_routes", "run"]

_NEED_TORCH = {"demo": "demo_films", "recommender_routes": "recommend"}


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first used."""
    if name in _NEED_TORCH:
        return getattr(importlib.import_module(f"{__name__}.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
