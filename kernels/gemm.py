"""Cost of a matrix product on one chip: tiles on cores, operands through the cache, weights from memory."""

from __future__ import annotations

from math import ceil, sqrt

from roofline.kernels._jit import inner, kernel
from roofline.kernels.quantities import Quantities
from roofline.kernels.rounding import rounded_up

K_STEP = 64.0  # elements of k between two loads: k is padded to it, and a split is never thinner
THRASH = 3.0  # bytes lost per byte too many: evicting the oldest first loses more than the excess
FAR = 1e300  # above every time, below infinity


@inner
def lost_share(size: float, room: float) -> float:
    """Share of a working set that the cache has lost by the time it is asked for again, where it has `room` for some.

    Units: bytes.
    """
    return min(1.0, THRASH * max(size - room, 0.0) / size)


@inner
def traffic(
    m: float,
    n: float,
    k: float,
    batch: float,
    width: float,
    weight_width: float,
    out_width: float,
    quantize: float,
    warm_weights: float,
    cache_capacity: float,
    resident_fraction: float,
) -> tuple[float, float, float, float, float, float, float]:
    """What `gemm` moves, bytes: activations as far as the cache loses them, weights unless they are still there.

    A that is quantised first exists twice: with 2 bytes an element and with `width`.

    Returns
    -------
    a_bytes, weight_bytes, c_bytes, total_bytes : float
        Each tensor once.
    memory_bytes, ideal_bytes : float
        Expected of main memory, and the least that it has to give.
    lost : float
        Share of the working set that the cache loses.
    """
    elements = batch * m * k
    a_bytes = elements * width
    weight_bytes = batch * k * n * weight_width
    c_bytes = batch * m * n * out_width
    active_bytes = a_bytes + 2.0 * quantize * elements + c_bytes
    total_bytes = active_bytes + weight_bytes
    lost = lost_share(total_bytes, resident_fraction * cache_capacity)
    memory_bytes = active_bytes * lost + weight_bytes * (1.0 - warm_weights * (1.0 - lost))
    cold_bytes = weight_bytes + max(active_bytes - cache_capacity, 0.0)
    ideal_bytes = cold_bytes + warm_weights * (max(total_bytes - cache_capacity, 0.0) - cold_bytes)
    return a_bytes, weight_bytes, c_bytes, total_bytes, memory_bytes, ideal_bytes, lost


@inner
def split_over_cores(
    compute_s: float, hidden_s: float, fixed_s: float, most: float, reduce_s: float, split_s: float
) -> tuple[float, float, float]:
    """Time, what nothing hides of it, and compute time, s, of a tiling whose k is cut in up to `most` parts.

    Each part leaves `reduce_s` of partial sums to add. Compute shrinks with every cut, and nothing is gained past the
    cut at which it hides behind `hidden_s`, the longer of cache and memory time.
    """
    parts = max(1.0, min(most, compute_s / hidden_s))
    overhead_s = fixed_s + split_s + parts * reduce_s
    return overhead_s + max(compute_s / parts, hidden_s), overhead_s, compute_s / parts


