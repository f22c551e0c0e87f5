"""Decoders of the GPT kind: layer norms with biases, two matrices in the feed-forward, positions learned or rotated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from roofline.base.errors import shown
from roofline.models.attention import Attention
from roofline.models.besides import Beside, Few, Linear, Table
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import LIMITS, Fields
from roofline.models.mixers import Span
from roofline.models.readers.parts import Parts, attention, biases, dense, depth_of, model, stack, uniform, window

LAYER_NORM: dict[str, Any] = {"norm": "layer_norm"}


def _multi_head(
    c: Fields, heads: tuple[str, ...], hidden: tuple[str, ...], rotated: bool = True, **options: Any
) -> Attention:
    """As many key/value heads as heads, which the width is divided into."""
    many, width = c.integer(*heads, limit="heads"), c.integer(*hidden)
    c.divides(heads[0], many, hidden[0], width)
    dim = width // many
    return Attention(many, many, dim, rope_dim=dim if rotated else 0, **options)


# -- Learned positions ------------------------------------------------------------------------------------------------


def gpt2(c: Fields) -> Parts:
    """GPT-2."""
    made = _multi_head(c, ("n_head",), ("n_embd",), rotated=False, qkv_bias=True, out_bias=True)
    return _learned(c, made, 1024)


def openai_gpt(c: Fields) -> Parts:
    """The first GPT: norms behind the blocks, none at the end."""
    made = _multi_head(c, ("n_head",), ("n_embd",), rotated=False, qkv_bias=True, out_bias=True)
    return _learned(c, made, 512) | {"final_norm": False}


def gpt_bigcode(c: Fields) -> Parts:
    """SantaCoder and StarCoder: GPT-2 with one key/value head."""
    made = _multi_head(c, ("n_head",), ("n_embd",), rotated=False, qkv_bias=True, out_bias=True)
    many = c.flag("multi_query", True)
    c.get("num_key_value_heads")
    return _learned(c, replace(made, kv_heads=1) if many else made, 1024)


def _learned(c: Fields, made: Attention, positions: int) -> Parts:
    hidden = c.integer("n_embd")
    block = FeedForward(c.integer("n_inner", default=4 * hidden), gated=False, bias=True)
    rows = c.integer("n_positions", default=positions, limit="positions")
    return uniform(
        c,
        made,
        block,
        tied=True,
        max_positions=rows,
        besides=(Table("position_embedding", rows, hidden),),
        **LAYER_NORM,
    )


def gpt_neo(c: Fields) -> Parts:
    """GPT-Neo: every other layer local, no biases in the projections of queries, keys and values."""
    made = _multi_head(c, ("num_heads", "num_attention_heads"), ("hidden_size",), rotated=False, out_bias=True)
    hidden, depth = c.integer("hidden_size"), c.integer("num_layers", "num_hidden_layers", limit="layers")
    rows = c.integer("max_position_embeddings", default=2048, limit="positions")
    local = Span(c.integer("window_size", default=256, limit="positions"))
    c.get("attention_types")
    kinds = c.array("attention_layers") or _expanded(c)
    if len(kinds) != depth:
        c.fail("attention_layers", f"found {len(kinds)} entries, expected num_layers = {depth}")
    for kind in kinds:
        if kind not in ("global", "local"):
            c.fail("attention_layers", f"found {shown(kind)}, expected 'global' or 'local'")
    block = FeedForward(c.integer("intermediate_size", default=4 * hidden), gated=False, bias=True)
    table = Table("position_embedding", rows, hidden)
    layers = [(made, block, local if kind == "local" else Span()) for kind in kinds]
    return model(c, [*layers], tied=True, besides=(table,), **LAYER_NORM)


def _expanded(c: Fields) -> list[Any]:
    """``attention_types`` written out: ``[[["global", "local"], 12]]`` is 24 layers."""
    kinds: list[Any] = []
    for entry in c.array("attention_types") or [[["global", "local"], 12]]:
        match entry:
            case [list(names), int(times)] if 0 < times * len(names) <= LIMITS["layers"]:
                kinds += names * times
            case _:
                c.fail("attention_types", f"found {shown(entry)}, expected a list of names and how often it comes")
    return kinds


def opt(c: Fields) -> Parts:
    """OPT: two more positions than it says; in 350M an embedding narrower than the model."""
    bias = c.flag("enable_bias", True)
    made = _multi_head(c, ("num_attention_heads",), ("hidden_size",), rotated=False, qkv_bias=bias, out_bias=bias)
    hidden, rows = c.integer("hidden_size"), c.integer("max_position_embeddings", default=2048, limit="positions")
    width = c.integer("word_embed_proj_dim", default=hidden)
    block = FeedForward(c.integer("ffn_dim", default=4 * hidden), gated=False, bias=bias)
    ends = c.flag("do_layer_norm_before", True) and not c.flag("_remove_final_layer_norm", False)
    weights = 2 if c.flag("layer_norm_elementwise_affine", True) else 0
    besides: list[Beside] = [Table("position_embedding", rows + 2, hidden)]
    if width != hidden:
        besides += [
            Linear("project_in", hidden, width, scope="model"),
            Linear("project_out", width, hidden, scope="model"),
        ]
    return uniform(
        c,
        made,
        block,
        tied=True,
        besides=tuple(besides),
        embedded=width,
        final_norm=ends,
        norm_weights=weights,
        max_positions=rows,
        **LAYER_NORM,
    )


def xglm(c: Fields) -> Parts:
    """XGLM: sinusoidal positions, which are no parameters."""
    made = _multi_head(
        c, ("attention_heads", "num_attention_heads"), ("d_model",), rotated=False, qkv_bias=True, out_bias=True
    )
    block = FeedForward(c.integer("ffn_dim"), gated=False, bias=True)
    return uniform(c, made, block, tied=True, max_positions=2048, **LAYER_NORM)


def biogpt(c: Fields) -> Parts:
    """BioGPT: two more positions than it says."""
    made = _multi_head(c, ("num_attention_heads",), ("hidden_size",), rotated=False, qkv_bias=True, out_bias=True)
    rows = c.integer("max_position_embeddings", default=1024, limit="positions")
    table = Table("position_embedding", rows + 2, c.integer("hidden_size"))
    block = dense(c, bias=True, gated=False)
    return uniform(c, made, block, tied=True, besides=(table,), max_positions=rows, **LAYER_NORM)


def ctrl(c: Fields) -> Parts:
    """CTRL: sinusoidal positions."""
    made = _multi_head(c, ("n_head",), ("n_embd",), rotated=False, qkv_bias=True, out_bias=True)
    block = FeedForward(c.integer("dff"), gated=False, bias=True)
    return uniform(c, made, block, tied=True, lm_head_bias=True, max_positions=256, **LAYER_NORM)


# -- ALiBi ------------------------------------------------------------------------------------------------------------


def bloom(c: Fields) -> Parts:
    """BLOOM: ALiBi, and a norm behind the embedding."""
    made = _multi_head(
        c, ("n_head", "num_attention_heads"), ("hidden_size", "n_embed"), rotated=False, qkv_bias=True, out_bias=True
    )
    hidden = c.integer("hidden_size", "n_embed")
    block = FeedForward(c.integer("n_inner", default=4 * hidden), gated=False, bias=True)
    c.get("bias_dropout_fusion", "masked_softmax_fusion", "skip_bias_add", "skip_bias_add_qkv", "offset_alibi")
    positions = c.integer("seq_length", default=2048, limit="positions")
    besides = (Few("embedding_norm", 2 * hidden, scope="model"),)
    return uniform(c, made, block, tied=True, besides=besides, max_positions=positions, **LAYER_NORM)


def mpt(c: Fields) -> Parts:
    """MPT: ALiBi where its table of attention says so, no biases by default."""
    hidden, heads = c.integer("d_model", "hidden_size"), c.integer("n_heads", "num_attention_heads", limit="heads")
    c.divides("n_heads", heads, "d_model", hidden)
    dim, bias = hidden // heads, not c.flag("no_bias", True)
    inner = c.table("attn_config")
    kind = inner.text("attn_type", "multihead_attention") if inner else "multihead_attention"
    kv_heads = inner.integer("kv_n_heads", default=heads, limit="heads") if inner else heads
    if inner:
        inner.near_misses("mpt")
    made = Attention(heads, 1 if kind == "multiquery_attention" else kv_heads, dim, 0, bias, bias)
    ratio = c.number("expansion_ratio", default=4, low=1e-3, high=1e3)
    block = FeedForward(round(hidden * ratio), gated=False, bias=bias)
    positions = c.integer("max_seq_len", default=2048, limit="positions")
    c.get("embedding_fraction", "norm_type", "learned_pos_emb")
    # transformers' class has no learned positions and no biases in its norms, whatever the file says.
    options = {"hidden": hidden, "norm_weights": 1, "max_positions": positions}
    return uniform(c, made, block, tied=True, **options, **LAYER_NORM)


def jais(c: Fields) -> Parts:
    """Jais: GPT-2 with ALiBi and a gated block, where its file says so."""
    hidden = c.integer("n_embd")
    made = _multi_head(c, ("n_head",), ("n_embd",), rotated=False, qkv_bias=True, out_bias=True)
    block = FeedForward(
        c.integer("n_inner", default=4 * hidden), gated=c.text("activation_function", "gelu") == "swiglu", bias=True
    )
    rows = c.integer("n_positions", default=1024, limit="positions")
    learned = c.text("position_embedding_type", "learned") != "alibi"
    besides = (Table("position_embedding", rows, hidden),) if learned else ()
    return uniform(c, made, block, tied=True, max_positions=rows, besides=besides, **LAYER_NORM)


# -- Rotary positions -------------------------------------------------------------------------------------------------


def gpt_neox(c: Fields) -> Parts:
    """GPT-NeoX and Pythia: side by side under two norms, a quarter of a head rotated."""
    bias = c.flag("attention_bias", True)
    made = attention(c, rotary=0.25, qkv_bias=bias, out_bias=bias)
    c.flag("use_parallel_residual", True)
    return uniform(c, made, dense(c, bias=True, gated=False), max_positions=2048, **LAYER_NORM)


def gpt_neox_japanese(c: Fields) -> Parts:
    """GPT-NeoX-Japanese: no biases but that of the last layer's output projection."""
    hidden = c.integer("hidden_size")
    made = attention(c)
    block = FeedForward(c.integer("intermediate_multiple_size", default=4) * hidden, gated=False)
    bias = Few("output_bias", hidden, scope="model")
    return uniform(c, made, block, tied=True, besides=(bias,), max_positions=2048, **LAYER_NORM)


