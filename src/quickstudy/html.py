"""Tables for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


def html_table(
    header: Sequence[object], rows: Iterable[Sequence[object]], caption: str | None = None
) -> str:
    """A table as HTML. All text is escaped, so that names from data are never markup.

    Example:
        >>> print(html_table(["title"], [["<b>Alien</b>"]]))
        <table>
        <thead><tr><th>title</th></tr></thead>
        <tbody>
        <tr><td>&lt;b&gt;Alien&lt;/b&gt;</td></tr>
        </tbody>
        </table>
    """
    lines = ["<table>"]
    if caption is not None:
        lines.append(f"<caption>{escape(caption)}</caption>")
    lines += [f"<thead>{_row('th', header)}</thead>", "<tbody>"]
    lines += [_row("td", row) for row in rows]
    return "\n".join([*lines, "</tbody>", "</table>"])


def _row(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"
