"""What a cache keeps against toy caches; what each empirical constant of the kernels stands for, by its effect.

A constant is empirical where no sum or simulation gives it: it was set on measurements, and what is asserted here is
the effect that it has, in the place where it is named.
"""

from __future__ import annotations

import math

import pytest

from tests.derivations.lookups import lru_misses, random_replacement_misses
from tests.derivations.plain import cost

LINES = 600  # of a toy cache


def lost(times: float, policy: str) -> float:
    """Share of a loop over `times` as many lines as the cache has that misses, once it goes round and round."""
    lines, warm, rounds = round(times * LINES), 10, 25
    count = lru_misses if policy == "oldest" else random_replacement_misses
    loop = list(range(lines))
    return (count(loop * rounds, LINES) - count(loop * warm, LINES)) / (lines * (rounds - warm))


# kernels/gemm.py, THRASH = 3: bytes lost per byte too many ----------------------------------------------------------


@pytest.mark.parametrize("times", [0.5, 0.99, 1.05, 1.1, 1.3, 1.6, 3.0])
def test_a_loop_loses_more_than_its_excess(times: float) -> None:
    """THRASH stands between two toy caches: one that evicts the oldest line loses everything as soon as the loop is
    larger than it, one that evicts any line loses twice the excess at first.

    Activations of a product were just produced and are lost so; all of its weights are cold here.
    """
    size = 3 * 1000 * 1000 * 2
    found = cost("gemm", m=1000, n=1000, k=1000, cache_capacity=size / times)
    activations, weights = 2 * size / 3, size / 3
    share = (found["memory_bytes"] - weights) / activations
    assert lost(times, "any") - 0.01 <= share <= lost(times, "oldest")
    assert share == pytest.approx(min(1.0, 3 * max(1 - 1 / times, 0)))


def test_what_is_lost_of_a_product_is_lost_of_routed_experts() -> None:
    """A working set of 1.2 times the cache: 3 x 0.2 / 1.2 = half of it. The weights are cold whatever the cache."""
    shape = {"tokens": 1000, "topk": 2, "experts": 4, "hidden": 1024, "inter": 512}
    everything = cost("moe", **shape, cache_capacity=1e30)["cache_bytes"]
    weights = 4 * 3 * 1024 * 512 * 2
    found = cost("moe", **shape, cache_capacity=everything / 1.2)
    assert found["memory_bytes"] == pytest.approx(weights + 0.5 * (everything - weights))
    again = cost("moe", **shape, cache_capacity=everything / 1.2, warm_weights=1)
    assert again["memory_bytes"] == pytest.approx(0.5 * everything)


@pytest.mark.parametrize("kernel", ["gemm", "moe"])
def test_a_working_set_begins_to_evict_itself_in_its_share_of_the_cache(kernel: str) -> None:
    shape = (
        {"m": 100, "n": 100, "k": 100}
        if kernel == "gemm"
        else {"tokens": 100, "topk": 1, "experts": 1, "hidden": 256, "inter": 256}
    )
    small = cost(kernel, **shape, cache_capacity=30_000)
    share = cost(kernel, **shape, cache_capacity=60_000, resident_fraction=0.5)
    assert share["memory_bytes"] == pytest.approx(small["memory_bytes"])


# kernels/attention.py ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("filled", "share"), [(0.5, 0.0), (0.75, 0.0), (0.875, 0.5), (1.0, 1.0), (2.0, 1.0)])
def test_a_kv_cache_used_again_is_kept_up_to_three_quarters(filled: float, share: float) -> None:
    """KEPT = 0.75: a toy LRU cache keeps all of a loop that fits and nothing of a larger one; a real one, with other
    things in it and lines that compete for places, begins to lose at three quarters and has lost all when it is full.
    """
    keys = 2 * 1000 * 128 * 2
    everything = keys + 2 * 128 * 2  # and a query and its output
    found = cost(
        "attention",
        heads=1,
        kv_heads=1,
        head_dim=128,
        q_len=1,
        kv_len=1000,
        reuse=1,
        cache_capacity=everything / filled,
    )
    assert found["memory_bytes"] == pytest.approx(share * keys)
    assert lost(filled, "oldest") <= share  # at the edge a toy cache still holds it
    cold = cost("attention", heads=1, kv_heads=1, head_dim=128, q_len=1, kv_len=1000)
    assert cold["memory_bytes"] == keys


