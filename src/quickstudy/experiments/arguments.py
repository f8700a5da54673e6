"""A recipe's options as the arguments of classes and functions, checked by their signatures."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from quickstudy.errors import UsageError, unknown
from quickstudy.recipes.schema import Options

__all__ = ["argument_types", "call_with", "check_options", "factory"]


def factory(namespace: Any, base: type, table: Options, where: str) -> Any:
    """Make a function that, called with parameters or an optimizer, makes what a table describes
    by a class of PyTorch.
    """
    cls = getattr(namespace, table.name, None)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        known = [
            name
            for name, value in vars(namespace).items()
            if isinstance(value, type)
            and issubclass(value, base)
            and value is not base
            and not name.startswith("_")
        ]
        raise unknown(where, table.name, known)
    check_options(cls, table, where)
    if "fused" in inspect.signature(cls).parameters:  # one pass over the weights, not several
        table = Options(**{"fused": True, **table.model_dump()})
    return lambda target: call_with(cls, table, target, where=where)


def call_with(make: Any, table: Options, *args: Any, where: str, options_of: Any = None) -> Any:
    """Call a class or function with the options of a table, which are checked first."""
    check_options(options_of or make, table, where)
    try:
        return make(*args, **table.options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where} {table.name}: {error}") from None


GIVEN = ["backbone", "in_shape", "n_outputs", "actions", "params", "optimizer", "x", "generator"]
"""Arguments that are no options, since what is built gets them."""


def check_options(make: Any, table: Options, where: str) -> None:
    """Check the options' names and types against the signature of the class or function that takes
    them."""
    known = [name for name in inspect.signature(make).parameters if name not in GIVEN]
    types = argument_types(make)
    for option, value in table.options.items():
        if option not in known:
            raise unknown(f"option of {where} {table.name}", option, known)
        try:
            TypeAdapter(types.get(option, Any)).validate_python(value)
        except PydanticSchemaGenerationError:  # a type that TOML cannot hold anyway
            continue
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UsageError(
                f"option {option} of {where} {table.name}: {reason}, got {value!r}"
            ) from None


def argument_types(make: Any) -> dict[str, Any]:
    """The types of the arguments of a class or function."""
    function = make.func if isinstance(make, partial) else make
    try:
        return get_type_hints(function.__init__ if isinstance(function, type) else function)
    except NameError:  # a type that its module imports for type checkers alone
        return {}
