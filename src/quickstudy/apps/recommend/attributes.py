"""Attributes of users and items as vectors."""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from quickstudy.apps.recommend.interactions import Columns
from quickstudy.errors import DataError, unknown

__all__ = ["AttributeEncoder"]

MIN_WORD_SHARE, MAX_WORDS = 0.05, 40
"""A word becomes a feature if this share of rows has it; of a column, at most so many words do."""

MAX_DEVIATIONS = 1000.0
"""A number farther from the mean, in standard deviations, is taken for a mistake."""


class AttributeEncoder:
    """Encodes attributes as vectors: numbers and their squares, standardised; words as one-hot or
    multi-hot vectors of the frequent words.

    The first value is 1 for all. A missing number becomes the mean, 0; a missing or unseen word has
    no feature.

    Example:
        >>> encoder = AttributeEncoder().fit({"age": [20, 40, 60]}, 3)
        >>> encoder.names
        ['1', 'age', 'age²']
        >>> encoder({"age": [60]}, 1).round(2).tolist()
        [[1.0, 1.22, 0.71]]
    """

    def __init__(self) -> None:
        self.numbers: dict[str, list[float]] = {}  # mean, std, mean and std of squares
        self.words: dict[str, list[str]] = {}

    def fit(self, columns: Columns, n: int) -> Self:
        """Learn from the columns of `n` users or items.

        Raises:
            DataError: If a column has numbers and words.
        """
        for name, values in columns.items():
            present = [value for value in values if value is not None]
            are_numbers = [_is_number(value) for value in present]
            if all(are_numbers):
                x = np.array(present, float)
                if len(x) and x.std() > 0:
                    squares = ((x - x.mean()) / x.std()) ** 2
                    moments = (x.mean(), x.std(), squares.mean(), squares.std() or 1.0)
                    self.numbers[name] = [float(moment) for moment in moments]
            elif any(are_numbers):
                raise DataError(f"expected numbers or words in {name!r}, got both")
            else:
                counts = Counter(word for value in present for word in _words(value))
                frequent = counts.most_common(MAX_WORDS)
                least = MIN_WORD_SHARE * n
                self.words[name] = sorted(word for word, n_rows in frequent if least <= n_rows < n)
        return self

    @property
    def names(self) -> list[str]:
        """The name of each feature."""
        squares = [part for name in self.numbers for part in (name, f"{name}²")]
        return [
            "1",
            *squares,
            *(f"{n}={word}" for n, words in self.words.items() for word in words),
        ]

    def __call__(self, columns: Columns, n: int) -> np.ndarray:
        """Encode the columns of `n` users or items, (n, D).

        Raises:
            DataError: If a number is not finite or absurdly far from those of training, or a number
                comes where words are expected.
        """
        parts = [np.ones((n, 1))]
        for name, moments in self.numbers.items():
            parts.append(_encode_numbers(name, columns.get(name, [None] * n), *moments))
        for name, words in self.words.items():
            parts.append(_encode_words(name, columns.get(name, [None] * n), words))
        return np.concatenate(parts, 1)

    def encode_one(self, attributes: Mapping[str, Any]) -> np.ndarray:
        """Encode the attributes of one user or item, (1, D).

        Raises:
            UsageError: For an attribute that training did not have.
            DataError: As for many.
        """
        known = {**self.numbers, **self.words}
        for name in attributes:
            if name not in known:
                raise unknown("attribute", name, known)
        return self({name: [value] for name, value in attributes.items()}, 1)

    def parse(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Attributes from texts: a number where training had numbers, else words with "|" between
        them.

        Raises:
            DataError: If a text is not a number where one is expected.
        """
        attributes: dict[str, Any] = {}
        for name, text in texts.items():
            try:
                attributes[name] = float(text) if name in self.numbers else text.split("|")
            except ValueError:
                raise DataError(f"expected a number as {name!r}, got {text!r}") from None
        return attributes

    def state(self) -> dict[str, Any]:
        """What was learned, in the types of JSON."""
        return {"numbers": self.numbers, "words": self.words}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> AttributeEncoder:
        """The encoder whose `state` this is."""
        encoder = cls()
        encoder.numbers, encoder.words = dict(state["numbers"]), dict(state["words"])
        return encoder


def _encode_numbers(
    name: str,
    values: Sequence[Any],
    mean: float,
    std: float,
    mean_of_squares: float,
    std_of_squares: float,
) -> np.ndarray:
    """A column of numbers standardised, and its squares: (n, 2)."""
    for value in values:
        if value is not None and not _is_number(value):
            raise DataError(f"expected a finite number as {name!r}, got {value!r}")
        if value is not None and abs(value - mean) > MAX_DEVIATIONS * std:
            raise DataError(
                f"expected {name!r} as in training, {mean:.3g} ± {std:.3g}, got {value:g}"
            )
    is_present = np.array([value is not None for value in values])
    x = np.array([mean if value is None else value for value in values], float)
    z = (x - mean) / std
    return np.column_stack([z, is_present * (z**2 - mean_of_squares) / std_of_squares])


def _encode_words(name: str, values: Sequence[Any], words: Sequence[str]) -> np.ndarray:
    """A column of words as multi-hot vectors, (n, len(words))."""
    column = {word: i for i, word in enumerate(words)}
    multi_hot = np.zeros((len(values), len(words)))
    for row, value in enumerate(values):
        if _is_number(value):
            raise DataError(f"expected a word or words as {name!r}, got {value!r}")
        multi_hot[row, [column[word] for word in _words(value) if word in column]] = 1
    return multi_hot


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(word) for word in value]
