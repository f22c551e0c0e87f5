"""`gemm` over a block of points: the loops over tiles outside, the points inside, so that the compiler vectorises them.

The formulas are those of :mod:`roofline.kernels.gemm`, to the bit; read that first. Every branch on a point is a choice
between two numbers. A block is worked through in pieces that the nearest cache holds with all that is remembered of
each point, and whether k is cut over cores at all is asked once for all points of a piece.
"""

from __future__ import annotations

from math import ceil, sqrt

from roofline.kernels import _loops
from roofline.kernels._jit import block_of, inner
from roofline.kernels._native import wide
from roofline.kernels.gemm import FAR, K_STEP, gemm, split_over_cores, traffic
from roofline.kernels.quantities import Quantities
from roofline.kernels.rounding import rounded_up
from roofline.kernels.sums import Scratch, leave

# Where things stand in the scratch.
ROW = _loops.ROW
M, BATCH = 0, ROW
COST = _loops.COST * ROW
(
    FLOPS,
    VECTOR_FLOPS,
    BYTES,
    MEMORY_BYTES,
    CACHE_BYTES,
    NETWORK_BYTES,
    LOWER,
    TIME,
    UPPER,
    COMPUTE,
    MEMORY,
    CACHE,
    NETWORK,
    OVERHEAD,
) = [COST + i * ROW for i in range(14)]
TEMP = _loops.TEMP * ROW
ONCE, WRITE, WAIT, BEFORE, ROW_TILES, FILLED, CORE_ROWS = [TEMP + i * ROW for i in range(7)]
A_BYTES, C_BYTES, QUANTIZED = [TEMP + i * ROW for i in range(7, 10)]

PIECE = 128  # points


@inner
def larger(scratch: Scratch, edge: float, first: int, last: int) -> bool:
    """Whether any product has more rows than half a tile's edge: for less, a tile half as large does as well."""
    wide()
    found = 0
    for p in range(first, last):
        found += 1 if edge < 2.0 * scratch[M + p] else 0
    return found > 0


@inner
def tiling(
    scratch: Scratch,
    p: int,
    col_tiles: float,
    row_s: float,
    tile_s: float,
    loop_s: float,
    core_count: float,
    core_share: float,
    prologue_s: float,
    epilogue_share: float,
    throttle_share: float,
    throttle_s: float,
    tail_share: float,
) -> tuple[float, float, float, float, float]:
    """One tiling with k whole, as in `best_tiling`: tiles, compute, cache and hidden time, prologues."""
    once_s, write_s, memory_s = scratch[ONCE + p], scratch[WRITE + p], scratch[WAIT + p]
    filled = scratch[FILLED + p]
    after_s = epilogue_share * write_s
    tiles = scratch[ROW_TILES + p] * col_tiles
    waves = tiles * core_share if tiles > core_count else 1.0
    work = scratch[CORE_ROWS + p] * col_tiles
    work = filled if work < filled else work
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
    return tiles, compute, cache, hidden, fixed


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
    summed: int,
) -> None:
    """Keep a tiling where it is offered, and faster than all before it."""
    # A tile of twice the rows that there are would only be padded more.
    offered = rows == tile_min or rows < 2.0 * scratch[M + p]
    better = offered and total < scratch[TIME + p]
    scratch[TIME + p] = total if better else scratch[TIME + p]
    scratch[COMPUTE + p] = compute if better else scratch[COMPUTE + p]
    scratch[CACHE + p] = cache if better else scratch[CACHE + p]
    scratch[OVERHEAD + p] = fixed if better else scratch[OVERHEAD + p]
    if summed == 0:  # nothing is added up of the bytes
        scratch[CACHE_BYTES + p] = operands if better else scratch[CACHE_BYTES + p]
    scratch[UPPER + p] = serial if offered and serial < scratch[UPPER + p] else scratch[UPPER + p]


@inner
def prepare(
    scratch: Scratch,
    first: int,
    last: int,
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
    core_share: float,
    launch_s: float,
    memory_fraction: float,
    fetch_share: float,
    resident_fraction: float,
    write_rate: float,
    pack_passes: float,
    quantize_s: float,
    quantize_fraction: float,
    quantize_row_s: float,
) -> None:
    """What does not depend on the tiling."""
    wide()
    starts_s = launch_s + quantize * quantize_s
    cache_byte_s, memory_byte_s = 1.0 / cache_bandwidth, 1.0 / memory_bandwidth
    for p in range(first, last):
        m, batch = scratch[M + p], scratch[BATCH + p]
        a_bytes, weight_bytes, c_bytes, total_bytes, memory_bytes, ideal_bytes, lost = traffic(
            m, n, k, batch, width, weight_width, out_width, quantize, warm_weights, cache_capacity, resident_fraction
        )
        scratch[ONCE + p] = (a_bytes + weight_bytes) * cache_byte_s
        scratch[WRITE + p] = c_bytes * (1.0 / write_rate)
        memory_s = memory_bytes * (memory_byte_s / memory_fraction)
        memory_s += fetch_share * memory_latency * (1.0 - warm_weights * (1.0 - lost))
        scratch[WAIT + p] = memory_s
        scratch[CORE_ROWS + p] = batch * m * core_share

        elements = batch * m * k
        flops = 2.0 * elements * n
        quantize_bytes = (2.0 + width) * quantize * elements
        quantize_busy_s = quantize_bytes * max(cache_byte_s, lost * memory_byte_s) * (1.0 / quantize_fraction)
        quantize_busy_s = max(quantize_busy_s, quantize * batch * m * quantize_row_s)
        pack_s = pack_passes * (a_bytes + weight_bytes) * memory_byte_s if m > 1.0 else 0.0
        scratch[BEFORE + p] = starts_s + quantize_busy_s + pack_s
        scratch[QUANTIZED + p] = quantize_busy_s
        scratch[A_BYTES + p] = a_bytes + weight_bytes
        scratch[C_BYTES + p] = c_bytes
        scratch[FLOPS + p] = flops
        scratch[VECTOR_FLOPS + p] = 2.0 * quantize * elements
        scratch[BYTES + p] = total_bytes
        scratch[MEMORY_BYTES + p] = memory_bytes
        scratch[LOWER + p] = max(flops * (1.0 / matrix_flops), ideal_bytes * memory_byte_s, total_bytes * cache_byte_s)
        scratch[TIME + p] = FAR
        scratch[UPPER + p] = FAR
        scratch[MEMORY + p] = memory_s + pack_s


