"""Build the site: the pages of the repository, the tutorials, the API.

    python docs/site/build.py            # runs the tutorials; into build/site
    python docs/site/build.py --fast     # shows them without running them; seconds
    python docs/site/build.py --links    # also lists the addresses outside, which are not opened

Warnings are errors. Nothing is fetched: the site works from a disk without a network.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

from sphinx.cmd.build import main as sphinx_build

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tools")]

from pages import lay_out  # noqa: E402
from reference import write_reference  # noqa: E402
from release import read_release  # noqa: E402


def source_url(file: Path) -> str | None:
    """Where a file of the repository is shown, once a release has said where the repository is."""
    release = read_release(ROOT)
    if not release.repository:
        return None
    return release.page(file.relative_to(ROOT).as_posix(), "tree" if file.is_dir() else "blob")


def build(out: Path, *, fast: bool = False) -> int:
    """Build into a folder: `source`, `doctrees` and `html`. Zero comes back if all went well."""
    source = out / "source"
    lay_out(source, source_url)
    write_reference(source / "api")
    os.environ |= {"MPLBACKEND": "agg", "QUICKSTUDY_PROGRESS": "0"}
    places = ["-c", HERE, "-d", out / "doctrees", source, out / "html"]
    options = ["-b", "html", "-W", "--keep-going", "-q", "-j", "2"]
    options += ["-D", "plot_gallery=0"] * fast
    return sphinx_build([str(word) for word in [*options, *places]])


def links(html: Path) -> dict[Path, set[str]]:
    """What each page of the site links to or shows."""
    pages = [page for page in sorted(html.rglob("*.html")) if page.parent.name != "_static"]
    pattern = re.compile(r'(?:href|src)="([^"]+)"')
    return {page: set(pattern.findall(page.read_text(encoding="utf-8"))) for page in pages}


def outside(html: Path) -> list[str]:
    """The addresses outside that the site links to."""
    found = {link for targets in links(html).values() for link in targets}
    return sorted(link for link in found if re.match("https?:", link))


def dead(html: Path) -> list[str]:
    """The links that lead nowhere within the site, each with its page."""
    anchors: dict[Path, set[str]] = {}

    def leads_nowhere(page: Path, link: str) -> bool:
        if re.match("[a-z]+:", link) or link in ("#", ""):
            return False
        path, _, anchor = unquote(unescape(link)).partition("#")
        file = (page.parent / path.partition("?")[0]).resolve() if path else page
        if not file.is_file():
            return True
        if "_modules" in page.parts:  # whose anchors name the module that exports, not the one read
            return False
        if file not in anchors and file.suffix == ".html":
            text = file.read_text(encoding="utf-8")
            anchors[file] = {unescape(name) for name in re.findall(r'\bid="([^"]+)"', text)}
        return bool(anchor) and anchor not in anchors.get(file, set())

    return [
        f"{page.relative_to(html)}: {link}"
        for page, targets in links(html).items()
        for link in sorted(targets)
        if leads_nowhere(page, link)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="do not run the tutorials")
    parser.add_argument("--links", action="store_true", help="list the addresses outside")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    arguments = parser.parse_args()
    failed = build(arguments.out, fast=arguments.fast)
    html = (arguments.out / "html").resolve()
    if arguments.links:
        print("\n".join(outside(html)))
    if failed:
        sys.exit(failed)
    if wrong := dead(html):
        sys.exit("These links lead nowhere:\n" + "\n".join(wrong))
    print(f"The site is in {html / 'index.html'}")


if __name__ == "__main__":
    main()
