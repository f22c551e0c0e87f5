"""The cost of a routed mixture-of-experts FFN in plain numpy: the formula to read before the kernel of this name."""

from __future__ import annotations

import numpy as np

from roofline.kernels.reference.gemm import K_STEP, lost_share

SORTED_TOKENS = 256.0  # tokens whose pairs one block of threads sorts by expert
NARROWEST = 16.0  # columns of the narrowest tile


def busiest_pairs(mean, ranks, local, skew):
    """Pairs on the busiest of `ranks`: mean + x + x^2 / (6 mean), where x is that many standard deviations as the
    largest of `ranks` standard normals; the variance is that of chance (Poisson) plus that of popularity.
    """
    deviations = np.log(ranks) / (1.125 + 0.152 * np.log(ranks))
    variance = np.minimum(skew, 1) * mean + np.maximum(skew - 1, 0) * mean**2 / local
    excess = deviations * np.sqrt(variance)
    return mean + excess + excess**2 / (6 * mean)


def idle_share(load, skew):
    """Share of the experts that get no token when the mean expert gets `load`: (1 + d load) ** (-1 / d).

    d = -1 is round robin (1 - load), d = 0 at random (exp(-load)), d > 0 at random with uneven popularity.
    """
    uneven = np.where(skew < 1, skew - 1, np.log(np.maximum(skew, 1)))
    poisson = np.abs(uneven) < 1e-6
    dispersion = np.where(poisson, 1.0, uneven)
    left = np.maximum(1.0 + dispersion * load, 1e-300)
    return np.where(poisson, np.exp(-load), np.where(left > 1e-300, left ** (-1.0 / dispersion), 0.0))


