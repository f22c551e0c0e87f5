"""Laws that hold for every chip and every operator, over physical ranges."""

from __future__ import annotations

import dataclasses
import math
from inspect import signature
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

import roofline as rl
from roofline import kernels
from roofline.catalog.load import chip_records
from roofline.estimates.costing import bind
from roofline.estimates.inference import COST, evaluate_op
from roofline.hardware.chip import Chip
from roofline.work import op
from roofline.work.op import Op
from tests.operators import ARGUMENTS, SIZES, operators

CHIPS = [record["name"] for record in chip_records()]
chips = st.sampled_from(CHIPS)  # names: a chip itself is too large to print
TIMES = tuple(COST.index(name) for name in ("lower_s", "time_s", "upper_s"))
CLOSE = 1 + 1e-9
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send")


def suited(one: Op, chip: Chip) -> Op:
    """The operator in a dtype that the chip has a rate for; only on chips that can run it at all."""
    assume(one.kind not in COLLECTIVES or "link_bandwidth" in chip.machine)
    return dataclasses.replace(one, dtype=chip.widest_matrix) if one.dtype in ("bf16", "fp32") else one


def test_every_kernel_has_a_reference_twin() -> None:
    from roofline.kernels import reference

    assert set(kernels.by_name()) == set(reference.by_name())


@given(operators(), chips)
def test_bounds_enclose_the_expected_time(one: Op, chip_name: str) -> None:
    chip = rl.load_chip(chip_name)
    cost = dict(zip(COST, evaluate_op(suited(one, chip), chip), strict=True))
    assert all(math.isfinite(v) and v >= 0 for v in cost.values()), cost
    assert cost["lower_s"] <= cost["time_s"] * CLOSE
    assert cost["time_s"] <= cost["upper_s"] * CLOSE


@given(st.data(), chips, st.floats(1.0, 4.0))
def test_times_grow_with_every_size(data: st.DataObject, chip_name: str, factor: float) -> None:
    chip = rl.load_chip(chip_name)
    function = data.draw(st.sampled_from(list(SIZES)))
    arguments = data.draw(ARGUMENTS[function])
    name = data.draw(st.sampled_from(SIZES[function]))
    smaller = suited(function(**arguments), chip)
    larger = suited(function(**{**arguments, name: math.ceil(arguments[name] * factor)}), chip)
    before, after = evaluate_op(smaller, chip), evaluate_op(larger, chip)
    for i in TIMES:
        assert before[i] <= after[i] * CLOSE, (COST[i], name, arguments)


RATES = (
    "memory.main.bandwidth",
    "memory.cache.bandwidth",
    "memory.cache.capacity",
    "links.scale_up.bandwidth",
    "links.network.bandwidth",
    "links.host.bandwidth",
    "matrix",
    "engines.vector.fp32",
)


@given(operators(), chips, st.sampled_from(RATES), st.floats(1.0, 8.0))
def test_times_shrink_with_every_rate(one: Op, chip_name: str, rate: str, factor: float) -> None:
    chip = rl.load_chip(chip_name)
    one = suited(one, chip)
    if rate == "matrix":
        rate = next(p for p in chip.numbers if p.startswith("engines.") and p.endswith(chip.widest_matrix))
    if chip.get(rate) is None:
        return  # this chip has no such figure
    better = chip.what_if({rate: chip[rate] * factor})
    before, after = evaluate_op(one, chip), evaluate_op(one, better)
    for i in TIMES:
        assert after[i] <= before[i] * CLOSE, (COST[i], rate, one)


@given(operators(), chips, st.sampled_from([2, 3, 8]))
def test_more_cores_slow_no_operator(one: Op, chip_name: str, factor: int) -> None:
    """A core's port to the cache is as wide as before; all that grows is the number of parts that are combined."""
    chip = rl.load_chip(chip_name)
    one = suited(one, chip)
    more = chip.what_if({"cores.count": chip["cores.count"] * factor})
    before, after = evaluate_op(one, chip), evaluate_op(one, more)
    combined = 1.1 if one.kind in ("attention", "mla_attention") else CLOSE
    for i, most in zip(TIMES, (CLOSE, combined, combined), strict=True):
        assert after[i] <= before[i] * most, (COST[i], one)


