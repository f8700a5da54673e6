"""The HTTP service of any applications: routes, the web page, errors, start and stop.

The service stores nothing about its clients, and nothing they send is used as a path or an address.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from ipaddress import ip_address
from typing import Any

import anyio.to_thread
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware

import quickstudy
from quickstudy.errors import DataError, UsageError
from quickstudy.serve.connections import BACKLOG, Connection, bound_logs
from quickstudy.serve.middleware import (
    HEALTH_PATH,
    SECURITY_HEADERS,
    RequestLimits,
    SecurityHeaders,
    refusal,
)
from quickstudy.serve.tokens import DelayedRefusals, require_token

__all__ = ["Problem", "create_app", "is_local", "listen", "run"]

SHUTDOWN_TIMEOUT = 10
"""Seconds in which requests that are being answered may finish when the service stops."""

HOST_PATTERN = re.compile(r"\*|(\*\.)?[\w.-]+|\[[\w:.]+\]")

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Problem(BaseModel):
    """Why a request was refused: what was expected, what came, what to do."""

    detail: str


class Health(BaseModel):
    """The state of the service. It listens only once all that it serves is loaded."""

    status: str
    version: str
    applications: list[str]


def create_app(
    applications: Mapping[str, APIRouter],
    *,
    hosts: Iterable[str] = (),
    token: str | None = None,
) -> FastAPI:
    """Make the service: each application under /api/ and its name, and the web page at /.

    Args:
        applications: Routes by name.
        hosts: Names in the `Host` header that are accepted, beside those of this machine; "*"
            accepts any. Other requests are refused, so that no web site can reach the service under
            its own name (DNS rebinding).
        token: If given, applications need it in the header `Authorization: Bearer`. The page,
            health and /api/openapi.json, which hold no data, stay open.

    Raises:
        UsageError: If one of `hosts` is not a host name; a port does not belong to it.

    Example:
        >>> from fastapi.testclient import TestClient
        >>> client = TestClient(create_app({}), base_url="http://localhost")
        >>> client.get("/api/health").json()["status"]
        'ok'
    """
    hosts = list(hosts)
    for name in hosts:
        if not HOST_PATTERN.fullmatch(name):
            raise UsageError(f"expected a host such as films.example, without port, got {name!r}")
    app = FastAPI(
        title="quickstudy",
        version=quickstudy.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its scripts would come from the network
        redoc_url=None,
        lifespan=_lifespan,
    )

    @app.get(HEALTH_PATH, tags=["service"])
    async def health() -> Health:
        """Whether the service is ready."""
        return Health(status="ok", version=app.version, applications=list(applications))

    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": Problem} for code in (400, 401, 408, 413, 422, 429, 503)
    }
    for name, routes in applications.items():
        app.include_router(
            routes,
            prefix=f"/api/{name}",
            tags=[name],
            responses=refusals,
            dependencies=[Depends(require_token(token))] if token else [],
        )
    for path, (content, content_type) in _page_files().items():
        app.add_api_route(path, _static(content, content_type), include_in_schema=False)

    app.add_exception_handler(DataError, _refuse)
    app.add_exception_handler(UsageError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(RequestLimits)
    if token:
        # around the limits, so that delayed refusals do not count as concurrent requests
        app.add_middleware(DelayedRefusals)
    app.add_middleware(
        TrustedHostMiddleware, allowed_hosts=[*LOCAL_HOSTS, *hosts], www_redirect=False
    )
    app.add_middleware(SecurityHeaders)  # added last, so it sees all responses
    return app


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket to an address; it does not accept connections yet.

    Raises:
        UsageError: If the address is in use, or not one of this machine.
    """
    try:
        *kind, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(*kind)  # with the protocol, asyncio sends without Nagle's delay
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise UsageError(
            f"expected a free port of this machine, got {host}, port {port} ({error.strerror}): "
            "name another with --host and --port"
        ) from None
    return bound


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address.

    Example:
        >>> is_local("localhost"), is_local("127.0.0.2"), is_local("::1"), is_local("0.0.0.0")
        (True, True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(app: FastAPI, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM. Requests that are being answered finish first; then the signal
    has its usual effect.

    Args:
        app: The service.
        listening: A socket that accepts connections.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=Connection,
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    bound_logs()
    uvicorn.Server(config).run(sockets=[listening])


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Run computations in as many threads as there are cores; further ones are queued."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = max(2, os.cpu_count() or 1)
    yield


def _page_files() -> dict[str, tuple[bytes, str]]:
    """Contents and content types of the page's files, by the paths they are served at."""
    files = {}
    for file in resources.files("quickstudy.serve").joinpath("page").iterdir():
        content_type = CONTENT_TYPES["." + file.name.rpartition(".")[2]]
        path = "/" if file.name == "index.html" else f"/{file.name}"
        files[path] = (file.read_bytes(), content_type)
    return files


def _static(content: bytes, content_type: str) -> Any:
    async def respond() -> Response:
        return Response(content, media_type=content_type)

    return respond


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    return refusal(422, str(error))


async def _refuse_invalid(_: Request, error: Exception) -> JSONResponse:
    """Report the first error in one line, without sending the input back."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    location = ".".join(str(part)[:50] for part in first["loc"])  # may hold names from the input
    printable = location.encode("ascii", "backslashreplace").decode()
    return refusal(422, f"{printable}: {first['msg']}")


async def _fail(_: Request, __: Exception) -> JSONResponse:
    """Report a failure; the exception itself goes to the log alone."""
    return refusal(500, "the service failed; its log says why", SECURITY_HEADERS)
