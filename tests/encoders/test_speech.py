import importlib.util
import itertools
import math
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch

from quickstudy.encoders import ENCODERS, speech, speech_resnet50
from quickstudy.errors import MissingError

RATE = 16_000


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def made():
    """The encoder, or a skip where its extra or its package is not installed."""
    try:
        return speech_resnet50()
    except MissingError as error:
        pytest.skip(str(error))


def chirp(seconds, seed=0):
    times = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).normal(size=len(times))
    return (0.3 * np.sin(2 * math.pi * (200 + 300 * times) * times) + 0.01 * noise).astype("f")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"quickstudy\[speech\]"):
        speech_resnet50()


def test_a_missing_package_is_named(monkeypatch):
    pytest.importorskip("onnxruntime")

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(speech, "distribution", missing)
    with pytest.raises(MissingError, match="pip install --no-deps efficientword-net"):
        speech_resnet50()


def test_a_package_without_the_network_is_named(monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime")

    class Package:
        def locate_file(self, name):
            return tmp_path / name

    monkeypatch.setattr(speech, "distribution", lambda name: Package())
    with pytest.raises(MissingError, match="expected a network at"):
        speech_resnet50()


def definition(sound):
    """Log energies frame by frame, as James Lyons's python_speech_features defines them."""
    sound = np.append(sound, np.zeros(-(len(sound) - 400) % 160))
    power = [
        np.abs(np.fft.rfft(sound[i : i + 400], 512)) ** 2 / 512
        for i in range(0, len(sound) - 399, 160)
    ]
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 66)
    corners = np.floor(513 * 700 * (10 ** (mel / 2595) - 1) / RATE).astype(int)
    filters = np.zeros((64, 257))
    for band, ((low, middle), (_, high)) in enumerate(
        itertools.pairwise(itertools.pairwise(corners))
    ):
        for i in range(low, middle):
            filters[band, i] = (i - low) / (middle - low)
        for i in range(middle, high):
            filters[band, i] = (high - i) / (high - middle)
    energies = np.array(power) @ filters.T
    return np.log(np.where(energies == 0, np.finfo(float).eps, energies))


@pytest.mark.parametrize("silence", [0, 6000])
def test_log_energies_are_those_of_the_definition(silence):
    sound = chirp(1.5)
    sound[:silence] = 0
    found = speech.log_energies(torch.from_numpy(sound))
    assert found.shape == (149, 64)
    torch.testing.assert_close(found, torch.from_numpy(definition(sound)).float())


@pytest.mark.parametrize(
    ("seconds", "starts"), [(0.5, [0]), (1.5, [0]), (1.6, [0, 1600]), (3.0, [0, 12000, 24000])]
)
def test_windows_cover_a_sound(seconds, starts):
    sound = torch.arange(1.0, round(seconds * RATE) + 1)
    windows = speech._windows(sound)
    if seconds < 1.5:
        assert torch.equal(windows[0, 8000:16000], sound)
        assert windows[0].count_nonzero() == len(sound)
    else:
        assert (windows[:, 0] - 1).tolist() == starts
        assert windows[-1, -1] == sound[-1]


def test_embeddings_are_those_of_the_package():
    encode = made()
    package = distribution("efficientword-net")
    sys.modules.setdefault("pyaudio", type(sys)("pyaudio"))
    audio_processing = pytest.importorskip("eff_word_net.audio_processing")
    assert Path(audio_processing.__file__).is_relative_to(package.locate_file(""))
    network = audio_processing.Resnet50_Arc_loss()
    sounds = [chirp(1.5, seed) for seed in range(2)]
    expected = np.concatenate([network.audioToVector(sound) for sound in sounds])
    found = encode([(sound, RATE) for sound in sounds])
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_sounds_of_any_length_are_embedded_with_length_one():
    encode = made()
    x = encode([(chirp(seconds), RATE) for seconds in (0.1, 1.5, 4.0)])
    assert x.shape == (3, 2048)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(3))
    assert "Multilingual Spoken Words" in encode.seen


def test_its_size_is_known_before_it_is_loaded():
    known = ENCODERS.find("speech_resnet50")
    assert (known.kind, known.size) == ("sounds", 2048)
