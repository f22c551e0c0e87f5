"""Cost of a routed mixture-of-experts FFN on one rank: route, permute, two grouped products, activation, combine."""

from __future__ import annotations

from math import exp, expm1, log, log1p, sqrt

from roofline.kernels._jit import inner, kernel
from roofline.kernels.gemm import K_STEP, lost_share
from roofline.kernels.quantities import Quantities
from roofline.kernels.rounding import rounded_down

SORTED_TOKENS = 256.0  # tokens whose pairs one block of threads sorts by expert
NARROWEST = 16.0  # columns of the narrowest tile


@inner
def busiest_pairs(mean: float, ranks: float, local: float, skew: float) -> float:
    """Pairs on the busiest of `ranks` that get `mean` pairs each on average, over `local` experts.

    The largest of several draws lies some standard deviations above their mean. Two things spread the draws: chance
    (a Poisson number of pairs) and popularity (relative variance ``skew - 1`` an expert, averaged over the rank's).
    The square is the second term of Cornish and Fisher's expansion, for a skewness as small as a Poisson's.
    """
    scores = log(ranks) / (1.125 + 0.152 * log(ranks))  # expected largest of `ranks` standard normals, within 2 %
    excess = scores * sqrt(min(skew, 1.0) * mean + max(skew - 1.0, 0.0) * mean * mean / local)
    return mean + excess + excess * excess / (6.0 * mean)


@inner
def idle_share(load: float, skew: float) -> float:
    """Share of the experts that get no token when the mean expert gets `load` of them.

    One family for every way to route: round robin (skew 0: ``1 - load``), at random (1: Poisson, ``exp(-load)``),
    and at random with uneven popularity (above 1: gamma-Poisson). Its dispersion is the variance of the logarithm of
    the popularity, ``log(skew)`` if that is lognormal: a few popular experts do not make all the others idle.

    At random a token may here choose an expert twice, so that up to ``topk / (2 experts)`` too few are in use. Choices
    that differ (a dispersion less by ``1 / tokens``) describe measured layers as well and no better: 20.08 % off in the
    mean over the lines of calibrate rows, to 20.05 with this.
    """
    dispersion = skew - 1.0 if skew < 1.0 else log1p(skew - 1.0)
    if abs(dispersion) < 1e-6:
        return exp(-load)
    if dispersion * load <= -1.0:
        return 0.0
    return exp(-log1p(dispersion * load) / dispersion)


@inner
def grouped_s(
    rows: float,
    active: float,
    ragged: float,
    k: float,
    n: float,
    weight_s: float,
    width: float,
    tuned: float,
    core_flops: float,
    core_bytes: float,
    core_count: float,
    prologue_s: float,
    padding: float,
    overflow: float,
    port_cores: float,
    tile_min: float,
    tile_max: float,
) -> tuple[float, float]:
    """Time, s, of `active` products [rows, k] x [k, n] with weights of their own; and of their matrix work alone.

    Each expert's rows are cut into whole tiles. The experts come one after the other, so each takes the longer of its
    matrix time and of the time `weight_s` that its weights take to arrive. Where every expert has the same rows
    (ragged 0.0) that is plain; else (1.0) the rows are taken to fall off exponentially: an expert has more than `j`
    tiles with probability ``q ** j``, ``1 / (1 - q)`` on average, and the mean of the longer of `J` and them is
    ``J + q ** J / (1 - q)``.
    """
    least = matrix = 1e300
    tile = tile_min if tuned > 0.5 else tile_max
    while True:
        whole = rounded_down(rows / tile)
        even = max(1.0, whole + min(1.0, rows - whole * tile))
        drawn = -1.0 / expm1(-tile / rows)
        tiles = even + ragged * (drawn - even)
        cols = NARROWEST
        if tuned > 0.5:  # as narrow as it takes to keep all cores busy
            cols = max(cols, min(tile_max, n, active * tiles * n / core_count))
        one_s = alone_s = 2.0 * tile * cols * max(k, K_STEP) / core_flops
        if tuned < 0.5:  # a tile that has the cache to itself gets its operands as fast as its core's port takes them
            fed_s = (tile + cols) * width * max(k, K_STEP) / core_bytes
            one_s, alone_s = max(one_s, fed_s), max(one_s, fed_s / port_cores)
        share = max(1.0, n / cols) / core_count
        tile_s = share * (one_s + prologue_s)
        last_s = spilt_s = 0.0
        if tuned > 0.5:
            spilt_s = ragged * exp(-tile / rows) * share * one_s * overflow
        else:
            last_s = share * one_s * padding
        compute_s = max(active * (tiles * tile_s + last_s + spilt_s), alone_s + prologue_s)
        waited = max(1.0, (weight_s - last_s) / tile_s)
        even_s = max(even * tile_s + last_s, weight_s)
        drawn_s = last_s + tile_s * (waited + exp(-waited * tile / rows) * drawn)
        matrix = min(matrix, compute_s)
        all_s = active * (even_s + ragged * (drawn_s - even_s) + spilt_s)
        least = min(least, max(all_s, alone_s + prologue_s))
        tile *= 2.0
        if tile > tile_max:
            break
    return least, matrix


