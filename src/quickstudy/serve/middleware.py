"""Limits and headers of all requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEALTH_PATH", "SECURITY_HEADERS", "RequestLimits", "SecurityHeaders", "refusal"]

MAX_BODY_BYTES = 256 * 1024
"""The largest body of a request."""

BODY_TIMEOUT = 10.0
"""Seconds in which the body of a request must arrive."""

MAX_CONCURRENT_REQUESTS = 64
"""Requests that are processed or queued at once; further ones get 503."""

HEALTH_PATH = "/api/health"
"""The one path that is answered however many requests there are."""

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class SecurityHeaders:
    """Adds headers to all responses that say what a browser may do with them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                is_api = scope["path"].startswith("/api/")
                headers["Cache-Control"] = "no-store" if is_api else "no-cache"
            await send(message)

        await self.app(scope, receive, send_with_headers)


class RequestLimits:
    """Refuses requests that are too large, too slow to arrive, or too many at once.

    Only requests that have arrived completely count as concurrent, so slow clients keep nobody out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.n_concurrent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await _read_body(scope, receive)
            is_full = self.n_concurrent >= MAX_CONCURRENT_REQUESTS
            if is_full and scope["path"] != HEALTH_PATH:
                busy = "the service is busy: try again in a second"
                raise HTTPException(503, busy, {"Retry-After": "1"})
        except HTTPException as error:
            response = refusal(error.status_code, error.detail, error.headers)
            await response(scope, receive, send)
            return
        except ClientDisconnect:
            return
        unread = [{"type": "http.request", "body": body}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        self.n_concurrent += 1
        try:
            await self.app(scope, receive_again, send)
        finally:
            self.n_concurrent -= 1


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response to a request that is refused: its `detail` says why."""
    return JSONResponse({"detail": detail}, status, headers=headers)


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body of a request.

    Raises:
        HTTPException: If it is too large, or too slow to arrive.
        ClientDisconnect: If the client went away.
    """
    close = {"Connection": "close"}
    too_large = f"expected a body of {MAX_BODY_BYTES // 1024} KiB at most: send less at once"
    content_length = Headers(scope=scope).get("content-length", "")
    if content_length.isdecimal() and int(content_length[:12]) > MAX_BODY_BYTES:
        raise HTTPException(413, too_large, close)
    body, has_more = bytearray(), True
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while has_more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                body += message.get("body", b"")
                has_more = message.get("more_body", False)
                if len(body) > MAX_BODY_BYTES:
                    raise HTTPException(413, too_large, close)
    except TimeoutError:
        too_slow = f"expected the whole request within {BODY_TIMEOUT:g} seconds: send it again"
        raise HTTPException(408, too_slow, close) from None
    return bytes(body)
