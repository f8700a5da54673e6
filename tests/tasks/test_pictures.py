"""What a notebook shows of an episode."""

import base64
import io
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from quickstudy.tasks import Batch, Episode, SinusoidTasks, Support
from quickstudy.tasks.pictures import MAX_CLASSES, MAX_QUERIES


def of_images(n_way=2, n_query=3, channels=1, low=0.0, high=255.0):
    """Class 0 is dark and class 1 bright, of 6 x 4 pixels."""

    def part(n):
        y = torch.arange(n_way).repeat_interleave(n)
        x = torch.where(y > 0, high, low)[:, None, None, None]
        return x.expand(-1, channels, 6, 4), y

    return Episode(Support(*part(1), n_way=n_way), Batch(*part(n_query)))


def images_in(html):
    codes = re.findall(r"data:image/png;base64,([^\"]+)", html)
    return [Image.open(io.BytesIO(base64.b64decode(code))) for code in codes]


def circles_in(html):
    (svg,) = re.findall(r"<svg.*?</svg>", html)
    return [
        c.attrib for c in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    ]


def test_an_episode_in_words_has_types_and_shapes_and_no_values():
    assert repr(of_images()) == (
        "Episode(support=Support(x=float32 (2, 1, 6, 4), y=int64 (2,), n_way=2), "
        "query=Batch(x=float32 (6, 1, 6, 4), y=int64 (6,)))"
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (-1.5, 2.0)])
def test_images_are_shown_a_row_a_class_from_the_darkest_to_the_brightest(channels, low, high):
    strips = images_in(of_images(channels=channels, low=low, high=high)._repr_html_())
    assert [strip.size for strip in strips] == [(4, 6), (14, 6), (4, 6), (14, 6)]
    dark, bright = (0, 255) if channels == 1 else ((0, 0, 0), (255, 255, 255))
    assert strips[1].getpixel((0, 0)) == dark
    assert strips[3].getpixel((13, 5)) == bright


def test_many_images_are_shown_in_part():
    html = of_images(n_way=MAX_CLASSES + 5, n_query=MAX_QUERIES + 9)._repr_html_()
    strips = images_in(html)
    assert len(strips) == 2 * MAX_CLASSES
    assert max(strip.width for strip in strips) == 5 * MAX_QUERIES - 1
    assert "and 5 more classes" in html


def test_a_class_without_an_example_and_values_that_are_not_finite_are_shown_all_the_same():
    episode = of_images()
    x = episode.support.x[:1].clone()
    x[0, 0, 0, 0] = torch.nan
    half = Episode(Support(x, torch.tensor([0]), n_way=2), episode.query)
    assert "<td>none</td>" in half._repr_html_()


def test_vectors_are_points_coloured_by_class():
    y = torch.tensor([0, 0, 1])
    x = torch.tensor([[0.0, 0, 0], [0, 0, 1], [9, 9, 9]])
    circles = circles_in(Episode(Support(x, y, n_way=2), Batch(x + 0.1, y))._repr_html_())
    assert len(circles) == 6
    of_support = [c for c in circles if c["fill"] != "none"]
    assert len({c["fill"] for c in of_support}) == 2
    across = [float(c["cx"]) for c in of_support]
    assert abs(across[0] - across[1]) < abs(across[0] - across[2]) / 3


def test_a_curve_has_its_input_across_and_its_target_up():
    x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[5.0], [6.0], [7.0]])
    circles = circles_in(Episode(Support(x, y), Batch(x, y))._repr_html_())
    across = [float(c["cx"]) for c in circles[:3]]
    down = [float(c["cy"]) for c in circles[:3]]
    assert across == sorted(across)
    assert down == sorted(down, reverse=True)
    assert "regression" in SinusoidTasks(n_shot=5, n_query=9)[0]._repr_html_()


def test_anything_else_is_a_table_of_shapes():
    x = torch.zeros(4, 3, 50)
    html = Episode(Support(x, torch.zeros(4).long(), n_way=1), Batch(x, torch.zeros(4).long()))
    assert "<td>3 x 50</td>" in html._repr_html_()


def test_a_task_without_examples_or_of_one_feature_is_shown():
    nothing = Support(torch.zeros(0, 3), torch.zeros(0).long(), 2, torch.eye(2))
    query = Batch(torch.rand(5, 3), torch.zeros(5).long())
    assert len(circles_in(Episode(nothing, query)._repr_html_())) == 5
    one = Batch(torch.rand(5, 1), torch.zeros(5).long())
    support = Support(torch.rand(2, 1), torch.tensor([0, 1]), n_way=2)
    assert len(circles_in(Episode(support, one)._repr_html_())) == 7


def test_pictures_need_no_matplotlib():
    code = (
        "import sys; from quickstudy import SinusoidTasks; "
        "SinusoidTasks(n_shot=5, n_query=9)[0]._repr_html_(); "
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
