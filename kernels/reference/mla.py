"""Multi-head latent attention (DeepSeek-V2 2024) in plain numpy: the formulas to read first."""

from __future__ import annotations

import numpy as np

from roofline.kernels.reference.attention import attention_cost

MLA_TILE = 64  # query rows, and keys, of a prefill tile: half of attention's, for keys three times as long


def mla_attention(
    batch,
    heads,
    q_len,
    kv_len,
    kv_lora_rank,
    rope_dim,
    causal,
    width,
    kv_width,
    reuse,
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
    decode_rows,
    fetch_rows,
    port_cores,
    widen_s,
    widen_element_s,
):
    """Cost of absorbed MLA: multi-query attention whose values are the first part of its keys.

    With the up-projections absorbed into the query and the output, the key of every head is the token's latent vector
    and its shared rotary part (kv_lora_rank + rope_dim numbers), the value the latent alone (kv_lora_rank, the same
    bytes). So a pair costs 2 (2 kv_lora_rank + rope_dim) FLOP a head, and a token is read once for all heads. A cache
    narrower than the arithmetic may be written anew first, every number of it.
    """
    key_dim = kv_lora_rank + rope_dim
    launch_s = launch_s + np.where(kv_width < width, widen_s + widen_element_s * batch * kv_len * key_dim, 0)
    return attention_cost(
        batch,
        heads,
        1.0,
        key_dim,
        kv_lora_rank,
        key_dim,
        q_len,
        kv_len,
        causal,
        0.0,
        width,
        kv_width,
        reuse,
        1.0,
        MLA_TILE,
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
    )
