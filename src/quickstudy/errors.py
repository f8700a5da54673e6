"""The errors quickstudy raises: each says what was expected, what came, and what to do.

Every error is also the builtin a caller would expect, so `except ValueError` keeps working.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable

__all__ = [
    "DataError",
    "DiskError",
    "MissingError",
    "QuickstudyError",
    "RunError",
    "UsageError",
    "check_option",
    "hide_passwords",
    "require",
    "unknown",
]


class QuickstudyError(Exception):
    """The root of the tree: anything quickstudy refuses on purpose."""


class UsageError(QuickstudyError, ValueError):
    """An argument, option or recipe key that cannot be used as given."""


class DataError(QuickstudyError, ValueError):
    """Data that is there but cannot serve: too few images, one class, a corrupt file."""


class MissingError(QuickstudyError, FileNotFoundError):
    """A file, folder, data set or package that is not where it was looked for."""


class DiskError(QuickstudyError, OSError):
    """A folder that cannot be written: the disk is full, or writing is not allowed."""


class RunError(QuickstudyError, RuntimeError):
    """A run folder that is damaged, or in the way."""


MAX_LISTED = 30
"""Names of a catalogue that an error gives."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that is not in a catalogue, with the nearest known one, and all
    of them, or the nearest ten of a long list.

    Example:
        >>> print(unknown("learner", "mamll", ["maml", "prototypical_networks"]))
        unknown learner 'mamll'; did you mean 'maml'? Known: maml, prototypical_networks
        >>> print(unknown("optimizer", "adam", ["Adam", "SGD"]))
        unknown optimizer 'adam'; did you mean 'Adam'? Known: Adam, SGD
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if not near:
        by_lower = {known_name.lower(): known_name for known_name in names}
        near = [by_lower[n] for n in difflib.get_close_matches(name.lower(), by_lower, n=1)]
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = ", ".join(names) or "none"
    if len(names) > MAX_LISTED:
        some = difflib.get_close_matches(name, names, n=10, cutoff=0.0)
        listed = f"{', '.join(some)}, and {len(names) - len(some)} more"
    return UsageError(f"unknown {kind} {name!r}{hint} Known: {listed}")


def check_option(option: str, value: object, known: Iterable[str]) -> None:
    """Refuse a value that is not one of the known ones.

    Example:
        >>> check_option("distance", "cosine", ["cosine", "euclidean"])
    """
    if value not in (known := list(known)):
        raise unknown(option, str(value), known)


def require(package: str, extra: str) -> None:
    """Refuse to go on without an optional package.

    Example:
        >>> require("numpy", "demo")
    """
    if importlib.util.find_spec(package) is None:
        raise MissingError(f"expected {package}: install it with pip install 'quickstudy[{extra}]'")


_USERINFO = re.compile(r"(//[^\s:@/]*:).*@")
_QUERY = re.compile(r"([?&](?:ssl)?(?:password|passwd|pwd)=)[^&\s'\"]*", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """Replace the passwords of URLs in a text by asterisks, to print or keep it.

    A password may hold any character, unescaped ones too, so all up to the last @ of a line goes.

    Example:
        >>> hide_passwords("--storage postgresql://ann:s3cr/et@host/studies")
        '--storage postgresql://ann:***@host/studies'
        >>> hide_passwords("postgresql://host/studies?password=s3cret&user=ann")
        'postgresql://host/studies?password=***&user=ann'
    """
    return _QUERY.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