@inner
def best_tiling(
    m: float,
    n: float,
    k: float,
    batch: float,
    width: float,
    weight_width: float,
    once_s: float,
    write_s: float,
    memory_s: float,
    core_flops: float,
    core_count: float,
    operand_rate: float,
    write_rate: float,
    prologue_s: float,
    k_step_s: float,
    epilogue_share: float,
    throttle_share: float,
    throttle_s: float,
    split_s: float,
    tail_share: float,
    tile_min: float,
    tile_max: float,
    row_step: float,
) -> tuple[float, float, float, float, float, float]:
    """The fastest of all tilings of ``C[m, n] = A[m, k] @ B[k, n]``, k cut over idle cores where that is faster.

    Parameters
    ----------
    m, n, k, batch, width, weight_width : float
        As in `gemm`, which explains the efficiency parameters as well.
    once_s, write_s, memory_s : float
        What passes beside the products, s: both operands through the cache once, C written, main memory's part.
    core_flops : float
        Sustained FLOP/s of one core.
    operand_rate, write_rate : float
        Of operand tiles into the cores, and of C and partial sums into the cache, bytes/s.

    Returns
    -------
    tiled_s, serial_s : float
        Time of the fastest tiling, and the least of all tilings with nothing overlapped, s.
    compute_s, cache_s, prologues_s, operand_bytes : float
        Busy times of the fastest one, what nothing hides, and the operands that pass the cache.
    """
    after_s = epilogue_share * write_s
    steps = ceil(k / K_STEP)
    padded_k, loop_s = K_STEP * steps, steps * k_step_s
    core_share = 1.0 / core_count
    core_rows = batch * m * core_share

    tiled_s = serial_s = FAR
    compute_s = cache_s = prologues_s = operand_bytes = 0.0
    rows = tile_min
    while True:
        row_tiles = batch * ceil(m / rows)
        filled = min(rows, row_step * ceil(m / row_step))
        cols = tile_min
        while True:
            # What a tile's row takes of a core, and what a tile moves and leaves to add up, the same at every size.
            row_s, tile_bytes = 2.0 * cols * padded_k / core_flops, padded_k * (rows * width + cols * weight_width)
            tile_s, tile_reduce_s = tile_bytes / operand_rate, 8.0 * rows * cols / write_rate
            col_tiles = ceil(n / cols)
            tiles = row_tiles * col_tiles
            waves = tiles * core_share if tiles > core_count else 1.0
            work = core_rows * col_tiles
            if work < filled:
                work = filled
            if tail_share > 0.0:
                whole = rounded_up(tiles / core_count) if tiles > core_count else 1.0
                waves += tail_share * (whole - waves)
                work += tail_share * (whole * filled - work)
            compute = work * row_s + waves * loop_s
            if throttle_share > 0.0:
                compute += throttle_share * compute * compute / (compute + throttle_s)
            compute += after_s
            cache = tiles * tile_s
            cache = (cache if cache > once_s else once_s) + write_s - after_s
            hidden = cache if cache > memory_s else memory_s
            fixed = waves * prologue_s
            total = fixed + (compute if compute > hidden else hidden)
            serial = fixed + compute + cache + memory_s
            if tiles < core_count and compute > split_s:
                reduce_s = tiles * tile_reduce_s
                most = min(core_count / tiles, steps, sqrt(compute / reduce_s))
                if most > 1.0:
                    serial = min(serial, serial - compute + compute / most + split_s + most * reduce_s)
                    split_total, split_fixed, split_compute = split_over_cores(
                        compute, hidden, fixed, most, reduce_s, split_s
                    )
                    if split_total < total:
                        total, fixed, compute = split_total, split_fixed, split_compute
            if total < tiled_s:
                tiled_s, compute_s, cache_s, prologues_s, operand_bytes = (
                    total,
                    compute,
                    cache,
                    fixed,
                    tiles * tile_bytes,
                )
            if serial < serial_s:
                serial_s = serial
            cols *= 2.0
            if cols > tile_max or cols >= 2.0 * n:
                break
        rows *= 2.0
        if rows > tile_max or rows >= 2.0 * m:
            break
    return tiled_s, serial_s, compute_s, cache_s, prologues_s, operand_bytes


