"""What a kernel is told of a chip, by hand: defaults, links, regimes of time; and what is left to chance."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.estimates.costing import evaluate_op, op_spread
from roofline.evidence.measurements import regime
from roofline.hardware import uncertainty
from roofline.hardware.chip import Chip
from roofline.hardware.machine import SPREADS
from roofline.hardware.number import Number, Scenario
from roofline.work import op
from tests.plain import plain


def figure(value: Any, dimension: str = "count", **more: Any) -> Number:
    return Number(value, dimension, "derived", "round", **more)


def made(*without: str, **figures: Number) -> Chip:
    """The plain chip without the figures whose paths begin so, and with others; two underscores stand for a point."""
    kept = {p: n for p, n in plain().numbers.items() if not p.startswith(without)} if without else plain().numbers
    return replace(plain(), numbers={**kept, **{path.replace("__", "."): n for path, n in figures.items()}})


# Memory ---------------------------------------------------------------------------------------------------------------


def test_what_a_descriptor_does_not_say_of_its_memory() -> None:
    """The latency of memory itself before the one of its kind; a cache that has none of its own has that of its kind,
    and where there is no cache it is the memory's."""
    kinds = {"latency__memory": figure(3e-6, "time"), "latency__cache": figure(2e-7, "time")}
    said = made(**kinds, channels__memory=figure(7.0), memory__cache__latency=figure(1e-7, "time")).machine
    assert (said["memory_latency"], said["memory_channels"], said["cache_latency"]) == (1e-6, 1, 1e-7)
    silent = made("memory.dram.latency", "memory.dram.channels", **kinds, channels__memory=figure(7.0)).machine
    assert (silent["memory_latency"], silent["memory_channels"], silent["cache_latency"]) == (3e-6, 7, 2e-7)
    for chip, latency in ((made(**kinds), 1e-6), (made("memory.dram.latency", **kinds), 3e-6)):
        one = replace(chip, flags={**chip.flags, "levels": ("dram",)})
        assert (one.machine["cache_latency"], one.machine["cache_capacity"]) == (latency, 0)
    assert made("clock", **kinds).machine["clock"] == 1e9
    assert made(overheads__step=figure(4e-6, "time")).machine["step_s"] == 4e-6


def test_bytes_that_the_driver_keeps_are_not_seen() -> None:
    assert plain().visible_bytes == 100e9
    assert made(memory__dram__reserved=figure(3e9, "capacity")).visible_bytes == 97e9


def test_memory_main_and_cache_are_names_of_levels() -> None:
    chip = plain()
    assert (chip["memory.main.bandwidth"], chip["memory.cache.capacity"]) == (1e12, 100e6)
    assert (chip.path("memory.main.latency"), chip.get("memory.main.nothing", 5)) == ("memory.dram.latency", 5)
    last = replace(chip, flags={**chip.flags, "levels": ("cache",)})
    assert (last.main_level, last.cache_level, last["memory.main.capacity"]) == ("cache", "cache", 100e6)
    three = replace(chip, flags={**chip.flags, "levels": ("l1", "cache", "dram")})
    assert (three.main_level, three.cache_level) == ("dram", "cache")
    with pytest.raises(rl.UnknownName, match=r"memory\.dram\.bandwidth"):
        chip.path("memory.dram.bandwith")
    with pytest.raises(rl.UnknownName, match="memory level with a bandwidth on plain"):
        chip.ridge_point("bf16", "l1")
    assert chip.ridge_point("fp8", "cache") == 200 / 10


def test_engines_stand_in_for_each_other() -> None:
    """The matrix engine's rate before the vector's; sparse where it is said; vectors by the first that there is."""
    rate = figure(400e12, "rate")
    chip = made(engines__vector__bf16=figure(1e12, "rate"), engines__matrix__sparse__fp8=rate)
    assert (chip.peak("bf16"), chip.peak("fp32"), chip.peak("fp8", sparse=True)) == (100e12, 10e12, 400e12)
    assert (chip.dtypes, chip.widest_matrix) == (["bf16", "fp8"], "bf16")
    with pytest.raises(rl.BadWorkload, match="no sparse bf16 rate; it has fp8"):
        chip.peak("bf16", sparse=True)
    assert chip.machine["vector_flops"] == 10e12
    halves = made("engines.vector.fp32", engines__vector__fp16=rate, engines__vector__bf16=figure(1e12, "rate"))
    assert halves.machine["vector_flops"] == 1e12
    bare = made("engines.matrix")
    assert (bare.dtypes, bare.widest_matrix) == (["fp32"], "fp32")


