"""Cost of multi-head latent attention (MLA, DeepSeek-V2 2024) in its absorbed form."""

from __future__ import annotations

from roofline.kernels._jit import kernel
from roofline.kernels.attention import attention_cost
from roofline.kernels.quantities import Quantities

MLA_TILE = 64.0  # query rows, and keys, of a prefill tile: half of attention's, for keys three times as long


@kernel("batch", "q_len", "kv_len")
def mla_attention(
    batch: float,
    heads: float,
    q_len: float,
    kv_len: float,
    kv_lora_rank: float,
    rope_dim: float,
    causal: float,
    width: float,
    kv_width: float,
    reuse: float,
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
    decode_rows: float,
    fetch_rows: float,
    port_cores: float,
    widen_s: float,
    widen_element_s: float,
) -> Quantities:
    """Cost of absorbed MLA for the last `q_len` of `kv_len` positions of each sequence.

    All heads attend over one latent vector a token, of `kv_lora_rank` + `rope_dim` numbers as a key and its first
    `kv_lora_rank` as a value: multi-query attention whose values are part of its keys. A pair of query and key costs
    2 (2 kv_lora_rank + rope_dim) FLOP a head; a token stores kv_lora_rank + rope_dim numbers once, for all heads.

    A prefill that expands the latent to full heads instead is `attention` with `heads` = `kv_heads`, `head_dim` of
    192 and `value_dim` of 128 (DeepSeek's), after a GEMM that expands: 3.4 times fewer FLOP a pair.

    Parameters
    ----------
    batch, heads, q_len, kv_len, kv_lora_rank, rope_dim : float
        Shape; `kv_len` counts the new tokens.
    causal, width, kv_width, reuse : float
        As in `attention`, as are the numbers of the machine and the efficiency parameters.
    widen_s, widen_element_s : float
        Where the cache is narrower than the arithmetic: plain kernels that first write all of it anew, as wide as the
        queries, s, and s per number; 0 where the cache is read as it is.

    Returns
    -------
    Quantities
    """
    key_dim = kv_dim = kv_lora_rank + rope_dim  # values are part of the keys: nothing is stored for them
    value_dim = kv_lora_rank
    kv_heads, window, tensors, tile, prefilled = 1.0, 0.0, 1.0, MLA_TILE, 1.0
    pack_heads = cut_prompts = 1.0
    if kv_width < width:
        launch_s += widen_s + widen_element_s * batch * kv_len * key_dim
    return attention_cost(
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
        pack_heads,
        cut_prompts,
        prefilled,
    )
