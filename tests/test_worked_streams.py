"""Kernels that move bytes, worked by hand on a plain chip (see plain.py): lookups, streams, collectives, copies.

The chip: 10 TFLOP/s of vectors, 1 TB/s of memory (1 us away), a cache of 100 MB at 10 TB/s, 8 chips in a domain of
links of 100 GB/s, 10 GB/s between domains, 50 GB/s to the host. The arithmetic stands beside each number.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.work import op
from tests.plain import descriptor, plain, worked

US = 1e-6

# Embedding bags -----------------------------------------------------------------------------------------------------

#: 1000 samples, 10 tables of a million rows of 64 fp32 numbers (256 bytes), 20 lookups a bag: 20,000 a table.
BAGS: dict[str, Any] = {"batch": 1000, "tables": 10, "rows": 1_000_000, "dim": 64, "pooling": 20}

#: Of its 200,000 lookups the indices (8 bytes each) come in, and 10,000 sums of 64 numbers go out.
LISTS = 200_000 * 8 + 10_000 * 64 * 4


def test_uniform_lookups() -> None:
    """20,000 draws of a million rows meet 1,000,000 (1 - e^-0.02) = 19,801 different ones; the cache holds the repeats.

    50.7 MB of rows at 1 TB/s after the 1 us of the first, while 55.4 MB pass the cache and each number is added once.
    """
    different = 1_000_000 * (1 - math.exp(-0.02))
    rows = 10 * different * 256
    cost = worked(
        rl.embedding_bag(**BAGS),
        flops=0,
        vector_flops=200_000 * 64,
        bytes=rows + LISTS,
        memory_bytes=rows,
        cache_bytes=200_000 * 256 + LISTS,
        network_bytes=0,
        lower_s=rows / 1e12,
        compute_s=200_000 * 64 / 10e12,
        overhead_s=US,
        bound="memory:dram",
    )
    # A million rows on the way keep the memory all but busy.
    assert cost.time_s == pytest.approx(US + rows / 1e12, rel=1e-6)
    rest = (200_000 * 256 + LISTS) / 10e12 + 200_000 * 64 / 10e12
    assert cost.upper_s == pytest.approx(US + rows / 1e12 + rest, rel=1e-6)


def test_rows_are_read_in_whole_transactions() -> None:
    """A row of 10 fp32 numbers is 40 bytes, and 64 as memory is read; in int8 10 bytes with a scale and a bias of 2
    bytes each, and 64 all the same."""
    different = 10 * 1_000_000 * (1 - math.exp(-0.02))
    for dtype, width in (("fp32", 40), ("int8", 14)):
        out = 10_000 * 10 * (4 if dtype == "fp32" else 2)  # sums of 8-bit rows leave in 16 bits
        worked(
            rl.embedding_bag(**{**BAGS, "dim": 10}, dtype=dtype),
            memory_bytes=different * 64,
            cache_bytes=200_000 * 64 + 200_000 * 8 + out,
            bytes=different * width + 200_000 * 8 + out,
        )


def test_little_s_law_limits_the_rate() -> None:
    """100 cores with 4 kB each on the way for 1 us: some 400 GB/s of 1000 TB/s, where no row waits for another."""
    chip = plain().what_if({"efficiency.embedding_bag.inflight_bytes": "4 kB", "memory.dram.bandwidth": "1000 TB/s"})
    different = 10 * 1_000_000 * (1 - math.exp(-0.02))
    wait = (different * 1e-6 + (200_000 - different) * 1e-12) * 256 / 400e3
    cost = rl.cost(rl.embedding_bag(**BAGS), chip)
    assert cost.memory_s == pytest.approx(wait, rel=1e-3)
    assert cost.time_s == pytest.approx(US + wait, rel=1e-3)


def test_a_core_asks_for_so_many_rows_at_a_time() -> None:
    """100 cores with 4 rows each on the way, of 256 or of 128 bytes: as many rows a second."""
    chip = plain().what_if({"efficiency.embedding_bag.inflight_rows": 4, "memory.dram.bandwidth": "1000 TB/s"})
    rows = 10 * 1_000_000 * (1 - math.exp(-0.02))
    for dim in (32, 64):
        cost = rl.cost(rl.embedding_bag(**{**BAGS, "dim": dim}), chip)
        assert cost.memory_s == pytest.approx(rows * 1e-6 / 400, rel=1e-3)
        assert cost.bound == "memory:dram"


def test_a_row_keeps_a_channel_busy() -> None:
    """8 channels of 125 GB/s: 256 B take 2.048 ns, and 1 ns to open, where many rows are on the way."""
    chip = plain().what_if(
        {"memory.dram.channels": 8, "memory.dram.bandwidth": "1 TB/s", "efficiency.embedding_bag.channel_row_s": "1 ns"}
    )
    rows = 10 * 1_000_000 * (1 - math.exp(-0.02))
    assert rl.cost(rl.embedding_bag(**BAGS), chip).memory_s == pytest.approx(rows * 3.048e-9 / 8, rel=1e-3)
    more = plain().what_if({"memory.dram.channels": 4})
    assert more["memory.dram.bandwidth"] == 4e12  # each as fast as before


def test_a_memory_without_latency_is_no_memory(tmp_path: Path) -> None:
    """Lookups wait for it, so that without it they would take no time: refused where it is said, not divided by."""
    with pytest.raises(rl.BadWorkload, match=r"memory.dram.latency: expected a positive, finite time"):
        plain().what_if({"memory.dram.latency": "0 s"})
    text = descriptor().replace('value = "1 us"', 'value = "0 s"', 1)
    (tmp_path / "instant.toml").write_text(text, encoding="utf-8")
    with pytest.raises(rl.BadDescriptor, match=r"memory.dram.latency"):
        rl.load_chip(tmp_path / "instant.toml")


def test_the_cycles_of_lookups_and_bags() -> None:
    """8 cycles a lookup and 100 a bag, over 100 cores of 1 GHz, and a walk of 30 for the half that is out of reach."""
    cycles = {"issue_cycles": 8, "bag_cycles": 100, "page_walk_cycles": 30, "tlb_reach_bytes": "1.28 GB"}
    chip = plain().what_if({f"efficiency.embedding_bag.{name}": value for name, value in cycles.items()})
    busy = (200_000 * (8 + 30 / 2) + 10_000 * 100) / 100e9  # the tables are 2.56 GB
    worked(rl.embedding_bag(**BAGS), chip, compute_s=200_000 * 64 / 10e12 + busy)


def test_a_cache_too_small_for_the_rows_of_a_batch() -> None:
    """60,000 lookups a table meet N = 1e6 (1 - e^-0.06) = 58,235 rows; 39,062 have room (100 MB / 10 tables / 256 B).

    Until H rows are held, after -1e6 ln(1 - H / 1e6) draws, each new one is a miss; then a draw misses if its row is
    not among the H, so 1 - H / 1e6 of the others do (Che, Tung and Wang 2002, exact for uniform rows).
    """
    held = 100e6 / (10 * 256)
    draws_until_full = -1e6 * math.log(1 - held / 1e6)
    missed = held + (60_000 - draws_until_full) * (1 - held / 1e6)
    worked(rl.embedding_bag(**{**BAGS, "pooling": 60}), memory_bytes=10 * missed * 256)
    # In 1 MB there is room for 391 of a table's rows, and not for the 7.4 MB of indices and sums.
    held = 1e6 / (10 * 256)
    missed = held + (60_000 + 1e6 * math.log(1 - held / 1e6)) * (1 - held / 1e6)
    spilled = 600_000 * 8 + 10_000 * 64 * 4 - 1e6
    chip = plain().what_if({"memory.cache.capacity": "1 MB"})
    worked(rl.embedding_bag(**{**BAGS, "pooling": 60}), chip, memory_bytes=10 * missed * 256 + spilled)


def test_rows_that_come_together() -> None:
    """An index that stands for 20 rows: 1000 draws of a million lists meet 999.5 of them, and these overlap: a row that
    two of them have is read once by a cache that holds all."""
    lists = 1e6 * (1 - math.exp(-1000 / 1e6))
    different = 1e6 * (1 - math.exp(-lists * 20 / 1e6))
    worked(
        rl.embedding_bag(**BAGS, together=20),
        memory_bytes=10 * different * 256,
        bytes=10 * different * 256 + LISTS,
        lower_s=10 * different * 256 / 1e12,
    )


def test_the_same_batch_again() -> None:
    """55 MB of rows and lists fit into the cache: nothing comes from memory, all of it passes the cache."""
    worked(rl.embedding_bag(**BAGS, reuse=True), memory_bytes=0, lower_s=(200_000 * 256 + LISTS) / 10e12)


def met(samples: int, rows: int, skew: float) -> tuple[float, float]:
    """Different rows among 20 x `samples` lookups of a table: the kernel's, and the exact sum over Zipf's law.

    Row r is drawn with p ~ r^-skew, and is met in N draws with probability 1 - (1 - p)^N.
    """
    p = np.arange(1, rows + 1.0) ** -skew
    exact = -np.expm1(20 * samples * np.log1p(-p / p.sum())).sum()
    found = rl.cost(rl.embedding_bag(**{**BAGS, "batch": samples, "rows": rows}, skew=skew), plain())
    lists = 10 * samples * (20 * 8 + 64 * 4)
    assert found.memory_bytes == pytest.approx(found.bytes - lists)  # the cache holds the repeats
    return (found.bytes - lists) / (10 * 256), exact


@pytest.mark.parametrize("skew", [0.6, 1.0, 1.2])
def test_skewed_lookups_meet_fewer_rows(skew: float) -> None:
    """The kernel has a closed form, here good to 2 %; 20,000 uniform draws would meet 19,801 rows, far outside."""
    found, exact = met(1000, 1_000_000, skew)
    assert found == pytest.approx(exact, rel=0.02)
    assert exact < 19_000


@pytest.mark.parametrize(("samples", "rows"), [(1, 1_000_000), (10_000, 50)])
def test_the_ends_of_the_closed_form(samples: int, rows: int) -> None:
    """20 draws of a million rows meet nearly 20; 200,000 draws of 50 rows meet all of them."""
    found, exact = met(samples, rows, 0.6)
    assert exact == pytest.approx(min(20 * samples, rows), rel=0.002)
    assert found == pytest.approx(exact, rel=0.005)


# Streams ------------------------------------------------------------------------------------------------------------

#: Kind -> bytes read and written and FLOP, all per number in bf16, and sweeps over a row.
#: FLOP by definition, an exponential or a root as one: a norm squares, adds, scales by the root, and by the weight.
PER_NUMBER = {
    op.elementwise: (2, 2, 1, 1),  # one tensor in, one out
    op.residual_add: (4, 2, 1, 1),  # two in
    op.rms_norm: (2, 2, 4, 2),  # the sum of squares first, then the scaling
    op.layer_norm: (2, 2, 8, 2),  # mean and variance first
    op.softmax: (2, 2, 5, 3),  # maximum, sum of exponentials, division
    op.silu_mul: (4, 2, 5, 1),  # gate and up in; exp, add, divide, two products
    op.activation: (2, 2, 4, 1),
    op.rope: (2, 2, 3, 1),  # two products and a sum
    op.copy: (2, 2, 0, 1),
    op.sampling: (2, 0, 6, 2),  # a number a row goes out: nothing beside the vocabulary
    op.quantize: (2, 1, 3, 1),  # 16 bits to 8
    op.dequantize: (1, 2, 2, 1),  # and back
}


@pytest.mark.parametrize("function", PER_NUMBER, ids=lambda f: f.__name__)
def test_a_stream_that_fits_the_cache(function: Any) -> None:
    """A million numbers, just computed: each byte at 10 TB/s, a row again for each further sweep, or the FLOP if
    those take longer."""
    read, written, flops, sweeps = PER_NUMBER[function]
    cache = 1e6 * (read * sweeps + written)
    worked(
        function(rows=1000, cols=1000),
        flops=0,
        vector_flops=flops * 1e6,
        bytes=1e6 * (read + written),
        memory_bytes=0,
        cache_bytes=cache,
        network_bytes=0,
        lower_s=max(1e6 * (read + written) / 10e12, flops * 1e6 / 10e12),
        time_s=max(cache / 10e12, flops * 1e6 / 10e12),
        upper_s=cache / 10e12 + flops * 1e6 / 10e12,
    )


@pytest.mark.parametrize("function", PER_NUMBER, ids=lambda f: f.__name__)
def test_a_stream_larger_than_the_cache(function: Any) -> None:
    """A hundred million numbers come from memory and go back to it, at 1 TB/s; further sweeps over a row of 1000 find
    it in the cache. What has no room in the cache is the least that must."""
    read, written, flops, sweeps = PER_NUMBER[function]
    moved = 1e8 * (read + written)
    worked(
        function(rows=100_000, cols=1000),
        bytes=moved,
        memory_bytes=moved,
        vector_flops=flops * 1e8,
        cache_bytes=moved + 1e8 * read * (sweeps - 1),
        time_s=moved / 1e12 + 1e8 * read * (sweeps - 1) / 10e12,
        lower_s=(moved - 100e6) / 1e12,
    )


def test_rows_of_the_token_table_come_from_memory() -> None:
    """8192 rows of 4096 numbers: 67 MB cold from the table, and 67 MB written to the cache.

    At best what is written stays there. Expected is that a stream of 134 MB finds nothing of itself again in 100.
    """
    table = 8192 * 4096 * 2
    large = op.token_embedding(rows=8192, cols=4096)
    worked(large, bytes=2 * table, memory_bytes=2 * table, vector_flops=0, lower_s=table / 1e12)
    small = 64 * 4096 * 2
    worked(
        op.token_embedding(rows=64, cols=4096),
        bytes=2 * small,
        memory_bytes=small,
        lower_s=small / 1e12,
        time_s=small / 10e12 + small / 1e12,
        cache_bytes=2 * small,
    )


def test_a_stream_too_short_for_the_chip() -> None:
    """10 rows, a core each: 10 of 100 cores are at work, at a tenth of the rates; 5000 cycles a row and sweep."""
    chip = plain().what_if({"efficiency.rms_norm.row_cores": 1, "efficiency.rms_norm.row_cycles": 5000})
    worked(
        op.rms_norm(rows=10, cols=1000),
        chip,
        cache_s=10 * 1000 * 6 / 1e12,
        lower_s=10 * 1000 * 4 / 10e12,
        compute_s=10 * 1000 * 4 / 10e12 + 10 * 2 * 5000 / 100e9,
    )


def test_what_is_merged_starts_with_another_kernel() -> None:
    """A norm that reads the residual as well: the addition itself starts nothing."""
    chip = plain().what_if({"efficiency.residual_add.launch_s": "5 us", "efficiency.residual_add.row_cycles": 1000})
    apart, within = (op.residual_add(rows=1000, cols=1000, merged=merged) for merged in (False, True))
    worked(apart, chip, overhead_s=5 * US, compute_s=1e6 / 10e12 + 1000 * 1000 / 100e9)
    worked(within, chip, overhead_s=0, compute_s=1e6 / 10e12, time_s=6e6 / 10e12)


def test_a_step_of_the_host() -> None:
    chip = plain().what_if({"overheads.step": "300 us"})
    step = op.step_overhead()
    worked(step, chip, time_s=300 * US, upper_s=300 * US, overhead_s=300 * US, lower_s=0, bytes=0, flops=0)


# Collectives: Thakur, Rabenseifner and Gropp (2005) derive (n-1)/n of the buffer for each half of a ring --------------

BUFFER = 80e6


def test_an_all_reduce_on_a_ring() -> None:
    """Of 80 MB a chip sends 2 (n-1)/n: 80 MB between 2 chips, 140 MB among 8, at 100 GB/s. In each of the two halves
    its own shard (1/n) is read and written in memory besides."""
    worked(
        rl.all_reduce(bytes=BUFFER, devices=2),
        flops=0,
        bytes=80e6,
        network_bytes=80e6,
        memory_bytes=2 * 2 * 40e6,
        lower_s=800 * US,
        time_s=800 * US + 2 * 80 * US,
        network_s=800 * US,
        memory_s=160 * US,
        bound="network",
    )
    worked(
        rl.all_reduce(bytes=BUFFER, devices=8),
        network_bytes=140e6,
        memory_bytes=2 * 2 * 10e6,
        lower_s=1400 * US,
        time_s=1400 * US + 2 * 20 * US,
        upper_s=1440 * US,
    )


def test_an_all_reduce_across_two_domains() -> None:
    """16 chips: in each half 70 MB to the 7 others of the domain (700 us), and half of the shard of 10 MB to the chip
    of the same rank in the other domain (5 MB at 10 GB/s, 500 us, hidden). In all 2 x 15/16 of the buffer."""
    worked(
        rl.all_reduce(bytes=BUFFER, devices=16),
        network_bytes=2 * 15 / 16 * BUFFER,
        lower_s=1400 * US,
        time_s=1400 * US + 2 * 20 * US,
        upper_s=1440 * US + 2 * 500 * US,
    )
    slower = plain().what_if({"links.network.bandwidth": "5 GB/s"})
    worked(rl.all_reduce(bytes=BUFFER, devices=16), slower, lower_s=2000 * US, network_s=2000 * US)


@pytest.mark.parametrize("function", [rl.all_gather, rl.reduce_scatter])
def test_the_halves_of_an_all_reduce(function: Any) -> None:
    worked(
        function(bytes=BUFFER, devices=2), network_bytes=40e6, lower_s=400 * US, time_s=480 * US, memory_bytes=2 * 40e6
    )
    worked(function(bytes=BUFFER, devices=8), network_bytes=70e6, lower_s=700 * US, time_s=720 * US)
    worked(function(bytes=BUFFER, devices=16), network_bytes=75e6, lower_s=700 * US, time_s=720 * US, upper_s=1220 * US)


def test_all_to_all() -> None:
    """As a reduce-scatter in one domain; of 16 chips half of the whole buffer, 40 MB, crosses to the other domain."""
    worked(rl.all_to_all(bytes=BUFFER, devices=2), network_bytes=40e6, lower_s=400 * US, time_s=480 * US)
    worked(rl.all_to_all(bytes=BUFFER, devices=8), network_bytes=70e6, lower_s=700 * US, time_s=720 * US)
    worked(
        rl.all_to_all(bytes=BUFFER, devices=16),
        network_bytes=70e6 + 40e6,
        lower_s=4000 * US,
        time_s=4020 * US,
        upper_s=4720 * US,
    )


def test_an_all_reduce_in_the_switch() -> None:
    """Each chip sends its buffer once and receives the sum once, whatever their number, and copies nothing: 800 us.
    Across domains the 500 us of each half are longer than its 400 us of links."""
    chip = plain(switch=True)
    for devices in (2, 8):
        worked(
            rl.all_reduce(bytes=BUFFER, devices=devices),
            chip,
            network_bytes=80e6,
            lower_s=800 * US,
            time_s=800 * US,
            memory_bytes=0,
        )
    worked(
        rl.all_reduce(bytes=BUFFER, devices=16),
        chip,
        network_bytes=80e6 + 10e6,
        lower_s=1000 * US,
        time_s=1000 * US,
        upper_s=1800 * US,
    )
    # Only an all-reduce adds up; what is gathered is sent as ever.
    worked(rl.all_gather(bytes=BUFFER, devices=8), chip, time_s=720 * US)


def test_an_all_reduce_in_one_shot() -> None:
    """80 kB where a step takes 10 us: a ring or tree takes 2 x min(7, 2 log2 8) = 12 of them; in one shot each chip
    reads 7 buffers, 560 kB in 5.6 us, and spends 1 us on each peer."""
    slow = {"efficiency.all_reduce.hop_s": "10 us"}
    ring = 2 * 7 / 8 * 80e3
    worked(
        rl.all_reduce(bytes=80e3, devices=8),
        plain().what_if(slow),
        overhead_s=12 * 10 * US,
        network_bytes=ring,
        time_s=120 * US + ring / 100e9 + 2 * 2 * 10e3 / 1e12,
    )
    shot = plain().what_if({**slow, "efficiency.all_reduce.shot_share": 1, "efficiency.all_reduce.peer_s": "1 us"})
    worked(
        rl.all_reduce(bytes=80e3, devices=8),
        shot,
        network_bytes=560e3,
        overhead_s=7 * US,
        time_s=7 * US + 5.6 * US,
        memory_bytes=0,
        lower_s=ring / 100e9,
    )
    worked(rl.all_reduce(bytes=80e3, devices=16), shot, network_bytes=2 * 15 / 16 * 80e3)  # not across domains


@pytest.mark.parametrize(("devices", "steps"), [(2, 1), (4, 3), (8, 6)])
def test_the_steps_of_a_half(devices: int, steps: float) -> None:
    """n - 1 around a ring, or 2 log2 n up a tree with two children at each level: 1, 3 (of 4) and 6 (of 7)."""
    chip = plain().what_if({"links.scale_up.latency": "2 us", "efficiency.all_gather.launch_s": "5 us"})
    worked(rl.all_gather(bytes=1e3, devices=devices), chip, overhead_s=5 * US + steps * 2 * US)
    worked(rl.all_reduce(bytes=1e3, devices=devices), chip, overhead_s=2 * steps * 2 * US)
    across = chip.what_if({"links.network.latency": "7 us"})
    worked(rl.all_gather(bytes=1e3, devices=8 * devices), across, overhead_s=(5 + 6 * 2 + steps * 7) * US)


def test_a_transfer_in_chunks() -> None:
    """x seconds in k chunks of c seconds each: x + x / k + k c, least at k = sqrt(x / c): x + 2 sqrt(x c)."""
    chip = plain().what_if({"efficiency.all_gather.chunk_s": "7 us"})
    worked(rl.all_gather(bytes=BUFFER, devices=8), chip, network_s=(700 + 2 * math.sqrt(700 * 7)) * US)


def test_sends() -> None:
    """80 MB to a peer: 800 us in the domain; out of it over the network at the same time, 8000 us."""
    worked(rl.send(bytes=BUFFER, devices=2), network_bytes=80e6, lower_s=800 * US, time_s=800 * US, memory_bytes=0)
    worked(
        rl.send(bytes=BUFFER, devices=16), network_bytes=80e6, lower_s=8000 * US, time_s=8000 * US, upper_s=8800 * US
    )
    slow = {"links.scale_up.latency": "2 us", "links.network.latency": "7 us"}
    worked(rl.send(bytes=BUFFER, devices=16), plain().what_if(slow), overhead_s=9 * US)


def test_a_copy_from_the_host() -> None:
    """80 MB at 50 GB/s, and as many bytes in memory; 10 us of the driver and 1 of the way are not hidden."""
    chip = plain().what_if({"efficiency.host_copy.launch_s": "10 us", "links.host.latency": "1 us"})
    worked(
        rl.host_copy(bytes=BUFFER),
        chip,
        bytes=80e6,
        network_bytes=80e6,
        memory_bytes=80e6,
        lower_s=1600 * US,
        time_s=1611 * US,
        overhead_s=11 * US,
        bound="network",
    )
