"""Cost of a matrix product on one chip: tiles on cores, operands from cache and memory."""

from __future__ import annotations

from math import ceil, sqrt

from roofline.kernels._jit import kernel

K_STEP = 64.0  # elements of k between two loads; k is padded to it, and a split is never thinner
THRASH = 3.0  # bytes lost per byte too many: a cache that evicts the oldest first loses more than the excess


@kernel
def gemm(
    m: float,
    n: float,
    k: float,
    batch: float,
    width: float,
    weight_width: float,
    out_width: float,
    quantize: float,
    reuse: float,
    matrix_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    compute_fraction: float,
    memory_fraction: float,
    write_fraction: float,
    resident_fraction: float,
    operand_share: float,
    prologue_s: float,
    split_s: float,
    tile_min: float,
    tile_max: float,
    quantize_s: float,
    quantize_fraction: float,
) -> tuple[float, float, float, float, float, float, float, float, float, float, float, float, float, float]:
    """Cost of C[m, n] = A[m, k] B[k, n], `batch` times with a B of its own each."""
    elements = batch * m * k
    flops = 2.0 * elements * n
    a_bytes = elements * width
    weight_bytes = batch * k * n * weight_width
    c_bytes = batch * m * n * out_width
    active_bytes = a_bytes + 2.0 * quantize * elements + c_bytes
    total_bytes = active_bytes + weight_bytes

    # What the cache holds: activations always, the weights too when they are used again.
    lost = min(1.0, THRASH * max(total_bytes - resident_fraction * cache_capacity, 0.0) / total_bytes)
    memory_bytes = active_bytes * lost + weight_bytes * (1.0 - reuse * (1.0 - lost))
    coldest = weight_bytes + max(active_bytes - cache_capacity, 0.0)
    ideal_bytes = coldest + reuse * (max(total_bytes - cache_capacity, 0.0) - coldest)

    memory_s = memory_bytes / (memory_bandwidth * memory_fraction)
    operand_rate = cache_bandwidth * operand_share
    write_rate = cache_bandwidth * write_fraction
    once_s = (a_bytes + weight_bytes) / cache_bandwidth
    write_s = c_bytes / write_rate
    core_rate = matrix_flops * compute_fraction / core_count
    k_padded = K_STEP * ceil(k / K_STEP)

    time_s = upper_s = 1e300
    compute_s = cache_s = overhead_s = read_bytes = 0.0
    rows = tile_min
    while True:
        row_tiles = batch * ceil(m / rows)
        cols = tile_min
        while True:
            tiles = row_tiles * ceil(n / cols)
            waves = max(1.0, tiles / core_count)
            operands = tiles * k_padded * (rows * width + cols * weight_width)
            cache = max(operands / operand_rate, once_s) + write_s
            compute = 2.0 * waves * rows * cols * k_padded / core_rate
            fixed = waves * prologue_s
            floor = max(cache, memory_s)
            total = fixed + max(compute, floor)
            if total < time_s:
                time_s, compute_s, cache_s, overhead_s, read_bytes = total, compute, cache, fixed, operands
            upper_s = min(upper_s, fixed + compute + cache + memory_s)
            if compute > split_s and tiles < core_count:
                # Idle cores share the tiles' k; the partial sums pass the cache twice, in fp32.
                reduce_s = 8.0 * tiles * rows * cols / write_rate
                most = min(core_count / tiles, k_padded / K_STEP, sqrt(compute / reduce_s))
                if most > 1.0:
                    split = max(1.0, min(most, compute / floor))
                    shared = fixed + split_s + split * reduce_s
                    total = shared + max(compute / split, floor)
                    if total < time_s:
                        time_s, compute_s, cache_s, read_bytes = total, compute / split, cache, operands
                        overhead_s = shared
                    upper_s = min(upper_s, fixed + split_s + most * reduce_s + compute / most + cache + memory_s)
            cols *= 2.0
            if cols > tile_max or cols >= 2.0 * n:
                break
        rows *= 2.0
        if rows > tile_max or rows >= 2.0 * m:
            break

    # The activations' own kernel: reads 2 bytes and writes 1 per element.
    quantize_bytes = 3.0 * quantize * elements
    quantize_busy = quantize_bytes * max(1.0 / cache_bandwidth, lost / memory_bandwidth) / quantize_fraction
    fixed = launch_s + quantize * quantize_s + quantize_busy
    lower_s = max(flops / matrix_flops, ideal_bytes / memory_bandwidth, total_bytes / cache_bandwidth)
    return (
        flops,
        2.0 * quantize * elements,
        total_bytes,
        memory_bytes,
        max(read_bytes, a_bytes + weight_bytes) + c_bytes + quantize_bytes,
        0.0,
        lower_s,
        time_s + fixed,
        upper_s + fixed,
        compute_s,
        memory_s,
        cache_s + quantize_busy,
        0.0,
        overhead_s + launch_s + quantize * quantize_s,
    )
