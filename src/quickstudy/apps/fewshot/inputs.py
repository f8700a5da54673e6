"""What examples are: decided by all of them, never by the first."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from quickstudy.encoders.series import MIN_LENGTH
from quickstudy.encoders.sound_files import SOUND_SUFFIXES
from quickstudy.errors import DataError, MissingError
from quickstudy.tasks.image_files import SUFFIXES

__all__ = ["Kind", "kind_of"]

Kind = Literal["texts", "images", "sounds", "series", "numbers"]

WHAT_TO_DO = (
    'give paths as pathlib.Path, or name the encoder of texts, encoder="minilm", to take all of '
    "them for texts"
)


def kind_of(examples: Any) -> Kind:
    """Whether examples are texts, images (Pillow's, or paths of files), sounds (paths of files
    such as .wav or .mp3, or pairs of samples and their rate), series (of lengths that differ) or
    numbers.

    Strings are paths if all of them name files that are there, and texts if none does and they do
    not all look like paths: without spaces, and with a slash or an ending of images or sounds.

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
        kinds = [
            _kind_of_path(one) if isinstance(one, str) else kind
            for kind, one in zip(kinds, examples, strict=True)
        ]
    for i, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise DataError(
                f"expected examples of one kind, got {kinds[0]} as example 0 and {kind} as example "
                f"{i}, {_shown(examples, i)}: {WHAT_TO_DO}"
            )
    if not kinds:
        return "numbers"
    return "series" if kinds[0] == "numbers" and _differ_in_length(examples) else kinds[0]


def _kind_of_path(path: str | os.PathLike[str]) -> Kind:
    return "sounds" if PurePath(path).suffix.lower() in SOUND_SUFFIXES else "images"


def _what(path: str | os.PathLike[str]) -> str:
    return "a sound" if _kind_of_path(path) == "sounds" else "an image"


def _is_sampled(one: Any) -> bool:
    """Whether an example is samples with their rate."""
    return (
        isinstance(one, tuple)
        and len(one) == 2
        and isinstance(one[1], int | np.integer)
        and np.ndim(one[0]) > 0
    )


def _differ_in_length(examples: Any) -> bool:
    """Whether examples are series of several lengths.

    Raises:
        DataError: If they are too short for series, as rows of one and of two numbers are.
    """
    lengths = [np.shape(one)[-1:] if _is_even(one) else None for one in examples]
    if len(set(lengths)) < 2 or () in lengths:
        return False
    points = {i: length[0] for i, length in enumerate(lengths) if length}
    shortest = min(points, key=lambda i: points[i])
    other = next((i for i, n in points.items() if n != points[shortest]), None)
    if points[shortest] < MIN_LENGTH and other is not None:
        raise DataError(
            f"expected rows of one length, or series of {MIN_LENGTH} points or more, got "
            f"{points[shortest]} as example {shortest} and {points[other]} as example {other}: "
            "make them alike"
        )
    return True


def _is_even(one: Any) -> bool:
    """Whether an example has a shape."""
    try:
        np.shape(one)
    except ValueError:
        return False
    return True


def _kind_of_one(one: Any, number: int) -> Kind:
    if isinstance(one, str):
        return "texts"
    if isinstance(one, Image.Image):
        return "images"
    if isinstance(one, os.PathLike):
        kind = _kind_of_path(one)
        if not os.path.isfile(one):
            raise MissingError(f"expected {_what(one)} at {os.fspath(one)}, found none")
        return kind
    if _is_sampled(one):
        return "sounds"
    if isinstance(one, list | tuple | np.ndarray | np.generic | Tensor | int | float | complex):
        return "numbers"
    raise DataError(
        f"expected texts, images, sounds or numbers, got {one!r:.80} of type "
        f"{type(one).__name__} as example {number}: leave it out, or give it a value"
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
            f"expected {_what(first)} at {first}, found none (example {number}): {WHAT_TO_DO}"
        )
    there = next((i for i, one in strings if os.path.isfile(one)), None)
    which = "others are images" if there is None else f"example {there} names a file"
    raise DataError(
        f"expected all texts or all paths, got {first!r:.80} as example {number}, which is no "
        f"file, where {which}: {WHAT_TO_DO}"
    )


def _looks_like_a_path(text: str) -> bool:
    path = PurePath(text)
    ends_as_files_do = path.suffix.lower() in (*SUFFIXES, *SOUND_SUFFIXES)
    return not any(map(str.isspace, text)) and (ends_as_files_do or len(path.parts) > 1)


def _shown(examples: Any, number: int) -> str:
    return f"{list(examples)[number]!r:.80}"
