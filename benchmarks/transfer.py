"""AutoAdapt against every fixed way of adapting, where classes are new and where the domain is.

    python benchmarks/transfer.py [RUNS [BACKBONE ...]]

Needs the data sets caltech101_84, omniglot, sign_digits and clinc150, the extra "text", and in the
folder RUNS (by default `runs`) the runs resnet12_caltech, prototypical_omniglot and
prototypical_glyphs. A backbone is that of its run, or for clinc150 the frozen MiniLM; each has an
AutoAdapt of its own, meta-trained on 5-way tasks of 1 to 10 shots of the validation classes; every
third task is of another domain than the backbone's, so that the choice meets features that do not
help: glyphs for the backbone of photographs, photographs for those of characters. No data set of a
cross-domain test is among these. All strategies and AutoAdapt are tested on the same tasks.

"Support alone" is what needs no backbone: strategies of raw inputs, the Gaussian classes of
`GaussianClasses`, a linear probe, and a new Conv4 trained on the support set, each on pixels. The
backbone of glyphs is small enough to be trained on every task as well (`fine_tune`).
Writes benchmarks/results/transfer.json, after each backbone, of which all or those named (clinc150,
omniglot, glyphs, caltech101_84) are measured.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor, nn

from quickstudy import AutoAdapt, ClassData, Episode, EpisodeSampler, Tasks, meta_train
from quickstudy.encoders import minilm, module_encoder
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run
from quickstudy.learners.base import Predictor
from quickstudy.learners.transfer.auto_adapt import STRATEGIES
from quickstudy.learners.transfer.closed_form import GaussianClasses
from quickstudy.learners.transfer.strategies import TransferStrategy
from quickstudy.nn import Conv4, Flatten
from quickstudy.progress import track
from quickstudy.tasks import Support
from quickstudy.tasks.datasets import load_dataset

ROOT = Path(__file__).parent.parent
SHOTS, N_TASKS, N_FRESH = (1, 2, 5, 10), 200, 30
STEPS, META_BATCH = 150, 4

RAW: tuple[Mapping[str, Any], ...] = (
    {"method": "nearest_centroid", "inputs": "raw"},
    {"method": "ridge", "ridge": 1.0, "inputs": "raw"},
)

RUNS = {
    "omniglot": ("prototypical_omniglot", 28, 1, "caltech101_84"),
    "glyphs": ("prototypical_glyphs", 28, 1, "caltech101_84"),
    "caltech101_84": ("resnet12_caltech", 84, 3, "glyphs"),
}
"""By data set: run of its backbone, side and channels of its images, the other domain."""

ACROSS = (
    ("caltech101_84", "sign_digits"),
    ("caltech101_84", "omniglot"),
    ("glyphs", "sign_digits"),
    ("omniglot", "digits"),
)


class Known(nn.Module):
    """A backbone that embeds each example once, as an encoder does."""

    def __init__(self, backbone: nn.Module, name: str) -> None:
        super().__init__()
        self.encode = module_encoder(backbone, name)
        self.out_features: Any = backbone.out_features

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)


class Mostly:
    """Tasks of one family, and every third of another."""

    def __init__(self, own: Tasks, other: Tasks) -> None:
        self.own, self.other = own, other

    def __getitem__(self, index: int) -> Episode:
        return (self.other if index % 3 == 2 else self.own)[index]


def images(name: str, split: str, size: int, channels: int) -> ClassData:
    """A data set as a backbone takes it: colour for grey and the reverse."""
    data = load_dataset(name, split, image_size=size)
    if name in ("omniglot", "glyphs") and size > 28:  # 28 pixels enlarged: a few classes will do
        data = data.select(range(0, data.n_classes, data.n_classes // 100))
    x = data.x
    if channels < x.shape[1]:
        x = x.float().mean(1, keepdim=True).round().to(torch.uint8)
    return ClassData(x.expand(-1, channels, -1, -1).contiguous(), data.y, data.names)


def family(data: ClassData, n_shot: int | tuple[int, int], seed: int) -> EpisodeSampler:
    most = n_shot if isinstance(n_shot, int) else n_shot[1]
    n_query = min(15, int(data.counts.min()) - most)
    return EpisodeSampler(data, n_way=5, n_shot=n_shot, n_query=n_query, seed=seed)


def learned(learner: AutoAdapt, tasks: Tasks) -> dict[str, Any]:
    """Meta-train a choice; what it took."""
    torch.manual_seed(0)
    start = time.perf_counter()
    rate = partial(torch.optim.Adam, lr=3e-2)
    meta_train(
        learner, tasks, steps=STEPS, meta_batch_size=META_BATCH, optimizer=rate, executor="serial"
    )
    learner.eval()
    return {"tasks": STEPS * META_BATCH, "seconds": time.perf_counter() - start}


def interval(scores: Tensor) -> dict[str, Any]:
    """Mean over tasks and the half-width of its 95 % t-interval."""
    n = len(scores)
    half = float(stats.t.ppf(0.975, n - 1)) * float(scores.std()) / math.sqrt(n)
    return {"n_tasks": n, "mean": float(scores.mean()), "interval": half}


def compared(learner: AutoAdapt, tasks: Tasks, title: str) -> dict[str, Tensor]:
    """Scores of each task by each strategy and by AutoAdapt, shape (n_tasks,) each."""
    rows = []
    for i in track(range(N_TASKS), title):
        each, mixed = learner.compare(tasks[i])
        rows.append(torch.cat([each, mixed[None]]))
    names = [*map(str, learner.strategies), "AutoAdapt"]
    return dict(zip(names, torch.stack(rows).double().T, strict=True))


def alone(tasks: Tasks, small: Tasks, title: str) -> dict[str, Tensor]:
    """Scores by what learns from the support set alone and is no strategy of AutoAdapt."""
    probe = TransferStrategy("linear_probe", adapt_lr=1e-2, inputs="raw")
    fresh = TransferStrategy("fine_tune")

    def train_anew(support: Support) -> Predictor:
        torch.manual_seed(0)
        network = Conv4(support.x.shape[1:], width=32).eval()
        return fresh.adapt(network, torch.zeros(network.out_features), support)

    ways: dict[str, tuple[Callable[[Support], Predictor], Tasks, int]] = {
        "Gaussian classes, raw": (GaussianClasses().adapt, tasks, N_TASKS),
        str(probe): (partial(probe.adapt, nn.Flatten(), torch.zeros(1)), tasks, N_TASKS),
        "new Conv4": (train_anew, small, N_FRESH),
    }
    found = {}
    for name, (adapt, drawn, n) in ways.items():
        scores = []
        for i in track(range(n), f"{title}, {name}"):
            episode = drawn[i]
            with torch.no_grad():
                best = adapt(episode.support)(episode.query.x).argmax(1)
            scores.append((best == episode.query.y).double().mean())
        found[name] = torch.stack(scores)
    return found


def row(scores: dict[str, Tensor], **setting: Any) -> dict[str, Any]:
    """Results of a setting, and AutoAdapt less each strategy, on the tasks that both did."""
    own = scores["AutoAdapt"]
    less = {n: interval(own[: len(s)] - s) for n, s in scores.items() if s is not own}
    print(setting, {n: round(100 * float(s.mean()), 2) for n, s in scores.items()}, flush=True)
    return {**setting, "scores": {n: interval(s) for n, s in scores.items()}, "less": less}


def within(learner: AutoAdapt, name: str, test: ClassData) -> list[dict[str, Any]]:
    rows = []
    for n_shot in SHOTS:
        scores = compared(learner, family(test, n_shot, seed=2), f"{name}, {n_shot} shots")
        rows.append(row(scores, data=name, n_shot=n_shot))
    return rows


def across(learner: AutoAdapt, source: str, target: str) -> list[dict[str, Any]]:
    _, size, channels, _ = RUNS[source]
    data, small = (images(target, "test", side, channels) for side in (size, 28))
    rows = []
    for n_shot in (1, 5):
        title = f"{source} to {target}, {n_shot} shots"
        tasks, same = (family(d, n_shot, seed=2) for d in (data, small))
        scores = {**alone(tasks, same, title), **compared(learner, tasks, title)}
        rows.append(row(scores, trained_on=source, data=target, n_shot=n_shot))
    return rows


def measure(name: str, runs: Path) -> dict[str, Any]:
    """All that is measured of a backbone, named by the data set it was trained for."""
    rows, foreign = [], []
    if name == "clinc150":
        encoder = minilm()
        own, test = (load_dataset(name, s, encoder=encoder) for s in ("validation", "test"))
        learner = AutoAdapt(Flatten(test.x.shape[1:]), strategies=STRATEGIES)
        cost = learned(learner, family(own, (1, 10), seed=1))
        rows = within(learner, name, test)
    else:
        run, size, channels, other = RUNS[name]
        _, trained = load_run(runs / run)
        backbone: Any = trained.backbone
        learner = AutoAdapt(Known(backbone, run), strategies=[*STRATEGIES, *RAW])
        if name == "glyphs":  # small, and nothing else is measured of it: trained on every task
            learner = AutoAdapt(backbone, strategies=[*STRATEGIES, *RAW, {"method": "fine_tune"}])
        own, strange = (images(d, "validation", size, channels) for d in (name, other))
        mixed = Mostly(family(own, (1, 10), seed=1), family(strange, (1, 10), seed=1))
        cost = learned(learner, mixed)
        if name != "glyphs":
            rows = within(learner, name, images(name, "test", size, channels))
        for source, target in ACROSS:
            if source == name:
                foreign += across(learner, source, target)
    return {**provenance(0), "auto_adapt": cost, "within": rows, "across": foreign}


if __name__ == "__main__":
    path = ROOT / "benchmarks" / "results" / "transfer.json"
    for name in sys.argv[2:] or ("clinc150", *RUNS):
        found = measure(name, Path(sys.argv[1] if sys.argv[1:] else "runs"))
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, name: found}, indent=1) + "\n")
