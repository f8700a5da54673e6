"""Optimization-based learners: take learned gradient steps."""
