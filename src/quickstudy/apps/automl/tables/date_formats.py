"""How the dates and times of a column are written.

A format is decided once, from all the strings of a column, and reads every cell the same way.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from quickstudy.apps.automl.tables.text import MISSING_WORDS, clean

__all__ = ["DateFormat", "guess_date_format"]

READABLE_SHARE = 0.95
"""Share of a column's cells that must be dates."""

MONTHS = {
    name: number
    for names in (
        "january february march april may june july august september october november december",
        "januar februar marz april mai juni juli august september oktober november dezember",
        "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
        "dicembre",
        "janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro",
        "januari februari maart april mei juni juli augustus september oktober november december",
    )
    for number, name in enumerate(names.split(), 1)
} | {"mrt": 3, "sept": 9, "maerz": 3}
"""Months in English, German, French, Spanish, Italian, Portuguese and Dutch, without accents."""

MONTH_NAMES = {
    name[:length]: number for name, number in MONTHS.items() for length in range(3, len(name) + 1)
}
"""Names of months and their beginnings. No three letters begin two months but those of "jui"."""
del MONTH_NAMES["jui"]

TIME = (
    r"(?P<hour>\d{1,2})(?::|h)(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?(?:\d{2})?)?"
)
WEEKDAY = r"(?:[^\W\d_]{2,10}\.?,?\s+)?"
AT = rf"(?:(?:\s*T\s*|,?\s+(?:at\s+|um\s+)?){TIME}(?:\s*Uhr)?)?"
MONTH, YEAR = r"(?P<name>[^\W\d_]{3,10})\.?", r"(?P<year>\d{4})"
SHORT_YEAR = r"(?P<year>'?\d{2}|\d{4})"
NAMED_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{YEAR}-(?P<month>\d{{1,2}})(?:-(?P<day>\d{{1,2}}))?{AT}",
        rf"{YEAR}/(?P<month>\d{{1,2}})",
        rf"{YEAR}年(?P<month>\d{{1,2}})月(?:(?P<day>\d{{1,2}})日)?{AT}",
        rf"{YEAR}(?P<mark>[/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}}){AT}",
        rf"{WEEKDAY}(?P<day>\d{{1,2}})(?:\.|st|nd|rd|th|er)?(?:\s+(?:of|de)?\s*|-|/|){MONTH}"
        rf"(?:,?\s+(?:de\s+)?|-|/|){SHORT_YEAR}{AT}",
        rf"{WEEKDAY}{MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+{YEAR}{AT}",
        rf"{WEEKDAY}{MONTH}\s+(?P<day>\d{{1,2}})\s+{TIME}\s+{YEAR}",
        rf"{YEAR}-{MONTH}-(?P<day>\d{{1,2}}){AT}",
        rf"{MONTH}(?:\s+|-|/){SHORT_YEAR}",
        rf"{YEAR}(?:\s+|-|/){MONTH}",
        rf"(?P<month>\d{{1,2}})[/-]{YEAR}",
        rf"{YEAR}-?W(?P<week>\d{{2}})(?:-?(?P<weekday>[1-7]))?",
        rf"{YEAR}[\s-]?Q(?P<quarter>[1-4])",
        rf"Q(?P<quarter>[1-4])[\s/-]?{YEAR}",
        TIME,
    )
)
"""Ways of writing a date that leave no doubt about day and month."""

NUMERIC_DATE = re.compile(
    rf"{WEEKDAY}(?P<a>\d{{1,2}})(?P<mark>[/.-])\s?(?P<b>\d{{1,2}})(?P=mark)\s?(?P<c>\d{{4}}|\d{{2}}){AT}"
)
COMPACT_DATE = re.compile(
    r"(?P<year>(?:18|19|20|21)\d{2})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:T?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})Z?)?"
)
MAX_DATE_LENGTH = 50

Order = Literal["day first", "month first", "year first"]


@dataclass(frozen=True)
class DateFormat:
    """How the dates of a column are written.

    Args:
        order: Of three numbers apart by marks.
        compact: Whether digits alone are dates, as 20240131.
        numeric: Whether there are dates for which the order counts.
        ambiguous: Whether each of them can be read in another order too.

    Example:
        >>> british = guess_date_format(["31/01/2024", "01/02/2024"])
        >>> british.order, str(british.read("01/02/2024"))[:10]
        ('day first', '2024-02-01')
    """

    order: Order = "day first"
    compact: bool = False
    numeric: bool = False
    ambiguous: bool = False

    def read(self, text: str) -> np.datetime64:
        """The time of a cell in UTC; a time without a day is of 1970-01-01. NaT where there is none
        or the date does not exist.
        """
        parts = _date_parts(clean(text), self.order, self.compact)
        return np.datetime64("NaT", "us") if parts is None else _moment(parts)

    def __str__(self) -> str:
        if self.compact:
            return "dates (digits alone, as 20240131)"
        return f"dates ({self.order})" if self.numeric else "dates"


