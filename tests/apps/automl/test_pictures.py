"""The importance of columns, and the pictures of a run."""

from dataclasses import replace

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("optuna")
pytest.importorskip("lightgbm")
pytest.importorskip("matplotlib")

from PIL import Image  # noqa: E402

from quickstudy.apps.automl import importance as importances  # noqa: E402
from quickstudy.apps.automl.estimators import AutoMLClassifier, AutoMLRegressor  # noqa: E402
from quickstudy.apps.automl.importance import column_importance  # noqa: E402
from quickstudy.apps.automl.pictures import draw_automl  # noqa: E402
from quickstudy.errors import DiskError  # noqa: E402

RNG = np.random.default_rng(0)
X = pd.DataFrame({"a": RNG.normal(size=90), "b": RNG.normal(size=90), "c": list("xyz") * 30})
X["constant"], X["name"] = 1, [f"n{i}" for i in range(90)]
OPTIONS = {"n_trials": 1, "families": ["linear"], "n_folds": 2}


def test_the_column_that_decides_the_target_is_most_important(monkeypatch):
    y = np.where(X["a"] > 0, "yes", "no")
    y[0] = "rare"
    model = AutoMLClassifier(**OPTIONS).fit(X, y)
    importance = column_importance(model, X, y)
    assert next(iter(importance)) == "a"
    assert set(importance) == {"a", "b", "c"}  # the others are not used
    assert importance["a"][0] > 0.2 > abs(importance["b"][0])
    assert importance == column_importance(model, X, y)
    monkeypatch.setattr(importances, "MAX_COLUMNS", 2)
    assert len(column_importance(model, X, y)) == 2


def drawn(model, y, folder, importance=None):
    folder.mkdir(exist_ok=True)
    paths = draw_automl(model, y, importance or {}, folder)
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels.std() > 5  # there is something on it
    return [path.name for path in paths]


def test_pictures_of_classes_and_numbers(tmp_path):
    y = np.where(X["a"] > 0, "yes", "no")
    model = AutoMLClassifier(**OPTIONS).fit(X, y)
    (entry,) = model.leaderboard_
    model.leaderboard_ = [
        entry,
        replace(entry, number=1, failure="pruned after 1 folds"),
        replace(entry, number=2, failure="ValueError: no luck"),
    ]
    names = drawn(model, y, tmp_path, {"a": (0.3, 0.1), "b" * 50: (-0.1, 0.0)})
    assert names == ["search.png", "leaderboard.png", "confusion.png", "importance.png"]
    many = [f"class {i % 30}" for i in range(90)]
    drawn(AutoMLClassifier(**OPTIONS).fit(X, many), many, tmp_path)
    numbers = AutoMLRegressor(**OPTIONS).fit(X, X["a"])
    assert drawn(numbers, X["a"], tmp_path) == ["search.png", "leaderboard.png", "predictions.png"]
    with pytest.raises(DiskError, match="nowhere"):
        draw_automl(numbers, X["a"], {}, tmp_path / "nowhere")
