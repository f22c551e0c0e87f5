"""What attention pays beside its products: starts of blocks, rows at their edges, streams of keys, writes, bounds."""

from __future__ import annotations

import pytest

from tests.derivations.cores import makespan
from tests.derivations.plain import cost

CORES = 100
ROW_S = (128 * 2 + 128 * 2) / (1e13 / CORES)  # of a query row in and its output out, 2 bytes a number, by one core
TILE_S = 2 * 128 * 128 * (128 + 128) / (1e14 / CORES)
NO_CUT = {"decode_split_s": 1.0}  # cutting keys is never worth a second
HEAD = {"head_dim": 128, **NO_CUT}
#: Batch, heads, KV heads.
DECODES = {"one wave": (1, 8, 8), "three waves": (32, 8, 8), "shared keys": (32, 32, 4), "one head": (250, 1, 1)}
#: Batch, heads, queries.
PREFILLS = {"one wave": (1, 8, 1000), "many": (4, 32, 1000), "short": (3, 50, 70)}


def extra(name: str, shape: dict[str, float], **given: float) -> float:
    """What an argument adds to a quantity."""
    return cost("attention", **HEAD, **{**shape, **given})[name] - cost("attention", **HEAD, **shape)[name]


@pytest.mark.parametrize(("batch", "heads", "kv_heads"), DECODES.values(), ids=DECODES)
def test_decode_starts_a_block_for_every_kv_head(batch: int, heads: int, kv_heads: int) -> None:
    shape = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "q_len": 1, "kv_len": 1000}
    assert extra("overhead_s", shape, block_s=1e-6) == pytest.approx(makespan([1e-6] * (batch * kv_heads), CORES))
    edges = makespan([heads // kv_heads * ROW_S] * (batch * kv_heads), CORES)
    assert extra("overhead_s", shape, edge_fraction=0.5) == pytest.approx(edges)


@pytest.mark.parametrize(("batch", "heads", "queries"), PREFILLS.values(), ids=PREFILLS)
def test_prefill_starts_a_block_for_every_tile_of_rows(batch: int, heads: int, queries: int) -> None:
    """Rows of a block that is not full still count as many as the others' (128), if a head has so many at all."""
    shape = {"batch": batch, "heads": heads, "kv_heads": heads, "q_len": queries, "kv_len": 2000}
    blocks = batch * heads * len(range(0, queries, 128))
    assert extra("overhead_s", shape, block_s=1e-6) == pytest.approx(makespan([1e-6] * blocks, CORES))
    edges = makespan([min(queries, 128) * ROW_S] * blocks, CORES)
    assert extra("overhead_s", shape, edge_fraction=0.5) == pytest.approx(edges)


@pytest.mark.parametrize("queries", [1, 300])
@pytest.mark.parametrize(("changed", "paid"), [
    ({"launch_s": 3e-6}, 3e-6),
    ({"sequence_s": 1e-7}, 6 * 1e-7),
    ({"kv_width": 1.0, "convert_s": 2e-6, "fresh_fraction": 1e30}, 2e-6),
    ({"convert_s": 2e-6}, 0.0),
])  # fmt: skip
def test_what_every_call_pays(queries: int, changed: dict[str, float], paid: float) -> None:
    shape = {"batch": 6, "heads": 8, "kv_heads": 8, "q_len": queries, "kv_len": 1000, "fresh_fraction": 1e30}
    for name in ("overhead_s", "time_s") if "kv_width" not in changed else ("overhead_s",):
        assert extra(name, shape, **changed) == pytest.approx(paid), name


def test_plain_kernels_write_keys_and_values_number_by_number() -> None:
    """6 sequences of 10 new tokens, 4 KV heads, keys of 128 and values of 64 numbers."""
    shape = {
        "batch": 6,
        "heads": 8,
        "kv_heads": 4,
        "value_dim": 64,
        "q_len": 10,
        "kv_len": 100,
        "scatter_s": 5e-6,
        "scatter_element_s": 1e-12,
    }
    assert extra("overhead_s", shape, scattered=1) == pytest.approx(5e-6 + 6 * 10 * 4 * (128 + 64) * 1e-12)


def test_a_latent_cache_narrower_than_the_arithmetic_is_written_anew() -> None:
    """3 sequences of 1000 tokens of 512 + 64 numbers."""
    shape = {
        "batch": 3,
        "heads": 16,
        "q_len": 1,
        "kv_len": 1000,
        "kv_lora_rank": 512,
        "rope_dim": 64,
        "widen_s": 4e-6,
        "widen_element_s": 1e-12,
        "fresh_fraction": 1e30,
    }
    wide, narrow = (cost("mla_attention", **shape, kv_width=w)["overhead_s"] for w in (2, 1))
    assert narrow - wide == pytest.approx(4e-6 + 3 * 1000 * 576 * 1e-12)


def test_latent_attention_prefills_in_tiles_of_64() -> None:
    """One head on one core, 640 queries of 640 keys: the last row tile sees 10 tiles, of 576 + 512 numbers."""
    found = cost(
        "mla_attention",
        heads=1,
        q_len=640,
        kv_len=640,
        kv_lora_rank=512,
        rope_dim=64,
        vector_flops=1e30,
        cache_bandwidth=1e30,
        memory_bandwidth=1e30,
        **NO_CUT,
    )
    assert found["compute_s"] == pytest.approx(10 * 2 * 64 * 64 * (576 + 512) / 1e12)


# Streams of keys and values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "heads", "kv_heads"), DECODES.values(), ids=DECODES)
def test_every_block_streams_its_keys_at_a_core_s_part(batch: int, heads: int, kv_heads: int) -> None:
    one = 1000 * 256 * 2 / (1e13 / CORES)
    found = cost("attention", batch=batch, heads=heads, kv_heads=kv_heads, q_len=1, kv_len=1000, **HEAD)
    assert found["cache_s"] == pytest.approx(makespan([one] * (batch * kv_heads), CORES))


def test_a_stream_takes_no_less_than_the_latency_of_its_first_tile() -> None:
    """In each of 3 waves."""
    shape = {"batch": 250, "heads": 1, "kv_heads": 1, "q_len": 1}
    for keys, expected in ((1, 3 * 1e-6), (1000, 3 * 1000 * 512 / 1e11)):
        found = cost("attention", **shape, kv_len=keys, decode_fill_s=1e-6, **HEAD)
        assert found["cache_s"] == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "fetches"), [(64, 1), (16, 4), (1, 64)])
