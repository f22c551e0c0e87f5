"""Families that transformers has no class for, as their papers and cards count them; and heads that score."""

from __future__ import annotations

from typing import Any

import pytest

import roofline as rl
from roofline.base.errors import BadModel
from roofline.models import huggingface
from roofline.models.llm import LanguageModel

SMALL: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 4, "num_attention_heads": 16,
    "num_key_value_heads": 8, "vocab_size": 1000,
}  # fmt: skip
RWKV7 = {"model_type": "rwkv7", "vocab_size": 65536}
RING: dict[str, Any] = {
    "model_type": "bailing_moe_v2_5", "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
    "intermediate_size": 18432, "vocab_size": 157184, "num_experts": 256, "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048, "num_shared_experts": 1, "first_k_dense_replace": 4, "layer_group_size": 8,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "head_dim": 128, "use_qk_norm": True,
    "moe_router_enable_expert_bias": True,
}  # fmt: skip
PANGU: dict[str, Any] = {
    "model_type": "pangu_ultra_moe", "hidden_size": 7680, "num_hidden_layers": 61, "num_attention_heads": 128,
    "intermediate_size": 18432, "vocab_size": 153600, "n_routed_experts": 256, "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048, "n_shared_experts": 1, "first_k_dense_replace": 3, "q_lora_rank": 1536,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "sandwich_norm": True,
}  # fmt: skip
PLAMO: dict[str, Any] = {
    "model_type": "plamo2", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 4, "intermediate_size": 16384, "vocab_size": 100000, "hidden_size_per_head": 128,
    "mamba_num_heads": 64, "mamba_d_state": 64, "mamba_step": 2,
}  # fmt: skip


def read(config: dict[str, Any], name: str = "", **more: Any) -> LanguageModel:
    return huggingface.read(config | more | ({"architectures": [name]} if name else {}))


@pytest.mark.parametrize(
    ("config", "name", "params"),
    [
        # RWKV-7, arXiv 2503.14456: 2DV + 4D + LD(12D + 2(dw + da + dv + dg) + 19) - (2 dv D + D) parameters.
        (RWKV7 | {"hidden_size": 768, "num_hidden_layers": 12}, "RWKV7ForCausalLM", 191_034_624),
        (RWKV7 | {"hidden_size": 2048, "num_hidden_layers": 24}, "RWKV7ForCausalLM", 1_527_404_544),
        (RWKV7 | {"hidden_size": 2560, "num_hidden_layers": 32}, "RWKV7ForCausalLM", 2_947_735_040),
        (RING, "BailingMoeV2_5ForCausalLM", pytest.approx(1e12, rel=0.02)),  # model card (recalled): 1 T
        (PANGU, "PanguUltraMoEForCausalLM", pytest.approx(718e9, rel=0.002)),  # its name: 718B
        (PLAMO, "Plamo2ForCausalLM", pytest.approx(9.1e9, rel=0.003)),  # PLaMo 2 8B's card (recalled): 9.1 B
    ],
)
def test_parameters_as_published(config: dict[str, Any], name: str, params: int) -> None:
    assert read(config, name).params == params


def test_a_layer_that_is_run_again_is_stored_once_and_caches_each_time() -> None:
    once, again = (read(SMALL, model_type="ouro", total_ut_steps=n) for n in (1, 3))
    assert once.params == again.params
    assert again.kv_bytes_per_token() == 3 * once.kv_bytes_per_token()
    assert again.kv_bytes(2, 100) == 3 * once.kv_bytes(2, 100)
    first, third = ({op.name: op.count for op in model.step(1, 1, 64)} for model in (once, again))
    for name in ("qkv_proj", "attention", "gate_up_proj", "norm", "residual_add"):
        assert third[name] == 3 * first[name]
    assert third["lm_head"] == first["lm_head"] == 1
    assert again.num_layers == once.num_layers == 4
    est = [rl.estimate(model, "h100-sxm", stack="vllm", batch=1, prompt=64, output=8) for model in (once, again)]
    assert est[0].kv_tokens == pytest.approx(3 * est[1].kv_tokens, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "name", "more", "outputs"),
    [
        ("qwen2", "Qwen2ForRewardModel", 1024 * 1025 + 1025, 1),  # a square layer, a ReLU, a score; biases
        ("qwen2", "Qwen2ForProcessRewardModel", 1024 * 1025 + 2 * 1025, 2),
        ("internlm2", "InternLM2ForRewardModel", 1024, 1),
        ("qwen2", "Qwen2ForSequenceClassification", 2 * 1024, 2),
    ],
)
def test_a_reward_model_scores(kind: str, name: str, more: int, outputs: int) -> None:
    bare = read(SMALL | {"model_type": kind, "tie_word_embeddings": True})
    model = read(SMALL | {"model_type": kind}, name)
    assert (model.params - bare.params, model.scored, model.decodes) == (more, outputs, False)


def test_a_class_that_wraps_a_decoder_or_sees_both_ways_is_what_it_is() -> None:
    chat = {"architectures": ["InternVLChatModel"], "model_type": "internvl_chat", "vision_config": {"depth": 2}}
    wrapped = huggingface.read(chat | {"llm_config": SMALL | {"model_type": "qwen2"}})
    assert wrapped.decodes
    assert wrapped.params == read(SMALL | {"model_type": "qwen2"}).params
    both = read(SMALL, "LlamaBidirectionalModel", model_type="llama_bidirec")
    assert (both.causal, both.decodes, both.scored) == (False, False, 0)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PANGU | {"use_mhc": True}, "use_mhc: found true"),
        (PANGU | {"sliding_window": 512}, "sliding_window: found 512"),
        (SMALL | {"model_type": "nemotron_h_puzzle", "block_configs": [1]}, "layers_block_type: is missing"),
        (SMALL | {"model_type": "llama", "tied": True}, "tied: is not a field of llama; did you mean 'tie_word_emb"),
        (SMALL | {"model_type": "qwen3", "d_kv": 64}, "d_kv: is not a field of qwen3; did you mean 'head_dim'"),
        (
            SMALL | {"model_type": "llama", "quantization_config": {"quant_method": "fp8", "weight_block_sizes": [1]}},
            "weight_block_sizes: is not a field of .*; did you mean 'weight_block_size'",
        ),
    ],
)
def test_what_is_not_read_is_refused_by_its_field(config: dict[str, Any], says: str) -> None:
    with pytest.raises(BadModel, match=says):
        huggingface.read(config)
