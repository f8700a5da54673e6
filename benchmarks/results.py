"""Keep the results of runs under version control, and show them as the README's table.

python benchmarks/results.py keep runs/maml_omniglot ...
python benchmarks/results.py table
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from quickstudy.apps.run import result_rows

RESULTS = Path(__file__).parent / "results"


def keep(run: Path) -> Path:
    """Copy a run's report, without the score of every task, to `benchmarks/results`."""
    report = json.loads((run / "report.json").read_text())
    for column in report["test"]["results"].values():
        for entry in column:
            del entry["scores"]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{run.name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path


def table() -> str:
    """The README's table: a row a test, with training time and the command that repeats it."""
    lines = ["| experiment | measured | published | trained in |", "|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text())
        if "train" not in report:
            continue
        seconds = f"{report['train']['seconds'] / 60:.0f} min"
        lines.append(f"| **{report['about']}**, `{path.stem}` | | | {seconds} |")
        (head, *rows) = result_rows(report["test"]["results"])
        for entry, row in zip(next(iter(report["test"]["results"].values())), rows, strict=True):
            scores = "; ".join(
                cell if name == "score" else f"{name} {cell}"
                for name, cell in zip(head[2:], row[2:], strict=True)
                if name != "published"
            )
            lines.append(f"| {entry['title']} | {scores} | {entry.get('published', '')} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["table"]:
        print(table())
    elif sys.argv[1:2] == ["keep"] and sys.argv[2:]:
        for name in sys.argv[2:]:
            print(keep(Path(name)))
    else:
        raise SystemExit(__doc__)