def gptj(c: Fields) -> Parts:
    """GPT-J and CodeGen: side by side under one norm."""
    hidden = c.integer("n_embd")
    made = replace(_multi_head(c, ("n_head",), ("n_embd",)), rope_dim=c.integer("rotary_dim", default=64))
    block = FeedForward(c.integer("n_inner", default=4 * hidden), gated=False, bias=True)
    return uniform(c, made, block, norms_per_layer=1, lm_head_bias=True, **LAYER_NORM)


def phi(c: Fields) -> Parts:
    """Phi 1 to 2: side by side under one norm, half a head rotated, biases everywhere."""
    made = attention(c, qkv_bias=True, out_bias=True, rotary=0.5, norm="bias" if c.flag("qk_layernorm", False) else "")
    block = dense(c, bias=True, gated=False)
    return uniform(c, made, block, norms_per_layer=1, lm_head_bias=True, **LAYER_NORM)


def persimmon(c: Fields) -> Parts:
    """Persimmon: squared ReLU, norms of queries and keys with biases, half a head rotated."""
    norm = "bias" if c.flag("qk_layernorm", True) else ""
    made = attention(c, qkv_bias=True, out_bias=True, rotary=0.5, norm=norm)
    return uniform(c, made, dense(c, bias=True, gated=False), max_positions=16384, **LAYER_NORM)


