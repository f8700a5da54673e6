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

from quickstudy.experiments.report import result_rows, with_interval
from quickstudy.recipes.loading import load_recipe

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

CHOSEN = (
    "prototypical_omniglot",
    "maml_omniglot_20way",
    "mann_omniglot",
    "omniglot_challenge_30",
    "prototypical_glyphs",
)
"""The recipes whose scores README shows: one of each family, an application, and the demo."""

MARKS = {
    "†": "The interval by class was computed by an older formula that left the tasks out, so the "
    "wider one over tasks stands here.",
    "‡": "Trained or tested from a source tree with changes that were not committed, so the commit "
    "in its file is not all of the code.",
}
"""What a table says below of results that are less than the others."""


def keep(run: Path) -> Path:
    """Copy a run's report, without the score of every task, to `benchmarks/results`; a report over
    seeds keeps the score of each."""
    report = json.loads((run / "report.json").read_text())
    if mark := _provenance_mark(report):
        print(f"{run.name} is marked{mark}: {MARKS[mark.strip()]}", file=sys.stderr)
    for column in report["test"]["results"].values():
        for entry in column:
            if "spread" not in entry:
                del entry["scores"]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{run.name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path


def write_between_marks(page: Path, name: str, text: str) -> None:
    """Put a benchmark's table between `<!-- name -->` and `<!-- end of name -->` of a page."""
    marks = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    old = page.read_text()
    page.write_text(re.sub(marks, lambda m: m[1] + text + m[2], old, flags=re.DOTALL))


def write() -> None:
    """Put the tables of the kept results between the marks of README and docs."""
    for page, text in pages().items():
        page.write_text(text)


def pages() -> dict[Path, str]:
    """README and docs as they are with the tables of the kept results."""
    reports, written = {}, {}
    for path in sorted(RESULTS.glob("*.json")):
        report = json.loads(path.read_text())
        if "train" in report:
            reports[path.stem] = _as_its_recipe_says(path.stem, report)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text()

        def table(mark: re.Match[str]) -> str:
            name = mark["name"]
            if name in MADE:
                made = MADE[name](json.loads((RESULTS / "transfer.json").read_text()))
            elif name == "caltech":
                made = _table({k: v for k, v in reports.items() if k.endswith("_caltech")})
            elif name == "chosen":
                made = _beside_published({k: reports[k] for k in CHOSEN})
            elif name == "guide":
                made = _guide(reports)
            elif name in WITHOUT_LABELS:
                made = _without_labels(reports, WITHOUT_LABELS[name])
            else:
                made = _table({k: v for k, v in reports.items() if name in ("all", k)})
            return f"<!-- measured: {name} -->\n{made}<!-- end of measured -->"

        pattern = r"<!-- measured: (?P<name>\w+) -->\n.*?<!-- end of measured -->"
        written[page] = re.sub(pattern, table, text, flags=re.DOTALL)
    return written


def _as_its_recipe_says(name: str, report: dict[str, Any]) -> dict[str, Any]:
    """The report of a run with the title and the paper's figures that its recipe has now."""
    recipe = load_recipe(name)
    published = {test.title: test.published for test in recipe.test if test.published is not None}
    for entries in report["test"]["results"].values():
        for entry in entries:
            if entry["title"] in published:
                entry["published"] = published[entry["title"]]
    return {**report, "about": recipe.about}


def _table(reports: dict[str, dict[str, Any]]) -> str:
    """A head a run, with its training time, and a row a test."""
    if not reports:
        return ""
    lines = ["| experiment | measured | published | trained in |", "|---|---|---|---|"]
    for name, report in reports.items():
        minutes = f"{report['train']['seconds'] / 60:.0f} min"
        mark = _provenance_mark(report)
        lines.append(f"| **{report['about']}**, `{name}`{mark} | | | {minutes} |")
        rows = result_rows(report["test"]["results"])[1:]
        columns = report["test"]["results"]
        for i, row in enumerate(rows):
            entries = {column: entries[i] for column, entries in columns.items()}
            cells = zip(entries, row[2:], strict=False)
            scores = "; ".join(
                ("" if column == "score" else f"{column} ") + cell + _interval_mark(entries[column])
                for column, cell in cells
            )
            published = next(iter(entries.values())).get("published", "")
            lines.append(f"| {row[0]} | {scores} | {published} | |")
    return _with_notes(lines)


def _with_notes(lines: list[str]) -> str:
    """A table, and below it what its marks mean."""
    table = "\n".join(lines)
    notes = [f"\n{mark} {meaning}" for mark, meaning in MARKS.items() if mark in table]
    return "\n".join([table, *notes, ""])


def _interval_mark(entry: dict[str, Any]) -> str:
    """Marks an interval by class that is narrower than that over tasks, as it cannot be now."""
    by_class = entry["clustered_interval"]
    return " †" if by_class is not None and by_class < entry["interval"] else ""


def _provenance_mark(report: dict[str, Any]) -> str:
    commits = [report[part].get("commit") or "" for part in ("train", "test")]
    return " ‡" if any(commit.endswith("-dirty") for commit in commits) else ""


def _beside_published(reports: dict[str, dict[str, Any]]) -> str:
    """A row a run that has published scores."""
    lines = ["| experiment | measured (published) | trained in |", "|---|---|---|"]
    for name, report in reports.items():
        scores = []
        for column, entries in report["test"]["results"].items():
            for entry in (entry for entry in entries if "published" in entry):
                score = result_rows({"": [entry]})[1][2] + _interval_mark(entry)
                by = "" if column == "score" else f", {column}"
                scores.append(f"{entry['title']}{by}: {score} ({entry['published']})")
        if scores:
            minutes = f"{report['train']['seconds'] / 60:.0f} min"
            about = f"{report['about']}, `{name}`{_provenance_mark(report)}"
            lines.append(f"| {about} | {'<br>'.join(scores)} | {minutes} |")
    return _with_notes(lines)


def _guide(reports: dict[str, dict[str, Any]]) -> str:
    """A row a paper: one test of its recipe beside the paper's figure."""
    lines = ["| paper | page | recipe | test | ours | the paper's |", "|---|---|---|---|---|---|"]
    for page, paper, recipe, title in GUIDE:
        (entries,) = reports[recipe]["test"]["results"].values()
        entry = next(entry for entry in entries if entry["title"] == title)
        score = result_rows({"": [entry]})[1][2] + _interval_mark(entry)
        name = f"`{recipe}`{_provenance_mark(reports[recipe])}"
        link = f"[{page.replace('_', ' ')}]({page}.md)"
        theirs = entry.get("published", "")
        lines.append(f"| {paper} | {link} | {name} | {title} | {score} | {theirs} |")
    return _with_notes(lines)


def _without_labels(reports: dict[str, dict[str, Any]], rows: dict[str, str]) -> str:
    """A row a recipe, a column a kind of task, with the paper's figure in brackets."""
    kept = {name: words for name, words in rows.items() if name in reports}
    entries: dict[str, dict[str, Any]] = {}
    for name in kept:
        (column,) = reports[name]["test"]["results"].values()
        entries[name] = {entry["title"]: entry for entry in column}
    known = [f"{n_way}-way {n_shot}-shot" for n_way in (5, 20) for n_shot in (1, 5)]
    titles = [title for title in known if any(title in each for each in entries.values())]
    lines = ["| trained | " + " | ".join(titles) + " | in |", "|" + "---|" * (len(titles) + 2)]
    for name, words in kept.items():
        each = entries[name]
        cells = [_beside(each[title]) if title in each else "" for title in titles]
        minutes = f"{reports[name]['train']['seconds'] / 60:.0f} min"
        first = f"{words}, `{name}`{_provenance_mark(reports[name])}"
        lines.append("| " + " | ".join([first, *cells, minutes]) + " |")
    return _with_notes(lines)


def _beside(entry: dict[str, Any]) -> str:
    """A score, and the published one in brackets."""
    score = result_rows({"": [entry]})[1][2] + _interval_mark(entry)
    return f"{score} ({entry['published']})" if "published" in entry else score


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

GUIDE = (
    ("siamese_networks", "Koch et al. 2015", "siamese_omniglot", "20-way 1-shot"),
    ("matching_networks", "Vinyals et al. 2016", "matching_omniglot", "20-way 1-shot"),
    ("prototypical_networks", "Snell et al. 2017", "prototypical_omniglot", "20-way 1-shot"),
    ("relation_networks", "Sung et al. 2018", "relation_omniglot", "20-way 1-shot"),
    ("local_matching", "Li et al. 2019", "local_matching_caltech", "5-way 1-shot"),
    ("mann", "Santoro et al. 2016", "mann_omniglot", "5th instance"),
    ("meta_networks", "Munkhdalai & Yu 2017", "meta_networks_omniglot", "5-way 1-shot"),
    ("neural_processes", "Kim et al. 2019", "neural_process_sinusoid", "10-shot"),
    ("neural_processes", "Kim et al. 2019", "neural_process_omniglot", "20-way 1-shot"),
    ("snail", "Mishra et al. 2018", "snail_omniglot", "5-way 1-shot"),
    (
        "in_context_transformer",
        "Müller et al. 2022",
        "in_context_transformer_omniglot",
        "20-way 1-shot",
    ),
    ("lstm_meta_learner", "Ravi & Larochelle 2017", "lstm_meta_learner_caltech", "5-way 1-shot"),
    ("maml", "Finn et al. 2017", "maml_omniglot", "5-way 1-shot"),
    ("maml", "Finn et al. 2017", "maml_omniglot_20way", "20-way 1-shot"),
    ("maml", "ANIL, Raghu et al. 2020", "anil_omniglot_20way", "20-way 1-shot"),
    ("maml", "Meta-SGD, Li et al. 2017", "meta_sgd_omniglot", "5-way 1-shot"),
    ("maml", "MAML++, Antoniou et al. 2019", "maml_plus_plus_omniglot", "5-way 1-shot"),
    ("maml", "ProtoMAML, Triantafillou et al. 2020", "proto_maml_omniglot", "5-way 1-shot"),
    ("reptile", "Nichol et al. 2018", "reptile_omniglot", "5-way 1-shot, transductive"),
    ("r2d2", "Bertinetto et al. 2019", "r2d2_omniglot", "5-way 1-shot"),
    ("fine_tuning", "Baseline++, Chen et al. 2019", "baseline_plus_plus_caltech", "5-way 1-shot"),
)
"""Rows of the guide to the learners: page, paper, recipe and test."""

WITHOUT_LABELS = {
    "without_labels_omniglot": {
        "local_matching_omniglot_unlabelled": "[local matching](algorithms/local_matching.md)",
        "protoclr_omniglot": "[ProtoCLR](algorithms/protoclr.md)",
        "psco_omniglot": "[PsCo](algorithms/psco.md)",
        "cactus_protonet_omniglot": "[CACTUs](algorithms/cactus.md) over prototypical networks",
        "gmvae_omniglot": "[Meta-GMVAE](algorithms/meta_gmvae.md)",
        "umtra_maml_omniglot": "[UMTRA](algorithms/umtra.md) over MAML",
        "cactus_maml_omniglot": "CACTUs over MAML",
        "local_matching_omniglot": "with labels: local matching",
        "prototypical_omniglot": "with labels: prototypical networks",
        "maml_omniglot": "with labels: MAML",
    },
    "without_labels_caltech": {
        "local_matching_caltech_unlabelled": "local matching",
        "local_matching_caltech_untrained": "not at all: local matching",
        "nearest_centroid_caltech": "not at all: nearest mean of pixels",
        "local_matching_caltech": "with labels: local matching",
    },
}
"""Tables of what training without labels reaches: for each recipe, what it is."""

if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:2] == ["keep"] and sys.argv[2:]:
        for name in sys.argv[2:]:
            print(keep(Path(name)))
    else:
        raise SystemExit(__doc__)
