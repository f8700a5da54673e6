"""One cell with a number: its digits, sign, currency and units, as they are written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CODE", "SCALES", "UNITS", "NumberCell", "parse_cell"]

_CURRENCIES = (
    "usd eur gbp jpy chf cad aud nzd cny rmb inr brl mxn sek nok dkk pln czk huf rub try zar krw "
    "sgd hkd thb idr myr php vnd aed sar ils ars clp cop egp ngn uah ron bgn rs rs. kr kr. zł kč "
    "ft r$ us$ a$ c$ ca$ au$ nz$ hk$ nt$ s$ mx$ fr. sfr. euro euros dollar dollars"
)
CURRENCIES = frozenset(_CURRENCIES.split())

SCALES: Mapping[str, float] = {
    **dict.fromkeys(("k", "tsd", "tsd.", "thousand"), 1e3),
    **dict.fromkeys(("lakh", "lakhs", "lac"), 1e5),
    **dict.fromkeys(("m", "mn", "mm", "mio", "mio.", "million", "millions"), 1e6),
    **dict.fromkeys(("cr", "cr.", "crore", "crores"), 1e7),
    **dict.fromkeys(("b", "bn", "mrd", "mrd.", "billion", "billions"), 1e9),
    **dict.fromkeys(("t", "tn", "trillion"), 1e12),
}
UNITS: tuple[Mapping[str, float], ...] = (
    {
        **dict.fromkeys(("ms", "msec"), 1e-3),
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sekunde", "sekunden"), 1.0),
        **dict.fromkeys(("m", "min", "min.", "mins", "minute", "minutes", "minuten"), 60.0),
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "std", "std.", "stunde"), 3600.0),
        **dict.fromkeys(("stunden", "heure", "heures"), 3600.0),
        **dict.fromkeys(("d", "day", "days", "tag", "tage", "jour", "jours"), 86400.0),
        **dict.fromkeys(("w", "wk", "wks", "week", "weeks", "woche", "wochen"), 604800.0),
        **dict.fromkeys(("mo", "mos", "month", "months", "monat", "monate", "mois"), 2629746.0),
        **dict.fromkeys(("y", "yr", "yrs", "year", "years", "jahr", "jahre"), 31556952.0),
        **dict.fromkeys(("an", "ans"), 31556952.0),
    },
    {"mg": 1e-6, "g": 1e-3, "gr": 1e-3, "kg": 1.0, "kgs": 1.0, "t": 1e3}
    | {"oz": 0.028349523125, "lb": 0.45359237, "lbs": 0.45359237},
    {"mm": 1e-3, "cm": 1e-2, "dm": 0.1, "m": 1.0, "km": 1e3, "in": 0.0254, "inch": 0.0254}
    | {"inches": 0.0254, '"': 0.0254, "ft": 0.3048, "feet": 0.3048, "'": 0.3048, "yd": 0.9144}
    | {"mi": 1609.344, "mile": 1609.344, "miles": 1609.344},
    {"ml": 1e-3, "cl": 1e-2, "dl": 0.1, "l": 1.0, "hl": 100.0},
    {"b": 1.0, "byte": 1.0, "bytes": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
    | {"kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40},
    {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9},
    dict.fromkeys(("st", "nd", "rd", "th"), 1.0),
)
"""Units in lower case with their sizes; those of one mapping convert into each other."""

NUMBER = re.compile(
    r"""(?P<open>\()?\s*
    (?P<compare><=|>=|[<>≤≥~≈])?\s*
    (?P<sign>[+-])?\s*
    (?P<prefix>[^\W\d_]{0,3}[^\w\s()+<>='",:;/.-]|[^\W\d_]{2,3}\.?)?\s*
    (?P<inner>[+(-])?\s*
    (?P<digits>\d+(?:[.,' ]\d+)*[.,]?|[.,]\d+)
    (?P<exponent>[eE][+-]?\d+)?
    (?P<blank>\s*)
    (?P<suffix>\+|/\s*\d+(?:\.\d+)?|/\s*[^\W\d_]+|[^\d\s()+<>,;:/\\|.-][^\d()+<>,;:]*?(?:(?<=m)[23])?)?\s*
    (?P<after>-)?
    (?P<close>\))?""",
    re.VERBOSE,
)
PART = r"\d+(?:[.,]\d+)?\s*[^\W\d_]+\.?"
PARTS = re.compile(rf"-?\s*{PART}(?:(?:\s*,)?(?:\s+and)?\s*{PART})+", re.IGNORECASE)
CLOCK = re.compile(
    r"-?(?:(?P<d>\d+) days?,? \+?)?(?P<h>\d+):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d(?:[.,]\d+)?))?"
)
LAP = re.compile(r"(?P<m>\d+):(?P<s>[0-5]\d[.,]\d+)")
FEET = re.compile(r"(?P<ft>\d{1,2})'\s*(?:(?P<in>\d{1,2}(?:\.\d+)?)\s*(?:\"|'')?)?")
ISO_DURATION = re.compile(
    r"P(?=\d|T\d)(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
CLOSED = re.compile(r"(?<=\d)\s*(?:[,.]\s*-|/-)(?=\s|$)")  # "12,-" and "1,234/-": no cents
SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
CODE = re.compile(r"(?=.*\d)(?=.*[^\W\d_])[\w-]+")
MAX_NUMBER_LENGTH = 60


@dataclass(frozen=True)
class NumberCell:
    """A number as it is written.

    Args:
        parts: Digits with their marks, and the unit behind them: "2 h 5 min" has two parts.
        negative: Whether it has a minus, or is in parentheses.
        exponent: As "e3"; empty for none.
        currency: In lower case; empty for none.
        compared: Whether it is a limit, as "<5".
        spaced: Whether a blank is before its unit.
        plus: Whether it has a plus.
        value: Seconds, if it is a duration as 1:30:00; else None.
    """

    parts: tuple[tuple[str, str], ...]
    negative: bool = False
    exponent: str = ""
    currency: str = ""
    compared: bool = False
    spaced: bool = False
    plus: bool = False
    value: float | None = None

    @property
    def digits(self) -> str:
        return self.parts[0][0]

    @property
    def units(self) -> set[str]:
        return {unit for _, unit in self.parts if unit}


def parse_cell(text: str) -> NumberCell | None:
    """The number that a cell holds, after `clean`; None if it holds none.

    Example:
        >>> parse_cell("$1,234.50").digits, parse_cell("$1,234.50").currency
        ('1,234.50', '$')
    """
    if len(text) > MAX_NUMBER_LENGTH or not any(character.isdigit() for character in text):
        return None
    return _parse_duration(text) or _parse_parts(text) or _parse_one(text)


def _parse_duration(text: str) -> NumberCell | None:
    """1:30:00, 2:03.5, P1DT2H, in seconds."""
    match = CLOCK.fullmatch(text) or LAP.fullmatch(text) or ISO_DURATION.fullmatch(text)
    if match is None:
        return None
    amounts = {
        unit: digits.replace(",", ".") for unit, digits in match.groupdict().items() if digits
    }
    seconds = sum(SECONDS[unit] * float(digits) for unit, digits in amounts.items())
    negative = text.startswith("-")
    return NumberCell((("", "duration"),), negative, value=-seconds if negative else seconds)


def _parse_parts(text: str) -> NumberCell | None:
    """5' 11", 2 h 5 min: several numbers, each with its unit."""
    if match := FEET.fullmatch(text):
        inches = [(match["in"], '"')] if match["in"] else []
        return NumberCell(((match["ft"], "'"), *inches), spaced=True)
    if PARTS.fullmatch(text):
        pairs = re.findall(r"(\d+(?:[.,]\d+)?)\s*([^\W\d_]+\.?)", text)
        pairs = [(digits, unit.lower()) for digits, unit in pairs if unit.lower() != "and"]
        return NumberCell(tuple(pairs), negative=text.startswith("-"))
    return None


def _parse_one(text: str) -> NumberCell | None:
    """One number, with what may be before and behind it."""
    match = NUMBER.fullmatch(CLOSED.sub("", text)) or NUMBER.fullmatch(text)
    if match is None or ("(" in (match["open"], match["inner"])) != bool(match["close"]):
        return None
    signs = [s for s in (match["sign"], match["inner"], match["after"], match["open"]) if s]
    if len(signs) > 1:
        return None
    currency = (match["prefix"] or "").lower()
    if currency and not _is_currency(currency):
        return None
    unit = "".join((match["suffix"] or "").lower().split(" / "))
    unit = unit.strip().replace("²", "2").replace("³", "3")
    if unit and not currency:  # "1.5 Mio. €", "12 EUR"
        *scale, last = unit.split()
        if _is_currency(last):
            currency, unit = last, " ".join(scale)
        elif len(unit) > 1 and _is_currency(unit[-1]) and unit[:-1].strip() in SCALES:
            currency, unit = unit[-1], unit[:-1].strip()
    return NumberCell(
        ((match["digits"], unit),),
        negative=bool(signs) and signs[0] in "-(",
        exponent=match["exponent"] or "",
        currency=currency,
        compared=bool(match["compare"]),
        spaced=bool(match["blank"]),
        plus=signs == ["+"],
    )


def _is_currency(text: str) -> bool:
    is_symbol = len(text) == 1 and unicodedata.category(text) == "Sc"
    return is_symbol or text in CURRENCIES
