"""Families of language models: counted as transformers counts them, told by name and fields, no slip left unsaid."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from roofline.models import huggingface
from roofline.models.attention import Attention
from roofline.models.ignored import HARMLESS
from roofline.models.llm import LanguageModel

#: Configs as the configuration classes of transformers 5.24.0 make them, and the parameters of the classes built from
#: them on the meta device; written by ``benchmarks/parameters.py --defaults --write``.
DEFAULTS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "class_defaults.json").read_text())

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "max_position_embeddings": 131072, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}  # fmt: skip


def read(config: dict[str, Any]) -> LanguageModel:
    return huggingface.read(copy.deepcopy(config))


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(rl.BadModel) as error:
        read(config)
    return str(error.value)


@pytest.mark.parametrize("family", DEFAULTS)
def test_a_class_counts_as_transformers_counts_it(family: str) -> None:
    known = DEFAULTS[family]
    assert read(known["config"]).params == known["params"]
    assert read({**known["config"], "architectures": [known["class"]]}).params == known["params"]


def test_every_weight_is_finite_and_every_operator_is_costed() -> None:
    """Each family's step has the products of its weights, and nothing negative."""
    for family, known in DEFAULTS.items():
        model = read(known["config"])
        assert all(w.elements > 0 and w.count > 0 for w in model.weights), family
        products = sum(
            one.args["m"] * one.args["n"] * one.args["k"] * one.count * one.args.get("batch", 1)
            for one in model.step(1, 1, 64)
            if one.kind == "gemm"
        )
        # Zamba's layers run the same blocks again and again, and looped ones are run again themselves.
        runs = 1.6 if family.startswith("zamba") else 1.2 * max(group.passes for group in model.layers)
        assert 0 < products <= runs * model.active_params, family


# Slips ----------------------------------------------------------------------------------------------------------------


def slips(name: str, number: int) -> Iterator[str]:
    """Ways in which a name is mistyped, at a place that `number` chooses."""
    i = number % max(1, len(name) - 1)
    yield (
        name[:i] + name[i + 1 :],
        name[:i] + name[i] + name[i:],
        name[:i] + name[i + 1] + name[i] + name[i + 2 :],
        name[:i] + "x" + name[i + 1 :],
        name + "s",
        name.upper(),
        name.replace("_", ""),
        name.title().replace("_", ""),
        name.replace("num_", "n_"),
        name.replace("key_value", "kv"),
    )[number % 10]


def without_said(model: LanguageModel) -> LanguageModel:
    return dataclasses.replace(model, left_out=())


@pytest.mark.parametrize("part", range(4))
def test_no_misspelling_changes_a_model_unsaid(part: int) -> None:
    """Each field of each family under another name: refused, or without effect."""
    tried, number, unsaid = 0, part, []
    for family, known in list(DEFAULTS.items())[part::4]:
        config, model = known["config"], without_said(read(known["config"]))
        for field in config:
            if field in HARMLESS or field == "model_type":
                continue
            number += 7
            for slip in {one for turn in range(4) for one in slips(field, number + 3 * turn)} - config.keys():
                tried += 1
                try:
                    changed = read({slip if key == field else key: value for key, value in config.items()})
                except rl.BadModel:
                    continue
                if without_said(changed) != model:
                    unsaid.append((family, field, slip))
    assert tried > 900
    assert not unsaid


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_kv_heads": 8}, "num_kv_heads: found 8, .* in llama; did you mean 'num_key_value_heads'"),
        ({"NUM_KEY_VALUE_HEADS": 8}, "did you mean 'num_key_value_heads'"),
        ({"n_kv_heads": 8}, "n_kv_heads: found 8, which roofline does not know how to read in llama"),
    ],
)
def test_a_near_miss_is_refused_with_the_right_name(changes: dict[str, Any], says: str) -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert re.search(says, refused({**config, **changes}))


