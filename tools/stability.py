"""Keep docs/stability.md complete: every public name, and whether it is stable or provisional.

    python tools/stability.py check    # the table has exactly the public names
    python tools/stability.py write    # add new names as provisional, drop those that are gone

A name is public if a package of quickstudy has it in `__all__`, or if a page or an example imports
it from a module. To make one stable, move it in the table by hand; `write` keeps it there.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import quickstudy

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "stability.md"
MARKS = re.compile("(<!-- names -->\n).*?(<!-- end of names -->)", flags=re.DOTALL)
WHOLE = ("quickstudy.errors", "quickstudy.testing")
"""Modules that are public as a whole, though they are not packages."""

NOT_AN_API = ("quickstudy.cli", "quickstudy.experience.migrations")


def public() -> dict[str, list[str]]:
    """The public names by the module they are imported from, each once."""
    modules = pkgutil.walk_packages(quickstudy.__path__, "quickstudy.")
    packages = [m.name for m in modules if m.ispkg and not m.name.startswith(NOT_AN_API)]
    exported: dict[str, set[str]] = {
        name: set(getattr(importlib.import_module(name), "__all__", ()))
        for name in (*packages, *WHOLE)
    }
    parts = ("engine", "learners", "tasks")
    inner = {name for part in parts for name in exported[f"quickstudy.{part}"]}
    own = {name for name in dir(quickstudy) if not name.startswith("_")} - inner
    exported["quickstudy"] = own - {module.removeprefix("quickstudy.") for module in exported}
    known = {name for names in exported.values() for name in names}
    for module, names in imported_by_pages().items():
        exported.setdefault(module, set()).update(names - known)
    return {module: sorted(exported[module]) for module in sorted(exported) if exported[module]}


def imported_by_pages() -> dict[str, set[str]]:
    """What the pages and examples import from quickstudy, by module."""
    names: dict[str, set[str]] = defaultdict(set)
    for code in code_of_pages():
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quickstudy"):
                names[str(node.module)] |= {alias.name for alias in node.names}
    return names


def code_of_pages() -> Iterator[str]:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        yield from re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    for script in sorted((ROOT / "examples").rglob("*.py")):
        yield script.read_text(encoding="utf-8")


def stable_names(page: str) -> set[tuple[str, str]]:
    """Module and name of what the table calls stable."""
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \|", page, flags=re.MULTILINE)
    return {(module, name) for module, cell in rows for name in re.findall(r"`(\w+)`", cell)}


def written(page: str) -> str:
    """The page with a table of all public names; new ones are provisional.

    A name that moved to another module keeps what it was.
    """
    stable, names = stable_names(page), public()
    here = {(module, name) for module in names for name in names[module]}
    moved = {name for module, name in stable if (module, name) not in here}
    rows = ["| from | stable | provisional |", "|---|---|---|"]
    for module in names:
        firm = [n for n in names[module] if (module, n) in stable or n in moved]
        soft = [n for n in names[module] if n not in firm]
        cells = [", ".join(f"`{n}`" for n in cell) for cell in (firm, soft)]
        rows.append(f"| `{module}` | {cells[0]} | {cells[1]} |")
    table = "\n".join(rows)
    return MARKS.sub(lambda mark: f"{mark[1]}{table}\n{mark[2]}", page)


def main(command: str = "check") -> None:
    """Run one command; exit with what is wrong."""
    page = PAGE.read_text(encoding="utf-8")
    if command == "write":
        PAGE.write_text(written(page), encoding="utf-8")
    elif written(page) != page:
        sys.exit(
            "docs/stability.md does not have the public names: run `python tools/stability.py "
            "write`, then move what is stable among the new ones"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
