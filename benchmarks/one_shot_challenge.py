"""What each part of the recipes of the one-shot challenge brings, on held-out alphabets.

    python benchmarks/one_shot_challenge.py

Every variant is trained for STEPS steps on 25 of the 30 background alphabets, and tested on the
same tasks from the other five; Lake's runs are not looked at. What has been measured already is
not measured again: delete benchmarks/results/one_shot_challenge.json to begin anew. Writes that
file, and the table into docs/research/one_shot_challenge.md.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from quickstudy.engine import meta_train
from quickstudy.engine.callbacks import Callback
from quickstudy.experiments.build import make_learner, tasks_of_training, training_options
from quickstudy.experiments.evaluate import meta_test_all
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.report import score_interval
from quickstudy.files import write_atomically
from quickstudy.learners import LEARNERS, Learner, LocalMatching, Predictor
from quickstudy.recipes.loading import load_recipe
from quickstudy.recipes.schema import Recipe
from quickstudy.tasks import Support
from results import write_between_marks

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "benchmarks" / "results" / "one_shot_challenge.json"
STEPS = 1000
HELD_OUT = """[{ title = "held out", split = "background-validation", n_way = 20, n_shot = 1, \
n_query = 1, within_group = true, n_tasks = 1000, data = { name = "omniglot" } }]"""

UPRIGHT = "data.rotations=false"
AFFINE = "tasks.augment=affine"
AS_DRAWN = [AFFINE, UPRIGHT, "backbone.align=false"]
PLAIN = [*AS_DRAWN, "learner.weighted=false"]
CONSTANT_RATE = [
    'train.schedule={ name = "ConstantLR", factor = 1.0 }',
    'train.optimizer={ name = "Adam", lr = 1e-3 }',
]


# Ways to match, and to distort, that the recipes leave out.


class TwoScales(LocalMatching):
    """Also compares the map at half its resolution."""

    def fit(self, embedded: Tensor, support: Support) -> Predictor:
        fine, shape = super().fit(embedded, support), self.shape
        channels, height, width = shape
        halved = (channels, height // 2, width // 2)

        def halve(embedded: Tensor) -> Tensor:
            return F.avg_pool2d(embedded.unflatten(1, shape), 2).flatten(1)

        self.shape = halved
        coarse = super().fit(halve(embedded), support)
        self.shape = shape

        def predict(embedded: Tensor) -> Tensor:
            scores = fine(embedded)
            self.shape = halved
            try:
                return (scores + coarse(halve(embedded))) / 2
            finally:
                self.shape = shape

        return predict


class RelaxedMatching(LocalMatching):
    """Shares a cell among the cells of its window, by the softmax of their cosines, as optimal
    transport with an entropy does, instead of giving it to the best."""

    def _best_matches(self, a: Tensor, b: Tensor) -> Tensor:
        cosines = self._cosines(a, b)
        return (cosines * (10 * cosines).softmax(2)).sum(2)


LEARNERS |= {"two_scales": TwoScales, "relaxed_matching": RelaxedMatching}


# Ways to use what is trained.


class _Over(Learner):
    """Uses what another learner has learned."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner


class Turned(_Over):
    """The mean of the scores of a query and of its turned, sheared and scaled versions."""

    def adapt(self, support: Support) -> Predictor:
        predict = self.learner.adapt(support)

        def mean(x: Tensor) -> Tensor:
            return torch.stack([predict(_warp(x, *warp)) for warp in WARPS]).mean(0)

        return mean


WARPS = [  # degrees, width, height, shear
    (0.0, 1.0, 1.0, 0.0),
    (8.0, 1.0, 1.0, 0.0),
    (-8.0, 1.0, 1.0, 0.0),
    (0.0, 1.12, 0.9, 0.0),
    (0.0, 0.9, 1.12, 0.0),
    (0.0, 1.0, 1.0, 0.15),
    (0.0, 1.0, 1.0, -0.15),
]


