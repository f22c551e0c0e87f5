"""Measured operator times: a table in documented columns -> operators that the model can be held to.

One row is one measured (median) call of one operator. Columns, units in the names:

==============  =====================================================================================================
``op``          operator function: gemm, attention, mla_attention, moe, embedding_bag, rms_norm, all_reduce ...
``time_s``      measured time of one call (s)
``dtype``       of the arithmetic (of the rows, for embedding bags); optional for collectives and copies
others          the keywords of that function in :mod:`roofline.op`: m, n, k, batch, heads, kv_len, tokens, rows ...;
                flags (causal, gated, quantize, reuse) as true/false; empty where a keyword does not apply
==============  =====================================================================================================

Any further column (framework, source, role ...) is carried along and ignored by the model.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline import op as operators
from roofline.errors import BadData, BadWorkload, closest
from roofline.inference import COST, evaluate_op
from roofline.op import Op
from roofline.units import dtype_name

if TYPE_CHECKING:
    import pandas as pd

    from roofline.chip import Chip

#: A measured time may undercut the lower bound by this much (timer resolution, clocks above the nominal one).
MARGIN = 0.03

#: Upper ends (s) of the regimes by naive roofline time, and their names.
REGIME_EDGES_S = (5e-6, 20e-6, 100e-6, 1000e-6)
REGIMES = ("under 5 us", "5-20 us", "20-100 us", "100-1000 us", "over 1 ms")

MAX_FILE_BYTES = 2_000_000_000

_TEXT = ("dtype", "weight_dtype", "kv_dtype", "out_dtype", "to", "kind")
_FLAGS = ("causal", "gated", "quantize", "reuse")
_NOT_ARGUMENTS = ("name", "count", "shard", "scope")


def _functions() -> dict[str, Any]:
    names = (
        "gemm", "attention", "mla_attention", "moe", "embedding_bag", "elementwise", "residual_add", "rms_norm",
        "layer_norm", "softmax", "silu_mul", "activation", "rope", "copy", "sampling", "token_embedding", "quantize",
        "dequantize", "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send", "host_copy",
    )  # fmt: skip
    return {name: getattr(operators, name) for name in names}


_ELEMENTWISE = tuple(inspect.signature(operators.elementwise).parameters)


def _keywords(function: Any) -> list[str]:
    names = list(inspect.signature(function).parameters)
    if "options" in names:  # the kin of elementwise take its keywords too
        names = [n for n in names if n != "options"] + [n for n in _ELEMENTWISE if n not in names]
    return [n for n in names if n not in _NOT_ARGUMENTS]


def read(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a measurement file, CSV or Parquet, and check its columns.

    Raises
    ------
    BadData
        When the file cannot be read or lacks a column, or an operator is unknown: names the nearest right thing.
    """
    import pandas as pd

    file = Path(path)
    if not file.is_file():
        raise BadData(f"{file}: no such file")
    if file.stat().st_size > MAX_FILE_BYTES:
        raise BadData(f"{file}: expected at most {MAX_FILE_BYTES:,} bytes")
    try:
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, low_memory=False)
    except Exception as error:  # pandas and pyarrow raise many types for a broken file
        raise BadData(
            f"{file}: cannot be read as {'Parquet' if file.suffix == '.parquet' else 'CSV'}: {error}"
        ) from None
    return checked(frame, str(file))


