"""The command line. Nothing here imports torch before a command runs."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Run the command line; errors of quickstudy and the system are a line and exit code 2."""
    from quickstudy.cli.app import command
    from quickstudy.errors import QuickstudyError
    from quickstudy.files import ESCAPE_UNENCODABLE

    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no text is too odd for the terminal's encoding
            stream.reconfigure(errors=ESCAPE_UNENCODABLE)
    try:
        command()()
    except QuickstudyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)


def _show_warning(message: Warning | str, *_place: Any, **_more: Any) -> None:
    """A warning as a line, without the place in the source that caused it."""
    print(f"warning: {message}", file=sys.stderr)
