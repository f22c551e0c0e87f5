"""State-space models, linear attention and their hybrids: other sizes than the classes' own, states, shared blocks."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from roofline.models import huggingface
from roofline.models.llm import LanguageModel

DEFAULTS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "class_defaults.json").read_text())


STEP3: dict[str, Any] = {
    "architectures": ["Step3TextForCausalLM"], "model_type": "step3_text", "hidden_size": 7168, "head_dim": 256,
    "intermediate_size": 18432, "num_attention_heads": 64, "num_attention_groups": 1, "num_hidden_layers": 61,
    "max_seq_len": 65536, "vocab_size": 128815, "moe_num_experts": 48, "moe_top_k": 3, "share_expert_dim": 5120,
    "share_q_dim": 2048, "moe_intermediate_size": 5120, "use_moe": True, "max_position_embedding": 65536,
    "moe_layers_enum": ",".join(str(i) for i in range(4, 60)), "moe_every_n_layer": 1,
}  # fmt: skip


def read(family: str, **changes: Any) -> LanguageModel:
    """A family as its class makes it, with some fields changed."""
    return huggingface.read({**copy.deepcopy(DEFAULTS[family]["config"]), **changes})


def refused(family: str, **changes: Any) -> str:
    with pytest.raises(rl.BadModel) as error:
        read(family, **changes)
    return str(error.value)


@pytest.mark.parametrize(
    ("family", "changes", "params"),
    [
        ("mamba", {"hidden_size": 1024, "expand": 3, "intermediate_size": 3072, "state_size": 32, "use_bias": True,
                   "use_conv_bias": False, "time_step_rank": 80}, 379_495_424),
        ("mamba2", {"use_bias": True, "n_groups": 1, "num_heads": 64, "hidden_size": 2048}, 1_789_249_536),
        ("jamba", {"num_experts": 1, "num_experts_per_tok": 1, "mamba_dt_rank": 160, "mamba_proj_bias": True,
                   "attn_layer_offset": 7, "attn_layer_period": 14, "num_hidden_layers": 28}, 8_251_147_136),
        ("bamba", {"attn_layer_indices": [9, 18, 27], "mamba_n_groups": 4, "attention_bias": True, "mlp_bias": True,
                   "mamba_proj_bias": True, "mamba_conv_bias": False}, 9_992_698_368),
        ("granitemoehybrid", {"num_local_experts": 0, "shared_intermediate_size": 8192, "num_key_value_heads": 8,
                              "layer_types": ["mamba", "attention", "mamba", "mamba"], "num_hidden_layers": 4,
                              "tie_word_embeddings": True}, 885_715_584),
        ("falcon_h1", {"mamba_d_ssm": 3072, "mamba_n_heads": 24, "mamba_d_head": 128, "projectors_bias": True,
                       "mamba_rms_norm": True, "mamba_n_groups": 2, "mlp_bias": True, "attention_bias": True},
         9_375_750_400),
        ("falcon_h1", {"mamba_d_ssm": None, "mamba_d_head": 64, "mamba_proj_bias": True}, 11_335_225_344),
        ("zamba", {"n_mamba_heads": 4, "num_hidden_layers": 20, "layers_block_type": None}, 2_262_775_808),
        ("zamba2", {"num_mem_blocks": 2, "use_shared_attention_adapter": True, "adapter_rank": 64,
                    "n_mamba_heads": 80, "mamba_headdim": 64, "add_bias_linear": True}, 2_667_386_752),
        ("rwkv", {"attention_hidden_size": 2048, "tie_word_embeddings": True, "hidden_size": 1024,
                  "intermediate_size": 4096}, 622_339_072),
        ("xlstm", {"use_bias": True, "hidden_size": 2048, "embedding_dim": 2048}, 1_827_170_816),
        ("recurrent_gemma", {"num_key_value_heads": 1, "lru_width": 4096, "attention_bias": True, "head_dim": 256,
                             "hidden_size": 4096, "num_attention_heads": 16, "intermediate_size": 24576,
                             "num_hidden_layers": 38}, 8_580_032_512),
        ("minimax", {"head_dim": 128, "hidden_size": 6144, "num_attention_heads": 64, "num_hidden_layers": 6,
                     "num_local_experts": 4, "layer_types": None, "attn_type_list": [1, 0, 1, 0, 1, 0]}, 7_829_968_896),
        ("lfm2", {"full_attn_idxs": [2, 5], "num_hidden_layers": 8, "conv_bias": True, "hidden_size": 2048,
                  "layer_types": None}, 658_639_104),
        ("opt", {"word_embed_proj_dim": 512, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                 "ffn_dim": 4096, "do_layer_norm_before": False}, 331_196_416),
        ("lfm3", {"use_sandwich_norm": False, "use_attention_gate": False, "attention_bias": True,
                  "sliding_window": None}, 1_728_399_104),
    ],
)  # fmt: skip
def test_other_sizes_count_as_transformers_counts_them(family: str, changes: dict[str, Any], params: int) -> None:
    """The parameters of the classes of transformers 5.24.0 on the meta device."""
    assert read(family, **changes).params == params


@pytest.mark.parametrize(
    ("family", "changes", "total_b", "active_b"),
    [
        # ai21labs/AI21-Jamba-1.5-Large: 398 B, 94 B active (arXiv 2408.12570).
        ("jamba", {"hidden_size": 8192, "intermediate_size": 24576, "num_hidden_layers": 72, "mamba_dt_rank": 512,
                   "num_attention_heads": 64}, 398, 94),
        # MiniMax-M1: 456 B, 45.9 B active (arXiv 2506.13585), embeddings of 2.5 B not counted as active.
        ("minimax", {"hidden_size": 6144, "intermediate_size": 9216, "num_hidden_layers": 80, "head_dim": 128,
                     "num_attention_heads": 64, "num_local_experts": 32, "vocab_size": 200064, "layer_types": None,
                     "attn_type_list": [int(i % 8 == 7) for i in range(80)]}, 456, 45.9 + 2.46),
        # LongCat-Flash: 560 B, about 27 B active as a third of the choices computes nothing (arXiv 2509.01322), the
        # token embedding's 0.8 B not counted as active.
        ("longcat_flash", {"zero_expert_num": 256}, 560, 27 + 0.8),
        # Falcon-H1-34B (arXiv 2507.22448).
        ("falcon_h1", {"hidden_size": 5120, "intermediate_size": 21504, "num_hidden_layers": 72, "vocab_size": 261120,
                       "num_attention_heads": 20, "num_key_value_heads": 4, "head_dim": 128, "mamba_d_ssm": 4096,
                       "mamba_n_heads": 32, "mamba_d_head": 128, "mamba_n_groups": 2}, 33.6, 33.6),
    ],
)  # fmt: skip
def test_published_sizes(family: str, changes: dict[str, Any], total_b: float, active_b: float) -> None:
    model = read(family, **changes)
    assert model.params / 1e9 == pytest.approx(total_b, rel=0.005)
    assert model.active_params / 1e9 == pytest.approx(active_b, rel=0.03)


@pytest.mark.parametrize(
    ("config", "params_b"),
    [
        # Jais 13B and Solar Pro preview, by their cards (recalled).
        ({"architectures": ["JAISLMHeadModel"], "model_type": "jais", "activation_function": "swiglu", "n_embd": 5120,
          "n_head": 40, "n_inner": 13653, "n_layer": 40, "n_positions": 2048, "position_embedding_type": "alibi",
          "vocab_size": 84992}, 13.0),
        ({"architectures": ["SolarForCausalLM"], "model_type": "solar", "hidden_size": 5120, "num_hidden_layers": 64,
          "intermediate_size": 17920, "num_attention_heads": 40, "num_key_value_heads": 10, "vocab_size": 32128,
          "sliding_window": 2047, "bskcn_1": [12, 20, 32, 44], "tie_word_embeddings": False}, 22.1),
        # Falcon-H1-0.5B, its config.json.
        ({"architectures": ["FalconH1ForCausalLM"], "model_type": "falcon_h1", "attn_layer_indices": None,
          "head_dim": 64, "hidden_size": 1024, "intermediate_size": 2048, "key_multiplier": 0.39, "mamba_d_conv": 4,
          "mamba_chunk_size": 128, "mamba_conv_bias": True, "mamba_d_head": 64, "mamba_d_state": 128,
          "mamba_d_ssm": 1536, "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 24, "mamba_use_mlp": True,
          "mamba_norm_before_gate": False, "mamba_rms_norm": False, "num_attention_heads": 8, "vocab_size": 32784,
          "num_hidden_layers": 36, "num_key_value_heads": 2, "ssm_multipliers": [0.35, 0.25, 0.35, 0.5, 0.35]}, 0.521),
        # Step 3: 316 B without its vision tower, by its card (recalled).
        ({"architectures": ["Step3VLForConditionalGeneration"], "model_type": "step3_vl", "text_config": STEP3}, 316.3),
        # openPangu Embedded: four biases of attention in each of two layers.
        ({"architectures": ["PanguEmbeddedForCausalLM"], "model_type": "PanguEmbedded", "bias": True,
          "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 8,
          "num_key_value_heads": 2, "vocab_size": 1000},
         (2 * 1000 * 1024 + 2 * (2 * 1024 * 1280 + 2 * 1024 + 512 + 3 * 1024 * 2048 + 2 * 1024) + 1024) / 1e9),
        # TeleChat2 in its own words: biases of the output and of the second matrix of a block alone.
        ({"architectures": ["TeleChat2ForCausalLM"], "model_type": "telechat", "hidden_size": 1024, "n_layer": 2,
          "n_head": 8, "num_key_value_heads": None, "ffn_hidden_size": 2048, "vocab_size": 1000,
          "tie_word_embeddings": False},
         (2 * 1000 * 1024 + 2 * (4 * 1024**2 + 3 * 1024 * 2048 + 2 * 1024 + 2 * 1024) + 1024) / 1e9),
    ],
)  # fmt: skip
def test_families_of_engines_alone(config: dict[str, Any], params_b: float) -> None:
    assert huggingface.read(config).params / 1e9 == pytest.approx(params_b, rel=0.002)


# States and caches ----------------------------------------------------------------------------------------------------


def test_a_state_space_model_keeps_a_state_and_no_cache() -> None:
    """Mamba: 16 numbers in fp32 and the last 3 inputs in 16 bits for each of 1,536 channels, 32 layers."""
    model = read("mamba")
    assert model.kv_bytes_per_token() == 0
    assert model.state_bytes(2) == 2 * 32 * 1536 * (16 * 4 + 3 * 2)
    assert model.heads == 0


def test_a_layer_with_both_keeps_both() -> None:
    """Falcon-H1: keys and values of 8 heads of 128, and 128 states of 256 x 8 and 3 inputs of 1,536 channels."""
    model = read("falcon_h1")
    assert model.kv_bytes_per_token() == 32 * 2 * 8 * 128 * 2
    assert model.state_bytes(1) == 32 * (128 * 256 * 8 * 4 + 3 * (1024 + 2 * 256) * 2)


def test_a_shared_block_is_stored_once_and_run_in_every_layer() -> None:
    """Zamba: 13 layers run the block; its matrices are counted once, its cache is each layer's own."""
    model = read("zamba")
    stored = {w.name: w for w in model.weights}
    assert stored["gate_up_proj"].count == 1
    assert stored["shared_block_proj"].count == 13
    assert model.kv_bytes_per_token() == 13 * 2 * 16 * 464 * 2
    ops = {one.name: one for one in model.step(1, 1, 64)}
    assert ops["gate_up_proj"].count == 13
    assert ops["qkv_proj_of_embedding"].args["n"] == 3 * 16 * 464


