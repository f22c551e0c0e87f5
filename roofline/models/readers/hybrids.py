"""Decoders whose layers attend now and then, with gated delta nets, state spaces or linear attention in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roofline.models.besides import Few, Linear, Stream
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import LIMITS, Fields
from roofline.models.mixers import Mixer, Span
from roofline.models.readers.latent import latent
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
    sparse_after,
    window,
)
from roofline.models.recurrent import Convolution, Projection, Recurrent

#: What files call the layers with a state, and those that attend.
STATE, ATTENDING = "linear_attention", "full_attention"


def alternating(c: Fields, depth: int, attends: Callable[[int], bool]) -> list[bool]:
    """Which layers attend: by ``layer_types`` where given, else by the family's rule."""
    types = layer_types(c, depth, (STATE, ATTENDING))
    return [attends(i) for i in range(depth)] if types is None else [kind == ATTENDING for kind in types]


def layers_of(
    attends: Sequence[bool], attending: Mixer, other: Mixer, each: Sequence[FeedForward | Experts]
) -> list[Layer]:
    """Layers that attend or not, each with its feed-forward block."""
    pairs = zip(attends, each, strict=True)
    return [(attending if here else other, block, Span()) for here, block in pairs]


# -- Gated delta nets: Qwen -------------------------------------------------------------------------------------------


def _delta_net(c: Fields, hidden: int) -> Recurrent:
    """Gated DeltaNet: queries and keys of fewer heads than values, a decay and a step size for each of these."""
    keys = c.integer("linear_num_key_heads", default=16, limit="heads")
    values = c.integer("linear_num_value_heads", default=32, limit="heads")
    c.divides("linear_num_key_heads", keys, "linear_num_value_heads", values)
    key_dim = c.integer("linear_key_head_dim", default=128)
    value_dim = c.integer("linear_value_head_dim", default=128)
    width = values * value_dim
    return Recurrent(
        "gated delta net",
        heads=values,
        groups=keys,
        key_dim=key_dim,
        value_dim=value_dim,
        inputs=(
            Projection("qkvz_proj", hidden, 2 * keys * key_dim + 2 * width),
            Projection("ba_proj", hidden, 2 * values),
        ),
        output=Projection("out_proj", width, hidden, "row"),
        convolution=Convolution(width, c.integer("linear_conv_kernel_dim", default=4), shared=2 * key_dim, groups=keys),
        gate_dim=2,
        delta=True,
        vectors=2 * values + value_dim,
        state_dtype=state_dtype(c, "mamba_ssm_dtype"),
    )


def state_dtype(c: Fields, key: str) -> str:
    """The dtype that states are kept in; transformers and SGLang keep them in fp32 where a file does not say."""
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(c.text(key, "float32"), "fp32")


