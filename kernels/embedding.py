"""Embedding bags: pooled lookups of random table rows, with index skew, a cache and a limit on open requests."""

from __future__ import annotations

from math import ceil

from roofline.kernels._jit import kernel
from roofline.kernels.lookups import INDEX_BYTES, lookup_s, lookups_missed
from roofline.kernels.quantities import Quantities


@kernel("batch", "room_share", "warm_share")
def embedding_bag(
    batch: float,
    tables: float,
    rows: float,
    dim: float,
    pooling: float,
    skew: float,
    together: float,
    repeat: float,
    width: float,
    scale_bytes: float,
    out_width: float,
    reuse: float,
    room_share: float,
    warm_share: float,
    launches: float,
    vector_flops: float,
    memory_bandwidth: float,
    memory_latency: float,
    memory_channels: float,
    cache_bandwidth: float,
    cache_latency: float,
    cache_capacity: float,
    core_count: float,
    clock: float,
    launch_s: float,
    memory_fraction: float,
    cache_fraction: float,
    compute_fraction: float,
    cache_share: float,
    pinned_share: float,
    inflight_bytes: float,
    inflight_rows: float,
    channel_row_s: float,
    transaction_bytes: float,
    issue_cycles: float,
    bag_cycles: float,
    page_walk_cycles: float,
    tlb_reach_bytes: float,
    overlap_share: float,
) -> Quantities:
    """Cost of `tables` embedding bags: for each of `batch` samples, `pooling` rows of each table summed to one.

    Parameters
    ----------
    batch, tables, rows, dim, pooling : samples, tables, rows of each table, elements of a row, lookups a bag.
    skew : Zipf exponent of the indices: the r-th most popular row is drawn with probability ~ r**-skew; 0 is uniform.
    together : rows that one draw brings, 1 where each row of a bag is drawn on its own. Above, an index stands for a
        fixed list of that many rows, spread at random over the table: popular are the lists.
    repeat : share of a batch's draws that repeat those of the batch before, in [0, 1).
    width, out_width : bytes per element of the tables and of the pooled result.
    scale_bytes : B of the scale and the bias that lie beside each row.
    reuse : 1.0 when the same batch is looked up again and again, so that rows in the cache stay; else 0.0.
    room_share : share of the cache's room for rows that these tables get, where other tables are looked up beside.
    warm_share : share of that room that still has rows of the batches before; 0.0 cold, 1.0 nothing else ran between.
    launches : kernels that it takes: 1.0, 0.0 for a part of a kernel that another bag starts.
    vector_flops : FLOP/s in fp32.
    memory_bandwidth, cache_bandwidth : B/s.
    memory_latency, cache_latency : s, of one dependent access to main memory and to the cache, no other under way.
    memory_channels : of main memory; a row lies in one.
    cache_capacity : B.
    core_count : cores of the chip.
    clock : Hz.
    launch_s : s, start and drain of the kernel.
    memory_fraction, cache_fraction, compute_fraction : sustained share of the datasheet rates, in (0, 1].
    cache_share : share of the cache that rows can hold, in (0, 1].
    pinned_share : share of that in which software keeps the most popular rows for good; the rest has the last used.
    inflight_bytes, inflight_rows : B and rows that one core has on the way at a time, whichever is reached first. By
        Little's law it gets no more rows a second than that over the latency.
    channel_row_s : s of a memory channel that a row costs beside its bytes: opening its page, as far as that shows.
    transaction_bytes : B, the unit in which memory is read: a row is padded to a whole number of them.
    issue_cycles : clock cycles of a core to issue one lookup: index, address, request, accumulate.
    bag_cycles : clock cycles of a core to begin and end one bag: its place among the indices, its result.
    page_walk_cycles : clock cycles of a core to find the page of a row that its address cache (TLB) does not know.
    tlb_reach_bytes : B that the address cache reaches; of larger tables, the share beyond it is walked for.
    overlap_share : share of the shorter of memory, cache and issue time that passes while the longest one goes on:
        1 where thousands of threads take turns, 0 where a core waits for one thing after the other; in [0, 1].

    Returns
    -------
    The 14 quantities of a cost, in the order that every kernel returns them.
    """
    draws = batch * pooling
    lookups = tables * draws
    row_bytes = dim * width + scale_bytes
    read_bytes = ceil(row_bytes / transaction_bytes) * transaction_bytes
    stream_bytes = lookups * INDEX_BYTES + batch * tables * dim * out_width
    work = lookups * dim

    held = cache_capacity * cache_share * room_share / (tables * read_bytes)
    unique, missed = lookups_missed(draws, rows, skew, together, repeat, held, held * warm_share, pinned_share)
    unique_bytes = tables * unique * row_bytes
    spilled = max(0.0, stream_bytes - cache_capacity)
    warm = max(reuse, 1.0 if warm_share > 0.0 or pinned_share > 0.0 else 0.0)
    least = unique_bytes + spilled
    least += warm * (max(0.0, unique_bytes + stream_bytes - cache_capacity) - least)
    lower_s = max(least / memory_bandwidth, (lookups * row_bytes + stream_bytes) / cache_bandwidth, work / vector_flops)

    missed_bytes = tables * missed * read_bytes
    memory_bytes = missed_bytes + spilled
    memory_bytes += reuse * (max(0.0, missed_bytes + stream_bytes - cache_capacity) - memory_bytes)
    cache_bytes = lookups * read_bytes + stream_bytes

    # A core waits for its rows, hits and misses in the same places, and misses for a channel too.
    in_flight = core_count * min(inflight_rows, inflight_bytes / read_bytes)
    channel_s = read_bytes * memory_channels / (memory_bandwidth * memory_fraction) + channel_row_s
    misses = memory_bytes / (lookups * read_bytes)
    miss_wait_s = min(1.0, misses) * memory_latency  # above 1 it is the stream that passes through the channels too
    hit_wait_s = max(0.0, 1.0 - misses) * min(cache_latency, memory_latency)
    rows_s = lookups * lookup_s(in_flight, miss_wait_s + hit_wait_s, misses * channel_s, memory_channels)
    stream_s = cache_bytes / (cache_bandwidth * cache_fraction)
    unreached = max(0.0, 1.0 - tlb_reach_bytes / (tables * rows * row_bytes))
    cycles = lookups * (issue_cycles + page_walk_cycles * unreached) + batch * tables * bag_cycles
    compute_s = work / (vector_flops * compute_fraction) + cycles / (core_count * clock)
    overhead_s = launches * (launch_s + memory_latency)
    longest_s = max(rows_s, stream_s, compute_s)
    apart_s = rows_s + stream_s + compute_s - longest_s
    time_s = max(lower_s, overhead_s + longest_s + (1.0 - overlap_share) * apart_s)
    if miss_wait_s + misses * channel_s >= hit_wait_s:  # what the rows wait for most
        memory_s, cache_s = rows_s, stream_s
    else:
        memory_s, cache_s = lookups * misses * channel_s / memory_channels, max(rows_s, stream_s)
    return Quantities(
        0.0,
        work,
        unique_bytes + stream_bytes,
        memory_bytes,
        cache_bytes,
        0.0,
        lower_s,
        time_s,
        max(time_s, overhead_s + longest_s + apart_s),
        compute_s,
        memory_s,
        cache_s,
        0.0,
        overhead_s,
    )
