"""Check what was built, and that it works where nothing else is installed.

    python tools/dist.py check dist    # contents, metadata, README as a package index shows it
    python tools/dist.py test dist     # install each in a new environment; README's lines, tests

The wheel may hold Python code, what NOTICE names, and its metadata; the source distribution, what
`SOURCES` names.
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]

METADATA = [
    f"quickstudy-*.dist-info/{name}"
    for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/*")
]
"""What a wheel says of itself."""

SOURCES = {
    *("src", "tests", "tools", "benchmarks", "examples", "docs", ".ci", ".github", ".gitignore"),
    *("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"),
    *("CITATION.cff", "LICENSE", "NOTICE", "Makefile", "constraints.txt", "pyproject.toml"),
    *("PKG-INFO", "weights.txt"),
}
"""The files and folders that the source distribution may hold at its top."""

NEVER = ["*.pyc", "*.so", "*.pkl", "*.pickle", "*.pt", "*.env"]
"""What neither may hold, wherever it lies."""

FAST_TESTS = [
    *("tests/test_init.py", "tests/test_errors.py", "tests/test_files.py", "tests/test_cache.py"),
    *("tests/tasks/test_sampler.py", "tests/tasks/test_sources.py", "tests/tasks/test_tables.py"),
    *("tests/nn/test_nn.py", "tests/learners/test_closed_form.py", "tests/learners/test_r2d2.py"),
]
"""Tests that take seconds, need no extra but `fewshot`, and touch each of the lower packages."""

FOR_TESTS = ("pytest", "pytest-xdist", "hypothesis")


def noticed(notice: str) -> list[str]:
    """The patterns of paths that NOTICE accounts for."""
    return re.findall(r"^(quickstudy/\S+)$", notice, flags=re.MULTILINE)


def allowed(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def the_only(folder: Path, pattern: str) -> Path:
    found = [*folder.glob(pattern)]
    if len(found) != 1:
        sys.exit(f"expected one {pattern} in {folder}, found {len(found)}: empty it and build anew")
    return found[0].resolve()


def check(folder: Path) -> None:
    """Exit with what is wrong with the wheel or the source distribution in a folder."""
    wheel, sdist = the_only(folder, "*.whl"), the_only(folder, "*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
        (metadata,) = [n for n in names if n.endswith(".dist-info/METADATA")]
        readme = email.message_from_bytes(archive.read(metadata)).get_payload()
        (notice,) = [n for n in names if n.endswith(".dist-info/licenses/NOTICE")]
        patterns = noticed(archive.read(notice).decode())
    may = ["quickstudy/*.py", *METADATA, *patterns]
    if wrong := [n for n in names if allowed(n, NEVER) or not allowed(n, may)]:
        sys.exit(f"{wheel.name} holds what NOTICE does not name: {wrong}")
    if unused := [pattern for pattern in patterns if not any(fnmatch(n, pattern) for n in names)]:
        sys.exit(f"NOTICE names what {wheel.name} does not hold: {unused}")
    with tarfile.open(sdist) as archive:
        files = [m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()]
    if wrong := [n for n in files if allowed(n, NEVER) or n.partition("/")[0] not in SOURCES]:
        sys.exit(f"{sdist.name} holds what SOURCES of tools/dist.py does not name: {wrong}")
    check_readme(str(readme))
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")
    print(f"{sdist.name}: {len(files)} files, {sdist.stat().st_size / 1e6:.1f} MB")


def check_readme(text: str) -> None:
    """Exit if a package index could not show README, or would show a link that leads nowhere."""
    from readme_renderer.markdown import render

    html = render(text, variant="GFM")
    if html is None:
        sys.exit("README.md cannot be rendered: install readme-renderer[md], and see its log")
    links = re.findall(r'(?:href|src)="([^"]+)"', html)
    if dead := [link for link in links if not re.match(r"https?://|mailto:|#", link)]:
        sys.exit(f"README.md shows links that lead nowhere outside the repository: {dead}")


def thirty_seconds(readme: str) -> tuple[list[str], list[str]]:
    """The Python blocks of README's section whose title has "seconds", and the extras it installs.

    Raises:
        SystemExit: If there is no such section.
    """
    sections = re.split(r"^## ", re.sub(r"\n### ", "\n#### ", readme), flags=re.MULTILINE)
    chosen = [s for s in sections if "seconds" in s.partition("\n")[0].lower()]
    blocks = [b for s in chosen for b in re.findall(r"```python\n(.*?)```", s, flags=re.DOTALL)]
    if not blocks:
        sys.exit('README.md has no section with Python and "seconds" in its title')
    extras = re.findall(r"pip install[^\n]*\[([\w,]+)\]", "".join(chosen))
    return blocks, sorted({extra for group in extras for extra in group.split(",")})


def try_out(folder: Path) -> None:
    """Install the wheel and the source distribution, each in a new environment, and use them."""
    wheel, sdist = the_only(folder, "*.whl"), the_only(folder, "*.tar.gz")
    with tarfile.open(sdist) as archive, tempfile.TemporaryDirectory() as name:
        archive.extractall(name, filter="data")
        (unpacked,) = Path(name).iterdir()
        blocks, extras = thirty_seconds((unpacked / "README.md").read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as place:
            environment = install(Path(place), sys.executable, f"{wheel}[{','.join(extras)}]")
            for block in blocks:
                print(f"README.md:\n{block}", flush=True)
            began = time.perf_counter()
            clean(environment, "-c", "\n".join(blocks), cwd=Path(place))
            print(f"README.md: these lines took {time.perf_counter() - began:.0f} s", flush=True)
            clean(environment, "-m", "quickstudy", "--version", cwd=Path(place))
        with tempfile.TemporaryDirectory() as place:
            environment = install(Path(place), sys.executable, f"{sdist}[fewshot]", *FOR_TESTS)
            clean(environment, "-m", "pytest", "-n", "0", *FAST_TESTS, cwd=unpacked)


def install(place: Path, python: str, *packages: str) -> Path:
    """A new environment with packages in it; its Python."""
    run(python, "-m", "venv", place / "venv")
    interpreter = place / "venv" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    clean(interpreter, "-m", "pip", "install", "-q", "-c", constraints, *packages, cwd=place)
    return interpreter


def clean(python: Path, *words: object, cwd: Path) -> None:
    """Run Python without the sources, caches and experience of the caller."""
    own = {"XDG_CACHE_HOME": str(cwd / "cache"), "QUICKSTUDY_EXPERIENCE": "off"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "QUICKSTUDY"))}
    run(python, *words, cwd=cwd, env={**kept, **own})


def run(*words: object, **options) -> None:
    done = subprocess.run([*map(str, words)], check=False, **options)
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, words))[:200]}")


if __name__ == "__main__":
    commands = {"check": check, "test": try_out}
    commands[sys.argv[1]](Path(sys.argv[2]))
