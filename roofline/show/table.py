"""Tables as text, ready to be set in any form, and how a terminal of any width shows them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Table:
    """Cells as text, ready to be set in any form.

    Attributes
    ----------
    title : str
    columns : list of str
        A heading that starts with ``>`` sets its column flush right.
    rows : list of list of str
    notes : list of str
        Lines below the table.
    expendable : list of str
        Headings of columns to leave out, in this order, where the terminal is too narrow for all.
    prose : list of str
        Headings of columns of running text, set below their row where the terminal is too narrow for them.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    expendable: Sequence[str] = ()
    prose: Sequence[str] = ()


# Characters: between columns; the least for running text, for a few words, and for these where nothing else helps.
_GAP, _PROSE, _WORDS, _NARROW = 2, 36, 20, 12


def show(console: Console, table: Table) -> None:
    """Print a table to a terminal.

    A number is never cut. Where the terminal is too narrow, columns of running text are set below their row, then
    expendable columns are left out, then those furthest to the right; what is left wraps between words.
    """
    from rich.text import Text

    for line, is_heading in lines(table, console.width, console.encoding):
        console.print(Text(line, style="bold" if is_heading else ""), soft_wrap=True)


def lines(table: Table, width: int, encoding: str) -> Iterator[tuple[str, bool]]:
    """The lines of a table as :func:`show` prints them, each with whether it is a heading.

    Parameters
    ----------
    table : Table
    width : int
        Of the terminal, in characters.
    encoding : str
        What the terminal or pipe can write.
    """
    title, _, under = table.title.partition("\n")
    widths, below, left_out = _fitting(table, width)
    names = [c.lstrip(">") for c in table.columns]
    yield from ((line, True) for line in _wrapped(title, width))
    yield from ((line, False) for line in _wrapped(under, width))
    yield from ((line, True) for line in (_set(table, names, widths) if any(names) else []))
    yield _rule(encoding) * (sum(widths.values()) + _GAP * (len(widths) - 1)), False
    for row in table.rows:
        yield from ((line, False) for line in _set(table, row, widths))
        for i in (i for i in below if row[i]):
            inner = textwrap.wrap(row[i], max(_WORDS, width - 4), break_on_hyphens=False)
            yield textwrap.indent("\n".join(inner), "    "), False
    for note in table.notes:
        yield from ((line, False) for line in _wrapped(note, width) or [""])
    if any(left_out):
        left = f"Left out for width: {', '.join(filter(None, left_out))}."
        yield from ((line, False) for line in _wrapped(left, width))


def _wrapped(text: str, width: int) -> list[str]:
    """Text in lines of at most `width` characters, broken between words; its own line breaks stay."""
    return [
        line
        for part in text.split("\n")
        for line in (textwrap.wrap(part, max(width, 1), break_on_hyphens=False) or ([""] if text else []))
    ]


def _rule(encoding: str) -> str:
    """The character of a line below the headings: a plain dash where the terminal or pipe cannot write a better one."""
    try:
        "\u2500".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "-"
    return "\u2500"


def _set(table: Table, cells: Sequence[str], widths: dict[int, int]) -> list[str]:
    """One row of a table as lines of text, cells wrapped between words (rich cuts numbers, and spans no columns)."""
    from itertools import zip_longest

    columns = []
    for i, width in widths.items():
        parts = textwrap.wrap(cells[i], max(width, 1), break_on_hyphens=False) or [""]
        columns.append([p.rjust(width) if table.columns[i].startswith(">") else p.ljust(width) for p in parts])
    blank = [" " * width for width in widths.values()]
    lines = zip_longest(*columns)
    return [
        (" " * _GAP).join(b if c is None else c for c, b in zip(line, blank, strict=True)).rstrip() for line in lines
    ]


def _fitting(table: Table, width: int) -> tuple[dict[int, int], list[int], list[str]]:
    """Index -> width of the columns that fit, the columns to set below the rows, and the headings left out."""
    names = [c.lstrip(">") for c in table.columns]
    least, most = [], []
    for i, name in enumerate(names):
        cells = [row[i] for row in table.rows]
        longest = max(map(len, cells), default=0)
        words = max((len(word) for text in (name, *cells) for word in text.split()), default=0)
        most.append(max(len(name), longest))
        if table.columns[i].startswith(">"):  # a number stands on one line; its heading may take two
            lines = range(max(longest, *map(len, name.split()), 1), len(name) + 1)
            least.append(next((w for w in lines if len(textwrap.wrap(name, w)) <= 2), longest))
        else:
            least.append(min(most[i], _PROSE if name in table.prose else max(_WORDS, min(words, _PROSE))))

    def need() -> int:
        return sum(least[i] for i in kept) + _GAP * (len(kept) - 1)

    kept, below, left_out = list(range(len(names))), [], []
    if need() > width:
        below = [i for i in kept if names[i] in table.prose]
        kept = [i for i in kept if i not in below]
    waiting = [i for i in map(names.index, table.expendable) if i in kept]
    while need() > width and len(kept) > 1:
        if not waiting:  # rather words in a narrow column than a number less
            least = [v if c.startswith(">") else min(v, _NARROW) for v, c in zip(least, table.columns, strict=True)]
        if need() > width:
            kept.remove(i := waiting.pop(0) if waiting else kept[-1])
            left_out.append(names[i])
    # What is over goes to the columns in equal shares, none getting more than it can use.
    spare, widths = max(0, width - need()), {}
    for n, i in enumerate(sorted(kept, key=lambda i: most[i] - least[i])):
        more = min(most[i] - least[i], spare // (len(kept) - n))
        widths[i], spare = least[i] + more, spare - more
    return {i: widths[i] for i in kept}, below, left_out
