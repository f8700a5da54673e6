"""Limits of connections: their number, the time for the head of a request, and log records.

uvicorn bounds none of these, so slow, silent or many clients could exhaust the service.
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

MAX_CONNECTIONS = 512
"""Open connections. For further ones, those that have waited longest for their client are
closed."""

BACKLOG = 64
"""New connections that are queued until the service accepts them."""

CLIENT_TIMEOUT = 10.0
"""Seconds in which the head of a request must arrive, and a client must read what it is sent."""

MAX_LOG_RECORDS, LOG_PERIOD = 20, 60.0
"""Records that a logger writes at most, in a period of so many seconds."""


def most_connections() -> int:
    """`MAX_CONNECTIONS`, or half the files that this process may open."""
    if resource is None:
        return MAX_CONNECTIONS
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if files < 0 else min(MAX_CONNECTIONS, files // 2)


class Connection(H11Protocol):
    """A connection that is closed if no request arrives in time, if the client does not read the
    responses, or if it waits for its client while others want to connect."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.most_connections = most_connections()
        self.waiting_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def between_requests(self) -> bool:
        """Whether all requests whose head has arrived are answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits_for_client(self) -> bool:
        """Whether no request has arrived completely and is not yet answered."""
        return self.between_requests or self.cycle.more_body

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self.most_connections:
            others = cast("set[Connection]", self.connections) - {self}
            idle = [other for other in others if other.waits_for_client]
            oldest = min(idle, key=lambda other: other.waiting_since, default=self)
            oldest.transport.abort()
            self.connections.discard(oldest)  # at once, as others may connect before it is closed

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
        self.waiting_since = time.monotonic()
        self._start_timer()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(CLIENT_TIMEOUT, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class LogRateLimit(logging.Filter):
    """Lets a number of records a minute pass; the last one says that more are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.period_start, self.n_records = -LOG_PERIOD, 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self.period_start >= LOG_PERIOD:
            self.period_start, self.n_records = now, 0
        self.n_records += 1
        if self.n_records == MAX_LOG_RECORDS:
            record.msg = f"{record.getMessage()} (more of this minute are left out)"
            record.args = ()
        return self.n_records <= MAX_LOG_RECORDS


def bound_logs() -> None:
    """Limit how much the server and its event loop write into their logs."""
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(existing, LogRateLimit) for existing in logger.filters):
            logger.addFilter(LogRateLimit())
