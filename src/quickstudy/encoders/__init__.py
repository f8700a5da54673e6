"""Encoders: frozen maps from texts, images, sounds or series to vectors."""

from quickstudy.encoders.efficientnet import efficientnet_lite0, efficientnet_lite2
from quickstudy.encoders.encoder import Encoder, Pretrained
from quickstudy.encoders.joined import EncoderRegistry, JoinedEncoder
from quickstudy.encoders.minilm_l6 import ENGLISH, minilm
from quickstudy.encoders.modules import Preprocess, module_encoder, text_encoder, timm_encoder
from quickstudy.encoders.series import SeriesEncoder
from quickstudy.encoders.sound import N_LOG_MEL_FEATURES, SoundEncoder, log_mel
from quickstudy.encoders.sound_files import read_sounds
from quickstudy.encoders.speech import speech_resnet50
from quickstudy.encoders.universal_sentence_encoder import LANGUAGES, use_multilingual

__all__ = [
    "ENCODERS",
    "Encoder",
    "JoinedEncoder",
    "Preprocess",
    "Pretrained",
    "SeriesEncoder",
    "SoundEncoder",
    "efficientnet_lite0",
    "efficientnet_lite2",
    "log_mel",
    "minilm",
    "module_encoder",
    "read_sounds",
    "speech_resnet50",
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
        "log_mel": Pretrained(log_mel, N_LOG_MEL_FEATURES, "sounds"),
        "speech_resnet50": Pretrained(speech_resnet50, 2048, "sounds"),
    },
)
"""By name; `ENCODERS.find("minilm+use_multilingual")` joins several."""
