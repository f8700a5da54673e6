"""How many queries of known and of other classes `FewShotClassifier(unknown=...)` refuses.

    python benchmarks/open_set.py

Needs the data sets clinc150, caltech101_84 and sign_digits and the extras "text" and "images".

A task has five classes, 5 or 10 examples of each, 15 other queries of each, and 75 strangers of
each kind. Texts: five intents of one domain of clinc150's test split; strangers are other intents
of that domain, intents of the two other domains, and queries of none of the 150 intents.
Photographs: five classes of caltech101_84's test split; strangers are its other classes, and the
photographs of hands of sign_digits.

The learners are the default one, which sees all views of a kind, and "ridge", on MiniLM's and
EfficientNet-Lite0's embeddings. "Best possible" is the share of strangers below the threshold that
refuses one in twenty of the known queries at hand, which a classifier cannot know. Intervals are of
95 %, over tasks. Writes benchmarks/results/open_set.json.
"""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy import FewShotClassifier
from quickstudy.apps.fewshot.methods import IMAGE_ENCODER, TEXT_ENCODER
from quickstudy.apps.fewshot.views import ImageViews, default_blend, encoder_name
from quickstudy.encoders import ENCODERS
from quickstudy.engine.calibration import OPEN_SET_QUANTILE
from quickstudy.experiments.provenance import provenance
from quickstudy.learners import Learner
from quickstudy.progress import track
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.datasets.clinc150 import out_of_scope
from quickstudy.tasks.images import Images

RESULTS = Path(__file__).parent / "results" / "open_set.json"
N_WAY, SHOTS, N_QUERY, N_TASKS, UNKNOWN = 5, (5, 10), 15, 100, -1


@dataclass(frozen=True)
class World:
    """What tasks are drawn from.

    Args:
        x: Vectors of the examples of all classes, (n, d).
        rows: Those of each class, by its number.
        domain: The domain of each class. A task is of classes of one.
        strangers: Vectors of other examples, by what they are.
        learners: By name, each with the columns of the vectors that it sees.
    """

    x: Tensor
    rows: list[Tensor]
    domain: Tensor
    strangers: Mapping[str, Tensor]
    learners: Mapping[str, tuple[Learner | str, slice]]


def texts() -> World:
    name = encoder_name("texts")
    encoder = ENCODERS.find(name).load()
    data = load_dataset("clinc150", "test", encoder=encoder)
    assert data.groups is not None
    return World(
        data.x.double(),
        [row[:n] for row, n in zip(data.index, data.counts.tolist(), strict=True)],
        data.groups,
        {"of no intent": encoder(out_of_scope()).double()},
        {
            "default": (default_blend("text", encoder, data.x.shape[1], name), slice(None)),
            "ridge": ("ridge", slice(ENCODERS.find(TEXT_ENCODER).size)),
        },
    )


def photographs() -> World:
    views = ImageViews(bits=8)
    data = load_dataset("caltech101_84", "test", image_size=84)
    hands = load_dataset("sign_digits", "test", image_size=84)
    x = embed_pixels(views, data.x)
    some_hands = torch.randperm(len(hands.x), generator=torch.Generator().manual_seed(0))[:500]
    return World(
        x,
        [row[:n] for row, n in zip(data.index, data.counts.tolist(), strict=True)],
        torch.zeros(len(data.names)),
        {"of hands": embed_pixels(views, hands.x[some_hands])},
        {
            "default": (default_blend("image", views, x.shape[1]), slice(None)),
            "ridge": ("ridge", slice(ENCODERS.find(IMAGE_ENCODER).size)),
        },
    )


def embed_pixels(views: ImageViews, pixels: Tensor) -> Tensor:
    """Embed bytes (n, 3, height, width): (n, d)."""
    scaled = pixels.float() / 255

    def prepare(how: Images) -> Tensor:
        x = F.interpolate(scaled, size=how.size, mode="bilinear", antialias=True)
        return x.mean(1, keepdim=True) if how.channels == 1 else x

    return views.embed(prepare).double()


def draw(world: World, n_shot: int, i: int) -> dict[str, Tensor]:
    """Vectors of a task: "support" and "known" of its classes, in order, and of strangers."""
    generator = torch.Generator().manual_seed(i)

    def some(x: Tensor, n: int) -> Tensor:
        return x[torch.randperm(len(x), generator=generator)[:n]]

    order = torch.randperm(len(world.rows), generator=generator)
    of_domain = world.domain[order] == world.domain[order[0]]
    here, elsewhere = order[of_domain].tolist(), order[~of_domain].tolist()
    mine = [some(world.rows[c], n_shot + N_QUERY) for c in here[:N_WAY]]
    n = N_WAY * N_QUERY
    strangers = {
        "of the same domain": world.x[some(torch.cat([world.rows[c] for c in here[N_WAY:]]), n)],
        **{what: some(x, n) for what, x in world.strangers.items()},
    }
    if elsewhere:
        others = torch.cat([world.rows[c] for c in elsewhere])
        strangers["of other domains"] = world.x[some(others, n)]
    return {
        "support": world.x[torch.cat([rows[:n_shot] for rows in mine])],
        "known": world.x[torch.cat([rows[n_shot:] for rows in mine])],
        **strangers,
    }


def refused(learner: Learner | str, task: Mapping[str, Tensor]) -> dict[str, float]:
    """Shares of queries that are refused, by what they are."""
    support = task["support"]
    y = torch.arange(N_WAY).repeat_interleave(len(support) // N_WAY)
    classifier = FewShotClassifier(learner, unknown=UNKNOWN).fit(support, y)
    scores = {
        what: classifier._scores(x).amax(1).numpy() for what, x in task.items() if x is not support
    }
    best = np.quantile(scores["known"], OPEN_SET_QUANTILE)
    shares = {what: float(np.mean(s < classifier.threshold_)) for what, s in scores.items()}
    possible = {
        f"{what}, best possible": float(np.mean(s < best))
        for what, s in scores.items()
        if what != "known"
    }
    return shares | possible


def measure(make: Callable[[], World]) -> list[dict[str, Any]]:
    world, rows = make(), []
    for name, (learner, columns) in world.learners.items():
        for n_shot in SHOTS:
            tasks = track(range(N_TASKS), f"{make.__name__}, {name}, {n_shot} shots")
            shares = [
                refused(learner, {k: x[:, columns] for k, x in draw(world, n_shot, i).items()})
                for i in tasks
            ]
            rows.append({"learner": name, "n_shot": n_shot, **summary(shares)})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def summary(shares: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The mean of each share over tasks, and half the length of its interval."""
    columns = {what: [one[what] for one in shares] for what in shares[0]}
    return {
        what: {
            "mean": statistics.mean(each),
            "interval": 1.96 * statistics.stdev(each) / len(each) ** 0.5,
        }
        for what, each in columns.items()
    }


if __name__ == "__main__":
    report = {
        **provenance(0),
        "n_way": N_WAY,
        "n_tasks": N_TASKS,
        "refused": {make.__name__: measure(make) for make in (texts, photographs)},
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
