import re

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file

from drawings import draw_boxes
from quickstudy.apps.fewshot import methods
from quickstudy.apps.fewshot.adapt import adapt, as_table
from quickstudy.apps.fewshot.classifier import FewShotClassifier
from quickstudy.apps.fewshot.views import ENCODERS_OF
from quickstudy.encoders import ENCODERS, Encoder, Pretrained
from quickstudy.errors import DataError, MissingError, UsageError
from quickstudy.experiments.build import make_learner
from quickstudy.experiments.run import SHIPPED, load_run, train_run
from quickstudy.recipes.loading import load_recipe, parse_recipe
from quickstudy.tasks import ClassData
from quickstudy.tasks.datasets import DATASETS, Dataset


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch, tmp_path):
    """Encoders by name that need no extra, and no user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def count(texts):
        return torch.tensor([[text.count(letter) for letter in "abc"] for text in texts])

    def colours(images):
        return torch.stack(images).float().mean((2, 3))

    words = Encoder(count, "letters", "1", seen="told which letters there are")
    pictures = Encoder(colours, "colours", "1")
    for name in ENCODERS_OF["texts"]:
        monkeypatch.setitem(ENCODERS, name, Pretrained(lambda: words, 3, "texts"))
    monkeypatch.setitem(
        ENCODERS, methods.IMAGE_ENCODER, Pretrained(lambda: pictures, 3, "images", 16)
    )


def write(path, text):
    path.write_text(text)
    return path


def labels(adaptation):
    return [p.label for p in adaptation.predictions]


def test_a_table_of_texts_is_embedded(tmp_path):
    support = write(tmp_path / "s.csv", 'label,text\nx,"aa, a"\nx,aab\ny,cc\ny,c c c\n')
    query = write(tmp_path / "q.csv", "id,text\n7,aaa\n8,c\n")
    found = adapt(support, query)
    assert labels(found) == ["x", "y"]
    assert (found.kind, found.ways, found.shots) == ("text", 2, 2)
    assert found.seen == "told which letters there are"
    assert as_table(found)["text"] == ["aaa", "c"]
    assert labels(adapt(support, query, learner="nearest_centroid", encoder="minilm")) == ["x", "y"]


@pytest.fixture
def encoded_run(tmp_path):
    """Makes a run of what a named encoder makes."""

    def make(encoder):
        name = "clinc150" if encoder == methods.TEXT_ENCODER else "caltech101_84"
        data = f"data={{name={name!r}, encoder={encoder!r}}}"
        folder = tmp_path / encoder
        folder.mkdir()
        recipe = load_recipe("prototypical_clinc150", [data])
        (folder / "recipe.json").write_text(recipe.as_json())
        save_file(make_learner(recipe).state_dict(), folder / "weights.safetensors")
        return folder

    return make


def test_a_run_of_embedded_examples_takes_what_they_are_made_of(encoded_run, tmp_path):
    words, pictures = encoded_run(methods.TEXT_ENCODER), encoded_run(methods.IMAGE_ENCODER)
    texts = write(tmp_path / "s.csv", "text,label\naa,x\ncc,y\n")
    found = adapt(texts, texts, learner=words)
    assert labels(found) == ["x", "y"]
    assert (found.learner, found.seen) == (f"{words} on minilm", "told which letters there are")
    for name in ("red", "blue"):
        (tmp_path / "shown" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20), name).save(tmp_path / "shown" / name / "1.png")
    assert labels(adapt(tmp_path / "shown", tmp_path / "shown", learner=pictures)) == [
        "blue",
        "red",
    ]
    with pytest.raises(UsageError, match="an encoder of texts, got efficientnet_lite0"):
        adapt(texts, texts, learner=pictures)
    with pytest.raises(UsageError, match="only with a run of images"):
        adapt(tmp_path / "shown", tmp_path / "shown", learner=pictures, ink="dark")
    classifier = FewShotClassifier.from_run(words).fit(["aa", "cc"], ["x", "y"])
    classifier.save(tmp_path / "saved")
    for estimator in (classifier, FewShotClassifier.load(tmp_path / "saved")):
        assert estimator.predict(["aab", "ccb"]).tolist() == ["x", "y"]


def test_a_table_of_numbers_is_learned_as_it_is(tmp_path):
    plain = "height,class,width\n1,low,2\n1.5,low,2.5\n9,high,8\n8,high,9\n"
    support = write(tmp_path / "s.csv", plain)
    query = write(tmp_path / "q.csv", "width,height\n2,1\n9,9\n")
    found = adapt(support, query)
    assert labels(found) == ["low", "high"]
    table = as_table(found)
    assert table["row"] == ["1", "2"]
    assert table["p(high)"][1] > 0.5 > table["p(high)"][0]
    columns = {"width": [2.0, 9.0], "height": [1, 9]}
    parquet.write_table(pa.table(columns), tmp_path / "q.parquet")
    assert as_table(adapt(support, tmp_path / "q.parquet")) == table
    assert labels(adapt(support, query, learner="ridge", label="class")) == ["low", "high"]


def images(folder, colours):
    rng = np.random.default_rng(0)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for i in range(2):
            pixels = np.clip(rng.normal(colour, 9, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_photographs_are_embedded(tmp_path):
    folder = images(tmp_path / "s", {"red": (200, 30, 30), "blue": (20, 30, 220)})
    found = adapt(folder, folder)
    assert found.learner == "a blend of many methods"
    assert labels(found) == [p.example.split("/")[0] for p in found.predictions]
    named = adapt(folder, folder, learner="ridge")
    assert (named.learner, named.reason) == ("ridge on efficientnet_lite0", "")
    assert labels(named) == labels(found)


def test_a_method_is_less_sure_where_its_examples_contradict_each_other(tmp_path):
    clear = "".join(
        f"{label},{i % 3},{level}\n" for label, level in (("x", 0), ("y", 9)) for i in range(6)
    )
    query = write(tmp_path / "q.csv", "a,b\n0,0\n1,9\n")
    sure, unsure = (
        [max(p.probabilities.values()) for p in adapt(path, query).predictions]
        for path in (
            write(tmp_path / "clear.csv", "label,a,b\n" + clear),
            write(tmp_path / "mixed.csv", "label,a,b\n" + clear + "x,0,9\ny,1,0\nx,2,9\ny,2,0\n"),
        )
    )
    assert min(sure) > max(unsure)


def test_drawings_are_learned_by_all_views_of_images(tmp_path):
    draw_boxes(tmp_path / "s", {"bar": (4, 12, 24, 16), "dot": (12, 12, 16, 16)})
    found = adapt(tmp_path / "s", tmp_path / "s")
    assert found.learner == "a blend of many methods"
    assert re.search(r"a blend of \d+ candidates \(.*%.*\); expected accuracy \d+%", found.reason)
    assert labels(found) == ["bar"] * 3 + ["dot"] * 3
    assert labels(adapt(tmp_path / "s", tmp_path / "s", learner="handwriting")) == labels(found)


@pytest.mark.parametrize(
    "content", ["text,label\naa,x\naab,x\ncc,y\nccb,y\n", "h,w,label\n1,2,x\n2,1,x\n8,9,y\n9,7,y\n"]
)
def test_the_default_says_what_it_weighed_and_expects_and_a_named_method_does_not(
    tmp_path, content
):
    table = write(tmp_path / "s.csv", content)
    assert "expected accuracy" in adapt(table, table).reason
    assert adapt(table, table, learner="ridge").reason == ""


def test_one_example_a_class_says_what_it_expects_too(tmp_path):
    table = write(tmp_path / "s.csv", "h,w,label\n1,2,x\n8,9,y\n")
    found = adapt(table, table)
    assert labels(found) == ["x", "y"]
    assert "expected accuracy" in found.reason


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_that_comes_with_quickstudy_is_one_of_its_recipes(name):
    recipe, learner = load_run(name)
    assert recipe.trains_as(load_recipe(SHIPPED[name]))
    assert not learner.training


@pytest.mark.parametrize(
    ("support", "query", "message"),
    [
        ("text,label\na,x\n", "text\na\n", "at least two classes.*'x' alone"),
        ("text,label\na,x\nb,\n", "text\na\n", "a label in every row, got none in row 2"),
        ("text,label\na,x\n ,y\n", "text\na\n", "a text in every row, got none in row 2"),
        ("text,label\na,x\nb,y\n", "words\na\n", "expected the column 'text'"),
        ("text,label\na,x\nb,y\n", "text\n", "at least one row"),
        ("\n", "text\na\n", "column names in the first line"),
        ("text,label\na,x,1\n", "text\na\n", "2 cells.*got 3 in row 1"),
        ("text,text\na,x\n", "text\na\n", "'text' twice"),
        ("label\nx\ny\n", "text\na\n", "columns beside 'label'"),
        ("h,w,label\n1,2,x\n1,nan,y\n", "h,w\n1,2\n", "'nan' in column 'w', row 2"),
        ("h,w,label\n1,2,x\n1,wide,y\n", "h,w\n1,2\n", "'wide' in column 'w'"),
        ("h,w,label\n1,2,x\n1,3,y\n", "h,w\n1,inf\n", "'inf' in column 'w'"),
        (
            "h,w,label\n1,2,x\n1,3,y\n",
            "h,w\n1,-1e300\n",
            "at most, got -1e300 in column 'w', row 1",
        ),
    ],
)
def test_a_table_that_cannot_serve_is_refused(tmp_path, support, query, message):
    paths = write(tmp_path / "s.csv", support), write(tmp_path / "q.csv", query)
    with pytest.raises(DataError, match=message):
        adapt(*paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "kind"}, "a column 'kind'.*got text, label"),
        ({"learner": "glyphs"}, "a method for vectors"),
        ({"encoder": "efficientnet_lite0"}, "an encoder of texts"),
        ({"encoder": "word2vec"}, "word2vec"),
        ({"ink": "dark"}, "only with images"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, options, message):
    support = write(tmp_path / "s.csv", "text,label\na,x\nb,y\n")
    with pytest.raises(UsageError, match=message):
        adapt(support, support, **options)


def test_places_that_cannot_serve_are_refused(tmp_path):
    table = write(tmp_path / "s.csv", "text,label\na,x\nb,y\n")
    folder = images(tmp_path / "s", {"red": (200, 30, 30), "blue": (20, 30, 220)})
    with pytest.raises(MissingError, match="found nothing"):
        adapt(table, tmp_path / "no.csv")
    with pytest.raises(UsageError, match="tables alone, or places of images alone"):
        adapt(table, folder)
    with pytest.raises(UsageError, match="only with tables"):
        adapt(folder, folder, label="kind")
    with pytest.raises(UsageError, match="a method for vectors"):
        adapt(folder, folder, learner="glyphs", encoder="efficientnet_lite0")
    (tmp_path / "b.csv").write_bytes(b"text\n\x81\xfe\n")
    with pytest.raises(DataError, match="not CSV in UTF-8"):
        adapt(table, tmp_path / "b.csv")
    (tmp_path / "b.parquet").write_bytes(b"text")
    with pytest.raises(DataError, match="as Parquet"):
        adapt(table, tmp_path / "b.parquet")


def test_a_path_that_leads_nowhere_is_named_before_kinds_are_compared(tmp_path):
    query = tmp_path / "q.csv"
    query.write_text("text\nhello\n")
    with pytest.raises(MissingError, match=r"expected examples at .*nowhere, found nothing"):
        adapt(tmp_path / "nowhere", query)


def vectors(split, *, image_size, seed):
    generator = torch.Generator().manual_seed(len(split))
    centre = torch.randn(6, 1, 4, generator=generator)
    x = centre + 0.1 * torch.randn(6, 5, 4, generator=generator)
    return ClassData(x.flatten(0, 1), torch.arange(30) // 5, [f"{split}{i}" for i in range(6)])


def test_a_run_on_vectors_is_adapted_to_rows_of_numbers(tmp_path, monkeypatch):
    dataset = Dataset(title="vectors", splits=("train", "test"), load=vectors, shape=(4,))
    monkeypatch.setitem(DATASETS, "vectors", dataset)
    recipe = parse_recipe(
        {
            "about": "vectors",
            "data": {"name": "vectors"},
            "backbone": {"name": "flatten"},
            "learner": {"name": "prototypical_networks"},
            "tasks": {"n_way": 2, "n_shot": 1, "n_query": 1},
            "train": {"steps": 0},
        }
    )
    run = tmp_path / "run"
    train_run(recipe, run)
    support = write(tmp_path / "s.csv", "a,b,c,d,label\n0,0,0,0,x\n9,9,9,9,y\n")
    query = write(tmp_path / "q.csv", "a,b,c,d\n8,8,8,8\n1,0,0,0\n")
    adaptation = adapt(support, query, learner=run)
    assert [p.label for p in adaptation.predictions] == ["y", "x"]
    assert adaptation.recipe is not None
    few = write(tmp_path / "few.csv", "a,label\n0,x\n9,y\n")
    with pytest.raises(DataError, match=r"4 columns of numbers.*shape \(4,\), got 1"):
        adapt(few, few, learner=run)
    with pytest.raises(UsageError, match="trained on vectors or series, got glyphs"):
        adapt(support, query, learner="glyphs")
