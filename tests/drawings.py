"""Drawings for tests, a folder a class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def draw_boxes(folder: Path, boxes: Mapping[str, tuple[int, int, int, int]]) -> None:
    """Three dark boxes on light paper of 28x28 for each class, each a pixel further."""
    for name, (left, top, right, bottom) in boxes.items():
        (folder / name).mkdir(parents=True)
        for shift in range(3):
            image = Image.new("L", (28, 28), 255)
            image.paste(0, (left + shift, top + shift, right + shift, bottom + shift))
            image.save(folder / name / f"{shift}.png")
