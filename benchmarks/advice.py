"""What it gains to follow the advice to use the default learner in place of a run.

    python benchmarks/advice.py

Tasks of five classes and five examples each, of images that neither the runs, nor the default
learner's gate, nor the accuracy to expect were fitted to or chosen on: the icons of Adwaita, the
fonts of Debian's fonts-liberation and fonts-dejavu, the cards of Gymnasium's blackjack, and
characters of five scripts, charts and graphs drawn here. Both learners see the same support set,
and the accuracy of each is that on the same queries. Two kinds of advice are judged: `doctor`'s,
which compares the accuracies to expect, and that of the warning in `adapt`, which says that the
examples are unlike those of training. Classes of the runs' own kind stand beside them: there is
little to gain there. Writes benchmarks/results/advice.json and the table in docs/diagnosis.md.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib
import networkx
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from quickstudy import ClassData, EpisodeSampler
from quickstudy.apps.doctor.advice import advise
from quickstudy.apps.fewshot.methods import images_of
from quickstudy.apps.fewshot.views import ImageViews, default_blend
from quickstudy.diagnostics.expectation import expected_accuracy
from quickstudy.diagnostics.finding import Finding
from quickstudy.diagnostics.training_statistics import TrainingStatistics, novelty
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import find_run, load_run
from quickstudy.tasks import Support
from quickstudy.tasks.datasets import load_dataset
from results import RESULTS, ROOT, write_between_marks

RUNS = ("glyphs", "handwriting")
N_SHOT, MAX_WAY, MAX_QUERY, N_TASKS = 5, 5, 10, 6
PER_CLASS, MAX_CLASSES = 15, 20
OWN_KIND = ("glyphs", "omniglot")

Picture = Image.Image
Classes = dict[str, list[Picture]]


def icons() -> Classes:
    """Of Adwaita, by category."""
    rng = np.random.default_rng(0)
    found: Classes = {}
    for folder in sorted(Path("/usr/share/icons/Adwaita/48x48").iterdir()):
        paths = sorted(folder.glob("*.png"))
        if len(paths) >= PER_CLASS:
            chosen = rng.choice(len(paths), PER_CLASS, replace=False)
            found[folder.name] = [on_white(Image.open(paths[i])) for i in chosen]
    return found


def on_white(image: Picture) -> Picture:
    image = image.convert("RGBA")
    paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, image).convert("RGB")


def cards() -> Classes:
    """By suit."""
    assert gymnasium.__file__
    folder = Path(gymnasium.__file__).parent / "envs/toy_text/img/blackjack"
    return {
        suit: [on_white(Image.open(path)) for path in sorted(folder.glob(f"card_?{suit}.png"))]
        for suit in "CDHS"
    }


def fonts() -> Classes:
    """Letters by their font."""
    paths = sorted(Path("/usr/share/fonts/truetype").rglob("*.ttf"))
    return {path.stem: [character(letter, path) for letter in "ABEGKMQRSagkqry"] for path in paths}


def character(letter: str, font: Path) -> Picture:
    image = Image.new("L", (84, 84), 255)
    drawn = ImageFont.truetype(font, 56)
    ImageDraw.Draw(image).text((42, 42), letter, 0, drawn, anchor="mm")
    return image


SCRIPTS = {
    "Latin": 0x61,
    "Greek": 0x3B1,
    "Cyrillic": 0x430,
    "Armenian": 0x561,
    "Hebrew": 0x5D0,
    "Georgian": 0x10D0,
    "Arabic": 0x628,
    "Braille": 0x2811,
}


def scripts() -> Classes:
    """Letters by their script."""
    font = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return {
        name: [character(chr(first + i), font) for i in range(PER_CLASS)]
        for name, first in SCRIPTS.items()
    }


def charts() -> Classes:
    """Of random numbers, by their kind."""
    rng = np.random.default_rng(0)
    kinds: dict[str, Callable[[Any, np.ndarray], Any]] = {
        "lines": lambda ax, v: ax.plot(v.cumsum()),
        "bars": lambda ax, v: ax.bar(range(len(v)), abs(v)),
        "points": lambda ax, v: ax.scatter(v, rng.normal(size=len(v))),
        "pie": lambda ax, v: ax.pie(abs(v)),
        "histogram": lambda ax, v: ax.hist(rng.normal(size=20 * len(v)), bins=len(v)),
        "boxes": lambda ax, v: ax.boxplot(rng.normal(size=(20, len(v)))),
        "area": lambda ax, v: ax.fill_between(range(len(v)), abs(v)),
        "steps": lambda ax, v: ax.step(range(len(v)), v),
        "heat map": lambda ax, v: ax.imshow(np.outer(v, rng.normal(size=len(v)))),
    }
    return {
        name: [chart(draw, rng.normal(size=int(rng.integers(5, 12)))) for _ in range(PER_CLASS)]
        for name, draw in kinds.items()
    }


def chart(draw: Callable[[Any, np.ndarray], Any], values: np.ndarray) -> Picture:
    figure = Figure(figsize=(1.5, 1.5), dpi=80)
    draw(figure.subplots(), values)
    file = io.BytesIO()
    figure.savefig(file)
    return Image.open(file).convert("RGB")


def graphs() -> Classes:
    """Drawings of graphs of 16 nodes, by how they are made."""
    made: dict[str, Callable[[int], Any]] = {
        "tree": lambda seed: networkx.random_labeled_tree(16, seed=seed),
        "random": lambda seed: networkx.gnm_random_graph(16, 30, seed),
        "small world": lambda seed: networkx.watts_strogatz_graph(16, 4, 0.1, seed),
        "hubs": lambda seed: networkx.barabasi_albert_graph(16, 2, seed),
        "grid": lambda seed: networkx.grid_2d_graph(2 + seed % 3, 5),
        "cycle": lambda seed: networkx.cycle_graph(10 + seed % 6),
        "bipartite": lambda seed: networkx.complete_bipartite_graph(3 + seed % 3, 5 + seed % 4),
    }
    return {
        name: [graph(make(seed), seed) for seed in range(PER_CLASS)] for name, make in made.items()
    }


def graph(made: Any, seed: int) -> Picture:
    places = networkx.spring_layout(made, seed=seed)
    at = {node: tuple(42 + 36 * np.asarray(place)) for node, place in places.items()}
    image = Image.new("L", (84, 84), 255)
    draw = ImageDraw.Draw(image)
    for a, b in made.edges:
        draw.line([at[a], at[b]], fill=0)
    for x, y in at.values():
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=0)
    return image


def own_kind(name: str) -> Classes:
    """New classes of a data set that a run was trained on, dark on light as users draw them."""
    data = load_dataset(name, "test", image_size=84)
    step = max(1, data.n_classes // MAX_CLASSES)
    return {
        str(i): [Image.fromarray(255 - data.x[row, 0].numpy()) for row in data.index[i, :PER_CLASS]]
        for i in range(0, data.n_classes, step)
    }


DOMAINS: dict[str, Callable[[], Classes]] = {
    "icons": icons,
    "cards": cards,
    "fonts": fonts,
    "scripts": scripts,
    "charts": charts,
    "graphs": graphs,
    **{f"{name} (own kind)": lambda name=name: own_kind(name) for name in OWN_KIND},
}


def of_domain(name: str) -> Iterator[dict[str, Any]]:
    """A record for each task and run."""
    classes = DOMAINS[name]()
    images = [image for each in classes.values() for image in each]
    y = torch.tensor([i for i, each in enumerate(classes.values()) for _ in each])
    rows = ClassData(torch.arange(len(y)).float()[:, None], y, list(classes))
    views = ImageViews()
    embedded = views(images).double()
    blend = default_blend("image", views, embedded.shape[1])
    fewest = min(map(len, classes.values()))
    n_way, n_query = min(MAX_WAY, len(classes)), min(MAX_QUERY, fewest - N_SHOT)
    tasks = EpisodeSampler(rows, n_way=n_way, n_shot=N_SHOT, n_query=n_query, seed=0)
    runs = {run: load_run(run) for run in RUNS}
    inputs = {run: images_of(recipe)(images) for run, (recipe, _) in runs.items()}
    for i in range(N_TASKS):
        support, query = tasks[i].support, tasks[i].query
        s, q = support.x[:, 0].long(), query.x[:, 0].long()
        task = blend.adapt(Support(embedded[s], support.y, n_way))
        default = float((task(embedded[q]).argmax(1) == query.y).float().mean())
        for run, (_, learner) in runs.items():
            statistics = TrainingStatistics.read(find_run(run))
            assert statistics is not None
            own = Support(inputs[run][s], support.y, n_way)
            expected = expected_accuracy(statistics, learner, own)
            assert isinstance(expected, Finding)
            scores = learner.adapt(own)(inputs[run][q])
            yield {
                "domain": name,
                "task": i,
                "run": run,
                "expected": expected.value,
                "expected of default": task.expected_accuracy().mean,
                "doctor": advise(expected, task.expected_accuracy()).is_warning,
                "warning": novelty(statistics, learner, own).is_warning,
                "accuracy": float((scores.argmax(1) == query.y).float().mean()),
                "accuracy of default": default,
            }


def summary(records: list[dict[str, Any]], advice: str) -> dict[str, Any]:
    """What following an advice gains, of the pairs of a task and a run where it is given, and what
    it would have where it is not. The intervals of 95 % are bootstraps over tasks, which two runs
    share, and over whole domains."""
    gains = [r["accuracy of default"] - r["accuracy"] for r in records]
    found: dict[str, Any] = {"pairs": len(records)}
    for name, given in (("given", True), ("not given", False)):
        chosen = [i for i, r in enumerate(records) if r[advice] is given]
        found[name] = len(chosen)
        if not chosen:
            continue
        gain = np.array([gains[i] for i in chosen])
        found[f"gain where {name}"] = float(gain.mean())
        for unit, keys in (("tasks", ("domain", "task")), ("domains", ("domain",))):
            units = [" ".join(str(records[i][key]) for key in keys) for i in chosen]
            found[f"interval over {unit} where {name}"] = bootstrap(gain, units)
    return found


def bootstrap(values: np.ndarray, units: list[str], n_draws: int = 10_000) -> tuple[float, float]:
    """An interval of 95 % of the mean, by drawing whole units anew."""
    names, at = np.unique(units, return_inverse=True)
    sums, counts = np.bincount(at, values), np.bincount(at)
    drawn = np.random.default_rng(0).integers(len(names), size=(n_draws, len(names)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def points(share: float) -> str:
    return f"{100 * share:+.1f}"


def table(found: dict[str, Any]) -> str:
    lines = [
        "| advice | tasks of | given | gain where given (95 %: over tasks; over domains) | "
        "gain missed where not |",
        "|---|---|---|---|---|",
    ]
    for kind in ("other domains", "own kind"):
        for advice in ("doctor", "warning"):
            one = found[kind][advice]
            cell, missed = "", ""
            if one["given"]:
                over = [
                    " to ".join(map(points, one[f"interval over {unit} where given"]))
                    for unit in ("tasks", "domains")
                ]
                cell = f"{points(one['gain where given'])} ({over[0]}; {over[1]})"
            if one["not given"]:
                missed = points(one["gain where not given"])
            share = f"{one['given']} of {one['pairs']}"
            lines.append(f"| {advice} | {kind} | {share} | {cell} | {missed} |")
    return "\n".join([*lines, ""])


def main() -> None:
    records = []
    with torch.no_grad():
        for name in DOMAINS:
            records += list(of_domain(name))
            ours = [r for r in records if r["domain"] == name]
            means = {
                key: round(float(np.mean([r[key] for r in ours])), 3)
                for key in ("doctor", "warning", "accuracy", "accuracy of default")
            }
            print(name, means, flush=True)
    other = [r for r in records if "own kind" not in r["domain"]]
    own = [r for r in records if "own kind" in r["domain"]]
    found = {
        kind: {advice: summary(part, advice) for advice in ("doctor", "warning")}
        for kind, part in (("other domains", other), ("own kind", own))
    }
    result = {**found, "tasks": records, **provenance(0)}
    (RESULTS / "advice.json").write_text(json.dumps(result, indent=1) + "\n")
    write_between_marks(ROOT / "docs" / "diagnosis.md", "advice", table(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
