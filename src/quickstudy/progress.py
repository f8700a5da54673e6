"""How far along slow work is: a bar in a terminal, one line in a notebook, lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

__all__ = ["Progress", "duration", "track"]

T = TypeVar("T")

SECONDS_BEFORE_DISPLAY = 2.0
"""Seconds before progress is displayed: what is faster needs none."""

LOG_SECONDS = 10.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Show on standard error how far a slow job is, and the time left.

    In a terminal it is a bar, which disappears at the end. In a notebook it is one line that
    changes. Elsewhere, as in a log, it is a line about every ten seconds. Nothing is displayed of
    what takes less than two seconds, within another `Progress`, or where the environment variable
    `QUICKSTUDY_PROGRESS` is 0.

    Args:
        what: Name of the job, as "meta-training".
        total: Number of its parts; None if it is not known.
        done: Parts done before, as of a training that is resumed.

    Example:
        >>> with Progress("adding", total=3) as progress:
        ...     for number in range(3):
        ...         progress.advance()
    """

    _open: Progress | None = None

    def __init__(self, what: str, total: int | None = None, done: int = 0) -> None:
        self.what, self.total, self.done = what, total, done
        self.note = ""
        self._before = done
        self._display: _Display | None = None

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        silent = os.environ.get("QUICKSTUDY_PROGRESS") == "0"
        if Progress._open is None and not silent:
            Progress._open = self
            self._display = _display()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._display:
            Progress._open = None
            self._display.close(self)

    def advance(self, n: int = 1, note: str | None = None) -> None:
        """Say that `n` more parts are done."""
        self.done += n
        self.update(note)

    def update(self, note: str | None = None) -> None:
        """Show the present state, with a note such as the loss."""
        if note is not None:
            self.note = note
        if self._display and self.elapsed >= SECONDS_BEFORE_DISPLAY:
            self._display.show(self)

    @property
    def elapsed(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take at the mean rate so far; None if that is not known."""
        new = self.done - self._before
        if self.total is None or not new:
            return None
        return self.elapsed / new * (self.total - self.done)

    def line(self) -> str:
        """The state in words.

        Example:
            >>> with Progress("adding", total=4) as progress:
            ...     progress.line()
            'adding: 0 of 4'
        """
        parts = [f"{self.done} of {self.total}" if self.total is not None else f"{self.done}"]
        parts += [self.note] if self.note else []
        if self.left is not None and self.done != self.total:
            parts.append(f"{duration(self.left)} left")
        return f"{self.what}: {', '.join(parts)}"


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """Go through `items` and show how far it is, as `Progress` does.

    Example:
        >>> sum(track([1, 2, 3], "adding"))
        6
    """

    def each() -> Iterator[T]:
        with Progress(what, len(items)) as progress:
            for item in items:
                yield item
                progress.advance()

    return each()


def duration(seconds: float) -> str:
    """A time for people to read.

    Example:
        >>> duration(7.2), duration(80), duration(7500)
        ('7 s', '1 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class _Display(Protocol):
    def show(self, progress: Progress) -> None: ...

    def close(self, progress: Progress) -> None: ...


def _display() -> _Display:
    """What shows progress here."""
    if _in_notebook():
        return _Cell()
    if sys.stderr is not None and sys.stderr.isatty():
        return _Bar()
    return _Lines()


def _in_notebook() -> bool:
    """Whether this process serves cells, as those of Jupyter, rather than a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


class _Lines:
    """A line about every ten seconds."""

    def __init__(self) -> None:
        self._last: float | None = None

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._last is None or now - self._last >= LOG_SECONDS:
            self._last = now
            self._write(progress.line())

    def close(self, progress: Progress) -> None:
        if self._last is not None:
            self._write(f"{progress.line()}, took {duration(progress.elapsed)}")

    def _write(self, line: str) -> None:
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)


class _Cell:
    """One line below a notebook's cell that changes, without widgets."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = 0.0

    def show(self, progress: Progress) -> None:
        if (now := time.monotonic()) - self._last >= 0.5:
            self._last = now
            self._write(progress.line())

    def close(self, progress: Progress) -> None:
        if self._handle:
            self._write(f"{progress.line()}, took {duration(progress.elapsed)}")

    def _write(self, line: str) -> None:
        display = import_module("IPython.display").display
        data = {"text/plain": line}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class _Bar:
    """A bar in a terminal, as wide as that is; in a narrow one the note is left out."""

    WIDE = 70
    """Columns of a terminal from which on notes are displayed."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def show(self, progress: Progress) -> None:
        bar = self._bar = self._bar or self._start(progress)
        left = progress.left
        bar.update(
            self._task,
            completed=progress.done,
            note=progress.note,
            left="" if left is None else f"{duration(left)} left",
        )

    def close(self, progress: Progress) -> None:
        if self._bar:
            self._bar.stop()

    def _start(self, progress: Progress) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        def text(of: str) -> TextColumn:
            return TextColumn(of, markup=False, table_column=Column(no_wrap=True))

        console = Console(stderr=True)
        wide = console.width >= self.WIDE
        bar = RichProgress(
            text("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            *([text("{task.fields[note]}")] if wide else []),
            text("{task.fields[left]}"),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = bar.add_task(
            progress.what, total=progress.total, completed=progress.done, note="", left=""
        )
        bar.start()
        return bar
