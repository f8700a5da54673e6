"""What goes wrong, measured: domain mismatch, scarcity, memorisation, bad examples, diversity.

Each measure returns a `Finding`: its value, interval and threshold, what it means, what to do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstudy.diagnostics.diversity import Probe as Probe
    from quickstudy.diagnostics.diversity import diversity_coefficient as diversity_coefficient
    from quickstudy.diagnostics.diversity import probe_of as probe_of
    from quickstudy.diagnostics.diversity import task_vectors as task_vectors
    from quickstudy.diagnostics.diversity import vendi_score as vendi_score
    from quickstudy.diagnostics.efficiency import CostPoint as CostPoint
    from quickstudy.diagnostics.efficiency import adaptation_area as adaptation_area
    from quickstudy.diagnostics.efficiency import frontier as frontier
    from quickstudy.diagnostics.efficiency import half_cost as half_cost
    from quickstudy.diagnostics.efficiency import jump_start as jump_start
    from quickstudy.diagnostics.efficiency import shots_to_score as shots_to_score
    from quickstudy.diagnostics.finding import Finding as Finding
    from quickstudy.diagnostics.finding import Skipped as Skipped
    from quickstudy.diagnostics.finding import Threshold as Threshold
    from quickstudy.diagnostics.memorisation import adaptation_gain as adaptation_gain
    from quickstudy.diagnostics.memorisation import feature_reuse as feature_reuse
    from quickstudy.diagnostics.memorisation import generalisation_gap as generalisation_gap
    from quickstudy.diagnostics.memorisation import linear_cka as linear_cka
    from quickstudy.diagnostics.memorisation import shuffled_labels as shuffled_labels
    from quickstudy.diagnostics.memorisation import without_support as without_support
    from quickstudy.diagnostics.mismatch import dataset_distance as dataset_distance
    from quickstudy.diagnostics.mismatch import kernel_distance as kernel_distance
    from quickstudy.diagnostics.mismatch import mmd_test as mmd_test
    from quickstudy.diagnostics.mismatch import proxy_a_distance as proxy_a_distance
    from quickstudy.diagnostics.scarcity import PowerLaw as PowerLaw
    from quickstudy.diagnostics.scarcity import fit_power_law as fit_power_law
    from quickstudy.diagnostics.scarcity import size_to_target as size_to_target
    from quickstudy.diagnostics.support import copies as copies
    from quickstudy.diagnostics.support import examine_support as examine_support
    from quickstudy.diagnostics.support import mislabelled as mislabelled
    from quickstudy.diagnostics.tables import leaking_column as leaking_column
    from quickstudy.diagnostics.tables import suspect_rows as suspect_rows
    from quickstudy.diagnostics.tasks import label_order as label_order
    from quickstudy.diagnostics.tasks import leaked_queries as leaked_queries
    from quickstudy.diagnostics.training_statistics import TrainingStatistics as TrainingStatistics
    from quickstudy.diagnostics.training_statistics import novelty as novelty

__all__ = [
    "CostPoint",
    "Finding",
    "PowerLaw",
    "Probe",
    "Skipped",
    "Threshold",
    "TrainingStatistics",
    "adaptation_area",
    "adaptation_gain",
    "copies",
    "dataset_distance",
    "diversity_coefficient",
    "examine_support",
    "feature_reuse",
    "fit_power_law",
    "frontier",
    "generalisation_gap",
    "half_cost",
    "jump_start",
    "kernel_distance",
    "label_order",
    "leaked_queries",
    "leaking_column",
    "linear_cka",
    "mislabelled",
    "mmd_test",
    "novelty",
    "probe_of",
    "proxy_a_distance",
    "shots_to_score",
    "shuffled_labels",
    "size_to_target",
    "suspect_rows",
    "task_vectors",
    "vendi_score",
    "without_support",
]

_MODULES = {
    "CostPoint": "efficiency",
    "Finding": "finding",
    "PowerLaw": "scarcity",
    "Probe": "diversity",
    "Skipped": "finding",
    "Threshold": "finding",
    "TrainingStatistics": "training_statistics",
    "adaptation_area": "efficiency",
    "adaptation_gain": "memorisation",
    "copies": "support",
    "dataset_distance": "mismatch",
    "diversity_coefficient": "diversity",
    "examine_support": "support",
    "feature_reuse": "memorisation",
    "fit_power_law": "scarcity",
    "frontier": "efficiency",
    "generalisation_gap": "memorisation",
    "half_cost": "efficiency",
    "jump_start": "efficiency",
    "kernel_distance": "mismatch",
    "label_order": "tasks",
    "leaked_queries": "tasks",
    "leaking_column": "tables",
    "linear_cka": "memorisation",
    "mislabelled": "support",
    "mmd_test": "mismatch",
    "novelty": "training_statistics",
    "probe_of": "diversity",
    "proxy_a_distance": "mismatch",
    "shots_to_score": "efficiency",
    "shuffled_labels": "memorisation",
    "size_to_target": "scarcity",
    "suspect_rows": "tables",
    "task_vectors": "diversity",
    "vendi_score": "diversity",
    "without_support": "memorisation",
}
"""The module of each exported name: it is imported on first use, as some need torch."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*(name for name in globals() if name.startswith("__")), *__all__]
