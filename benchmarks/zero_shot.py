"""From zero to few shots: intents of CLINC150 by their names, by examples, and by both.

    python benchmarks/zero_shot.py

Needs the data set clinc150 and the extra "text". As how many examples a name counts is learned on
tasks of 0 to 5 shots over the 75 intents of the training split. "Unseen domains" are the 45 intents
of the test split, none of whose domains is in training; "all intents" are the 150, with the
authors' training queries to learn from and their test queries to ask, 75 of them those of training.
Generalized: half of the intents have five examples and a name, half a name alone. There the plain
mean counts distances as they are; "stacked" has an offset against classes with examples, chosen on
the 30 intents of validation (Chao et al. 2016, arXiv:1605.04253). Writes
benchmarks/results/zero_shot.json.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quickstudy import (
    BayesianPrototypes,
    ClassData,
    EpisodeSampler,
    Predictor,
    Support,
    meta_train,
)
from quickstudy.encoders import Encoder, minilm
from quickstudy.experiments.provenance import provenance
from quickstudy.nn import Flatten
from quickstudy.progress import track
from quickstudy.tasks.datasets import load_dataset

ROOT = Path(__file__).parent.parent
SHOTS, DRAWS, N_QUERY = (0, 1, 2, 5, 10), 10, 30

Drawn = tuple[Support, Tensor, Tensor]
"""A support set, and queries with their labels."""


def learned(train: ClassData) -> BayesianPrototypes:
    """Prototypes of the embeddings as they are; only the strength of the prior is learned."""
    learner = BayesianPrototypes(Flatten((train.x.shape[1],)), scale=10.0)
    meta_train(
        learner,
        EpisodeSampler(train, n_way=20, n_shot=(0, 5), n_query=5),
        steps=400,
        meta_batch_size=4,
        optimizer=partial(torch.optim.Adam, lr=0.002),
        executor="serial",
    )
    return learner


def drawn(shown: ClassData, n_shot: int, i: int, asked: ClassData | None = None) -> Drawn:
    """A task of all classes; its queries are those of `asked`, if given."""
    n_query = 1 if asked else N_QUERY
    tasks = EpisodeSampler(shown, n_way=shown.n_classes, n_shot=n_shot, n_query=n_query, seed=2)
    episode = tasks[i]
    if asked is None:
        return episode.support, episode.query.x, episode.query.y
    assert episode.classes is not None
    return episode.support, asked.x, episode.classes.argsort()[asked.y]


def accuracy(predict: Predictor, x: Tensor, y: Tensor) -> float:
    return float((predict(x).argmax(1) == y).double().mean())


def path(learner: BayesianPrototypes, draw: Callable[[int, int], Drawn]) -> list[Any]:
    """Accuracy by shots, with and without the names."""
    rows = []
    for n_shot in track(SHOTS, "shots"):
        row: dict[str, Any] = {"n_shot": n_shot}
        tasks = [draw(n_shot, i) for i in range(DRAWS if n_shot else 1)]
        both = [accuracy(learner.adapt(s), x, y) for s, x, y in tasks]
        alone = [
            accuracy(learner.adapt(replace(s, attributes=None)), x, y)
            for s, x, y in tasks
            if n_shot
        ]
        for name, found in (("names and examples", both), ("examples", alone)):
            if found:
                row[name] = {
                    "mean": statistics.mean(found),
                    "least": min(found),
                    "greatest": max(found),
                }
        rows.append(row)
    return rows


def half_shown(support: Support) -> tuple[Support, Tensor]:
    """The task with examples of half of its classes, drawn at random, and which those are."""
    seen = torch.arange(support.n_way or 0) < (support.n_way or 0) // 2
    kept = seen[support.y]
    return replace(support, x=support.x[kept], y=support.y[kept]), seen


def judged(scores: Tensor, y: Tensor, seen: Tensor) -> tuple[float, float, float]:
    """Accuracy on classes with examples, on those without, and their harmonic mean."""
    right = (scores.argmax(1) == y).double()
    with_, without = float(right[seen[y]].mean()), float(right[~seen[y]].mean())
    return with_, without, 2 * with_ * without / max(with_ + without, 1e-12)


def plain(learner: BayesianPrototypes, support: Support) -> Predictor:
    """Distances from the same means, not in units of their variance."""
    means, _ = learner._posterior(support.x, support)
    return lambda x: -learner.scale * torch.cdist(x, means).square()


def generalized(
    learner: BayesianPrototypes,
    draw: Callable[[int, int], Drawn],
    choose: Callable[[int, int], Drawn],
) -> list[Any]:
    def scored(
        draw: Callable[[int, int], Drawn], adapt: Callable[[Support], Predictor]
    ) -> list[Any]:
        found = []
        for i in range(DRAWS):
            support, x, y = draw(5, i)
            support, seen = half_shown(support)
            found.append((adapt(support)(x), y, seen))
        return found

    def mean(found: list[Any], offset: float = 0.0) -> tuple[float, ...]:
        rows = [judged(scores - offset * seen, y, seen) for scores, y, seen in found]
        return tuple(map(statistics.mean, zip(*rows, strict=True)))

    plainly = partial(plain, learner)
    offsets = [0.25 * k for k in range(41)]
    for_offset = scored(choose, plainly)
    offset = max(offsets, key=lambda b: mean(for_offset, b)[2])
    ways = {
        "plain mean": mean(scored(draw, plainly)),
        "plain mean, stacked": mean(scored(draw, plainly), offset),
        "posterior": mean(scored(draw, learner.adapt)),
    }
    keys = ("with examples", "names alone", "harmonic mean")
    return [{"scores": name, **dict(zip(keys, found, strict=True))} for name, found in ways.items()]


def measure(encoder: Encoder) -> dict[str, Any]:
    train, validation, test, shown, asked = (
        load_dataset("clinc150", split, encoder=encoder)
        for split in ("train", "validation", "test", "all-train", "all-test")
    )
    learner = learned(train).requires_grad_(False)
    choose = partial(drawn, validation)
    places = {
        "unseen domains": partial(drawn, test),
        "all intents": partial(drawn, shown, asked=asked),
    }
    return {
        **provenance(0),
        "encoder": {"name": encoder.name, "version": encoder.version, "seen": encoder.seen},
        "prior_strength": float(learner.prior_strength),
        "draws": DRAWS,
        "path": {
            place: {"n_way": draw(1, 0)[0].n_way, "shots": path(learner, draw)}
            for place, draw in places.items()
        },
        "generalized": {
            place: generalized(learner, draw, choose) for place, draw in places.items()
        },
    }


if __name__ == "__main__":
    found = json.dumps(measure(minilm()), indent=1)
    (ROOT / "benchmarks" / "results" / "zero_shot.json").write_text(found + "\n")
    print(found)
