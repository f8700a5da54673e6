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
from pathlib import Path

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
    os.environ.setdefault("MPLBACKEND", "agg")
    places = ["-c", HERE, "-d", out / "doctrees", source, out / "html"]
    options = ["-b", "html", "-W", "--keep-going", "-q", "-j", "2"]
    options += ["-D", "plot_gallery=0"] * fast
    return sphinx_build([str(word) for word in [*options, *places]])


def outside(html: Path) -> list[str]:
    """The addresses outside that the site links to."""
    pages = [page.read_text(encoding="utf-8") for page in html.rglob("*.html")]
    return sorted({url for page in pages for url in re.findall(r'href="(https?://[^"]+)"', page)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="do not run the tutorials")
    parser.add_argument("--links", action="store_true", help="list the addresses outside")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    arguments = parser.parse_args()
    failed = build(arguments.out, fast=arguments.fast)
    if arguments.links:
        print("\n".join(outside(arguments.out / "html")))
    if failed:
        sys.exit(failed)
    print(f"The site is in {arguments.out / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
