"""CLINC150: what people ask an assistant for, 150 intents in ten domains, 22,500 queries.

Larson et al., "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction",
EMNLP 2019, arXiv:1909.02027. CC BY 3.0. With 1,200 queries that are of none of the intents.
"""

from __future__ import annotations

import json
from typing import Any

import torch

from quickstudy.errors import DataError, check_option
from quickstudy.tasks.datasets import store
from quickstudy.tasks.datasets.dataset import Dataset
from quickstudy.tasks.sources import TextData, split_classes

__all__ = ["load", "out_of_scope"]

PARTS = {"train": "train", "validation": "val", "test": "test"}
"""The authors' parts of the queries, and what the file calls them."""

SPLITS = (*PARTS, *(f"all-{part}" for part in PARTS))
FILES = {
    "data_full.json": "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
    "domains.json": "b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a",
}

# The split of the domains, pinned: a change of names or of code cannot move a class.
SIZES = (5, 2, 3)
SPLIT_DIGEST = "7e24492526948dc3"


def load(split: str, *, image_size: int = 28, seed: int = 0) -> TextData:
    """Load a split; `image_size` and `seed` do not change it.

    "train", "validation" and "test" are 75, 30 and 45 intents of 5, 2 and 3 domains that they do
    not share, each intent with all of its 150 queries. "all-train", "all-validation" and
    "all-test" are all 150 intents, with the authors' 100, 20 and 30 queries of each. Domains are
    groups of classes.
    """
    del image_size, seed
    domains: dict[str, list[str]] = _read("domains.json")
    names = sorted(domains)
    parts, digest = split_classes(names, SIZES)
    if digest != SPLIT_DIGEST:
        raise DataError(f"expected the CLINC150 split {SPLIT_DIGEST}, got {digest}: get it anew")
    if split in PARTS:
        chosen, queried_parts = parts[list(PARTS).index(split)], list(PARTS)
    else:
        chosen, queried_parts = range(len(names)), [split.removeprefix("all-")]
    group = {intent: g for g in chosen for intent in domains[names[g]]}
    number = {intent: c for c, intent in enumerate(group)}
    queries: dict[str, list[tuple[str, str]]] = _read("data_full.json")
    pairs = [pair for part in queried_parts for pair in queries[PARTS[part]] if pair[1] in number]
    return TextData(
        [text for text, _ in pairs],
        torch.tensor([number[intent] for _, intent in pairs]),
        [intent.replace("_", " ") for intent in group],
        torch.tensor(list(group.values())),
    )


def out_of_scope(part: str = "test") -> list[str]:
    """Queries of none of the 150 intents: 100 of the part "train", 100 of "validation" and 1,000
    of "test"."""
    check_option("part", part, PARTS)
    return [text for text, _ in _read("data_full.json")[f"oos_{PARTS[part]}"]]


def _read(file: str) -> Any:
    return json.loads(store.find("clinc150", file).read_text(encoding="utf-8"))


DATASET = Dataset(
    title="queries to an assistant (text), 150 intents in 10 domains, 22,500 queries (CC BY 3.0)",
    splits=SPLITS,
    load=load,
    texts=True,
    files=FILES,
    url="https://github.com/clinc/oos-eval/raw/master/data/",
)
