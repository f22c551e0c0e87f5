"""Decoders whose windowed layers attend with other heads than the rest: MiMo-V2-Flash, Step 3.5 and 3.7; Step 3."""

from __future__ import annotations

from dataclasses import asdict, replace

from roofline.models.attention import Attention
from roofline.models.factored import FactoredAttention
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Span
from roofline.models.readers.parts import (
    Layer,
    Parts,
    attention,
    blocks,
    dense,
    depth_of,
    model,
    routed,
    shared,
    spans,
    sparse_after,
    stack,
    window,
)


def mimo_v2_flash(c: Fields) -> Parts:
    """MiMo-V2-Flash: windows of 128 tokens with twice the key/value heads and sinks; values narrower than keys."""
    depth = depth_of(c)
    listed = c.integers("hybrid_layer_pattern", 1)
    if listed is not None and len(listed) != depth:
        c.fail("hybrid_layer_pattern", f"found {len(listed)} entries, expected num_hidden_layers = {depth}")
    seen = spans(c, depth, window(c, 128), lambda i: bool(listed[i]) if listed else i % 6 != 0)
    full = replace(attention(c, 4, 192, rotary=0.334), value_dim=c.integer("v_head_dim", default=128))
    kv_heads = c.integer("swa_num_key_value_heads", default=8, limit="heads")
    heads = c.integer("swa_num_attention_heads", default=full.heads, limit="heads")
    dim = c.integer("swa_head_dim", default=full.head_dim)
    value = c.integer("swa_v_head_dim", default=full.value_dim)
    local = Attention(heads, kv_heads, dim, round(dim * full.rope_dim / full.head_dim), sinks=True, value_dim=value)
    c.get("sliding_window_size", "attention_chunk_size", "add_swa_attention_sink_bias", "swa_rope_theta")
    c.get("add_full_attention_sink_bias", "attention_value_scale", "attention_bias", "n_shared_experts")
    moe = routed(c, "n_routed_experts", "moe_intermediate_size", topk=8, count=256, router_bias=True)
    each = blocks(sparse_after(c, depth, 1), moe, lambda: dense(c))
    layers: list[Layer] = [(local if s.window else full, one, s) for s, one in zip(seen, each, strict=True)]
    # A head of multi-token prediction sees a window, and has a dense block (the model card).
    behind: list[Layer] = [(local, dense(c), Span(window(c, 128)))]
    return model(c, layers, max_positions=131072, mtp=behind)


def step3p5(c: Fields) -> Parts:
    """Step 3.5 and 3.7 Flash: a gate for every head, windows in three layers of four, one shared expert."""
    depth = depth_of(c)
    full = attention(c, 8, 128, norm="head", gate_dim=1)
    heads = c.integer("num_sliding_attention_heads", default=full.heads, limit="heads")
    local = replace(full, heads=heads)
    seen = spans(c, depth, window(c, 512), lambda i: i % 4 != 0)
    inter = c.integer("moe_intermediate_size", default=1280)
    width = c.integer("share_expert_dim", default=inter)
    always = shared(c, ("n_shared_experts",), width, 1)
    c.get("use_moe_router_bias", "num_local_experts")
    moe = routed(c, "num_experts", inter, topk=8, count=288, shared=always, router_bias=True)
    each = blocks(sparse_after(c, depth, 3), moe, lambda: dense(c))
    layers: list[Layer] = [(local if s.window else full, one, s) for s, one in zip(seen, each, strict=True)]
    return model(c, layers, max_positions=128000)


def step3(c: Fields) -> Parts:
    """Step 3: queries through a rank, one head of keys and values, a shared expert beside the routed ones."""
    depth = depth_of(c)
    plain = attention(c, 1, 256, heads=64)
    rank = c.integer("share_q_dim", default=plain.head_dim)
    made = FactoredAttention(**asdict(plain), q_rank=rank)
    inter = c.integer("moe_intermediate_size", default=5120)
    always = FeedForward(c.integer("share_expert_dim", default=inter))
    moe = routed(c, "moe_num_experts", inter, topk=3, count=48, shared=always)
    is_routed = [i in _listed(c, depth) for i in range(depth)]
    positions = c.integer("max_position_embedding", "max_position_embeddings", default=65536, limit="positions")
    each = blocks(is_routed, moe, lambda: dense(c))
    c.get("intermediate_size", "num_attention_groups", "rope_parameters", "use_moe", "moe_every_n_layer", "max_seq_len")
    return stack(c, made, each, max_positions=positions)


def _listed(c: Fields, depth: int) -> set[int]:
    """The routed layers as a file writes them, ``"4,5,6"``; all but the first where it does not."""
    written = c.text("moe_layers_enum")
    if not written:
        return set(range(1, depth))
    numbers = [part.strip() for part in written.split(",")]
    if not all(part.isdecimal() and int(part) < depth for part in numbers):
        c.fail("moe_layers_enum", f"found {written!r:.40}, expected numbers of layers below {depth}, commas in between")
    return {int(part) for part in numbers}
