"""What goes wrong, measured: domain mismatch, scarcity, memorisation, bad examples, diversity.

Each measure returns a `Finding`: its value, interval and threshold, what it means, what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quickstudy.lazy import lazy_exports

if TYPE_CHECKING:
    from quickstudy.diagnostics.diversity import (
        Probe,
        diversity_coefficient,
        probe_of,
        task_vectors,
        vendi_score,
    )
    from quickstudy.diagnostics.efficiency import (
        CostPoint,
        adaptation_area,
        frontier,
        half_cost,
        jump_start,
        shots_to_score,
    )
    from quickstudy.diagnostics.expectation import expected_accuracy
    from quickstudy.diagnostics.finding import Finding, Skipped, Threshold
    from quickstudy.diagnostics.memorisation import (
        adaptation_gain,
        feature_reuse,
        generalisation_gap,
        linear_cka,
        shuffled_labels,
        without_support,
    )
    from quickstudy.diagnostics.mismatch import (
        dataset_distance,
        kernel_distance,
        mmd_test,
        proxy_a_distance,
    )
    from quickstudy.diagnostics.scarcity import PowerLaw, fit_power_law, size_to_target
    from quickstudy.diagnostics.support import (
        copies,
        examine_support,
        mislabelled,
        outlier,
        two_in_one_class,
    )
    from quickstudy.diagnostics.tables import leaking_column, suspect_rows
    from quickstudy.diagnostics.tasks import label_order, leaked_queries
    from quickstudy.diagnostics.training_statistics import TrainingStatistics, novelty

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
    "expected_accuracy",
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
    "outlier",
    "probe_of",
    "proxy_a_distance",
    "shots_to_score",
    "shuffled_labels",
    "size_to_target",
    "suspect_rows",
    "task_vectors",
    "two_in_one_class",
    "vendi_score",
    "without_support",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "diversity": ["Probe", "diversity_coefficient", "probe_of", "task_vectors", "vendi_score"],
        "efficiency": [
            "CostPoint",
            "adaptation_area",
            "frontier",
            "half_cost",
            "jump_start",
            "shots_to_score",
        ],
        "expectation": ["expected_accuracy"],
        "finding": ["Finding", "Skipped", "Threshold"],
        "memorisation": [
            "adaptation_gain",
            "feature_reuse",
            "generalisation_gap",
            "linear_cka",
            "shuffled_labels",
            "without_support",
        ],
        "mismatch": ["dataset_distance", "kernel_distance", "mmd_test", "proxy_a_distance"],
        "scarcity": ["PowerLaw", "fit_power_law", "size_to_target"],
        "support": ["copies", "examine_support", "mislabelled", "outlier", "two_in_one_class"],
        "tables": ["leaking_column", "suspect_rows"],
        "tasks": ["label_order", "leaked_queries"],
        "training_statistics": ["TrainingStatistics", "novelty"],
    },
)
