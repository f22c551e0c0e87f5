"""The bytes that checkpoints take: as published, by quantiser, by lists of exceptions, beside their files."""

from __future__ import annotations

import json
import re
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.models import huggingface
from roofline.models.checkpoint.matching import Names
from roofline.models.checkpoint.recipe import Recipe
from roofline.models.checkpoint.stored import LEFT, NVFP4, per_tensor
from roofline.models.fields import Fields
from roofline.models.llm import LanguageModel
from roofline.work.parallel import Plan

CONFIGS = Path(__file__).parent.parent / "roofline" / "models" / "configs"


def built_in(name: str, **changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return {**config, **changes}


LLAMA = built_in("llama-3.1-8b")
KIMI: dict[str, Any] = built_in(
    "deepseek-v3",
    model_type="kimi_k2",
    vocab_size=163840,
    num_attention_heads=64,
    n_routed_experts=384,
    first_k_dense_replace=1,
)


def read(config: dict[str, Any], quantization: Any = None, beside: Any = None) -> LanguageModel:
    found = Fields({"quantization": beside}, "hf_quant_config.json") if beside else None
    return huggingface.read({**config, "quantization_config": quantization}, beside=found)


def widths(model: LanguageModel, **options: Any) -> dict[str, tuple[str, float]]:
    """What each product of a step computes in, and the bytes of its weights."""
    step = model.step(1, 1, 100, **options)
    return {one.name: (one.dtype, one.args["weight_width"]) for one in step if one.kind in ("gemm", "moe")}


# -- Published sizes --------------------------------------------------------------------------------------------------

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
FP8_BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
ATTENTION_LEFT = [f"language_model.model.layers.{n}.self_attn*" for n in range(61)]
SHARED_LEFT = [f"language_model.model.layers.{n}.mlp.shared_experts*" for n in range(1, 61)]
NVFP4_LEAVING: dict[str, Any] = {"quant_method": "modelopt", "quant_algo": "NVFP4"}

# What DeepSeek-V3's files hold besides: a layer that predicts a further token, with an embedding and a head of its own.
MTP = (256 * 3 * 7168 * 2048 + 3 * 7168 * 2048 + 187_107_328) * (1 + 4 / 128**2) + (
    2 * 7168 * 7168 + 2 * 129280 * 7168 + 256 * 7168
) * 2

#: Bytes of all tensors as their index says, or as files are listed: read in November 2026, but where marked recalled.
PUBLISHED: list[tuple[str, dict[str, Any], Any, float, float]] = [
    # DeepSeek-R1 in AWQ, groups of 64: kvcache-ai/sglang_awq, model.safetensors.index.json @1e697f1.
    ("R1, AWQ", built_in("deepseek-r1"), {**AWQ, "group_size": 64}, 364_589_799_936, 0),
    # openai/gpt-oss-20b and -120b, total_size (recalled; files of 13.8 GB and 65.2 GB are listed).
    ("gpt-oss-20b", built_in("gpt-oss-20b"), {"quant_method": "mxfp4"}, 13_761_264_768, 0),
    ("gpt-oss-120b", built_in("gpt-oss-120b"), {"quant_method": "mxfp4"}, 65_248_815_744, 0),
    # A Llama 3.1 8B in AWQ: files of 4.68 and 1.05 GB (huggingface.co/hiuman/llama-3.1-8B-intruct-awq-quantization).
    ("Llama 8B, AWQ", LLAMA, AWQ, 5.73e9, 2e-3),
    # deepseek-ai/DeepSeek-V3, total_size (recalled).
    ("V3", built_in("deepseek-v3"), FP8_BLOCKS, 688_586_727_753 - MTP, 1e-4),
    # nvidia/Kimi-K2.5-NVFP4, "1T, 591GB" (forums.developer.nvidia.com/t/359810), 0.9 GB of it a vision tower: attention
    # and head are left alone, the shared experts and the first layer are not.
    ("K2.5, NVFP4", KIMI, {**NVFP4_LEAVING, "ignore": ["language_model.lm_head", *ATTENTION_LEFT]}, 590.1e9, 2e-3),
    # ISTA-DASLab/Kimi-K2.5-P48-NVFP4-W4A4-Preview: 595 GB, the routed experts alone, the tower among them.
    ("K2.5, experts in NVFP4", KIMI, {**NVFP4_LEAVING, "ignore": [
        "language_model.lm_head", "language_model.model.layers.0*", *ATTENTION_LEFT, *SHARED_LEFT]}, 594.1e9, 2e-3),
    # Meta-Llama-3.1-405B-FP8: 56.7677 GiB on each of 8 (dstackai/benchmarks h100sxm5_vs_mi300x gpu-usage.md @85a2fe1).
    ("405B", built_in("llama-3.1-405b-fp8"), built_in("llama-3.1-405b-fp8")["quantization_config"],
     8 * 56.7677 * 2**30, 1e-3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "quantization", "size", "near"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED]
)
def test_checkpoints_weigh_what_is_published(
    config: dict[str, Any], quantization: Any, size: float, near: float
) -> None:
    assert read(config, quantization).stored_bytes == pytest.approx(size, rel=near, abs=1)


# -- Quantisers -------------------------------------------------------------------------------------------------------

GROUP_OF_16: dict[str, Any] = {"num_bits": 4, "type": "float", "group_size": 16}
FLOAT8: dict[str, Any] = {"num_bits": 8, "type": "float"}
INT8: dict[str, Any] = {"num_bits": 8, "type": "int"}


def groups(weights: dict[str, Any], inputs: Any = None, **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"], **more}


#: What a quantiser writes: the arithmetic it is made for, the dtype of its weights, and the bytes of each.
QUANTISERS: list[tuple[Any, str, str, float]] = [
    (None, "bf16", "bf16", 2),
    ({}, "bf16", "bf16", 2),  # an object that says nothing
    ({"quant_method": "fp8"}, "fp8", "fp8", 1),
    (FP8_BLOCKS, "fp8", "fp8", 1 + 4 / 128**2),
    ({**FP8_BLOCKS, "scale_fmt": "ue8m0"}, "fp8", "fp8", 1 + 1 / 128**2),
    # As DeepSeek's, of no method.
    ({key: value for key, value in FP8_BLOCKS.items() if key != "quant_method"}, "fp8", "fp8", 1 + 4 / 128**2),
    ({"fmt": "e4m3", "activation_scheme": "static"}, "fp8", "fp8", 1),
    ({"quant_method": "fbgemm_fp8"}, "fp8", "fp8", 1 + 4 / 4096),
    (groups(FLOAT8 | {"strategy": "tensor"}, FLOAT8), "fp8", "fp8", 1),
    (groups(FLOAT8 | {"strategy": "channel"}, FLOAT8), "fp8", "fp8", 1 + 2 / 4096),
    (groups(FLOAT8 | {"strategy": "block", "block_structure": [128, 128]}, FLOAT8), "fp8", "fp8", 1 + 4 / 128**2),
    (groups(INT8, INT8), "int8", "int8", 1 + 2 / 4096),
    (groups({"num_bits": 4, "strategy": "group", "group_size": 32}), "bf16", "int4", 9 / 16),
    (groups({"num_bits": 4, "group_size": 128, "symmetric": False}), "bf16", "int4", 0.5 + 2.5 / 128),
    (groups(GROUP_OF_16, GROUP_OF_16), "fp4", "fp4", 9 / 16),
    (groups(GROUP_OF_16), "bf16", "fp4", 9 / 16),
    (groups({"num_bits": 4, "type": "float", "group_size": 32}), "bf16", "fp4", 17 / 32),
    ({"quant_method": "modelopt"}, "fp8", "fp8", 1),
    ({"quant_algo": "FP8", "producer": {"name": "modelopt"}}, "fp8", "fp8", 1),  # Qwen3-32B-FP8-Static-PerTensor
    ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4"}, "fp4", "fp4", 9 / 16),
    ({"quant_method": "modelopt_fp4"}, "fp4", "fp4", 9 / 16),
    ({"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"}, "fp8", "fp8", 1 + 4 / 128**2),
    ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, "fp8", "fp8", 33 / 32),
    ({"quant_method": "modelopt", "quant_algo": "W4A16_NVFP4"}, "bf16", "fp4", 9 / 16),
    ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, "bf16", "int4", 0.5 + 2 / 128),
    ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "fp8", "int4", 0.5 + 2 / 128),
    ({"quant_method": "AWQ"}, "bf16", "int4", 0.5 + 2.5 / 128),
    ({"quant_method": "awq", "bits": 8}, "bf16", "int8", 1 + 3 / 128),
    ({"quant_method": "gptq", "bits": 2, "group_size": 64}, "bf16", "int2", 0.25 + 2.25 / 64),
    ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "bf16", "int3", 0.375 + 2.375 / 128),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "bf16", "int8", 1 + 3 / 4096),
    ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "bf16", "int4", 0.5 + 2.5 / 128),
    ({"quant_method": "hqq"}, "bf16", "int4", 0.5 + 4 / 64),
    ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 8, "group_size": 128}}},
     "bf16", "int8", 1 + 4 / 128),
    ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}}},
     "bf16", "fp4", 17 / 32),
    ({"quant_method": "quark", "global_quant_config": {
        "weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}, "input_tensors": {"dtype": "fp8_e4m3"}}},
     "fp8", "fp8", 1),
    ({"quant_method": "torchao", "quant_type": "int4_weight_only", "quant_type_kwargs": {"group_size": 32}},
     "bf16", "int4", 0.5 + 4 / 32),
    ({"quant_method": "torchao", "quant_type": {"default": {
        "_type": "Float8DynamicActivationFloat8WeightConfig", "_data": {}}}}, "fp8", "fp8", 1 + 4 / 4096),
    ({"quant_method": "bitsandbytes"}, "int8", "int8", 1 + 4 / 4096),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bf16", "int4", 0.5 + 4 / 64),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
     "bf16", "int4", 0.5 + (1 + 4 / 256) / 64),
]  # fmt: skip


