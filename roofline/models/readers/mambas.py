"""Decoders with state-space layers: Mamba 1 and 2, alone, between attention, beside it, and before a shared block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from roofline.models.attention import Attention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Mixer, Span
from roofline.models.readers.hybrids import ATTENDING, STATE, layers_of
from roofline.models.readers.parts import (
    HIDDEN,
    Layer,
    Parts,
    attention,
    biases,
    dense,
    depth_of,
    layer_types,
    model,
    routed,
)
from roofline.models.recurrent import Convolution, Projection, Recurrent, SideBySide
from roofline.models.shared import SharedBlock

#: A state has no limit of its own: this is more than any of these models was tried with.
ENDLESS = 1_048_576

#: Channels of a selective scan that go together as a head; each has a state of its own.
CHANNELS = 64

#: The words for layers with a state, those that attend, and those that do both.
_WORDS = {"mamba": STATE, STATE: STATE, "attention": ATTENDING, ATTENDING: ATTENDING, "hybrid": "hybrid"}


def kinds_of(c: Fields, depth: int, otherwise: Callable[[int], str]) -> list[str]:
    """The kind of each layer: by ``layers_block_type`` or ``layer_types`` where given, else by the family's rule."""
    for key in ("layers_block_type", "layer_types"):
        types = layer_types(c, depth, tuple(_WORDS), key)
        if types is not None:
            return [_WORDS[kind] for kind in types]
    return [otherwise(i) for i in range(depth)]


# -- Mamba 1 ----------------------------------------------------------------------------------------------------------


