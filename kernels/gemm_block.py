"""`gemm` over a block of points: the loops over tiles outside, the points inside, so that the compiler vectorises them.

The formulas are those of :mod:`roofline.kernels.gemm`, to the bit; read that first. Every branch on a point is a choice
between two numbers, and whether k is cut over cores at all is asked once for all points of a block.
"""

from __future__ import annotations

from math import ceil, sqrt

from roofline.kernels import _loops
from roofline.kernels._jit import block_of, inner
from roofline.kernels.gemm import FAR, K_STEP, gemm, split_over_cores, traffic
from roofline.kernels.quantities import Quantities
from roofline.kernels.rounding import rounded_up
from roofline.kernels.sums import Scratch, leave

# Where things stand in the scratch.
ROW = _loops.ROW
M, BATCH = 0, ROW
COST = _loops.COST * ROW
(
    FLOPS, VECTOR_FLOPS, BYTES, MEMORY_BYTES, CACHE_BYTES, NETWORK_BYTES,
    LOWER, TIME, UPPER, COMPUTE, MEMORY, CACHE, NETWORK, OVERHEAD,
) = [COST + i * ROW for i in range(14)]  # fmt: skip
TEMP = _loops.TEMP * ROW
ONCE, WRITE, WAIT, BEFORE, ROW_TILES, FILLED, CORE_ROWS = [TEMP + i * ROW for i in range(7)]
A_BYTES, C_BYTES, QUANTIZED = [TEMP + i * ROW for i in range(7, 10)]


@inner
def larger(scratch: Scratch, edge: float, size: int) -> bool:
    """Whether any product has more rows than half a tile's edge: for less, a tile half as large does as well."""
    found = 0
    for p in range(size):
        found += 1 if edge < 2.0 * scratch[M + p] else 0
    return found > 0


@inner
def tiling(
    scratch: Scratch,
    p: int,
    rows: float,
    cols: float,
    col_tiles: float,
    steps: float,
    width: float,
    weight_width: float,
    core_flops: float,
    core_count: float,
    operand_rate: float,
    prologue_s: float,
    k_step_s: float,
    epilogue_share: float,
    throttle_share: float,
    throttle_s: float,
    tail_share: float,
) -> tuple[float, float, float, float, float, float]:
    """One tiling with k whole, as in `best_tiling`: tiles, compute, cache and hidden time, prologues, operands."""
    once_s, write_s, memory_s = scratch[ONCE + p], scratch[WRITE + p], scratch[WAIT + p]
    filled = scratch[FILLED + p]
    after_s = epilogue_share * write_s
    padded_k = K_STEP * steps
    tiles = scratch[ROW_TILES + p] * col_tiles
    waves = tiles / core_count if tiles > core_count else 1.0
    work = scratch[CORE_ROWS + p] * col_tiles
    work = filled if work < filled else work
    if tail_share > 0.0:
        whole = rounded_up(waves)
        waves += tail_share * (whole - waves)
        work += tail_share * (whole * filled - work)
    compute = 2.0 * work * cols * padded_k / core_flops + waves * steps * k_step_s
    if throttle_share > 0.0:
        compute += throttle_share * compute * compute / (compute + throttle_s)
    compute += after_s
    operands = tiles * padded_k * (rows * width + cols * weight_width)
    cache = operands / operand_rate
    cache = (cache if cache > once_s else once_s) + write_s - after_s
    hidden = cache if cache > memory_s else memory_s
    fixed = waves * prologue_s
    return tiles, compute, cache, hidden, fixed, operands


@inner
def keep_better(
    scratch: Scratch,
    p: int,
    rows: float,
    tile_min: float,
    total: float,
    serial: float,
    compute: float,
    cache: float,
    fixed: float,
    operands: float,
) -> None:
    """Keep a tiling where it is offered, and faster than all before it."""
    # A tile of twice the rows that there are would only be padded more.
    offered = rows == tile_min or rows < 2.0 * scratch[M + p]
    better = offered and total < scratch[TIME + p]
    scratch[TIME + p] = total if better else scratch[TIME + p]
    scratch[COMPUTE + p] = compute if better else scratch[COMPUTE + p]
    scratch[CACHE + p] = cache if better else scratch[CACHE + p]
    scratch[OVERHEAD + p] = fixed if better else scratch[OVERHEAD + p]
    scratch[CACHE_BYTES + p] = operands if better else scratch[CACHE_BYTES + p]
    scratch[UPPER + p] = serial if offered and serial < scratch[UPPER + p] else scratch[UPPER + p]


