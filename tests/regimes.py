"""Named regimes of each operator: sizes and figures of a chip under which one effect of its kernel is at work.

``tests/test_regimes.py`` holds every law in every regime: one draw over all operators together would look at some of
them a handful of times, and at most of their branches never.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

import roofline as rl
from roofline.hardware.chip import Chip
from roofline.work import op
from roofline.work.op import Op
from tests.operators import ARGUMENTS, SIZES, among, sizes
from tests.strategies import CHIPS


@dataclass(frozen=True)
class Regime:
    """An operator under conditions of its own.

    Attributes
    ----------
    function : callable
    arguments : strategy of dict
    figures : dict
        What-if of the chip, figures that it does not have left out.
    suits : callable
        Whether a chip can be in the regime.
    """

    function: Callable[..., Op]
    arguments: st.SearchStrategy[dict[str, Any]]
    figures: dict[str, Any] = field(default_factory=dict)
    suits: Callable[[Chip], bool] = lambda chip: True

    @property
    def sizes(self) -> tuple[str, ...]:
        """Arguments in which every time must grow, or stay."""
        return SIZES.get(self.function, ("rows", "cols"))


def _with(function: Callable[..., Op], **fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    """The operator's usual arguments, some of them fixed or drawn otherwise."""
    drawn = {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in fixed.items()}
    return st.builds(lambda usual, own: {**usual, **own}, ARGUMENTS[function], st.fixed_dictionaries(drawn))


@st.composite
def _attention(draw: Any, q_len: Any, kv_len: Any, **fixed: Any) -> dict[str, Any]:
    """Attention with `q_len` new ones (a strategy, or None for all) of `kv_len` tokens."""
    keys = draw(kv_len)
    queries = keys if q_len is None else min(keys, draw(q_len))
    drawn = {k: draw(v) if isinstance(v, st.SearchStrategy) else v for k, v in fixed.items()}
    kv_heads = draw(sizes(1, 16))
    return {
        "batch": draw(sizes(1, 256)),
        "kv_heads": kv_heads,
        "heads": kv_heads * draw(among(1, 2, 4, 8, 16)),
        "head_dim": draw(among(64, 80, 96, 128, 256)),
        "q_len": queries,
        "kv_len": keys,
        **drawn,
    }


@st.composite
def _latent(draw: Any, q_len: Any, **fixed: Any) -> dict[str, Any]:
    keys = draw(sizes(1, 65536))
    return {
        "batch": draw(sizes(1, 256)),
        "heads": draw(among(16, 64, 128)),
        "kv_len": keys,
        "q_len": keys if q_len is None else min(keys, draw(q_len)),
        "kv_lora_rank": 512,
        "rope_dim": 64,
        **fixed,
    }


