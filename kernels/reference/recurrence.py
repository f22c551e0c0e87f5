"""Recurrences over a matrix of state in plain numpy: the formulas to read first."""

from __future__ import annotations

import numpy as np

from roofline.kernels.reference.gemm import lost_share

PAIR_FLOPS, LEAST_ROWS, VALUE_COLUMNS, INTERLEAVED, STATE_PASSES = 4, 16, 64, 4, 4


def recurrence(
    batch,
    heads,
    groups,
    key_dim,
    value_dim,
    gate_dim,
    q_len,
    chunk,
    matrix,
    delta,
    update_flops,
    resumed,
    width,
    state_width,
    matrix_flops,
    vector_flops,
    memory_bandwidth,
    cache_bandwidth,
    cache_capacity,
    core_count,
    launch_s,
    chunked_s,
    token_s,
    chunk_s,
    compute_fraction,
    vector_fraction,
    memory_fraction,
    cache_fraction,
    resident_fraction,
):
    """Cost of a recurrence S' = decay(S) + k v, y = q S, with N x P numbers of state a head.

    Token by token all of it is vector work: `update_flops` a number of the state and token (5 for a decay, an outer
    product and a product with the query; 7 with the delta rule, which first looks up what the state holds for the key).

    In chunks of Q tokens (state-space duality, or the WY form of the delta rule) a token costs, per head,

    - its pairs within the chunk, (Q + 1) / 2 of them on average: 2 N FLOP for q k (of a group of heads together) and
      2 P for what it weighs; with the delta rule two times 2 N more (k k, and the keys times the inverse) and 2 P (the
      values times it), and a triangular inverse of Q^3 / 3 a chunk;
    - products with the state, 2 N P each: what the chunk adds to it and what its queries read; with the delta rule a
      third, what the keys find.

    The states of all chunks pass through the cache, or memory once they spill. Both forms carry the state through the
    sequence in turn, blocks of columns side by side.
    """
    n, p, tokens = key_dim, value_dim, batch * q_len
    states = batch * heads * n * p
    state_bytes = states * state_width * (1 + resumed)
    io_bytes = tokens * (2 * groups * n + heads * (2 * p + gate_dim)) * width
    turns = np.maximum(1, batch * heads * np.maximum(1, p / VALUE_COLUMNS) / (INTERLEAVED * core_count))

    alone = q_len * states * update_flops

    q = np.minimum(chunk, q_len)
    side = np.maximum(q, LEAST_ROWS)
    score_heads = np.where(delta > 0, heads, groups)

    def products(pairs, rows):
        """FLOP of all tokens, each with so many pairs, and a row of the inverse of so many rows squared."""
        score = 2 * n * score_heads * np.where(delta > 0, 3, 1)
        weigh = 2 * p * heads * np.where(delta > 0, 2, 1)
        with_state = 2 * n * p * heads * np.where(delta > 0, 3, 2)
        return tokens * (pairs * (score + weigh) + with_state + delta * heads * rows**2 / 3)

    flops = matrix * products((q + 1) / 2, q)
    busy = matrix * products(side, side)
    decays = tokens * heads * (PAIR_FLOPS * (q + 1) / 2 + 2 * n * p / q)
    vector = np.where(matrix > 0, decays, alone)
    chunk_states = q_len / q * states * np.where(delta > 0, 2 * width, STATE_PASSES * state_width)
    rewritten = delta * 2 * tokens * heads * (n + 2 * p) * width
    between = matrix * (chunk_states + rewritten)

    def form(launch, flops, vector, compute_s, working):
        memory_bytes = state_bytes + working * lost_share(working, resident_fraction * cache_capacity)
        cache_bytes = state_bytes + working
        memory_s = memory_bytes / (memory_fraction * memory_bandwidth)
        cache_s = cache_bytes / (cache_fraction * cache_bandwidth)
        time = launch + np.maximum(np.maximum(compute_s, memory_s), cache_s)
        upper = launch + compute_s + memory_s + cache_s
        ideal = np.maximum(flops / matrix_flops, vector / vector_flops)
        return flops, vector, memory_bytes, cache_bytes, ideal, time, upper, compute_s, memory_s, cache_s, launch

    vector_rate = vector_fraction * vector_flops
    steps_s = np.maximum(alone / vector_rate, q_len * token_s * turns)
    chunks_s = np.maximum(1, q_len / chunk) * chunk_s * turns
    work_s = busy / (compute_fraction * matrix_flops) + vector / vector_rate
    forms = (
        form(launch_s, 0 * flops, alone, steps_s, io_bytes),
        form(launch_s + chunked_s, flops, vector, np.maximum(work_s, chunks_s), io_bytes + between),
    )
    faster = forms[0][5] <= forms[1][5]
    flops, vector, memory_bytes, cache_bytes, _, time, _, compute_s, memory_s, cache_s, overhead_s = (
        np.where(faster, a, b) for a, b in zip(*forms, strict=True)
    )
    total = state_bytes + io_bytes
    moved = (state_bytes + np.maximum(io_bytes - cache_capacity, 0)) / memory_bandwidth
    lower = np.maximum(np.minimum(forms[0][4], forms[1][4]), np.maximum(moved, total / cache_bandwidth))
    upper = np.minimum(forms[0][6], forms[1][6])
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
            overhead_s,
        )
    )
