"""Tests that read real data skip where it is absent, but for what QUICKSTUDY_REQUIRE_DATA names."""

import gc
import os

import pytest
import torch

from quickstudy.tasks.datasets import data_files
from quickstudy.tasks.datasets.store import is_here


def pytest_configure(config):
    torch.set_num_threads(1)  # tests run in a process a core
    config.addinivalue_line("markers", "data(name): needs a data set that may be absent")


def pytest_collection_modifyitems(items):
    """Tests that fork come first: a process in which libraries have started threads cannot."""
    items.sort(key=lambda item: item.path.name != "test_faults.py")


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


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep the user's cache out of the tests; decoded data sets are kept for the session."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def no_experience(monkeypatch):
    """Keep the user's experience out of the tests."""
    monkeypatch.setenv("QUICKSTUDY_EXPERIENCE", "off")


@pytest.fixture
def few_glyphs(monkeypatch):
    """Fewer alphabets of glyphs than the data set has (see `draw_few_glyphs`)."""
    from drawings import draw_few_glyphs

    draw_few_glyphs(monkeypatch)
