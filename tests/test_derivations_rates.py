"""Every sustained share of a rate: half of it doubles the busy time that it stands for, and no other, nor the ideal."""

from __future__ import annotations

import pytest

from tests.derivations.plain import cost

#: No FLOP of one engine take time, so that the other's share shows alone.
MATRIX, VECTOR = {"vector_flops": 1e30}, {"matrix_flops": 1e30}
PRODUCT = {"m": 1280, "n": 1280, "k": 1280}
BAG = {"batch": 1000, "rows": 1e6, "dim": 64, "pooling": 4, "width": 4, "memory_latency": 1e-9}
STREAM = {"rows": 1000, "cols": 1000, "reads": 2, "writes": 1, "flops_per_element": 3, "cold_reads": 1}
EXPERTS = {"tokens": 2048, "topk": 2, "experts": 8, "hidden": 1024, "inter": 512, "cache_bandwidth": 1e30}
DECODE = {"batch": 100, "heads": 8, "kv_heads": 1, "head_dim": 128, "q_len": 1, "kv_len": 4096, "decode_split_s": 1.0}
PREFILL = {**DECODE, "batch": 1, "q_len": 4096, "kv_heads": 8}
LATENT = {
    "batch": 100,
    "heads": 16,
    "kv_lora_rank": 512,
    "rope_dim": 64,
    "q_len": 1,
    "kv_len": 4096,
    "decode_split_s": 1.0,
}
LATENT_PREFILL = {**LATENT, "batch": 1, "q_len": 4096}

SHARES = [
    ("gemm", PRODUCT, "compute_fraction", "compute_s"),
    ("gemm", PRODUCT, "memory_fraction", "memory_s"),
    ("embedding_bag", BAG, "compute_fraction", "compute_s"),
    ("embedding_bag", BAG, "memory_fraction", "memory_s"),
    ("embedding_bag", BAG, "cache_fraction", "cache_s"),
    ("elementwise", STREAM, "compute_fraction", "compute_s"),
    ("elementwise", STREAM, "memory_fraction", "memory_s"),
    ("elementwise", STREAM, "cache_fraction", "cache_s"),
    ("moe", EXPERTS, "compute_fraction", "compute_s"),
    ("moe", EXPERTS, "memory_fraction", "memory_s"),
    *[
        (kernel, {**shape, **engine}, f"{phase}_{name}_fraction", "compute_s")
        for kernel, phase, shape in (
            ("attention", "decode", DECODE),
            ("attention", "prefill", PREFILL),
            ("mla_attention", "decode", LATENT),
            ("mla_attention", "prefill", LATENT_PREFILL),
        )
        for name, engine in (("compute", MATRIX), ("vector", VECTOR))
    ],
    *[
        (kernel, shape, f"{name}_fraction", f"{name}_s")
        for kernel, shape in (
            ("attention", DECODE),
            ("attention", PREFILL),
            ("mla_attention", LATENT),
            ("mla_attention", LATENT_PREFILL),
        )
        for name in ("memory", "cache")
    ],
]


@pytest.mark.parametrize(
    ("kernel", "shape", "share", "busy"), SHARES, ids=[f"{kernel}-{share}-{busy}" for kernel, _, share, busy in SHARES]
)
def test_half_of_a_rate_takes_twice_as_long(kernel: str, shape: dict[str, float], share: str, busy: str) -> None:
    whole, half = cost(kernel, **shape), cost(kernel, **shape, **{share: 0.5})
    assert half[busy] == pytest.approx(2 * whole[busy])
    for name in {"compute_s", "memory_s", "cache_s", "lower_s", "flops", "memory_bytes", "cache_bytes"} - {busy}:
        assert half[name] == pytest.approx(whole[name], rel=1e-9), name
    assert half["upper_s"] > whole["upper_s"]
