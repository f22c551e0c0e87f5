"""Cost of multi-head latent attention (MLA) in its absorbed form, where all heads share one compressed KV cache."""

from roofline.kernels._jit import kernel
from roofline.kernels.attention import block_costs


@kernel
def mla_attention(
    batch, heads, q_len, kv_len, kv_lora_rank, rope_dim, causal, width, kv_width, reuse,
    matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, cache_capacity, core_count,
    launch_s, sequence_s, memory_fraction, cache_fraction,
    prefill_compute_fraction, prefill_vector_fraction, prefill_block_s, prefill_tail_fraction,
    decode_compute_fraction, decode_core_fraction, decode_block_s, decode_fill_s, decode_split_s,
):
    """Cost of absorbed MLA for the last `q_len` of `kv_len` positions (first form)."""
    key_dim = kv_lora_rank + rope_dim
    return block_costs(
        batch, heads, 1.0, key_dim, kv_lora_rank, key_dim, q_len, kv_len, causal, 0.0, width, kv_width, reuse,
        matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth, cache_capacity, core_count,
        launch_s, sequence_s, memory_fraction, cache_fraction,
        prefill_compute_fraction, prefill_vector_fraction, prefill_block_s, prefill_tail_fraction,
        decode_compute_fraction, decode_core_fraction, decode_block_s, decode_fill_s, decode_split_s,
    )
