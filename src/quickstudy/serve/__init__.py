"""Applications as an HTTP service with a web page.

`create_app` makes the service from the routes of applications; `run` serves it until a signal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.errors import require
from quickstudy.lazy import lazy_exports

for _package in ("fastapi", "uvicorn"):
    require(_package, "serve")

from quickstudy.serve.service import create_app, is_local, listen, run  # noqa: E402

if TYPE_CHECKING:
    from quickstudy.serve.demo_films import demo
    from quickstudy.serve.recommend import recommender_routes

__all__ = ["create_app", "demo", "is_local", "listen", "recommender_routes", "run"]

# What needs torch is imported when it is first used.
__getattr__, __dir__ = lazy_exports(
    __name__, {"demo_films": ["demo"], "recommend": ["recommender_routes"]}
)
