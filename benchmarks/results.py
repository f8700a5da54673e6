"""Keep the results of runs under version control, and write them into README and docs.

python benchmarks/results.py keep runs/maml_omniglot ...
python benchmarks/results.py write
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from quickstudy.apps.run import result_rows, with_interval

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def keep(run: Path) -> Path:
    """Copy a run's report, without the score of every task, to `benchmarks/results`; a report over
    seeds keeps the score of each."""
    report = json.loads((run / "report.json").read_text())
    for column in report["test"]["results"].values():
        for entry in column:
            if "spread" not in entry:
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
            if name in MADE:
                made = MADE[name](json.loads((RESULTS / "transfer.json").read_text()))
            elif name == "caltech":
                made = _table({k: v for k, v in reports.items() if k.endswith("_caltech")})
            elif name == "published":
                made = _beside_published(reports)
            else:
                made = _table({k: v for k, v in reports.items() if name in ("all", k)})
            return f"<!-- measured: {name} -->\n{made}<!-- end of measured -->"

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


def _beside_published(reports: dict[str, dict[str, Any]]) -> str:
    """A row a run that has published scores, without intervals clustered by class."""
    lines = ["| experiment | measured (published) | trained in |", "|---|---|---|"]
    for name, report in reports.items():
        scores = []
        for column, entries in report["test"]["results"].items():
            for entry in (entry for entry in entries if "published" in entry):
                score = result_rows({"": [{**entry, "clustered_interval": None}]})[1][2]
                by = "" if column == "score" else f", {column}"
                scores.append(f"{entry['title']}{by}: {score} ({entry['published']})")
        if scores:
            minutes = f"{report['train']['seconds'] / 60:.0f} min"
            lines.append(f"| {report['about']}, `{name}` | {'<br>'.join(scores)} | {minutes} |")
    return "\n".join([*lines, ""])


def _within(found: dict[str, Any]) -> str:
    """AutoAdapt and each fixed strategy by setting, and what either gives away on average."""
    entries = [entry for part in found.values() for entry in part["within"]]
    settings = [entry["scores"] for entry in entries]
    shared = [n for n in settings[0] if all(n in scores for scores in settings)]
    fixed = [n for n in shared if n != "AutoAdapt"]
    names = list(dict.fromkeys(entry["data"] for entry in entries))
    heads = [f"{e['data']}, {e['n_shot']}" for e in entries]
    lines = ["| | mean | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 2)]
    best = [max(scores[n]["mean"] for n in fixed) for scores in settings]
    lines.append(_line("best fixed of each setting", _mean(best), [f"{100 * b:.2f}" for b in best]))
    for name in ("AutoAdapt", *fixed):
        means = [scores[name]["mean"] for scores in settings]
        lines.append(_line(name, _mean(means), [_cell(scores[name]) for scores in settings]))
    lines += ["", "AutoAdapt less a fixed strategy, task by task, mean over settings:", ""]
    lines += ["| | " + " | ".join([*names, "all"]) + " |", "|" + "---|" * (len(names) + 2)]
    for name in fixed:
        cells = []
        for data in (*names, "all"):
            less = [e["less"][name] for e in entries if data in ("all", e["data"])]
            half = math.hypot(*(one["interval"] for one in less)) / len(less)
            mean = statistics.mean(one["mean"] for one in less)
            cells.append(f"{100 * mean:+.2f} ± {100 * half:.2f}")
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join([*lines, ""])


def _across(found: dict[str, Any]) -> str:
    """A column a pair of domains and number of shots."""
    entries = [entry for part in found.values() for entry in part["across"]]
    heads = [f"{e['trained_on']} to {e['data']}, {e['n_shot']}" for e in entries]
    lines = ["| | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    known = dict.fromkeys(n for e in entries for n in e["scores"])
    names = sorted(known, key=lambda n: (n != "AutoAdapt", _is_alone(n)))
    for name in names:
        cells = [_cell(e["scores"][name]) if name in e["scores"] else "" for e in entries]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    over = []
    for entry in entries:
        scores, less = entry["scores"], entry["less"]
        above = (
            less[n]["mean"] if n in less else scores["AutoAdapt"]["mean"] - scores[n]["mean"]
            for n in filter(_is_alone, scores)
        )
        over.append(f"{100 * min(above):+.2f}")
    lines.append("| " + " | ".join(["AutoAdapt less the best of the support alone", *over]) + " |")
    return "\n".join([*lines, ""])


def _is_alone(name: str) -> bool:
    """Whether a way learns from the support set alone."""
    return "raw" in name or "new" in name


def _mean(values: list[float]) -> str:
    return f"{100 * statistics.mean(values):.2f}"


def _cell(entry: dict[str, Any]) -> str:
    return with_interval(100 * entry["mean"], 100 * entry["interval"])


def _line(name: str, mean: str, cells: list[str]) -> str:
    return "| " + " | ".join([name, mean, *cells]) + " |"


MADE = {"transfer_within": _within, "transfer_across": _across}


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:2] == ["keep"] and sys.argv[2:]:
        for name in sys.argv[2:]:
            print(keep(Path(name)))
    else:
        raise SystemExit(__doc__)
