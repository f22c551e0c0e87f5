"""Dense decoders of the Llama kind: a norm before each block, rotary positions, a gated feed-forward."""

from __future__ import annotations

from dataclasses import replace

from roofline.models.attention import Attention
from roofline.models.besides import Few
from roofline.models.feed_forward import FeedForward
from roofline.models.fields import Fields
from roofline.models.mixers import Mixer, Span
from roofline.models.readers.parts import (
    Layer,
    Parts,
    attention,
    biases,
    dense,
    depth_of,
    every,
    model,
    spans,
    stack,
    uniform,
    window,
)


def llama(c: Fields) -> Parts:
    """Llama 1 to 3, and the many of its layout."""
    return uniform(c, attention(c, **biases(c)), dense(c, c.flag("mlp_bias", False)))


def mistral(c: Fields) -> Parts:
    """Mistral 7B to Large: 8 key/value heads, and a window of 4096 where the key is absent rather than null."""
    return uniform(c, attention(c, 8), dense(c), window(c, 4096), max_positions=131072)


def ministral(c: Fields) -> Parts:
    """Ministral 8B: the windows lie in ``layer_types``, or are everywhere."""
    return uniform(c, attention(c, 8), dense(c), window(c, 4096), max_positions=131072)


def ministral3(c: Fields) -> Parts:
    """Ministral 3: 3B to 14B."""
    return uniform(c, attention(c, 8, 128), dense(c), window(c), max_positions=262144)


def hyperclovax(c: Fields) -> Parts:
    """HyperCLOVA X: as Llama, with two more norms where ``use_post_norm`` says so."""
    return llama(c) | {"norms_per_layer": 4 if c.flag("use_post_norm", True) else 2}


def minicpm(c: Fields) -> Parts:
    """MiniCPM 1 and 2, dense: Llama with scaled embeddings, which are tied."""
    c.get("dim_model_base", "scale_emb", "scale_depth")
    return llama(c) | {"tied": c.flag("tie_word_embeddings", True)}


def orion(c: Fields) -> Parts:
    """Orion: Llama with layer norms."""
    return llama(c) | {"norm": "layer_norm"}


# -- Qwen -------------------------------------------------------------------------------------------------------------


def qwen_spans(c: Fields) -> list[Span]:
    """Published files carry a sliding_window that use_sliding_window turns off; on, it starts at max_window_layers."""
    seen = window(c, 4096) if c.flag("use_sliding_window", False) else None
    c.get("sliding_window")
    first = c.integer("max_window_layers", default=28, low=0, limit="layers")
    return spans(c, depth_of(c), seen, lambda i: i >= first)


def qwen2(c: Fields) -> Parts:
    """Qwen 1.5 to 2.5: biases in the projections of queries, keys and values."""
    c.get("attention_bias", "head_dim")
    return stack(c, attention(c, qkv_bias=True), dense(c), qwen_spans(c), max_positions=32768)


def qwen3(c: Fields) -> Parts:
    """Qwen 3: norms of queries and keys, heads of 128."""
    return stack(c, attention(c, head_dim=128, norm="head", **biases(c)), dense(c), qwen_spans(c), max_positions=32768)


