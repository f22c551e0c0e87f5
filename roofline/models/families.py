"""The families of language models that are read, a function each; all of them are in :data:`FAMILIES`.

A function takes the fields of a ``config.json`` and returns its layers and what else makes the model. What a family's
class in transformers assumes for an absent key is assumed here too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from roofline.base.errors import shown
from roofline.models.attention import Attention, LatentAttention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.fields import LIMITS, Fields
from roofline.models.mixers import Mixer, Span

#: One layer: what it mixes tokens with, what it feeds forward with (either may be absent), how far it sees.
Layer = tuple[Mixer | None, FeedForward | Experts | None, Span]


#: The arguments of a :class:`~roofline.models.llm.LanguageModel` that a family decides.
Parts: TypeAlias = dict[str, Any]


# -- Parts that families share ----------------------------------------------------------------------------------------


def _attention(
    c: Fields, kv_heads: int | None = None, head_dim: int | None = None, heads: int | None = None, **options: Any
) -> Attention:
    """Grouped-query attention; `kv_heads`, `head_dim` and `heads` are the family's defaults, if it has its own."""
    hidden = c.integer("hidden_size")
    heads = c.integer("num_attention_heads", default=heads, limit="heads")
    kv_heads = c.integer("num_key_value_heads", default=kv_heads or heads, limit="heads")
    c.divides("num_key_value_heads", kv_heads, "num_attention_heads", heads)
    dim = c.integer("head_dim", default=head_dim or 0)
    if not dim:
        c.divides("num_attention_heads", heads, "hidden_size (there is no head_dim)", hidden)
        dim = hidden // heads
    rotated = c.table("rope_parameters") or c
    factor = rotated.number("partial_rotary_factor", default=options.pop("rotary", 1.0), low=0.0, high=1.0)
    return Attention(heads, kv_heads, dim, rope_dim=round(dim * factor), **options)


def _per_head_norm(dim: int) -> Parts:
    """Norms of queries and keys, each with a weight for every element of a head."""
    return {"qk_norm": True, "qk_norm_weights": 2 * dim}


def _spans(
    c: Fields,
    depth: int,
    window: int | None,
    is_local: Callable[[int], bool],
    chunked: bool = False,
) -> list[Span]:
    """How far each layer sees: by `layer_types` where given, else local where `is_local` says so."""
    local = Span() if window is None else Span(window, chunked)
    kinds = {"full_attention": Span(), "sliding_attention": local, "chunked_attention": local}
    types = c.array("layer_types")
    if types is None:
        return [local if is_local(i) else Span() for i in range(depth)]
    if len(types) != depth:
        c.fail("layer_types", f"found {len(types)} entries, expected num_hidden_layers = {depth}")
    for kind in types:
        if not isinstance(kind, str) or kind not in kinds:
            c.fail("layer_types", f"found {shown(kind)}, expected one of {', '.join(kinds)}")
    return [kinds[kind] for kind in types]


def _window(c: Fields, default: int | None = None) -> int | None:
    """The sliding window; null means none, absent means the family's default."""
    if c.has("sliding_window") and c.get("sliding_window") is None:
        return None
    return c.integer("sliding_window", default=default or 0, limit="positions") or None


def _depth(c: Fields) -> int:
    return c.integer("num_hidden_layers", "n_layer", limit="layers")


def _dense(c: Fields, bias: bool = False) -> FeedForward:
    return FeedForward(c.integer("intermediate_size"), bias=bias)


def _routed(c: Fields, experts: str, inter: str, topk: int | None = None, **options: Any) -> Experts:
    """A routed block; `experts` and `inter` are the keys, `topk` the family's default."""
    count = c.integer(experts, limit="experts")
    chosen = c.integer("num_experts_per_tok", "experts_per_token", default=topk, limit="experts")
    if chosen > count:
        c.fail("num_experts_per_tok", f"found {chosen}, expected at most {experts} = {count}")
    return Experts(count, chosen, c.integer(inter), **options)


def _model(c: Fields, layers: list[Layer], tied: bool = False, **options: Any) -> Parts:
    return {"layers": layers, "tied": c.flag("tie_word_embeddings", tied), **options}


def _uniform(
    c: Fields, attention: Attention, feed_forward: FeedForward | Experts, window: int | None = None, **options: Any
) -> Parts:
    """A model whose layers differ in nothing but perhaps their window."""
    spans = _spans(c, _depth(c), window, lambda i: True)
    return _model(c, [(attention, feed_forward, span) for span in spans], **options)


