"""Memory that a training frees stays with its process, for the step after."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["tuned_malloc"]

# What mallopt(3) calls its parameters.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -3, -4, -8
MADV_HUGEPAGE, MADV_NOHUGEPAGE = 14, 15

TUNED_SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**26, M_ARENA_MAX: 2}
"""Large blocks come from the heap, which is not given back in between; few threads have their own
heap, since what is free in one does not serve the others."""

DEFAULT_SETTINGS = {
    M_MMAP_MAX: 65536,
    M_TRIM_THRESHOLD: 2**26,
    M_TOP_PAD: 2**17,
    M_MMAP_THRESHOLD: 2**25,
    M_ARENA_MAX: 0,
}
"""What glibc itself arrives at in a process that frees large blocks (its thresholds grow)."""

RESERVED_BYTES = 2**30
"""Bytes of the heap, not in use yet, for which huge pages are requested."""

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

_lock = threading.Lock()
_users = 0
_huge: tuple[int, int] | None = None


@contextlib.contextmanager
def tuned_malloc(tune: bool = True) -> Iterator[None]:
    """Keep what is freed inside for what is allocated next; give it all back at the end.

    A training step frees its large tensors, and the next one asks for the same again. By default
    glibc returns such blocks to the kernel each time, which hands out every page anew, filled with
    zeros: up to half the time of a step. Inside, blocks stay in the process and use huge pages
    where the kernel grants them on request. The settings hold for the whole process.

    Nothing changes without glibc, where the environment has settings of its own for malloc
    (`MALLOC_...`, `GLIBC_TUNABLES`), or where `QUICKSTUDY_TUNE_MALLOC` is 0.

    Args:
        tune: False changes nothing.

    Example:
        >>> with tuned_malloc():
        ...     total = sum(range(10))
    """
    libc = _glibc() if tune else None
    if libc is None:
        yield
        return
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _set(libc, TUNED_SETTINGS)
            _reserve(libc)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(libc, DEFAULT_SETTINGS)
                _release(libc)


def _glibc() -> Any:
    """The C library, if it is glibc and the user has not set its malloc up."""
    own = os.environ.get("QUICKSTUDY_TUNE_MALLOC") == "0"
    given = any(name.startswith("MALLOC_") for name in os.environ)
    if own or given or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - only glibc has it
        libc.malloc.restype = ctypes.c_void_p
        libc.malloc.argtypes = [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        libc.malloc_trim.argtypes = [ctypes.c_size_t]
        libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    except (OSError, TypeError, AttributeError):  # TypeError: on Windows
        return None
    return libc


def _set(libc: Any, settings: dict[int, int]) -> None:
    for parameter, value in settings.items():
        libc.mallopt(parameter, value)


def _reserve(libc: Any) -> None:
    """Extend the heap by memory that is not in use, and ask for huge pages there."""
    global _huge
    if not _HUGE_PAGES.exists() or "[madvise]" not in _HUGE_PAGES.read_text():
        return  # the kernel grants them always, or never
    block = libc.malloc(RESERVED_BYTES)
    if not block:
        return
    page = 2**21
    start, end = -(-block // page) * page, (block + RESERVED_BYTES) // page * page
    heap = _heap()
    if (
        heap
        and heap[0] <= start
        and end <= heap[1]
        and not libc.madvise(start, end - start, MADV_HUGEPAGE)
    ):
        _huge = start, end
    libc.free(block)


def _release(libc: Any) -> None:
    """Give free memory back to the kernel."""
    global _huge
    heap = _heap()
    if _huge and heap and (end := min(_huge[1], heap[1])) > _huge[0]:
        libc.madvise(_huge[0], end - _huge[0], MADV_NOHUGEPAGE)
    _huge = None
    libc.malloc_trim(0)


def _heap() -> tuple[int, int] | None:
    """The addresses of the heap: from its first byte to after its last."""
    parts: list[str] = []  # one after the other, near the beginning of a long file
    with contextlib.suppress(OSError), Path("/proc/self/maps").open() as maps:
        for line in maps:
            if line.endswith("[heap]\n"):
                parts += line.partition(" ")[0].split("-")
            elif parts:
                break
    return (int(parts[0], 16), int(parts[-1], 16)) if parts else None
