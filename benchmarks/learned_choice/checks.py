"""Check `FewShotClassifier()` on what users bring: languages, images, time.

    python benchmarks/learned_choice/checks.py [NAME ...]

Needs the data sets caltech101_84 and omniglot and the extras "text" and "images". Writes
benchmarks/results/learned_choice_checks.json.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy import FewShotClassifier
from quickstudy.apps.fewshot.methods import DRAWINGS_RUN, IMAGE_ENCODER
from quickstudy.apps.fewshot.views import ImageViews, default_blend
from quickstudy.experiments.provenance import provenance
from quickstudy.learners.base import Predictor
from quickstudy.learners.transfer.blend import Kind, LearnedBlend, View, shipped_gate
from quickstudy.nn import Flatten
from quickstudy.progress import track
from quickstudy.tasks import Support
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.images import Images

RESULTS = Path(__file__).parents[1] / "results" / "learned_choice_checks.json"

INTENTS: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parent / "intents.json").read_text()
)
"""Three sentences of each of five intents, by language; those of languages are no translations of
one another."""


def languages() -> dict[str, Any]:
    """Accuracy on queries in six languages: with three English examples of each intent, and, each
    query left out in turn, with the other two in its own language."""
    examples = INTENTS["English"]
    texts = [text for of_intent in examples.values() for text in of_intent]
    labels = [intent for intent, of_intent in examples.items() for _ in of_intent]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        english = FewShotClassifier().fit(texts, labels)
        from_english, own = {}, {}
        for language, by_intent in INTENTS.items():
            if language == "English":
                continue
            queries = [text for of_intent in by_intent.values() for text in of_intent]
            truth = np.array([intent for intent, each in by_intent.items() for _ in each])
            from_english[language] = float((english.predict(queries) == truth).mean())
            right = []
            for out in range(3):  # the same example of each intent
                rest = np.arange(len(queries)) % 3 != out
                learned = FewShotClassifier().fit(
                    [q for q, r in zip(queries, rest, strict=True) if r], truth[rest]
                )
                answers = learned.predict([q for q, r in zip(queries, rest, strict=True) if not r])
                right.append(float((answers == truth[~rest]).mean()))
            own[language] = statistics.mean(right)
    return {"three English examples": from_english, "two examples in the language": own}


def images(n_tasks: int = 100) -> dict[str, Any]:
    """5-way 5-shot tasks of grey photographs and of drawn characters, beside each world's own view:
    the view of photographs, and the run for drawn characters."""
    grey = load_dataset("caltech101_84", "test", image_size=84)
    drawn = load_dataset("omniglot", "test", image_size=28)
    return {
        "caltech101_84 in grey": _image_tasks(
            grey.x.float().mean(1, keepdim=True) / 255, grey.y, n_tasks
        ),
        "omniglot": _image_tasks(drawn.x.float() / 255, drawn.y, n_tasks, n_classes=60),
    }


def _image_tasks(pixels: Tensor, y: Tensor, n_tasks: int, n_classes: int = 10**9) -> dict[str, Any]:
    kept = y < n_classes
    pixels, y = pixels[kept], y[kept]

    def prepare(how: Images) -> Tensor:
        x = torch.nn.functional.interpolate(pixels, size=how.size, mode="bilinear", antialias=True)
        return x.expand(-1, how.channels, -1, -1)

    views = ImageViews(bits=8)
    x = views.embed(prepare).double()
    blend = default_blend("image", views, x.shape[1])
    sizes = dict(views.parts)
    start = sizes[IMAGE_ENCODER]
    parts: dict[str, tuple[str, slice]] = {
        IMAGE_ENCODER: (IMAGE_ENCODER, slice(0, start)),
        DRAWINGS_RUN: (DRAWINGS_RUN, slice(start, start + sizes[DRAWINGS_RUN])),
    }
    scores: dict[str, list[float]] = {"blend": [], **{name: [] for name in parts}}
    for i in track(range(n_tasks), "tasks of images"):
        rng = np.random.default_rng(i)
        classes = rng.permutation(np.unique(y.numpy()))[:5]
        rows = [rng.permutation(np.flatnonzero(y.numpy() == c)) for c in classes]
        s, q = (np.concatenate(r) for r in ([r[:5] for r in rows], [r[5:15] for r in rows]))
        labels = [
            np.concatenate([np.full(len(r[a:b]), k) for k, r in enumerate(rows)])
            for a, b in ((0, 5), (5, 15))
        ]
        support_y, query_y = map(torch.from_numpy, labels)
        scores["blend"].append(_accuracy(blend.adapt(Support(x[s], support_y, 5)), x[q], query_y))
        for name, (view, part) in parts.items():
            alone = _one_view("image", view, part.stop - part.start)
            predict = alone.adapt(Support(x[s][:, part], support_y, 5))
            scores[name].append(_accuracy(predict, x[q][:, part], query_y))
    better = max(parts, key=lambda name: statistics.mean(scores[name]))
    paired = np.array(scores["blend"]) - scores[better]
    return {
        **{name: statistics.mean(each) for name, each in scores.items()},
        "against the better": float(paired.mean()),
        "interval": float(1.96 * paired.std(ddof=1) / n_tasks**0.5),
    }


def _one_view(kind: Kind, name: str, size: int) -> LearnedBlend:
    gate, accuracy, _ = shipped_gate()
    views = [View.of(name, size)]
    return LearnedBlend(Flatten((size,)), views, kind, gate=gate, accuracy=accuracy).eval()


def seconds() -> dict[str, float]:
    """Seconds to fit, once embedded: the median of 15."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(150, 384))
    cases: dict[str, tuple[Kind, int, int]] = {
        "5 ways, 5 shots of 384 numbers, an embedding": ("text", 5, 5),
        "5 ways, 5 shots of 384 numbers, columns": ("numbers", 5, 5),
        "20 ways, 5 shots of 384 numbers, an embedding": ("text", 20, 5),
        "150 ways, 10 shots of 384 numbers, an embedding": ("text", 150, 10),
        "150 ways, 10 shots of 384 numbers, columns": ("numbers", 150, 10),
    }
    out = {}
    for about, (kind, ways, shots) in cases.items():
        y = torch.arange(ways).repeat_interleave(shots)
        x = torch.from_numpy(centres[y] + rng.normal(size=(len(y), 384)))
        blend = _one_view(kind, "raw" if kind == "numbers" else "minilm", 384)
        times = []
        for _ in range(15 if ways < 150 else 3):
            start = time.perf_counter()
            blend.adapt(Support(x, y, ways))
            times.append(time.perf_counter() - start)
        out[about] = statistics.median(times)
    return out


def _accuracy(predict: Predictor, x: Tensor, y: Tensor) -> float:
    return float((predict(x).argmax(1) == y).double().mean())


CHECKS: dict[str, Callable[[], dict[str, Any]]] = {
    check.__name__: check for check in (languages, images, seconds)
}


if __name__ == "__main__":
    report = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for check_name in sys.argv[1:] or CHECKS:
        report[check_name] = {**CHECKS[check_name](), "provenance": provenance(0)}
        print(check_name, json.dumps(report[check_name], indent=1, ensure_ascii=False), flush=True)
        RESULTS.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