@pytest.mark.parametrize(("head_dim", "width", "fetched"), [(64, 1, 512), (64, 2, 512), (128, 2, 512), (256, 2, 1024)])
def test_a_token_s_keys_and_values_cost_a_burst_at_least(head_dim: int, width: int, fetched: int) -> None:
    """BURST_BYTES = 512: less than that is not fetched sooner when just written. 3 sequences, 5 KV heads, a token."""
    shape = {"batch": 3, "heads": 5, "kv_heads": 5, "head_dim": head_dim, "q_len": 1, "kv_len": 100, "kv_width": width}
    hidden, shown = (cost("attention", **shape, fresh_fraction=f)["overhead_s"] for f in (1e9, 1.0))
    assert shown - hidden == pytest.approx(3 * 5 * fetched / 1e12)
    encoder = cost("attention", **shape, causal=0)["overhead_s"]
    assert encoder == pytest.approx(hidden)


@pytest.mark.parametrize(("queries", "fetches"), [(512, 1), (1024, 2), (4096, 8)])
def test_rows_in_flight_share_a_fetch_of_keys(queries: int, fetches: int) -> None:
    """SHARED_ROWS = 512: every 512 query rows of a head go through its keys and values once."""
    found = cost("attention", heads=4, kv_heads=4, head_dim=128, q_len=queries, kv_len=2048, causal=0)
    keys, rows = 4 * 2048 * 256 * 2, 4 * queries * 256 * 2
    assert found["cache_bytes"] == fetches * keys + rows


@pytest.mark.parametrize(("kv_heads", "share"), [(1, 0.25), (2, 0.5), (4, 1.0), (8, 1.0)])
def test_a_block_of_threads_writes_a_token_s_keys(kv_heads: int, share: float) -> None:
    """WRITERS = 512 numbers fill a block; smaller ones run side by side. 3 x 10 tokens, 1 us each."""
    shape = {"batch": 3, "heads": 8, "kv_heads": kv_heads, "head_dim": 128, "q_len": 10, "kv_len": 100}
    extra = cost("attention", **shape, token_write_s=1e-6)["overhead_s"] - cost("attention", **shape)["overhead_s"]
    assert extra == pytest.approx(30 * share * 1e-6)


@pytest.mark.parametrize(("head_dim", "tile"), [(64, 256), (96, 256), (97, 128), (128, 128)])
def test_narrow_heads_may_have_larger_tiles(head_dim: int, tile: int) -> None:
    """NARROW = 96: 100 heads of one block each, of 256 rows and keys where tiles are as large, else of two of each.

    A head dimension is padded to a multiple of DIM_STEP = 32.
    """
    free = {"cache_bandwidth": 1e30, "memory_bandwidth": 1e30, "vector_flops": 1e30, "decode_split_s": 1.0}
    found = cost(
        "attention",
        heads=100,
        kv_heads=100,
        head_dim=head_dim,
        q_len=256,
        kv_len=256,
        causal=0,
        narrow_tile=256,
        **free,
    )
    padded = 32 * math.ceil(head_dim / 32)
    longest = 256 // tile
    blocks = 100 * 256 // tile
    even = blocks * longest / 100
    tiles = max(longest, even + longest * (1 - min(100 / blocks, 1)))
    assert found["compute_s"] == pytest.approx(tiles * tile**2 * 2 * 2 * padded / 1e12)


@pytest.mark.parametrize(("queries", "decode"), [(1, True), (8, True), (9, False)])
def test_up_to_64_rows_are_computed_as_decode(queries: int, decode: bool) -> None:
    """DECODE_ROWS = 64: 8 heads a KV head, so 8 queries fill it. Decode has an efficiency of its own."""
    shape = {"heads": 8, "kv_heads": 1, "head_dim": 128, "q_len": queries, "kv_len": 8192}
    fast, slow = (cost("attention", **shape, prefill_compute_fraction=f)["compute_s"] for f in (1.0, 0.1))
    assert (fast == slow) == decode


