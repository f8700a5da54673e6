import subprocess
import sys

import pytest

import quickstudy


def test_the_package_exports_tasks_learners_and_engine():
    names = {}
    exec("from quickstudy import *", names)
    assert {"MAML", "EpisodeSampler", "meta_train", "load_run"} <= set(names)
    assert {"RL2", "Trials"} <= set(names)
    assert {"MAML", "EpisodeSampler", "meta_train", "__version__"} <= set(dir(quickstudy))
    assert "nn" in dir(quickstudy)
    assert "Any" not in dir(quickstudy)
    with pytest.raises(AttributeError, match="no attribute 'MAMl'"):
        quickstudy.MAMl  # noqa: B018


def test_importing_the_package_alone_does_not_load_torch():
    code = "import quickstudy, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_helps_to_write_a_learner_needs_no_pytest():
    code = "import sys; sys.modules['pytest'] = None; import quickstudy.testing"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
