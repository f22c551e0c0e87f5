"""Embedding bags: pooled lookups of random rows, with index skew, a cache, and a limit on outstanding requests."""

import math

from roofline.kernels._jit import inner, kernel

# Gauss quadrature of E[f(t)] for t with density t exp(-t): turns the clipped count min(1, x) into 1 - exp(-x).
_T1, _T2, _T3 = 0.9358222275240879, 3.3054072893322786, 7.758770483143634
_W1, _W2, _W3 = 0.5886814810396594, 0.3912160592223105, 0.020102459738030


@inner
def _mass(x, skew):
    """Integral of r**-skew from 1 to x."""
    if abs(1.0 - skew) < 1e-9:
        return math.log(x)
    return math.expm1((1.0 - skew) * math.log(x)) / (1.0 - skew)


@inner
def _seen(draws, rows, skew, first, total):
    """Clipped expectation of distinct rows after `draws` draws, and its slope: (count, slope)."""
    last = rows + 0.5
    if skew < 1e-6:
        if draws < rows:
            return draws, 1.0
        return rows, 0.0
    edge = (draws / total) ** (1.0 / skew) if draws > total * 0.5**skew else 0.5
    edge = min(last, max(0.5, edge))
    slope = max(0.0, (_mass(last, skew) - _mass(edge, skew)) / total)
    return edge - 0.5 + draws * slope, slope


@inner
def _unique(draws, rows, skew, first, total):
    """Expected distinct rows after `draws` Zipf draws from `rows` rows, and its slope: (count, slope)."""
    if skew < 1e-6:
        left = math.exp(-draws / rows)
        return -rows * math.expm1(-draws / rows), left
    c1, s1 = _seen(draws / _T1, rows, skew, first, total)
    c2, s2 = _seen(draws / _T2, rows, skew, first, total)
    c3, s3 = _seen(draws / _T3, rows, skew, first, total)
    count = _W1 * _T1 * c1 / _T1 + _W2 * c2 + _W3 * c3
    return count, _W1 * s1 / _T1 + _W2 * s2 / _T2 + _W3 * s3 / _T3


@kernel
def embedding_bag(
    batch, tables, rows, dim, pooling, skew, width, out_width, reuse,
    vector_flops, memory_bandwidth, memory_latency, cache_bandwidth, cache_capacity, core_count, clock,
    launch_s, memory_fraction, cache_fraction, compute_fraction, cache_share, inflight_bytes, transaction_bytes,
    issue_cycles,
):
    """Cost of `tables` embedding bags: batch x pooling random rows of each, summed to one row a sample."""
    draws = batch * pooling
    lookups = tables * draws
    row = dim * width
    fetched = math.ceil(row / transaction_bytes) * transaction_bytes
    stream = lookups * 8.0 + batch * tables * dim * out_width
    work = lookups * dim
    first = _mass(0.5, skew)
    total = _mass(rows + 0.5, skew) - first
    unique, _ = _unique(draws, rows, skew, first, total)
    unique = min(unique, draws, rows)
    # Misses: every distinct row once while the cache holds them all; from then on at the rate the cache had reached.
    held = cache_capacity * cache_share / (fetched * tables)
    misses = unique
    if unique > held:
        misses = draws
        if held > 0.0:
            seen_at = held
            for _ in range(4):
                count, slope = _unique(seen_at, rows, skew, first, total)
                seen_at *= (held / count) ** (count / max(seen_at * slope, 1e-300))
            count, slope = _unique(seen_at, rows, skew, first, total)
            misses = min(draws, max(unique, count + (draws - seen_at) * slope))
    spill = max(0.0, stream - cache_capacity)
    ideal_bytes = tables * unique * row
    lower_memory = (1.0 - reuse) * (ideal_bytes + spill) + reuse * max(0.0, ideal_bytes + stream - cache_capacity)
    rows_bytes = tables * misses * fetched
    memory_bytes = (1.0 - reuse) * (rows_bytes + spill) + reuse * max(0.0, rows_bytes + stream - cache_capacity)
    lower_s = max(lower_memory / memory_bandwidth, (lookups * row + stream) / cache_bandwidth, work / vector_flops)
    cache_bytes = lookups * fetched + stream
    attained = min(memory_bandwidth * memory_fraction, core_count * inflight_bytes / memory_latency)
    memory_s = memory_bytes / attained
    cache_s = cache_bytes / (cache_bandwidth * cache_fraction)
    compute_s = work / (vector_flops * compute_fraction) + lookups * issue_cycles / (core_count * clock)
    time_s = launch_s + memory_latency + max(memory_s, cache_s, compute_s)
    upper_s = launch_s + memory_latency + memory_s + cache_s + compute_s
    return (
        0.0, work, ideal_bytes + stream, memory_bytes, cache_bytes, 0.0,
        lower_s, time_s, upper_s, compute_s, memory_s, cache_s, 0.0, launch_s + memory_latency,
    )
