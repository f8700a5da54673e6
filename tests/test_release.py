"""What a release shows of itself comes from one place, and every file for it is valid."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import quickstudy
from tools import load_tool

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    "CITATION.cff": "citation-file-format",
    ".github/ISSUE_TEMPLATE/bug_report.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/feature_request.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
}
FILLED = {
    "repository": "https://example.org/quickstudy/",
    "contact": "security@example.org",
    "date": "2026-12-31",
}


@pytest.fixture(scope="module")
def tool():
    return load_tool("release")


@pytest.fixture
def filled(tmp_path):
    """The files that a release touches, with the table of pyproject.toml filled."""
    for name in ("pyproject.toml", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    version = tmp_path / "src" / "quickstudy" / "version.py"
    version.parent.mkdir(parents=True)
    version.write_text('__version__ = "1.2.3"\n')
    table = (tmp_path / "pyproject.toml").read_text()
    for key, value in FILLED.items():
        table = re.sub(f'^{key} = ""', f'{key} = "{value}"', table, flags=re.MULTILINE)
    (tmp_path / "pyproject.toml").write_text(table)
    return tmp_path


def check_schemas(folder):
    for file, schema in SCHEMAS.items():
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
        done = subprocess.run([*command, folder / file], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_of_a_release_are_valid():
    check_schemas(ROOT)


def test_the_files_of_a_release_are_what_its_table_makes_them(tool):
    tool.main("check", root=ROOT)


def test_the_version_stands_in_one_place_and_the_others_follow_it(tool):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert tool.read_release(ROOT).version == quickstudy.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == quickstudy.__version__
    newest = re.search("^## (.*?) ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest[1] == quickstudy.__version__


def test_a_filled_table_reaches_every_file_and_they_stay_valid(tool, filled):
    with pytest.raises(SystemExit, match=r"not up to date: CITATION.cff, .*run python tools/rel"):
        tool.main("check", root=filled)
    tool.main("write", root=filled)
    tool.main("ready", root=filled)
    citation = yaml.safe_load((filled / "CITATION.cff").read_text())
    assert citation["version"] == "1.2.3"
    assert str(citation["date-released"]) == FILLED["date"]
    assert citation["repository-code"] == "https://example.org/quickstudy"
    assert "\n## 1.2.3 (2026-12-31)\n" in (filled / "CHANGELOG.md").read_text()
    for page in ("SECURITY.md", "CODE_OF_CONDUCT.md"):
        assert "Write to <security@example.org>." in (filled / page).read_text()
    for form in ("bug_report.yml", "feature_request.yml"):
        shutil.copy(ROOT / ".github" / "ISSUE_TEMPLATE" / form, filled / ".github/ISSUE_TEMPLATE")
    check_schemas(filled)


def test_an_empty_table_is_not_ready_and_shows_no_address(tool, filled):
    (filled / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    if not tool.read_release(filled).missing():
        pytest.skip("the table is filled")
    tool.main("write", root=filled)
    with pytest.raises(SystemExit, match=r"still empty in .*: repository, contact, date"):
        tool.main("ready", root=filled)
    assert "url" not in (filled / ".github/ISSUE_TEMPLATE/config.yml").read_text()
    assert tool.read_release(filled).urls() == {}


README = """
![A picture](docs/demo.png) of [the pages](docs/few_shot.md#by-name), [a site](https://a.b/c.md)
and [below](#results); `tasks[i](query)` and

```python
scores = predictors[0](query)
```
"""


def test_links_of_readme_lead_into_the_repository_and_code_stays(tool):
    release = tool.Release("1.2.3", "https://example.org/q")
    text = tool.readme_for_an_index(README, release)
    assert "![A picture](https://example.org/q/raw/v1.2.3/docs/demo.png)" in text
    assert "[the pages](https://example.org/q/blob/v1.2.3/docs/few_shot.md#by-name)" in text
    assert "[a site](https://a.b/c.md)\nand [below](#results); `tasks[i](query)` and" in text
    assert "predictors[0](query)" in text


def test_without_a_repository_readme_has_words_where_links_would_be_dead(tool):
    text = tool.readme_for_an_index(README, tool.Release("1.2.3"))
    assert "docs/" not in text
    assert "of the pages, [a site](https://a.b/c.md)" in text
    assert "predictors[0](query)" in text


def test_urls_name_the_pages_of_this_version_unless_there_is_a_site(tool):
    release = tool.Release("1.2.3", "https://example.org/q")
    assert release.urls()["Documentation"] == "https://example.org/q/tree/v1.2.3/docs"
    site = release._replace(documentation="https://site.example")
    assert site.urls()["Documentation"] == "https://site.example"
