"""The strings of cells: cleaned, and words for missing values."""

from __future__ import annotations

__all__ = ["MISSING_WORDS", "clean"]

_WORDS = (
    "?,-,--,.,n/a,na,n.a.,#n/a,#na,nan,-nan,null,none,nil,missing,unknown,<na>,k.a.,keine angabe,"
    "not available,not applicable,#value!,#div/0!,#ref!,#num!,#null!"
)
MISSING_WORDS = frozenset(_WORDS.split(","))
"""Words for a missing value in columns of numbers and dates, in lower case."""

_BLANKS = {ord(blank): " " for blank in "\u00a0\u2007\u2009\u202f\t"}
_REPLACED = _BLANKS | {
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
    return text.translate(_REPLACED).strip()
