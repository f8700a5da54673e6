import math
import warnings
import wave

import numpy as np
import pytest
import torch

from quickstudy.encoders import ENCODERS, log_mel
from quickstudy.encoders.sound import log_mel_features, log_mel_spectrogram
from quickstudy.errors import DataError

RATE = 16_000


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tone(pitch, seconds=0.5):
    return torch.sin(2 * math.pi * pitch * torch.arange(round(seconds * RATE)) / RATE)


def noise(seconds=0.5, seed=0):
    return torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def mel_of(pitch):
    return 2595 * math.log10(1 + pitch / 700)


@pytest.mark.parametrize("pitch", [100, 440, 1000, 3000, 7000])
def test_a_tone_is_in_the_band_of_its_pitch(pitch):
    spectrogram = log_mel_spectrogram(tone(pitch))
    assert spectrogram.shape == (1 + (8000 - 400) // 160, 64)
    band = mel_of(pitch) / mel_of(8000) * 65 - 1  # the middle of band b is at (b + 1) / 65
    assert (spectrogram.argmax(1) - band).abs().max() < 1


def test_the_spectrogram_is_that_of_scipy_in_bands():
    signal = pytest.importorskip("scipy.signal")
    sound = noise().double().numpy()
    sound = (sound - sound.mean()) / sound.std()
    window = signal.windows.hann(400, sym=False)
    transform = signal.ShortTimeFFT(window, 160, RATE, mfft=1024)
    frames = np.stack([sound[i : i + 400] * window for i in range(0, len(sound) - 399, 160)])
    power = np.abs(np.fft.rfft(frames, 1024)) ** 2 / (window**2).sum()
    assert transform.f_pts == power.shape[1]
    corners = 700 * (10 ** (np.linspace(0, mel_of(8000), 66) / 2595) - 1)
    filters = np.stack([np.interp(transform.f, corners[b : b + 3], [0, 1, 0]) for b in range(64)])
    assert filters.sum(1).min() > 0
    expected = torch.from_numpy(np.log(power @ filters.T + 0.1)).float()
    torch.testing.assert_close(log_mel_spectrogram(noise()), expected, atol=1e-4, rtol=0)


def test_features_are_statistics_of_the_spectrogram():
    sound = noise() * torch.linspace(0, 1, 8000)
    x, spectrogram = log_mel_features(sound), log_mel_spectrogram(sound).numpy()
    assert x.shape == (640,)
    mean, deviation, steps, low, middle, high, coarse = x.split([64] * 6 + [256])
    torch.testing.assert_close(mean.numpy(), spectrogram.mean(0))
    torch.testing.assert_close(deviation.numpy(), spectrogram.std(0))
    torch.testing.assert_close(steps.numpy(), np.abs(np.diff(spectrogram, axis=0)).mean(0))
    for found, share in ((low, 10), (middle, 50), (high, 90)):
        expected = np.percentile(spectrogram, share, axis=0)
        torch.testing.assert_close(found.numpy(), expected.astype("f"))
    coarse = coarse.view(8, 32)
    assert bool((coarse.mean(1).diff() > 0).all())  # it grows louder
    torch.testing.assert_close(
        coarse[0], torch.tensor(spectrogram[:6].mean(0)).view(32, 2).mean(1), atol=0.01, rtol=0
    )


def test_loudness_and_offset_do_not_matter():
    sound = noise() * torch.linspace(0, 1, 8000)
    torch.testing.assert_close(
        log_mel_features(0.01 * sound + 0.3), log_mel_features(sound), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("samples", [400, 401, 1000])
def test_short_sounds_have_features_too(samples):
    x = log_mel_features(noise()[:samples])
    assert x.shape == (640,)
    assert bool(x.isfinite().all())


def chirp(start, end):
    times = torch.arange(RATE) / RATE
    return torch.sin(2 * math.pi * (start + (end - start) / 2 * times) * times)


def test_kinds_of_sounds_are_told_apart_from_one_example_each():
    kinds = [
        lambda i: tone(300 + 10 * i, 1.0),
        lambda i: tone(1500 + 30 * i, 1.0),
        lambda i: chirp(300 + 20 * i, 3000),
        lambda i: chirp(3000, 300 + 20 * i),
        lambda i: noise(1.0, i),
        lambda i: noise(1.0, i) * (torch.arange(RATE) // 1000 % 2),
    ]
    sounds = [(kind(i) + 0.01 * noise(1.0, 100 + i), RATE) for i in range(5) for kind in kinds]
    x = log_mel()(sounds).view(5, len(kinds), -1)
    nearest = torch.cdist(x[1:].flatten(0, 1), x[0]).argmin(1)
    assert nearest.tolist() == list(range(len(kinds))) * 4


def write_wav(path, sound):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((sound * 32767).to(torch.int16).numpy().tobytes())
    return path


def test_a_file_that_changes_is_embedded_anew(tmp_path):
    encode = log_mel()
    path = write_wav(tmp_path / "a.wav", tone(200))
    first = encode([path])
    assert torch.equal(encode([path]), first)
    write_wav(path, tone(2000))
    assert not torch.equal(encode([path]), first)
    torch.testing.assert_close(encode([path]), encode([(tone(2000), RATE)]), atol=1e-2, rtol=0)


def test_it_is_known_by_name_and_joins_other_encoders_of_sounds():
    known = ENCODERS.find("log_mel")
    assert (known.kind, known.size, known.side, known.languages) == ("sounds", 640, None, None)
    sounds = [(tone(200), RATE), (noise(), RATE)]
    assert known.load()(sounds).shape == (2, 640)
    joined = ENCODERS.find("log_mel+speech_resnet50")
    assert (joined.kind, joined.size) == ("sounds", 640 + 2048)


def test_samples_and_one_rate_are_embedded_alike():
    encode = log_mel()
    rows = torch.stack([tone(200), tone(300)])
    assert torch.equal(encode(rows, rate=RATE), encode([(row, RATE) for row in rows]))


def test_an_unusable_sound_is_named():
    with warnings.catch_warnings(), pytest.raises(DataError, match="silence in sound 1"):
        log_mel()([(tone(200), RATE), (torch.zeros(8000), RATE)])
