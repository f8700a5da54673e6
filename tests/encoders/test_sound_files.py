import builtins
import importlib.util
import re
import struct
import wave
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from quickstudy.encoders import read_sounds
from quickstudy.errors import DataError, MissingError, UsageError

needs_soundfile = pytest.mark.skipif(not find_spec("soundfile"), reason="needs the extra sound")


def tone(pitch=440.0, seconds=0.5, rate=16_000):
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def write_wav(path, samples, rate=16_000, width=2):
    """Samples in -1..1, (n,) or (n, channels)."""
    whole = np.round(samples * (2 ** (8 * width - 1) - 1)).astype("<i8")
    whole += 128 if width == 1 else 0
    data = whole.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], width, rate, 0, "NONE", ""))
        file.writeframes(data)
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_wav_of_whole_numbers_is_read_without_an_extra(width, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    path = write_wav(tmp_path / "tone.wav", tone(), width=width)
    (found,) = read_sounds([path])
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, torch.tensor(tone()).float(), atol=max(2.0 ** (2 - 8 * width), 1e-7), rtol=0
    )
    assert torch.equal(read_sounds([str(path)])[0], found)


@needs_soundfile
@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.flac", "PCM_16"), ("a.flac", "PCM_24"), ("a.wav", "FLOAT"), ("a.wav", "ULAW")],
)
def test_other_files_are_read_by_soundfile(name, subtype, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / name, tone(), 16_000, subtype=subtype)
    (found,) = read_sounds([tmp_path / name])
    torch.testing.assert_close(found, torch.tensor(tone()).float(), atol=0.02, rtol=0)


