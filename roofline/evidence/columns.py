"""What a row of measurements may say: operators by name, their arguments as columns, and words and flags as text."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from roofline.base.errors import BadWorkload, shown
from roofline.base.units import dtype_name
from roofline.work import op as operators

OPERATORS = (
    "gemm",
    "attention",
    "mla_attention",
    "moe",
    "embedding_bag",
    "elementwise",
    "residual_add",
    "rms_norm",
    "layer_norm",
    "softmax",
    "silu_mul",
    "activation",
    "rope",
    "copy",
    "sampling",
    "token_embedding",
    "quantize",
    "dequantize",
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "send",
    "host_copy",
)

#: Columns that hold words, and those that hold true or false; every other argument is a number.
WORDS = ("dtype", "weight_dtype", "kv_dtype", "out_dtype", "query_dtype", "to", "kind")
FLAGS = ("causal", "chunked", "stored", "gated", "quantize", "reuse", "merged", "tuned")

#: Numbers that may be zero.
MAY_BE_ZERO = ("window", "skew", "reads", "writes", "flops_per_element", "cold_reads", "value_dim")

_NOT_ARGUMENTS = ("name", "count", "shard", "scope")
_TRUE, _FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@functools.cache
def keywords(name: str) -> dict[str, bool]:
    """The columns that a row of an operator may have -> whether it must have them."""
    parameters = dict(inspect.signature(getattr(operators, name)).parameters)
    if "options" in parameters:  # the kin of elementwise take its keywords too
        parameters = {**inspect.signature(operators.elementwise).parameters, **parameters}
        del parameters["options"]
    empty = inspect.Parameter.empty
    return {k: p.default is empty for k, p in parameters.items() if k not in _NOT_ARGUMENTS}


@functools.cache
def numbers() -> frozenset[str]:
    """Every column that is a number to some operator."""
    return frozenset(k for name in OPERATORS for k in keywords(name)) - {*WORDS, *FLAGS}


def arguments(
    row: Mapping[str, object], number: Callable[[str, str], float] = lambda text, name: float(text)
) -> dict[str, object]:
    """The keyword arguments of the operator of one row; empty cells leave a keyword out.

    Parameters
    ----------
    row : mapping
        Columns to values, as text or as they are; `op` is one of :data:`OPERATORS`.
    number : callable, optional
        Reads a number from its text and the name of its column.

    Raises
    ------
    BadWorkload
        For a flag that is neither true nor false.
    """
    found: dict[str, object] = {}
    for name in keywords(str(row["op"])):
        text = "" if missing(row.get(name)) else str(row[name]).strip()
        if text:
            found[name] = word(name, text) if name in (*WORDS, *FLAGS) else number(text, name)
    return found


def word(name: str, text: str) -> Any:
    """The value of a word or flag.

    Raises
    ------
    BadWorkload
        For a dtype that is not known, or a flag that is neither true nor false.
    """
    if name in FLAGS:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise BadWorkload(f"{name} must be true or false, found {shown(text)}")
        return text.lower() in _TRUE
    return text if name == "kind" else dtype_name(text)


def missing(value: object) -> bool:
    """Whether a cell is empty: None, NaN or pandas' NA."""
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
