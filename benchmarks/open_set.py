"""How many queries of known and of other classes `FewShotClassifier(unknown=...)` refuses.

    python benchmarks/open_set.py

Needs the data sets clinc150 and caltech101_84 and the extras "text" and "images". A task has five
classes of the test split, some examples of each, 15 other queries of each, and 75 queries of the
other classes of the split. The learner is the default one; texts are embedded as by default,
photographs by EfficientNet-Lite0 alone, without the view of drawings. "Best possible"
is the share of other classes' queries below the threshold that refuses one in twenty of the known
queries at hand, which a classifier cannot know. Writes benchmarks/results/open_set.json.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy import ClassData, FewShotClassifier
from quickstudy.apps.fewshot.views import default_blend
from quickstudy.encoders import ENCODERS, Encoder
from quickstudy.engine.calibration import OPEN_SET_QUANTILE
from quickstudy.experiments.provenance import provenance
from quickstudy.learners.transfer.blend import Kind, LearnedBlend
from quickstudy.progress import track
from quickstudy.tasks.datasets import load_dataset

ROOT = Path(__file__).parent.parent
N_WAY, SHOTS, N_QUERY, N_TASKS, UNKNOWN = 5, (5, 10), 15, 100, -1


def refused(data: ClassData, blend: LearnedBlend, n_shot: int, i: int) -> dict[str, float]:
    """Shares of known and other queries that are refused in one task."""
    generator = torch.Generator().manual_seed(i)
    classes = torch.randperm(data.n_classes, generator=generator)
    rows = [
        data.index[c, torch.randperm(int(data.counts[c]), generator=generator)] for c in classes
    ]
    shown = torch.cat([r[:n_shot] for r in rows[:N_WAY]])
    known = torch.cat([r[n_shot : n_shot + N_QUERY] for r in rows[:N_WAY]])
    others = torch.cat(rows[N_WAY:])
    others = others[torch.randperm(len(others), generator=generator)[: N_WAY * N_QUERY]]
    classifier = FewShotClassifier(blend, unknown=UNKNOWN)
    classifier.fit(data.x[shown].double(), data.y[shown])
    scores = {name: classifier._scores(data.x[r]) for name, r in (("k", known), ("o", others))}
    best = np.quantile(scores["k"].amax(1), OPEN_SET_QUANTILE)
    return {
        "known": float(np.mean(classifier.predict(data.x[known]) == UNKNOWN)),
        "other": float(np.mean(classifier.predict(data.x[others]) == UNKNOWN)),
        "other, best possible": float((scores["o"].amax(1) < best).double().mean()),
    }


def measure(name: str, kind: Kind, encoder_name: str) -> dict[str, Any]:
    encoder: Encoder = ENCODERS.find(encoder_name).load()
    data = load_dataset(name, "test", image_size=84, encoder=encoder)
    blend = default_blend(kind, encoder, data.x.shape[1], encoder_name)
    rows = []
    for n_shot in SHOTS:
        shares = [
            refused(data, blend, n_shot, i)
            for i in track(range(N_TASKS), f"{name}, {n_shot} shots")
        ]
        means = {key: statistics.mean(one[key] for one in shares) for key in shares[0]}
        rows.append({"n_shot": n_shot, **means})
    about = {"name": encoder.name, "version": encoder.version, "seen": encoder.seen}
    return {"encoder": about, "shots": rows}


if __name__ == "__main__":
    report = {
        **provenance(0),
        "n_way": N_WAY,
        "n_tasks": N_TASKS,
        "refused": {
            "clinc150": measure("clinc150", "text", "minilm+use_multilingual"),
            "caltech101_84": measure("caltech101_84", "image", "efficientnet_lite0"),
        },
    }
    text = json.dumps(report, indent=1) + "\n"
    (ROOT / "benchmarks" / "results" / "open_set.json").write_text(text)
    print(text)