@pytest.mark.parametrize(("quantization", "compute", "dtype", "size"), QUANTISERS)
def test_what_a_quantiser_makes_of_a_model(quantization: Any, compute: str, dtype: str, size: float) -> None:
    model = read(LLAMA, quantization)
    assert (model.dtype, model.weight_dtype) == (compute, dtype)
    found = widths(model)
    assert found["down_proj"] == found["qkv_proj"] == (compute, pytest.approx(size))
    assert found["lm_head"] == ("bf16", 2)
    parts = {w.name: w for w in model.weights}
    assert model.bytes_per_weight(parts["down_proj"], model.dtype) == pytest.approx(size)


def test_mxfp4_is_of_experts_alone() -> None:
    assert read(LLAMA, {"quant_method": "mxfp4"}).stored_bytes == read(LLAMA).stored_bytes
    found = widths(read(built_in("mixtral-8x7b"), {"quant_method": "mxfp4"}))
    assert (found["moe"], found["o_proj"]) == (("bf16", 17 / 32), ("bf16", 2))


def test_a_file_of_modelopt_beside_the_configuration_counts() -> None:
    """As nvidia/Llama-3.1-70B-Instruct-FP8 has it: nothing in the ``config.json`` speaks of quantisation."""
    beside = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    assert read(LLAMA, None, beside).dtype == "fp8"
    assert (
        read(LLAMA, {"quant_method": "awq"}, beside).weight_dtype == "int4"
    )  # what the configuration says goes before
    assert read(LLAMA, None, {"quant_algo": None}).dtype == "bf16"