@pytest.mark.parametrize("queries", [2, 64, 512])
def test_a_decode_kernel_of_single_rows_has_no_part_in_prefill(queries: int) -> None:
    """fetch_rows = 1: decode's kernel takes one row; more are prefill's, no sooner than one row and else on their own.

    At a hundredth of the matrix rate a row costs what a hundred of prefill's do, so 512 rows take longer than it and 64
    such rows would take twelve times as long.
    """
    shape = {"batch": 10, "heads": 8, "kv_heads": 8, "head_dim": 128, "q_len": queries, "kv_len": 8192}
    single = {"decode_rows": 1.0, "fetch_rows": 1.0, "decode_compute_fraction": 0.01}
    one_row = cost("attention", **{**shape, "q_len": 1}, **single)["time_s"]
    found = cost("attention", **shape, **single)
    quick = cost("attention", **shape, **{**single, "decode_compute_fraction": 1.0})
    assert found["time_s"] >= one_row
    assert found["compute_s"] == quick["compute_s"]
    if queries == 512:
        assert found["time_s"] == quick["time_s"]


def test_partial_results_pass_the_cache_twice() -> None:
    """PARTIAL_BYTES = 8, of fp32 written and read: 10 blocks of 8 rows cut over 100 cores, values of 128 numbers."""
    shape = {"batch": 10, "heads": 8, "kv_heads": 1, "head_dim": 128, "q_len": 1, "kv_len": 65536}
    fast, slow = (cost("attention", **shape, matrix_flops=1e12, cache_bandwidth=b) for b in (1e30, 1e12))
    rows = 8 * 256 * 2 / (1e12 / 100)  # of the block: 8 query rows in and out, at a core's part of the cache
    assert slow["overhead_s"] - fast["overhead_s"] == pytest.approx(100 * 8 * 128 * 8 / 1e12 + rows)


# kernels/moe.py -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokens", "sorts"), [(256, False), (257, True)])
def test_one_block_sorts_256_tokens(tokens: int, sorts: bool) -> None:
    shape = {"tokens": tokens, "topk": 2, "experts": 8, "hidden": 512, "inter": 512}
    extra = cost("moe", **shape, sort_s=1e-5)["overhead_s"] - cost("moe", **shape)["overhead_s"]
    assert extra == pytest.approx(1e-5 if sorts else 0.0)


def test_no_tile_has_fewer_than_16_columns() -> None:
    """NARROWEST = 16: an expert of 48 columns keeps 3 of 100 cores busy, each with a tile of 16."""
    shape = {"tokens": 128, "topk": 1, "experts": 1, "hidden": 4096, "inter": 48, "gated": 0}
    found = cost("moe", **shape, memory_bandwidth=1e30, cache_bandwidth=1e30, prologue_s=1e-6)  # of a tile
    up = 2 * 128 * 16 * 4096 / 1e12
    down = 2 * 128 * (4096 / 100) * 64 / 1e12  # 41 columns on each core; k of 48 goes in a step of 64
    assert found["compute_s"] == found["time_s"] == pytest.approx(up + down + 2e-6)


# kernels/elementwise.py: a stream evicts itself ----------------------------------------------------------------------


@pytest.mark.parametrize(("filled", "share"), [(0.3, 0.0), (0.6, 0.0), (0.8, 0.5), (0.999999, 1.0), (1.5, 1.0)])
def test_a_stream_evicts_itself_once_it_fills_its_share(filled: float, share: float) -> None:
    """A toy LRU cache loses all or nothing; a real one begins at `cache_share`, here 0.6, and loses all when full."""
    size = 2 * 1000 * 1000 * 2
    found = cost(
        "elementwise",
        rows=1000,
        cols=1000,
        reads=1,
        writes=1,
        flops_per_element=1,
        cache_share=0.6,
        cache_capacity=size / filled,
    )
    assert found["memory_bytes"] == pytest.approx(share * size, rel=1e-5)
    assert lost(filled, "oldest") <= share + 1e-9
