"""Kernels that compute, worked by hand on a plain chip (see plain.py): matrix products and attention.

The chip: 100 cores and 100 TFLOP/s in bf16 (so 1 TFLOP/s a core), 200 in fp8, 10 TFLOP/s of vectors, 1 TB/s of
memory, a cache of 100 MB at 10 TB/s. Tiles are 64 or 128 on a side. The arithmetic stands beside each number.
"""

from __future__ import annotations

from typing import Any

import pytest

import roofline as rl
from roofline.work import op
from tests.plain import PARAMETERS, SPREADS, plain, worked

US = 1e-6


def test_nothing_is_inherited_unseen() -> None:
    """Every figure of the family is overridden, so that no number here rests on one that a reader cannot see."""
    chip = plain()
    unnamed = {figure for figure in chip.defaults if not figure.startswith("stack.")}  # those are of who names a stack
    assert unnamed <= set(chip.numbers)
    for kind, parameters in PARAMETERS.items():
        for name in (*parameters.split()[::2], *SPREADS.split()):
            assert not chip.number(f"efficiency.{kind}.{name}").inherited
    assert not [number for number in chip.numbers.values() if number.inherited or number.low is not None]


# Matrix products: 2 m n k FLOP, a multiply and an add -----------------------------------------------------------------


def test_a_square_product() -> None:
    """2048^3 in bf16: 17.2 GFLOP in 171.8 us. Of three matrices of 8.4 MB only B comes from memory: the rest is warm.

    256 tiles of 128 x 128 fetch 2048 x (128 + 128) numbers each: 268 MB through the cache, where nothing overlaps.
    """
    flops, matrix, tiles = 2 * 2048**3, 2048 * 2048 * 2, 256 * 2048 * (128 + 128) * 2
    worked(
        rl.gemm(m=2048, n=2048, k=2048),
        flops=flops,
        vector_flops=0,
        bytes=3 * matrix,
        memory_bytes=matrix,
        network_bytes=0,
        lower_s=flops / 100e12,
        time_s=flops / 100e12,
        compute_s=flops / 100e12,
        memory_s=matrix / 1e12,
        overhead_s=0,
        bound="compute",
        intensity=2048 / 3,
        upper_s=flops / 100e12 + (tiles + matrix) / 10e12 + matrix / 1e12,
    )


def test_a_tall_product_spills() -> None:
    """8192 x 4096 x 4096: A and C of 67 MB and B of 34 MB are 168 MB, 68 more than the cache; all comes from memory.

    Three bytes are lost for each byte too many, and 3 x 68 is more than all there is. At best only the 34 MB of A and C
    that have no room would be read again, and B.
    """
    a, b, flops = 8192 * 4096 * 2, 4096 * 4096 * 2, 2 * 8192 * 4096 * 4096
    worked(rl.gemm(m=8192, n=4096, k=4096), flops=flops, bytes=2 * a + b, memory_bytes=2 * a + b, time_s=flops / 100e12)
    slow = plain().what_if({"memory.main.bandwidth": "10 GB/s"})
    worked(rl.gemm(m=8192, n=4096, k=4096), slow, lower_s=(b + 2 * a - 100e6) / 10e9, time_s=(2 * a + b) / 10e9)


def test_a_wide_product_waits_for_its_weights() -> None:
    """16 rows against 4096 x 8192 weights, as in decode: 67 MB of weights take 67.1 us, the products 10.7 us."""
    weights, rows = 4096 * 8192 * 2, 16 * (4096 + 8192) * 2
    worked(
        rl.gemm(m=16, n=8192, k=4096),
        flops=2 * 16 * 4096 * 8192,
        bytes=weights + rows,
        memory_bytes=weights,
        lower_s=weights / 1e12,
        time_s=weights / 1e12,
        bound="memory:dram",
    )


def test_weights_that_are_narrower_than_the_arithmetic() -> None:
    """The same with 4-bit weights and bf16 arithmetic: a quarter of the bytes (16.8 MB), the FLOP at the bf16 rate."""
    weights, rows = 4096 * 8192 / 2, 16 * (4096 + 8192) * 2
    narrow = rl.gemm(m=16, n=8192, k=4096, weight_dtype="int4")
    worked(narrow, flops=2 * 16 * 4096 * 8192, bytes=weights + rows, memory_bytes=weights, time_s=weights / 1e12)
    worked(narrow.with_args(m=2048.0), lower_s=2 * 2048 * 4096 * 8192 / 100e12)


