"""Operators that stream tensors past the vector engine: norms, activations, copies, conversions."""

from __future__ import annotations

from typing import Any, Protocol, TypedDict, Unpack

from roofline.base.numeric import Numeric, NumericLike, flags, not_negative
from roofline.base.units import DTYPE_BYTES, dtype_name, width
from roofline.work.operator import Op
from roofline.work.sizes import mean, whole


class StreamOptions(TypedDict, total=False):
    """What the kin of :func:`elementwise` take beside a shape and dtypes; there it is said what each is."""

    reads: NumericLike
    writes: NumericLike
    flops_per_element: NumericLike
    passes: NumericLike
    cold_reads: NumericLike
    reuse: bool
    merged: bool
    kind: str
    name: str
    count: Numeric
    shard: str
    scope: str


class Stream(Protocol):
    """One of the kin of :func:`elementwise`."""

    def __call__(
        self,
        *,
        rows: NumericLike,
        cols: NumericLike,
        dtype: str = "bf16",
        out_dtype: str | None = None,
        **options: Unpack[StreamOptions],
    ) -> Op: ...


def elementwise(
    *,
    rows: NumericLike,
    cols: NumericLike,
    reads: NumericLike = 1,
    writes: NumericLike = 1,
    dtype: str = "bf16",
    out_dtype: str | None = None,
    flops_per_element: NumericLike = 1,
    passes: NumericLike = 1,
    cold_reads: NumericLike = 0,
    reuse: bool = False,
    merged: bool = False,
    kind: str = "elementwise",
    name: str = "",
    count: Numeric = 1,
    shard: str = "",
    scope: str = "layer",
) -> Op:
    """An operation on every element of `reads` tensors of rows x cols, writing `writes` of them.

    Parameters
    ----------
    rows, cols : number or array
        Shape; a row is what a reduction (norm, softmax) runs over. `rows` may be a mean over calls.
    reads, writes : number or array
        Tensors of that shape read and written; fractions for smaller ones.
    dtype, out_dtype : str
        Of what is read and what is written.
    flops_per_element : number or array
        Vector-engine FLOP for each element of rows x cols.
    passes : number or array
        Sweeps over a row: 1 for a map, more where a reduction comes first.
    cold_reads : number or array
        How many of the `reads` come from main memory, not from what ran before.
    reuse : bool
        Whether the same tensors are used again and again, as in a benchmark loop.
    merged : bool
        Whether it runs within another operator's kernel, so that nothing starts for it alone.
    kind : str
        The class of operators whose efficiency it has.
    name : str
        Its label in breakdowns.
    count : number or array
        How often it runs in a step.
    shard : str
        How tensor parallelism splits it; empty for not at all.
    scope : str
        ``"layer"`` for what a repeated layer holds, else ``"model"``.

    Returns
    -------
    Op
        To be costed with :func:`roofline.cost` or :func:`roofline.run`.

    Raises
    ------
    BadWorkload
        For sizes outside of those that ``sizes.py`` states.

    Examples
    --------
    >>> import roofline as rl
    >>> add = rl.elementwise(rows=4096, cols=8192, reads=2)
    >>> rl.cost(add, "h100-sxm").bytes  # two tensors read and one written, of 16 bits
    201326592.0
    """
    name = name or kind
    args = {**mean(name, rows=rows), **whole(name, cols=cols), **mean(name, passes=passes)}
    args |= not_negative(name, reads=reads, writes=writes, flops_per_element=flops_per_element, cold_reads=cold_reads)
    dtype = dtype_name(dtype)
    args["width"] = DTYPE_BYTES[dtype]
    args["out_width"] = width(out_dtype, dtype)
    args |= flags(name, reuse=reuse, merged=merged)
    return Op(kind, name, dtype, args, count, shard, scope, "elementwise")