def stablelm(c: Fields) -> Parts:
    """StableLM 2 and 3B: a gated block, a quarter of a head rotated; side by side where the file says so."""
    made = attention(c, rotary=0.25, qkv_bias=c.flag("use_qkv_bias", False))
    if c.flag("qk_layernorm", False):
        made = replace(made, qk_norm=True, qk_norm_weights=(made.heads + made.kv_heads) * made.head_dim)
    norms = 1 if c.flag("use_parallel_residual", False) else 2
    return uniform(c, made, dense(c), norms_per_layer=norms, max_positions=4096, **LAYER_NORM)


def starcoder2(c: Fields) -> Parts:
    """StarCoder 2."""
    bias = c.flag("use_bias", True)
    made = attention(c, 2, qkv_bias=bias, out_bias=bias)
    c.get("mlp_type", "norm_type")
    block = dense(c, bias=bias, gated=False)
    return uniform(c, made, block, window(c), tied=True, max_positions=4096, **LAYER_NORM)


def falcon(c: Fields) -> Parts:
    """Falcon: one key/value head (7B), or several (40B, ``new_decoder_architecture``)."""
    heads, new = c.integer("num_attention_heads", "n_head", limit="heads"), c.flag("new_decoder_architecture", False)
    one = not new and c.flag("multi_query", True)
    kv_heads = c.integer("num_kv_heads", "n_head_kv", default=heads, limit="heads")
    kv_heads = 1 if one else kv_heads if new else heads
    bias, hidden = c.flag("bias", False), c.integer("hidden_size", "n_embed")
    c.divides("num_kv_heads", kv_heads, "num_attention_heads", heads)
    c.divides("num_attention_heads", heads, "hidden_size", hidden)
    dim = hidden // heads
    made = Attention(heads, kv_heads, dim, 0 if c.flag("alibi", False) else dim, bias, bias)
    block = FeedForward(c.integer("ffn_hidden_size", default=4 * hidden), gated=False, bias=bias)
    side_by_side = c.flag("parallel_attn", True)
    norms = 1 if side_by_side and not new else c.integer("num_ln_in_parallel_attn", default=2)
    c.get("num_ln_in_parallel_attn")
    return uniform(c, made, block, norms_per_layer=norms, tied=True, **LAYER_NORM)


