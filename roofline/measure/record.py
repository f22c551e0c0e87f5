"""Tables on disk that grow by a row at a time, so that an interrupted run keeps what it has."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roofline.base.errors import BadData, shown
from roofline.base.files import write_text
from roofline.measure.suites import Case

#: Columns of a measurement file: the documented ones, then what the measuring adds.
SHAPE = (
    "m",
    "n",
    "k",
    "batch",
    "heads",
    "kv_heads",
    "head_dim",
    "q_len",
    "kv_len",
    "tables",
    "rows",
    "dim",
    "pooling",
    "skew",
    "cols",
    "table_rows",
    "bytes",
    "devices",
    "reuse",
)
MEASUREMENT = (
    "op",
    "time_s",
    "dtype",
    *SHAPE,
    "time_std_s",
    "low_s",
    "samples",
    "rounds",
    "error",
    "framework",
    "version",
    "role",
)
REFUSED = (*MEASUREMENT, "reason")

#: The `role` of rows that parameters are fitted to, and of those that nothing is fitted to.
FITTED, TEST = "calibrate", "test-shapes"
PROBE = ("probe", "mode", "dtype", "bytes", "value", "median", "samples")

MAX_BYTES = 200_000_000


class Table:
    """A CSV file with fixed columns.

    Parameters
    ----------
    path : Path
    columns : sequence of str

    Raises
    ------
    BadData
        When there is such a file with other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, tuple(columns)
        if path.exists():
            self._mend()
        else:
            self.replace([])

    def _mend(self) -> None:
        """Drop a last line that an interruption cut off; refuse a file that is not ours."""
        if self.path.stat().st_size > MAX_BYTES:
            raise BadData(f"{self.path}: expected at most {MAX_BYTES:,} bytes")
        text = self.path.read_text(encoding="utf-8", errors="replace")
        first = text.split("\n", 1)[0]
        if tuple(first.rstrip("\r").split(",")) != self.columns:
            raise BadData(
                f"{self.path}: expected the columns {','.join(self.columns)}, found {shown(first)}; "
                f"give another --out or --name"
            )
        if not text.endswith("\n"):
            write_text(self.path, text[: text.rfind("\n") + 1])

    def rows(self, whole: bool = True) -> list[dict[str, str]]:
        """Every row; of those with more or fewer cells than columns only if not `whole`."""
        try:
            with self.path.open(newline="", encoding="utf-8") as stream:
                found = list(csv.DictReader(stream))
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadData(f"{self.path}: cannot be read as CSV: {error}; give another --out or --name") from None
        return [row for row in found if None not in row and None not in row.values()] if whole else found

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; it is on disk when this returns."""
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            stream.write(self._line(row))
            stream.flush()
            os.fsync(stream.fileno())

    def replace(self, rows: Iterable[dict[str, Any]]) -> None:
        """Put other rows in place of all: the old or the new file is there at any time."""
        write_text(self.path, ",".join(self.columns) + "\n" + "".join(self._line(row) for row in rows))

    def _line(self, row: dict[str, object]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow([_cell(row.get(c)) for c in self.columns])
        return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def key(case: Case | dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What makes a shape the same shape, whether it comes from a grid or from a file."""
    found = []
    for name in ("op", "dtype", *SHAPE):
        value = case.get(name)
        if value is not None and value != "":
            try:
                found.append((name, f"{float(value):.6g}"))
            except ValueError:
                found.append((name, str(value)))
    return tuple(found)


def read_json(path: Path) -> dict[str, object]:
    """The record of a run; empty where there is none yet.

    Raises
    ------
    BadData
        When the file cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, OSError, RecursionError) as error:
        raise BadData(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BadData(f"{path}: expected the record of a run, found {shown(found)}")
    return found


def write_json(path: Path, record: dict[str, object]) -> None:
    """The record of a run, in place of what there was."""
    write_text(path, json.dumps(record, indent=2) + "\n")


def merged(rows: Iterable[dict[str, str]]) -> list[dict[str, object]]:
    """One row a shape: the median over the rounds in which it was measured.

    The spread is that of the rounds or, where it is larger, the one within them.
    """
    by_shape: dict[object, list[dict[str, str]]] = {}
    for row in rows:
        by_shape.setdefault(key(row), []).append(row)
    return [_merged(same) if len(same) > 1 else dict(same[0]) for same in by_shape.values()]


def _merged(same: list[dict[str, str]]) -> dict[str, object]:
    time_s, spread_s, low_s, error = (
        np.array([float(row[name]) for row in same]) for name in ("time_s", "time_std_s", "low_s", "error")
    )
    counts = {name: sum(int(row[name]) for row in same) for name in ("samples", "rounds")}
    return {
        **same[0],
        **counts,
        "time_s": float(np.median(time_s)),
        "low_s": float(low_s.min()),
        "time_std_s": float(max(np.median(spread_s), np.std(time_s, ddof=1))),
        "error": float(error.max()),
    }