def test_weights_used_again_stay_in_the_cache() -> None:
    """With `reuse` nothing comes from memory while all fits; 110 MB in 100 MB of cache lose 3 x 10 of them."""
    bytes_ = 16 * 4096 * 2 + 4096 * 8192 * 2 + 16 * 8192 * 2
    worked(rl.gemm(m=16, n=8192, k=4096, reuse=True), bytes=bytes_, memory_bytes=0, lower_s=2 * 16 * 2**25 / 100e12)
    small = 2 * (64 * 5000 + 64 * 10_000)  # A and C beside weights of 100 MB
    spilled = small + 100e6 - 100e6
    worked(rl.gemm(m=64, n=10_000, k=5000, reuse=True), bytes=100e6 + small, memory_bytes=3 * spilled)
    # At best only what has no room is read again.
    slow = plain().what_if({"memory.main.bandwidth": "10 GB/s"})
    worked(rl.gemm(m=64, n=10_000, k=5000, reuse=True), slow, lower_s=spilled / 10e9)


def test_what_is_warm_still_passes_the_cache() -> None:
    """One row against warm weights of 67 MB: 6.7 us at 10 TB/s are the least, ten times the products."""
    size = 4096 * 2 + 4096 * 8192 * 2 + 8192 * 2
    worked(rl.gemm(m=1, n=8192, k=4096, reuse=True), memory_bytes=0, lower_s=size / 10e12)


def test_a_batch_of_products_has_weights_each() -> None:
    """10 products of 128 x 1024 x 256: FLOP, and B, ten times over; C in bf16."""
    one = 2 * 128 * 1024 * 256
    worked(
        rl.gemm(m=128, n=1024, k=256, batch=10),
        flops=10 * one,
        memory_bytes=10 * 1024 * 256 * 2,
        bytes=10 * 2 * (128 * 256 + 1024 * 256 + 128 * 1024),
        memory_s=10 * 1024 * 256 * 2 / 1e12,
        lower_s=10 * one / 100e12,
        time_s=10 * one / 100e12,
    )


def test_a_quantised_product() -> None:
    """fp8: A arrives in 2 bytes, a kernel of its own reads those and writes 1 (3 bytes a number at 10 TB/s, 1.26 us),
    scaling and rounding it (2 FLOP); the product then runs at 200 TFLOP/s and writes C in 16 bits."""
    matrix, flops = 2048 * 2048, 2 * 2048**3
    worked(
        rl.gemm(m=2048, n=2048, k=2048, dtype="fp8", quantize=True),
        flops=flops,
        vector_flops=2 * matrix,
        bytes=matrix * (2 + 1 + 1 + 2),
        memory_bytes=matrix,
        lower_s=flops / 200e12,
        time_s=3 * matrix / 10e12 + flops / 200e12,
    )
    worked(rl.gemm(m=2048, n=2048, k=2048, dtype="fp8"), bytes=matrix * (1 + 1 + 2), time_s=flops / 200e12)


def test_a_product_that_its_operands_bound() -> None:
    """Operands at a tenth of 10 TB/s: the largest tiles, 128 x 128, have the least to fetch (268 MB, 268 us), and C is
    written after them (0.8 us)."""
    chip = plain().what_if({"efficiency.gemm.operand_share": 0.1})
    operands, c = 256 * 2048 * (128 + 128) * 2, 2048 * 2048 * 2
    worked(
        rl.gemm(m=2048, n=2048, k=2048),
        chip,
        cache_bytes=operands + c,
        cache_s=operands / 1e12 + c / 10e12,
        time_s=operands / 1e12 + c / 10e12,
        lower_s=2 * 2048**3 / 100e12,
        bound="memory:cache",
    )


def test_k_is_split_over_idle_cores() -> None:
    """One 64 x 64 tile over k = 65,536: 537 us on one core of 1 TFLOP/s. B (8.39 MB) takes 8.39 us, so k is cut into
    64, no finer than hides behind that; each piece writes and reads a partial sum of 4 bytes: 64 x 8 x 4096 bytes.
    Warm, nothing hides the work: 100 pieces, one a core."""
    one_core, b, partial_s = 2 * 64 * 64 * 65536 / 1e12, 64 * 65536 * 2, 8 * 64 * 64 / 10e12
    assert one_core / (b / 1e12) == 64
    worked(rl.gemm(m=64, n=64, k=65536), time_s=one_core / 64 + 64 * partial_s, lower_s=b / 1e12)
    worked(rl.gemm(m=64, n=64, k=65536, reuse=True), time_s=one_core / 100 + 100 * partial_s)


