"""How often `quickstudy.diagnostics` finds a planted fault, and how often it finds one where there
is none.

    python benchmarks/diagnostics.py            # all
    python benchmarks/diagnostics.py "memorisation" "leaked queries"    # these alone

Each fault is planted with 20 seeds, and the same measure looks at as many healthy cases; wrong
labels with 200, since a case takes milliseconds. Tasks are of generated classes (Gaussian, 16
numbers an example), of scikit-learn's digits, or of Omniglot's characters. Also: how often the MMD
test rejects two samples of one distribution, in 1,000 draws. Each measure is written to
benchmarks/results/diagnostics.json once it is done, with what made it.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstudy import MAML, EpisodeSampler, PrototypicalNetworks, meta_train
from quickstudy.diagnostics.diversity import probe_of, task_vectors, vendi_score
from quickstudy.diagnostics.features import embed
from quickstudy.diagnostics.finding import Finding, Skipped
from quickstudy.diagnostics.memorisation import shuffled_labels
from quickstudy.diagnostics.mismatch import mmd_test
from quickstudy.diagnostics.support import (
    mislabelled,
    outlier,
    two_in_one_class,
    unit_vectors,
)
from quickstudy.diagnostics.tables import leaking_column, suspect_rows
from quickstudy.diagnostics.tasks import label_order, leaked_queries
from quickstudy.diagnostics.training_statistics import TrainingStatistics, novelty
from quickstudy.encoders import minilm
from quickstudy.experiments.provenance import provenance
from quickstudy.experiments.run import load_run
from quickstudy.files import locked, read_json, write_atomically
from quickstudy.nn import MLP, Flatten
from quickstudy.progress import track
from quickstudy.tasks import Batch, ClassData, Episode, Support, Tasks
from quickstudy.tasks.datasets import load_dataset

RESULTS = Path(__file__).parent / "results" / "diagnostics.json"
SEEDS, NULL_DRAWS, WAYS = 20, 1000, 4
NULL = "MMD of one distribution"


def classes(seed: int, n_classes: int = 40, per_class: int = 12) -> ClassData:
    generator = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(n_classes, 16, generator=generator).repeat(per_class, 1)
    x = centres + torch.randn(len(centres), 16, generator=generator)
    y = torch.arange(len(centres)) % n_classes
    return ClassData(x, y, [str(i) for i in range(n_classes)])


def tasks(seed: int) -> EpisodeSampler:
    return EpisodeSampler(classes(seed), n_way=WAYS, n_shot=2, n_query=4, seed=seed)


class Changed:
    """Tasks with a fault."""

    def __init__(self, healthy: Tasks, change: Callable[[Episode], Episode]) -> None:
        self.healthy, self.change = healthy, change

    def __getitem__(self, index: int) -> Episode:
        return self.change(self.healthy[index])


def in_fixed_order(seed: int) -> Tasks:
    """A class has the same label in all tasks: its number modulo the ways."""
    data = classes(seed)
    pools = [torch.arange(label, data.n_classes, WAYS) for label in range(WAYS)]

    class Fixed:
        def __getitem__(self, index: int) -> Episode:
            rng = torch.Generator().manual_seed(1000 * seed + index)
            drawn = torch.stack([p[torch.randint(len(p), (), generator=rng)] for p in pools])
            rows = data.index[drawn][:, torch.randperm(12, generator=rng)[:6]]
            y = torch.arange(WAYS)[:, None].expand(WAYS, 6)
            support, query = rows[:, :2].flatten(), rows[:, 2:].flatten()
            return Episode(
                Support(data.x[support], y[:, :2].flatten(), WAYS),
                Batch(data.x[query], y[:, 2:].flatten()),
                drawn,
            )

    return Fixed()


def digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """Scikit-learn's, of 64 numbers each, and their labels."""
    pairs: Any = load_digits(return_X_y=True)
    return pairs


def fixed_class_order(seed: int, fault: bool) -> Finding:
    return label_order(in_fixed_order(seed) if fault else tasks(seed), 100)


