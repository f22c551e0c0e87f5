"""Measured operator times: a table in documented columns -> operators that the model can be held to.

One row is one measured (median) call of one operator. Columns, units in the names:

==============  =====================================================================================================
``op``          operator function: gemm, attention, mla_attention, moe, embedding_bag, rms_norm, all_reduce ...
``time_s``      measured time of one call (s)
``dtype``       of the arithmetic (of the rows, for embedding bags); none for collectives and copies
others          the keywords of that function in :mod:`roofline.work.op`: m, n, k, batch, heads, kv_len, tokens, rows
                ...; sizes in elements, ``bytes`` in bytes; flags (causal, chunked, stored, gated, quantize, reuse,
                merged, tuned) as true/false; empty where a keyword does not apply, so that its default holds
==============  =====================================================================================================

A benchmark that runs the same tensors again and again has ``reuse`` true: what fits stays in the cache. Any further
column (chip, framework, version, role ...) is carried along and ignored by the model. docs/measurements.md says it
with examples.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import reading
from roofline.base.errors import BadData, BadWorkload, closest, shown
from roofline.estimates.inference import COST, evaluate_op, naive_parts, op_spread
from roofline.evidence.columns import FLAGS, MAY_BE_ZERO, OPERATORS, WORDS, keywords, missing, word
from roofline.hardware.machine import REGIME_EDGES_S
from roofline.work import op as operators
from roofline.work.op import Op

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

#: A measured time may undercut the lower bound by this much (timer resolution, clocks above the nominal one).
MARGIN = 0.03

#: The fault of a row that undercuts it by more.
TOO_FAST = f"faster than the lower bound by more than {MARGIN:.0%}"

#: A measured time this many times the upper bound is a mistake in the unit, or another operator.
FAR = 1000.0

#: The regimes of naive roofline time, as tables name them.
REGIMES = ("under 5 us", "5-20 us", "20-100 us", "100-1000 us", "over 1 ms")

# Files -----------------------------------------------------------------------------------------------------------


def read(source: str | os.PathLike[str] | pd.DataFrame) -> pd.DataFrame:
    """Measurements from a file, CSV (``.csv``, also compressed) or Parquet, or from a DataFrame; columns checked.

    Returns
    -------
    DataFrame
        Indexed 1, 2, ... : row 1 is the first below the header.

    Raises
    ------
    BadData
        When the file cannot be read, unpacks to more than any table of measurements (:mod:`roofline.base.reading`),
        has no rows, or lacks a column: names the nearest right thing.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return checked(source)
    file = reading.existing(source)
    parquet = file.suffix.lower() in (".parquet", ".pq")
    return checked(reading.parquet_table(file) if parquet else reading.csv_table(file), str(file))