def test_two_shared_blocks_hold_twice_the_weights() -> None:
    one, two = read("zamba2"), read("zamba2", num_mem_blocks=2)
    shared = 3 * 2560 * 10240 + (2 * 3 + 1) * 2560 * 5120 + 3 * 2560
    assert two.params - one.params == shared
    names = [[(op.name, op.count, op.args) for op in model.step(1, 1, 8)] for model in (one, two)]
    assert names[0] == names[1]


def test_a_token_shift_keeps_the_last_token() -> None:
    """RWKV-4: three numbers a channel in fp32, and the inputs of both halves in 16 bits."""
    assert read("rwkv").state_bytes(1) == 32 * (3 * 4096 * 4 + 2 * 4096 * 2)


def test_experts_that_compute_nothing_cost_nothing() -> None:
    """LongCat: 12 choices of 768 experts, of which 512 compute."""
    model = read("longcat_flash", zero_expert_num=256)
    step = {one.name: one for one in model.step(1, 1, 8)}
    assert step["moe"].args["topk"] == 8
    assert step["router"].args["n"] == 768
    assert model.num_layers == 56


def test_an_embedding_narrower_than_the_model() -> None:
    """OPT-350M: 512 numbers a token, projected to 1,024 and back; stages send what is as wide as the model."""
    wide = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "ffn_dim": 4096}
    narrow = read("opt", word_embed_proj_dim=512, **wide)
    ops = {one.name: one for one in narrow.step(2, 3, 3)}
    assert ops["token_embedding"].args["cols"] == ops["lm_head"].args["k"] == 512
    assert (ops["project_in"].args["n"], ops["project_in"].args["k"]) == (1024, 512)
    sent = []
    for model in (narrow, read("opt", word_embed_proj_dim=1024, **wide)):
        prefill = rl.estimate(model, "h100-sxm", pp=2, batch=2, prompt=3, output=2).prefill.workload
        sent.append(next(one.args["bytes"] for one in prefill if one.name == "pipeline_send"))
    assert sent[0] == sent[1]