def chatglm(c: Fields) -> Parts:
    """ChatGLM2, ChatGLM3 and GLM-4-9B in their own spelling: groups of queries, a gated block."""
    hidden, heads = c.integer("hidden_size"), c.integer("num_attention_heads", limit="heads")
    groups = c.flag("multi_query_attention", False)
    kv_heads = c.integer("multi_query_group_num", default=1, limit="heads") if groups else heads
    c.get("multi_query_group_num")
    c.divides("multi_query_group_num", kv_heads, "num_attention_heads", heads)
    dim = c.integer("kv_channels", default=128)
    bias, qkv_bias = c.flag("add_bias_linear", False), c.flag("add_qkv_bias", False)
    made = Attention(heads, kv_heads, dim, dim // 2, qkv_bias or bias, bias)
    block = FeedForward(c.integer("ffn_hidden_size"), bias=bias)
    if c.flag("apply_residual_connection_post_layernorm", False) or not c.flag("rmsnorm", True):
        c.fail("rmsnorm", "found ChatGLM's first layout, expected that of ChatGLM2 or later")
    ends = c.flag("post_layer_norm", True)
    c.get(
        "original_rope",
        "rope_ratio",
        "bias_dropout_fusion",
        "prefix_projection",
        "pre_seq_len",
        "attention_softmax_in_fp32",
    )
    positions = c.integer("seq_length", default=2048, limit="positions")
    vocab = c.integer("padded_vocab_size", "vocab_size", limit="vocab")
    return stack(c, made, block, final_norm=ends, vocab=vocab, hidden=hidden, max_positions=positions)


def moshi(c: Fields) -> Parts:
    """Moshi's language model: ``ffn_dim`` counts gate and up projection together, one row more in its embedding."""
    inter, hidden = c.integer("ffn_dim"), c.integer("hidden_size")
    c.divides("factor 2 of gate and up projection", 2, "ffn_dim", inter)
    c.get("audio_vocab_size", "num_codebooks", "depth_decoder_config", "audio_encoder_config")
    extra: Beside = Few("padding_embedding", hidden, scope="model")
    made = attention(c, **biases(c))
    return uniform(c, made, FeedForward(inter // 2), window(c, 3000), max_positions=3000, besides=(extra,))


def modernbert_decoder(c: Fields) -> Parts:
    """ModernBERT as a decoder: every third layer sees everything, a transformed head."""
    depth, hidden = depth_of(c), c.integer("hidden_size")
    bias, mlp_bias, norm = c.flag("attention_bias", False), c.flag("mlp_bias", False), c.flag("norm_bias", False)
    made = attention(c, qkv_bias=bias, out_bias=bias)
    local = c.integer("local_attention", default=128, limit="positions") // 2
    step = c.integer("global_attn_every_n_layers", default=3, limit="layers")
    kinds = c.array("layer_types")
    is_local = [kind == "sliding_attention" for kind in kinds] if kinds else [i % step != 0 for i in range(depth)]
    c.get("sliding_window", "decoder_bias", "cls_token_id")
    each = 2 if norm else 1
    besides = (
        # One norm behind the embedding instead of the first layer's, one in the head.
        Few("head_norm", each * hidden, scope="model"),
        Few("head_transform", hidden * hidden + c.flag("classifier_bias", False) * hidden, scope="model"),
    )
    layers = [(made, dense(c, mlp_bias), Span(local if here else None)) for here in is_local]
    head = c.flag("decoder_bias", True)
    return model(
        c, [*layers], tied=True, norm_weights=each, lm_head_bias=head, besides=besides, max_positions=8192, **LAYER_NORM
    )
