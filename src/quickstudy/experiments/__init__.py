"""Experiments: a recipe is built, run, tested, compared and reported."""