# -- Families ---------------------------------------------------------------------------------------------------------


def _llama(c: Fields) -> Parts:
    bias = c.flag("attention_bias", False)
    return _uniform(c, _attention(c, qkv_bias=bias, out_bias=bias), _dense(c, c.flag("mlp_bias", False)))


def _mistral(c: Fields) -> Parts:
    # The class assumes 8 key/value heads and, where the key is absent rather than null, a window of 4096.
    return _uniform(c, _attention(c, 8), _dense(c), _window(c, 4096), max_positions=131072)


def _mixtral(c: Fields) -> Parts:
    moe = _routed(c, "num_local_experts", "intermediate_size", topk=2)
    return _uniform(c, _attention(c, 8), moe, _window(c), max_positions=131072)


def _qwen_spans(c: Fields) -> list[Span]:
    # Published files carry a sliding_window that use_sliding_window turns off; on, it starts at max_window_layers.
    window = _window(c, 4096) if c.flag("use_sliding_window", False) else None
    first = c.integer("max_window_layers", default=28, low=0, limit="layers")
    return _spans(c, _depth(c), window, lambda i: i >= first)


def _qwen(c: Fields, attention: Attention, sparse: Experts | None = None) -> Parts:
    if sparse is None:
        layers: list[Layer] = [(attention, _dense(c), span) for span in _qwen_spans(c)]
    else:
        step = c.integer("decoder_sparse_step", default=1, limit="layers")
        dense = c.integers("mlp_only_layers", LIMITS["layers"]) or []
        layers = [
            (attention, sparse if i not in dense and (i + 1) % step == 0 else _dense(c), span)
            for i, span in enumerate(_qwen_spans(c))
        ]
    return _model(c, layers, max_positions=32768)


def _qwen2(c: Fields) -> Parts:
    return _qwen(c, _attention(c, qkv_bias=True))


def _qwen2_moe(c: Fields) -> Parts:
    shared = FeedForward(c.integer("shared_expert_intermediate_size", default=5632))
    moe = _routed(c, "num_experts", "moe_intermediate_size", topk=4, shared=shared, shared_gate=True)
    return _qwen(c, _attention(c, qkv_bias=c.flag("qkv_bias", True)), moe)


def _qwen3_attention(c: Fields) -> Attention:
    bias, dim = c.flag("attention_bias", False), c.integer("head_dim", default=128)
    return _attention(c, head_dim=128, qkv_bias=bias, out_bias=bias, **_per_head_norm(dim))


def _qwen3(c: Fields) -> Parts:
    return _qwen(c, _qwen3_attention(c))


def _qwen3_moe(c: Fields) -> Parts:
    return _qwen(c, _qwen3_attention(c), _routed(c, "num_experts", "moe_intermediate_size", topk=8))


def _gemma(c: Fields) -> Parts:
    bias = c.flag("attention_bias", False)
    attention = _attention(c, head_dim=256, qkv_bias=bias, out_bias=bias)
    return _uniform(c, attention, _dense(c), tied=True, max_positions=8192)


def _gemma2(c: Fields) -> Parts:
    bias = c.flag("attention_bias", False)
    attention, feed_forward = _attention(c, 4, 256, qkv_bias=bias, out_bias=bias), _dense(c)
    # Every other layer is local, the first one included.
    spans = _spans(c, _depth(c), _window(c, 4096), lambda i: i % 2 == 0)
    layers: list[Layer] = [(attention, feed_forward, span) for span in spans]
    return _model(c, layers, tied=True, norms_per_layer=4, max_positions=8192)


def _gemma3(c: Fields) -> Parts:
    # The published 4B file leaves out heads and vocabulary, which are then those of the class.
    dim = c.integer("head_dim", default=256)
    attention, feed_forward = _attention(c, 4, 256, heads=8, **_per_head_norm(dim)), _dense(c)
    pattern = c.integer("sliding_window_pattern", "_sliding_window_pattern", default=6, limit="layers")
    spans = _spans(c, _depth(c), _window(c, 4096), lambda i: (i + 1) % pattern != 0)
    layers: list[Layer] = [(attention, feed_forward, span) for span in spans]
    return _model(c, layers, tied=True, norms_per_layer=4, vocab=262208, max_positions=131072)


