"""Models with a state beside or instead of a cache, and experts of newer kinds, worked out by hand.

One small hybrid, 64 wide: three layers with a state, one that attends. Sizes in the comments are those of one layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.models.attention import Attention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.forward import Pass
from roofline.models.llm import LanguageModel, Layers
from roofline.models.mixers import Span
from roofline.models.recurrent import Convolution, Projection, Recurrent, ShortConvolution, SideBySide
from roofline.work import parallel
from roofline.work.op import Op
from roofline.work.parallel import Plan
from tests.plain import plain

ATTENTION = Attention(heads=4, kv_heads=2, head_dim=16, rope_dim=16)

#: 8 heads of 16 x 32 in 2 groups: 256 values, 32 numbers of a query and a key for each group; z, x, B, C and steps.
STATES = Recurrent(
    "Mamba-2",
    heads=8,
    groups=2,
    key_dim=16,
    value_dim=32,
    inputs=(Projection("in_proj", 64, 2 * 256 + 2 * 32 + 8),),
    output=Projection("out_proj", 256, 64, "row"),
    convolution=Convolution(256, 4, bias=True, shared=32, groups=2),
    chunk=64,
    vectors=24,
)
STATE, INPUTS = 8 * 16 * 32 * 4, 3 * (256 + 2 * 32) * 2  # bytes of a sequence: fp32, and three taps in 16 bits
GATED = ShortConvolution(Projection("in_proj", 64, 192), Projection("out_proj", 64, 64, "row"), Convolution(64, 3))


def hybrid(*layers: Layers) -> LanguageModel:
    usual = (Layers(3, STATES, FeedForward(128), Span()), Layers(1, ATTENTION, FeedForward(128), Span()))
    return LanguageModel("hybrid", hidden=64, vocab=1000, layers=layers or usual, max_positions=100_000)


def ops(model: LanguageModel, batch: int, q_len: int, kv_len: int) -> dict[str, Op]:
    return {one.name: one for one in model.step(batch, q_len, kv_len).ops}


def test_a_state_takes_the_same_however_long_a_sequence_is() -> None:
    model = hybrid()
    assert model.state_bytes(5) == 5 * 3 * (STATE + INPUTS) == 5 * 3 * 18_304
    assert model.kv_bytes(5, 100) == 5 * 100 * 2 * 2 * 16 * 2
    np.testing.assert_array_equal(model.state_bytes(np.array([1, 2])), [3 * 18_304, 6 * 18_304])


@pytest.mark.parametrize(("tp", "inputs"), [(1, 256 + 2 * 32), (2, 128 + 32), (4, 64 + 32), (8, 32 + 32)])
def test_chips_share_heads_and_copy_groups(tp: int, inputs: int) -> None:
    """Beyond two chips a group's queries and keys, and their last inputs, lie on several."""
    assert STATES.state_bytes(tp) == STATE / tp + 3 * inputs * 2


def test_a_stage_holds_the_states_of_its_layers() -> None:
    model = hybrid()
    for pp, layers in ((1, 4), (2, 2), (3, 2), (4, 1)):
        assert parallel.state_bytes(model, Plan(pp=pp), 10) == pytest.approx(10 * 3 * 18_304 * layers / 4)
    assert parallel.state_bytes(model, Plan(tp=2), 10) == 10 * 3 * (STATE / 2 + 3 * 160 * 2)


def test_states_fill_the_memory_beside_the_cache() -> None:
    held = rl.estimate(hybrid(), plain(), batch=7, prompt=1000, output=24).memory
    assert held.cache_bytes == 7 * (1024 * 2 * 2 * 16 * 2 + 3 * 18_304)


def test_the_parameters_of_a_layer_with_a_state() -> None:
    """Two projections, filters of four taps and a bias for 320 channels, 24 numbers of decays, steps and norms."""
    weights = {w.name: w.elements * w.count for w in STATES.weights(64, 3)}
    assert weights == {"in_proj": 3 * 64 * 584, "out_proj": 3 * 256 * 64, "causal_conv": 3 * 320 * 5, "recurrence": 72}


