"""Drawings for tests: of classes of images, a folder a class, and of a few glyphs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from quickstudy.experiments import data
from quickstudy.tasks.datasets import glyphs


def draw_boxes(folder: Path, boxes: Mapping[str, tuple[int, int, int, int]]) -> None:
    """Three dark boxes on light paper of 28x28 for each class, each a pixel further."""
    for name, (left, top, right, bottom) in boxes.items():
        (folder / name).mkdir(parents=True)
        for shift in range(3):
            image = Image.new("L", (28, 28), 255)
            image.paste(0, (left + shift, top + shift, right + shift, bottom + shift))
            image.save(folder / name / f"{shift}.png")


_DRAWN = {}


def draw_few_glyphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recipes draw their tasks from a few alphabets, drawn once: all take ten seconds."""
    monkeypatch.setattr(glyphs, "_PARTS", {"train": (3, 0), "validation": (2, 1), "test": (2, 2)})
    monkeypatch.setattr(data, "_LOADED", _DRAWN)
