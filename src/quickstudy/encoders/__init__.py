"""Pretrained encoders: frozen maps from texts or images to vectors, each input embedded once."""

from quickstudy.encoders.encoder import (
    ENCODERS,
    Encoder,
    Preprocess,
    Pretrained,
    efficientnet_lite0,
    minilm,
    module_encoder,
    text_encoder,
)

__all__ = [
    "ENCODERS",
    "Encoder",
    "Preprocess",
    "Pretrained",
    "efficientnet_lite0",
    "minilm",
    "module_encoder",
    "text_encoder",
]