def test_the_operators_of_a_layer_with_a_state() -> None:
    found = ops(hybrid(), 2, 10, 10)
    assert (found["in_proj"].args["m"], found["in_proj"].args["n"], found["in_proj"].args["k"]) == (20, 584, 64)
    convolved = found["causal_conv"]
    assert (convolved.args["rows"], convolved.args["cols"], convolved.count) == (20, 320, 3)
    assert convolved.args["cold_reads"] == 3 * 2 / 20
    state = found["recurrence"].args
    sizes = {"batch": 2, "heads": 8, "groups": 2, "key_dim": 16, "value_dim": 32, "q_len": 10, "chunk": 64}
    assert {name: state[name] for name in sizes} == sizes
    norm = found["gated_norm"].args
    assert (norm["rows"], norm["cols"], norm["reads"], norm["flops_per_element"]) == (20, 256, 2, 9)
    assert (found["out_proj"].args["n"], found["out_proj"].args["k"]) == (64, 256)


@pytest.mark.parametrize(("q_len", "kv_len", "resumed"), [(10, 10, 0), (10, 11, 1), (1, 10, 1)])
def test_only_what_was_there_before_is_read(q_len: int, kv_len: int, resumed: int) -> None:
    """A fresh prompt begins at nothing; a further piece of it, and a token of the reply, go on."""
    assert ops(hybrid(), 2, q_len, kv_len)["recurrence"].args["resumed"] == resumed


def test_norms_and_gates_are_as_the_model_has_them() -> None:
    run = Pass(
        batch=3,
        q_len=5,
        kv_len=5,
        steps=1,
        causal=True,
        dtype="bf16",
        weight_dtype="bf16",
        unquantised_dtype="bf16",
        kv_dtype="bf16",
    )

    def after(normed: bool, gated: bool) -> dict[str, tuple[Any, Any]]:
        mixer = Recurrent("r", 8, 2, 16, 32, STATES.inputs, STATES.output, normed=normed, gated=gated)
        found = {one.name: one.args for one in mixer.ops(run, 64, {Span(): 2})[2:-1]}
        return {name: (args["cols"], args["reads"]) for name, args in found.items()}

    assert after(True, True) == {"gated_norm": (256, 2)}
    assert after(True, False) == {"norm_output": (256, 1)}
    assert after(False, True) == {"gate": (256, 2)}
    assert after(False, False) == {}


def test_a_convolution_between_two_gates() -> None:
    """LFM2: 64 channels of three taps, two inputs kept; twice a gate of one FLOP."""
    model = hybrid(Layers(2, GATED, FeedForward(128), Span()), Layers(1, ATTENTION, FeedForward(128), Span()))
    assert model.state_bytes(1) == 2 * 2 * 64 * 2
    assert model.state_bytes(1, tp=4) == 2 * 2 * 16 * 2
    gate = ops(model, 2, 10, 10)["gate"]
    assert (gate.args["cols"], gate.args["flops_per_element"], gate.count) == (64, 1, 4)
    assert GATED.live_elements(64, 2) == (192 + 64) / 2


def test_mixers_side_by_side_keep_what_each_keeps() -> None:
    """Falcon-H1: both in every layer, of the same input, and one sum."""
    both = SideBySide((ATTENTION, STATES))
    model = hybrid(Layers(3, both, FeedForward(128), Span(window=50)))
    assert model.state_bytes(1) == 3 * 18_304
    assert model.kv_bytes(1, 100) == 3 * 50 * 128
    assert both.cache_bytes(100, 2.0, Span(), 4) == 100 * 64  # a key/value head on each of four chips
    assert both.token_bytes(2.0) == 128
    either = SideBySide((STATES, GATED, ATTENTION))
    assert either.state_bytes(2) == STATES.state_bytes(2) + 2 * 32 * 2
    assert either.cache_bytes(100, 2.0, Span(), 4) == 100 * 64
    assert both.live_elements(64) == max(32 * (4 + 2), 584 + 256)
    assert {w.name for w in both.weights(64, 1)} == {w.name for one in (ATTENTION, STATES) for w in one.weights(64, 1)}
    found = ops(model, 2, 10, 10)
    assert found["mixers_add"].count == 3
    assert (found["mixers_add"].args["rows"], found["mixers_add"].args["cols"]) == (20, 64)
    assert model.kv_heads == 2
    assert [heads.heads for heads in both.head_counts] == [4, 8]