def _qwen(c: Fields, each: Sequence[FeedForward | Experts]) -> Parts:
    """Three gated delta nets to one attention, whose output is gated too."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    dim = c.integer("head_dim", default=256)
    attending = attention(c, 2, 256, rotary=0.25, norm="head", gate_dim=dim, **biases(c))
    c.flag("attn_output_gate", True)
    interval = c.integer("full_attention_interval", default=4, limit="layers")
    attends = alternating(c, depth, lambda i: (i + 1) % interval == 0)
    return model(c, layers_of(attends, attending, _delta_net(c, hidden), each), max_positions=32768)


def _qwen_moe(c: Fields, topk: int) -> Experts:
    always = FeedForward(c.integer("shared_expert_intermediate_size", default=512))
    return routed(c, "num_experts", "moe_intermediate_size", topk=topk, shared=always, shared_gate=True)


def qwen3_next(c: Fields) -> Parts:
    """Qwen3-Next."""
    depth, step = depth_of(c), c.integer("decoder_sparse_step", default=1, limit="layers")
    only = c.integers("mlp_only_layers", LIMITS["layers"]) or []
    is_routed = [i not in only and (i + 1) % step == 0 for i in range(depth)]
    c.get("intermediate_size")
    made = _qwen(c, blocks(is_routed, _qwen_moe(c, 10), lambda: dense(c)))
    # Its checkpoints have a head of multi-token prediction, which their files do not speak of.
    return made | {"mtp": made["layers"][-1:]}


def qwen3_5(c: Fields) -> Parts:
    """Qwen3.5 and 3.6, dense."""
    return _qwen(c, [dense(c)] * depth_of(c))


def qwen3_5_moe(c: Fields) -> Parts:
    """Qwen3.5 and 3.6 with routed experts."""
    only = c.integers("mlp_only_layers", LIMITS["layers"]) or []
    if only:
        c.fail("mlp_only_layers", f"found {len(only)} layers, expected none: every layer of Qwen3.5 is routed")
    return _qwen(c, [_qwen_moe(c, 8)] * depth_of(c))


def olmo_hybrid(c: Fields) -> Parts:
    """OLMo hybrid: three gated delta nets to one attention, whose norms lie behind its halves."""
    depth = depth_of(c)
    attends = alternating(c, depth, lambda i: i % 4 == 3)
    c.get("linear_allow_neg_eigval", "linear_a_log_min", "linear_a_log_max")
    c.get("linear_dt_min", "linear_dt_max", "linear_dt_init_floor")
    layers = layers_of(
        attends, attention(c, norm="all", **biases(c)), _delta_net(c, c.integer(*HIDDEN)), [dense(c)] * depth
    )
    return model(c, layers, max_positions=65536)


def lara_mini(c: Fields) -> Parts:
    """Lara Mini: gated delta nets, windows and whole attention in turn, every layer routed with a shared expert."""
    depth = depth_of(c)
    kinds = layer_types(c, depth, (STATE, ATTENDING, "sliding_attention"))
    if kinds is None:
        c.fail("layer_types", "is missing, expected the kind of every layer")
    always = FeedForward(c.integer("shared_expert_intermediate_size", default=512))
    moe = routed(c, "num_experts", "moe_intermediate_size", topk=4, shared=always)
    attending, delta = attention(c, 4, 128, norm="head", **biases(c)), _delta_net(c, c.integer(*HIDDEN))
    local = Span(window(c, 512))
    layers: list[Layer] = [
        (delta, moe, Span()) if kind == STATE else (attending, moe, Span() if kind == ATTENDING else local)
        for kind in kinds
    ]
    return model(c, layers, tied=True, max_positions=131072)


# -- Kimi Delta Attention ---------------------------------------------------------------------------------------------


def _gate(name: str, hidden: int, width: int, rank: int) -> tuple[Projection, ...]:
    """A gate's projection: through a rank, or at once where that is 0."""
    if not rank:
        return (Projection(f"{name}_proj", hidden, width),)
    return Projection(f"{name}_a_proj", hidden, rank, ""), Projection(f"{name}_b_proj", rank, width)


def _kimi_delta(
    hidden: int, heads: int, dim: int, taps: int, decays: int, gate_rank: int, decay_rank: int
) -> Recurrent:
    """KDA: a gated delta net whose decay differs from row to row of the state; gates of low rank, or full (0)."""
    width = heads * dim
    return Recurrent(
        "Kimi delta attention",
        heads=heads,
        groups=heads,
        key_dim=dim,
        value_dim=dim,
        inputs=(
            Projection("qkv_proj", hidden, 3 * width),
            *_gate("f", hidden, width, decay_rank),
            Projection("b_proj", hidden, heads),
            *_gate("g", hidden, width, gate_rank),
        ),
        output=Projection("out_proj", width, hidden, "row"),
        convolution=Convolution(width, taps, shared=2 * dim, groups=heads),
        gate_dim=dim + 1,
        delta=True,
        vectors=decays + width + dim,
    )


