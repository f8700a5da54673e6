import wave

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quickstudy.encoders import (
    ENCODERS,
    N_LOG_MEL_FEATURES,
    Encoder,
    JoinedEncoder,
    Pretrained,
    SoundEncoder,
    log_mel,
    sound_files,
)
from quickstudy.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def length_and_one(texts):
    return torch.tensor([[float(len(text)), 1.0] for text in texts])


def vowels(texts):
    return torch.tensor([[float(text.count(vowel)) for vowel in "aeiou"] for text in texts])


def brightness(images):
    return torch.stack(images).mean((2, 3))


LENGTHS = Encoder(length_and_one, "lengths", "1", seen="trained on lengths")
VOWELS = Encoder(vowels, "vowels", "2", seen="trained on vowels")

PARTS = {
    "lengths": Pretrained(lambda: LENGTHS, 2, "texts", languages=frozenset({"en", "de"})),
    "vowels": Pretrained(lambda: VOWELS, 5, "texts", languages=frozenset({"en", "fr"})),
    "any_language": Pretrained(lambda: VOWELS, 5, "texts"),
    "small": Pretrained(lambda: Encoder(brightness, "small", "1"), 3, "images", side=16),
    "large": Pretrained(lambda: Encoder(brightness, "large", "1"), 3, "images", side=24),
}


@pytest.fixture
def named(monkeypatch):
    for name, pretrained in PARTS.items():
        monkeypatch.setitem(ENCODERS, name, pretrained)


def test_parts_stand_side_by_side_each_of_length_one():
    joined = JoinedEncoder({"a": LENGTHS, "b": VOWELS}, {"a": 2, "b": 5})
    texts = ["banana", "tree", "hmm"]
    x = joined(texts)
    assert x.shape == (3, 7)
    assert joined.parts == (("a", 2), ("b", 5))
    first, second = x.split([size for _, size in joined.parts], dim=1)
    torch.testing.assert_close(first, LENGTHS(texts) / LENGTHS(texts).norm(dim=1, keepdim=True))
    assert second[0].tolist() == [1, 0, 0, 0, 0]
    assert second[2].tolist() == [0] * 5  # a part without a direction stays zero


def test_the_cosine_of_joined_embeddings_is_the_mean_of_those_of_the_parts():
    texts = ["banana", "a tree", "in the house"]
    joined = JoinedEncoder({"a": LENGTHS, "b": VOWELS}, {"a": 2, "b": 5})

    def cosines(x):
        x = torch.nn.functional.normalize(x, dim=1)
        return x @ x.T

    expected = (cosines(LENGTHS(texts)) + cosines(VOWELS(texts))) / 2
    torch.testing.assert_close(cosines(joined(texts)), expected)


def test_each_encoder_keeps_its_own_embeddings_in_the_cache():
    embedded = []

    def embed(texts):
        embedded.extend(texts)
        return length_and_one(texts)

    counted = Encoder(embed, "counted", "1")
    counted(["a", "b"])
    JoinedEncoder({"a": counted, "b": VOWELS}, {"a": 2, "b": 5})(["a", "b", "c"])
    assert embedded == ["a", "b", "c"]


@pytest.mark.usefixtures("named")
def test_names_with_a_plus_are_joined():
    pretrained = ENCODERS.find("lengths+vowels")
    assert (pretrained.size, pretrained.kind) == (7, "texts")
    assert pretrained.languages == {"en"}
    joined = pretrained.load()
    assert isinstance(joined, JoinedEncoder)
    assert joined.parts == (("lengths", 2), ("vowels", 5))
    assert joined.seen == "trained on lengths; and trained on vowels"
    assert joined(["one", "two"]).shape == (2, 7)
    assert ENCODERS.find("lengths+any_language").languages is None


def test_sounds_are_read_once_for_all_encoders(tmp_path, monkeypatch):
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(4000) / 9) * 9000).astype("<i2").repeat(2).tobytes())
    loud = SoundEncoder(
        lambda sounds: torch.stack([torch.stack([s.abs().amax(), s.std()]) for s in sounds]),
        "loudness",
        "1",
    )
    alone = [F.normalize(encoder([path]), dim=1) for encoder in (log_mel(), loud)]
    opened, read_file = [], sound_files._read_file
    monkeypatch.setattr(sound_files, "_read_file", lambda p: opened.append(p) or read_file(p))
    joined = JoinedEncoder({"a": log_mel(), "b": loud}, {"a": N_LOG_MEL_FEATURES, "b": 2})
    with pytest.warns(UserWarning, match="1 mixed down to one channel, 1 resampled") as said:
        x = joined([path])
    assert torch.equal(x, torch.cat(alone, dim=1))
    assert opened == [path]
    assert len(said) == 1


@pytest.mark.usefixtures("named")
def test_images_are_taken_in_the_larger_side():
    pretrained = ENCODERS.find("small+large")
    assert (pretrained.kind, pretrained.side) == ("images", 24)
    assert pretrained.load()(torch.rand(2, 3, 24, 24)).shape == (2, 6)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lengths+lengths", "that differ"),
        ("lengths+small", "of one kind"),
        ("lengths+vowel", "did you mean 'vowels'"),
        ("lengths+", "unknown encoder ''"),
    ],
)
def test_names_that_cannot_be_joined_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        ENCODERS.find(name)


def test_a_size_that_is_not_that_of_the_encoder_is_refused():
    with pytest.raises(DataError, match="expected 3 numbers from b, got 5"):
        JoinedEncoder({"a": LENGTHS, "b": VOWELS}, {"a": 2, "b": 3})(["text"])


@pytest.mark.parametrize("sizes", [{"a": 2}, {"a": 2, "b": 5}])
def test_one_encoder_is_not_joined(sizes):
    with pytest.raises(UsageError, match="two encoders or more"):
        JoinedEncoder({"a": LENGTHS}, sizes)