def mamba1(
    c: Fields,
    hidden: int,
    width: int,
    state: int = 16,
    taps: int = 4,
    rank: int = 0,
    groups: int = 1,
    bias: bool = False,
    conv_bias: bool = True,
    norms: bool = False,
) -> Recurrent:
    """A Mamba mixer: a selective scan over `width` channels, `state` numbers each.

    Steps, B and C come of the convolved values by a projection of its own; the steps' is of low rank. The gate is part
    of the scan's kernel.
    """
    c.divides("channels that share B and C", groups, "the width of the state-space layers", width)
    channels = math.gcd(CHANNELS, width // groups)
    rank = rank or -(-hidden // 16)
    vectors = width * (state + 1) + norms * (rank + 2 * state)
    return Recurrent(
        "Mamba",
        heads=width // channels,
        groups=groups,
        key_dim=state,
        value_dim=channels,
        inputs=(
            Projection("in_proj", hidden, 2 * width, "column", bias),
            Projection("x_proj", width // groups, groups * (rank + 2 * state), "row"),
            Projection("dt_proj", rank, width, "column", True),
        ),
        output=Projection("out_proj", width, hidden, "row", bias),
        convolution=Convolution(width, taps, conv_bias),
        gate_dim=2 * channels,
        chunk=2048,
        matrix=False,
        normed=False,
        gated=False,
        vectors=vectors,
    )


def _rank(c: Fields, key: str) -> int:
    """The rank of the steps, 0 where the file leaves it to the class."""
    return 0 if c.get(key) == "auto" else c.integer(key, default=0, low=0)


def mamba(c: Fields) -> Parts:
    """Mamba and Falcon-Mamba, whose norms of steps, B and C have no weights."""
    hidden = c.integer(*HIDDEN)
    width = c.integer("intermediate_size", default=hidden * c.integer("expand", default=2))
    mixer = mamba1(
        c,
        hidden,
        width,
        c.integer("state_size", default=16),
        c.integer("conv_kernel", default=4),
        _rank(c, "time_step_rank"),
        bias=c.flag("use_bias", False),
        conv_bias=c.flag("use_conv_bias", True),
    )
    return model(c, [(mixer, None, Span())] * depth_of(c), tied=True, max_positions=ENDLESS)


def jamba(c: Fields) -> Parts:
    """Jamba: one layer of eight attends, without positions; every other is routed."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    period = c.integer("attn_layer_period", default=8, limit="layers")
    offset = c.integer("attn_layer_offset", default=4, low=0, limit="layers")
    kinds = kinds_of(c, depth, lambda i: ATTENDING if i % period == offset else STATE)
    mixer = mamba1(
        c,
        hidden,
        hidden * c.integer("mamba_expand", default=2),
        c.integer("mamba_d_state", default=16),
        c.integer("mamba_d_conv", default=4),
        _rank(c, "mamba_dt_rank"),
        bias=c.flag("mamba_proj_bias", False),
        conv_bias=c.flag("mamba_conv_bias", True),
        norms=True,
    )
    every = c.integer("expert_layer_period", default=2, limit="layers")
    first = c.integer("expert_layer_offset", default=1, low=0, limit="layers")
    plain = dense(c)
    # With one expert a layer is dense: Jamba-Reasoning and other small ones.
    if c.integer("num_experts", "num_local_experts", default=16, limit="experts") > 1:
        moe = routed(c, "num_experts", "intermediate_size", topk=2, count=16)
        each: Sequence[FeedForward | Experts] = [moe if i % every == first else plain for i in range(depth)]
    else:
        c.get("num_experts_per_tok")
        each = [plain] * depth
    attending = attention(c, 8, rotary=0.0)
    layers = layers_of([kind == ATTENDING for kind in kinds], attending, mixer, each)
    return model(c, layers, max_positions=262144)


# -- Mamba 2 ----------------------------------------------------------------------------------------------------------


def mamba2(
    hidden: int,
    heads: int,
    head_dim: int,
    groups: int,
    state: int,
    taps: int = 4,
    chunk: int = 256,
    bias: bool = False,
    conv_bias: bool = True,
    normed: bool = True,
    dtype: str = "fp32",
    out_bias: bool | None = None,
) -> Recurrent:
    """A Mamba-2 mixer: one projection to gate, values, B, C and steps; `out_bias` where it does not follow `bias`."""
    width = heads * head_dim
    made = 2 * width + 2 * groups * state + heads
    return Recurrent(
        "Mamba-2",
        heads=heads,
        groups=groups,
        key_dim=state,
        value_dim=head_dim,
        inputs=(Projection("in_proj", hidden, made, f"heads {2 * width + heads}+{2 * state}x{groups}", bias),),
        output=Projection("out_proj", width, hidden, "row", bias if out_bias is None else out_bias),
        convolution=Convolution(width, taps, conv_bias, shared=2 * state, groups=groups),
        chunk=chunk,
        normed=normed,
        vectors=3 * heads + normed * width,
        state_dtype=dtype,
    )


def mamba2_alone(c: Fields) -> Parts:
    """Mamba-2, Mamba-Codestral."""
    hidden, heads = c.integer(*HIDDEN), c.integer("num_heads", default=128, limit="heads")
    dim = c.integer("head_dim", default=64)
    c.get("time_step_rank", "norm_before_gate", "rms_norm")
    width = hidden * c.integer("expand", default=2)
    if heads * dim != c.integer("intermediate_size", default=width):
        c.fail("head_dim", f"found {dim}, expected expand x hidden_size / num_heads = {width / heads:g}")
    mixer = mamba2(
        hidden,
        heads,
        dim,
        c.integer("n_groups", default=8, limit="heads"),
        c.integer("state_size", default=128),
        c.integer("conv_kernel", default=4),
        c.integer("chunk_size", default=256),
        bias=c.flag("use_bias", False),
        conv_bias=c.flag("use_conv_bias", True),
    )
    return model(c, [(mixer, None, Span())] * depth_of(c), max_positions=ENDLESS)


def _mamba2_of(c: Fields, hidden: int, width: int, normed: bool = True, out_bias: bool | None = None) -> Recurrent:
    """A Mamba-2 mixer by the fields that Bamba, Granite 4 and Falcon-H1 have for it."""
    heads = c.integer("mamba_n_heads", default=128, limit="heads")
    c.divides("mamba_n_heads", heads, "the width of the state-space layers", width)
    dim = width // heads if c.get("mamba_d_head") == "auto" else c.integer("mamba_d_head", default=width // heads)
    if dim * heads != width:
        c.fail("mamba_d_head", f"found {dim}, expected the width of the state-space layers / heads = {width // heads}")
    return mamba2(
        hidden,
        heads,
        dim,
        c.integer("mamba_n_groups", default=1, limit="heads"),
        c.integer("mamba_d_state", default=256),
        c.integer("mamba_d_conv", default=4),
        c.integer("mamba_chunk_size", default=256),
        bias=c.flag("mamba_proj_bias", False),
        conv_bias=c.flag("mamba_conv_bias", True),
        normed=normed,
        out_bias=out_bias,
    )


def bamba(c: Fields) -> Parts:
    """Bamba: Mamba-2, with attention in the layers that ``attn_layer_indices`` lists, half a head rotated."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    listed = c.integers("attn_layer_indices", depth - 1) or []
    kinds = kinds_of(c, depth, lambda i: ATTENDING if i in listed else STATE)
    mixer = _mamba2_of(c, hidden, hidden * c.integer("mamba_expand", default=2))
    attending = attention(c, 8, rotary=0.5, **biases(c))
    block = dense(c, c.flag("mlp_bias", False))
    layers = layers_of([kind == ATTENDING for kind in kinds], attending, mixer, [block] * depth)
    return model(c, layers, max_positions=262144)


def granite_hybrid(c: Fields) -> Parts:
    """Granite 4: Mamba-2 between attention that is not rotated, routed experts and one that every token visits."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    kinds = kinds_of(c, depth, lambda i: STATE)
    mixer = _mamba2_of(c, hidden, hidden * c.integer("mamba_expand", default=2))
    attending = attention(c, rotary=1.0 if c.text("position_embedding_type") == "rope" else 0.0, **biases(c))
    block: FeedForward | Experts = FeedForward(c.integer("shared_intermediate_size", default=1024))
    if c.integer("num_local_experts", "num_experts", default=8, low=0, limit="experts"):
        block = routed(c, "num_local_experts", "intermediate_size", topk=2, count=8, shared=block)
    else:
        c.get("intermediate_size", "num_experts_per_tok")
    layers = layers_of([kind == ATTENDING for kind in kinds], attending, mixer, [block] * depth)
    return model(c, layers, max_positions=2048)


def falcon_h1(c: Fields) -> Parts:
    """Falcon-H1: every layer attends and has a Mamba-2 mixer side by side."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    null = c.has("mamba_d_ssm") and c.get("mamba_d_ssm") is None
    expanded = hidden * c.integer("mamba_expand", default=2)
    width = expanded if null else c.integer("mamba_d_ssm", default=1024)
    normed = c.flag("mamba_rms_norm", False)
    state = _mamba2_of(c, hidden, width, normed, c.flag("projectors_bias", False))
    c.get("mamba_norm_before_gate", "layers_block_type", "layer_types", "mamba_use_mlp", "attn_layer_indices")
    both = SideBySide((attention(c, 8, **biases(c)), state))
    block = dense(c, c.flag("mlp_bias", False))
    return model(c, [(both, block, Span())] * depth, max_positions=8192)


# -- A shared block before some layers: Zamba ------------------------------------------------------------------------


def _shared_attention(c: Fields, hidden: int, rotated: bool) -> Attention:
    """Attention over the hidden state and the embedding, as wide as both."""
    width = c.integer("attention_hidden_size", default=2 * hidden)
    heads = c.integer("num_attention_heads", default=32, limit="heads")
    kv_heads = c.integer("num_key_value_heads", default=heads, limit="heads")
    c.divides("num_key_value_heads", kv_heads, "num_attention_heads", heads)
    if width != 2 * hidden:
        c.fail("attention_hidden_size", f"found {width}, expected twice hidden_size = {2 * hidden}")
    dim = c.integer("attention_head_dim", "head_dim", default=width // heads)
    return Attention(heads, kv_heads, dim, dim if rotated else 0)


def _zamba(c: Fields, kinds: Sequence[str], shared: SharedBlock, own: Mixer) -> Parts:
    both = SideBySide((shared, own))
    layers: list[Layer] = [(both if kind == "hybrid" else own, None, Span()) for kind in kinds]
    return model(c, layers, tied=True, max_positions=4096)


def zamba(c: Fields) -> Parts:
    """Zamba: Mamba, and one block of attention and feed-forward that every sixth layer runs before its own mixer."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    period = c.integer("attn_layer_period", default=6, limit="layers")
    offset = c.integer("attn_layer_offset", default=4, low=0, limit="layers")
    kinds = kinds_of(c, depth, lambda i: "hybrid" if i == 2 or (i > 2 and (i - 3) % period == offset) else STATE)
    own = mamba1(
        c,
        hidden,
        hidden * c.integer("mamba_expand", default=2),
        c.integer("mamba_d_state", default=16),
        c.integer("mamba_d_conv", default=4),
        _rank(c, "mamba_dt_rank"),
        groups=c.integer("n_mamba_heads", default=2, limit="heads"),
        bias=c.flag("mamba_proj_bias", False),
        conv_bias=c.flag("mamba_conv_bias", True),
    )
    return _zamba(c, kinds, SharedBlock(_shared_attention(c, hidden, False), dense(c)), own)


def zamba2(c: Fields) -> Parts:
    """Zamba 2: Mamba-2, blocks that layers share in turn, low-rank adapters of each layer's own."""
    depth, hidden = depth_of(c), c.integer(*HIDDEN)
    listed = c.integers("hybrid_layer_ids", depth - 1)
    if listed is None:
        # The class's own list, of 54 layers.
        listed = [*range(6, 43, 6), 47, 51]
    kinds = kinds_of(c, depth, lambda i: "hybrid" if i in listed else STATE)
    heads = c.integer("n_mamba_heads", default=8, limit="heads")
    width = hidden * c.integer("mamba_expand", default=2)
    c.divides("n_mamba_heads", heads, "mamba_expand x hidden_size", width)
    bias = c.flag("add_bias_linear", False)
    own = mamba2(
        hidden,
        heads,
        c.integer("mamba_headdim", default=width // heads),
        c.integer("mamba_ngroups", default=1, limit="heads"),
        c.integer("mamba_d_state", default=64),
        c.integer("mamba_d_conv", default=4),
        c.integer("chunk_size", default=256),
        bias=bias,
    )
    inter = c.integer("intermediate_size", "ffn_hidden_size", default=4 * hidden)
    rank = c.integer("adapter_rank", "lora_rank", default=128)
    attends = _shared_attention(c, hidden, c.flag("use_mem_rope", False))
    adapted = c.flag("use_shared_attention_adapter", False)
    block = SharedBlock(
        attends,
        FeedForward(inter, bias=bias),
        c.integer("num_mem_blocks", default=1, limit="layers"),
        qkv_rank=rank if adapted else 0,
        up_rank=rank,
    )
    c.get(
        "use_conv_bias",
        "use_mem_eff_path",
        "kv_channels",
        "num_query_groups",
        "use_shared_mlp_adapter",
        "use_shared_block_adapter",
    )
    return _zamba(c, kinds, block, own)
