"""Decoders around linear attention, gated recurrences and short convolutions: RWKV, xLSTM, Griffin, MiniMax, LFM."""

from __future__ import annotations

from dataclasses import replace

from roofline.base.errors import shown
from roofline.models.besides import Few, Linear, Stream
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Span
from roofline.models.readers.hybrids import ATTENDING, alternating, layers_of
from roofline.models.readers.mambas import CHANNELS, ENDLESS
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
    qk_norm,
    routed,
    window,
)
from roofline.models.recurrent import Convolution, Projection, Recurrent, ShortConvolution

# -- RWKV -------------------------------------------------------------------------------------------------------------


def rwkv(c: Fields) -> Parts:
    """RWKV-4: for every channel a weighted mean of values that decays; each half mixes a token with the one before."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    width = c.integer("attention_hidden_size", default=hidden)
    inter = c.integer("intermediate_size", default=4 * hidden)
    channels = CHANNELS if width % CHANNELS == 0 else width
    c.get("rescale_every", "context_length")
    mixer = Recurrent(
        "RWKV-4",
        heads=width // channels,
        groups=1,
        # A sum of weighted values, one of weights, and the largest exponent so far.
        key_dim=3,
        value_dim=channels,
        inputs=(Projection("rkv_proj", hidden, 3 * width),),
        output=Projection("out_proj", width, hidden, "row"),
        # A value has a key beside it.
        gate_dim=channels,
        chunk=1,
        matrix=False,
        normed=False,
        vectors=2 * width + 3 * hidden,
        last=2 * hidden,
    )
    besides = (
        Few("embedding_norm", 2 * hidden, scope="model"),
        Stream("token_shift", hidden, 2, 3, depth, flops_per_element=9),
        Stream("feed_forward_token_shift", hidden, 2, 2, depth, flops_per_element=6),
        Few("feed_forward_time_mix", 2 * hidden, depth),
        Linear("feed_forward_receptance", hidden, hidden, depth),
        Stream("feed_forward_gate", hidden, 2, 1, depth, flops_per_element=5),
    )
    block = FeedForward(inter, gated=False)
    return model(c, [(mixer, block, Span())] * depth, besides=besides, max_positions=ENDLESS, **LAYER_NORM)


def rwkv7(c: Fields) -> Parts:
    """RWKV-7 (Peng et al. 2025, appendix): a delta rule whose states decay row by row; gates through low ranks.

    Each half mixes a token with the one before it. Defaults of ranks are those of the public code for the width.
    """
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    dim = c.integer("head_dim", "head_size", default=64)
    c.divides("head_dim", dim, "hidden_size", hidden)
    ratio = c.number("hidden_ratio", default=4.0, low=0.1, high=100)
    inter = c.integer("intermediate_size", default=round(hidden * ratio))

    def rank(key: str, factor: float, power: float) -> int:
        return c.integer(key, default=max(32, round(factor * hidden**power / 32) * 32))

    decay, learning = rank("decay_low_rank_dim", 1.8, 0.5), rank("a_low_rank_dim", 1.8, 0.5)
    value, gate = rank("v_low_rank_dim", 1.3, 0.5), rank("gate_low_rank_dim", 0.6, 0.8)
    block = FeedForward(inter, gated=False)
    c.get("attn_mode", "attn", "norm_first", "norm_bias", "num_heads", "value_dim", "fuse_norm", "fuse_cross_entropy")

    def mixer(ranks: dict[str, int]) -> Recurrent:
        lows = tuple(
            part
            for name, low in ranks.items()
            for part in (Projection(f"{name}_down", hidden, low, ""), Projection(f"{name}_up", low, hidden))
        )
        return Recurrent(
            "RWKV-7",
            heads=hidden // dim,
            groups=hidden // dim,
            key_dim=dim,
            value_dim=dim,
            inputs=(Projection("rkv_proj", hidden, 3 * hidden), *lows),
            output=Projection("out_proj", hidden, hidden, "row"),
            # Of each channel how fast it forgets and how fast it learns.
            gate_dim=2 * dim,
            delta=True,
            # Six mixes with the token before, a bias of each gate but the last, three scales, a norm of each head.
            vectors=(6 + len(ranks) - 1 + 3 + 2) * hidden,
            last=2 * hidden,
        )

    ranks = {"decay": decay, "learning_rate": learning, "gate": gate}
    # The first layer has no value of an earlier one to mix with.
    layers: list[Layer] = [(mixer(ranks | ({"value_mix": value} if i else {})), block, Span()) for i in range(depth)]
    besides = (
        Few("embedding_norm", 2 * hidden, scope="model"),
        Stream("token_shift", hidden, 2, 6, depth, flops_per_element=18),
        Stream("feed_forward_token_shift", hidden, 2, 1, depth, flops_per_element=3),
        Few("feed_forward_time_mix", hidden, depth),
    )
    return model(c, layers, besides=besides, max_positions=ENDLESS, **LAYER_NORM)


# -- xLSTM ------------------------------------------------------------------------------------------------------------


def xlstm(c: Fields) -> Parts:
    """xLSTM-7B: matrix memories with gates for input and forgetting, between gated feed-forward blocks."""
    hidden = c.integer("hidden_size", "embedding_dim")
    depth = c.integer("num_hidden_layers", "num_blocks", limit="layers")
    c.get("embedding_dim", "num_blocks", "norm_reduction_force_float32", "max_inference_chunksize", "weight_mode")
    heads = c.integer("num_heads", default=8, limit="heads")
    keys, values = _share(c, "qk_dim_factor", 0.5, hidden), _share(c, "v_dim_factor", 1.0, hidden)
    for key, width in (("qk_dim_factor", keys), ("v_dim_factor", values)):
        if width % heads:
            c.fail(key, f"makes {width} numbers of num_heads = {heads} heads, expected a multiple")
    bias = c.flag("use_bias", False)
    mixer = Recurrent(
        "mLSTM",
        heads=heads,
        groups=heads,
        key_dim=keys // heads,
        value_dim=values // heads,
        inputs=(
            Projection("qkv_proj", hidden, 2 * keys + values, bias=bias),
            Projection("output_gate_proj", hidden, values, bias=bias),
            Projection("gates_proj", hidden, 2 * heads, bias=True),
        ),
        output=Projection("out_proj", values, hidden, "row", bias),
        gate_dim=2,
        chunk=c.integer("chunk_size", default=64),
        vectors=values * (1 + bias),
    )
    step = c.integer("ffn_round_up_to_multiple_of", default=64)
    inter = -(-int(c.number("ffn_proj_factor", default=2.667, low=0.01, high=100) * hidden) // step) * step
    block = FeedForward(inter, bias=bias)
    # The class has the last norm whatever add_out_norm says, and only the layers' norms with biases.
    c.get("add_out_norm")
    besides = (Few("norm_bias", 2 * hidden, depth),) if bias else ()
    layers: list[Layer] = [(mixer, block, Span())] * depth
    return model(c, layers, hidden=hidden, besides=besides, max_positions=ENDLESS)


def _share(c: Fields, key: str, default: float, hidden: int) -> int:
    """A share of the width, up to a multiple of 64."""
    wanted = c.number(key, default=default, low=1e-3, high=100) * hidden
    return int((wanted + 63) // 64 * 64)


# -- Griffin ----------------------------------------------------------------------------------------------------------


def recurrent_gemma(c: Fields) -> Parts:
    """RecurrentGemma (Griffin): two gated linear recurrences of one number a channel to one window of attention."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    heads = c.integer("num_attention_heads", default=10, limit="heads")
    width = c.integer("lru_width", default=hidden)
    c.divides("num_attention_heads", heads, "lru_width", width)
    block_dim = width // heads
    mixer = Recurrent(
        "RG-LRU",
        heads=heads,
        groups=heads,
        key_dim=1,
        value_dim=block_dim,
        inputs=(
            Projection("xy_proj", hidden, 2 * width, bias=True),
            # Two gates a channel, each of the channels of its head alone.
            Projection("gates_proj", block_dim, 2 * width, bias=True),
        ),
        output=Projection("out_proj", width, hidden, "row", True),
        convolution=Convolution(width, c.integer("conv1d_width", default=4), True),
        gate_dim=2 * block_dim,
        chunk=2048,
        matrix=False,
        normed=False,
        vectors=width,
    )
    bias = c.flag("attention_bias", False)
    attending = attention(c, heads=heads, rotary=0.5, qkv_bias=bias, out_bias=True)
    seen = Span(c.integer("attention_window_size", "sliding_window", default=2048, limit="positions"))
    types = c.array("block_types") or c.array("_block_types") or ["recurrent", "recurrent", "attention"]
    for kind in types:
        if kind not in ("recurrent", "attention"):
            c.fail("block_types", f"found {shown(kind)}, expected 'recurrent' or 'attention'")
    inter = c.integer("intermediate_size", default=3 * hidden)
    c.divides("factor 2 of gate and up projection", 2, "intermediate_size", inter)
    block = FeedForward(inter // 2, bias=True)
    c.get("layers_block_type", "w_init_variance_scale")
    kinds = [types[i % len(types)] for i in range(depth)]
    layers: list[Layer] = [
        (attending, block, seen) if kind == "attention" else (mixer, block, Span()) for kind in kinds
    ]
    return model(c, layers, tied=True, max_positions=ENDLESS)


# -- Lightning attention ----------------------------------------------------------------------------------------------


def minimax(c: Fields) -> Parts:
    """MiniMax-Text-01 and M1: linear attention with a fixed decay a head, now and then attention; all routed."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    attending = attention(c, 8)
    attending = replace(attending, rope_dim=c.integer("rotary_dim", default=attending.rope_dim))
    heads, dim = attending.heads, attending.head_dim
    width = heads * dim
    lightning = Recurrent(
        "lightning attention",
        heads=heads,
        groups=heads,
        key_dim=dim,
        value_dim=dim,
        inputs=(Projection("qkv_proj", hidden, 3 * width), Projection("output_gate", hidden, width)),
        output=Projection("out_proj", width, hidden, "row"),
        gate_dim=0,
        chunk=c.integer("block_size", default=256),
        vectors=width,
    )
    listed = c.integers("attn_type_list", 1)
    if listed is not None and len(listed) != depth:
        c.fail("attn_type_list", f"found {len(listed)} entries, expected num_hidden_layers = {depth}")
    attends = alternating(c, depth, lambda i: bool(listed[i]) if listed else i % 2 == 0)
    wide = c.integer("shared_intermediate_size", default=0, low=0)
    moe = routed(
        c, "num_local_experts", "intermediate_size", topk=2, count=8, shared=FeedForward(wide) if wide else None
    )
    c.get("sliding_window", "postnorm", "shared_moe_mode")
    return model(c, layers_of(attends, attending, lightning, [moe] * depth), max_positions=131072)


# -- Short convolutions -----------------------------------------------------------------------------------------------


def _short(c: Fields, hidden: int, taps: int) -> ShortConvolution:
    bias = c.flag("conv_bias", False)
    return ShortConvolution(
        Projection("conv_in_proj", hidden, 3 * hidden, bias=bias),
        Projection("conv_out_proj", hidden, hidden, "row", bias),
        Convolution(hidden, c.integer("conv_L_cache", default=taps), bias),
    )


def lfm2(c: Fields) -> Parts:
    """LFM 2: gated convolutions of three tokens, attention with norms of queries and keys in between."""
    return _lfm(c, [_lfm_block(c)] * depth_of(c), 3)


def _lfm_block(c: Fields) -> FeedForward:
    """The feed-forward block: two thirds of the width that the file states, up to a multiple, unless told otherwise."""
    inter = c.integer("block_ff_dim", "intermediate_size", default=12288)
    c.get("intermediate_size")
    step = c.integer("block_multiple_of", default=256)
    factor = c.number("block_ffn_dim_multiplier", default=1.0, low=1e-3, high=1e3)
    if c.flag("block_auto_adjust_ff_dim", True):
        inter = -(-int(factor * (2 * inter // 3)) // step) * step
    return FeedForward(inter)


def lfm2_moe(c: Fields) -> Parts:
    """LFM 2 with experts: dense layers first."""
    depth = depth_of(c)
    first = c.integer("num_dense_layers", default=2, low=0, limit="layers")
    bias = c.flag("use_expert_bias", True)
    moe = routed(c, "num_experts", "moe_intermediate_size", topk=4, count=32, router_bias=bias)
    return _lfm(c, blocks([i >= first for i in range(depth)], moe, lambda: dense(c)), 3)


def _lfm(c: Fields, each: list[FeedForward] | list[FeedForward | Experts], taps: int) -> Parts:
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    full = c.integers("full_attn_idxs", depth - 1)
    types = layer_types(c, depth, ("conv", ATTENDING))
    attends = [full is None or i in full for i in range(depth)] if types is None else [t == ATTENDING for t in types]
    heads = c.integer("num_attention_heads", "num_heads", default=32, limit="heads")
    c.get("num_heads", *_LFM_SPELLINGS)
    attending = attention(c, 8, heads=heads, norm="head")
    tied = c.flag("tie_embedding", True)
    return model(c, layers_of(attends, attending, _short(c, hidden, taps), each), tied=tied, max_positions=128000)


#: What published files of LFM 2 say besides, about training and in older words.
_LFM_SPELLINGS = ("block_dim", "conv_dim", "conv_dim_out", "block_use_swiglu", "block_norm_eps", "use_pos_enc")


def lfm3(c: Fields) -> Parts:
    """LFM 3: convolutions of seven tokens, windows and whole attention in turn, a gate of one number a head."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    local = Span(window(c, 256))
    types = layer_types(c, depth, ("conv", ATTENDING, "sliding_attention")) or [
        ATTENDING if i % 4 == 2 else "sliding_attention" if i % 4 == 0 and i else "conv" for i in range(depth)
    ]
    attending = attention(c, 4, 128, gate_dim=int(c.flag("use_attention_gate", True)), **biases(c))
    attending = replace(attending, **qk_norm(attending, "head"))
    convolution, block = _short(c, hidden, 7), dense(c)
    layers: list[Layer] = [
        (convolution, block, Span()) if kind == "conv" else (attending, block, Span() if kind == ATTENDING else local)
        for kind in types
    ]
    norms = 4 if c.flag("use_sandwich_norm", True) else 2
    return model(c, layers, tied=True, norms_per_layer=norms, max_positions=128000)