@pytest.mark.parametrize("name", ["auto", "bfloat16", "bf16"])
def test_dtypes_that_are_left_open(name: str) -> None:
    assert huggingface.read({**LLAMA, "torch_dtype": name}).checkpoint.wide == "bf16"


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        ({"quant_method": "gtpq"}, "quant_method: found 'gtpq', .*did you mean 'gptq'"),
        ({"bits": 4}, "quant_method: is missing"),
        ({"quant_method": 4}, "quant_method: found 4, expected a string"),
        ({"quant_method": "gptq", "bits": 9}, "bits: found 9 bits, expected one of 2, 3, 4"),
        ({"quant_method": "awq", "bits": 3}, "bits: found 3 bits, expected one of 4, 8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP5"}, "quant_algo: found 'NVFP5', .*did you mean 'NVFP4'"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quantized_layers: is missing"),
        ({"quant_method": "compressed-tensors"}, "config_groups: is missing"),
        (groups({"num_bits": 5, "type": "float"}), "num_bits: found 5 bits of type 'float'"),
        (groups({"num_bits": 4, "strategy": "groop"}), "strategy: found 'groop', .*did you mean 'group'"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "weight_block_size: found"),
        ({"quant_method": "fp8", "ignored_layers": [3]}, "ignored_layers: found 3, expected a list of the names"),
        ({"quant_method": "torchao", "quant_type": "int5_weight_only"}, "found 'int5weightonly', .*did you mean"),
        ({"quant_method": "quark", "weight": {"dtype": "fp3"}}, "dtype: found 'fp3', expected one of fp4"),
    ],
)  # fmt: skip
def test_a_quantiser_that_is_not_known_is_named(quantization: Any, words: str) -> None:
    with pytest.raises(rl.BadModel, match=words):
        read(LLAMA, quantization)


