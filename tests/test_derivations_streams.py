"""Elementwise operators and copies against streams that are counted element by element, rows handed to cores."""

from __future__ import annotations

import pytest

from tests.derivations.cores import makespan
from tests.derivations.lookups import lru_misses
from tests.derivations.plain import cost

CORES = 100


def stream(**given: float) -> dict[str, float]:
    """1000 rows of 1000 numbers of 2 bytes, two tensors in and one out."""
    usual = {"rows": 1000, "cols": 1000, "reads": 2, "writes": 1, "flops_per_element": 3}
    return cost("elementwise", **{**usual, **given})


def test_every_tensor_passes_the_cache() -> None:
    """Numbers of 2 bytes in and 4 bytes out; a row that is swept three times is read three times."""
    once, thrice = (stream(out_width=4, passes=passes) for passes in (1, 3))
    assert once["bytes"] == once["cache_bytes"] == thrice["bytes"] == 1e6 * (2 * 2 + 4)
    assert thrice["cache_bytes"] == 1e6 * (3 * 2 * 2 + 4)
    assert once["vector_flops"] == 3e6
    assert once["memory_bytes"] == once["flops"] == once["network_bytes"] == once["network_s"] == 0
    assert thrice["cache_s"] == pytest.approx(thrice["cache_bytes"] / 1e13)


@pytest.mark.parametrize(("cold", "reuse", "fetched"), [(0, 0, 0), (1, 0, 1), (2, 0, 2), (5, 0, 2), (1, 1, 0)])
def test_cold_tensors_come_from_memory(cold: int, reuse: int, fetched: int) -> None:
    """No more of them than are read; warm when the same ones are used again and fit."""
    found = stream(cold_reads=cold, reuse=reuse)
    assert found["memory_bytes"] == fetched * 2e6
    assert found["memory_s"] == pytest.approx(fetched * 2e6 / 1e12)
    assert found["lower_s"] == pytest.approx(max(fetched * 2e6 / 1e12, 6e6 / 1e13, 3e6 / 1e13))


def test_a_warm_stream_in_a_cache_that_holds_it_misses_nothing_the_second_time() -> None:
    """A toy LRU cache of 64 lines and a loop over 60 of them, one of three tensors cold at first."""
    loop = list(range(60))
    first, second = lru_misses(loop, 64), lru_misses(loop * 2, 64) - lru_misses(loop, 64)
    assert (first, second) == (60, 0)
    assert stream(cold_reads=2, reuse=1, cache_capacity=6e6 * 64 / 60)["memory_bytes"] == 0
    assert stream(cold_reads=2, reuse=0, cache_capacity=6e6 * 64 / 60)["memory_bytes"] == 4e6


def test_of_a_stream_half_evicted_the_cold_part_is_counted_once() -> None:
    """It begins to go at half of the cache and is gone at all of it; at three quarters half is lost.

    What is lost is lost of all three tensors (3 MB of 6), what is left of the cold one is fetched as well (1 of 2).
    """
    found = stream(cold_reads=1, cache_capacity=8e6, cache_share=0.5)
    assert found["memory_bytes"] == pytest.approx(3e6 + 1e6)
    assert stream(cold_reads=1, reuse=1, cache_capacity=8e6, cache_share=0.5)["memory_bytes"] == pytest.approx(3e6)


def test_hits_and_misses_take_turns() -> None:
    """2 MB from memory, the other 4 MB from the cache; where memory is faster the cache's rate holds for all."""
    found = stream(cold_reads=1)
    assert found["time_s"] == pytest.approx(2e6 / 1e12 + 4e6 / 1e13)
    assert stream(cold_reads=1, memory_bandwidth=1e15)["time_s"] == pytest.approx(6e6 / 1e13)


@pytest.mark.parametrize(("rows", "share"), [(1, 0.02), (20, 0.4), (50, 1.0), (300, 1.0)])
def test_few_rows_leave_cores_idle(rows: int, share: float) -> None:
    """A row keeps two cores' share of the bandwidths busy."""
    found = stream(rows=rows, cold_reads=1, row_cores=2, flops_per_element=0)
    assert found["memory_s"] == pytest.approx(rows * 1000 * 2 / (share * 1e12))
    assert found["cache_s"] == pytest.approx(rows * 1000 * 6 / (share * 1e13))


def test_rows_cost_cycles_in_every_pass() -> None:
    """1000 rows of 50 cycles at 1 GHz on 100 cores, handed out row by row, three times over."""
    more = stream(row_cycles=50, passes=3)["compute_s"] - stream(passes=3)["compute_s"]
    assert more == pytest.approx(3 * makespan([50e-9] * 1000, CORES))


def test_what_runs_within_another_kernel_starts_nothing() -> None:
    alone, merged = (stream(launch_s=4e-6, row_cycles=50, merged=m) for m in (0, 1))
    assert alone["overhead_s"] == 4e-6
    assert merged == stream()
    assert alone["time_s"] == pytest.approx(4e-6 + max(alone["compute_s"], alone["cache_s"]))


def test_the_upper_bound_overlaps_nothing() -> None:
    found = stream(cold_reads=1, launch_s=4e-6)
    assert found["upper_s"] == pytest.approx(4e-6 + found["compute_s"] + found["memory_s"] + found["cache_s"])
    assert min(found["compute_s"], found["memory_s"]) > 0


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 6e6 / 1e13),
        ({"vector_flops": 1e12}, 3e6 / 1e12),
        ({"cache_capacity": 1e6}, 5e6 / 1e12),
        ({"cache_capacity": 1e6, "cold_reads": 1}, (2e6 + 3e6) / 1e12),
        ({"cache_capacity": 1e6, "reuse": 1, "cold_reads": 1}, 5e6 / 1e12),
        ({"cache_capacity": 5e6, "reuse": 1, "cold_reads": 2}, 1e6 / 1e12),
        ({"cache_capacity": 5e6, "cold_reads": 2}, 4e6 / 1e12),
    ],
)
def test_the_ideal_time_keeps_in_the_cache_what_fits(changed: dict[str, float], expected: float) -> None:
    assert stream(**changed)["lower_s"] == pytest.approx(expected)


def test_a_copy_to_the_host_passes_its_link_once() -> None:
    found = cost("host_copy", bytes=1e9, host_bandwidth=5e10, host_latency=2e-6, launch_s=3e-6, host_fraction=0.8)
    assert found["lower_s"] == pytest.approx(0.02)
    assert found["time_s"] == found["upper_s"] == pytest.approx(0.025 + 5e-6)
    assert found["network_bytes"] == found["memory_bytes"] == 1e9


def test_a_step_s_own_work_is_overhead() -> None:
    found = cost("step_overhead", step_s=5e-3)
    assert {name for name, value in found.items() if value} == {"time_s", "upper_s", "overhead_s"}
    assert found["time_s"] == found["upper_s"] == found["overhead_s"] == 5e-3
