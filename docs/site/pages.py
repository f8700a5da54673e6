"""Lay out the pages of the repository as Sphinx reads them.

The Markdown files stay as a code forge shows them: their links are paths in the repository. Here
they are copied to one folder, where README.md is the front page and `docs/` is its top, and their
links follow. A page that lists others becomes their parent in the navigation, in its own order.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "docs/README.md": "guide.md",
    "docs/algorithms/README.md": "algorithms/index.md",
    "docs/research/README.md": "research/index.md",
}
"""Where the pages go that have another name on the site."""

FOLDERS = {
    "docs": "guide.md",
    "docs/algorithms": "algorithms/index.md",
    "docs/research": "research/index.md",
    "examples": "tutorials/index.rst",
}
"""The page that a link to a folder leads to."""

SECTIONS = [
    "User guide <guide>",
    "Tutorials <tutorials/index>",
    "Algorithms <algorithms/index>",
    "API <api/index>",
    "Research <research/index>",
    "Changelog <changelog>",
]
"""What the bar at the top of each page offers."""

TUTORIALS = [
    "own_images",
    "text_intents",
    "zero_to_few_shots",
    "few_labels",
    "compare_learners",
    "new_learner",
]
"""The scripts of examples/ in the order to read them; others follow by name."""

MORE = ["contributing", "security", "code_of_conduct"]
"""Pages that only links lead to."""

SUBJECTS = {
    "auto_adapt": "AutoAdapt",
    "automl": "AutoML",
    "caltech101": "Caltech 101",
    "lstm_meta_learner": "LSTM meta-learner",
    "maml": "MAML",
    "mann": "MANN",
}
"""What the sidebar calls studies whose file name does not say it as it is written."""

CODE = r"^```.*?^```|^ {4}.*?$|`[^`]*`"
LINK = r"(?P<bang>!?)\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]+)\)"


def place_of(path: Path) -> Path | None:
    """Where a file or folder of the repository is on the site, relative to its top.

    Args:
        path: Absolute. None comes back for what the site does not have.
    """
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
    if place := TOP.get(name) or FOLDERS.get(name):
        return Path(place)
    if path.is_relative_to(DOCS) and path.is_file():
        return path.relative_to(DOCS)
    if path.parent == ROOT / "examples" and path.suffix == ".py":
        return Path("tutorials", f"{path.stem}.rst")
    return None


def moved(text: str, page: Path, source_url: Callable[[Path], str | None]) -> str:
    """The text of a page with its links as they are on the site.

    Args:
        text: Markdown.
        page: Its file in the repository.
        source_url: The address of a file that the site does not have; None if there is none yet.
            A link to it then becomes its words.
    """
    here = place_of(page)
    assert here is not None

    def link(match: re.Match[str]) -> str:
        if match["target"] is None or re.match(r"[a-z]+:|#", match["target"]):
            return match[0]
        path, mark, fragment = match["target"].partition("#")
        file = Path(os.path.normpath(page.parent / path))
        if not file.exists():
            return match[0]  # which Sphinx then warns of
        place = place_of(file)
        target = source_url(file) if place is None else os.path.relpath(place, here.parent)
        if target is None:
            return match["words"]
        return f"{match['bang']}[{match['words']}]({target}{mark}{fragment})"

    return re.sub(f"{CODE}|{LINK}", link, text, flags=re.DOTALL | re.MULTILINE)


def children(text: str, page: Path) -> list[str]:
    """The pages that a page links to and that lie beside it, in its order, each once."""
    plain = re.sub(CODE, "", text, flags=re.DOTALL | re.MULTILINE)
    files = [page.parent / m["target"].partition("#")[0] for m in re.finditer(LINK, plain)]
    beside = [f.stem for f in files if f.suffix == ".md" and f.parent == page.parent]
    return list(dict.fromkeys(name for name in beside if name != "README"))


def short_title(page: Path) -> str:
    """What the sidebar calls a page: its title up to a colon, or the subject of a study."""
    if page.parent.name == "research":
        return SUBJECTS.get(page.stem, page.stem.replace("_", " ").capitalize())
    title = page.read_text(encoding="utf-8").partition("\n")[0]
    return title.removeprefix("# ").partition(":")[0]


def toctree(entries: list[str]) -> str:
    return "\n".join(["\n```{toctree}", ":hidden:", *entries, "```\n"])


class ReadingOrder:
    """Sorts the scripts of the gallery."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, file: str) -> tuple[int, str]:
        name = Path(file).stem
        return TUTORIALS.index(name) if name in TUTORIALS else len(TUTORIALS), name


def lay_out(out: Path, source_url: Callable[[Path], str | None]) -> None:
    """Copy the pages and their pictures to a folder; what is as it was keeps its time."""
    shown = pages_of_docs()
    for file in [*(ROOT / name for name in TOP), *shown]:
        place = place_of(file)
        assert place is not None
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".md":
            shutil.copy2(file, out / place)
            continue
        text = moved(file.read_text(encoding="utf-8"), file, source_url)
        if place.stem == "index" and place.parent == Path():
            text += toctree(SECTIONS) + "\n```{toctree}\n:hidden:\n" + "\n".join(MORE) + "\n```\n"
        elif file.name == "README.md":
            names = children(file.read_text(encoding="utf-8"), file)
            text += toctree([f"{short_title(file.parent / f'{n}.md')} <{n}>" for n in names])
        write(out / place, text)


def pages_of_docs() -> list[Path]:
    """The pages and pictures in docs/, less what makes the site."""
    files = [f for f in DOCS.rglob("*") if f.suffix in (".md", ".png", ".svg")]
    return [f for f in files if not f.is_relative_to(DOCS / "site")]


def write(file: Path, text: str) -> None:
    """Write a file if that changes it, so that Sphinx reads again only what is new."""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
