"""Attention in plain numpy: the formulas to read first.

Online softmax over tiles is FlashAttention (Dao et al. 2022, 2023; Shah et al. 2024), keys cut over idle cores are
Flash-Decoding (Dao et al. 2023), the bound on a schedule of unequal blocks is Graham's (1969).
"""

from __future__ import annotations

import numpy as np

TILE = 128  # query rows, and keys, of one tile
NARROW = 96  # head dimension up to which tiles may be larger
DECODE_ROWS = 64  # queries that share a KV head up to which they are computed as in decode
DIM_STEP = 32  # head dimensions are padded to a multiple of this
SOFTMAX_FLOPS = 5  # of one score: scale and subtract the maximum, exponential, maximum, sum
BURST_BYTES = 512  # least that a token's K and V of one head cost to fetch
SHARED_ROWS = 512  # query rows in flight together that share one fetch of a K and V tile
PARTIAL_BYTES = 8  # of a number in a partial result: fp32, written and read
WRITERS = 512.0  # threads of the block that writes one token's keys, and values, to the KV cache
KEPT = 0.75  # a cache keeps a tensor up to this share of itself, and nothing of one that fills it


def attended(queries, keys, window):
    """Pairs of query and key under a causal mask.

    The last `queries` of `keys` positions attend; position p sees min(p, window) keys, so the pairs are the sum of that
    over p = keys - queries + 1 .. keys: a triangle up to the window, a band of constant width after it.
    """

    def up_to(position):
        triangle = np.minimum(position, window)
        return triangle * (triangle + 1) / 2 + window * np.maximum(position - window, 0)

    return up_to(keys) - up_to(np.maximum(keys - queries, 0))


def best(schedules, memory_s):
    """The fastest of several schedules, each (fixed, compute, cache, traffic), and the least of their sums."""
    fixed, compute, cache, traffic = (np.stack(np.broadcast_arrays(*column)) for column in zip(*schedules, strict=True))
    time = fixed + np.maximum(np.maximum(compute, cache), memory_s)
    upper = (fixed + compute + cache + memory_s).min(axis=0)
    choice = time.argmin(axis=0)[None]
    return [np.take_along_axis(a, choice, axis=0)[0] for a in (time, fixed, compute, cache, traffic)] + [upper]


