"""The tables and the picture of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["print_tables", "write_plot"]


def print_tables(report: dict[str, Any]) -> None:
    """Print Markdown: tasks a second, how much faster quickstudy is, values, memory."""
    workloads = report["workloads"]
    names = [n for n in report["titles"] if any(n in w["peers"] for w in workloads.values())]
    for title, cell in (
        ("tasks/s, median (fewest-most)", _speed),
        ("times quickstudy is faster, median of rounds (least-most)", _ratio),
        ("relative error of the meta-gradient, or of scores; of the loss or accuracy", _errors),
        ("peak memory of the process, MB", _memory),
    ):
        rows = [[title, *workloads], ["---"] * (len(workloads) + 1)]
        for name in names:
            found = [w["peers"].get(name) for w in workloads.values()]
            rows.append([report["titles"][name], *("-" if f is None else cell(f) for f in found)])
        print()
        for row in rows:
            print("| " + " | ".join(row) + " |")
    print()
    for key, workload in workloads.items():
        for name, found in workload["peers"].items():
            if "note" in found:
                print(f"≠ {key} {report['titles'][name]}: {found['note']}")
    print(f"sgemm: {report['sgemm_gflops']} GFLOP/s with {report['threads']} threads")
    for key, workload in workloads.items():
        if "flops" in workload:
            print(f"{key}: {workload['flops'] / 1e9:.2f} GFLOP a step; {_shares(workload, report)}")


def _shares(workload: dict[str, Any], report: dict[str, Any]) -> str:
    """What part of sgemm's speed the counted operations reach."""
    found = []
    for name, peer in workload["peers"].items():
        if "failed" not in peer:
            steps = peer["tasks_per_second"]["median"] / workload["tasks"]
            share = workload["flops"] * steps / (report["sgemm_gflops"] * 1e9)
            found.append(f"{report['titles'][name]} {share:.0%}")
    return "share of sgemm: " + ", ".join(found)


def _speed(found: dict[str, Any]) -> str:
    if "failed" in found:
        return found["failed"]
    speed, mark = found["tasks_per_second"], " ≠" if found["differs"] else ""
    return f"{_short(speed['median'])} ({_short(speed['min'])}-{_short(speed['max'])}){mark}"


def _ratio(found: dict[str, Any]) -> str:
    if "quickstudy_is_faster_by" not in found:
        return "-"
    ratio = found["quickstudy_is_faster_by"]
    return f"{_short(ratio['median'])} ({_short(ratio['min'])}-{_short(ratio['max'])})"


def _errors(found: dict[str, Any]) -> str:
    if "failed" in found:
        return "-"
    errors = [f"{found[key]:.0e}" for key in ("error", "loss_error") if key in found]
    if "float64_error" in found:
        errors[-1] += f" (in float64 {found['float64_error']:.0e})"
    return "; ".join(errors) + (" ≠" if found["differs"] else "")


def _memory(found: dict[str, Any]) -> str:
    return "-" if "failed" in found else str(found["peak_mb"])


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def write_plot(report: dict[str, Any], path: Path) -> None:
    """Draw tasks a second, a group of bars a workload, on a log axis."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    workloads = report["workloads"]
    names = [n for n in report["titles"] if any(n in w["peers"] for w in workloads.values())]
    colours = dict(zip(names, ["#d1495b", *PALE], strict=False))
    figure, axes = plt.subplots(figsize=(12, 5.5), layout="constrained")
    left, ticks = 0.0, []
    for workload in workloads.values():
        shown = [n for n in names if "tasks_per_second" in workload["peers"].get(n, {})]
        for place, name in enumerate(shown):
            found = workload["peers"][name]
            speed = found["tasks_per_second"]
            middle = speed["median"]
            axes.bar(
                left + place,
                middle,
                width=0.9,
                color=colours[name],
                hatch="//" if found["differs"] else None,
                edgecolor="white",
                yerr=[[middle - speed["min"]], [speed["max"] - middle]],
                error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
            )
            axes.annotate(
                _short(middle),
                (left + place, speed["max"]),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90,
                fontsize=8,
            )
        ticks.append((left + (len(shown) - 1) / 2, workload["title"].replace(", ", "\n")))
        left += len(shown) + 1.5
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 3)  # room for the figures
    axes.set_xticks([at for at, _ in ticks], [title for _, title in ticks], fontsize=9)
    axes.set_ylabel("tasks per second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    bars = [plt.Rectangle((0, 0), 1, 1, color=colours[name]) for name in names]
    axes.legend(
        bars,
        [report["titles"][name] for name in names],
        ncols=5,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        frameon=False,
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


PALE = (
    "#30638e",
    "#6699c2",
    "#8fb8de",
    "#00798c",
    "#edae49",
    "#9a8c98",
    "#5c946e",
    "#a8c69f",
)
