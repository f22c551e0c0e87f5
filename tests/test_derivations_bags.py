"""Embedding bags against exact sums over ranks, a simulated cache and requests stepped one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.derivations.lookups import bytes_through, closed_network, distinct, lru_misses, popularity, steady_misses
from tests.derivations.plain import cost

ROW = 128  # bytes of a row: 32 numbers of 4 bytes
STREAM = 8 + 32 * 2  # bytes beside the rows of a draw: its index (8 bytes) and a pooled result of 32 16-bit numbers


def bag(**given: float) -> dict[str, float]:
    """A bag of one row a sample, so that samples are draws; the rest of the sizes as given."""
    return cost("embedding_bag", **{"pooling": 1, "dim": 32, "width": 4, "memory_latency": 1e-9, **given})


def unique(draws: float, quantities: dict[str, float]) -> float:
    return (quantities["bytes"] - draws * STREAM) / ROW


@pytest.mark.parametrize("draws", [10, 1_000, 100_000, 10_000_000])
@pytest.mark.parametrize("rows", [100, 10_000, 1_000_000])
@pytest.mark.parametrize(
    ("skew", "tolerance"),
    [(0.0, 0.006), (0.3, 0.02), (0.45, 0.045), (0.6, 0.04), (0.8, 0.03), (1.0, 0.025), (1.2, 0.02), (1.5, 0.015)],
)
def test_distinct_rows_are_the_sum_over_ranks(draws: int, rows: int, skew: float, tolerance: float) -> None:
    """The kernel takes 1 - exp(-x) as three ramps over a continuum of ranks: worst where rows are nearly equal."""
    assert unique(draws, bag(batch=draws, rows=rows, skew=skew)) == pytest.approx(
        distinct(draws, rows, skew), rel=tolerance
    )


@pytest.mark.parametrize("held", [20, 200, 2_000, 10_000, 19_000])
@pytest.mark.parametrize(("skew", "tolerance"), [(0.0, 0.01), (0.6, 0.06), (1.0, 0.045), (1.2, 0.025)])
def test_misses_are_those_of_a_cache_of_the_last_used_rows(skew: float, held: int, tolerance: float) -> None:
    """Che's approximation on the ramps; the simulation itself is good to half a per cent."""
    rows, draws = 20_000, 60_000
    drawn = np.random.default_rng(1).choice(rows, draws, p=popularity(rows, skew)).tolist()
    found = bag(batch=draws, rows=rows, skew=skew, cache_capacity=held * ROW)
    spilled = max(0, draws * STREAM - held * ROW)  # of indices and results
    assert (found["memory_bytes"] - spilled) / ROW == pytest.approx(lru_misses(drawn, held), rel=tolerance)


@pytest.mark.parametrize("keep", [0.25, 1.0])
@pytest.mark.parametrize("held", [500, 4_000])
@pytest.mark.parametrize("skew", [0.0, 0.8, 1.1])
def test_misses_batch_after_batch_are_those_of_a_cache_that_never_empties(skew: float, held: int, keep: float) -> None:
    """Batches one after the other through one cache, out of which other work throws all but the last used ones."""
    rows, draws = 10_000, 3_000
    drawn = np.random.default_rng(2).choice(rows, (20, draws), p=popularity(rows, skew))
    exact = steady_misses(drawn.tolist(), held, int(keep * held))
    found = bag(batch=draws, rows=rows, skew=skew, cache_capacity=1e9, cache_share=held * ROW / 1e9, warm_share=keep)
    assert found["memory_bytes"] / ROW == pytest.approx(exact, rel=0.05, abs=20)
    cold = bag(batch=draws, rows=rows, skew=skew, cache_capacity=1e9, cache_share=held * ROW / 1e9)
    assert found["memory_bytes"] <= cold["memory_bytes"]
    assert found["lower_s"] <= cold["lower_s"]


@pytest.mark.parametrize("skew", [0.0, 0.6, 1.0, 1.3])
@pytest.mark.parametrize("held", [1, 300, 9_000, 10_000])
def test_pinned_rows_are_the_most_popular_ones(skew: float, held: int) -> None:
    """Exactly: the draws that fall on the others."""
    rows, draws = 10_000, 3_000
    found = bag(
        batch=draws,
        rows=rows,
        skew=skew,
        cache_capacity=1e9,
        cache_share=held * ROW / 1e9,
        warm_share=1,
        pinned_share=1,
    )
    others = draws * popularity(rows, skew)[held:].sum()
    assert found["memory_bytes"] / ROW == pytest.approx(others, rel=0.01, abs=1.0)


def test_tables_that_fit_stay() -> None:
    assert bag(batch=3_000, rows=10_000, cache_capacity=1e9, warm_share=1)["memory_bytes"] == 0


def test_a_bag_that_another_kernel_starts_costs_no_launch() -> None:
    apart, within, many = (bag(batch=1_000, rows=1e6, launch_s=2e-6, launches=n) for n in (1, 0, 26))
    assert within["time_s"] == pytest.approx(apart["time_s"] - 2.001e-6)
    assert many["time_s"] == pytest.approx(within["time_s"] + 26 * 2.001e-6)


