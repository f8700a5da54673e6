"""The site builds: no warning, no dead link, nothing from outside."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = DOCS / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, whose tutorials were not run; one for all processes that run tests."""
    pytest.importorskip("sphinx")
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(f"{out}.lock"):
        if not (out / "built").exists():
            command = [sys.executable, SITE / "build.py", "--fast", "--out", out]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            (out / "built").touch()
    return out / "html"


@pytest.fixture
def part(monkeypatch):
    """Imports a module of the site's own."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(SITE)
    monkeypatch.syspath_prepend(ROOT / "tools")
    names = ("build", "equations", "pages", "reference")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def test_every_page_is_on_the_site_and_is_reached_from_the_front_page(site, part):
    built = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    for page in DOCS.rglob("*.md"):
        assert part("pages").place_of(page).with_suffix(".html").as_posix() in built
    front = (site / "index.html").read_text()
    for section in ("guide", "tutorials/index", "algorithms/index", "api/index", "changelog"):
        assert f'href="{section}.html"' in front


def test_a_page_loads_nothing_from_outside(site):
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.search(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//', text), page
        assert not re.search(r'<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//', text), page


def test_an_algorithm_page_has_its_equations_as_pictures_that_say_what_they_show(site):
    text = (site / "algorithms" / "maml.html").read_text()
    assert text.count('<div class="equation"><svg') == 2
    assert r'aria-label="\theta&#x27; = \theta - \alpha' in text.replace("'", "&#x27;")
    assert "$$" not in text


def test_a_tutorial_offers_a_notebook_and_a_script(site):
    text = (site / "tutorials" / "own_images.html").read_text()
    for kind in ("ipynb", "py"):
        (link,) = set(re.findall(rf'href="\.\./(_downloads/[^"]+/own_images\.{kind})"', text))
        assert (site / link).is_file()


def test_the_reference_says_of_a_name_what_it_takes_and_how_stable_it_is(site):
    text = (site / "api" / "quickstudy.tasks.Episode.html").read_text()
    plain = " ".join(re.sub(r"<[^>]+>", "", text).split())
    assert "from quickstudy import Episode" in plain
    assert "Stable (what that means)" in plain
    assert "support (Support)" in plain
    assert "shape (n_way,)" in plain


def sidebar(page):
    """The links of the bar at the left."""
    return re.findall(r'class="toctree-l\d[^>]*><a[^>]*>([^<]*)<', page.read_text())


def test_names_in_the_sidebar_are_short(site):
    assert "AutoAdapt" in sidebar(site / "research" / "index.html")
    assert "MANN" in sidebar(site / "algorithms" / "index.html")
    assert "tasks.datasets" in sidebar(site / "api" / "index.html")
    for page in ("research/index", "algorithms/index", "api/index", "guide"):
        assert max(map(len, sidebar(site / f"{page}.html"))) <= 35, page


def test_the_reference_names_a_base_class_only_where_that_says_something(site):
    text = {page.stem: page.read_text() for page in (site / "api").glob("*.html")}
    assert "Bases:" in text["quickstudy.learners.MAML"]
    assert not any(re.search("Bases: (object|ABC|_)", page) for page in text.values())


def test_a_link_follows_its_page_and_code_stays_as_it_is(part):
    pages = part("pages")
    text = (
        "[a](../README.md#help) [b](few_shot.md) ![c](demo.png) [d](algorithms/README.md)\n"
        "[e](../examples) [f](https://a.b) [g](#here) `[h](../README.md)`\n"
        "```python\nx[0](few_shot.md)\n```\n"
    )
    moved = pages.moved(text, pages.DOCS / "README.md", lambda file: None)
    assert moved == (
        "[a](index.md#help) [b](few_shot.md) ![c](demo.png) [d](algorithms/index.md)\n"
        "[e](tutorials/index.rst) [f](https://a.b) [g](#here) `[h](../README.md)`\n"
        "```python\nx[0](few_shot.md)\n```\n"
    )


def test_a_link_to_a_source_leads_to_the_repository_or_is_words_alone(part):
    pages = part("pages")
    page, text = pages.DOCS / "serve.md", "See [the page](../Makefile)."
    assert pages.moved(text, page, lambda file: f"https://r/{file.name}") == (
        "See [the page](https://r/Makefile)."
    )
    assert pages.moved(text, page, lambda file: None) == "See the page."


def test_a_dead_link_is_found(part, tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a> <a href="b.html#gone">b</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><img src="gone.png"><a href="https://x">')
    assert part("build").dead(tmp_path) == ["a.html: b.html#gone", "b.html: gone.png"]
    assert part("build").outside(tmp_path) == ["https://x"]


def test_an_equation_that_cannot_be_drawn_is_a_warning(part, monkeypatch):
    equations, warned = part("equations"), []
    monkeypatch.setattr(equations.LOG, "warning", lambda *words, **_: warned.append(words[0]))
    text = part("docutils.nodes").Text
    assert "aria-label" in equations.as_svg(text(r"\frac{a}{\lVert b \rVert}"), inline=True)
    assert not warned
    equations.as_svg(text(r"\frac{a}{"), inline=True)
    assert warned
