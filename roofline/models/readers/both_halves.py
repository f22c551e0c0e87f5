"""Encoders with a decoder that attends across to their states: T5, BART and its kin, Whisper; and Llama 3.2 Vision.

The encoder is a model of its own without an output, under ``encoder``; both halves read one token embedding. A class
for causal language models is the decoder alone: it has the weights of the attention across and nothing to attend to.
Counted as in the classes of transformers 5.24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from roofline.models.across import CrossAttention
from roofline.models.attention import Attention
from roofline.models.besides import Beside, Few, Linear, Table
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import LIMITS, Fields
from roofline.models.layers import Layers
from roofline.models.llm import LanguageModel
from roofline.models.mixers import Span
from roofline.models.readers.parts import Layer, Parts, attention, biases, dense, depth_of, model

_EVERY = Span()


def _encoder(c: Fields, layers: list[Layers], besides: tuple[Beside, ...], **options: Any) -> LanguageModel:
    """The half that reads: every token sees every other, and nothing is kept but its states."""
    return LanguageModel(
        name="encoder",
        layers=tuple(layers),
        besides=besides,
        outputs=0,
        tied=True,
        decodes=False,
        causal=False,
        **options,
    )


def _alone(c: Fields) -> bool:
    """Whether the file is of the decoder alone, as a class for causal language models is."""
    return any(str(one).endswith("ForCausalLM") for one in c.values.get("architectures") or ())


# -- T5 ---------------------------------------------------------------------------------------------------------------


def t5(c: Fields) -> Parts:
    """T5, its later kin, mT5 and UL2 (Raffel et al. 2019): relative positions in buckets that all layers share."""
    return _t5(c, shared_buckets=True, tied=True)


def mt5(c: Fields) -> Parts:
    """mT5 (Xue et al. 2020): T5 1.1 over many languages, its output projection its own."""
    return _t5(c, shared_buckets=True, tied=False)


def umt5(c: Fields) -> Parts:
    """UMT5 (Chung et al. 2023): mT5 whose every layer has buckets of its own."""
    return _t5(c, shared_buckets=False, tied=False)


def _t5(c: Fields, shared_buckets: bool, tied: bool) -> Parts:
    hidden, heads = c.integer("d_model", default=512), c.integer("num_heads", default=8, limit="heads")
    depth = c.integer("num_layers", default=6, limit="layers")
    behind = c.integer("num_decoder_layers", default=depth, limit="layers")
    dim = c.integer("d_kv", default=64)
    kind = c.text("feed_forward_proj") or "relu"
    c.get("relative_attention_max_distance", "is_gated_act", "dense_act_fn", "num_hidden_layers")
    block = FeedForward(c.integer("d_ff"), gated=kind.startswith("gated-"))
    buckets = c.integer("relative_attention_num_buckets", default=32) * heads
    positions = c.integer("n_positions", "max_position_embeddings", default=512, limit="positions")
    vocab = c.integer("vocab_size", default=32128, limit="vocab")
    own = Attention(heads, heads, dim, 0)
    read = Layers(depth, replace(own, keeps=False), block, _EVERY)

    def relative(layers: int) -> tuple[Beside, ...]:
        return (Few("relative_attention_bias", buckets * (1 if shared_buckets else layers), scope="model"),)

    encoder = _encoder(c, [read], relative(depth), hidden=hidden, vocab=vocab, max_positions=positions)
    layers: list[Layer] = [(CrossAttention(own, hidden, own), block, _EVERY)] * behind
    return model(
        c,
        layers,
        tied=tied,
        hidden=hidden,
        vocab=vocab,
        max_positions=positions,
        norms_per_layer=3,
        besides=relative(behind),
        encoder=encoder,
    )


# -- BART and its kin -------------------------------------------------------------------------------------------------


def _learned(extra: int) -> Callable[[int, int], tuple[Beside, ...]]:
    """Learned positions, with so many rows more than the file says."""
    return lambda rows, hidden: (Table("position_embedding", rows + extra, hidden),)


def _computed(rows: int, hidden: int) -> tuple[Beside, ...]:
    """Sinusoidal positions, which are computed and not stored."""
    return ()


def bart(c: Fields) -> Parts:
    """BART, PLBART and MVP (Lewis et al. 2019): norms behind the halves, one behind the embeddings."""
    return _bart(c, _learned(2))


def mbart(c: Fields) -> Parts:
    """mBART: BART with a norm at the end of both halves as well."""
    return _bart(c, _learned(2), ends=True)


def blenderbot(c: Fields) -> Parts:
    """Blenderbot: norms before the halves, none behind the embeddings."""
    return _bart(c, _learned(0), positions=128, embedded=False, ends=True)


def blenderbot_small(c: Fields) -> Parts:
    """Blenderbot's small form: BART whose positions are counted from the first row."""
    return _bart(c, _learned(0), positions=512)