# Links ----------------------------------------------------------------------------------------------------------------

BUS = {"links__peers__bandwidth": figure(60e9, "bandwidth"), "links__peers__domain": figure(4.0)}


def test_half_of_a_domain_reaches_the_other_half() -> None:
    """8 chips: 4 links of 100 GB/s between the halves, unless it is said; a pair or a chip alone has its one link."""
    for domain, links in ((8.0, 4), (3.0, 1.5), (2.0, 1), (1.0, 1)):
        assert made(links__scale_up__domain=figure(domain)).machine["link_bisection"] == links * 100e9
    assert made("links.scale_up.domain").machine["link_domain"] == 1
    said = made(links__scale_up__bisection=figure(1e11, "bandwidth"))
    assert said.machine["link_bisection"] == 1e11
    sizes = made(links__scale_up__domain=figure(np.array([1.0, 4.0])))
    assert sizes.machine["link_bisection"].tolist() == [100e9, 200e9]


def test_chips_on_a_bus() -> None:
    """With links of their own beside it; without, each is a domain of its own, and the bus joins them."""
    both, bus = made(**BUS).machine, made("links.scale_up", **BUS).machine
    assert (both["link_bandwidth"], both["link_domain"], both["link_bisection"]) == (100e9, 8, 400e9)
    assert (both["peer_bandwidth"], both["peer_domain"], both["peer_bisection"]) == (60e9, 4, 120e9)
    assert (bus["link_bandwidth"], bus["link_domain"], bus["link_bisection"]) == (60e9, 1, 60e9)
    assert (bus["peer_bandwidth"], bus["peer_domain"], bus["network_bandwidth"]) == (60e9, 4, 10e9)
    alone = plain().machine
    assert (alone["peer_bandwidth"], alone["peer_domain"], alone["peer_bisection"]) == (100e9, 1, 100e9)
    # Peers wait as links of their kind do; without network and host, what goes out goes over the bus.
    out = made("links.scale_up", "links.network", "links.host", latency__link=figure(2e-6, "time"), **BUS).machine
    assert (out["peer_latency"], out["link_latency"], out["network_bandwidth"]) == (2e-6, 2e-6, 60e9)
    host = made("links.network", latency__host=figure(9e-6, "time"), latency__network=figure(1e-6, "time")).machine
    assert (host["network_bandwidth"], host["network_latency"]) == (50e9, 9e-6)


def test_a_table_of_every_figure() -> None:
    frame = made(clock=figure(2e9, "frequency", low=1e9, high=3e9, inherited="parent")).frame
    assert frame.loc["clock", ["value", "unit", "low", "high", "from"]].tolist() == [2e9, "Hz", 1e9, 3e9, "parent"]
    assert frame.loc["cores.count", ["value", "unit", "from", "source"]].tolist() == [100, "", "plain", "round"]
    assert set(frame.index) == {*plain().numbers, *plain().defaults}


# Parameters and doubt -------------------------------------------------------------------------------------------------


def test_a_parameter_is_looked_up_from_the_special_to_the_general() -> None:
    """A class's own before the next one's, for the dtype first; the chip's launches before what its family knows."""
    name, classes = "compute_fraction", ("norm", "stream")
    places = [f"efficiency.{c}{d}.{name}" for c in classes for d in (".fp8", "")]
    own = {path: figure(0.1 * (i + 1)) for i, path in enumerate(places)}
    while own:
        chip = replace(plain(), numbers=dict(own), defaults={places[0]: figure(9.0)})
        found = chip.parameter(name, classes, "fp8")
        assert found is own.pop(next(iter(own)))
    family = replace(plain(), numbers={}, defaults={places[3]: figure(9.0)})
    assert family.parameter(name, classes, "bf16") is family.defaults[places[3]]
    assert family.parameter("tile_max", classes, "bf16") is None
    start = figure(1e-6, "time")
    launches = replace(plain(), numbers={"overheads.launch": start}, defaults={"efficiency.norm.launch_s": figure(9.0)})
    assert launches.parameter("launch_s", classes, "bf16") is start
    assert launches.parameter("hop_s", classes, "bf16") is None