@inner
def traffic(
    tokens: float,
    pairs: float,
    active: float,
    hidden: float,
    up: float,
    down: float,
    width: float,
    weight_width: float,
    out_width: float,
    quantize: float,
    quantize_pairs: float,
    cache_capacity: float,
    resident_fraction: float,
) -> tuple[float, float, float, float, float, float, float, float, float, float]:
    """Bytes of `moe` on a rank that gets `pairs` of a token and an expert, for `active` of its experts.

    Parameters
    ----------
    up, down : float
        Columns of the first product (gate and up side by side) and rows of the second.
    tokens, hidden, width, weight_width, out_width, quantize, quantize_pairs, cache_capacity, resident_fraction
        As in `moe`.

    Returns
    -------
    up_weights, down_weights, up_rows, down_rows : float
        Weights of the experts in use, and the rows in and out of either grouped product, bytes.
    side_bytes, written_bytes : float
        What permute, activation, combine and quantising kernels gather; the combined rows.
    outer_bytes, work_bytes : float
        The tokens in and out; everything, weights included.
    quantized, lost : float
        Elements that kernels of their own turn into 8 bits; share of the working set that the cache loses.
    """
    up_weights = active * hidden * up * weight_width
    down_weights = active * hidden * down * weight_width
    up_rows = pairs * (hidden * width + up * out_width)
    down_rows = pairs * (down * width + hidden * out_width)
    permute_bytes = pairs * hidden * (out_width + width)
    gate_bytes = pairs * (up * out_width + down * width)
    combine_bytes = pairs * hidden * out_width
    quantized_rows = tokens + quantize_pairs * (pairs - tokens)
    quantized = quantize * (quantized_rows * hidden + pairs * down)
    quantize_bytes = 3.0 * quantized
    side_bytes = permute_bytes + gate_bytes + combine_bytes + quantize_bytes
    written_bytes = tokens * hidden * out_width
    work_bytes = up_weights + down_weights + up_rows + down_rows + side_bytes + written_bytes
    outer_bytes = 2.0 * min(tokens, pairs) * hidden * out_width
    lost = lost_share(work_bytes, resident_fraction * cache_capacity)
    return (
        up_weights,
        down_weights,
        up_rows,
        down_rows,
        side_bytes,
        written_bytes,
        outer_bytes,
        work_bytes,
        quantized,
        lost,
    )


