"""How the strings of one column are written: as numbers with units, or as dates.

A format is decided once, from all the strings of a column, and reads every cell the same way.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

__all__ = [
    "MISSING_WORDS",
    "DateFormat",
    "NumberFormat",
    "clean",
    "guess_date_format",
    "guess_number_format",
]

WORDS = (
    "?,-,--,.,n/a,na,n.a.,#n/a,#na,nan,-nan,null,none,nil,missing,unknown,<na>,k.a.,keine angabe,"
    "not available,not applicable,#value!,#div/0!,#ref!,#num!,#null!"
)
MISSING_WORDS = frozenset(WORDS.split(","))
"""Words for a missing value in columns of numbers and dates, in lower case."""

MOST, MOST_CODES = 0.95, 0.01
"""Share of a column's cells that must be readable, and share that may be codes, as 031A."""

MANY, FEW_WORDS = 0.8, 3
"""Share that is enough where the rest is a few different words without a digit: for missing."""

BLANKS = {ord(blank): " " for blank in "\u00a0\u2007\u2009\u202f\t"}
CLEANED = BLANKS | {
    **{ord(minus): "-" for minus in "\u2212\u2013\u2010\u2011"},
    **{ord(quote): "'" for quote in "\u2018\u2019\u02bc\u00b4\u2032"},
    **{ord(quote): '"' for quote in "\u201d\u2033"},
    **{ord(nothing): None for nothing in "\u200b\u200e\u200f\ufeff"},
}


def clean(text: str) -> str:
    """A string with plain blanks, signs and quotes, and no blanks around it.

    Example:
        >>> clean(" \u22121\u202f234 ")
        '-1 234'
    """
    return text.translate(CLEANED).strip()


# Numbers


NAMES_OF_CURRENCIES = (
    "usd eur gbp jpy chf cad aud nzd cny rmb inr brl mxn sek nok dkk pln czk huf rub try zar krw "
    "sgd hkd thb idr myr php vnd aed sar ils ars clp cop egp ngn uah ron bgn rs rs. kr kr. zł kč "
    "ft r$ us$ a$ c$ ca$ au$ nz$ hk$ nt$ s$ mx$ fr. sfr. euro euros dollar dollars"
)
CURRENCIES = frozenset(NAMES_OF_CURRENCIES.split())

