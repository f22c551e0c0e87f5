"""Config files as people have them: every family as it is published, and the slips that people make."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from roofline.base.errors import BadModel
from roofline.models import huggingface
from roofline.models.attention import Attention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.huggingface import load
from roofline.models.llm import LanguageModel
from roofline.models.mixers import Span

CONFIGS = Path(__file__).parent.parent / "roofline" / "models" / "configs"
MODELS = {path.stem: load(path) for path in sorted(CONFIGS.glob("*.json"))}

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
    attention = model.layers[0].mixer
    assert isinstance(attention, Attention)
    return attention


def test_llama_as_published() -> None:
    assert huggingface.read(LLAMA).params == 8_030_261_248
    # Llama 1 and 2 files leave out the key/value heads of their multi-head models.
    older = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
    assert huggingface.read(older).kv_heads == 32
    biased = huggingface.read({**LLAMA, "attention_bias": True, "mlp_bias": True})
    assert biased.params - 8_030_261_248 == 32 * (6144 + 4096 + 2 * 14336 + 4096)


def test_mistral_window_absent_or_null() -> None:
    config = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    assert huggingface.read(config).layers[0].span.window == 4096
    assert huggingface.read({**config, "sliding_window": None}).layers[0].span.window is None
    nemo = huggingface.read({**config, "hidden_size": 5120, "head_dim": 128, "sliding_window": None})
    assert _attention(nemo).head_dim == 128


def test_qwen_bias_norm_and_experts() -> None:
    qwen2 = {
        **LLAMA,
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "sliding_window": 131072,
        "use_sliding_window": False,
        "max_window_layers": 28,
    }
    model = huggingface.read(qwen2)
    assert (_attention(model).qkv_bias, _attention(model).out_bias, model.layers[0].span.window) == (True, False, None)
    windowed = huggingface.read({**qwen2, "use_sliding_window": True, "sliding_window": 4096})
    assert {g.span.window: g.count for g in windowed.layers} == {None: 28, 4096: 4}
    qwen3 = huggingface.read({**LLAMA, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"})
    assert (_attention(qwen3).qk_norm, _attention(qwen3).head_dim) == (True, 128)
    moe = {
        **LLAMA,
        "architectures": ["Qwen2MoeForCausalLM"],
        "model_type": "qwen2_moe",
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
        "decoder_sparse_step": 1,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "num_hidden_layers": 24,
        "vocab_size": 151936,
    }
    # Qwen1.5-MoE-A2.7B: 14.3 B parameters, 2.7 B active (model card).
    assert huggingface.read(moe).params / 1e9 == pytest.approx(14.3, abs=0.05)
    assert huggingface.read(moe).active_params / 1e9 == pytest.approx(2.7, abs=0.05)
    sparse = huggingface.read({**moe, "decoder_sparse_step": 2, "mlp_only_layers": [1]})
    assert {type(g.feed_forward): g.count for g in sparse.layers} == {FeedForward: 13, Experts: 11}


def test_gemma_3_leaves_fields_out_and_nests_its_text() -> None:
    # The 4B file as published: no heads, no vocabulary.
    config = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "torch_dtype": "bfloat16",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "sliding_window": 1024,
        },
        "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27},
    }
    before = copy.deepcopy(config)
    assert huggingface.read(config).params == MODELS["gemma-3-4b"].params
    assert config == before
    named_layers = copy.deepcopy(config)
    pattern = [["sliding_attention", "full_attention"][(i + 1) % 6 == 0] for i in range(34)]
    named_layers["text_config"] |= {"layer_types": pattern, "_sliding_window_pattern": 6}  # type: ignore[operator]
    assert huggingface.read(named_layers).layers == huggingface.read(config).layers


def test_gemma_2_phi_and_falcon() -> None:
    gemma = {**LLAMA, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"}
    del gemma["tie_word_embeddings"]
    model = huggingface.read(gemma)
    assert (model.tied, model.norms_per_layer, _attention(model).head_dim) == (True, 4, 256)
    assert _attention(MODELS["phi-2"]).rope_dim == 32
    assert (MODELS["phi-2"].norm, MODELS["phi-2"].norms_per_layer) == ("layer_norm", 1)
    assert _attention(MODELS["phi-4-mini"]).rope_dim == 96
    assert (MODELS["falcon-7b"].kv_heads, MODELS["falcon-40b"].kv_heads) == (1, 8)


def test_llama_4_rules_by_step_or_by_list() -> None:
    text = {k: v for k, v in LLAMA4["text_config"].items() if k != "no_rope_layers"}
    by_step = huggingface.read({**LLAMA4, "text_config": {**text, "interleave_moe_layer_step": 2}})
    by_list = huggingface.read({**LLAMA4, "text_config": {**text, "moe_layers": list(range(1, 48, 2))}})
    assert by_step.layers == by_list.layers
    assert by_step.layers[0].span == Span(8192, chunked=True)
    unchunked = huggingface.read({**LLAMA4, "text_config": {**text, "attention_chunk_size": None}})
    assert {g.span.window for g in unchunked.layers} == {None}


BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # (start, changes, what the error says); a change to `...` removes the field
    (LLAMA, {"hidden_size": ...}, "hidden_size: is missing, expected a whole number"),
    (LLAMA, {"hidden_size": ..., "hiden_size": 4096}, "did you mean 'hidden_size' by 'hiden_size'"),
    (LLAMA, {"hidden_size": "4096"}, 'hidden_size: found "4096", expected a whole number .*write 4096'),
    (LLAMA, {"hidden_size": 4096.0}, "hidden_size: found 4096.0, .*write 4096"),
    (LLAMA, {"hidden_size": 1e30}, r"hidden_size: found 1e\+30, expected a whole number from 1 to 10000000"),
    (LLAMA, {"hidden_size": 10**30}, "hidden_size: found 10000000000"),
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
    (LLAMA, {"architectures": ["T5Model"], "model_type": "t5", "d_ff": 2048}, "of an encoder with a decoder"),
    (LLAMA, {"partial_rotary_factor": 3}, "partial_rotary_factor: found 3, expected a number from 0 to 1"),
    (LLAMA, {"max_position_embeddings": "128k"}, 'max_position_embeddings: found "128k"'),
    (LLAMA, {"layer_types": ["full_attention"]}, "layer_types: found 1 entries, expected num_hidden_layers = 32"),
    (LLAMA, {"layer_types": ["linear_attention"] * 32}, "layer_types: found 'linear_attention', expected one of"),
    (LLAMA, {"text_config": "llama"}, 'text_config: found "llama", expected an object'),
    (LLAMA, {"quantization_config": {"quant_method": "gptqq"}}, "quant_method: found 'gptqq', .*did you mean 'gptq'"),
    (LLAMA, {"quantization_config": {"quant_method": "fp8", "ignored_layers": [7]}}, "ignored_layers: found 7"),
    (LLAMA, {"quantization_config": {"quant_method": "awq", "bits": 3}}, "bits: found 3 bits"),
    (LLAMA, {"quantization_config": {"quant_method": "compressed-tensors"}}, "config_groups: is missing"),
    (MIXTRAL, {"num_experts_per_tok": 9}, "num_experts_per_tok: found 9, expected at most num_local_experts = 8"),
    (MIXTRAL, {"num_local_experts": ...}, "num_local_experts: is missing"),
    (MIXTRAL, {"sliding_window": -1}, "sliding_window: found -1"),
    (DEEPSEEK, {"first_k_dense_replace": 62}, "first_k_dense_replace: found 62, expected at most"),
    (DEEPSEEK, {"kv_lora_rank": 0}, "kv_lora_rank: found 0"),
    (DEEPSEEK, {"n_routed_experts": "256"}, 'n_routed_experts: found "256"'),
    (LLAMA4, {"text_config": {**LLAMA4["text_config"], "no_rope_layers": [1, 0]}}, "no_rope_layers: found 2 entries"),
    (LLAMA4, {"text_config": {}}, "text_config.num_hidden_layers: is missing"),
    (LLAMA, {"_roofline": {"aliases": "x"}}, "_roofline.aliases: found .*, expected a list"),
]


@pytest.mark.parametrize(("start", "changes", "message"), BAD)
def test_a_config_that_is_no_model(start: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    config = {k: v for k, v in {**start, **changes}.items() if v is not ...}
    with pytest.raises(BadModel, match=message) as error:
        huggingface.read(config, "mine", "models/mine.json")
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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"hidden_size": ' + "9" * 5000 + "}", "is not valid JSON"),
        ('{"model_type": "llama", "hidden_size": ' + "9" * 400 + "}", "hidden_size: found an integer of 1,329 bits"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"model_type": "llama", "hidden_size": ' + "[" * 800 + "]" * 800 + "}", "hidden_size: found [["),
        ('{"architectures": [' + "9" * 400 + "]}", "expected a list of strings"),
        ('{"model_type": "llama", "hidden_size": 1e999}', "hidden_size: found Infinity"),
    ],
    ids=["5000 digits", "400 digits", "deep lists", "deep objects", "a list inside", "no names", "infinite"],
)
def test_files_that_were_made_to_hurt(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(BadModel) as caught:
        huggingface.load(path)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500


NESTED = ("quantization_config", "text_config", "rope_parameters", "_roofline")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_field_of_the_wrong_type_is_named(name: str) -> None:
    """Every field that a reader asks for, in every built-in model, as a list of a list: refused by its name."""
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    body = config.get("text_config", config)
    refused = {}
    for key in [key for key in body if key not in NESTED]:
        broken = copy.deepcopy(config)
        broken.get("text_config", broken)[key] = [["x"]]
        try:
            huggingface.read(broken, name)
        except BadModel as error:
            refused[key] = str(error)
    assert len(refused) >= 8
    assert all(f"{key}: found" in text for key, text in refused.items()), refused
