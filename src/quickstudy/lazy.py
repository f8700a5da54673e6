"""Packages that import their modules when they are first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def lazy_exports(
    package: str, names_of: dict[str, list[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package some of whose modules need packages of an extra.

    Args:
        package: Its `__name__`.
        names_of: What it exports from each of its modules.

    Example:
        >>> getter, _ = lazy_exports("quickstudy", {"version": ["__version__"]})
        >>> getter("__version__") == importlib.import_module("quickstudy.version").__version__
        True
    """
    module_of = {name: module for module, names in names_of.items() for name in names}

    def get(name: str) -> Any:
        if name in module_of:
            return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        own = vars(importlib.import_module(package))
        return [*(name for name in own if name.startswith("__")), *own["__all__"]]

    return get, names
