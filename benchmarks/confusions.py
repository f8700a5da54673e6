"""Draw what runs got wrong in Lake's one-shot runs: the drawing, what it was named, what it is.

python benchmarks/confusions.py PICTURE.png runs/NAME/seed-0 runs/NAME/seed-1 ...

Of several run folders, such as seeds of one recipe, a drawing that more of them got wrong comes
first, with the name it got most often.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from quickstudy.experiments.run import load_run
from quickstudy.tasks.datasets.omniglot_runs import OneShotRuns

COLUMNS = 6


@torch.no_grad()
def wrong_answers(folders: list[Path]) -> dict[tuple[int, int], Counter[int]]:
    """For each drawing that got a wrong name: its run and number, and how often which name."""
    wrong: dict[tuple[int, int], Counter[int]] = {}
    for folder in folders:
        recipe, learner = load_run(folder)
        runs = OneShotRuns(image_size=recipe.data.image_size)
        for i in range(len(runs)):
            named = learner.adapt(runs[i].support)(runs[i].query.x).argmax(1)
            for k in (named != runs[i].query.y).nonzero()[:, 0].tolist():
                wrong.setdefault((i, k), Counter())[int(named[k])] += 1
    return wrong


def draw(wrong: dict[tuple[int, int], Counter[int]], n_runs: int, path: Path) -> None:
    """Three pictures a drawing: itself, the example of the name it got, that of its own."""
    runs = OneShotRuns(image_size=105)
    ordered = sorted(wrong.items(), key=lambda item: -item[1].total())
    rows = max(1, -(-len(ordered) // COLUMNS))
    figure = Figure(figsize=(2.6 * COLUMNS, 1.15 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Drawing, the example it was taken for (red), and that it should have been")
    axes = figure.subplots(rows, 3 * COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for place, ((i, k), names) in enumerate(ordered):
        support, query = runs[i].support, runs[i].query
        example = {int(y): x for x, y in zip(support.x, support.y, strict=True)}
        taken_for, own = names.most_common(1)[0][0], int(query.y[k])
        cells = axes[place // COLUMNS][3 * (place % COLUMNS) :]
        for axis, image, ink in zip(
            cells, (query.x[k], example[taken_for], example[own]), ("gray_r", "Reds", "gray_r"),
            strict=False,
        ):  # fmt: skip
            axis.imshow(image[0], cmap=ink, vmin=0, vmax=1)
        cells[0].set_title(f"run {i + 1}, {names.total()} of {n_runs}", fontsize=7, loc="left")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    folders = [Path(name) for name in sys.argv[2:]]
    draw(wrong_answers(folders), len(folders), Path(sys.argv[1]))
