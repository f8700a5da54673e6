"""How the numbers of a column are written: marks, currency and units.

A format is decided once, from all the strings of a column, and reads every cell the same way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quickstudy.apps.automl.tables.number_cells import CODE, SCALES, UNITS, NumberCell, parse_cell
from quickstudy.apps.automl.tables.text import MISSING_WORDS, clean

__all__ = ["NumberFormat", "guess_number_format"]

READABLE_SHARE, MAX_CODES_SHARE = 0.95, 0.01
"""Share of a column's cells that must be numbers, and share that may be codes, as 031A."""

READABLE_SHARE_BESIDE_WORDS, MAX_WORDS = 0.8, 3
"""Share that suffices where the others are a few different words, as for missing values."""

SURELY_GROUPED = 10
"""Different cells as 1,234 from which on the comma is between thousands, if no cell has decimals
and none above 999 is without a comma.
"""

Decimal = Literal[".", ","]
Group = Literal["", ",", ".", " ", "'"]


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

    decimal: Decimal = "."
    group: Group = ""
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
        cell = parse_cell(clean(text))
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
    texts: Iterable[str], decimal: Decimal | Literal[""] = ""
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
    cells = {text: cell for text in counts if (cell := parse_cell(text))}
    n_parsed = sum(counts[text] for text in cells)
    if not cells or n_parsed < READABLE_SHARE_BESIDE_WORDS * counts.total():
        return None
    units = _guess_units({text: counts[text] for text in cells}, cells)
    marks = _guess_marks(cells.values(), decimal)
    if units is None or marks is None:
        return None
    form = NumberFormat(
        marks.decimal,
        marks.group,
        units.currency,
        units.unit,
        units.factors,
        units.compared,
        marks.ambiguous,
    )
    return form if _reads_enough(form, counts, cells) else None


def _reads_enough(
    form: NumberFormat, counts: Counter[str], cells: Mapping[str, NumberCell]
) -> bool:
    """Whether a format reads nearly all cells, and nearly none of them is a code."""
    unread = {text: n for text, n in counts.items() if np.isnan(form.read(text))}
    n_codes = sum(n for text, n in unread.items() if CODE.fullmatch(text))
    n_codes += sum(counts[text] for text, cell in cells.items() if _is_code(cell))
    if n_codes > MAX_CODES_SHARE * counts.total():
        return False
    share = 1 - sum(unread.values()) / counts.total()
    are_words = not any(c.isdigit() for text in unread for c in text)
    are_few_words = are_words and len(unread) <= MAX_WORDS
    return share >= READABLE_SHARE or (share >= READABLE_SHARE_BESIDE_WORDS and are_few_words)


def _is_code(cell: NumberCell) -> bool:
    """Whether it has leading zeros, or is a telephone number."""
    if cell.value is not None:
        return False
    whole = re.split(r"[.,]", cell.digits)[0].replace(" ", "")
    has_zeros = len(whole) > 1 and whole[0] == "0" and not cell.units
    is_telephone = cell.plus and sum(c.isdigit() for c in cell.digits) >= 8
    return has_zeros or (is_telephone and "." not in cell.digits)


@dataclass(frozen=True)
class _Units:
    """As `NumberFormat` has them."""

    currency: str
    unit: str
    factors: tuple[tuple[str, float], ...]
    compared: bool


def _guess_units(counts: Mapping[str, int], cells: Mapping[str, NumberCell]) -> _Units | None:
    """The currency and units of a column; None if they do not go together."""
    n_cells = sum(counts.values())
    n_compared = sum(n for text, n in counts.items() if cells[text].compared)
    if n_compared > 0.5 * n_cells:  # "<50K" and ">50K" are categories
        return None
    currencies, units = Counter[str](), Counter[str]()
    for text, n in counts.items():
        currencies[cells[text].currency] += n
        for unit in cells[text].units:
            units[unit] += n
    del currencies[""]
    if len(currencies) > 1:
        return None
    currency, compared = next(iter(currencies), ""), n_compared > 0
    if not units:
        return _Units(currency, "", (), compared)
    if set(units) == {"duration"}:
        return None if currency else _Units("", "duration", (), compared)
    if _are_surely_units(units, currency, n_cells, cells):
        for sizes in (SCALES,) if currency else (*UNITS, SCALES):
            if not units.keys() <= sizes.keys():
                continue
            if sizes is SCALES:
                return _Units(currency, "", tuple(sizes.items()), compared)
            unit = max(units, key=lambda unit: (units[unit], -sizes[unit]))
            factors = tuple((name, size / sizes[unit]) for name, size in sizes.items())
            return _Units(currency, unit, factors, compared)
    is_one = len({unit.removesuffix("s") for unit in units}) == 1  # "1 room", "2 rooms"
    if not is_one or units.total() < n_cells:
        return None
    return _Units(currency, max(units), tuple((unit, 1.0) for unit in sorted(units)), compared)