def test_heads_of_the_delta_rule_are_dealt_out_by_their_keys() -> None:
    delta = Recurrent("delta", 8, 4, 16, 32, STATES.inputs, STATES.output, delta=True)
    assert [(one.heads, one.shared) for one in delta.head_counts] == [(4, 4)]
    assert [(one.heads, one.shared) for one in STATES.head_counts] == [(8, 2)]


# Experts ------------------------------------------------------------------------------------------------------------


def test_experts_that_give_a_token_back() -> None:
    """LongCat: of 12 choices 4 are made, 8 in 12 of them of experts that compute; all 12 are scored."""
    block = Experts(experts=8, topk=4, inter=16, zero=4)
    assert block.visited == pytest.approx(8 / 3)
    model = hybrid(Layers(5, ATTENTION, block, Span()))
    found = ops(model, 2, 3, 3)
    assert found["router"].args["n"] == 12
    assert rl.cost(found["moe"], plain()).flops == pytest.approx(2 * 6 * 8 / 3 * 3 * 64 * 16)
    weights = {w.name: w for w in block.weights(64, 5)}
    assert weights["router"].elements == 12 * 64
    assert weights["moe"].elements == 8 * 3 * 64 * 16
    assert weights["moe"].active == pytest.approx(1 / 3)
    assert block.live_elements(64) == pytest.approx(8 / 3 * (64 + 3 * 16))
    plainly = Experts(experts=8, topk=4, inter=16)
    assert plainly.visited == 4
    assert ops(hybrid(Layers(5, ATTENTION, plainly, Span())), 2, 3, 3)["router"].args["n"] == 8


def test_experts_in_a_latent() -> None:
    """Nemotron 3: 32 numbers of 64 go to the experts, through one projection there and one back; the shared one is not.

    Every expert has two matrices of 32 x 48.
    """
    block = Experts(8, 2, 48, shared=FeedForward(96, gated=False), gated=False, latent=32, latent_norm=True)
    weights = {w.name: w.elements for w in block.weights(64, 1)}
    assert weights == {
        "router": 8 * 64,
        "moe": 8 * 2 * 32 * 48,
        "latent_down_proj": 2048,
        "latent_up_proj": 2048,
        "latent_norm": 32,
        "shared_up_proj": 64 * 96,
        "shared_down_proj": 96 * 64,
    }
    found = ops(hybrid(Layers(1, ATTENTION, block, Span())), 2, 3, 3)
    assert [found[name].args[side] for name in ("latent_down_proj", "latent_up_proj") for side in "nk"] == [
        32,
        64,
        64,
        32,
    ]
    assert found["latent_norm"].args["cols"] == 32
    assert rl.cost(found["moe"], plain()).flops == 2 * 6 * 2 * 2 * 32 * 48
    assert found["shared_down_proj"].shard == "row"  # whole sums of its own: the experts' are narrower
    assert found["shared_add"].args["cols"] == 64
    assert block.live_elements(64) == 2 * (32 + 2 * 48)
    wide = Experts(8, 2, 48, shared=FeedForward(96), latent=0)
    assert ops(hybrid(Layers(1, ATTENTION, wide, Span())), 2, 3, 3)["shared_down_proj"].shard == "row_joined"


def test_prompts_that_vary_cost_attention_more_and_a_recurrence_nothing() -> None:
    """Work on pairs grows with the square of a prompt: by the variance over the square of the mean. That of states does
    not, nor does it know how long the cache is.
    """

    def work(sd: float) -> Any:
        served = rl.serve(hybrid(), plain(), concurrency=4, prompt=640, prompt_sd=sd, output=8, chunk=10_000)
        return served.mixed.ops.groupby("op")["flops"].last()

    even, varied = work(0), work(320)
    assert varied["attention"] / even["attention"] == pytest.approx(1.25, rel=2e-3)  # a token meets itself but once
    assert varied["recurrence"] == pytest.approx(even["recurrence"], rel=1e-12)
