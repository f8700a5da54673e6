"""How many queries of known and of other classes `FewShotClassifier(unknown=...)` refuses.

    python benchmarks/open_set.py [--tasks 100] [--shots 5,10] [--learners default,ridge]
        [--examples 30] [--worlds texts,photographs]

`--examples` takes the first so many of each class, to embed fewer. Rows of learners and shots that
were measured before stay in the results.

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

import argparse
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
from quickstudy.tasks.datasets.clinc150 import load, out_of_scope
from quickstudy.tasks.images import Images

RESULTS = Path(__file__).parent / "results" / "open_set.json"
N_WAY, N_QUERY, UNKNOWN = 5, 15, -1
MANY = 10**9


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


def texts(n_examples: int) -> World:
    name = encoder_name("texts")
    encoder = ENCODERS.find(name).load()
    data = load("test")
    assert data.groups is not None
    kept, rows = first_of_each(data.y, n_examples)
    x = encoder([data.texts[i] for i in kept.tolist()]).double()
    return World(
        x,
        rows,
        data.groups,
        {"of no intent": encoder(out_of_scope()[: 10 * n_examples]).double()},
        {
            "default": (default_blend("text", encoder, x.shape[1], name), slice(None)),
            "ridge": ("ridge", slice(ENCODERS.find(TEXT_ENCODER).size)),
        },
    )


def photographs(n_examples: int) -> World:
    views = ImageViews(bits=8)
    data = load_dataset("caltech101_84", "test", image_size=84)
    hands = load_dataset("sign_digits", "test", image_size=84)
    kept, rows = first_of_each(data.y, n_examples)
    x = embed_pixels(views, data.x[kept])
    n_hands = min(500, 10 * n_examples)
    some_hands = torch.randperm(len(hands.x), generator=torch.Generator().manual_seed(0))[:n_hands]
    return World(
        x,
        rows,
        torch.zeros(len(data.names)),
        {"of hands": embed_pixels(views, hands.x[some_hands])},
        {
            "default": (default_blend("image", views, x.shape[1]), slice(None)),
            "ridge": ("ridge", slice(ENCODERS.find(IMAGE_ENCODER).size)),
        },
    )


def first_of_each(y: Tensor, n: int) -> tuple[Tensor, list[Tensor]]:
    """The first n examples of each class, and where each class is among them."""
    of_class = [(y == label).nonzero()[:n, 0] for label in range(int(y.max()) + 1)]
    kept = torch.cat(of_class)
    return kept, list(torch.arange(len(kept)).split([len(rows) for rows in of_class]))


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


def measure(
    make: Callable[[int], World], given: argparse.Namespace, about: dict[str, Any]
) -> list[dict[str, Any]]:
    world, rows = make(given.examples), []
    for name in given.learners.split(","):
        learner, columns = world.learners[name]
        for n_shot in map(int, given.shots.split(",")):
            tasks = track(range(given.tasks), f"{make.__name__}, {name}, {n_shot} shots")
            shares = [
                refused(learner, {k: x[:, columns] for k, x in draw(world, n_shot, i).items()})
                for i in tasks
            ]
            row = {"learner": name, "n_shot": n_shot, "n_tasks": given.tasks, **summary(shares)}
            print(json.dumps(row), flush=True)
            rows.append(row | about)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--shots", default="5,10")
    parser.add_argument("--learners", default="default,ridge")
    parser.add_argument("--examples", type=int, default=MANY, help="of each class")
    parser.add_argument("--worlds", default="texts,photographs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    report = json.loads(RESULTS.read_text())
    about = provenance(0)
    for make in (texts, photographs):
        if make.__name__ not in given.worlds.split(","):
            continue
        new = measure(make, given, about)
        keys = {(row["learner"], row["n_shot"]) for row in new}
        old = report["refused"][make.__name__]
        kept = [row for row in old if (row["learner"], row["n_shot"]) not in keys]
        report["refused"][make.__name__] = kept + new
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
