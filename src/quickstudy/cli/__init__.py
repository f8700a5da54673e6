"""The command line. Nothing here imports torch before a command runs."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; errors of quickstudy and the system are a line and exit code 2."""
    from quickstudy.cli.app import app
    from quickstudy.errors import QuickstudyError

    try:
        app()
    except (QuickstudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
