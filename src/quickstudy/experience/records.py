"""What is remembered: tasks, strategies, runs, and trials of a strategy on a task."""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from quickstudy.errors import UsageError

__all__ = [
    "Run",
    "Strategy",
    "Task",
    "Trial",
    "as_plain",
    "as_record",
    "canonical_json",
    "fingerprint_of",
]

R = TypeVar("R", bound="_Record")

Fingerprint = str
"""The SHA-256 of what a record is, in 64 hexadecimal digits."""

Id = str
"""A UUID."""


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, ASCII.

    Raises:
        UsageError: If JSON cannot hold the value; it has no NaN and no infinity.

    Example:
        >>> canonical_json({"shots": (1, 5), "lr": 0.1})
        '{"lr":0.1,"shots":[1,5]}'
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"expected what JSON can hold, got {value!r}: {error}") from None


def fingerprint_of(definition: Any) -> Fingerprint:
    """The SHA-256 of a definition's canonical JSON.

    Example:
        >>> fingerprint_of({"data": "glyphs", "ways": 5})[:8]
        '03c90a42'
    """
    return hashlib.sha256(canonical_json(definition).encode()).hexdigest()


class _Record:
    """Checks each field by its declared type, and brings it to the form the store gives back."""

    def __post_init__(self) -> None:
        for part in fields(self):  # pyright: ignore[reportArgumentType]
            if part.init:
                kind = str(part.type)
                value = getattr(self, part.name)
                if value is not None or not kind.endswith(" | None"):
                    checked = _CHECKS[kind.removesuffix(" | None")](part.name, value)
                    object.__setattr__(self, part.name, checked)


@dataclass(frozen=True)
class Task(_Record):
    """Something to learn: a family of few-shot tasks, a table, a user.

    Args:
        fingerprint: The SHA-256 of its content or definition; tasks with the same one are one.
        kind: Such as "few-shot" or "environments".
        name: For people.
        features: Meta-features, by which tasks are compared.
        provenance: Where it comes from.

    Raises:
        UsageError: If a field cannot be stored, as for all records.

    Example:
        >>> digits = fingerprint_of({"data": "digits", "ways": 5, "shots": 1})
        >>> Task(digits, "few-shot", "digits, 5-way 1-shot", {"ways": 5}).features
        {'ways': 5.0}
    """

    fingerprint: Fingerprint
    kind: str
    name: str
    features: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Strategy(_Record):
    """A way to learn, with all its options; the same name and options are the same strategy.

    Args:
        kind: "learner", "strategy", "pipeline" or "parameters".
        name: Of the learner, strategy or pipeline; the parameters' names.
        configuration: Its options.

    Example:
        >>> one = Strategy("learner", "maml", {"inner_lr": 0.4, "inner_steps": 1})
        >>> one == Strategy("learner", "maml", {"inner_steps": 1, "inner_lr": 0.4})
        True
    """

    fingerprint: Fingerprint = field(init=False)
    kind: str
    name: str
    configuration: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        identity = fingerprint_of([self.kind, self.name, self.configuration])
        object.__setattr__(self, "fingerprint", identity)


@dataclass(frozen=True)
class Run(_Record):
    """A process that gained experience.

    Args:
        command: As it was typed.
        recipe: What it was to do.
        commit: Of quickstudy's source, if it ran from a checkout.
        machine: What it ran on.
        started, finished: With a time zone.
        report: Its results.
    """

    command: str
    started: datetime
    finished: datetime
    recipe: dict[str, Any] = field(default_factory=dict)
    commit: str | None = None
    machine: str | None = None
    report: dict[str, Any] = field(default_factory=dict)
    id: Id = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True)
class Trial(_Record):
    """What came of a strategy on a task.

    Args:
        task, strategy: Their fingerprints.
        run: The id of the run it was part of.
        metric: What the scores are, such as "accuracy" (0 to 1) or "mse"; None without scores.
        scores: One a task drawn from a family, one a fold of a table.
        seconds: What it took.
        cost: Other costs, such as operations and bytes.
        failure: Why there are no scores, if it failed.
        at: When it ended, with a time zone.

    Example:
        >>> task, strategy = fingerprint_of("digits"), Strategy("learner", "maml").fingerprint
        >>> Trial(task, strategy, metric="accuracy", scores=[0.5, 1]).mean
        0.75
    """

    task: Fingerprint
    strategy: Fingerprint
    run: Id | None = None
    metric: str | None = None
    scores: list[float] = field(default_factory=list)
    seconds: float | None = None
    cost: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: Id = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scores and not self.metric:
            raise UsageError("expected the metric of the scores, got none: name it")

    @property
    def mean(self) -> float | None:
        """The mean score; None without scores."""
        return statistics.fmean(self.scores) if self.scores else None


def as_plain(record: Task | Strategy | Run | Trial) -> dict[str, Any]:
    """A record as JSON can hold it, times in ISO 8601.

    Example:
        >>> as_plain(Strategy("learner", "maml"))["name"]
        'maml'
    """
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in vars(record).items()}


def as_record(kind: type[R], values: Mapping[Any, Any]) -> R:
    """A record from all its fields, as a database or file holds them.

    Raises:
        ValueError: If they are damaged: not what a record can hold, or of another fingerprint.
    """
    given = {part.name: values[part.name] for part in fields(kind) if part.init}  # pyright: ignore
    try:
        record = kind(**given)
    except UsageError as error:
        raise ValueError(f"a {kind.__name__.lower()}: {error}") from None
    if getattr(record, "fingerprint", None) != values.get("fingerprint"):
        raise ValueError(f"a {kind.__name__.lower()} with the fingerprint of another")
    return record


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise UsageError(f"expected text without a zero character as {name}, got {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"expected text that UTF-8 can hold as {name}, got {value!r}") from None
    return value


def _fingerprint(name: str, value: Any) -> Fingerprint:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise UsageError(f"expected a SHA-256 in 64 hexadecimal digits as {name}, got {value!r}")
    return value


def _id(name: str, value: Any) -> Id:
    try:
        return str(uuid.UUID(value))
    except (TypeError, ValueError, AttributeError):
        raise UsageError(f"expected a UUID as {name}, got {value!r}") from None


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise UsageError(f"expected a finite number as {name}, got {value!r}")
    return number


def _numbers(name: str, value: Any) -> list[float]:
    if isinstance(value, str | dict):
        raise UsageError(f"expected a list of numbers as {name}, got {value!r}")
    return [_number(name, one) for one in value]


def _time(name: str, value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise UsageError(f"expected a time with its zone as {name}, got {value!r}")
    return value.astimezone(UTC)


def _plain(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"expected a dict as {name}, got {value!r}")
    return json.loads(canonical_json(value))


def _named_numbers(name: str, value: Any) -> dict[str, float]:
    return {k: _number(f"{name}.{k}", v) for k, v in _plain(name, value).items()}


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "str": _text,
    "Fingerprint": _fingerprint,
    "Id": _id,
    "float": _number,
    "list[float]": _numbers,
    "datetime": _time,
    "dict[str, Any]": _plain,
    "dict[str, float]": _named_numbers,
}
