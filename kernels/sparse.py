"""Cost of sparse attention: scoring every cached token in a few narrow heads, then attending to the best of them.

Sources: DeepSeek Sparse Attention with its lightning indexer (DeepSeek-AI, "DeepSeek-V3.2-Exp", 2025). Read the
reference twin first.
"""

from __future__ import annotations

from roofline.kernels._jit import kernel
from roofline.kernels.attention_work import SOFTMAX_FLOPS, attended
from roofline.kernels.gemm import lost_share
from roofline.kernels.quantities import Quantities
from roofline.kernels.rounding import rounded_up

SCORE_FLOPS = 3.0  # a head's part of a score: rectified, weighted, added
SCORE_BYTES = 4.0  # a score is left in fp32
ROWS = 64.0  # rows of a matrix instruction, to which the heads of one query are padded
KEYS = 128.0  # keys that one block of threads takes at a time
INDEX_BYTES = 4.0  # where a chosen token lies, int32


@kernel("batch", "q_len", "kv_len")
def index_scores(
    batch: float,
    index_heads: float,
    index_dim: float,
    key_bytes: float,
    q_len: float,
    kv_len: float,
    block: float,
    causal: float,
    width: float,
    matrix_flops: float,
    vector_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    compute_fraction: float,
    vector_fraction: float,
    memory_fraction: float,
    cache_fraction: float,
    resident_fraction: float,
) -> Quantities:
    """Cost of one score for each of the last `q_len` queries and each of the `kv_len` keys that it may see.

    A score is the sum of `index_heads` products of `index_dim` numbers, each rectified and weighted: the matrix
    engine's work grows with the square of the context, as attention's does, at a fraction of its width. The keys are a
    cache of their own, read once; the scores are written for the choice that follows.

    Parameters
    ----------
    batch, q_len, kv_len : float
        Sequences, new tokens of each, and keys in the cache, the new ones included.
    index_heads, index_dim : float
        Heads of the indexer, and the size of each; they share one key a token.
    key_bytes : float
        Of one key in the cache, its scale included.
    block : float
        Keys whose scores become one, the largest of them; 1 where every key has its own.
    causal : float
        1.0: a query sees itself and what came before; 0.0: everything.
    width : float
        Bytes per number of the queries.
    matrix_flops, vector_flops : float
        FLOP/s.
    memory_bandwidth, cache_bandwidth : float
        Main memory and last-level cache, bytes/s.
    cache_capacity : float
        Last-level cache, bytes; 0 without one.
    core_count : float
        Cores of the chip.
    launch_s : float
        Start of the kernel, s.
    compute_fraction, vector_fraction, memory_fraction, cache_fraction : float
        Sustained shares of the rates.
    resident_fraction : float
        Share of the cache that a working set fills before it begins to evict itself.

    Returns
    -------
    Quantities
    """
    seen = attended(q_len, kv_len, kv_len) if causal > 0.5 else q_len * kv_len
    pairs = batch * seen
    flops = 2.0 * index_heads * index_dim * pairs
    vector = SCORE_FLOPS * index_heads * pairs
    keys_bytes = batch * kv_len * key_bytes
    passing = batch * q_len * index_heads * index_dim * width + pairs / block * SCORE_BYTES
    total = keys_bytes + passing

    rows = index_heads * q_len
    padded = rounded_up(rows / ROWS) * ROWS / rows
    pieces = batch * max(1.0, rows / ROWS) * max(1.0, kv_len / KEYS)
    filled = min(1.0, pieces / core_count)
    compute_s = flops * padded / (matrix_flops * compute_fraction * filled)
    compute_s = max(compute_s, vector / (vector_flops * vector_fraction * filled))
    memory_bytes = keys_bytes + passing * lost_share(passing, resident_fraction * cache_capacity)
    memory_s = memory_bytes / (memory_bandwidth * memory_fraction)
    cache_s = total / (cache_bandwidth * cache_fraction)

    lower_s = max(flops / matrix_flops, vector / vector_flops, total / cache_bandwidth)
    lower_s = max(lower_s, (keys_bytes + max(passing - cache_capacity, 0.0)) / memory_bandwidth)
    time_s = launch_s + max(compute_s, memory_s, cache_s)
    upper_s = launch_s + compute_s + memory_s + cache_s
    return Quantities(
        flops,
        vector,
        total,
        memory_bytes,
        total,
        0.0,
        lower_s,
        time_s,
        upper_s,
        compute_s,
        memory_s,
        cache_s,
        0.0,
        launch_s,
    )


