"""One operator: what it computes, never on what.

Each function returns an :class:`Op`: shapes as plain numbers (any of them may be an array; they broadcast), dtypes as
names. Which chip runs it, and how long that takes, is the business of ``inference.py``; how the work is split over
chips, of ``parallel.py``.

Adding an operator takes three places: a function here, a kernel of the same name in ``kernels/`` and its reference
twin in ``kernels/reference/``. The kernel's operator arguments are the keys of `Op.args`, bound by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.numeric import (
    Numeric,
    anywhere,
    broadcastable,
    choose,
    flags,
    maximum,
    minimum,
    not_negative,
    positive,
)
from roofline.base.units import DTYPE_BYTES, dtype_name


@dataclass(slots=True)  # not frozen: that would cost a fifth of an estimate; nothing changes one in place
class Op:
    """One operator of a workload, treated as a value.

    Attributes
    ----------
    kind : str
        The operator class: names its kernel and its efficiency parameters (``"gemm"``, ``"rms_norm"``).
    name : str
        The label in breakdowns (``"qkv_proj"``).
    dtype : str
        The dtype of the arithmetic: which peak rate applies; empty where nothing is computed.
    args : dict
        Operator arguments of the kernel, by name; sizes in elements, widths in bytes per element.
    count : number or array
        How often it runs in a step.
    shard : str
        How tensor parallelism splits it; see ``parallel.py``.
    scope : str
        ``"layer"`` for what a repeated layer holds (pipeline stages divide these), else ``"model"``.
    kernel : str
        The kernel that costs it; default: the one named like `kind`. The kin of ``elementwise`` share one.
    """

    kind: str
    name: str
    dtype: str
    args: dict[str, Numeric] = field(default_factory=dict)
    count: Numeric = 1
    shard: str = ""
    scope: str = "layer"
    kernel: str = ""

    def __post_init__(self) -> None:
        if not self.kernel:
            self.kernel = self.kind
        not_negative(self.name, count=self.count)

    def times(self, count: Numeric) -> Op:
        """The same operator, run `count` times as often."""
        count = self.count * count
        return Op(self.kind, self.name, self.dtype, self.args, count, self.shard, self.scope, self.kernel)

    def with_args(self, **changes: Numeric) -> Op:
        """The same operator with some arguments changed."""
        args = {**self.args, **changes}
        return Op(self.kind, self.name, self.dtype, args, self.count, self.shard, self.scope, self.kernel)


def wide(dtype: str) -> str:
    """The dtype in which activations travel: 8-bit and narrower arithmetic reads and writes 16-bit activations."""
    return dtype if DTYPE_BYTES[dtype] >= 2 else "bf16"


def gemm(
    *, m: Numeric, n: Numeric, k: Numeric, batch: Numeric = 1, dtype: str = "bf16", weight_dtype: str | None = None,
    out_dtype: str | None = None, quantize: bool = False, reuse: bool = False, name: str = "gemm",
    count: Numeric = 1, shard: str = "", scope: str = "layer",
) -> Op:  # fmt: skip
    """Matrix product ``C[m, n] = A[m, k] @ B[k, n]``, `batch` of them with their own B.

    Parameters
    ----------
    m, n, k, batch : number or array
        Sizes; 2 * m * n * k * batch FLOP.
    dtype : str
        Of the arithmetic, and of A.
    weight_dtype : str, optional
        Of B in memory; narrower than `dtype` for weight-only quantisation. Default: `dtype`.
    out_dtype : str, optional
        Of C. Default: `dtype`, but at least 16 bits.
    quantize : bool, optional
        Whether A arrives in 16 bits and is quantised to `dtype` by a kernel of its own first.
        Default: no; the language models pass True for 8-bit arithmetic.
    reuse : bool, optional
        Whether the same tensors are used again and again, as in a benchmark loop.

    Raises
    ------
    BadWorkload
        For sizes that are not positive, or unknown dtypes.
    """
    dtype = dtype_name(dtype)
    args = {
        **positive(name, m=m, n=n, k=k, batch=batch),
        "width": DTYPE_BYTES[dtype],
        "weight_width": DTYPE_BYTES[dtype_name(weight_dtype)] if weight_dtype else DTYPE_BYTES[dtype],
        "out_width": DTYPE_BYTES[dtype_name(out_dtype or wide(dtype))],
        **flags(name, quantize=quantize, reuse=reuse),
    }  # fmt: skip
    return Op("gemm", name, dtype, args, count, shard, scope)


def attention(
    *, batch: Numeric, heads: Numeric, head_dim: Numeric, q_len: Numeric, kv_len: Numeric,
    kv_heads: Numeric | None = None, dtype: str = "bf16", kv_dtype: str | None = None, causal: bool = True,
    window: Numeric | None = None, chunked: bool = False, value_dim: Numeric | None = None,
    query_dtype: str | None = None, stored: bool = True, reuse: bool = False, name: str = "attention",
    count: Numeric = 1, shard: str = "heads", scope: str = "layer",
) -> Op:  # fmt: skip
    """Scaled dot-product attention over a KV cache, prefill (``q_len > 1``) or decode (``q_len == 1``).

    Parameters
    ----------
    batch, heads, kv_heads, head_dim : number or array
        Sequences, query heads, key/value heads (default: `heads`; 1 is MQA, fewer than `heads` GQA), head size.
    q_len, kv_len : number or array
        New tokens, and tokens attended to including the new ones; a cached prefix is ``kv_len - q_len``.
    dtype, kv_dtype : str
        Of the arithmetic, and of the KV cache in memory (default: `dtype`).
    causal : bool
        Whether a query sees only itself and what came before.
    window : number or array, optional
        Sliding-window length; a query sees at most this many tokens.
    chunked : bool
        Whether the window is a chunk with fixed borders instead (Llama 4), which begins with the new tokens: each chunk
        is a sequence of its own, a shorter last one counted by its pairs.
    value_dim : number or array, optional
        Size of a head's value where it is not `head_dim` (DeepSeek's expanded keys are longer than its values).
    query_dtype : str, optional
        Of the query as it arrives, where it is converted to `dtype` first (FlashAttention 3 over an fp8 cache).
    stored : bool
        Whether causal attention writes its new keys and values to a KV cache. Values of another size than the keys
        are written by plain kernels.

    Raises
    ------
    BadWorkload
        For sizes that are not positive or do not broadcast, `kv_len` below `q_len` under a causal mask, heads not a
        multiple of `kv_heads`, chunks without a length.
    """
    kv_heads = heads if kv_heads is None else kv_heads
    values = positive(name, batch=batch, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_len=q_len, kv_len=kv_len)
    values |= {"window": 0.0, "value_dim": 0.0, "scattered": 0.0}  # 0: none
    if window is not None:
        values |= positive(name, window=window)
    elif chunked:
        raise BadWorkload(f"{name}: chunked attention needs the length of a chunk: window")
    if value_dim is not None:
        values |= not_negative(name, value_dim=value_dim)
    broadcastable(name, values)
    if value_dim is not None:
        apart = (values["value_dim"] != values["head_dim"]) & (values["value_dim"] > 0)
        values["scattered"] = choose(apart, 1.0, 0.0) if stored and causal else 0.0
    if causal and anywhere(values["kv_len"] < values["q_len"]):
        raise BadWorkload(f"{name}: kv_len counts the new tokens too, so it is at least q_len; "
                          f"found q_len={q_len!r}, kv_len={kv_len!r}")  # fmt: skip
    if anywhere(values["heads"] % values["kv_heads"]):
        raise BadWorkload(f"{name}: heads must be a multiple of kv_heads, found {heads!r} and {kv_heads!r}")
    if chunked:
        values |= _chunks(values)
    dtype = dtype_name(dtype)
    args = {
        **values, **flags(name, causal=causal),
        "width": DTYPE_BYTES[dtype_name(query_dtype) if query_dtype else dtype],
        "kv_width": DTYPE_BYTES[dtype_name(kv_dtype)] if kv_dtype else DTYPE_BYTES[dtype],
        **flags(name, reuse=reuse),
    }  # fmt: skip
    return Op("attention", name, dtype, args, count, shard, scope)


def _chunks(values: dict[str, Numeric]) -> dict[str, Numeric]:
    """Attention within chunks of `window` tokens as sequences of that length."""
    q_len, window = values["q_len"], values["window"]
    rest = q_len % window
    sequences = q_len // window + rest * (rest + 1) / (window * (window + 1))
    return {
        "batch": values["batch"] * choose(q_len > window, sequences, 1), "q_len": minimum(q_len, window),
        "kv_len": minimum(values["kv_len"], window), "window": 0.0,
    }  # fmt: skip


def mla_attention(
    *, batch: Numeric, heads: Numeric, q_len: Numeric, kv_len: Numeric, kv_lora_rank: Numeric, rope_dim: Numeric,
    dtype: str = "bf16", kv_dtype: str | None = None, causal: bool = True, reuse: bool = False,
    name: str = "mla_attention", count: Numeric = 1, shard: str = "heads", scope: str = "layer",
) -> Op:  # fmt: skip
    """Multi-head latent attention (DeepSeek): every head attends over one shared latent per token.

    Parameters
    ----------
    batch, heads, q_len, kv_len : number or array
        As for :func:`attention`.
    kv_lora_rank, rope_dim : number or array
        Size of the latent and of the shared rotary key: the cache holds ``kv_lora_rank + rope_dim`` elements a token.

    Raises
    ------
    BadWorkload
        For sizes that are not positive or `kv_len` below `q_len` under a causal mask.
    """
    values = positive(
        name, batch=batch, heads=heads, q_len=q_len, kv_len=kv_len, kv_lora_rank=kv_lora_rank, rope_dim=rope_dim
    )
    broadcastable(name, values)
    if causal and anywhere(values["kv_len"] < values["q_len"]):
        raise BadWorkload(f"{name}: kv_len counts the new tokens too, so it is at least q_len; "
                          f"found q_len={q_len!r}, kv_len={kv_len!r}")  # fmt: skip
    dtype = dtype_name(dtype)
    args = {
        **values, **flags(name, causal=causal), "width": DTYPE_BYTES[dtype],
        "kv_width": DTYPE_BYTES[dtype_name(kv_dtype)] if kv_dtype else DTYPE_BYTES[dtype],
        **flags(name, reuse=reuse),
    }  # fmt: skip
    return Op("mla_attention", name, dtype, args, count, shard, scope)


def moe(
    *, tokens: Numeric, hidden: Numeric, inter: Numeric, topk: Numeric, experts: Numeric, tp: Numeric = 1,
    ep: Numeric = 1, dtype: str = "bf16", weight_dtype: str | None = None, gated: bool = True, skew: Numeric = 0,
    quantize: bool = False, reuse: bool = False, tuned: bool = True, name: str = "moe", count: Numeric = 1,
    shard: str = "experts", scope: str = "layer",
) -> Op:  # fmt: skip
    """A routed mixture-of-experts feed-forward layer on one rank: permute, grouped GEMMs, activation, combine.

    Parameters
    ----------
    tokens : number or array
        Tokens before top-k that the expert-parallel group receives.
    hidden, inter : number or array
        Model width and the width of one expert (before tensor sharding).
    topk, experts : number or array
        Experts a token goes to, and experts in all.
    tp, ep : number or array
        Ranks that share one expert, and ranks over which experts are spread.
    gated : bool
        Three matrices an expert (gate, up, down) rather than two.
    skew : number or array
        Imbalance of the routing; 0 is balanced.
    tuned : bool
        Whether the library has timed its kernels for this layer, as engines do when they start, and takes the best.

    Raises
    ------
    BadWorkload
        For sizes that are not positive or more active experts than there are.
    """
    values = positive(name, tokens=tokens, hidden=hidden, inter=inter, topk=topk, experts=experts, tp=tp, ep=ep)
    broadcastable(name, values)
    if anywhere(values["topk"] > values["experts"]):
        raise BadWorkload(f"{name}: topk is at most the number of experts, found topk={topk!r} of {experts!r}")
    if anywhere(np.asarray(values["ep"]) > np.asarray(values["experts"])) or anywhere(np.asarray(values["tp"]) < 1):
        raise BadWorkload(f"{name}: ep is at most the number of experts and tp at least 1, found ep={ep!r}, tp={tp!r}")
    dtype = dtype_name(dtype)
    args = {
        **values, **flags(name, gated=gated), **not_negative(name, skew=skew), "width": DTYPE_BYTES[dtype],
        "weight_width": DTYPE_BYTES[dtype_name(weight_dtype)] if weight_dtype else DTYPE_BYTES[dtype],
        "out_width": DTYPE_BYTES[wide(dtype)], **flags(name, quantize=quantize, reuse=reuse, tuned=tuned),
    }  # fmt: skip
    return Op("moe", name, dtype, args, count, shard, scope)


def embedding_bag(
    *, batch: Numeric, tables: Numeric, rows: Numeric, dim: Numeric, pooling: Numeric, dtype: str = "fp32",
    skew: Numeric = 0, together: Numeric = 1, out_dtype: str | None = None, reuse: bool = False,
    name: str = "embedding_bag",
    count: Numeric = 1, shard: str = "tables", scope: str = "model",
) -> Op:  # fmt: skip
    """Pooled lookup: for each sample and table, the sum of `pooling` rows of `dim` elements.

    Parameters
    ----------
    batch, tables, rows, dim, pooling : number or array
        Samples, tables of equal shape, rows a table, row width in elements, lookups a sample and table.
    dtype : str
        Of the rows in memory.
    skew : number or array
        Zipf exponent of the index distribution; 0 is uniform.
    together : number or array
        Rows that one index brings, at most `pooling`: 1, or more where an index stands for a list of rows.

    Raises
    ------
    BadWorkload
        For sizes that are not positive.
    """
    values = positive(name, batch=batch, tables=tables, rows=rows, dim=dim, pooling=pooling, together=together)
    broadcastable(name, values)
    most = maximum(values["pooling"], 1)
    if anywhere(values["together"] < 1) or anywhere(values["together"] > most):
        raise BadWorkload(f"{name}: together is at least 1 and at most pooling={pooling!r}, found {together!r}")
    dtype = dtype_name(dtype)
    args = {
        **values, **not_negative(name, skew=skew), "width": DTYPE_BYTES[dtype],
        "out_width": DTYPE_BYTES[dtype_name(out_dtype or wide(dtype))], **flags(name, reuse=reuse),
    }  # fmt: skip
    return Op("embedding_bag", name, dtype, args, count, shard, scope)


def elementwise(
    *, rows: Numeric, cols: Numeric, reads: Numeric = 1, writes: Numeric = 1, dtype: str = "bf16",
    out_dtype: str | None = None, flops_per_element: Numeric = 1, passes: Numeric = 1, cold_reads: Numeric = 0,
    reuse: bool = False, merged: bool = False, kind: str = "elementwise", name: str = "", count: Numeric = 1,
    shard: str = "", scope: str = "layer",
) -> Op:  # fmt: skip
    """An operation on every element of `reads` tensors of rows x cols, writing `writes` of them.

    Parameters
    ----------
    rows, cols : number or array
        Shape; a row is what a reduction (norm, softmax) runs over.
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
    merged : bool
        Whether it runs within another operator's kernel, so that nothing starts for it alone.

    Raises
    ------
    BadWorkload
        For sizes that are not positive.
    """
    name = name or kind
    args = positive(name, rows=rows, cols=cols, passes=passes)
    if anywhere(args["passes"] < 1):
        raise BadWorkload(f"{name}: passes is at least 1, found {passes!r}")
    args |= not_negative(name, reads=reads, writes=writes, flops_per_element=flops_per_element, cold_reads=cold_reads)
    dtype = dtype_name(dtype)
    args["width"] = DTYPE_BYTES[dtype]
    args["out_width"] = DTYPE_BYTES[dtype_name(out_dtype)] if out_dtype else DTYPE_BYTES[dtype]
    args |= flags(name, reuse=reuse, merged=merged)
    return Op(kind, name, dtype, args, count, shard, scope, "elementwise")


def _kin(kind: str, doc: str, **defaults: float) -> Any:
    usual = {"kind": kind, **defaults}

    def function(*, rows: Numeric, cols: Numeric, dtype: str = "bf16", **options: Any) -> Op:
        return elementwise(rows=rows, cols=cols, dtype=dtype, **{**usual, **options})

    function.__name__ = function.__qualname__ = kind
    function.__doc__ = f"""{doc}

    Takes `rows`, `cols` and `dtype`, and the keywords of :func:`elementwise`, here by default
    {", ".join(f"{name}={value:g}" for name, value in defaults.items())}.
    """
    return function


# FLOP an element: counted from the textbook definition, an exponential or a square root as one operation each.
residual_add = _kin("residual_add", "Sum of two tensors: the residual connection.", reads=2, flops_per_element=1)
rms_norm = _kin(
    "rms_norm", "Root-mean-square norm over each row (Zhang & Sennrich 2019).", flops_per_element=4, passes=2
)
layer_norm = _kin("layer_norm", "Layer norm over each row (Ba et al. 2016).", flops_per_element=8, passes=2)
softmax = _kin("softmax", "Softmax over each row: maximum, sum, division.", flops_per_element=5, passes=3)
silu_mul = _kin("silu_mul", "Gated activation, ``silu(a) * b`` (Shazeer 2020); cols is the width of a.", reads=2,
                flops_per_element=5)  # fmt: skip
activation = _kin("activation", "A pointwise nonlinearity (ReLU, GELU, SiLU).", flops_per_element=4)
rope = _kin("rope", "Rotary embedding, in place (Su et al. 2021); cols is heads x head_dim.", flops_per_element=3)
copy = _kin("copy", "Concatenation, transposition, KV-cache write: bytes moved, nothing computed.", flops_per_element=0)
sampling = _kin("sampling", "Softmax and choice over the vocabulary; rows is sequences, cols the vocabulary.", writes=0,
                flops_per_element=6, passes=2)  # fmt: skip
token_embedding = _kin("token_embedding", "Rows gathered from the token table; cols is the model width.",
                       flops_per_element=0, cold_reads=1)  # fmt: skip


def quantize(*, rows: Numeric, cols: Numeric, dtype: str = "bf16", to: str = "fp8", **options: Any) -> Op:
    """Convert a tensor of `dtype` to the narrower `to`, with its scale; keywords as for :func:`elementwise`."""
    options = {"flops_per_element": 3, "kind": "quantize", **options}
    return elementwise(rows=rows, cols=cols, dtype=dtype, out_dtype=to, **options)


def dequantize(*, rows: Numeric, cols: Numeric, dtype: str = "int8", to: str = "bf16", **options: Any) -> Op:
    """Convert a tensor of the narrow `dtype` to the wider `to`; keywords as for :func:`elementwise`."""
    options = {"flops_per_element": 2, "kind": "dequantize", **options}
    return elementwise(rows=rows, cols=cols, dtype=dtype, out_dtype=to, **options)


def interaction_dot(*, batch: Numeric, features: Numeric, dim: Numeric, dtype: str = "bf16", **options: Any) -> Op:
    """DLRM's dot interaction: the features x features Gram matrix of each sample (Naumov et al. 2019).

    Counted as the batched product that libraries run; a sample uses the lower triangle of it.
    Keywords as for :func:`gemm`.
    """
    options = {"name": "interaction_dot", "scope": "model", **options}
    return gemm(m=features, n=features, k=dim, batch=batch, dtype=dtype, **options)


def interaction_cross(
    *, batch: Numeric, width: Numeric, rank: Numeric, dtype: str = "bf16", **options: Any
) -> tuple[Op, ...]:
    """One low-rank layer of a DCN-v2 cross network, ``x0 * (W (V x) + b) + x`` (Wang et al. 2021).

    Parameters
    ----------
    batch, width, rank : number or array
        Samples, width of x, and rank of the factorised weight.
    """
    options = {"scope": "model", **options}
    return (
        gemm(m=batch, n=rank, k=width, dtype=dtype, name="cross_down", **options),
        gemm(m=batch, n=width, k=rank, dtype=dtype, name="cross_up", **options),
        elementwise(rows=batch, cols=width, reads=3, writes=1, dtype=wide(dtype_name(dtype)), flops_per_element=3,
                    name="cross_combine", scope="model"),
    )  # fmt: skip


def _collective(kind: str, doc: str) -> Any:
    def function(*, bytes: Numeric, devices: Numeric, name: str = kind, count: Numeric = 1, scope: str = "layer") -> Op:
        return Op(kind, name, "", positive(name, bytes=bytes, devices=devices), count, "", scope)

    function.__name__ = function.__qualname__ = kind
    function.__doc__ = f"""{doc}

    Parameters
    ----------
    bytes : number or array
        The full buffer of one device, as nccl-tests counts it.
    devices : number or array
        Devices that take part; with 1 it costs nothing.
    """
    return function


all_reduce = _collective("all_reduce", "Every device ends with the sum of all buffers.")
all_gather = _collective("all_gather", "Every device ends with all shards; `bytes` is the gathered whole.")
reduce_scatter = _collective("reduce_scatter", "Every device ends with its shard of the sum; `bytes` is the whole.")
all_to_all = _collective("all_to_all", "Every device sends a different shard to every other; `bytes` is all it sends.")
send = _collective("send", "One device passes a buffer to another; `devices` says how many are in the chain.")


def host_copy(*, bytes: Numeric, name: str = "host_copy", count: Numeric = 1, scope: str = "model") -> Op:
    """A transfer of `bytes` between host memory and the chip."""
    return Op("host_copy", name, "", positive(name, bytes=bytes), count, "", scope)


def step_overhead(*, name: str = "framework", count: Numeric = 1, scope: str = "model") -> Op:
    """The fixed cost of one inference step (scheduler, launch of the graph): the chip's ``overheads.step``."""
    return Op("step_overhead", name, "", {}, count, "", scope)