# -- Which modules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_alone", "share"),
    [
        (["model.layers.*.self_attn", "lm_head"], 1),
        (["re:.*self_attn.*"], 1),
        ([f"model.layers.{n}.self_attn.{p}_proj" for n in range(32) for p in "qkvo"], 1),
        ([f"model.layers.{n}.self_attn.q_proj" for n in (0, 31)], 2 / 32 * 4 / 6),  # 32 heads of q, 8 of k and v each
        (["re:.*(qkv|o)_proj"], 1),
        (["re:model\\.layers\\.\\d+\\.self_attn.*"], 1),
        (["q_proj", "k_proj", "v_proj", "o_proj"], 1),
        (["model.layers.*.self_attn.*"], 1),
        (["model.layers.1*"], 11 / 32),  # 1, and 10 to 19
        (["model.layers.1.*", "model.layers.2"], 2 / 32),
        (["re:model.layers.0.self_attn.*"], 1 / 32),
        (["lm_head", "model.layers.0.mlp.down_proj"], 0),
        # As Qwen3-30B-A3B-FP8 lists them: norms are no projections.
        ([f"model.layers.{n}.{m}" for n in range(32) for m in ("post_attention_layernorm", "mlp.gate")], 0),
        ([f"model.layers.{n}.self_attn.q_norm" for n in range(32)], 0),
        ([f"model.layers.{n}.self_attn.k_proj" for n in range(32)], 1 / 6),
        ([f"vision_tower.encoder.layers.{n}.self_attn" for n in range(40)], 0),
        (["visual.blocks.0.attn.qkv", "mtp.layers.*"], 0),
        ([], 0),
    ],
)  # fmt: skip
def test_attention_that_a_checkpoint_leaves_in_16_bits(left_alone: list[str], share: float) -> None:
    model = read(LLAMA, {"quant_method": "fp8", "modules_to_not_convert": left_alone})
    mix = dict(model.checkpoint.mix("qkv_proj", "attention"))
    assert mix.get(LEFT, 0) == pytest.approx(share)
    parts = {w.name: w for w in model.weights}
    assert model.bytes_per_weight(parts["qkv_proj"], "fp8") == pytest.approx(1 + share)
    ran = [one for one in model.step(1, 1, 128, dtype="fp8") if one.name == "qkv_proj"]
    assert sum(one.count for one in ran) == pytest.approx(32)
    assert sum(one.count for one in ran if one.dtype == "bf16") == pytest.approx(32 * share)
    # Who asks for a weight dtype gets it everywhere.
    assert widths(model, dtype="fp8", weight_dtype="fp8")["qkv_proj"] == ("fp8", 1)


