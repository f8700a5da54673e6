"""Tests that read real data skip where it is absent, but for what QUICKSTUDY_REQUIRE_DATA names."""

import gc
import os

# Before PyTorch loads, and for the processes that tests start: a process a core runs tests, so each
# computes with one thread, and threads that wait for others leave the core to them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# And for those processes, the package is compiled once, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
import torch

from quickstudy.tasks.datasets import data_files
from quickstudy.tasks.datasets.store import is_here


def pytest_configure(config):
    torch.set_num_threads(1)
    config.addinivalue_line("markers", "data(name): needs a data set that may be absent")


def pytest_collection_modifyitems(items):
    """Tests that fork come first: a process in which libraries have started threads cannot.

    Then those that take long, so that no process waits for another at the end.
    """
    first = ("test_faults.py", "test_site.py", "test_project.py", "test_real_data.py")
    order = {name: n for n, name in enumerate(first)}
    items.sort(key=lambda item: order.get(item.path.name, len(first)))


def pytest_collection_finish():
    """What is imported stays: no need to look through it for garbage, nor for forks to copy it."""
    gc.freeze()


def pytest_runtest_setup(item):
    for marker in item.iter_markers("data"):
        name = marker.args[0]
        if not is_here(name, data_files()[name]):
            reason = f"data set {name!r} is not on this machine"
            if name in os.environ.get("QUICKSTUDY_REQUIRE_DATA", "").split():
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory):
    """Keep the user's cache and experience out of the tests.

    The processes that run tests share a cache, so that data sets are decoded once.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared / "cache"))
        patch.setenv("QUICKSTUDY_EXPERIENCE", "off")
        yield


@pytest.fixture
def few_glyphs(monkeypatch):
    """Fewer alphabets of glyphs than the data set has (see `draw_few_glyphs`)."""
    from drawings import draw_few_glyphs

    draw_few_glyphs(monkeypatch)
