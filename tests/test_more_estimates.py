"""More of estimates by hand, at the edges: what just fits, what is advised, regimes of doubt, grids point by point."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.estimates import figures, grids, memory as memory_module, stacks
from roofline.estimates.inference import op_spread
from roofline.estimates.memory import Memory, narrower
from roofline.estimates.rules import LANGUAGE_RULES
from roofline.hardware.chip import Chip
from roofline.hardware.machine import SPREADS
from roofline.models.checkpoint.stored import per_tensor, uniform
from roofline.models.description import read
from roofline.models.feed_forward import Experts, FeedForward
from roofline.work import op
from roofline.work.parallel import Plan
from tests.plain import plain
from tests.small import ATTENTION, DENSE, ROUTED, two_layers

#: Of DENSE a token keeps 2 layers x 2 (keys, values) x 2 heads x 16 numbers in bf16.
TOKEN = 256


def capacity(size: float) -> Chip:
    """The plain chip with so many bytes (half a one more, for the rounding) in the 90 % that models may fill."""
    return plain().what_if({"memory.dram.capacity": f"{(size + 0.5) / 0.9} B"})


def dense(chip: Chip | None = None, **options: Any) -> Any:
    return rl.estimate(DENSE, chip or plain(), **{"prompt": 100, "output": 28, **options})


# What fits ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(0, 10**7))
def test_the_largest_batch_is_the_last_that_fits(most: int) -> None:
    assert memory_module.largest_batch(lambda batch: batch <= most) == most


@pytest.mark.parametrize("limit", [1, 2, 5, 8, 1 << 40])
def test_the_largest_batch_of_what_always_fits_is_the_limit(limit: int) -> None:
    assert memory_module.largest_batch(lambda batch: True, limit) == limit
    assert memory_module.largest_batch(lambda batch: True) == 1 << 40


def test_what_fills_the_memory_to_the_last_byte_fits() -> None:
    full = Memory(60.0, 20.0, 10.0, 100.0, 0.9, 1)
    assert (full.total_bytes, full.usable_bytes, full.fits) == (90, 90, True)
    assert not replace(full, activations_bytes=10.001).fits
    assert repr(full) == "<Memory: weights 60 B, KV cache 20 B, activations 10 B of 90 B usable; largest batch 1>"
    assert "KV" not in repr(replace(full, cache_bytes=0.0))
    assert repr(replace(full, cache_bytes=np.zeros((2, 3)))) == "<Memory: shape (2, 3)>"


def test_narrower_dtypes_take_fewer_bytes() -> None:
    assert narrower("bf16", ("fp16", "fp8", "int8", "int4")) == ["fp8", "int8", "int4"]
    assert narrower("int8", ("fp8", "int4")) == ["int4"]
    assert narrower("int4", ("fp8", "int4")) == []


def needs(batch: int) -> Any:
    return dense(batch=batch).memory.total_bytes


def advised(chip: Chip, **options: Any) -> list[str]:
    with pytest.raises(rl.DoesNotFit) as error:
        dense(chip, **options)
    return error.value.suggestions


def test_what_is_advised_where_a_batch_is_too_large() -> None:
    """Two chips hold half of it each, of all but the residual stream and the norms; as many sequences as there is room
    for are one chip's. Narrower weights free a few bytes only, as most of it is cache."""
    assert advised(capacity(needs(500)), batch=1000)[-1] == "batch=500"
    assert advised(capacity(needs(700)), batch=1000) == ["tp=2 (2 chips)", "batch=700"]
    assert advised(capacity(needs(999)), batch=1000) == [
        "tp=2 (2 chips)",
        "weight_dtype='fp8' on the same 1 chip",
        "batch=999",
    ]
    # Room for one alone is room for a batch of one; where that is what was asked there is no smaller one.
    assert advised(capacity(needs(1)), batch=2)[-1] == "batch=1"
    assert not any("batch" in words for words in advised(capacity(needs(1) - 1), batch=1))


def test_the_error_says_what_is_needed_and_what_there_is() -> None:
    with pytest.raises(rl.DoesNotFit) as error:
        dense(capacity(needs(500)), batch=1000)
    whole = needs(1000)
    assert error.value.needs_bytes == whole
    assert error.value.has_bytes == pytest.approx(needs(500))
    words = (
        r"two-layers in bf16 does not fit on 1 x plain\S+ each chip needs .* \(weights .* \+ KV cache .* \+ activations"
    )
    assert re.search(rf"{words} .*\) and has .* usable \(90% of", str(error.value))