@pytest.mark.parametrize(
    ("naive_us", "place"),
    [(4.9, 0), (5, 1), (7, 1), (19.9, 1), (20, 2), (35, 2), (99, 2), (100, 3), (150, 3), (999, 3), (1000, 4), (2e3, 4)],
)
def test_the_doubt_of_a_call_is_that_of_its_regime_of_time(naive_us: float, place: int) -> None:
    """An element moves 4 bytes: a quarter of a million of them take a microsecond at 1 TB/s. Edges belong above."""
    doubts = {f"efficiency.copy.{name}": figure(0.1 * (i + 1)) for i, name in enumerate(SPREADS)}
    chip = made("efficiency.copy.spread", **doubts)
    one = op.copy(rows=1, cols=round(naive_us * 250_000), dtype="bf16")
    assert op_spread(one, evaluate_op(one, chip), chip) == pytest.approx(0.1 * (place + 1))
    assert regime(naive_us * 1e-6 * (1 + 1e-12)) == place


@pytest.mark.parametrize("own", ["engines.matrix.bf16", "memory.dram.capacity", "cores.count", "clock", "links.x"])
def test_any_figure_of_the_hardware_makes_another_chip(own: str) -> None:
    """Whose inherited doubt is a quarter more; what is told of software, power or price does not."""
    spread = figure(0.4, inherited="parent")
    for path, doubt in ((own, 0.5), ("overheads.step", 0.4), ("power.tdp", 0.4), ("stack.x.clock", 0.4)):
        chip = replace(plain(), numbers={"efficiency.gemm.spread": spread, path: figure(1.0)}, defaults={})
        assert chip.spreads(("gemm",), "bf16") == pytest.approx((doubt,) * 5), path


# Chance ---------------------------------------------------------------------------------------------------------------


def test_what_is_left_to_chance_is_named_after_where_it_comes_from() -> None:
    belief = figure(3.0, low=1.0, high=4.0)
    here = {"a": belief, "b": replace(belief, inherited="parent"), "c": replace(belief, high=1.0), "d": figure(3.0)}
    tied = replace(belief, correlates_with="node", correlation=0.36)
    chip = replace(plain(), name="plain[clock=1GHz]", numbers=here | {"e": tied, "f": replace(tied, correlation=1.0)})
    chip = replace(chip, defaults={"g": replace(belief, inherited="gpu"), "a": replace(belief, inherited="gpu")})
    assert set(uncertainty.chances(chip)) == {"plain:a", "parent:b", "gpu:g", "plain:node", "plain:e"}
    assert uncertainty.chances(chip, ["f"]) == ("plain:node",)
    fork = replace(chip, scenarios={"x": Scenario(0.4, {"d": belief}), "y": Scenario(0.6, {"d": figure(9.0)})})
    assert set(uncertainty.chances(fork)) - set(uncertainty.chances(chip)) == {"plain:d", "plain:scenario"}
    assert uncertainty.chances(fork, scenarios=False) == uncertainty.chances(chip)
    lent = {"x": Scenario(1.0, {"d": replace(belief, inherited="parent")})}
    assert uncertainty.chances(replace(chip, scenarios=lent))[-1] == "parent:scenario"


