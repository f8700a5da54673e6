"""What of a table deserves attention, in words.

Needs pandas and SciPy, which quickstudy's extra `automl` installs.
"""

# pandas types `frame[name]` as Series or DataFrame, and its conversions as scalars too
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportReturnType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from quickstudy.apps.automl.tables.column_inference import MIN_IDENTIFIERS, WARNED_REASONS
from quickstudy.apps.automl.tables.columns import MAX_NUMBER, Column, as_numbers
from quickstudy.apps.automl.tables.targets import Goal
from quickstudy.apps.automl.tables.text import MISSING_WORDS, clean
from quickstudy.errors import require

require("pandas", "automl")
import pandas as pd  # noqa: E402

__all__ = ["Note", "few_rows", "table_notes", "unreadable_cells"]

MANY_LEVELS = 1000
"""A column of more categories than that is mentioned."""

MOSTLY_DIFFERENT, ORDERED_CORRELATION = 0.95, 0.95
"""A column rises or falls with the rows if such a share of its values differ, and its ranks have
such a correlation with the numbers of the rows.
"""

AUTOCORRELATION, STANDARD_ERRORS = 0.3, 5.0
"""The target follows the order of the rows if the correlation of a row's target with the next one's
(for classes: how often they agree beyond chance) is greater, and so many standard errors above 0.
"""

FEW_ROWS_OF_FOLD = 10
"""Scores of smaller folds are mentioned as uncertain."""


class Note(NamedTuple):
    """A line about a table.

    Args:
        text: The line.
        is_warning: Whether it says that scores may not hold for new rows, or a column may have been
            mistaken for an identifier.
    """

    text: str
    is_warning: bool = False


def table_notes(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    columns: Sequence[Column],
    target: np.ndarray,
    goal: Goal,
) -> list[Note]:
    """What of a table deserves attention.

    Args:
        frame, table: Before and after `read_columns`.
        columns: As `learn_columns` gave them.
        target: Numbers of classes, or numbers, of shape (n,).
        goal: "classification" or "regression".
    """
    notes = _column_notes(frame, table, columns)
    numbers = [column.name for column in columns if column.kind == "number"]
    categories = [column.name for column in columns if column.kind == "category"]
    if huge := [name for name in numbers if (np.abs(table[name]) > MAX_NUMBER).any()]:
        notes.append(Note(f"numbers beyond {MAX_NUMBER:g} count as that: {', '.join(huge)}"))
    if mixed := [name for name in categories if _is_mixed(table[name])]:
        names = ", ".join(mixed)
        notes.append(Note(f"numbers among other values, all taken as categories: {names}"))
    if many := [name for name in categories if table[name].nunique() > MANY_LEVELS]:
        names = ", ".join(many)
        notes.append(Note(f"more than {MANY_LEVELS} categories, by the target's mean: {names}"))
    if goal == "classification" and (rare := int((np.bincount(target) == 1).sum())):
        notes.append(
            Note(f"{rare} classes have a single row, which no fold can both learn and test")
        )
    if ordered := _ordered_columns(table, columns, target, goal):
        text = (
            "the target follows the order of the rows, as these columns do, so scores may not hold "
            f"for new rows: {', '.join(ordered)}"
        )
        notes.append(Note(text, is_warning=True))
    return notes


def few_rows(target: np.ndarray, goal: Goal, n_folds: int) -> list[str]:
    """A line about a table of too few rows for its folds, if it is one.

    Args:
        target: Of the rows that pipelines are tried on, (n,).
        n_folds: Of the cross-validation.

    Example:
        >>> few_rows(np.arange(24) % 2, "classification", 5)
        ['24 rows are few for 5 folds: an accuracy may be off by 20 points either way']
    """
    n = len(target)
    if n >= FEW_ROWS_OF_FOLD * n_folds:
        return []
    text = f"{n} rows are few for {n_folds} folds: "
    if goal == "regression":
        return [text + f"scores are of {max(1, n // n_folds)} or so rows each, and uncertain"]
    points = 98 / math.sqrt(n)  # half of the widest interval of 95 %
    return [text + f"an accuracy may be off by {points:.0f} points either way"]


