"""Each script in `examples/` runs."""

import runpy
from pathlib import Path

import pytest

from quickstudy.experiments import budget, compare

SCRIPTS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.fixture
def short_budget(monkeypatch):
    """Comparisons of two seconds instead of the script's own."""
    full = compare.compare
    monkeypatch.setattr(budget, "MIN_STEPS", 2)
    monkeypatch.setattr(budget, "VALIDATION_TASKS", (2, 4))
    monkeypatch.setattr(budget, "_seconds", lambda *_: (0.02, 0.002))  # of a step, on any machine
    monkeypatch.setattr(compare, "compare", lambda *a, **k: full(*a, **{**k, "seconds": 2}))


@pytest.mark.usefixtures("few_glyphs", "short_budget")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs_and_says_something(script, tmp_path, monkeypatch, capsys):
    """In a folder of its own, without data sets, as on a new machine, but for the glyphs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUICKSTUDY_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("sys.argv", [str(script)])
    code = None
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        code = end.code
    assert not code
    assert capsys.readouterr().out.strip()
