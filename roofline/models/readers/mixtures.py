"""Decoders with routed experts behind grouped-query attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from roofline.models.attention import Attention
from roofline.models.besides import Few, Linear
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import LIMITS, Fields
from roofline.models.mixers import Span
from roofline.models.readers.llamas import cohere_norms, cohere_spans, qwen_spans
from roofline.models.readers.parts import (
    Layer,
    Parts,
    attention,
    biases,
    blocks,
    dense,
    depth_of,
    every,
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
from roofline.models.routed_attention import RoutedAttention


def mixtral(c: Fields) -> Parts:
    """Mixtral."""
    moe = routed(c, "num_local_experts", "intermediate_size", topk=2)
    return uniform(c, attention(c, 8), moe, window(c), max_positions=131072)


def phimoe(c: Fields) -> Parts:
    """Phi-3.5-MoE: layer norms, and biases by ``attention_bias`` and ``lm_head_bias``."""
    moe = routed(c, "num_local_experts", "intermediate_size", topk=2)
    head = c.flag("lm_head_bias", False)
    return uniform(
        c, attention(c, 8, **biases(c)), moe, window(c), norm="layer_norm", lm_head_bias=head, max_positions=131072
    )


# -- Qwen -------------------------------------------------------------------------------------------------------------


def _qwen_blocks(c: Fields, moe: Experts) -> list[FeedForward | Experts]:
    """Routed at every ``decoder_sparse_step``-th layer but for ``mlp_only_layers``."""
    depth, step = depth_of(c), c.integer("decoder_sparse_step", default=1, limit="layers")
    only = c.integers("mlp_only_layers", LIMITS["layers"]) or []
    is_routed = [i not in only and (i + 1) % step == 0 for i in range(depth)]
    types = layer_types(c, depth, ("dense", "sparse"), "mlp_layer_types")
    if types is not None:
        is_routed = [kind == "sparse" for kind in types]
    if all(is_routed):
        c.get("intermediate_size")
    return blocks(is_routed, moe, lambda: dense(c))


def qwen2_moe(c: Fields) -> Parts:
    """Qwen 1.5 and 2 with experts: shared ones behind a gate."""
    always = FeedForward(c.integer("shared_expert_intermediate_size", default=5632))
    moe = routed(c, "num_experts", "moe_intermediate_size", topk=4, shared=always, shared_gate=True)
    made = attention(c, qkv_bias=c.flag("qkv_bias", True))
    return stack(c, made, _qwen_blocks(c, moe), qwen_spans(c), max_positions=32768)


def qwen3_moe(c: Fields) -> Parts:
    """Qwen 3 with experts."""
    c.get("use_qk_norm", "shared_expert_intermediate_size")
    moe = routed(c, "num_experts", "moe_intermediate_size", topk=8)
    made = attention(c, 4, norm="head", **biases(c))
    return stack(c, made, _qwen_blocks(c, moe), qwen_spans(c), max_positions=32768)


# -- One shared expert or some, after a few dense layers --------------------------------------------------------------


def glm4_moe(c: Fields) -> Parts:
    """GLM-4.5 to 4.7 (and Sarvam): half a head rotated, norms of queries and keys where ``use_qk_norm`` says so."""
    norm = "head" if c.flag("use_qk_norm", False) else ""
    # The class's own defaults do not divide: it takes the whole part.
    dim = c.integer("hidden_size") // c.integer("num_attention_heads", limit="heads")
    made = attention(c, 8, max(1, dim), rotary=0.5, norm=norm, **biases(c, out=False))
    return _shared_and_routed(c, made, 1, 131072)


def solar_open(c: Fields) -> Parts:
    """Solar Open: every layer routed."""
    return _shared_and_routed(c, attention(c, 8, 128, **biases(c)), 0, 131072)


def dots1(c: Fields) -> Parts:
    """dots.llm1."""
    made = attention(c, norm="head", **biases(c))
    first = c.integer("max_window_layers", default=62, low=0, limit="layers")
    use = c.flag("use_sliding_window", False)
    seen = spans(c, depth_of(c), window(c, 4096) if use else None, lambda i: i >= first)
    c.get("sliding_window")
    return _shared_and_routed(c, made, 0, 2048, seen)


def deepseek(c: Fields) -> Parts:
    """DeepSeekMoE 16B: shared experts and fine-grained ones, no latent attention yet."""
    inter = c.integer("moe_intermediate_size", default=1407)
    always = shared(c, ("n_shared_experts",), inter)
    moe = routed(c, "n_routed_experts", inter, shared=always)
    each = blocks(sparse_after(c, depth_of(c), 0), moe, lambda: dense(c))
    c.get("intermediate_size")
    return stack(c, attention(c, **biases(c)), each)


def hy_v3(c: Fields) -> Parts:
    """Hunyuan 3: one dense layer, then routed ones."""
    return _shared_and_routed(c, attention(c, 8, 128, norm="head", **biases(c)), 1, 131072)


def _shared_and_routed(
    c: Fields, made: Attention, first: int, positions: int, seen: Sequence[Span] | None = None
) -> Parts:
    """DeepSeek's mixture (a score correction, shared experts, dense layers first) behind grouped-query attention."""
    inter = c.integer("moe_intermediate_size")
    always = shared(c, ("n_shared_experts", "num_shared_experts"), inter, 1)
    moe = routed(c, "n_routed_experts", inter, topk=8, shared=always, router_bias=True)
    is_routed = sparse_after(c, depth_of(c), first)
    c.get("intermediate_size")
    return stack(c, made, blocks(is_routed, moe, lambda: dense(c)), seen, max_positions=positions)


