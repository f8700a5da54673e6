import pytest
import torch
from PIL import Image

from quickstudy.apps.fewshot.methods import (
    IMAGE_ENCODER,
    METHODS,
    TEXT_ENCODER,
    EncodedImages,
    default_encoder,
    make_method,
    named_encoder,
)
from quickstudy.encoders import Encoder
from quickstudy.errors import UsageError
from quickstudy.tasks import Support

RED = Image.new("RGB", (8, 8), (200, 30, 30))


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (["where is my card", "balance"], TEXT_ENCODER),
        ([RED, RED], IMAGE_ENCODER),
        ([[0.1, 0.2], [0.3, 0.4]], None),
        ([], None),
        (None, None),
    ],
)
def test_the_kind_of_examples_decides(examples, expected):
    assert default_encoder(examples) == expected


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_vectors(name):
    support = Support(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]), 2)
    predict = make_method(name).adapt(support)
    assert predict(torch.tensor([[0.1, 0.9], [0.8, 0.1]])).argmax(1).tolist() == [0, 1]


def test_what_is_beyond_a_photograph_is_zero_to_the_encoder():
    wide = Image.new("RGB", (20, 4), (200, 30, 30))
    encode = EncodedImages(Encoder(lambda images: torch.stack(images).flatten(1), "raw", "1"), 20)
    pixels = encode([wide]).view(3, 20, 20)
    torch.testing.assert_close(pixels[:, :8], torch.full((3, 8, 20), 127 / 255))


def test_unknown_names_are_refused_with_the_known():
    with pytest.raises(UsageError, match="minilm"):
        named_encoder("minilmm")
    with pytest.raises(UsageError, match="ridge"):
        make_method("rigde")


@pytest.mark.parametrize("name", ["nearest_centroid", "nearest_neighbour", "ridge"])
def test_one_example_a_class_is_enough_for_probabilities_that_say_something(name):
    x = torch.nn.functional.normalize(torch.randn(5, 64, generator=torch.Generator()), dim=1)
    predict = make_method(name).adapt(Support(x, torch.arange(5), 5))
    sure, unsure = predict(torch.stack([x[0], x[:2].sum(0)])).softmax(1)
    assert sure[0] > 0.9
    assert 0.3 < unsure[0] < 0.7
    assert 0.3 < unsure[1] < 0.7
