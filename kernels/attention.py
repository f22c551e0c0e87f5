"""Cost of attention, softmax(Q K^T) V, from prefill to decode.

Sources of the physics: tiles, causal skipping and online softmax are those of FlashAttention-2 and -3 (Dao 2023; Shah
et al. 2024), the cutting of the keys over idle cores is Flash-Decoding's (Dao et al. 2023), the bound on a schedule of
unequal blocks is Graham's (1969). Read the reference twin first.
"""

from __future__ import annotations

import math

from roofline.kernels._jit import inner, kernel
from roofline.kernels.attention_work import SOFTMAX_FLOPS, attended, work
from roofline.kernels.quantities import Quantities
from roofline.kernels.rounding import rounded_up

TILE = 128.0  # query rows, and keys, of one tile: the side of today's matrix engines
NARROW = 96.0  # head dimension up to which libraries may take larger tiles: the registers allow it
DECODE_ROWS = 64.0  # queries that share a KV head up to which they are computed as in decode
DIM_STEP = 32.0  # head dimensions are padded to a multiple of this in the matrix engine
BURST_BYTES = 512.0  # least that one token's K and V of one head cost to fetch, in bytes
SHARED_ROWS = 512.0  # query rows in flight together that share one fetch of a K and V tile
PARTIAL_BYTES = 8.0  # a partial result of a split: fp32, written once and read once
WRITERS = 512.0  # threads, a number each, of the block that writes one token's keys, and values, to the KV cache


@inner
def decode(
    batch: float,
    kv_heads: float,
    group: float,
    q_len: float,
    kv_len: float,
    span: float,
    keys: float,
    value_dim: float,
    kv_dim: float,
    kv_width: float,
    kv_bytes: float,
    io_bytes: float,
    start_s: float,
    row_s: float,
    memory_s: float,
    pair_s: float,
    decode_rows: float,
    fetch_rows: float,
    port_cores: float,
    cache_rate: float,
    core_rate: float,
    core_count: float,
    block_s: float,
    decode_fill_s: float,
    decode_split_s: float,
) -> tuple[float, float, float, float, float, float]:
    """The fastest way to run few queries: one block per sequence and KV head, that streams all its keys.

    Whole, or with the keys cut so that every core has an equal share of them.

    Parameters
    ----------
    batch, kv_heads, q_len, kv_len, value_dim, kv_dim, kv_width, decode_rows, fetch_rows, port_cores, block_s
        As in `attention_cost`.
    group : float
        Query heads that share a KV head.
    span, keys, kv_bytes, io_bytes : float
        As :func:`work` returns them.
    start_s, row_s, memory_s : float
        What nothing hides, of the call and of a query row; main memory's part; s.
    pair_s : float
        The whole chip's time for a pair of a query and a key, s.
    cache_rate, core_rate : float
        Sustained cache bandwidth, and a core's share of it, bytes/s.
    decode_fill_s, decode_split_s : float
        Latency of a block's first tile; cost of cutting the keys and combining the parts; s.

    Returns
    -------
    time_s, upper_s : float
        Of the fastest schedule, and the least of all with nothing overlapped, s.
    compute_s, cache_s, overhead_s, cache_bytes : float
        Busy times of the fastest one, what nothing hides, and the bytes that pass the cache.
    """
    rows = max(group, min(group * q_len, min(DECODE_ROWS, fetch_rows)))
    row_blocks, fetches = rounded_up(rows / decode_rows), rounded_up(rows / fetch_rows)
    blocks = batch * kv_heads * row_blocks
    tiles = min(math.ceil(kv_len / TILE), math.ceil(span / TILE) + 1.0)  # a window straddles one tile more
    tile_s = decode_rows * TILE * core_count * pair_s
    key_s = fetches / row_blocks * kv_dim * kv_width / core_rate  # of a block
    share, core_blocks = blocks / core_count, 1.0 / port_cores
    waves = rounded_up(share)
    # A block loads through the port of its core, all of them together at the cache's rate: as long as this many blocks,
    # one after the other, at a core's share of that rate.
    loads = max(share, waves * core_blocks)
    whole_s = start_s + waves * (block_s + tile_s) + loads * (min(group * q_len, decode_rows) * row_s)
    pieces = max(blocks, min(core_count, blocks * tiles))
    partial_bytes = pieces * min(rows, decode_rows) * value_dim * PARTIAL_BYTES
    cut_s = whole_s + decode_split_s + partial_bytes * (1.0 / cache_rate)
    time_s = upper_s = math.inf
    compute_s = cache_s = overhead_s = 0.0
    for fixed, busy, streamed in (
        (whole_s, waves * (tiles - 1.0) * tile_s, loads * keys),
        (cut_s, share * (tiles - 1.0) * tile_s, max(share * keys, min(keys, TILE) * core_blocks)),
    ):
        stream = max(waves * decode_fill_s, streamed * key_s)
        option = fixed + max(busy, stream, memory_s)
        upper_s = min(upper_s, fixed + busy + stream + memory_s)
        if option < time_s:
            time_s, compute_s, cache_s, overhead_s = option, busy, stream, fixed
    cache_bytes = kv_bytes * fetches + io_bytes
    return time_s, upper_s, compute_s, cache_s, overhead_s, cache_bytes


