"""The report of an AutoML run: `automl.json`, and what it may hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quickstudy.apps.automl.search.leaderboard import Outcome
from quickstudy.errors import MissingError, RunError

__all__ = ["PICTURES", "TABLE_NAME", "read_report"]

PICTURES = [
    f"{name}.png" for name in ("search", "leaderboard", "confusion", "predictions", "importance")
]
"""Of a run folder; which of them, its report says."""

TABLE_NAME = r"table(-[0-9a-f]{16})?\.(csv|tsv|parquet)"
"""Names of the copy of the table in a run folder: by its content, or, earlier, plainly."""

MAX_BYTES = 64 * 2**20
"""Of a report, which is read whole."""

Name = Annotated[str, Field(max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    """A part of a report: no number in it is infinite or NaN."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")


class _Entry(_Part):
    family: Name
    options: dict[Name, int | float | Name] = Field(max_length=100)
    scores: list[float] = Field(max_length=10_000)
    seconds: float = Field(ge=0)
    weight: float = Field(ge=0, le=1)
    failure: Name | None
    number: Count
    outcome: Outcome = Outcome.FINISHED
    reasons: list[Name] = Field(max_length=100)
    mean: float | None


class _Options(_Part):
    n_trials: int | None = Field(ge=1, le=2**53)
    time_budget: float | None = Field(gt=0)
    metric: Name | None
    families: list[Name] | None
    n_folds: int = Field(ge=2, le=2**53)
    study_name: Name | None
    seed: int = Field(ge=0, lt=2**32)


class _Report(_Part):
    """What `automl.json` may hold; later versions may hold more."""

    model_config = ConfigDict(extra="allow")

    estimator: Literal["AutoMLClassifier", "AutoMLRegressor"]
    options: _Options
    metric: Name
    target: Name
    table: Name
    rows: int | None = Field(default=None, ge=1, le=2**53)
    kinds: dict[Name, Name]
    notes: list[str]
    leaderboard: list[_Entry] = Field(min_length=1, max_length=100_000)
    ensemble: float
    importance: dict[Name, tuple[float, float]]
    pictures: list[Name] = Field(max_length=len(PICTURES))
    about: dict[Name, Any]


def read_report(folder: Path) -> dict[str, Any]:
    """The report that `RunWriter` wrote, checked.

    Args:
        folder: Of the run.

    Raises:
        MissingError: If there is none.
        RunError: If it is damaged.
    """
    path = folder / "automl.json"
    if not path.is_file():
        raise MissingError(f"expected a run of automl at {folder}, found none")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise RunError(
            f"{folder} is damaged: expected {MAX_BYTES} bytes at most in automl.json, got {size}"
        )
    try:
        report = _Report.model_validate_json(path.read_bytes()).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "automl.json"
        raise RunError(f"{folder} is damaged: {place}: {first['msg']}") from None
    if not re.fullmatch(TABLE_NAME, report["table"]):  # never a path to elsewhere
        raise RunError(f"{folder} is damaged: expected a table of its own, got {report['table']!r}")
    if not any(entry["weight"] for entry in report["leaderboard"]):
        raise RunError(f"{folder} is damaged: expected a pipeline with a weight, got none")
    return report
