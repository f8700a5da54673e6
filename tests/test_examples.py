"""Each script in `examples/` runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs_and_says_something(script, tmp_path):
    """In a folder of its own, without data sets, as on a new machine."""
    environment = {**os.environ, "QUICKSTUDY_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
