"""What a profiler measured -> points on a roofline, matched to operators where their shapes are known.

Reads Nsight Compute CSV (``ncu --csv``: one row a metric, a summary of kernels, or the raw page with a column a
metric), Chrome traces of the PyTorch profiler (``.json``, ``.json.gz``) and plain CSV. Files are data: sizes are
bounded, nothing in them is evaluated.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from roofline.base import reading
from roofline.base.errors import BadData, BadWorkload, closest, shown
from roofline.estimates.inference import COST, evaluate_op
from roofline.evidence.columns import OPERATORS, arguments, keywords, numbers
from roofline.profiles import nsight, tensor, traces
from roofline.profiles.numerals import decimal_mark, number
from roofline.profiles.points import COLUMNS, csv_rows, operator, table, work

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

__all__ = ["COLUMNS", "measured", "predict", "read"]

_TIME = COST.index("time_s")


def read(path: str | os.PathLike[str], chip: Chip | None = None) -> pd.DataFrame:
    """Read a profile, whatever wrote it.

    Parameters
    ----------
    path : path
        ``.csv`` of Nsight Compute or of your own, ``.json`` or ``.json.gz`` of the PyTorch profiler.
    chip : Chip, optional
        What it was taken on. Its generation tells the size of a tensor instruction where an export of Nsight Compute
        counts only those and has no column ``CC``.

    Returns
    -------
    DataFrame
        One row for each operator or kernel and shape, the longest first: `op` (label), `kind` (operator class, "" if
        unknown), `count` (calls), `flops` and `bytes` (all calls together; 0 where the profile does not say),
        `intensity` (FLOP/B), `time_s` (all calls together), `share` (of the time of all rows), `call` (the operator
        and its arguments where they are known, else None), `note` (what else there is to know of its figures: a
        product of which only the vector units were counted, FLOP that rest on the size of an instruction). It goes
        into ``plot_roofline(ops=...)`` as it is.

    Raises
    ------
    BadData
        For a file of another kind or a broken one: names the column or key. For numbers whose decimal mark nothing
        tells (``1,234``), with both readings. For tensor instructions whose size nothing tells, with the counters to
        ask for.

    Notes
    -----
    What a file unpacks to is bounded, as are its rows and columns (:mod:`roofline.base.reading`). The numbers of one
    file are written in one locale, with a decimal point or a decimal comma.

    A plain CSV has columns `op` and `time_s`, and either `flops` and `bytes`, or those of a measurement file
    (:mod:`roofline.evidence.measurements`); `count` is optional.
    """
    file, text = os.fspath(path), reading.text(path)
    try:
        if text.lstrip()[:1] in ("{", "["):
            return table(traces.points(text, file), file)
        rows = csv_rows(text, file)
        if any("Kernel Name" in row for row in rows[:1]):
            capability = tensor.capability_of(chip) if chip is not None else None
            return table(nsight.points(rows, file, capability), file)
        return table(_plain(rows, file), file)
    except RecursionError:
        raise BadData(f"{file}: nested too deeply") from None


def predict(profile: pd.DataFrame, chip: Chip) -> pd.DataFrame:
    """The same table with what the model says: `predicted_s` (all calls together; NaN where no operator is known)
    and `ratio` (predicted over measured).
    """
    predicted = []
    for row in profile.to_dict("records"):
        call, time_s = row["call"], math.nan
        if isinstance(call, dict):
            try:
                time_s = row["count"] * float(evaluate_op(operator(call), chip)[_TIME])
            except BadWorkload:  # a dtype that the chip has no rate for
                time_s = math.nan
        predicted.append(time_s)
    found = profile.assign(predicted_s=predicted)
    return found.assign(ratio=found["predicted_s"] / found["time_s"])


def measured(profile: pd.DataFrame) -> pd.DataFrame:
    """The rows whose operator is known, as a measurement file has them: `op`, `time_s` of one call, its arguments."""
    import pandas as pd

    rows = [
        {**row["call"], "time_s": row["time_s"] / row["count"]}
        for row in profile.to_dict("records")
        if isinstance(row["call"], dict)
    ]
    return pd.DataFrame(rows, columns=None if rows else ["op", "time_s"])


def _plain(rows: list[dict[str, str]], file: str) -> Iterable[dict[str, Any]]:
    columns = list(rows[0])
    for column in ("op", "time_s"):
        if column not in columns:
            near = closest(column, columns, 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise BadData(f"{file}: no column {column!r}{hint} found: {', '.join(columns)[:200]}")
    if "flops" in columns and "bytes" not in columns:
        raise BadData(f"{file}: no column 'bytes': flops and bytes go together")
    numeric = numbers() | {"time_s", "count", "flops"}
    cells = ((row[c], False) for row in rows for c in columns if c in numeric)
    mark = decimal_mark(cells, file, usual=".")
    for line, row in enumerate(rows, 2):
        where = f"{file}: row {line}"
        if "flops" not in columns and row.get("bytes", "").strip() and not _takes_bytes(row["op"].strip()):
            raise BadData(f"{file}: no column 'flops': flops and bytes go together (row {line}: {row['op'].strip()})")
        time_s = number(row["time_s"], f"{where}, column 'time_s'", mark)
        if time_s <= 0:
            raise BadData(f"{where}, column 'time_s': expected a time above zero, found {shown(row['time_s'])}")
        count = number(row["count"], f"{where}, column 'count'", mark) if row.get("count", "").strip() else 1.0
        if count <= 0:
            raise BadData(f"{where}, column 'count': expected calls above zero, found {shown(row['count'])}")
        point: dict[str, Any] = {
            "op": row["op"].strip(),
            "kind": row.get("kind", ""),
            "count": count,
            "key": line,
            "time_s": time_s,
        }
        if "flops" in columns:
            point |= {name: number(row[name], f"{where}, column {name!r}", mark) for name in ("flops", "bytes")}
        else:
            try:
                point["call"] = _call(row, where, mark)
                work(point["call"])
            except BadWorkload as error:
                raise BadData(f"{where}: {error}") from None
            point["time_s"] = time_s * count
        yield point


def _takes_bytes(name: str) -> bool:
    """Whether bytes are an argument of this operator: collectives and copies."""
    return name in OPERATORS and "bytes" in keywords(name)


def _call(row: dict[str, str], where: str, mark: str) -> dict[str, Any]:
    """The operator of a row in the columns of a measurement file."""
    name = row["op"].strip()
    if name not in OPERATORS:  # refused where it is built
        return {"op": name}
    given = arguments({**row, "op": name}, lambda text, column: number(text, f"{where}, column {column!r}", mark))
    return {"op": name, **given}
