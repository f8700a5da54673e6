"""Bearer tokens, and delays that make guessing them slow."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quickstudy.serve.middleware import refusal

__all__ = ["DelayedRefusals", "require_token"]

FIRST_DELAY, MAX_DELAY = 0.1, 5.0
"""Seconds before a wrong token is refused; doubled with each wrong token from an address."""

FAILURES_EXPIRE_AFTER = 60.0
"""Seconds without a wrong token from an address, after which delays start anew."""

MAX_DELAYED_REFUSALS = 64
"""Refusals that are delayed at once; further ones get 429 immediately."""

MAX_TRACKED_ADDRESSES = 1024
"""Addresses whose wrong tokens are counted; beyond that the oldest is dropped."""

_SCHEME = HTTPBearer(auto_error=False, description="The token that the service was started with.")


def require_token(token: str) -> Callable[..., None]:
    """A dependency that refuses requests without this token."""

    def check(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)],
    ) -> None:
        sent = credentials.credentials if credentials else ""
        if not secrets.compare_digest(sent.encode(), token.encode()):
            raise HTTPException(
                401,
                "expected the token of this service: send it as Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check


class DelayedRefusals:
    """Delays the refusals of wrong tokens, longer with each one from an address.

    Requests with the right token, or with none, are never delayed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.n_delayed = 0
        self.failures: dict[str, tuple[int, float]] = {}
        """Wrong tokens in a row by address, and when the last came; the newest address is last."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "authorization" not in Headers(scope=scope):
            await self.app(scope, receive, send)
            return
        refused: list[Message] = []

        async def hold_back(message: Message) -> None:
            if refused or message.get("status") == 401:
                refused.append(message)
            else:
                await send(message)

        await self.app(scope, receive, hold_back)
        if refused and self.n_delayed >= MAX_DELAYED_REFUSALS:
            too_many = "too many wrong tokens at once: try again later"
            headers = {"Retry-After": f"{MAX_DELAY:g}", "Connection": "close"}
            await refusal(429, too_many, headers)(scope, receive, send)
        elif refused:
            self.n_delayed += 1
            try:
                address = scope["client"][0] if scope["client"] else ""
                await asyncio.sleep(self.next_delay(address))
            finally:
                self.n_delayed -= 1
            for message in refused:
                await send(message)

    def next_delay(self, address: str) -> float:
        """Seconds to delay the refusal of one more wrong token from an address."""
        now = time.monotonic()
        n_failures, last = self.failures.pop(address, (0, now))
        if now - last > FAILURES_EXPIRE_AFTER:
            n_failures = 0
        if len(self.failures) >= MAX_TRACKED_ADDRESSES:
            del self.failures[next(iter(self.failures))]
        self.failures[address] = (n_failures + 1, now)
        return min(MAX_DELAY, FIRST_DELAY * 2 ** min(n_failures, 30))