def attention_cost(
    batch,
    heads,
    kv_heads,
    key_dim,
    value_dim,
    kv_dim,
    q_len,
    kv_len,
    causal,
    window,
    width,
    kv_width,
    reuse,
    tensors,
    tile,
    decode_rows,
    fetch_rows,
    port_cores,
    matrix_flops,
    vector_flops,
    memory_bandwidth,
    cache_bandwidth,
    cache_capacity,
    core_count,
    launch_s,
    convert_s,
    sequence_s,
    block_s,
    memory_fraction,
    cache_fraction,
    edge_fraction,
    fresh_fraction,
    prefill_compute_fraction,
    prefill_vector_fraction,
    decode_compute_fraction,
    decode_vector_fraction,
    decode_fill_s,
    decode_split_s,
    pack_heads=1,
    cut_prompts=1,
):
    """Cost of attention that stores `kv_dim` numbers per token and KV head, as arrays that broadcast.

    Work. A pair of query and key that attend costs 2 key_dim (the score) + 2 value_dim (its share of the output) FLOP
    on the matrix engine and a softmax on the vector engine.

    Traffic, of batch x `tensors` sequences. Queries and output pass through the cache and spill beyond its capacity.
    The KV cache is cold, or with `reuse` warm: ideally all but what exceeds the capacity; in a real cache, which evicts
    the oldest bytes just before a loop comes back to them, all of it up to three quarters of the capacity and nothing
    from the capacity on.

    Time, both phases: launch + sequences x sequence_s + just written K and V at fresh_fraction of memory bandwidth,
    then waves of blocks over the cores, each with a start and its query and output rows, then the longest of matrix
    work, the stream of K and V through the cache, and memory. The phases differ in what a block is:

    - decode: the queries that share a KV head of one sequence, padded to `decode_rows`, over all its keys;
    - prefill: `tile` query rows of a head (or of the heads that share a KV head, if that packs better and the library
      has it: `pack_heads`) over the tiles of keys that they see. The cores end together but for the longest block:
      Graham's bound, even share + longest.

    In both the keys may be cut over the cores instead, which evens the shares out and pays for combining the parts; in
    prefill where the library has it (`cut_prompts`).
    """
    group = heads / kv_heads
    span = np.where(window > 0, np.minimum(kv_len, window), kv_len)
    keys = np.minimum(kv_len, span + q_len - 1)
    pairs = np.where(causal > 0, attended(q_len, kv_len, span), q_len * span)
    scores = batch * heads * pairs
    flops = 2 * (key_dim + value_dim) * scores
    softmax = SOFTMAX_FLOPS * scores

    kv_bytes = tensors * batch * kv_heads * keys * kv_dim * kv_width
    io_bytes = tensors * batch * heads * q_len * (key_dim + value_dim) * width
    total = kv_bytes + io_bytes
    spilled = np.maximum(io_bytes - cache_capacity, 0)

    def memory_traffic(missed):
        return spilled + (1 - reuse) * kv_bytes + reuse * missed

    overflow = np.maximum(kv_bytes - np.maximum(cache_capacity - io_bytes, 0), 0)
    lower = np.maximum(flops / matrix_flops, softmax / vector_flops)
    lower = np.maximum(lower, memory_traffic(overflow) / memory_bandwidth)
    lower = np.maximum(lower, total / cache_bandwidth)

    evicted = (total - KEPT * cache_capacity) / np.maximum((1 - KEPT) * cache_capacity, 1)
    memory_bytes = memory_traffic(kv_bytes * np.clip(evicted, 0, 1))
    memory_s = memory_bytes / (memory_fraction * memory_bandwidth)

    core_bandwidth = cache_bandwidth / core_count
    core_matrix = matrix_flops / core_count
    core_vector = vector_flops / core_count
    fresh = causal * tensors * batch * kv_heads * np.minimum(q_len, keys) * np.maximum(kv_dim * kv_width, BURST_BYTES)
    start_s = launch_s + np.where(kv_width < width, convert_s, 0) + batch * sequence_s
    start_s = start_s + fresh / (fresh_fraction * memory_bandwidth)
    row_s = (key_dim * width + value_dim * np.maximum(width, 2)) / (edge_fraction * core_bandwidth)
    pair_flops = 2 * DIM_STEP * (np.ceil(key_dim / DIM_STEP) + np.ceil(value_dim / DIM_STEP))

    # Decode.
    few = np.minimum(DECODE_ROWS, fetch_rows)  # rows that decode's kernel is asked for at most
    queries = np.maximum(group, np.minimum(group * q_len, few))
    row_blocks, fetches = np.ceil(queries / decode_rows), np.ceil(queries / fetch_rows)
    rows = np.minimum(group * q_len, decode_rows)
    blocks = batch * kv_heads * row_blocks
    share = blocks / core_count
    waves = np.ceil(share)
    tiles = np.minimum(np.ceil(kv_len / TILE), np.ceil(span / TILE) + 1)  # a window straddles one tile more
    tile_s = (
        decode_rows
        * TILE
        * (
            pair_flops / (decode_compute_fraction * core_matrix)
            + SOFTMAX_FLOPS / (decode_vector_fraction * core_vector)
        )
    )
    key_s = fetches / row_blocks * kv_dim * kv_width / (cache_fraction * core_bandwidth)
    fill_s = waves * decode_fill_s
    pieces = np.maximum(blocks, np.minimum(core_count, blocks * tiles))
    partial_bytes = pieces * rows * value_dim * PARTIAL_BYTES
    # Loads end with the last core's port or with the cache, in times of a block at a core's share of the cache.
    loads = np.maximum(share, waves / port_cores)
    whole_s = start_s + waves * (block_s + tile_s) + loads * rows * row_s
    cut_s = whole_s + decode_split_s + partial_bytes / (cache_fraction * cache_bandwidth)
    traffic = kv_bytes * fetches + io_bytes
    cut_keys = np.maximum(share * keys, np.minimum(keys, TILE) / port_cores)
    decode = best(
        [
            (whole_s, waves * (tiles - 1) * tile_s, np.maximum(fill_s, loads * keys * key_s), traffic),
            (cut_s, share * (tiles - 1) * tile_s, np.maximum(fill_s, cut_keys * key_s), traffic),
        ],
        memory_s,
    )

    # Prefill.
    kv_tiles = np.ceil(keys / tile)
    longest = np.minimum(kv_tiles, np.ceil(span / tile) + 1)
    tile_s = tile**2 * (
        pair_flops / (prefill_compute_fraction * core_matrix) + SOFTMAX_FLOPS / (prefill_vector_fraction * core_vector)
    )
    q_tiles = np.ceil(q_len / tile)
    seen = np.where(causal > 0, attended(q_tiles, np.maximum(kv_tiles, q_tiles), longest), q_tiles * longest)
    group_tiles = np.ceil(group * q_len / tile)
    schedules = []
    for block_rows, blocks, work, has in (
        (q_len, batch * heads * q_tiles, batch * heads * seen, 1),
        (group * q_len, batch * kv_heads * group_tiles, batch * kv_heads * group_tiles * longest, pack_heads),
    ):
        even = work / core_count
        traffic = np.maximum(kv_bytes, work * tile**2 / SHARED_ROWS * kv_dim * kv_width) + io_bytes
        stream = traffic / (cache_fraction * cache_bandwidth)
        waves = np.ceil(blocks / core_count)
        loads = np.maximum(blocks / core_count, waves / port_cores)
        fixed = start_s + waves * block_s + loads * np.minimum(block_rows, tile) * row_s
        fixed = np.where(np.greater(has, 0), fixed, np.inf)
        uneven = longest * (1 - np.minimum(core_count / blocks, 1))
        whole = tile_s * np.maximum(longest, even + uneven)
        cut = np.where(cut_prompts > 0, tile_s * (even + 1), np.inf)
        schedules += [(fixed, whole, stream, traffic), (fixed + decode_split_s, cut, stream, traffic)]
    prefill = best(schedules, memory_s)

    # Few rows take decode's form; more rows are never faster than as many as that form takes.
    is_decode = (q_len <= 1) | (group * q_len <= few)
    waiting = np.maximum(decode[0] - prefill[0], 0)
    prefill[0], prefill[1], prefill[5] = prefill[0] + waiting, prefill[1] + waiting, np.maximum(prefill[5], decode[5])
    time, overhead_s, compute_s, cache_s, cache_bytes, upper = (
        np.where(is_decode, d, p) for d, p in zip(decode, prefill, strict=True)
    )
    time = np.maximum(time, lower)
    upper = np.maximum(upper, time)
    zero = np.zeros_like(time)
    return tuple(
        np.broadcast_arrays(
            flops,
            softmax,
            total,
            memory_bytes,
            cache_bytes,
            zero,
            lower,
            time,
            upper,
            compute_s,
            memory_s,
            cache_s,
            zero,
            overhead_s,
        )
    )


