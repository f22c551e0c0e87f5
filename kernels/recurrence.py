"""Cost of a recurrence over a matrix of state: state-space models, linear attention, gated delta rules.

Sources: the selective scan of Mamba (Gu & Dao 2023), the chunked form of Mamba-2 (state-space duality, Dao & Gu 2024),
that of gated linear attention (Yang et al. 2024) and of the gated delta rule (Yang, Kautz & Hatamizadeh 2024; Kimi Team
2025). Read the reference twin first.
"""

from __future__ import annotations

from roofline.kernels._jit import inner, kernel
from roofline.kernels.gemm import lost_share
from roofline.kernels.quantities import Quantities

PAIR_FLOPS = 4.0  # of a pair in a chunk on the vector engine: difference of two decays, exponential, mask, product
LEAST_ROWS = 16.0  # rows of the smallest product that a matrix engine does
VALUE_COLUMNS = 64.0  # columns of the state that one block of threads carries from step to step
INTERLEAVED = 4.0  # blocks that a core runs side by side, so that one's waiting hides behind the others
STATE_PASSES = 4.0  # states of chunks: written, carried on (read and written), read by the products of the outputs


@inner
def chunked(
    tokens: float,
    sequence: float,
    heads: float,
    groups: float,
    key_dim: float,
    value_dim: float,
    chunk: float,
    delta: float,
) -> tuple[float, float, float]:
    """Work of the chunked form on the matrix and the vector engine, FLOP; and what the matrix engine is kept busy with.

    A chunk's own pairs are a causal half, of which the matrix engine computes the whole square. Without the delta rule
    the products of queries and keys are shared by the heads of a group.
    """
    length = min(chunk, sequence)
    square = max(length, LEAST_ROWS)
    key_products, value_products = 1.0 + 2.0 * delta, 1.0 + delta
    scored = groups + delta * (heads - groups)
    across = 2.0 * heads * (2.0 + delta) * key_dim * value_dim
    per_row = 2.0 * (scored * key_products * key_dim + heads * value_products * value_dim)
    inverse = delta * heads / 3.0
    flops = tokens * (across + per_row * (length + 1.0) / 2.0 + inverse * length * length)
    busy = tokens * (across + per_row * square + inverse * square * square)
    vector = tokens * heads * (PAIR_FLOPS * (length + 1.0) / 2.0 + 2.0 * key_dim * value_dim / length)
    return flops, vector, busy


