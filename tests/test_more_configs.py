"""More of config.json files: what each family's class takes where a file says nothing, and dtypes of checkpoints.

The defaults are those of the configuration classes in Hugging Face's ``transformers`` (4.5x).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

import roofline as rl
from roofline.models import huggingface
from roofline.models.attention import Attention, LatentAttention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.llm import LanguageModel
from roofline.models.mixers import Span

#: What no family does without.
LEAST: dict[str, Any] = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_hidden_layers": 8,
    "intermediate_size": 3000,
    "vocab_size": 1000,
}


def read(family: str, **keys: Any) -> LanguageModel:
    """A file of this family that says no more than it has to."""
    return huggingface.read({"model_type": family, **LEAST, **keys})


def parts(model: LanguageModel) -> tuple[Any, Any, list[tuple[Span, int]]]:
    """Attention and feed-forward of a model whose layers differ in how far they see, and how many see how far."""
    (attention,) = {group.mixer for group in model.layers}
    (feed_forward,) = {group.feed_forward for group in model.layers}
    return attention, feed_forward, list(Counter({g.span: g.count for g in model.layers}).items())


def attention(kv_heads: int, dim: int = 64, **more: Any) -> Attention:
    return replace(Attention(16, kv_heads, dim, dim), **more)


NORMED = {"qk_norm": True, "qk_norm_weights": 2 * 128}
DENSE = FeedForward(3000)


@pytest.mark.parametrize(
    ("family", "keys", "seen"),
    [
        ("llama", {}, (attention(16), DENSE, {None: 8})),
        (
            "llama",
            {"attention_bias": True, "mlp_bias": True},
            (attention(16, qkv_bias=True, out_bias=True), FeedForward(3000, bias=True), {None: 8}),
        ),
        ("mistral", {}, (attention(8), DENSE, {4096: 8})),
        ("mixtral", {"num_local_experts": 6}, (attention(8), Experts(6, 2, 3000), {None: 8})),
        ("qwen2", {"num_key_value_heads": 4}, (attention(4, qkv_bias=True), DENSE, {None: 8})),
        (
            "qwen2",
            {"num_key_value_heads": 4, "use_sliding_window": True, "max_window_layers": 3},
            (attention(4, qkv_bias=True), DENSE, {None: 3, 4096: 5}),
        ),
        (
            "qwen2_moe",
            {"num_key_value_heads": 16, "num_experts": 6, "moe_intermediate_size": 70},
            (attention(16, qkv_bias=True), Experts(6, 4, 70, FeedForward(5632), shared_gate=True), {None: 8}),
        ),
        ("qwen3", {"num_key_value_heads": 4}, (attention(4, 128, **NORMED), DENSE, {None: 8})),
        (
            "qwen3_moe",
            {"num_key_value_heads": 4, "num_experts": 9, "moe_intermediate_size": 70},
            (attention(4, 64, qk_norm=True, qk_norm_weights=2 * 64), Experts(9, 8, 70), {None: 8}),
        ),
        ("gemma", {"num_key_value_heads": 4}, (attention(4, 256), DENSE, {None: 8})),
        ("gemma2", {}, (attention(4, 256), DENSE, {4096: 4, None: 4})),
        ("gemma3", {}, (attention(4, 256, qk_norm=True, qk_norm_weights=512), DENSE, {4096: 7, None: 1})),
        ("phi3", {"num_key_value_heads": 4}, (attention(4), DENSE, {None: 8})),
        (
            "gpt_oss",
            {"num_local_experts": 9},
            (
                attention(8, qkv_bias=True, out_bias=True, sinks=True),
                Experts(9, 4, 3000, bias=True, router_bias=True),
                {128: 4, None: 4},
            ),
        ),
        (
            "minimax_m2",
            {"num_local_experts": 9},
            (
                attention(8, 128, rope_dim=64, qk_norm=True, qk_norm_weights=(16 + 8) * 128),
                Experts(9, 8, 3000, router_bias=True),
                {None: 8},
            ),
        ),
    ],
)
def test_what_a_family_takes_where_a_file_says_nothing(
    family: str, keys: dict[str, Any], seen: tuple[Any, ...]
) -> None:
    one, block, spans = parts(read(family, **keys))
    assert (one, block) == seen[:2]
    assert {span.window: count for span, count in spans} == seen[2]


@pytest.mark.parametrize(
    ("family", "keys", "tied", "norm", "norms", "positions"),
    [
        ("mistral", {}, False, "rms_norm", 2, 131072),
        ("mixtral", {"num_local_experts": 6}, False, "rms_norm", 2, 131072),
        ("qwen2", {"num_key_value_heads": 4}, False, "rms_norm", 2, 32768),
        ("gemma", {"num_key_value_heads": 4}, True, "rms_norm", 2, 8192),
        ("gemma2", {}, True, "rms_norm", 4, 8192),
        ("gemma3", {}, True, "rms_norm", 4, 131072),
        ("phi3", {"num_key_value_heads": 4}, False, "rms_norm", 2, 4096),
        ("gpt_oss", {"num_local_experts": 9}, False, "rms_norm", 2, 131072),
    ],
)
def test_norms_ends_and_positions_of_a_family(
    family: str, keys: dict[str, Any], tied: bool, norm: str, norms: int, positions: int
) -> None:
    model = read(family, **keys)
    assert (model.tied, model.norm, model.norms_per_layer, model.max_positions) == (tied, norm, norms, positions)
    assert read(family, **keys, tie_word_embeddings=not tied).tied is not tied


def test_latent_attention_where_a_file_says_nothing() -> None:
    """Ranks of 1536 and 512, heads of 128 and 64 rotated. V2: all layers routed, two shared experts; V3: from the
    fourth on, one shared, 4096 positions."""
    keys = {"n_routed_experts": 6, "moe_intermediate_size": 70, "num_experts_per_tok": 2}
    one, block, _ = parts(read("deepseek_v2", **keys))
    assert one == LatentAttention(16, 1536, 512, 64, 128, 128)
    assert block == Experts(6, 2, 70, FeedForward(140))
    assert parts(read("deepseek_v2", **keys, q_lora_rank=None))[0].q_lora_rank is None
    plain = read("deepseek_v3", **keys)
    assert {group.feed_forward: group.count for group in plain.layers} == {
        DENSE: 3,
        Experts(6, 2, 70, FeedForward(70), router_bias=True): 5,
    }
    assert plain.max_positions == 4096
    third = read("deepseek_v3", **keys, n_shared_experts=2, first_k_dense_replace=3, moe_layer_freq=2)
    blocks = {group.feed_forward: group.count for group in third.layers}
    # Of layers 3 to 7 the even ones.
    assert blocks == {DENSE: 6, Experts(6, 2, 70, FeedForward(140), router_bias=True): 2}


def test_llama_4_where_a_file_says_nothing() -> None:
    """All layers routed; every fourth is not rotated and sees everything, the others chunks of 8192."""
    model = read("llama4", num_local_experts=4, intermediate_size=3000)
    one, block, spans = parts(model)
    assert one == attention(8, 128, qk_norm=True)
    assert block == Experts(4, 1, 3000, FeedForward(3000))
    assert dict(spans) == {Span(8192, chunked=True): 6, Span(rope=False): 2}
    half = read(
        "llama4",
        num_local_experts=4,
        interleave_moe_layer_step=2,
        no_rope_layers=[1, 0, 1, 1, 1, 1, 1, 1],
        attention_chunk_size=None,
    )
    assert {group.feed_forward: group.count for group in half.layers if group.span.rope} == {
        Experts(4, 1, 3000, FeedForward(3000)): 3,
        FeedForward(16384): 4,
    }
    assert [(g.span.window, g.count, g.feed_forward.inter) for g in half.layers if not g.span.rope] == [(None, 1, 3000)]


def test_older_families_where_a_file_says_nothing() -> None:
    """Falcon: one key/value head for all, a norm for both blocks, rotated unless it has ALiBi. GPT-J: 64 of a head are
    rotated. Phi: half of it."""
    falcon = read("falcon", intermediate_size=None)
    assert parts(falcon)[:2] == (attention(1), FeedForward(4096, gated=False))
    assert (falcon.norm, falcon.norms_per_layer, falcon.tied) == ("layer_norm", 1, True)
    assert parts(read("falcon", intermediate_size=None, alibi=True, bias=True))[0] == attention(
        1, rope_dim=0, qkv_bias=True, out_bias=True
    )
    assert read("falcon", intermediate_size=None, parallel_attn=False).norms_per_layer == 2
    new = read("falcon", intermediate_size=None, new_decoder_architecture=True, num_kv_heads=4)
    assert (parts(new)[0].kv_heads, new.norms_per_layer) == (4, 2)
    assert parts(read("falcon", intermediate_size=None, multi_query=False))[0].kv_heads == 16
    sizes = {"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_layer": 4, "vocab_size": 1000, "n_positions": 2048}
    gptj = huggingface.read(sizes)
    assert parts(gptj)[:2] == (Attention(16, 16, 256, 64), FeedForward(16384, gated=False, bias=True))
    assert (gptj.norm, gptj.norms_per_layer, gptj.lm_head_bias, gptj.tied) == ("layer_norm", 1, True, False)
    phi = read("phi")
    assert parts(phi)[:2] == (
        attention(16, rope_dim=32, qkv_bias=True, out_bias=True),
        FeedForward(3000, gated=False, bias=True),
    )
    assert (phi.norm, phi.norms_per_layer, phi.lm_head_bias) == ("layer_norm", 1, True)


def test_layers_that_are_listed_or_counted() -> None:
    kinds = ["sliding_attention", "full_attention", "full_attention"] * 2 + ["full_attention"] * 2
    assert {s.window: n for s, n in parts(read("gemma2", layer_types=kinds, sliding_window=99))[2]} == {99: 2, None: 6}
    sparse = {"num_key_value_heads": 4, "num_experts": 9, "moe_intermediate_size": 70}
    model = read("qwen3_moe", **sparse, decoder_sparse_step=2, mlp_only_layers=[1])
    assert {group.feed_forward: group.count for group in model.layers} == {DENSE: 5, Experts(9, 8, 70): 3}
    every = read("gemma3", sliding_window_pattern=4)
    assert {s.window: n for s, n in parts(every)[2]} == {4096: 6, None: 2}
    assert {s.window: n for s, n in parts(read("mistral", sliding_window=None))[2]} == {None: 8}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"hidden_size": 1024.0}, "hidden_size: found 1024.0, expected a whole number from 1 to .*; write 1024$"),
        ({"hidden_size": 0}, "hidden_size: found 0, expected a whole number from 1 to"),
        ({"hidden_size": True}, "hidden_size: found true, expected a whole number from 1"),
        ({"vocab_size": None}, "vocab_size: "),
        ({"attention_bias": 1}, "attention_bias: found 1, expected true or false"),
        ({"torch_dtype": "float7"}, "torch_dtype: "),
        ({"torch_dtype": 7}, "torch_dtype: found 7, expected a string"),
        ({"model_type": "gemma2", "layer_types": "x" * 99}, 'layer_types: found "x{56}[.]{3}, expected a list'),
        ({"model_type": "gemma2", "layer_types": "x" * 58}, 'layer_types: found "x{58}", expected a list'),
        ({"model_type": "gemma2", "layer_types": []}, "layer_types: found 0 entries"),
        ({"model_type": "llama4", "num_local_experts": 4, "no_rope_layers": [2]}, "found 2, expected whole"),
        ({"model_type": "llama4", "num_local_experts": 4, "no_rope_layers": [1]}, "found 1 entries, expected"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "found 3, expected at most"),
    ],
)
def test_a_field_that_cannot_be_is_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(rl.BadModel) as error:
        huggingface.read({"model_type": "llama", **LEAST, **keys})
    assert re.search(words, str(error.value)), str(error.value)


def test_what_a_summary_says() -> None:
    words = read("gemma2", sliding_window=99).summary()
    assert words["tokens seen"] == "99 in 4 layers, all in 4 layers"
    assert words["attention"] == "4 key/value heads"
    assert words["feed-forward width"] == 3000
    assert "experts" not in words
    assert words["checkpoint dtypes"] == "bf16 arithmetic, bf16 weights"
    latent = read("deepseek_v2", n_routed_experts=6, moe_intermediate_size=70, num_experts_per_tok=2).summary()
    assert (latent["attention"], latent["experts"]) == ("latent (MLA)", "2 of 6, width 70")
    assert latent["checkpoint dtypes"] == "bf16 arithmetic, bf16 weights, bf16 experts"