def test_a_cache_of_which_rows_get_a_share_is_a_smaller_cache() -> None:
    half = bag(batch=60_000, rows=20_000, skew=1.0, cache_capacity=4_000 * ROW, cache_share=0.5)
    small = bag(batch=60_000, rows=20_000, skew=1.0, cache_capacity=2_000 * ROW)
    assert half["memory_bytes"] == pytest.approx(small["memory_bytes"] - 2_000 * ROW)  # which spills so much more


@pytest.mark.parametrize("skew", [0.0, 1.0])
@pytest.mark.parametrize("together", [4, 20])
def test_lists_of_rows_are_drawn_and_kept_together(skew: float, together: int) -> None:
    """As many lists as rows, each of rows at random: draw lists, count the rows in them, and keep the last used rows.

    A row that another list brought is found too: lists overlap.
    """
    rows, draws, held = 20_000, 60_000, 4_000
    random = np.random.default_rng(2)
    lists = random.integers(0, rows, (rows, together))
    drawn = lists[random.choice(rows, draws // together, p=popularity(rows, skew))].ravel()
    found = bag(batch=draws, rows=rows, skew=skew, together=together, cache_capacity=held * ROW)
    assert unique(draws, found) == pytest.approx(len(np.unique(drawn)), rel=0.03)
    missed = (found["memory_bytes"] - (draws * STREAM - held * ROW)) / ROW
    assert missed == pytest.approx(lru_misses(drawn.tolist(), held), rel=0.05)


@pytest.mark.parametrize("keep", [0.25, 1.0])
@pytest.mark.parametrize("held", [1_000, 4_000])
@pytest.mark.parametrize(("skew", "repeat", "together"), [(0.0, 0.3, 1), (0.8, 0.7, 1), (1.1, 0.3, 1), (1.0, 0.5, 5)])
def test_what_batches_repeat_is_found_by_a_cache_that_looks_back_on_a_batch(
    skew: float, repeat: float, together: int, held: int, keep: float
) -> None:
    """Batches that take a share of the lookups of the one before, at random places, as FBGEMM's benchmark draws them.

    Of a cache of 1,000 rows nothing is left of the batch before where rows are equally popular, of 4,000 all is.
    """
    rows, draws, random = 10_000, 3_000, np.random.default_rng(4)
    lists = random.integers(0, rows, (rows, together)) if together > 1 else np.arange(rows)[:, None]
    drawn = random.choice(rows, (20, draws // together), p=popularity(rows, skew))
    for before, batch in itertools.pairwise(drawn):
        again = random.permutation(len(batch))[: int(repeat * len(batch))]
        batch[again] = before[again]
    exact = steady_misses(lists[drawn].reshape(20, -1).tolist(), held, int(keep * held))
    cache = {"cache_capacity": 1e9, "cache_share": held * ROW / 1e9, "warm_share": keep}
    shape = {"batch": draws, "rows": rows, "skew": skew, "together": together}
    found = bag(**shape, **cache, repeat=repeat)["memory_bytes"] / ROW
    assert found == pytest.approx(exact, rel=0.06, abs=20)
    without = bag(**shape, **cache)["memory_bytes"] / ROW
    assert found <= without * (1 + 1e-9)
    if held == 4_000 and keep == 1.0:
        assert found < 0.8 * without  # by its own popularity alone a cache would find much less


def test_a_row_s_scale_and_bias_are_read_with_it() -> None:
    """8 bytes beside 128: 136 of the table, of which memory reads three transactions of 64 bytes."""
    plain, scaled = (
        bag(batch=1_000, rows=1e12, transaction_bytes=64, scale_bytes=b, cache_capacity=1e7) for b in (0, 8)
    )
    assert (plain["memory_bytes"], scaled["memory_bytes"]) == pytest.approx((1_000 * 128, 1_000 * 192))
    assert scaled["bytes"] - plain["bytes"] == pytest.approx(8_000)


def test_rows_that_stay_from_batch_to_batch_come_from_memory_once() -> None:
    """The same batch over and over, in a cache that holds all it touches, and in one that holds nothing."""
    warm = bag(batch=1_000, rows=20_000, reuse=1, cache_capacity=1e9)
    cold = bag(batch=1_000, rows=20_000, reuse=1, cache_capacity=0)
    assert warm["memory_bytes"] == warm["flops"] == warm["network_bytes"] == warm["network_s"] == 0
    assert cold["memory_bytes"] == pytest.approx(1_000 * (ROW + STREAM))


def test_memory_gives_what_the_cores_keep_on_the_way() -> None:
    """Little's law: 100 cores with 1 KB open each, 1 us away, get 100 GB/s of the terabyte, request by request.

    The microsecond is here that of the way and of the transfer, one row of the one channel.
    """
    found = bag(batch=1e6, rows=1e9, inflight_bytes=1_024, memory_latency=1e-6 - ROW / 1e12)
    rate = bytes_through(cores=100, open_bytes=1_024, latency_s=1e-6, request_bytes=ROW, seconds=100.5e-6) / 100e-6
    assert found["memory_bytes"] / found["memory_s"] == pytest.approx(rate, rel=1e-4)
    assert rate == pytest.approx(102.4e9)


@pytest.mark.parametrize("channels", [1, 8, 32])
@pytest.mark.parametrize("places", [1, 8, 64, 400])
@pytest.mark.parametrize("latency", [5e-8, 1e-6])
def test_rows_queue_for_channels_as_in_a_closed_network(channels: int, places: int, latency: float) -> None:
    """Exact mean value analysis: each added lookup finds what those before it had queued, one after the other."""
    network = {"inflight_rows": places / 100, "memory_channels": channels, "memory_bandwidth": 1e10 * channels}
    found = bag(batch=1e5, rows=1e12, memory_latency=latency, **network)
    rate = closed_network(places, latency, ROW / 1e10, channels)
    assert 1e5 / found["memory_s"] == pytest.approx(rate, rel=0.07)


@pytest.mark.parametrize("dim", [8, 16, 17, 100])
def test_memory_is_read_in_whole_transactions(dim: int) -> None:
    """The transactions that the bytes of a row touch, where a row begins one."""
    touched = len({byte // 64 for byte in range(dim * 4)})
    found = bag(batch=1_000, rows=1e12, dim=dim, transaction_bytes=64, cache_capacity=1e7)  # no row comes twice
    assert found["memory_bytes"] == pytest.approx(1_000 * 64 * touched, rel=1e-6)


def test_pages_are_walked_for_as_often_as_they_miss_the_address_cache() -> None:
    """Rows at random over 400 pages, an address cache of the 100 last used ones: three of four lookups walk."""
    pages = np.random.default_rng(3).integers(0, 400, 40_000).tolist()
    walks = lru_misses(pages, 100) / len(pages)
    found = bag(batch=40_000, rows=400 * 32, tlb_reach_bytes=100 * 32 * ROW, page_walk_cycles=50)
    plain = bag(batch=40_000, rows=400 * 32)
    assert (found["compute_s"] - plain["compute_s"]) * 100 * 1e9 / 50 / 40_000 == pytest.approx(walks, rel=0.01)


def test_cycles_are_paid_by_lookup_and_by_bag() -> None:
    """3 samples of 5 tables of 7 lookups: 105 lookups of 2 cycles and 15 bags of 11, on 100 cores at 1 GHz."""
    shape = {"batch": 3, "tables": 5, "pooling": 7, "rows": 1000}
    found = bag(**shape, issue_cycles=2, bag_cycles=11)["compute_s"] - bag(**shape)["compute_s"]
    assert found == pytest.approx((105 * 2 + 15 * 11) / (100 * 1e9))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_what_does_not_overlap_is_waited_for(share: float) -> None:
    found = bag(batch=5_000, rows=1e6, cache_bandwidth=2e12, issue_cycles=40, overlap_share=share, launch_s=2e-6)
    busy = sorted(found[name] for name in ("compute_s", "memory_s", "cache_s"))
    assert found["overhead_s"] == pytest.approx(2e-6 + 1e-9)
    assert found["time_s"] - found["overhead_s"] == pytest.approx(busy[2] + (1 - share) * (busy[0] + busy[1]))
    assert found["upper_s"] - found["overhead_s"] == pytest.approx(sum(busy))
    assert min(busy) > 0.2 * max(busy)


def test_the_ideal_time_is_the_longest_of_three() -> None:
    """Every distinct row once from memory; every lookup through the cache; an addition a number."""
    shape = {"batch": 1_000, "rows": 1e15, "pooling": 4}
    rows, stream, work = 4_000 * ROW, 4_000 * 8 + 1_000 * 64, 4_000 * 32
    for changed, expected in (
        ({}, rows / 1e12),
        ({"cache_bandwidth": 1e11}, (rows + stream) / 1e11),
        ({"vector_flops": 1e10}, work / 1e10),
        ({"cache_capacity": 0.0}, (rows + stream) / 1e12),
    ):
        assert math.isclose(bag(**shape, **changed)["lower_s"], expected, rel_tol=1e-9), changed


@pytest.mark.parametrize("reuse", [0, 1])
def test_several_tables_are_as_many_bags_that_share_the_cache(reuse: int) -> None:
    """Five tables with five times the cache and address cache: five times one table in every figure."""
    shape = {
        "batch": 3_000,
        "rows": 20_000,
        "skew": 1.0,
        "pooling": 7,
        "reuse": reuse,
        "page_walk_cycles": 50,
        "issue_cycles": 3,
        "bag_cycles": 5,
    }
    for held in (500 * ROW, 20_000 * ROW):
        one = bag(**shape, cache_capacity=held, tlb_reach_bytes=1e5)
        five = bag(**shape, tables=5, cache_capacity=5 * held, tlb_reach_bytes=5e5)
        for name, value in one.items():
            if name not in ("time_s", "upper_s", "overhead_s"):  # which begin with one latency each
                assert five[name] == pytest.approx(5 * value), name
        # Indices of 8 bytes and results of 2 bytes a number go through the cache with every row looked up.
        assert five["cache_bytes"] == 5 * 3_000 * (7 * (ROW + 8) + 32 * 2)
