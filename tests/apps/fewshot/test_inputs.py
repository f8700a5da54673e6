import numpy as np
import pytest
import torch
from PIL import Image

from quickstudy.apps.fewshot.inputs import kind_of
from quickstudy.errors import DataError, MissingError

GREY = Image.new("L", (8, 8), 90)


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (["where is my card", "balance"], "texts"),
        (["open a.png", "where is my card"], "texts"),
        (["a.png", "where is my card"], "texts"),
        (["and/or", "where is my card"], "texts"),
        (np.array(["where is my card", "balance"]), "texts"),
        ([GREY, GREY], "images"),
        ([[0.1, 0.2], [0.3, 0.4]], "numbers"),
        ([np.zeros(3), torch.zeros(3)], "numbers"),
        (np.zeros((2, 3)), "numbers"),
        (np.array([["a", "b"]]), "numbers"),
        ("a text instead of a list", "numbers"),
        ([], "numbers"),
        (None, "numbers"),
    ],
)
def test_all_examples_say_what_they_are(examples, expected):
    assert kind_of(examples) == expected


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.gif", "a.ppm", "nameless", "a b.txt"])
def test_strings_that_name_files_are_paths_whatever_their_endings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GREY.save(tmp_path / "first.png")
    GREY.save(tmp_path / name, "PNG")
    assert kind_of([str(tmp_path / name)]) == kind_of([name]) == "images"
    assert kind_of([name, tmp_path / "first.png", GREY]) == "images"


def test_paths_that_lead_nowhere_are_named(tmp_path):
    GREY.save(tmp_path / "a.png")
    there, absent = str(tmp_path / "a.png"), str(tmp_path / "b")
    for examples in ([there, absent], [GREY, absent], [tmp_path / "a.png", tmp_path / "b"]):
        with pytest.raises(MissingError, match=f"an image at {absent}"):
            kind_of(examples)
    with pytest.raises(MissingError, match=r"an image at no\.tiff, found none \(example 0\)"):
        kind_of(["no.tiff", "neither.png"])


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (["a text", 3.0], "texts as example 0 and numbers as example 1, 3.0"),
        ([[1.0], [2.0], "a text"], "numbers as example 0 and texts as example 2, 'a text'"),
        ([GREY, [1.0]], "images as example 0 and numbers as example 1"),
        (["a text", None], "got None of type NoneType as example 1"),
        (["a text", b"a text"], "got b'a text' of type bytes as example 1"),
        ([GREY, "a text"], "got 'a text' as example 1, which is no file, where others are images"),
        ([[1.0], [1.0, 2.0], [2.0]], "rows of one length, or .* got 1 as example 0 and 2 as exam"),
        ([[1.0, 2.0, 3.0], [1.0, 2.0]], "of 3 points or more, got 2 as example 1 and 3 as exam"),
    ],
)
def test_mixtures_are_refused_and_the_first_that_differs_is_named(examples, message):
    with pytest.raises(DataError, match=message):
        kind_of(examples)


def test_a_text_among_files_is_refused(tmp_path):
    GREY.save(tmp_path / "a", "PNG")
    with pytest.raises(DataError, match="example 1, which is no file, where example 0 names a"):
        kind_of([str(tmp_path / "a"), "where is my card"])
