"""Attention against masks that are written out, and blocks that are handed to cores one by one."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

import roofline as rl
from tests.derivations.cores import makespan
from tests.derivations.masks import causal, chunked, tiled
from tests.derivations.plain import cost

CORES = 100
TILE_S = 2 * 128 * 128 * (128 + 128) / (1e14 / CORES)  # of a core: 128 queries x 128 keys, score and output of 128
FREE = {"cache_bandwidth": 1e30, "memory_bandwidth": 1e30, "vector_flops": 1e30}  # only the matrix work takes time
NO_CUT = {"decode_split_s": 1.0}  # cutting keys is never worth a second

MASKS = {
    "prefill": (300, 300, 0),
    "after a prefix": (200, 1000, 0),
    "decode": (1, 777, 0),
    "window": (500, 500, 64),
    "window after a prefix": (100, 1000, 64),
    "window wider than what there is": (200, 300, 512),
    "prefix shorter than the window": (300, 350, 100),
    "decode in a window": (1, 1000, 64),
}


@pytest.mark.parametrize(("queries", "keys", "window"), MASKS.values(), ids=MASKS)
def test_flop_and_bytes_are_those_of_the_mask(queries: int, keys: int, window: int) -> None:
    """Values of 64 numbers beside keys of 128; a score costs its product and 5 FLOP of softmax; K and V are fetched
    for the positions that anyone sees, queries and output once.
    """
    mask = causal(queries, keys, window)
    found = cost(
        "attention",
        batch=3,
        heads=8,
        kv_heads=2,
        head_dim=128,
        value_dim=64,
        q_len=queries,
        kv_len=keys,
        window=window,
        kv_width=1,
    )
    pairs, seen = 3 * 8 * mask.sum(), mask.any(axis=0).sum()
    assert found["flops"] == 2 * (128 + 64) * pairs
    assert found["vector_flops"] == 5 * pairs
    assert found["network_bytes"] == found["network_s"] == 0
    assert found["bytes"] == 3 * (2 * seen * (128 + 64) * 1 + 8 * queries * (128 + 64) * 2)


def test_without_a_mask_every_query_sees_every_key() -> None:
    found = cost("attention", heads=8, kv_heads=8, head_dim=128, q_len=70, kv_len=90, causal=0)
    assert found["flops"] == 2 * (128 + 128) * 8 * np.ones((70, 90)).sum()


def test_latent_attention_scores_with_the_rotary_part_and_sums_without() -> None:
    """DeepSeek: keys of 512 + 64 numbers, of which 512 are the value as well; stored once for all heads."""
    mask = causal(64, 300)
    found = cost("mla_attention", batch=2, heads=16, q_len=64, kv_len=300, kv_lora_rank=512, rope_dim=64)
    assert found["flops"] == 2 * (576 + 512) * 2 * 16 * mask.sum()
    assert found["bytes"] == 2 * (300 * 576 * 2 + 16 * 64 * (576 + 512) * 2)


@pytest.mark.parametrize(("queries", "chunk"), [(256, 64), (300, 64), (64, 64), (50, 64), (1000, 300)])
def test_chunks_are_blocks_on_the_diagonal(queries: int, chunk: int) -> None:
    shape = {"batch": 2, "heads": 8, "head_dim": 128, "q_len": queries, "dtype": "bf16"}
    found = rl.cost(rl.attention(kv_len=queries, window=chunk, chunked=True, **shape), "h100-sxm")
    assert found.flops == pytest.approx(2 * (128 + 128) * 2 * 8 * chunked(queries, chunk).sum(), rel=1e-12)
    assert found.bytes == pytest.approx(4 * 2 * 8 * queries * 128 * 2, rel=1e-12)  # Q, K, V and output, whole


# Prefill: a block takes a tile of query rows of one head over the tiles of keys that they see -----------------------

PREFILLS = {
    # batch, heads, queries, keys, window
    "few long blocks": (1, 1, 4096, 4096, 0),
    "some more blocks than cores": (1, 8, 4096, 4096, 0),
    "many blocks": (2, 32, 4096, 4096, 0),
    "short": (4, 32, 512, 512, 0),
    "not whole tiles": (1, 32, 1000, 1000, 0),
    "after a prefix": (1, 16, 512, 8192, 0),
    "window": (1, 8, 4096, 4096, 512),
    "window, not whole tiles": (1, 64, 4096, 4096, 500),
}


@functools.cache
def seen(queries: int, keys: int, window: int) -> tuple[int, ...]:
    """Tiles of keys that each tile of query rows sees."""
    return tuple(tiled(causal(queries, keys, window), 128).sum(axis=1).tolist())


def prefill(case: tuple[int, ...], **given: float) -> tuple[list[int], dict[str, float]]:
    """The tiles of keys of every block, counted in the mask, and the kernel's cost where only those take time."""
    batch, heads, queries, keys, window = case
    blocks = list(seen(queries, keys, window)) * (batch * heads)
    found = cost(
        "attention",
        batch=batch,
        heads=heads,
        kv_heads=heads,
        head_dim=128,
        q_len=queries,
        kv_len=keys,
        window=window,
        **FREE,
        **given,
    )
    return blocks, found


