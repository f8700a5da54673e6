"""Metric-based learners: embed, then compare."""
