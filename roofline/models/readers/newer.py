"""Decoders of 2025 and 2026 with a device of their own: convolved keys, relative positions, gates inside latents.

Counted as in the classes of transformers 5.24 where there is one, and else as in vLLM's (read November 2026).
"""

from __future__ import annotations

from dataclasses import asdict, replace

from roofline.models.attention import Attention
from roofline.models.besides import Beside, Few, Linear, Stream
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Mixer, Span
from roofline.models.readers.hybrids import layers_of
from roofline.models.readers.latent import latent
from roofline.models.readers.mambas import ENDLESS
from roofline.models.readers.older import LAYER_NORM
from roofline.models.readers.parts import (
    HIDDEN,
    Layer,
    Parts,
    attention,
    biases,
    blocks,
    dense,
    depth_of,
    layer_types,
    model,
    routed,
    shared,
    spans,
    sparse_after,
    stack,
    uniform,
    window,
)
from roofline.models.recurrent import Convolution, Projection, Recurrent
from roofline.models.sparse import Indexer, SparseLatentAttention


def zaya(c: Fields) -> Parts:
    """Zaya: queries and keys through two short convolutions, one expert of 16 or none, a router of four matrices."""
    hidden, depth = c.integer("hidden_size"), depth_of(c)
    made = attention(c, 2, 128, rotary=0.5, norm="plain", **biases(c))
    kinds = layer_types(c, depth, ("hybrid", "hybrid_sliding"))
    near = window(c)
    seen = [Span(near) if kind == "hybrid_sliding" else Span() for kind in kinds or ["hybrid"] * depth]
    inter, width = c.integer("moe_intermediate_size", default=2048), c.integer("router_hidden_size", default=256)
    moe = routed(c, "num_experts", inter, topk=1, count=16, zero=1, router_width=width)
    taps = c.integer("cca_time0", default=2), c.integer("cca_time1", default=2)
    channels = (made.heads + made.kv_heads) * made.head_dim
    besides = (
        Few("depthwise_conv", channels * (taps[0] + 1), depth),
        Linear("grouped_conv", channels, made.head_dim * taps[1], depth, bias=True),
        Few("temperature", made.kv_heads, depth),
        Linear("router_down", width, hidden, depth, bias=True),
        Linear("router_mlp", width, width, 2 * depth, bias=True),
        Few("router_norm", width, depth),
        Few("router_states_scale", width, depth - 1),
        Few("residual_scales", 8 * hidden, depth),
        Few("input_scales", 2 * hidden, scope="model"),
    )
    head = c.flag("lm_head_bias", False)
    return stack(c, made, moe, seen, tied=True, lm_head_bias=head, max_positions=131072, besides=besides)


# -- Latent attention with more to it ---------------------------------------------------------------------------------


def _chosen(c: Fields, heads: int, **options: bool) -> tuple[SparseLatentAttention, int]:
    """Latent attention to chosen tokens, with an indexer of its own; and the rank of its queries."""
    plain = latent(c, **options)
    rank = plain.q_lora_rank or c.integer(*HIDDEN)
    indexer = Indexer(
        c.integer("index_n_heads", default=heads, limit="heads"), c.integer("index_head_dim", default=128), rank
    )
    chosen = c.integer("index_topk", default=2048, limit="positions")
    return SparseLatentAttention(**asdict(plain), indexer=indexer, chosen=chosen), rank


def _mixture(c: Fields, first: int) -> list[FeedForward | Experts]:
    depth, inter = depth_of(c), c.integer("moe_intermediate_size")
    always = shared(c, ("n_shared_experts", "num_shared_experts"), inter, 1)
    moe = routed(c, "n_routed_experts", inter, topk=8, shared=always, router_bias=True)
    c.get("intermediate_size", "mlp_bias")
    return blocks(sparse_after(c, depth, first), moe, lambda: dense(c))


def axk2(c: Fields) -> Parts:
    """A.X K2: latent attention to chosen tokens; a gate beside queries of twice the rank; norms with gates."""
    hidden, depth = c.integer(*HIDDEN), depth_of(c)
    layer_types(c, depth, ("indexed_attention",))
    made, rank = _chosen(c, 16)
    each = _mixture(c, 1)
    queries = made.heads * (made.nope_dim + made.rope_dim)
    gated = c.integer("gated_norm_rank", default=16)
    normed = depth + sum(not isinstance(block, FeedForward) for block in each)
    besides = (
        # One matrix of twice the rank makes queries and the gate of the output.
        Linear("q_gate_proj", queries + 2 * made.heads * made.value_dim, rank, depth),
        Linear("gated_norm_down", gated, hidden, normed),
        Linear("gated_norm_up", hidden, gated, normed),
    )
    return stack(c, made, each, max_positions=131072, besides=besides)


