"""Towers that stand beside a language model: encoders of images and of sound, read where the file describes them.

A tower is a model of its own without a vocabulary: its tokens are patches of an image, or steps of a spectrogram, and
its last layers hand fewer of them on, in the width of the language model. Counted as in the classes of transformers
5.24.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from roofline.models.attention import Attention
from roofline.models.besides import Beside, Few, Linear
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import Fields
from roofline.models.intake import Intake
from roofline.models.layers import Layers
from roofline.models.llm import LanguageModel
from roofline.models.mixers import Span
from roofline.models.readers.parts import HIDDEN

Reader = Callable[[Fields, Fields, int], LanguageModel]

_LAYER_NORM: dict[str, object] = {"norm": "layer_norm", "norm_weights": 2}
_EVERY = Span()


def tower(name: str, hidden: int, layers: list[Layers], besides: list[Beside], **options: Any) -> LanguageModel:
    """An encoder without a vocabulary, whose tokens are all seen by each other."""
    return LanguageModel(
        name=name,
        hidden=hidden,
        vocab=0,
        layers=tuple(layers),
        besides=tuple(besides),
        outputs=0,
        tied=True,
        decodes=False,
        causal=False,
        max_positions=1 << 20,
        **options,
    )


def _heads(c: Fields, heads: int, hidden: int, **options: Any) -> Attention:
    c.divides("num_heads", heads, "hidden_size", hidden)
    return Attention(heads, heads, hidden // heads, keeps=False, **options)


def _few(name: str, elements: int, count: int = 1) -> Few:
    return Few(name, elements, count, scope="model")


def _project(name: str, n: int, k: int, share: float = 1.0, bias: bool = False, count: int = 1) -> Linear:
    return Linear(name, n, k, count, bias, scope="model", share=share)


# -- Images -----------------------------------------------------------------------------------------------------------


def qwen2_5_vl(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Qwen2.5-VL: windows of 112 pixels but for a few layers; 2 x 2 patches are merged into a token."""
    hidden, depth, heads = c.integer("hidden_size"), c.integer("depth", limit="layers"), c.integer("num_heads")
    merged, patch = c.integer("spatial_merge_size", default=2) ** 2, c.integer("patch_size", default=14)
    out = c.integer("out_hidden_size", default=width)
    dim = hidden // heads
    attention = _heads(c, heads, hidden, rope_dim=dim, qkv_bias=True, out_bias=True)
    block = FeedForward(c.integer("intermediate_size"), bias=True)
    whole = len(c.integers("fullatt_block_indexes", depth) or [])
    local = Span((c.integer("window_size", default=112) // patch) ** 2, chunked=True)
    layers = [Layers(n, attention, block, span) for n, span in ((depth - whole, local), (whole, _EVERY)) if n]
    pixels = c.integer("in_channels", "in_chans", default=3) * c.integer("temporal_patch_size", default=2) * patch**2
    besides: list[Beside] = [_project("patch_embedding", hidden, pixels), *_merger(hidden, merged, out)]
    intake = Intake("image", patch, 1024, merged=math.isqrt(merged))
    return tower("vision tower", hidden, layers, besides, intake=intake)


def _merger(hidden: int, merged: int, out: int) -> list[Beside]:
    wide = hidden * merged
    return [
        _project("merger_up", wide, wide, 1 / merged, bias=True),
        _project("merger_down", out, wide, 1 / merged, bias=True),
    ]


def qwen3_vl(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Qwen3-VL and Qwen3.5: learned positions, and of some layers a merger that reaches deeper into the decoder."""
    hidden, depth, heads = c.integer("hidden_size"), c.integer("depth", limit="layers"), c.integer("num_heads")
    merged, patch = c.integer("spatial_merge_size", default=2) ** 2, c.integer("patch_size", default=16)
    out = c.integer("out_hidden_size", default=width)
    attention = _heads(c, heads, hidden, rope_dim=hidden // heads, qkv_bias=True, out_bias=True)
    block = FeedForward(c.integer("intermediate_size"), gated=False, bias=True)
    pixels = c.integer("in_channels", default=3) * c.integer("temporal_patch_size", default=2) * patch**2
    besides: list[Beside] = [
        _project("patch_embedding", hidden, pixels, bias=True),
        _few("position_embedding", c.integer("num_position_embeddings", default=2304) * hidden),
        *_merger(hidden, merged, out),
    ]
    if deep := len(c.integers("deepstack_visual_indexes", depth) or []):
        wide = hidden * merged
        besides += [
            _few("deepstack_norm", 2 * wide, deep),
            _project("deepstack_up", wide, wide, 1 / merged, True, deep),
            _project("deepstack_down", out, wide, 1 / merged, True, deep),
        ]
    intake = Intake("image", patch, 1024, merged=math.isqrt(merged))
    layers = [Layers(depth, attention, block, _EVERY)]
    return tower("vision tower", hidden, layers, besides, intake=intake, **_LAYER_NORM)


def pixtral(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Pixtral's encoder as Mistral Small 3.1 has it: 2 x 2 patches merged, then two layers into the decoder's width."""
    hidden, depth = c.integer("hidden_size", default=1024), c.integer("num_hidden_layers", default=24, limit="layers")
    heads = c.integer("num_attention_heads", default=16, limit="heads")
    patch, side = c.integer("patch_size", default=16), top.integer("spatial_merge_size", default=2)
    attention = _heads(c, heads, hidden, rope_dim=hidden // heads)
    block = FeedForward(c.integer("intermediate_size", default=4096))
    bias, merged = top.flag("multimodal_projector_bias", False), side**2
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * patch**2),
        _few("projector_norm", hidden),
        _project("merger", hidden, merged * hidden, 1 / merged),
        _project("projector_up", width, hidden, 1 / merged, bias),
        _project("projector_down", width, width, 1 / merged, bias),
    ]
    intake = Intake("image", patch, 1024, merged=side)
    return tower("vision tower", hidden, [Layers(depth, attention, block, _EVERY)], besides, intake=intake)


def vit(c: Fields, hidden: int) -> Layers:
    """Layers of a plain vision transformer, with biases."""
    depth = c.integer("num_hidden_layers", limit="layers")
    heads = c.integer("num_attention_heads", limit="heads")
    attention = _heads(c, heads, hidden, rope_dim=0, qkv_bias=True, out_bias=True)
    return Layers(depth, attention, FeedForward(c.integer("intermediate_size"), gated=False, bias=True), _EVERY)


def patches_of(c: Fields, usual: int, patch: int) -> int:
    """Patches of an image, which is as large as one at least."""
    size = c.integer("image_size", default=usual)
    if patch > size:
        c.fail("patch_size", f"found {patch:,}, expected at most image_size = {size:,}")
    return (size // patch) ** 2


def siglip(c: Fields, top: Fields, width: int) -> LanguageModel:
    """SigLIP's encoder as Gemma 3 has it: patches pooled to the tokens of an image, then one layer."""
    hidden, patch = c.integer("hidden_size"), c.integer("patch_size", default=14)
    patches = patches_of(c, 896, patch)
    if c.flag("vision_use_head", False):
        c.fail("vision_use_head", "found true, expected false: the pooling head is not read")
    tokens = top.integer("mm_tokens_per_image", default=256)
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * patch**2, bias=True),
        _few("position_embedding", patches * hidden),
        _few("projector_norm", hidden),
        _project("projector", width, hidden, tokens / patches),
    ]
    intake = Intake("image", patch, c.integer("image_size", default=896), fixed=True, tokens=tokens)
    return tower("vision tower", hidden, [vit(c, hidden)], besides, intake=intake, **_LAYER_NORM)


def gemma4(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Gemma 4's encoder: gated blocks, norms on both sides, positions of two axes, nine patches to a token."""
    hidden, depth = c.integer("hidden_size"), c.integer("num_hidden_layers", limit="layers")
    heads = c.integer("num_attention_heads", limit="heads")
    kv_heads = c.integer("num_key_value_heads", default=heads, limit="heads")
    dim = c.integer("head_dim", default=hidden // heads)
    attention = Attention(heads, kv_heads, dim, dim, keeps=False, qk_norm=True, qk_norm_weights=2 * dim)
    pooled = c.integer("pooling_kernel_size", default=3) ** 2
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * c.integer("patch_size", default=16) ** 2),
        _few("position_embedding", 2 * c.integer("position_embedding_size", default=10240) * hidden),
        _project("projector", width, hidden, 1 / pooled),
    ]
    layers = [Layers(depth, attention, FeedForward(c.integer("intermediate_size")), _EVERY)]
    # An image is scaled so that 280 tokens become of it.
    patch, side = c.integer("patch_size", default=16), math.isqrt(pooled)
    intake = Intake("image", patch, round(math.sqrt(280 * pooled)) * patch, merged=side)
    return tower("vision tower", hidden, layers, besides, norms_per_layer=4, final_norm=False, intake=intake)


def llama4(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Llama 4's encoder: pixels shuffled into a quarter of the patches, two layers, and one into the decoder."""
    hidden, patch = c.integer("hidden_size", default=768), c.integer("patch_size", default=14)
    patches = patches_of(c, 448, patch)
    ratio = c.number("pixel_shuffle_ratio", default=0.5, low=0.01, high=1.0) ** 2
    middle, out = c.integer("projector_input_dim", default=4096), c.integer("projector_output_dim", default=4096)
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * patch**2),
        _few("class_embedding", hidden),
        _few("position_embedding", (patches + 1) * hidden),
        _few("norm_before", 2 * hidden),
        _project("adapter_up", middle, round(hidden / ratio), ratio),
        _project("adapter_down", out, middle, ratio),
        _project("projector", width, c.integer("vision_output_dim", default=out), ratio),
    ]
    made = vit(c, hidden)
    attention = made.mixer
    if isinstance(attention, Attention):
        made = replace(made, mixer=replace(attention, rope_dim=attention.head_dim))
    usual, tokens = c.integer("image_size", default=448), max(1, round(patches * ratio))
    intake = Intake("image", patch, usual, fixed=True, more=1, tokens=tokens)
    return tower("vision tower", hidden, [made], besides, intake=intake, **_LAYER_NORM)


