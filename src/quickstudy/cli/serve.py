"""The command that serves the web page and the endpoints."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from quickstudy.cli.output import Json, say
from quickstudy.errors import UsageError
from quickstudy.files import readable

__all__ = ["serve"]


def _complete_run(incomplete: str) -> list[str]:
    return sorted({str(path.parent) for path in Path().glob(f"{incomplete}*/step-*")})


commands = typer.Typer()


@commands.command(epilog="Example: quickstudy serve --recommender runs/recommender")
def serve(
    recommender: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a trained recommender. Default: invented films, learned in seconds.",
            autocompletion=_complete_run,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. If other machines can reach it, set a token in the "
            "environment variable QUICKSTUDY_TOKEN."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")
    ] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name under which clients may call the service. May be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve a recommender as a web page and HTTP endpoints.

    The endpoints are described at /api/openapi.json. The service stores nothing
    about users. It runs until Ctrl-C or SIGTERM (exit code 130).
    """
    from quickstudy.apps.recommend import Recommender
    from quickstudy.serve import create_app, demo, is_local, listen, recommender_routes, run

    token = os.environ.get("QUICKSTUDY_TOKEN") or None
    if not token and not is_local(host):
        raise UsageError(
            f"expected a token, as other machines reach {host}: set QUICKSTUDY_TOKEN to a long "
            "secret, which clients then send, or serve on 127.0.0.1"
        )
    if token and not re.fullmatch(r"[\w.~+/=-]{16,}", token, re.ASCII):
        raise UsageError(
            "expected a QUICKSTUDY_TOKEN of 16 or more letters, digits and .~+/=-_ : "
            "make one with python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    with listen(host, port) as at, _stops_with_130():
        if recommender:
            routes = recommender_routes(
                Recommender.load(recommender), readable(recommender.resolve().name)
            )
        else:
            routes = recommender_routes(demo(), "demo", is_demo=True)
        named = f"[{host}]" if ":" in host else host
        hosts = allow_host or ["*" if host in ("0.0.0.0", "::") else named]  # any, with the token
        app = create_app({"recommender": routes}, hosts=hosts, token=token)
        at.listen()
        url = f"http://{named}:{at.getsockname()[1]}"
        say({"url": url}, as_json, f"Serving on {url}; Ctrl-C stops.")
        sys.stdout.flush()
        run(app, at)


@contextmanager
def _stops_with_130() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = {number: signal.signal(number, lambda *_: sys.exit(130)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
