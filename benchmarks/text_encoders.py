"""Encoders of texts: few-shot accuracy of each and of both joined, and what the check of languages
sees.

    python benchmarks/text_encoders.py

Needs the data set clinc150 and the extra "text". A class is the mean of its embedded queries, a
score the cosine with that; the classes are the 45 intents of the test split, and every encoder gets
the same tasks. `sentences.json` has eight sentences in each of 14 languages, written for this: the
same eight in all. Writes benchmarks/results/text_encoders.json.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quickstudy import ClassData, EpisodeSampler, PrototypicalNetworks
from quickstudy.encoders import ENCODERS
from quickstudy.encoders.languages import not_english, word_shares
from quickstudy.encoders.minilm_l6 import in_vocabulary
from quickstudy.engine.meta_test import clustered_interval
from quickstudy.experiments.provenance import provenance
from quickstudy.progress import track
from quickstudy.tasks import TextData
from quickstudy.tasks.datasets import DATASETS, load_dataset

HERE = Path(__file__).parent
ENCODER_NAMES = ("minilm", "use_multilingual", "minilm+use_multilingual")
SHAPES = ((5, 1), (5, 5), (20, 1), (20, 5))
N_TASKS, N_DRAWS = 600, 2000


def accuracies(data: ClassData, n_way: int, n_shot: int) -> tuple[Tensor, Tensor, Tensor]:
    """Accuracy on each class of each task, with the class and the task: (n_tasks * n_way,)."""
    learner = PrototypicalNetworks(nn.Flatten(), distance="cosine").eval()
    tasks = EpisodeSampler(data, n_way=n_way, n_shot=n_shot, n_query=15, seed=2)
    scores, classes = [], []
    with torch.no_grad():
        for i in range(N_TASKS):
            task = tasks[i]
            right = learner.adapt(task.support)(task.query.x).argmax(1) == task.query.y
            scores.append(torch.bincount(task.query.y, right.double(), n_way) / 15)
            assert task.classes is not None
            classes.append(task.classes)
    return torch.cat(scores), torch.cat(classes), torch.arange(N_TASKS).repeat_interleave(n_way)


def few_shot(by_encoder: dict[str, ClassData]) -> list[dict[str, Any]]:
    """Accuracy of each encoder, and its difference to MiniLM on the same tasks."""
    rows = []
    for n_way, n_shot in track(SHAPES, "few-shot"):
        baseline = None
        for name, data in by_encoder.items():
            scores, classes, tasks = accuracies(data, n_way, n_shot)
            row: dict[str, Any] = {"encoder": name, "n_way": n_way, "n_shot": n_shot}
            ones = torch.ones(len(scores))
            row["accuracy"] = float(scores.mean())
            row["interval"] = clustered_interval(scores, ones, classes, tasks)
            baseline = scores if baseline is None else baseline
            if baseline is not scores:
                gain = scores - baseline
                row["gain"] = float(gain.mean())
                row["gain_interval"] = clustered_interval(gain, ones, classes, tasks)
            rows.append(row)
    return rows


def languages(english: list[str]) -> dict[str, Any]:
    """Shares of words that MiniLM's check of languages looks at, and what it says of them."""
    sentences = json.loads((HERE / "sentences.json").read_text())
    rows = []
    for language, texts in {**sentences, "clinc150": english}.items():
        vocabulary, function_words = word_shares(texts, in_vocabulary)
        rows.append(
            {
                "texts": language,
                "in_vocabulary": vocabulary,
                "function_words": function_words,
                "warned_of_all": bool(not_english(texts, in_vocabulary)),
            }
        )
    rng = random.Random(0)
    draws = [rng.sample(english, n) for n in (1, 3, 10) for _ in range(N_DRAWS)]
    false_alarms = sum(bool(not_english(draw, in_vocabulary)) for draw in draws)
    return {"rows": rows, "draws_of_clinc150": len(draws), "false_alarms": false_alarms}


def measure() -> dict[str, Any]:
    by_encoder = {
        name: load_dataset("clinc150", "test", encoder=ENCODERS.find(name).load())
        for name in ENCODER_NAMES
    }
    data = DATASETS.find("clinc150").load("test", image_size=28, seed=0)
    assert isinstance(data, TextData)
    return {
        **provenance(0),
        "few_shot": few_shot(by_encoder),
        "languages": languages(list(data.texts)),
    }


if __name__ == "__main__":
    results = json.dumps(measure(), indent=1)
    (HERE / "results" / "text_encoders.json").write_text(results + "\n")
    print(results)