def test_k_is_padded_to_whole_steps_and_rows_are_not() -> None:
    """k = 100 costs 128 (steps of 64), 100 rows of a tile of 128 cost 100; warm, nothing else counts."""
    padded = 2 * 100 * 128_000 * 128 / 100e12
    worked(rl.gemm(m=100, n=128_000, k=100, reuse=True), compute_s=padded, lower_s=2 * 100 * 128_000 * 100 / 100e12)


# Attention: 2 FLOP a number of the key for a score, 2 a number of the value for its share of the output ---------------

#: 32 query heads of 128 numbers that share 8 key/value heads, four and four.
LLAMA = {"heads": 32, "kv_heads": 8, "head_dim": 128}

#: Seconds that one core takes for a pair of query and key with heads of 128 numbers: 4 x 128 FLOP on the matrix engine
#: and 5 on the vector engine (scale, subtract the maximum, exponential, maximum, sum), one after the other.
PAIR_S = 4 * 128 / 1e12 + 5 / 0.1e12


def test_a_prompt_attends_to_itself() -> None:
    """2048 tokens, causal: the i-th sees i, 2048 x 2049 / 2 pairs; K and V of 8 heads once, Q and output of 32.

    In tiles of 128 x 128 a head has 1 + 2 + ... + 16 = 136, all heads 4352: 43.52 a core, and at most one more as the
    pieces are cut. A tile of K and V is fetched once for the 512 rows in flight that see it. Before all that K and V
    are written and fetched (8.4 us), and each of the 6 waves of 512 blocks takes in 128 rows of Q and gives out as
    many, at a core's 100 GB/s.
    """
    pairs = 32 * 2048 * 2049 / 2
    kv, io = 8 * 2048 * (128 + 128) * 2, 32 * 2048 * (128 + 128) * 2
    edges = 6 * 128 * (128 + 128) * 2 / 100e9
    worked(
        rl.attention(batch=1, q_len=2048, kv_len=2048, **LLAMA),
        flops=4 * 128 * pairs,
        vector_flops=5 * pairs,
        bytes=kv + io,
        memory_bytes=kv,
        cache_bytes=4352 * 128 * 128 / 512 * 256 * 2 + io,
        network_bytes=0,
        lower_s=4 * 128 * pairs / 100e12,
        overhead_s=kv / 1e12 + edges,
        time_s=kv / 1e12 + edges + 44.52 * 128 * 128 * PAIR_S,
    )


def test_whole_blocks_leave_cores_idle() -> None:
    """Where cutting costs too much, Graham's bound (1969): the even share, and the longest block (16 tiles) over the
    cores that are then idle: 43.52 + 16 (1 - 100 / 512)."""
    chip = plain().what_if({"efficiency.attention.decode_split_s": "1 s"})
    edges = 6 * 128 * (128 + 128) * 2 / 100e9
    tiles = 43.52 + 16 * (1 - 100 / 512)
    kv = 8 * 2048 * 256 * 2
    prompt = rl.attention(batch=1, q_len=2048, kv_len=2048, **LLAMA)
    worked(prompt, chip, time_s=kv / 1e12 + edges + tiles * 128 * 128 * PAIR_S)


def test_prompts_whose_blocks_no_library_cuts_or_packs() -> None:
    """The same where prefill does not cut, whatever a cut would cost; and 16 rows of 4 heads are 4 tiles, not one."""
    chip = plain().what_if({"efficiency.attention.decode_split_s": "1 s"})
    whole = plain().what_if({"efficiency.attention.cut_prompts": 0})
    prompt = rl.attention(batch=1, q_len=2048, kv_len=2048, **LLAMA)
    worked(prompt, whole, time_s=float(rl.cost(prompt, chip).time_s))
    alone = chip.what_if({"efficiency.attention.pack_heads": 0})
    short = rl.attention(batch=100, q_len=32, kv_len=32, **LLAMA)  # 800 tiles of 128 rows packed, 3200 of 32 alone
    assert rl.cost(short, chip).compute_s < 0.3 * rl.cost(short, alone).compute_s
    single = rl.attention(batch=100, q_len=32, kv_len=32, heads=32, kv_heads=32, head_dim=128)
    worked(single, alone, time_s=float(rl.cost(single, chip).time_s))


