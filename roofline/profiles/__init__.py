"""What a profiler measured -> points on a roofline, matched to operators where their shapes are known.

Reads Nsight Compute CSV (``ncu --csv``: one row a metric, a summary of kernels, or the raw page with a column a
metric), Chrome traces of the PyTorch profiler (``.json``, ``.json.gz``) and plain CSV. Files are data: sizes are
bounded, nothing in them is evaluated.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadData, BadWorkload, closest, shown
from roofline.estimates.inference import COST, evaluate_op
from roofline.evidence.measurements import OPERATORS, arguments, keywords
from roofline.profiles import nsight, traces
from roofline.profiles.points import COLUMNS, csv_rows, number, operator, table, work

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

__all__ = ["COLUMNS", "measured", "predict", "read"]

#: Larger than any profile worth drawing; a file (or what it unpacks to) beyond this is refused.
MAX_BYTES = 400_000_000

_TIME = COST.index("time_s")


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a profile, whatever wrote it.

    Parameters
    ----------
    path : path
        ``.csv`` of Nsight Compute or of your own, ``.json`` or ``.json.gz`` of the PyTorch profiler.

    Returns
    -------
    DataFrame
        One row for each operator or kernel and shape, the longest first: `op` (label), `kind` (operator class, "" if
        unknown), `count` (calls), `flops` and `bytes` (all calls together; 0 where the profile does not say),
        `intensity` (FLOP/B), `time_s` (all calls together), `share` (of the time of all rows), `call` (the operator
        and its arguments where they are known, else None). It goes into ``plot_roofline(ops=...)`` as it is.

    Raises
    ------
    BadData
        For a file of another kind or a broken one: names the column or key.

    Notes
    -----
    A plain CSV has columns `op` and `time_s`, and either `flops` and `bytes`, or those of a measurement file
    (:mod:`roofline.evidence.measurements`); `count` is optional.
    """
    file = Path(path)
    text = _text(file)
    try:
        if text.lstrip()[:1] in ("{", "["):
            return table(traces.points(text, str(file)), str(file))
        rows = csv_rows(text, str(file))
        if any("Kernel Name" in row for row in rows[:1]):
            return table(nsight.points(rows, str(file)), str(file))
        return table(_plain(rows, str(file)), str(file))
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


def _text(file: Path) -> str:
    if not file.is_file():
        raise BadData(f"{file}: no such file")
    try:
        with file.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            data = (gzip.GzipFile(fileobj=stream) if packed else stream).read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise BadData(f"{file}: cannot be read: {error}") from None
    except Exception as error:  # zlib.error, for a damaged archive
        raise BadData(f"{file}: cannot be unpacked: {error}") from None
    if len(data) > MAX_BYTES:
        raise BadData(f"{file}: expected at most {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{file}: expected UTF-8 text, found other bytes ({error.reason} at {error.start})") from None


def _plain(rows: list[dict[str, str]], file: str) -> Iterable[dict[str, Any]]:
    columns = list(rows[0])
    for column in ("op", "time_s"):
        if column not in columns:
            near = closest(column, columns, 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise BadData(f"{file}: no column {column!r}{hint} found: {', '.join(columns)[:200]}")
    if "flops" in columns and "bytes" not in columns:
        raise BadData(f"{file}: no column 'bytes': flops and bytes go together")
    for line, row in enumerate(rows, 2):
        where = f"{file}: row {line}"
        if "flops" not in columns and row.get("bytes", "").strip() and not _takes_bytes(row["op"].strip()):
            raise BadData(f"{file}: no column 'flops': flops and bytes go together (row {line}: {row['op'].strip()})")
        time_s = number(row["time_s"], f"{where}, column 'time_s'")
        if time_s <= 0:
            raise BadData(f"{where}, column 'time_s': expected a time above zero, found {shown(row['time_s'])}")
        count = number(row["count"], f"{where}, column 'count'") if row.get("count", "").strip() else 1.0
        point: dict[str, Any] = {"op": row["op"].strip(), "kind": row.get("kind", ""), "count": count, "key": line,
                                 "time_s": time_s}  # fmt: skip
        if "flops" in columns:
            point |= {name: number(row[name], f"{where}, column {name!r}") for name in ("flops", "bytes")}
        else:
            try:
                point["call"] = _call(row, where)
                work(point["call"])
            except BadWorkload as error:
                raise BadData(f"{where}: {error}") from None
            point["time_s"] = time_s * count
        yield point


def _takes_bytes(name: str) -> bool:
    """Whether bytes are an argument of this operator: collectives and copies."""
    return name in OPERATORS and "bytes" in keywords(name)


def _call(row: dict[str, str], where: str) -> dict[str, Any]:
    """The operator of a row in the columns of a measurement file."""
    name = row["op"].strip()
    if name not in OPERATORS:  # refused where it is built
        return {"op": name}
    said = arguments({**row, "op": name}, lambda text, column: number(text, f"{where}, column {column!r}"))
    return {"op": name, **said}