def clip(c: Fields, top: Fields, width: int) -> LanguageModel:
    """CLIP's encoder as LLaVA has it: a token a patch, two layers into the decoder."""
    hidden, patch = c.integer("hidden_size", default=768), c.integer("patch_size", default=32)
    patches = patches_of(c, 224, patch)
    bias = top.flag("multimodal_projector_bias", True)
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * patch**2),
        _few("class_embedding", hidden),
        _few("position_embedding", (patches + 1) * hidden),
        _few("norm_before", 2 * hidden),
        _project("projector_up", width, hidden, bias=bias),
        _project("projector_down", width, width, bias=bias),
    ]
    intake = Intake("image", patch, c.integer("image_size", default=224), fixed=True, more=1)
    return tower("vision tower", hidden, [vit(c, hidden)], besides, intake=intake, **_LAYER_NORM)


def mllama(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Llama 3.2 Vision's encoder: four tiles that see each other, then gated layers; states of five depths and its end.

    Its tables hold positions and tiles for every aspect ratio that an image may be cut to.
    """
    hidden, patch = c.integer("hidden_size", default=1280), c.integer("patch_size", default=14)
    patches, tiles = patches_of(c, 448, patch), c.integer("max_num_tiles", default=4)
    later = c.integer("num_global_layers", default=8, limit="layers")
    depth = c.integer("num_hidden_layers", default=32, limit="layers")
    heads = c.integer("attention_heads", "num_attention_heads", default=16, limit="heads")
    attention = _heads(c, heads, hidden, rope_dim=0)
    block = FeedForward(c.integer("intermediate_size", default=5120), gated=False, bias=True)
    ratios = 1 + sum(x * y <= tiles for x in range(1, tiles + 1) for y in range(1, tiles + 1))
    besides: list[Beside] = [
        _project("patch_embedding", hidden, c.integer("num_channels", default=3) * patch**2),
        _few("class_embedding", hidden),
        _few("position_embedding", (patches + 1) * hidden + 1),
        _few("position_embedding_of_tiles", ratios * tiles * (patches + 1) * hidden),
        _few("tile_embedding", ratios * tiles * hidden + 1, 2),
        _few("norm_before", 2 * hidden),
        _few("gates", 2, later),
        _project("projector", width, c.integer("vision_output_dim", default=7680), bias=True),
    ]
    intake = Intake("image", patch, c.integer("image_size", default=448), fixed=True, tokens=tiles * (patches + 1))
    intake = replace(intake, more=intake.tokens - patches)
    layers = [Layers(depth + later, attention, block, _EVERY)]
    return tower("vision tower", hidden, layers, besides, intake=intake, **_LAYER_NORM)


# -- Sound ------------------------------------------------------------------------------------------------------------


def whisper(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Whisper's encoder as Voxtral has it: two convolutions, 50 steps a second, four of them to a token."""
    hidden, depth = c.integer(*HIDDEN), c.integer("num_hidden_layers", "encoder_layers", limit="layers")
    heads = c.integer("num_attention_heads", "encoder_attention_heads", limit="heads")
    inter = c.integer("intermediate_size", "encoder_ffn_dim")
    joined = inter // hidden
    if not joined:
        c.fail("intermediate_size", f"found {inter:,}, expected hidden_size = {hidden:,} or a multiple of it")
    attention = _heads(c, heads, hidden, rope_dim=0, out_bias=True)
    besides: list[Beside] = [
        _project("convolution_1", hidden, 3 * c.integer("num_mel_bins", default=128), 2.0, bias=True),
        _project("convolution_2", hidden, 3 * hidden, bias=True),
        _few("position_embedding", c.integer("max_source_positions", default=1500) * hidden),
        _few("qv_bias", 2 * hidden, depth),  # keys have none
        _project("projector_up", width, joined * hidden, 1 / joined),
        _project("projector_down", width, width, 1 / joined),
    ]
    layers = [Layers(depth, attention, FeedForward(inter, gated=False, bias=True), _EVERY)]
    # Sound is filled up to pieces of 30 s.
    intake = Intake("audio", 0.02, c.integer("max_source_positions", default=1500) * 0.02, fixed=True, merged=joined)
    return tower("audio tower", hidden, layers, besides, intake=intake, **_LAYER_NORM)


#: The readers, by the model type of the whole and the key under which the tower is described.
READERS: dict[tuple[str, str], Reader] = {
    ("qwen2_5_vl", "vision_config"): qwen2_5_vl, ("qwen3_vl", "vision_config"): qwen3_vl,
    ("qwen3_vl_moe", "vision_config"): qwen3_vl, ("qwen3_5", "vision_config"): qwen3_vl,
    ("qwen3_5_moe", "vision_config"): qwen3_vl, ("mistral3", "vision_config"): pixtral,
    ("gemma3", "vision_config"): siglip, ("gemma4", "vision_config"): gemma4, ("llama4", "vision_config"): llama4,
    ("mllama", "vision_config"): mllama, ("llava", "vision_config"): clip, ("voxtral", "audio_config"): whisper,
}  # fmt: skip