def test_queries_that_do_not_share_a_fetch_stream_the_keys_again(rows: int, fetches: int) -> None:
    """64 heads of one KV head, in one block, `rows` of them to a fetch."""
    found = cost("attention", batch=2, heads=64, kv_heads=1, q_len=1, kv_len=1000, fetch_rows=rows, **HEAD)
    keys, own = 1000 * 256 * 2, 64 * 256 * 2
    assert found["cache_bytes"] == 2 * (keys * fetches + own)
    assert found["cache_s"] == pytest.approx(keys * fetches / 1e11)


def test_keys_cut_over_cores_stream_side_by_side() -> None:
    """Two sequences of 64 K tokens on 100 cores; a piece has a tile of keys at least."""
    for keys, streamed in ((65536, 2 * 65536 / CORES), (1000, 128)):
        found = cost("attention", batch=2, heads=8, kv_heads=1, head_dim=128, q_len=1, kv_len=keys)
        assert found["cache_s"] == pytest.approx(streamed * 256 * 2 / 1e11)


def test_prefill_streams_what_all_blocks_fetch_together() -> None:
    """100 heads of 1024 queries on 4096 keys: twice 512 rows, so everything twice; at the whole cache's rate."""
    found = cost("attention", heads=100, kv_heads=100, q_len=1024, kv_len=4096, causal=0, **HEAD)
    fetched = 100 * (2 * 4096 * 256 * 2 + 1024 * 256 * 2)
    assert found["cache_bytes"] == fetched
    assert found["cache_s"] == pytest.approx(fetched / 1e13)


