"""Applications as an HTTP service with a web page.

`create_app` makes the service from the routes of applications; `run` serves it until a signal.
"""

from quickstudy.errors import require

for _package in ("fastapi", "uvicorn"):
    require(_package, "serve")

from quickstudy.serve.demo_films import demo  # noqa: E402
from quickstudy.serve.recommend import recommender_routes  # noqa: E402
from quickstudy.serve.service import create_app, is_local, listen, run  # noqa: E402

__all__ = ["create_app", "demo", "is_local", "listen", "recommender_routes", "run"]
