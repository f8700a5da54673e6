"""What examples are: decided by all of them, never by the first."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from quickstudy.errors import DataError, MissingError
from quickstudy.tasks.image_files import SUFFIXES

__all__ = ["Kind", "kind_of"]

Kind = Literal["texts", "images", "numbers"]

WHAT_TO_DO = (
    'give paths as pathlib.Path, or name the encoder of texts, encoder="minilm", to take all of '
    "them for texts"
)


def kind_of(examples: Any) -> Kind:
    """Whether examples are texts, images (Pillow's, or paths of files), or numbers.

    Strings are paths if all of them name files that are there, and texts if none does and they do
    not all look like paths: without spaces, and with a slash or an ending of images.

    Args:
        examples: A list, tuple, one-dimensional array or series of examples; an array of more
            dimensions, or a table, is numbers.

    Raises:
        DataError: If examples are of several kinds, or one is missing; names the first that
            differs.
        MissingError: If paths name no file.

    Example:
        >>> kind_of(["where is my card", "please open logo.png"])
        'texts'
    """
    if not (isinstance(examples, list | tuple) or getattr(examples, "ndim", 0) == 1):
        return "numbers"
    kinds: list[Kind] = [_kind_of_one(one, i) for i, one in enumerate(examples)]
    strings = [(i, one) for i, one in enumerate(examples) if isinstance(one, str)]
    if strings and _are_paths(strings, others_are_images="images" in kinds):
        kinds = ["images" if kind == "texts" else kind for kind in kinds]
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise DataError(
                f"expected examples of one kind, got {kinds[0]} as example 0 and {kind} as example "
                f"{i}, {_shown(examples, i)}: {WHAT_TO_DO}"
            )
    return kinds[0] if kinds else "numbers"


def _kind_of_one(one: Any, number: int) -> Kind:
    if isinstance(one, str):
        return "texts"
    if isinstance(one, os.PathLike | Image.Image):
        if isinstance(one, os.PathLike) and not os.path.isfile(one):
            raise MissingError(f"expected an image at {os.fspath(one)}, found none")
        return "images"
    if isinstance(one, list | tuple | np.ndarray | np.generic | Tensor | int | float | complex):
        return "numbers"
    raise DataError(
        f"expected texts, images or numbers, got {one!r:.80} of type {type(one).__name__} as "
        f"example {number}: leave it out, or give it a value"
    )


def _are_paths(strings: list[tuple[int, str]], *, others_are_images: bool) -> bool:
    """Whether strings are paths, all of them.

    Raises:
        MissingError: If they look like paths, and one names no file.
        DataError: If some name files, and others look like texts.
    """
    absent = [(i, one) for i, one in strings if not os.path.isfile(one)]
    if not absent:
        return True
    number, first = absent[0]
    some_there = len(absent) < len(strings) or others_are_images
    if not some_there and not all(_looks_like_a_path(one) for _, one in strings):
        return False
    if not some_there or _looks_like_a_path(first):
        raise MissingError(
            f"expected an image at {first}, found none (example {number}): {WHAT_TO_DO}"
        )
    there = next((i for i, one in strings if os.path.isfile(one)), None)
    which = "others are images" if there is None else f"example {there} names a file"
    raise DataError(
        f"expected all texts or all paths, got {first!r:.80} as example {number}, which is no "
        f"file, where {which}: {WHAT_TO_DO}"
    )


def _looks_like_a_path(text: str) -> bool:
    path = PurePath(text)
    ends_as_images_do = path.suffix.lower() in SUFFIXES
    return not any(map(str.isspace, text)) and (ends_as_images_do or len(path.parts) > 1)


def _shown(examples: Any, number: int) -> str:
    return f"{list(examples)[number]!r:.80}"
