"""What each efficiency parameter does to a cost, worked by hand: a plain chip (see plain.py) with that one changed.

A row of a table is an operator, the parameters changed, and what that makes of its cost.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

import roofline as rl
from roofline.work import op
from roofline.work.op import Op
from tests.plain import plain, worked

US = 1e-6

Row = tuple[Op, dict[str, Any], dict[str, float]]


def hold(rows: dict[str, Row]) -> Any:
    """A test of every row of a table."""

    @pytest.mark.parametrize("name", rows)
    def test(name: str) -> None:
        one, changes, expected = rows[name]
        worked(one, plain().what_if({f"efficiency.{one.kind}.{k}": v for k, v in changes.items()}), **expected)

    return test


# Matrix products ----------------------------------------------------------------------------------------------------
# 2048^3, in tiles of 128 x 128 alone: 256 tiles in 2.56 waves, each of 32 steps over k.

LARGE, WIDE = rl.gemm(m=2048, n=2048, k=2048), rl.gemm(m=16, n=8192, k=4096)
WORK_S, MATRIX, WEIGHTS_S = 2 * 2048**3 / 100e12, 2048 * 2048 * 2, 8192 * 4096 * 2 / 1e12
ONE = {"tile_min": 128}

test_gemm = hold({
    "launch": (LARGE, {"launch_s": "3 us"}, {"time_s": WORK_S + 3 * US, "overhead_s": 3 * US}),
    "sustained compute": (LARGE, {"compute_fraction": 0.8}, {"time_s": WORK_S / 0.8, "lower_s": WORK_S}),
    "sustained memory": (WIDE, {"memory_fraction": 0.8}, {"time_s": WEIGHTS_S / 0.8, "lower_s": WEIGHTS_S}),
    "filling a core, a wave": (LARGE, {**ONE, "prologue_s": "1 us"}, {"time_s": WORK_S + 2.56 * US}),
    "a step over k": (LARGE, {**ONE, "k_step_s": "0.1 us"}, {"time_s": WORK_S + 2.56 * 32 * 0.1 * US}),
    "C written between tiles": (LARGE, {"epilogue_share": 1}, {"time_s": WORK_S + MATRIX / 10e12}),
    # Work of c, where c takes it to half: c + s c^2 / (c + c), that is a quarter more for a share of one half.
    "throttled": (LARGE, {"throttle_share": 0.5, "throttle_s": f"{WORK_S!r} s"}, {"time_s": 1.25 * WORK_S}),
    "whole waves": (LARGE, {**ONE, "tail_share": 1}, {"time_s": 3 / 2.56 * WORK_S}),
    "half of whole waves": (LARGE, {**ONE, "tail_share": 0.5}, {"time_s": 2.78 / 2.56 * WORK_S}),
    "operands laid out anew": (LARGE, {"pack_passes": 2}, {"time_s": WORK_S + 2 * 2 * MATRIX / 1e12}),
    "the first bytes": (WIDE, {"fetch_share": 1}, {"time_s": WEIGHTS_S + US}),
    "half of the first bytes": (WIDE, {"fetch_share": 0.5}, {"time_s": WEIGHTS_S + 0.5 * US}),
    # 25.2 MB in a cache that keeps 20: three bytes lost for each of 5.2 MB too many, of A and C in their share.
    "a cache that evicts early": (LARGE, {"resident_fraction": 0.2},
        {"memory_bytes": MATRIX + 2 * MATRIX * 3 * (3 * MATRIX - 20e6) / (3 * MATRIX)}),
    "C written at half the rate": (LARGE, {**ONE, "operand_share": 0.1, "write_fraction": 0.5},
        {"time_s": 256 * 2048 * 256 * 2 / 1e12 + MATRIX / 5e12}),
    "splitting k": (rl.gemm(m=64, n=64, k=65536), {"split_s": "2 us"},
        {"time_s": 2 * 2 * 64 * 65536 / 1e12 * 32 / 64 + 2 * US + 64 * 8 * 64 * 64 / 10e12}),
    # 16 rows are padded to 64 where the matrix unit takes as many; 50 tiles leave half of the cores idle.
    "rows of the matrix unit": (rl.gemm(m=16, n=6400, k=4096), {**ONE, "row_step": 64, "split_s": "1 s"},
        {"compute_s": 2 * 64 * 128 * 4096 / 1e12}),
    "no rows of the matrix unit": (rl.gemm(m=16, n=6400, k=4096), {**ONE, "split_s": "1 s"},
        {"compute_s": 2 * 16 * 128 * 4096 / 1e12}),
    "quantising": (rl.gemm(m=2048, n=2048, k=2048, dtype="fp8", quantize=True),
        {"quantize_s": "5 us", "quantize_fraction": 0.5}, {"time_s": WORK_S / 2 + 5 * US + 3 * 2048 * 2048 / 5e12}),
    # 2048 rows of 10 ns take longer than their bytes do.
    "rows of the quantising kernel": (rl.gemm(m=2048, n=2048, k=2048, dtype="fp8", quantize=True),
        {"quantize_row_s": "10 ns"}, {"time_s": WORK_S / 2 + 2048 * 10e-9}),
})  # fmt: skip

# Attention ----------------------------------------------------------------------------------------------------------
# As in test_worked_kernels: 512 blocks of 6 waves in decode, 44.52 tiles of 128 x 128 a core in prefill.

LLAMA = {"heads": 32, "kv_heads": 8, "head_dim": 128}
DECODE = rl.attention(batch=64, q_len=1, kv_len=4096, **LLAMA)
PROMPT = rl.attention(batch=1, q_len=2048, kv_len=2048, **LLAMA)
MATRIX_S, VECTOR_S = 4 * 128 / 1e12, 5 / 0.1e12  # of a pair on a core
KV_S, NEW_S, ROWS_S, FIRST = 64 * 8 * 4096 * 512 / 1e12, 64 * 8 * 512 / 1e12, 6 * 4 * 512 / 100e9, 6 * 64 * 128
FIXED_S = NEW_S + ROWS_S + FIRST * (MATRIX_S + VECTOR_S)
PROMPT_S = 8 * 2048 * 512 / 1e12 + 6 * 128 * 512 / 100e9
TILES = 44.52 * 128 * 128

test_attention = hold({
    "launch": (DECODE, {"launch_s": "8 us"}, {"time_s": FIXED_S + 8 * US + KV_S}),
    "a sequence": (DECODE, {"sequence_s": "1 us"}, {"time_s": FIXED_S + 64 * US + KV_S}),
    "a block, a wave": (DECODE, {"block_s": "1 us"}, {"time_s": FIXED_S + 6 * US + KV_S}),
    "sustained memory": (DECODE, {"memory_fraction": 0.8}, {"time_s": FIXED_S + KV_S / 0.8, "lower_s": KV_S}),
    "new keys and values": (DECODE, {"fresh_fraction": 0.5}, {"time_s": FIXED_S + NEW_S + KV_S}),
    "rows in and out": (DECODE, {"edge_fraction": 0.5}, {"time_s": FIXED_S + ROWS_S + KV_S}),
    "the first tile's products": (DECODE, {"decode_compute_fraction": 0.9},
        {"time_s": FIXED_S + FIRST * MATRIX_S / 9 + KV_S}),
    "the first tile's softmax": (DECODE, {"decode_vector_fraction": 0.5},
        {"time_s": FIXED_S + FIRST * VECTOR_S + KV_S}),
    "filling, a wave": (DECODE, {"decode_fill_s": "1 ms"}, {"time_s": FIXED_S + 6e-3}),
    # At 1 TB/s of cache 6 waves take longer than memory does, and 5.12 as long: the keys are cut, for partial results.
    "sustained cache": (DECODE, {"cache_fraction": 0.1}, {"time_s": FIXED_S + 512 * 4 * 128 * 8 / 1e12 + KV_S}),
    # Half of the bytes no longer hide 6 waves of products: the keys are cut, for partial results.
    "converting queries": (rl.attention(batch=64, q_len=1, kv_len=4096, kv_dtype="fp8", **LLAMA),
        {"convert_s": "2 us"}, {"overhead_s": FIXED_S + 2 * US + 512 * 4 * 128 * 8 / 10e12}),
    "nothing to convert": (DECODE, {"convert_s": "2 us"}, {"overhead_s": FIXED_S}),
    "a prompt's products": (PROMPT, {"prefill_compute_fraction": 0.8},
        {"time_s": PROMPT_S + TILES * (MATRIX_S / 0.8 + VECTOR_S)}),
    "a prompt's softmax": (PROMPT, {"prefill_vector_fraction": 0.5},
        {"time_s": PROMPT_S + TILES * (MATRIX_S + 2 * VECTOR_S)}),
})  # fmt: skip

# Experts ------------------------------------------------------------------------------------------------------------
# 1024 tokens over Mixtral's experts: 256 rows each, 2 tiles of 128, gate and up in 224 tiles of columns, down in 32.

MIXTRAL = {"tokens": 1024, "hidden": 4096, "inter": 14336, "topk": 2, "experts": 8}
LAYER, UNTUNED = rl.moe(**MIXTRAL), rl.moe(**MIXTRAL, tuned=False)
EXPERTS_S = 6 * 2048 * 4096 * 14336 / 100e12
GATHERED_S, WRITTEN_S = 2048 * (3 * 4096 + 3 * 14336) * 2 / 1e12, 1024 * 4096 * 2 / 1e12
ALL_S = EXPERTS_S + GATHERED_S + WRITTEN_S

test_moe = hold({
    "launch": (LAYER, {"launch_s": "20 us"}, {"time_s": ALL_S + 20 * US}),
    "an expert": (LAYER, {"expert_s": "1 us"}, {"time_s": ALL_S + 8 * US}),
    "a step over k": (LAYER, {"k_step_s": "0.1 us"}, {"time_s": ALL_S + (4096 + 14336) / 64 * 0.1 * US}),
    "choosing in plain kernels": (LAYER, {"fused_experts": 7, "fallback_s": "17 us", "score_s": "1 ns"},
        {"time_s": ALL_S + 17 * US + 1024 * 8 * 1e-9}),
    "sorting many tokens": (LAYER, {"sort_s": "8 us"}, {"time_s": ALL_S + 8 * US}),
    "sustained compute": (LAYER, {"compute_fraction": 0.5}, {"time_s": ALL_S + EXPERTS_S}),
    "rows gathered": (LAYER, {"activation_fraction": 0.5}, {"time_s": ALL_S + GATHERED_S}),
    "rows written": (LAYER, {"memory_fraction": 0.6}, {"time_s": ALL_S + WRITTEN_S * 0.4 / 0.6}),
    "filling a core, a tile": (LAYER, {"prologue_s": "1 us"}, {"time_s": ALL_S + 8 * 2 * (224 + 32) / 100 * US}),
    "untuned": (UNTUNED, {"padding": 0}, {"time_s": ALL_S}),
    "untuned, a last tile more": (UNTUNED, {"padding": 1}, {"time_s": ALL_S + EXPERTS_S / 2}),
    # Tiles of 128 x 16 fetch 144 numbers for each of k, at a tenth of a core's 100 GB/s, and compute 128 x 16.
    "untuned, operands": (UNTUNED, {"operand_share": 0.1},
        {"time_s": ALL_S + EXPERTS_S * (144 * 2 / 10e9 / (2 * 128 * 16 / 1e12) - 1)}),
    "tokens quantised": (rl.moe(**MIXTRAL, dtype="fp8", quantize=True), {"quantize_pairs": 0},
        {"cache_bytes": rl.cost(rl.moe(**MIXTRAL, dtype="fp8"), plain()).cache_bytes
         + 3 * (1024 * 4096 + 2048 * 14336)}),
})  # fmt: skip


def test_experts_whose_rows_overflow_a_tile() -> None:
    """Routed at random, an expert has more rows than a tile of 128 with probability e^(-128/256), and then one more."""
    layer = rl.moe(**MIXTRAL, skew=1)
    one = plain().what_if({"efficiency.moe.tile_min": 128})
    more = worked(layer, one.what_if({"efficiency.moe.overflow": 1})).time_s - worked(layer, one).time_s
    tile_s = 2 * 128 * 4096 * (2 * 14336 + 14336) / 100e12  # of both products, over all cores
    assert more == pytest.approx(8 * math.exp(-0.5) * tile_s)


# Streams and lookups ------------------------------------------------------------------------------------------------

NORM, BIG = op.rms_norm(rows=1000, cols=1000), op.copy(rows=100_000, cols=1000)
WORDS = op.sampling(rows=1000, cols=1000)

test_rms_norm = hold({
    "launch": (NORM, {"launch_s": "2 us"}, {"time_s": 2 * US + 6e6 / 10e12}),
    "sustained cache": (NORM, {"cache_fraction": 0.5}, {"time_s": 6e6 / 5e12, "lower_s": 4e6 / 10e12}),
    "cycles a row and sweep": (NORM, {"row_cycles": 1000}, {"time_s": 4e6 / 10e12 + 1000 * 2 * 1000 / 100e9}),
    "a row on a core": (op.rms_norm(rows=50, cols=1000), {"row_cores": 1}, {"time_s": 50 * 1000 * 6 / 5e12}),
})  # fmt: skip
test_copy = hold(
    {
        "sustained memory": (BIG, {"memory_fraction": 0.5}, {"time_s": 400e6 / 0.5e12, "lower_s": 300e6 / 1e12}),
        # 80 MB where the cache begins to evict at 60 of its 100: half of it comes from memory.
        "a cache that evicts early": (
            op.copy(rows=20_000, cols=1000),
            {"cache_share": 0.6},
            {"memory_bytes": 40e6, "time_s": 40e6 / 10e12 + 40e6 / 1e12},
        ),
    }
)
test_sampling = hold(
    {
        "sustained compute": (WORDS, {"compute_fraction": 0.5}, {"time_s": 6e6 / 5e12, "lower_s": 6e6 / 10e12}),
    }
)

BAG = rl.embedding_bag(batch=1000, tables=10, rows=1_000_000, dim=64, pooling=20)
ROWS_READ_S = 10 * 1e6 * (1 - math.exp(-0.02)) * 256 / 1e12
PASSED_S, ADDED_S = (200_000 * (256 + 8) + 10_000 * 256) / 10e12, 200_000 * 64 / 10e12
HELD = 0.1 * 100e6 / 2560  # rows of a table in a tenth of the cache

test_embedding_bag = hold({
    "launch": (BAG, {"launch_s": "3 us"}, {"time_s": 4 * US + ROWS_READ_S}),
    "sustained memory": (BAG, {"memory_fraction": 0.5}, {"time_s": US + 2 * ROWS_READ_S, "lower_s": ROWS_READ_S}),
    "sustained cache": (BAG, {"cache_fraction": 0.05}, {"time_s": US + 20 * PASSED_S}),
    "sustained compute": (BAG, {"compute_fraction": 0.01}, {"time_s": US + 100 * ADDED_S}),
    "nothing overlaps": (BAG, {"overlap_share": 0}, {"time_s": US + ROWS_READ_S + PASSED_S + ADDED_S}),
    "half overlaps": (BAG, {"overlap_share": 0.5}, {"time_s": US + ROWS_READ_S + (PASSED_S + ADDED_S) / 2}),
    "a tenth of the cache for rows": (BAG, {"cache_share": 0.1},
        {"memory_bytes": 2560 * (HELD + (20_000 + 1e6 * math.log(1 - HELD / 1e6)) * (1 - HELD / 1e6))}),
})  # fmt: skip

# Collectives --------------------------------------------------------------------------------------------------------

SUM, SUM16 = rl.all_reduce(bytes=80e6, devices=8), rl.all_reduce(bytes=80e6, devices=16)

test_all_reduce = hold({
    "launch": (SUM, {"launch_s": "4 us"}, {"time_s": 1444 * US}),
    "sustained links": (SUM, {"link_fraction": 0.7}, {"time_s": 2040 * US, "lower_s": 1400 * US}),
    "sustained network": (SUM16, {"network_fraction": 0.5}, {"time_s": 2040 * US, "lower_s": 1400 * US}),
    "the copy": (SUM, {"copy_fraction": 0.5}, {"time_s": 1480 * US}),
    # Slower than a detour over the wire (10 MB in 100 us, in each half) a copy never is.
    "the copy, sent": (SUM, {"copy_fraction": 0.1}, {"time_s": 1600 * US}),
    "chunks": (SUM, {"chunk_s": "7 us"}, {"time_s": (1440 + 2 * 2 * math.sqrt(700 * 7)) * US}),
})  # fmt: skip
test_send = hold({
    "launch and a step": (rl.send(bytes=80e6, devices=8), {"launch_s": "9 us", "hop_s": "2 us"}, {"time_s": 811 * US}),
    "sustained links": (rl.send(bytes=80e6, devices=8), {"link_fraction": 0.8}, {"time_s": 1000 * US}),
    "sustained network": (rl.send(bytes=80e6, devices=16), {"network_fraction": 0.8}, {"time_s": 10_000 * US}),
})  # fmt: skip
test_host_copy = hold(
    {
        "sustained": (rl.host_copy(bytes=80e6), {"host_fraction": 0.8}, {"time_s": 2000 * US, "lower_s": 1600 * US}),
    }
)


def test_a_switch_at_part_of_its_rate() -> None:
    """At 0.8 of the link the switch takes 1000 us, less than the ring's 1440; at 0.5, 1600, so the ring is taken."""
    for fraction, time_s in ((0.8, 1000 * US), (0.5, 1440 * US)):
        worked(SUM, plain(switch=True).what_if({"efficiency.all_reduce.switch_fraction": fraction}), time_s=time_s)