def hy_v4(c: Fields) -> Parts:
    """Hunyuan 4: latent attention to chosen tokens, gates, sinks, residual streams; most layers share a choice."""
    hidden, depth = c.integer(*HIDDEN), depth_of(c)
    layer_types(c, depth, ("indexed_attention",))
    own, _ = _chosen(c, 16, gated=True)
    kinds = layer_types(c, depth, ("full", "shared"), "indexer_types") or ["full"] * depth
    mixers: list[Mixer] = [own if kind == "full" else replace(own, indexer=None) for kind in kinds]
    streams = c.integer("hc_mult", default=4, limit="width")
    c.get("hc_magnitude", "hc_eps", "learnable_sink_init")
    halves = 2 * depth
    besides: tuple[Beside, ...] = (
        Few("sinks", own.heads, depth),
        Linear("hyper_connection", 2 * streams, streams * hidden, halves),
        Few("hyper_connection_scale", 2 * streams + 2, halves),
        Stream("residual_streams", hidden, 2 * streams + 1, streams + 1, halves, flops_per_element=2 * streams),
        Linear("hyper_head", streams, streams * hidden, scope="model"),
        Few("hyper_head_scale", streams + 1, scope="model"),
    )
    layers: list[Layer] = [(m, b, Span()) for m, b in zip(mixers, _mixture(c, 1), strict=True)]
    return model(c, layers, max_positions=262144, besides=besides)


def dots3_note(c: Fields) -> Parts:
    """dots.3 note: chosen tokens in one layer of four, windows over wider latents in the rest, a gate a head."""
    hidden, depth = c.integer(*HIDDEN), depth_of(c)
    own, _ = _chosen(c, 64)
    width = c.integer("shared_experts_intermediate_size", default=c.integer("moe_intermediate_size"))
    if width != c.integer("moe_intermediate_size"):
        c.fail("shared_experts_intermediate_size", f"found {width}, expected that of an expert")
    of_layers = c.table("per_layer_config")
    alike = {str(of_layers.values[key]): key for key in of_layers.values} if of_layers else {}
    if len(alike) > 1:
        c.fail("per_layer_config", f"found {len(alike)} kinds of layers, expected one, of those with a window")
    # Heads and latents of layers with a window are what the file says layer by layer.
    other = of_layers.table(next(iter(alike.values()))) if of_layers and alike else None
    other = other or Fields({}, c.file, "per_layer_config")
    heads = other.integer("num_attention_heads", "num_key_value_heads", default=64, limit="heads")
    local = replace(
        latent(c),
        heads=heads,
        kv_lora_rank=other.integer("kv_lora_rank", default=1024),
        nope_dim=other.integer("qk_nope_head_dim", default=192),
    )
    other.get("num_key_value_heads")
    other.finish("dots3_note")
    near = window(c, 512)
    usual = ["indexed_attention" if i == 0 or i % 4 == 1 else "sliding_attention" for i in range(depth)]
    kinds = layer_types(c, depth, ("indexed_attention", "sliding_attention")) or usual
    whole = kinds.count("indexed_attention")
    besides: tuple[Beside, ...] = (
        Few("rope_norm", own.rope_dim, depth),
        Linear("attention_gate", own.heads, hidden, whole),
        Linear("sliding_attention_gate", local.heads, hidden, depth - whole),
    )
    layers: list[Layer] = [
        (own, block, Span()) if kind == "indexed_attention" else (local, block, Span(near))
        for kind, block in zip(kinds, _mixture(c, 1), strict=True)
    ]
    return model(c, layers, max_positions=524288, besides=besides)


def pangu_ultra(c: Fields) -> Parts:
    """openPangu Ultra: DeepSeek-V3's mixture and latent attention between norms on both sides (Huawei 2025)."""
    return _pangu(c, latent(c))


