"""Writing files so that nothing is ever half-written."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

__all__ = ["sync_folder", "write_atomically", "write_durably"]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the new one, also after a power cut."""
    made = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        write_durably(made, content)
        made.rename(path)
    finally:
        made.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file, and return once it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return once the folder's entries are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
