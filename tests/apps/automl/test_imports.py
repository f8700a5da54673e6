"""What a search imports: packages that it does not use would cost seconds of its budget."""

import subprocess
import sys

import pytest

pytest.importorskip("optuna")
pytest.importorskip("lightgbm")

FIT = """
import sys
import quickstudy.apps.automl.remember
import quickstudy.apps.automl.runs
from quickstudy.apps.automl import AutoMLClassifier
from quickstudy.experiments.provenance import provenance

rows = [[i % 7, i % 3] for i in range(60)]
model = AutoMLClassifier(n_trials=1, families=["linear"], n_folds=2).fit(rows, [0, 1] * 30)
model.predict(rows)
provenance(0)
print(*({"torch", "matplotlib", "sqlalchemy", "pymfe"} & sys.modules.keys()))
"""


def test_a_search_without_the_transformer_does_not_import_torch():
    output = subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, check=True)
    assert output.stdout.split() == []
