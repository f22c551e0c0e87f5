"""Points of a profile: numbers checked, equal ones summed, operators built from their arguments."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadData, BadWorkload, closest, shown
from roofline.base.reading import MAX_ROWS, within
from roofline.catalog.load import load_chip
from roofline.estimates.inference import evaluate_op
from roofline.evidence.columns import OPERATORS
from roofline.work import op as operators

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

#: Columns of the table that :func:`table` returns.
COLUMNS = ("op", "kind", "count", "flops", "bytes", "intensity", "time_s", "share", "call", "note")

#: The shortest time that a row may say (s): less than a cycle of any chip.
SHORTEST_S = 1e-12

#: Of FLOP and bytes of an operator in all, a mean over its launches or not: less is no count.
LEAST = 1e-6


def operator(call: dict[str, Any]) -> operators.Op:
    """The operator of a call: its name under ``op``, its arguments beside it.

    Raises
    ------
    BadWorkload
        When there is no such operator or it cannot have these arguments.
    """
    name = str(call.get("op", ""))
    if name not in OPERATORS:
        near = closest(name, OPERATORS, 1)
        raise BadWorkload(f"no operator {shown(name)}" + (f"; did you mean {near[0]!r}?" if near else ""))
    try:
        found: operators.Op = getattr(operators, name)(**{k: v for k, v in call.items() if k != "op"})
    except TypeError as error:
        raise BadWorkload(f"{name}: {error}") from None
    return found


@functools.cache
def _any_chip() -> Chip:
    return load_chip("h100-sxm")


def work(call: dict[str, Any]) -> tuple[str, float, float]:
    """Kind, FLOP and compulsory bytes of one call: what the shape alone says, whichever chip runs it."""
    op, chip = operator(call), _any_chip()
    some = operators.Op(op.kind, op.name, op.dtype if op.dtype in chip.dtypes else "bf16", op.args, kernel=op.kernel)
    cost = evaluate_op(some, chip)
    return op.kind, float(cost[0] + cost[1]), float(cost[2])


def table(points: Iterable[dict[str, Any]], file: str) -> pd.DataFrame:
    """Points with the same label and call summed; see :func:`roofline.profiles.read`."""
    import pandas as pd

    rows: dict[Any, dict[str, Any]] = {}
    for point in points:
        call = point.get("call")
        key = (point["op"], tuple(sorted(call.items())) if call else point.get("key"))
        row = rows.setdefault(
            key,
            {
                "op": point["op"],
                "kind": point.get("kind", ""),
                "count": 0.0,
                "flops": 0.0,
                "bytes": 0.0,
                "time_s": 0.0,
                "call": call,
                "note": "",
            },
        )
        for name in ("count", "flops", "bytes", "time_s"):
            row[name] += point.get(name, 1.0 if name == "count" else 0.0)
        if point.get("note", "") not in row["note"]:
            row["note"] = "; ".join(filter(None, (row["note"], point["note"])))
        if len(rows) > MAX_ROWS:
            raise BadData(f"{file}: expected at most {MAX_ROWS:,} different operators")
    if not rows:
        raise BadData(f"{file}: holds no operator with a time")
    for row in rows.values():
        if row["time_s"] < SHORTEST_S:
            raise BadData(f"{file}: {shown(row['op'])}: expected times in seconds, found {row['time_s']:g} s in all")
        if row["call"]:
            row["kind"], flops, size = work(row["call"])
            row["flops"] = row["flops"] or row["count"] * flops
            row["bytes"] = row["bytes"] or row["count"] * size
        for name in ("flops", "bytes"):
            if 0 < row[name] < LEAST:
                found = f"found {row[name]:g} in all"
                raise BadData(f"{file}: {shown(row['op'])}: expected no {name} or at least {LEAST:g}, {found}")
    frame = pd.DataFrame(list(rows.values()))
    frame["intensity"] = (frame["flops"] / frame["bytes"].where(frame["bytes"] > 0)).fillna(0.0)
    frame["share"] = frame["time_s"] / frame["time_s"].sum()
    return frame[list(COLUMNS)].sort_values("time_s", ascending=False, ignore_index=True)


def csv_rows(text: str, file: str) -> list[dict[str, str]]:
    """The rows of a CSV, below what a profiler prints before its table.

    Raises
    ------
    BadData
        Without a header, or for a row that is longer or shorter than it.
    """
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if "," in line and not line.startswith("==")), None)
    heads = [i for i, line in enumerate(lines) if '"Kernel Name"' in line or line.startswith("ID,")]
    start = heads[0] if heads else start
    if start is None:
        raise BadData(f"{file}: expected CSV or JSON, found no line with a comma")
    reader = csv.reader(io.StringIO("".join(line for line in lines[start:] if not line.startswith("=="))))
    rows: list[dict[str, str]] = []
    try:
        header = [name.strip() for name in next(reader)]
        within(file, 1, len(header))
        twice = next((name for name in header if name and header.count(name) > 1), None)
        if twice is not None:
            raise BadData(f"{file}: column {shown(twice)} is there twice")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise BadData(
                    f"{file}: line {start + reader.line_num}: expected {len(header)} columns "
                    f"({', '.join(header)[:120]}), found {len(cells)}"
                )
            rows.append(dict(zip(header, cells, strict=True)))
            within(file, len(rows), len(header))
    except csv.Error as error:
        raise BadData(f"{file}: line {start + reader.line_num}: {error}") from None
    if not rows:
        raise BadData(f"{file}: has a header ({', '.join(header)[:120]}) and no rows")
    return rows