def test_a_prompt_after_a_cached_prefix() -> None:
    """1024 new of 3072: they see 2049, 2050 ... 3072. All 3072 keys are read, the 1024 new ones written."""
    pairs = 32 * 1024 * (2049 + 3072) / 2
    kv = 8 * 3072 * 256 * 2
    # 8 rows of tiles see 17 ... 24 tiles: 164 a head, 5248 in all; 256 blocks are 3 waves.
    fixed = 8 * 1024 * 256 * 2 / 1e12 + 3 * 128 * 256 * 2 / 100e9
    worked(
        rl.attention(batch=1, q_len=1024, kv_len=3072, **LLAMA),
        flops=4 * 128 * pairs,
        vector_flops=5 * pairs,
        bytes=kv + 32 * 1024 * 256 * 2,
        memory_bytes=kv,
        time_s=fixed + 53.48 * 128 * 128 * PAIR_S,
    )


def test_a_window_and_a_chunk() -> None:
    """4096 tokens, windows of 1024: a triangle of 1024 x 1025 / 2 pairs, then 3072 queries that see 1024 each.
    Chunks of 1024: four triangles, and of 2560 tokens two and a triangle of 512."""
    triangle = 1024 * 1025 / 2
    windowed = rl.attention(batch=1, q_len=4096, kv_len=4096, window=1024, **LLAMA)
    worked(windowed, flops=4 * 128 * 32 * (triangle + 3072 * 1024), bytes=(32 + 8) * 4096 * 256 * 2)
    chunked = rl.attention(batch=1, q_len=4096, kv_len=4096, window=1024, chunked=True, **LLAMA)
    worked(chunked, flops=4 * 128 * 32 * 4 * triangle, bytes=(32 + 8) * 4096 * 256 * 2)
    rest = rl.attention(batch=1, q_len=2560, kv_len=2560, window=1024, chunked=True, **LLAMA)
    # All of its tensors too, and of those the keys and values, half as many numbers as 4096 tokens have, from memory.
    worked(
        rest,
        flops=4 * 128 * 32 * (2 * triangle + 512 * 513 / 2),
        bytes=(32 + 8) * 2560 * 256 * 2,
        memory_bytes=8 * 2560 * 256 * 2,
    )
    # A decoding query of 4096 sees, and reads, the last 1024 keys.
    one = rl.attention(batch=1, q_len=1, kv_len=4096, window=1024, **LLAMA)
    worked(one, flops=4 * 128 * 32 * 1024, memory_bytes=8 * 1024 * 256 * 2)


def test_an_encoder_sees_everything() -> None:
    pairs = 32 * 512 * 512
    cost = worked(
        rl.attention(batch=1, q_len=512, kv_len=512, causal=False, **LLAMA),
        flops=4 * 128 * pairs,
        vector_flops=5 * pairs,
        overhead_s=2 * 128 * 256 * 2 / 100e9,
    )
    assert cost.lower_s == pytest.approx(4 * 128 * pairs / 100e12)


def test_decode_reads_the_cache() -> None:
    """64 sequences of 4096 tokens, one query each: 1.07 GB of keys and values once for the four heads that share them,
    1.07 ms. 512 blocks (a sequence and key/value head each) are 6 waves; in each the four rows come and go, and a first
    tile of 64 x 128 pairs, empty rows and all, waits for nothing."""
    pairs = 64 * 32 * 4096
    kv, io = 64 * 8 * 4096 * 256 * 2, 64 * 32 * 256 * 2
    fixed = 64 * 8 * 256 * 2 / 1e12 + 6 * (4 * 256 * 2 / 100e9 + 64 * 128 * PAIR_S)
    worked(
        rl.attention(batch=64, q_len=1, kv_len=4096, **LLAMA),
        flops=4 * 128 * pairs,
        vector_flops=5 * pairs,
        bytes=kv + io,
        memory_bytes=kv,
        cache_bytes=kv + io,
        lower_s=kv / 1e12,
        overhead_s=fixed,
        time_s=fixed + kv / 1e12,
        bound="memory:dram",
        intensity=(4 * 128 + 5) * pairs / (kv + io),
    )
    # In 8 bits the cache is half as large, in all four times as large with a key and value for each head.
    worked(rl.attention(batch=64, q_len=1, kv_len=4096, kv_dtype="fp8", **LLAMA), memory_bytes=kv / 2)
    worked(rl.attention(batch=64, q_len=1, kv_len=4096, heads=32, head_dim=128), memory_bytes=4 * kv)


