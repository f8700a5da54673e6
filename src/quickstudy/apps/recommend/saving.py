"""Saved recommenders: arrays as safetensors, the rest as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from quickstudy.apps.recommend.attributes import AttributeEncoder
from quickstudy.apps.recommend.identifiers import Catalogue
from quickstudy.apps.recommend.learning import restored_level
from quickstudy.apps.recommend.meta_level import Configuration
from quickstudy.apps.recommend.new_items import NewItems
from quickstudy.engine import checkpoints
from quickstudy.errors import MissingError, RunError, UsageError

if TYPE_CHECKING:
    from quickstudy.apps.recommend.bases.external import Scorer
    from quickstudy.apps.recommend.recommender import Recommender

__all__ = ["check_folder", "load_recommender", "save_recommender"]

NEW_ITEMS = "new_items"
"""The name of the arrays of items that were added after training."""

APPLICATION = "recommender"
"""Tells the folder of a recommender from those of other applications."""

META_LEVEL = "meta_level"
"""The name of the meta-level's parameters beside those of the bases."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that a recommender cannot be saved in, before it is trained."""
    checkpoints.check_versions(
        folder, APPLICATION, lambda state: state.get("application") == APPLICATION
    )


def save_recommender(recommender: Recommender, folder: Path) -> None:
    """Write a fitted recommender to a folder (see `Recommender.save`)."""
    check_folder(folder)
    tensors = {
        name: {key: torch.tensor(value) for key, value in base.state().items()}
        for name, base in recommender.bases_.items()
    }
    tensors[META_LEVEL] = recommender.meta_level_.parameters
    if recommender.new_items_ is not None:
        tensors[NEW_ITEMS] = {
            name: torch.tensor(value) for name, value in recommender.new_items_.state().items()
        }
    best = recommender.best_configuration_
    state = {
        "application": APPLICATION,
        "meta": recommender.meta,
        "prior": recommender.prior,
        "extra_bases": list(recommender.extra_bases),
        "scorers": list(recommender.scorers),
        "seed": recommender.seed,
        "rating_values": recommender.rating_values_.tolist(),
        "scale": list(recommender.scale_),
        "items": recommender.items_,
        "titles": recommender.titles_,
        "item_columns": {name: list(v) for name, v in recommender.item_columns_.items()},
        "training_users": sorted(recommender.training_users_),
        "attributes": recommender.encoder_.state(),
        "best_configuration": [best.base, str(best.setting)],
        "ordered": recommender.ordered_,
        "levels": list(recommender.meta_level_.levels),
    }
    checkpoints.save_version(folder, tensors, state)


def load_recommender(
    recommender: type[Recommender], folder: Path, scorers: Mapping[str, Scorer] | None = None
) -> Recommender:
    """Read what `save_recommender` wrote (see `Recommender.load`)."""
    latest = checkpoints.latest_checkpoint(folder)
    if latest is None:
        raise MissingError(f"expected a recommender at {folder}, found none: train one")
    tensors, state, _ = latest
    if state.get("application") != APPLICATION:
        raise RunError(f"expected a recommender in {folder}, got something else saved")
    for name, part in tensors.items():
        checkpoints.check_weights(part, folder / name)
    expected = state.get("scorers", [])
    if list(scorers or {}) != expected:
        raise UsageError(
            f"expected the scorers {expected} that it was made with, got {list(scorers or {})}"
        )
    try:
        return _restored(recommender, tensors, state, scorers)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder} is damaged ({error!r}): train again") from None


def _restored(
    recommender: type[Recommender],
    tensors: dict[str, dict[str, Any]],
    state: dict[str, Any],
    scorers: Mapping[str, Scorer] | None,
) -> Recommender:
    restored = recommender(
        meta=state["meta"],
        prior=state["prior"],
        extra_bases=state["extra_bases"],
        scorers=scorers,
        seed=state["seed"],
    )
    restored.rating_values_ = np.array(state["rating_values"])
    restored.scale_ = tuple(state["scale"])
    restored.set_data_kind(clicks=len(restored.rating_values_) == 1, ordered=state["ordered"])
    restored.items_, restored.titles_ = state["items"], state["titles"]
    restored.catalogue_ = Catalogue(restored.items_, restored.titles_)
    restored.item_columns_ = state["item_columns"]
    restored.training_users_ = set(state["training_users"])
    restored.encoder_ = AttributeEncoder.of(state["attributes"])
    base, setting = state["best_configuration"]
    restored.best_configuration_ = Configuration(base, float(setting))
    restored.bases_ = {
        name: base().restore({key: t.numpy() for key, t in tensors.get(name, {}).items()})
        for name, base in restored.base_classes_.items()
    }
    restored.meta_level_ = restored_level(restored, state["levels"], tensors[META_LEVEL])
    if NEW_ITEMS in tensors:
        arrays = {key: t.numpy() for key, t in tensors[NEW_ITEMS].items()}
        restored.new_items_ = NewItems.of(arrays)
    return restored