def test_more_chips_are_advised_in_doublings_of_the_plan() -> None:
    """Four heads: tensor parallelism goes no further than four, whatever there is room for."""
    est = dense(batch=8, dp=2)
    assert est.changes()[0] == [
        ("tp=2 (4 chips)", {"plan": replace(est.request.plan, tp=2)}),
        ("tp=4 (8 chips)", {"plan": replace(est.request.plan, tp=4)}),
    ]
    assert [words for words, _ in est.changes()[1]] == [
        f"weight_dtype={name!r} on the same 2 chips" for name in ("fp8", "int8", "int4")
    ]
    narrow = dense(weight_dtype="int8")
    assert narrow.changes()[1] == [("weight_dtype='int4' on the same 1 chip", {"weight_dtype": "int4"})]
    assert (narrow.stored_as, dense().stored_as) == ("in int8", "in bf16")


# Grids --------------------------------------------------------------------------------------------------------------


def test_an_estimate_along_axes_is_that_of_its_points() -> None:
    batch, prompt, tp = np.array([1, 3, 400]), np.array([[20], [8000]]), np.array([[[1]], [[2]]])
    chip = capacity(needs(300))
    est = dense(chip, batch=batch, prompt=prompt, tp=tp, check=False)
    for i, j, k in np.ndindex(2, 2, 3):
        one = dense(chip, batch=int(batch[k]), prompt=int(prompt[j, 0]), tp=int(tp[i, 0, 0]), check=False)
        for name, values in est.figures().items():
            assert values[i, j, k] == pytest.approx(getattr(one, name), rel=1e-12), name
        assert (est.bound[i, j, k], est.fits[i, j, k]) == (one.bound, one.fits)
        assert np.broadcast_to(est.mfu, (2, 2, 3))[i, j, k] == pytest.approx(one.mfu)
        assert np.broadcast_to(est.memory.largest_batch, (2, 2, 3))[i, j, k] == one.memory.largest_batch
        for step, alone in ((est.prefill, one.prefill), (est.decode, one.decode)):
            assert np.broadcast_to(step.spread, (2, 2, 3))[i, j, k] == pytest.approx(alone.spread)
            assert np.broadcast_to(step.bound, (2, 2, 3))[i, j, k] == alone.bound
    assert est.fits.any()
    assert not est.fits.all()


