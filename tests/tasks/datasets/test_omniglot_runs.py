import io
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree

from quickstudy.engine import meta_test
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.experiments.build import tasks_of_test
from quickstudy.learners import NearestCentroid
from quickstudy.recipes.loading import load_recipe
from quickstudy.recipes.schema import Data
from quickstudy.recipes.schema import Test as RecipeTest
from quickstudy.tasks.datasets.omniglot_runs import FIRST_RUNS, OneShotRuns


def png(column: int) -> bytes:
    """White paper of 8x8 with one black column."""
    pixels = np.full((8, 8), 255, dtype=np.uint8)
    pixels[:, column] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def few(tmp_path):
    """Two runs of three classes; item i of run r is like class answers[r][i]."""
    answers = [[2, 0, 1], [1, 2, 0]]
    with zipfile.ZipFile(tmp_path / "all_runs.zip", "w") as archive:
        for run, of in enumerate(answers, 1):
            lines = []
            for i, c in enumerate(of, 1):
                item, kind = f"run0{run}/test/item0{i}.png", f"run0{run}/training/class0{c + 1}.png"
                archive.writestr(item, png(2 * c))
                archive.writestr(kind, png(2 * c))
                lines.append(f"{item} {kind}\n")
            archive.writestr(f"run0{run}/class_labels.txt", "".join(lines))
    return tmp_path / "all_runs.zip", answers


def test_a_run_is_an_episode_of_one_drawing_a_class_with_bright_ink(few):
    path, answers = few
    runs = OneShotRuns(path, image_size=8)
    assert len(runs) == 2
    for episode, answer in zip((runs[0], runs[1]), answers, strict=True):
        assert episode.n_way == 3
        assert episode.query.y.tolist() == answer
        assert sorted(episode.support.y.tolist()) == [0, 1, 2]
        for x, y in zip(
            torch.cat([episode.support.x, episode.query.x]),
            [*episode.support.y.tolist(), *answer],
            strict=True,
        ):
            expected = torch.zeros(1, 8, 8)
            expected[..., 2 * y] = 1
            torch.testing.assert_close(x, expected)
    assert meta_test(NearestCentroid(), runs, 2).mean == 1


def test_what_holds_no_runs_is_refused(few, tmp_path):
    runs = OneShotRuns(few[0], image_size=8)
    with pytest.raises(IndexError, match=r"0\.\.1"):
        runs[2]
    with pytest.raises(MissingError, match="nowhere"):
        OneShotRuns(tmp_path / "nowhere.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match="layout"):
        OneShotRuns(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as archive:
        archive.writestr("run01/class_labels.txt", "run01/test/item01.png run01/training/c.png")
    with pytest.raises(DataError, match="layout"):
        OneShotRuns(tmp_path / "half.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(DataError, match="found none"):
        OneShotRuns(tmp_path / "empty.zip")


def test_ten_runs_come_with_the_package_and_their_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "nothing"))
    runs = OneShotRuns(image_size=28)
    assert len(runs) == 10
    assert runs[0].query.x.shape == (20, 1, 28, 28)
    assert "Brenden Lake" in (FIRST_RUNS.parent / "LICENSE").read_text()


def runs_test(few, tmp_path, monkeypatch, **keys):
    """The tasks of a recipe's test on the runs of `few`."""
    home = tmp_path / "home" / "omniglot"
    home.mkdir(parents=True)
    few[0].rename(home / "all_runs.zip")
    monkeypatch.setenv("QUICKSTUDY_DATA", str(home.parent))
    test = RecipeTest(title="runs", **{"data": Data(name="omniglot"), "split": "runs", **keys})
    return tasks_of_test(load_recipe("prototypical_glyphs"), test)


def test_a_recipe_names_the_runs_as_a_split(few, tmp_path, monkeypatch):
    tasks = runs_test(few, tmp_path, monkeypatch, n_tasks=2)
    assert tasks[0].query.x.shape == (3, 1, 28, 28)


@pytest.mark.parametrize(
    "keys",
    [{}, {"n_tasks": 3}, {"n_way": 3}, {"augment": "affine"}, {"instance": 2}, {"n_labels": 30}],
)
def test_a_recipe_cannot_change_the_runs(few, tmp_path, monkeypatch, keys):
    with pytest.raises(UsageError, match="expected"):
        runs_test(few, tmp_path, monkeypatch, **({"n_tasks": 2, **keys} if keys else {}))


@pytest.mark.parametrize("key", ["rotations", "mirrors"])
def test_a_recipe_has_no_rotated_or_mirrored_runs(few, tmp_path, monkeypatch, key):
    turned = Data(name="omniglot", **{key: True})
    with pytest.raises(UsageError, match="without rotations"):
        runs_test(few, tmp_path, monkeypatch, n_tasks=2, data=turned)


@pytest.mark.data("omniglot")
def test_the_modified_hausdorff_distance_errs_as_published():
    """Published: 38.8 % over 20 runs. On the first ten, Lake's demo in numpy errs 76 times of 200
    (9, 7, 8, 5, 6, 3, 12, 7, 8, 11), and the nearest neighbour in pixels 161 times.
    """
    try:
        runs = OneShotRuns(image_size=105)
    except MissingError as error:  # they come apart from the other images
        if os.environ.get("QUICKSTUDY_REQUIRE_DATA"):
            raise
        pytest.skip(str(error))
    errors, pixel_errors = [], 0
    for i in range(10):
        episode = runs[i]
        x, labels = episode.support.x.flatten(1), episode.support.y
        nearest = labels[torch.cdist(episode.query.x.flatten(1), x).argmin(1)]
        pixel_errors += int((nearest != episode.query.y).sum())
        shown, asked = (
            [_points(one) for one in part.x] for part in (episode.support, episode.query)
        )
        trees = [cKDTree(points) for points in shown]
        distance = torch.tensor(
            [
                [max(tree.query(a)[0].mean(), cKDTree(a).query(s)[0].mean())
                 for s, tree in zip(shown, trees, strict=True)]
                for a in asked
            ]
        )  # fmt: skip
        errors.append(int((labels[distance.argmin(1)] != episode.query.y).sum()))
    assert errors == [9, 7, 8, 5, 6, 3, 12, 7, 8, 11]
    assert pixel_errors == 161


def _points(image: torch.Tensor) -> np.ndarray:
    points = np.argwhere(image[0].numpy() > 0.5).astype(float)
    return points - points.mean(0)
