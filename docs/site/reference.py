"""The API reference: a page a module, a page a public name, from docs/stability.md.

The table there is complete (a test sees to that) and says how stable each name is; what a name does
comes from its docstring.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from abc import ABC
from pathlib import Path
from typing import Any, NamedTuple

from sphinx.pycode import ModuleAnalyzer

import quickstudy
from pages import DOCS, write

ORDER = ["quickstudy", "quickstudy.tasks", "quickstudy.learners", "quickstudy.engine"]
"""The modules that come first; the others follow by name."""

EXPORTS = set(dir(quickstudy))


class Name(NamedTuple):
    """A public name, and where it is imported from."""

    module: str
    name: str
    stable: bool

    @property
    def value(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def level(self) -> str:
        return "stable" if self.stable else "provisional"


def public_names() -> list[Name]:
    """Every name of the table, in its order."""
    page = (DOCS / "stability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \|$", page, flags=re.MULTILINE)
    return [
        Name(module, name, stable)
        for module, *cells in rows
        for stable, cell in zip((True, False), cells, strict=True)
        for name in re.findall(r"`(\w+)`", cell)
    ]


def heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def is_data(value: Any) -> bool:
    """Whether a value has no docstring of its own."""
    return not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value))


def doc_of(value: Any, name: str = "") -> str:
    """A docstring; for data, the string below its assignment, wherever that is."""
    if not is_data(value):
        return inspect.getdoc(value) or ""
    for module, loaded in sorted(sys.modules.items()):
        if module.startswith("quickstudy.") and vars(loaded).get(name) is value:
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
            if found:
                return "\n".join(found).strip()
    return ""


def first_sentence(value: Any, name: str = "") -> str:
    text = " ".join(doc_of(value, name).split("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.)\s", text)[0]


def imported_from(name: Name) -> str:
    """The shortest module that has a name."""
    return "quickstudy" if name.name in EXPORTS else name.module


def directive(name: Name) -> list[str]:
    value = name.value
    if inspect.isclass(value):
        options = ["members:", "inherited-members: object"]
        if any(says_something(base) for base in value.__bases__):
            options.append("show-inheritance:")
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    elif inspect.isroutine(value):
        kind, options = "autofunction", []
    else:
        text = doc_of(value, name.name).splitlines()
        return [f".. py:data:: {name.path}", "", *(f"   {line}" for line in text)]
    return [f".. {kind}:: {name.path}", *(f"   :{option}" for option in options)]


def says_something(base: type) -> bool:
    """Whether a reader learns anything from a base class."""
    return base not in (object, ABC) and not base.__name__.startswith("_")


def skip_member(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> Any:
    """Leave out what a class inherits from other packages, and the fields of a tuple."""
    inner = getattr(member, "fget", None) or getattr(member, "func", None) or member
    module = getattr(inspect.unwrap(inner) if callable(inner) else inner, "__module__", None)
    foreign = isinstance(module, str) and not module.startswith("quickstudy")
    is_field = str(getattr(member, "__doc__", "")).startswith("Alias for field number")
    return True if foreign or is_field else None


def page_of(name: Name) -> str:
    line = f"*{name.level.capitalize()}* (:doc:`what that means </stability>`)."
    source = f"from {imported_from(name)} import {name.name}"
    code = ["\n.. code-block:: python\n", f"   {source}\n"]
    return "\n".join([heading(name.name), line, *code, *directive(name), ""])


def link(name: Name, paths: dict[int, str]) -> str:
    """A link to the page of what a name stands for, which may be listed under another."""
    return f":doc:`{name.name} </api/{paths[id(name.value)]}>`"


def page_of_module(module: str, names: list[Name], paths: dict[int, str]) -> str:
    """A row a name: what it does, and how stable it is."""
    lines = [heading(module), first_sentence(importlib.import_module(module)), ""]
    lines += [".. list-table::", "   :widths: 30 56 14", "   :class: names", ""]
    for name in names:
        lines.append(f"   * - {link(name, paths)}")
        lines.append(f"     - {first_sentence(name.value, name.name)}")
        lines.append(f"     - {name.level}")
    lines += ["", ".. toctree::", "   :hidden:", ""]
    lines += [f"   /api/{name.path}" for name in names if name.path in paths.values()]
    return "\n".join([*lines, ""])


def write_reference(out: Path) -> None:
    """Write the pages of the reference to a folder, and remove those of names that are gone."""
    names = public_names()
    paths = {id(name.value): name.path for name in reversed(names)}  # of the first name of each
    pages = {name.path: page_of(name) for name in names if name.path in paths.values()}
    index = [
        heading("API"),
        "Every public name, by the module it is imported from. What `quickstudy.tasks`,",
        "`quickstudy.learners` and `quickstudy.engine` have can be imported from `quickstudy`",
        "itself. :doc:`Stability </stability>` says what *stable* and *provisional* promise.",
        "",
    ]
    modules = dict.fromkeys(ORDER) | dict.fromkeys(name.module for name in names)
    for module in modules:
        here = [name for name in names if name.module == module]
        pages[f"modules/{module}"] = page_of_module(module, here, paths)
        about = first_sentence(importlib.import_module(module))
        links = ", ".join(link(name, paths) for name in here)
        index += [f":doc:`{module} <modules/{module}>`", f"   {about}", "", f"   {links}", ""]
    entries = [f"   {module.removeprefix('quickstudy.')} <modules/{module}>" for module in modules]
    index += [".. toctree::", "   :hidden:", "", *entries]
    pages["index"] = "\n".join([*index, ""])
    for page, text in pages.items():
        write(out / f"{page}.rst", text)
    for file in {*out.rglob("*.rst")} - {out / f"{page}.rst" for page in pages}:
        file.unlink()