@kernel("tokens")
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
    warm_weights: float,
    tuned: float,
    matrix_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    fused_experts: float,
    fused_choices: float,
    fallback_s: float,
    score_s: float,
    sort_s: float,
    expert_s: float,
    k_step_s: float,
    compute_fraction: float,
    memory_fraction: float,
    activation_fraction: float,
    quantize_pairs: float,
    resident_fraction: float,
    prologue_s: float,
    overflow: float,
    padding: float,
    operand_share: float,
    port_cores: float,
    tile_min: float,
    tile_max: float,
) -> Quantities:
    """Cost of the routed FFN on the busiest rank, without collectives.

    The expected time is what nothing hides (launches, the choice of experts, sorting by expert, latencies), plus the
    rows moved by permute, activation and combine, plus for each grouped product (hidden to the expert width, and back)
    the slowest of its matrix, memory and cache time. At few tokens the weights of the experts that get any token rule;
    at many, the padded rows on the matrix engine.

    Parameters
    ----------
    tokens : float
        Tokens of the whole expert-parallel group, before top-k: a rank sees ``tokens * topk / ep`` pairs on average.
    hidden, inter : float
        Model width and one expert's full width (`tp` shards it).
    topk, experts : float
        Experts a token visits, and their number in all (`ep` shards them).
    tp, ep : float
        Tensor- and expert-parallel degree.
    gated : float
        1.0: three matrices (up, gate, down); 0.0: two.
    skew : float
        0.0: round robin, every expert the same; 1.0: every token picks at random; above: popularity differs between
        experts with relative variance ``skew - 1``. At ``ep > 1`` the rank is the busiest of them.
    width, weight_width, out_width : float
        Bytes per element of the products' input, the weights, and the products' output.
    quantize : float
        1.0: kernels of their own turn both products' inputs into 8 bits; 0.0: none, or fused with permute and
        activation.
    warm_weights : float
        1.0: the weights are used again and again, so that they are found in the cache as far as they fit.
    tuned : float
        1.0: the library has timed its kernels for this layer and takes the best; 0.0: it has not, and takes the first
        of its list, whose tiles are `tile_max` rows by 16 columns.
    matrix_flops : float
        Dense peak of the matrix engine for this dtype, FLOP/s.
    memory_bandwidth, cache_bandwidth : float
        Main memory and last-level cache, bytes/s.
    cache_capacity : float
        Last-level cache, bytes; 0 without one.
    core_count : float
        Cores that work on tiles of their own.
    launch_s : float
        Launches of all the layer's kernels, s.
    fused_experts, fused_choices : float
        Most experts, and most choices a token, that the one kernel which chooses experts was written for.
    fallback_s, score_s : float
        Beyond either, a chain of plain kernels (top-k, softmax, gather) does it: s, and s per token and expert.
    sort_s : float
        Further kernels that sort the pairs by expert, s, where tokens are more than one block of threads sorts (256).
    expert_s : float
        Bookkeeping of the grouped products (offsets, pointers), s per expert of the rank.
    k_step_s : float
        Latency of one step of a product's inner loop, s per 64 elements of k, that nothing hides.
    compute_fraction, memory_fraction : float
        Sustained shares of `matrix_flops` and `memory_bandwidth`.
    activation_fraction : float
        Share of cache (memory, once they spill) bandwidth at which permute, activation and combine gather rows. The
        combined rows are written in order, at `memory_fraction` of it.
    quantize_pairs : float
        1.0: what is turned into 8 bits before the first product are its rows, one a pair; 0.0: the tokens.
    resident_fraction : float
        Share of the cache that a working set fills before it begins to evict itself.
    prologue_s : float
        Filling and draining a core's pipeline, s per tile.
    overflow : float
        What an expert costs more, in tiles, whose rows do not fit one tile where those of others do: kernels are timed,
        and chosen, with even routing.
    padding : float
        What an expert's last tile, filled in part, costs more than a full one, in tiles, where a kernel was not tuned.
    operand_share : float
        Rate of operand tiles into the cores over `cache_bandwidth`, where a kernel was not tuned: its tiles are too
        narrow to use an operand often.
    port_cores : float
        Width of a core's port to the cache, in cores' shares of that rate: a tile that is alone is fed no faster.
    tile_min, tile_max : float
        Fewest and most rows of a tile; sizes between are powers of two apart. Columns are as many at most.

    Returns
    -------
    Quantities

    Notes
    -----
    The expected number of experts in use at random routing, ``experts * (1 - exp(-load))``, is the occupancy of
    balls in urns; the gamma-Poisson (negative binomial) mixture is the standard model of uneven urns. All three times
    grow with every size but `experts` alone, which evens out the ranks where `skew` is above 1.
    """
    local = experts / ep
    down = inter / tp
    up = down * (1.0 + gated)
    pairs = min(busiest_pairs(tokens * topk / ep, ep, local, skew), tokens * min(topk, local))
    active = max(1.0, local * (1.0 - idle_share(pairs / local, skew)))

    flops = 2.0 * pairs * hidden * (up + down)
    (
        up_weights,
        down_weights,
        up_rows,
        down_rows,
        side_bytes,
        written_bytes,
        outer_bytes,
        work_bytes,
        quantized,
        lost,
    ) = traffic(
        tokens,
        pairs,
        active,
        hidden,
        up,
        down,
        width,
        weight_width,
        out_width,
        quantize,
        quantize_pairs,
        cache_capacity,
        resident_fraction,
    )
    weight_bytes = up_weights + down_weights
    total_bytes = weight_bytes + outer_bytes
    cold = 1.0 - warm_weights * (1.0 - lost)
    cold_bytes = weight_bytes + max(outer_bytes - cache_capacity, 0.0)
    ideal_bytes = cold_bytes + warm_weights * (max(total_bytes - cache_capacity, 0.0) - cold_bytes)

    core_flops = matrix_flops * compute_fraction / core_count
    core_bytes = cache_bandwidth * operand_share / core_count
    memory_rate = memory_bandwidth * memory_fraction
    ragged = min(skew, 1.0)
    rows = pairs / active
    # The products up to the experts' width and back down differ in sizes alone.
    k, n, weight_s = hidden, up, up_weights * cold / memory_rate / active
    up_s, up_compute = grouped_s(
        rows,
        active,
        ragged,
        k,
        n,
        weight_s,
        width,
        tuned,
        core_flops,
        core_bytes,
        core_count,
        prologue_s,
        padding,
        overflow,
        port_cores,
        tile_min,
        tile_max,
    )
    k, n, weight_s = down, hidden, down_weights * cold / memory_rate / active
    down_s, down_compute = grouped_s(
        rows,
        active,
        ragged,
        k,
        n,
        weight_s,
        width,
        tuned,
        core_flops,
        core_bytes,
        core_count,
        prologue_s,
        padding,
        overflow,
        port_cores,
        tile_min,
        tile_max,
    )
    up_memory = (up_weights * cold + up_rows * lost) / memory_rate
    down_memory = (down_weights * cold + down_rows * lost) / memory_rate
    up_cache = (up_weights + up_rows) / cache_bandwidth
    down_cache = (down_weights + down_rows) / cache_bandwidth
    byte_s = max(1.0 / cache_bandwidth, lost / memory_bandwidth)
    side_s = byte_s * (side_bytes / activation_fraction + written_bytes / memory_fraction)

    overhead_s = launch_s + expert_s * local + k_step_s * (hidden + down) / K_STEP
    if experts > fused_experts or topk > fused_choices:
        overhead_s += fallback_s + score_s * tokens * experts
    if tokens > SORTED_TOKENS:
        overhead_s += sort_s
    compute_s = up_compute + down_compute
    memory_s = up_memory + down_memory
    cache_s = up_cache + down_cache + side_s
    products_s = max(up_s, up_memory, up_cache) + max(down_s, down_memory, down_cache)
    lower_s = max(flops / matrix_flops, ideal_bytes / memory_bandwidth, total_bytes / cache_bandwidth)
    return Quantities(
        flops,
        pairs * (4.0 * down + 2.0 * hidden) + 2.0 * quantized,
        total_bytes,
        weight_bytes * cold + (work_bytes - weight_bytes) * lost,
        work_bytes,
        0.0,
        lower_s,
        overhead_s + side_s + products_s,
        overhead_s + compute_s + memory_s + cache_s,
        compute_s,
        memory_s,
        cache_s,
        0.0,
        overhead_s,
    )