@given(operators(), chips, st.floats(0.1, 10.0))
def test_scaling_all_rates_divides_the_ideal_time(one: Op, chip_name: str, c: float) -> None:
    chip = rl.load_chip(chip_name)
    one = suited(one, chip)
    rates = [p for p, n in chip.numbers.items() if n.dimension in ("rate", "bandwidth")]
    scaled = chip.what_if({p: chip[p] * c for p in rates})
    before, after = evaluate_op(one, chip)[TIMES[0]], evaluate_op(one, scaled)[TIMES[0]]
    assert after == pytest.approx(before / c, rel=1e-9)


@given(operators(), chips)
def test_an_array_equals_its_points(one: Op, chip_name: str) -> None:
    chip = rl.load_chip(chip_name)
    one = suited(one, chip)
    if not one.args:
        return
    name = next(iter(one.args))
    values = np.array([one.args[name], one.args[name] * 2, one.args[name]], dtype=float)
    together = evaluate_op(one.with_args(**{name: values}), chip)
    for i, value in enumerate(values):
        alone = evaluate_op(one.with_args(**{name: float(value)}), chip)
        for a, b in zip(together, alone, strict=True):
            assert float(np.broadcast_to(a, 3)[i]) == pytest.approx(b, rel=1e-12)


def arguments_of(one: Op, chip: Chip) -> dict[str, Any]:
    bound = bind(one, chip)
    values = (*bound.own(one.args), *bound.others)
    return {name: float(value) for name, value in zip(signature(bound.function).parameters, values, strict=True)}


@given(operators(), chips)
def test_kernels_agree_with_their_reference(one: Op, chip_name: str) -> None:
    chip = rl.load_chip(chip_name)
    from roofline.kernels import reference

    one = suited(one, chip)
    arguments = arguments_of(one, chip)
    fast = kernels.by_name()[one.kernel](**arguments)
    plain = reference.by_name()[one.kernel](**{k: np.array([v]) for k, v in arguments.items()})
    for name, a, b in zip(COST, fast, plain, strict=True):
        assert a == pytest.approx(float(np.broadcast_to(b, 1)[0]), rel=1e-9, abs=1e-30), name


@given(chips, st.sampled_from(["main", "cache"]))
def test_attainable_at_the_ridge_is_the_peak(chip_name: str, level: str) -> None:
    chip = rl.load_chip(chip_name)
    for dtype in chip.dtypes:
        try:
            ridge = chip.ridge_point(dtype, level)
        except rl.UnknownName:
            return
        name = {"main": chip.main_level, "cache": chip.cache_level}[level]
        assert ridge * chip.level(name, "bandwidth") == pytest.approx(chip.peak(dtype), rel=1e-12)


@given(st.sampled_from(["h100-sxm", "a100-sxm-80gb", "mi300x", "tpu-v5e"]), ARGUMENTS[op.all_reduce])
def test_a_ring_all_reduce_is_a_reduce_scatter_and_an_all_gather(name: str, arguments: dict[str, Any]) -> None:
    chip = rl.load_chip(name)
    # A ring: neither the switch reduces nor does every device send its whole buffer at once.
    shot = dataclasses.replace(chip.number("efficiency.all_reduce.shot_share"), value=0.0)
    numbers = {**chip.numbers, "efficiency.all_reduce.shot_share": shot}
    flags = {**chip.flags, "links.scale_up.switch_reduction": False}
    chip = dataclasses.replace(chip, numbers=numbers, flags=flags)
    whole, first, second = (
        evaluate_op(f(**arguments), chip) for f in (op.all_reduce, op.reduce_scatter, op.all_gather)
    )
    for name in ("network_bytes", "lower_s"):
        i = COST.index(name)
        assert whole[i] == pytest.approx(first[i] + second[i], rel=1e-9)


@given(chips, ARGUMENTS[op.all_reduce])
def test_a_collective_of_one_costs_nothing(chip_name: str, arguments: dict[str, Any]) -> None:
    chip = rl.load_chip(chip_name)
    assume("link_bandwidth" in chip.machine)
    for function in (op.all_reduce, op.all_gather, op.reduce_scatter, op.all_to_all, op.send):
        assert evaluate_op(function(**{**arguments, "devices": 1}), chip)[COST.index("time_s")] == 0.0