def test_a_regular_expression_that_could_take_for_ever_is_not_tried() -> None:
    with pytest.warns(UserWarning, match="is not applied: of regular expressions, roofline reads words"):
        model = read(LLAMA, {"quant_method": "fp8", "ignore": ["re:(a+)+self_attn.*"]})
    assert model.checkpoint.mix("qkv_proj", "attention") == ((per_tensor("fp8", "fp8"), 1.0),)


def test_parts_of_a_model_may_differ() -> None:
    """Two groups, as compressed-tensors writes them: attention in fp8, feed-forward in NVFP4."""
    both = {
        "a": {"targets": ["re:.*self_attn.*"], "weights": FLOAT8 | {"strategy": "tensor"}, "input_activations": FLOAT8},
        "b": {"targets": ["re:.*mlp.*"], "weights": GROUP_OF_16, "input_activations": GROUP_OF_16},
    }
    model = read(LLAMA, {"quant_method": "compressed-tensors", "config_groups": both, "ignore": ["lm_head"]})
    assert model.dtype == "fp4"
    found = widths(model)
    assert (found["qkv_proj"], found["down_proj"]) == (("fp8", 1), ("fp4", 9 / 16))
    # Nothing computes narrower than it was made for, and all of it as wide as was asked.
    assert widths(model, dtype="fp8")["down_proj"] == ("fp8", 9 / 16)
    assert {dtype for dtype, _ in widths(model, dtype="bf16").values()} == {"bf16"}


def test_layers_of_mixed_precision_are_told_one_by_one() -> None:
    """As nvidia/MiniMax-M3-NVFP4: experts in NVFP4, attention in MXFP8; as Nemotron 3.5: a quantised head, W4A16."""
    config = built_in("mixtral-8x7b")
    layers = (
        {
            f"model.layers.{n}.block_sparse_moe.experts.{e}.w{i}": {"quant_algo": "NVFP4", "group_size": 16}
            for n in range(31)
            for e in range(8)
            for i in (1, 2, 3)
        }
        | {f"model.layers.{n}.self_attn.{p}_proj": {"quant_algo": "MXFP8"} for n in range(32) for p in "qkv"}
        | {"lm_head": {"quant_algo": "W4A16_NVFP4", "group_size": 16}}
    )
    model = read(config, None, {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers})
    assert model.checkpoint.mix("moe", "expert") == ((NVFP4, 31 / 32), (LEFT, 1 / 32))
    found = widths(model)
    assert (found["qkv_proj"], found["o_proj"]) == (("fp8", 33 / 32), ("bf16", 2))
    assert found["lm_head"] == ("bf16", 9 / 16)
    head = next(w for w in model.weights if w.name == "lm_head")
    assert model.bytes_per_weight(head, "fp4") == 9 / 16


def test_experts_beside_the_feed_forward_are_no_part_of_it() -> None:
    """Gemma 4: what leaves ``mlp`` alone does not speak of its ``experts``."""
    recipe = Recipe("nvfp4", NVFP4)
    recipe.rule([f"model.language_model.layers.{n}.mlp*" for n in range(4)], LEFT)
    assert recipe.part("moe", 2, "gemma4_text") == [("moe", NVFP4)]
    assert {stored for _, stored in recipe.part("gate_up_proj", 2, "gemma4_text")} == {LEFT}
    assert {stored for _, stored in recipe.part("moe", 2)} == {LEFT}


