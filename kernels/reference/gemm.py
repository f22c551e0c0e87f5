"""The cost of a matrix product in plain numpy: the formula to read before the kernel of the same name."""

from __future__ import annotations

import numpy as np

K_STEP = 64.0  # elements of k between two loads
THRASH = 3.0  # bytes lost per byte too many


def lost_share(size, room):
    """Share of a working set that a cache with `room` for some of it has lost before it is asked for again."""
    return np.minimum(1, THRASH * np.maximum(size - room, 0) / size)


def gemm(
    m,
    n,
    k,
    batch,
    width,
    weight_width,
    out_width,
    quantize,
    warm_weights,
    matrix_flops,
    memory_bandwidth,
    memory_latency,
    cache_bandwidth,
    cache_capacity,
    core_count,
    launch_s,
    compute_fraction,
    memory_fraction,
    fetch_share,
    write_fraction,
    resident_fraction,
    operand_share,
    prologue_s,
    k_step_s,
    epilogue_share,
    throttle_share,
    throttle_s,
    split_s,
    pack_passes,
    tail_share,
    tile_min,
    tile_max,
    row_step,
    quantize_s,
    quantize_fraction,
    quantize_row_s,
):
    """Cost of ``C[m, n] = A[m, k] @ B[k, n]``, `batch` times, as arrays that broadcast.

    Names, units and the 14 results are those of the kernel. For a tile of r x c outputs, K = k padded to whole steps:

    - tiles = batch ceil(m / r) ceil(n / c), in waves = max(1, tiles / cores), rounded up by the `tail_share`;
    - compute = the rows of a core x 2 c K / (its sustained rate), at least those of one tile, r at most m padded to
      `row_step`; by the `tail_share` whole waves of whole tiles; `k_step_s` for each step of a tile, and the
      `epilogue_share` of C's writing; the longer the engine is busy, the slower its clock (`throttle_share`);
    - cache = tiles x K (r + c elements) at the operand rate, at least A and B once, and C at the write rate;
    - memory = B cold, plus what a cache of this capacity loses of the rest, after a `fetch_share` of `memory_latency`;
    - where tiles < cores, k may be split s ways: compute / s, for s partial sums of 8 bytes an output and `split_s`.

    Expected: launch + the least, over tiles and s, of prologue + reduction + max(compute, cache, memory).
    Upper: the same with the sum in place of the maximum. Lower: each resource alone at its datasheet rate, nothing
    padded, nothing twice. Quantising A to 8 bits first is a kernel of its own that moves 3 bytes an element.

    Sources: waves and tiles, NVIDIA "Matrix Multiplication Background User's Guide"; the split of k, Osama et al.,
    "Stream-K" (PPoPP 2023); the overlap of resources, Williams, Waterman and Patterson, "Roofline" (CACM 2009).
    """
    shape = np.broadcast_shapes(*(np.shape(argument) for argument in locals().values()))

    # Work and bytes. Quantised, A exists twice: with 2 bytes an element and with `width`.
    flops = 2 * batch * m * n * k
    a = batch * m * k * width
    b = batch * k * n * weight_width
    c = batch * m * n * out_width
    active = a + c + 2 * quantize * batch * m * k
    total = active + b

    # A cache that evicts the oldest bytes first loses more than the excess: they go just before their turn comes.
    # Activations were just produced and are lost only so; B is cold, unless it is used again (`warm_weights`).
    lost = lost_share(total, resident_fraction * cache_capacity)
    memory_bytes = active * lost + b * (1 - warm_weights + warm_weights * lost)
    ideal_bytes = (1 - warm_weights) * (b + np.maximum(active - cache_capacity, 0))
    ideal_bytes = ideal_bytes + warm_weights * np.maximum(total - cache_capacity, 0)
    lower = np.maximum(flops / matrix_flops, np.maximum(ideal_bytes / memory_bandwidth, total / cache_bandwidth))

    # Every tile shape on a first axis: edges tile_min, 2 tile_min, ... tile_max, for rows and columns apart.
    doublings = 1 + int(np.log2(np.max(np.divide(tile_max, tile_min))) + 1e-9)
    row_power, col_power = (2.0 ** power.reshape(-1, *[1] * len(shape)) for power in np.indices([doublings] * 2))
    rows, cols = tile_min * row_power, tile_min * col_power
    allowed = np.maximum(rows, cols) <= tile_max

    tiles = batch * np.ceil(m / rows) * np.ceil(n / cols)
    waves = np.maximum(1, tiles / core_count)
    whole = np.ceil(waves)
    waves = waves + tail_share * (whole - waves)
    steps = np.ceil(k / K_STEP)
    filled = np.minimum(rows, row_step * np.ceil(m / row_step))  # of a tile with fewer rows than its edge
    work = np.maximum(filled, batch * m * np.ceil(n / cols) / core_count)  # rows of a core
    work = work + tail_share * (whole * filled - work)
    compute = work * 2 * cols * steps * K_STEP / (matrix_flops * compute_fraction / core_count)
    compute = compute + waves * steps * k_step_s
    compute = compute + throttle_share * compute**2 / (compute + throttle_s)
    operands = tiles * steps * K_STEP * (rows * width + cols * weight_width)
    write_rate = cache_bandwidth * write_fraction
    write = c / write_rate
    compute = compute + epilogue_share * write
    cache = np.maximum(operands / operand_share, a + b) / cache_bandwidth + (1 - epilogue_share) * write
    memory = memory_bytes / (memory_bandwidth * memory_fraction)
    memory = memory + fetch_share * memory_latency * (1 - warm_weights * (1 - lost))
    hidden = np.maximum(cache, memory)
    fixed = waves * prologue_s

    # Split s ways, compute / s + s x reduction is least where both are equal; and since cache and memory overlap,
    # nothing is gained past the s at which compute hides behind them.
    reduction = 8 * tiles * rows * cols / write_rate
    most = np.minimum(np.minimum(core_count / tiles, steps), np.sqrt(compute / reduction))
    splittable = allowed & (most > 1)
    most = np.maximum(most, 1)
    split = np.clip(compute / hidden, 1, most)
    split_fixed = fixed + split_s + split * reduction
    split_serial = fixed + split_s + most * reduction + compute / most + cache + memory

    time = np.where(allowed, fixed + np.maximum(compute, hidden), np.inf)
    split_time = np.where(splittable, split_fixed + np.maximum(compute / split, hidden), np.inf)
    serial = np.where(allowed, fixed + compute + cache + memory, np.inf)
    serial = np.minimum(serial, np.where(splittable, split_serial, np.inf))

    # The busy times are those of the fastest option.
    fastest = np.argmin(np.concatenate([time, split_time]), axis=0)[None]

    def of_fastest(unsplit, with_split):
        both = np.concatenate([np.broadcast_to(x, time.shape) for x in (unsplit, with_split)])
        return np.take_along_axis(both, fastest, axis=0)[0]

    quantize_bytes = (2 + width) * quantize * batch * m * k
    quantize_busy = quantize_bytes * np.maximum(1 / cache_bandwidth, lost / memory_bandwidth) / quantize_fraction
    quantize_busy = np.maximum(quantize_busy, quantize * batch * m * quantize_row_s)
    pack = np.where(np.greater(m, 1), pack_passes * (a + b) / memory_bandwidth, 0)
    launch = launch_s + quantize * quantize_s
    zero = np.zeros(shape)
    return (
        zero + flops,
        zero + 2 * quantize * batch * m * k,
        zero + total,
        zero + memory_bytes,
        np.maximum(of_fastest(operands, operands), a + b) + c + quantize_bytes,
        zero,
        zero + lower,
        np.maximum(launch + pack + quantize_busy + np.minimum(time.min(0), split_time.min(0)), lower),
        np.maximum(launch + pack + quantize_busy + serial.min(0), lower),
        of_fastest(compute, compute / split),
        zero + memory + pack,
        of_fastest(cache, cache) + quantize_busy,
        zero,
        launch + of_fastest(fixed, split_fixed),
    )