def test_queries_beyond_the_cache_spill() -> None:
    """Queries and output of 8 heads, 1000 rows: what of them exceeds a cache of 1 MB, and all keys and values."""
    found = cost("attention", heads=8, kv_heads=8, q_len=1000, kv_len=1000, cache_capacity=1e6, **HEAD)
    rows, keys = 8 * 1000 * 256 * 2, 8 * 1000 * 256 * 2
    assert found["memory_bytes"] == rows - 1e6 + keys
    assert found["memory_s"] == pytest.approx(found["memory_bytes"] / 1e12)


# Bounds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queries", [1, 1000])
def test_the_upper_bound_overlaps_nothing(queries: int) -> None:
    found = cost("attention", batch=4, heads=100, kv_heads=100, q_len=queries, kv_len=1000, **HEAD, launch_s=1e-6)
    busy = [found[name] for name in ("compute_s", "memory_s", "cache_s")]
    assert found["time_s"] == pytest.approx(found["overhead_s"] + max(busy))
    assert found["upper_s"] == pytest.approx(found["overhead_s"] + sum(busy))
    assert min(busy) > 0


def test_the_ideal_time_is_the_longest_of_four() -> None:
    """Not causal: 8 heads, 1000 x 1000 pairs of 128 numbers, 4 FLOP a number and 5 for the softmax."""
    shape = {"heads": 8, "kv_heads": 8, "q_len": 1000, "kv_len": 1000, "causal": 0, **HEAD}
    pairs, rows, keys = 8 * 1000 * 1000, 8 * 1000 * 256 * 2, 8 * 1000 * 256 * 2
    free = {"matrix_flops": 1e30, "vector_flops": 1e30, "memory_bandwidth": 1e30, "cache_bandwidth": 1e30}
    for changed, expected in (
        ({"matrix_flops": 1e14}, 512 * pairs / 1e14),
        ({"vector_flops": 1e13}, 5 * pairs / 1e13),
        ({"cache_bandwidth": 1e13}, (rows + keys) / 1e13),
        ({"memory_bandwidth": 1e12}, keys / 1e12),
        ({"memory_bandwidth": 1e12, "cache_capacity": 1e6}, (keys + rows - 1e6) / 1e12),
        ({"memory_bandwidth": 1e12, "reuse": 1, "cache_capacity": 5e6}, (keys + rows - 5e6) / 1e12),
        ({"memory_bandwidth": 1e12, "reuse": 1, "cache_capacity": 1e6}, (keys + rows - 1e6) / 1e12),
    ):
        assert cost("attention", **shape, **{**free, **changed})["lower_s"] == pytest.approx(expected), changed


def test_more_rows_are_never_faster_than_a_tile_of_them_in_decode_s_form() -> None:
    """Decode here computes at a hundredth of prefill's rate: 65 rows cost what 64 do, and the wait is overhead."""
    shape = {
        "heads": 1,
        "kv_heads": 1,
        "kv_len": 12800,
        "decode_compute_fraction": 0.01,
        **HEAD,
        "cache_bandwidth": 1e30,
        "memory_bandwidth": 1e30,
        "vector_flops": 1e30,
    }
    decode, prefill = (cost("attention", **shape, q_len=queries) for queries in (64, 65))
    assert decode["time_s"] == pytest.approx(100 * 100 * TILE_S / 2)
    assert prefill["time_s"] == pytest.approx(decode["time_s"])
    assert prefill["compute_s"] == pytest.approx(100 * TILE_S)
    assert prefill["overhead_s"] == pytest.approx(decode["time_s"] - 100 * TILE_S)
