"""What a figure may be: every parameter has a range, and within it every answer keeps its bounds."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

import roofline as rl
from roofline import kernels
from roofline.base import units
from roofline.catalog.descriptors import _family
from roofline.estimates.inference import COST, evaluate_op
from roofline.hardware import ranges
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from roofline.hardware.schema import Family, parameter_schema
from roofline.work import op
from tests.operators import ARGUMENTS
from tests.strategies import CHIPS, chip_names
from tests.test_laws import CLOSE, COLLECTIVES

FIELDS = ("name", "title", "vendor", "family", "status", "year", "defaults", "flags")

#: Operators with kernels of their own, and one of those that share a kernel.
FUNCTIONS = (
    op.gemm,
    op.attention,
    op.mla_attention,
    op.moe,
    op.recurrence,
    op.index_scores,
    op.sparse_attention,
    op.embedding_bag,
    op.elementwise,
    op.rms_norm,
    op.residual_add,
    op.all_reduce,
    op.all_gather,
    op.reduce_scatter,
    op.all_to_all,
    op.send,
    op.host_copy,
    op.step_overhead,
)
FAMILIES = Family.__args__  # type: ignore[attr-defined]


def test_every_dimension_has_a_range() -> None:
    assert set(ranges.DIMENSIONS) == set(units.DIMENSIONS)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_of_a_family_has_a_range(family: str) -> None:
    names = {path.rpartition(".")[2] for path in _family(family) if path.startswith("efficiency.")}
    assert {n for n in names if n not in ranges.PARAMETERS and not ranges.is_spread(n)} == set()


def test_every_range_is_of_a_parameter_that_some_kernel_takes() -> None:
    taken = {name for kernel in kernels.by_name().values() for name in inspect.signature(kernel).parameters}
    assert set(ranges.PARAMETERS) - taken == set()


@pytest.mark.parametrize("name", CHIPS)
def test_every_figure_of_every_chip_is_in_its_range(name: str) -> None:
    chip = rl.load_chip(name)
    for path, n in {**chip.defaults, **chip.numbers}.items():
        assert ranges.outside(path, n.dimension, n.value, *(v for v in (n.low, n.high) if v is not None)) == "", path


def test_ranges_are_ranges() -> None:
    for table in (ranges.DIMENSIONS, ranges.PARAMETERS):
        for name, allowed in table.items():
            assert 0 <= allowed.least < allowed.most < math.inf, name
    for name, allowed in ranges.PARAMETERS.items():
        if parameter_schema(name).dimension == "fraction":
            assert 0 < allowed.least < allowed.most == 1, name


@pytest.mark.parametrize(
    ("path", "dimension", "values", "words"),
    [
        ("cores.count", "count", (1.5,), "expected a whole number from 1 to 1,000,000,000"),
        ("links.scale_up.domain", "count", (0.0,), "expected a whole number from 1 to 1,000,000,000"),
        ("latency.memory", "time", (0.0,), "expected from 0.001 ns to 1 s"),
        ("memory.hbm.latency", "time", (1e-6, 2.0), "expected from 0.001 ns to 1 s"),
        ("latency.host", "time", (0.0,), ""),
        ("efficiency.gemm.fp8.launch_s", "time", (np.array([1e-6, 11.0]),), "expected from 0 s to 10 s"),
        ("efficiency.gemm.fp8.launch_s", "time", (np.array([1e-6, 10.0]),), ""),
        ("stack.vllm.efficiency.moe.overflow", "count", (101.0,), "expected from 0 to 100"),
        ("engines.matrix.bf16", "rate", (math.inf,), "expected from 1 FLOP/s to 1e+06 EFLOP/s"),
        ("memory.hbm.bandwidth", "bandwidth", (math.nan,), "expected from 1 B/s to 1000 EB/s"),
        ("efficiency.gemm.spread_under_5us", "count", (10.5,), "expected from 0 to 10"),
    ],
)
def test_what_is_expected(path: str, dimension: str, values: tuple[Any, ...], words: str) -> None:
    assert ranges.outside(path, dimension, *values) == words


@st.composite
def inside(draw: Any, path: str, dimension: str) -> float:
    """Any value of a range, its ends more often than chance has it."""
    allowed = ranges.of(path, dimension)
    low = max(allowed.least, allowed.most * 1e-18)
    anywhere = st.floats(math.log(low), math.log(allowed.most)).map(math.exp)
    value = draw(st.one_of(st.sampled_from([allowed.least, allowed.most]), anywhere))
    value = min(max(value, allowed.least), allowed.most)
    return float(round(value)) if allowed.whole else value


def held(one: op.Op, chip: Chip) -> None:
    cost = dict(zip(COST, evaluate_op(one, chip), strict=True))
    assert all(math.isfinite(v) and v >= 0 for v in cost.values()), cost
    assert cost["lower_s"] <= cost["time_s"] * CLOSE, cost
    assert cost["time_s"] <= cost["upper_s"] * CLOSE, cost


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@settings(max_examples=40)
@given(data=st.data(), name=chip_names)
def test_bounds_hold_for_every_value_of_every_parameter(function: Any, data: st.DataObject, name: str) -> None:
    chip = rl.load_chip(name)
    one = function(**data.draw(ARGUMENTS[function]))
    assume(one.kind not in COLLECTIVES or "link_bandwidth" in chip.machine)
    one = op.Op(one.kind, one.name, chip.widest_matrix, one.args, kernel=one.kernel)
    numbers = dict(chip.numbers)
    for parameter in inspect.signature(kernels.by_name()[one.kernel]).parameters:
        found = chip.parameter(parameter, (one.kind, one.kernel), one.dtype)
        if parameter not in one.args and parameter not in chip.machine and found is not None:
            path = f"efficiency.{one.kind}.{one.dtype}.{parameter}"
            numbers[path] = Number(data.draw(inside(path, found.dimension)), found.dimension, "estimated", "s")
    for path in ("latency.memory", "latency.link", "latency.network", "latency.host", "overheads.step"):
        if data.draw(st.booleans()):
            numbers[path] = Number(data.draw(inside(path, "time")), "time", "estimated", "s")
    held(one, Chip(**{f: getattr(chip, f) for f in FIELDS} | {"numbers": numbers}))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@settings(max_examples=20)
@given(data=st.data(), name=chip_names)
def test_answers_stay_finite_at_the_ends_of_every_figure(function: Any, data: st.DataObject, name: str) -> None:
    chip = rl.load_chip(name)
    one = function(**data.draw(ARGUMENTS[function]))
    assume(one.kind not in COLLECTIVES or "link_bandwidth" in chip.machine)
    one = op.Op(one.kind, one.name, chip.widest_matrix, one.args, kernel=one.kernel)
    numbers = {
        path: Number(data.draw(inside(path, n.dimension)), n.dimension, n.kind, n.source)
        if path.startswith(("engines.", "memory.", "links.", "cores.", "clock")) and data.draw(st.booleans())
        else n
        for path, n in chip.numbers.items()
    }
    cost = evaluate_op(one, Chip(**{f: getattr(chip, f) for f in FIELDS} | {"numbers": numbers}))
    assert all(math.isfinite(v) and v >= 0 for v in cost), cost