def pangu_pro(c: Fields) -> Parts:
    """openPangu Pro 2: keys that are longer than values, and learned ones that every token sees."""
    rope, nope = c.integer("qk_rope_dim"), c.integer("qk_nope_dim")
    bias = c.flag("attention_bias", c.flag("bias", False))
    made = attention(c, head_dim=rope + nope, qkv_bias=c.flag("qkv_bias", bias), out_bias=bias)
    made = replace(made, rope_dim=rope, value_dim=c.integer("v_channels"), qk_norm=True, qk_norm_weights=rope + nope)
    sinks = c.integer("param_sink_number", default=0, low=0, limit="positions")
    c.get("param_sink_scalar", "param_sink_of_head_dim", "head_dim")
    return _pangu(c, made, sinks * made.kv_elements)


def _pangu(c: Fields, made: Mixer, sinks: int = 0) -> Parts:
    depth = depth_of(c)
    if c.get("num_routed_experts") is not None:
        c.fail("num_routed_experts", "is not a field that roofline knows here; write n_routed_experts")
    near = c.get("interleaved_sliding_window", "sliding_window", "sliding_window_list")
    if near:
        c.fail("sliding_window", f"found {near!r:.40}, expected none: roofline reads openPangu's whole attention")
    for key in ("use_mhc", "use_mome"):
        if c.flag(key, False):
            c.fail(key, "found true, expected false: roofline reads openPangu without it")
    inter = c.integer("moe_intermediate_size")
    always = shared(c, ("n_shared_experts", "num_shared_experts"), inter, 1)
    corrected = c.flag("router_enable_expert_bias", False)
    moe = routed(c, "n_routed_experts", inter, topk=8, shared=always, router_bias=corrected)
    first = c.integer("num_dense_layers", default=0, low=0, limit="layers")
    each = blocks(sparse_after(c, depth, first), moe, lambda: dense(c, c.flag("mlp_bias", False)))
    norms = 4 if c.flag("sandwich_norm", False) else 2
    besides = (Few("sinks", sinks, depth),) if sinks else ()
    return stack(c, made, each, norms_per_layer=norms, max_positions=8192, besides=besides)


# -- Inkling ----------------------------------------------------------------------------------------------------------


def _inkling_kinds(c: Fields, depth: int, near: int) -> tuple[list[Span], list[bool]]:
    """How far each layer sees, and which of them see everything: every sixth, where the file does not list them."""
    kinds = layer_types(c, depth, ("hybrid", "hybrid_sliding"))
    whole = [kind == "hybrid" for kind in kinds] if kinds else [i % 6 == 5 for i in range(depth)]
    seen = c.integer("sliding_window_size", "sliding_window", default=near, limit="positions")
    return [Span(rope=False) if here else Span(seen, rope=False) for here in whole], whole


def _inkling_attention(c: Fields) -> tuple[Attention, Attention]:
    """Of layers that see everything, and of those with a window."""
    full = attention(c, 8, 128, rotary=0.0)
    heads = c.integer("swa_num_attention_heads", default=full.heads, limit="heads")
    kv_heads = c.integer("swa_num_key_value_heads", default=full.kv_heads, limit="heads")
    dim = c.integer("swa_head_dim", default=full.head_dim)
    return full, replace(full, heads=heads, kv_heads=kv_heads, head_dim=dim)


def _convolved(name: str, width: int, taps: int, count: int) -> tuple[Beside, ...]:
    """A short convolution over a hidden state of some width, added to what it sees."""
    return Few(name, width * taps, count), Stream(name, width, 1, 1, count, flops_per_element=2 * taps)


