"""A chip's own arithmetic by hand: ranges, limits of power, what-ifs and software stacks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.hardware import limits, ranges, variants
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from tests.plain import plain


def figure(value: Any, dimension: str = "count", **more: Any) -> Number:
    return Number(value, dimension, "derived", "round", **more)


def having(chip: Chip | None = None, **figures: Number) -> Chip:
    """The plain chip with more figures; two underscores stand for a point of the path."""
    chip = chip or plain()
    more = {path.replace("__", "."): number for path, number in figures.items()}
    return replace(chip, numbers={**chip.numbers, **more})


def lacking(*begin: str) -> Chip:
    """The plain chip without the figures whose paths begin so."""
    return replace(plain(), numbers={p: n for p, n in plain().numbers.items() if not p.startswith(begin)})


# Ranges ---------------------------------------------------------------------------------------------------------------

#: Path, dimension, and the ends of what it may be: by dimension where no physics says more.
ENDS = [
    ("memory.hbm.bandwidth", "bandwidth", 1.0, 1e21),
    ("engines.matrix.bf16", "rate", 1.0, 1e24),
    ("memory.hbm.capacity", "capacity", 1.0, 1e21),
    ("latency.host", "time", 0.0, 100.0),
    ("links.network.latency", "time", 0.0, 100.0),
    ("latency.cache", "time", 1e-12, 1.0),
    ("latency.memory", "time", 1e-12, 1.0),
    ("memory.l2.latency", "time", 1e-12, 1.0),
    ("clock", "frequency", 1e3, 1e13),
    ("power.tdp", "power", 1e-6, 1e9),
    ("die.area", "area", 1e-6, 1e9),
    ("price.purchase", "money", 0.01, 1e12),
    ("cores.width", "count", 0.0, 1e9),
    ("cores.count", "count", 1.0, 1e9),
    ("memory.hbm.channels", "count", 1.0, 1e9),
    ("channels.memory", "count", 1.0, 1e9),
    ("power.idle_share", "fraction", 1e-6, 1.0),
    ("efficiency.gemm.compute_fraction", "fraction", 1e-6, 1.0),
    ("efficiency.embedding_bag.overlap_share", "count", 0.0, 1.0),
    ("efficiency.moe.fp8.launch_s", "time", 0.0, 10.0),
    ("hop_s", "time", 0.0, 10.0),
    ("efficiency.moe.expert_s", "time", 0.0, 1e-3),
    ("efficiency.moe.score_s", "time", 0.0, 1e-6),
    ("efficiency.copy.row_cycles", "count", 0.0, 1e6),
    ("efficiency.attention.decode_rows", "count", 1.0, 1024.0),
    ("efficiency.gemm.tile_max", "count", 1.0, 4096.0),
    ("efficiency.attention.port_cores", "count", 1e-9, 1e9),
    ("efficiency.copy.row_cores", "count", 1e-9, 1e18),
    ("inflight_bytes", "capacity", 1.0, 1e12),
    ("inflight_rows", "count", 1.0, 1e9),
    ("tlb_reach_bytes", "capacity", 1.0, 1e21),
    ("transaction_bytes", "capacity", 1.0, 1e6),
    ("fused_choices", "count", 0.0, 1e6),
    ("fused_experts", "count", 0.0, 1e6),
    ("operand_share", "count", 1e-3, 1e3),
    ("overflow", "count", 0.0, 100.0),
    ("padding", "count", 0.0, 100.0),
    ("pack_passes", "count", 0.0, 100.0),
    ("overheads.engine_spread", "count", 0.0, 10.0),
    ("power.spread", "count", 0.0, 10.0),
    ("power.limit_share", "fraction", 1e-3, 1.0),
    ("power.active_share", "count", 0.0, 1.0),
    ("power.compute_share", "count", 0.0, 10.0),
    ("power.memory_share", "count", 0.0, 10.0),
    ("server.power_share", "count", 0.0, 10.0),
    ("server.factor", "count", 1.0, 10.0),
    ("server.price_factor", "count", 1.0, 100.0),
]


@pytest.mark.parametrize(("path", "dimension", "least", "most"), ENDS)
def test_a_figure_may_be_the_ends_of_its_range_and_nothing_beyond(
    path: str, dimension: str, least: float, most: float
) -> None:
    assert ranges.outside(path, dimension, least, most, np.array([least, most])) == ""
    counted = ranges.of(path, dimension).whole
    beyond = (most + 1, least - 1) if counted else (math.nextafter(most, math.inf), math.nextafter(least, -1))
    for value in beyond:
        assert ranges.outside(path, dimension, value).startswith("expected "), value
        assert ranges.outside(path, dimension, least, np.array([least, value])), value


def test_what_is_counted_is_whole_and_a_doubt_is_told_by_its_name() -> None:
    for path in ("cores.count", "links.scale_up.domain", "memory.hbm.channels", "channels.memory"):
        assert ranges.outside(path, "count", 1.5, 2.0).startswith("expected a whole number from 1 to"), path
    assert ranges.outside("efficiency.gemm.tile_max", "count", 1.5) == ""
    doubts = ("efficiency.gemm.spread", "efficiency.gemm.bf16.spread_over_1ms", "overheads.engine_spread")
    assert all(map(ranges.is_spread, doubts))
    assert not any(map(ranges.is_spread, ("efficiency.gemm.tile_max", "overheads.step", "spread.count")))
    assert all(map(ranges.is_power_or_price, ("power.tdp", "server.factor", "price.purchase")))
    assert not any(map(ranges.is_power_or_price, ("clock", "engines.power", "overheads.step")))


# Limits of power ------------------------------------------------------------------------------------------------------


def test_the_clock_under_a_limit_is_the_root_of_what_is_left_above_the_floor() -> None:
    """A fifth of the TDP is floor. At 40 % of it 20 of 80 are left, a quarter, whose root is a half; at 92.8 % 72.8 of
    80, or 0.91. Of a chip that is at 40 % already, no limit at all is twice as fast."""
    assert limits.sustained_clock(0.4, 0.2) == pytest.approx(0.5)
    assert limits.sustained_clock(np.array([1.0, 0.25]), 0.0).tolist() == [1.0, 0.5]
    held = plain().what_if({"power.limit_share": 0.4})
    assert (limits.clock_of(plain()), limits.clock_of(held)) == (1.0, pytest.approx(0.5))
    assert limits.slower(plain(), 0.928) == pytest.approx(math.sqrt(0.91))
    assert limits.slower(held, 1.0) == pytest.approx(2.0)
    paths = ("clock", "engines.matrix.bf16", "engines.vector.fp32", "memory.cache.bandwidth")
    assert [held[p] / plain()[p] for p in paths] == pytest.approx([0.5] * 4)
    assert held["memory.dram.bandwidth"] == 1e12
    both = plain().what_if({"power.limit_share": 0.4, "clock": "3 GHz"})
    assert both["clock"] == 3e9
    # Nothing said of either: no limit, no floor.
    assert limits.clock_of(replace(lacking("power."), defaults={})) == 1.0
    assert limits.slower(replace(lacking("power."), defaults={}), 0.25) == pytest.approx(0.5)


def test_a_limit_at_the_floor_leaves_no_clock() -> None:
    chip = having(power__tdp=figure(500.0, "power"))
    for share, found in ((0.2, "0.2"), ([1.0, 0.1], "0.1")):
        words = rf"expected more than 0.2 of the TDP \(100 W\), which does not go with the clock, found {found}$"
        with pytest.raises(rl.BadWorkload, match=words):
            chip.what_if({"power.limit_share": share})
    with pytest.raises(rl.BadWorkload, match=r"0\.2 of the TDP, which"):
        plain().what_if({"power.limit_share": 0.2})
    assert chip.what_if({"power.limit_share": 0.2001})["clock"] == pytest.approx(1e9 * math.sqrt(1e-4 / 0.8))


# What-ifs -------------------------------------------------------------------------------------------------------------


def test_channels_bring_their_bandwidth_and_latency_on_chip_follows_the_clock() -> None:
    chip = having(memory__cache__latency=figure(100e-9, "time"))
    more = chip.what_if({"memory.main.channels": "x3"})
    assert (more["memory.dram.channels"], more["memory.dram.bandwidth"]) == (3, 3e12)
    assert (more["memory.cache.bandwidth"], more["engines.matrix.bf16"]) == (10e12, 100e12)
    fast = chip.what_if({"clock": "4 GHz"})
    assert (fast["memory.cache.latency"], fast["memory.dram.latency"]) == (pytest.approx(25e-9), 1e-6)
    assert chip.what_if({"cores.count": "x2"})["memory.cache.latency"] == 100e-9
    each = replace(plain(), flags={**plain().flags, "memory.cache.per": "core"}).what_if({"cores.count": "x2"})
    assert each["efficiency.attention.port_cores"] == plain()["efficiency.attention.port_cores"]
    assert each["efficiency.copy.row_cores"] == 2 * plain()["efficiency.copy.row_cores"]
    # A second level of DRAM does not run at the clock of the cores.
    two = replace(plain(), flags={**plain().flags, "memory.cache.type": "dram"})
    assert two.what_if({"clock": "4 GHz"})["memory.cache.bandwidth"] == 10e12


def test_nothing_no_quantity_and_twice_the_same_is_no_what_if() -> None:
    for nothing in ({}, [("clock", 1e9)], None):
        with pytest.raises(rl.BadWorkload, match=r"expected \{figure: value\}"):
            plain().what_if(nothing)  # type: ignore[arg-type]
    for value in (-1.0, 0.0, math.inf, math.nan, [1e9, -1.0]):
        with pytest.raises(rl.BadWorkload, match="expected a positive, finite frequency"):
            plain().what_if({"clock": value})
    with pytest.raises(rl.BadWorkload, match="one figure is changed twice"):
        plain().what_if({"memory.main.latency": "1 us", "memory.dram.latency": "2 us"})


def test_a_what_if_is_at_most_nine_orders_of_magnitude_away() -> None:
    """Of a network of 10 GB/s: 10 B/s and 1e19 B/s are; of several values that it is, the largest counts."""
    path = "links.network.bandwidth"
    for value in (10.0, 1e19, [10.0, 1e19]):
        assert np.array_equal(plain().what_if({path: value})[path], value)
    for value in (9.0, 1.1e19, [1e10, 1.5e19], [9.0, 1e10]):
        with pytest.raises(rl.BadWorkload, match=r"is more than 10\^9 away from the present 10 GB/s"):
            plain().what_if({path: value})
    several = plain().what_if({path: [1e10, 1e12]})
    assert several.what_if({path: 1e20})[path] == 1e20
    with pytest.raises(rl.BadWorkload, match=r"10\^9 away from the present 2 values"):
        several.what_if({path: 100.0})
    # From nought and to nought there is no such distance.
    hop = "efficiency.all_reduce.hop_s"
    assert plain().what_if({hop: "1 s"}).what_if({hop: 0.0})[hop] == 0


def test_a_name_is_as_long_as_it_takes_to_tell_values_apart() -> None:
    """Four digits, else six, nine or twelve: the fewest that give the value back."""
    texts = {1.234e12: "1.234", 1.2345e12: "1.2345", 1.2345678e12: "1.2345678", 1.23456789012e12: "1.23456789012"}
    for value, text in texts.items():
        assert variants.text_of(figure(value, "bandwidth")) == f"{text} TB/s"
    assert variants.text_of(figure(np.ones(3))) == "3 values"
    assert variants.name_of("a", {"z": "2 GB/s", "b": "3 values"}) == "a[b=3 values, z=2GB/s]"
    assert variants.name_of("a", {}) == "a"


# Software stacks ------------------------------------------------------------------------------------------------------

SHARE = "efficiency.gemm.compute_fraction"


def stacked() -> Chip:
    """GEMMs reach all of the peak on the plain chip, half on one stack, 0.8 on another, which has launches too."""
    chip = plain()
    more = {
        f"stack.slow.{SHARE}": figure(0.5, "fraction"),
        f"stack.quick.{SHARE}": figure(0.8, "fraction"),
        "stack.quick.efficiency.gemm.launch_s": figure(1e-6, "time"),
    }
    return replace(chip, numbers={**chip.numbers, **more}, default_stack={"language": {"value": "slow"}})


def test_stacks_are_laid_one_upon_the_other() -> None:
    chip = stacked()
    assert (chip.stacks[:2], chip.stack) == (("slow", "quick"), "")
    assert replace(chip, defaults={}).stacks == ("slow", "quick")
    slow = chip.on_stack("slow")
    assert (slow[SHARE], slow["efficiency.gemm.launch_s"], slow.stack) == (0.5, 0, "slow")
    for both in (slow.on_stack("quick"), chip.on_stack("slow + quick"), chip.on_stack("slow+quick").on_stack("quick")):
        assert (both[SHARE], both["efficiency.gemm.launch_s"], both.stack) == (0.8, 1e-6, "slow+quick")
    assert slow.on_stack("slow") is slow
    assert chip.on_stack("quick+slow")[SHARE] == 0.5
    own = chip.on_stack("plain")
    assert (own.stack, own[SHARE], own.on_stack("slow")[SHARE]) == ("plain", 1, 0.5)
    assert own.on_stack("") is own
    assert plain().on_stack("plain") is plain()
    with pytest.raises(rl.BadWorkload, match="is on slow already"):
        slow.on_stack("plain")
    with pytest.raises(rl.UnknownName, match="quick"):
        chip.on_stack("quik")


def test_a_factor_is_one_of_every_stack_s_own_figure() -> None:
    chip = stacked()
    for changed in (chip.what_if({SHARE: "x0.5"}).on_stack("slow"), chip.on_stack("slow").what_if({SHARE: "x0.5"})):
        assert changed[SHARE] == 0.25
        assert changed.name == f"plain[{SHARE}=0.25, stack=slow]"
    assert chip.what_if({SHARE: 0.75}).on_stack("slow")[SHARE] == 0.75
    more = chip.what_if({SHARE: 0.6, f"stack.slow.{SHARE}": 0.3})
    assert (more[SHARE], more.on_stack("slow")[SHARE], more.on_stack("quick")[SHARE]) == (0.6, 0.3, 0.6)
    # Half as much again of 0.4 and of 0.5 can be, of 0.8 not.
    one = replace(chip, numbers={**chip.numbers, SHARE: figure(0.4, "fraction")})
    over = one.what_if({SHARE: "x1.5"})
    assert (over[SHARE], over.on_stack("slow")[SHARE]) == (pytest.approx(0.6), 0.75)
    with pytest.raises(rl.BadWorkload, match="a fraction of at most 1"):
        over.on_stack("quick")
    with pytest.raises(rl.BadWorkload, match="a fraction of at most 1"):
        over.what_if({"clock": "2 GHz"}).on_stack("quick")
    assert over.what_if({SHARE: 0.5}).on_stack("quick")[SHARE] == 0.5


def test_a_release_is_the_last_one_known_before_it() -> None:
    known = ("vllm", "vllm_0_9", "vllm_0_11", "vllm_1", "trtllm")
    found = {
        "vllm": ["vllm"],
        "vllm_0_11": ["vllm", "vllm_0_11"],
        "vllm 0.10.2": ["vllm", "vllm_0_9"],
        "VLLM==v0.11.3": ["vllm", "vllm_0_11"],
        "vllm-2": ["vllm", "vllm_1"],
        "vllm_0_8": ["vllm_0_8"],
        "trtllm_1_0": ["trtllm_1_0"],
        "sglang_0_5": ["sglang_0_5"],
        "trtllm_fp4": ["trtllm_fp4"],
    }
    assert {name: variants.releases(name, known) for name in found} == found


def test_a_default_stack_goes_where_the_chip_has_figures_of_its_own() -> None:
    """Both stacks came from another chip, and one of them has what this chip had fitted for itself."""
    stacks = {"language": "slow", "multi_head": "slow + other", "fp4_experts": "other"}
    default = {kind: {"value": names} for kind, names in stacks.items()}
    numbers = {f"stack.slow.{SHARE}": figure(0.5), SHARE: figure(0.9), "clock": figure(1e9)}
    assert variants.still_best(default, numbers, [SHARE, "clock"]) == {"fp4_experts": {"value": "other"}}
    assert variants.still_best(default, numbers, ["clock"]) == default
    assert variants.still_best(default, numbers, [SHARE, f"stack.slow.{SHARE}"]) == default


def test_a_variant_is_written_as_a_chip_that_can_be_read() -> None:
    """Its name in letters of a descriptor, no alias of the chip, doubts as wide as they are taken, no default stack."""
    chip = replace(stacked(), aliases=("even",))
    assert 'name = "plain"' in chip.to_toml()
    assert 'aliases = ["even"]' in chip.to_toml()
    assert "default_stack" in chip.to_toml()
    text = chip.what_if({"clock": "2 GHz"}).on_stack("slow").to_toml()
    assert 'name = "plain-clock-2ghz-stack-slow"' in text
    assert "aliases = []" in text
    assert "default_stack" not in text
    spread = "efficiency.gemm.spread"
    wide = having(**{spread: replace(plain().numbers[spread], value=0.2, inherited="parent")})
    section = wide.to_toml().partition("[efficiency.gemm]")[2].partition("[")[0]
    assert "\nspread = { value = 0.25," in section
