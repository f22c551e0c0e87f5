"""Encoders for embedding and reranking: every token sees every other, and one pass answers.

BERT and its kin have their norms behind the halves and one behind the embeddings, which stands here where decoders have
one at the end: as many, of the same width. What a class puts on top is under ``roles``: the pooler of a plain model,
the transform of a masked one. Counted as in the classes of transformers 5.24.
"""

from __future__ import annotations

from typing import Any

from roofline.models.attention import Attention
from roofline.models.besides import Beside, Few, Linear, Table
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Span
from roofline.models.readers.parts import Layer, Parts, attention, biases, dense, depth_of, model, uniform

_BERT: dict[str, Any] = {"norm": "layer_norm", "causal": False}


def bert(c: Fields) -> Parts:
    """BERT (Devlin et al. 2018): learned positions and segments, biases everywhere."""
    if not c.flag("use_task_id", False):
        c.get("task_type_vocab_size")
    c.get("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type")
    return _bert(c, c.integer("max_position_embeddings", default=512, limit="positions"))


def roberta(c: Fields) -> Parts:
    """RoBERTa and XLM-R: BERT whose positions are counted from behind the padding token; two rows are never used."""
    rows = c.integer("max_position_embeddings", default=512, limit="positions")
    transformed = _transform(c.integer("hidden_size"), "head_transform")
    return _bert(c, rows, rows - 2 if rows > 512 else rows, {"classifier": {"besides": transformed[:1]}})


def mpnet(c: Fields) -> Parts:
    """MPNet: RoBERTa with relative positions, shared by all layers, and without segments."""
    rows = c.integer("max_position_embeddings", default=512, limit="positions")
    buckets = c.integer("relative_attention_num_buckets", default=32)
    relative = Few("relative_attention_bias", buckets * c.integer("num_attention_heads", limit="heads"), scope="model")
    transformed = _transform(c.integer("hidden_size"), "head_transform")
    usable = rows - 2 if rows > 512 else rows
    return _bert(c, rows, usable, {"classifier": {"besides": transformed[:1]}}, segments=0, more=(relative,))


def _bert(
    c: Fields,
    rows: int,
    usable: int | None = None,
    roles: dict[str, Parts] | None = None,
    segments: int = 2,
    more: tuple[Beside, ...] = (),
) -> Parts:
    hidden, segments = c.integer("hidden_size"), c.integer("type_vocab_size", default=segments, low=0)
    besides = (Table("position_embedding", rows, hidden), *_segments(segments, hidden), *more)
    made = attention(c, rotary=0.0, keeps=False, qkv_bias=True, out_bias=True)
    pooled: Parts = {"besides": (Linear("pooler", hidden, hidden, bias=True, scope="model", pooled=True),)}
    masked: Parts = {"besides": _transform(hidden, "head_transform", pooled=False)}
    own: dict[str, Parts] = {"embedder": pooled, "classifier": pooled, "masked": masked} | (roles or {})
    return uniform(c, made, dense(c, True, gated=False), tied=True, besides=besides, roles=own, usable=usable, **_BERT)


def _segments(count: int, hidden: int) -> tuple[Beside, ...]:
    return (Table("segment_embedding", count, hidden),) if count else ()


def _transform(hidden: int, name: str, bias: bool = True, norm: int = 2, pooled: bool = True) -> tuple[Beside, ...]:
    """A square layer before the output projection, and the norm behind it."""
    square = Linear(name, hidden, hidden, bias=bias, scope="model", pooled=pooled)
    return (square, Few("head_norm", norm * hidden, scope="model"))


def distilbert(c: Fields) -> Parts:
    """DistilBERT: BERT in half the layers, without segments or pooler."""
    hidden, heads = c.integer("dim", default=768), c.integer("n_heads", default=12, limit="heads")
    c.divides("n_heads", heads, "dim", hidden)
    dim = hidden // heads
    depth = c.integer("n_layers", default=6, limit="layers")
    rows = c.integer("max_position_embeddings", default=512, limit="positions")
    made = Attention(heads, heads, dim, 0, qkv_bias=True, out_bias=True, keeps=False)
    block = FeedForward(c.integer("hidden_dim", default=4 * hidden), gated=False, bias=True)
    c.get("sinusoidal_pos_embds", "num_hidden_layers", "num_attention_heads", "hidden_size")
    transformed = _transform(hidden, "head_transform", pooled=False)
    classified = Linear("pre_classifier", hidden, hidden, bias=True, scope="model", pooled=True)
    layers: list[Layer] = [(made, block, Span())] * depth
    return model(
        c,
        layers,
        tied=True,
        hidden=hidden,
        besides=(Table("position_embedding", rows, hidden),),
        roles={"masked": {"besides": transformed}, "classifier": {"besides": (classified,)}},
        **_BERT,
    )


