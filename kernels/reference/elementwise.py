"""Streaming operators and fixed costs in plain numpy: the formulas to read first."""

from __future__ import annotations

import numpy as np


def elementwise(
    rows,
    cols,
    reads,
    writes,
    width,
    out_width,
    flops_per_element,
    passes,
    cold_reads,
    reuse,
    merged,
    vector_flops,
    memory_bandwidth,
    cache_bandwidth,
    cache_capacity,
    core_count,
    clock,
    launch_s,
    memory_fraction,
    cache_fraction,
    compute_fraction,
    cache_share,
    row_cores,
    row_cycles,
):
    """Cost of streaming `reads` tensors in and `writes` out, as arrays that broadcast.

    The roofline model of Williams, Waterman and Patterson (2009) with two memory levels. What makes a stream slower
    than its roofline, in the order of importance for small ones:

    1. `launch_s`: nothing runs before the kernel starts. What is `merged` into another kernel starts with that, rows
       included.
    2. fill: where a block takes a row, R rows keep only R x row_cores cores busy.
    3. rows: each row costs row_cycles a pass, however short it is.
    4. the cache: a stream of W bytes in a cache of C bytes finds all of itself again while W < share x C, and nothing
       once W = C, since a streaming pass evicts the oldest bytes just before it comes back to them.
    5. hits and misses do not overlap: W_hit / cache rate + W_miss / memory rate (never faster than the cache rate).
    """
    launch_s, row_cycles = launch_s * (1 - merged), row_cycles * (1 - merged)
    elements = rows * cols
    read = elements * reads * width
    written = elements * writes * out_width
    total = read + written
    cold = elements * np.minimum(reads, cold_reads) * width
    work = elements * flops_per_element

    first_use = cold + np.maximum(0.0, total - cold - cache_capacity)
    later_use = np.maximum(0.0, total - cache_capacity)
    least = (1 - reuse) * first_use + reuse * later_use
    lower = np.maximum(np.maximum(least / memory_bandwidth, total / cache_bandwidth), work / vector_flops)

    kept = cache_share * cache_capacity
    with np.errstate(divide="ignore", invalid="ignore"):
        partly = (total - kept) / (cache_capacity - kept)
    spill = np.where(total <= kept, 0.0, np.where(total < cache_capacity, partly, 1.0))
    first_use = cold + (total - cold) * spill
    later_use = total * spill
    memory_bytes = (1 - reuse) * first_use + reuse * later_use
    cache_bytes = total + (passes - 1) * read
    fill = np.minimum(1.0, rows * row_cores / core_count)
    memory_rate = fill * memory_fraction * memory_bandwidth
    cache_rate = fill * cache_fraction * cache_bandwidth
    memory_s = memory_bytes / memory_rate
    cache_s = cache_bytes / cache_rate
    compute_s = work / (compute_fraction * vector_flops) + rows * passes * row_cycles / (core_count * clock)

    hits = cache_bytes - memory_bytes
    stream_s = hits / cache_rate + memory_bytes / np.minimum(memory_rate, cache_rate)
    time = launch_s + np.maximum(stream_s, compute_s)
    upper = launch_s + memory_s + cache_s + compute_s
    # Without FLOP there is no computing: where rows hold up the stream, that is overhead.
    rows_s = np.where(work > 0, 0.0, compute_s)
    compute_s = np.where(work > 0, compute_s, 0.0)
    launch_s = launch_s + np.where(rows_s > stream_s, rows_s, 0.0)
    zero = np.zeros_like(time)
    return tuple(
        np.broadcast_arrays(
            zero,
            work,
            total,
            memory_bytes,
            cache_bytes,
            zero,
            lower,
            time,
            upper,
            compute_s,
            memory_s,
            cache_s,
            zero,
            launch_s,
        )
    )


def step_overhead(step_s):
    """Cost of a step's fixed work on the host: overhead and nothing else."""
    total = np.asarray(step_s, dtype=float)
    zero = np.zeros_like(total)
    return (zero,) * 7 + (total, total) + (zero,) * 4 + (total,)
