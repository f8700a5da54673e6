"""The command line, run in the process of a test."""

import contextlib
import io
import sys

from quickstudy.cli import main
from quickstudy.cli.app import command

__all__ = ["output_of", "run"]


def output_of(*words):
    """Run `quickstudy WORDS` in this process; returns standard output. Its errors are raised."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        command()([*map(str, words)])
    out.flush()
    return out.buffer.getvalue().decode()


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
