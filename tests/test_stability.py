"""Every public name is stable or provisional, and docs/stability.md says which."""

import pytest

from tools import load_tool


@pytest.fixture(scope="module")
def tool():
    return load_tool("stability")


def test_the_page_has_every_public_name_and_no_other(tool):
    tool.main("check")


def test_a_new_name_is_provisional_and_one_that_is_gone_leaves(tool, monkeypatch):
    page = "<!-- names -->\n| `quickstudy.a` | `old`, `gone` | `soft` |\n<!-- end of names -->"
    monkeypatch.setattr(tool, "public", lambda: {"quickstudy.a": ["new", "old", "soft"]})
    assert "| `quickstudy.a` | `old` | `new`, `soft` |" in tool.written(page)


def test_a_stable_name_that_moves_stays_stable(tool, monkeypatch):
    page = "<!-- names -->\n| `quickstudy.a` | `moved` | `soft` |\n<!-- end of names -->"
    monkeypatch.setattr(tool, "public", lambda: {"quickstudy.b": ["moved", "soft"]})
    assert "| `quickstudy.b` | `moved` | `soft` |" in tool.written(page)


def test_what_a_page_imports_is_public_though_no_package_exports_it(tool, monkeypatch):
    monkeypatch.setattr(
        tool, "code_of_pages", lambda: ["from quickstudy.nn.backbones import BACKBONES, Inner"]
    )
    names = tool.public()
    assert names["quickstudy.nn.backbones"] == ["Inner"]
    assert "BACKBONES" in names["quickstudy.nn"]


def test_the_package_itself_lists_only_what_its_parts_do_not(tool):
    names = tool.public()["quickstudy"]
    assert "load_run" in names
    assert "MAML" not in names
    assert "tasks" not in names
