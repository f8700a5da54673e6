"""Count the lines of modules and functions in a folder: medians, 90th percentiles, the longest.

python tools/sizes.py [src/quickstudy]
"""

from __future__ import annotations

import ast
import statistics
import sys
from pathlib import Path

LONGEST = 8
"""Modules and functions that are listed."""


def function_sizes(path: Path) -> dict[str, int]:
    """Lines of each function of a module, without its docstring, by name."""
    sizes = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            )
            without = first.end_lineno - first.lineno + 1 if docstring and first.end_lineno else 0
            sizes[f"{path}:{node.lineno} {node.name}"] = (
                (node.end_lineno or node.lineno) - node.lineno + 1 - without
            )
    return sizes


def report(kind: str, sizes: dict[str, int]) -> str:
    """A line of medians and the like, and one for each of the longest."""
    counts = sorted(sizes.values())
    lines = [
        f"{len(counts)} {kind}: median {statistics.median(counts):g} lines, 90th percentile "
        f"{counts[9 * len(counts) // 10]}, longest {counts[-1]}"
    ]
    longest = sorted(sizes.items(), key=lambda pair: -pair[1])[:LONGEST]
    return "\n".join([*lines, *(f"  {size:5d}  {name}" for name, size in longest)])


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "src/quickstudy")
    paths = sorted(folder.rglob("*.py"))
    modules = {str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    functions: dict[str, int] = {}
    for path in paths:
        functions |= function_sizes(path)
    print(report("modules", modules))
    print(report("functions", functions))


if __name__ == "__main__":
    main()