def checked(frame: pd.DataFrame, file: str = "measurements") -> pd.DataFrame:
    """The table, if it has the columns that measurements need; rows numbered from 1.

    Raises
    ------
    BadData
    """
    reading.within(file, *frame.shape)
    names = [str(c).strip() for c in frame.columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise BadData(f"{file}: column {twice[0]!r} is there twice")
    for column in ("op", "time_s"):
        if column not in names:
            near = closest(column, names, 1)
            hint = f"is it {near[0]!r}? " if near and len(names) > 1 else ""
            hint = "expected commas between columns; " if len(names) == 1 and set(names[0]) & set(";\t|") else hint
            raise BadData(f"{file}: no column {column!r}; {hint}found: {shown(', '.join(names))}")
    if frame.empty:
        raise BadData(f"{file}: no rows below the header")
    times = frame.iloc[:, names.index("time_s")]
    if times.dtype.kind in "bmM":
        raise BadData(f"{file}: time_s: expected seconds as numbers, found {times.dtype}")
    frame = frame.set_axis(names, axis=1)
    frame = frame.set_axis(np.arange(1, len(frame) + 1), axis=0)
    frame = frame.assign(**{c: _plain(frame[c]) for c in names if not isinstance(frame[c].dtype, np.dtype)})
    frame["op"] = [v if isinstance(v, str) or missing(v) else shown(v) for v in frame["op"]]
    if not frame["op"].isin(OPERATORS).any():
        name = str(frame["op"].iloc[0])
        near = closest(name, OPERATORS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(OPERATORS)}"
        raise BadData(f"{file}: column 'op': unknown operator {shown(name)} (row 1); {hint}")
    return frame


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column as numpy has it: numbers with gaps as floats, flags and categories with gaps as objects."""
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype):
        return column
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.astype(float)
    return column.astype(object).where(column.notna(), None)


def unused(frame: pd.DataFrame) -> list[str]:
    """Columns that look like a keyword mistyped: ``"quantise: did you mean 'quantize'?"``."""
    used = {k for name in frame["op"].unique() if name in OPERATORS for k in keywords(str(name))}
    columns = {str(c) for c in frame.columns}
    found = []
    for column in sorted(columns - used - {"op", "time_s", "chip", "framework", "version", "role", "variant", "flags"}):
        import difflib

        near = difflib.get_close_matches(column, used - columns, 1, 0.8)
        if near:
            found.append(f"column {column!r} is not used; did you mean {near[0]!r}?")
    return found


# Rows -> operators -----------------------------------------------------------------------------------------------


def groups(frame: pd.DataFrame, failed: dict[Any, str] | None = None) -> Iterator[tuple[Any, Op]]:
    """The rows of a table as operators whose arguments are arrays, one for each set of equal words and flags.

    Parameters
    ----------
    frame : DataFrame
    failed : dict, optional
        Is told the rows that no operator can have, with the reason; without it they raise.

    Yields
    ------
    index : pandas.Index
        The rows.
    op : Op
        With one array element a row.

    Raises
    ------
    BadData
        When a row lacks an argument that its operator needs, or no operator can have it.
    """
    for name, rows in frame.groupby("op", sort=False, observed=True):
        present = [k for k in keywords(str(name)) if k in rows.columns]
        words = [k for k in present if k in (*WORDS, *FLAGS)]
        numbers = [k for k in present if k not in words]
        keys = [_as_words(rows[w]) for w in words] + [rows[n].notna().to_numpy() for n in numbers]
        for _, part in rows.groupby(_alike(keys, len(rows)), sort=False):
            yield from _operators(str(name), part, words, numbers, failed)


def _as_words(column: pd.Series[Any]) -> np.ndarray:
    """The entries as words without blanks around them; one that is missing is empty."""
    entries = zip(column.to_numpy(dtype=object), column.notna(), strict=True)
    return np.array([str(entry).strip() if there else "" for entry, there in entries], dtype=object)


def _alike(keys: list[np.ndarray], count: int) -> np.ndarray:
    """A number for each of `count` rows, the same for those that are equal in all of the keys."""
    import pandas as pd

    alike = np.zeros(count, dtype=np.int64)
    for key in keys:
        codes, distinct = pd.factorize(key)
        alike, _ = pd.factorize(alike * len(distinct) + codes)
    return alike


def _operators(
    name: str, rows: pd.DataFrame, words: list[str], numbers: list[str], failed: dict[Any, str] | None
) -> Iterator[tuple[Any, Op]]:
    first = rows.iloc[0]
    given: dict[str, Any] = {}
    try:
        for column in words:
            text = "" if missing(first[column]) else str(first[column]).strip()
            if text:
                given[column] = word(column, text)
        given |= {n: rows[n].to_numpy(dtype=float) for n in numbers if not missing(first[n])}
        op = getattr(operators, name)(**given)
    except (BadWorkload, TypeError, ValueError, ArithmeticError) as error:
        if len(rows) > 1:  # find the rows at fault
            half = len(rows) // 2
            for part in (rows.iloc[:half], rows.iloc[half:]):
                yield from _operators(name, part, words, numbers, failed)
        elif failed is None:
            raise BadData(f"row {rows.index[0]} ({name}): {_reason(name, error)}") from None
        else:
            failed[rows.index[0]] = _reason(name, error)
    else:
        yield rows.index, op


def _reason(name: str, error: Exception) -> str:
    text = str(error).removeprefix(f"{name}: ").replace("array([", "").replace("])", "")
    if isinstance(error, TypeError) and "required keyword" in text:
        return "no " + text.partition(": ")[2].replace("'", "")
    return text


def faults(frame: pd.DataFrame, chip: Chip) -> pd.Series[str]:
    """Why rows cannot be used: index of the bad rows -> reason.

    A row is bad when its operator is unknown, its time or an argument is missing, not positive or impossible, the chip
    has no rate for its dtype, or when it is faster than the lower bound by more than :data:`MARGIN`: no machine of that
    description does that, so something other was measured. So it is when it is :data:`FAR` times slower than the upper
    bound: most often the unit is wrong.
    """
    return judged(frame, chip)[0]


def judged(frame: pd.DataFrame, chip: Chip) -> tuple[pd.Series[str], pd.DataFrame]:
    """Why rows cannot be used, as :func:`faults` says, and what the model says of those that it was asked of.

    Returns
    -------
    reasons : Series
    predictions : DataFrame
        As of :func:`predict`, for every row that is an operator which the chip runs, however long it took.
    """
    import pandas as pd

    reason = pd.Series("", index=frame.index, dtype=object)
    time = _as_numbers(frame["time_s"])
    reason[(time <= 0) | np.isinf(time)] = "time_s is not positive and finite"
    reason[time.isna()] = "time_s is missing or no number"
    for name, rows in frame.groupby("op", sort=False, observed=True, dropna=False):
        if name not in OPERATORS:
            near = closest(str(name), OPERATORS, 1)
            reason[rows.index] = f"unknown operator {shown(name)}" + (f"; did you mean {near[0]!r}?" if near else "")
            continue
        for keyword, required in keywords(str(name)).items():
            if keyword in (*WORDS, *FLAGS):
                continue
            if keyword not in rows.columns:
                if required:
                    reason[rows.index] = f"{keyword} is missing"
                continue
            value = _as_numbers(rows[keyword]).to_numpy()
            given = rows[keyword].notna().to_numpy()
            low = (value < 0) | ((value == 0) & (keyword not in MAY_BE_ZERO)) | np.isinf(value)
            _mark(reason, rows.index[low], f"{keyword} is not positive and finite")
            _mark(reason, rows.index[np.isnan(value) & given], f"{keyword} is no number")
            _mark(reason, rows.index[~given & required], f"{keyword} is missing")
    failed: dict[Any, str] = {}
    predicted = predict(numeric(frame[reason == ""]), chip, failed)
    for row, why in failed.items():
        reason[row] = why
    time = time[predicted.index]
    far = f"slower than the upper bound by {FAR:,.0f} times: in seconds?"
    _mark(reason, time.index[time < predicted["lower_s"] * (1 - MARGIN)], TOO_FAST)
    _mark(reason, time.index[time > predicted["upper_s"] * FAR], far)
    return reason[reason != ""], predicted


def reasons(bad: pd.Series[str], most: int = 5) -> str:
    """Bad rows in words, the commonest reason first: ``"10 x k is missing (row 3 the first)"``."""
    counts = bad.value_counts().head(most)
    return "; ".join(f"{n:,} x {why} (row {bad.index[bad == why][0]} the first)" for why, n in counts.items())


def _mark(reason: pd.Series[str], rows: pd.Index[Any], text: str) -> None:
    if len(rows):
        reason[rows] = text


def numeric(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its numbers as floats: a column that held a word somewhere was read as text."""
    words = {"op", *WORDS, *FLAGS}
    known = {k for name in frame["op"].unique() if name in OPERATORS for k in keywords(str(name))} | {"time_s"}
    changed = {c: _as_numbers(frame[c]) for c in frame.columns if c in known and c not in words}
    return frame.assign(**changed)


def _as_numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """A column as floats; NaN for what is no number, infinity for one that is too large."""
    import pandas as pd

    if column.dtype.kind in "iuf":
        return column.astype(float)

    def plain(value: object) -> Any:
        if isinstance(value, str | float):
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            return float(value) if isinstance(value, np.number) else np.nan  # lists, dates, true and false
        return float(value) if abs(value) < 10**300 else np.inf

    return pd.to_numeric(column.astype(object).map(plain), errors="coerce").astype(float)


# Predictions -----------------------------------------------------------------------------------------------------


def predict(frame: pd.DataFrame, chip: Chip, failed: dict[Any, str] | None = None) -> pd.DataFrame:
    """What the model says of each measured row.

    Parameters
    ----------
    frame : DataFrame
        With numbers as numbers; see :func:`numeric`.
    chip : Chip
    failed : dict, optional
        Is told the rows that the chip cannot run, with the reason, and those are left out; without it they raise.

    Returns
    -------
    DataFrame
        Same index: `kind`, `dtype`, `lower_s`, `predicted_s`, `upper_s`, `spread` (standard deviation of the log of
        measured over predicted), `naive_s` (largest of FLOP over peak, bytes over main-memory bandwidth, bytes over
        link bandwidth) and the parts of it: `compute_s`, `memory_s`, `link_s`.

    Raises
    ------
    BadData, BadWorkload
        For a row that is no operator, or that the chip cannot run.
    """
    import pandas as pd

    parts = []
    for index, op in groups(frame, failed):
        try:
            values = evaluate_op(op, chip)
        except BadWorkload as error:
            if failed is None:
                raise
            failed.update(dict.fromkeys(index, str(error)))
            continue
        cost = dict(zip(COST, (np.broadcast_to(v, len(index)) for v in values), strict=True))
        compute, memory, link = naive_parts(op, values, chip)
        parts.append(
            pd.DataFrame(
                {
                    "kind": op.kind,
                    "dtype": op.dtype,
                    "lower_s": cost["lower_s"],
                    "predicted_s": cost["time_s"],
                    "upper_s": cost["upper_s"],
                    "spread": op_spread(op, values, chip),
                    "naive_s": np.maximum(np.maximum(compute, memory), link),
                    "compute_s": compute,
                    "memory_s": memory,
                    "link_s": link,
                },
                index=index,
            )
        )
    if not parts:
        return pd.DataFrame(
            columns=[
                "kind",
                "dtype",
                "lower_s",
                "predicted_s",
                "upper_s",
                "spread",
                "naive_s",
                "compute_s",
                "memory_s",
                "link_s",
            ]
        )
    return pd.concat(parts).reindex(frame.index.difference(list(failed or ()), sort=False))


def regime(naive_s: Any) -> Any:
    """The number of the regime (index into :data:`REGIMES`) of naive roofline times (s)."""
    return np.searchsorted(REGIME_EDGES_S, naive_s, side="right")
