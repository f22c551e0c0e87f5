"""Cost of scaled dot-product attention: prefill, decode and everything between, on any chip."""

import math

from roofline.kernels._jit import inner, kernel

PREFILL_TILE = 128.0  # query rows and keys of a block's tile: what registers and shared memory of a core hold
DECODE_ROWS = 64.0  # rows that the matrix unit computes even where one query row is there
DECODE_KEYS = 128.0  # keys of one tile of the decode kernel
KEPT = 0.75
GRANULE = 512.0
DIM_STEP = 32.0
MAX_SPLITS = 128.0  # most pieces that the keys of one sequence are cut into
SOFTMAX_FLOPS = 5.0  # of a score: scale and subtract (2), exponential, maximum, sum


@inner
def attended(queries, keys, window):
    """Pairs of a causal mask: sum of min(position, window) over the last `queries` of `keys` positions."""
    first = max(keys - queries, 0.0)
    short, skipped = min(keys, window), min(first, window)
    return 0.5 * (short * (short + 1.0) - skipped * (skipped + 1.0)) + window * (
        max(keys - window, 0.0) - max(first - window, 0.0)
    )


@inner
def block_costs(
    batch, heads, kv_heads, key_dim, value_dim, kv_dim, q_len, kv_len, causal, window, width, kv_width, reuse,
    matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, cache_capacity, core_count,
    launch_s, convert_s, sequence_s, block_s, memory_fraction, cache_fraction,
    prefill_compute_fraction, prefill_vector_fraction, prefill_edge_fraction, prefill_fresh_fraction,
    decode_compute_fraction, decode_fill_s, decode_split_s,
):
    """Attention over `kv_dim` stored numbers a token and KV head; see `attention` for everything else."""
    span = min(kv_len, window) if window > 0.0 else kv_len
    if causal > 0.0:
        pairs = attended(q_len, kv_len, span)
        keys = min(kv_len, span + q_len - 1.0)
    else:
        pairs = q_len * span
        keys = span if window == 0.0 else min(kv_len, span + q_len - 1.0)
    scores = batch * heads * pairs
    flops = 2.0 * (key_dim + value_dim) * scores
    softmax = SOFTMAX_FLOPS * scores

    kv_bytes = batch * kv_heads * keys * kv_dim * kv_width
    io_bytes = batch * heads * q_len * (key_dim + value_dim) * width
    spilled = max(io_bytes - cache_capacity, 0.0)
    missed = max(kv_bytes - max(cache_capacity - io_bytes, 0.0), 0.0)
    memory_bytes = spilled + kv_bytes - reuse * (kv_bytes - missed)
    lower = max(
        flops / matrix_flops, softmax / vector_flops,
        memory_bytes / memory_bandwidth, (kv_bytes + io_bytes) / max(cache_bandwidth, memory_bandwidth),
    )
    # A real cache keeps a tensor of three quarters of its size and nothing of one as large as itself.
    excess = (kv_bytes + io_bytes - KEPT * cache_capacity) / max((1.0 - KEPT) * cache_capacity, 1.0)
    missed = kv_bytes * min(max(excess, 0.0), 1.0)
    memory_bytes = spilled + kv_bytes - reuse * (kv_bytes - missed)
    memory_s = memory_bytes / (memory_fraction * memory_bandwidth)

    padded_dim = DIM_STEP * (math.ceil(key_dim / DIM_STEP) + math.ceil(value_dim / DIM_STEP))
    launch_s += convert_s if kv_width < width else 0.0
    # Decode: the keys of a sequence are cut into splits over the cores; the best cut is taken.
    group = heads / kv_heads
    rows = max(group, min(group * q_len, DECODE_ROWS))
    row_blocks = math.ceil(rows / DECODE_ROWS)
    tiles = math.ceil(kv_len / DECODE_KEYS)
    if window > 0.0:
        tiles = min(tiles, math.ceil(span / DECODE_KEYS) + 1.0)
    stream_s = kv_dim * kv_width / (cache_fraction * cache_bandwidth / core_count)
    matrix_s = DECODE_ROWS * DECODE_KEYS * 2.0 * padded_dim * core_count
    matrix_s /= decode_compute_fraction * matrix_flops
    blocks = batch * kv_heads * row_blocks
    row_s = (key_dim * width + value_dim * max(width, 2.0)) * core_count / (prefill_edge_fraction * cache_bandwidth)
    fresh_s = batch * kv_heads * min(q_len, keys) * max(kv_dim * kv_width, GRANULE) / (prefill_fresh_fraction * memory_bandwidth)
    edge_s = min(group * q_len, DECODE_ROWS) * row_s
    partial_s = batch * heads * value_dim * 8.0 / (cache_fraction * cache_bandwidth)
    time, upper = math.inf, math.inf
    compute_s = cache_s = overhead_s = 0.0
    splits = 1.0
    while splits <= MAX_SPLITS:
        waves = math.ceil(blocks * splits / core_count)
        steps = math.ceil(tiles / splits)
        fixed = launch_s + batch * sequence_s + fresh_s + waves * (block_s + edge_s + matrix_s)
        if splits > 1.0:
            fixed += decode_split_s + splits * partial_s
        busy_compute = waves * (steps - 1.0) * matrix_s
        busy_cache = waves * max(decode_fill_s, min(keys, steps * DECODE_KEYS) * stream_s)
        option = fixed + max(busy_compute, busy_cache, memory_s)
        upper = min(upper, fixed + busy_compute + busy_cache + memory_s)
        if option < time:
            time, compute_s, cache_s, overhead_s = option, busy_compute, busy_cache, fixed
        if splits >= tiles:
            break
        splits *= 2.0
    cache_bytes = kv_bytes * row_blocks + io_bytes

    if q_len > 1.0 and group * q_len > DECODE_ROWS:
        q_tiles, kv_tiles = math.ceil(q_len / PREFILL_TILE), math.ceil(keys / PREFILL_TILE)
        longest = kv_tiles
        if window > 0.0:
            longest = min(kv_tiles, math.ceil(window / PREFILL_TILE) + 1.0)
        packed = batch * kv_heads * math.ceil(group * q_len / PREFILL_TILE)
        own = batch * heads * q_tiles
        work = own * longest
        if causal > 0.0:
            work = batch * heads * attended(q_tiles, max(kv_tiles, q_tiles), longest)
        if packed * longest < work:
            work, own = packed * longest, packed
        area = PREFILL_TILE * PREFILL_TILE
        matrix_s = area * 2.0 * padded_dim * core_count / (prefill_compute_fraction * matrix_flops)
        tile_s = matrix_s + area * SOFTMAX_FLOPS * core_count / (prefill_vector_fraction * vector_flops)
        even = work / core_count
        whole = tile_s * max(longest, even + longest * (1.0 - min(1.0, core_count / own)))
        cut = tile_s * (1.0 + even)
        cut_s = decode_split_s
        busy_compute = min(whole, cut + cut_s)
        traffic = work * PREFILL_TILE * kv_dim * kv_width + io_bytes
        busy_cache = io_bytes / (cache_fraction * cache_bandwidth)
        edge_s = min(PREFILL_TILE, group * q_len) * row_s
        fixed = launch_s + batch * sequence_s + (block_s + edge_s) * math.ceil(own / core_count)
        fixed += fresh_s
        memory_s = (spilled + (1.0 - reuse) * kv_bytes) / (memory_fraction * memory_bandwidth)
        option = fixed + max(busy_compute, busy_cache, memory_s)
        prefill_upper = fixed + busy_compute + busy_cache + memory_s
        # A longer query block is never faster than one tile of it.
        fixed += max(time - option, 0.0)
        time, upper = max(time, option), max(upper, prefill_upper)
        compute_s, cache_s, overhead_s, cache_bytes = busy_compute, busy_cache, fixed, traffic

    time = max(time, lower)
    return (
        flops, softmax, kv_bytes + io_bytes, memory_bytes, cache_bytes, 0.0,
        lower, time, max(time, upper), compute_s, memory_s, cache_s, 0.0, overhead_s,
    )


@kernel
def attention(
    batch, heads, kv_heads, head_dim, value_dim, q_len, kv_len, causal, window, width, kv_width, reuse,
    matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, cache_capacity, core_count,
    launch_s, convert_s, sequence_s, block_s, memory_fraction, cache_fraction,
    prefill_compute_fraction, prefill_vector_fraction, prefill_edge_fraction, prefill_fresh_fraction,
    decode_compute_fraction, decode_fill_s, decode_split_s,
):
    """Cost of softmax(Q K^T) V for the last `q_len` of `kv_len` positions (first form)."""
    dim = value_dim if value_dim > 0.0 else head_dim
    return block_costs(
        batch, heads, kv_heads, head_dim, dim, head_dim + dim, q_len, kv_len, causal, window, width, kv_width, reuse,
        matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, cache_capacity, core_count,
        launch_s, convert_s, sequence_s, block_s, memory_fraction, cache_fraction,
        prefill_compute_fraction, prefill_vector_fraction, prefill_edge_fraction, prefill_fresh_fraction,
        decode_compute_fraction, decode_fill_s, decode_split_s,
    )