@pytest.mark.parametrize("case", PREFILLS.values(), ids=PREFILLS)
def test_whole_blocks_end_as_on_cores_that_take_the_next_one(case: tuple[int, ...]) -> None:
    """Graham (1969): never later than an even share and (1 - 1 / cores) of the longest block. The kernel says within
    7 % when blocks end that are handed out as they come, the longest ones of a head last.
    """
    blocks, found = prefill(case, **NO_CUT)
    busy = found["compute_s"] / TILE_S
    assert busy == pytest.approx(makespan(blocks, CORES), rel=0.07)
    assert busy >= 0.999 * makespan(sorted(blocks, reverse=True), CORES)  # which is hard to beat
    assert busy <= sum(blocks) / CORES + (1 - 1 / CORES) * max(blocks) + 1e-9


@pytest.mark.parametrize("case", PREFILLS.values(), ids=PREFILLS)
def test_blocks_cut_along_the_keys_end_within_a_tile(case: tuple[int, ...]) -> None:
    """Where cutting costs nothing, tile after tile goes to the next free core: an even share, and a tile at most."""
    blocks, found = prefill(case)
    by_tile = makespan([1.0] * sum(blocks), CORES)
    even = sum(blocks) / CORES
    assert by_tile <= found["compute_s"] / TILE_S + 1e-9
    assert found["compute_s"] / TILE_S == pytest.approx(min(even + 1, prefill(case, **NO_CUT)[1]["compute_s"] / TILE_S))


def test_heads_that_share_keys_are_packed_into_one_tile() -> None:
    """32 queries of each of 4 heads fill a tile of 128 rows: one block a KV head instead of four, none of it skipped.

    Without packing, each of 4 x 25 heads has a block of its own of 40 tiles; packed, 25 blocks do. On one core a block.
    """
    shape = {"batch": 10, "heads": 100, "kv_heads": 25, "head_dim": 128, "q_len": 32, "kv_len": 5120}
    packed, alone = makespan([40.0] * 250, CORES), makespan([40.0] * 1000, CORES)
    found = cost("attention", **shape, **FREE, **NO_CUT)
    assert packed < found["compute_s"] / TILE_S < 1.2 * packed < 0.5 * alone


# Decode: a block takes the queries of a KV head over all its keys ---------------------------------------------------


@pytest.mark.parametrize(("batch", "kv_heads", "keys"), [(1, 8, 4096), (16, 8, 4096), (64, 8, 1000), (25, 4, 129)])
def test_decode_takes_waves_of_whole_blocks(batch: int, kv_heads: int, keys: int) -> None:
    """A block computes 64 rows, filled or not, against every tile of keys."""
    blocks = [math.ceil(keys / 128)] * (batch * kv_heads)
    found = cost(
        "attention",
        batch=batch,
        heads=8 * kv_heads,
        kv_heads=kv_heads,
        head_dim=128,
        q_len=1,
        kv_len=keys,
        **FREE,
        **NO_CUT,
    )
    assert found["time_s"] / (TILE_S * 64 / 128) == pytest.approx(makespan(blocks, CORES), rel=1e-9)


@pytest.mark.parametrize(("batch", "keys"), [(1, 65536), (2, 8192), (13, 4096)])
def test_keys_cut_over_idle_cores_leave_all_an_even_share(batch: int, keys: int) -> None:
    """Flash-Decoding: tile after tile to the next free core, a tile more at most."""
    tiles = batch * 8 * keys // 128
    found = cost("attention", batch=batch, heads=64, kv_heads=8, head_dim=128, q_len=1, kv_len=keys, **FREE)
    took = found["time_s"] / (TILE_S * 64 / 128)
    assert tiles / CORES <= took <= makespan([1.0] * tiles, CORES) + 1.0


def test_rows_beyond_one_block_take_further_blocks() -> None:
    """128 heads of one KV head in blocks of 16 rows: 4 blocks of the 64 rows computed as decode."""
    found = cost(
        "attention",
        batch=100,
        heads=64,
        kv_heads=1,
        head_dim=128,
        q_len=1,
        kv_len=1024,
        decode_rows=16,
        **FREE,
        **NO_CUT,
    )
    assert found["time_s"] / (TILE_S * 16 / 128) == pytest.approx(makespan([8.0] * 400, CORES))


@pytest.mark.parametrize(("keys", "window"), [(1000, 256), (1001, 300), (4096, 2), (5000, 128), (200, 180)])
def test_a_window_straddles_one_tile_more(keys: int, window: int) -> None:
    """At some position the last `window` keys begin in the middle of a tile: the most tiles that they ever touch."""
    most = max(last // 128 - max(last - window + 1, 0) // 128 + 1 for last in range(keys))
    found = cost(
        "attention", batch=100, heads=1, kv_heads=1, head_dim=128, q_len=1, kv_len=keys, window=window, **FREE, **NO_CUT
    )
    assert found["time_s"] / (TILE_S * 64 / 128) == pytest.approx(most)


def test_the_softmax_is_not_hidden() -> None:
    """Matrix work of a tile, then the vector engine's 5 FLOP a score."""
    shape = {"heads": 100, "kv_heads": 100, "head_dim": 128, "q_len": 128, "kv_len": 128}
    fast, slow = (cost("attention", **shape, **{**FREE, "vector_flops": v}, **NO_CUT) for v in (1e30, 1e13))
    assert slow["compute_s"] - fast["compute_s"] == pytest.approx(128 * 128 * 5 / (1e13 / CORES))
