"""What all applications that are served have in common: limits, headers, errors, start and stop.

The service keeps nothing of its clients, and nothing they send is a path or an address.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from ipaddress import ip_address
from typing import Annotated, Any

import anyio.to_thread
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import quickstudy
from quickstudy.errors import DataError, UsageError
from quickstudy.serve.connections import BACKLOG, Connection, bound_logs

__all__ = ["Problem", "create_app", "is_local", "listen", "run"]

MOST_BYTES = 256 * 1024
"""Of a request's body."""

MOST_AT_ONCE = 64
"""Requests that are worked on or wait; more are told to come back."""

HEALTH = "/api/health"
"""The one path that is answered however many requests there are."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before a wrong token is refused: the first, and at most; each doubles that before."""

FORGET_AFTER = 60.0
"""Seconds without a wrong token from an address, after which delays begin anew."""

MOST_DELAYED = 64
"""Refusals that wait; more wrong tokens are told to come back."""

MOST_ADDRESSES = 1024
"""Addresses whose wrong tokens are counted."""

SECONDS = 10.0
"""For a request's body to arrive, and for what is being answered when the service stops."""

HOST = re.compile(r"\*|(\*\.)?[\w.-]+|\[[\w:.]+\]")

LOCAL = ("localhost", "127.0.0.1", "[::1]")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Problem(BaseModel):
    """Why a request was refused: what was expected, what came, what to do."""

    detail: str


class Health(BaseModel):
    """That the service answers. It listens only once all it serves is loaded."""

    status: str
    version: str
    applications: list[str]


def create_app(
    applications: Mapping[str, APIRouter],
    *,
    hosts: Iterable[str] = (),
    token: str | None = None,
) -> FastAPI:
    """The service of some applications: each under /api/ and its name, and the page at /.

    Args:
        applications: Routes by name.
        hosts: Names in the `Host` header to answer to, beside those of this machine; "*" for any.
            Others are refused, so that no web site can reach the service under its own name.
        token: If given, what the header `Authorization: Bearer` must hold for the applications; the
            page, health and /api/openapi.json, in which there is no data, are for all.

    Raises:
        UsageError: If one of `hosts` is no name: a port is none of it.

    Example:
        >>> from fastapi.testclient import TestClient
        >>> client = TestClient(create_app({}), base_url="http://localhost")
        >>> client.get("/api/health").json()["status"]
        'ok'
    """
    hosts = list(hosts)
    for name in hosts:
        if not HOST.fullmatch(name):
            raise UsageError(f"expected a host such as films.example, without port, got {name!r}")
    app = FastAPI(
        title="quickstudy",
        version=quickstudy.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its scripts would come from the network
        redoc_url=None,
        lifespan=_lifespan,
    )

    @app.get(HEALTH, tags=["service"])
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
            dependencies=[Depends(_bearer(token))] if token else [],
        )
    for path, (content, kind) in _page().items():
        app.add_api_route(path, _constant(content, kind), include_in_schema=False)

    app.add_exception_handler(DataError, _refuse)
    app.add_exception_handler(UsageError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(_Limits)
    if token:
        app.add_middleware(_SlowRefusals)  # around the limits, so what is delayed is not at work
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, *hosts], www_redirect=False)
    app.add_middleware(_Headers)  # added last, so it sees all answers
    return app


def listen(host: str, port: int) -> socket.socket:
    """A socket of an address, which does not yet take connections.

    Raises:
        UsageError: If the address is taken, or none of this machine's.
    """
    try:
        *kind, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(*kind)  # with the protocol, asyncio sends without Nagle's delay
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        raise UsageError(
            f"expected a free port of this machine, got {host}, port {port} ({error.strerror}): "
            "name another with --host and --port"
        ) from None
    return made


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


def run(app: FastAPI, at: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; what is being answered then is finished first. Then the signal
    has the effect that it has without.
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
        timeout_graceful_shutdown=int(SECONDS),
    )
    bound_logs()
    uvicorn.Server(config).run(sockets=[at])


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    """What computes does so in as many threads as there are cores; the rest waits in line."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = max(2, os.cpu_count() or 1)
    yield


class _Headers:
    """Adds headers to all answers: what a browser may do with them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                api = scope["path"].startswith("/api/")
                headers["Cache-Control"] = "no-store" if api else "no-cache"
            await send(message)

        await self.app(scope, receive, send_more)