def test_queries_through_a_rank() -> None:
    """Step 3: 2,048 numbers between a token and 64 queries of 256; one head of keys and values, five dense layers."""
    model = huggingface.read(copy.deepcopy(STEP3))
    assert model.kv_bytes_per_token() == 61 * 2 * 256 * 2
    ops = {one.name: one for one in model.step(1, 1, 64)}
    assert ops["qkv_a_proj"].args["n"] == 2048 + 2 * 256
    assert (ops["q_b_proj"].args["k"], ops["q_b_proj"].args["n"]) == (2048, 64 * 256)
    assert (ops["moe"].count, ops["down_proj"].count) == (56, 5)
    with pytest.raises(rl.BadModel, match="moe_layers_enum: found '4,61'"):
        huggingface.read({**STEP3, "moe_layers_enum": "4,61"})


def test_attention_by_experts() -> None:
    """JetMoE: two of eight experts make 16 query heads each; keys and values are the same for all."""
    model = read("jetmoe")
    assert model.heads == 32
    assert model.kv_bytes_per_token() == 12 * 2 * 16 * 128 * 2
    experts = next(w for w in model.weights if w.name == "attention_experts")
    assert (experts.elements, experts.active) == (2 * 8 * 2048 * 2048, 0.25)
    one = next(one for one in model.step(4, 1, 64) if one.name == "attention_experts")
    assert (one.args["tokens"], one.args["inter"], one.args["gated"]) == (4, 2048, False)