@kernel("batch", "q_len")
def recurrence(
    batch: float,
    heads: float,
    groups: float,
    key_dim: float,
    value_dim: float,
    gate_dim: float,
    q_len: float,
    chunk: float,
    matrix: float,
    delta: float,
    update_flops: float,
    resumed: float,
    width: float,
    state_width: float,
    matrix_flops: float,
    vector_flops: float,
    memory_bandwidth: float,
    cache_bandwidth: float,
    cache_capacity: float,
    core_count: float,
    launch_s: float,
    chunked_s: float,
    token_s: float,
    chunk_s: float,
    compute_fraction: float,
    vector_fraction: float,
    memory_fraction: float,
    cache_fraction: float,
    resident_fraction: float,
) -> Quantities:
    """Cost of `q_len` steps of a recurrence with a state of `key_dim` x `value_dim` numbers a head.

    Two ways to the same outputs, of which the faster is taken. Token by token, one kernel: the state is read once,
    updated and read out for every token on the vector engine, and written once. Chunked, several kernels: within a
    chunk as attention on the matrix engine, from chunk to chunk through the state, which every chunk writes; where
    there is no matrix form (`matrix` 0.0) the chunk is scanned on the vector engine instead. Either carries the state
    from step to step in turn, which takes its time however little there is to compute.

    Parameters
    ----------
    batch, q_len : float
        Sequences, and new tokens of each.
    heads, groups : float
        Heads with a state each, and groups of them that share their queries and keys (C and B of a state-space model).
    key_dim, value_dim : float
        Rows and columns of a head's state.
    gate_dim : float
        Numbers of a head's gates for one token: decays, step sizes.
    chunk : float
        Tokens of a chunk.
    matrix : float
        1.0: a chunk's pairs are products of matrices; 0.0: it is scanned.
    delta : float
        1.0: the state is corrected by what it holds for a key before (the delta rule); 0.0: only decayed and added to.
    update_flops : float
        FLOP that one token costs for each number of the state, token by token.
    resumed : float
        1.0: the state was there before and is read; 0.0: it begins at zero.
    width, state_width : float
        Bytes per number of what goes in and out, and of the state in memory.
    matrix_flops, vector_flops : float
        FLOP/s.
    memory_bandwidth, cache_bandwidth : float
        Main memory and last-level cache, bytes/s.
    cache_capacity : float
        Last-level cache, bytes; 0 without one.
    core_count : float
        Cores of the chip.
    launch_s : float
        The kernel of the form token by token, or the first of the chunked one, s.
    chunked_s : float
        The further kernels of the chunked form, s.
    token_s, chunk_s : float
        What one step from token to token, or from chunk to chunk, takes at least, s.
    compute_fraction, vector_fraction, memory_fraction, cache_fraction : float
        Sustained shares of the rates.
    resident_fraction : float
        Share of the cache that a working set fills before it begins to evict itself.

    Returns
    -------
    Quantities
    """
    tokens = batch * q_len
    length = min(chunk, q_len)
    numbers = heads * key_dim * value_dim  # of one state of all heads
    state_bytes = batch * numbers * state_width * (1.0 + resumed)
    io_bytes = tokens * (2.0 * groups * key_dim + heads * (2.0 * value_dim + gate_dim)) * width
    carried = batch * heads * max(1.0, value_dim / VALUE_COLUMNS)
    turns = max(1.0, carried / (core_count * INTERLEAVED))

    # Token by token.
    single_vector = tokens * numbers * update_flops
    single_s = max(single_vector / (vector_flops * vector_fraction), q_len * token_s * turns)

    # Chunked.
    if matrix > 0.5:
        flops, vector, busy = chunked(tokens, q_len, heads, groups, key_dim, value_dim, chunk, delta)
        passes = STATE_PASSES * state_width * (1.0 - delta) + 2.0 * width * delta
        between = (
            tokens / length * numbers * passes + 2.0 * delta * tokens * heads * (key_dim + 2.0 * value_dim) * width
        )
    else:
        flops, vector, busy, between = 0.0, single_vector, 0.0, 0.0
    work_s = busy / (matrix_flops * compute_fraction) + vector / (vector_flops * vector_fraction)
    many_s = max(work_s, max(1.0, q_len / chunk) * chunk_s * turns)

    memory_rate, cache_rate = memory_bandwidth * memory_fraction, cache_bandwidth * cache_fraction
    room = resident_fraction * cache_capacity
    single_memory = state_bytes + io_bytes * lost_share(io_bytes, room)
    single_cache = state_bytes + io_bytes
    many_memory = state_bytes + (io_bytes + between) * lost_share(io_bytes + between, room)
    many_cache = single_cache + between

    total = state_bytes + io_bytes
    least_bytes = state_bytes + max(io_bytes - cache_capacity, 0.0)
    moved_s = max(least_bytes / memory_bandwidth, total / cache_bandwidth)
    ideal_single = single_vector / vector_flops
    ideal_many = max(flops / matrix_flops, vector / vector_flops)
    lower_s = max(min(ideal_single, ideal_many), moved_s)

    single_memory_s, single_cache_s = single_memory / memory_rate, single_cache / cache_rate
    many_memory_s, many_cache_s = many_memory / memory_rate, many_cache / cache_rate
    many_launch = launch_s + chunked_s
    single_time = launch_s + max(single_s, single_memory_s, single_cache_s)
    many_time = many_launch + max(many_s, many_memory_s, many_cache_s)
    single_upper = launch_s + single_s + single_memory_s + single_cache_s
    many_upper = many_launch + many_s + many_memory_s + many_cache_s
    upper_s = min(single_upper, many_upper)
    if single_time <= many_time:
        return Quantities(
            0.0,
            single_vector,
            total,
            single_memory,
            single_cache,
            0.0,
            lower_s,
            single_time,
            upper_s,
            single_s,
            single_memory_s,
            single_cache_s,
            0.0,
            launch_s,
        )
    return Quantities(
        flops,
        vector,
        total,
        many_memory,
        many_cache,
        0.0,
        lower_s,
        many_time,
        upper_s,
        many_s,
        many_memory_s,
        many_cache_s,
        0.0,
        many_launch,
    )