def _phi(c: Fields) -> Parts:
    attention = _attention(c, qkv_bias=True, out_bias=True, rotary=0.5)
    feed_forward = FeedForward(c.integer("intermediate_size"), gated=False, bias=True)
    return _uniform(c, attention, feed_forward, norm="layer_norm", norms_per_layer=1, lm_head_bias=True)


def _phi3(c: Fields) -> Parts:
    return _uniform(c, _attention(c), _dense(c), _window(c), max_positions=4096)


def _falcon(c: Fields) -> Parts:
    heads, new = c.integer("num_attention_heads", "n_head", limit="heads"), c.flag("new_decoder_architecture", False)
    one = not new and c.flag("multi_query", True)
    kv_heads = 1 if one else c.integer("num_kv_heads", "n_head_kv", default=heads, limit="heads")
    bias, hidden = c.flag("bias", False), c.integer("hidden_size", "n_embed")
    c.divides("num_kv_heads", kv_heads, "num_attention_heads", heads)
    c.divides("num_attention_heads", heads, "hidden_size", hidden)
    dim = hidden // heads
    attention = Attention(heads, kv_heads, dim, 0 if c.flag("alibi", False) else dim, bias, bias)
    feed_forward = FeedForward(c.integer("ffn_hidden_size", default=4 * hidden), gated=False, bias=bias)
    side_by_side = c.flag("parallel_attn", True)
    norms = 1 if side_by_side and not new else c.integer("num_ln_in_parallel_attn", default=2)
    return _uniform(c, attention, feed_forward, norm="layer_norm", norms_per_layer=norms, tied=True)


def _gptj(c: Fields) -> Parts:
    hidden, heads = c.integer("n_embd"), c.integer("n_head", limit="heads")
    c.divides("n_head", heads, "n_embd", hidden)
    dim = hidden // heads
    attention = Attention(heads, heads, dim, c.integer("rotary_dim", default=64))
    feed_forward = FeedForward(c.integer("n_inner", default=4 * hidden), gated=False, bias=True)
    return _uniform(c, attention, feed_forward, norm="layer_norm", norms_per_layer=1, lm_head_bias=True)


def _deepseek(c: Fields, router_bias: bool = False) -> Parts:
    # A null rank means that queries are projected in one matrix (V2-Lite).
    rank = None if c.has("q_lora_rank") and c.get("q_lora_rank") is None else c.integer("q_lora_rank", default=1536)
    attention = LatentAttention(
        c.integer("num_attention_heads", limit="heads"),
        rank,
        c.integer("kv_lora_rank", default=512),
        rope_dim=c.integer("qk_rope_head_dim", default=64),
        nope_dim=c.integer("qk_nope_head_dim", default=128),
        value_dim=c.integer("v_head_dim", default=128),
    )
    shared = c.integer("n_shared_experts", default=0, low=0, limit="experts")
    block = FeedForward(shared * c.integer("moe_intermediate_size")) if shared else None
    moe = _routed(c, "n_routed_experts", "moe_intermediate_size", shared=block, router_bias=router_bias)
    depth, dense = _depth(c), c.integer("first_k_dense_replace", default=0, low=0, limit="layers")
    if dense > depth:
        c.fail("first_k_dense_replace", f"found {dense}, expected at most num_hidden_layers = {depth}")
    step = c.integer("moe_layer_freq", default=1, limit="layers")
    plain = _dense(c)
    blocks = [moe if i >= dense and i % step == 0 else plain for i in range(depth)]
    return _model(c, [(attention, block, Span()) for block in blocks])


def _deepseek_v3(c: Fields) -> Parts:
    return _deepseek(c, router_bias=True)


def _gpt_oss(c: Fields) -> Parts:
    bias = c.flag("attention_bias", True)
    attention = _attention(c, 8, 64, qkv_bias=bias, out_bias=bias, sinks=True)
    moe = _routed(c, "num_local_experts", "intermediate_size", topk=4, bias=True, router_bias=True)
    spans = _spans(c, _depth(c), _window(c, 128), lambda i: i % 2 == 0)
    return _model(c, [(attention, moe, span) for span in spans], max_positions=131072)