@inner
def prepare(
    scratch: Scratch,
    size: int,
    n: float,
    k: float,
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
    memory_fraction: float,
    fetch_share: float,
    resident_fraction: float,
    write_rate: float,
    pack_passes: float,
    quantize_s: float,
    quantize_fraction: float,
) -> None:
    """What does not depend on the tiling."""
    starts_s = launch_s + quantize * quantize_s
    for p in range(size):
        m, batch = scratch[M + p], scratch[BATCH + p]
        a_bytes, weight_bytes, c_bytes, total_bytes, memory_bytes, ideal_bytes, lost = traffic(
            m, n, k, batch, width, weight_width, out_width, quantize, warm_weights, cache_capacity, resident_fraction
        )
        scratch[ONCE + p] = (a_bytes + weight_bytes) / cache_bandwidth
        scratch[WRITE + p] = c_bytes / write_rate
        memory_s = memory_bytes / (memory_bandwidth * memory_fraction)
        memory_s += fetch_share * memory_latency * (1.0 - warm_weights * (1.0 - lost))
        scratch[WAIT + p] = memory_s
        scratch[CORE_ROWS + p] = batch * m / core_count

        elements = batch * m * k
        flops = 2.0 * elements * n
        quantize_bytes = 3.0 * quantize * elements
        quantize_busy_s = quantize_bytes * max(1.0 / cache_bandwidth, lost / memory_bandwidth) / quantize_fraction
        pack_s = pack_passes * (a_bytes + weight_bytes) / memory_bandwidth if m > 1.0 else 0.0
        scratch[BEFORE + p] = starts_s + quantize_busy_s + pack_s
        scratch[QUANTIZED + p] = quantize_busy_s
        scratch[A_BYTES + p] = a_bytes + weight_bytes
        scratch[C_BYTES + p] = c_bytes
        scratch[FLOPS + p] = flops
        scratch[VECTOR_FLOPS + p] = 2.0 * quantize * elements
        scratch[BYTES + p] = total_bytes
        scratch[MEMORY_BYTES + p] = memory_bytes
        scratch[LOWER + p] = max(flops / matrix_flops, ideal_bytes / memory_bandwidth, total_bytes / cache_bandwidth)
        scratch[TIME + p] = FAR
        scratch[UPPER + p] = FAR
        scratch[MEMORY + p] = memory_s + pack_s


@inner
def conclude(scratch: Scratch, size: int, summed: int, starts_s: float) -> None:
    """The cost at each point, from its best tiling and what does not depend on that."""
    for p in range(size):
        before_s, lower_s, work = scratch[BEFORE + p], scratch[LOWER + p], scratch[VECTOR_FLOPS + p]
        operands = max(scratch[CACHE_BYTES + p], scratch[A_BYTES + p])
        cost = Quantities(
            scratch[FLOPS + p],
            work,
            scratch[BYTES + p],
            scratch[MEMORY_BYTES + p],
            operands + scratch[C_BYTES + p] + 1.5 * work,  # quantising: 2 FLOP an element, and 3 bytes
            0.0,
            lower_s,
            max(before_s + scratch[TIME + p], lower_s),
            max(before_s + scratch[UPPER + p], lower_s),
            scratch[COMPUTE + p],
            scratch[MEMORY + p],
            scratch[CACHE + p] + scratch[QUANTIZED + p],
            0.0,
            scratch[OVERHEAD + p] + starts_s,
        )
        leave(scratch, p, cost, summed)


@block_of(gemm)
def gemm_block(
    scratch: Scratch,
    size: int,
    summed: int,
    n: float,
    k: float,
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
) -> None:
    """`gemm` for columns of `m` and `batch`."""
    write_rate = cache_bandwidth * write_fraction
    core_flops = matrix_flops * compute_fraction / core_count
    operand_rate = cache_bandwidth * operand_share
    steps = ceil(k / K_STEP)
    prepare(
        scratch, size, n, k, width, weight_width, out_width, quantize, warm_weights, matrix_flops, memory_bandwidth,
        memory_latency, cache_bandwidth, cache_capacity, core_count, launch_s, memory_fraction, fetch_share,
        resident_fraction, write_rate, pack_passes, quantize_s, quantize_fraction,
    )  # fmt: skip
    rows = tile_min
    while rows == tile_min or (rows <= tile_max and larger(scratch, rows, size)):
        for p in range(size):
            m = scratch[M + p]
            scratch[ROW_TILES + p] = scratch[BATCH + p] * ceil(m / rows)
            scratch[FILLED + p] = min(rows, row_step * ceil(m / row_step))
        cols = tile_min
        while cols == tile_min or (cols <= tile_max and cols < 2.0 * n):
            col_tiles = ceil(n / cols)
            idle = 0
            for p in range(size):
                idle += 1 if scratch[ROW_TILES + p] * col_tiles < core_count else 0
            if idle == 0:
                for p in range(size):
                    tiles, compute, cache, hidden, fixed, operands = tiling(
                        scratch, p, rows, cols, col_tiles, steps, width, weight_width, core_flops, core_count,
                        operand_rate, prologue_s, k_step_s, epilogue_share, throttle_share, throttle_s, tail_share,
                    )  # fmt: skip
                    total = fixed + (compute if compute > hidden else hidden)
                    serial = fixed + compute + cache + scratch[WAIT + p]
                    keep_better(scratch, p, rows, tile_min, total, serial, compute, cache, fixed, operands)
            else:
                for p in range(size):
                    tiles, compute, cache, hidden, fixed, operands = tiling(
                        scratch, p, rows, cols, col_tiles, steps, width, weight_width, core_flops, core_count,
                        operand_rate, prologue_s, k_step_s, epilogue_share, throttle_share, throttle_s, tail_share,
                    )  # fmt: skip
                    total = fixed + (compute if compute > hidden else hidden)
                    serial = fixed + compute + cache + scratch[WAIT + p]
                    reduce_s = 8.0 * tiles * rows * cols / write_rate
                    most = min(core_count / tiles, steps, sqrt(compute / reduce_s))
                    cut = tiles < core_count and compute > split_s and most > 1.0
                    split_serial = min(serial, serial - compute + compute / most + split_s + most * reduce_s)
                    serial = split_serial if cut else serial
                    split_total, split_fixed, split_compute = split_over_cores(
                        compute, hidden, fixed, most, reduce_s, split_s
                    )
                    cut = cut and split_total < total
                    total = split_total if cut else total
                    fixed = split_fixed if cut else fixed
                    compute = split_compute if cut else compute
                    keep_better(scratch, p, rows, tile_min, total, serial, compute, cache, fixed, operands)
            cols *= 2.0
        rows *= 2.0

    conclude(scratch, size, summed, launch_s + quantize * quantize_s)
