"""Streaming operators: everything whose time is moving a few tensors once, and the fixed cost of a step."""

from __future__ import annotations

from roofline.kernels._jit import kernel
from roofline.kernels.quantities import Quantities


@kernel("rows")
def elementwise(
    rows: float,
    cols: float,
    reads: float,
    writes: float,
    width: float,
    out_width: float,
    flops_per_element: float,
    passes: float,
    cold_reads: float,
    reuse: float,
    merged: float,
    vector_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    clock: float,
    launch_s: float,
    memory_fraction: float,
    cache_fraction: float,
    compute_fraction: float,
    cache_share: float,
    row_cores: float,
    row_cycles: float,
) -> Quantities:
    """Cost of an operator that streams `reads` tensors of rows x cols in and `writes` tensors out.

    time = launch + max(stream, vector work). Every byte passes the cache; a byte that misses there takes as long as
    main memory needs. A stream waits for its hits and its misses in turn, so the two add up instead of overlapping.
    The inputs were just produced and sit in the cache as far as they fit; `cold_reads` of them (the rows of an
    embedding table) come from main memory.

    Parameters
    ----------
    rows, cols : shape of one tensor, in elements.
    reads, writes : tensors of that shape read and written; may be fractional.
    width, out_width : bytes per element read and written.
    flops_per_element : FLOP of the vector engine per element of one tensor.
    passes : sweeps over a row: 1 for a map, 2 for a norm, 2 or 3 for a softmax. Each sweep after the first reads the
        row again, from the cache.
    cold_reads : how many of the `reads` tensors come cold from main memory.
    reuse : 1.0 when the same tensors are used again and again, so that a cold one that fits is warm as well; else 0.0.
    merged : 1.0 for what runs within another kernel, which bears the start of it and of its rows; else 0.0.
    vector_flops : FLOP/s in fp32.
    memory_bandwidth, cache_bandwidth : B/s.
    cache_capacity : B.
    core_count : cores of the chip.
    clock : Hz.
    launch_s : s, start and drain of the kernel.
    memory_fraction, cache_fraction, compute_fraction : sustained share of the datasheet rates, in (0, 1].
    cache_share : share of the cache that a stream fills before it begins to evict itself, in [0, 1).
    row_cores : cores that one row keeps busy, in units of a core's share of the sustained rates. About 1 where a
        block works on a row; large where a row is spread over the chip.
    row_cycles : clock cycles of a core that a row costs in each pass whatever its length: block start, reduction.

    Returns
    -------
    The 14 quantities of a cost, in the order that every kernel returns them.
    """
    elements = rows * cols
    read_bytes = elements * reads * width
    cold_bytes = elements * (cold_reads if cold_reads < reads else reads) * width
    total_bytes = read_bytes + elements * writes * out_width
    work = elements * flops_per_element

    # At best the cache holds what its capacity says.
    first_use = cold_bytes + max(0.0, total_bytes - cold_bytes - cache_capacity)
    least_bytes = first_use + reuse * (max(0.0, total_bytes - cache_capacity) - first_use)
    memory_byte_s, cache_byte_s, flop_s = 1.0 / memory_bandwidth, 1.0 / cache_bandwidth, 1.0 / vector_flops
    lower_s = max(least_bytes * memory_byte_s, total_bytes * cache_byte_s, work * flop_s)

    # In fact a stream evicts itself: by the time it is as large as the cache, nothing of it is found again.
    spill = 1.0
    if total_bytes <= cache_share * cache_capacity:
        spill = 0.0
    elif total_bytes < cache_capacity:
        spill = (total_bytes - cache_share * cache_capacity) / ((1.0 - cache_share) * cache_capacity)
    memory_bytes = total_bytes * spill + (1.0 - reuse) * cold_bytes * (1.0 - spill)
    cache_bytes = total_bytes + (passes - 1.0) * read_bytes

    idle = max(1.0, core_count / row_cores / rows)  # fewer rows than cores leave cores idle
    memory_byte_s *= idle / memory_fraction
    cache_byte_s *= idle / cache_fraction
    memory_s = memory_bytes * memory_byte_s
    cache_s = cache_bytes * cache_byte_s
    start_s, own_cycles = launch_s * (1.0 - merged), row_cycles * (1.0 - merged)
    compute_s = work * (flop_s / compute_fraction) + rows * (passes * own_cycles / (core_count * clock))
    stream_s = cache_s + memory_bytes * max(0.0, memory_byte_s - cache_byte_s)
    time_s = start_s + max(stream_s, compute_s)
    upper_s = start_s + memory_s + cache_s + compute_s
    if work <= 0.0:  # nothing is computed: what the rows cost beyond the stream is the cost of starting them
        if compute_s > stream_s:
            start_s += compute_s
        compute_s = 0.0
    return Quantities(
        0.0,
        work,
        total_bytes,
        memory_bytes,
        cache_bytes,
        0.0,
        lower_s,
        time_s,
        upper_s,
        compute_s,
        memory_s,
        cache_s,
        0.0,
        start_s,
    )


@kernel()
def step_overhead(
    step_s: float,
) -> Quantities:
    """Cost of a step's fixed work (scheduling, the host's part, launching the graph): all of it is overhead.

    Parameters
    ----------
    step_s : s.

    Returns
    -------
    The 14 quantities of a cost.
    """
    return Quantities(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, step_s, step_s, 0.0, 0.0, 0.0, 0.0, step_s)
