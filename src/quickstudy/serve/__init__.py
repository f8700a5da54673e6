"""The HTTP service and its web page: what the apps learn from little, for programs and people.

`create_app` gathers the routes of applications; `run` serves it until a signal.
"""

from quickstudy.errors import require

for _package in ("fastapi", "uvicorn"):
    require(_package, "serve")

from quickstudy.serve.recommend import demo, recommender_routes  # noqa: E402
from quickstudy.serve.service import create_app, is_local, listen, run  # noqa: E402

__all__ = ["create_app", "demo", "is_local", "listen", "recommender_routes", "run"]
