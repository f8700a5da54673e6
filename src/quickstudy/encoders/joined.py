"""Several encoders as one: their embeddings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.encoders.encoder import Encoder, Kind, Pretrained
from quickstudy.encoders.languages import unread_texts
from quickstudy.encoders.sound import SoundEncoder
from quickstudy.encoders.sound_files import RATE, read_sounds
from quickstudy.errors import DataError, UsageError
from quickstudy.registry import Registry

__all__ = ["EncoderRegistry", "JoinedEncoder"]

SEPARATOR = "+"


class JoinedEncoder(Encoder):
    """Embed each input by several encoders, (n, d1 + d2 + ...).

    Each part is brought to length one, so each counts alike: the cosine of two joined embeddings is
    the mean of the cosines of their parts. The encoders keep embeddings in the cache, each its own.

    A part is zero for a text in letters that its encoder does not know, if another knows them.

    Args:
        encoders: By name, in the order of their parts.
        sizes: Of the embeddings of each encoder.
        languages: Of the encoders of texts whose languages are known, by name, as of `Pretrained`.

    Attributes:
        parts: The name and size of each part, in order.

    Raises:
        UsageError: If there are fewer than two encoders, or sizes of others.

    Example:
        >>> def lengths(texts):
        ...     return torch.tensor([[len(text), 0.0] for text in texts])
        >>> encoders = {name: Encoder(lengths, name, "1") for name in ("one", "two")}
        >>> JoinedEncoder(encoders, {"one": 2, "two": 2})(["hi"]).tolist()
        [[1.0, 0.0, 1.0, 0.0]]
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        sizes: Mapping[str, int],
        languages: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        if len(encoders) < 2 or encoders.keys() != sizes.keys():
            raise UsageError(
                f"expected two encoders or more and the size of each, got {list(encoders)} and "
                f"sizes of {list(sizes)}"
            )
        self.languages = languages or {}
        self.encoders = {name: self._unchecked(name, encoder) for name, encoder in encoders.items()}
        self.parts = tuple((name, sizes[name]) for name in encoders)
        versions = [f"{encoder.name} {encoder.version}" for encoder in encoders.values()]
        seen = dict.fromkeys(encoder.seen for encoder in encoders.values() if encoder.seen)
        super().__init__(
            self._side_by_side,
            SEPARATOR.join(encoders),
            SEPARATOR.join(versions),
            seen="; and ".join(seen),
            cache=False,
        )

    def __call__(self, inputs: Sequence[Any] | Tensor) -> Tensor:
        """Embed n inputs: float32 of shape (n, d1 + d2 + ...), on the CPU.

        Raises:
            UsageError: As of `Encoder`.
            DataError: As of `Encoder`, and if a part is not of the size that was said.
        """
        if all(isinstance(encoder, SoundEncoder) for encoder in self.encoders.values()):
            inputs = [(sound, RATE) for sound in read_sounds(inputs)]  # each file once
        return self._side_by_side(inputs)

    def _side_by_side(self, inputs: Sequence[Any] | Tensor) -> Tensor:
        columns = []
        for name, size in self.parts:
            part = self.encoders[name](inputs)  # (n, d)
            if part.shape[1] != size:
                raise DataError(f"expected {size} numbers from {name}, got {part.shape[1]}")
            part = F.normalize(part, dim=1)
            part[self._better_read_by_others(name, inputs)] = 0
            columns.append(part)
        return torch.cat(columns, dim=1)

    def _better_read_by_others(self, name: str, inputs: Sequence[Any] | Tensor) -> list[int]:
        """The rows of texts in letters that this encoder does not know and another does."""
        if name not in self.languages:
            return []
        texts: list[Any] = list(inputs)
        unread = unread_texts(texts, self.languages[name])
        others = [known for other, known in self.languages.items() if other != name]
        unknown_to_all = set(range(len(unread)))
        for known in others:
            unknown_to_all &= set(unread_texts([texts[row] for row in unread], known))
        return [row for i, row in enumerate(unread) if i not in unknown_to_all]

    def _unchecked(self, name: str, encoder: Encoder) -> Encoder:
        """An encoder that does not warn of languages, if others know all of its own and more."""
        mine = self.languages.get(name)
        if mine is None or not any(mine < other for other in self.languages.values()):
            return encoder
        encoder = copy(encoder)
        encoder.check = None
        return encoder


class EncoderRegistry(Registry[Pretrained]):
    """Pretrained encoders by name, and several joined by a plus: "minilm+use_multilingual"."""

    def find(self, name: str) -> Pretrained:
        """The encoder with this name; of names with a plus between them, all of these joined.

        Joined encoders of images take them in the largest of their sides, and each resizes them to
        its own. The languages are those that all of them know.

        Raises:
            UsageError: If nothing has one of the names, one stands there twice, or their kinds
                differ.
            MissingError: If a module cannot be imported.
        """
        names = name.split(SEPARATOR)
        if len(names) == 1:
            return super().find(name)
        parts = {one: super(EncoderRegistry, self).find(one) for one in names}
        if len(parts) < len(names):
            raise UsageError(f"expected encoders that differ, got {name!r}")
        kinds: set[Kind] = {one.kind for one in parts.values()}
        if len(kinds) > 1:
            raise UsageError(f"expected encoders of one kind, got {name!r} of {sorted(kinds)}")
        sizes = {one: pretrained.size for one, pretrained in parts.items()}
        languages = [one.languages for one in parts.values()]
        known = [each for each in languages if each is not None]
        by_name = {n: one.languages for n, one in parts.items() if one.languages is not None}
        sides = [one.side for one in parts.values() if one.side is not None]
        return Pretrained(
            lambda: JoinedEncoder({one: parts[one].load() for one in names}, sizes, by_name),
            sum(sizes.values()),
            kinds.pop(),
            side=max(sides, default=None),
            languages=frozenset.intersection(*known) if len(known) == len(languages) else None,
        )
