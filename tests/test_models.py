"""Language models: parameter counts against the published ones, config files as people have them, one step's work."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline.errors import BadModel, BadWorkload
from roofline.models.attention import Attention, LatentAttention, Span
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.forward import mean_context
from roofline.models.llm import LanguageModel, load
from roofline.op import Op
from roofline.workload import Workload

CONFIGS = Path(__file__).parent.parent / "roofline" / "models" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))
MODELS = {name: load(CONFIGS / f"{name}.json") for name in NAMES}


def flops(op: Op) -> Any:
    """Matrix FLOP of an operator, the causal mask left out; 0 for the others."""
    a = op.args
    if op.kind == "gemm":
        return op.count * 2 * a["m"] * a["n"] * a["k"] * a["batch"]
    if op.kind == "attention":
        kv_len = np.minimum(a["kv_len"], a["window"] or np.inf)
        values = a["value_dim"] or a["head_dim"]
        return op.count * 2 * a["batch"] * a["heads"] * a["q_len"] * kv_len * (a["head_dim"] + values)
    if op.kind == "mla_attention":
        width = 2 * a["kv_lora_rank"] + a["rope_dim"]
        return op.count * 2 * a["batch"] * a["heads"] * a["q_len"] * a["kv_len"] * width
    if op.kind == "moe":
        return op.count * 6 * a["tokens"] * a["topk"] * a["hidden"] * a["inter"] / (a["tp"] * a["ep"])
    return 0


def total(workload: Workload) -> Any:
    return sum(flops(op) for op in workload)


def named(workload: Workload, name: str) -> Op:
    (found,) = [op for op in workload if op.name == name]
    return found


# -- Parameters ---------------------------------------------------------------------------------------------------


def test_at_least_fifty_models_are_built_in() -> None:
    assert len(NAMES) >= 50


@pytest.mark.parametrize("name", NAMES)
def test_parameters_agree_with_the_published_count(name: str) -> None:
    about = json.loads((CONFIGS / f"{name}.json").read_text())["_roofline"]
    assert about["published_source"]
    assert about["source"]
    assert MODELS[name].params / 1e9 == pytest.approx(about["published_params_b"], rel=0.005)


@pytest.mark.parametrize(
    ("name", "params_b", "active_b"),
    [
        ("llama-3.1-8b", 8.030, 8.030),  # Hugging Face, safetensors counts
        ("llama-3.1-70b", 70.554, 70.554),
        ("llama-3.1-405b", 405.85, 405.85),
        ("mixtral-8x7b", 46.70, 12.9),  # Jiang et al. 2024: 47 B, 13 B active
        ("deepseek-v3", 671.0, 37.5),  # model card: 671 B, 37 B active
        ("deepseek-v2", 236.0, 21.4),  # DeepSeek-V2 report: 236 B, 21 B active
        ("qwen3-235b-a22b", 235.1, 22.2),  # model card: 235 B, 22 B active
        ("qwen3-30b-a3b", 30.5, 3.35),  # model card: 30.5 B, 3.3 B active
        ("llama-4-scout", 107.77, 17.2),  # text model; model card: 17 B active
        ("llama-4-maverick", 400.71, 17.2),
        ("minimax-m2", 228.7, 11.0),
    ],
)
def test_parameters_of_known_models(name: str, params_b: float, active_b: float) -> None:
    assert MODELS[name].params / 1e9 == pytest.approx(params_b, rel=0.002)
    assert MODELS[name].active_params / 1e9 == pytest.approx(active_b, rel=0.005)


@pytest.mark.parametrize(
    ("name", "total_b", "active_b"), [("gpt-oss-120b", 116.83, 5.13), ("gpt-oss-20b", 20.91, 3.61)]
)
def test_gpt_oss_counts_of_its_model_card(name: str, total_b: float, active_b: float) -> None:
    # The card's active parameters leave out the token embedding.
    model = MODELS[name]
    assert round(model.params / 1e9, 2) == pytest.approx(total_b, abs=0.011)
    assert (model.active_params - model.vocab * model.hidden) / 1e9 == pytest.approx(active_b, abs=0.005)


def test_layer_groups_of_the_uneven_models() -> None:
    gemma = {group.span.window: group.count for group in MODELS["gemma-3-27b"].layers}
    assert gemma == {1024: 52, None: 10}
    layers = MODELS["llama-4-maverick"].layers
    maverick = {(g.span.window, isinstance(g.feed_forward, Experts)): g.count for g in layers}
    assert maverick == {(8192, True): 12, (8192, False): 24, (None, True): 12}
    assert [(g.count, type(g.feed_forward)) for g in MODELS["deepseek-v3"].layers] == [(3, FeedForward), (58, Experts)]
    assert {g.span.window: g.count for g in MODELS["gpt-oss-120b"].layers} == {128: 18, None: 18}


# -- KV cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("llama-2-70b", 2 * 80 * 8 * 128 * 2),  # 327,680 B
        ("llama-3.1-8b", 2 * 32 * 8 * 128 * 2),  # 131,072 B
        ("deepseek-v3", 61 * (512 + 64) * 2),  # 70,272 B: latent and rotary key
        ("gpt-j-6b", 2 * 28 * 4096 * 2),
        ("falcon-7b", 2 * 32 * 64 * 2),  # multi-query
    ],
)
def test_kv_bytes_per_token(name: str, kv_bytes: int) -> None:
    assert MODELS[name].kv_bytes_per_token("bf16") == kv_bytes
    assert MODELS[name].kv_bytes_per_token("fp8") == kv_bytes / 2
    if all(group.span.window is None for group in MODELS[name].layers):
        assert MODELS[name].kv_bytes(3, 1000) == 3 * 1000 * kv_bytes


def test_windows_bound_the_cache() -> None:
    model = MODELS["gemma-3-27b"]
    layer = 2 * 16 * 128 * 2
    assert model.kv_bytes(1, 100_000) == layer * (52 * 1024 + 10 * 100_000)
    assert model.kv_bytes(2, [512, 100_000]).tolist() == [model.kv_bytes(2, 512), model.kv_bytes(2, 100_000)]


# -- One forward step ---------------------------------------------------------------------------------------------


def test_a_dense_step_is_a_handful_of_operators() -> None:
    step = MODELS["llama-3.1-70b"].step(16, 1, 1024)
    assert [op.name for op in step] == [
        "token_embedding", "norm", "qkv_proj", "rope", "kv_write", "attention", "o_proj", "residual_add",
        "gate_up_proj", "silu_mul", "down_proj", "final_norm", "lm_head", "sampling",
    ]  # fmt: skip
    assert named(step, "qkv_proj").args["n"] == (64 + 2 * 8) * 128
    assert named(step, "norm").count == 160
    for op in step:
        assert all(type(value) in (int, float) for value in op.args.values()), op.name


@pytest.mark.parametrize(
    "name", ["llama-2-70b", "mixtral-8x7b", "phi-2", "gpt-oss-20b", "llama-4-scout", "deepseek-v3"]
)
def test_gemm_flops_are_two_a_parameter_and_token(name: str) -> None:
    model = MODELS[name]
    # A batch of one query to a context of one: what attention itself does is negligible.
    step = model.step(batch=64, q_len=1, kv_len=1)
    # DeepSeek's absorbed form multiplies kv_b_proj's two halves with queries and outputs: the same FLOP.
    small = sum(flops(op) for op in step if op.kind in ("attention", "mla_attention"))
    embedding = model.vocab * model.hidden
    expected = 2 * 64 * (model.active_params - (0 if model.tied else embedding))
    assert total(step) - small == pytest.approx(expected, rel=0.002)


def test_prefill_needs_only_the_last_logits() -> None:
    model = MODELS["llama-3.1-8b"]
    assert named(model.step(2, 512, 512), "lm_head").args["m"] == 2
    assert named(model.step(2, 512, 512, logits="all"), "lm_head").args["m"] == 1024


def test_quantised_arithmetic_quantises_activations_but_not_router_and_head() -> None:
    step = MODELS["mixtral-8x7b"].step(8, 1, 100, dtype="fp8")
    assert named(step, "qkv_proj").args["quantize"] == named(step, "moe").args["quantize"] == 1.0
    for name in ("router", "lm_head"):
        assert (named(step, name).dtype, named(step, name).args["quantize"]) == ("bf16", 0.0)
    assert named(step, "attention").dtype == "bf16"
    assert named(MODELS["mixtral-8x7b"].step(8, 1, 100, "fp8", kv_dtype="fp8"), "attention").dtype == "fp8"
    weight_only = named(MODELS["llama-3.1-8b"].step(8, 1, 100, "bf16", weight_dtype="int4"), "qkv_proj")
    assert (weight_only.args["weight_width"], weight_only.args["quantize"]) == (0.5, 0.0)


def test_a_checkpoint_keeps_its_narrow_weights() -> None:
    gpt = MODELS["gpt-oss-120b"]
    step = gpt.step(1, 1, 100)
    assert (named(step, "moe").args["weight_width"], named(step, "qkv_proj").args["weight_width"]) == (0.5, 2.0)
    assert named(gpt.step(1, 1, 100, weight_dtype="bf16"), "moe").args["weight_width"] == 2.0
    deepseek = MODELS["deepseek-v3"]
    assert named(deepseek.step(1, 1, 100), "qkv_a_proj").dtype == "fp8"
    assert named(deepseek.step(1, 1, 100, "bf16"), "moe").args["weight_width"] == 1.0
    assert deepseek.stored_dtype("linear", "fp4") == "fp4"


def test_latent_attention_absorbs_in_decode_and_expands_in_prefill() -> None:
    model = MODELS["deepseek-v3"]
    decode, prefill = model.step(1, 1, 4096), model.step(1, 4096, 4096)
    assert {"q_absorb", "v_absorb"} <= {op.name for op in decode}
    assert "kv_b_proj" not in {op.name for op in decode}
    expanded = named(prefill, "attention_expanded")
    assert (expanded.args["head_dim"], expanded.args["value_dim"]) == (192, 128)
    attention = model.layers[0].attention
    assert isinstance(attention, LatentAttention)
    assert attention.absorbed_up_to == pytest.approx(170.7, abs=0.1)
    # The form changes where the FLOP of the two are the same, so neither way jumps by much.
    before, after = (total(model.step(1, q, 100_000)) for q in (170, 172))
    assert after == pytest.approx(before * 172 / 170, rel=0.03)


def test_windows_and_chunks_shorten_attention() -> None:
    gemma = MODELS["gemma-2-9b"].step(1, 1, 8000)
    assert named(gemma, "sliding_attention").args["kv_len"] == 4096
    assert named(gemma, "attention").args["kv_len"] == 8000
    scout = MODELS["llama-4-scout"].step(1, 16384, 16384)
    chunked = named(scout, "chunked_attention").args
    assert (chunked["batch"], chunked["q_len"], chunked["kv_len"]) == (2.0, 8192, 8192)
    assert named(scout, "rope").count == named(scout, "chunked_attention").count == 36


@given(
    first=st.integers(1, 60), steps=st.integers(1, 60), window=st.integers(1, 40), chunked=st.booleans(),
)  # fmt: skip
def test_mean_context_is_the_mean(first: int, steps: int, window: int, chunked: bool) -> None:
    contexts = range(first, first + steps)
    seen = [(n - 1) % window + 1 if chunked else min(n, window) for n in contexts]
    assert mean_context(first, steps, 1, window, chunked) == pytest.approx(np.mean(seen))
    assert mean_context(first, steps) == pytest.approx(np.mean(contexts))
    as_arrays = mean_context(np.array([first]), np.array([steps]), 1, window, chunked)
    assert as_arrays == pytest.approx(np.mean(seen))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    batch=st.integers(1, 512),
    context=st.integers(2, 100_000),
    steps=st.integers(1, 999),
)
def test_more_work_is_never_less(name: str, batch: int, context: int, steps: int) -> None:
    model = MODELS[name]
    decode = total(model.step(batch, 1, context, steps=steps))
    assert total(model.step(batch + 1, 1, context, steps=steps)) > decode
    if not name.startswith("llama-4"):  # a query at the start of a chunk really does see less than one at its end
        assert total(model.step(batch, 1, context + 1, steps=steps)) >= decode
    assert total(model.step(batch, context, context)) > total(model.step(batch, context - 1, context - 1))
    assert model.kv_bytes(batch, context + 1) >= model.kv_bytes(batch, context)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    batches=st.lists(st.integers(1, 512), min_size=1, max_size=3),
    shapes=st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 9_000)), min_size=1, max_size=3),
    steps=st.integers(1, 500),
)
def test_arrays_give_what_their_points_give(
    name: str, batches: list[int], shapes: list[tuple[int, int]], steps: int
) -> None:
    model = MODELS[name]
    q_len = np.array([q for q, _ in shapes])
    kv_len = q_len + np.array([prefix for _, prefix in shapes])
    whole = np.broadcast_to(total(model.step(np.array(batches)[:, None], q_len, kv_len, steps=steps)),
                            (len(batches), len(shapes)))  # fmt: skip
    for i, batch in enumerate(batches):
        for j, (q, prefix) in enumerate(shapes):
            assert whole[i, j] == pytest.approx(total(model.step(batch, q, q + prefix, steps=steps)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch must be positive"),
        ({"batch": -3}, "batch must be positive"),
        ({"q_len": 0}, "q_len must be positive"),
        ({"kv_len": float("nan")}, "kv_len must be positive"),
        ({"q_len": 100, "kv_len": 50}, "kv_len counts the new tokens too"),
        ({"dtype": "fp9"}, "unknown dtype 'fp9'"),
        ({"kv_dtype": "fp88"}, "did you mean 'fp8'"),
        ({"logits": "some"}, "logits is 'last' or 'all'"),
        ({"batch": "many"}, "batch must be a number"),
    ],
)
def test_steps_that_no_machine_runs(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadWorkload, match=message):
        MODELS["llama-3.1-8b"].step(**{"batch": 1, "q_len": 1, "kv_len": 128, **arguments})


# -- Config files as people have them -----------------------------------------------------------------------------

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "rope_scaling": {"factor": 8.0, "rope_type": "llama3"}, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0", "use_cache": True, "vocab_size": 128256,
}  # fmt: skip

DEEPSEEK: dict[str, Any] = json.loads((CONFIGS / "deepseek-v3.json").read_text())
LLAMA4: dict[str, Any] = json.loads((CONFIGS / "llama-4-scout.json").read_text())
MIXTRAL: dict[str, Any] = json.loads((CONFIGS / "mixtral-8x7b.json").read_text())


def _attention(model: LanguageModel) -> Attention:
    attention = model.layers[0].attention
    assert isinstance(attention, Attention)
    return attention


def test_llama_as_published() -> None:
    assert LanguageModel.from_config(LLAMA).params == 8_030_261_248
    # Llama 1 and 2 files leave out the key/value heads of their multi-head models.
    older = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
    assert LanguageModel.from_config(older).kv_heads == 32
    biased = LanguageModel.from_config({**LLAMA, "attention_bias": True, "mlp_bias": True})
    assert biased.params - 8_030_261_248 == 32 * (6144 + 4096 + 2 * 14336 + 4096)


def test_mistral_window_absent_or_null() -> None:
    config = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    assert LanguageModel.from_config(config).layers[0].span.window == 4096
    assert LanguageModel.from_config({**config, "sliding_window": None}).layers[0].span.window is None
    nemo = LanguageModel.from_config({**config, "hidden_size": 5120, "head_dim": 128, "sliding_window": None})
    assert _attention(nemo).head_dim == 128


def test_qwen_bias_norm_and_experts() -> None:
    qwen2 = {**LLAMA, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "sliding_window": 131072,
             "use_sliding_window": False, "max_window_layers": 28}  # fmt: skip
    model = LanguageModel.from_config(qwen2)
    assert (_attention(model).qkv_bias, _attention(model).out_bias, model.layers[0].span.window) == (True, False, None)
    windowed = LanguageModel.from_config({**qwen2, "use_sliding_window": True, "sliding_window": 4096})
    assert {g.span.window: g.count for g in windowed.layers} == {None: 28, 4096: 4}
    qwen3 = LanguageModel.from_config({**LLAMA, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"})
    assert (_attention(qwen3).qk_norm, _attention(qwen3).head_dim) == (True, 128)
    moe = {
        **LLAMA, "architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "num_experts": 60,
        "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
        "decoder_sparse_step": 1, "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16,
        "num_key_value_heads": 16, "num_hidden_layers": 24, "vocab_size": 151936,
    }  # fmt: skip
    # Qwen1.5-MoE-A2.7B: 14.3 B parameters, 2.7 B active (model card).
    assert LanguageModel.from_config(moe).params / 1e9 == pytest.approx(14.3, abs=0.05)
    assert LanguageModel.from_config(moe).active_params / 1e9 == pytest.approx(2.7, abs=0.05)
    sparse = LanguageModel.from_config({**moe, "decoder_sparse_step": 2, "mlp_only_layers": [1]})
    assert {type(g.feed_forward): g.count for g in sparse.layers} == {FeedForward: 13, Experts: 11}


def test_gemma_3_leaves_fields_out_and_nests_its_text() -> None:
    # The 4B file as published: no heads, no vocabulary.
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
        "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
                        "num_hidden_layers": 34, "sliding_window": 1024},
        "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
    }  # fmt: skip
    before = copy.deepcopy(config)
    assert LanguageModel.from_config(config).params == MODELS["gemma-3-4b"].params
    assert config == before
    named_layers = copy.deepcopy(config)
    pattern = [["sliding_attention", "full_attention"][(i + 1) % 6 == 0] for i in range(34)]
    named_layers["text_config"] |= {"layer_types": pattern, "_sliding_window_pattern": 6}  # type: ignore[operator]
    assert LanguageModel.from_config(named_layers).layers == LanguageModel.from_config(config).layers


def test_gemma_2_phi_and_falcon() -> None:
    gemma = {**LLAMA, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"}
    del gemma["tie_word_embeddings"]
    model = LanguageModel.from_config(gemma)
    assert (model.tied, model.norms_per_layer, _attention(model).head_dim) == (True, 4, 256)
    assert _attention(MODELS["phi-2"]).rope_dim == 32
    assert (MODELS["phi-2"].norm, MODELS["phi-2"].norms_per_layer) == ("layer_norm", 1)
    assert _attention(MODELS["phi-4-mini"]).rope_dim == 96
    assert (MODELS["falcon-7b"].kv_heads, MODELS["falcon-40b"].kv_heads) == (1, 8)


def test_llama_4_rules_by_step_or_by_list() -> None:
    text = {k: v for k, v in LLAMA4["text_config"].items() if k != "no_rope_layers"}
    by_step = LanguageModel.from_config({**LLAMA4, "text_config": {**text, "interleave_moe_layer_step": 2}})
    by_list = LanguageModel.from_config({**LLAMA4, "text_config": {**text, "moe_layers": list(range(1, 48, 2))}})
    assert by_step.layers == by_list.layers
    assert by_step.layers[0].span == Span(8192, chunked=True)
    unchunked = LanguageModel.from_config({**LLAMA4, "text_config": {**text, "attention_chunk_size": None}})
    assert {g.span.window for g in unchunked.layers} == {None}


@pytest.mark.parametrize(
    ("quantization", "dtypes"),
    [
        (None, ("bf16", "bf16", "bf16")),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("fp8", "fp8", "fp8")),
        ({"quant_method": "mxfp4"}, ("bf16", "bf16", "fp4")),
        ({"quant_method": "awq", "bits": 4}, ("bf16", "int4", "int4")),
        ({"quant_method": "gptq", "bits": 8}, ("bf16", "int8", "int8")),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, ("bf16", "int4", "int4")),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, ("fp4", "fp4", "fp4")),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {
            "weights": {"num_bits": 8, "type": "float"}, "input_activations": {"num_bits": 8, "type": "float"}}}},
         ("fp8", "fp8", "fp8")),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {
            "weights": {"num_bits": 4, "type": "int"}, "input_activations": None}}}, ("bf16", "int4", "int4")),
    ],
)  # fmt: skip
def test_quantised_checkpoints(quantization: dict[str, Any] | None, dtypes: tuple[str, str, str]) -> None:
    model = LanguageModel.from_config({**LLAMA, "quantization_config": quantization})
    assert (model.dtype, model.weight_dtype, model.expert_dtype) == dtypes


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # (start, changes, what the error says); a change to `...` removes the field
    (LLAMA, {"hidden_size": ...}, "hidden_size: is missing, expected a whole number"),
    (LLAMA, {"hidden_size": ..., "hiden_size": 4096}, "did you mean 'hidden_size' by 'hiden_size'"),
    (LLAMA, {"hidden_size": "4096"}, 'hidden_size: found "4096", expected a whole number .*write 4096'),
    (LLAMA, {"hidden_size": 4096.0}, "hidden_size: found 4096.0, .*write 4096"),
    (LLAMA, {"hidden_size": 1e30}, r"hidden_size: found 1e\+30, expected a whole number from 1 to 10000000"),
    (LLAMA, {"hidden_size": 10**30}, "hidden_size: found an integer of 100 bits"),
    (LLAMA, {"hidden_size": -4096}, "hidden_size: found -4096"),
    (LLAMA, {"hidden_size": True}, "hidden_size: found true"),
    (LLAMA, {"hidden_size": [4096]}, r"hidden_size: found \[4096\]"),
    (LLAMA, {"hidden_size": float("nan")}, "hidden_size: found NaN"),
    (LLAMA, {"num_hidden_layers": 0}, "num_hidden_layers: found 0, expected a whole number from 1"),
    (LLAMA, {"num_hidden_layers": 10**9}, "num_hidden_layers: found 1000000000, .* to 10000"),
    (LLAMA, {"num_key_value_heads": 7}, "expected a divisor of num_attention_heads = 32; nearest: 4 or 8"),
    (LLAMA, {"num_key_value_heads": 64}, "num_key_value_heads: found 64, expected a divisor"),
    (LLAMA, {"num_key_value_heads": ..., "num_key_value_head": 8}, "did you mean 'num_key_value_heads'"),
    (LLAMA, {"num_attention_heads": 30, "num_key_value_heads": 30}, "num_attention_heads: found 30, .*hidden_size"),
    (LLAMA, {"vocab_size": ...}, "vocab_size: is missing"),
    (LLAMA, {"vocab_size": 0}, "vocab_size: found 0"),
    (LLAMA, {"intermediate_size": None}, "intermediate_size: is missing"),
    (LLAMA, {"tie_word_embeddings": "no"}, 'tie_word_embeddings: found "no", expected true or false'),
    (LLAMA, {"torch_dtype": "float17"}, "torch_dtype: unknown dtype 'float17'; did you mean 'float16'"),
    (LLAMA, {"torch_dtype": 16}, "torch_dtype: found 16, expected a string"),
    (LLAMA, {"architectures": ["LamaForCausalLM"], "model_type": "lama"}, "found 'lama', .*did you mean 'llama'"),
    (LLAMA, {"architectures": ..., "model_type": ...}, "architectures: is missing, and model_type too"),
    (LLAMA, {"architectures": "LlamaForCausalLM"}, "architectures: found .*, expected a list"),
    (LLAMA, {"architectures": [7]}, "expected a list of strings"),
    (LLAMA, {"model_type": "mixtral"}, "at odds with architectures = 'LlamaForCausalLM'"),
    (LLAMA, {"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next"}, "mixes linear attention"),
    (LLAMA, {"architectures": ["MambaForCausalLM"], "model_type": "mamba"}, "state-space model"),
    (LLAMA, {"architectures": ["BertModel"], "model_type": "bert"}, "is an encoder"),
    (LLAMA, {"partial_rotary_factor": 3}, "partial_rotary_factor: found 3, expected a number from 0 to 1"),
    (LLAMA, {"max_position_embeddings": "128k"}, 'max_position_embeddings: found "128k"'),
    (LLAMA, {"layer_types": ["full_attention"]}, "layer_types: found 1 entries, expected num_hidden_layers = 32"),
    (LLAMA, {"layer_types": ["linear_attention"] * 32}, "layer_types: found 'linear_attention', expected one of"),
    (LLAMA, {"text_config": "llama"}, "text_config: found \"llama\", expected an object"),
    (LLAMA, {"quantization_config": {"quant_method": "gptqq"}}, "quant_method: found 'gptqq', .*did you mean 'gptq'"),
    (LLAMA, {"quantization_config": {"quant_method": "awq", "bits": 3}}, "bits: found 3 bits"),
    (LLAMA, {"quantization_config": {"quant_method": "compressed-tensors"}}, "config_groups: is missing"),
    (MIXTRAL, {"num_experts_per_tok": 9}, "num_experts_per_tok: found 9, expected at most num_local_experts = 8"),
    (MIXTRAL, {"num_local_experts": ...}, "num_local_experts: is missing"),
    (MIXTRAL, {"sliding_window": -1}, "sliding_window: found -1"),
    (DEEPSEEK, {"first_k_dense_replace": 62}, "first_k_dense_replace: found 62, expected at most"),
    (DEEPSEEK, {"kv_lora_rank": 0}, "kv_lora_rank: found 0"),
    (DEEPSEEK, {"n_routed_experts": "256"}, "n_routed_experts: found \"256\""),
    (LLAMA4, {"text_config": {**LLAMA4["text_config"], "no_rope_layers": [1, 0]}}, "no_rope_layers: found 2 entries"),
    (LLAMA4, {"text_config": {}}, "text_config.num_hidden_layers: is missing"),
    (LLAMA, {"_roofline": {"aliases": "x"}}, "_roofline.aliases: found .*, expected a list"),
]


@pytest.mark.parametrize(("start", "changes", "message"), BAD)
def test_a_config_that_is_no_model(start: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    config = {k: v for k, v in {**start, **changes}.items() if v is not ...}
    with pytest.raises(BadModel, match=message) as error:
        LanguageModel.from_config(config, "mine", "models/mine.json")
    assert error.value.file == "models/mine.json"
    assert str(error.value).startswith("models/mine.json: ")


def test_loading_a_file_or_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert load(folder) == load(folder / "config.json")
    assert load(folder).name == "my-llama"
    assert load(CONFIGS / "phi-4.json").title == "Phi-4"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"hidden_size": 4096,}', "is not valid JSON: .* line 1"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        (b"[1, 2]", r"holds \[1, 2\], expected a JSON object"),
        (b"[" * 200_000, "is nested too deeply|is not valid JSON"),
        (b'{"hidden_size": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (b" " * 10_000_001, "is larger than 10 MB"),
        (b"__import__('os').system('true')", "is not valid JSON"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(BadModel, match=message):
        load(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="cannot be read: No such file"):
        load(tmp_path / "none.json")
