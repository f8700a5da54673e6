"""Learning new classes or a new function from a few examples."""

from quickstudy.apps.fewshot.estimators import FewShotClassifier, FewShotRegressor

__all__ = ["FewShotClassifier", "FewShotRegressor"]
