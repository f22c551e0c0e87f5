"""`attention` over a block of points: prefill, as long as decode to compute, is left out where no point needs it."""

from __future__ import annotations

from roofline.kernels import _loops
from roofline.kernels._jit import block_of, inner
from roofline.kernels._native import wide
from roofline.kernels.attention import NARROW, TILE, attention, attention_cost, many, written
from roofline.kernels.sums import Scratch, leave

Q_LEN, KV_LEN, TENSORS = [i * _loops.ROW for i in (1, 2, 3)]


@inner
def at_point(
    scratch: Scratch,
    p: int,
    summed: int,
    prefilled: float,
    q_len: float,
    tensors: float,
    heads: float,
    kv_heads: float,
    head_dim: float,
    value_dim: float,
    causal: float,
    window: float,
    width: float,
    kv_width: float,
    reuse: float,
    scattered: float,
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
) -> None:
    """`attention` at one point, the columns of `batch` and `kv_len` from the scratch."""
    batch, kv_len = scratch[p], scratch[KV_LEN + p]
    value_dim = value_dim if value_dim > 0.0 else head_dim
    key_dim, kv_dim = head_dim, head_dim + value_dim
    tile = narrow_tile if head_dim <= NARROW else TILE
    launch_s = written(
        launch_s, batch, kv_heads, head_dim, kv_dim, q_len, causal, scattered, tensors, scatter_s, scatter_element_s,
        token_write_s,
    )  # fmt: skip
    cost = attention_cost(
        batch, heads, kv_heads, key_dim, value_dim, kv_dim, q_len, kv_len, causal, window, width, kv_width, reuse,
        tensors, tile, decode_rows, fetch_rows, port_cores, matrix_flops, vector_flops, memory_bandwidth,
        cache_bandwidth, cache_capacity, core_count, launch_s, convert_s, sequence_s, block_s, memory_fraction,
        cache_fraction, edge_fraction, fresh_fraction, prefill_compute_fraction, prefill_vector_fraction,
        decode_compute_fraction, decode_vector_fraction, decode_fill_s, decode_split_s, prefilled,
    )  # fmt: skip
    leave(scratch, p, cost, summed)


@block_of(attention)
def attention_block(
    scratch: Scratch,
    size: int,
    summed: int,
    heads: float,
    kv_heads: float,
    head_dim: float,
    value_dim: float,
    causal: float,
    window: float,
    width: float,
    kv_width: float,
    reuse: float,
    scattered: float,
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
) -> None:
    """`attention` for columns of `batch`, `q_len`, `kv_len` and `tensors`."""
    wide()
    q_len, tensors, group = scratch[Q_LEN], scratch[TENSORS], heads / kv_heads
    others = 0
    for p in range(size):
        others += 1 if scratch[Q_LEN + p] != q_len or scratch[TENSORS + p] != tensors else 0
    if others == 0 and not many(q_len, group):  # what one query asks is then the same at every point, but for its keys
        prefilled = 0.0
        for p in range(size):
            at_point(
                scratch, p, summed, prefilled, q_len, tensors, heads, kv_heads, head_dim, value_dim, causal, window,
                width, kv_width, reuse, scattered, matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth,
                cache_capacity, core_count, launch_s, scatter_s, scatter_element_s, token_write_s, convert_s,
                sequence_s, block_s, memory_fraction, cache_fraction, edge_fraction, fresh_fraction,
                prefill_compute_fraction, prefill_vector_fraction, decode_compute_fraction, decode_vector_fraction,
                decode_fill_s, decode_split_s, narrow_tile, decode_rows, fetch_rows, port_cores,
            )  # fmt: skip
    else:
        prefilled = 1.0
        for p in range(size):
            q_len, tensors = scratch[Q_LEN + p], scratch[TENSORS + p]
            at_point(
                scratch, p, summed, prefilled, q_len, tensors, heads, kv_heads, head_dim, value_dim, causal, window,
                width, kv_width, reuse, scattered, matrix_flops, vector_flops, memory_bandwidth, cache_bandwidth,
                cache_capacity, core_count, launch_s, scatter_s, scatter_element_s, token_write_s, convert_s,
                sequence_s, block_s, memory_fraction, cache_fraction, edge_fraction, fresh_fraction,
                prefill_compute_fraction, prefill_vector_fraction, decode_compute_fraction, decode_vector_fraction,
                decode_fill_s, decode_split_s, narrow_tile, decode_rows, fetch_rows, port_cores,
            )  # fmt: skip
