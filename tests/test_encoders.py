"""Models that answer in one pass: encoders, and decoders that embed, classify or rerank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.base.errors import BadModel, BadWorkload
from roofline.estimates.one_pass import PassEstimate
from roofline.models import huggingface
from roofline.models.llm import LanguageModel

BERT: dict[str, Any] = {
    "model_type": "bert", "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 512, "type_vocab_size": 2, "vocab_size": 30522,
}  # fmt: skip
ROBERTA = BERT | {"model_type": "roberta", "vocab_size": 50265}
DISTIL = {"model_type": "distilbert", "dim": 768, "hidden_dim": 3072, "n_heads": 12, "n_layers": 6, "vocab_size": 30522}
MODERN = {
    "model_type": "modernbert", "hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22,
    "num_attention_heads": 12, "vocab_size": 50368, "max_position_embeddings": 8192,
}  # fmt: skip
MPNET = {key: value for key, value in BERT.items() if key != "type_vocab_size"} | {
    "model_type": "mpnet",
    "vocab_size": 30527,
    "relative_attention_num_buckets": 32,
}
NOMIC = BERT | {"model_type": "nomic_bert", "vocab_size": 30528, "max_position_embeddings": 2048}
EURO = MODERN | {"model_type": "eurobert", "intermediate_size": 3072, "num_hidden_layers": 12, "vocab_size": 128256}
QWEN3 = {
    "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "head_dim": 128,
    "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151669, "tie_word_embeddings": True,
}  # fmt: skip


def read(config: dict[str, Any], name: str) -> LanguageModel:
    return huggingface.read(config | {"architectures": [name]})


# As the classes of transformers 5.24 have them, built on the meta device with these configurations.
@pytest.mark.parametrize(
    ("config", "name", "params"),
    [
        (BERT, "BertModel", 109_482_240),
        (BERT, "BertForSequenceClassification", 109_483_778),
        (BERT, "BertForMaskedLM", 109_514_298),
        (BERT, "BertForTokenClassification", 108_893_186),
        (ROBERTA, "RobertaModel", 124_644_864),
        (ROBERTA, "RobertaForSequenceClassification", 124_646_402),
        (ROBERTA, "RobertaForMaskedLM", 124_696_665),
        (DISTIL, "DistilBertModel", 66_362_880),
        (DISTIL, "DistilBertForMaskedLM", 66_985_530),
        (DISTIL, "DistilBertForSequenceClassification", 66_955_010),
        (MODERN, "ModernBertModel", 149_014_272),
        (MODERN, "ModernBertForMaskedLM", 149_655_232),
        (MODERN, "ModernBertForSequenceClassification", 149_606_402),
        (MPNET, "MPNetModel", 109_484_928),
        (MPNET, "MPNetForSequenceClassification", 109_486_466),
        (NOMIC, "NomicBertModel", 136_731_648),
        (NOMIC, "NomicBertForMaskedLM", 137_354_304),
        (EURO, "EuroBertModel", 211_766_016),
        (EURO, "EuroBertForMaskedLM", 310_266_624),
        (QWEN3, "Qwen3Model", 595_776_512),
        (QWEN3, "Qwen3ForSequenceClassification", 595_778_560),
    ],
)
def test_parameters_are_those_of_the_class(config: dict[str, Any], name: str, params: int) -> None:
    model = read(config, name)
    assert model.params == params
    assert not model.decodes
    assert model.causal == (config is QWEN3)


def test_an_encoder_keeps_nothing_of_a_sequence() -> None:
    model = read(BERT, "BertModel")
    assert model.kv_bytes_per_token() == 0
    assert model.heads == model.kv_heads == 12
    assert "kv_write" not in {op.name for op in model.step(4, 512, 512)}
    assert read(QWEN3, "Qwen3Model").kv_bytes_per_token() == 28 * 2 * 8 * 128 * 2


def test_every_pair_of_tokens_is_attended_to() -> None:
    (attention,) = [op for op in read(BERT, "BertModel").step(4, 512, 512) if op.kind == "attention"]
    assert (attention.count, attention.args["causal"], attention.args["window"]) == (12, 0, 0)
    spans = {op.name: op for op in read(MODERN, "ModernBertModel").step(4, 512, 512) if op.kind == "attention"}
    assert spans["attention"].count == 8  # the first and every third after it, of 22
    assert (spans["sliding_attention"].count, spans["sliding_attention"].args["window"]) == (14, 129)


def test_the_vocabulary_is_scored_for_every_token_of_a_masked_model_and_labels_once_a_sequence() -> None:
    def scored(name: str) -> float:
        return next(op.args["m"] for op in read(BERT, name).step(4, 512, 512) if op.name == "lm_head")

    assert scored("BertForMaskedLM") == scored("BertForTokenClassification") == 4 * 512
    assert scored("BertForSequenceClassification") == 4


def test_two_rows_of_roberta_are_never_used() -> None:
    assert read(ROBERTA | {"max_position_embeddings": 514}, "RobertaModel").max_positions == 512


def test_the_estimate_is_of_one_pass() -> None:
    est = rl.estimate(read(BERT, "BertModel"), "h100-sxm", batch=64, prompt=512)
    assert isinstance(est, PassEstimate)
    assert est.request.output == 0
    assert est.latency_s == est.time_s == est.prefill.time_s
    assert est.requests_per_s == 64 / est.latency_s
    assert est.tokens_per_s == 64 * 512 / est.latency_s
    assert est.lower_s <= est.time_s <= est.upper_s
    low, high = est.interval(0.9, "requests_per_s")
    assert low < est.requests_per_s < high
    assert est.chip_power_w > 0
    assert est.kv_tokens == 0
    assert est.chip.stack == ""  # stacks are of engines that keep a cache
    # Working space is that of whole prompts, so that a batch may be too large.
    assert rl.estimate(est.model, "h100-sxm", batch=128, prompt=512).memory.activations_bytes == pytest.approx(
        2 * est.memory.activations_bytes
    )


def test_longer_prompts_and_more_of_them_are_points_of_a_grid() -> None:
    model = read(BERT, "BertModel")
    grid = rl.sweep(model, "h100-sxm", batch=[1, 8], prompt=[128, 512, 600])
    assert grid.possible.values.tolist() == [[True, True, False]] * 2
    one = rl.estimate(model, "h100-sxm", batch=8, prompt=128)
    assert float(grid.latency_s.sel(batch=8, prompt=128)) == pytest.approx(float(one.latency_s))
    arrays = rl.estimate(model, "h100-sxm", batch=np.array([1, 8]), prompt=128)
    assert arrays.requests_per_s[1] == pytest.approx(float(one.requests_per_s))


def test_no_tokens_are_made() -> None:
    model = read(QWEN3, "Qwen3ForSequenceClassification")
    with pytest.raises(BadWorkload, match="answers in one pass and makes no tokens; leave output out, found 8"):
        rl.estimate(model, "h100-sxm", output=8)
    assert rl.estimate(model, "h100-sxm", output=0).requests_per_s > 0
    with pytest.raises(BadWorkload, match="answers in one pass"):
        rl.serve(model, "h100-sxm")
    with pytest.raises(BadWorkload, match="expected a whole number of at least 1"):
        rl.estimate("llama-3.1-8b", "h100-sxm", output=0)


def test_what_other_rooms_say_of_a_pass() -> None:
    est = rl.estimate("bert-base", "h100-sxm", batch=8, prompt=128)
    assert est.explain("latency_s").sentences


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("led", "blocks chosen at random or by a pattern"),
        ("deberta-v2", "attends to positions and contents apart"),
    ],
)
def test_what_attends_by_other_rules_is_refused_in_a_line(kind: str, why: str) -> None:
    with pytest.raises(BadModel, match=why):
        huggingface.read(BERT | {"model_type": kind})


def test_a_decoder_fills_no_masks() -> None:
    with pytest.raises(BadModel, match="this family decodes"):
        read(QWEN3, "Qwen3ForMaskedLM")


def test_the_encoder_of_t5_alone_is_read() -> None:
    file = {
        "model_type": "t5",
        "d_model": 512,
        "d_ff": 2048,
        "d_kv": 64,
        "num_layers": 6,
        "num_decoder_layers": 6,
        "num_heads": 8,
        "vocab_size": 32128,
        "n_positions": 512,
        "is_encoder_decoder": True,
    }
    encoder = read(file, "T5EncoderModel")
    # T5-small in transformers 5.24: the embedding, six layers, a norm behind them, 32 buckets of 8 heads.
    assert encoder.params == 35_330_816
    assert (encoder.causal, encoder.decodes, encoder.kv_bytes_per_token()) == (False, False, 0)
    gated = read(file | {"feed_forward_proj": "gated-gelu"}, "T5EncoderModel")
    assert gated.params - encoder.params == 6 * 512 * 2048
    both = read(file, "T5ForConditionalGeneration")
    assert both.encoder is not None
    assert both.encoder.params == encoder.params
    for whole, why in (("T5Model", "expected the class that generates"), ("BertModel", "at odds")):
        with pytest.raises(BadModel, match=why):
            read(file, whole)