def unreadable_cells(
    frame: pd.DataFrame, table: pd.DataFrame, columns: Sequence[Column]
) -> list[str]:
    """A line for each column that has cells that could not be read, with an example.

    Empty cells and words for missing ("n/a") are none of them.

    Args:
        frame, table: Before and after `read_columns`.
        columns: As `learn_columns` gave them.
    """
    lines = []
    for column in columns:
        unreadable = _lost_cells(frame, table, column)
        unreadable = unreadable[~unreadable.str.lower().isin(MISSING_WORDS)]
        if not len(unreadable):
            continue
        if unreadable.str.lower().str.fullmatch(r"[+-]?inf(inity)?").all():
            lines.append(f"infinite values are taken as missing: {column.name}")
        else:
            lines.append(
                f"{column.name}: {len(unreadable)} of {len(frame)} cells cannot be read as "
                f"{column.number or column.date} and count as missing, such as "
                f"{unreadable.iloc[0]!r}"
            )
    return lines


def _lost_cells(frame: pd.DataFrame, table: pd.DataFrame, column: Column) -> pd.Series:
    """The cells of a column of numbers or dates that are missing after they were read."""
    if column.kind not in ("number", "date"):
        return pd.Series([], dtype=str)
    raw = frame[column.name]
    is_lost = (table[column.name].isna() & raw.notna()).to_numpy()
    texts = raw[is_lost].astype(object).map(str).map(clean).astype(str)
    return texts[texts != ""]


def _column_notes(
    frame: pd.DataFrame, table: pd.DataFrame, columns: Sequence[Column]
) -> list[Note]:
    """What of a table is left out, and how its columns are read."""
    names: dict[Note, list[str]] = {}
    for column in columns:
        for text, is_warning in _notes_on(column):
            names.setdefault(Note(text, is_warning), []).append(column.name)
        if len(_lost_cells(frame, table, column)) and not unreadable_cells(frame, table, [column]):
            note = Note(f"words among {column.kind}s are taken as missing")
            names.setdefault(note, []).append(column.name)
    notes = [Note(f"{text}: {', '.join(names[text, w])}", w) for text, w in names]
    return notes + [Note(line) for line in unreadable_cells(frame, table, columns)]


def _notes_on(column: Column) -> list[Note]:
    """Notes on a column, without its name."""
    number, date, notes = column.number, column.date, []
    if column.reason:
        notes.append(Note(column.reason, column.reason in WARNED_REASONS))
    if number and column.is_used and (number.ambiguous or not number.is_plain):
        ambiguity = ", though they leave the decimal mark open" if number.ambiguous else ""
        notes.append(Note(f"read as {number}{ambiguity}"))
    if date and (date.numeric or date.compact):
        ambiguity = ", though they leave the order open" if date.ambiguous else ""
        notes.append(Note(f"read as {date}{ambiguity}"))
    return notes


def _ordered_columns(
    table: pd.DataFrame, columns: Sequence[Column], target: np.ndarray, goal: Goal
) -> list[str]:
    """Columns of numbers and dates that rise or fall with the rows, if the target follows the order
    of the rows too.
    """
    if len(target) < MIN_IDENTIFIERS or not _follows_order(target, goal):
        return []
    return [
        column.name
        for column in columns
        if column.kind in ("number", "date") and _is_ordered(as_numbers(table[column.name]))
    ]


def _is_ordered(values: np.ndarray) -> bool:
    (rows,) = np.nonzero(~np.isnan(values))
    values = values[rows]
    if len(rows) < MIN_IDENTIFIERS or len(np.unique(values)) < MOSTLY_DIFFERENT * len(rows):
        return False
    return bool(abs(np.corrcoef(rankdata(values), rows)[0, 1]) >= ORDERED_CORRELATION)


def _follows_order(target: np.ndarray, goal: Goal) -> bool:
    """Whether the target of a row says much of the next one's."""
    n = len(target) - 1
    if goal == "regression":
        correlation = float(np.corrcoef(rankdata(target[1:]), rankdata(target[:-1]))[0, 1])
        n_errors = correlation * math.sqrt(n)
        return correlation > AUTOCORRELATION and n_errors > STANDARD_ERRORS
    chance = float(((np.bincount(target) / len(target)) ** 2).sum())
    agreement = (float((target[1:] == target[:-1]).mean()) - chance) / (1 - chance)
    n_errors = agreement * (1 - chance) * math.sqrt(n / chance / (1 - chance))
    return agreement > AUTOCORRELATION and n_errors > STANDARD_ERRORS


def _is_mixed(column: pd.Series) -> bool:
    """Whether some categories are numbers, and others not."""
    is_word = np.isnan(as_numbers(pd.Series(column.dropna().unique())))
    return bool(is_word.any() and not is_word.all())