@needs_soundfile
@pytest.mark.parametrize("ending", [".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".MP3"])
def test_other_formats_are_read(ending, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    kinds = {".oga": "ogg", ".opus": "ogg", ".aif": "aiff"}
    kind = kinds.get(ending, ending[1:].lower())
    subtype = "OPUS" if ending == ".opus" else None
    path = tmp_path / f"a{ending}"
    soundfile.write(path, tone(seconds=1.0), 16_000, format=kind, subtype=subtype)
    (found,) = read_sounds([path])
    loudest = torch.fft.rfft(found[:16_000]).abs().argmax()  # its frequency in Hz
    assert loudest == pytest.approx(440, abs=1)


@needs_soundfile
def test_a_wav_of_the_extensible_format_is_read(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", tone(), 16_000, format="WAVEX")
    torch.testing.assert_close(
        read_sounds([tmp_path / "a.wav"])[0], torch.tensor(tone()).float(), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
def test_the_extra_is_named_where_it_is_needed(name, tmp_path, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / name, tone(), 16_000, subtype="FLOAT" if "wav" in name else None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"quickstudy\[sound\]"):
        read_sounds([tmp_path / name])


def test_samples_are_taken_as_they_are_or_as_whole_numbers_of_their_range():
    expected = torch.tensor(tone()).float()
    whole = np.round(tone() * 32768)
    for samples in (tone(), tone().astype("f"), torch.tensor(tone()), whole.astype(np.int16)):
        (found,) = read_sounds([(samples, 16_000)])
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
        (found,) = read_sounds([samples], rate=16_000)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    unsigned = (whole / 256 + 128).astype(np.uint8)
    torch.testing.assert_close(read_sounds([unsigned], rate=16_000)[0], expected, atol=0.01, rtol=0)


def test_an_array_with_a_rate_is_one_sound_a_row():
    rows = np.stack([tone(220), tone(440)])
    found = read_sounds(rows, rate=16_000)
    torch.testing.assert_close(torch.stack(found), torch.tensor(rows).float())


@pytest.mark.filterwarnings("ignore:of 2 sounds")
def test_channels_are_averaged_whichever_axis_they_are():
    both = np.stack([tone(), np.zeros(8000)])
    for found in read_sounds([(both, 16_000), (both.T, 16_000)]):
        torch.testing.assert_close(found, torch.tensor(tone() / 2).float())


@pytest.mark.filterwarnings("ignore:of 1 sounds")
@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_sounds_are_resampled_to_16_khz(rate):
    (found,) = read_sounds([(tone(rate=rate), rate)])
    assert abs(len(found) - 8000) <= 1
    inside = slice(200, -200)
    torch.testing.assert_close(
        found[:8000][inside], torch.tensor(tone()).float()[: len(found)][inside], atol=5e-3, rtol=0
    )


@pytest.mark.filterwarnings("ignore:of 1 sounds")
def test_what_16_khz_cannot_hold_is_filtered_out():
    (found,) = read_sounds([(tone(15_000, rate=48_000), 48_000)])
    assert float(found[200:-200].abs().max()) < 0.01


def test_what_was_changed_is_said_once_a_call(tmp_path, recwarn):
    path = write_wav(tmp_path / "a.wav", np.stack([tone(rate=8000)] * 2, 1), rate=8000)
    long = np.tile(tone(), 121)
    read_sounds([(tone(), 16_000)])
    assert not recwarn.list
    with pytest.warns(UserWarning, match="of 4 sounds") as caught:
        sounds = read_sounds([path, (tone(), 16_000), (tone(rate=48_000), 48_000), (long, 16_000)])
    assert [str(one.message) for one in caught] == [
        "of 4 sounds: 1 cut off after 60 s, 1 mixed down to one channel, 2 resampled to 16000 Hz"
    ]
    assert len(sounds[3]) == 60 * 16_000


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_long_file_is_cut_off_after_a_minute(suffix, tmp_path):
    path = tmp_path / f"long.{suffix}"
    long = np.tile(tone(rate=1000), 121)
    if suffix == "wav":
        write_wav(path, long, rate=1000)
    else:
        pytest.importorskip("soundfile").write(path, long, 1000)
    with pytest.warns(UserWarning, match="1 cut off after 60 s"):
        (found,) = read_sounds([path])
    assert len(found) == 60 * 16_000


def damaged(content, suffix="wav"):
    def write(folder):
        path = folder / f"bad.{suffix}"
        path.write_bytes(content)
        return path

    return write


def of_samples(samples, rate=16_000):
    return lambda folder: write_wav(folder / "bad.wav", samples, rate)


def by_soundfile(samples, suffix, keep=1.0, **options):
    def write(folder):
        path = folder / f"bad.{suffix}"
        pytest.importorskip("soundfile").write(path, samples, 16_000, **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        return path

    return write


def cut_wav(folder):
    path = write_wav(folder / "bad.wav", tone())
    path.write_bytes(path.read_bytes()[:-1001])
    return path


def with_nan():
    samples = tone()
    samples[5] = np.nan
    return samples


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (damaged(b""), "not a whole wav file"),
        (damaged(b"RIFF"), "not a whole wav file: it ends early"),
        (damaged(b"RIFF\x80\0\0\0WAVEjunk\xff\xff\xff\x7f"), "not a whole wav file: it ends early"),
        (damaged(b"not a sound at all" * 9), "not a whole wav file"),
        (damaged(b"", "flac"), "not a whole sound file"),
        (damaged(b"not a sound at all" * 9, "flac"), "not a whole sound file"),
        (damaged(b"not a sound at all" * 9, "ogg"), "not a whole sound file"),
        (damaged(b"ID3", "mp3"), "not a whole sound file"),
        (damaged(b"....ftyp", "m4a"), r"expected a sound file \(\.wav, \.flac, \.ogg"),
        (of_samples(np.zeros(0)), "got 0 samples"),
        (of_samples(tone()[:399]), "25 ms or more, got 399 samples at 16000 Hz"),
        (of_samples(np.zeros(8000)), "got silence in"),
        (of_samples(np.full(8000, 0.25)), "got silence in"),
        (
            of_samples(np.stack([tone(), -tone()], 1)),
            "all samples are alike in the mean of its 2 channels",
        ),
        (of_samples(tone(), rate=10), "rate of 1000 to 768000 Hz, got 10"),
        (cut_wav, "cut short: 8000 samples by its header, 7499 in the file"),
        (by_soundfile(NOISE, "flac", keep=0.5), "not a whole sound file|cut short: 16000 samples"),
        (by_soundfile(NOISE, "wav", keep=0.5, subtype="FLOAT"), "cut short: 640.. bytes by its"),
        (by_soundfile(with_nan(), "wav", subtype="FLOAT"), "expected finite samples"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(write, message, tmp_path):
    good = write_wav(tmp_path / "good.wav", tone())
    with pytest.raises(DataError, match=message) as error:
        read_sounds([good, write(tmp_path)])
    assert "bad." in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "got 0 samples at 16000 Hz in sound 1"),
        (np.zeros(8000), "got silence in sound 1"),
        (with_nan(), "finite samples, got NaN or infinity in sound 1"),
        (np.zeros((2, 3, 4)), r"got shape \(2, 3, 4\)"),
        (["a", "b"], "as sound 1"),
        ([[1.0, 2.0], [1.0]], "rows of several lengths as sound 1"),
        (tone() * 1e200, "finite samples"),
        (tone().astype(complex), "complex128 as sound 1"),
    ],
)
def test_samples_that_cannot_be_used_are_named(samples, message):
    with pytest.raises(DataError, match=message):
        read_sounds([(tone(), 16_000), (samples, 16_000)])


@pytest.mark.parametrize("rate", [0, -1, 10, float("nan"), "fast", 10**9])
def test_a_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(DataError, match=r"rate of 1000 to 768000 Hz, got .* for sound 0"):
        read_sounds([(tone(), rate)])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingError, match=re.escape(str(tmp_path / "no.wav"))):
        read_sounds([tmp_path / "no.wav"])


@pytest.mark.parametrize("nothing", [[], "a.wav", np.zeros((0, 9))])
def test_no_sounds_are_refused(nothing):
    with pytest.raises(UsageError, match="list of one sound or more"):
        read_sounds(nothing)


def test_samples_without_a_rate_are_refused():
    with pytest.raises(UsageError, match=r"pair \(samples, rate\) as sound 0, got ndarray"):
        read_sounds([tone()])


@pytest.mark.parametrize("said", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end(said, tmp_path):
    path = write_wav(tmp_path / "piped.wav", tone())
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 4, min(0xFFFFFFFF, said + 36))
    struct.pack_into("<I", content, 40, said)
    path.write_bytes(content)
    assert len(read_sounds([path])[0]) == 8000


def test_files_are_closed(tmp_path, monkeypatch):
    opened = []
    open_ = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda *a, **k: opened.append(open_(*a, **k)) or opened[-1]
    )
    read_sounds([write_wav(tmp_path / "a.wav", tone())])
    assert opened
    assert all(file.closed for file in opened)