def _kin(kind: str, doc: str, **defaults: float) -> Stream:
    usual: dict[str, Any] = {"kind": kind, **defaults}

    def function(*, rows: NumericLike, cols: NumericLike, dtype: str = "bf16", **options: object) -> Op:
        return elementwise(rows=rows, cols=cols, dtype=dtype, **{**usual, **options})

    function.__name__ = function.__qualname__ = kind
    function.__doc__ = f"""{doc}

    Parameters
    ----------
    rows, cols : number or array
        Shape; `rows` may be a mean over calls.
    dtype : str
        Of what is read, and of what is written unless `out_dtype` says otherwise.
    **options
        Keywords of :func:`elementwise`, here by default
        {", ".join(f"{name}={value:g}" for name, value in defaults.items())}.

    Returns
    -------
    Op
        To be costed with :func:`roofline.cost` or :func:`roofline.run`.

    Raises
    ------
    BadWorkload
        For sizes outside of those that ``sizes.py`` states.

    Examples
    --------
    >>> from roofline.work.op import {kind}
    >>> {kind}(rows=4096, cols=8192).kind
    '{kind}'
    """
    return function


# FLOP an element: counted from the textbook definition, an exponential or a square root as one operation each.
residual_add = _kin("residual_add", "Sum of two tensors: the residual connection.", reads=2, flops_per_element=1)
rms_norm = _kin(
    "rms_norm", "Root-mean-square norm over each row (Zhang & Sennrich 2019).", flops_per_element=4, passes=2
)
layer_norm = _kin("layer_norm", "Layer norm over each row (Ba et al. 2016).", flops_per_element=8, passes=2)
softmax = _kin("softmax", "Softmax over each row: maximum, sum, division.", flops_per_element=5, passes=3)
silu_mul = _kin(
    "silu_mul",
    "Gated activation, ``silu(a) * b`` (Shazeer 2020); cols is the width of a.",
    reads=2,
    flops_per_element=5,
)
activation = _kin("activation", "A pointwise nonlinearity (ReLU, GELU, SiLU).", flops_per_element=4)
rope = _kin("rope", "Rotary embedding, in place (Su et al. 2021); cols is heads x head_dim.", flops_per_element=3)
copy = _kin("copy", "Concatenation, transposition, KV-cache write: bytes moved, nothing computed.", flops_per_element=0)
sampling = _kin(
    "sampling",
    "Softmax and choice over the vocabulary; rows is sequences, cols the vocabulary.",
    writes=0,
    flops_per_element=6,
    passes=2,
)
token_embedding = _kin(
    "token_embedding", "Rows gathered from the token table; cols is the model width.", flops_per_element=0, cold_reads=1
)


def quantize(
    *, rows: NumericLike, cols: NumericLike, dtype: str = "bf16", to: str = "fp8", **options: Unpack[StreamOptions]
) -> Op:
    """Convert a tensor of `dtype` to the narrower `to`, with its scale.

    Parameters
    ----------
    rows, cols : number or array
        Shape.
    dtype, to : str
        Of what is read and of what is written.
    **options
        Keywords of :func:`elementwise`.

    Returns
    -------
    Op
        To be costed with :func:`roofline.cost` or :func:`roofline.run`.

    Examples
    --------
    >>> import roofline as rl
    >>> scaled = rl.quantize(rows=4096, cols=8192, to="fp8")
    >>> rl.cost(scaled, "h100-sxm").bound
    'memory:hbm'
    """
    usual: StreamOptions = {"flops_per_element": 3, "kind": "quantize", **options}
    return elementwise(rows=rows, cols=cols, dtype=dtype, out_dtype=to, **usual)


def dequantize(
    *, rows: NumericLike, cols: NumericLike, dtype: str = "int8", to: str = "bf16", **options: Unpack[StreamOptions]
) -> Op:
    """Convert a tensor of the narrow `dtype` to the wider `to`; keywords as for :func:`elementwise`."""
    usual: StreamOptions = {"flops_per_element": 2, "kind": "dequantize", **options}
    return elementwise(rows=rows, cols=cols, dtype=dtype, out_dtype=to, **usual)
