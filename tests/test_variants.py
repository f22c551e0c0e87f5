"""Variants of a chip: what they are called, and that nothing of one can be changed or carried over to another."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from roofline.hardware.uncertainty import sample
from tests.strategies import changes, chips_and_figures


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"memory.hbm.bandwidth": "4.8 TB/s"}, "h100-sxm[memory.hbm.bandwidth=4.8TB/s]"),
        ({"memory.main.bandwidth": 4.8e12}, "h100-sxm[memory.hbm.bandwidth=4.8TB/s]"),
        ({"clock": "x1.1"}, "h100-sxm[clock=2.013GHz]"),
        ({"clock": "1 GHz", "cores.count": 144}, "h100-sxm[clock=1GHz, cores.count=144]"),
        ({"cores.count": 144, "clock": "1 GHz"}, "h100-sxm[clock=1GHz, cores.count=144]"),
        ({"clock": ["1 GHz", "2 GHz", "1.5 GHz", "3 GHz"]}, "h100-sxm[clock=4 values]"),
        ({"price.purchase": 12345.67}, "h100-sxm[price.purchase=12345.67USD]"),
        ({"efficiency.gemm.compute_fraction": 0.123456789}, "h100-sxm[efficiency.gemm.compute_fraction=0.123456789]"),
    ],
)
def test_a_variant_is_called_after_what_was_changed(changes: dict[str, Any], name: str) -> None:
    assert rl.load_chip("h100").what_if(changes).name == name


def test_changes_add_up_in_name_and_title() -> None:
    h100 = rl.load_chip("h100")
    twice = h100.what_if({"clock": "1 GHz"}).on_stack("vllm").what_if({"cores.count": 144, "clock": "2 GHz"})
    assert twice.name == "h100-sxm[clock=2GHz, cores.count=144, stack=vllm]"
    assert twice.title == f"{h100.title} [clock = 2 GHz, cores.count = 144] [stack vllm]"
    assert h100.on_stack("trtllm").on_stack("trtllm_fp4").name == "h100-sxm[stack=trtllm+trtllm_fp4]"
    assert h100.on_stack("trtllm+trtllm_fp4").name == "h100-sxm[stack=trtllm+trtllm_fp4]"


def test_many_changes_are_counted_and_still_told_apart() -> None:
    h100 = rl.load_chip("h100")
    rates = [p for p, n in h100.numbers.items() if n.dimension in ("rate", "bandwidth")]
    one, two = (h100.what_if(dict.fromkeys(rates, factor)) for factor in ("x1.5", "x1.6"))
    assert one.name != two.name
    assert one.name.startswith(f"h100-sxm[{len(rates)} changes ")
    assert len(one.name) < 40
    assert one.title == f"{h100.title} [{len(rates)} figures changed]"


@given(chips_and_figures(), st.data())
def test_different_values_give_different_names(drawn: tuple[Chip, str, Number], data: st.DataObject) -> None:
    chip, path, number = drawn
    plain = changes(path, number).filter(lambda v: not isinstance(v, np.ndarray))
    one, two = (chip.what_if({path: data.draw(plain)}) for _ in range(2))
    same = math.isclose(one[path], two[path], rel_tol=4e-15)
    assert (one.name == two.name) == same or same
    assert one.name.startswith(f"{chip.name}[")


# Read-only ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["numbers", "defaults", "flags", "calibration", "changes"])
def test_nothing_of_a_chip_can_be_written_to(table: str) -> None:
    held = getattr(rl.load_chip("h100").what_if({"clock": "1 GHz"}), table)
    key = next(iter(held))
    before = dict(held)
    for write in (
        lambda: held.__setitem__(key, None),
        lambda: held.__delitem__(key),
        lambda: held.update({key: None}),
        lambda: held.pop(key),
        held.clear,
        held.popitem,
        lambda: held.setdefault("new", 1),
        lambda: held.__ior__({key: None}),
    ):
        with pytest.raises(TypeError, match="read-only"):
            write()
    assert held == before
    assert type(held | {}) is type(dict(held)) is dict  # a copy is to be changed


def test_the_record_of_a_calibration_is_read_only_all_through() -> None:
    record = rl.load_chip("h100").calibration
    with pytest.raises(TypeError, match="read-only"):
        next(iter(record.values()))["rows"] = 0


def test_arrays_of_a_variant_are_read_only() -> None:
    given = np.array([1e9, 2e9])
    chip = rl.load_chip("h100").what_if({"clock": given})
    given[0] = 5.0
    assert chip["clock"].tolist() == [1e9, 2e9]
    for path in ("clock", "engines.matrix.bf16"):
        with pytest.raises(ValueError, match="read-only"):
            chip[path][0] = 1.0


# Copies ---------------------------------------------------------------------------------------------------------


def costed(chip: Chip) -> float:
    return float(rl.cost(rl.gemm(m=64, n=4096, k=4096, dtype=chip.widest_matrix), chip).time_s)


@pytest.mark.parametrize(
    "copied", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"]
)
@pytest.mark.parametrize("name", ["h100-sxm", "artemis"])
def test_a_chip_is_copied_before_and_after_an_estimate(name: str, copied: Any) -> None:
    chip = rl.load_chip(name).what_if({"clock": "x1.1"})
    assert costed(copied(chip)) == costed(chip)
    rl.estimate("llama-3.1-8b", chip, check=False).interval(0.9, "tpot_s")
    again = copied(chip)
    assert again.bound_cache == {}
    assert again.bound_cache is not chip.bound_cache
    assert (again.numbers, again.defaults, again.flags) == (chip.numbers, chip.defaults, chip.flags)
    assert costed(again) == costed(chip)
    with pytest.raises(TypeError, match="read-only"):
        again.numbers["clock"] = None


def test_what_was_looked_up_does_not_go_over_to_a_changed_copy() -> None:
    chip = rl.load_chip("h100")
    before = costed(chip)
    slow = dataclasses.replace(chip.number("memory.hbm.bandwidth"), value=1e9)
    changed = dataclasses.replace(chip, numbers={**chip.numbers, "memory.hbm.bandwidth": slow})
    assert costed(changed) > 100 * before
    with pytest.raises(ValueError, match="bound_cache"):
        dataclasses.replace(chip, bound_cache=chip.bound_cache)
    assert costed(chip) == before


def slower(chip: Chip) -> dict[str, Number]:
    """The figures of a chip with a tenth of the memory bandwidth."""
    path = chip.path("memory.main.bandwidth")
    tenth = dataclasses.replace(chip.number(path), value=chip[path] / 10, low=None, high=None)
    return {**chip.numbers, path: tenth}


CHANGES = {
    "what_if": lambda c: c.what_if({"memory.main.bandwidth": "x0.1"}),
    "clock": lambda c: c.what_if({"clock": "x0.5"}),
    "array": lambda c: c.what_if({"memory.main.bandwidth": ["1 TB/s", "2 TB/s"]}),
    "parameter": lambda c: c.what_if({"efficiency.gemm.memory_fraction": 0.1, "efficiency.gemm.spread": 0.4}),
    "links": lambda c: c.what_if({"links.scale_up.bandwidth": "x0.1"}),
    "on_stack": lambda c: c.on_stack("vllm"),
    "replace": lambda c: dataclasses.replace(c, numbers=slower(c)),
    "its family's": lambda c: dataclasses.replace(
        c, numbers={path: n for path, n in c.numbers.items() if not path.startswith("efficiency.gemm.")}
    ),
    "copy of a change": lambda c: copy.copy(c.what_if({"memory.main.bandwidth": "x0.1"})),
    "change of a copy": lambda c: copy.deepcopy(c).what_if({"memory.main.bandwidth": "x0.1"}),
    "pickle": lambda c: dataclasses.replace(pickle.loads(pickle.dumps(c)), numbers=slower(c)),
    "sample": lambda c: sample(c, 8),
    "twice": lambda c: c.what_if({"memory.main.bandwidth": "x2"}).on_stack("vllm").what_if({"clock": "x0.5"}),
}


def answers(chip: Chip) -> list[Any]:
    """Everything that looks something up and might keep it: costs, bounds, spreads, peaks, estimates, intervals."""
    gemm, send = rl.gemm(m=8, n=4096, k=4096), rl.all_reduce(bytes=1e8, devices=4)
    costs = [rl.cost(one, chip) for one in (gemm, send)]
    est = rl.estimate("llama-3.1-8b", chip, batch=2, tp=2)
    return [
        *(value for cost in costs for value in (*cost.values, cost.bound)),
        chip.spreads(("gemm",), "bf16"),
        chip.peak("bf16"),
        chip.ridge_point("bf16"),
        chip.machine,
        est.ttft_s,
        est.tpot_s,
        est.lower_s,
        est.bound,
        est.interval(0.9, "tpot_s"),
        est.memory.capacity_bytes,
    ]


def flat(values: list[Any]) -> list[Any]:
    return [v for value in values for v in (value.values() if isinstance(value, dict) else (value,))]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_chip_never_answers_with_the_old_one_s_numbers(change: Any) -> None:
    """Changed after the chip was asked everything, it says what it says when changed before it was asked anything."""
    asked, fresh = (copy.deepcopy(rl.load_chip("h100-sxm")) for _ in range(2))
    before = answers(asked)
    after, expected = answers(change(asked)), answers(change(fresh))
    assert len(flat(after)) == len(flat(expected))
    for found, value in zip(flat(after), flat(expected), strict=True):
        np.testing.assert_array_equal(found, value)
    assert any(not np.array_equal(a, b) for a, b in zip(flat(after), flat(before), strict=True))
    for found, value in zip(flat(answers(asked)), flat(before), strict=True):  # nor did the old one change
        np.testing.assert_array_equal(found, value)
