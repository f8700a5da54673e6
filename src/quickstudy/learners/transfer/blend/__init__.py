"""A blend of heads, weighed by a gate that is meta-trained over tasks of many domains."""

from quickstudy.learners.transfer.blend.candidates import View, fit_candidates

__all__ = ["View", "fit_candidates"]
