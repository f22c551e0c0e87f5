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
def grouped(pairs, active, spread, k, n, core_rate, core_count, prologue_s, tile_min, tile_max):
    """Matrix time of `active` products that share `pairs` rows, each expert's rows padded to whole tiles."""
    best = 1e300
    tile = tile_min
    while True:
        row_tiles = max(active, pairs / tile + 0.5 * spread * active)
        waves = max(1.0, row_tiles * max(1.0, n / tile) / core_count)
        best = min(best, waves * (2.0 * tile * tile * k / core_rate + prologue_s))
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
    activation_fraction: float,
    hot: float,
    feed: float,
    resident_fraction: float,
    prologue_s: float,
    tile_min: float,
    tile_max: float,
) -> tuple[float, float, float, float, float, float, float, float, float, float, float, float, float, float]:
    """Cost of the routed FFN."""
    local = experts / ep
    width_up = (1.0 + gated) * inter / tp
    width_down = inter / tp
    uneven = max(skew - 1.0, 0.0)
    pairs = min(tokens * topk / ep * ep ** (hot * uneven), tokens * min(topk, local))

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

    # Two grouped products in turn: hidden -> up (and gate), then down -> hidden.
    flops = 2.0 * pairs * hidden * (width_up + width_down)
    weights_up = active * hidden * width_up * weight_width
    weights_down = active * hidden * width_down * weight_width
    rows_up = pairs * (hidden * width + width_up * out_width)
    rows_down = pairs * (width_down * width + hidden * out_width)
    weight_bytes = weights_up + weights_down
    row_bytes = rows_up + rows_down
    io_bytes = 2.0 * tokens * hidden * out_width
    total_bytes = weight_bytes + io_bytes

    resident = resident_fraction * cache_capacity
    lost = missed(weight_bytes + row_bytes, resident)
    weight_lost = 1.0 - reuse * (1.0 - lost)
    memory_rate = memory_bandwidth * memory_fraction
    core_rate = matrix_flops * compute_fraction / core_count
    spread = min(skew, 1.0)
    fed_up = min(1.0, active * width_up / (feed * core_count))
    fed_down = min(1.0, active * hidden / (feed * core_count))
    memory_up = (weights_up * weight_lost / fed_up + rows_up * lost) / memory_rate
    memory_down = (weights_down * weight_lost / fed_down + rows_down * lost) / memory_rate
    cache_up = (weights_up + rows_up) / cache_bandwidth
    cache_down = (weights_down + rows_down) / cache_bandwidth
    compute_up = grouped(
        pairs, active, spread, hidden, width_up, core_rate, core_count, prologue_s, tile_min, tile_max
    )
    compute_down = grouped(
        pairs, active, spread, width_down, hidden, core_rate, core_count, prologue_s, tile_min, tile_max
    )

    # Permute, activation and combine: kernels of their own that only move rows.
    side_bytes = (
        pairs * hidden * (out_width + width)
        + pairs * (width_up * out_width + width_down * width)
        + (pairs + tokens) * hidden * out_width
        + quantize * 3.0 * (tokens * hidden + pairs * width_down)
    )
    side_lost = missed(side_bytes, resident)
    side_s = side_bytes * max(1.0 / cache_bandwidth, side_lost / memory_bandwidth) / activation_fraction

    cold = weight_bytes + max(io_bytes - cache_capacity, 0.0)
    ideal_bytes = cold + reuse * (max(total_bytes - cache_capacity, 0.0) - cold)
    compute_s = compute_up + compute_down
    memory_s = memory_up + memory_down
    cache_s = cache_up + cache_down + side_s
    fixed = launch_s
    busy = max(compute_up, memory_up, cache_up) + max(compute_down, memory_down, cache_down) + side_s
    lower_s = max(flops / matrix_flops, ideal_bytes / memory_bandwidth, total_bytes / cache_bandwidth)
    return (
        flops,
        4.0 * pairs * width_down,
        total_bytes,
        weight_bytes * weight_lost + lost * row_bytes + side_lost * side_bytes,
        weight_bytes + row_bytes + side_bytes,
        0.0,
        lower_s,
        max(lower_s, fixed + busy),
        max(lower_s, fixed + compute_s + memory_s + cache_s),
        compute_s,
        memory_s,
        cache_s,
        0.0,
        fixed,
    )
