"""Make the bank of domains that the learned choice of defaults is trained and judged on.

python benchmarks/learned_choice/domains.py make FOLDER [--only tables ...] [--sources FOLDER]
python benchmarks/learned_choice/domains.py list FOLDER
"""

from __future__ import annotations

import argparse
import time
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np

from bank import save

MODULES = ("tables", "generated", "series", "waves", "functions", "texts", "pictures")


def make(folder: Path, modules: list[str], sources: Path) -> None:
    """Write the domains that the folder does not have."""
    folder.mkdir(parents=True, exist_ok=True)
    for module in modules:
        for name, make_domain in import_module(module).jobs(sources):
            if (folder / f"{name}.npz").exists():
                continue
            start = time.perf_counter()
            try:
                path = save(name, make_domain(), folder)
            except Exception:
                traceback.print_exc(limit=-2)
                print(f"{name}: not made", flush=True)
                continue
            print(f"{path} {time.perf_counter() - start:.1f} s", flush=True)


def show(folder: Path) -> None:
    """Print a table of the domains in a folder."""
    row = "{:32} {:18} {:22} {:>7} {:>10} {}"
    print(row.format("domain", "kind", "group", "classes", "rows", "views"))
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            views = {k[5:]: file[k].shape for k in file.files if k.startswith("view_")}
            y, kind = file["y"], str(file["kind"])
            classes = "" if kind == "regression_numbers" else str(int(y.max()) + 1)
            sizes = ", ".join(f"{k} {'x'.join(map(str, s[y.ndim :]))}" for k, s in views.items())
            rows = "x".join(map(str, y.shape))
            print(row.format(path.stem, kind, str(file["group"]), classes, rows, sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bank of domains.")
    parser.add_argument("command", choices=("make", "list"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=MODULES, nargs="*", default=list(MODULES))
    parser.add_argument("--sources", type=Path, help="downloads; by default FOLDER/sources")
    options = parser.parse_args()
    if options.command == "list":
        show(options.folder)
    else:
        make(options.folder, options.only, options.sources or options.folder / "sources")


if __name__ == "__main__":
    main()