def test_intervals_of_a_grid_are_those_of_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut into parts of two points: along an axis of a request, and one of the chip."""
    chips = plain().what_if({"memory.dram.bandwidth": [["1 TB/s"], ["2 TB/s"]]})
    batch = np.array([1, 2, 64])
    monkeypatch.setattr(figures, "MOST_VALUES", 2 * figures.SAMPLES)
    low, high = dense(chips, batch=batch).interval(0.9, "tpot_s")
    assert low.shape == high.shape == (2, 3)
    for i, rate in enumerate(("1 TB/s", "2 TB/s")):
        one = plain().what_if({"memory.dram.bandwidth": rate})
        ends = dense(one, batch=64).interval(0.9, "tpot_s")
        assert (low[i, 2], high[i, 2]) == pytest.approx(ends, rel=1e-12)
    for part, sizes in (((slice(0, 1), slice(1, 3)), (1, 2)), ((slice(1, 2), slice(0, 1)), (1, 1))):
        request, chip = grids.cut(dense(chips, batch=batch).request, chips, part)
        assert chip.numbers["memory.dram.bandwidth"].value.shape == (sizes[0], 1)
        assert request.batch.tolist() == batch[part[1]].tolist()


def test_an_interval_has_the_shape_of_what_was_asked() -> None:
    low, high = dense(batch=np.array([[4]])).interval(0.9, "tpot_s")
    assert low.shape == high.shape == (1, 1)
    ends = dense(batch=4).interval(0.9, "tpot_s")
    assert (low.item(), high.item()) == ends
    assert all(type(end) is float for end in ends)


@pytest.mark.parametrize("level", [0, 1, -0.5, 1.5])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(rl.BadWorkload, match="expected a level between 0 and 1"):
        dense().interval(level)


# Doubt, time and utilisation ----------------------------------------------------------------------------------------

#: Regimes of naive time and the doubt that the chip below has of each; the edges are 5, 20, 100 and 1000 us.
REGIMES = [(4, 0.11), (5.001, 0.12), (19, 0.12), (21, 0.13), (99, 0.13), (101, 0.14), (999, 0.14), (1001, 0.15)]


def doubtful(*kinds: str) -> Chip:
    return plain().what_if(
        {f"efficiency.{kind}.{name}": 0.11 + 0.01 * i for kind in kinds for i, name in enumerate(SPREADS)}
    )


@pytest.mark.parametrize(("us", "spread"), REGIMES)
def test_the_doubt_of_a_regime_is_that_of_the_longest_of_three(us: float, spread: float) -> None:
    """Bytes at 1 TB/s, FLOP at 100 TFLOP/s and at 10 of the vector engine, sent bytes at 100 GB/s: each alone."""
    chip = doubtful("copy", "gemm", "softmax", "all_reduce")
    stream = op.copy(rows=us * 1e6 / 4, cols=1, dtype="bf16")
    product = op.gemm(m=us * 1e-6 * 100e12 / (2 * 4096 * 4096), n=4096, k=4096)
    vector = op.softmax(rows=us * 1e7 / 1000, cols=1, flops_per_element=1000, dtype="bf16")
    ring = op.all_reduce(bytes=us * 1e5 / 1.5, devices=4)  # each sends 2 x 3/4 of the buffer
    for one in (stream, ring, vector, *([product] if us > 90 else [])):
        assert op_spread(one, rl.cost(one, chip).values, chip) == pytest.approx(spread), one.kind


def test_doubt_along_an_axis() -> None:
    chip = doubtful("copy")
    rows = np.array([us * 1e6 / 4 for us, _ in REGIMES])
    copies = op.copy(rows=rows, cols=1, dtype="bf16")
    assert op_spread(copies, rl.cost(copies, chip).values, chip) == pytest.approx([spread for _, spread in REGIMES])


def test_a_phase_may_be_scaled_along_an_axis() -> None:
    ops = [op.copy(rows=1000, cols=1000, dtype="bf16", count=3), op.gemm(m=64, n=64, k=64)]
    scale = np.array([1.0, 2.5])
    scaled, once = rl.run(ops, plain(), scale), rl.run(ops, plain())
    for name in ("time_s", "lower_s", "upper_s"):
        assert getattr(scaled, name) == pytest.approx(scale * getattr(once, name))
    for name, time in once.time_by_bound.items():
        assert scaled.time_by_bound[name] == pytest.approx(scale * time)
    assert scaled.mfu == pytest.approx(once.mfu / scale)
    with pytest.raises(rl.BadWorkload, match="a list of operators"):
        rl.run([ops[0], 3], plain())
    for bad in (0, -1.0, np.inf, np.array([1.0, 0.0]), np.array([]), True):
        with pytest.raises(rl.BadWorkload, match="positive, finite factor"):
            rl.run(ops, plain(), bad)


def test_the_cost_of_an_operator_in_words_and_its_intensity() -> None:
    """4 FLOP for each of a million numbers that come and go in 2 bytes: one FLOP a byte; 4 MB at 10 TB/s twice over."""
    cost = rl.cost(op.rms_norm(rows=1000, cols=1000, dtype="bf16"), plain())
    assert (cost.vector_flops, cost.bytes, cost.intensity) == (4e6, 4e6, 1)
    assert repr(cost) == "<Cost of rms_norm on plain: 0.6 us, memory:cache>"
    assert rl.cost(op.step_overhead(), plain()).intensity == 0
    several = rl.cost(op.rms_norm(rows=[1, 2], cols=1000, dtype="bf16"), plain())
    assert repr(several) == "<Cost of rms_norm on plain: shape (2,)>"
    with pytest.raises(AttributeError, match="a Cost has no 'speed'; it has"):
        _ = cost.speed


def test_what_nobody_says_of_an_operator_is_named() -> None:
    """Neither the chip nor its family: that is a fault of the files, and not of a chip without links."""
    path = "efficiency.host_copy.host_fraction"
    bare = {name: n for name, n in plain().numbers.items() if name != path}
    chip = replace(plain(), numbers=bare, defaults={name: n for name, n in plain().defaults.items() if name != path})
    with pytest.raises(rl.RooflineError, match=r"neither the chip nor the family gpu has efficiency.host_copy.host_fr"):
        rl.cost(op.host_copy(bytes=1e6), chip)


# Requests -----------------------------------------------------------------------------------------------------------


def test_the_edges_of_what_may_be_asked() -> None:
    assert dense(prompt=99_990, output=10).fits
    for options, words in (
        ({"prompt": 99_991, "output": 10}, "was made for 100,000 positions; prompt . output asks for 100,001"),
        ({"prompt": [10, 99_991], "output": 10}, "prompt . output asks for 100,001"),
        ({"batch": 1, "dp": 2}, "2 data-parallel replicas need at least one sequence each, found batch=1"),
        ({"prefix": 100}, "at least one token of the prompt is new, found prefix=100 of prompt=100"),
        ({"prefix": -1}, "prefix: expected a whole number of at least 0, found -1"),
        ({"batch": 0}, "batch: expected a whole number of at least 1, found 0"),
        ({"batch": 2.5}, "batch: expected a whole number of at least 1, found 2.5"),
        ({"batch": 2**53}, "at least 1 below 2.53"),
        ({"batch": [1.0, 2.0**53]}, "at least 1 below 2.53"),
        ({"batch": [2, 0.5]}, "batch: expected a whole number of at least 1, found 0.5"),
        ({"usable_memory": 0}, "usable_memory: expected a fraction above 0 and at most 1, found 0"),
        ({"usable_memory": 1.01}, "usable_memory: expected a fraction above 0"),
    ):
        with pytest.raises(rl.BadWorkload, match=words):
            dense(**options)
    assert dense(prefix=99, batch=2, dp=2, usable_memory=1).memory.usable_bytes == 100e9
    assert dense(prefix=0, output=1).time_s == dense(prefix=0, output=1).ttft_s


def test_plans_of_a_grid_are_judged_one_by_one() -> None:
    """Three heads do not split four, nor do three stages two layers."""
    plans = Plan(tp=np.array([1, 3, 4]), pp=np.array([[1], [3]]))
    broken = LANGUAGE_RULES[0].broken(DENSE, plain(), {"plan": plans})
    assert broken.tolist() == [[False, True, False], [True, True, True]]
    assert LANGUAGE_RULES[0].broken(DENSE, plain(), {"plan": Plan(tp=3)})
    assert not LANGUAGE_RULES[0].broken(DENSE, plain(), {"plan": Plan(tp=np.array([2, 4]), pp=2)}).any()


def test_the_best_known_stack_of_a_kind_of_model() -> None:
    """Of any language model, of one whose heads have keys of their own, and of experts in fp4."""
    fp4 = uniform(expert=per_tensor("fp4"))
    known = {"language": {"value": "a"}, "multi_head": {"value": "b"}, "fp4_experts": {"value": "c"}}
    chip = replace(plain(), default_stack=known)
    alike = two_layers(FeedForward(256), replace(ATTENTION, kv_heads=4))
    one = two_layers(Experts(1, 1, 32))
    for model, dtype, found in (
        (DENSE, None, "a"),
        (alike, None, "a+b"),
        (ROUTED, None, "a"),
        (ROUTED, "fp4", "a+c"),
        (ROUTED, "FP4", "a+c"),
        (replace(ROUTED, checkpoint=fp4), None, "a+c"),
        (replace(ROUTED, checkpoint=fp4), "fp8", "a"),
        (replace(DENSE, checkpoint=fp4), None, "a"),
        (replace(one, checkpoint=fp4), None, "a+c"),
    ):
        assert stacks.best_known(model, chip, dtype) == found
    assert stacks.best_known(DENSE, plain()) == ""
    assert stacks.best_known(alike, replace(chip, default_stack={"multi_head": {"value": "b"}})) == "b"


# Recommendation models ----------------------------------------------------------------------------------------------


def ranker(chip: Chip | None = None, **options: Any) -> Any:
    """1000 samples: 200 dense numbers, 4 tables of a million rows of 64 of which 5 are summed, a layer of 456 x 128."""
    model = read(
        {
            "title": "Small",
            "source": "made up",
            "dense_features": 200,
            "tables": [{"rows": 1_000_000, "count": 4, "dim": 64, "pooling": 5}],
            "block": [{"type": "mlp", "name": "top", "input": ["dense", "embedding"], "layers": [456, 128, 1]}],
        },
        "small",
    )
    return rl.estimate(model, chip or plain(), **{"batch": 1000, "table_dtype": "int8", **options})


def test_dense_weights_that_stay_from_batch_to_batch() -> None:
    """457 x 128 + 129 numbers in bf16, beside 1000 x 456 that are concatenated, read and written: all of the weights
    stay where there is room for both, and for each byte too many three are lost."""
    both = 2 * (457 * 128 + 129) + 1000 * 456 * (2 + 2)
    for part, stays in ((1.0, 1.0), (5 / 6, 0.5), (0.66, 0.0), (2.0, 1.0)):
        est = ranker(plain().what_if({"memory.cache.capacity": part * both}))
        shares = [one.args["warm_weights"] for one in est.step.workload if one.kind == "gemm"]
        assert shares == pytest.approx([stays, stays]), part


def test_the_slowest_of_chip_host_and_link_sets_the_pace() -> None:
    """The host sends 200 x 4 and 20 x 8 bytes a sample; at 1 MB/s that is 0.96 ms for each. A host of 10 ms a batch, on
    each of 8 cores, is the slowest where the link is fast, and the chip where it has no host to wait for."""
    link = {"links.host.bandwidth": "1 MB/s"}
    slow = ranker(plain().what_if({**link, "overheads.step": "10 ms"}))
    assert slow.pipelined_samples_per_s == pytest.approx(1e6 / 960)
    assert slow.ideal_samples_per_s == pytest.approx(1e6 / 960)
    assert (slow.pipelined_bound, slow.bound) == ("network", "network")
    host = ranker(plain().what_if({"overheads.step": "10 ms"}))
    assert host.pipelined_samples_per_s == pytest.approx(8 * 1000 / 10e-3)
    assert (host.pipelined_bound, host.bound) == ("overhead", "overhead")
    # Slow engines: what the chip is bound by, among what is not the link.
    engine = {"engines.matrix.bf16": "1 TFLOP/s"}
    own = ranker(plain().what_if(engine))
    rows = {row["op"]: row for row in own.step.records}
    busy = sum(row["time_s"] for row in rows.values() if row["kind"] not in ("host_copy", "step_overhead"))
    assert own.pipelined_samples_per_s == pytest.approx(1000 / busy)
    lower = sum(row["lower_s"] for row in rows.values() if row["kind"] not in ("host_copy", "step_overhead"))
    assert own.ideal_samples_per_s == pytest.approx(1000 / lower)
    assert own.pipelined_bound == "compute"
    together = ranker(plain().what_if({"links.host.bandwidth": ["1 MB/s", "50 GB/s"], **engine}))
    assert together.pipelined_bound.tolist() == ["network", "compute"]
    assert together.pipelined_samples_per_s[0] == pytest.approx(1e6 / 960)


def test_figures_of_a_ranker_and_what_it_holds() -> None:
    """Rows of 64 bytes, and 4 of scales; pooled vectors of 4 x 64 numbers in bf16 are there three times over."""
    est = ranker(devices=4, placement="even")
    assert est.memory.weights_bytes == 4_000_000 * 68 / 4 + 2 * (457 * 128 + 129)
    assert est.memory.activations_bytes == 3 * 250 * 256 * 2
    assert est.samples_per_s == pytest.approx(1000 / est.latency_s)
    assert est.samples_per_s_per_chip == pytest.approx(250 / est.latency_s)
    assert (est.lower_s, est.upper_s, est.mfu) == (est.step.lower_s, est.step.upper_s, est.step.mfu)
    # Of 90 GB a batch may have what tables and weights leave, in fours.
    left = 90e9 - est.memory.weights_bytes
    assert est.memory.largest_batch == 4 * int(left / (3 * 256 * 2))
    grid = ranker(batch=np.array([1000, 2000]))
    assert grid.memory.activations_bytes.tolist() == [3 * 1000 * 256 * 2, 3 * 2000 * 256 * 2]
    assert grid.samples_per_s[0] == pytest.approx(ranker().samples_per_s)


def test_what_is_advised_for_tables_that_do_not_fit() -> None:
    """More chips, up to a sample for each, and narrower rows."""
    counts = [2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256]
    more, rows = ranker().changes()
    assert more == [(f"devices={n}", {"devices": n}) for n in counts]
    assert rows == [("table_dtype='int4'", {"table_dtype": "int4"})]
    assert [words for words, _ in ranker(devices=3, batch=24, table_dtype=None).changes()[0]] == [
        f"devices={n}" for n in (4, 6, 8, 12, 16, 24)
    ]
    assert [words for words, _ in ranker(table_dtype="fp32").changes()[1]] == [
        "table_dtype='fp16'",
        "table_dtype='int8'",
        "table_dtype='int4'",
    ]
    assert (ranker().stored_as, ranker(table_dtype=None).stored_as) == ("with int8 tables", "with bf16 tables")
    with pytest.raises(rl.DoesNotFit) as error:
        ranker(capacity(100e6))  # 272 MB of tables
    assert error.value.suggestions[0] == "devices=3"


def test_an_error_of_the_model_moves_every_figure_of_a_ranker() -> None:
    low, high = ranker().interval(0.9, "latency_s")
    rates = ranker().intervals(["samples_per_s", "samples_per_s_per_chip", "pipelined_samples_per_s"])
    assert rates["samples_per_s"] == pytest.approx((1000 / high, 1000 / low), rel=1e-3)
    est = ranker()
    factor = est.pipelined_samples_per_s * est.latency_s
    assert rates["pipelined_samples_per_s"] == pytest.approx((factor / high, factor / low), rel=1e-3)