@pytest.mark.parametrize("family", ["jamba", "falcon_h1", "zamba2", "rwkv", "minimax", "lfm3", "jetmoe"])
def test_chips_share_what_is_split(family: str) -> None:
    """Matrix work of two chips together is that of one, but for what both do."""
    one, two = (rl.estimate(read(family), "h200", tp=tp, batch=2, prompt=64, output=8) for tp in (1, 2))
    for phase in ("prefill", "decode"):
        whole, half = (float(getattr(one_of, phase).flops) for one_of in (one, two))
        assert 0.5 * whole <= half < 0.62 * whole


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "changes", "says"),
    [
        ("mamba2", {"head_dim": 32}, "head_dim: found 32, expected expand x hidden_size / num_heads = 64"),
        ("bamba", {"mamba_d_head": 32}, "mamba_d_head: found 32, expected the width"),
        ("bamba", {"mamba_n_heads": 100}, "mamba_n_heads: found 100, expected a divisor of"),
        ("granitemoehybrid", {"layer_types": ["mamba"] * 31}, "layer_types: found 31 entries, expected"),
        ("lfm2", {"layer_types": ["conv", "swin"] * 16}, "layer_types: found 'swin', expected one of conv"),
        ("zamba", {"attention_hidden_size": 3712}, "attention_hidden_size: found 3712, expected twice hidden_size"),
        ("recurrent_gemma", {"block_types": ["mamba"]}, "block_types: found 'mamba', expected 'recurrent'"),
        ("xlstm", {"num_heads": 7}, "qk_dim_factor: makes 2048 numbers of num_heads = 7 heads"),
        ("minimax", {"layer_types": None, "attn_type_list": [1]}, "attn_type_list: found 1 entries"),
        ("longcat_flash", {"zero_expert_type": "copy"}, "zero_expert_type: found 'copy', expected 'identity'"),
        ("jetmoe", {"num_attention_heads": 16}, "num_attention_heads: found 16, expected experts a token x"),
        ("deepseek_v4", {"compress_rates": {"compressed_sparse_attention": 8}}, "compressed_sparse_attention: found 8"),
    ],
)
def test_what_does_not_fit_together_is_named(family: str, changes: dict[str, Any], says: str) -> None:
    assert says in refused(family, **changes)
