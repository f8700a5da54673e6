"""What choosing between the run for drawings and the encoder of photographs costs: 5-way tasks of
images without colour, each learned by both and by what `select_for_images` chooses.

    python benchmarks/image_selection.py [--tasks 100] [--out FILE.json]

The statistic that decides with one example a class was set on `digits` and `sign_digits`; the
others are the test.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from quickstudy.apps.fewshot.selection import photograph_log_odds, select_for_images

from quickstudy.apps.fewshot.methods import (
    DRAWINGS_RUN,
    EncodedImages,
    images_of,
    make_method,
    named_encoder,
)
from quickstudy.experiments.run import load_run
from quickstudy.tasks import ClassData, Support
from quickstudy.tasks.datasets import load_dataset
from quickstudy.tasks.images import Images

DATA = {  # name: split, inverted to dark ink on light paper
    "digits": ("test", True),
    "sign_digits": ("test", False),
    "glyphs": ("test", True),
    "omniglot": ("evaluation", True),
    "caltech101_84": ("test", False),
}
SHOTS, N_QUERY, N_WAY = (1, 2, 5), 5, 5


def in_grey(data: ClassData, row: int, inverted: bool) -> Image.Image:
    grey = data.x[row].float().mean(0).round().to(torch.uint8).numpy()
    return Image.fromarray(255 - grey if inverted else grey)


def task(data: ClassData, inverted: bool, rng: np.random.Generator) -> list[list[Image.Image]]:
    """The images of each of five classes, enough for the most shots and the queries."""
    classes = rng.choice(np.flatnonzero(data.counts >= SHOTS[-1] + N_QUERY), N_WAY, replace=False)
    rows = [
        rng.choice(np.flatnonzero(data.y == c), SHOTS[-1] + N_QUERY, replace=False) for c in classes
    ]
    return [[in_grey(data, int(row), inverted) for row in of_class] for of_class in rows]


def accuracies(images: list[list[Image.Image]], n_shot: int) -> dict[str, float]:
    shown = [image for of_class in images for image in of_class[:n_shot]]
    asked = [image for of_class in images for image in of_class[-N_QUERY:]]
    y = torch.arange(N_WAY).repeat_interleave(n_shot)
    targets = torch.arange(N_WAY).repeat_interleave(N_QUERY)
    encode = named_encoder("efficientnet_lite0")
    assert isinstance(encode, EncodedImages)
    recipe, drawings = load_run(DRAWINGS_RUN)
    found = {}
    with torch.no_grad():
        for name, prepare in (("drawings", images_of(recipe)), ("photographs", encode)):
            x, queries = prepare(shown), prepare(asked)
            learner = drawings if name == "drawings" else make_method("ridge")
            scores = learner.adapt(Support(x, y, N_WAY))(queries)
            found[name] = float((scores.argmax(1) == targets).float().mean())
    chosen = select_for_images(lambda how: how(shown), y).name
    found["chosen"] = found["drawings" if chosen == DRAWINGS_RUN else "photographs"]
    found["log_odds"] = photograph_log_odds(Images(64, 3, fit="stretch")(shown))[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="What choosing costs.")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--data", choices=DATA, nargs="*", default=list(DATA))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results = []
    for name in options.data:
        split, inverted = DATA[name]
        data, rng = load_dataset(name, split, image_size=84), np.random.default_rng(0)
        tasks = [task(data, inverted, rng) for _ in range(options.tasks)]
        for n_shot in SHOTS:
            scores = [accuracies(images, n_shot) for images in tasks]
            means = {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}
            results.append({"data": name, "n_shot": n_shot, "n_tasks": len(tasks), **means})
            print(results[-1], flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
