"""The tools that check what was built refuse what should not go out."""

import subprocess
import sys
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tools import load_tool

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "quickstudy"
INFO = "quickstudy-1.dist-info"


@pytest.fixture(scope="module")
def tool():
    return load_tool("dist")


@pytest.fixture
def built(tmp_path, tool, monkeypatch):
    """A small wheel and source distribution that pass, and more files to put into them."""
    monkeypatch.setattr(tool, "run", lambda *words, **options: None)  # twine has its own test

    def build(wheel=(), sdist=(), readme="See [a site](https://a.b/c) and [below](#here).\n"):
        metadata = f"Metadata-Version: 2.4\nName: quickstudy\nVersion: 1\n\n{readme}"
        content = {
            "quickstudy/__init__.py": "",
            "quickstudy/recipes/a.toml": "",
            f"{INFO}/METADATA": metadata,
            f"{INFO}/licenses/NOTICE": "Data\n\nquickstudy/recipes/*.toml\n    Ours.\n",
            **dict.fromkeys(wheel, ""),
        }
        with zipfile.ZipFile(tmp_path / "quickstudy-1-py3-none-any.whl", "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
        with tarfile.open(tmp_path / "quickstudy-1.tar.gz", "w:gz") as archive:
            for name in ("README.md", "src/quickstudy/__init__.py", *sdist):
                archive.addfile(tarfile.TarInfo(f"quickstudy-1/{name}"))
        return tmp_path

    return build


def test_notice_names_every_file_of_the_package_that_is_not_code_and_no_other(tool):
    patterns = tool.noticed((ROOT / "NOTICE").read_text())
    command = ["git", "ls-files", "--others", "--cached", "--exclude-standard", "src"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.split()
    files = [ROOT / name for name in listed] or PACKAGE.rglob("*")
    names = {
        f"quickstudy/{path.relative_to(PACKAGE).as_posix()}"
        for path in files
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    results = (ROOT / "benchmarks" / "results").glob("*.json")  # where the wheel puts them
    names |= {f"quickstudy/recipes/results/{path.name}" for path in results}
    for name in names:
        fitting = [pattern for pattern in patterns if fnmatch(name, pattern)]
        assert len(fitting) == 1, f"expected {name} once in NOTICE, found {fitting}"
    for pattern in patterns:
        assert any(fnmatch(name, pattern) for name in names), f"nothing is {pattern} of NOTICE"


def test_a_distribution_that_holds_what_it_should_passes(tool, built):
    tool.check(built())


@pytest.mark.parametrize("name", ["quickstudy/shipped/new.parquet", "tests/test_a.py", "a.pkl"])
def test_a_wheel_with_a_file_that_notice_does_not_name_is_refused(tool, built, name):
    with pytest.raises(SystemExit, match=rf"holds what NOTICE does not name: \['{name}'\]"):
        tool.check(built(wheel=[name]))


@pytest.mark.parametrize("name", ["secrets.txt", "runs/a/recipe.json", "src/quickstudy/a.pyc"])
def test_a_source_distribution_with_another_file_is_refused(tool, built, name):
    with pytest.raises(SystemExit, match=rf"holds what SOURCES .* not name: \['{name}'\]"):
        tool.check(built(sdist=[name]))


def test_a_readme_whose_link_leads_nowhere_on_an_index_is_refused(tool, built):
    with pytest.raises(SystemExit, match=r"lead nowhere outside the repository: \['docs/a.md'\]"):
        tool.check(built(readme="See [a page](docs/a.md).\n"))


def test_the_fast_tests_are_there(tool):
    assert [name for name in tool.FAST_TESTS if not (ROOT / name).is_file()] == []


def test_two_wheels_in_a_folder_are_refused(tool, built):
    (built() / "quickstudy-2-py3-none-any.whl").touch()
    with pytest.raises(SystemExit, match=r"expected one \*.whl in .*, found 2"):
        tool.check(built())


def test_the_blocks_and_extras_of_the_seconds_are_read(tool):
    readme = (
        "# q\n```python\nno\n```\n## Thirty seconds\n    pip install 'quickstudy[text,images]'\n"
        "### Texts\n```python\na = 1\n```\n### A table\n```python\nb = a\n```\n"
        "## Later\n```python\nno\n```\n"
    )
    assert tool.thirty_seconds(readme) == (["a = 1\n", "b = a\n"], ["images", "text"])
    with pytest.raises(SystemExit, match="no section"):
        tool.thirty_seconds("# q\n## Later\n")


def test_the_pythons_are_those_of_the_classifiers_and_one_that_fails_is_named(monkeypatch, capsys):
    load_tool("dist")
    tool = load_tool("pythons")
    assert tool.versions()[0] == "3.11"
    monkeypatch.setattr(tool, "versions", lambda: ["3.1", "3.2", "3.3"])
    monkeypatch.setattr(tool, "interpreter", lambda v: None if v == "3.1" else f"/python{v}")
    monkeypatch.setattr(tool, "compiles", lambda python: python == "/python3.2")
    with pytest.raises(SystemExit, match=r"failed with Python 3\.3"):
        tool.main("compile")
    assert "Python 3.1: not on this machine, skipped" in capsys.readouterr().out


def test_a_file_that_a_python_cannot_compile_or_warns_of_is_found(tmp_path, monkeypatch):
    load_tool("dist")
    tool = load_tool("pythons")
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("a = 1\n")
    assert tool.compiles(sys.executable)
    (tmp_path / "src" / "b.py").write_text("a = 1 is 1\n")  # a SyntaxWarning
    assert not tool.compiles(sys.executable)