def _are_surely_units(
    units: Counter[str], currency: str, n_cells: int, cells: Mapping[str, NumberCell]
) -> bool:
    """Whether letters are units: a letter alone may be part of a code, as in house numbers."""
    with_unit = [cell for cell in cells.values() if cell.units]
    return (
        bool(currency)
        or units.total() >= 0.5 * n_cells
        or all(len(unit) > 1 for unit in units)
        or any(c.spaced or len(c.parts) > 1 or not c.digits.isdigit() for c in with_unit)
    )


@dataclass(frozen=True)
class _Marks:
    """As `NumberFormat` has them."""

    decimal: Decimal
    group: Group = ""
    ambiguous: bool = False


@dataclass
class _MarkCounts:
    """How often each mark is in the cells of a column.

    Args:
        decimals: Marks that can only be decimal.
        groups: Marks that can only be between thousands.
        either: Marks that can be both, as in 1.234.
        n_bare: Cells without a mark.
        n_long: Cells without a mark that have more than three digits.
    """

    decimals: Counter[str]
    groups: Counter[str]
    either: Counter[str]
    n_bare: int = 0
    n_long: int = 0


def _count_marks(cells: Iterable[NumberCell]) -> _MarkCounts:
    counts = _MarkCounts(Counter(), Counter(), Counter())
    for digits in (digits for cell in cells if cell.value is None for digits, _ in cell.parts):
        marks = re.findall(r"[.,' ]", digits)
        if not marks:
            counts.n_bare += 1
            counts.n_long += len(digits) > 3
        elif len(set(marks)) > 1:
            if marks[-1] in ".,":
                counts.decimals[marks[-1]] += marks.count(marks[-1]) == 1
            for mark in set(marks[:-1]):
                counts.groups[mark] += 1
        elif len(marks) > 1 or marks[0] in "' ":
            counts.groups[marks[0]] += 1
        else:
            whole, rest = digits.split(marks[0])
            is_either = len(rest) == 3 and 1 <= len(whole) <= 3 and whole[0] != "0"
            (counts.either if is_either else counts.decimals)[marks[0]] += 1
    return counts


def _guess_marks(cells: Iterable[NumberCell], decimal: Decimal | Literal[""]) -> _Marks | None:
    """The decimal mark and that between thousands; None if the cells contradict each other."""
    counts = _count_marks(cells)
    if n_decimals := counts.decimals.total():
        mark, n = counts.decimals.most_common(1)[0]
        if n < READABLE_SHARE * n_decimals:
            return None
        others = [g for g in {*counts.groups, *counts.either} if g != mark]
        return _Marks("," if mark == "," else ".", _only(others))
    if dots_or_commas := [g for g in counts.groups if g in ".,"]:
        group = _only(dots_or_commas)
        return _Marks("," if group == "." else ".", group)
    group = _only([g for g in counts.groups if g in "' "])
    if group and not counts.either:
        return _Marks("," if decimal == "," else ".", group)
    if group:  # "1 234" and "12,345": the comma is no second mark between thousands
        return _Marks("," if "," in counts.either else ".", group, len(counts.either) > 1)
    if len(counts.either) > 1:  # "1.234" and "1,234"
        return None
    if not counts.either:
        return _Marks(decimal or ".")
    return _decide_mark(counts, decimal)


def _decide_mark(counts: _MarkCounts, decimal: Decimal | Literal[""]) -> _Marks:
    """The marks of a column with one mark alone, each time before three digits."""
    (mark,) = counts.either
    other: Decimal = "," if mark == "." else "."
    same: Decimal = "," if mark == "," else "."
    is_grouped = counts.n_bare > 0 and not counts.n_long  # 12 and 1.234: a mark above 999 alone
    if is_grouped and counts.either[mark] >= SURELY_GROUPED:
        return _Marks(other, same)
    # Of 1.234 and 12, the point is between thousands; of 1.234 and 12.345 alone it is a decimal
    # point, as a comma is none.
    is_decimal = mark == decimal if decimal else mark == "." and not is_grouped
    return _Marks(same, "", True) if is_decimal else _Marks(other, same, True)


def _only(marks: Sequence[str]) -> Group:
    """The one mark; none if there are others."""
    return marks[0] if len(marks) == 1 else ""  # pyright: ignore[reportReturnType]