@inner
def prefill(
    batch: float,
    heads: float,
    kv_heads: float,
    group: float,
    q_len: float,
    span: float,
    keys: float,
    causal: float,
    kv_dim: float,
    kv_width: float,
    kv_bytes: float,
    io_bytes: float,
    start_s: float,
    row_s: float,
    memory_s: float,
    pair_s: float,
    tile: float,
    port_cores: float,
    cache_rate: float,
    core_count: float,
    block_s: float,
    decode_split_s: float,
    pack_heads: float,
    cut_prompts: float,
) -> tuple[float, float, float, float, float, float]:
    """The fastest way to run many queries: one block per tile of query rows, over the tiles of keys that they see.

    A tile holds rows of one head, or of all heads that share a KV head (packed). Blocks stay whole, or have their keys
    cut; both as far as the library does such things. Parameters and results are those of :func:`decode`.
    """
    kv_tiles = math.ceil(keys / tile)
    longest = min(kv_tiles, math.ceil(span / tile) + 1.0)
    tile_s, tile_bytes = tile * tile * core_count * pair_s, tile * tile / SHARED_ROWS * kv_dim * kv_width
    core_share, core_blocks, cache_byte_s = 1.0 / core_count, 1.0 / port_cores, 1.0 / cache_rate
    time_s = upper_s = math.inf
    compute_s = cache_s = overhead_s = cache_bytes = 0.0
    for packed in (False, True):
        if packed and (group == 1.0 or pack_heads < 0.5):
            break
        block_rows = group * q_len if packed else q_len
        row_tiles = rounded_up(block_rows / tile)
        blocks = batch * (kv_heads if packed else heads) * row_tiles
        work = blocks * longest
        if causal > 0.0 and not packed:
            work = batch * heads * attended(row_tiles, max(kv_tiles, row_tiles), longest)
        even, share = work * core_share, blocks / core_count
        traffic = max(kv_bytes, work * tile_bytes) + io_bytes
        stream = traffic * cache_byte_s
        waves = rounded_up(share)
        loads = max(share, waves * core_blocks)
        fixed = start_s + waves * block_s + loads * (min(block_rows, tile) * row_s)
        # Whole blocks leave cores idle while the longest one ends; cut along the keys they end within a tile.
        whole = tile_s * max(longest, even + longest * (1.0 - min(1.0 / share, 1.0)))
        cut = tile_s * (even + 1.0) if cut_prompts > 0.5 else whole
        for busy, extra_s in ((whole, 0.0), (cut, decode_split_s)):
            option = fixed + extra_s + max(busy, stream, memory_s)
            upper_s = min(upper_s, fixed + extra_s + busy + stream + memory_s)
            if option < time_s:
                time_s, compute_s, cache_s, overhead_s = option, busy, stream, fixed + extra_s
                cache_bytes = traffic
    return time_s, upper_s, compute_s, cache_s, overhead_s, cache_bytes