def _warp(x: Tensor, degrees: float, wide: float, high: float, shear: float) -> Tensor:
    angle = torch.tensor(math.radians(degrees))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    matrix = turn @ torch.tensor([[1.0, shear], [0.0, 1.0]]) @ torch.tensor([wide, high]).diag()
    theta = torch.cat([matrix, torch.zeros(2, 1)], 1).expand(len(x), 2, 3)
    return F.grid_sample(x, F.affine_grid(theta, list(x.shape), False), align_corners=False)


class Ensemble(Learner):
    """The mean of the log-probabilities of several learners."""

    def __init__(self, learners: list[Learner]) -> None:
        super().__init__()
        self.learners = nn.ModuleList(learners)

    def adapt(self, support: Support) -> Predictor:
        predictors = [learner.adapt(support) for learner in self.learners]  # pyright: ignore
        return lambda x: torch.stack([p(x).log_softmax(1) for p in predictors]).mean(0)


class OneToOne(_Over):
    """Transductive: one query of each class, assigned to classes all at once."""

    def adapt(self, support: Support) -> Predictor:
        predict = self.learner.adapt(support)

        def assign(x: Tensor) -> Tensor:
            scores = predict(x)
            rows, columns = linear_sum_assignment(scores.log_softmax(1), maximize=True)
            return torch.zeros_like(scores).index_put_(
                (torch.as_tensor(rows), torch.as_tensor(columns)), torch.ones(len(rows))
            )

        return assign


# What is compared.


@dataclass(frozen=True)
class Variant:
    """`changes` of the recipe, against the variant `base`; `learner` makes what is tested."""

    base: str | None
    changes: list[str]
    learner: Callable[[list[str]], Learner] | None = None


TURNS = "+ quarter turns of alphabets as new ones"
RECIPE = "+ elastic distortions (the recipe)"
VARIANTS: dict[str, Variant] = {
    "prototypes: one vector an image": Variant(
        None, ['learner={ name = "prototypical_networks" }', "backbone.pools=4", *AS_DRAWN]
    ),
    "local matching": Variant("prototypes: one vector an image", PLAIN),
    "+ learned weights of the cells": Variant("local matching", AS_DRAWN),
    "+ ink moved to the middle, nearer to one size": Variant(
        "+ learned weights of the cells", [AFFINE, UPRIGHT]
    ),
    TURNS: Variant("+ ink moved to the middle, nearer to one size", [AFFINE]),
    RECIPE: Variant(TURNS, []),
    "without elastic distortions, matching within two cells": Variant(
        TURNS, [AFFINE, "learner.radius=2"]
    ),
    "without elastic distortions, only the query looked for in the example": Variant(
        TURNS, [AFFINE, "learner.symmetric=false"]
    ),
    "the recipe, mirror images of alphabets as well": Variant(RECIPE, ["data.mirrors=true"]),
    "the recipe, thicker and thinner strokes": Variant(
        RECIPE, ['tasks.augment=["elastic", "strokes"]']
    ),
    "the recipe, maps at two scales": Variant(RECIPE, ['learner={ name = "two_scales" }']),
    "the recipe, cells shared instead of matched": Variant(
        RECIPE, ['learner={ name = "relaxed_matching" }']
    ),
    "the recipe, images of 56x56": Variant(RECIPE, ["data.image_size=56"]),
    "the recipe, 1,000 steps on glyphs before": Variant(
        RECIPE, [], lambda changes: trained(changes, after_glyphs=True)
    ),
    "the recipe, a constant learning rate": Variant(RECIPE, CONSTANT_RATE),
    "the same, weights averaged over the last steps": Variant(
        "the recipe, a constant learning rate",
        CONSTANT_RATE,
        lambda changes: trained(changes, average=True),
    ),
    "the recipe, mean over distorted queries": Variant(
        RECIPE, [], lambda changes: Turned(trained(changes))
    ),
    "the recipe, mean of three seeds": Variant(
        RECIPE, [], lambda changes: Ensemble([trained([*changes, f"seed={i}"]) for i in range(3)])
    ),
    "the recipe, one query to each class (transductive)": Variant(
        RECIPE, [], lambda changes: OneToOne(trained(changes))
    ),
}


