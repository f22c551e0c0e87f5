"""What a run to go on with has on file, compared with what a measuring run can have written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from roofline.base.errors import BadData, BadWorkload, closest, shown
from roofline.base.units import DTYPE_BYTES
from roofline.evidence.columns import OPERATORS
from roofline.measure.planning import operator
from roofline.measure.record import FITTED, SHAPE, TEST, Table

#: Larger than any size, number of samples or working set (bytes) that a machine goes through in a run.
MOST = 2**46

#: Longer than any call, check or spread of a run (s).
LONGEST_S = 3600.0

#: Probe -> the figures that a machine may have (B/s, FLOP/s or s), far outside of every real one.
PROBES = {
    "bandwidth": (1e3, 1e16), "peak": (1e3, 1e19), "host_copy": (1e3, 1e16), "launch": (1e-10, 10.0),
    "latency": (1e-10, 10.0),
}  # fmt: skip

_Test = Callable[[str], bool]
_Rule = tuple[str, _Test, str]


def check_rows(table: Table) -> None:
    """Refuse rows that a measuring run cannot have written, before anything goes on with them.

    Raises
    ------
    BadData
        Names the row (1 is the first below the header), the column, what was found and what was expected.
    """
    for n, row in _whole_rows(table):
        for column, holds, expected in _ROW:
            if not holds(row[column]):
                raise _bad(table, n, column, row[column], expected)
        if not _between(row["low_s"], 0, float(row["time_s"]) * (1 + 1e-4)):
            raise _bad(table, n, "low_s", row["low_s"], f"at most time_s, {row['time_s']}")
        try:
            operator(row)
        except (BadWorkload, TypeError, ValueError, ArithmeticError) as error:
            raise BadData(f"{table.path}: row {n} ({row['op']}): {error}") from None


def check_probes(table: Table) -> None:
    """Refuse ceilings that no machine has, which would make a descriptor that no chip has.

    Raises
    ------
    BadData
        As :func:`check_rows`.
    """
    for n, row in _whole_rows(table):
        if row["probe"] not in PROBES:
            raise _bad(table, n, "probe", row["probe"], f"one of {', '.join(PROBES)}{_near(row['probe'], PROBES)}")
        for column, holds, expected in _PROBE_RULES[row["probe"]]:
            if not holds(row[column]):
                raise _bad(table, n, column, row[column], expected)


def check_record(run: dict[str, object], path: Path) -> None:
    """Refuse the record of a run whose date is none.

    Raises
    ------
    BadData
    """
    date = run.get("date", "2000-01-01")
    if not isinstance(date, str) or not re.match(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", date):
        raise BadData(f"{path}: date: found {shown(date)}, expected a date such as '2026-11-28'")


def _whole_rows(table: Table) -> Iterator[tuple[int, dict[str, str]]]:
    for n, row in enumerate(table.rows(whole=False), 1):
        if None in row or None in row.values():
            found = "more" if None in row else "fewer"
            raise BadData(f"{table.path}: row {n}: expected {len(table.columns)} columns, found {found}")
        yield n, row


def _bad(table: Table, n: int, column: str, found: str, expected: str) -> BadData:
    return BadData(f"{table.path}: row {n}: {column}: found {shown(found)}, expected {expected}")


def _near(name: str, known: Any) -> str:
    near = closest(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _between(text: str, least: float, most: float) -> bool:
    try:
        return least <= float(text) <= most
    except ValueError:
        return False


def _count(text: str, least: int = 1) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,15}", text)) and least <= int(text) <= MOST


def _dtype(text: str) -> bool:
    return text == "" or text in DTYPE_BYTES


def _size(name: str) -> _Rule:
    if name == "reuse":
        return name, lambda t: t in ("", "True", "False"), "True or False"
    if name == "skew":
        return name, lambda t: t == "" or _between(t, 0.0, 20.0), "an exponent from 0 to 20"
    return name, lambda t: t == "" or (_between(t, 1, MOST) and float(t) % 1 == 0), f"a whole number from 1 to {MOST:,}"


def _seconds(name: str, least: float = math.ulp(0.0)) -> _Rule:
    words = "above 0 and" if least else "from 0"
    return name, lambda t: _between(t, least, LONGEST_S), f"seconds {words} up to {LONGEST_S:g}"


def _probe(name: str) -> tuple[_Rule, ...]:
    fewest, (least, most) = int(name == "bandwidth"), PROBES[name]
    figure = f"from {least:g} to {most:g}"
    return (
        ("dtype", _dtype, f"one of {', '.join(DTYPE_BYTES)}, or none"),
        ("bytes", lambda t: _count(t, fewest), f"a whole number from {fewest} to {MOST:,}"),
        ("value", lambda t: _between(t, least, most), figure),
        ("median", lambda t: _between(t, least, most), figure),
        _SAMPLES,
    )


#: Column, what holds of it, and that in words.
_SAMPLES: _Rule = ("samples", _count, "a whole number of at least 1")
_ROW: tuple[_Rule, ...] = (
    ("op", lambda t: t in OPERATORS, f"one of {', '.join(OPERATORS)}"),
    ("dtype", _dtype, f"one of {', '.join(DTYPE_BYTES)}, or none"),
    *(_size(name) for name in SHAPE),
    _seconds("time_s"),
    _seconds("low_s"),
    _seconds("time_std_s", 0.0),
    _SAMPLES,
    ("error", lambda t: _between(t, 0.0, math.inf), "a number of at least 0"),  # infinite where an output was none
    ("rounds", _count, "a whole number of at least 1"),
    ("role", lambda t: t in (FITTED, TEST), f"{FITTED} or {TEST}"),
)
_PROBE_RULES = {name: _probe(name) for name in PROBES}
