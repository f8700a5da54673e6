"""Sounds and series, as the default learner takes and refuses them."""

import wave
from importlib.util import find_spec

import numpy as np
import pytest

from quickstudy import FewShotClassifier
from quickstudy.apps.fewshot import views
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.learners.transfer.closed_form import GaussianClasses

LABELS = ["low", "low", "high", "high"]
PITCHES = (300, 310, 900, 910)


@pytest.fixture(autouse=True)
def log_mel_alone(monkeypatch):
    """The encoder of sounds that needs no extra."""
    monkeypatch.setitem(views.ENCODERS_OF, "sounds", ("log_mel",))


def tone(pitch, seconds=0.5, rate=16_000):
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)


def write_wav(path, samples, rate=16_000):
    """Samples (n,) or (n, channels)."""
    samples = np.asarray(samples)
    with wave.open(str(path), "wb") as file:
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32_000).astype("<i2").tobytes())
    return path


@pytest.fixture
def sounds(tmp_path):
    return [write_wav(tmp_path / f"{pitch}.wav", tone(pitch)) for pitch in PITCHES]


def test_sounds_are_learned_from_paths_or_samples(sounds, tmp_path):
    classifier = FewShotClassifier().fit(sounds, LABELS)
    assert classifier.kind_ == "sound"
    assert classifier.predict([str(path) for path in sounds]).tolist() == LABELS
    pairs = [(tone(pitch + 5), 16_000) for pitch in PITCHES]
    assert classifier.predict(pairs).tolist() == LABELS
    classifier.save(tmp_path / "saved")
    loaded = FewShotClassifier.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict_proba(pairs), classifier.predict_proba(pairs))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (np.stack([tone(905)] * 2, 1), 16_000), "1 mixed down to one channel"),
        (lambda: (tone(905, rate=8000), 8000), "1 resampled to 16000 Hz"),
        (lambda: (tone(905, seconds=61), 16_000), "1 cut off after 60 s"),
    ],
)
def test_a_sound_that_has_to_be_changed_is_noted(sounds, tmp_path, make, message):
    samples, rate = make()
    changed = write_wav(tmp_path / "changed.wav", samples, rate)
    with pytest.warns(UserWarning, match=f"of 4 sounds: {message}"):
        classifier = FewShotClassifier().fit([*sounds[:3], changed], LABELS)
    assert classifier.predict(sounds).tolist() == LABELS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [], "a sound of 25 ms or more, got 0 samples"),
        (lambda: np.zeros(8000), "got silence in .*bad.wav"),
        (lambda: tone(900, seconds=0.001), "25 ms or more, got 16 samples"),
    ],
)
def test_a_sound_that_cannot_be_heard_is_refused(sounds, tmp_path, make, message):
    bad = write_wav(tmp_path / "bad.wav", make())
    with pytest.raises(DataError, match=message):
        FewShotClassifier().fit([*sounds[:3], bad], LABELS)


def test_a_sound_cut_short_or_absent_is_named(sounds, tmp_path):
    sounds[3].write_bytes(sounds[3].read_bytes()[:-500])
    with pytest.raises(DataError, match=r"910.wav is cut short: 8000 samples by its header"):
        FewShotClassifier().fit(sounds, LABELS)
    for absent in (tmp_path / "no.wav", str(tmp_path / "no.wav")):
        with pytest.raises(MissingError, match=r"a sound at .*no.wav, found none"):
            FewShotClassifier().fit([*map(type(absent), sounds[:3]), absent], LABELS)


def test_a_flac_without_the_extra_names_it(sounds, tmp_path, monkeypatch):
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "soundfile" else find_spec(name)
    )
    with pytest.raises(MissingError, match=r"soundfile: install it with .*quickstudy\[sound\]"):
        FewShotClassifier().fit([*sounds[:3], tmp_path / "a.flac"], LABELS)


def test_several_kinds_are_refused(sounds, tmp_path):
    for other, message in (
        ([1.0, 2.0, 3.0], "sounds as example 0 and numbers as example 3"),
        ("hello there", "all texts or all paths, got 'hello there' as example 3"),
    ):
        with pytest.raises(DataError, match=message):
            FewShotClassifier().fit([*map(str, sounds[:3]), other], LABELS)


def waves():
    """Slow and fast waves, of lengths that differ."""
    return [np.sin(np.arange(n) / k) for n, k in ((40, 9), (50, 9), (45, 2), (55, 2))]


SERIES_LABELS = ["slow", "slow", "fast", "fast"]


@pytest.mark.parametrize(
    "make",
    [np.asarray, np.ndarray.tolist, lambda one: np.stack([one, one**2])],
    ids=["arrays", "lists", "channels"],
)
def test_series_of_several_lengths_are_taken_for_series(make, tmp_path):
    series = [make(one) for one in waves()]
    classifier = FewShotClassifier().fit(series, SERIES_LABELS)
    assert classifier.kind_ == classifier.explain().kind == "series"
    assert classifier.predict(series).tolist() == SERIES_LABELS
    classifier.save(tmp_path / "saved")
    loaded = FewShotClassifier.load(tmp_path / "saved")
    assert np.array_equal(loaded.predict_proba(series), classifier.predict_proba(series))


