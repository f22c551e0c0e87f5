"""Towers of further families: Qwen2-VL, PaliGemma, LLaVA-NeXT, InternVL, GLM-4.1V and 4.5V, Kimi K2.5's MoonViT.

Counted as in the classes of transformers 5.24, like those of ``towers.py``.
"""

from __future__ import annotations

import math
from dataclasses import replace

from roofline.models.attention import Attention
from roofline.models.besides import Beside, Few, Linear
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import Fields
from roofline.models.intake import Intake
from roofline.models.layers import Layers
from roofline.models.llm import LanguageModel
from roofline.models.mixers import Span
from roofline.models.readers import towers
from roofline.models.readers.parts import HIDDEN

_EVERY = Span()
_LAYER_NORM = {"norm": "layer_norm", "norm_weights": 2}


def _few(name: str, elements: int, count: int = 1) -> Few:
    return Few(name, elements, count, scope="model")


def _project(name: str, n: int, k: int, share: float = 1.0, bias: bool = False) -> Linear:
    return Linear(name, n, k, 1, bias, scope="model", share=share)


def _pair(c: Fields, key: str, default: int) -> int:
    """A side that a file may give twice, once for each axis."""
    value = c.get(key)
    if isinstance(value, list):
        sides = c.integers(key, 1 << 20) or []
        if len(sides) != 2 or sides[0] != sides[1] or not sides[0]:
            c.fail(key, f"found {value!r:.40}, expected a side, or the same twice")
        return sides[0]
    return c.integer(key, default=default)


def qwen2_vl(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Qwen2-VL: every patch sees every other; 2 x 2 are merged into a token."""
    hidden, depth = c.integer("embed_dim", default=1280), c.integer("depth", default=32, limit="layers")
    heads, side = c.integer("num_heads", default=16, limit="heads"), c.integer("spatial_merge_size", default=2)
    patch, merged = c.integer("patch_size", "spatial_patch_size", default=14), side**2
    pixels = c.integer("in_channels", "in_chans", default=3) * c.integer("temporal_patch_size", default=2) * patch**2
    ratio = c.number("mlp_ratio", default=4.0, low=0.1, high=100)
    c.divides("num_heads", heads, "embed_dim", hidden)
    attention = Attention(heads, heads, hidden // heads, hidden // heads, True, True, keeps=False)
    block = FeedForward(round(hidden * ratio), gated=False, bias=True)
    wide = hidden * merged
    besides: list[Beside] = [
        _project("patch_embedding", hidden, pixels),
        _project("merger_up", wide, wide, 1 / merged, bias=True),
        _project("merger_down", c.integer("hidden_size", default=width), wide, 1 / merged, bias=True),
    ]
    intake, layers = Intake("image", patch, 1024, merged=side), [Layers(depth, attention, block, _EVERY)]
    return towers.tower("vision tower", hidden, layers, besides, intake=intake, **_LAYER_NORM)


def paligemma(c: Fields, top: Fields, width: int) -> LanguageModel:
    """PaliGemma: SigLIP's encoder, and one layer into the decoder's width; a token a patch."""
    hidden, patch = c.integer("hidden_size"), c.integer("patch_size", default=14)
    patches = towers.patches_of(c, 224, patch)
    c.get("num_image_tokens")
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * patch**2, bias=True),
        _few("position_embedding", patches * hidden),
        _project("projector", c.integer("projection_dim", default=width), hidden, bias=True),
    ]
    intake = Intake("image", patch, c.integer("image_size", default=224), fixed=True)
    return towers.tower("vision tower", hidden, [towers.vit(c, hidden)], besides, intake=intake, **_LAYER_NORM)


def llava_next(c: Fields, top: Fields, width: int) -> LanguageModel:
    """LLaVA-NeXT: LLaVA's tower over tiles of an image, which count as an image each; a vector ends each row."""
    made = towers.clip(c, top, width)
    return replace(made, besides=(*made.besides, _few("end_of_row", width)))


def internvl(c: Fields, top: Fields, width: int) -> LanguageModel:
    """InternVL: tiles of 448 pixels, scales behind both halves of a layer, pixels shuffled into a quarter."""
    hidden, patch = c.integer("hidden_size", default=1024), _pair(c, "patch_size", 14)
    size = _pair(c, "image_size", 448)
    if patch > size:
        c.fail("patch_size", f"found {patch:,}, expected at most image_size = {size:,}")
    if c.flag("use_qk_norm", False):
        c.fail("use_qk_norm", "found true, expected false: norms of queries and keys are not read")
    patches, bias = (size // patch) ** 2, c.flag("attention_bias", False)
    made = towers.vit(c, hidden)
    attention = made.mixer
    if isinstance(attention, Attention):
        made = replace(made, mixer=replace(attention, qkv_bias=bias))
    ratio = top.number("downsample_ratio", default=0.5, low=0.01, high=1.0) ** 2
    wide = round(hidden / ratio)
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * patch**2, bias=True),
        _few("class_embedding", hidden),
        _few("position_embedding", (patches + 1) * hidden),
        _few("layer_scales", 2 * hidden, made.count),
        _few("projector_norm", 2 * wide),
        _project("projector_up", width, wide, ratio, bias=True),
        _project("projector_down", width, width, ratio, bias=True),
    ]
    intake = Intake("image", patch, size, fixed=True, more=1, tokens=max(1, round(patches * ratio)))
    return towers.tower("vision tower", hidden, [made], besides, final_norm=False, intake=intake, **_LAYER_NORM)


