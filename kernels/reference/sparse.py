"""Sparse attention in plain numpy: the formulas to read first."""

from __future__ import annotations

import numpy as np

from roofline.kernels.reference.attention import SOFTMAX_FLOPS, attended
from roofline.kernels.reference.gemm import lost_share

SCORE_FLOPS, SCORE_BYTES, ROWS, KEYS, INDEX_BYTES = 3, 4, 64, 128, 4


def times(flops, vector, total, memory_bytes, cache_bytes, least_bytes, compute_s, launch_s, rates):
    """The quantities of a kernel whose matrix, memory and cache work overlap."""
    matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, memory_fraction, cache_fraction = rates
    memory_s = memory_bytes / (memory_fraction * memory_bandwidth)
    cache_s = cache_bytes / (cache_fraction * cache_bandwidth)
    ideal = (flops / matrix_flops, vector / vector_flops, least_bytes / memory_bandwidth, total / cache_bandwidth)
    lower = np.max(np.broadcast_arrays(*ideal), axis=0)
    time = launch_s + np.max(np.broadcast_arrays(compute_s, memory_s, cache_s), axis=0)
    upper = launch_s + compute_s + memory_s + cache_s
    zero = np.zeros_like(time)
    return tuple(
        np.broadcast_arrays(
            flops,
            vector,
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
            launch_s,
        )
    )


def index_scores(
    batch,
    index_heads,
    index_dim,
    key_bytes,
    q_len,
    kv_len,
    block,
    causal,
    width,
    matrix_flops,
    vector_flops,
    memory_bandwidth,
    cache_bandwidth,
    cache_capacity,
    core_count,
    launch_s,
    compute_fraction,
    vector_fraction,
    memory_fraction,
    cache_fraction,
    resident_fraction,
):
    """Scores of a lightning indexer: sum over H heads of w relu(q k), D numbers a product, one key for all heads.

    A pair costs 2 H D FLOP on the matrix engine and 3 H on the vector engine; a key is `key_bytes`, read once. The
    scores, or the largest of each block, are left in fp32. A query's heads are padded to 64 rows; work that is cut into
    fewer pieces (64 rows, 128 keys) than there are cores leaves cores idle.
    """
    pairs = batch * np.where(causal > 0, attended(q_len, kv_len, kv_len), q_len * kv_len)
    flops, vector = 2 * index_heads * index_dim * pairs, SCORE_FLOPS * index_heads * pairs
    keys = batch * kv_len * key_bytes
    queries = batch * q_len * index_heads * index_dim * width
    passing = queries + SCORE_BYTES * pairs / block

    rows = index_heads * q_len
    engine_flops = flops / rows * ROWS * np.ceil(rows / ROWS)
    idle = np.minimum(1, batch * np.maximum(1, rows / ROWS) * np.maximum(1, kv_len / KEYS) / core_count)
    matrix_s = engine_flops / (compute_fraction * matrix_flops)
    compute_s = np.maximum(matrix_s, vector / (vector_fraction * vector_flops)) / idle
    return times(
        flops,
        vector,
        keys + passing,
        keys + passing * lost_share(passing, resident_fraction * cache_capacity),
        keys + passing,
        keys + np.maximum(passing - cache_capacity, 0),
        compute_s,
        launch_s,
        (matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, memory_fraction, cache_fraction),
    )


def sparse_attention(
    batch,
    heads,
    kv_heads,
    key_dim,
    value_dim,
    token_bytes,
    q_len,
    kv_len,
    chosen,
    causal,
    width,
    matrix_flops,
    vector_flops,
    memory_bandwidth,
    cache_bandwidth,
    cache_capacity,
    core_count,
    launch_s,
    prefill_compute_fraction,
    decode_compute_fraction,
    vector_fraction,
    memory_fraction,
    cache_fraction,
    resident_fraction,
    decode_rows,
):
    """Attention of each query over tokens of its own choice: as a window of so many tokens, scattered.

    Pairs are those of a causal window of `chosen` tokens; each costs 2 (key_dim + value_dim) FLOP a head and a softmax.
    Every query fetches its tokens through the cache (`gathered`). Memory gives each token of a sequence once, as far as
    queries come to it at all (`distinct`), and again what the cache loses of a sequence's tokens in between.
    """
    seen = np.where(causal > 0, attended(q_len, kv_len, chosen), q_len * np.minimum(kv_len, chosen))
    pairs = batch * seen
    flops, vector = 2 * (key_dim + value_dim) * heads * pairs, SOFTMAX_FLOPS * heads * pairs
    io_bytes = batch * q_len * heads * (key_dim + value_dim) * width
    indices = INDEX_BYTES * kv_heads * pairs
    gathered = kv_heads * pairs * token_bytes
    a_sequence = kv_heads * np.minimum(kv_len, seen) * token_bytes
    fewest = batch * kv_heads * np.minimum(kv_len, chosen) * token_bytes

    group = heads / kv_heads
    padding = np.ceil(group / decode_rows) * decode_rows / group
    fraction = np.where(q_len <= 1, decode_compute_fraction, prefill_compute_fraction)
    blocks = batch * q_len * kv_heads * np.maximum(1, np.minimum(kv_len, chosen) / KEYS)
    engines_s = flops / (fraction * matrix_flops) + vector / (vector_fraction * vector_flops)
    compute_s = engines_s * padding / np.minimum(1, blocks / core_count)

    room = resident_fraction * cache_capacity
    distinct = batch * a_sequence
    passing = io_bytes + indices
    memory_bytes = distinct + (gathered - distinct) * lost_share(a_sequence, room) + passing * lost_share(passing, room)
    return times(
        flops,
        vector,
        fewest + io_bytes,
        memory_bytes,
        gathered + passing,
        fewest + np.maximum(io_bytes - cache_capacity, 0),
        compute_s,
        launch_s,
        (matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, memory_fraction, cache_fraction),
    )
