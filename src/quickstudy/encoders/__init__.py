"""Encoders: frozen maps from texts, images or series to vectors."""

from quickstudy.encoders.efficientnet import efficientnet_lite0, efficientnet_lite2
from quickstudy.encoders.encoder import Encoder, Pretrained
from quickstudy.encoders.joined import EncoderRegistry, JoinedEncoder
from quickstudy.encoders.minilm_l6 import ENGLISH, minilm
from quickstudy.encoders.modules import Preprocess, module_encoder, text_encoder, timm_encoder
from quickstudy.encoders.series import SeriesEncoder
from quickstudy.encoders.universal_sentence_encoder import LANGUAGES, use_multilingual

__all__ = [
    "ENCODERS",
    "Encoder",
    "JoinedEncoder",
    "Preprocess",
    "Pretrained",
    "SeriesEncoder",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "minilm",
    "module_encoder",
    "text_encoder",
    "timm_encoder",
    "use_multilingual",
]

ENCODERS = EncoderRegistry(
    "encoder",
    "encoders",
    Pretrained,
    {
        "minilm": Pretrained(minilm, 384, "texts", languages=ENGLISH),
        "use_multilingual": Pretrained(use_multilingual, 512, "texts", languages=LANGUAGES),
        "efficientnet_lite0": Pretrained(efficientnet_lite0, 1280, "images", side=224),
        "efficientnet_lite2": Pretrained(efficientnet_lite2, 1280, "images", side=260),
    },
)
"""By name; `ENCODERS.find("minilm+use_multilingual")` joins several."""
