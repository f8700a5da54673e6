"""Intents of CLINC150 from a few queries, by the frozen embeddings of MiniLM.

    python benchmarks/text.py

Needs the data set clinc150 and the extra "text". A class is the mean of its embedded queries, and
the frozen score of a query its cosine with that; zero-shot, the mean is the intent's embedded name.
"All intents" are the 150 of the authors' test queries, "unseen domains" the 45 of the test split.
The meta-learned head, a linear map that begins as the identity, is trained on the 75 intents of the
training split and chosen by the 30 of validation, which share no domain with those of the test.
Writes benchmarks/results/text.json.
"""

from __future__ import annotations

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor, nn

from quickstudy import (
    ClassData,
    EpisodeSampler,
    Learner,
    PrototypicalNetworks,
    meta_test,
    meta_train,
)
from quickstudy.encoders import Encoder, minilm
from quickstudy.experiments.provenance import provenance
from quickstudy.nn import Flatten
from quickstudy.progress import track
from quickstudy.tasks.datasets import clinc150, load_dataset

ROOT = Path(__file__).parent.parent
N_TASKS, DRAWS = 600, 10


def score(learner: Learner, data: ClassData, n_way: int, n_shot: int) -> dict[str, Any]:
    """Accuracy on tasks of a shape, without the score of each."""
    tasks = EpisodeSampler(data, n_way=n_way, n_shot=n_shot, n_query=15, seed=2)
    report = meta_test(learner, tasks, N_TASKS).as_dict()
    del report["scores"]
    return report


def few_shot(frozen: Learner, tuned: Learner, places: dict[str, ClassData]) -> list[Any]:
    jobs = [("frozen", frozen, place) for place in places]
    jobs.append(("meta-learned", tuned, "unseen domains"))
    rows = []
    for n_way, n_shot in track(((5, 1), (5, 5), (20, 1), (20, 5)), "few-shot"):
        for name, learner, place in jobs:
            row = {"learner": name, "classes": place, "n_way": n_way, "n_shot": n_shot}
            rows.append({**row, **score(learner, places[place], n_way, n_shot)})
    return rows


def meta_learned(train: ClassData, validation: ClassData) -> Learner:
    """A prototypical network whose backbone is one linear map of the embedding."""
    size = train.x.shape[1]
    head = nn.Linear(size, size, bias=False)
    nn.init.eye_(head.weight)
    learner = PrototypicalNetworks(head, scale=10.0)
    drawn_from = partial(EpisodeSampler, n_way=20, n_shot=1, n_query=5)
    meta_train(
        learner,
        drawn_from(train, seed=0),
        steps=600,
        meta_batch_size=4,
        optimizer=partial(torch.optim.Adam, lr=1e-4),
        executor="serial",
        validation=drawn_from(validation, seed=1),
        validation_tasks=300,
        validate_every=100,
    )
    return learner


def zero_shot(data: ClassData) -> float:
    """Accuracy on all queries, given the names of all intents and no example."""
    size = data.x.shape[1]
    learner = PrototypicalNetworks(Flatten((size,)), n_attributes=size)
    assert learner.attributes is not None
    nn.init.eye_(learner.attributes.weight)
    tasks = EpisodeSampler(data, n_way=data.n_classes, n_shot=0, n_query=int(data.counts[0]))
    support, query = tasks[0].support, tasks[0].query
    with torch.no_grad():
        return float((learner.adapt(support)(query.x).argmax(1) == query.y).double().mean())


def out_of_scope(frozen: Learner, shown: ClassData, asked: Tensor, strange: Tensor) -> list[float]:
    """Area under the ROC curve of the greatest score of a query, of one of the intents or of none;
    for draws of ten queries of each intent to learn from."""
    tasks = EpisodeSampler(shown, n_way=shown.n_classes, n_shot=10, n_query=1, seed=3)
    areas = []
    with torch.no_grad():
        for i in track(range(DRAWS), "out of scope"):
            predict = frozen.adapt(tasks[i].support)
            inside, outside = (predict(x).amax(1).double() for x in (asked, strange))
            wins = stats.mannwhitneyu(inside, outside).statistic
            areas.append(float(wins) / (len(inside) * len(outside)))
    return areas


def measure(encoder: Encoder) -> dict[str, Any]:
    train, validation, test, shown, asked = (
        load_dataset("clinc150", split, encoder=encoder)
        for split in ("train", "validation", "test", "all-train", "all-test")
    )
    frozen = PrototypicalNetworks(nn.Flatten(), distance="cosine")
    places = {"all intents": asked, "unseen domains": test}
    areas = out_of_scope(frozen, shown, asked.x, encoder(clinc150.out_of_scope()))
    return {
        **provenance(0),
        "encoder": {"name": encoder.name, "version": encoder.version, "seen": encoder.seen},
        "few_shot": few_shot(frozen, meta_learned(train, validation), places),
        "zero_shot": {
            "n_way": asked.n_classes,
            "queries": len(asked.y),
            "accuracy": zero_shot(asked),
        },
        "out_of_scope": {
            "n_way": shown.n_classes,
            "n_shot": 10,
            "auroc": statistics.mean(areas),
            "least": min(areas),
            "greatest": max(areas),
            "draws": DRAWS,
        },
    }


if __name__ == "__main__":
    found = json.dumps(measure(minilm()), indent=1)
    (ROOT / "benchmarks" / "results" / "text.json").write_text(found + "\n")
    print(found)
