"""The command line where the terminal's encoding has few letters, and names are no UTF-8."""

import json
import os
import subprocess
import sys

import pytest

import command
from drawings import draw_boxes
from quickstudy.cli.output import json_text

BEAR = "熊"
LATIN_1 = os.fsdecode(b"r\xff1")

RUN_ALL = """
import sys
from quickstudy.cli import main
for words in sys.argv[1:]:
    sys.argv = ["quickstudy", *words.split("|")]
    try:
        main()
    except SystemExit as end:
        assert end.code in (None, 0), end.code
    print("\\0", end="")
"""
"""Many commands in one process, as each would import torch again."""


def run_all(folder, encoding, *commands):
    """Run commands in a C locale whose streams have an encoding; gives what each prints."""
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": encoding,
        "QUICKSTUDY_EXPERIENCE": str(folder / "experience.db"),
    }
    words = [os.fsencode("|".join(map(str, one))) for one in commands]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    assert b"not kept" not in done.stderr
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_the_terminal_cannot_show_stops_no_command_and_json_is_json(tmp_path, encoding):
    boxes = {BEAR: (2, 2, 20, 8), "café": (2, 2, 8, 20)}
    draw_boxes(tmp_path / "support", boxes)
    draw_boxes(tmp_path / "query", boxes)
    draw_boxes(tmp_path / "data", {name: (2, 2, 20, 8) for name in "abcdefghijklmnopqrst"})
    small = [
        "data.name=folder",
        "data.folder=data",
        "train.steps=1",
        "tasks.n_way=2",
        "tasks.n_query=1",
        "validation.n_way=2",
        "validation.n_query=1",
        "validation.n_tasks=2",
        'test=[{title="±熊",n_way=2,n_query=1,n_tasks=2}]',
    ]
    sets = [part for change in small for part in ("--set", change)]
    *out, paths, recipes = run_all(
        tmp_path,
        encoding,
        ["train", "prototypical_glyphs", "--run", LATIN_1, *sets],
        ["test", LATIN_1],
        ["reproduce", "--list"],
        ["adapt", LATIN_1, "--support", "support", "--query", "query", "--out", f"{LATIN_1}.csv"],
        ["adapt", LATIN_1, "--support", "support", "--query", "query", "--out", "o.parquet"],
        ["adapt", LATIN_1, "--support", "support", "--query", "query"],
        ["experience", "list", "runs"],
        ["data", "path", "--json"],
        ["recipes", "--json"],
    )
    assert b"quickstudy test 'r\xff1'" in b"".join(out)  # as it can be copied
    assert json.loads(paths)
    assert json.loads(recipes)
    folder = tmp_path / LATIN_1
    assert "±熊" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert r"--run 'r\xff1'" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    answers = (tmp_path / f"{LATIN_1}.csv").read_text(encoding="utf-8")
    assert answers.startswith(f"image,label,p(café),p({BEAR})\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_paths_in_json_of_every_encoding_lead_back(encoding):
    value = {"run": f"{BEAR}/±/{LATIN_1}"}
    text = json_text(value, encoding)
    assert json.loads(text.encode(encoding)) == value
    assert os.fsencode(json.loads(text)["run"]).endswith(b"/r\xff1")


def test_a_run_on_a_folder_whose_name_is_no_text_comes_back(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_boxes(tmp_path / LATIN_1, {name: (2, 2, 20, 8) for name in "abcdefghijklmnopqrst"})
    changes = ["data.name=folder", f"data.folder={LATIN_1}", "train.steps=1", "test=[]"]
    changes += ["tasks.n_way=2", "tasks.n_query=1", "validation.n_way=2", "validation.n_query=1"]
    sets = [part for change in changes for part in ("--set", change)]
    code, _, err = command.run(capsys, "train", "prototypical_glyphs", "--run", "run", *sets)
    assert code == 0, err
    kept = json.loads((tmp_path / "run" / "recipe.json").read_bytes())["data"]["folder"]
    assert os.fsencode(kept) == os.fsencode(tmp_path / LATIN_1)
    again = ("train", "prototypical_glyphs", "--run", "run", "--resume", *sets)
    assert command.run(capsys, *again)[0] == 0