def _moe(**fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    one_rank = {"tp": 1, "ep": 1, "skew": 0.0, "tuned": True, "quantize": False, "gated": True}
    return _with(op.moe, **{**one_rank, **fixed})


def _bag(**fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    return _with(op.embedding_bag, **{"skew": 0.0, **fixed})


_SHORT, _LONG = sizes(1, 64), sizes(512, 65536)
_CHUNKED: dict[str, Any] = {"chunk": 128, "matrix": True, "delta": False}
_MANY = sizes(8192, 65536)
_FEW = sizes(1, 8)
_SWITCH: dict[str, Any] = {"suits": lambda chip: bool(chip.flags.get("links.scale_up.switch_reduction"))}
_LINKED: dict[str, Any] = {"suits": lambda chip: "link_bandwidth" in chip.machine}
_DOMAIN: dict[str, Any] = {"suits": lambda chip: chip.get("links.scale_up.domain", 1) > 1}

REGIMES: dict[str, Regime] = {
    "gemm": Regime(op.gemm, ARGUMENTS[op.gemm]),
    "gemm: one row": Regime(op.gemm, _with(op.gemm, m=1, batch=1)),
    "gemm: few rows": Regime(op.gemm, _with(op.gemm, m=_FEW, batch=1)),
    "gemm: split k": Regime(op.gemm, _with(op.gemm, m=_SHORT, n=_SHORT, k=_MANY, batch=1)),
    "gemm: many tiles": Regime(op.gemm, _with(op.gemm, m=_MANY, n=_MANY, batch=1)),
    "gemm: spilled": Regime(op.gemm, _with(op.gemm, m=_MANY, k=_MANY, batch=sizes(8, 64))),
    "gemm: weights in the cache": Regime(op.gemm, _with(op.gemm, n=_SHORT, k=_LONG, reuse=True)),
    "gemm: quantised first": Regime(op.gemm, _with(op.gemm, quantize=True)),
    "gemm: narrow weights": Regime(op.gemm, _with(op.gemm, weight_dtype=among("fp8", "int8", "int4"))),
    "gemm: throttled": Regime(
        op.gemm,
        _with(op.gemm, m=_MANY, n=_MANY),
        {"efficiency.gemm.throttle_share": 0.3, "efficiency.gemm.throttle_s": 1e-3},
    ),
    "gemm: whole waves": Regime(op.gemm, ARGUMENTS[op.gemm], {"efficiency.gemm.tail_share": 1.0}),
    "gemm: packed operands": Regime(op.gemm, ARGUMENTS[op.gemm], {"efficiency.gemm.pack_passes": 2.0}),
    "attention: prefill": Regime(op.attention, _attention(None, _LONG)),
    "attention: after a prefix": Regime(op.attention, _attention(sizes(65, 4096), _LONG)),
    "attention: decode": Regime(op.attention, _attention(st.just(1), sizes(1, 131072))),
    "attention: a few queries": Regime(op.attention, _attention(sizes(2, 16), _LONG)),
    "attention: window": Regime(op.attention, _attention(sizes(1, 4096), _LONG, window=sizes(1, 4096))),
    "attention: chunks": Regime(op.attention, _attention(None, _LONG, window=sizes(64, 8192), chunked=True)),
    "attention: encoder": Regime(op.attention, _attention(None, sizes(1, 8192), causal=False)),
    "attention: 8-bit cache": Regime(op.attention, _attention(sizes(1, 64), _LONG, kv_dtype="fp8")),
    "attention: other values": Regime(op.attention, _attention(None, _LONG, value_dim=128)),
    "attention: cache in the cache": Regime(op.attention, _attention(st.just(1), sizes(1, 1024), reuse=True)),
    "attention: nothing stored": Regime(op.attention, _attention(sizes(1, 512), _LONG, stored=False)),
    "mla: prefill": Regime(op.mla_attention, _latent(None)),
    "mla: decode": Regime(op.mla_attention, _latent(st.just(1))),
    "mla: widened cache": Regime(
        op.mla_attention,
        _latent(sizes(1, 64), kv_dtype="fp8"),
        {"efficiency.mla_attention.widen_s": 5e-6, "efficiency.mla_attention.widen_element_s": 3e-12},
    ),
    "moe: one rank": Regime(op.moe, _moe()),
    "moe: few tokens": Regime(op.moe, _moe(tokens=_FEW)),
    "moe: many tokens": Regime(op.moe, _moe(tokens=_MANY)),
    "moe: at random": Regime(op.moe, _moe(skew=1.0)),
    "moe: popular experts": Regime(op.moe, _moe(skew=st.floats(1.05, 4.0))),
    "moe: over ranks": Regime(op.moe, _moe(experts=64, topk=sizes(1, 8), ep=among(2, 8, 64), skew=1.5)),
    "moe: sharded": Regime(op.moe, _moe(tp=among(2, 8))),
    "moe: quantised": Regime(op.moe, _moe(quantize=True)),
    "moe: untuned": Regime(op.moe, _moe(tuned=False)),
    "moe: not gated": Regime(op.moe, _moe(gated=False)),
    "moe: chosen by plain kernels": Regime(op.moe, _moe(), {"efficiency.moe.fused_experts": 1}),
    "recurrence: decode": Regime(op.recurrence, _with(op.recurrence, q_len=1)),
    "recurrence: short": Regime(op.recurrence, _with(op.recurrence, q_len=sizes(2, 128))),
    "recurrence: state space": Regime(op.recurrence, _with(op.recurrence, q_len=_LONG, value_dim=64, **_CHUNKED)),
    "recurrence: delta rule": Regime(
        op.recurrence, _with(op.recurrence, q_len=_LONG, value_dim=128, **{**_CHUNKED, "delta": True})
    ),
    "recurrence: selective scan": Regime(
        op.recurrence, _with(op.recurrence, q_len=_LONG, value_dim=1, **{**_CHUNKED, "matrix": False})
    ),
    "scores: prefill": Regime(op.index_scores, _with(op.index_scores, q_len=_SHORT, kv_len=_LONG)),
    "scores: decode": Regime(op.index_scores, _with(op.index_scores, q_len=1)),
    "sparse: prefill": Regime(op.sparse_attention, _with(op.sparse_attention, q_len=_SHORT, kv_len=_LONG)),
    "sparse: decode": Regime(op.sparse_attention, _with(op.sparse_attention, q_len=1)),
    "sparse: everything chosen": Regime(op.sparse_attention, _with(op.sparse_attention, chosen=200_000)),
    "causal_conv: prefill": Regime(op.causal_conv, _with(op.causal_conv, sequences=1)),
    "causal_conv: decode": Regime(op.causal_conv, _with(op.causal_conv, rows=512, sequences=512)),
    "bag: uniform": Regime(op.embedding_bag, _bag()),
    "bag: skewed": Regime(op.embedding_bag, _bag(skew=st.floats(0.3, 1.4))),
    "bag: tables in the cache": Regime(op.embedding_bag, _bag(rows=sizes(1, 1000), tables=_FEW)),
    "bag: spilled": Regime(op.embedding_bag, _bag(rows=sizes(10**7, 10**9), batch=_MANY)),
    "bag: lists of rows": Regime(
        op.embedding_bag,
        _bag(pooling=sizes(20, 200), together=among(2, 20), rows=sizes(10**4, 10**9)),
    ),
    "bag: the same again": Regime(op.embedding_bag, _bag(reuse=True)),
    "bag: short rows": Regime(op.embedding_bag, _bag(dim=among(4, 8, 16))),
    "bag: long rows": Regime(op.embedding_bag, _bag(dim=among(256, 512, 1024))),
    **{
        f"{function.__name__}: {where}": Regime(function, _with(function, rows=rows))
        for function in (
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
            op.residual_add,
            op.top_k,
        )
        for where, rows in (("few", _SHORT), ("spilled", sizes(10**5, 10**6)))
    },
    "residual_add: merged": Regime(op.residual_add, _with(op.residual_add, merged=True)),
    **{
        f"{function.__name__}: {where}": Regime(function, _with(function, devices=devices), **suits)
        for function in (op.all_reduce, op.all_gather, op.reduce_scatter, op.all_to_all)
        for where, devices, suits in (
            ("a pair", st.just(2), _LINKED),
            ("in the domain", sizes(3, 8), _DOMAIN),
            ("across domains", sizes(64, 1024), _LINKED),
        )
    },
    "all_reduce: one shot": Regime(
        op.all_reduce,
        _with(op.all_reduce, bytes=sizes(1, 10**6), devices=sizes(2, 8)),
        {"efficiency.all_reduce.shot_share": 0.5},
        **_DOMAIN,
    ),
    "all_reduce: in the switch": Regime(
        op.all_reduce, _with(op.all_reduce, bytes=sizes(10**7, 10**10), devices=sizes(2, 8)), **_SWITCH
    ),
    "send": Regime(op.send, ARGUMENTS[op.send], **_LINKED),
    "host_copy": Regime(op.host_copy, ARGUMENTS[op.host_copy], suits=lambda chip: "host_bandwidth" in chip.machine),
    **{
        f"host_lookup: {where}": Regime(
            op.host_lookup, _with(op.host_lookup, **fixed), suits=lambda chip: "host_bandwidth" in chip.machine
        )
        for where, fixed in (
            ("gathered", {"gathers": True, "kept_bytes": 0}),
            ("rows", {"gathers": False, "kept_bytes": 0}),
            ("kept", {"gathers": False, "kept_bytes": among(10**6, 10**9), "rows": sizes(10**6, 10**9)}),
        )
    },
    "remote_lookup": Regime(op.host_lookup, _with(op.host_lookup, remote=True), **_LINKED),
    "serving": Regime(op.serving, ARGUMENTS[op.serving]),
    "step_overhead": Regime(op.step_overhead, ARGUMENTS[op.step_overhead]),
}

_chip = functools.cache(rl.load_chip)  # which looks every time whether the file has changed
_FAMILIES: dict[str, list[str]] = {}
for _name in CHIPS:
    _FAMILIES.setdefault(_chip(_name).family, []).append(_name)


def chips_of(regime: Regime) -> st.SearchStrategy[str]:
    """Names of chips that can be in a regime, every family as often as every other."""
    fitting = [[name for name in names if regime.suits(_chip(name))] for names in _FAMILIES.values()]
    return st.sampled_from([names for names in fitting if names]).flatmap(st.sampled_from)


def chip_in(regime: Regime, name: str) -> Chip:
    """The chip with the figures of the regime."""
    chip = _chip(name)
    known = {path: value for path, value in regime.figures.items() if chip.get(path) is not None}
    return chip.what_if(known) if known else chip
