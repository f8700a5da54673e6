"""What memory it takes to train without labels on folders of 1,000 and of 10,000 photographs.

    python benchmarks/photographs.py

Draws the photographs, JPEGs of 160x120 pixels, into a temporary folder, and trains prototypical
networks on distorted copies for some steps, with nothing in the cache, each in a process of its
own. Memory is sampled 50 times a second: what the process holds itself (RssAnon), and the pages of
the decoded file that happen to be in memory, which the kernel may drop at any time (RssFile).
Writes benchmarks/results/photographs.json and the table in docs/unlabelled.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from quickstudy import CopyTasks, PrototypicalNetworks, load_unlabelled_images, meta_train
from quickstudy.experiments.provenance import provenance
from quickstudy.nn import Conv4
from quickstudy.tasks.augment import chain, crop_and_mirror, grey
from results import RESULTS, ROOT, write_between_marks

SIZES, SIDE, N_WAY, STEPS = (1_000, 10_000), 84, 20, 10


def draw(folder: Path, n: int) -> None:
    """Random colours, smooth as photographs are."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC)
        image.save(folder / f"{i:05}.jpg")


def train(folder: Path) -> None:
    pool = load_unlabelled_images(folder, size=SIDE, channels=3)
    data, held_out = pool.split((0.9, 0.1))
    options: dict[str, Any] = {"n_way": N_WAY, "augment": chain(crop_and_mirror, grey)}
    torch.manual_seed(0)
    learner = PrototypicalNetworks(Conv4((3, SIDE, SIDE)))
    meta_train(
        learner,
        CopyTasks(data, **options),
        steps=STEPS,
        validation=CopyTasks(held_out, seed=1, **options),
        validation_tasks=5,
    )


def peak_memory(folder: Path) -> dict[str, float]:
    """The most bytes that training on a folder holds, and its seconds."""
    peaks, done, start = {"RssAnon": 0, "RssFile": 0}, threading.Event(), time.perf_counter()

    def watch() -> None:
        while not done.wait(0.02):
            status = Path("/proc/self/status").read_text()
            for name in peaks:
                kilobytes = int(status.split(f"{name}:")[1].split()[0])
                peaks[name] = max(peaks[name], 1024 * kilobytes)

    watcher = threading.Thread(target=watch)
    watcher.start()
    train(folder)
    done.set()
    watcher.join()
    return {**peaks, "seconds": time.perf_counter() - start}


def in_process(n: int) -> dict[str, float]:
    """`peak_memory` of n photographs, in a process of its own with a cache of its own."""
    with tempfile.TemporaryDirectory() as place:
        draw(Path(place) / "photos", n)
        result = subprocess.run(
            [sys.executable, __file__, f"{place}/photos"],
            env={**os.environ, "XDG_CACHE_HOME": f"{place}/cache"},
            stdout=subprocess.PIPE,
            check=True,
        )
    return json.loads(result.stdout)


def table(folders: dict[str, dict[str, float]]) -> str:
    lines = ["| photographs | own memory, MB | pages of files, MB |", "|---|---|---|"]
    for n, found in folders.items():
        lines.append(
            f"| {int(n):,} | {found['RssAnon'] / 1e6:.0f} | {found['RssFile'] / 1e6:.0f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    folders = {str(n): in_process(n) for n in SIZES}
    found = {**provenance(0), "side": SIDE, "n_way": N_WAY, "steps": STEPS, "folders": folders}
    (RESULTS / "photographs.json").write_text(json.dumps(found, indent=1) + "\n")
    write_between_marks(ROOT / "docs" / "unlabelled.md", "photographs", table(folders))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(peak_memory(Path(sys.argv[1]))))
    else:
        main()
