"""What a measure found: a value, how sure it is, what it means, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from quickstudy.html import html_table

__all__ = ["Finding", "Skipped", "Status", "Threshold", "findings_table", "number"]

Status = Literal["fine", "warning", "information"]
"""Whether a measure passed its threshold; "information" where there is none to pass."""


@dataclass(frozen=True)
class Threshold:
    """The value from which a finding is a warning.

    Args:
        value: In the measure's unit.
        origin: Where it comes from: a null distribution, a simulation, a convention.
    """

    value: float
    origin: str


@dataclass(frozen=True)
class Finding:
    """The result of one measure.

    Args:
        measure: Its name, such as "proxy A-distance".
        status: "warning" if there is something to do.
        value: What was measured; None where a measure has no number.
        verdict: What that means, in a sentence.
        advice: What to do next; empty if there is nothing to do.
        interval: It holds the true value in 95 of 100 cases, unless the verdict says otherwise.
        threshold: From which value on it is a warning.
        details: More numbers, for JSON.
        examples: Rows of the support set that it is about, counted from 0.

    Example:
        >>> mild = Threshold(1.0, "half of the way to 2, where every example is told apart")
        >>> print(Finding("proxy A-distance", "fine", 0.31, "The domains overlap.", threshold=mild))
        proxy A-distance 0.31: The domains overlap.
    """

    measure: str
    status: Status
    value: float | None
    verdict: str
    advice: str = ""
    interval: tuple[float, float] | None = None
    threshold: Threshold | None = None
    details: dict[str, Any] = field(default_factory=dict)
    examples: tuple[int, ...] = ()

    @property
    def is_warning(self) -> bool:
        return self.status == "warning"

    def __str__(self) -> str:
        value = "" if self.value is None else f" {self.formatted}"
        return f"{self.measure}{value}: {self.verdict}" + (f" {self.advice}" if self.advice else "")

    @property
    def formatted(self) -> str:
        """The value with its interval."""
        if self.value is None:
            return ""
        if self.interval is None:
            return number(self.value)
        return f"{number(self.value)} ({number(self.interval[0])} to {number(self.interval[1])})"

    def as_dict(self) -> dict[str, Any]:
        """The same, for JSON, which has no infinity: such a value is None."""
        return _plain(
            {
                **vars(self),
                "threshold": None if self.threshold is None else vars(self.threshold),
            }
        )

    def row(self) -> list[str]:
        """The cells of a table: measure, status, value, threshold, verdict, advice."""
        threshold = "" if self.threshold is None else number(self.threshold.value)
        return [self.measure, self.status, self.formatted, threshold, self.verdict, self.advice]

    def _repr_html_(self) -> str:
        return findings_table([self])


@dataclass(frozen=True)
class Skipped:
    """A measure that was left out, and why."""

    measure: str
    reason: str


HEADER = ("measure", "status", "value (95 % interval)", "warns from", "what it means", "what to do")


def findings_table(findings: Iterable[Finding]) -> str:
    """Findings as an HTML table, all text escaped."""
    return html_table(HEADER, (finding.row() for finding in findings))


def number(value: float) -> str:
    """A number for people: three digits, no exponent where it can be read without.

    Example:
        >>> number(0.30721), number(1234.5), number(0.0), number(-0.00004)
        ('0.307', '1,234', '0', '-4e-05')
    """
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
