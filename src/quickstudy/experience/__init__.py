"""Experience: what was tried on which task, and what came of it, stored across runs."""

from __future__ import annotations

from quickstudy.errors import require

for _package in ("sqlalchemy", "alembic"):
    require(_package, "experience")

from quickstudy.experience.records import (  # noqa: E402
    Run,
    Strategy,
    Task,
    Trial,
    as_plain,
    canonical_json,
    fingerprint_of,
)
from quickstudy.experience.store import ExperienceStore, experience_place  # noqa: E402

__all__ = [
    "ExperienceStore",
    "Run",
    "Strategy",
    "Task",
    "Trial",
    "as_plain",
    "canonical_json",
    "experience_place",
    "fingerprint_of",
]