@pytest.mark.parametrize(
    ("part", "listed"),
    [
        ("qkvz_proj", ["model.language_model.layers.0.linear_attn.in_proj_qkv",
                       "model.language_model.layers.0.linear_attn.in_proj_z"]),
        ("index_q_proj", ["model.layers.0.self_attn.indexer*"]),
        ("index_k_proj", ["model.layers.0.self_attn.indexer*"]),
        ("in_proj", ["backbone.layers.0.mixer.in_proj"]),
        ("latent_up_proj", ["backbone.layers.0.mixer.fc2_latent_proj"]),
        ("shared_up_proj", ["backbone.layers.0.mixer.shared_experts.up_proj"]),
        ("moe", ["layers.0.ffn.experts"]),
    ],
)  # fmt: skip
def test_parts_of_other_mixers_are_known_by_their_checkpoints_names(part: str, listed: list[str]) -> None:
    recipe = Recipe("nvfp4", NVFP4)
    recipe.rule(listed, LEFT)
    assert {stored for _, stored in recipe.part(part, 0)} == {LEFT}
    assert {stored for _, stored in recipe.part(part, 1)} == {NVFP4}


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 31)), st.sampled_from(["{}", "{}.*", "{}.mlp", "{}.mlp*", "{}.mlp.down_proj"]))
def test_a_list_of_layers_means_these_and_no_others(layers: set[int], form: str) -> None:
    names = Names.of("model.layers." + form.format(n) for n in layers)
    held = {n for n in range(32) if names.holds("model.layers.{}.mlp.down_proj", n)}
    assert held == layers
    assert not any(names.holds("model.layers.{}.self_attn.o_proj", n) for n in range(32)) or "mlp" not in form
    kinds = {names.layer(n) for n in range(32)}
    assert len(kinds) == len({n in layers for n in range(32)})


# -- What lies beside -------------------------------------------------------------------------------------------------


def folder(tmp_path: Path, config: dict[str, Any], **files: Any) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (tmp_path / name.replace("__", ".")).write_text(json.dumps(content))
    return tmp_path


def test_the_index_of_the_weights_is_held_against_the_count(tmp_path: Path) -> None:
    counted = round(huggingface.read(LLAMA).stored_bytes)
    index = {"metadata": {"total_size": counted + 1000}, "weight_map": {"model.layers.0.mlp.down_proj.weight": "a"}}
    where = folder(tmp_path, LLAMA, model__safetensors__index__json=index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = huggingface.load(where)
    assert model.summary()["bytes of the files beside"] == model.file_bytes == counted + 1000
    index["metadata"] = {"total_size": float(2 * counted)}
    index["weight_map"] = {"model.layers.32.mlp.down_proj.weight": "a", "model.visual.x": "a", "mtp.fc.weight": "a"}
    folder(tmp_path, LLAMA, model__safetensors__index__json=index)
    with pytest.warns(UserWarning, match="are counted") as told:
        assert huggingface.load(where).file_bytes == 2 * counted
    words = str(told[0].message)
    assert "index.json says 32.121 GB of weights, and 16.061 GB are counted (+100.0%)" in words
    assert words.endswith("in the files and not in the count: layer 32, mtp and visual")


def test_without_an_index_the_headers_of_the_weights_are(tmp_path: Path) -> None:
    where = folder(tmp_path, LLAMA)
    header = {
        "__metadata__": {"format": "pt"},
        "model.norm.weight": {"dtype": "BF16", "shape": [4096], "data_offsets": [0, 16_060_522_496]},
    }
    content = json.dumps(header).encode()
    (where / "model.safetensors").write_bytes(struct.pack("<Q", len(content)) + content)
    assert huggingface.load(where).file_bytes == 16_060_522_496
    # A pointer to a file that was not fetched, or what is no such file, says nothing.
    (where / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert huggingface.load(where).file_bytes is None


def test_a_broken_index_says_nothing(tmp_path: Path) -> None:
    (folder(tmp_path, LLAMA) / "model.safetensors.index.json").write_text("[" * 100_000)
    assert huggingface.load(tmp_path).file_bytes is None


def test_the_quantiser_s_file_is_found_in_the_folder(tmp_path: Path) -> None:
    quantised = {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]},
    }
    where = folder(tmp_path, LLAMA, hf_quant_config__json=quantised)
    assert rl.load_model(where).weight_dtype == "fp4"
    (where / "hf_quant_config.json").write_text("{")
    with pytest.raises(rl.BadModel, match=r"hf_quant_config\.json: is not valid JSON"):
        rl.load_model(where)