def kimi_linear(c: Fields) -> Parts:
    """Kimi Linear and K3: three layers of Kimi delta attention to one of latent attention without positions."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    own = c.table("linear_attn_config") or c
    inner = own is not c
    heads = own.integer("num_heads" if inner else "linear_num_heads", default=32, limit="heads")
    dim = own.integer("head_dim" if inner else "linear_head_dim", default=128)
    taps = own.integer("short_conv_kernel_size" if inner else "linear_conv_kernel_dim", default=4)
    attends = alternating(c, depth, lambda i: i > 0 and i % 4 == 0)
    if inner:
        # Counted from 1.
        full, state = (set(own.integers(key, depth) or []) for key in ("full_attn_layers", "kda_layers"))
        if full | state != set(range(1, depth + 1)) or full & state:
            own.fail("kda_layers", f"expected, with full_attn_layers, every layer from 1 to {depth} once")
        attends = [i + 1 in full for i in range(depth)]
        own.get("gate_lower_bound")
    narrow = c.integer("routed_expert_hidden_size", default=0, low=0)
    # K3 stores decays for a multiple of 128 heads.
    decays = -(-heads // 128) * 128 if narrow else heads
    full_rank = inner and own.flag("use_full_rank_gate", False)
    gated = c.flag("mla_use_output_gate", False)
    attending = latent(c, None, gated=gated, rotated=not c.flag("mla_use_nope", True))
    inter = c.integer("moe_intermediate_size", default=1024)
    always = shared(c, ("num_shared_experts", "n_shared_experts"), inter, 1)
    moe = routed(
        c,
        "num_experts",
        inter,
        topk=8,
        count=256,
        shared=always,
        router_bias=True,
        latent=narrow,
        latent_norm=bool(narrow) and c.flag("latent_moe_use_norm", False),
    )
    each = blocks(sparse_after(c, depth, 1), moe, lambda: dense(c))
    delta = _kimi_delta(hidden, heads, dim, taps, decays, 0 if full_rank else dim, dim)
    c.get("intermediate_size", "use_grouped_topk")
    besides = _attention_residuals(c, hidden, depth)
    layers = layers_of(attends, attending, delta, each)
    return model(c, layers, max_positions=c.integer("model_max_length", default=1048576, limit="positions"), **besides)


def bailing_hybrid(c: Fields) -> Parts:
    """Ling's hybrid: five layers of Kimi delta attention to one of latent attention, with a gate for every head."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    group = c.integer("layer_group_size", default=6, limit="layers")
    attends = alternating(c, depth, lambda i: (i + 1) % group == 0)
    heads = c.integer("linear_num_heads", "num_attention_heads", default=32, limit="heads")
    dim = c.integer("linear_head_dim", default=128)
    taps = c.integer("linear_conv_kernel_dim", "short_conv_kernel_size", default=4)
    c.get("num_attention_heads", "short_conv_kernel_size")
    delta = _kimi_delta(hidden, heads, dim, taps, heads, 0, 0)
    attending = latent(c, None)
    inter = c.integer("moe_intermediate_size", default=768)
    always = shared(c, ("num_shared_experts", "n_shared_experts"), inter, 1)
    moe = routed(c, "num_experts", inter, topk=8, count=512, shared=always, router_bias=True)
    each = blocks(sparse_after(c, depth, 2), moe, lambda: dense(c))
    c.get("intermediate_size")
    gate = Linear("attention_gate", attending.heads, hidden, sum(attends))
    positions = c.integer("model_max_length", default=262144, limit="positions")
    layers = layers_of(attends, attending, delta, each)
    return model(c, layers, max_positions=positions, besides=(gate,) if any(attends) else ())


def _attention_residuals(c: Fields, hidden: int, depth: int) -> Parts:
    """K3's residuals: each half of a layer weighs the sums of earlier blocks anew, by a query of its own."""
    block = c.integer("attn_res_block_size", default=0, low=0, limit="layers")
    if not block:
        return {}
    read = sum(i // block + 2 for i in range(depth)) / depth
    halves = 2 * depth
    return {
        "besides": (
            Few("attention_residual_query", 2 * hidden, halves),
            Few("output_residual_query", 2 * hidden, scope="model"),
            Stream("attention_residual", hidden, read, 1, halves, flops_per_element=6 * read),
        )
    }
