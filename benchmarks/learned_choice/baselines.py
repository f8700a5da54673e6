"""What a person would write in five lines of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def five_line_models(*, is_embedding: bool) -> dict[str, Any]:
    """Classifiers of scikit-learn by name, as they come, on embeddings or standardised columns."""

    def scaled(model: Any) -> Any:
        return model if is_embedding else make_pipeline(StandardScaler(), model)

    return {
        "logistic regression": scaled(LogisticRegression(max_iter=300)),
        "logistic regression, other C": scaled(
            LogisticRegression(C=10.0 if is_embedding else 0.1, max_iter=300)
        ),
        "ridge": scaled(RidgeClassifier()),
        "nearest neighbour": scaled(KNeighborsClassifier(1)),
        "nearest neighbour, cosine or unscaled": KNeighborsClassifier(
            1, metric="cosine" if is_embedding else "minkowski"
        ),
        "nearest centroid": scaled(NearestCentroid()),
        "SVM": scaled(SVC()),
        "linear discriminant": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        "naive Bayes": GaussianNB(),
        "random forest": RandomForestClassifier(100, random_state=0),
        "extra trees": ExtraTreesClassifier(100, random_state=0),
    }


def regressions() -> dict[str, Any]:
    """Logistic regressions of embeddings at several strengths, by name."""
    return {
        f"logistic regression, C = {c:g}": LogisticRegression(C=c, max_iter=300)
        for c in (1.0, 10.0, 100.0, 1000.0)
    }


def accuracies(
    models: Mapping[str, Any],
    x: np.ndarray,
    y: np.ndarray,
    queries: np.ndarray,
    query_y: np.ndarray,
) -> dict[str, float]:
    """The accuracy of each on queries; without those that cannot learn from so few examples."""
    scores = {}
    for name, model in models.items():
        try:
            scores[name] = float((model.fit(x, y).predict(queries) == query_y).mean())
        except ValueError:
            continue
    return scores
