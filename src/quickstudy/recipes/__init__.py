"""Recipes: one TOML file a named experiment."""