# -- Plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_that_parts_weights_with_a_common_scale_is_refused() -> None:
    """Qwen3-235B-A22B-FP8 on 8 chips: 1536 / 8 = 192 (vllm-project/vllm#17569, sgl-project/sglang#3345)."""
    qwen = read(built_in("qwen3-235b-a22b"), FP8_BLOCKS)
    assert all(plan.suits(qwen) for plan in (Plan(tp=4), Plan(tp=8, ep=8), Plan(tp=8, ep=2)))
    with pytest.raises(
        rl.BadWorkload,
        match=r"tp=8 cuts the experts of .*, 1536 wide, into shares of 192, no multiple "
        r"of the 128 weights that share a scale; nearest that does: tp=4 or ep=2$",
    ):
        Plan(tp=8).check(qwen)
    assert Plan(tp=8).suits(read(built_in("qwen3-235b-a22b")))
    # DeepSeek-V3: its experts of 2,048 on 16, its dense layers of 18,432 too, neither on 32 (vllm-project/vllm#12256).
    deepseek = read(built_in("deepseek-v3"), FP8_BLOCKS)
    assert Plan(tp=16).suits(deepseek)
    assert not Plan(tp=32).suits(deepseek)
    # Stored as the user asks for, none of it has a scale in common with another.
    assert Plan(tp=8).suits(qwen, "bf16")
    assert rl.estimate(qwen, "h100-sxm", tp=8, weight_dtype="bf16").tokens_per_s > 0
    with pytest.raises(rl.BadWorkload, match="tp=8 cuts the experts"):
        rl.estimate(qwen, "h100-sxm", tp=8)
    # A scale for each output, or a tensor, lies with any share; MXFP4 experts are padded.
    assert Plan(tp=8).suits(read(built_in("qwen3-235b-a22b"), {"quant_method": "fbgemm_fp8"}))
    assert Plan(tp=8).suits(read(built_in("gpt-oss-120b"), {"quant_method": "mxfp4"}))


def test_groups_of_inputs_are_split_where_they_end() -> None:
    """Qwen2.5-72B in groups of 128: 29,568 inputs on 8 chips are 3,696 each, 28.9 groups; engines ask for padding."""
    qwen = read(built_in("qwen2.5-72b"), AWQ)
    with pytest.raises(rl.BadWorkload, match=r"tp=8 cuts down_proj of .*, 29568 wide, .*; nearest that does: tp=1$"):
        Plan(tp=8).check(qwen)
    assert Plan(tp=4).suits(qwen) is (29568 // 4 % 128 == 0)


def test_layers_that_predict_further_tokens_are_said_and_how_large_they_are() -> None:
    """DeepSeek-V3's module has 11.5 B of its own (README_WEIGHTS.md of deepseek-ai/DeepSeek-V3), without the output."""
    (line,) = read(built_in("deepseek-v3")).left_out
    assert re.search(r"num_nextn_predict_layers = 1\): not counted, as engines load them only to speculate", line)
    size = re.search(r"with ([0-9.]+) billion", line)
    assert size is not None
    assert float(size[1]) == pytest.approx(11.5, rel=0.02)
