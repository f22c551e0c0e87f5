"""Encoders with a decoder that attends across to their states, and a decoder that attends across to an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.base.errors import BadWorkload
from roofline.models import huggingface
from roofline.models.llm import LanguageModel

T5: dict[str, Any] = {
    "model_type": "t5", "d_model": 512, "d_ff": 2048, "d_kv": 64, "num_layers": 6, "num_heads": 8,
    "vocab_size": 32128, "n_positions": 512,
}  # fmt: skip
UMT5 = T5 | {
    "model_type": "umt5", "vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True,
}  # fmt: skip
BART: dict[str, Any] = {
    "model_type": "bart", "d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 16,
    "decoder_attention_heads": 16, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "vocab_size": 50265,
    "max_position_embeddings": 1024,
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "model_type": "whisper", "d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 6,
    "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "vocab_size": 51865,
    "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448,
}  # fmt: skip
MLLAMA: dict[str, Any] = {
    "model_type": "mllama",
    "text_config": {
        "model_type": "mllama_text_model", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
        "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
    },
    "vision_config": {
        "model_type": "mllama_vision_model", "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
        "num_global_layers": 8, "attention_heads": 16, "image_size": 448, "patch_size": 14, "max_num_tiles": 4,
        "vision_output_dim": 7680,
    },
}  # fmt: skip


def read(config: dict[str, Any], name: str, **more: Any) -> LanguageModel:
    return huggingface.read(config | more | {"architectures": [name]}, "it")


# As the classes of transformers 5.24 have them, built on the meta device with their defaults.
@pytest.mark.parametrize(
    ("config", "name", "params"),
    [
        (T5, "T5ForConditionalGeneration", 60_506_624),
        (UMT5, "UMT5ForConditionalGeneration", 172_122_112),
        (BART, "BartForConditionalGeneration", 406_291_456),
        (BART, "BartForCausalLM", 254_084_096),
        (BART | {"model_type": "mbart"}, "MBartForConditionalGeneration", 406_295_552),
        (BART | {"model_type": "pegasus"}, "PegasusForConditionalGeneration", 406_287_360),
        (BART | {"model_type": "marian", "vocab_size": 58101}, "MarianMTModel", 414_307_328),
        (BART | {"model_type": "m2m_100", "vocab_size": 128112}, "M2M100ForConditionalGeneration", 483_905_536),
        (WHISPER, "WhisperForConditionalGeneration", 37_760_640),
        (WHISPER, "WhisperForCausalLM", 29_552_256),
        (MLLAMA, "MllamaForConditionalGeneration", 9_775_192_080),
    ],
)
def test_parameters_are_those_of_the_class(config: dict[str, Any], name: str, params: int) -> None:
    model = read(config, name)
    assert model.params == params == sum(w.elements * w.count for w in model.weights) - model.tower_params
    assert model.decodes
    assert model.tower_params == (867_749_395 if config is MLLAMA else 0)


def test_a_step_attends_to_its_own_tokens_and_to_all_states() -> None:
    model = read(T5, "T5ForConditionalGeneration")
    ops = {op.name: op for op in model.step(4, 1, 10, source=300)}
    assert (ops["attention"].args["kv_len"], ops["cross_attention"].args["kv_len"]) == (10, 300)
    assert ops["cross_attention"].args["causal"] == 0
    assert (ops["norm"].count, ops["residual_add"].count) == (18, 18)  # three to each of six layers
    once = {op.name: op for op in model.reading(4, 300)}
    assert once["cross_kv_proj"].args["m"] == 1200
    assert "cross_kv_proj" not in ops
    # Keys and values of 8 heads of 64 in six layers, of a token of its own and of a state alike.
    assert model.kv_bytes(1, 1) == model.source_bytes(1, 1) == 2 * 8 * 64 * 6 * 2


def test_prefill_is_the_encoder_and_one_step_and_decode_grows_with_the_output_alone() -> None:
    model = read(T5, "T5ForConditionalGeneration")
    est = rl.estimate(model, "h100-sxm", batch=8, prompt=512, output=64)
    work = {op.name: op for op in est.work("prefill")[0]}
    assert work["encoder.qkv_proj"].args["m"] == 8 * 512
    assert work["qkv_proj"].args["m"] == 8
    assert est.memory.cache_bytes == model.kv_bytes(8, 64) + model.source_bytes(8, 512)
    assert est.ttft_s + 63 * est.tpot_s == est.time_s
    assert est.lower_s <= est.time_s <= est.upper_s
    more = rl.estimate(model, "h100-sxm", batch=8, prompt=[256, 512], output=64)
    assert more.time_s[1] == pytest.approx(est.time_s)
    assert np.all(np.diff(more.tpot_s) > 0)
    for split in (2, 4):
        less = rl.estimate(model, "h100-sxm", batch=8, prompt=512, output=64, tp=split)
        assert less.prefill.lower_s < est.prefill.lower_s
    # What was asked many times before is asked again the short way, and answers the same.
    again = [rl.estimate(model, "h100-sxm", batch=b, prompt=512, output=64).time_s for b in range(1, 20)]
    grid = rl.estimate(model, "h100-sxm", batch=list(range(1, 20)), prompt=512, output=64).time_s
    np.testing.assert_allclose(again, grid)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"prompt": 1024}, "reads at most 512 positions"),
        ({"prompt": 512, "output": 513}, "makes at most 512"),
        ({"prompt": 512, "prefix": 8}, "reads every prompt anew"),
        ({"prompt": 512, "pp": 2}, "runs on one stage"),
        ({"prompt": 512, "images": 1}, "has no tower that reads images"),
    ],
)
def test_what_an_encoder_cannot_be_asked(options: dict[str, Any], why: str) -> None:
    with pytest.raises(BadWorkload, match=why):
        rl.estimate(read(T5, "T5ForConditionalGeneration"), "h100-sxm", **options)


def test_no_server_plays_an_encoder_with_a_decoder() -> None:
    model = read(T5, "T5ForConditionalGeneration")
    traffic = rl.Traffic(rate=1, prompt=100, output=10, requests=10)
    for ask in (
        lambda: rl.serve(model, "h100-sxm", prompt=100, output=10),
        lambda: rl.simulate(model, "h100-sxm", traffic),
        lambda: rl.fewest_chips(model, "h100-sxm", prompt=100, output=10, tpot_s=1),
    ):
        with pytest.raises(BadWorkload, match="encoder with a decoder"):
            ask()


def test_layers_that_attend_to_images_are_skipped_where_there_is_none() -> None:
    model = read(MLLAMA, "MllamaForConditionalGeneration")
    without = {op.name: op.count for op in model.step(1, 1, 1000)}
    assert "cross_attention" not in without
    assert without["attention"] == without["gate_up_proj"] == 32
    with_them = {op.name: op.count for op in model.step(1, 1, 1000, source=4100)}
    assert (with_them["attention"], with_them["cross_attention"], with_them["gate_up_proj"]) == (32, 8, 40)
    text, seen = (rl.estimate(model, "h100-sxm", prompt=100, output=8, images=n) for n in (0, 1))
    assert seen.memory.cache_bytes - text.memory.cache_bytes == 8 * 2 * 8 * 128 * 2 * 4 * 1025  # four tiles of an image
    assert seen.tpot_s > text.tpot_s
    tower = {op.name: op for op in seen.work("prefill")[0] if op.name.startswith("vision tower.")}
    assert tower["vision tower.attention"].args["q_len"] == 4 * 1025