def leaked(seed: int, fault: bool) -> Finding:
    def leak(task: Episode) -> Episode:
        x = task.query.x.clone()
        x[0] = task.support.x[task.support.y == task.query.y[0]][0]
        return Episode(task.support, Batch(x, task.query.y), task.classes)

    return leaked_queries(Changed(tasks(seed), leak) if fault else tasks(seed), 20)


def repeated_task(seed: int, fault: bool) -> Finding:
    healthy = tasks(seed)
    family = Changed(healthy, lambda _: healthy[0]) if fault else healthy
    probe = probe_of(None, healthy[0])
    return vendi_score(task_vectors(probe, family, 10), probe.name)


def memorisation(seed: int, fault: bool) -> Finding:
    family = in_fixed_order(seed) if fault else tasks(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = MAML(MLP((16,)), WAYS, inner_lr=0.1)
    meta_train(learner, family, steps=100, executor="serial", show_progress=False)
    return shuffled_labels(learner, family, 30, first=10_000)


def shifted_domain(seed: int, fault: bool) -> Finding:
    """Digits 0 to 4 in training, 5 to 9 as reference and as support; inverted if shifted."""
    pixels, y = digits()
    x = torch.tensor(pixels / 16).float()
    families = []
    for low in (0, 5):
        rows = torch.tensor((y >= low) & (y < low + 5))
        data = ClassData(x[rows], torch.tensor(y)[rows] - low, list("abcde"))
        families.append(EpisodeSampler(data, n_way=5, n_shot=1, n_query=4, seed=seed))
    learner = PrototypicalNetworks(Flatten((64,))).eval()
    statistics = TrainingStatistics.of(learner, *families)
    support = families[1][5000 + seed].support
    moved = Support(1 - support.x, support.y, 5) if fault else support
    return novelty(statistics, learner, moved)


@cache
def characters() -> tuple[NDArray[Any], NDArray[Any]]:
    """Characters of Omniglot's evaluation alphabets, embedded by the run "handwriting", which was
    not trained on them, and their labels."""
    recipe, learner = load_run("handwriting")
    data = load_dataset("omniglot", "evaluation", image_size=recipe.data.image_size)
    drawn = np.random.default_rng(0).permutation(data.n_classes)[:40]
    rows = data.index[drawn, :10].flatten()
    features = embed(learner, data.rows(rows))
    assert features is not None
    return features.numpy(), np.repeat(np.arange(40), 10)


@cache
def texts() -> tuple[NDArray[Any], NDArray[Any]]:
    """Requests of clinc150's tests, embedded by MiniLM, and their intents."""
    found = load_dataset("clinc150", "all-test", encoder=minilm())
    return found.x.numpy(), found.y.numpy()


def wrong_label(seed: int, fault: bool, data: Callable[[], Any] = digits) -> Finding:
    """One of 25 examples, five of each of five labels: one of a label is of another class."""
    x, y = data()
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(y))[:5]
    drawn = np.stack([rng.choice(np.flatnonzero(y == c), 6, replace=False) for c in classes])
    label, other = rng.choice(5, 2, replace=False)
    at = int(rng.integers(5))
    if fault:
        drawn[label, at] = drawn[other, 5]
    vectors = unit_vectors(x[drawn[:, :5].ravel()], standardise=data is digits)
    found = mislabelled(vectors, np.repeat(np.arange(5), 5))
    assert not isinstance(found, Skipped)
    if fault and found.examples != (5 * label + at,):  # it named another example
        return replace(found, status="fine")
    return found


