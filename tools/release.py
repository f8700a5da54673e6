"""What a release fills in stands in one table of pyproject.toml; everything else is made from it.

    python tools/release.py write    # write CITATION.cff and the other files that show the table
    python tools/release.py check    # they are as `write` would leave them
    python tools/release.py ready    # and nothing that a release needs is missing

The table is `[tool.hatch.metadata.hooks.custom]`; the version is `__version__` of the package.
Hatchling runs this file too, as a metadata hook: it gives the wheel its URLs, and a README whose
links work outside the repository. While the table is empty no URL is shown anywhere.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.metadata.plugin.interface import MetadataHookInterface

VERSION_FILE = "src/quickstudy/version.py"
NO_CONTACT = "The address comes with the first release on a package index."


class Release(NamedTuple):
    """What a release says of itself; an empty string where it is not known yet.

    Args:
        version: As in `__version__`.
        repository: URL of the repository, as on GitHub, without a slash at the end.
        documentation: URL of the documentation; by default the pages in the repository.
        contact: E-mail address for reports of vulnerabilities and of conduct.
        date: The day of the release, as 2026-12-31.
    """

    version: str
    repository: str = ""
    documentation: str = ""
    contact: str = ""
    date: str = ""

    def page(self, path: str, kind: str = "blob") -> str:
        """The URL of a file of this version in the repository."""
        return f"{self.repository}/{kind}/v{self.version}/{path}"

    def urls(self) -> dict[str, str]:
        """The project's URLs by the names that package indexes know."""
        if not self.repository:
            return {}
        return {
            "Homepage": self.repository,
            "Documentation": self.documentation or self.page("docs", "tree"),
            "Changelog": self.page("CHANGELOG.md"),
            "Issues": f"{self.repository}/issues",
            "Source": self.repository,
        }

    def missing(self) -> list[str]:
        """The keys that a release needs and that are empty."""
        return [key for key in ("repository", "contact", "date") if not getattr(self, key)]


def read_release(root: Path) -> Release:
    """The table of pyproject.toml, and the version of the package."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    table = project["tool"]["hatch"]["metadata"]["hooks"]["custom"]
    code = (root / VERSION_FILE).read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', code, flags=re.MULTILINE)
    assert found, f"no __version__ in {VERSION_FILE}"
    known = {key: table[key].rstrip("/") for key in Release._fields if key in table}
    return Release(found[1], **known)


def readme_for_an_index(text: str, release: Release) -> str:
    """README.md with links that work outside the repository.

    Links to files of the repository become URLs; without a repository their text alone is left,
    and pictures are left out. Code stays as it is.
    """

    def absolute(match: re.Match[str]) -> str:
        bang, words, path = match.group("bang", "words", "path")
        if path is None or re.match(r"[a-z]+:|#", path):
            return match[0]
        if release.repository:
            return f"{bang}[{words}]({release.page(path, 'raw' if bang else 'blob')})"
        return "" if bang else words

    code = r"```.*?```|`[^`]*`"
    link = r"(?P<bang>!?)\[(?P<words>[^\]]*)\]\((?P<path>[^)\s]+)\)"
    return re.sub(f"{code}|{link}", absolute, text, flags=re.DOTALL)


class ReleaseMetadata(MetadataHookInterface):
    """Hatchling's hook: the fields of the metadata that depend on the release."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        release = read_release(root)
        readme = (root / "README.md").read_text(encoding="utf-8")
        metadata["urls"] = release.urls()
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": readme_for_an_index(readme, release),
        }


def citation(root: Path, release: Release) -> str:
    """CITATION.cff, in the citation file format 1.2.0."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    fields = {
        "cff-version": "1.2.0",
        "message": "If you use this software, please cite it as below.",
        "type": "software",
        "title": "quickstudy",
        "abstract": f"{project['description']}.",
        "authors": [{"name": "The quickstudy contributors"}],
        "license": project["license"],
        "keywords": project["keywords"],
        "version": release.version,
    }
    if release.date:
        fields["date-released"] = release.date
    if release.repository:
        fields["repository-code"] = release.repository
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["# Written by `python tools/release.py write`.", *lines]) + "\n"


def issue_config(release: Release) -> str:
    """The page on which GitHub offers the issue forms."""
    lines = ["# Written by `python tools/release.py write`.", "blank_issues_enabled: false"]
    if release.repository:
        lines += [
            "contact_links:",
            "  - name: Report a vulnerability",
            f"    url: {release.page('SECURITY.md')}",
            "    about: Please report vulnerabilities in private, as this page says.",
        ]
    return "\n".join(lines) + "\n"


def with_contact(text: str, release: Release) -> str:
    """A page with the address between its marks."""
    line = f"Write to <{release.contact}>." if release.contact else NO_CONTACT
    marks = r"(<!-- contact -->\n).*?(<!-- end of contact -->)"
    written, n = re.subn(marks, rf"\g<1>{line}\n\2", text, flags=re.DOTALL)
    assert n == 1, "expected the marks of the contact once"
    return written


def written(root: Path) -> dict[str, str]:
    """Every file that shows the release, by its path, as it should be."""
    release = read_release(root)

    def text(path: str) -> str:
        return (root / path).read_text(encoding="utf-8")

    heading = f"## {release.version} ({release.date or 'not released yet'})"
    changelog = re.sub(r"^## .*$", heading, text("CHANGELOG.md"), count=1, flags=re.MULTILINE)
    return {
        "CITATION.cff": citation(root, release),
        ".github/ISSUE_TEMPLATE/config.yml": issue_config(release),
        "CHANGELOG.md": changelog,
        **{p: with_contact(text(p), release) for p in ("SECURITY.md", "CODE_OF_CONDUCT.md")},
    }


def main(command: str = "check", *, root: Path = Path(__file__).parents[1]) -> None:
    """Run one command; exit with what is wrong."""
    files = written(root)
    if command == "write":
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content, encoding="utf-8")
        return
    if command not in ("check", "ready"):
        sys.exit(f"expected write, check or ready, got {command!r}")

    def stale(path: str) -> bool:
        file = root / path
        return not file.exists() or file.read_text(encoding="utf-8") != files[path]

    if old := [path for path in files if stale(path)]:
        sys.exit(f"not up to date: {', '.join(old)}; run python tools/release.py write")
    if command == "ready" and (missing := read_release(root).missing()):
        table = "[tool.hatch.metadata.hooks.custom] of pyproject.toml"
        sys.exit(f"still empty in {table}: {', '.join(missing)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