def nomic_bert(c: Fields) -> Parts:
    """Nomic Embed: BERT with rotary positions, gated feed-forward blocks and no biases."""
    hidden, segments = c.integer("hidden_size"), c.integer("type_vocab_size", default=2, low=0)
    made = attention(c, keeps=False)
    c.get("rotary_emb_fraction", "use_rms_norm", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias")
    masked = {"besides": _transform(hidden, "head_transform", pooled=False)}
    besides = _segments(segments, hidden)
    return uniform(c, made, dense(c), tied=True, besides=besides, roles={"masked": masked}, **_BERT)


def gte(c: Fields) -> Parts:
    """GTE and Snowflake's Arctic Embed 2: BERT with rotary positions, and gated blocks of one bias."""
    hidden, depth = c.integer("hidden_size"), depth_of(c)
    segments = c.integer("type_vocab_size", default=1, low=0)
    made = attention(c, keeps=False, qkv_bias=True, out_bias=True)
    c.get("layer_norm_type", "logn_attention_scale", "logn_attention_clip1", "pack_qkv", "unpad_inputs")
    c.get("use_memory_efficient_attention")
    besides = (*_segments(segments, hidden), Few("down_proj_bias", hidden, depth))
    pooled: Parts = {"besides": (Linear("pooler", hidden, hidden, bias=True, scope="model", pooled=True),)}
    transformed: Parts = {"besides": _transform(hidden, "head_transform", pooled=False)}
    roles: dict[str, Parts] = {"classifier": pooled, "masked": transformed}
    return uniform(c, made, dense(c), tied=True, besides=besides, roles=roles, max_positions=8192, **_BERT)


def eurobert(c: Fields) -> Parts:
    """EuroBERT: a Llama whose tokens see each other."""
    made = attention(c, keeps=False, **biases(c))
    layer = dense(c, c.flag("mlp_bias", False))
    return uniform(c, made, layer, tied=False, roles={"masked": {"lm_head_bias": False}}, causal=False)


def modernbert(c: Fields) -> Parts:
    """ModernBERT (Warner et al. 2024): every third layer sees all tokens, the others 64 to either side.

    The first layer has no norm before its attention; the embeddings have one behind them.
    """
    depth, hidden = depth_of(c), c.integer("hidden_size")
    bias, mlp_bias, norm = c.flag("attention_bias", False), c.flag("mlp_bias", False), c.flag("norm_bias", False)
    made = attention(c, keeps=False, qkv_bias=bias, out_bias=bias)
    side = c.integer("local_attention", default=128, limit="positions") // 2
    step = c.integer("global_attn_every_n_layers", default=3, limit="layers")
    kinds = c.array("layer_types")
    is_local = [kind == "sliding_attention" for kind in kinds] if kinds else [i % step != 0 for i in range(depth)]
    if len(is_local) != depth:
        c.fail("layer_types", f"found {len(is_local)} entries, expected num_hidden_layers = {depth}")
    c.get("sliding_window", "decoder_bias", "classifier_bias", "sparse_prediction", "classifier_pooling")
    each = 2 if norm else 1
    layers: list[Layer] = [(made, dense(c, mlp_bias), Span(2 * side + 1 if here else None)) for here in is_local]
    biased = c.flag("classifier_bias", False)
    head = {
        role: {"besides": _transform(hidden, "head_transform", biased, each, role == "classifier")}
        for role in ("masked", "classifier", "tagger")
    }
    return model(c, layers, tied=True, norm_weights=each, roles=head, max_positions=8192, **_BERT)


def t5_encoder(c: Fields) -> Parts:
    """The encoder of T5 and mT5 alone (Raffel et al. 2019), as sentence embedders and image generators take it.

    Positions are relative, in buckets that all layers share; the decoder's fields are there and make nothing.
    """
    heads = c.integer("num_heads", default=8, limit="heads")
    made = Attention(heads, heads, c.integer("d_kv", default=64), 0, keeps=False)
    kind = c.text("feed_forward_proj") or "relu"
    c.get("num_decoder_layers", "relative_attention_max_distance", "is_gated_act", "dense_act_fn", "d_ff")
    block = FeedForward(c.integer("d_ff"), gated=kind.startswith("gated-"))
    buckets = c.integer("relative_attention_num_buckets", default=32)
    relative = Few("relative_attention_bias", buckets * heads, scope="model")
    return uniform(c, made, block, tied=True, besides=(relative,), roles={}, causal=False, max_positions=512)
