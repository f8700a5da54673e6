"""The command line, run in the process of a test."""

import sys

from quickstudy.cli import main

__all__ = ["run"]


def run(capsys, *words):
    """Run `quickstudy WORDS` in this process; returns exit code, standard output and error."""
    code = 0
    old, sys.argv = sys.argv, ["quickstudy", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = old
    out, err = capsys.readouterr()
    return code, out, err
