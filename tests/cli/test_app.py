"""The command line as people use it: in a process of its own, from its output and exit code."""

import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import quickstudy
from command import run
from quickstudy.cli import app as commands
from quickstudy.experiments import data as classes
from quickstudy.experiments.run import train_run
from quickstudy.recipes.loading import load_recipe
from quickstudy.tasks.datasets._glyph_strokes import draw_glyphs


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Class folders of dark letters on white: images/letters (6 classes) and images/unknown."""
    root = tmp_path_factory.mktemp("images")
    drawn = draw_glyphs(1, seed=9, n_characters=(6, 6), n_drawers=5)
    (root / "unknown").mkdir()
    for i, (pixels, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        place = root / "letters" / f"letter{label}"
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(255 - pixels)
        image.save(place / f"{i}.png")
        if i % 5 == 4:
            image.save(root / "unknown" / f"letter{label}.png")
    return root


RECIPE = """
about = "prototypical networks on my letters"
[data]
name = "folder"
folder = "{folder}"
[backbone]
name = "conv4"
width = 8
[learner]
name = "prototypical_networks"
[tasks]
split = "all"
n_way = 3
n_shot = 1
n_query = 2
[train]
steps = 60
checkpoint_every = 20
[[test]]
title = "training classes again"
split = "all"
n_way = 3
n_query = 2
n_tasks = 5
[[test]]
title = "digits"
data = {{ name = "digits" }}
n_way = 10
n_tasks = 5
[[test]]
title = "a data set that is not here"
data = {{ name = "omniglot" }}
n_way = 3
n_tasks = 5
"""


@pytest.fixture(scope="module")
def recipe(images):
    path = images / "mine.toml"
    path.write_text(RECIPE.format(folder=images / "letters"))
    return path


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch, tmp_path):
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "no-data"))
    monkeypatch.setattr(classes, "_LOADED", {})
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained_once(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUICKSTUDY_DATA", str(folder.parent / "no-data"))
        train_run(load_recipe(recipe), folder)
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """A run folder of the test's own."""
    return shutil.copytree(trained_once, tmp_path / "run")


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_train_test_and_adapt_own_images(capsys, trained, images):
    code, out, _ = run(capsys, "test", trained, "--json")
    report = json.loads(out)
    assert code == 0
    entry, _digits = report["test"]["results"]["score"]
    assert entry["title"] == "training classes again"
    assert entry["mean"] == pytest.approx(np.mean(entry["scores"]))
    assert report == json.loads((trained / "report.json").read_text())
    assert report["train"]["steps"] == 60
    card = (trained / "MODEL_CARD.md").read_text()
    assert "training classes again" in card
    (digits,) = report["test"]["held_out"]
    assert digits["data"] == "digits"
    assert digits["n_classes"] == len(digits["classes"]) == 10
    names = ", ".join(digits["classes"])
    assert f"Held out for tests: the 10 classes of the split test of digits: {names}." in card

    before = contents(trained)
    folders = ("--support", images / "letters", "--query", images / "unknown")
    code, out, _ = run(capsys, "adapt", trained, *folders)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["image"] for row in rows] == [f"letter{c}.png" for c in range(6)]
    for row in rows:
        probabilities = {k[2:-1]: float(v) for k, v in row.items() if k.startswith("p(")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert row["label"] == max(probabilities, key=probabilities.get)
    assert sum(row["image"] == row["label"] + ".png" for row in rows) >= 4  # they are in support

    code, out, _ = run(capsys, "adapt", trained, *folders, "--json")
    assert [p["label"] for p in json.loads(out)] == [row["label"] for row in rows]
    answers = trained.parent / "answers.json"
    assert run(capsys, "adapt", trained, *folders, "--out", answers)[0] == 0
    assert json.loads(answers.read_text()) == json.loads(out)
    table = trained.parent / "answers.csv"
    assert run(capsys, "adapt", trained, *folders, "--out", table, "--json")[1] == out
    assert list(csv.DictReader(table.open())) == rows
    picture = trained.parent / "answers.png"
    assert run(capsys, "adapt", trained, *folders, "--picture", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert contents(trained) == before


def test_adapt_writes_no_formula_into_csv(capsys, tmp_path):
    (tmp_path / "support.csv").write_text("x,label\n" + "0,=1+1\n5,-1.5\n1,=1+1\n6,-1.5\n")
    (tmp_path / "query.csv").write_text("x\n0\n6\n")
    words = ("adapt", "--support", tmp_path / "support.csv", "--query", tmp_path / "query.csv")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert [row["label"] for row in csv.DictReader(io.StringIO(out))] == ["'=1+1", "-1.5"]
    assert run(capsys, *words, "--out", tmp_path / "out.csv")[0] == 0
    assert (tmp_path / "out.csv").read_text() == out
    answers = json.loads(run(capsys, *words, "--json")[1])
    assert [row["label"] for row in answers] == ["=1+1", "-1.5"]


def test_adapt_says_on_stderr_that_it_blends_and_what_accuracy_to_expect(capsys, tmp_path):
    (tmp_path / "s.csv").write_text("h,w,label\n1,2,x\n2,1,x\n8,9,y\n9,7,y\n")
    words = ("adapt", "--support", tmp_path / "s.csv", "--query", tmp_path / "s.csv")
    code, out, err = run(capsys, *words)
    assert code == 0
    assert "learned 2 classes by a blend of many methods" in err
    assert re.search(r"chosen: a blend of \d+ candidates .* expected accuracy \d+% \(", err)
    assert "expected accuracy" not in out
    assert json.loads(run(capsys, *words, "--json")[1])[0]["label"] == "x"
    _, _, err = run(capsys, "adapt", "ridge", *words[1:])
    assert "learned 2 classes by ridge" in err
    assert "chosen" not in err


def test_a_test_whose_data_is_absent_is_left_out_and_named(capsys, trained):
    code, out, _ = run(capsys, "test", trained)
    assert code == 0
    assert "Left out, as its data is not here: a data set that is not here" in out


def test_test_takes_a_seed_and_overrides(capsys, trained):
    scores = []
    for words in ([], ["--seed", 5], ["--set", "test.1.n_tasks=7"]):
        out = run(capsys, "test", trained, "--json", *words)[1]
        scores.append(json.loads(out)["test"]["results"]["score"][1]["scores"])
    assert scores[0] != scores[1]
    assert scores[2][:5] == scores[0]
    assert len(scores[2]) == 7


def test_resume_continues_and_a_finished_run_stays_as_it_is(capsys, trained, recipe):
    before = (trained / "weights.safetensors").read_bytes()
    code, out, _ = run(capsys, "train", recipe, "--run", trained, "--resume", "--json")
    assert (code, json.loads(out)["steps"]) == (0, 60)
    assert (trained / "weights.safetensors").read_bytes() == before


def test_a_truncated_checkpoint_falls_back_and_says_so(capsys, trained, recipe):
    newest = sorted((trained / "state").iterdir())[-1]
    before = contents(newest)
    (newest / "weights.safetensors").write_bytes(b"half")
    code, _, err = run(capsys, "train", recipe, "--run", trained, "--resume")
    assert code == 0
    assert "is damaged" in err
    assert {k: v for k, v in contents(newest).items() if k.suffix == ".safetensors"} == {
        k: v for k, v in before.items() if k.suffix == ".safetensors"
    }


def test_a_run_with_every_checkpoint_truncated_is_refused(capsys, trained, recipe):
    for place in (trained / "state").iterdir():
        (place / "weights.safetensors").write_bytes(b"half")
    refused(capsys, "no undamaged checkpoint", "train", recipe, "--run", trained, "--resume")


def test_truncated_weights_are_refused(capsys, trained, images):
    (trained / "weights.safetensors").write_bytes(b"half")
    refused(capsys, "weights.safetensors is damaged", "test", trained)


def test_a_damaged_recipe_or_report_is_refused(capsys, trained):
    (trained / "report.json").write_text("{")
    refused(capsys, "report.json is damaged", "test", trained)
    (trained / "recipe.json").write_text("{")
    refused(capsys, "recipe.json is damaged", "test", trained)


def test_resuming_with_more_steps_and_other_tests_goes_on(capsys, trained, recipe):
    more = ["--set", "train.steps=70", "--set", "test.0.n_tasks=6"]
    more += ["--set", "train.keep_checkpoints=1"]
    first = json.loads((trained / "report.json").read_text())["train"]
    code, out, _ = run(capsys, "train", recipe, "--run", trained, "--resume", "--json", *more)
    assert (code, json.loads(out)["steps"]) == (0, 70)
    assert [place.name for place in (trained / "state").iterdir()] == ["step-00000070"]
    second = json.loads((trained / "report.json").read_text())["train"]
    assert (first["steps"], second["steps"]) == (60, 70)
    run(capsys, "train", recipe, "--run", trained, "--resume", *more)  # nothing left to do
    assert json.loads((trained / "report.json").read_text())["train"] == second
    scores = json.loads(run(capsys, "test", trained, "--json")[1])["test"]["results"]["score"]
    assert len(scores[0]["scores"]) == 6


def test_what_a_killed_start_leaves_is_not_in_the_way(capsys, recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".tmp-0").touch()
    small = ["--set", "train.steps=1"]
    assert run(capsys, "train", recipe, "--run", tmp_path / "run", *small)[0] == 0


def test_adapt_reads_images_as_the_run_was_trained(capsys, images, tmp_path):
    """Trained on bright ink, it adapts to bright ink without being told."""
    for path in images.rglob("*.png"):
        place = tmp_path / "bright" / path.relative_to(images)
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - np.asarray(Image.open(path))).save(place)
    mine = tmp_path / "mine.toml"
    text = RECIPE.format(folder=tmp_path / "bright" / "letters")
    mine.write_text(text.replace("[backbone]", 'ink = "bright"\n[backbone]'))
    run(capsys, "train", mine, "--run", tmp_path / "run", "--set", "train.steps=1")
    folders = ["--support", "{}/letters", "--query", "{}/unknown"]
    bright = [word.format(tmp_path / "bright") for word in folders]
    dark = [word.format(images) for word in folders]
    answers = [
        run(capsys, "adapt", tmp_path / "run", *words)[1]
        for words in (bright, [*bright, "--ink", "bright"], [*dark, "--ink", "dark"])
    ]
    assert answers[0] == answers[1] == answers[2]
    assert run(capsys, "adapt", tmp_path / "run", *bright, "--ink", "dark")[1] != answers[0]


def refused(capsys, message, *words):
    """One line, exit code 2, and every file as it was."""
    code, out, err = run(capsys, *words)
    assert code == 2
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nothing"], "unknown recipe 'nothing'"),
        (["train", "nothing.toml"], "expected a recipe at nothing.toml"),
        (["train", "{recipe}", "--set", "tasks.n_sot=1"], "did you mean 'tasks.n_shot'"),
        (["train", "{recipe}", "--set", "tasks.n_shot=9"], "lower n_shot"),
        (["train", "{recipe}", "--set", "tasks.n_way=9"], "at least 9 classes"),
        (["train", "{recipe}", "--set", "data.folder=nowhere"], "found nothing"),
        (["train", "{recipe}", "--set", "data.folder={images}/unknown"], "two class folders"),
        (["train", "maml_omniglot"], "quickstudy data get omniglot"),
        (["test", "nowhere"], "expected a run folder at nowhere"),
        (["test", "glyphs", "--set", "test=[]"], "expected a recipe with a test, got none"),
        (["demo", "--set", "test=[]"], "expected a recipe with a test, got none"),
        (["test", "{images}"], "found no recipe.json"),
        (["data", "get", "omniglott"], "did you mean 'omniglot'"),
        (["data", "add", "omniglot", "--from", "nowhere"], "expected images_background.zip"),
        (["data", "path", "nothing"], "unknown data set"),
        (["data", "get", "glyphs"], "comes with quickstudy"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(capsys, recipe, images, tmp_path, words, message):
    words = [word.format(recipe=recipe, images=images) for word in words]
    refused(capsys, message, *words)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--support", "nowhere", "--query", "{images}/unknown"], "found nothing"),
        (["--support", "{images}/letters", "--query", "nowhere"], "found nothing"),
        (["--support", "{images}/letters/letter0", "--query", "{images}/unknown"], "two class"),
        (["--support", "{images}/letters", "--query", "{bad}"], "bad.png is not a readable image"),
        (
            ["--support", "{images}/letters", "--query", "{images}/unknown", "--out", "a.xls"],
            "end in .csv, .json or .parquet",
        ),
        (
            ["--support", "{images}/letters", "--query", "{images}/unknown", "--out", "no/a.csv"],
            "expected a folder at no",
        ),
        (
            ["--support", "{images}/letters", "--query", "{images}/unknown", "--picture", "a.gif"],
            "expected --picture to end in .png",
        ),
    ],
)
def test_adapt_refuses_what_it_cannot_read(capsys, trained, images, tmp_path, words, message):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.png").write_bytes(b"no image")
    before = contents(tmp_path)
    words = [word.format(images=images, bad=tmp_path / "bad") for word in words]
    if "--out" not in words:
        words += ["--out", str(tmp_path / "answers.csv")]
    refused(capsys, message, "adapt", trained, *words)
    assert contents(tmp_path) == before