def glm4v(c: Fields, top: Fields, width: int) -> LanguageModel:
    """GLM-4.1V and 4.5V: gated blocks, 2 x 2 patches convolved into a token, a gated block behind them."""
    hidden, depth = c.integer("hidden_size", default=1536), c.integer("depth", default=24, limit="layers")
    heads, side = c.integer("num_heads", default=12, limit="heads"), c.integer("spatial_merge_size", default=2)
    out, inter = c.integer("out_hidden_size", default=4096), c.integer("intermediate_size", default=13696)
    patch, merged = c.integer("patch_size", default=14), side**2
    pixels = c.integer("in_channels", default=3) * c.integer("temporal_patch_size", default=2) * patch**2
    patches, bias = towers.patches_of(c, 336, patch), c.flag("attention_bias", False)
    c.divides("num_heads", heads, "hidden_size", hidden)
    attention = Attention(heads, heads, hidden // heads, hidden // heads, bias, bias, keeps=False)
    besides: list[Beside] = [
        _project("patch_embedding", hidden, pixels, bias=True),
        _few("position_embedding", patches * hidden),
        _few("norm_before", hidden),
        _project("downsample", out, merged * hidden, 1 / merged, bias=True),
        _project("merger", out, out, 1 / merged),
        _few("merger_norm", 2 * out),
        _project("merger_gate_up", 2 * inter, out, 1 / merged),
        _project("merger_down", out, inter, 1 / merged),
    ]
    # The feed-forward of its layers is as wide as what it hands on.
    layers = [Layers(depth, attention, FeedForward(out), _EVERY)]
    return towers.tower("vision tower", hidden, layers, besides, intake=Intake("image", patch, 1024, merged=side))


def moonvit(c: Fields, top: Fields, width: int) -> LanguageModel:
    """Kimi K2.5's MoonViT: learned positions stretched to the image, 2 x 2 patches merged by two layers."""
    hidden = c.integer("vt_hidden_size", *HIDDEN, default=1152)
    depth = c.integer("vt_num_hidden_layers", "num_hidden_layers", default=27, limit="layers")
    heads = c.integer("vt_num_attention_heads", "num_attention_heads", default=16, limit="heads")
    inter = c.integer("vt_intermediate_size", "intermediate_size", default=4304)
    rows = c.integer("init_pos_emb_height", "pos_emb_height", default=64)
    columns, patch = c.integer("init_pos_emb_width", "pos_emb_width", default=64), c.integer("patch_size", default=14)
    kernel = c.integers("merge_kernel_size", 64) or [2, 2]
    c.get("mm_hidden_size", "init_pos_emb_time", "pos_emb_time", "text_hidden_size")
    merged = math.prod(kernel)
    side = math.isqrt(merged)
    if not merged or side**2 != merged:
        c.fail("merge_kernel_size", f"found {kernel!r:.40}, expected a square")
    c.divides("vt_num_attention_heads", heads, "vt_hidden_size", hidden)
    attention = Attention(heads, heads, hidden // heads, hidden // heads, True, True, keeps=False)
    wide = hidden * merged
    besides: list[Beside] = [
        _project("patch_embedding", hidden, 3 * patch**2, bias=True),
        _few("position_embedding", rows * columns * hidden),
        _few("projector_norm", 2 * hidden),
        _project("projector_up", wide, wide, 1 / merged, bias=True),
        _project("projector_down", width, wide, 1 / merged, bias=True),
    ]
    layers = [Layers(depth, attention, FeedForward(inter, gated=False, bias=True), _EVERY)]
    intake = Intake("image", patch, 1024, merged=side)
    return towers.tower("vision tower", hidden, layers, besides, intake=intake, **_LAYER_NORM)


#: As :data:`roofline.models.readers.towers.READERS`.
READERS: dict[tuple[str, str], towers.Reader] = {
    ("qwen2_vl", "vision_config"): qwen2_vl, ("paligemma", "vision_config"): paligemma,
    ("llava_next", "vision_config"): llava_next, ("internvl", "vision_config"): internvl,
    ("glm4v", "vision_config"): glm4v, ("glm4v_moe", "vision_config"): glm4v,
    ("kimi_k25", "vision_config"): moonvit,
}  # fmt: skip
