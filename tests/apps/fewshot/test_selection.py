import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.apps.fewshot import methods
from quickstudy.apps.fewshot.classifier import FewShotClassifier
from quickstudy.apps.fewshot.selection import (
    Candidate,
    Selection,
    photograph_log_odds,
    select,
    select_for_images,
)
from quickstudy.encoders import ENCODERS, Encoder, Pretrained
from quickstudy.errors import MissingError
from quickstudy.learners.transfer.closed_form import GaussianClasses
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
    monkeypatch.setitem(
        ENCODERS, methods.IMAGE_ENCODER, Pretrained(lambda: encoder, 2, "images", 16)
    )


def shaded(n):
    """Noisy surfaces that get brighter downwards (0) or to the right (1)."""
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


def fixed(right):
    """A candidate that names the examples of the first `right` classes rightly, and no other."""

    def adapt(support):
        def predict(x):
            answer = torch.where(x[:, 0] < right, x[:, 0], (x[:, 0] + 1) % support.n_way)
            return torch.nn.functional.one_hot(answer.long(), support.n_way).float()

        return predict

    return adapt


def test_the_candidate_with_more_right_when_left_out_is_chosen():
    y = torch.arange(5).repeat_interleave(3)
    x = y[:, None].float()
    chosen = select(
        [Candidate("worse", fixed(2), lambda: x, 2.0), Candidate("better", fixed(4), lambda: x)],
        y,
        "the weather",
    )
    assert chosen.name == "better"
    assert chosen.reason == (
        "better: of 15 examples left out, right were better 12, worse 6; and the weather"
    )
    even = [Candidate(name, fixed(3), lambda: x, odds) for name, odds in (("a", 0.0), ("b", 1.0))]
    assert select(even, y, "the weather").name == "b"


def test_with_an_example_a_class_what_is_known_beforehand_decides_and_nothing_is_computed():
    candidates = [Candidate(name, None, None, odds) for name, odds in (("a", 1.0), ("b", -1.0))]  # pyright: ignore
    chosen = select(candidates, torch.arange(5), "the weather")
    assert (chosen.name, chosen.reason) == ("a", "a, since the weather")


def prepared(images):
    return lambda how: how(images)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    ("make", "expected"), [(drawn, methods.DRAWINGS_RUN), (shaded, "ridge on efficientnet_lite0")]
)
def test_drawings_and_grey_photographs_are_told_apart(make, expected, n):
    images, labels = make(n)
    y = torch.tensor([label != labels[0] for label in labels]).long()
    chosen = select_for_images(prepared(images), y)
    assert chosen.name == expected
    assert "mid-grey" in chosen.reason


def test_a_classifier_says_what_it_has_chosen_and_keeps_it(tmp_path, capsys):
    images, labels = shaded(3)
    classifier = FewShotClassifier().fit(images, labels)
    assert capsys.readouterr().err == f"chosen: {classifier.selection_.reason}\n"
    assert classifier.predict(images).tolist() == labels
    classifier.save(tmp_path / "saved")
    assert FewShotClassifier.load(tmp_path / "saved").predict(images).tolist() == labels
    assert FewShotClassifier("ridge").fit(images, labels).selection_ is None
    assert capsys.readouterr().err == ""


def test_colour_is_for_the_encoder():
    odds, why = photograph_log_odds(torch.rand(2, 3, 16, 16, generator=torch.Generator()))
    assert odds > 0
    assert why == "the images are in colour"


def test_without_the_encoder_drawings_are_learned_and_photographs_refused(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    images, _ = drawn(2)
    chosen = select_for_images(prepared(images), torch.tensor([0, 0, 1, 1]))
    assert chosen.name == methods.DRAWINGS_RUN
    assert "efficientnet_lite0 not tried: expected efficientnet_lite_pytorch" in chosen.reason
    images, _ = shaded(2)
    with pytest.raises(MissingError, match=r"quickstudy\[images\]"):
        select_for_images(prepared(images), torch.tensor([0, 0, 1, 1]))


def test_queries_of_16_bits_are_scaled_as_the_support(tmp_path):
    images, labels = shaded(3)
    deep = [Image.fromarray(np.asarray(image).astype(np.uint16) * 4) for image in images]
    classifier = FewShotClassifier("ridge").fit(deep, labels)
    assert classifier.encoder_.images.bits == 10
    classifier.save(tmp_path / "saved")
    assert FewShotClassifier.load(tmp_path / "saved").encoder_.images.bits == 10
    dim = [Image.fromarray(np.asarray(image) // 8) for image in deep]
    assert classifier.predict(dim).tolist() == labels
    assert isinstance(FewShotClassifier().fit([[0.0], [1.0]], [0, 1]).learner_, GaussianClasses)


def test_a_notebook_shows_the_candidates_with_how_many_each_had_right():
    y = torch.arange(5).repeat_interleave(3)
    x = y[:, None].float()
    names = {"<b>": fixed(2), "better": fixed(4)}
    chosen = select([Candidate(n, f, lambda: x) for n, f in names.items()], y, "the weather")
    html = chosen._repr_html_()
    assert "<td>better</td><td>12</td><td>chosen</td>" in html
    assert "<td>&lt;b&gt;</td><td>6</td><td></td>" in html
    assert "correct of 15 left out" in html
    assert "<b>" not in html


def test_a_notebook_shows_why_where_nothing_was_left_out():
    assert "<td>a</td><td>a, since &lt;i&gt;</td>" in Selection("a", "a, since <i>")._repr_html_()