@inner
def many(q_len: float, group: float, fetch_rows: float) -> bool:
    """Whether queries are so many that tiles of them meet tiles of keys, as in prefill.

    A decode kernel whose rows each fetch keys and values for themselves is asked for one; prefill's takes more.
    """
    return q_len > 1.0 and group * q_len > min(DECODE_ROWS, fetch_rows)


@inner
def attention_cost(
    batch: float,
    heads: float,
    kv_heads: float,
    key_dim: float,
    value_dim: float,
    kv_dim: float,
    q_len: float,
    kv_len: float,
    causal: float,
    window: float,
    width: float,
    kv_width: float,
    reuse: float,
    tensors: float,
    tile: float,
    decode_rows: float,
    fetch_rows: float,
    port_cores: float,
    matrix_flops: float,
    vector_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    convert_s: float,
    sequence_s: float,
    block_s: float,
    memory_fraction: float,
    cache_fraction: float,
    edge_fraction: float,
    fresh_fraction: float,
    prefill_compute_fraction: float,
    prefill_vector_fraction: float,
    decode_compute_fraction: float,
    decode_vector_fraction: float,
    decode_fill_s: float,
    decode_split_s: float,
    pack_heads: float,
    cut_prompts: float,
    prefilled: float,
) -> Quantities:
    """Cost of attention that stores `kv_dim` numbers per token and KV head, in prefill tiles of `tile` rows and keys.

    `prefilled` is 0.0 where the queries are known to be so few (see :func:`many`) that they are computed as in decode.
    `attention` explains everything else.
    """
    group, memory_byte_s = heads / kv_heads, 1.0 / memory_bandwidth
    span, keys, flops, softmax_flops, kv_bytes, io_bytes, memory_bytes, ideal_bytes = work(
        batch, heads, kv_heads, key_dim, value_dim, kv_dim, q_len, kv_len, causal, window, width, kv_width, reuse,
        tensors, cache_capacity,
    )  # fmt: skip
    lower_s = max(
        flops * (1.0 / matrix_flops), softmax_flops * (1.0 / vector_flops),
        ideal_bytes * memory_byte_s, (kv_bytes + io_bytes) * (1.0 / cache_bandwidth),
    )  # fmt: skip
    memory_s = memory_bytes * (memory_byte_s / memory_fraction)

    # What every form pays: the launch, bookkeeping, and the first read of keys and values just written to a paged KV
    # cache (an encoder, which is not causal, keeps none).
    fresh_bytes = causal * (batch * tensors) * kv_heads * min(q_len, keys) * max(kv_dim * kv_width, BURST_BYTES)
    start_s = launch_s + batch * sequence_s + fresh_bytes * (memory_byte_s / fresh_fraction)
    start_s += convert_s if kv_width < width else 0.0
    # A query row comes in and its output goes out, in 16 bits at least, at the edges of a block: nothing hides it.
    core_bandwidth = cache_bandwidth / core_count
    row_s = (key_dim * width + value_dim * max(width, 2.0)) / (edge_fraction * core_bandwidth)
    cache_rate, core_rate = cache_fraction * cache_bandwidth, cache_fraction * core_bandwidth
    padded_dim = DIM_STEP * (math.ceil(key_dim / DIM_STEP) + math.ceil(value_dim / DIM_STEP))

    pair_s = 2.0 * padded_dim / (decode_compute_fraction * matrix_flops)
    pair_s += SOFTMAX_FLOPS / (decode_vector_fraction * vector_flops)
    time_s, upper_s, compute_s, cache_s, overhead_s, cache_bytes = decode(
        batch, kv_heads, group, q_len, kv_len, span, keys, value_dim, kv_dim, kv_width, kv_bytes, io_bytes, start_s,
        row_s, memory_s, pair_s, decode_rows, fetch_rows, port_cores, cache_rate, core_rate, core_count, block_s,
        decode_fill_s, decode_split_s,
    )  # fmt: skip
    if prefilled > 0.0 and many(q_len, group, fetch_rows):
        decode_time, decode_upper = time_s, upper_s
        pair_s = 2.0 * padded_dim / (prefill_compute_fraction * matrix_flops)
        pair_s += SOFTMAX_FLOPS / (prefill_vector_fraction * vector_flops)
        time_s, upper_s, compute_s, cache_s, overhead_s, cache_bytes = prefill(
            batch, heads, kv_heads, group, q_len, span, keys, causal, kv_dim, kv_width, kv_bytes, io_bytes, start_s,
            row_s, memory_s, pair_s, tile, port_cores, cache_rate, core_count, block_s, decode_split_s, pack_heads,
            cut_prompts,
        )  # fmt: skip
        # More query rows are never faster than one tile of them in decode's form.
        overhead_s += max(decode_time - time_s, 0.0)
        time_s, upper_s = max(time_s, decode_time), max(upper_s, decode_upper)

    time_s = max(time_s, lower_s)
    return Quantities(
        flops,
        softmax_flops,
        kv_bytes + io_bytes,
        memory_bytes,
        cache_bytes,
        0.0,
        lower_s,
        time_s,
        max(time_s, upper_s),
        compute_s,
        memory_s,
        cache_s,
        0.0,
        overhead_s,
    )