def pegasus(c: Fields) -> Parts:
    """PEGASUS (Zhang et al. 2019): sinusoidal positions, which its class stores."""
    return _bart(c, _learned(0), embedded=False, ends=True)


def marian(c: Fields) -> Parts:
    """Marian's translators: sinusoidal positions, which its class stores, and norms behind the halves alone."""
    if not c.flag("share_encoder_decoder_embeddings", True):
        c.fail("share_encoder_decoder_embeddings", "found false, expected true: both halves read one embedding")
    c.get("decoder_vocab_size", "normalize_embedding", "normalize_before", "add_final_layer_norm", "add_bias_logits")
    return _bart(c, _learned(0), embedded=False)


def m2m_100(c: Fields) -> Parts:
    """M2M-100 and NLLB: norms before the halves and at their ends."""
    return _bart(c, _computed, embedded=False, ends=True)


def trocr(c: Fields) -> Parts:
    """TrOCR's decoder: BART's over the states of an image's encoder, which lies in another file."""
    c.get("use_learned_position_embeddings")
    return _bart(c, _learned(2), positions=512, embedded=c.flag("layernorm_embedding", True), encoded=False)


def _bart(
    c: Fields,
    table: Callable[[int, int], tuple[Beside, ...]],
    positions: int = 1024,
    embedded: bool = True,
    ends: bool = False,
    encoded: bool = True,
) -> Parts:
    """Of both halves: learned or computed positions, a norm behind the embeddings, one at the end."""
    hidden = c.integer("d_model", "hidden_size", default=1024)
    rows = c.integer("max_position_embeddings", default=positions, limit="positions")
    c.get("encoder_layerdrop", "decoder_layerdrop", "static_position_embeddings", "extra_pos_embeddings", "use_prompt")
    c.get("prompt_length", "prompt_mid_dim", "num_hidden_layers", "force_bos_token_to_be_generated", "add_bias_logits")
    c.get("normalize_before", "normalize_embedding", "add_final_layer_norm", "encoder_layers")
    c.get("cross_attention_hidden_size")

    def half(name: str) -> tuple[int, Attention, FeedForward]:
        heads = c.integer(f"{name}_attention_heads", default=16, limit="heads")
        c.divides(f"{name}_attention_heads", heads, "d_model", hidden)
        own = Attention(heads, heads, hidden // heads, 0, qkv_bias=True, out_bias=True)
        block = FeedForward(c.integer(f"{name}_ffn_dim", default=4096), gated=False, bias=True)
        return c.integer(f"{name}_layers", default=12, limit="layers"), own, block

    norm: tuple[Beside, ...] = (Few("embedding_norm", 2 * hidden, scope="model"),) if embedded and ends else ()
    usual: Parts = {"norm": "layer_norm", "final_norm": embedded or ends, "besides": (*table(rows, hidden), *norm)}
    vocab = c.integer("vocab_size", limit="vocab")
    depth, own, block = half("decoder")
    width = c.integer("cross_attention_hidden_size", default=hidden) if not encoded else hidden
    made = CrossAttention(own, width, own)
    parts = model(
        c,
        [(made, block, _EVERY)] * depth,
        tied=True,
        hidden=hidden,
        vocab=vocab,
        max_positions=rows,
        norms_per_layer=3,
        **usual,
    )
    if _alone(c) or not encoded:
        c.get("encoder_attention_heads", "encoder_ffn_dim")
        return _without_encoder(parts, made)
    depth, own, block = half("encoder")
    read = Layers(depth, replace(own, keeps=False), block, _EVERY)
    encoder = _encoder(c, [read], usual.pop("besides"), hidden=hidden, vocab=vocab, max_positions=rows, **usual)
    return parts | {"encoder": encoder}


def _without_encoder(parts: Parts, made: CrossAttention) -> Parts:
    """The decoder alone: the weights of the attention across are there, and nothing passes them."""
    hidden, depth = parts["hidden"], len(parts["layers"])
    across = sum(w.elements for w in replace(made, own=None).weights(hidden, 1))
    layers = [(made.own, block, span) for _, block, span in parts["layers"]]
    besides = (*parts["besides"], Few("attention_across", across, depth))
    return parts | {"layers": layers, "besides": besides}


def whisper(c: Fields) -> Parts:
    """Whisper (Radford et al. 2022): 50 steps of sound a second into its encoder, always those of 30 s; tokens out.

    The prompt of an estimate are the encoder's steps.
    """
    hidden = c.integer("d_model", default=384)
    steps = c.integer("max_source_positions", default=1500, limit="positions")
    rows = c.integer("max_target_positions", default=448, limit="positions")
    c.get("classifier_proj_size", "median_filter_width", "num_hidden_layers", "max_length", "apply_spec_augment")

    def half(name: str, heads: int, keeps: bool) -> tuple[int, Attention, FeedForward, Few]:
        heads = c.integer(f"{name}_attention_heads", default=heads, limit="heads")
        c.divides(f"{name}_attention_heads", heads, "d_model", hidden)
        depth = c.integer(f"{name}_layers", default=4, limit="layers")
        # Queries and values have a bias, keys none.
        few = Few("qv_bias", 2 * hidden, depth)
        own = Attention(heads, heads, hidden // heads, 0, out_bias=True, keeps=keeps)
        block = FeedForward(c.integer(f"{name}_ffn_dim", default=1536), gated=False, bias=True)
        return depth, own, block, few

    depth, own, block, few = half("decoder", 6, True)
    vocab = c.integer("vocab_size", default=51865, limit="vocab")
    made = CrossAttention(own, hidden, own)
    table = Table("position_embedding", rows, hidden)
    usual: Parts = {"norm": "layer_norm", "hidden": hidden}
    parts = model(
        c,
        [(made, block, _EVERY)] * depth,
        tied=True,
        vocab=vocab,
        max_positions=rows,
        norms_per_layer=3,
        besides=(table, few, replace(few, name="cross_qv_bias")),
        **usual,
    )
    mels = c.integer("num_mel_bins", default=80)
    if _alone(c):
        c.get("encoder_attention_heads", "encoder_ffn_dim", "encoder_layers")
        return _without_encoder(parts, made)
    depth, own, block, few = half("encoder", 6, False)
    besides: tuple[Beside, ...] = (
        Linear("convolution_1", hidden, 3 * mels, 1, True, scope="model", share=2.0),
        Linear("convolution_2", hidden, 3 * hidden, 1, True, scope="model"),
        Few("position_embedding", steps * hidden, scope="model"),
        few,
    )
    read = Layers(depth, own, block, _EVERY)
    return parts | {"encoder": _encoder(c, [read], besides, vocab=0, max_positions=steps, **usual)}


# -- Llama 3.2 Vision -------------------------------------------------------------------------------------------------


def mllama(c: Fields) -> Parts:
    """Llama 3.2 Vision's text model: Llama 3.1 with layers between that attend to the images and not to each other.

    Where there is no image they are skipped whole. The images' states come out of the tower at the model's width.
    """
    depth, hidden = depth_of(c), c.integer("hidden_size")
    usual = [3, 8, 13, 18, 23, 28, 33, 38]
    listed = c.integers("cross_attention_layers", LIMITS["layers"])
    across = set(usual if listed is None else listed)
    if any(number >= depth for number in across):
        c.fail("cross_attention_layers", f"found {max(across)}, expected numbers of layers below {depth}")
    own = attention(c, 8, **biases(c))
    made = CrossAttention(replace(own, rope_dim=0, qk_norm=True, qk_norm_weights=2 * own.head_dim), hidden)
    block = dense(c)
    layers: list[Layer] = [(made if i in across else own, block, _EVERY) for i in range(depth)]
    besides = (
        Few("gates", 2, len(across)),  # of the attention and of the block behind it
        Few("embedding_of_images", 8 * hidden, scope="model"),
    )
    return model(c, layers, max_positions=131072, besides=besides)