def qwen(c: Fields) -> Parts:
    """The first Qwen, whose ``intermediate_size`` is that of gate and up projection together."""
    heads, hidden = c.integer("num_attention_heads", limit="heads"), c.integer("hidden_size")
    dim = c.integer("kv_channels", default=128)
    c.get("seq_length")
    inter = c.integer("intermediate_size")
    c.divides("factor 2 of gate and up projection", 2, "intermediate_size", inter)
    if heads * dim != hidden:
        c.fail("kv_channels", f"found {dim}, expected hidden_size / num_attention_heads = {hidden / heads:g}")
    bias = not c.flag("no_bias", True)
    made = Attention(heads, heads, dim, dim, qkv_bias=True, out_bias=bias)
    return stack(c, made, FeedForward(inter // 2, bias=bias), max_positions=8192)


# -- Phi, GLM, Granite, and others with a difference or two ----------------------------------------------------------


def phi3(c: Fields) -> Parts:
    """Phi 3 and 4."""
    return uniform(c, attention(c, **biases(c, False)), dense(c), window(c), max_positions=4096)


def phi4_multimodal(c: Fields) -> Parts:
    """Phi 4 multimodal: Phi 4 mini; the adapters that images and speech go through are not counted."""
    c.get("vision_lora", "speech_lora", "embd_layer", "img_processor", "audio_processor", "image_embd_layer")
    return phi3(c)


def glm(c: Fields) -> Parts:
    """GLM-4-9B as in transformers: biases in queries, keys and values, half a head rotated."""
    made = attention(c, 2, 128, rotary=0.5, **biases(c, True, out=False))
    return uniform(c, made, dense(c), max_positions=131072)


def glm4(c: Fields) -> Parts:
    """GLM-4-0414: as :func:`glm`, with norms behind both blocks too."""
    return glm(c) | {"norms_per_layer": 4}


def granite(c: Fields) -> Parts:
    """Granite 3."""
    return llama(c)


def granite_swa(c: Fields) -> Parts:
    """Granite with windows and attention sinks."""
    made = attention(c, 4, sinks=True, **biases(c))
    seen = spans(c, depth_of(c), window(c, 128), lambda i: i % 4 != 0)
    return stack(c, made, dense(c, c.flag("mlp_bias", False)), seen, tied=True, max_positions=8192)


def exaone(c: Fields) -> Parts:
    """EXAONE 3: a Llama with other names for its sizes."""
    heads = c.integer("num_attention_heads", "num_heads", limit="heads")
    bias = biases(c)
    inter = c.integer("intermediate_size")
    return uniform(c, attention(c, 8, heads=heads, **bias), FeedForward(inter), max_positions=4096)


def exaone4(c: Fields) -> Parts:
    """EXAONE 4: three local layers and one that sees everything, which is not rotated; norms behind the blocks."""
    step, kind = c.get("sliding_window_pattern"), "LLLG"
    if isinstance(step, str):
        kind = step
    elif step is not None:
        c.integer("sliding_window_pattern", limit="layers")
        kind = "L" * (int(step) - 1) + "G"
    seen_by_local = window(c, 4096)
    seen = spans(c, depth_of(c), seen_by_local, lambda i: kind[i % len(kind)] == "L")
    if seen_by_local is not None:
        seen = [span if span.window else replace(span, rope=False) for span in seen]
    return stack(c, attention(c, norm="head"), dense(c), seen)


def smollm3(c: Fields) -> Parts:
    """SmolLM 3: every fourth layer without rotary positions."""
    seen_by_local = window(c) if c.flag("use_sliding_window", False) else None
    c.get("sliding_window")
    seen = spans(c, depth_of(c), seen_by_local, lambda i: True, rope=rotated_layers(c).__getitem__)
    made = attention(c, 4, **biases(c))
    return stack(c, made, dense(c, c.flag("mlp_bias", False)), seen, tied=True, max_positions=32768)


def rotated_layers(c: Fields, default: int = 4) -> list[bool]:
    """Which layers are rotated: by ``no_rope_layers`` (1: rotated), or all but every ``no_rope_layer_interval``."""
    depth, step = depth_of(c), c.integer("no_rope_layer_interval", default=default, limit="layers")
    listed = c.integers("no_rope_layers", 1) or [int((i + 1) % step != 0) for i in range(depth)]
    if len(listed) < depth:
        c.fail("no_rope_layers", f"found {len(listed)} entries, expected num_hidden_layers = {depth}")
    return [bool(one) for one in listed]


def seed_oss(c: Fields) -> Parts:
    """Seed-OSS."""
    bias = biases(c, True, out=c.flag("attention_out_bias", False))
    return uniform(c, attention(c, 8, 128, **bias), dense(c, c.flag("mlp_bias", False)), max_positions=524288)


def helium(c: Fields) -> Parts:
    """Helium."""
    bias = biases(c, out=False)
    return uniform(c, attention(c, 20, 128, **bias), dense(c, c.flag("mlp_bias", False)), max_positions=4096)


def cwm(c: Fields) -> Parts:
    """Code World Model: every fourth layer, the first one included, sees everything."""
    made, seen = attention(c, 8, 128), spans(c, depth_of(c), window(c, 8192), lambda i: i % 4 != 0)
    return stack(c, made, dense(c, c.flag("mlp_bias", False)), seen, max_positions=131072)


def ernie(c: Fields) -> Parts:
    """ERNIE 4.5, dense."""
    bias = c.flag("use_bias", False)
    made = attention(c, 2, 128, qkv_bias=bias, out_bias=bias)
    return uniform(c, made, dense(c, bias), tied=True, max_positions=131072)


def hunyuan(c: Fields) -> Parts:
    """Hunyuan, dense: norms of queries and keys."""
    return uniform(c, attention(c, norm="head", **biases(c)), dense(c))


def internlm(c: Fields) -> Parts:
    """InternLM 1 and 2: one flag for the biases of attention."""
    bias = c.flag("bias", False)
    return uniform(c, attention(c, qkv_bias=bias, out_bias=bias), dense(c))


def internlm3(c: Fields) -> Parts:
    """InternLM 3: ``qkv_bias`` beside ``bias``, which older files use for output projection and feed-forward."""
    bias = c.flag("bias", False)
    qkv, out = c.flag("qkv_bias", c.flag("attention_bias", False)), c.flag("attention_bias", bias)
    made = attention(c, 2, 128, qkv_bias=qkv, out_bias=out)
    return uniform(c, made, dense(c, c.flag("mlp_bias", bias)), max_positions=32768)


def baichuan(c: Fields) -> Parts:
    """Baichuan 1 and 2: multi-head attention; the 13B has ALiBi, which its file tells by ``model_max_length``."""
    c.get("model_max_length")
    made = attention(c)
    if c.get("max_position_embeddings") is None:
        made = replace(made, rope_dim=0)
    return uniform(c, made, dense(c), max_positions=c.integer("model_max_length", default=4096, limit="positions"))


def nemotron(c: Fields) -> Parts:
    """Nemotron 3 and 4, dense: squared ReLU, and a layer norm whose scale is kept as the difference to one."""
    made = attention(c, head_dim=128, rotary=0.5, **biases(c))
    block = dense(c, c.flag("mlp_bias", False), gated=False)
    return uniform(c, made, block, norm="layer_norm", max_positions=4096)


def arcee(c: Fields) -> Parts:
    """Arcee Foundation: as Llama, with a squared ReLU instead of a gate."""
    block = dense(c, c.flag("mlp_bias", False), gated=False)
    return uniform(c, attention(c, **biases(c)), block, max_positions=4096)


def apertus(c: Fields) -> Parts:
    """Apertus: norms of queries and keys, and an activation with two parameters of its own instead of a gate."""
    made, block = attention(c, norm="head", **biases(c)), dense(c, gated=False)
    depth = depth_of(c)
    c.get("post_norm", "qk_norm", "mlp_bias")
    return uniform(c, made, block, max_positions=65536, besides=(Few("activation", 2, depth),))


def bitnet(c: Fields) -> Parts:
    """BitNet: a norm inside each block."""
    made, block, depth = attention(c, **biases(c)), dense(c), depth_of(c)
    inner = Few("sub_norm", c.integer("hidden_size") + block.inter, depth)
    return uniform(c, made, block, max_positions=2048, besides=(inner,))


def diffllama(c: Fields) -> Parts:
    """DiffLlama: the difference of two attentions, weighted by four small vectors a layer."""
    made, depth = attention(c, **biases(c)), depth_of(c)
    return uniform(c, made, dense(c), besides=(Few("lambdas", 4 * made.head_dim, depth),))


def doge(c: Fields) -> Parts:
    """Doge, dense: a mask that is computed from the values, and scaled residuals."""
    if c.flag("is_moe", False):
        c.fail("is_moe", "found true, expected false: roofline does not read Doge's mixture of small experts")
    c.get("num_experts", "num_experts_per_tok", "keep_window_size")
    made, depth = attention(c, norm="head", **biases(c)), depth_of(c)
    hidden = c.integer("hidden_size")
    mask = Few("dynamic_mask", made.kv_heads * (1 + made.kv_heads * made.head_dim), depth)
    besides = (mask, Few("residual_scale", 2 * hidden, depth))
    return uniform(c, made, dense(c, c.flag("mlp_bias", False)), window(c), besides=besides)


def nanochat(c: Fields) -> Parts:
    """nanochat: norms without weights, squared ReLU."""
    made = attention(c, norm="plain", **biases(c))
    return uniform(c, made, dense(c, gated=False), norm_weights=0)


def jais2(c: Fields) -> Parts:
    """Jais 2: biases everywhere, squared ReLU, layer norms."""
    block = dense(c, c.flag("mlp_bias", True), gated=False)
    return uniform(c, attention(c, **biases(c, True)), block, norm="layer_norm", max_positions=8192)


def telechat(c: Fields) -> Parts:
    """TeleChat 1 and 2: Llama in older words, biases where a block ends and nowhere else."""
    depth, hidden = depth_of(c), c.integer("hidden_size")
    block = FeedForward(c.integer("ffn_hidden_size", "intermediate_size"))
    made = attention(c, out_bias=True)
    positions = c.integer("seq_length", "max_position_embeddings", default=8192, limit="positions")
    bias = Few("down_proj_bias", hidden, depth)
    c.get("add_bias_linear", "embed_layernorm", "apply_residual_connection_post_layernorm")
    return uniform(c, made, block, max_positions=positions, besides=(bias,))


def pangu_embedded(c: Fields) -> Parts:
    """openPangu Embedded: Llama with one flag for the biases of attention."""
    bias = c.flag("bias", c.flag("attention_bias", True))
    return uniform(c, attention(c, qkv_bias=bias, out_bias=bias), dense(c, c.flag("mlp_bias", False)))


def solar(c: Fields) -> Parts:
    """Solar Pro: Llama with a window; what its blocks skip to is added and has no weights."""
    return uniform(c, attention(c, **biases(c)), dense(c, c.flag("mlp_bias", False)), window(c), max_positions=4096)


# -- OLMo -------------------------------------------------------------------------------------------------------------


def olmo(c: Fields) -> Parts:
    """OLMo 1: layer norms without weights."""
    return uniform(c, attention(c, **biases(c)), dense(c), norm="layer_norm", norm_weights=0)


def olmo2(c: Fields) -> Parts:
    """OLMo 2: norms behind the blocks, and of queries and keys over all heads."""
    return uniform(c, attention(c, norm="all", **biases(c)), dense(c))


def olmo3(c: Fields) -> Parts:
    """OLMo 3: as OLMo 2, with three local layers before each that sees everything."""
    seen = spans(c, depth_of(c), window(c, 4096), every(4))
    return stack(c, attention(c, norm="all", **biases(c)), dense(c), seen)


# -- Cohere -----------------------------------------------------------------------------------------------------------


def cohere(c: Fields) -> Parts:
    """Command-R: attention and feed-forward side by side under one norm without a bias; tied embeddings."""
    made = attention(c, **biases(c))
    if c.flag("use_qk_norm", False):
        made = replace(made, qk_norm=True, qk_norm_weights=(made.heads + made.kv_heads) * made.head_dim)
    return uniform(c, made, dense(c), **cohere_norms())


def cohere2(c: Fields) -> Parts:
    """Command-R7B and Command A: three local layers, rotated, before each that sees everything, which is not."""
    return stack(c, attention(c, **biases(c)), dense(c), cohere_spans(c), **cohere_norms())


def cohere_spans(c: Fields) -> list[Span]:
    """Local layers, and whole ones that are not rotated."""
    step = c.integer("sliding_window_pattern", default=4, limit="layers")
    c.get("order_of_interleaved_layers", "use_gated_activation", "use_parallel_block", "use_parallel_embedding")
    found = spans(c, depth_of(c), window(c, 4096), every(step))
    return [span if span.window else replace(span, rope=False) for span in found]


def cohere_norms() -> Parts:
    """What the families of Cohere have in common."""
    return {"norm": "layer_norm", "norm_weights": 1, "norms_per_layer": 1, "tied": True, "max_positions": 8192}


# -- A layer of its own at every place --------------------------------------------------------------------------------


def nemotron_nas(c: Fields) -> Parts:
    """Llama-Nemotron (DeciLM): a list of layers that a search left over: fewer heads, narrower, without a half."""
    configs = c.array("block_configs")
    if not configs:
        c.fail("block_configs", "is missing, expected a list with an object for each layer")
    depth, hidden = depth_of(c), c.integer("hidden_size")
    if len(configs) != depth:
        c.fail("block_configs", f"found {len(configs)} entries, expected num_hidden_layers = {depth}")
    heads = c.integer("num_attention_heads", limit="heads")
    dim = c.integer("head_dim", default=0) or hidden // heads
    bias, mlp_bias = biases(c), c.flag("mlp_bias", False)
    c.get("num_key_value_heads", "intermediate_size")
    layers: list[Layer] = []
    for number, one in enumerate(configs):
        if not isinstance(one, dict):
            c.fail("block_configs", f"found {one!r:.40} at {number}, expected an object")
        inside = Fields(one, c.file, f"{c.inside}block_configs[{number}]")
        layers.append(_searched(inside, hidden, heads, dim, bias, mlp_bias))
    return model(c, layers, max_positions=131072)


def _searched(c: Fields, hidden: int, heads: int, dim: int, bias: Parts, mlp_bias: bool) -> Layer:
    """One layer of a search: ``attention`` and ``ffn`` of its block."""
    mixer: Mixer | None = None
    table, block = c.table("attention"), c.table("ffn")
    if table is None or block is None:
        c.fail("attention" if table is None else "ffn", "is missing, expected an object")
    for part in (table, block):
        if part.flag("replace_with_linear", False):
            part.fail("replace_with_linear", "found true, expected false: roofline reads no linear stand-ins")
    if not table.flag("no_op", False):
        group = table.integer("n_heads_in_group", limit="heads")
        table.divides("n_heads_in_group", group, "num_attention_heads", heads)
        mixer = Attention(heads, heads // group, dim, dim, **bias)
    if block.flag("no_op", False):
        return mixer, None, Span()
    # The width is a share of the model's, two thirds of it for the gate's sake, in steps of 256.
    wanted = block.number("ffn_mult", default=0.0, low=1e-6, high=1e3)
    inter = block.integer("intermediate_size", default=-(-int(2 * wanted * hidden / 3) // 256) * 256)
    return mixer, FeedForward(inter, bias=mlp_bias), Span()
