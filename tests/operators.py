"""Hypothesis strategies for operators: every kind, over the sizes that models and chips have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from roofline.work import op
from roofline.work.op import Op


@functools.lru_cache(maxsize=4096)
def sizes(low: int, high: int) -> st.SearchStrategy[int]:
    """Whole numbers, spread evenly over the orders of magnitude, powers of two and their neighbours included."""
    near_powers = (2**e + beside for e in range(high.bit_length()) for beside in (-1, 0, 1))
    powers = st.sampled_from(sorted({low, high, *(v for v in near_powers if low <= v <= high)}))
    anywhere = st.integers(0, 10**6).map(lambda u: round(low * (high / low) ** (u / 10**6)))
    return st.one_of(powers, anywhere)


@functools.lru_cache(typed=True)
def among(*values: Any) -> st.SearchStrategy[Any]:
    """One of some values: a strategy that is made once, however often it is asked for."""
    return st.sampled_from(values)


_GEMM = st.fixed_dictionaries(
    {
        "m": sizes(1, 65536),
        "n": sizes(1, 65536),
        "k": sizes(1, 65536),
        "batch": sizes(1, 512),
        "quantize": st.booleans(),
    }
)


@st.composite
def _attention(draw: Any) -> dict[str, Any]:
    kv_heads = draw(sizes(1, 16))
    kv_len = draw(sizes(1, 131072))
    window = draw(st.one_of(st.none(), sizes(1, 8192)))
    return {
        "batch": draw(sizes(1, 512)),
        "kv_heads": kv_heads,
        "heads": kv_heads * draw(sizes(1, 16)),
        "head_dim": draw(among(64, 80, 96, 128, 192, 256)),
        "kv_len": kv_len,
        "q_len": draw(st.one_of(st.just(1), st.just(kv_len), sizes(1, kv_len))),
        "window": window,
        "chunked": window is not None and draw(st.booleans()),
        "value_dim": draw(st.one_of(st.none(), among(64, 128))),
        "stored": draw(st.booleans()),
        "causal": draw(st.booleans()),
    }


@st.composite
def _mla(draw: Any) -> dict[str, Any]:
    kv_len = draw(sizes(1, 131072))
    return {
        "batch": draw(sizes(1, 512)),
        "heads": draw(sizes(1, 128)),
        "kv_len": kv_len,
        "q_len": draw(st.one_of(st.just(1), st.just(kv_len), sizes(1, kv_len))),
        "kv_lora_rank": draw(among(256, 512)),
        "rope_dim": draw(among(32, 64)),
        "causal": draw(st.booleans()),
    }


@st.composite
def _recurrence(draw: Any) -> dict[str, Any]:
    groups = draw(sizes(1, 16))
    scanned = draw(st.booleans())
    return {
        "batch": draw(sizes(1, 512)),
        "groups": groups,
        "heads": groups * draw(sizes(1, 16)),
        "key_dim": draw(among(16, 64, 128, 256)),
        "value_dim": 1 if scanned else draw(among(64, 128)),
        "gate_dim": draw(among(0, 1, 2, 129)),
        "q_len": draw(st.one_of(st.just(1), sizes(1, 131072))),
        "chunk": draw(among(64, 128, 256, 2048)),
        "matrix": not scanned,
        "delta": draw(st.booleans()),
        "resumed": draw(among(0.0, 0.5, 1.0)),
        "state_dtype": draw(among("fp32", "bf16")),
    }


@st.composite
def _past(draw: Any) -> dict[str, Any]:
    kv_len = draw(sizes(1, 131072))
    queries = draw(st.one_of(st.just(1), st.just(kv_len), sizes(1, kv_len)))
    return {"batch": draw(sizes(1, 512)), "kv_len": kv_len, "q_len": queries, "causal": draw(st.booleans())}


_SCORES = st.builds(
    lambda past, own: {**past, **own},
    _past(),
    st.fixed_dictionaries(
        {
            "index_heads": sizes(1, 128),
            "index_dim": among(64, 128),
            "block": among(1, 64, 128),
            "dtype": st.just("bf16"),
        }
    ),
)


@st.composite
def _sparse(draw: Any) -> dict[str, Any]:
    kv_heads = draw(sizes(1, 8))
    return {
        **draw(_past()),
        "kv_heads": kv_heads,
        "heads": kv_heads * draw(sizes(1, 128)),
        "key_dim": draw(among(128, 512, 576)),
        "value_dim": draw(among(128, 512)),
        "token_bytes": draw(among(256, 584, 656, 1152)),
        "chosen": draw(sizes(1, 8192)),
    }


@st.composite
def _moe(draw: Any) -> dict[str, Any]:
    experts = 2 ** draw(st.integers(1, 8))
    return {
        "tokens": draw(sizes(1, 65536)),
        "hidden": draw(sizes(256, 16384)),
        "inter": draw(sizes(128, 32768)),
        "experts": experts,
        "topk": draw(st.integers(1, min(experts, 8))),
        "tp": draw(among(1, 2, 8)),
        "ep": 2 ** draw(st.integers(0, experts.bit_length() - 1)),
        "gated": draw(st.booleans()),
        "quantize": draw(st.booleans()),
        "skew": draw(among(0.0, 0.5, 1.2)),
        "tuned": draw(st.booleans()),
    }


_BAG = st.fixed_dictionaries(
    {
        "batch": sizes(1, 65536),
        "tables": sizes(1, 512),
        "rows": sizes(1, 10**9),
        "dim": sizes(4, 1024),
        "pooling": sizes(1, 256),
        "skew": among(0.0, 0.6, 1.0, 1.2),
        "repeat": among(0.0, 0.5),
        "scale_bytes": among(None, 4, 8),
    }
)
_HOSTED = st.fixed_dictionaries(
    {
        "batch": sizes(1, 65536),
        "tables": sizes(1, 512),
        "rows": sizes(1, 10**9),
        "dim": sizes(4, 1024),
        "pooling": sizes(1, 256),
        "skew": among(0.0, 0.6, 1.0, 1.2),
        "repeat": among(0.0, 0.5),
        "gathers": st.booleans(),
        "kept_bytes": among(0, 10**6, 10**10),
        "remote": st.just(False),
    }
)
_SHAPE = {"rows": sizes(1, 10**6), "cols": sizes(1, 131072)}
_ROWS = st.fixed_dictionaries(_SHAPE)
_BYTES = st.fixed_dictionaries({"bytes": sizes(1, 10**10), "devices": sizes(1, 1024)})

#: Operator function -> strategy of its arguments.
ARGUMENTS: dict[Callable[..., Op], st.SearchStrategy[dict[str, Any]]] = {
    op.gemm: _GEMM,
    op.attention: _attention(),
    op.mla_attention: _mla(),
    op.moe: _moe(),
    op.recurrence: _recurrence(),
    op.index_scores: _SCORES,
    op.sparse_attention: _sparse(),
    op.causal_conv: st.fixed_dictionaries(
        {
            "rows": sizes(512, 10**6),
            "cols": sizes(1, 131072),
            "sequences": sizes(1, 512),
            "taps": among(2, 4),
        }
    ),
    op.embedding_bag: _BAG,
    op.residual_add: st.fixed_dictionaries(_SHAPE, optional={"merged": st.booleans()}),
    **dict.fromkeys(
        (
            op.elementwise,
            op.rms_norm,
            op.layer_norm,
            op.softmax,
            op.silu_mul,
            op.activation,
            op.rope,
            op.copy,
            op.sampling,
            op.token_embedding,
            op.quantize,
            op.dequantize,
            op.top_k,
        ),
        _ROWS,
    ),
    **dict.fromkeys((op.all_reduce, op.all_gather, op.reduce_scatter, op.all_to_all, op.send), _BYTES),
    op.host_copy: st.fixed_dictionaries({"bytes": sizes(1, 10**10)}),
    op.host_lookup: _HOSTED,
    op.serving: st.fixed_dictionaries({"seconds": st.floats(0.0, 1e-3)}),
    op.step_overhead: st.just({}),
}

#: Arguments in which every time must grow (or stay).
SIZES: dict[Callable[..., Op], tuple[str, ...]] = {
    op.gemm: ("m", "n", "k", "batch"),
    op.attention: ("batch", "kv_len"),
    op.mla_attention: ("batch", "heads", "kv_len"),
    op.moe: ("tokens", "hidden", "inter"),
    op.recurrence: ("batch", "q_len", "key_dim", "value_dim"),
    op.index_scores: ("batch", "kv_len"),
    op.sparse_attention: ("batch", "kv_len", "chosen"),
    op.causal_conv: ("rows", "cols", "sequences"),
    op.embedding_bag: ("batch", "tables", "rows", "dim", "pooling"),
    op.rms_norm: ("rows", "cols"),
    op.residual_add: ("rows", "cols"),
    op.quantize: ("rows", "cols"),
    op.all_reduce: ("bytes", "devices"),
    op.all_gather: ("bytes", "devices"),
    op.reduce_scatter: ("bytes", "devices"),
    op.all_to_all: ("bytes", "devices"),
    op.send: ("bytes",),
    op.host_copy: ("bytes",),
    op.host_lookup: ("batch", "tables", "rows", "dim", "pooling"),
}

functions = st.sampled_from(list(ARGUMENTS))


@st.composite
def operators(draw: Any) -> Op:
    """Any operator, in the chip's 16-bit dtype (see :func:`on`)."""
    function = draw(functions)
    return function(**draw(ARGUMENTS[function]))