@kernel("batch", "q_len", "kv_len")
def sparse_attention(
    batch: float,
    heads: float,
    kv_heads: float,
    key_dim: float,
    value_dim: float,
    token_bytes: float,
    q_len: float,
    kv_len: float,
    chosen: float,
    causal: float,
    width: float,
    matrix_flops: float,
    vector_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    prefill_compute_fraction: float,
    decode_compute_fraction: float,
    vector_fraction: float,
    memory_fraction: float,
    cache_fraction: float,
    resident_fraction: float,
    decode_rows: float,
) -> Quantities:
    """Cost of attention of each of the last `q_len` queries over `chosen` tokens of its own, of `kv_len` at most.

    Each query gathers its tokens through the cache: queries share what is there, and a sequence's tokens that do not
    fit are fetched again. The heads that share a token's keys are one product, padded to the rows of the engine.

    Parameters
    ----------
    batch, q_len, kv_len : float
        Sequences, new tokens of each, and tokens to choose from, the new ones included.
    heads, kv_heads : float
        Query heads, and key/value heads that they share: each has tokens chosen for it.
    key_dim, value_dim : float
        Numbers of a head's key and value.
    token_bytes : float
        What the cache holds of a token for one key/value head, bytes: keys, values and scales.
    chosen : float
        Most tokens that a query attends to.
    causal : float
        1.0: the first queries have fewer to choose from; 0.0: all of them.
    width : float
        Bytes per number of queries and outputs.
    matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, cache_capacity, core_count : float
        As for `index_scores`.
    launch_s : float
        Start of the kernel, s.
    prefill_compute_fraction, decode_compute_fraction : float
        Sustained shares of `matrix_flops` for many queries of a sequence, and for one.
    vector_fraction, memory_fraction, cache_fraction, resident_fraction : float
        As for `index_scores`; `memory_fraction` that of single rows, gathered.
    decode_rows : float
        Rows to which the heads that share a token are padded.

    Returns
    -------
    Quantities
    """
    seen = attended(q_len, kv_len, chosen) if causal > 0.5 else q_len * min(kv_len, chosen)
    pairs = batch * seen
    flops = 2.0 * (key_dim + value_dim) * heads * pairs
    vector = SOFTMAX_FLOPS * heads * pairs
    io_bytes = batch * q_len * heads * (key_dim + value_dim) * width
    gathered = kv_heads * pairs * token_bytes
    distinct = batch * kv_heads * min(kv_len, seen) * token_bytes
    fewest = batch * kv_heads * min(kv_len, chosen) * token_bytes
    indices = kv_heads * pairs * INDEX_BYTES

    group = heads / kv_heads
    padded = rounded_up(group / decode_rows) * decode_rows / group
    pieces = batch * q_len * kv_heads * max(1.0, min(kv_len, chosen) / KEYS)
    filled = min(1.0, pieces / core_count)
    fraction = decode_compute_fraction if q_len <= 1.0 else prefill_compute_fraction
    compute_s = padded * (flops / (matrix_flops * fraction) + vector / (vector_flops * vector_fraction)) / filled

    room = resident_fraction * cache_capacity
    again = (gathered - distinct) * lost_share(distinct / batch, room)
    memory_bytes = distinct + again + (io_bytes + indices) * lost_share(io_bytes + indices, room)
    cache_bytes = gathered + io_bytes + indices
    memory_s = memory_bytes / (memory_bandwidth * memory_fraction)
    cache_s = cache_bytes / (cache_bandwidth * cache_fraction)

    total = fewest + io_bytes
    lower_s = max(flops / matrix_flops, vector / vector_flops, total / cache_bandwidth)
    lower_s = max(lower_s, (fewest + max(io_bytes - cache_capacity, 0.0)) / memory_bandwidth)
    time_s = launch_s + max(compute_s, memory_s, cache_s)
    upper_s = launch_s + compute_s + memory_s + cache_s
    return Quantities(
        flops,
        vector,
        total,
        memory_bytes,
        cache_bytes,
        0.0,
        lower_s,
        time_s,
        upper_s,
        compute_s,
        memory_s,
        cache_s,
        0.0,
        launch_s,
    )