# What a file is told by -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sliding_window": 4096}, "sliding_window: found 4096, which roofline does not know how to read in llama"),
        ({"num_local_experts": 8, "num_experts_per_tok": 2}, "num_local_experts: found 8"),
        ({"mamba_dt_limit": [0.0, float("inf")]}, "mamba_dt_limit: found [0.0, inf]"),
        ({"peft_type": "LORA"}, "peft_type: found 'LORA', an adapter's; read the model that it adapts"),
        ({"vocab_size": 128256.0}, "vocab_size: found 128256.0, expected a whole number from 1 to .*; write 128256"),
        ({"architectures": ["BambaForCausalLM"], "mamba_n_heads": 128}, "model_type: found 'llama', at odds with"
         "|mamba_n_heads: found 128"),
        ({"architectures": ["PhimoeForCausalLM"], "model_type": "phi"}, "model_type: found 'phi', at odds with"),
        ({"architectures": ["FalconH1ForCausalLM"], "model_type": "falcon"}, "at odds with|intermediate_size: found"),
        ({"architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "text_config": {
            **LLAMA, "model_type": "gemma3_text"}}, "text_config.model_type: found 'gemma3_text', at odds with"),
        ({"architectures": ["LlamaForImages"]}, "a class whose task roofline does not know"),
        ({"architectures": ["MistralForCausalLMEagle3"], "model_type": "mistral"}, "draft heads"),
        ({"model_type": "lamma", "architectures": None}, "found 'lamma', .*did you mean 'llama'"),
        # Helium is near in name, and its reader takes no experts.
        ({"model_type": "heliumm", "architectures": None, "num_experts": 4},
         r"found 'heliumm', expected one of the \d+ that roofline reads, such as [a-z0-9_, ]+$"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(changes: dict[str, Any], says: str) -> None:
    said = refused({**LLAMA, **changes})
    assert re.search(says, said) or says in said


@pytest.mark.parametrize(
    "changes", [{"head_dim": None}, {"sliding_window": None}, {"mamba_d_state": None}, {"num_local_experts": 0}]
)
def test_a_field_of_no_value_is_no_field(changes: dict[str, Any]) -> None:
    assert read({**LLAMA, **changes}).params == read(LLAMA).params


def test_no_key_value_heads_are_as_many_as_heads() -> None:
    assert read({**LLAMA, "num_key_value_heads": None}).kv_heads == 32
    mistral = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    assert read({**mistral, "num_key_value_heads": None}).kv_heads == 32
    assert read({key: value for key, value in mistral.items() if key != "num_key_value_heads"}).kv_heads == 8


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(LLAMA).encode())
    assert huggingface.load(file).params == 8_030_261_248


def test_a_classifier_scores_its_labels_and_makes_no_tokens() -> None:
    qwen = {**LLAMA, "architectures": ["Qwen3ForSequenceClassification"], "model_type": "qwen3", "head_dim": 128}
    whole = read({**qwen, "architectures": ["Qwen3ForCausalLM"]})
    two, five = read(qwen), read({**qwen, "id2label": {str(n): f"LABEL_{n}" for n in range(5)}})
    assert whole.params - two.params == 4096 * (128256 - 2)
    assert five.params - two.params == 3 * 4096
    assert not two.decodes
    names = [one.name for one in five.step(1, 8, 8)]
    assert "lm_head" in names
    assert "sampling" not in names


def test_an_embedder_has_no_head() -> None:
    embedder = read({**LLAMA, "architectures": ["LlamaModel"]})
    assert embedder.params == 8_030_261_248 - 4096 * 128256
    assert not {"lm_head", "sampling"} & {one.name for one in embedder.step(1, 8, 8)}


def test_a_draft_head_has_a_vocabulary_of_its_own() -> None:
    draft = read(
        {**LLAMA, "architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 32000}
    )
    # Embedding, a projection of three states, one layer whose queries, keys and values see two widths, three norms
    # and the last one, and a head of the draft's vocabulary.
    layer = 2 * 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336
    assert draft.params == 4096 * (128256 + 3 * 4096 + 32000) + layer + 4 * 4096
    head = next(one for one in draft.step(1, 1, 8) if one.name == "lm_head")
    assert head.args["n"] == 32000


@pytest.mark.parametrize(
    ("hidden", "inter", "heads", "kv_heads", "published_b"),
    [(4096, 11008, 32, 32, 0.24), (4096, 14336, 32, 8, 0.25), (8192, 28672, 64, 8, 0.99)],
)
def test_a_first_draft_head_borrows_its_vocabulary(
    hidden: int, inter: int, heads: int, kv_heads: int, published_b: float
) -> None:
    # EAGLE's README gives its heads beside 7 B, 8 B and 70 B without the embedding (recalled).
    sizes = {"hidden_size": hidden, "intermediate_size": inter, "num_attention_heads": heads}
    file = {**LLAMA, **sizes, "num_key_value_heads": kv_heads, "num_hidden_layers": 1}
    drafts = [read(file | {"architectures": [name]}) for name in ("LlamaForCausalLMEagle", "EagleLlamaForCausalLM")]
    vocabulary = drafts[0].vocab * hidden
    assert round((drafts[0].params - vocabulary) / 1e9, 2) == published_b
    assert drafts[0].params == drafts[1].params
    assert any(one.name == "lm_head" for one in drafts[0].step(1, 1, 8))


def test_what_is_left_out_is_said() -> None:
    whole = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "text_config": LLAMA,
        "vision_config": {"hidden_size": 1024},
    }
    model = read(whole)
    assert model.params == read(LLAMA).params
    why, what = model.left_out
    assert "vision_config.num_hidden_layers: is missing" in why
    assert what == "vision tower (vision_config): its parameters, memory and time are not counted"
    assert [line for name, line in model.summary().items() if name.startswith("left out")] == [why, what]
    assert read({**whole, "vision_config": None}).left_out == ()


