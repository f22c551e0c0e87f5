"""Google's Gemma: wide heads, norms on both sides of a block, windows in most layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from roofline.base.errors import shown
from roofline.models.attention import Attention
from roofline.models.besides import Beside, Few, Linear, Table
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import LIMITS, Fields
from roofline.models.mixers import Span
from roofline.models.readers.parts import (
    Layer,
    Parts,
    attention,
    biases,
    dense,
    depth_of,
    every,
    layer_types,
    model,
    qk_norm,
    routed,
    spans,
    stack,
    uniform,
    window,
)


def gemma(c: Fields) -> Parts:
    """Gemma 1."""
    return uniform(c, attention(c, head_dim=256, **biases(c)), dense(c), tied=True, max_positions=8192)


def gemma2(c: Fields) -> Parts:
    """Gemma 2: every other layer is local, the first one included."""
    seen = spans(c, depth_of(c), window(c, 4096), lambda i: i % 2 == 0)
    made = attention(c, 4, 256, **biases(c))
    return stack(c, made, dense(c), seen, tied=True, norms_per_layer=4, max_positions=8192)


def vaultgemma(c: Fields) -> Parts:
    """VaultGemma: Gemma 2 without the norms behind the blocks."""
    return gemma2(c) | {"norms_per_layer": 2}


def gemma3(c: Fields) -> Parts:
    """Gemma 3. The published 4B file leaves out heads and vocabulary, which are then those of the class."""
    made = attention(c, 4, 256, heads=8, norm="head", **biases(c))
    step = c.integer("sliding_window_pattern", "_sliding_window_pattern", default=6, limit="layers")
    seen = spans(c, depth_of(c), window(c, 4096), every(step))
    return stack(c, made, dense(c), seen, tied=True, norms_per_layer=4, vocab=262208, max_positions=131072)


def gemma3n(c: Fields) -> Parts:
    """Gemma 3n: four streams (AltUp), a low-rank path beside attention (LAuReL), an embedding of its own each layer."""
    depth, hidden = depth_of(c), c.integer("hidden_size", default=2048)
    streams = c.integer("altup_num_inputs", default=4, limit="heads")
    rank = c.integer("laurel_rank", default=64)
    c.get("altup_active_idx", "altup_coef_clip", "altup_correct_scale", "activation_sparsity_pattern")
    altup = 2 * hidden + streams**2 + streams**3
    besides: list[Beside] = [
        Few("altup", altup, depth),
        Linear("altup_router", streams, hidden, depth),
        Linear("laurel_left", rank, hidden, depth),
        Linear("laurel_right", hidden, rank, depth),
        Few("laurel_norm", hidden, depth),
        Linear("altup_projection", hidden, hidden, streams - 1, scope="model"),
        Linear("altup_unembed_projection", hidden, hidden, streams - 1, scope="model"),
    ]
    besides += _own_embeddings(c, depth, hidden, 256)
    base = attention(c, 2, 256, norm="head", **biases(c))
    kinds = layer_types(c, depth, ("sliding_attention", "full_attention"))
    local = [kind == "sliding_attention" for kind in kinds] if kinds else [(i + 1) % 5 != 0 for i in range(depth)]
    seen = window(c, 512)
    sharing = c.integer("num_kv_shared_layers", default=15, low=0, limit="layers")
    layers: list[Layer] = []
    for i, inter in enumerate(_widths(c, depth)):
        made = _borrowing(base) if i >= depth - sharing else base
        layers.append((made, FeedForward(inter), Span(seen if local[i] else None)))
    return model(c, layers, tied=True, norms_per_layer=4, vocab=262400, max_positions=32768, besides=tuple(besides))


def gemma4(c: Fields) -> Parts:
    """Gemma 4: wider heads where a layer sees all, whose values may be its keys; experts beside a dense block."""
    return _gemma4(c, 256)


def gemma4_unified(c: Fields) -> Parts:
    """Gemma 4 without embeddings of the layers' own, and without experts."""
    return _gemma4(c, 0)