def test_a_cache_of_keys_that_nearly_fits() -> None:
    """Used again and again, 90 MB beside 100 MB of cache: all is kept up to 75 MB, nothing from 100 on."""
    kv, io = 16 * 8 * 1369 * 256 * 2, 16 * 32 * 256 * 2
    again = rl.attention(batch=16, q_len=1, kv_len=1369, reuse=True, **LLAMA)
    assert kv + io == pytest.approx(90e6, rel=1e-3)
    worked(
        again,
        memory_bytes=kv * (kv + io - 75e6) / 25e6,
        lower_s=max((kv + io) / 10e12, 4 * 16 * 32 * 1369 * 128 / 1e14),
    )
    worked(rl.attention(batch=16, q_len=1, kv_len=1000, reuse=True, **LLAMA), memory_bytes=0)


def test_short_heads() -> None:
    """A head of 80 numbers is computed as 96 (steps of 32), in tiles that may be larger than 128 up to 96 numbers; a
    new token's K and V of 256 bytes cost a fetch of 512."""
    encoder: dict[str, Any] = {"batch": 100, "heads": 1, "q_len": 128, "kv_len": 128, "causal": False}
    worked(rl.attention(head_dim=80, **encoder), compute_s=128 * 128 * (2 * (96 + 96) / 1e12 + 5 / 0.1e12))
    large = plain().what_if({"efficiency.attention.narrow_tile": 192})
    longer = {**encoder, "q_len": 192, "kv_len": 192}
    worked(rl.attention(head_dim=96, **longer), large, compute_s=192 * 192 * (4 * 96 / 1e12 + 5 / 0.1e12))
    worked(rl.attention(head_dim=128, **longer), large, compute_s=5 * 128 * 128 * PAIR_S)  # 2 x 2 tiles, and one more
    one = rl.attention(batch=1000, heads=1, head_dim=64, q_len=1, kv_len=4096)
    first = 64 * 128 * (4 * 64 / 1e12 + 5 / 0.1e12)
    worked(one, overhead_s=1000 * 512 / 1e12 + 10 * (128 * 2 / 100e9 + first))


def test_up_to_64_queries_are_computed_as_in_decode() -> None:
    """16 queries of each of four heads are the 64 rows of one tile, of one block; 17 are two tiles of a prefill."""
    few, more = (rl.attention(batch=1, q_len=q, kv_len=128, **LLAMA) for q in (16, 17))
    edges = 64 * 256 * 2 / 100e9
    worked(few, compute_s=0, overhead_s=8 * 16 * 512 / 1e12 + edges + 64 * 128 * PAIR_S)
    worked(more, compute_s=128 * 128 * PAIR_S)


def test_writing_new_keys_and_values() -> None:
    """A block of 512 threads to a token: as long for 8 heads of 128 as for 4, a quarter as long for one. Values that
    differ in size from the keys are written by plain kernels, here 1 us and 1 ns a number."""
    chip = plain().what_if(
        {
            "efficiency.attention.token_write_s": "10 ns",
            "efficiency.attention.scatter_s": "1 us",
            "efficiency.attention.scatter_element_s": "1 ns",
        }
    )
    for heads, share in ((8, 1), (4, 1), (1, 0.25)):
        prompt = rl.attention(batch=2, q_len=256, kv_len=256, heads=8, kv_heads=heads, head_dim=128)
        before = rl.cost(prompt, plain())
        worked(prompt, chip, overhead_s=before.overhead_s + 2 * 256 * share * 10e-9)
    apart = rl.attention(batch=1, heads=16, head_dim=192, value_dim=128, q_len=256, kv_len=256)
    writing = 256 * 10e-9 + US + 16 * 256 * (192 + 128) * 1e-9
    worked(apart, chip, overhead_s=rl.cost(apart, plain()).overhead_s + writing)