def inkling(c: Fields) -> Parts:
    """Inkling: relative positions from a projection of the input, short convolutions behind every projection."""
    hidden, depth, taps = c.integer("hidden_size"), depth_of(c), c.integer("conv_kernel_size", default=4)
    full, local = (replace(a, qk_norm=True, qk_norm_weights=2 * a.head_dim) for a in _inkling_attention(c))
    seen, whole = _inkling_kinds(c, depth, 512)
    inter, many = c.integer("moe_intermediate_size", default=3072), c.integer("n_shared_experts", default=2, low=0)
    always = FeedForward(many * inter) if many else None
    # The router weighs the shared experts as well.
    moe = routed(c, "n_routed_experts", inter, topk=6, count=256, shared=always, router_bias=True)
    each = blocks(sparse_after(c, depth, 0), moe, lambda: dense(c))
    c.get("intermediate_size", "local_layer_ids", "mtp_local_layer_ids", "number_of_conv_states", "shared_expert_sink")
    c.get("rms_norm_eps_moe_gate", "chain_hidden_post_norm", "mtp_hidden_states_first")
    rank, extent = c.integer("d_rel", default=16), c.integer("rel_extent", default=1024)
    near, far = next((s.window for s in seen if s.window), extent), sum(whole)
    mixed = sum(block is moe for block in each)
    besides = (
        Linear("relative_positions", full.heads * rank, hidden, depth),
        Few("relative_logits", rank * extent, far),
        Few("sliding_relative_logits", rank * near, depth - far),
        *_convolved("kv_conv", full.kv_elements, taps, far),
        *_convolved("sliding_kv_conv", local.kv_elements, taps, depth - far),
        *_convolved("attention_conv", hidden, taps, depth),
        *_convolved("feed_forward_conv", hidden, taps, depth),
        Few("router_of_shared_experts", many * hidden + 1, mixed),
        Few("embedding_norm", hidden, scope="model"),
    )
    layers: list[Layer] = [
        (full if here else local, block, span) for here, block, span in zip(whole, each, seen, strict=True)
    ]
    outputs = c.integer("unpadded_vocab_size", default=0, low=0, limit="vocab") or None
    return model(c, layers, max_positions=131072, besides=besides, outputs=outputs)


def inkling2(c: Fields) -> Parts:
    """Inkling 2: no shared experts; gates, sinks by projection, and inputs weighed over what earlier blocks left."""
    hidden, depth, taps = c.integer("hidden_size"), depth_of(c), c.integer("conv_kernel_size", default=4)
    full, local = (replace(a, gate_dim=a.head_dim) for a in _inkling_attention(c))
    seen, whole = _inkling_kinds(c, depth, 1024)
    moe = routed(c, "n_routed_experts", "moe_intermediate_size", topk=8, count=384, router_bias=True)
    rank, extent = c.integer("d_rel", default=16), c.integer("rel_extent", default=1024)
    far = sum(whole)
    c.get("n_layers_per_attn_res_block", "qk_l2_clip_threshold", "rel_l2_clip_threshold", "mlp_up_softcap")
    besides = (
        Linear("relative_positions", full.heads * rank, hidden, depth),
        Few("relative_logits", rank * (extent + full.heads), depth),
        Few("query_scales", full.heads * full.head_dim, depth),
        Linear("sink_proj", full.heads, hidden, depth),
        *_convolved("kv_conv", full.kv_elements, taps, depth),
        # In layers that see everything the filters come of the input too, and queries, keys and values have norms each.
        Linear("kv_filters", 2 * full.kv_heads * taps, hidden, far),
        Few("norms_of_queries_keys_values", 2 * hidden, far),
        *_convolved("attention_conv", hidden, taps, depth),
        *_convolved("feed_forward_conv", hidden, taps, depth),
        # What each half of a layer weighs its inputs by; the first layer has one input.
        Few("input_queries", hidden, 2 * depth - 1 + 2 * far),
        Few("embedding_norm", 2 * hidden, scope="model"),
    )
    layers: list[Layer] = [(full if here else local, moe, span) for here, span in zip(whole, seen, strict=True)]
    outputs = c.integer("unpadded_vocab_size", default=0, low=0, limit="vocab") or None
    return model(c, layers, max_positions=1048576, besides=besides, outputs=outputs)


# -- By vLLM's classes ------------------------------------------------------------------------------------------------