def test_a_multi_modal_file_s_own_word_on_tied_embeddings_counts() -> None:
    whole = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": LLAMA}
    assert read({**whole, "tie_word_embeddings": True}).params == read(LLAMA).params - 4096 * 128256
    assert "did you mean 'tie_word_embeddings'" in refused({**whole, "tie_word_embedding": True})


# Differences between families -----------------------------------------------------------------------------------------


def test_a_search_leaves_layers_without_a_half() -> None:
    """Nemotron-NAS, as its file says it: groups of heads, shares of the width in steps of 256."""
    config = {
        "architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "hidden_size": 8192, "vocab_size": 1000,
        "num_attention_heads": 64, "num_hidden_layers": 3, "num_key_value_heads": None, "intermediate_size": None,
        "block_configs": [
            {"attention": {"n_heads_in_group": 8, "no_op": False, "replace_with_linear": False},
             "ffn": {"ffn_mult": 5.25, "no_op": False, "replace_with_linear": False}},
            {"attention": {"n_heads_in_group": None, "no_op": True}, "ffn": {"ffn_mult": 1.3125}},
            {"attention": {"n_heads_in_group": 16}, "ffn": {"ffn_mult": None, "no_op": True}},
        ],
    }  # fmt: skip
    model = read(config)
    attention = {8: 8192 * 8192 * 2 + 2 * 8192 * 1024, 4: 8192 * 8192 * 2 + 2 * 8192 * 512}
    norms = (2 + 1 + 1 + 1) * 8192
    blocks = 3 * 8192 * 28672 + 3 * 8192 * 7168
    assert model.params == 2 * 8192 * 1000 + attention[8] + attention[4] + blocks + norms
    linear = copy.deepcopy(config)
    linear["block_configs"][1]["ffn"]["replace_with_linear"] = True  # type: ignore[index]
    assert "block_configs[1].ffn.replace_with_linear: found true" in refused(linear)


def test_layers_that_read_another_layer_s_cache_keep_none() -> None:
    """Gemma 3n: the last 15 of 35 layers project queries alone."""
    model = read(DEFAULTS["gemma3n_text"]["config"])
    assert model.kv_bytes_per_token("bf16") == 20 * 2 * 2 * 256 * 2
    kinds = {group.mixer for group in model.layers}
    assert {mixer.own_kv for mixer in kinds if isinstance(mixer, Attention)} == {True, False}
    writes = [one for one in model.step(1, 1, 64) if one.name == "kv_write"]
    assert sum(one.count for one in writes) == 20


def test_parallel_families_share_a_norm() -> None:
    assert read(DEFAULTS["cohere"]["config"]).norms_per_layer == 1
    assert read({**DEFAULTS["stablelm"]["config"], "use_parallel_residual": True}).norms_per_layer == 1


def test_a_class_that_a_file_lends_another_type() -> None:
    """Grok-1 as it is served: a class of its own, the model type of Mixtral; four norms a layer, tied embeddings."""
    grok = {
        "architectures": ["Grok1ModelForCausalLM"], "model_type": "mixtral", "vocab_size": 131072, "hidden_size": 6144,
        "intermediate_size": 32768, "num_experts_per_tok": 2, "num_local_experts": 8, "num_attention_heads": 48,
        "num_hidden_layers": 64, "num_key_value_heads": 8, "head_dim": 128,
    }  # fmt: skip
    assert read(grok).params == 315_684_820_992
    assert read(grok).norms_per_layer == 4