@inner
def conclude(scratch: Scratch, first: int, last: int, summed: int, starts_s: float, width: float) -> None:
    """The cost at each point, from its best tiling and what does not depend on that."""
    wide()
    for p in range(first, last):
        before_s, lower_s, work = scratch[BEFORE + p], scratch[LOWER + p], scratch[VECTOR_FLOPS + p]
        operands = max(scratch[CACHE_BYTES + p], scratch[A_BYTES + p])
        cost = Quantities(
            scratch[FLOPS + p],
            work,
            scratch[BYTES + p],
            scratch[MEMORY_BYTES + p],
            operands + scratch[C_BYTES + p] + (1.0 + 0.5 * width) * work,  # quantising: 2 FLOP and 2 + width bytes each
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
    quantize_row_s: float,
) -> None:
    """`gemm` for columns of `m` and `batch`."""
    wide()
    write_rate = cache_bandwidth * write_fraction
    core_flops = matrix_flops * compute_fraction / core_count
    operand_rate = cache_bandwidth * operand_share
    steps = ceil(k / K_STEP)
    padded_k, loop_s = K_STEP * steps, steps * k_step_s
    core_share = 1.0 / core_count
    for first in range(0, size, PIECE):
        last = min(first + PIECE, size)
        prepare(
            scratch,
            first,
            last,
            n,
            k,
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
            core_share,
            launch_s,
            memory_fraction,
            fetch_share,
            resident_fraction,
            write_rate,
            pack_passes,
            quantize_s,
            quantize_fraction,
            quantize_row_s,
        )
        rows = tile_min
        while rows == tile_min or (rows <= tile_max and larger(scratch, rows, first, last)):
            for p in range(first, last):
                m = scratch[M + p]
                scratch[ROW_TILES + p] = scratch[BATCH + p] * ceil(m / rows)
                scratch[FILLED + p] = min(rows, row_step * ceil(m / row_step))
            cols = tile_min
            while cols == tile_min or (cols <= tile_max and cols < 2.0 * n):
                col_tiles = ceil(n / cols)
                row_s, tile_bytes = 2.0 * cols * padded_k / core_flops, padded_k * (rows * width + cols * weight_width)
                tile_s, tile_reduce_s = tile_bytes / operand_rate, 8.0 * rows * cols / write_rate
                idle = 0
                for p in range(first, last):
                    idle += 1 if scratch[ROW_TILES + p] * col_tiles < core_count else 0
                if idle == 0:
                    for p in range(first, last):
                        tiles, compute, cache, hidden, fixed = tiling(
                            scratch,
                            p,
                            col_tiles,
                            row_s,
                            tile_s,
                            loop_s,
                            core_count,
                            core_share,
                            prologue_s,
                            epilogue_share,
                            throttle_share,
                            throttle_s,
                            tail_share,
                        )
                        total = fixed + (compute if compute > hidden else hidden)
                        serial, operands = fixed + compute + cache + scratch[WAIT + p], tiles * tile_bytes
                        keep_better(scratch, p, rows, tile_min, total, serial, compute, cache, fixed, operands, summed)
                else:
                    for p in range(first, last):
                        tiles, compute, cache, hidden, fixed = tiling(
                            scratch,
                            p,
                            col_tiles,
                            row_s,
                            tile_s,
                            loop_s,
                            core_count,
                            core_share,
                            prologue_s,
                            epilogue_share,
                            throttle_share,
                            throttle_s,
                            tail_share,
                        )
                        total = fixed + (compute if compute > hidden else hidden)
                        serial, operands = fixed + compute + cache + scratch[WAIT + p], tiles * tile_bytes
                        reduce_s = tiles * tile_reduce_s
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
                        keep_better(scratch, p, rows, tile_min, total, serial, compute, cache, fixed, operands, summed)
                cols *= 2.0
            rows *= 2.0
        conclude(scratch, first, last, summed, launch_s + quantize * quantize_s, width)
