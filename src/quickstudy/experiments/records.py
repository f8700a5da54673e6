"""Records of the experience store for runs and trials.

Needs the packages of quickstudy's extra `experience`, when a function is called; PyTorch it does
not need.
"""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstudy.experience import Run, Strategy, Task, Trial

__all__ = ["run_record", "trial_record"]

REPORT_NAMESPACE = uuid.UUID("6d1c3d4c-5a0f-4b57-9d2f-1e6d1b3b8f0a")
"""The namespace of runs' ids: the same report is the same run."""


def run_record(
    made_by: dict[str, Any], recipe: str, report: dict[str, Any], began: datetime
) -> Run:
    """A run.

    Args:
        made_by: Its `provenance`.
        recipe: As JSON.
        report: What came of it.
        began: When it began; it ends now.
    """
    from quickstudy.experience import Run, canonical_json

    report = _finite(report)
    return Run(
        command=made_by["command"],
        started=began,
        finished=datetime.now(UTC),
        recipe=json.loads(recipe),
        commit=made_by["commit"],
        machine=made_by["machine"],
        report=report,
        id=str(uuid.uuid5(REPORT_NAMESPACE, canonical_json([json.loads(recipe), report]))),
    )


def trial_record(run: Run, number: int, task: Task, strategy: Strategy, **more: Any) -> Trial:
    """A trial of a run, the same for the same number.

    Args:
        run: It belongs to.
        number: In the run.
        task, strategy: What was tried on what.
        more: Other fields of a `Trial`.
    """
    from quickstudy.experience import Trial

    return Trial(
        task.fingerprint,
        strategy.fingerprint,
        run.id,
        id=str(uuid.uuid5(uuid.UUID(run.id), str(number))),
        **{"at": run.finished, **_finite(more)},
    )


def _finite(plain: Any) -> Any:
    """A report with None for numbers that are not finite, which JSON does not have."""
    if isinstance(plain, dict):
        return {k: _finite(v) for k, v in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(v) for v in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
