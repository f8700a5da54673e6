"""Pretrained encoders: frozen maps from texts or images to vectors, each input embedded once."""

from quickstudy.encoders.efficientnet import efficientnet_lite0
from quickstudy.encoders.encoder import Encoder, Pretrained
from quickstudy.encoders.minilm_l6 import minilm
from quickstudy.encoders.modules import Preprocess, module_encoder, text_encoder
from quickstudy.encoders.universal_sentence_encoder import use_multilingual
from quickstudy.registry import Registry

__all__ = [
    "ENCODERS",
    "Encoder",
    "Preprocess",
    "Pretrained",
    "efficientnet_lite0",
    "minilm",
    "module_encoder",
    "text_encoder",
    "use_multilingual",
]

ENCODERS = Registry(
    "encoder",
    "encoders",
    Pretrained,
    {
        "minilm": Pretrained(minilm, 384),
        "use_multilingual": Pretrained(use_multilingual, 512),
        "efficientnet_lite0": Pretrained(efficientnet_lite0, 1280, side=224),
    },
)
"""By name."""
