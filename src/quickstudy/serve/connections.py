"""What a client that is slow, silent or one of very many can take of the service: little.

uvicorn bounds neither connections nor the time in which the head of a request comes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import resource
except ImportError:  # Windows, where sockets are not bounded by open files
    resource = None

__all__ = ["BACKLOG", "Connection", "bound_logs", "most_connections"]

MOST_CONNECTIONS = 512
"""Open at once. For more, those that have been without a request for the longest are closed."""

BACKLOG = 64
"""New connections that wait for the service; so many are taken before any is closed."""

HEAD_SECONDS = 10.0
"""For the head of a request to come, and for a client to take what it is sent."""

MOST_RECORDS, LOG_SECONDS = 20, 60.0
"""Records that a logger writes in so many seconds."""


def most_connections() -> int:
    """`MOST_CONNECTIONS`, or half the files that this process may open."""
    if resource is None:
        return MOST_CONNECTIONS
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if files < 0 else min(MOST_CONNECTIONS, files // 2)


class Connection(H11Protocol):
    """A connection that is closed if no request comes, if answers are not taken, or if it waits for
    its client while others want in."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.most = most_connections()
        self.since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def between_requests(self) -> bool:
        """Whether all requests whose head came are answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Whether there is no request that has come as a whole and is not yet answered."""
        return self.between_requests or self.cycle.more_body

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self.most:
            others = cast("set[Connection]", self.connections) - {self}
            idle = [other for other in others if other.waits_for_client]
            oldest = min(idle, key=lambda other: other.since, default=self)
            oldest.transport.abort()
            self.connections.discard(oldest)  # at once, as new ones may come before it is closed

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.between_requests:
            self._stop_timer()  # a body has a time of its own

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.between_requests and not self.transport.is_closing():
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.between_requests:
            self._wait_for_head()
        else:
            self._stop_timer()

    def _wait_for_head(self) -> None:
        self.since = time.monotonic()
        self._start_timer()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class _FewRecords(logging.Filter):
    """Lets some records a minute pass, and says when it leaves out more."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.n = -LOG_SECONDS, 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self.began >= LOG_SECONDS:
            self.began, self.n = now, 0
        self.n += 1
        if self.n == MOST_RECORDS:
            record.msg = f"{record.getMessage()} (more of this minute are left out)"
            record.args = ()
        return self.n <= MOST_RECORDS


def bound_logs() -> None:
    """Bound what the server and its event loop write into their logs, whatever clients do."""
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, _FewRecords) for known in logger.filters):
            logger.addFilter(_FewRecords())