def drawn_support(
    seed: int, data: Callable[[], Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Five examples of each of five labels, (25, d), and of a sixth class; the labels."""
    x, y = data()
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(y))[:6]
    drawn = np.stack([rng.choice(np.flatnonzero(y == c), 5, replace=False) for c in classes])
    return x[drawn[:5].ravel()], x[drawn[5]], np.repeat(np.arange(5), 5)


def two_classes(seed: int, fault: bool, data: Callable[[], Any]) -> Finding:
    """Two of the five examples of the first label are of another class."""
    x, other, y = drawn_support(seed, data)
    if fault:
        x[:2] = other[:2]
    found = two_in_one_class(unit_vectors(x), y)
    assert not isinstance(found, Skipped)
    return found if not fault or found.examples == (0, 1) else replace(found, status="fine")


def odd_example(seed: int, fault: bool, data: Callable[[], Any]) -> Finding:
    """One example has its numbers in a random order."""
    x, _, _ = drawn_support(seed, data)
    if fault:
        x[7] = np.random.default_rng(seed).permutation(x[7])
    found = outlier(x, standardise=data is digits)
    assert not isinstance(found, Skipped)
    return found if not fault or found.examples == (7,) else replace(found, status="fine")


def wrong_rows(seed: int, fault: bool) -> Finding:
    """5 % of 300 rows of scikit-learn's breast cancer table have the other label."""
    table: Any = load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(table[1]), 300, replace=False)
    x, y = table[0][rows], table[1][rows]
    if fault:
        y[rng.choice(300, 15, replace=False)] ^= 1
    model = make_pipeline(StandardScaler(), LogisticRegression())
    probabilities: Any = cross_val_predict(model, x, y, cv=5, method="predict_proba")
    return suspect_rows(probabilities, y)


def leak_column(seed: int, fault: bool) -> Finding:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, 6))
    y = (x[:, 0] + x[:, 1] + 0.5 * rng.normal(size=80) > 0).astype(int)
    if fault:
        x[:, 3] = y + 0.05 * rng.normal(size=80)
    return leaking_column(x, y, seed=seed)


FAULTS: dict[str, tuple[Callable[[int, bool], Finding], int]] = {
    "fixed class order": (fixed_class_order, SEEDS),
    "leaked queries": (leaked, SEEDS),
    "shifted domain": (shifted_domain, SEEDS),
    "one repeated task": (repeated_task, SEEDS),
    "one wrong label of 25": (wrong_label, 10 * SEEDS),
    "one wrong label of 25 characters": (partial(wrong_label, data=characters), 10 * SEEDS),
    "a class of 25 characters that is two": (partial(two_classes, data=characters), 10 * SEEDS),
    "a class of 25 texts that is two": (partial(two_classes, data=texts), 10 * SEEDS),
    "an odd example of 25 characters": (partial(odd_example, data=characters), 10 * SEEDS),
    "an odd example of 25 digits": (partial(odd_example, data=digits), 10 * SEEDS),
    "wrong labels in a table": (wrong_rows, SEEDS),
    "a column that leaks": (leak_column, SEEDS),
    "memorisation": (memorisation, SEEDS),
}


def share(count: int, n: int) -> dict[str, Any]:
    """A count of n with Wilson's 95 % interval of its share."""
    low, high = stats.binomtest(count, n).proportion_ci(method="wilson")
    return {"count": count, "n": n, "share": count / n, "interval": [low, high]}


def null_of_mmd() -> dict[str, Any]:
    rejected = 0
    for seed in track(range(NULL_DRAWS), NULL):
        x, y = np.random.default_rng(seed).normal(size=(2, 20, 5))
        rejected += mmd_test(x, y, permutations=199, seed=seed).is_warning
    return {"rejected": share(rejected, NULL_DRAWS)}


def planted(name: str) -> dict[str, Any]:
    measure, n = FAULTS[name]
    return {
        case: share(sum(measure(s, fault).is_warning for s in track(range(n), name)), n)
        for case, fault in (("found", True), ("false alarms", False))
    }


def keep(name: str, result: dict[str, Any]) -> None:
    with locked(RESULTS.parent, "another benchmark writes", seconds=60):
        report = {**read_json(RESULTS), name: result}
        write_atomically(RESULTS, f"{json.dumps(report, indent=1)}\n".encode())


if __name__ == "__main__":
    torch.set_num_threads(1)
    made_by = provenance(0)
    for name in sys.argv[1:] or [*FAULTS, NULL]:
        result = null_of_mmd() if name == NULL else planted(name)
        keep(name, {**result, "made_by": made_by})
        print(json.dumps({name: result}), flush=True)