def recipe_of(changes: list[str]) -> Recipe:
    fixed = [
        f"train.steps={STEPS}",
        f"train.schedule.T_max={STEPS}",
        "train.executor=serial",
        "tasks.split=background-train",
        f"test={HELD_OUT}",
    ]
    return load_recipe("omniglot_challenge_30", [*fixed, *changes])


seconds = 0.0  # of training, since it was last set to 0


class _Average(Callback):
    """Running average of the weights, over about the last hundred steps."""

    def __init__(self, learner: Learner) -> None:
        self.learner, self.kept = learner, deepcopy(learner.state_dict())

    def on_step(self, step: int, metrics: dict[str, Any]) -> None:
        for name, tensor in self.learner.state_dict().items():
            if tensor.is_floating_point():
                self.kept[name].lerp_(tensor, 0.01)
            else:
                self.kept[name].copy_(tensor)


def trained(changes: list[str], after_glyphs: bool = False, average: bool = False) -> Learner:
    return _trained(tuple(changes), after_glyphs, average)


@functools.cache
def _trained(changes: tuple[str, ...], after_glyphs: bool, average: bool) -> Learner:
    recipe = recipe_of(list(changes))
    torch.manual_seed(recipe.seed)
    learner = make_learner(recipe)
    global seconds
    if after_glyphs:
        glyphs = ["data.name=glyphs", "data.rotations=false", "tasks.split=train"]
        first = recipe_of([*changes, *glyphs, "tasks.within_group=false"])
        report = meta_train(learner, tasks_of_training(first), **training_options(first))
        seconds += report.seconds
    callbacks: list[Callback] = []
    if average:
        callbacks.append(_Average(learner))
    report = meta_train(
        learner, tasks_of_training(recipe), callbacks=callbacks, **training_options(recipe)
    )
    seconds += report.seconds
    if callbacks and isinstance(callbacks[-1], _Average):
        learner.load_state_dict(callbacks[-1].kept)
    return learner


def measure(variant: Variant) -> dict[str, Any]:
    """Train and test one variant."""
    global seconds
    seconds = 0.0
    recipe = recipe_of(variant.changes)
    learner = (variant.learner or trained)(variant.changes)
    results, _ = meta_test_all(recipe, {"score": learner.eval()})
    entry = results["score"][0]
    kept = {key: entry[key] for key in ("mean", "interval", "clustered_interval", "scores")}
    return {**provenance(recipe.seed), "steps": STEPS, "seconds": seconds or None, **kept}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Errors in per cent, and their change, task by task, against what each is compared with."""
    lines = [f"| after {STEPS:,} steps, seed 0 | error, % | change | s |", "|---|---|---|---|"]
    for name, variant in VARIANTS.items():
        if name not in found:
            continue
        one, change = found[name], ""
        if variant.base in found:
            pairs = zip(one["scores"], found[variant.base]["scores"], strict=True)
            change = [100 * (before - after) for after, before in pairs]
            half = 1.96 * statistics.stdev(change) / math.sqrt(len(change))
            change = f"{statistics.fmean(change):+.2f} ± {half:.2f}"
        error, half = 100 * (1 - one["mean"]), 100 * score_interval(one)
        took = f"{one['seconds']:.0f}" if one["seconds"] else ""
        lines.append(f"| {name} | {error:.2f} ± {half:.2f} | {change} | {took} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name, variant in VARIANTS.items():
        if name not in found:
            found[name] = measure(variant)
            write_atomically(KEPT, (json.dumps(found) + "\n").encode())
    written = table(found)
    write_between_marks(ROOT / "docs" / "research" / "one_shot_challenge.md", "steps", written)
    print(written)