def test_what_the_system_refuses_is_one_line(capsys, trained, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    before = contents(trained)
    refused(capsys, "No space left on device", "test", trained)
    assert contents(trained) == before


def test_a_run_folder_in_the_way_is_left_alone(capsys, trained, recipe, tmp_path):
    before = contents(trained)
    refused(capsys, "add --resume", "train", recipe, "--run", trained)
    fewer = ["--set", "train.steps=9", "--resume"]
    refused(capsys, "60 steps already", "train", recipe, "--run", trained, *fewer)
    other = ["--set", "backbone.width=9", "--resume"]
    says = "made by another recipe (backbone.width: 8 there, 9 here): name another folder"
    refused(capsys, says, "train", recipe, "--run", trained, *other)
    assert contents(trained) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    refused(capsys, "is not a run", "train", recipe, "--run", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_the_demo_tests_beside_its_baselines_and_draws_a_picture(capsys, tmp_path, few_glyphs):
    small = [
        f"--set={change}"
        for change in (
            "backbone.width=8",
            "train.steps=3",
            "validation.n_tasks=2",
            *(f"test.{i}.n_tasks=2" for i in range(5)),
        )
    ]
    code, out, _ = run(capsys, "demo", "--run", tmp_path / "demo", *small, "--json")
    report = json.loads(out)
    assert code == 0
    columns = report["test"]["results"]
    assert list(columns) == ["meta-trained", "untrained", "raw pixels"]
    assert [len(c) for c in columns.values()] == [4, 4, 4]  # all of Omniglot is not here
    with Image.open(tmp_path / "demo" / "demo.png") as picture:
        assert picture.width > 500
    again = run(capsys, "demo", "--run", tmp_path / "demo", *small)
    assert again[0] == 0
    assert "real alphabets never seen" in again[1]


def test_reproduce_sets_measured_beside_published(capsys, tmp_path):
    (tmp_path / "small.toml").write_text(
        'base = "maml_sinusoid"\ntrain = { steps = 3 }\n'
        '[[test]]\ntitle = "few"\npublished = 1.5\nn_shot = 10\nn_tasks = 3\n'
    )
    folder = tmp_path / "run"
    code, out, _ = run(capsys, "reproduce", "small.toml", "--run", folder)
    assert code == 0
    assert "1.5" in out
    code, out, _ = run(capsys, "reproduce", "small.toml", "--run", folder, "--json")
    (row,) = json.loads(out)["gaps"]
    assert row["gap"] == pytest.approx(row["measured"] - 1.5)
    again = ["reproduce", "small.toml", "--run", tmp_path / "seeds", "--seeds", 2, "--json"]
    report = json.loads(run(capsys, *again)[1])
    one, other = (
        json.loads((tmp_path / "seeds" / f"seed-{seed}" / "report.json").read_text())
        for seed in (0, 1)
    )
    means = [r["test"]["results"]["score"][0]["mean"] for r in (one, other)]
    assert means[0] != means[1]
    assert report["gaps"][0]["measured"] == pytest.approx(sum(means) / 2)
    assert run(capsys, "reproduce", "small.toml", "--seeds", 1)[0] == 2
    assert "maml_omniglot" in run(capsys, "reproduce", "--list")[1]
    refused(capsys, "expected a recipe, or --list", "reproduce")


def test_compare_prints_learners_pairs_and_a_picture(capsys, tmp_path, monkeypatch, few_glyphs):
    from quickstudy.experiments import budget

    monkeypatch.setattr(budget, "MIN_STEPS", 2)
    monkeypatch.setattr(budget, "VALIDATION_TASKS", (2, 4))
    monkeypatch.setattr(budget, "_seconds", lambda *_: (0.02, 0.002))
    (tmp_path / "pixels.toml").write_text(
        'about = ""\ndata = { name = "glyphs" }\nbackbone = { name = "flatten" }\n'
        'learner = { name = "nearest_centroid" }\ntasks = { n_way = 5 }\ntrain = { steps = 9 }\n'
    )
    (tmp_path / "small.toml").write_text(
        'base = "prototypical_glyphs"\nbackbone = { width = 4 }\ntasks = { n_way = 5 }\n'
    )
    (tmp_path / "glyphs").mkdir()  # the data set of that name is meant all the same
    words = ["compare", "--learners", "pixels.toml,small.toml", "--tasks", 10]
    code, out, err = run(capsys, *words, "--budget", "2s", "--run", tmp_path / "out")
    assert code == 0, err
    assert " over " in out
    assert "not trained" in out
    assert "Adam" in out
    assert "Each had 2 s. ± 95 % interval, clustered by class" in out
    with Image.open(tmp_path / "out" / "compare.png") as picture:
        assert picture.width > 500
    refused(capsys, "such as 90s", *words, "--budget", "soon", "--run", tmp_path / "other")
    refused(capsys, "unknown data set", *words, "--dataset", "omniglott", "--run", "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("words", [["recipes"], ["data", "list"], ["data", "path"]])
def test_lists_are_text_or_json(capsys, words):
    assert run(capsys, *words)[1].strip()
    assert json.loads(run(capsys, *words, "--json")[1])


def test_a_shipped_recipe_is_printed_to_be_copied(capsys, tmp_path):
    for name in ("prototypical_glyphs", "meta_sgd_omniglot"):  # the second is based on another
        code, out, err = run(capsys, "recipes", name)
        assert (code, err) == (0, "")
        (tmp_path / "mine.toml").write_text(out)
        assert load_recipe(tmp_path / "mine.toml") == load_recipe(name)
    assert json.loads(run(capsys, "recipes", name, "--json")[1])["base"] == "maml_omniglot"
    refused(capsys, "did you mean 'maml_omniglot'", "recipes", "maml_omniglt")


def test_every_command_has_help_with_an_example(capsys):
    groups = [(g.name, g.typer_instance) for g in commands.app.registered_groups]
    named = [*groups, (None, commands.app)]
    every = [
        [*([name] if name else []), c.name or c.callback.__name__]
        for name, typer_app in named
        for c in typer_app.registered_commands
    ]
    assert len(every) > 20
    for words in every:
        code, out, _ = run(capsys, *words, "--help")
        assert code == 0
        assert "Example: quickstudy" in out
        assert "--json" in out


def test_a_card_names_no_commit_where_the_package_is_installed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("quickstudy.experiments.provenance._commit", lambda: None)
    run(capsys, "train", "maml_sinusoid", "--set", "train.steps=0", "--run", tmp_path / "run")
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "torch" in card
    assert ", commit" not in card


def test_the_version_is_told(capsys):
    assert run(capsys, "--version") == (0, f"quickstudy {quickstudy.__version__}\n", "")


def test_a_command_to_go_on_with_can_be_pasted(capsys, tmp_path):
    words = ["train", "maml_sinusoid", "--set", "train.steps=0", "--run", tmp_path / "my run"]
    assert f"quickstudy test '{tmp_path}/my run'" in run(capsys, *words)[1]


def completed(words):
    """The completions of the last word, which bash requests by environment variables."""
    request = {"_QUICKSTUDY_COMPLETE": "complete_bash", "COMP_WORDS": f"quickstudy {words}"}
    request["COMP_CWORD"] = str(len(words.split()))
    output = CliRunner().invoke(commands.app, [], env=request, prog_name="quickstudy").output
    return output.split()


@pytest.mark.parametrize("words", ["data get omn", "data path omn", "compare --dataset omn"])
def test_names_of_data_sets_are_completed(words):
    assert "omniglot" in completed(words)


def test_names_of_recipes_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maml_mine.toml").touch()
    assert {"maml_sinusoid", "maml_mine.toml"} <= set(completed("train maml_"))
    printed = completed("recipes maml_")
    assert "maml_sinusoid" in printed
    assert "maml_mine.toml" not in printed


@pytest.mark.parametrize("before", ["", "maml,"])
def test_learners_to_compare_are_completed_one_after_the_other(before):
    from quickstudy.cli import compare

    completed = compare._complete_learners(f"{before}prototypical_n")
    assert completed == [f"{before}prototypical_networks"]


def test_help_does_not_load_torch():
    code = (
        "import sys; sys.argv = ['quickstudy', '--help']\n"
        "from quickstudy.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(len({'torch', 'numpy', 'pydantic', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("seed", ["-1", "1" + "0" * 40])
@pytest.mark.parametrize(
    "words",
    [
        ["compare", "--learners", "maml,reptile"],
        ["automl", "fit", "t.csv", "--target", "y"],
        ["automl", "suggest", "t.csv", "--target", "y"],
        ["recommend", "train"],
        ["recommend", "evaluate"],
    ],
)
def test_a_seed_that_no_generator_takes_is_refused(capsys, words, seed):
    code, out, err = run(capsys, *words, f"--seed={seed}")
    assert (code, out) == (2, "")
    assert "--seed" in err
    assert "Input should be" in err


@pytest.mark.parametrize(
    "words",
    [
        "train prototypical_omniglot --run {place}",
        "reproduce prototypical_omniglot --run {place}",
        "reproduce prototypical_omniglot --seeds 2 --run {place}",
        "demo --run {place}",
        "compare --learners maml,prototypical_networks --dataset omniglot --run {place}",
        "recommend train --data absent.csv --run {place}",
        "automl fit absent.csv --target y --run {place}",
        "adapt ridge --support absent --query absent --out {place}.csv",
        "adapt ridge --support absent --query absent --picture {place}.png",
        "automl predict absent absent.csv --out {place}.csv",
        "automl learn {place}.parquet",
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    words, tmp_path, capsys, monkeypatch
):
    def refuse(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "no data"))
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *words.format(place=tmp_path / "out").split())
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: cannot write to {tmp_path}")
    assert "(Read-only file system): make room or allow writing there" in err
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_system_names_its_place(capsys, monkeypatch):
    def fail():
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/media/cd/x")

    monkeypatch.setattr("quickstudy.recipes.about", fail)
    assert run(capsys, "recipes") == (2, "", "error: /media/cd/x: Read-only file system\n")


SMALL_ACTING = [
    "learner.hidden = 4",
    "train.steps = 1",
    "train.meta_batch_size = 2",
    "validation.n_tasks = 2",
    "test = [{ title = '5 arms', n_query = 1, n_tasks = 4, published = 6.7 }]",
]


def test_commands_with_a_run_that_acts(capsys, tmp_path, images, monkeypatch):
    """It is trained, tested and remembered; what is for examples says what to do instead."""
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", str(tmp_path / "experience.db"))
    small = ["train.steps=1", "train.meta_batch_size=2", "learner.hidden=4"]
    small += ["validation.n_tasks=2", "test.0.n_tasks=4"]
    changes = [word for change in small for word in ("--set", change)]
    code, out, _ = run(capsys, "train", "rl2_bandits", "--run", tmp_path / "run", *changes)
    assert (code, "1 steps" in out) == (0, True)
    code, out, _ = run(capsys, "test", tmp_path / "run")
    assert code == 0
    assert "5 arms, 10 pulls" in out
    card = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert "bernoulli_bandit" in card
    code, out, _ = run(capsys, "experience", "list", "--json")
    names = {row["task_name"]: row["metric"] for row in json.loads(out)}
    assert names["bernoulli_bandit, 1 scored episode after 0 to learn from"] in ("return", None)
    text = "about = 'small'\nbase = 'rl2_bandits'\n" + "".join(f"{key}\n" for key in SMALL_ACTING)
    (tmp_path / "small.toml").write_text(text)
    again = ["reproduce", "small.toml", "--run", tmp_path / "seeds", "--seeds", 2, "--json"]
    code, out, _ = run(capsys, *again)
    (gap,) = json.loads(out)["gaps"]
    assert (code, gap["published"]) == (0, 6.7)
    assert gap["gap"] == pytest.approx(gap["measured"] - 6.7)  # returns, not per cent
    words = ["--support", images, "--query", images]
    code, _, err = run(capsys, "adapt", tmp_path / "run", *words)
    message = "error: expected a run trained on images, got one on bernoulli_bandit"
    assert (code, err.splitlines()[-1]) == (2, message)
    for other in ("rl2", "rl2_bandits"):
        words = ["--learners", f"maml,{other}", "--dataset", "glyphs", "--budget", "1s"]
        code, _, err = run(capsys, "compare", *words, "--run", tmp_path / "compared")
        assert (code, err.count("\n")) == (2, 1)
        assert f"{other} learns to act in environments: expected learners of examples" in err