SCALES: Mapping[str, float] = {
    **dict.fromkeys(("k", "tsd", "tsd.", "thousand"), 1e3),
    **dict.fromkeys(("lakh", "lakhs", "lac"), 1e5),
    **dict.fromkeys(("m", "mn", "mm", "mio", "mio.", "million", "millions"), 1e6),
    **dict.fromkeys(("cr", "cr.", "crore", "crores"), 1e7),
    **dict.fromkeys(("b", "bn", "mrd", "mrd.", "billion", "billions"), 1e9),
    **dict.fromkeys(("t", "tn", "trillion"), 1e12),
}
FAMILIES: tuple[Mapping[str, float], ...] = (
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
"""Units that convert into each other, in lower case, by their size."""

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
LONGEST_NUMBER = 60

SURELY_GROUPED = 10
"""Different cells as 1,234 that no decimals explain, if those below 1000 have no mark."""


@dataclass(frozen=True)
class _Cell:
    """A number as it is written: parts with their units, the first one with its marks."""

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


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written.

    Args:
        decimal: The decimal mark, "." or ",".
        group: The mark between thousands; empty for none.
        currency: Before or after a number; empty for none.
        unit: The unit of what is read; empty for none. "duration" reads 1:30:00 and PT1H30M.
        units: What may follow a number, in lower case, with the factor to `unit`.
        compared: Whether cells such as "<5" are read, as 5.
        ambiguous: Whether the column leaves the marks open.

    Example:
        >>> german = guess_number_format(["1.234,50 €", "12,- €", "-3,20 €"])
        >>> german.read("1.000,5 €"), german.read("many")
        (1000.5, nan)
    """

    decimal: Literal[".", ","] = "."
    group: Literal["", ",", ".", " ", "'"] = ""
    currency: str = ""
    unit: str = ""
    units: tuple[tuple[str, float], ...] = ()
    compared: bool = False
    ambiguous: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is digits with a decimal point alone."""
        return self == NumberFormat()

    def read(self, text: str) -> float:
        """The number of a cell; NaN where it is written in another way."""
        cell = _parse(clean(text))
        if cell is None or (cell.compared and not self.compared):
            return np.nan
        if cell.value is not None:
            return cell.value if self.unit == "duration" else np.nan
        if cell.currency not in ("", self.currency):
            return np.nan
        factors, total = dict(self.units), 0.0
        for digits, unit in cell.parts:
            factor = factors.get(unit) if unit else 1.0
            number = _number(digits, self.decimal, self.group)
            if factor is None or number is None:
                return np.nan
            total += factor * number
        total *= 10.0 ** int(cell.exponent[1:]) if cell.exponent and total else 1.0
        return -total if cell.negative else total

    def __str__(self) -> str:
        marks = [f"decimal mark {self.decimal!r}"] if self.decimal != "." else []
        marks += [f"thousands mark {self.group!r}"] if self.group else []
        marks += [f"currency {self.currency}"] if self.currency else []
        if self.unit == "duration":
            marks.append("durations in seconds")
        elif self.unit:
            marks.append(f"unit {self.unit}")
        elif self.units:
            marks.append("letters for thousands, millions, billions")
        marks += ["cells such as <5 as their limit"] if self.compared else []
        return "numbers" + (f" ({', '.join(marks)})" if marks else "")


def _parse(text: str) -> _Cell | None:
    if len(text) > LONGEST_NUMBER or not any(character.isdigit() for character in text):
        return None
    if found := CLOCK.fullmatch(text) or LAP.fullmatch(text) or ISO_DURATION.fullmatch(text):
        parts = {unit: part.replace(",", ".") for unit, part in found.groupdict().items() if part}
        seconds = sum(SECONDS[unit] * float(part) for unit, part in parts.items())
        negative = text.startswith("-")
        return _Cell((("", "duration"),), negative, value=-seconds if negative else seconds)
    if found := FEET.fullmatch(text):
        inches = [(found["in"], '"')] if found["in"] else []
        return _Cell(((found["ft"], "'"), *inches), spaced=True)
    if PARTS.fullmatch(text):
        pairs = re.findall(r"(\d+(?:[.,]\d+)?)\s*([^\W\d_]+\.?)", text)
        pairs = [(digits, unit.lower()) for digits, unit in pairs if unit.lower() != "and"]
        return _Cell(tuple(pairs), negative=text.startswith("-"))
    found = NUMBER.fullmatch(CLOSED.sub("", text)) or NUMBER.fullmatch(text)
    if found is None or ("(" in (found["open"], found["inner"])) != bool(found["close"]):
        return None
    signs = [s for s in (found["sign"], found["inner"], found["after"], found["open"]) if s]
    if len(signs) > 1:
        return None
    currency = (found["prefix"] or "").lower()
    if currency and not _is_currency(currency):
        return None
    unit = (
        "".join((found["suffix"] or "").lower().split(" / "))
        .strip()
        .replace("²", "2")
        .replace("³", "3")
    )
    if unit and not currency:  # "1.5 Mio. €", "12 EUR"
        *scale, last = unit.split()
        if _is_currency(last):
            currency, unit = last, " ".join(scale)
        elif len(unit) > 1 and _is_currency(unit[-1]) and unit[:-1].strip() in SCALES:
            currency, unit = unit[-1], unit[:-1].strip()
    return _Cell(
        ((found["digits"], unit),),
        negative=bool(signs) and signs[0] in "-(",
        exponent=found["exponent"] or "",
        currency=currency,
        compared=bool(found["compare"]),
        spaced=bool(found["blank"]),
        plus=signs == ["+"],
    )


def _is_currency(text: str) -> bool:
    is_symbol = len(text) == 1 and unicodedata.category(text) == "Sc"
    return is_symbol or text in CURRENCIES


def _number(digits: str, decimal: str, group: str) -> float | None:
    whole, mark, rest = digits.partition(decimal)
    if (mark and not (rest.isdigit() or not rest)) or (not whole and not rest):
        return None
    if not whole.isdigit() and whole:
        if not group or not _is_grouped(whole, group):
            return None
        whole = whole.replace(group, "")
    return float(f"{whole or 0}.{rest or 0}")


def _is_grouped(whole: str, group: str) -> bool:
    """Whether thousands are apart, or, as in India, hundreds above the first thousand."""
    first, *others = whole.split(group)
    if not first.isdigit() or not others or not all(part.isdigit() for part in others):
        return False
    sizes = {len(part) for part in others}
    is_western = sizes == {3} and len(first) <= 3
    is_indian = (
        group == ","
        and len(first) <= 2
        and len(others[-1]) == 3
        and {len(part) for part in others[:-1]} == {2}
    )
    return is_western or is_indian


def guess_number_format(
    texts: Iterable[str], decimal: Literal[".", ",", ""] = ""
) -> NumberFormat | None:
    """The one way in which nearly all of a column's strings are numbers; None if there is none.

    Of strings that cannot be read there are 5 % at most, or 20 % if they are three different
    words at most, as for missing values. Codes, which have leading zeros or letters, are 1 % at
    most. Versions, ranges, telephone numbers and mixed units are no numbers.

    Args:
        texts: The strings of a column, without missing ones.
        decimal: The decimal mark of the rest of the table, for a column that leaves it open.

    Example:
        >>> str(guess_number_format(["1,234", "12,345.5"]))
        "numbers (thousands mark ',')"
        >>> guess_number_format(["031A", "12", "14"]) is None
        True
    """
    counts = Counter(clean(text) for text in texts)
    counts = Counter({t: n for t, n in counts.items() if t and t.lower() not in MISSING_WORDS})
    total = counts.total()
    cells = {text: cell for text in counts if (cell := _parse(text))}
    if not cells or sum(counts[text] for text in cells) < MANY * total:
        return None
    units = _units({text: counts[text] for text in cells}, cells)
    if units is None:
        return None
    currency, unit, factors, compared = units
    marks = _marks(cells.values(), decimal)
    if marks is None:
        return None
    found = NumberFormat(marks[0], marks[1], currency, unit, factors, compared, marks[2])
    unread = {text: n for text, n in counts.items() if np.isnan(found.read(text))}
    words = [text for text in unread if not any(c.isdigit() for c in text)]
    n_codes = sum(n for text, n in unread.items() if CODE.fullmatch(text))
    n_codes += sum(counts[text] for text, cell in cells.items() if _is_code(cell))
    if n_codes > MOST_CODES * total:
        return None
    share = 1 - sum(unread.values()) / total
    is_words = len(words) == len(unread) <= FEW_WORDS
    is_enough = share >= MOST or (share >= MANY and is_words)
    return found if is_enough else None


def _is_code(cell: _Cell) -> bool:
    """Whether it has leading zeros, or is a telephone number."""
    if cell.value is not None:
        return False
    whole = re.split(r"[.,]", cell.digits)[0].replace(" ", "")
    has_zeros = len(whole) > 1 and whole[0] == "0" and not cell.units
    is_telephone = cell.plus and sum(c.isdigit() for c in cell.digits) >= 8
    return has_zeros or (is_telephone and "." not in cell.digits)


def _units(
    counts: Mapping[str, int], cells: Mapping[str, _Cell]
) -> tuple[str, str, tuple[tuple[str, float], ...], bool] | None:
    """Currency, unit, factors of units, and whether limits such as <5 are there."""
    total = sum(counts.values())
    n_compared = sum(n for text, n in counts.items() if cells[text].compared)
    if n_compared > 0.5 * total:  # "<50K" and ">50K" are categories
        return None
    currencies = Counter[str]()
    units = Counter[str]()
    for text, n in counts.items():
        currencies[cells[text].currency] += n
        for unit in cells[text].units:
            units[unit] += n
    compared = n_compared > 0
    del currencies[""]
    if len(currencies) > 1:
        return None
    currency = next(iter(currencies), "")
    if not units:
        return currency, "", (), compared
    if set(units) == {"duration"}:
        return None if currency else ("", "duration", (), compared)
    those = [cell for cell in cells.values() if cell.units]
    # A letter alone may be part of a code, as in house numbers.
    is_sure = (
        bool(currency)
        or units.total() >= 0.5 * total
        or all(len(unit) > 1 for unit in units)
        or any(cell.spaced or len(cell.parts) > 1 or not cell.digits.isdigit() for cell in those)
    )
    for family in (SCALES,) if currency else (*FAMILIES, SCALES):
        if units.keys() <= family.keys() and is_sure:
            if family is SCALES:
                return currency, "", tuple(family.items()), compared
            unit = max(units, key=lambda unit: (units[unit], -family[unit]))
            factors = tuple((name, size / family[unit]) for name, size in family.items())
            return currency, unit, factors, compared
    is_one = len({unit.removesuffix("s") for unit in units}) == 1  # "1 room", "2 rooms"
    if not is_one or units.total() < total:
        return None
    return currency, max(units), tuple((unit, 1.0) for unit in sorted(units)), compared


def _marks(
    cells: Iterable[_Cell], decimal: Literal[".", ",", ""]
) -> tuple[Literal[".", ","], Literal["", ",", ".", " ", "'"], bool] | None:
    """The decimal mark, that between thousands, and whether the cells leave these open."""
    decimals, groups = Counter[str](), Counter[str]()
    open_marks, n_bare, n_long = Counter[str](), 0, 0
    for digits in (digits for cell in cells for digits, _ in cell.parts if cell.value is None):
        marks = re.findall(r"[.,' ]", digits)
        if not marks:
            n_bare += 1
            n_long += len(digits) > 3
        elif len(set(marks)) > 1:
            if marks[-1] in ".,":
                decimals[marks[-1]] += marks.count(marks[-1]) == 1
            for mark in set(marks[:-1]):
                groups[mark] += 1
        elif len(marks) > 1 or marks[0] in "' ":
            groups[marks[0]] += 1
        else:
            whole, rest = digits.split(marks[0])
            is_open = len(rest) == 3 and 1 <= len(whole) <= 3 and whole[0] != "0"
            (open_marks if is_open else decimals)[marks[0]] += 1
    del decimals[""], groups[""]
    n_decided = decimals.total()
    if n_decided:
        mark, n = decimals.most_common(1)[0]
        if n < MOST * n_decided:
            return None
        others = [g for g in {*groups, *open_marks} if g != mark]
        return ("," if mark == "," else "."), _one(others), False
    if dots_or_commas := [g for g in groups if g in ".,"]:
        group = _one(dots_or_commas)
        return ("," if group == "." else "."), group, False
    other = _one([g for g in groups if g in "' "])
    if other and not open_marks:
        return ("," if decimal == "," else "."), other, False
    if other:  # "1 234" and "12,345": the comma is no second mark between thousands
        return ("," if "," in open_marks else "."), other, len(open_marks) > 1
    if len(open_marks) > 1:  # "1.234" and "1,234"
        return None
    if not open_marks:
        return (decimal or "."), "", False
    mark = next(iter(open_marks))
    is_grouped = n_bare > 0 and not n_long  # 12 and 1.234: above 999 alone there is a mark
    if is_grouped and open_marks[mark] >= SURELY_GROUPED:
        return ("," if mark == "." else "."), _one([mark]), False
    # Of 1.234 and 12, the point is between thousands; of 1.234 and 12.345 alone it is a decimal
    # point, as a comma is none.
    is_decimal = mark == decimal if decimal else mark == "." and not is_grouped
    if is_decimal:
        return ("," if mark == "," else "."), "", True
    return ("," if mark == "." else "."), ("," if mark == "," else "."), True


def _one(marks: Sequence[str]) -> Literal["", ",", ".", " ", "'"]:
    return marks[0] if len(marks) == 1 else ""  # pyright: ignore[reportReturnType]


# Dates and times


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
LONGEST_DATE = 50

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
    if not text or len(text) > LONGEST_DATE:
        return None
    if compact and (found := COMPACT_DATE.fullmatch(text)):
        return found.groupdict()
    if found := NUMERIC_DATE.fullmatch(text):
        parts = found.groupdict()
        names = {
            "day first": ("day", "month", "year"),
            "month first": ("month", "day", "year"),
            "year first": ("year", "month", "day"),
        }[order]
        return {**parts, **dict(zip(names, (parts["a"], parts["b"], parts["c"]), strict=True))}
    for pattern in NAMED_DATES:
        if found := pattern.fullmatch(text):
            return found.groupdict()
    return None


def _moment(parts: Mapping[str, str | None]) -> np.datetime64:
    nothing = np.datetime64("NaT", "us")
    year = int((parts.get("year") or "1970").lstrip("'"))
    if len((parts.get("year") or "1970").lstrip("'")) == 2:
        year += 2000 if year < 69 else 1900  # as POSIX has it
    month = int(parts.get("month") or 1)
    if name := parts.get("name"):
        plain = unicodedata.normalize("NFKD", name.lower())
        plain = "".join(c for c in plain if not unicodedata.combining(c))
        month = MONTH_NAMES.get(plain, 0)
    if quarter := parts.get("quarter"):
        month = 3 * int(quarter) - 2
    try:
        if week := parts.get("week"):
            day = date.fromisocalendar(year, int(week), int(parts.get("weekday") or 1))
        else:
            day = date(year, month, int(parts.get("day") or 1))
    except ValueError:
        return nothing
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            return nothing
        hour = hour % 12 + 12 * (half in "Pp")
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and minute + second):
        return nothing
    micro = int((parts.get("fraction") or "0")[:6].ljust(6, "0"))
    moment = np.datetime64(day, "us") + np.timedelta64(
        ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro, "us"
    )
    zone = parts.get("zone") or ""
    if zone and zone[0] in "+-":
        away = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
        moment -= np.timedelta64(away if zone[0] == "+" else -away, "m")
    return moment


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
    total = counts.total()
    if not total:
        return None
    votes, marks, seen = Counter[Order](), Counter[str](), ([set(), set()])
    n_numeric = n_compact = 0
    for text, n in counts.items():
        if len(text) > LONGEST_DATE:
            continue
        if found := NUMERIC_DATE.fullmatch(text):
            n_numeric += n
            marks[found["mark"]] += n
            a, b, c = int(found["a"]), int(found["b"]), int(found["c"])
            seen[0].add(a)
            seen[1].add(b)
            if len(found["c"]) == 2 and a > 31 and c <= 31:
                votes["year first"] += n
            elif a > 12 and b <= 12:
                votes["day first"] += n
            elif b > 12 and a <= 12:
                votes["month first"] += n
            is_short = len(found["c"]) == 2 and found["mark"] == "."
            if is_short and not (len(found["a"]) == len(found["b"]) == 2):
                return None  # versions, as 1.10.12
        elif COMPACT_DATE.fullmatch(text):
            n_compact += n
    ambiguous = n_numeric > marks["."] and not votes  # with points, days come first everywhere
    if votes:
        chosen = votes.most_common(1)[0][0]
    elif order:
        chosen = order
    elif min(len(seen[0]), len(seen[1])) == 1 < max(len(seen[0]), len(seen[1])) <= 12:
        chosen = "day first" if len(seen[0]) == 1 else "month first"  # the first of each month
    else:
        chosen = "month first" if marks["/"] > n_numeric / 2 else "day first"
    compact = n_compact >= MOST * total
    found = DateFormat(chosen, compact, n_numeric > 0, ambiguous)
    n_read = sum(n for text, n in counts.items() if not np.isnat(found.read(text)))
    return found if n_read >= MOST * total else None
