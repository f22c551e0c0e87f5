"""Heads of multi-token prediction, as draft models beside the model that they stand behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from roofline.models import huggingface
from roofline.models.llm import LanguageModel

CONFIGS = Path(huggingface.__file__).parent / "configs"


def head_of(name: str, **changes: Any) -> LanguageModel:
    config = json.loads((CONFIGS / f"{name}.json").read_text()) | changes
    head = huggingface.read(config, name).mtp
    assert head is not None
    return head


@pytest.mark.parametrize("name", ["deepseek-v3", "glm-4.5-air", "solar-open-100b"])
def test_a_head_is_one_more_layer_behind_a_projection_of_two_states(name: str) -> None:
    config = json.loads((CONFIGS / f"{name}.json").read_text()) | {"num_nextn_predict_layers": 1}
    model = huggingface.read(config, name)
    deeper = huggingface.read(config | {"num_hidden_layers": config["num_hidden_layers"] + 1}, name)
    head, hidden = model.mtp, model.hidden
    assert head is not None
    # The projection, norms of both of its inputs, and the norm behind the layer.
    assert head.params == deeper.params - model.params + 2 * hidden**2 + 3 * hidden
    assert head.kv_bytes_per_token() == deeper.kv_bytes_per_token() - model.kv_bytes_per_token()
    assert huggingface.read(config | {"num_nextn_predict_layers": 0}, name).mtp is None


def test_heads_as_published() -> None:
    # "11.5B unique parameters, excluding the shared 0.9B Embedding and 0.9B output Head" (DeepSeek-V3, README_WEIGHTS).
    assert head_of("deepseek-v3").params == pytest.approx(11.5e9, rel=0.01)
    # A dense block and a window, "0.33B per block" (model card of MiMo-V2-Flash, recalled).
    assert head_of("mimo-v2-flash").params == pytest.approx(0.33e9, rel=0.01)
    two = head_of("nemotron-3-super-fp8")
    assert [(g.mixer is None, g.feed_forward is None) for g in two.layers] == [(False, True), (True, False)]
    assert head_of("qwen3-next-80b-a3b").kv_heads == 2  # attention, as in the last layer


def test_a_guess_reads_the_output_projection_that_it_does_not_store() -> None:
    model = rl.load_model("glm-4.5-air")
    head = head_of("glm-4.5-air")
    names = {op.name for op in head.step(4, 1, 100)}
    assert {"token_embedding", "states_proj", "lm_head", "sampling"} <= names
    assert not {"token_embedding", "lm_head"} & {w.name for w in head.weights}
    assert ".mtp" in model.left_out[-1]
    guess = rl.estimate(head, "h100-sxm", tp=8, batch=4, prompt=100, output=2)
    assert guess.tpot_s < rl.estimate(model, "h100-sxm", tp=8, batch=4, prompt=100, output=2).tpot_s / 5
