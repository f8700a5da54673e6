import sys

import pytest

from quickstudy.cli.output import check_new, say, seconds_in, table
from quickstudy.errors import RunError, UsageError

ROWS = [["a_long_name_of_a_recipe", "what it is about, in words"], ["short", "nothing"]]


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_a_table_wraps_to_the_terminal_and_breaks_no_word(monkeypatch, columns):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = table(["recipe", "about"], *ROWS).splitlines()
    assert "a_long_name_of_a_recipe" in lines[2]
    about = " ".join(line[25:].strip() for line in lines[2:-1])
    assert about == "what it is about, in words"
    assert max(map(len, lines)) <= max(columns, 25 + len("nothing"))
    assert len(lines) == (4 if columns == 200 else 5 if columns == 40 else 8)


def test_a_table_for_a_program_has_a_line_a_row():
    assert len(table(["recipe", "about"], *ROWS * 3).splitlines()) == 8


def test_json_has_letters_as_they_are(capsys):
    say({"città": "Żółw"}, True, "")
    assert '"città": "Żółw"' in capsys.readouterr().out


def test_a_folder_with_something_in_it_is_replaced_only_if_told_to(tmp_path):
    check_new(tmp_path, overwrite=False)
    check_new(tmp_path / "new", overwrite=False)
    (tmp_path / "film.json").touch()
    check_new(tmp_path, overwrite=True)
    with pytest.raises(RunError, match="holds a run already"):
        check_new(tmp_path, overwrite=False)


def test_a_time_has_a_unit():
    assert [seconds_in(text) for text in ("90s", "1.5m", "2h", ".5s")] == [90, 90, 7200, 0.5]
    for text in ("10", "soon", "", "m", "-5m", "nans", "infh", "1_0s"):
        with pytest.raises(UsageError, match="such as 90s, 10m or 1h"):
            seconds_in(text)