def ernie_moe(c: Fields) -> Parts:
    """ERNIE 4.5 with experts."""
    bias, depth = c.flag("use_bias", False), depth_of(c)
    inter = c.integer("moe_intermediate_size", default=1536)
    always = shared(c, ("moe_num_shared_experts",), inter, 2)
    moe = routed(c, "moe_num_experts", inter, topk=6, shared=always, router_bias=True)
    first = c.integer("moe_layer_start_index", default=1, low=0, limit="layers")
    last = c.integer("moe_layer_end_index", default=depth - 1, low=-1, limit="layers")
    step = c.integer("moe_layer_interval", default=1, limit="layers")
    last = depth - 1 if last < 0 else last
    is_routed = [first <= i <= last and (i + 1) % step == 0 for i in range(depth)]
    made = attention(c, 4, qkv_bias=bias, out_bias=bias)
    each = blocks(is_routed, replace(moe, bias=bias), lambda: dense(c, bias))
    return stack(c, made, each, tied=True, max_positions=131072)


def hunyuan_moe(c: Fields) -> Parts:
    """Hunyuan-A13B: one expert that every token visits, norms of queries and keys."""
    width = c.integer("intermediate_size")
    inter = c.get("moe_intermediate_size")
    if isinstance(inter, list):
        inter = _same(c, "moe_intermediate_size")
    elif inter is not None:
        inter = c.integer("moe_intermediate_size")
    many = _same(c, "num_shared_expert") if isinstance(c.get("num_shared_expert"), list) else None
    many = c.integer("num_shared_expert", default=1, low=0, limit="experts") if many is None else many
    topk = _same(c, "moe_topk") if isinstance(c.get("moe_topk"), list) else c.integer("moe_topk", default=1)
    count = c.integer("num_experts", "num_local_experts", default=1, limit="experts")
    if topk > count:
        c.fail("moe_topk", f"found {topk}, expected at most num_experts = {count}")
    c.get("use_mixed_mlp_moe", "cla_share_factor", "moe_layer_num_skipped", "moe_drop_tokens", "num_media_embeds")
    for key in ("use_cla", "use_mla"):
        if c.flag(key, False):
            c.fail(key, "found true, expected false: roofline reads plain attention in this family")
    # The sizes of a latent attention that use_mla leaves off.
    c.get("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    dim = c.integer("head_dim", "attention_head_dim", default=0, low=0) or None
    norm = "head" if c.flag("use_qk_norm", True) else ""
    moe = Experts(count, topk, inter or width, FeedForward(many * width) if many else None)
    return stack(c, attention(c, head_dim=dim, norm=norm, **biases(c)), moe)


def _same(c: Fields, key: str) -> int:
    """The number that a list has at every layer."""
    listed = c.integers(key, LIMITS["width"]) or []
    if len(set(listed)) != 1 or not listed[0]:
        c.fail(key, f"found {listed!r:.60}, expected the same number for every layer")
    return listed[0]


def granite_moe(c: Fields) -> Parts:
    """Granite 3 with experts, and with a shared one."""
    width = c.integer("shared_intermediate_size", default=0, low=0)
    always = FeedForward(width) if width else None
    moe = routed(c, "num_local_experts", "intermediate_size", topk=2, shared=always)
    return uniform(c, attention(c, **biases(c)), moe)


def granite_moe_swa(c: Fields) -> Parts:
    """Granite with experts, windows and attention sinks."""
    width = c.integer("shared_intermediate_size", default=0, low=0)
    moe = routed(c, "num_local_experts", "intermediate_size", topk=2, shared=FeedForward(width) if width else None)
    seen = spans(c, depth_of(c), window(c, 128), lambda i: i % 4 != 0)
    return stack(c, attention(c, sinks=True, **biases(c)), moe, seen)


def olmoe(c: Fields) -> Parts:
    """OLMoE."""
    moe = routed(c, "num_experts", "intermediate_size", topk=8, count=64)
    return uniform(c, attention(c, norm="all", **biases(c)), moe, max_positions=4096)


def flex_olmo(c: Fields) -> Parts:
    """FlexOlmo."""
    moe = routed(c, "num_experts", "intermediate_size", topk=5, count=7)
    return uniform(c, attention(c, norm="all", **biases(c)), moe, max_positions=4096)


def exaone_moe(c: Fields) -> Parts:
    """EXAONE with experts: local layers rotated, the others not."""
    depth, seen_by_local = depth_of(c), window(c, 4096)
    pattern = c.get("sliding_window_pattern")
    kind = pattern if isinstance(pattern, str) else "L" * (c.integer("sliding_window_pattern", default=4) - 1) + "G"
    seen = spans(c, depth, seen_by_local, lambda i: kind[i % len(kind)] == "L")
    seen = [span if span.window else replace(span, rope=False) for span in seen]
    inter = c.integer("moe_intermediate_size")
    always = shared(c, ("num_shared_experts",), inter, 1)
    moe = routed(c, "num_experts", inter, topk=8, shared=always, router_bias=True)
    each = blocks(sparse_after(c, depth, 1), moe, lambda: dense(c))
    return stack(c, attention(c, norm="head"), each, seen)


def afmoe(c: Fields) -> Parts:
    """Trinity: four norms a layer, a gate as wide as the queries, whole layers without rotary positions."""
    depth, hidden = depth_of(c), c.integer("hidden_size")
    seen = spans(c, depth, window(c, 1024), every(c.integer("global_attn_every_n_layers", default=4, limit="layers")))
    seen = [span if span.window else replace(span, rope=False) for span in seen]
    inter = c.integer("moe_intermediate_size")
    always = shared(c, ("num_shared_experts",), inter, 2)
    moe = routed(c, "num_experts", inter, topk=6, shared=always, router_bias=True)
    first = c.integer("num_dense_layers", default=1, low=0, limit="layers")
    made = attention(c, head_dim=128, norm="head", **biases(c))
    gate = Linear("attention_gate", made.heads * made.head_dim, hidden, depth)
    each = blocks([i >= first for i in range(depth)], moe, lambda: dense(c))
    return stack(c, made, each, seen, norms_per_layer=4, max_positions=16384, besides=(gate,))


def laguna(c: Fields) -> Parts:
    """Laguna: heads that may differ from layer to layer, a gate of one number a head, a shared expert."""
    depth, hidden = depth_of(c), c.integer("hidden_size")
    per_layer = c.integers("num_attention_heads_per_layer", LIMITS["heads"])
    base = attention(c, 8, 128, norm="head", **biases(c))
    heads = per_layer or [base.heads] * depth
    if len(heads) != depth:
        c.fail("num_attention_heads_per_layer", f"found {len(heads)} entries, expected num_hidden_layers = {depth}")
    for one in heads:
        c.divides("num_key_value_heads", base.kv_heads, "num_attention_heads_per_layer", one)
    seen = spans(c, depth, window(c, 512), lambda i: False)
    inter = c.integer("moe_intermediate_size", default=512)
    always = FeedForward(c.integer("shared_expert_intermediate_size", default=512))
    moe = routed(c, "num_experts", inter, topk=8, shared=always, router_bias=True)
    each = blocks(sparse_after(c, depth, 1), moe, lambda: dense(c))
    gate = (Few("attention_gate", sum(heads) * hidden),) if c.flag("gating", True) else ()
    layers: list[Layer] = [
        (replace(base, heads=n), block, span) for n, block, span in zip(heads, each, seen, strict=True)
    ]
    return model(c, layers, max_positions=131072, besides=gate)


def mellum(c: Fields) -> Parts:
    """Mellum 2: as Qwen 3 with experts, with windows where ``layer_types`` says so."""
    depth = depth_of(c)
    moe = routed(c, "num_local_experts", "moe_intermediate_size", topk=8)
    c.get("intermediate_size")
    each = blocks(sparse_after(c, depth, 0), moe, lambda: dense(c))
    seen = spans(c, depth, window(c, 1024), lambda i: False)
    return stack(c, attention(c, 4, 128, norm="head", **biases(c)), each, seen, max_positions=131072)


def flint(c: Fields) -> Parts:
    """Flint: attention sinks, and windows in most layers."""
    always = FeedForward(c.integer("shared_expert_intermediate_size", default=1024))
    moe = routed(c, "num_experts", "moe_intermediate_size", topk=6, shared=always)
    seen = spans(c, depth_of(c), window(c, 513), lambda i: False)
    made = attention(c, 4, 128, norm="head", sinks=True, **biases(c))
    return stack(c, made, _qwen_blocks(c, moe), seen, max_positions=262144)


def kolibri(c: Fields) -> Parts:
    """Kolibri: four norms a layer, every layer routed with a shared expert."""
    always = FeedForward(c.integer("shared_expert_intermediate_size", default=512))
    moe = routed(c, "num_local_experts", "moe_intermediate_size", topk=6, shared=always, router_bias=True)
    seen = spans(c, depth_of(c), window(c, 513), every(5))
    return stack(c, attention(c, 4, 128, norm="head"), moe, seen, norms_per_layer=4, max_positions=262144)


def beam(c: Fields) -> Parts:
    """Beam: four norms a layer, a gate as wide as the queries, whole layers without rotary positions."""
    depth = depth_of(c)
    seen = spans(c, depth, window(c, 512), lambda i: (i + 1) % 6 != 0 and i < depth - 1)
    seen = [span if span.window else replace(span, rope=False) for span in seen]
    moe = routed(c, "num_experts", "moe_intermediate_size", topk=8, count=256, router_bias=True)
    each = blocks(sparse_after(c, depth, 3), moe, lambda: dense(c))
    made = attention(c, 8, 128, norm="head", **biases(c))
    made = replace(made, gate_dim=made.head_dim)
    besides = (Few("attention_gate_bias", made.heads, depth),)
    return stack(c, made, each, seen, norms_per_layer=4, max_positions=8192, besides=besides)


def bailing(c: Fields) -> Parts:
    """Ling 1 and 2 (BailingMoE): shared and routed experts; norms of queries and keys and dense layers first in 2."""
    depth, inter = depth_of(c), c.integer("moe_intermediate_size")
    bias = c.flag("use_bias", False)
    made = attention(
        c, norm="head" if c.flag("use_qk_norm", False) else "", qkv_bias=c.flag("use_qkv_bias", bias), out_bias=bias
    )
    many = c.integer("num_shared_experts", "n_shared_experts", default=0, low=0, limit="experts")
    wide = c.integer("moe_shared_expert_intermediate_size", default=inter)
    corrected = c.flag("moe_router_enable_expert_bias", False)
    always = FeedForward(many * wide, bias=bias) if many else None
    moe = routed(c, "num_experts", inter, shared=always, router_bias=corrected, bias=bias)
    each = blocks(sparse_after(c, depth, 0), moe, lambda: dense(c, bias))
    c.get("intermediate_size", "max_window_layers", "norm_head", "norm_softmax", "rotary_dim", "rotary_type")
    return stack(c, made, each, max_positions=16384)


def aria(c: Fields) -> Parts:
    """Aria's language model: ``intermediate_size`` is that of one expert."""
    inter = c.integer("intermediate_size", "moe_intermediate_size")
    always = shared(c, ("moe_num_shared_experts",), inter, 2)
    moe = routed(c, "moe_num_experts", inter, topk=2, shared=always)
    return uniform(c, attention(c, **biases(c)), moe)


def cohere2_moe(c: Fields) -> Parts:
    """Command with experts: side by side with attention, under one norm."""
    depth = depth_of(c)
    inter = c.integer("intermediate_size")
    always = shared(c, ("num_shared_experts",), inter)
    moe = routed(c, "num_experts", inter, topk=2, shared=always)
    wide = c.integer("prefix_dense_intermediate_size", default=inter)
    c.get("prefix_dense_sliding_window_pattern", "shared_expert_combination_strategy")
    each = blocks(sparse_after(c, depth, 0), moe, lambda: FeedForward(wide))
    return stack(c, attention(c, **biases(c)), each, cohere_spans(c), **cohere_norms())


def minimax_m2(c: Fields) -> Parts:
    """MiniMax-M2: norms of queries and keys over all heads together, 64 elements of a head rotated."""
    made = replace(attention(c, 8, 128), rope_dim=c.integer("rotary_dim", default=64))
    if c.flag("use_qk_norm", True):
        weights = (made.heads + made.kv_heads) * made.head_dim
        made = replace(made, qk_norm=True, qk_norm_weights=weights)
    moe = routed(c, "num_local_experts", "intermediate_size", topk=8, router_bias=c.flag("use_routing_bias", True))
    return uniform(c, made, moe)


def gpt_oss(c: Fields) -> Parts:
    """gpt-oss: biases everywhere, attention sinks, every other layer local."""
    bias = c.flag("attention_bias", True)
    made = attention(c, 8, 64, qkv_bias=bias, out_bias=bias, sinks=True)
    moe = routed(c, "num_local_experts", "intermediate_size", topk=4, bias=True, router_bias=True)
    seen = spans(c, depth_of(c), window(c, 128), lambda i: i % 2 == 0)
    return stack(c, made, moe, seen, max_positions=131072)


def jetmoe(c: Fields) -> Parts:
    """JetMoE: experts in attention too, which project queries and outputs."""
    depth, hidden = depth_of(c), c.integer("hidden_size")
    kv_heads = c.integer("num_key_value_heads", default=16, limit="heads")
    moe = routed(c, "num_local_experts", "intermediate_size", topk=2, count=8)
    mixer = RoutedAttention(moe.experts, moe.topk, kv_heads, c.integer("kv_channels", "head_dim", default=128))
    heads = c.integer("num_attention_heads", default=mixer.heads, limit="heads")
    if heads != mixer.heads:
        c.fail("num_attention_heads", f"found {heads}, expected experts a token x key/value heads = {mixer.heads}")
    besides = (Few("expert_output_bias", 2 * hidden, depth),)
    return stack(c, mixer, moe, tied=True, max_positions=4096, besides=besides)


def dbrx(c: Fields) -> Parts:
    """DBRX: layer norms without biases, the sizes of attention and experts in tables of their own."""
    hidden, heads = c.integer("d_model", "hidden_size"), c.integer("n_heads", "num_attention_heads", limit="heads")
    inner, experts = c.table("attn_config"), c.table("ffn_config")
    if inner is None or experts is None:
        c.fail("attn_config" if inner is None else "ffn_config", "is missing, expected an object")
    kv_heads = inner.integer("kv_n_heads", default=1, limit="heads")
    inner.divides("kv_n_heads", kv_heads, "n_heads", heads)
    c.divides("n_heads", heads, "d_model", hidden)
    dim = hidden // heads
    many = experts.integer("moe_num_experts", default=4, limit="experts")
    topk = experts.integer("moe_top_k", default=1, limit="experts")
    if topk > many:
        experts.fail("moe_top_k", f"found {topk}, expected at most moe_num_experts = {many}")
    moe = Experts(many, topk, experts.integer("ffn_hidden_size", default=3584))
    inner.near_misses("dbrx")
    experts.near_misses("dbrx")
    positions = c.integer("max_seq_len", default=2048, limit="positions")
    options: Parts = {"norm": "layer_norm", "norm_weights": 1, "hidden": hidden, "max_positions": positions}
    c.get("num_key_value_heads")
    return stack(c, Attention(heads, kv_heads, dim, dim), moe, **options)


def grok(c: Fields) -> Parts:
    """Grok-1: four norms a layer, tied embeddings."""
    moe = routed(c, "num_local_experts", "intermediate_size", topk=2, count=8)
    c.get("attn_output_multiplier", "max_attn_value", "embedding_multiplier_scale", "output_multiplier_scale")
    return uniform(c, attention(c), moe, tied=True, norms_per_layer=4)


def arctic(c: Fields) -> Parts:
    """Snowflake Arctic: experts and, side by side with them, a dense block as wide as the model."""
    depth, hidden = depth_of(c), c.integer("hidden_size")
    inter = c.integer("intermediate_size")
    step = c.integer("moe_layer_frequency", default=2, limit="layers")
    residual = c.flag("use_residual", False) or c.flag("parallel_attn_mlp_res", False)
    moe = routed(c, "num_local_experts", inter, topk=1, count=8)
    if residual:
        moe = replace(moe, shared=FeedForward(hidden))
    is_routed = [(i + 1) % step == 0 for i in range(depth)]
    each = blocks(is_routed, moe, lambda: FeedForward(inter))
    extra = Few("residual_norm", hidden, sum(is_routed)) if residual else None
    made = attention(c, **biases(c))
    c.get("enable_expert_tensor_parallelism", "moe_eval_capacity_factor", "moe_min_capacity")
    c.get("moe_token_dropping", "moe_train_capacity_factor", "enc_index", "quantization")
    return stack(c, made, each, max_positions=4096, besides=(extra,) if extra else ())


def llama4(c: Fields) -> Parts:
    """Llama 4: rotated layers see their own chunk, the others everything; an expert that every token visits."""
    depth, inter = depth_of(c), c.integer("intermediate_size")
    # The norm of queries and keys has no weights, and is used where they are rotated.
    made = attention(c, 8, 128, qk_norm=c.flag("use_qk_norm", True), **biases(c))
    moe = routed(c, "num_local_experts", inter, topk=1, shared=FeedForward(inter))
    plain = FeedForward(c.integer("intermediate_size_mlp", default=16384))
    step = c.integer("interleave_moe_layer_step", default=1, limit="layers")
    chosen = c.integers("moe_layers", LIMITS["layers"])
    if chosen is None:
        chosen = list(range(step - 1, depth, step)) if step else []
    listed = c.integer("no_rope_layer_interval", default=4, limit="layers")
    rotated = c.integers("no_rope_layers", 1) or [int((i + 1) % listed != 0) for i in range(depth)]
    if len(rotated) < depth:
        c.fail("no_rope_layers", f"found {len(rotated)} entries, expected num_hidden_layers = {depth}")
    whole = c.has("attention_chunk_size") and c.get("attention_chunk_size") is None
    chunk = None if whole else c.integer("attention_chunk_size", default=8192, limit="positions")
    is_rotated = [bool(one) for one in rotated]
    seen = spans(c, depth, chunk, is_rotated.__getitem__, chunked=True, rope=is_rotated.__getitem__)
    each: list[FeedForward | Experts] = [moe if i in chosen else plain for i in range(depth)]
    return stack(c, made, each, seen, max_positions=131072)
