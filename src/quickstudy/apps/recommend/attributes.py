"""Attributes of users and items as vectors."""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from quickstudy.apps.recommend.interactions import Columns
from quickstudy.errors import DataError

__all__ = ["AttributeEncoder"]

LEAST, MOST = 0.05, 40
"""A word counts if that share has it; and at most so many words a column, the most frequent."""

FAR = 1000.0
"""Deviations from the mean beyond which a number is a mistake."""


class AttributeEncoder:
    """Numbers as they are and squared, standardised; words as one or several of those known.

    The first value is 1 for all. What is missing or was never seen is 0, the mean of a number.

    Example:
        >>> encoder = AttributeEncoder().fit({"age": [20, 40, 60]}, 3)
        >>> encoder.names
        ['1', 'age', 'age²']
        >>> encoder({"age": [60]}, 1).round(2).tolist()
        [[1.0, 1.22, 0.71]]
    """

    def __init__(self) -> None:
        self.numbers: dict[str, list[float]] = {}  # mean, deviation, mean and deviation of squares
        self.words: dict[str, list[str]] = {}

    def fit(self, columns: Columns, n: int) -> Self:
        """Learn from the columns of `n` users or items.

        Raises:
            DataError: If a column has numbers and words.
        """
        for name, values in columns.items():
            given = [value for value in values if value is not None]
            are_numbers = [_is_number(value) for value in given]
            if all(are_numbers):
                x = np.array(given, float)
                if len(x) and x.std() > 0:
                    square = ((x - x.mean()) / x.std()) ** 2
                    spread = square.std() or 1.0
                    found = (x.mean(), x.std(), square.mean(), spread)
                    self.numbers[name] = [float(value) for value in found]
            elif any(are_numbers):
                raise DataError(f"expected numbers or words in {name!r}, got both")
            else:
                counts = Counter(word for value in given for word in _words(value))
                common = [w for w, count in counts.most_common(MOST) if LEAST * n <= count < n]
                self.words[name] = sorted(common)
        return self

    @property
    def names(self) -> list[str]:
        """What each value is."""
        squares = [part for name in self.numbers for part in (name, f"{name}²")]
        return [
            "1",
            *squares,
            *(f"{n}={word}" for n, words in self.words.items() for word in words),
        ]

    def __call__(self, columns: Columns, n: int) -> np.ndarray:
        """Vectors of shape (n, d).

        Raises:
            DataError: If a number is none, or absurdly far from those learned; or one comes for
                words.
        """
        parts = [np.ones((n, 1))]
        for name, (mean, deviation, middle, spread) in self.numbers.items():
            given: Sequence[Any] = columns.get(name, [None] * n)
            for value in given:
                if value is not None and not _is_number(value):
                    raise DataError(f"expected a finite number as {name!r}, got {value!r}")
                if value is not None and abs(value - mean) > FAR * deviation:
                    raise DataError(
                        f"expected {name!r} as in training, {mean:.3g} ± {deviation:.3g}, "
                        f"got {value:g}"
                    )
            x = np.array([mean if value is None else value for value in given], float)
            known = np.array([value is not None for value in given])
            z = (x - mean) / deviation
            parts += [z[:, None], (known * (z**2 - middle) / spread)[:, None]]
        for name, words in self.words.items():
            at = {word: i for i, word in enumerate(words)}
            hot = np.zeros((n, len(words)))
            for row, value in enumerate(columns.get(name, [None] * n)):
                if _is_number(value):
                    raise DataError(f"expected a word or words as {name!r}, got {value!r}")
                hot[row, [at[word] for word in _words(value) if word in at]] = 1
            parts.append(hot)
        return np.concatenate(parts, 1)

    def state(self) -> dict[str, Any]:
        """What was learned, as JSON."""
        return {"numbers": self.numbers, "words": self.words}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> AttributeEncoder:
        """Bring back what `state` gave."""
        made = cls()
        made.numbers, made.words = dict(state["numbers"]), dict(state["words"])
        return made


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(word) for word in value]
