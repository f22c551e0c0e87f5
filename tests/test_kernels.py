"""Effects that a kernel models, each alone: what switches it on, and how much it then costs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.base.errors import BadWorkload
from roofline.estimates.inference import evaluate_op
from roofline.kernels import COST
from roofline.work import op as operators
from roofline.work.op import Op
from tests.operators import operators as any_operator
from tests.strategies import chip_names
from tests.test_laws import suited


@pytest.mark.parametrize(("experts", "topk", "falls_back"), [(512, 16, False), (513, 16, True), (512, 17, True)])
def test_choosing_among_more_experts_than_one_kernel_takes(experts: int, topk: int, falls_back: bool) -> None:
    """A chip whose fused kernel chooses 16 of 512 experts at most falls back on plain kernels beyond."""
    h100 = rl.load_chip("h100-sxm")
    layer = {"tokens": 64, "hidden": 2048, "inter": 512, "experts": experts, "topk": topk}
    taking_all = h100.what_if({"efficiency.moe.fused_experts": 1000, "efficiency.moe.fused_choices": 100})
    extra = rl.cost(rl.moe(**layer), h100).time_s - rl.cost(rl.moe(**layer), taking_all).time_s
    expected = h100["efficiency.moe.fallback_s"] + h100["efficiency.moe.score_s"] * 64 * experts
    assert extra == pytest.approx(expected if falls_back else 0.0)


def test_one_block_sorts_up_to_256_tokens() -> None:
    h100 = rl.load_chip("h100-sxm")
    times = rl.cost(rl.moe(tokens=[255, 256, 257], hidden=2048, inter=512, experts=8, topk=2), h100).time_s
    assert times[2] - times[1] > h100["efficiency.moe.sort_s"] > 10 * (times[1] - times[0])


def test_an_expert_costs_whole_tiles_of_rows() -> None:
    """Without memory to wait for, one row more than a tile holds costs as much as a whole tile more."""
    h100 = rl.load_chip("h100-sxm").what_if({"efficiency.moe.prologue_s": "0 us"})
    layer = {"hidden": 8192, "inter": 8192, "experts": 8, "topk": 8, "dtype": "bf16"}
    one, two, three = rl.cost(rl.moe(tokens=[1024, 1025, 1152], **layer), h100).compute_s
    assert two == pytest.approx(three, rel=1e-5)
    assert two / one == pytest.approx(9 / 8, rel=1e-5)


def test_kernels_that_nobody_tuned_take_narrow_tiles() -> None:
    """Several times slower where there is much to compute or to load; no slower where there is next to nothing."""
    h100 = rl.load_chip("h100-sxm")
    layer = {"hidden": 4096, "inter": 2048, "experts": 64, "topk": 8}
    for tokens in (64, 16384):
        ratio = rl.cost(rl.moe(tokens=tokens, tuned=False, **layer), h100).time_s
        ratio /= rl.cost(rl.moe(tokens=tokens, **layer), h100).time_s
        assert 2.5 < ratio < 7.0
    tiny = {"tokens": 1, "hidden": 256, "inter": 128, "experts": 2, "topk": 1}
    alike = [rl.cost(rl.moe(**tiny, tuned=tuned), h100).time_s for tuned in (True, False)]
    assert alike[1] == pytest.approx(alike[0], rel=0.05)


ATTENTION = {"batch": 1, "heads": 8, "head_dim": 128, "q_len": 4, "kv_len": 40}
EXPERTS = {"tokens": 8, "hidden": 64, "inter": 64, "topk": 1, "experts": 4}
BAG = {"batch": 64, "tables": 1, "rows": 1000, "dim": 64, "pooling": 4}


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (rl.attention, {**ATTENTION, "q_len": 5000, "kv_len": 100, "window": 100, "chunked": True}, "at least q_len"),
        (rl.attention, {**ATTENTION, "chunked": True}, "needs the length of a chunk"),
        (rl.attention, {**ATTENTION, "head_dim": [64, 96, 128], "value_dim": [64, 128]}, "do not broadcast"),
        (rl.attention, {**ATTENTION, "q_len": [1, 2, 3], "window": [4, 8], "chunked": True}, "do not broadcast"),
        (rl.attention, {**ATTENTION, "heads": [8, 16], "kv_heads": [1, 2, 4]}, "do not broadcast"),
        (rl.embedding_bag, {**BAG, "together": float("nan")}, "together must be a number from 1 to"),
        (rl.embedding_bag, {**BAG, "together": "a"}, "together must be a number"),
        (rl.embedding_bag, {**BAG, "together": 9}, "at most pooling=4"),
        (rl.embedding_bag, {**BAG, "skew": 50}, "skew must be a number from 0 to 5, found 50"),
        (rl.embedding_bag, {**BAG, "skew": 20, "rows": 1}, "skew must be a number from 0 to 5, found 20"),
        (rl.embedding_bag, {**BAG, "tables": 0.5}, "tables must be a whole number"),
        (rl.embedding_bag, {**BAG, "pooling": 0}, "pooling must be a number from 1e-06 to"),
        (rl.attention, {**ATTENTION, "q_len": 0.3}, "q_len must be a number from 1 to"),
        (
            rl.attention,
            {**ATTENTION, "head_dim": 64.5},
            "head_dim must be a whole number from 1 to .*, found 64.5",
        ),
        (rl.moe, {**EXPERTS, "ep": 0.5}, "ep must be a whole number from 1 to 10\\^15, found 0.5"),
        (rl.moe, {**EXPERTS, "skew": 1e9}, "skew must be a number from 0 to 1000"),
        (rl.gemm, {"m": 1, "n": 10**16, "k": 1}, "n must be a whole number from 1 to 10\\^15, found 10000000000000000"),
        (
            rl.gemm,
            {"m": 10**5000, "n": 1, "k": 1},
            "m must be a number from 1 to .*, found an integer of 16,610 bits",
        ),
        (rl.gemm, {"m": [[1], [1, 2]], "n": 1, "k": 1}, "rows of one length"),
        (rl.rms_norm, {"rows": 1, "cols": [8, -1]}, "cols must be a whole number"),
        (rl.all_reduce, {"bytes": 0, "devices": 2}, "bytes must be a number from 1e-06 to 1e\\+18"),
        (rl.all_reduce, {"bytes": 8, "devices": 2.5}, "devices must be a whole number"),
        (rl.host_copy, {"bytes": float("inf")}, "bytes must be a number"),
    ],
)
def test_what_no_operator_can_be(function: Any, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(BadWorkload, match=says):
        function(**arguments)


def test_queries_that_are_computed_alone_fetch_their_keys_each() -> None:
    """A decode kernel of one head a block (`fetch_rows` 1) reads K and V through the cache for every head."""
    op = rl.attention(batch=256, heads=64, kv_heads=8, head_dim=128, q_len=1, kv_len=4096, dtype="bf16")
    together = rl.load_chip("h100-sxm")
    apart = together.what_if({"efficiency.attention.decode_rows": 1, "efficiency.attention.fetch_rows": 1})
    a, b = rl.cost(op, together), rl.cost(op, apart)
    keys = 2 * 256 * 8 * 4096 * 128 * 2
    assert b.cache_bytes - a.cache_bytes == pytest.approx(7 * keys)
    assert b.memory_bytes == a.memory_bytes
    assert b.time_s > a.time_s


def test_a_processor_s_attention_grows_with_its_queries() -> None:
    chip = rl.load_chip("epyc-9654")
    shape = {"batch": 8, "heads": 32, "kv_heads": 8, "head_dim": 128, "kv_len": 4096, "dtype": "fp32"}
    times = [float(rl.cost(rl.attention(q_len=q, **shape), chip).time_s) for q in (1, 2, 4, 8, 16, 32, 64, 128)]
    assert all(1.0 <= later / earlier <= 2.2 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("name", ["epyc-9654", "xeon-8480"])
def test_a_processor_s_attention_computes_row_by_row_and_fetches_keys_once(name: str) -> None:
    shape = {"batch": 8, "heads": 32, "kv_heads": 8, "head_dim": 128, "kv_len": 4096, "dtype": "bf16"}
    for q in (1, 16, 64):
        cost = rl.cost(rl.attention(q_len=q, **shape), rl.load_chip(name))
        assert cost.time_s <= 1.2 * max(cost.compute_s, cost.memory_s) + cost.overhead_s
    one = rl.cost(rl.attention(q_len=1, **shape), rl.load_chip(name))
    assert one.cache_bytes < 1.1 * one.memory_bytes


def test_tiles_that_do_not_meet_their_limits_still_give_a_time() -> None:
    op = rl.moe(tokens=512, hidden=4096, inter=1024, topk=2, experts=8, dtype="bf16")
    chip = rl.load_chip("h100-sxm")
    most = chip.what_if({"efficiency.moe.tile_min": 256})
    assert 1.0 <= rl.cost(op, most).time_s / rl.cost(op, chip).time_s < 4.0


def test_lookups_wait_in_turn_or_together() -> None:
    op = rl.embedding_bag(batch=4096, tables=4, rows=10_000_000, dim=64, pooling=30, dtype="fp32")
    chip = rl.load_chip("xeon-8480")
    share = "efficiency.embedding_bag.overlap_share"
    turn, half, together = (rl.cost(op, chip.what_if({share: s})) for s in (0.0, 0.5, 1.0))
    busy = turn.memory_s + turn.cache_s + turn.compute_s
    assert turn.time_s == pytest.approx(turn.overhead_s + busy)
    assert together.time_s == pytest.approx(turn.overhead_s + max(turn.memory_s, turn.cache_s, turn.compute_s))
    assert half.time_s == pytest.approx((turn.time_s + together.time_s) / 2)


def test_tables_beyond_the_reach_of_the_address_cache_cost_a_walk() -> None:
    chip = rl.load_chip("xeon-8480")
    reach = float(chip.parameter("tlb_reach_bytes", ("embedding_bag", "embedding_bag"), "fp32").value)
    cycles = float(chip.parameter("page_walk_cycles", ("embedding_bag", "embedding_bag"), "fp32").value)
    costs = [
        rl.cost(rl.embedding_bag(batch=64, tables=1, rows=rows, dim=64, pooling=1, dtype="fp32"), chip)
        for rows in (reach / 256, 2 * reach / 256)
    ]
    walked = 64 * cycles * 0.5 / (chip["cores.count"] * chip["clock"])
    assert costs[1].compute_s - costs[0].compute_s == pytest.approx(walked)


@pytest.mark.parametrize("value", ["false", 2, float("nan"), None])
def test_a_flag_is_true_or_false(value: Any) -> None:
    with pytest.raises(BadWorkload, match="merged is True or False"):
        operators.residual_add(rows=1, cols=1, merged=value)
    with pytest.raises(BadWorkload, match="tuned is True or False"):
        operators.moe(tokens=1, hidden=8, inter=8, topk=1, experts=1, tuned=value)


@pytest.mark.parametrize("count", [-1, float("nan"), float("inf")])
def test_a_count_is_a_number_of_calls(count: float) -> None:
    with pytest.raises(BadWorkload, match="count must be finite and not negative"):
        operators.gemm(m=1, n=1, k=1, count=count)


# Main memory -------------------------------------------------------------------------------------------------------

SLOW = st.sampled_from([1.0, 1e-2, 1e-4, 1e-6])  # of main memory's bandwidth


@given(any_operator(), chip_names, SLOW)
def test_no_operator_moves_more_than_main_memory_does(one: Op, name: str, slow: float) -> None:
    """Memory bandwidth utilisation is at most 1, however little of it a chip has."""
    chip = rl.load_chip(name)
    one = suited(one, chip)
    chip = chip.what_if({"memory.main.bandwidth": f"x{slow!r}"})
    values = dict(zip(COST, evaluate_op(one, chip), strict=True))
    assert values["memory_bytes"] <= values["time_s"] * chip.machine["memory_bandwidth"] * (1 + 1e-9)


@pytest.mark.parametrize("slow", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("name", ["h100-sxm", "mi300x", "mtia-v1", "tpu-v5e"])
def test_no_estimate_moves_more_than_main_memory_does(name: str, slow: float) -> None:
    chip = rl.load_chip(name).what_if({"memory.main.bandwidth": f"x{slow!r}"})
    served = rl.estimate("llama-3.1-70b", chip, tp=8, batch=[1, 64, 512], check=False)
    assert np.all(np.concatenate([served.mbu, served.prefill.mbu]) <= 1 + 1e-9)
    assert rl.estimate("dlrm-v2", chip, devices=8, batch=4096, check=False).mbu <= 1 + 1e-9


@pytest.mark.parametrize(
    ("function", "passes"),
    [  # what one device reads and writes of a buffer of 1 GB among eight
        (rl.all_reduce, 2.0), (rl.all_gather, 1.0), (rl.reduce_scatter, 1.0), (rl.all_to_all, 2 * 7 / 8),
        (rl.send, 1.0), (rl.host_copy, 1.0),
    ],
)  # fmt: skip
def test_a_transfer_waits_for_main_memory(function: Any, passes: float) -> None:
    """Where memory is slower than every wire, its bytes at its bandwidth are the lower bound, and it is what bounds."""
    others = {} if function is rl.host_copy else {"devices": 8}
    chip = rl.load_chip("h100-sxm").what_if({"memory.main.bandwidth": "5 GB/s"})
    cost = rl.cost(function(bytes=1e9, **others), chip)
    assert cost.lower_s == pytest.approx(passes * 1e9 / 5e9)
    assert cost.bound == "memory:hbm"
    assert cost.time_s >= cost.overhead_s + cost.lower_s
    assert rl.cost(function(bytes=1e9, **others), rl.load_chip("h100-sxm")).bound == "network"


# Operators without FLOP --------------------------------------------------------------------------------------------


@given(any_operator(), chip_names)
def test_what_computes_nothing_is_not_bound_by_computing(one: Op, name: str) -> None:
    chip = rl.load_chip(name)
    cost = rl.cost(suited(one, chip), chip)
    if cost.flops + cost.vector_flops == 0:
        assert cost.compute_s == 0
        assert cost.bound != "compute" or cost.time_s == 0  # nothing bounds what costs nothing


@pytest.mark.parametrize(
    ("rows", "cols", "bound"),
    [(1, 1024, "overhead"), (2**20, 1, "overhead"), (4096, 1024, "memory:l2")],
)
def test_a_copy_is_bound_by_its_start_its_rows_or_its_stream(rows: int, cols: int, bound: str) -> None:
    cost = rl.cost(operators.copy(rows=rows, cols=cols), rl.load_chip("h100-sxm"))
    assert cost.bound == bound
    assert cost.time_s <= cost.overhead_s + cost.memory_s + cost.cache_s
