"""What attention has to compute and to move, however it is scheduled."""

from __future__ import annotations

from roofline.kernels._jit import inner

SOFTMAX_FLOPS = 5.0  # a score: scale and subtract the maximum (2), exponential, maximum, sum
KEPT = 0.75  # a real cache keeps a tensor up to this share of its capacity, and nothing of one as large as itself


@inner
def attended(queries: float, keys: float, window: float) -> float:
    """Pairs under a causal mask: the sum of min(position, window) over the last `queries` of `keys` positions."""
    first = max(keys - queries, 0.0)
    short, skipped = min(keys, window), min(first, window)
    triangle = 0.5 * (short * (short + 1.0) - skipped * (skipped + 1.0))
    return triangle + window * (max(keys - window, 0.0) - max(first - window, 0.0))


@inner
def work(
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
    cache_capacity: float,
) -> tuple[float, float, float, float, float, float, float, float]:
    """What `attention_cost` has to compute and move, however it is scheduled.

    Queries and output were just in the cache and spill beyond it; the KV cache is cold unless it is reused and fits.

    Returns
    -------
    span, keys : float
        Keys that a query sees at most, and that any of the queries sees.
    flops, softmax_flops : float
    kv_bytes, io_bytes : float
        Keys and values, and queries and output, once.
    memory_bytes, ideal_bytes : float
        Expected of main memory, and the least that it has to give.
    """
    span = min(kv_len, window) if window > 0.0 else kv_len
    keys = min(kv_len, span + q_len - 1.0)
    pairs = attended(q_len, kv_len, span) if causal > 0.0 else q_len * span
    scores = batch * heads * pairs
    flops = 2.0 * (key_dim + value_dim) * scores
    softmax_flops = SOFTMAX_FLOPS * scores

    sequences = batch * tensors  # that have tensors, whole
    kv_bytes = sequences * kv_heads * keys * kv_dim * kv_width
    io_bytes = sequences * heads * q_len * (key_dim + value_dim) * width
    spilled = max(io_bytes - cache_capacity, 0.0)
    missed = max(kv_bytes - max(cache_capacity - io_bytes, 0.0), 0.0)
    ideal_bytes = spilled + kv_bytes - reuse * (kv_bytes - missed)
    excess = (kv_bytes + io_bytes - KEPT * cache_capacity) * (1.0 / max((1.0 - KEPT) * cache_capacity, 1.0))
    missed = kv_bytes * min(max(excess, 0.0), 1.0)
    memory_bytes = spilled + kv_bytes - reuse * (kv_bytes - missed)
    return span, keys, flops, softmax_flops, kv_bytes, io_bytes, memory_bytes, ideal_bytes