def checked(frame: pd.DataFrame, file: str = "measurements") -> pd.DataFrame:
    """The table, if it has the columns that measurements need.

    Raises
    ------
    BadData
    """
    for column in ("op", "time_s"):
        if column not in frame.columns:
            near = closest(column, map(str, frame.columns), 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise BadData(f"{file}: no column {column!r}{hint} found: {', '.join(map(str, frame.columns))}")
    known = _functions()
    for name in frame["op"].unique():
        if name not in known:
            near = closest(str(name), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise BadData(f"{file}: column 'op': unknown operator {name!r}{hint}")
    return frame


def groups(frame: pd.DataFrame) -> Iterator[tuple[Any, Op]]:
    """The rows of a table as operators whose arguments are arrays, one for each set of equal words and flags.

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
        function = _functions()[str(name)]
        keywords = [k for k in _keywords(function) if k in rows.columns]
        words = [k for k in keywords if k in _TEXT or k in _FLAGS]
        numbers = [k for k in keywords if k not in words]
        keys = rows[words].astype(object).where(rows[words].notna(), None)
        present = rows[numbers].notna()
        pattern = present.apply(tuple, axis=1) if numbers else 0
        for _, part in rows.groupby([*(keys[w].astype(str) for w in words), pattern], sort=False, observed=True):
            given: dict[str, Any] = {}
            for word in words:
                value = keys.loc[part.index[0], word]
                if value is not None:
                    given[word] = (
                        _flag(value) if word in _FLAGS else dtype_name(str(value)) if word != "kind" else value
                    )
            for number in numbers:
                if present.loc[part.index[0], number]:
                    given[number] = part[number].to_numpy(dtype=float)
            try:
                yield part.index, function(**given)
            except (BadWorkload, TypeError) as error:
                raise BadData(f"row {part.index[0]} and {len(part) - 1} more ({name}): {error}") from None


def _flag(value: Any) -> bool:
    return str(value).strip().lower() in ("1", "1.0", "true", "yes")


def predict(frame: pd.DataFrame, chip: Chip) -> pd.DataFrame:
    """What the model says of each measured row.

    Returns
    -------
    DataFrame
        Same index: `kind`, `dtype`, `lower_s`, `predicted_s`, `upper_s`, `naive_s` (largest of FLOP over peak, bytes
        over main-memory bandwidth, bytes over link bandwidth) and the parts of it: `compute_s`, `memory_s`, `link_s`.
    """
    import pandas as pd

    parts = []
    for index, op in groups(frame):
        cost = dict(zip(COST, (np.broadcast_to(v, len(index)) for v in evaluate_op(op, chip)), strict=True))
        compute = cost["flops"] / chip.peak(op.dtype) if np.any(cost["flops"]) else np.zeros(len(index))
        compute = np.maximum(compute, cost["vector_flops"] / chip.machine["vector_flops"])
        link = cost["network_bytes"] / chip.machine["link_bandwidth"]
        memory = cost["bytes"] / chip.machine["memory_bandwidth"] * (cost["network_bytes"] == 0)
        parts.append(pd.DataFrame({
            "kind": op.kind, "dtype": op.dtype, "lower_s": cost["lower_s"], "predicted_s": cost["time_s"],
            "upper_s": cost["upper_s"], "naive_s": np.maximum(np.maximum(compute, memory), link),
            "compute_s": compute, "memory_s": memory, "link_s": link,
        }, index=index))  # fmt: skip
    return pd.concat(parts).reindex(frame.index)


def faults(frame: pd.DataFrame, chip: Chip, margin: float = MARGIN) -> pd.Series[str]:
    """Why rows cannot be used: index of the bad rows -> reason.

    A row is bad when its time or an argument is missing or not positive, or when it is faster than the lower bound by
    more than `margin`: no machine of that description does that, so something other was measured.
    """
    import pandas as pd

    time = pd.to_numeric(frame["time_s"], errors="coerce")
    reason = pd.Series("", index=frame.index, dtype=object)
    reason[time.isna()] = "time_s is missing or no number"
    reason[(time <= 0) | np.isinf(time)] = "time_s is not positive and finite"
    for name, rows in frame.groupby("op", sort=False, observed=True):
        function = _functions()[str(name)]
        for keyword, parameter in inspect.signature(function).parameters.items():
            if keyword in rows.columns and keyword not in (*_TEXT, *_FLAGS, *_NOT_ARGUMENTS):
                value = pd.to_numeric(rows[keyword], errors="coerce")
                required = parameter.default is inspect.Parameter.empty
                bad = (value.isna() & (rows[keyword].notna() | required)) | (value < 0) | np.isinf(value)
                if keyword not in ("window", "skew", "reads", "writes", "flops_per_element"):
                    bad |= value == 0
                reason[bad[bad].index] = f"{keyword} is missing or not positive"
    good = frame[reason == ""]
    if len(good):
        lower = predict(good, chip)["lower_s"]
        fast = time[good.index] < lower * (1 - margin)
        reason[fast[fast].index] = f"faster than the lower bound by more than {margin:.0%}"
    return reason[reason != ""]


def regime(naive_s: Any) -> Any:
    """The number of the regime (index into :data:`REGIMES`) of naive roofline times (s)."""
    return np.searchsorted(REGIME_EDGES_S, naive_s, side="right")