class _Limits:
    """Refuses requests that are too large, too slow to come, or too many at once.

    Only what has come as a whole counts as at work, so that slow clients keep nobody out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.n = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await _body(scope, receive)
            if self.n >= MOST_AT_ONCE and scope["path"] != HEALTH:
                busy = "the service is busy: try again in a second"
                raise HTTPException(503, busy, {"Retry-After": "1"})
        except HTTPException as why:
            await _refusal(why.status_code, why.detail, why.headers)(scope, receive, send)
            return
        except ClientDisconnect:
            return
        whole = [{"type": "http.request", "body": body}]

        async def receive_again() -> Message:
            return whole.pop() if whole else await receive()

        self.n += 1
        try:
            await self.app(scope, receive_again, send)
        finally:
            self.n -= 1


class _SlowRefusals:
    """Delays the refusals of wrong tokens, each of an address longer than that before.

    Who sends the right token, or none, never waits.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.n = 0
        self.wrong: dict[str, tuple[int, float]] = {}
        """Wrong tokens in a row by address, and when the last came; the newest stand last."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "authorization" not in Headers(scope=scope):
            await self.app(scope, receive, send)
            return
        refusal: list[Message] = []

        async def hold(message: Message) -> None:
            if refusal or message.get("status") == 401:
                refusal.append(message)
            else:
                await send(message)

        await self.app(scope, receive, hold)
        if refusal and self.n >= MOST_DELAYED:
            many = "too many wrong tokens at once: try again later"
            close = {"Retry-After": f"{LONGEST_DELAY:g}", "Connection": "close"}
            await _refusal(429, many, close)(scope, receive, send)
        elif refusal:
            self.n += 1
            try:
                await asyncio.sleep(self._delay(scope["client"][0] if scope["client"] else ""))
            finally:
                self.n -= 1
            for message in refusal:
                await send(message)

    def _delay(self, address: str) -> float:
        """Seconds to wait for one more wrong token from an address."""
        now = time.monotonic()
        count, last = self.wrong.pop(address, (0, now))
        count = 0 if now - last > FORGET_AFTER else count
        if len(self.wrong) >= MOST_ADDRESSES:
            del self.wrong[next(iter(self.wrong))]
        self.wrong[address] = (count + 1, now)
        return min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(count, 30))


async def _body(scope: Scope, receive: Receive) -> bytes:
    """What comes with a request.

    Raises:
        HTTPException: If it is too large, or too slow to come.
        ClientDisconnect: If the client went away.
    """
    close = {"Connection": "close"}
    large = f"expected a body of {MOST_BYTES // 1024} KiB at most: send less at once"
    announced = Headers(scope=scope).get("content-length", "")
    if announced.isdecimal() and int(announced[:12]) > MOST_BYTES:
        raise HTTPException(413, large, close)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MOST_BYTES:
                    raise HTTPException(413, large, close)
    except TimeoutError:
        slow = f"expected the whole request within {SECONDS:g} seconds: send it again"
        raise HTTPException(408, slow, close) from None
    return bytes(body)


def _refusal(code: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, code, headers=headers)


_SCHEME = HTTPBearer(auto_error=False, description="The token that the service was started with.")


def _bearer(token: str) -> Any:
    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]) -> None:
        told = given.credentials if given else ""
        if not secrets.compare_digest(told.encode(), token.encode()):
            raise HTTPException(
                401,
                "expected the token of this service: send it as Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


def _page() -> dict[str, tuple[bytes, str]]:
    """The page's files by the paths they are served at, and what they are."""
    found = {}
    for file in resources.files("quickstudy.serve").joinpath("page").iterdir():
        kind = KINDS["." + file.name.rpartition(".")[2]]
        found["/" if file.name == "index.html" else f"/{file.name}"] = (file.read_bytes(), kind)
    return found


def _constant(content: bytes, kind: str) -> Any:
    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    return _refusal(422, str(error))


async def _refuse_invalid(_: Request, error: Exception) -> JSONResponse:
    """One line on the first thing that is wrong; what came is not sent back."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part)[:50] for part in first["loc"])  # may hold names that came
    safe = where.encode("ascii", "backslashreplace").decode()
    return _refusal(422, f"{safe}: {first['msg']}")


async def _fail(_: Request, __: Exception) -> JSONResponse:
    """The error itself goes to the log alone."""
    return _refusal(500, "the service failed; its log says why", HEADERS)