def attention(
    batch,
    heads,
    kv_heads,
    head_dim,
    value_dim,
    q_len,
    kv_len,
    causal,
    window,
    width,
    kv_width,
    reuse,
    scattered,
    tensors,
    matrix_flops,
    vector_flops,
    memory_bandwidth,
    cache_bandwidth,
    cache_capacity,
    core_count,
    launch_s,
    scatter_s,
    scatter_element_s,
    token_write_s,
    convert_s,
    sequence_s,
    block_s,
    memory_fraction,
    cache_fraction,
    edge_fraction,
    fresh_fraction,
    prefill_compute_fraction,
    prefill_vector_fraction,
    decode_compute_fraction,
    decode_vector_fraction,
    decode_fill_s,
    decode_split_s,
    narrow_tile,
    decode_rows,
    fetch_rows,
    port_cores,
    pack_heads,
    cut_prompts,
):
    """Cost of softmax(Q K^T) V: a token stores a key and a value in each KV head, written apart if `scattered`.

    The tensors are those of batch x `tensors` sequences, the pairs those of batch.
    """
    values = np.where(value_dim > 0, value_dim, head_dim)
    new_tokens = batch * tensors * q_len
    new_numbers = new_tokens * kv_heads * (head_dim + values)
    write_s = np.where(scattered > 0, scatter_s + new_numbers * scatter_element_s, 0)
    # A block of threads to each new token; smaller blocks, where keys have fewer numbers, run more at a time.
    write_s = write_s + causal * new_tokens * np.minimum(1, kv_heads * head_dim / WRITERS) * token_write_s
    return attention_cost(
        batch,
        heads,
        kv_heads,
        head_dim,
        values,
        head_dim + values,
        q_len,
        kv_len,
        causal,
        window,
        width,
        kv_width,
        reuse,
        tensors,
        np.where(head_dim <= NARROW, narrow_tile, TILE),
        decode_rows,
        fetch_rows,
        port_cores,
        matrix_flops,
        vector_flops,
        memory_bandwidth,
        cache_bandwidth,
        cache_capacity,
        core_count,
        launch_s + write_s,
        convert_s,
        sequence_s,
        block_s,
        memory_fraction,
        cache_fraction,
        edge_fraction,
        fresh_fraction,
        prefill_compute_fraction,
        prefill_vector_fraction,
        decode_compute_fraction,
        decode_vector_fraction,
        decode_fill_s,
        decode_split_s,
        pack_heads,
        cut_prompts,
    )
