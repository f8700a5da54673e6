"""Recipes: named experiments, one TOML file each, and the schema they are checked by."""

from __future__ import annotations

import tomllib
from importlib import resources

__all__ = ["about", "recipe_names", "recipe_text"]


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    files = resources.files(__name__).iterdir()
    return sorted(f.name[:-5] for f in files if f.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML of a recipe that comes with the package."""
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")


def about() -> dict[str, str]:
    """What each recipe is about."""
    return {name: tomllib.loads(recipe_text(name))["about"] for name in recipe_names()}