def moe(
    tokens,
    hidden,
    inter,
    topk,
    experts,
    tp,
    ep,
    gated,
    skew,
    width,
    weight_width,
    out_width,
    quantize,
    warm_weights,
    tuned,
    matrix_flops,
    memory_bandwidth,
    cache_bandwidth,
    cache_capacity,
    core_count,
    launch_s,
    fused_experts,
    fused_choices,
    fallback_s,
    score_s,
    sort_s,
    expert_s,
    k_step_s,
    compute_fraction,
    memory_fraction,
    activation_fraction,
    quantize_pairs,
    resident_fraction,
    prologue_s,
    overflow,
    padding,
    operand_share,
    port_cores,
    tile_min,
    tile_max,
):
    """Cost of the routed FFN on the busiest rank, as arrays that broadcast.

    Names, units and the 14 results are those of the kernel. In words:

    - pairs: (token, expert) pairs on the busiest rank; active: its experts that get any;
    - overhead: launches, bookkeeping of the rank's experts, and a latency for every step of the products' inner loops;
      plain kernels that choose experts where the fused one was not written for so many; a sort in several kernels for
      more tokens than one block sorts;
    - two grouped products, hidden -> up (twice as wide when gated) and down -> hidden, on rows padded to tiles;
      each takes the longest of its matrix time, memory time (the active experts' weights) and cache time, matrix and
      weights expert by expert;
    - permute, activation and combine gather rows at `activation_fraction` of the cache's bandwidth, or of memory's
      for what the cache loses, and the combined rows are written in order, at `memory_fraction`.

    Sources: grouped products on padded experts, Gale et al., "MegaBlocks" (MLSys 2023); experts in use as occupied
    urns, Johnson and Kotz, "Urn Models and Their Application" (1977); the largest of several draws, Cornish and
    Fisher (1938).
    """
    shape = np.broadcast_shapes(*(np.shape(argument) for argument in locals().values()))

    # Routing.
    local = experts / ep
    down = inter / tp
    up = down * (1 + gated)
    pairs = np.minimum(busiest_pairs(tokens * topk / ep, ep, local, skew), tokens * np.minimum(topk, local))
    active = np.maximum(1, local * (1 - idle_share(pairs / local, skew)))

    # Bytes: an active expert's weights once, rows in and out of both products, rows through the kernels beside them.
    up_weights = active * hidden * up * weight_width
    down_weights = active * down * hidden * weight_width
    weights = up_weights + down_weights
    up_rows = pairs * (hidden * width + up * out_width)
    down_rows = pairs * (down * width + hidden * out_width)
    permute = pairs * hidden * (out_width + width)
    activation = pairs * (up * out_width + down * width)
    combine = pairs * hidden * out_width
    written = tokens * hidden * out_width
    quantized = (1 - quantize_pairs) * tokens + quantize_pairs * pairs
    quantized = quantize * (quantized * hidden + pairs * down)
    side = permute + activation + combine + 3 * quantized
    moved = up_rows + down_rows + side + written
    outer = 2 * np.minimum(tokens, pairs) * hidden * out_width

    # A cache that evicts the oldest bytes first loses more than the excess; weights are cold unless used again.
    lost = lost_share(weights + moved, resident_fraction * cache_capacity)
    cold = 1 - warm_weights + warm_weights * lost
    ideal_bytes = (1 - warm_weights) * (weights + np.maximum(outer - cache_capacity, 0))
    ideal_bytes = ideal_bytes + warm_weights * np.maximum(weights + outer - cache_capacity, 0)

    # Matrix time: the best number of rows a tile, on a first axis; the first of the list where nothing was tuned.
    doublings = 1 + int(max(0, np.log2(np.max(np.divide(tile_max, tile_min)))) + 1e-9)
    first = np.arange(doublings).reshape(-1, *[1] * len(shape)) == 0
    tile = tile_min * 2.0 ** np.arange(doublings).reshape(first.shape)
    offered = first | (np.where(tuned, tile <= tile_max, False))
    tile = np.where(tuned, tile, tile_max)

    # Tiles of an expert: all have as many rows, or they fall off exponentially and there are 1 / (1 - q) on average.
    rows = pairs / active
    ragged = np.minimum(skew, 1)
    even = np.maximum(1, np.floor(rows / tile) + np.minimum(1, rows - tile * np.floor(rows / tile)))
    more = np.exp(-tile / rows)
    drawn = 1 / -np.expm1(-tile / rows)
    tiles = (1 - ragged) * even + ragged * drawn

    def grouped_s(k, n, weight_s):
        """Of all experts one after the other, each the longer of its matrix time and its weights' arrival; and the
        matrix time alone."""
        busy = np.maximum(NARROWEST, np.minimum(np.minimum(tile_max, n), active * tiles * n / core_count))
        cols = np.where(tuned, busy, NARROWEST)
        steps = np.maximum(k, K_STEP)
        one_s = 2 * tile * cols * steps / (matrix_flops * compute_fraction / core_count)
        fed_s = (tile + cols) * width * steps / (cache_bandwidth * operand_share / core_count)
        single = prologue_s + np.where(tuned, one_s, np.maximum(one_s, fed_s / port_cores))
        one_s = np.where(tuned, one_s, np.maximum(one_s, fed_s))
        share = np.maximum(1, n / cols) / core_count
        tile_s = share * (one_s + prologue_s)
        last_s = np.where(tuned, 0, share * one_s * padding)
        spilt_s = np.where(tuned, ragged * more * share * one_s * overflow, 0)
        waited = np.maximum(1, (weight_s - last_s) / tile_s)
        even_s = np.maximum(even * tile_s + last_s, weight_s)
        drawn_s = last_s + tile_s * (waited + more**waited * drawn)
        time_s = np.maximum(active * ((1 - ragged) * even_s + ragged * drawn_s + spilt_s), single)
        compute_s = np.maximum(active * (tiles * tile_s + last_s + spilt_s), single)
        return tuple(np.where(offered, x, np.inf).min(0) for x in (time_s, compute_s))

    flops = 2 * pairs * hidden * (up + down)
    memory_rate = memory_bandwidth * memory_fraction
    up_s, up_compute = grouped_s(hidden, up, up_weights * cold / memory_rate / active)
    down_s, down_compute = grouped_s(down, hidden, down_weights * cold / memory_rate / active)
    up_memory = (up_weights * cold + up_rows * lost) / memory_rate
    down_memory = (down_weights * cold + down_rows * lost) / memory_rate
    up_cache = (up_weights + up_rows) / cache_bandwidth
    down_cache = (down_weights + down_rows) / cache_bandwidth
    products = np.maximum(np.maximum(up_s, up_memory), up_cache)
    products = products + np.maximum(np.maximum(down_s, down_memory), down_cache)
    fused = np.less_equal(experts, fused_experts) & np.less_equal(topk, fused_choices)
    choose = np.where(fused, 0, fallback_s + score_s * tokens * experts)
    sort = np.where(np.greater(tokens, SORTED_TOKENS), sort_s, 0)
    overhead = launch_s + choose + sort + expert_s * local + k_step_s * (hidden + down) / K_STEP
    byte_s = np.maximum(1 / cache_bandwidth, lost / memory_bandwidth)
    side_s = side * byte_s / activation_fraction + written * byte_s / memory_fraction
    compute, memory, cache = up_compute + down_compute, up_memory + down_memory, up_cache + down_cache
    ideal = (flops / matrix_flops, ideal_bytes / memory_bandwidth, (weights + outer) / cache_bandwidth)
    zero = np.zeros(shape)
    return (
        zero + flops,
        zero + pairs * (4 * down + 2 * hidden) + 2 * quantized,
        zero + weights + outer,
        zero + weights * cold + moved * lost,
        zero + weights + moved,
        zero,
        zero + np.maximum.reduce(np.broadcast_arrays(*ideal)),
        zero + overhead + side_s + products,
        zero + overhead + side_s + compute + memory + cache,
        zero + compute,
        zero + memory,
        zero + cache + side_s,
        zero,
        zero + overhead,
    )
