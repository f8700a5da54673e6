import resource

import numpy as np
import pytest
from PIL import Image

from drawings import draw_boxes
from quickstudy.apps.fewshot.adapt import adapt
from quickstudy.apps.fewshot.pictures import PREDICTED_COLOUR, draw_predictions
from quickstudy.errors import DiskError, UsageError
from quickstudy.experiments.pictures import CORRECT_COLOUR, WRONG_COLOUR


def test_predictions_are_drawn_a_row_a_class(tmp_path):
    heights = []
    for boxes in ({"bar": (4, 12, 24, 16), "dot": (12, 12, 16, 16)}, {"post": (12, 4, 16, 24)}):
        draw_boxes(tmp_path / "s", boxes)
        found = adapt(tmp_path / "s", tmp_path / "s")
        picture = draw_predictions(found, tmp_path / "s", tmp_path / "s", tmp_path / "p.png")
        with Image.open(picture) as image:
            heights.append(image.height)
    assert heights[1] > heights[0] > 100


def frames(picture, colour):
    """How many pixels of a picture have a colour of frames."""
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels - wanted).max(2) < 3).sum())


def test_predictions_whose_labels_are_not_known_are_framed_neither_as_right_nor_as_wrong(tmp_path):
    draw_boxes(tmp_path / "s", {"bar": (4, 12, 24, 16), "dot": (12, 12, 16, 16)})
    found = adapt(tmp_path / "s", tmp_path / "s")
    picture = draw_predictions(found, tmp_path / "s", tmp_path / "s", tmp_path / "p.png")
    assert frames(picture, PREDICTED_COLOUR) > 100
    assert frames(picture, CORRECT_COLOUR) == frames(picture, WRONG_COLOUR) == 0


def test_what_is_no_image_is_refused(tmp_path):
    table = tmp_path / "s.csv"
    table.write_text("h,w,label\n1,2,x\n1,3,y\n")
    with pytest.raises(UsageError, match="expected images to draw"):
        draw_predictions(adapt(table, table), table, table, tmp_path / "p.png")


def test_a_picture_that_cannot_be_written_whole_leaves_the_one_before(tmp_path):
    draw_boxes(tmp_path / "s", {"bar": (4, 12, 24, 16), "dot": (12, 12, 16, 16)})
    found = adapt(tmp_path / "s", tmp_path / "s")
    picture = tmp_path / "p.png"
    picture.write_bytes(b"before")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
    try:
        with pytest.raises(DiskError, match=r"cannot write to .*p\.png"):
            draw_predictions(found, tmp_path / "s", tmp_path / "s", picture)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert picture.read_bytes() == b"before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p.png", "s"]
