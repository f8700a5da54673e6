"""Recipes from TOML: by name or path, on top of a base, with keys changed."""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from quickstudy.errors import MissingError, UsageError, unknown
from quickstudy.recipes import recipe_names, recipe_text
from quickstudy.recipes.schema import Data, Family, Recipe, Stage, Test, Train, Validation

__all__ = ["load_recipe", "override", "parse_recipe"]

MAX_TOML_BYTES = 64 * 1024
"""Of a recipe."""

NAMED = ("data", "backbone", "learner", "optimizer", "schedule")
"""Tables of a recipe that begin with a name."""


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe by name or path, change keys, and check it.

    A recipe with `base = "NAME"` (or a TOML file beside it) starts as that one: its keys replace
    the base's, table by table, and a table that gives another `name` replaces the whole table.

    Args:
        source: A name of `recipe_names()`, or a TOML file.
        overrides: Items like "train.steps=100"; the value is TOML, or else a string.

    Raises:
        MissingError: If there is no such file.
        UsageError: If it does not fit the schema.
    """
    return parse_recipe(override(_read(source), overrides))


def _read(source: str | Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The plain form of a recipe, bases merged in."""
    path = Path(source)
    if path in above:
        raise UsageError(f"expected recipes based on others, got {source} based on itself")
    if path.suffix == ".toml":
        if not path.is_file():
            near = difflib.get_close_matches(str(path), _toml_files(path), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise MissingError(f"expected a recipe at {path}, found none{hint}")
        if path.stat().st_size > MAX_TOML_BYTES:
            raise UsageError(f"expected a recipe of {MAX_TOML_BYTES} bytes at most: {source}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{source} is not TOML, which is in UTF-8: {error}") from None
    elif str(source) in recipe_names():
        text = recipe_text(str(source))
    else:
        raise unknown("recipe", str(source), [*recipe_names(), *_toml_files(path)])
    try:
        plain = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise UsageError(f"{source} is not TOML: {error}") from None
    base = plain.pop("base", None)
    if base is None:
        return plain
    if str(base).endswith(".toml"):
        base = path.parent / str(base)
    return _merge(_read(base, (*above, path)), plain)


def _toml_files(path: Path) -> list[str]:
    """The recipes that lie where a path leads to."""
    return [str(file) for file in path.parent.glob("*.toml")]


def _merge(base: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **plain}
    for key in base.keys() & plain.keys():
        old, new = base[key], plain[key]
        if isinstance(old, dict) and isinstance(new, dict):
            another = new.get("name", old.get("name")) != old.get("name")
            merged[key] = new if another else _merge(old, new)
    return merged


def parse_recipe(plain: dict[str, Any]) -> Recipe:
    """Check the plain form of a recipe."""
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unknown("recipe key", where, _keys(first["loc"])) from None
        if first["type"] == "missing" and isinstance(first["input"], dict):
            *place, name = map(str, first["loc"])
            if near := difflib.get_close_matches(name, map(str, first["input"]), n=1):
                raise unknown("recipe key", ".".join([*place, near[0]]), [where]) from None
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "model_type":
            message = "expected a table of keys"
            if isinstance(first["input"], str) and first["loc"][-1] in NAMED:
                message = f'expected a table, as in {where} = {{ name = "{first["input"]}" }}'
        raise UsageError(f"recipe key {where}: {message}, got {first['input']!r}") from None


def override(plain: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The plain form of a recipe with keys changed, as in "train.steps=100" or "test.0.n_way=3".

    Raises:
        UsageError: If an item is not key=value, or its key leads nowhere.
    """
    plain = copy.deepcopy(plain)
    for item in changes:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"expected key=value, got {item!r}")
        try:
            parsed = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            parsed = value
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{key} cannot be read: {error}") from None
        *path, last = key.strip().split(".")
        table: Any = plain
        for part in path:
            if isinstance(table, list) and part.isdigit() and int(part) < len(table):
                table = table[int(part)]
            elif isinstance(table, dict):
                table = table.setdefault(part, {})
            else:
                raise UsageError(f"{key} does not name a recipe key")
        if not isinstance(table, dict):
            raise UsageError(f"{key} does not name a recipe key")
        table[last] = parsed
    return plain


def _keys(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that could have stood where `loc` points."""
    models = {
        "data": Data,
        "tasks": Family,
        "curriculum": Stage,
        "validation": Validation,
        "train": Train,
        "test": Test,
    }
    model: type[BaseModel] = Recipe
    for part in loc[:-1]:
        model = models.get(str(part), model)
    prefix = [str(part) for part in loc[:-1]]
    return [".".join([*prefix, key]) for key in model.model_fields]