@kernel("m", "batch")
def gemm(
    m: float,
    n: float,
    k: float,
    batch: float,
    width: float,
    weight_width: float,
    out_width: float,
    quantize: float,
    warm_weights: float,
    matrix_flops: float,
    memory_bandwidth: float,
    memory_latency: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    compute_fraction: float,
    memory_fraction: float,
    fetch_share: float,
    write_fraction: float,
    resident_fraction: float,
    operand_share: float,
    prologue_s: float,
    k_step_s: float,
    epilogue_share: float,
    throttle_share: float,
    throttle_s: float,
    split_s: float,
    pack_passes: float,
    tail_share: float,
    tile_min: float,
    tile_max: float,
    row_step: float,
    quantize_s: float,
    quantize_fraction: float,
    quantize_row_s: float,
) -> Quantities:
    """Cost of ``C[m, n] = A[m, k] @ B[k, n]``, `batch` times with a B of its own each.

    The output is cut into tiles and every core works through its share of them. The expected time is the launch
    plus the best, over tile shapes and splits of k, of the slowest of three things that overlap:

    - compute: ``tiles / core_count`` waves, at least one, of tiles at the sustained matrix rate, and what a step of the
      loop over k and the end of a tile cost beside. Whether a last wave, or a last tile, that is filled in part takes
      as long as a full one is up to the library: many tile shapes and persistent kernels balance both away (rows past
      a tile's edge then cost what they compute), one fixed tile does neither;
    - cache: both operands once per tile that needs them, and C written;
    - memory: B cold, after the latency of its first bytes, and what the cache loses of everything else.

    Where the tiles leave cores idle, k is split over them, for a reduction of fp32 partial sums.

    Parameters
    ----------
    m, n, k, batch : float
        Rows of A, columns of B, the summed dimension, and how many products.
    width, weight_width, out_width : float
        Bytes per element of A, B and C.
    quantize : float
        1.0: a kernel of its own first turns A from 2 bytes an element into `width`, 8 bits or 4.
    warm_weights : float
        1.0: B is used again and again, so that the part of it that fits is found in the cache; 0.0: it comes cold.
    matrix_flops : float
        Dense peak of the matrix engine for this dtype, FLOP/s.
    memory_bandwidth, cache_bandwidth : float
        Main memory and last-level cache, bytes/s.
    memory_latency : float
        Until the first bytes of a cold B arrive, s.
    cache_capacity : float
        Last-level cache, bytes; 0 without one.
    core_count : float
        Cores that work on tiles of their own.
    launch_s : float
        Fixed cost of a launch, s.
    compute_fraction : float
        Sustained share of `matrix_flops` in the loop over k: clocks under power, and what the loop loses.
    memory_fraction : float
        Sustained share of `memory_bandwidth`.
    fetch_share : float
        Share of `memory_latency` that nothing hides: 1.0 a kernel that begins by asking for its operands, 0.0 where the
        schedule asks ahead.
    write_fraction : float
        Share of `cache_bandwidth` at which C and partial sums are written.
    resident_fraction : float
        Share of the cache that a working set fills before it begins to evict itself.
    operand_share : float
        Rate of operand tiles into the cores over `cache_bandwidth`: above 1 where one fetch feeds several cores
        (clusters, multicast, tiles beyond `tile_max`), below where the cache falls short of its nominal rate.
    prologue_s : float
        Filling and draining a core's pipeline, s per wave.
    k_step_s : float
        What 64 elements of k cost beside their products, s: barriers, and adding up partial sums where operands are
        scaled by block.
    epilogue_share : float
        Share of C's writing that a core does between its tiles; the rest goes on beside the next tile.
    throttle_share, throttle_s : float
        Share by which power in the end lengthens the work of a matrix engine that is kept busy, and how much work it
        takes to come to half of that, s.
    split_s : float
        Fixed cost of splitting k, s: mostly the launch of the reduction.
    tail_share : float
        Share of the idle part of the last wave, and of the last row of tiles, that is waited for: 0.0 all cores end
        together, 1.0 whole waves of whole tiles.
    pack_passes : float
        Times that main memory's bandwidth passes both operands over while they are laid out anew for the main loop,
        before which nothing else runs: what processor libraries do, but for a single row. 0: operands are used as
        they lie.
    tile_min, tile_max : float
        Smallest and largest tile edge, elements; sizes between are powers of two apart.
    row_step : float
        Rows that the matrix unit takes at a time: a core's last tile of fewer rows than its edge is padded to a
        multiple.
    quantize_s, quantize_fraction : float
        Fixed cost of the quantising kernel, s, and the share of cache (memory, once it spills) bandwidth it reaches.
    quantize_row_s : float
        What a row of A costs that kernel whatever its length, s: a scale a row is found by one block of threads, and
        short rows are all start and reduction.

    Returns
    -------
    Quantities
        `upper_s` is the least that any tiling needs with nothing
        overlapped; the busy times are those of the fastest tiling.

    Notes
    -----
    Every option's time grows with every size, and an option leaves the choice only where another is as good, so the
    minimum grows too. Waves, tiles and operand traffic: NVIDIA, "Matrix Multiplication Background User's Guide";
    splitting k: Osama et al., "Stream-K", PPoPP 2023.
    """
    a_bytes, weight_bytes, c_bytes, total_bytes, memory_bytes, ideal_bytes, lost = traffic(
        m, n, k, batch, width, weight_width, out_width, quantize, warm_weights, cache_capacity, resident_fraction
    )
    write_rate = cache_bandwidth * write_fraction
    cache_byte_s, memory_byte_s = 1.0 / cache_bandwidth, 1.0 / memory_bandwidth
    once_s = (a_bytes + weight_bytes) * cache_byte_s
    write_s = c_bytes * (1.0 / write_rate)
    memory_s = memory_bytes * (memory_byte_s / memory_fraction)
    memory_s += fetch_share * memory_latency * (1.0 - warm_weights * (1.0 - lost))
    core_flops = matrix_flops * compute_fraction / core_count
    operand_rate = cache_bandwidth * operand_share
    tiled_s, serial_s, compute_s, cache_s, prologues_s, operand_bytes = best_tiling(
        m,
        n,
        k,
        batch,
        width,
        weight_width,
        once_s,
        write_s,
        memory_s,
        core_flops,
        core_count,
        operand_rate,
        write_rate,
        prologue_s,
        k_step_s,
        epilogue_share,
        throttle_share,
        throttle_s,
        split_s,
        tail_share,
        tile_min,
        tile_max,
        row_step,
    )

    # The quantising kernel reads 2 bytes and writes `width` per element of A.
    elements = batch * m * k
    flops = 2.0 * elements * n
    quantize_bytes = (2.0 + width) * quantize * elements
    quantize_busy_s = quantize_bytes * max(cache_byte_s, lost * memory_byte_s) * (1.0 / quantize_fraction)
    quantize_busy_s = max(quantize_busy_s, quantize * batch * m * quantize_row_s)
    # Laying out the operands anew comes before the products and on the same cores.
    pack_s = pack_passes * (a_bytes + weight_bytes) * memory_byte_s if m > 1.0 else 0.0
    starts_s = launch_s + quantize * quantize_s
    before_s = starts_s + quantize_busy_s + pack_s
    lower_s = max(flops * (1.0 / matrix_flops), ideal_bytes * memory_byte_s, total_bytes * cache_byte_s)
    return Quantities(
        flops,
        2.0 * quantize * elements,
        total_bytes,
        memory_bytes,
        max(operand_bytes, a_bytes + weight_bytes) + c_bytes + quantize_bytes,
        0.0,
        lower_s,
        max(before_s + tiled_s, lower_s),
        max(before_s + serial_s, lower_s),
        compute_s,
        memory_s + pack_s,
        cache_s + quantize_busy_s,
        0.0,
        prologues_s + starts_s,
    )
