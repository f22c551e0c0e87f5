"""Embedding bags: pooled lookups of random table rows, with index skew, a cache and a limit on open requests."""

from __future__ import annotations

from math import ceil, exp, expm1, log

from roofline.kernels._jit import inner, kernel
from roofline.kernels.quantities import Quantities

INDEX_BYTES = 8.0  # of one lookup's index
# 1 - exp(-x) as a sum of clipped ramps, sum of W * min(1, x / T): the best three in relative error, exact at both ends.
T1, T2, T3 = 0.16171477, 0.57880776, 2.53425018
W1, W2, W3 = 0.04045171, 0.27846892, 0.68107937
LOG_T1, LOG_T2, LOG_T3 = log(T1), log(T2), log(T3)
EVEN, UNEVEN = 0.25, 0.5  # skew up to which rows count as equally popular, and from which ramps are precise
NEWTON_STEPS = 3


@inner
def distinct(draws: float, rows: float, skew: float, first: float, last: float) -> tuple[float, float]:
    """Expected number of distinct rows among `draws` Zipf draws from `rows` rows, and its slope.

    Row r is drawn draws / total * r**-skew times. With ranks as a continuum, a ramp min(1, x / T) counts the ranks
    before its edge once and the others by their draws: closed form. `first` and `last` are the logarithms of the
    outermost ranks. Where popularity hardly differs, the exact form for equal rows takes over.
    """
    even = even_count = even_slope = 0.0
    if skew < UNEVEN:
        even = min(1.0, (UNEVEN - skew) / (UNEVEN - EVEN))
        even_count, even_slope = -rows * expm1(-draws / rows), exp(-draws / rows)
        if even == 1.0:
            return even_count, even_slope
    power = 1.0 - skew
    if abs(power) < 1e-9:
        power = 1e-9  # the integral of 1 / r, near enough
    all_mass = expm1(power * last)
    total = (all_mass - expm1(power * first)) / power
    head = log(draws / total)
    edge1 = min(last, max(first, (head - LOG_T1) / skew))
    edge2 = min(last, max(first, (head - LOG_T2) / skew))
    edge3 = min(last, max(first, (head - LOG_T3) / skew))
    # Share of the draws that fall on ranks beyond each edge, over T.
    slope = W1 / T1 * (all_mass - expm1(power * edge1))
    slope += W2 / T2 * (all_mass - expm1(power * edge2))
    slope += W3 / T3 * (all_mass - expm1(power * edge3))
    slope /= power * total
    count = W1 * exp(edge1) + W2 * exp(edge2) + W3 * exp(edge3) - exp(first) + draws * slope
    return count + even * (even_count - count), slope + even * (even_slope - slope)


@inner
def lookups_missed(draws: float, rows: float, skew: float, resident: float) -> tuple[float, float]:
    """Distinct rows among the draws, and the lookups that miss a cache of the `resident` last used rows.

    The misses follow the curve of distinct rows until the cache is full, and from then on go on at the rate that they
    had reached: a lookup misses if its row is not among the `resident` last ones (Che's approximation). So they are the
    tangent of that concave curve where it passes `resident`.
    """
    # Ranks as a continuum from `first` on, chosen so that its mass is that of the sum over ranks.
    first, last = log(0.5 + 0.058 * skew), log(rows + 0.5)
    unique = min(draws, rows, distinct(draws, rows, skew, first, last)[0])
    if unique <= resident:
        return unique, unique
    if resident <= 0.0:
        return unique, draws
    full = resident  # draws until the cache is full, by Newton's method: the curve is concave, so it comes from below
    count, slope = distinct(full, rows, skew, first, last)
    for _ in range(NEWTON_STEPS):
        full = min(draws, full + (resident - count) / max(slope, 1e-300))
        count, slope = distinct(full, rows, skew, first, last)
    return unique, min(draws, max(unique, count + (draws - full) * slope))


@kernel("batch")
def embedding_bag(
    batch: float,
    tables: float,
    rows: float,
    dim: float,
    pooling: float,
    skew: float,
    together: float,
    width: float,
    out_width: float,
    reuse: float,
    vector_flops: float,
    memory_bandwidth: float,
    memory_latency: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    clock: float,
    launch_s: float,
    memory_fraction: float,
    cache_fraction: float,
    compute_fraction: float,
    cache_share: float,
    inflight_bytes: float,
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
    width, out_width : bytes per element of the tables and of the pooled result.
    reuse : 1.0 when the same batch is looked up again and again, so that rows in the cache stay; else 0.0.
    vector_flops : FLOP/s in fp32.
    memory_bandwidth, cache_bandwidth : B/s.
    memory_latency : s, of one dependent access to main memory.
    cache_capacity : B.
    core_count : cores of the chip.
    clock : Hz.
    launch_s : s, start and drain of the kernel.
    memory_fraction, cache_fraction, compute_fraction : sustained share of the datasheet rates, in (0, 1].
    cache_share : share of the cache that rows can hold, in (0, 1].
    inflight_bytes : B that one core has on the way from main memory at a time. By Little's law the bandwidth cannot
        exceed core_count * inflight_bytes / memory_latency.
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
    row_bytes = dim * width
    read_bytes = ceil(row_bytes / transaction_bytes) * transaction_bytes
    stream_bytes = lookups * INDEX_BYTES + batch * tables * dim * out_width
    work = lookups * dim

    resident = cache_capacity * cache_share / (tables * read_bytes)
    unique, missed = lookups_missed(draws / together, rows, skew, resident / together)
    if together > 1.0:  # lists of rows overlap
        unique, missed = -rows * expm1(-unique * together / rows), missed * together
    unique_bytes = tables * unique * row_bytes
    spilled = max(0.0, stream_bytes - cache_capacity)
    least = unique_bytes + spilled
    least += reuse * (max(0.0, unique_bytes + stream_bytes - cache_capacity) - least)
    lower_s = max(least / memory_bandwidth, (lookups * row_bytes + stream_bytes) / cache_bandwidth, work / vector_flops)

    missed_bytes = tables * missed * read_bytes
    memory_bytes = missed_bytes + spilled
    memory_bytes += reuse * (max(0.0, missed_bytes + stream_bytes - cache_capacity) - memory_bytes)
    cache_bytes = lookups * read_bytes + stream_bytes

    sustained = min(memory_bandwidth * memory_fraction, core_count * inflight_bytes / memory_latency)
    memory_s = memory_bytes / sustained
    cache_s = cache_bytes / (cache_bandwidth * cache_fraction)
    unreached = max(0.0, 1.0 - tlb_reach_bytes / (tables * rows * row_bytes))
    cycles = lookups * (issue_cycles + page_walk_cycles * unreached) + batch * tables * bag_cycles
    compute_s = work / (vector_flops * compute_fraction) + cycles / (core_count * clock)
    overhead_s = launch_s + memory_latency
    longest_s = max(memory_s, cache_s, compute_s)
    apart_s = memory_s + cache_s + compute_s - longest_s
    return Quantities(
        0.0,
        work,
        unique_bytes + stream_bytes,
        memory_bytes,
        cache_bytes,
        0.0,
        lower_s,
        overhead_s + longest_s + (1.0 - overlap_share) * apart_s,
        overhead_s + longest_s + apart_s,
        compute_s,
        memory_s,
        cache_s,
        0.0,
        overhead_s,
    )
