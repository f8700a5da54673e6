"""Check every Python that quickstudy says it runs on, as far as this machine has it.

    python tools/pythons.py compile    # each compiles every file, and warns of nothing (seconds)
    python tools/pythons.py test       # in a new environment of each: install, then the fast tests

The versions are those of the classifiers in pyproject.toml. An interpreter is looked for on the
PATH, then among those of pyenv and uv; one that is absent is named and skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dist import FAST_TESTS, FOR_TESTS, ROOT, clean, install

FOLDERS = (".pyenv/versions/{}*/bin", ".local/share/uv/python/cpython-{}*/bin")
"""Where tools that install interpreters put them in a user's home, by version."""

COMPILE = """
import pathlib, sys
for path in map(pathlib.Path, sys.argv[1:]):
    for file in sorted(path.rglob("*.py")):
        if not any(part.startswith(".") for part in file.parts):  # others' code, in environments
            compile(file.read_bytes(), str(file), "exec")
"""


def versions() -> list[str]:
    """The versions of Python in the classifiers, such as "3.11"."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)


def interpreter(version: str) -> str | None:
    """The path of a Python of a version, or None if there is none that starts."""
    name = f"python{version}"
    found = [p for f in FOLDERS for p in sorted(Path.home().glob(f"{f.format(version)}/{name}"))]
    for path in (shutil.which(name), *found):
        if path and not subprocess.run([path, "--version"], capture_output=True).returncode:
            return str(path)
    return None


def compiles(python: str) -> bool:
    """Whether a Python compiles every file of ours, with warnings as errors."""
    folders = ["src", "tests", "tools", "benchmarks", "examples"]
    command = [python, "-W", "error", "-c", COMPILE, *folders]
    return not subprocess.run(command, cwd=ROOT).returncode


def passes(python: str) -> bool:
    """Whether the fast tests pass in a new environment of a Python."""
    with tempfile.TemporaryDirectory() as place:
        try:
            environment = install(Path(place), python, f"{ROOT}[fewshot]", *FOR_TESTS)
            clean(environment, "-m", "pytest", "-n", "0", *FAST_TESTS, cwd=ROOT)
        except SystemExit as error:
            print(error)
            return False
    return True


def main(command: str) -> None:
    """Run one check with every Python found; exit if one fails."""
    works = {"compile": compiles, "test": passes}[command]
    failed = []
    for version in versions():
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not on this machine, skipped", flush=True)
            continue
        print(f"Python {version}: {command} with {python}", flush=True)
        if not works(python):
            failed.append(version)
    if failed:
        sys.exit(f"failed with Python {', '.join(failed)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