def test_a_figure_stands_where_its_chance_says() -> None:
    """Evenly from 2 to 6, at a quarter of the way, is 3. Tied by half to a common luck: the normal scores of both, each
    by the root of a half; a common 0.9 and its own 0.1 cancel, and leave the middle."""
    even = figure(5.0, low=2.0, high=6.0, shape="uniform")
    chip = replace(plain(), numbers={"a": even, "b": replace(even, correlates_with="n", correlation=0.5)}, defaults={})
    uniform = {"plain:a": np.array([0.25, 1.0]), "plain:n": np.array([0.9, 0.9]), "plain:b": np.array([0.1, 0.9])}
    drawn = uncertainty.settled(chip, uniform, trailing=2)
    assert drawn["a"].shape == (2, 1, 1)
    assert drawn["a"].ravel().tolist() == [3, 6]
    score = NormalDist().cdf(math.sqrt(2) * NormalDist().inv_cdf(0.9))
    assert drawn["b"].ravel() == pytest.approx([4, 2 + 4 * score])
    assert (drawn.number("a").low, drawn.number("a").high) == (None, None)
    # Of three scenarios the one in whose part of the probability the chance lies; edges belong to the next.
    ways = {str(i): Scenario(weight, {"c": figure(float(i))}) for i, weight in enumerate((0.25, 0.5, 0.25))}
    forked = replace(chip, numbers={"c": figure(7.0)}, scenarios=ways)
    chance = {"plain:scenario": np.array([0.0, 0.24, 0.25, 0.74, 0.75, 0.999])}
    assert uncertainty.settled(forked, chance)["c"].tolist() == [0, 0, 1, 1, 2, 2]
    assert uncertainty.settled(forked, {}, scenarios=False)["c"] == 7


def test_triangles_by_hand() -> None:
    """From 2 to 12 with the peak at 6: 4 / 10 of the probability lies below it, and half of the way up to it a quarter
    of that; half of the way down from it all but a quarter of the other 6 / 10."""
    belief = figure(6.0, low=2.0, high=12.0)
    assert uncertainty.quantile(belief, np.array([0, 0.1, 0.4, 0.85, 1])) == pytest.approx([2, 4, 6, 9, 12])


def test_a_range_that_begins_at_nought() -> None:
    belief = figure(0.0, low=0.0, high=4.0)
    assert uncertainty.quantile(belief, np.array([0.0, 0.75, 1.0])) == pytest.approx([0, 2, 4])
    ended = figure(4.0, low=0.0, high=4.0)
    assert uncertainty.quantile(ended, np.array([0.0, 0.25, 1.0])) == pytest.approx([0, 2, 4])


def test_errors_are_the_middles_of_equal_slices_of_a_normal() -> None:
    """Of five the 10th, 30th, 50th, 70th and 90th percentile; a spread of 0.2 a fifth of a logarithm each."""
    scores = [NormalDist().inv_cdf(q) for q in (0.1, 0.3, 0.5, 0.7, 0.9)]
    factors = uncertainty.error_factors(np.array([0.2, 0.0, 1.0]), 5)
    assert factors.shape == (5, 3)
    assert sorted(np.log(factors[:, 0])) == pytest.approx([0.2 * score for score in scores], abs=1e-12)
    assert uncertainty.error_factors(np.array(0.2), 5).tolist() == factors[:, 0].tolist()
    assert uncertainty.error_factors(np.full((2, 3), 0.2), 5)[:, 1, 2].tolist() == factors[:, 0].tolist()
    assert factors[:, 1].tolist() == [1] * 5
    assert np.log(factors[:, 2]) == pytest.approx(5 * np.log(factors[:, 0]))
    assert sorted(uncertainty.error_factors(np.array(1.0), 5, seed=2)) == pytest.approx(sorted(factors[:, 2]))


def test_luck_is_even_and_comes_back_by_its_seed() -> None:
    names = ("a", "b")
    drawn = uncertainty.luck(iter(names), 16, seed=3)
    assert list(drawn) == ["a", "b"]
    for name in names:
        assert sorted(np.floor(drawn[name] * 16).astype(int)) == list(range(16))
        assert np.array_equal(uncertainty.luck(names, 16, seed=3)[name], drawn[name])
    assert not np.array_equal(drawn["a"], drawn["b"])
    assert not np.array_equal(uncertainty.luck(names, 16, seed=4)["a"], drawn["a"])
    assert uncertainty.luck((), 16) == {}
    # What is not said is the first draw, of as many as an interval takes.
    assert np.array_equal(uncertainty.luck(["a"])["a"], uncertainty.luck(["a"], 256, seed=0)["a"])
    doubted = made(clock=figure(1e9, "frequency", low=1e9, high=2e9))
    assert np.array_equal(uncertainty.sample(doubted)["clock"], uncertainty.sample(doubted, 256, 0, 0)["clock"])
