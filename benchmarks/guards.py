"""What guards in meta-training win back of the accuracy that a planted fault costs.

    python benchmarks/guards.py             # all
    python benchmarks/guards.py scarcity    # one

Each fault is planted in generated data with `SEEDS` seeds. A learner is trained on healthy
tasks, on the faulty ones, and on the faulty ones with the guard, and tested on classes that none of
them saw. Each is written to benchmarks/results/guards.json once it is done.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from diagnostics import WAYS, in_fixed_order, tasks
from quickstudy import MAML, EpisodeSampler, PrototypicalNetworks, meta_test, meta_train
from quickstudy.experiments.provenance import provenance
from quickstudy.files import locked, read_json, write_atomically
from quickstudy.learners import Learner
from quickstudy.nn import MLP, Conv4
from quickstudy.progress import track
from quickstudy.tasks import ClassData, Tasks
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.permuted_labels import PermutedLabels

RESULTS = Path(__file__).parent / "results" / "guards.json"
SEEDS, N_TEST = 3, 150
NEW = 1000
"""Added to the seed of classes that no learner is trained on."""

SIZE, SIGNAL, NOISE = 24, 6, 2.0
"""Numbers of an example, those that tell classes apart, and the deviation of the others."""


def noisy_classes(seed: int, n_classes: int, per_class: int = 12, *, rare: int = 0) -> ClassData:
    """Classes that the first numbers tell apart; those of a second group, the `rare` last, are told
    apart by the next numbers."""
    generator = torch.Generator().manual_seed(seed)
    group = (torch.arange(n_classes) >= n_classes - rare).long()
    tells = torch.zeros(n_classes, SIZE, dtype=torch.bool)
    for g in (0, 1):
        tells[:, g * SIGNAL : (g + 1) * SIGNAL] = (group == g)[:, None]
    centres = torch.where(tells, 1.5 * torch.randn(n_classes, SIZE, generator=generator), 0.0)
    y = torch.arange(n_classes * per_class) % n_classes
    deviation = torch.full((SIZE,), NOISE)
    deviation[: 2 * SIGNAL if rare else SIGNAL] = 1.0
    x = centres[y] + deviation * torch.randn(len(y), SIZE, generator=generator)
    return ClassData(x, y, [str(i) for i in range(n_classes)], groups=group)


def episodes(data: ClassData, seed: int, **options: Any) -> EpisodeSampler:
    return EpisodeSampler(data, n_way=WAYS, n_shot=3, n_query=5, seed=seed, **options)


def trained(make: Callable[[], Learner], training: Tasks, seed: int, **options: Any) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = make()
    meta_train(learner, training, executor="serial", show_progress=False, **options)
    return learner


def accuracy(learner: Learner, new: Tasks) -> float:
    return meta_test(learner, new, N_TEST).mean


def comparing() -> Learner:
    return PrototypicalNetworks(MLP((SIZE,), (64, 64)))


def memorisation(seed: int) -> tuple[float, float, float]:
    """Classes have the same label in all tasks; labels are permuted (`permute_labels`)."""

    def make() -> Learner:
        return MAML(MLP((16,)), WAYS, inner_lr=0.1)

    fixed = in_fixed_order(seed)
    families = (tasks(seed), fixed, PermutedLabels(fixed, seed=seed))
    new = tasks(NEW + seed)
    first, second, third = (
        accuracy(trained(make, family, seed, steps=150, meta_batch_size=4), new)
        for family in families
    )
    return first, second, third


def scarcity(seed: int) -> tuple[float, float, float]:
    """8 classes of glyphs in place of 2,471; quarter turns and mirror images of the examples are
    classes too (`data.rotations`, `data.mirrors`)."""
    glyphs, unseen = (load_dataset("glyphs", split, image_size=16) for split in ("train", "test"))
    chosen = np.random.default_rng(seed).permutation(glyphs.n_classes)[:8]
    few = glyphs.select(chosen.tolist())

    def make() -> Learner:
        return PrototypicalNetworks(Conv4((1, 16, 16), width=16))

    new = episodes(unseen, seed)
    first, second, third = (
        accuracy(trained(make, episodes(data, seed), seed, steps=200), new)
        for data in (glyphs, few, few.with_rotations().with_mirrors())
    )
    return first, second, third


def overfitting(seed: int) -> tuple[float, float, float]:
    """8 classes, trained on for long; training stops by new tasks (`train.patience`). Healthy is
    the best of all moments, chosen by the test tasks themselves."""
    few = episodes(noisy_classes(seed, 8), seed)
    new = episodes(noisy_classes(NEW + seed, 40), seed)
    validation = episodes(noisy_classes(2 * NEW + seed, 10), seed)
    moments = []
    for steps in (25, 50, 100, 200, 400, 1200):
        moments.append(accuracy(trained(comparing, few, seed, steps=steps), new))
    guarded = trained(
        comparing,
        few,
        seed,
        steps=1200,
        validation=validation,
        validation_tasks=60,
        validate_every=25,
        patience=4,
    )
    return max(moments), moments[-1], accuracy(guarded, new)


def one_sided(seed: int) -> tuple[float, float, float]:
    """30 of 600 classes are of the second group, in place of 300; groups are drawn alike
    (`balance_groups`). Tests have as many classes of both."""
    data = noisy_classes(seed, 600, rare=30)
    families = (
        episodes(noisy_classes(seed, 600, rare=300), seed),
        episodes(data, seed),
        episodes(data, seed, balance_groups=True),
    )
    new = episodes(noisy_classes(NEW + seed, 40, rare=20), seed)
    first, second, third = (
        accuracy(trained(comparing, family, seed, steps=400), new) for family in families
    )
    return first, second, third


GUARDS: dict[str, Callable[[int], tuple[float, float, float]]] = {
    "memorisation": memorisation,
    "scarcity": scarcity,
    "overfitting": overfitting,
    "one-sided groups": one_sided,
}


def measure(name: str) -> dict[str, Any]:
    scores = np.array([GUARDS[name](seed) for seed in track(range(SEEDS), name)])  # (seeds, 3)
    healthy, faulty, guarded = scores.mean(0).tolist()
    won, lost = scores[:, 2] - scores[:, 1], scores[:, 0] - scores[:, 1]
    half = float(stats.t.ppf(0.975, SEEDS - 1) * won.std(ddof=1) / SEEDS**0.5)
    return {
        "healthy": healthy,
        "faulty": faulty,
        "guarded": guarded,
        "won back": float(won.mean() / lost.mean()),
        "gain": float(won.mean()),
        "interval of the gain": [float(won.mean()) - half, float(won.mean()) + half],
        "seeds": SEEDS,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    made_by = provenance(0)
    for name in sys.argv[1:] or GUARDS:
        result = measure(name)
        with locked(RESULTS.parent, "another benchmark writes", seconds=60):
            report = {**read_json(RESULTS), name: {**result, "made_by": made_by}}
            write_atomically(RESULTS, f"{json.dumps(report, indent=1)}\n".encode())
        print(json.dumps({name: result}), flush=True)
