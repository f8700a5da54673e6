import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy import FewShotClassifier
from quickstudy.apps.fewshot.methods import DRAWINGS_RUN, IMAGE_ENCODER
from quickstudy.apps.fewshot.views import (
    ENCODERS_OF,
    ImageViews,
    default_blend,
    encoder_name,
    pixel_statistics,
)
from quickstudy.encoders import ENCODERS, Encoder, Pretrained, SeriesEncoder
from quickstudy.errors import MissingError
from quickstudy.learners.transfer.blend import PIXELS
from quickstudy.tasks.datasets._glyph_strokes import draw_glyphs


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch, tmp_path):
    """An encoder that sees in which direction it gets brighter."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def slopes(images):
        grey = torch.stack(images).float().mean(1)
        down, across = (grey.diff(dim=d).mean((1, 2)) for d in (1, 2))
        return torch.nn.functional.normalize(torch.stack([down, across], 1) + 1e-9, dim=1)

    encoder = Encoder(slopes, "slopes", "1")
    monkeypatch.setitem(ENCODERS, IMAGE_ENCODER, Pretrained(lambda: encoder, 2, "images", 16))


def shaded(n):
    """Noisy grey surfaces that get brighter downwards (0) or to the right (1)."""
    rng, ramp = np.random.default_rng(0), np.linspace(60, 180, 40)
    images = []
    for kind in (0, 1):
        for _ in range(n):
            surface = np.broadcast_to(ramp if kind else ramp[:, None], (40, 40))
            noisy = surface + rng.normal(0, 12, (40, 40))
            images.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return images, ["down"] * n + ["right"] * n


def drawn(n):
    """Dark ink on white paper, of two invented characters."""
    glyphs = draw_glyphs(1, seed=2)  # the first alphabet of the data set's test split
    images = [
        Image.fromarray(255 - image)
        for c in (0, 1)
        for image in glyphs.images[glyphs.labels == c][:n]
    ]
    return images, ["x"] * n + ["y"] * n


def split(images, labels, n):
    """The first n of each of two classes, and the others."""
    half = len(images) // 2
    shown = [i for i in range(len(images)) if i % half < n]
    rest = [i for i in range(len(images)) if i % half >= n]
    pick = lambda rows: ([images[i] for i in rows], [labels[i] for i in rows])  # noqa: E731
    return *pick(shown), *pick(rest)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("make", [drawn, shaded])
def test_drawings_and_grey_photographs_are_both_learned(make, n):
    images, labels, new, expected = split(*make(8), n)
    classifier = FewShotClassifier().fit(images, labels)
    assert classifier.kind_ == "image"
    assert classifier.score(new, expected) >= 0.8


def weight_of_drawings(images, labels):
    candidates = FewShotClassifier().fit(images, labels).explain().candidates
    return sum(one.weight for one in candidates if one.view == DRAWINGS_RUN)


def test_grey_photographs_are_not_taken_for_drawings():
    assert weight_of_drawings(*drawn(3)) > weight_of_drawings(*shaded(3)) + 0.1


def test_statistics_are_shares_of_pixels():
    black_and_white = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    assert pixel_statistics(black_and_white)[0].tolist() == [0, 0]
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    grey, colour = pixel_statistics(ramp)[0].tolist()
    assert 0.5 < grey < 0.7
    assert colour == 0
    red = ramp * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    assert pixel_statistics(red)[0, 1] > 0.8
    assert pixel_statistics(torch.full((2, 3, 8, 8), 0.5)).isfinite().all()


def test_the_parts_of_images_are_the_numbers_of_an_image():
    images, _ = drawn(2)
    views = ImageViews()
    assert [name for name, _ in views.parts] == [IMAGE_ENCODER, DRAWINGS_RUN, PIXELS]
    assert views(images).shape == (4, sum(size for _, size in views.parts))


def no_extras(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_without_the_encoder_drawings_are_learned_and_photographs_refused(monkeypatch, capsys):
    no_extras(monkeypatch)
    images, labels = drawn(4)
    classifier = FewShotClassifier().fit(images, labels)
    assert classifier.score(images, labels) == 1
    assert IMAGE_ENCODER not in {one.view for one in classifier.explain().candidates}
    assert "efficientnet_lite0 is not tried: expected efficientnet_lite_pytorch" in (
        capsys.readouterr().err
    )
    colour = [Image.new("RGB", (20, 20), name) for name in ("red", "blue")]
    small = [Image.new("RGB", (64, 64), "white") for _ in range(2)]
    for image, at in zip(small, (4, 40), strict=True):
        image.paste("red", (at, at, at + 6, at + 6))
    for photographs in (shaded(2)[0], colour, small):
        with pytest.raises(MissingError, match=r"pip install 'quickstudy\[images\]'"):
            FewShotClassifier().fit(photographs, [0, 1] * (len(photographs) // 2))


def test_without_the_encoders_of_texts_the_extra_is_named(monkeypatch):
    no_extras(monkeypatch)
    with pytest.raises(MissingError, match=r"pip install 'quickstudy\[\w+\]'"):
        FewShotClassifier().fit(["my card", "my balance"], ["card", "balance"])


def refuse():
    raise MissingError("expected gone: install it with pip install 'quickstudy[gone]'")


@pytest.mark.parametrize("kind", ["texts", "sounds"])
def test_the_encoders_that_are_installed_are_joined(monkeypatch, kind):
    first, second = ENCODERS_OF[kind]
    encoder = Encoder(lambda texts: torch.zeros(len(texts), 2), "zeros", "1")
    here, absent = Pretrained(lambda: encoder, 2, kind), Pretrained(refuse, 2, kind)
    for one, other, expected in (
        (here, here, f"{first}+{second}"),
        (here, absent, first),
        (absent, here, second),
    ):
        monkeypatch.setitem(ENCODERS, first, one)
        monkeypatch.setitem(ENCODERS, second, other)
        assert encoder_name(kind) == expected
    monkeypatch.setitem(ENCODERS, first, absent)
    monkeypatch.setitem(ENCODERS, second, absent)
    both = rf"encoder of {kind}, found none; {first}: .*quickstudy\[gone\]'; {second}: .*\[gone\]"
    with pytest.raises(MissingError, match=both):
        encoder_name(kind)


def test_queries_of_16_bits_are_scaled_as_the_support(tmp_path):
    images, labels = shaded(3)
    deep = [Image.fromarray(np.asarray(image).astype(np.uint16) * 4) for image in images]
    dim = [Image.fromarray(np.asarray(image) // 8) for image in deep]
    for learner, bits in (
        ("ridge", lambda encoder: encoder.images.bits),
        (None, lambda encoder: encoder.bits),
    ):
        classifier = FewShotClassifier(learner).fit(deep, labels)
        assert bits(classifier.encoder_) == 10
        classifier.save(tmp_path / f"saved {learner}")
        loaded = FewShotClassifier.load(tmp_path / f"saved {learner}")
        assert bits(loaded.encoder_) == 10
        assert np.array_equal(loaded.predict_proba(dim), classifier.predict_proba(dim))
        assert classifier.predict(deep).tolist() == labels
    assert FewShotClassifier("ridge").fit(deep, labels).predict(dim).tolist() == labels


def test_each_kind_has_the_views_of_its_encoder():
    def names(*arguments, **options):
        return [(v.name, v.size) for v in default_blend(*arguments, **options).views]

    assert names("numbers", None, 7) == [("raw", 7)]
    series = SeriesEncoder(20)
    assert names("series", series, sum(n for _, n in series.parts)) == list(series.parts)
    encoder = Encoder(lambda texts: torch.zeros(len(texts), 2), "my own", "1")
    assert names("text", encoder, 2) == [("my own", 2)]
    assert names("text", encoder, 2, "minilm") == [("minilm", 2)]
    assert names("numbers", lambda rows: rows, 3) == [("other", 3)]