def _gemma4(c: Fields, own_width: int) -> Parts:
    depth, hidden = depth_of(c), c.integer("hidden_size")
    local = _local(c, depth)
    bases = _by_layer(c, local, attention(c, 4, 256, norm="head", **biases(c)))
    sharing = c.integer("num_kv_shared_layers", default=0, low=0, limit="layers")
    shares = [sharing > 0 and i >= depth - sharing for i in range(depth)]
    inter, double = c.integer("intermediate_size"), c.flag("use_double_wide_mlp", False)
    besides: list[Beside] = [Few("layer_scalar", 1, depth)]
    moe: Experts | None = None
    if c.flag("enable_moe_block", False):
        c.get("num_experts_per_tok")
        moe = routed(c, "num_experts", "moe_intermediate_size", topk=c.integer("top_k_experts", limit="experts"))
        moe = replace(moe, shared=FeedForward(inter))
        besides.append(Few("router_scales_and_norms", 4 * hidden + moe.experts, depth))
    else:
        c.get("num_experts", "moe_intermediate_size", "top_k_experts")
    besides += _own_embeddings(c, depth, hidden, own_width)
    seen = window(c, 512)
    keys_are_values = c.flag("attention_k_eq_v", False)
    layers: list[Layer] = []
    for i in range(depth):
        made = replace(bases[i], own_values=local[i] or not keys_are_values)
        block = moe or FeedForward(inter * (2 if double and shares[i] else 1))
        layers.append((_borrowing(made) if shares[i] else made, block, Span(seen if local[i] else None)))
    return model(c, layers, tied=True, norms_per_layer=4, max_positions=131072, besides=tuple(besides))


def _local(c: Fields, depth: int) -> list[bool]:
    """Which layers of Gemma 4 are local: all but every sixth, and never the last."""
    kinds = layer_types(c, depth, ("sliding_attention", "full_attention"))
    local = [kind == "sliding_attention" for kind in kinds] if kinds else [(i + 1) % 6 != 0 for i in range(depth)]
    return [*local[:-1], False]


def _by_layer(c: Fields, local: Sequence[bool], base: Attention) -> list[Attention]:
    """The attention of each layer: by ``per_layer_config``, or ``global_head_dim`` and what else older files have."""
    table = c.table("per_layer_config")
    if table is not None:
        c.get("global_head_dim", "num_global_key_value_heads")
        changed = {int(key): table.table(key) for key in table.values if key.isdigit()}
        return [_changed(base, changed.get(i)) for i in range(len(local))]
    dim = c.integer("global_head_dim", default=512)
    kv_heads = c.integer("num_global_key_value_heads", default=0, low=0, limit="heads")
    if not kv_heads or not c.flag("attention_k_eq_v", False):
        kv_heads = base.kv_heads
    c.divides("num_global_key_value_heads", kv_heads, "num_attention_heads", base.heads)
    whole = replace(base, head_dim=dim, kv_heads=kv_heads, rope_dim=dim // 4)
    whole = replace(whole, **qk_norm(whole, "head"))
    return [replace(base, rope_dim=base.head_dim) if here else whole for here in local]


def _changed(base: Attention, changes: Fields | None) -> Attention:
    if changes is None:
        return base
    heads = changes.integer("num_attention_heads", default=base.heads, limit="heads")
    kv_heads = changes.integer("num_key_value_heads", default=base.kv_heads, limit="heads")
    changes.divides("num_key_value_heads", kv_heads, "num_attention_heads", heads)
    made = replace(base, heads=heads, kv_heads=kv_heads, head_dim=changes.integer("head_dim", default=base.head_dim))
    changes.finish("a layer of gemma4")
    return replace(made, **qk_norm(made, "head"))


def _borrowing(made: Attention) -> Attention:
    """The same attention over keys and values of an earlier layer: only queries are projected and normed."""
    return replace(made, own_kv=False, qk_norm_weights=made.head_dim)


def _own_embeddings(c: Fields, depth: int, hidden: int, default: int) -> list[Beside]:
    """An embedding of its own that each layer adds: a table, a projection of the first one, a gate and a norm."""
    width = c.integer("hidden_size_per_layer_input", default=default, low=0)
    rows = c.integer("vocab_size_per_layer_input", default=262144, limit="vocab")
    if not width:
        return []
    return [
        Table("per_layer_embedding", rows, depth * width),
        Linear("per_layer_model_projection", depth * width, hidden, scope="model"),
        Few("per_layer_projection_norm", width, scope="model"),
        Linear("per_layer_gate", width, hidden, depth),
        Linear("per_layer_projection", hidden, width, depth),
        Few("per_layer_norm", hidden, depth),
    ]


def _widths(c: Fields, depth: int) -> list[int]:
    """Feed-forward widths: one for all, or a list."""
    if not isinstance(c.get("intermediate_size"), list):
        return [c.integer("intermediate_size", default=16384)] * depth
    listed = c.integers("intermediate_size", LIMITS["width"]) or []
    if len(listed) != depth or not all(listed):
        c.fail("intermediate_size", f"found {shown(listed)}, expected num_hidden_layers = {depth} widths of at least 1")
    return listed