def _llama4(c: Fields) -> Parts:
    depth, inter = _depth(c), c.integer("intermediate_size")
    # The norm of queries and keys has no weights, and is used where they are rotated.
    attention = _attention(c, 8, 128, qk_norm=c.flag("use_qk_norm", True))
    moe = _routed(c, "num_local_experts", "intermediate_size", topk=1, shared=FeedForward(inter))
    dense = FeedForward(c.integer("intermediate_size_mlp", default=16384))
    step = c.integer("interleave_moe_layer_step", default=1, limit="layers")
    routed = c.integers("moe_layers", LIMITS["layers"])
    if routed is None:
        routed = list(range(step - 1, depth, step))
    every = c.integer("no_rope_layer_interval", default=4, limit="layers")
    rotated = c.integers("no_rope_layers", 1) or [int((i + 1) % every != 0) for i in range(depth)]
    if len(rotated) < depth:
        c.fail("no_rope_layers", f"found {len(rotated)} entries, expected num_hidden_layers = {depth}")
    chunk = (
        None
        if c.has("attention_chunk_size") and c.get("attention_chunk_size") is None
        else c.integer("attention_chunk_size", default=8192, limit="positions")
    )
    # Rotated layers see their own chunk; the others everything.
    spans = _spans(c, depth, chunk, lambda i: bool(rotated[i]), chunked=True)
    layers: list[Layer] = [
        (attention, moe if i in routed else dense, Span(span.window, span.chunked, rope=bool(rotated[i])))
        for i, span in enumerate(spans)
    ]
    return _model(c, layers, max_positions=131072)


def _minimax_m2(c: Fields) -> Parts:
    attention = replace(_attention(c, 8, 128), rope_dim=c.integer("rotary_dim", default=64))
    if c.flag("use_qk_norm", True):
        # Over all heads together, not head by head.
        weights = (attention.heads + attention.kv_heads) * attention.head_dim
        attention = replace(attention, qk_norm=True, qk_norm_weights=weights)
    return _uniform(c, attention, _routed(c, "num_local_experts", "intermediate_size", topk=8, router_bias=True))


#: The readers, by `model_type`.
FAMILIES: dict[str, Callable[[Fields], Parts]] = {
    "llama": _llama, "mistral": _mistral, "mixtral": _mixtral, "qwen2": _qwen2, "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3, "qwen3_moe": _qwen3_moe, "gemma": _gemma, "gemma2": _gemma2, "gemma3": _gemma3, "phi": _phi,
    "phi3": _phi3, "falcon": _falcon, "gptj": _gptj, "deepseek_v2": _deepseek, "deepseek_v3": _deepseek_v3,
    "gpt_oss": _gpt_oss, "llama4": _llama4, "minimax_m2": _minimax_m2,
}  # fmt: skip

#: Other model types that are read as one of the families: text parts, and derivatives of the same layout.
ALSO = {
    "gemma3_text": "gemma3", "llama4_text": "llama4", "mistral3": "mistral", "kimi_k2": "deepseek_v3",
    "qwen2_vl": "qwen2", "qwen2_vl_text": "qwen2", "qwen2_5_vl": "qwen2", "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3", "qwen3_vl_moe_text": "qwen3_moe", "RefinedWeb": "falcon", "RefinedWebModel": "falcon",
}  # fmt: skip

#: Families by the stem of their class in `architectures`.
ARCHITECTURES = {
    "Llama": "llama", "Mistral": "mistral", "Mixtral": "mixtral", "Qwen2": "qwen2", "Qwen2Moe": "qwen2_moe",
    "Qwen3": "qwen3", "Qwen3Moe": "qwen3_moe", "Gemma": "gemma", "Gemma2": "gemma2", "Gemma3": "gemma3", "Phi": "phi",
    "Phi3": "phi3", "Falcon": "falcon", "RW": "falcon", "GPTJ": "gptj", "DeepseekV2": "deepseek_v2",
    "DeepseekV3": "deepseek_v3", "GptOss": "gpt_oss", "Llama4": "llama4", "MiniMaxM2": "minimax_m2",
    "Qwen2VL": "qwen2", "Qwen2_5_VL": "qwen2",
}  # fmt: skip

#: Families that are known and not read, and why.
OUT_OF_REACH = {
    "qwen3_next": "mixes linear attention into its layers; roofline has no operator for it yet",
    "deepseek_v32": "attends sparsely through an indexer; roofline has no operator for it yet",
    "mamba": "is a state-space model; roofline reads transformers",
    "mamba2": "is a state-space model; roofline reads transformers",
    "jamba": "mixes state-space layers into its stack; roofline reads transformers",
    "t5": "has an encoder; roofline reads decoder-only models",
    "bert": "is an encoder; roofline reads decoder-only models",
}
