"""More of models by hand: every weight and operator of small ones, blocks of recommendation models, what is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.models.attention import Attention, LatentAttention
from roofline.models.checkpoint.stored import per_tensor, uniform
from roofline.models.description import read
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.forward import mean_context
from roofline.models.llm import LanguageModel, Layers
from roofline.models.mixers import Span
from roofline.models.recommender import Recommender
from roofline.models.steps import Gram, Linear, Pointwise, SequenceAttention, merged
from roofline.work.workload import Workload


def weights(model: LanguageModel) -> dict[str, tuple[int, int, str, str]]:
    """Label -> elements of one, how many there are, how they are split and stored."""
    return {w.name: (w.elements, w.count, w.shard, w.storage) for w in model.weights}


def products(step: Workload) -> dict[str, tuple[Any, ...]]:
    """Label -> m, n, k, batch and count of the matrix products."""
    return {
        one.name: (*(one.args[x] for x in ("m", "n", "k", "batch")), one.count) for one in step if one.kind == "gemm"
    }


def streams(step: Workload) -> dict[str, tuple[Any, ...]]:
    """Label -> kind, rows, columns and count of what streams."""
    return {one.name: (one.kind, one.args["rows"], one.args["cols"], one.count) for one in step if "cols" in one.args}


#: 3 layers, 32 wide: a bias everywhere, norms of queries and keys, sinks; one layer that sees 8 tokens, unrotated.
BIASED = Attention(4, 2, 8, rope_dim=4, qkv_bias=True, out_bias=True, qk_norm=True, qk_norm_weights=16, sinks=True)
EVERYTHING = LanguageModel(
    "everything",
    hidden=32,
    vocab=100,
    max_positions=1000,
    tied=True,
    norm="layer_norm",
    norms_per_layer=4,
    lm_head_bias=True,
    layers=(
        Layers(2, BIASED, FeedForward(48, gated=False, bias=True), Span()),
        Layers(
            1,
            BIASED,
            Experts(8, 2, 12, FeedForward(20), bias=True, router_bias=True, shared_gate=True),
            Span(window=8, rope=False),
        ),
    ),
)


def test_every_weight_of_a_model_that_has_all_of_them() -> None:
    """Heads of 8: 4 + 2 x 2 of them from 32 numbers and a bias; an expert of gate, up and down, 3 x 32 x 12, with a
    bias of each; a layer norm has a scale and a shift; the tied head has nothing but its bias."""
    assert weights(EVERYTHING) == {
        "token_embedding": (100 * 32, 1, "vocab", "wide"),
        "qkv_proj": (8 * 8 * (32 + 1), 3, "heads 4+2x2", "attention"),
        "o_proj": ((4 * 8 + 1) * 32, 3, "row", "attention"),
        "qk_norm": (16, 3, "", "wide"),
        "sinks": (4, 3, "", "wide"),
        "up_proj": (48 * (32 + 1), 2, "column", "linear"),
        "down_proj": (48 * 32 + 32, 2, "row", "linear"),
        "router": (8 * (32 + 1), 1, "", "wide"),
        "moe": (8 * (3 * 32 * 12 + 2 * 12 + 32), 1, "experts", "expert"),
        "shared_gate": (32, 1, "", "wide"),
        "shared_gate_up_proj": (2 * 20 * 32, 1, "column", "linear"),
        "shared_down_proj": (20 * 32, 1, "row_joined", "linear"),
        "norm": (2 * 32, 4 * 3, "", "wide"),
        "final_norm": (2 * 32, 1, "", "wide"),
        "lm_head": (100, 1, "vocab", "wide"),
    }
    routed = 8 * (3 * 32 * 12 + 2 * 12 + 32)
    assert EVERYTHING.params == sum(size * count for size, count, *_ in weights(EVERYTHING).values())
    assert EVERYTHING.active_params == EVERYTHING.params - routed * 6 / 8
    assert FeedForward(48, gated=False).live_elements(32, tp=2) == 2 * 48 / 2
    untied = replace(EVERYTHING, tied=False, lm_head_bias=False, norm="rms_norm")
    assert weights(untied)["lm_head"][0] == 100 * 32
    assert weights(untied)["norm"][:2] == (32, 4 * 3)
    assert EVERYTHING.kv_bytes_per_token("bf16") == 3 * 2 * 2 * 8 * 2
    # Of 20 tokens the last layer keeps 8.
    assert EVERYTHING.kv_bytes(5, 20, "fp8") == 5 * (2 * 20 + 8) * 32
    assert EVERYTHING.without_windows.kv_bytes(5, 20, "fp8") == 5 * 3 * 20 * 32


def test_every_operator_of_a_model_that_has_all_of_them() -> None:
    """A prefill of 2 x 6 tokens; the head looks at the last of each. Half of a head of 8 is rotated, in two layers."""
    step = EVERYTHING.step(2, 6, 6)
    assert products(step) == {
        "qkv_proj": (12, 64, 32, 1, 3),
        "o_proj": (12, 32, 32, 1, 3),
        "up_proj": (12, 48, 32, 1, 2),
        "down_proj": (12, 32, 48, 1, 2),
        "router": (12, 8 + 1, 32, 1, 1),
        "shared_gate_up_proj": (12, 40, 32, 1, 1),
        "shared_down_proj": (12, 32, 20, 1, 1),
        "lm_head": (2, 100, 32, 1, 1),
    }
    assert streams(step) == {
        "token_embedding": ("token_embedding", 12, 32, 1),
        "norm": ("layer_norm", 12, 32, 12),
        "qk_norm": ("rms_norm", 12, 6 * 8, 3),
        "rope": ("rope", 12, 6 * 4, 2),
        "kv_write": ("copy", 12, 32, 3),
        "residual_add": ("residual_add", 12, 32, 6),
        "activation": ("activation", 12, 48, 2),
        "shared_silu_mul": ("silu_mul", 12, 20, 1),
        "shared_add": ("residual_add", 12, 32, 1),
        "final_norm": ("layer_norm", 12, 32, 1),
        "sampling": ("sampling", 2, 100, 1),
    }
    (experts,) = (one for one in step if one.kind == "moe")
    assert {x: experts.args[x] for x in ("tokens", "hidden", "inter", "topk", "experts")} == {
        "tokens": 12,
        "hidden": 32,
        "inter": 12,
        "topk": 2,
        "experts": 8,
    }
    sizes = ("batch", "heads", "kv_heads", "kv_len", "window")
    seen = {one.name: (*(one.args[x] for x in sizes), one.count) for one in step if one.kind == "attention"}
    assert seen == {"attention": (2, 4, 2, 6, 0, 2), "sliding_attention": (2, 4, 2, 6, 8, 1)}
    everything = products(EVERYTHING.step(2, 6, 6, logits="all"))
    assert everything["lm_head"][0] == 12
    with pytest.raises(rl.BadWorkload, match="logits is 'last' or 'all', found 'some'"):
        EVERYTHING.step(2, 6, 6, logits="some")


def test_a_step_of_decoding_sees_the_mean_of_its_contexts() -> None:
    """Steps at 6, 7, 8, 9, 10 tokens: 8 in the mean, and 6, 7, 8, 8, 8 within the window of 8."""
    step = EVERYTHING.step(2, 1, 6, steps=5)
    seen = {one.name: one.args["kv_len"] for one in step if one.kind == "attention"}
    assert seen == {"attention": 8, "sliding_attention": pytest.approx(37 / 5)}
    assert mean_context(6, 5, 3) == (6 + 9 + 12 + 15 + 18) / 5
    # Chunks of 4: the contexts hold 2, 3, 4, 1, 2 tokens of their own chunk.
    assert mean_context(6, 5, 1, 4, chunked=True) == (2 + 3 + 4 + 1 + 2) / 5
    assert mean_context(6, 5, 1, 4) == 4
    assert (Span(8).name, Span(8, chunked=True).name, Span().name) == (
        "sliding_attention",
        "chunked_attention",
        "attention",
    )
    assert (Span(8).resident(20), Span(8).resident(3), Span().resident(20)) == (8, 3, 20)


#: Ranks of 24 and 16; heads of 8 + 4 and values of 6.
LATENT = LatentAttention(heads=4, q_lora_rank=24, kv_lora_rank=16, rope_dim=4, nope_dim=8, value_dim=6)
COMPRESSED = LanguageModel(
    "compressed", hidden=32, vocab=100, max_positions=10_000, layers=(Layers(3, LATENT, FeedForward(48), Span()),)
)
FULL = replace(COMPRESSED, layers=(replace(COMPRESSED.layers[0], mixer=replace(LATENT, q_lora_rank=None)),))


def test_every_weight_of_latent_attention() -> None:
    found = weights(COMPRESSED)
    assert {name: found[name][:3] for name in found if "proj" in name or "latent" in name} == {
        "q_a_proj": (32 * 24, 3, ""),
        "q_b_proj": (24 * 4 * 12, 3, "column"),
        "kv_a_proj": (32 * (16 + 4), 3, ""),
        "kv_b_proj": (16 * 4 * (8 + 6), 3, "column"),
        "latent_norm": (16 + 24, 3, ""),
        "o_proj": (4 * 6 * 32, 3, "row"),
        "gate_up_proj": (2 * 48 * 32, 3, "column"),
        "down_proj": (48 * 32, 3, "row"),
    }
    full = weights(FULL)
    assert (full["q_proj"][:3], full["latent_norm"][0]) == ((32 * 4 * 12, 3, "column"), 16)
    assert COMPRESSED.kv_bytes_per_token() == 3 * (16 + 4) * 2
    # Queries of 12, keys of 12 and values of 6 unpacked, an output of 6: the rotated part of a key is shared by all.
    assert LATENT.live_elements(32) == 4 * (2 * 8 + 2 * 6 + 4)
    assert LATENT.live_elements(32, tp=2) == 2 * (2 * 8 + 2 * 6 + 4)


def test_latent_attention_in_its_two_forms() -> None:
    """Decode multiplies queries and outputs by what would expand the latent, a batch of products of a head each; a
    prompt expands every token that it sees, those of a cached prefix again."""
    decode, prefill = COMPRESSED.step(5, 1, 20), COMPRESSED.step(2, 6, 10)
    assert {n: s for n, s in products(decode).items() if n not in ("gate_up_proj", "down_proj", "lm_head")} == {
        "qkv_a_proj": (5, 24 + 16 + 4, 32, 1, 3),
        "q_b_proj": (5, 4 * 12, 24, 1, 3),
        "q_absorb": (5, 16, 8, 4, 3),
        "v_absorb": (5, 6, 16, 4, 3),
        "o_proj": (5, 32, 4 * 6, 1, 3),
    }
    assert products(prefill)["kv_b_proj"] == (2 * 10, 4 * (8 + 6), 16, 1, 3)
    assert "q_absorb" not in products(prefill)
    (expanded,) = (one for one in prefill if one.kind == "attention")
    assert {x: expanded.args[x] for x in ("heads", "head_dim", "value_dim", "q_len", "kv_len", "scattered")} == {
        "heads": 4,
        "head_dim": 12,
        "value_dim": 6,
        "q_len": 6,
        "kv_len": 10,
        "scattered": 0,
    }
    (absorbed,) = (one for one in decode if one.kind == "mla_attention")
    assert {x: absorbed.args[x] for x in ("batch", "heads", "kv_lora_rank", "rope_dim", "kv_len")} == {
        "batch": 5,
        "heads": 4,
        "kv_lora_rank": 16,
        "rope_dim": 4,
        "kv_len": 20,
    }
    assert streams(decode)["rope"][2] == (4 + 1) * 4
    assert streams(decode)["latent_norm"][2] == 16 + 24
    assert streams(decode)["kv_write"][2] == 16 + 4
    assert products(FULL.step(5, 1, 20))["q_proj"] == (5, 48, 32, 1, 3)
    assert products(FULL.step(5, 1, 20))["kv_a_proj"] == (5, 20, 32, 1, 3)
    assert streams(FULL.step(5, 1, 20))["latent_norm"][2] == 16


def test_the_form_of_fewer_flop_is_taken() -> None:
    """Absorbed, a pair costs 2 x 16 numbers instead of 8 + 6, 18 more; expanded, a cached token costs 16 x 14 more, but
    for those whose queries would be projected. Of 100 tokens: q x 100 x 18 < (100 - q) x 224 up to q = 11."""
    assert LATENT.absorbs(11, 100)
    assert not LATENT.absorbs(12, 100)
    assert LATENT.absorbs(1, 1)
    assert LATENT.absorbs(np.array([1, 11, 12]), 100).tolist() == [True, True, False]
    both = COMPRESSED.step(1, np.array([11, 12]), 100)
    counts = {one.name: one.count for one in both if one.kind in ("attention", "mla_attention")}
    assert {name: list(count) for name, count in counts.items()} == {"attention": [3, 0], "attention_expanded": [0, 3]}


def test_dtypes_that_weights_lie_in() -> None:
    """Narrow weights of a checkpoint stay where the arithmetic is wider; what was asked for goes before; norms and ends
    are in 16 bits or what is wider."""
    int4, fp4 = per_tensor("int4"), per_tensor("fp4")
    quantised = replace(EVERYTHING, checkpoint=uniform(linear=int4, attention=int4, expert=fp4))
    left = replace(EVERYTHING, checkpoint=uniform(linear=int4, expert=fp4))
    groups = {w.name: w for w in EVERYTHING.weights}
    for model, part, dtype, asked, found in (
        (quantised, "down_proj", "bf16", None, 0.5),
        (quantised, "moe", "bf16", None, 0.5),
        (quantised, "down_proj", "bf16", "fp8", 1),
        (quantised, "norm", "bf16", None, 2),
        (quantised, "norm", "fp8", None, 2),
        (quantised, "router", "fp32", None, 4),
        (quantised, "lm_head", "bf16", "fp32", 4),
        (quantised, "lm_head", "bf16", "int4", 2),
        (quantised, "qkv_proj", "bf16", None, 0.5),
        (left, "qkv_proj", "bf16", None, 2),
        (left, "qkv_proj", "bf16", "fp8", 1),
        (EVERYTHING, "qkv_proj", "fp8", None, 1),
        (EVERYTHING, "qkv_proj", "fp32", None, 4),
    ):
        narrow = model.checkpoint.quantised and asked is None
        biases = groups[part].biases / groups[part].elements if narrow else 0  # nobody quantises these
        expected = (1 - biases) * found + biases * 2
        assert model.bytes_per_weight(groups[part], dtype, asked) == pytest.approx(expected), (part, dtype, asked)
    narrow = {one.name: one for one in EVERYTHING.step(2, 6, 6, dtype="fp8", kv_dtype="fp8")}
    assert (narrow["qkv_proj"].dtype, narrow["qkv_proj"].args["quantize"]) == ("fp8", 1)
    assert (narrow["router"].dtype, narrow["router"].args["quantize"]) == ("bf16", 0)
    assert (narrow["attention"].dtype, narrow["kv_write"].args["out_width"]) == ("fp8", 1)
    assert {one.name: one.dtype for one in EVERYTHING.step(2, 6, 6, dtype="fp8")}["attention"] == "bf16"


# Recommendation models ----------------------------------------------------------------------------------------------


def described(*blocks: dict[str, Any], tables: list[dict[str, Any]] | None = None, dense: int = 4) -> Recommender:
    """A model of these blocks, over 3 vectors of 8 that are looked up unless other tables are given."""
    usual = [{"name": "t", "rows": 1000, "count": 3, "dim": 8, "pooling": 2}]
    text = {
        "title": "Small",
        "source": "made up",
        "dense_features": dense,
        "tables": tables or usual,
        "block": list(blocks),
    }
    return read(text, "small")


def test_steps_count_what_they_hold_and_do() -> None:
    """A layer of 5 x 7, a bias: for 3 vectors, 4 times over, in 2 copies with weights of their own."""
    layer = Linear("l", 5, 7, rows=3, repeats=4, copies=2)
    assert (layer.params, layer.macs) == ((5 + 1) * 7 * 2, 5 * 7 * 3 * 4 * 2)
    assert replace(layer, bias=False).params == 5 * 7 * 2
    product, after = layer.ops(10, "int8", False)
    assert [product.args[x] for x in ("m", "n", "k", "quantize")] == [30, 7, 5, 1]
    assert (product.count, after.count, after.args["rows"], after.args["cols"], after.args["width"]) == (8, 8, 30, 7, 2)
    assert len(layer.ops(10, "bf16", True)) == len(replace(layer, activation=False).ops(10, "bf16", False)) == 1
    assert layer.ops(10, "bf16", True)[0].args["quantize"] == 0
    # 4 vectors of 6 make 6 pairs.
    gram = Gram("g", 4, 6, copies=2)
    assert (gram.pairs, gram.macs, gram.params) == (6, 6 * 6 * 2, 0)
    (square,) = gram.ops(10, "int8", True)
    assert [square.args[x] for x in ("m", "n", "k", "batch", "width")] == [4, 4, 6, 10, 2]
    gate = Pointwise("p", "elementwise", 5, rows=3, reads=2, writes=0.5, flops=4, copies=2, weights=11)
    assert (gate.params, gate.macs) == (22, 0)
    (one,) = gate.ops(10, "bf16", True)
    assert [one.args[x] for x in ("rows", "cols", "reads", "writes", "flops_per_element")] == [30, 5, 2, 0.5, 4]
    assert one.count == 2


def test_attention_over_a_history_and_candidates() -> None:
    """5 of history see 15 pairs of themselves; 2 candidates see the 5 and themselves, 12 pairs."""
    seen = SequenceAttention("a", 3, 4, 6, 5, candidates=2, copies=2)
    assert seen.macs == (15 + 12) * 3 * (4 + 6) * 2
    own, others = seen.ops(10, "bf16", True)
    assert [own.args[x] for x in ("batch", "q_len", "kv_len", "causal", "head_dim", "value_dim")] == [10, 5, 5, 1, 4, 6]
    assert [others.args[x] for x in ("q_len", "kv_len", "causal", "scattered")] == [2, 6, 0, 0]
    assert (own.count, others.count, own.args["scattered"]) == (2, 2, 0)
    assert len(replace(seen, candidates=0).ops(10, "bf16", True)) == 1


def test_steps_of_one_shape_are_counted_where_nobody_reads_them() -> None:
    few = [Linear(f"l{i}", 5, 7) for i in range(500)]
    assert merged(few) == few
    (one, other) = merged([*few, Linear("m", 5, 8), Linear("n", 5, 7, copies=3)])
    assert (one.name, one.copies, other.name, other.copies) == ("l0", 503, "m", 1)


def dense_part(model: Recommender) -> dict[str, tuple[Any, ...]]:
    """Label -> what each step of one sample is: k, n and rows of a layer; columns, rows, reads and FLOP of the rest."""
    return {
        s.name: (s.k, s.n, s.rows, s.repeats) if isinstance(s, Linear) else (s.cols, s.rows, s.reads, s.flops)
        for s in model.steps
        if isinstance(s, Linear | Pointwise)
    }


def test_blocks_plan_their_steps() -> None:
    """Three vectors of 8 laid end to end are 24 numbers; beside 4 dense features 28."""
    deep = described({"type": "mlp", "input": ["dense", "embedding"], "layers": [28, 6, 1]})
    assert dense_part(deep) == {"mlp.concat": (28, 1, 1, 0), "mlp.0": (28, 6, 1, 1), "mlp.1": (6, 1, 1, 1)}
    assert (deep.dense_params, deep.flops_per_sample, deep.outputs) == (29 * 6 + 7, 2 * (28 * 6 + 6), 1)
    each = described(
        {"type": "mlp", "input": "embedding", "layers": [8, 5], "each": True},
        {"type": "combine", "how": "sum", "name": "total"},
        dense=0,
    )
    assert dense_part(each) == {"mlp.0": (8, 5, 3, 1), "total": (5, 1, 3, 2)}
    assert each.outputs == 5
    towers = described({"type": "towers", "input": "embedding", "tasks": 4, "layers": [24, 6, 2]}, dense=0)
    assert (towers.dense_params, towers.outputs) == (4 * (25 * 6 + 7 * 2), 8)
    both = described(
        {"type": "mlp", "name": "a", "input": "dense", "layers": [4, 24]},
        {"type": "mlp", "name": "b", "input": "embedding", "layers": [24, 24]},
        {"type": "combine", "how": "product", "input": ["a", "b"]},
    )
    assert dense_part(both)["combine"] == (24, 1, 2, 1)
    recurrent = described({"type": "rnn", "input": "embedding", "hidden": 6, "cell": "lstm"}, dense=0)
    assert dense_part(recurrent) == {"rnn.input": (8, 24, 3, 1), "rnn.state": (6, 24, 1, 3)}
    assert recurrent.outputs == 6
    kept = described({"type": "rnn", "input": "embedding", "hidden": 6, "cell": "basic", "output": "all"}, dense=0)
    assert (dense_part(kept)["rnn.state"], kept.outputs) == ((6, 6, 1, 3), 18)
    gru = described({"type": "rnn", "input": "embedding", "hidden": 6}, dense=0)
    assert dense_part(gru)["rnn.state"] == (6, 18, 1, 3)


def test_hstu_layers() -> None:
    """2 heads of 4 and 5: U and V of 10, Q and K of 8. Norms of 8 and 10 numbers, a scale and a shift of each."""
    model = described(
        {"type": "hstu", "input": "embedding", "layers": 3, "heads": 2, "qk_dim": 4, "linear_dim": 5, "candidates": 1},
        dense=0,
    )
    assert dense_part(model) == {
        "hstu.norm": (8, 3, 1, 8),
        "hstu.uvqk": (8, 36, 3, 1),
        "hstu.gate": (10, 3, 2, 9),
        "hstu.out": (10, 8, 3, 1),
    }
    assert model.dense_params == 3 * (2 * 8 + 9 * 36 + 2 * 10 + 11 * 8)
    pairs = 2 * 3 // 2 + 1 * 3
    assert model.flops_per_sample == 2 * 3 * (3 * (8 * 36 + 10 * 8) + pairs * 2 * (4 + 5))
    assert model.outputs == 8


def test_sequences_of_lengths_that_vary() -> None:
    """12 vectors +- 3/4 of that: a mean square of 12^2 (1 + 9/16) = 15^2, so 15 x 16 / 2 pairs; without a mask 15 x 15.
    A candidate sees the 12 and itself."""
    seen = SequenceAttention("a", 2, 4, 5, 12, candidates=3, jagged=0.75)
    assert seen.macs == (15 * 16 // 2 + 3 * 13) * 2 * (4 + 5)
    own, others = seen.ops(10, "bf16", True)
    assert [one.args["q_len"] for one in (own, others)] == [15, 3]
    assert [one.args["kv_len"] for one in (own, others)] == [15, 13]
    both_ways = replace(seen, candidates=0, causal=False)
    assert both_ways.macs == 15 * 15 * 2 * 9
    assert both_ways.ops(10, "bf16", True)[0].args["causal"] == 0


def test_behaviours_that_a_query_weighs() -> None:
    """For each of 3 behaviours of 8 numbers itself, the query and their sum: 24 are written, a third of them read."""
    block = {"type": "local_attention", "input": "t", "query": "q", "layers": [24, 6, 1]}
    tables = [{"name": "t", "rows": 1000, "count": 3, "dim": 8}, {"name": "q", "rows": 50, "dim": 8}]
    model = described(block, tables=tables, dense=0)
    name = "local_attention"
    assert dense_part(model) == {
        f"{name}.pair": (24, 3, 1 / 3, 1 / 3),
        f"{name}.0": (24, 6, 3, 1),
        f"{name}.1": (6, 1, 3, 1),
        f"{name}.sum": (8, 3, 2, 2),
    }
    assert (model.outputs, model.steps[-1].writes) == (8, 1 / 3)
    assert described({**block, "layers": [24, 8]}, tables=tables, dense=0).outputs == 8
    with pytest.raises(rl.BadModel, match="expected 1 or 8, found 2"):
        described({**block, "layers": [24, 2]}, tables=tables, dense=0)


TABLES: list[dict[str, Any]] = [
    {"name": "small", "rows": 100, "count": 2, "dim": 8, "pooling": 1},
    {"name": "large", "rows": 20_000_000, "dim": 8, "pooling": 3},
    {"name": "history", "rows": 1000, "dim": 16, "sequence": 5},
]


def test_tables_and_what_a_sample_reads_of_them() -> None:
    """2 tables of 100 rows, one of 20 million of which 3 rows are summed, and 5 rows of a fourth kept apart."""
    top = {"type": "mlp", "input": ["dense", "small", "large", "history"], "layers": [4 + 24 + 80, 1]}
    model = described(top, tables=TABLES)
    assert model.embedding_params == (200 + 20_000_000) * 8 + 1000 * 16
    assert model.lookups == 2 + 3 + 5
    assert model.embedding_width == 3 * 8 + 5 * 16
    assert model.gathered_bytes("fp16") == (5 * 8 + 5 * 16) * 2
    assert model.table_bytes("int8") == model.embedding_params + 4 * (200 + 20_000_000 + 1000)  # and scales
    assert model.dense_bytes("fp16") == 2 * 109
    step = {one.name: one.args for one in model.step(10, "fp16", "int8", skew=1.5)}
    bags = {name: args for name, args in step.items() if name.startswith("embedding.")}
    found = sorted((a["batch"], a["tables"], a["rows"], a["dim"], a["pooling"], a["width"]) for a in bags.values())
    assert found == [(10, 1, 20_000_000, 8, 3, 1), (10, 2, 100, 8, 1, 1), (50, 1, 1000, 16, 1, 1)]
    assert {a["skew"] for a in bags.values()} == {1.5}
    assert step["input_copy"]["bytes"] == 10 * (4 * 4 + 10 * 8)
    assert step["output_copy"]["bytes"] == 10 * 4
    # On 3 chips 4 samples each of 10; every chip is sent a third of the indices, and looks up in a third of the tables.
    split = {one.name: one.args for one in model.step(10, "fp16", "int8", devices=3, index_bytes=4)}
    assert split["input_copy"]["bytes"] == pytest.approx(4 * 4 * 4 + 10 * 10 * 4 / 3)
    assert split["embedding_all_to_all"]["bytes"] == pytest.approx(10 * 104 * 2 / 3)
    assert sorted(a["tables"] for n, a in split.items() if "pooling" in a) == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert split["mlp.0"]["m"] == 4
