"""Decoders with latent attention (MLA): DeepSeek and its kin."""

from __future__ import annotations

from typing import Any

from roofline.base.errors import shown
from roofline.models.attention import LatentAttention
from roofline.models.besides import Few
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Span
from roofline.models.readers.parts import (
    Layer,
    Parts,
    blocks,
    dense,
    depth_of,
    model,
    routed,
    shared,
    sparse_after,
    stack,
)


def latent(
    c: Fields,
    q_rank: int | None = 1536,
    kv_rank: int = 512,
    rope: int = 64,
    nope: int = 128,
    value: int = 128,
    **options: Any,
) -> LatentAttention:
    """Latent attention; the sizes are the family's defaults. A null rank means one matrix for queries (V2-Lite)."""
    null = c.has("q_lora_rank") and c.get("q_lora_rank") is None
    rank = None if null else c.integer("q_lora_rank", default=q_rank or 0, low=0) or None
    c.get("num_key_value_heads", "head_dim", "rope_parameters")
    if c.flag("attention_bias", False):
        c.fail("attention_bias", "found true, expected false: roofline reads no biases of latent attention")
    return LatentAttention(
        c.integer("num_attention_heads", limit="heads"),
        rank,
        c.integer("kv_lora_rank", default=kv_rank),
        rope_dim=c.integer("qk_rope_head_dim", default=rope),
        nope_dim=c.integer("qk_nope_head_dim", default=nope),
        value_dim=c.integer("v_head_dim", default=value),
        **options,
    )


def _mixture(
    c: Fields, made: LatentAttention, first: int, always: int, topk: int | None, positions: int, corrected: bool = True
) -> Parts:
    """Dense layers first, then routed ones with shared experts."""
    depth, inter = depth_of(c), c.integer("moe_intermediate_size")
    block = shared(c, ("n_shared_experts", "num_shared_experts"), inter, always)
    moe = routed(c, "n_routed_experts", inter, topk=topk, shared=block, router_bias=corrected)
    is_routed = sparse_after(c, depth, first)
    c.get("intermediate_size", "mlp_bias")
    return stack(c, made, blocks(is_routed, moe, lambda: dense(c)), max_positions=positions)


def deepseek_v2(c: Fields) -> Parts:
    """DeepSeek-V2: the class's defaults are two shared experts, no dense layer first."""
    return _mixture(c, latent(c), 0, 2, None, 2048, corrected=False)


def deepseek_v3(c: Fields) -> Parts:
    """DeepSeek-V3 and R1, Kimi K2, Moonlight: three dense layers first, one shared expert."""
    return _mixture(c, latent(c), 3, 1, 8, 4096)


def mistral4(c: Fields) -> Parts:
    """Mistral 4: every layer routed, one shared expert."""
    return _mixture(c, latent(c, 1024, 256, nope=64), 0, 1, 4, 1048576, corrected=False)


def glm4_moe_lite(c: Fields) -> Parts:
    """GLM-4.7-Flash."""
    return _mixture(c, latent(c, 768, nope=192, value=256), 1, 1, 4, 202752)


def axk1(c: Fields) -> Parts:
    """A.X K1: a norm behind each routed block too."""
    parts = _mixture(c, latent(c), 1, 1, 8, 32768)
    is_routed = sparse_after(c, depth_of(c), 1)
    return parts | {"besides": (Few("post_mlp_norm", c.integer("hidden_size"), sum(is_routed)),)}


def youtu(c: Fields) -> Parts:
    """Youtu-LLM: latent attention, dense blocks."""
    return stack(c, latent(c), dense(c), tied=True, max_positions=131072)


def minicpm3(c: Fields) -> Parts:
    """MiniCPM 3: latent attention, dense blocks."""
    c.get("mlp_bias", "dim_model_base")
    made = latent(c, 768, 256, rope=32, nope=64, value=64)
    return stack(c, made, dense(c), tied=True, max_positions=32768)


def longcat(c: Fields) -> Parts:
    """LongCat-Flash: a layer is two of attention and a dense block; routed experts beside the second dense block.

    A third of the experts that the router may choose give a token back as it is. What the experts return joins after
    the second dense block (shortcut-connected experts), so that engines hide what they send behind it; that is not
    modelled.
    """
    made = latent(c)
    pairs = c.integer("num_layers", default=0, low=0, limit="layers")
    pairs = pairs or c.integer("num_hidden_layers", limit="layers") // 2
    c.get("num_hidden_layers", "attention_method", "qk_head_dim", "mla_scale_q_lora", "mla_scale_kv_lora")
    plain = FeedForward(c.integer("ffn_hidden_size", "intermediate_size", default=12288))
    zero = c.integer("zero_expert_num", default=256, low=0, limit="experts")
    kind = c.text("zero_expert_type", "identity")
    if kind not in ("identity", "drop"):
        c.fail("zero_expert_type", f"found {shown(kind)}, expected 'identity'")
    inter = c.integer("expert_ffn_hidden_size", "moe_intermediate_size", default=2048)
    if c.flag("router_bias", False):
        c.fail("router_bias", "found true, expected false: roofline reads the correction of scores alone")
    moe = routed(c, "n_routed_experts", inter, topk=12, count=512, shared=plain, router_bias=True, zero=zero)
    layers: list[Layer] = [(made, plain, Span()), (made, moe, Span())] * pairs
    return model(c, layers, max_positions=131072)