def test_arrays_are_series_if_the_user_says_so():
    array = np.stack([one[:40] for one in waves()])
    classifier = FewShotClassifier(kind="series").fit(array, SERIES_LABELS)
    assert classifier.kind_ == "series"
    assert {one.view for one in classifier.explain().candidates} >= {"raw", "rocket"}
    assert classifier.predict(array).tolist() == SERIES_LABELS
    assert FewShotClassifier().fit(array, SERIES_LABELS).kind_ == "numbers"
    channels = np.stack([array, array], axis=1)
    assert FewShotClassifier(kind="series").fit(channels, SERIES_LABELS).kind_ == "series"


@pytest.mark.parametrize("learner", ["ridge", "nearest_centroid"])
def test_a_method_by_name_sees_features_of_series(learner, tmp_path):
    rng = np.random.default_rng(0)
    shifted = [np.sin((np.arange(60) + rng.uniform(0, 60)) / k) for k in (6, 2) * 6]
    labels = ["slow", "fast"] * 6
    cut = [one[: 60 - i % 4] for i, one in enumerate(shifted)]
    for series, options in ((np.stack(shifted), {"kind": "series"}), (cut, {})):
        classifier = FewShotClassifier(learner, **options).fit(series[:4], labels[:4])
        assert classifier.kind_ == "series"
        assert classifier.encoder_.parts == (("rocket", classifier.support_.x.shape[1]),)
        assert classifier.predict(series[4:]).tolist() == labels[4:]
        classifier.save(tmp_path / "saved")
        loaded = FewShotClassifier.load(tmp_path / "saved")
        assert np.array_equal(loaded.predict_proba(series), classifier.predict_proba(series))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": np.asarray}, "got encoder="),
        ({"learner": GaussianClasses()}, "got learner=GaussianClasses"),
        ({"learner": "handwriting"}, "got learner='handwriting'"),
    ],
)
def test_series_are_refused_where_nothing_makes_features_of_them(options, message):
    array = np.stack([one[:40] for one in waves()])
    with pytest.raises(UsageError, match=f"with the default learner or a method .*{message}"):
        FewShotClassifier(kind="series", **options).fit(array, SERIES_LABELS)
    with pytest.raises(UsageError, match="got descriptions"):
        FewShotClassifier(kind="series").fit(array, SERIES_LABELS, {"slow": array[0]})


def test_more_series_may_follow():
    classifier = FewShotClassifier().partial_fit(waves(), SERIES_LABELS)
    rising = [np.arange(n) + 0.0 for n in (30, 60)]
    classifier.partial_fit(rising, ["rising"] * 2)
    assert classifier.predict([*waves(), np.arange(50.0)]).tolist() == [*SERIES_LABELS, "rising"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "series of 3 points or more, got 0 as example 3 and 40 as example 0"),
        ([1.0, 2.0], "series of 3 points or more, got 2 as example 3 and 40 as example 0"),
        (np.ones(9), "series that vary, got 1.0 at all 9 points of series 3"),
        ([1.0, np.nan, 2.0, 3.0], "finite numbers, got nan at point 1 of series 3"),
        ([1.0, 2.0, np.inf], "finite numbers, got inf at point 2 of series 3"),
        (np.eye(2, 9), "as many channels, got 1 in series 0 and 2 in series 3"),
    ],
)
def test_a_series_that_cannot_be_learned_from_is_named(bad, message):
    with pytest.raises(DataError, match=message):
        FewShotClassifier().fit([*waves()[:3], bad], SERIES_LABELS)


@pytest.mark.parametrize("bad", [np.ones((2, 2, 9)) + np.arange(9), [[1.0, np.nan, 2.0]]])
def test_queries_that_are_no_such_series_are_refused(bad):
    with pytest.raises(DataError):
        FewShotClassifier().fit(waves(), SERIES_LABELS).predict(bad)


def test_a_kind_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match='"numbers", "series" or None, got \'nonsense\''):
        FewShotClassifier(kind="nonsense").fit([[0.0], [1.0]], [0, 1])  # pyright: ignore
    with pytest.raises(DataError, match="series of numbers, got 'a text' as series 0"):
        FewShotClassifier(kind="series").fit(["a text", "another"], [0, 1])
    with pytest.raises(DataError, match=r"shape \(length,\) or \(channels, length\)"):
        FewShotClassifier(kind="series").fit([1.0, 2.0, 3.0, 4.0], SERIES_LABELS)


@pytest.mark.parametrize("options", [{"kind": "numbers"}, {"learner": GaussianClasses()}])
def test_examples_of_several_shapes_are_named(options):
    classifier = FewShotClassifier(**options)
    with pytest.raises(
        DataError, match=r"of one shape, got \(40,\) as example 0 and \(50,\) as ex"
    ):
        classifier.fit(waves(), SERIES_LABELS)
    with pytest.raises(DataError, match="got rows of several lengths as example 0 and"):
        classifier.fit([[[1.0], [1.0, 2.0]], [[1.0]]], [0, 1])
    classifier.fit([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    with pytest.raises(DataError, match=r"got \(2,\) as example 0 and \(1,\) as example 1"):
        classifier.predict([[1.0, 2.0], [1.0]])


def test_one_class_is_refused_and_300_of_one_example_are_learned():
    with pytest.raises(DataError, match="at least 2 classes, got 1 class"):
        FewShotClassifier().fit(waves(), ["same"] * 4)
    X = np.random.default_rng(0).normal(size=(300, 16))
    assert FewShotClassifier().fit(X, range(300)).score(X, range(300)) > 0.95