def plamo2(c: Fields) -> Parts:
    """PLaMo 2: Mamba-2 whose steps, B and C come of the convolved values, attention in one layer of ``mamba_step``."""
    hidden, depth = c.integer("hidden_size"), depth_of(c)
    dim, step = c.integer("hidden_size_per_head", default=128), c.integer("mamba_step", default=2, limit="layers")
    heads, state = c.integer("mamba_num_heads", default=64, limit="heads"), c.integer("mamba_d_state", default=64)
    width, rank = heads * dim, max(64, hidden // 16)
    mixer = Recurrent(
        "Mamba-2",
        heads=heads,
        groups=1,
        key_dim=state,
        value_dim=dim,
        inputs=(
            Projection("in_proj", hidden, 2 * width),
            Projection("x_proj", width, rank + 2 * state, "row"),
            Projection("dt_proj", rank, heads),
        ),
        output=Projection("out_proj", width, hidden, "row"),
        convolution=Convolution(width, c.integer("mamba_d_conv", default=4)),
        chunk=c.integer("mamba_chunk_size", default=256),
        normed=False,
        gated=False,
        vectors=3 * heads + rank + 2 * state,
    )
    made = attention(c, 4, dim, norm="all")
    half = step // 2
    attends = [i == depth - 1 if depth <= half else i % step == half for i in range(depth)]
    c.get("mamba_enabled", "attention_window_size", "full_attention_idx", "use_predefined_initial_state")
    layers = layers_of(attends, made, mixer, [dense(c)] * depth)
    positions = c.integer("max_position_embeddings", default=ENDLESS, limit="positions")
    return model(c, layers, tied=True, norms_per_layer=4, max_positions=positions)


def plamo3(c: Fields) -> Parts:
    """PLaMo 3: norms on both sides, norms of queries and keys, windows in seven layers of eight."""
    step = c.integer("sliding_window_pattern", default=8, limit="layers")
    listed = c.array("interleaved_sliding_window")
    near = next((one for one in listed or [] if isinstance(one, int)), None) or window(c, 2048)
    seen = spans(c, depth_of(c), near, lambda i: bool(listed[i % len(listed)]) if listed else (i + 1) % step != 0)
    made = attention(c, 4, 128, norm="head")
    return stack(c, made, dense(c), seen, norms_per_layer=4, max_positions=4096)


def phi3small(c: Fields) -> Parts:
    """Phi-3-small: biases everywhere, layer norms.

    Every other layer attends to near blocks and to every eighth far one alone; it is counted as if it saw them all.
    """
    made = attention(c, qkv_bias=True, out_bias=True)
    c.get("ff_dim_multiplier", "dense_attention_every_n_layers", "blocksparse_homo_head_pattern", "dummy_token_indices")
    c.get("blocksparse_block_size", "blocksparse_num_local_blocks", "blocksparse_vert_stride", "gegelu_pad_to_256")
    c.get("blocksparse_triton_kernel_block_size", "ff_intermediate_size")
    inter = c.integer("intermediate_size", "ff_intermediate_size")
    return uniform(c, made, FeedForward(inter, bias=True), tied=True, max_positions=8192, **LAYER_NORM)


def step1(c: Fields) -> Parts:
    """Step 1: a Llama with ALiBi and groups of queries by another name."""
    groups = c.integer("num_attention_groups", "num_key_value_heads", default=1, limit="heads")
    made = replace(attention(c, groups, rotary=0.0, **biases(c)), kv_heads=groups)
    c.divides("num_attention_groups", groups, "num_attention_heads", made.heads)
    positions = c.integer("max_seq_len", "max_position_embeddings", default=8192, limit="positions")
    return uniform(c, made, dense(c, c.flag("mlp_bias", False)), tied=True, max_positions=positions)


def bailing_linear(c: Fields) -> Parts:
    """Ring 2.5: lightning attention with norms and a gate, latent attention in the last layer of each group."""
    hidden, depth = c.integer("hidden_size"), depth_of(c)
    group = c.integer("layer_group_size", default=1, limit="layers")
    attends = [(i + 1) % group == 0 for i in range(depth)]
    heads = c.integer("num_attention_heads", limit="heads")
    dim = c.integer("head_dim", default=hidden // heads)
    width, normed = heads * dim, c.flag("use_qk_norm", False)
    c.get("num_key_value_heads", "group_norm_size", "linear_silu", "num_nextn_predict_layers", "partial_rotary_factor")
    lightning = Recurrent(
        "lightning attention",
        heads=heads,
        groups=heads,
        key_dim=dim,
        value_dim=dim,
        inputs=(Projection("qkv_proj", hidden, 3 * width), Projection("output_gate", hidden, width)),
        output=Projection("out_proj", width, hidden, "row"),
        gate_dim=0,
        chunk=256,
        vectors=width + 2 * dim * normed,
    )
    inter = c.integer("moe_intermediate_size")
    many = c.integer("num_shared_experts", default=0, low=0, limit="experts")
    wide = c.integer("moe_shared_expert_intermediate_size", default=inter)
    corrected = c.flag("moe_router_enable_expert_bias", False)
    always = FeedForward(many * wide) if many else None
    moe = routed(c, "num_experts", inter, shared=always, router_bias=corrected)
    each = blocks(sparse_after(c, depth, 0), moe, lambda: dense(c))
    return model(c, layers_of(attends, latent(c, None), lightning, each), max_positions=131072)
