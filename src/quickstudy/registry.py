"""Learners, backbones and other parts by name: quickstudy's, those of installed packages, and a
user's own as `module:name`."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections import UserDict
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from quickstudy.errors import MissingError, UsageError, unknown

__all__ = ["Registry"]

T = TypeVar("T")

MODULE_AND_NAME = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


class Registry(UserDict[str, T], Generic[T]):
    """Objects of one kind by name.

    A name is looked up in three places, in this order: quickstudy's own objects; the entry points
    that installed packages declare in the group `quickstudy.<group>`; and, if it has a colon,
    `module:name`, where the module is imported as Python's `import` would. Modules of Python's
    standard library are refused, and so is an object that does not fit `base`.

    Args:
        kind: What messages call an object.
        group: Group of the entry points, after "quickstudy.".
        base: The class that an object is an instance or, with `classes`, a subclass of.
        own: The objects that come with quickstudy.
        classes: Whether the objects are classes.

    Example:
        >>> registry = Registry("shape", "shapes", str, {"circle": "o"})
        >>> registry.find("circle"), "square" in registry
        ('o', False)
    """

    def __init__(
        self, kind: str, group: str, base: type, own: dict[str, T], *, classes: bool = False
    ) -> None:
        super().__init__(own)
        self.kind, self.group, self.base, self.classes = kind, group, base, classes

    def find(self, name: str) -> T:
        """The object with this name.

        Raises:
            UsageError: If nothing has that name, or it is of another kind.
            MissingError: If its module cannot be imported.
        """
        if name in self:
            return self[name]
        if MODULE_AND_NAME.fullmatch(name) or name in _entry_points(self.group):
            what = f"a subclass of {self.base.__name__}" if self.classes else self.base.__name__
            raise UsageError(
                f"expected {name!r} to be {what}, to serve as {self.kind}, got {self._load(name)!r}"
            )
        raise unknown(self.kind, name, self.names())

    def names(self) -> list[str]:
        """All names but those of the form `module:name`."""
        return [*self.data, *(name for name in _entry_points(self.group) if name not in self.data)]

    def __contains__(self, name: object) -> bool:
        return name in self.data or (isinstance(name, str) and self._accepts(self._load(name)))

    def __missing__(self, name: str) -> T:
        loaded = self._load(name)
        if not self._accepts(loaded):
            raise KeyError(name)
        return loaded

    def _accepts(self, loaded: Any) -> bool:
        if self.classes:
            return isinstance(loaded, type) and issubclass(loaded, self.base)
        return isinstance(loaded, self.base)

    def _load(self, name: str) -> Any:
        """The object that an entry point or `module:name` names; None if the name is neither."""
        entry_point = _entry_points(self.group).get(name)
        if entry_point is None and MODULE_AND_NAME.fullmatch(name):
            entry_point = EntryPoint(name, name, "")
        if entry_point is None:
            return None
        if entry_point.module.partition(".")[0] in sys.stdlib_module_names:
            raise UsageError(
                f"expected a module of your own or of an installed package in {name!r}, got "
                f"Python's {entry_point.module}"
            )
        try:
            loaded: Any = importlib.import_module(entry_point.module)
        except ImportError as error:
            raise MissingError(
                f"cannot import {entry_point.module}, the module of {name!r} ({error}): install "
                "it, or put its folder on Python's path, as in `PYTHONPATH=. quickstudy …`"
            ) from None
        for part in filter(None, entry_point.attr.split(".")):
            if not hasattr(loaded, part):
                near = difflib.get_close_matches(part, dir(loaded), n=1)
                raise UsageError(
                    f"expected {entry_point.attr!r} in the module {entry_point.module}, got none"
                    + "".join(f"; did you mean {one!r}?" for one in near)
                )
            loaded = getattr(loaded, part)
        return loaded


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"quickstudy.{group}")}