def test_values_of_another_size_than_keys() -> None:
    """DeepSeek's expanded heads: 192 numbers a key, 128 a value; a pair costs 2 x (192 + 128)."""
    pairs = 16 * 256 * 257 / 2
    kv = 16 * 256 * (192 + 128) * 2
    expanded = rl.attention(batch=1, heads=16, head_dim=192, value_dim=128, q_len=256, kv_len=256, stored=False)
    worked(expanded, flops=2 * (192 + 128) * pairs, vector_flops=5 * pairs, bytes=2 * kv, memory_bytes=kv)


#: DeepSeek-V2 and -V3 (2024): a latent of 512 numbers and 64 rotated ones is the key of all 128 heads.
DEEPSEEK = {"heads": 128, "kv_lora_rank": 512, "rope_dim": 64}


def test_latent_attention_in_decode() -> None:
    """64 sequences of 4096 tokens: a pair costs 2 x (576 + 512) FLOP a head, a token is 576 numbers read once.

    Two blocks of 64 heads a sequence, 128 in 2 waves; of 32 tiles the first starts the stream (in each wave), the other
    31 are spread evenly, 1.28 blocks a core, for partial results of 8 bytes a number. The parts of a head are multiples
    of 32 (576 and 512 are), so nothing is padded.
    """
    pairs, kv, io = 64 * 128 * 4096, 64 * 4096 * 576 * 2, 64 * 128 * (576 + 512) * 2
    pair_s = 2 * (576 + 512) / 1e12 + 5 / 0.1e12
    fixed = 64 * 576 * 2 / 1e12 + 2 * (64 * (576 + 512) * 2 / 100e9 + 64 * 128 * pair_s)
    fixed += 128 * 64 * 512 * 8 / 10e12
    worked(
        rl.mla_attention(batch=64, q_len=1, kv_len=4096, **DEEPSEEK),
        flops=2 * (576 + 512) * pairs,
        vector_flops=5 * pairs,
        bytes=kv + io,
        memory_bytes=kv,
        overhead_s=fixed,
        lower_s=2 * (576 + 512) * pairs / 100e12,
        time_s=fixed + 1.28 * 31 * 64 * 128 * pair_s,
        bound="compute",
    )


def test_latent_attention_of_a_prompt() -> None:
    """1024 tokens in tiles of 64: 136 for each of 128 heads, 174.08 a core and one more; 2048 blocks are 21 waves."""
    pairs, pair_s = 128 * 1024 * 1025 / 2, 2 * (576 + 512) / 1e12 + 5 / 0.1e12
    fixed = 1024 * 576 * 2 / 1e12 + 21 * 64 * (576 + 512) * 2 / 100e9
    worked(
        rl.mla_attention(batch=1, q_len=1024, kv_len=1024, **DEEPSEEK),
        flops=2 * (576 + 512) * pairs,
        bytes=1024 * 576 * 2 + 128 * 1024 * (576 + 512) * 2,
        time_s=fixed + 175.08 * 64 * 64 * pair_s,
    )


def test_a_narrow_latent_cache_is_widened_first() -> None:
    """fp8 under bf16 arithmetic: 64 x 4096 x 576 numbers written anew, here at 1 ps each after 1 us; half the bytes."""
    narrow = rl.mla_attention(batch=64, q_len=1, kv_len=4096, kv_dtype="fp8", **DEEPSEEK)
    widening = {"efficiency.mla_attention.widen_s": "1 us", "efficiency.mla_attention.widen_element_s": "0.001 ns"}
    plainly = worked(narrow, memory_bytes=64 * 4096 * 576)
    worked(narrow, plain().what_if(widening), time_s=plainly.time_s + US + 64 * 4096 * 576 * 1e-12)
    wide = rl.mla_attention(batch=64, q_len=1, kv_len=4096, **DEEPSEEK)
    assert rl.cost(wide, plain().what_if(widening)).time_s == rl.cost(wide, plain()).time_s


def test_an_interaction_of_features_is_a_square_of_products() -> None:
    """DLRM (Naumov et al. 2019): for 1000 samples, 27 vectors of 128 with each other: 2 x 27 x 27 x 128 FLOP each."""
    worked(op.interaction_dot(batch=1000, features=27, dim=128), flops=1000 * 2 * 27 * 27 * 128)
    down, up, combine = op.interaction_cross(batch=1000, width=3456, rank=512)
    for one in (down, up):
        worked(one, flops=2 * 1000 * 3456 * 512, memory_bytes=3456 * 512 * 2)
    worked(combine, vector_flops=3 * 1000 * 3456, bytes=4 * 1000 * 3456 * 2)