@inner
def written(
    launch_s: float,
    batch: float,
    kv_heads: float,
    head_dim: float,
    kv_dim: float,
    q_len: float,
    causal: float,
    scattered: float,
    tensors: float,
    scatter_s: float,
    scatter_element_s: float,
    token_write_s: float,
) -> float:
    """Time, s, of the launch and of writing new keys and values, where attention's own kernels do not."""
    tokens = batch * tensors * q_len
    launch_s += scattered * (scatter_s + scatter_element_s * (tokens * kv_heads * kv_dim))
    return launch_s + causal * tokens * min(1.0, kv_heads * head_dim / WRITERS) * token_write_s


@kernel("batch", "q_len", "kv_len", "tensors")
def attention(
    batch: float,
    heads: float,
    kv_heads: float,
    head_dim: float,
    value_dim: float,
    q_len: float,
    kv_len: float,
    causal: float,
    window: float,
    width: float,
    kv_width: float,
    reuse: float,
    scattered: float,
    tensors: float,
    matrix_flops: float,
    vector_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    scatter_s: float,
    scatter_element_s: float,
    token_write_s: float,
    convert_s: float,
    sequence_s: float,
    block_s: float,
    memory_fraction: float,
    cache_fraction: float,
    edge_fraction: float,
    fresh_fraction: float,
    prefill_compute_fraction: float,
    prefill_vector_fraction: float,
    decode_compute_fraction: float,
    decode_vector_fraction: float,
    decode_fill_s: float,
    decode_split_s: float,
    narrow_tile: float,
    decode_rows: float,
    fetch_rows: float,
    port_cores: float,
    pack_heads: float,
    cut_prompts: float,
) -> Quantities:
    """Cost of softmax(Q K^T) V for the last `q_len` of `kv_len` positions of each sequence.

    One form serves both phases: decode (one query, or so few that one tile of rows holds all that share a KV head),
    where the KV cache streams by; and prefill, also of a chunk after a cached prefix, where tiles of queries meet tiles
    of keys.

    Parameters
    ----------
    batch, heads, kv_heads, head_dim, q_len, kv_len : float
        Shape. `heads` is a multiple of `kv_heads` (equal: MHA; 1: MQA; between: GQA). `kv_len` counts the new tokens.
    value_dim : float
        Dimension of a value, 0.0 for `head_dim`.
    causal, window : float
        1.0 if a query sees no later position; number of positions that it sees, 0.0 for all.
    width, kv_width : float
        Bytes per number of Q and output, and of K and V.
    reuse : float
        1.0 if the same tensors are used again and again, so that a KV cache that fits is warm; else 0.0.
    scattered : float
        1.0 if plain kernels write the new keys and values to the cache, as where they differ in size; 0.0 if one
        kernel made for it does, whose time is in the others here.
    tensors : float
        Sequences that `batch` would be, over `batch`, were they counted by their tokens: above 1.0 where a shorter one
        counts by its pairs, as the last of several chunks does; else 1.0.
    matrix_flops, vector_flops : float
        Peak FLOP/s of the matrix engine at this dtype and of the vector engine at fp32.
    memory_bandwidth, cache_bandwidth, cache_capacity, core_count : float
        B/s, B/s, bytes; cores that take blocks.
    launch_s, convert_s : float
        Fixed cost of the call; of converting the queries first where K and V are narrower than they.
    scatter_s, scatter_element_s : float
        Plain kernels that write keys and values: s, and s per number.
    token_write_s : float
        A kernel that writes keys and values with a block of threads to each token: s per token, where the numbers of
        its keys fill a block (512), and less with them: more of the smaller blocks run at a time.
    sequence_s, block_s : float
        Bookkeeping of one sequence; start of one block (page look-up, first load, epilogue).
    memory_fraction, cache_fraction : float
        Sustained share of main-memory and of cache bandwidth.
    edge_fraction : float
        Share of its part of the cache bandwidth at which a core loads query rows and stores output rows.
    fresh_fraction : float
        Share of memory bandwidth at which just written keys and values are first fetched, hidden by nothing.
    prefill_compute_fraction, prefill_vector_fraction : float
        Sustained share of the matrix peak, and of the vector peak for the softmax, which the matrix work does not hide.
    decode_compute_fraction, decode_vector_fraction : float
        The same on tiles of `decode_rows`, empty rows and all.
    decode_fill_s, decode_split_s : float
        Latency of a block's first tile, which a longer stream hides; cost of cutting keys and combining the parts.
    narrow_tile : float
        Query rows, and keys, of a prefill tile for heads of at most 96 numbers; 128 for wider ones.
    decode_rows : float
        Queries that share a KV head and are computed together in decode; fewer cost as much. 64 on a matrix engine; 1
        where every query head works by itself.
    fetch_rows : float
        Queries that share one fetch of the keys and values through the cache: a block's, or all whose blocks follow
        each other on a core whose private cache holds them. Decode's form takes as many, 64 at most; more are
        prefill's.
    port_cores : float
        Width of a core's port to the cache, in cores' shares of the cache's bandwidth: 1 where it is no wider than that
        share. With twice as many cores on the same cache each has half the share, and its port is twice that.
    pack_heads : float
        1.0 if a tile of prefill may hold rows of several query heads that share a KV head, 0.0 if each has its own.
    cut_prompts : float
        1.0 if prefill may cut a prompt's keys over idle cores, as decode does, 0.0 if its blocks stay whole.

    Returns
    -------
    Quantities

    Notes
    -----
    FLOP are exact: 4 `head_dim` a pair of query and key that attend. `time_s` is overhead + max(compute, memory,
    cache), the least over the schedules considered; `upper_s` the least of their sums. Both grow with every size; with
    `kv_heads` or `head_dim` alone they need not: other groups pack better or worse, other widths have other tiles. Keys
    cut over more cores leave more parts to combine: with twice the cores one call may take a few percent longer.
    """
    value_dim = value_dim if value_dim > 0.0 else head_dim
    key_dim, kv_dim, prefilled = head_dim, head_dim + value_dim, 1.0
    tile = narrow_tile if head_dim <= NARROW else TILE
    launch_s = written(
        launch_s, batch, kv_heads, head_dim, kv_dim, q_len, causal, scattered, tensors, scatter_s, scatter_element_s,
        token_write_s,
    )  # fmt: skip
    return attention_cost(
        batch, heads, kv_heads, key_dim, value_dim, kv_dim, q_len, kv_len, causal, window, width, kv_width, reuse,
        tensors, tile, decode_rows, fetch_rows, port_cores, matrix_flops, vector_flops, memory_bandwidth,
        cache_bandwidth, cache_capacity, core_count, launch_s, convert_s, sequence_s, block_s, memory_fraction,
        cache_fraction, edge_fraction, fresh_fraction, prefill_compute_fraction, prefill_vector_fraction,
        decode_compute_fraction, decode_vector_fraction, decode_fill_s, decode_split_s, pack_heads, cut_prompts,
        prefilled,
    )  # fmt: skip
