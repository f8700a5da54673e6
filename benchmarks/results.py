"""Keep the results of runs under version control, and write them into README and docs.

python benchmarks/results.py keep runs/maml_omniglot ...
python benchmarks/results.py write
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from quickstudy.apps.run import result_rows

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


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


def write() -> None:
    """Put the tables of the kept results between the marks of README and docs."""
    reports = {}
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text())
        if "train" in report:
            reports[path.stem] = report
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text()

        def table(mark: re.Match[str]) -> str:
            name = mark["name"]
            shown = reports if name == "all" else {k: v for k, v in reports.items() if k == name}
            return f"<!-- measured: {name} -->\n{_table(shown)}<!-- end of measured -->"

        pattern = r"<!-- measured: (?P<name>\w+) -->\n.*?<!-- end of measured -->"
        page.write_text(re.sub(pattern, table, text, flags=re.DOTALL))


def _table(reports: dict[str, dict[str, Any]]) -> str:
    """A head a run, with its training time, and a row a test."""
    if not reports:
        return ""
    lines = ["| experiment | measured | published | trained in |", "|---|---|---|---|"]
    for name, report in reports.items():
        minutes = f"{report['train']['seconds'] / 60:.0f} min"
        lines.append(f"| **{report['about']}**, `{name}` | | | {minutes} |")
        (head, *rows) = result_rows(report["test"]["results"])
        for entry, row in zip(next(iter(report["test"]["results"].values())), rows, strict=True):
            scores = "; ".join(
                cell if name == "score" else f"{name} {cell}"
                for name, cell in zip(head[2:], row[2:], strict=True)
                if name != "published"
            )
            lines.append(f"| {entry['title']} | {scores} | {entry.get('published', '')} | |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:2] == ["keep"] and sys.argv[2:]:
        for name in sys.argv[2:]:
            print(keep(Path(name)))
    else:
        raise SystemExit(__doc__)
