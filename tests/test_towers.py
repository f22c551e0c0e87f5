"""Towers beside language models: their parameters, the memory that they take, and the pass of an image or of sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from roofline.base.errors import BadWorkload
from roofline.models import huggingface
from roofline.work import parallel
from roofline.work.parallel import Plan

CONFIGS = Path(huggingface.__file__).parent / "configs"

#: Built-in models with a tower that transformers counts, and what it has.
COUNTED = {
    file.stem: about["transformers_tower_params"]
    for file in sorted(CONFIGS.glob("*.json"))
    if "transformers_tower_params" in (about := json.loads(file.read_text())["_roofline"])
}
NOT_READ = ("step-3.7-flash-fp8",)

TEXT = {
    "model_type": "llama", "hidden_size": 2560, "intermediate_size": 1024, "num_hidden_layers": 2,
    "num_attention_heads": 8, "vocab_size": 1000,
}  # fmt: skip
LLAVA: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "text_config": TEXT,
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
        "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_parameters_are_those_of_the_class(name: str) -> None:
    model = huggingface.load(CONFIGS / f"{name}.json")
    if name in NOT_READ:
        assert not model.towers
    else:
        assert model.tower_params == COUNTED[name]


# As the classes of transformers 5.24 have them, with the defaults of their configuration classes.
@pytest.mark.parametrize(
    ("kind", "vision", "width", "params"),
    [
        ("qwen2_vl", {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16}, 3584, 675_759_104),
        (
            "paligemma",
            {"hidden_size": 1152, "intermediate_size": 4096, "num_hidden_layers": 27, "num_attention_heads": 16,
             "projection_dim": 2048},
            2048,
            401_858_816,
        ),
        ("llava_next", LLAVA["vision_config"], 4096, 324_491_264),
        (
            "internvl",
            {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
             "image_size": [448, 448], "patch_size": [14, 14]},
            4096,
            337_509_376,
        ),
        ("glm4v", {"depth": 24, "hidden_size": 1536, "num_heads": 12, "out_hidden_size": 4096}, 4096, 892_498_432),
        ("kimi_k25", {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27}, 7168, 471_143_920),
    ],
)  # fmt: skip
def test_towers_of_further_families(kind: str, vision: dict[str, Any], width: int, params: int) -> None:
    model = huggingface.read(
        {"model_type": kind, "text_config": TEXT | {"hidden_size": width}, "vision_config": vision}
    )
    assert model.tower_params == params
    assert model.towers[0].intake is not None


def test_the_tower_of_llava() -> None:
    model = huggingface.read(LLAVA)
    assert model.tower_params == 312_687_616  # LlavaForConditionalGeneration of transformers 5.24 with this file
    assert model.params == huggingface.read(TEXT | {"architectures": ["LlamaForCausalLM"]}).params
    assert model.left_out == ()


def test_a_tower_that_is_described_badly_is_left_out_and_said() -> None:
    config = LLAVA | {"vision_config": LLAVA["vision_config"] | {"num_attention_heads": 15}}
    model = huggingface.read(config)
    assert not model.towers
    assert "vision_config is not read: config.json: vision_config.num_heads: found 15" in model.left_out[0]


def test_towers_take_memory_and_no_time_of_a_token() -> None:
    model = rl.load_model("qwen3-vl-8b")
    (tower,) = model.towers
    alone = huggingface.read({k: v for k, v in _file("qwen3-vl-8b").items() if k != "vision_config"})
    for plan in (Plan(), Plan(tp=2)):
        more = parallel.weight_bytes(model, plan, "bf16") - parallel.weight_bytes(alone, plan, "bf16")
        # Layers are split as the language model's; what stands at the tower's ends lies whole on every chip.
        assert 2 * tower.params / plan.tp <= more <= 2 * tower.params
    assert model.stored_bytes - alone.stored_bytes == 2 * tower.params
    assert model.params == alone.params
    assert {op.name for op in model.step(1, 8, 8)} == {op.name for op in alone.step(1, 8, 8)}


def _file(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return config


def test_the_pass_of_an_image() -> None:
    (tower,) = rl.load_model("qwen3-vl-8b").towers
    patches = (1024 // 16) ** 2
    step = tower.step(1, patches, patches)
    ops = {op.name: op for op in step}
    assert ops["attention"].args["causal"] == 0
    assert ops["merger_down"].args["m"] == patches / 4  # a token for each 2 x 2 patches
    assert ops["patch_embedding"].args["m"] == patches
    matrices = sum(op.count * 2 * op.args["m"] * op.args["n"] * op.args["k"] for op in step if op.kind == "gemm")
    blocks = 27 * (4 * 1152**2 + 2 * 1152 * 4304)
    ends = 1152 * 3 * 2 * 16**2 + (1 + 3) * (4608 * 4608 + 4608 * 4096) / 4
    assert matrices == pytest.approx(2 * patches * (blocks + ends), rel=1e-12)
    once, twice = (rl.run(tower.step(n, patches, patches), "h100-sxm").time_s for n in (1, 2))
    assert 0 < once < twice < 2 * once


def test_windows_of_qwen2_5_vl_see_64_patches() -> None:
    (tower,) = rl.load_model("qwen2.5-vl-7b").towers
    found = {op.name: op for op in tower.step(1, 4096, 4096) if op.kind == "attention"}
    assert (found["chunked_attention"].count, found["attention"].count) == (28, 4)
    args = found["chunked_attention"].args
    assert (args["batch"], args["q_len"], args["kv_len"]) == (64, 64, 64)


def test_a_second_of_sound_is_fifty_steps() -> None:
    (tower,) = rl.load_model("voxtral-mini-3b").towers
    ops = {op.name: op for op in tower.step(1, 50 * 30, 50 * 30)}
    assert ops["convolution_1"].args["m"] == 3000  # of a spectrogram of 100 a second, the second one halves them
    assert ops["projector_down"].args["m"] == 375


# The tokens of an image as the models' own preprocessors have them: Qwen3-VL 32 x 32 pixels to a token, Pixtral (2 x 2
# of 14) 28 x 28, Gemma 3 256 an image, Llama 4 144 a tile, LLaVA a patch each; Voxtral 12.5 tokens a second, of 30 s.
@pytest.mark.parametrize(
    ("name", "asked", "tokens", "vectors"),
    [
        ("qwen3-vl-8b", {"images": 1, "image_size": 1024}, 1024, 4096),
        ("qwen3-vl-8b", {"images": 3, "image_size": 500}, 3 * 256, 1024),
        ("mistral-small-3.1", {"images": 2, "image_size": 1540}, 2 * 3025, 12_100),
        ("gemma-3-4b", {"images": 1}, 256, 4096),
        ("llama-4-scout", {"images": 5}, 5 * 144, 577),
        ("voxtral-mini-3b", {"audio": 1, "audio_s": 45}, 750, 3000),
    ],
)
def test_images_and_sound_are_tokens_of_the_prompt(name: str, asked: Any, tokens: int, vectors: int) -> None:
    model = rl.load_model(name)
    options: Any = {"batch": 2, "output": 8, "tp": 8, "check": False}
    est = rl.estimate(model, "h100-sxm", prompt=tokens, **options, **asked)
    text = rl.estimate(model, "h100-sxm", prompt=tokens, **options)
    (tower,) = model.towers
    often = asked.get("images", asked.get("audio"))
    attention = next(op for op in est.work("prefill")[0] if op.name == f"{tower.name}.attention")
    assert (attention.args["batch"], attention.args["q_len"]) == (2 * often, vectors)
    assert est.ttft_s > text.ttft_s
    assert est.tpot_s == text.tpot_s
    assert est.memory == text.memory
    with pytest.raises(BadWorkload, match=f"at least the {tokens}"):
        rl.estimate(model, "h100-sxm", prompt=tokens - 1, **options, **asked)


def test_images_may_be_an_axis_and_none_is_none() -> None:
    each = rl.estimate("qwen3-vl-2b", "h100-sxm", prompt=4096, images=[0, 1, 4]).ttft_s
    single = [rl.estimate("qwen3-vl-2b", "h100-sxm", prompt=4096, images=n).ttft_s for n in (0, 1, 4)]
    assert each == pytest.approx(single)
    assert single[0] == rl.estimate("qwen3-vl-2b", "h100-sxm", prompt=4096).ttft_s
    staged = rl.estimate("qwen3-vl-2b", "h100-sxm", prompt=4096, images=4, pp=2, batch=2).ttft_s
    assert staged > rl.estimate("qwen3-vl-2b", "h100-sxm", prompt=4096, pp=2, batch=2).ttft_s


@pytest.mark.parametrize(
    ("name", "asked", "why"),
    [
        ("llama-3.1-8b", {"images": 1}, "has no tower that reads images"),
        ("step-3.7-flash-fp8", {"images": 1}, "has no tower that reads images; layers that predict"),
        ("gemma-3-4b", {"audio": 1}, "has no tower that reads sound"),
        ("gemma-3-4b", {"images": 1, "image_size": 512}, "brings every image to 896 pixels"),
        ("qwen3-vl-2b", {"image_size": 512}, "expected images beside it"),
        ("qwen3-vl-2b", {"images": 1, "image_size": -1}, "expected a number above 0"),
        ("qwen3-vl-2b", {"images": 1.5}, "whole number"),
    ],
)
def test_what_no_tower_can_be_asked(name: str, asked: Any, why: str) -> None:
    with pytest.raises(BadWorkload, match=why):
        rl.estimate(name, "h100-sxm", check=False, **asked)