def _date_parts(text: str, order: Order, compact: bool) -> dict[str, str] | None:
    """The named groups of the patterns above; None where no pattern matches."""
    if not text or len(text) > MAX_DATE_LENGTH:
        return None
    if compact and (match := COMPACT_DATE.fullmatch(text)):
        return match.groupdict()
    if match := NUMERIC_DATE.fullmatch(text):
        parts = match.groupdict()
        names = {
            "day first": ("day", "month", "year"),
            "month first": ("month", "day", "year"),
            "year first": ("year", "month", "day"),
        }[order]
        return {**parts, **dict(zip(names, (parts["a"], parts["b"], parts["c"]), strict=True))}
    for pattern in NAMED_DATES:
        if match := pattern.fullmatch(text):
            return match.groupdict()
    return None


def _moment(parts: Mapping[str, str | None]) -> np.datetime64:
    """The time in UTC; NaT if it does not exist."""
    day, time = _day(parts), _time_of_day(parts)
    if day is None or time is None:
        return np.datetime64("NaT", "us")
    moment = np.datetime64(day, "us") + time
    zone = parts.get("zone") or ""
    if zone and zone[0] in "+-":
        offset = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
        moment -= np.timedelta64(offset if zone[0] == "+" else -offset, "m")
    return moment


def _day(parts: Mapping[str, str | None]) -> date | None:
    digits = (parts.get("year") or "1970").lstrip("'")
    year = int(digits)
    if len(digits) == 2:
        year += 2000 if year < 69 else 1900  # as POSIX has it
    month = int(parts.get("month") or 1)
    if name := parts.get("name"):
        letters = unicodedata.normalize("NFKD", name.lower())
        letters = "".join(c for c in letters if not unicodedata.combining(c))
        month = MONTH_NAMES.get(letters, 0)
    if quarter := parts.get("quarter"):
        month = 3 * int(quarter) - 2
    try:
        if week := parts.get("week"):
            return date.fromisocalendar(year, int(week), int(parts.get("weekday") or 1))
        return date(year, month, int(parts.get("day") or 1))
    except ValueError:
        return None


def _time_of_day(parts: Mapping[str, str | None]) -> np.timedelta64 | None:
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half in "Pp")
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and minute + second):
        return None
    microseconds = int((parts.get("fraction") or "0")[:6].ljust(6, "0"))
    seconds = (hour * 60 + minute) * 60 + second
    return np.timedelta64(seconds * 1_000_000 + microseconds, "us")


def guess_date_format(texts: Iterable[str], order: Order | None = None) -> DateFormat | None:
    """The one way in which nearly all of a column's strings are dates; None if there is none.

    The order of day and month is the one that all dates of the column allow. Where they allow both,
    it is the order of the rest of the table, else month first with slashes and day first with
    points and dashes, and the format is ambiguous.

    Args:
        texts: The strings of a column, without missing ones.
        order: The order of the rest of the table.

    Example:
        >>> str(guess_date_format(["12/31/2024", "01/02/2024"]))
        'dates (month first)'
    """
    counts = Counter(clean(text) for text in texts)
    counts = Counter({t: n for t, n in counts.items() if t and t.lower() not in MISSING_WORDS})
    numeric = {text: match for text in counts if (match := _numeric_date(text))}
    if not counts or any(map(_may_be_version, numeric.values())):
        return None
    n_numeric = sum(counts[text] for text in numeric)
    n_compact = sum(
        n
        for text, n in counts.items()
        if text not in numeric and len(text) <= MAX_DATE_LENGTH and COMPACT_DATE.fullmatch(text)
    )
    marks, votes = Counter[str](), Counter[Order]()
    for text, match in numeric.items():
        marks[match["mark"]] += counts[text]
        if vote := _order_of(match):
            votes[vote] += counts[text]
    ambiguous = n_numeric > marks["."] and not votes  # with points, days come first everywhere
    if votes:
        order = votes.most_common(1)[0][0]
    elif not order:
        is_month_first = marks["/"] > n_numeric / 2
        order = _order_of_a_series(numeric.values()) or (
            "month first" if is_month_first else "day first"
        )
    compact = n_compact >= READABLE_SHARE * counts.total()
    form = DateFormat(order, compact, n_numeric > 0, ambiguous)
    n_read = sum(n for text, n in counts.items() if not np.isnat(form.read(text)))
    return form if n_read >= READABLE_SHARE * counts.total() else None


def _numeric_date(text: str) -> re.Match[str] | None:
    return NUMERIC_DATE.fullmatch(text) if len(text) <= MAX_DATE_LENGTH else None


def _may_be_version(match: re.Match[str]) -> bool:
    """Whether three numbers may be a version, as 1.10.12."""
    is_short = len(match["c"]) == 2 and match["mark"] == "."
    return is_short and not (len(match["a"]) == len(match["b"]) == 2)


def _order_of(match: re.Match[str]) -> Order | None:
    """The one order in which three numbers are a date; None if there are several."""
    a, b, c = int(match["a"]), int(match["b"]), int(match["c"])
    if len(match["c"]) == 2 and a > 31 and c <= 31:
        return "year first"
    if a > 12 and b <= 12:
        return "day first"
    if b > 12 and a <= 12:
        return "month first"
    return None


def _order_of_a_series(matches: Iterable[re.Match[str]]) -> Order | None:
    """The order of dates that are the same day of each month, as 01/02/2024, 01/03/2024."""
    matches = list(matches)
    first, second = {int(m["a"]) for m in matches}, {int(m["b"]) for m in matches}
    if min(len(first), len(second)) == 1 < max(len(first), len(second)) <= 12:
        return "day first" if len(first) == 1 else "month first"
    return None
