"""Embedding bags in plain numpy: how many distinct rows, which repeats a cache catches, how fast the rest comes."""

from __future__ import annotations

import numpy as np

INDEX_BYTES = 8
# 1 - exp(-x) is close to the sum of WEIGHT * min(1, x / KNEE), and exact for small and for large x.
KNEE = np.array([0.16171477, 0.57880776, 2.53425018])
WEIGHT = np.array([0.04045171, 0.27846892, 0.68107937])
EVEN, UNEVEN = 0.25, 0.5
NEWTON_STEPS = 3


def distinct(draws, rows, skew):
    """Expected distinct rows U among N draws from R rows, and dU/dN; arrays that broadcast.

    U = sum over rows of 1 - (1 - p)^N ~ sum of 1 - exp(-N p). Uniform rows give R (1 - exp(-N / R)). For Zipf's law
    p(r) = r^-a / H the sum becomes an integral over ranks from x0 to R + 1/2, where x0 is chosen so that the integral
    of r^-a is its sum. One ramp min(1, N p / T) of 1 - exp(-N p) is at 1 up to the rank e where N p(e) = T, and then
    follows the popularity: its integral is (e - x0) + N / T x (share of the popularity beyond e). Ramps are rough for
    nearly equal rows, so up to a skew of 1/4 the uniform formula is taken, up to 1/2 a mean of both.
    """
    draws, rows, skew = np.broadcast_arrays(*(np.asarray(x, float) for x in (draws, rows, skew)))
    even = np.clip((UNEVEN - skew) / (UNEVEN - EVEN), 0.0, 1.0)
    a = np.maximum(skew, EVEN)[..., None]
    power = np.where(np.abs(1 - a) < 1e-9, 1e-9, 1 - a)
    first, last = 0.5 + 0.058 * a, rows[..., None] + 0.5

    def popularity(rank):  # integral of r**-a from 1 to rank
        return np.expm1(power * np.log(rank)) / power

    total = popularity(last) - popularity(first)
    n = draws[..., None]
    edge = np.exp(np.clip(np.log(n / total / KNEE) / a, np.log(first), np.log(last)))
    beyond = (popularity(last) - popularity(edge)) / total
    count = (WEIGHT * (edge - first + n / KNEE * beyond)).sum(-1)
    slope = (WEIGHT / KNEE * beyond).sum(-1)
    even_count, even_slope = -rows * np.expm1(-draws / rows), np.exp(-draws / rows)
    return even * even_count + (1 - even) * count, even * even_slope + (1 - even) * slope


def lookups_missed(draws, rows, skew, resident):
    """Distinct rows among the draws, and the draws that miss a least-recently-used cache of `resident` rows.

    The cache is full after N0 draws, where U(N0) = resident. Before that every first sight of a row is a miss, and
    nothing else; later a draw misses if its row is not among the last `resident` ones, which happens at the rate
    U'(N0) (Che, Tung and Wang 2002). So the misses are U(N) up to N0, and then U's tangent there.
    """
    unique = np.minimum(np.minimum(draws, rows), distinct(draws, rows, skew)[0])
    full = np.where(resident > 0, resident, 1.0)
    target = full
    count, slope = distinct(full, rows, skew)
    with np.errstate(all="ignore"):  # where the cache never fills the answer is not used
        for _ in range(NEWTON_STEPS):
            full = np.minimum(draws, full + (target - count) / np.maximum(slope, 1e-300))
            count, slope = distinct(full, rows, skew)
        tangent = np.minimum(draws, np.maximum(unique, count + (draws - full) * slope))
    missed = np.where(unique <= resident, unique, np.where(resident > 0, tangent, draws))
    return unique, missed


def embedding_bag(
    batch, tables, rows, dim, pooling, skew, together, width, out_width, reuse,
    vector_flops, memory_bandwidth, memory_latency, cache_bandwidth, cache_capacity, core_count, clock,
    launch_s, memory_fraction, cache_fraction, compute_fraction, cache_share, inflight_bytes, transaction_bytes,
    issue_cycles, bag_cycles, page_walk_cycles, tlb_reach_bytes, overlap_share,
):  # fmt: skip
    """Cost of `tables` pooled lookups, as arrays that broadcast.

    Traffic: every missed row from main memory, padded to whole transactions; every row, index and result through the
    cache. Rate of main memory: what it sustains, or by Little's law what the cores keep in flight over its latency,
    whichever is less. Where an index stands for a list of rows (`together` of them), lists are drawn and kept, and
    those drawn overlap in some rows. Work: one addition per element looked up, the issue of each lookup (and the way
    to its page, as far as the table is larger than the address cache reaches) and the beginning and end of each bag.
    What of the three times is not the longest counts as far as it does not overlap.
    """
    draws = batch * pooling
    lookups = tables * draws
    row = dim * width
    padded = np.ceil(row / transaction_bytes) * transaction_bytes
    stream = lookups * INDEX_BYTES + batch * tables * dim * out_width
    work = lookups * dim
    resident = cache_capacity * cache_share / (tables * padded)
    unique, missed = lookups_missed(draws / together, rows, skew, resident / together)
    unique = np.where(together > 1, -rows * np.expm1(-unique * together / rows), unique)
    missed = missed * together

    def memory_traffic(row_bytes):
        once = row_bytes + np.maximum(0.0, stream - cache_capacity)
        again = np.maximum(0.0, row_bytes + stream - cache_capacity)
        return (1 - reuse) * once + reuse * again

    ideal = memory_traffic(tables * unique * row) / memory_bandwidth
    lower = np.maximum(np.maximum(ideal, (lookups * row + stream) / cache_bandwidth), work / vector_flops)

    memory_bytes = memory_traffic(tables * missed * padded)
    cache_bytes = lookups * padded + stream
    little = core_count * inflight_bytes / memory_latency
    memory_s = memory_bytes / np.minimum(memory_fraction * memory_bandwidth, little)
    cache_s = cache_bytes / (cache_fraction * cache_bandwidth)
    unreached = np.maximum(0.0, 1 - tlb_reach_bytes / (tables * rows * row))
    cycles = lookups * (issue_cycles + unreached * page_walk_cycles) + batch * tables * bag_cycles
    compute_s = work / (compute_fraction * vector_flops) + cycles / (core_count * clock)
    overhead_s = launch_s + memory_latency
    longest = np.maximum(np.maximum(memory_s, cache_s), compute_s)
    upper = overhead_s + memory_s + cache_s + compute_s
    time = overhead_s + overlap_share * longest + (1 - overlap_share) * (upper - overhead_s)
    zero = np.zeros_like(time)
    return tuple(
        np.broadcast_arrays(
            zero, work, tables * unique * row + stream, memory_bytes, cache_bytes, zero,
            lower, time, upper, compute_s, memory_s, cache_s, zero, overhead_s,
        )
    )  # fmt: skip
