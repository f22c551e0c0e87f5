"""Dtypes of a language model: how wide its weights lie in memory, and what it computes in where nobody says."""

from __future__ import annotations

import json
from typing import Any

import pytest

import roofline as rl
from roofline.models import huggingface
from roofline.work.parallel import Plan, weight_bytes
from tests.test_models import CONFIGS, MODELS


@pytest.mark.parametrize(
    ("dtypes", "each"),
    [
        ({"dtype": "fp64"}, 8),
        ({"dtype": "bf16", "weight_dtype": "fp64"}, 8),
        ({"dtype": "fp32"}, 4),
        ({"dtype": "bf16", "weight_dtype": "fp32"}, 4),
        ({"dtype": "bf16"}, 2),
        ({"dtype": "fp32", "weight_dtype": "fp64"}, 8),
    ],
)
def test_a_plain_checkpoint_is_held_as_wide_as_was_asked_all_of_it(dtypes: dict[str, str], each: int) -> None:
    held = weight_bytes(MODELS["llama-3.1-8b"], Plan(), **dtypes)
    assert held == 8_030_261_248 * each  # 64.24 GB in fp64
    estimate = rl.estimate("llama-3.1-8b", "a100-sxm-80gb", check=False, **{"dtype": "bf16", **dtypes})
    assert estimate.memory.weights_bytes == held


def test_what_is_not_quantised_is_read_as_wide_as_it_is_held() -> None:
    """Embedding, router and output projection in fp64 where the weights are, even for arithmetic in 16 bits."""
    step = {one.name: one.args for one in MODELS["mixtral-8x7b"].step(1, 1, 128, dtype="bf16", weight_dtype="fp64")}
    assert {step[name]["weight_width"] for name in ("lm_head", "router", "qkv_proj", "moe")} == {8.0}
    assert (step["token_embedding"]["width"], step["token_embedding"]["out_width"]) == (8.0, 2.0)
    assert step["norm"]["width"] == step["lm_head"]["width"] == 2.0
    plain = {one.name: one.args for one in MODELS["mixtral-8x7b"].step(1, 1, 128, dtype="fp64")}
    assert all(args.get("weight_width", 8.0) == args.get("width", 8.0) == 8.0 for args in plain.values())


def test_a_quantised_checkpoint_stays_narrow_in_wide_arithmetic() -> None:
    step = {one.name: one.args for one in MODELS["llama-3.1-405b-fp8"].step(1, 1, 128, dtype="fp64")}
    held = {name: step[name]["weight_width"] for name in ("qkv_proj", "lm_head")}
    assert held == {"qkv_proj": 8.0, "lm_head": 8.0}  # attention is not quantised there
    layers = [w for w in MODELS["llama-3.1-405b-fp8"].weights if w.name == "down_proj"]
    assert MODELS["llama-3.1-405b-fp8"].bytes_per_weight(layers[0], "fp64") == pytest.approx(
        (124 * (1 + 4 / 16384) + 2 * 8) / 126  # the first and the last layer are not either
    )
    gpt = MODELS["gpt-oss-120b"].step(1, 1, 128, dtype="fp32")
    assert [one.args["weight_width"] for one in gpt if one.name == "moe"] == [17 / 32]


@pytest.mark.parametrize(
    ("model", "chip", "taken", "says"),
    [
        ("llama-3.1-405b-fp8", "h200", "fp8", "computes in fp8, as its checkpoint does; dtype='bf16' for 16 bits"),
        ("deepseek-v3", "h200", "fp8", "computes in fp8"),
        ("deepseek-r1", "mi300x", "fp8", "computes in fp8"),
        ("llama-3.1-405b-fp8", "a100-sxm-80gb", "bf16", "made for fp8, which a100-sxm-80gb"),
        ("gpt-oss-120b", "h200", "bf16", None),  # its experts alone are narrow: weights, not arithmetic
        ("llama-3.1-405b", "h200", "bf16", None),
    ],
)
def test_a_checkpoint_computes_as_it_is_made_to_where_the_chip_can(
    model: str, chip: str, taken: str, says: str | None
) -> None:
    shape = {"tp": 8, "batch": 16, "check": False}
    default = rl.estimate(model, chip, **shape)
    asked = rl.estimate(model, chip, dtype=taken, **shape)
    assert default.request.dtype == taken
    assert default.figures() == asked.figures()
    assert not _on_dtypes(asked.notes)
    assert not _on_dtypes(default.notes) if says is None else says in _on_dtypes(default.notes)[0]
    served = rl.serve(model, chip, tp=8, concurrency=16, check=False)
    assert (served.request.dtype, served.notes) == (taken, default.notes)


def _on_dtypes(notes: tuple[str, ...]) -> list[str]:
    return [note for note in notes if not note.startswith("software:")]


def test_arithmetic_that_was_asked_for_is_taken() -> None:
    shape = {"tp": 8, "batch": 16, "prompt": 1024}
    slow, fast = (rl.estimate("llama-3.1-405b-fp8", "h200", dtype=d, **shape).ttft_s for d in ("bf16", "fp8"))
    assert fast / slow == pytest.approx(1 / 1.39, rel=0.01)
    assert rl.estimate("llama-3.1-405b-fp8", "h200", **shape).ttft_s == fast


@pytest.mark.parametrize(
    ("quantization", "own"),
    [
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {
            "weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8, "type": "int"}}}}, "int8"),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "int"}}}},
         "bf16"),
        ({"quant_method": "awq", "bits": 4}, "bf16"),
        ({"quant_method": "gptq", "bits": 8}, "bf16"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)  # fmt: skip
def test_weights_alone_leave_the_arithmetic_in_16_bits(quantization: dict[str, Any], own: str) -> None:
    config = json.loads((CONFIGS / "llama-3.1-8b.json").read_text())
    model = huggingface.read({**config, "quantization_config": quantization})
    assert rl.estimate(model, "h100-sxm").request.dtype == own
