"""Cost of a routed mixture-of-experts FFN on one rank: route, two grouped products, activation, combine."""

from __future__ import annotations

from math import exp, log1p

from roofline.kernels._jit import inner, kernel

THRASH = 3.0  # bytes lost per byte too many: a cache that evicts the oldest first loses more than the excess
HOT_RANK = 0.25  # how fast the busiest rank's share grows with ep, per unit of skew above 1


@inner
def missed(bytes_, resident):
    """Fraction of a working set that a cache holding `resident` bytes of it loses."""
    return min(1.0, THRASH * max(bytes_ - resident, 0.0) / bytes_)


@inner
def grouped(pairs, active, spread, k, n, core_rate, core_count, tile_min, tile_max):
    """Busy time of the matrix engine for `active` products that share `pairs` rows, each padded to whole tiles."""
    best = 1e300
    tile = tile_min
    while True:
        row_tiles = max(active, pairs / tile + 0.5 * spread * active)
        tiles = row_tiles * max(1.0, n / tile)
        best = min(best, 2.0 * max(1.0, tiles / core_count) * tile * tile * k / core_rate)
        tile *= 2.0
        if tile > tile_max:
            return best


@kernel
def moe(
    tokens: float,
    hidden: float,
    inter: float,
    topk: float,
    experts: float,
    tp: float,
    ep: float,
    gated: float,
    skew: float,
    width: float,
    weight_width: float,
    out_width: float,
    quantize: float,
    reuse: float,
    matrix_flops: float,
    vector_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    compute_fraction: float,
    memory_fraction: float,
    cache_fraction: float,
    activation_fraction: float,
    resident_fraction: float,
    tile_min: float,
    tile_max: float,
) -> tuple[float, float, float, float, float, float, float, float, float, float, float, float, float, float]:
    """Cost of the routed FFN."""
    local = experts / ep
    width_up = (1.0 + gated) * inter / tp
    width_down = inter / tp
    uneven = max(skew - 1.0, 0.0)
    pairs = min(tokens * topk / ep * ep ** (HOT_RANK * uneven), tokens * min(topk, local))

    # How many experts get any token: gamma-Poisson; round robin at skew 0, Poisson at 1.
    load = pairs / local
    dispersion = skew - 1.0
    if abs(dispersion) < 1e-6:
        idle = exp(-load)
    elif dispersion * load <= -1.0:
        idle = 0.0
    else:
        idle = exp(-log1p(dispersion * load) / dispersion)
    active = max(1.0, local * (1.0 - idle))

    flops = 2.0 * pairs * hidden * (width_up + width_down)
    weight_bytes = active * hidden * (width_up + width_down) * weight_width
    permute_bytes = pairs * hidden * (out_width + width)
    gate_bytes = pairs * (width_up * out_width + width_down * width)
    combine_bytes = (pairs + tokens) * hidden * out_width
    side_bytes = permute_bytes + gate_bytes + combine_bytes + quantize * 3.0 * (tokens * hidden + pairs * width_down)
    inside_bytes = pairs * (hidden * (width + out_width) + width_up * out_width + width_down * width)
    io_bytes = tokens * hidden * 2.0 * out_width
    total_bytes = weight_bytes + io_bytes

    resident = resident_fraction * cache_capacity
    lost = missed(inside_bytes + weight_bytes, resident)
    memory_bytes = weight_bytes * (1.0 - reuse * (1.0 - lost)) + lost * inside_bytes
    cold = weight_bytes + max(io_bytes - cache_capacity, 0.0)
    ideal_bytes = cold + reuse * (max(total_bytes - cache_capacity, 0.0) - cold)

    core_rate = matrix_flops * compute_fraction / core_count
    compute_s = grouped(pairs, active, min(skew, 1.0), hidden, width_up, core_rate, core_count, tile_min, tile_max)
    compute_s += grouped(pairs, active, min(skew, 1.0), width_down, hidden, core_rate, core_count, tile_min, tile_max)
    memory_s = memory_bytes / (memory_bandwidth * memory_fraction)
    cache_s = (weight_bytes + inside_bytes) / (cache_bandwidth * cache_fraction)
    side_lost = missed(side_bytes, resident)
    side_s = side_bytes * max(1.0 / cache_bandwidth, side_lost / memory_bandwidth) / activation_fraction
    lower_s = max(flops / matrix_flops, ideal_bytes / memory_bandwidth, total_bytes / cache_bandwidth)
    return (
        flops,
        4.0 * pairs * width_down,
        total_bytes,
        memory_bytes + side_lost * side_bytes,
        weight_bytes + inside_bytes + side_bytes,
        0.0,
        lower_s,
        max(lower_s, launch_s + side_s + max(compute_s, memory_s, cache_s)),
        launch_s + side_s + compute_s + memory_s + cache_s,
        compute_s,
        memory_s,
        cache_s + side_s,
        0.0,
        launch_s,
    )
