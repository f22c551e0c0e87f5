"""More of a chip by hand: what it answers where something is not said, beliefs, luck that is shared, scenarios."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import roofline as rl
from roofline.catalog.load import read_chip
from roofline.hardware import uncertainty, variants
from roofline.hardware.chip import Chip
from roofline.hardware.machine import INHERITED_SPREAD, UNKNOWN_SPREAD
from roofline.hardware.number import Number, Scenario
from tests.plain import descriptor, plain
from tests.small import DENSE

# What kernels ask ---------------------------------------------------------------------------------------------------

#: What the plain chip does not say in a descriptor that leaves it out; and each link with what follows it.
SECTIONS = ("[links.scale_up]", "[links.network]", "[links.host]")


def without(folder: Path, *sections: str, **replaced: str) -> Chip:
    """The plain chip without some sections of its file, and with other text for some of it."""
    parts = descriptor().split("\n[")
    kept = [part for part in parts if f"[{part.partition(']')[0]}]" not in sections]
    text = "\n[".join(kept)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "plain.toml"
    path.write_text(text, encoding="utf-8")
    return read_chip(path)


def links(chip: Chip) -> dict[str, Any]:
    return {name: value for name, value in chip.machine.items() if name.split("_")[0] in ("link", "network", "host")}


def test_every_way_out_of_a_chip() -> None:
    assert links(plain()) == {
        "link_bandwidth": 100e9,
        "link_latency": 0,
        "link_domain": 8,
        "link_bisection": 400e9,
        "network_bandwidth": 10e9,
        "network_latency": 0,
        "host_bandwidth": 50e9,
        "host_latency": 0,
    }


def test_what_is_missing_goes_the_next_way_out(tmp_path: Path) -> None:
    """Without a network by way of the host, whose 50 GB/s are left; without either over the scale-up links. Without
    those, each chip is a domain of its own, and reached over the network."""
    no_network = without(tmp_path, "[links.network]")
    assert links(no_network)["network_bandwidth"] == 50e9
    only_links = without(tmp_path, "[links.network]", "[links.host]")
    assert links(only_links)["network_bandwidth"] == 100e9
    assert "host_bandwidth" not in links(only_links)
    no_links = without(tmp_path, "[links.scale_up]")
    assert (links(no_links)["link_bandwidth"], links(no_links)["link_domain"]) == (10e9, 1)
    assert no_links.machine["switch_reduction"] == 0
    alone = without(tmp_path, *SECTIONS)
    assert not alone.has_links
    assert plain().has_links
    assert not any(name.endswith("bandwidth") for name in links(alone))
    with pytest.raises(rl.BadWorkload, match=r"plain describes no way to other chips \(links"):
        rl.cost(rl.all_reduce(bytes=1e6, devices=2), alone)
    assert rl.estimate(DENSE, alone).fits
    for model, options in ((DENSE, {"tp": 2}), ("ncf", {"devices": 2, "batch": 2})):
        with pytest.raises(rl.BadWorkload, match="plain describes no link to another chip"):
            rl.estimate(model, alone, **options)


def test_latencies_that_a_link_does_not_say_are_those_of_its_kind(tmp_path: Path) -> None:
    family = {"link": "3 us", "network": "5 us", "host": "7 us"}
    line = '{name} = {{ source = "round", kind = "derived", value = "{value}"}}'
    text = {line.format(name=name, value="0 s"): line.format(name=name, value=value) for name, value in family.items()}
    silent = {'latency = { source = "round", kind = "derived", value = "0 s"}': ""}
    chip = without(tmp_path, **text, **silent)
    assert [chip.machine[f"{name}_latency"] for name in family] == pytest.approx([3e-6, 5e-6, 7e-6])
    # Who has no network pays what the way by the host takes.
    hosted = without(tmp_path, "[links.network]", **text, **silent)
    assert hosted.machine["network_latency"] == pytest.approx(7e-6)


def test_the_memory_of_a_core_and_of_all_of_them(tmp_path: Path) -> None:
    """100 MB that 100 cores share are 1 MB for each; given per core, capacity and bandwidth are 100 times as much."""
    shared = plain()
    assert (shared.machine["core_memory"], shared.machine["cache_capacity"]) == (1e6, 100e6)
    path = tmp_path / "each.toml"
    path.write_text(descriptor().replace('type = "cache"', 'type = "cache"\nper = "core"'), encoding="utf-8")
    each = read_chip(path)
    assert (each.machine["core_memory"], each.machine["cache_capacity"]) == (100e6, 10e9)
    assert each.machine["cache_bandwidth"] == 1000e12
    assert each.level("dram", "latency") == 1e-6
    assert each.ridge_point("bf16", "cache") == 100e12 / 1000e12
    assert plain().ridge_point("bf16") == plain().ridge_point("bf16", "dram") == 100


def test_a_chip_without_a_cache(tmp_path: Path) -> None:
    """Main memory stands in, at its own bandwidth, and keeps nothing; without a clock it is 1 GHz."""
    chip = without(tmp_path, "[memory.cache]")
    assert (chip.cache_level, chip.main_level, chip.levels) == ("dram", "dram", ("dram",))
    assert (chip.machine["cache_bandwidth"], chip.machine["cache_capacity"]) == (1e12, 0)
    assert chip.machine["core_memory"] == 1e9
    assert plain().machine["clock"] == 1e9
    assert plain().machine["memory_latency"] == 1e-6


def test_bf16_and_fp16_stand_in_for_each_other() -> None:
    assert plain().rate("fp16") == plain().rate("bf16") == 100e12
    assert plain().rate("fp8") == 200e12
    for dtype in ("int8", "fp4"):
        with pytest.raises(rl.BadWorkload, match=f"plain has no {dtype} rate; it has bf16, fp8"):
            plain().rate(dtype)


@pytest.mark.parametrize(
    ("has", "asked", "hint"),
    [
        (("fp64", "bf16"), "fp32", "dtype='fp64'"),
        (("fp32", "bf16"), "fp64", "dtype='fp32'"),
        (("fp32", "bf16"), "tf32", "dtype='fp32'"),
        (("fp32", "bf16"), "fp16", "dtype='bf16'"),
        (("fp32", "bf16"), "int8", "weight_dtype='int8', dtype='bf16'"),
        (("fp64", "fp32"), "bf16", "weight_dtype='bf16', dtype='fp32'"),
    ],
)
def test_a_dtype_without_a_rate_is_refused_with_the_nearest(has: tuple[str, ...], asked: str, hint: str) -> None:
    """As of a machine of which the peaks of a few dtypes were measured."""
    rates = {f"engines.vector.{d}": plain().numbers["engines.vector.fp32"] for d in has}
    chip = replace(plain(), numbers={p: n for p, n in plain().numbers.items() if not p.startswith("engines.")} | rates)
    with pytest.raises(rl.BadWorkload, match=f"plain has no {asked} rate; it has {', '.join(has)}.* {hint}$"):
        chip.peak(asked)
    assert rl.cost(rl.gemm(m=64, n=64, k=64, dtype=has[0]), chip).time_s > 0


# Doubt --------------------------------------------------------------------------------------------------------------


def test_a_doubt_is_looked_up_from_the_special_to_the_general() -> None:
    spread = "efficiency.gemm.spread"
    base = {name: n for name, n in plain().numbers.items() if not name.startswith("efficiency.gemm.spread")}
    one = plain().numbers[spread]
    figures = {"efficiency.gemm.bf16.spread": 0.2, "efficiency.gemm.spread_under_5us": 0.3, spread: 0.4}
    numbers = base | {path: replace(one, value=value) for path, value in figures.items()}
    chip = replace(plain(), numbers=numbers)
    assert chip.spreads(("gemm",), "bf16") == (0.2,) * 5
    assert chip.spreads(("gemm",), "fp8") == (0.3, 0.4, 0.4, 0.4, 0.4)
    assert chip.spreads(("bmm", "gemm"), "fp8") == (0.3, 0.4, 0.4, 0.4, 0.4)
    # The family's doubt is its own, however much of the hardware is the chip's.
    family = replace(
        plain(),
        numbers=base | {"clock": plain().numbers["clock"]},
        defaults={spread: replace(one, value=0.3, inherited="gpu")},
    )
    assert family.spreads(("gemm",), "bf16") == (0.3,) * 5
    # Nobody knows: neither the chip nor its family.
    nothing = replace(plain(), numbers=base, defaults={})
    assert nothing.spreads(("gemm",), "bf16") == (UNKNOWN_SPREAD,) * 5 == (0.5,) * 5


def test_what_was_fitted_on_other_hardware_is_doubted_more() -> None:
    """A quarter more, where a figure of the hardware is the chip's own; parameters alone make no other chip."""
    path = "efficiency.gemm.spread"
    inherited = {name: replace(n, inherited="parent") for name, n in plain().numbers.items()}
    one = replace(plain().numbers[path], value=0.2, inherited="parent")
    inherited = {name: n for name, n in inherited.items() if not name.startswith(path)} | {path: one}
    same = replace(plain(), numbers=inherited | {"efficiency.moe.launch_s": plain().numbers["efficiency.moe.launch_s"]})
    assert same.spreads(("gemm",), "bf16") == (0.2,) * 5
    other = replace(plain(), numbers=inherited | {"clock": plain().numbers["clock"]})
    assert other.spreads(("gemm",), "bf16") == pytest.approx((0.2 * INHERITED_SPREAD,) * 5) == (0.25,) * 5
    own = replace(other, numbers={**other.numbers, path: replace(one, inherited="")})
    assert own.spreads(("gemm",), "bf16") == (0.2,) * 5


# What-ifs -----------------------------------------------------------------------------------------------------------


def test_what_follows_the_cores_and_the_clock() -> None:
    """Twice the cores: engines twice as fast; a row keeps as much of the chip busy as before, all ports are as wide.
    Half the clock: engines and caches half as fast, main memory and links as they are."""
    more = plain().what_if({"cores.count": "x2"})
    assert (more["engines.matrix.bf16"], more["engines.vector.fp32"]) == (200e12, 20e12)
    assert (more["memory.cache.bandwidth"], more["memory.dram.bandwidth"]) == (10e12, 1e12)
    assert more["efficiency.copy.row_cores"] == 2 * plain()["efficiency.copy.row_cores"]
    assert more["efficiency.attention.port_cores"] == 2 * plain()["efficiency.attention.port_cores"]
    slow = plain().what_if({"clock": "x0.5"})
    assert (slow["engines.matrix.bf16"], slow["memory.cache.bandwidth"]) == (50e12, 5e12)
    assert (slow["memory.dram.bandwidth"], slow["links.scale_up.bandwidth"]) == (1e12, 100e9)
    assert slow["efficiency.copy.row_cores"] == plain()["efficiency.copy.row_cores"]
    both = plain().what_if({"clock": "x0.5", "cores.count": "x2", "engines.matrix.bf16": "x3"})
    assert (both["engines.matrix.bf16"], both["engines.matrix.fp8"]) == (300e12, 200e12)
    number = slow.number("engines.matrix.bf16")
    assert (number.kind, number.source, number.low, number.inherited) == (
        "what-if",
        "what-if: scaled with clock",
        None,
        "",
    )


@pytest.mark.parametrize(("factor", "allowed"), [("x1e-4", True), ("x1.01e9", False), ("x0.99e-9", False)])
def test_a_slip_of_units_is_no_what_if(factor: str, allowed: bool) -> None:
    path = "efficiency.embedding_bag.inflight_bytes"
    if allowed:
        assert plain().what_if({path: factor})[path] == pytest.approx(1e8)
        return
    with pytest.raises(rl.BadWorkload):
        plain().what_if({path: factor})


def test_a_factor_is_of_the_present_value_and_a_hint_is_given() -> None:
    path = "memory.dram.bandwidth"
    for text in ("x2", "*2", "\u00d72", " x2 ", "2 TB/s", 2e12):
        assert plain().what_if({path: text})[path] == 2e12
    assert plain().what_if({path: ["x1", "3 TB/s"]})[path].tolist() == [1e12, 3e12]
    with pytest.raises(rl.BadWorkload, match="did you mean 'x2'"):
        plain().what_if({path: "2x"})
    for bad in (0, -1e12, math.inf, math.nan, True, [], [[1e12], [1e12, 2e12]], "fast"):
        with pytest.raises(rl.BadWorkload, match=f"what-if {path}"):
            plain().what_if({path: bad})
    with pytest.raises(rl.BadWorkload, match="at most 1"):
        plain().what_if({"efficiency.gemm.compute_fraction": 1.001})
    assert plain().what_if({"efficiency.gemm.compute_fraction": 1.0})["efficiency.gemm.compute_fraction"] == 1
    with pytest.raises(rl.BadWorkload, match="the doubt of a class is no axis"):
        plain().what_if({"efficiency.gemm.spread": [0.1, 0.2]})


def test_the_names_of_variants_at_their_longest() -> None:
    """60 characters of changes are still spelled out in a name, and 80 in a title."""
    value = "1" * (60 - len("clock="))
    assert variants.name_of("chip", {"clock": value}) == f"chip[clock={value}]"
    assert variants.name_of("chip", {"clock": value + "1"}).startswith("chip[1 changes ")
    value = "1" * (80 - len("clock = "))
    assert variants.title_of("Chip", {"clock": value}) == f"Chip [clock = {value}]"
    assert variants.title_of("Chip", {"clock": value + "1"}) == "Chip [1 figures changed]"
    assert variants.title_of("Chip", {"clock": "1 GHz", "stack": "vllm"}) == "Chip [clock = 1 GHz] [stack vllm]"
    assert variants.base_title("Chip [clock = 1 GHz] [stack vllm]", {"clock": "1 GHz", "stack": "vllm"}) == "Chip"


# Beliefs ------------------------------------------------------------------------------------------------------------


def believed(low: float, high: float, value: float, **more: Any) -> Number:
    return Number(value, "count", "estimated", "round", low=low, high=high, **more)


def test_quantiles_by_hand() -> None:
    """Triangular from 0 to 10 with its peak at 4: below the peak x^2 / 40, above it 1 - (10 - x)^2 / 60."""
    triangle = believed(0, 10, 4)
    for x, q in ((2, 4 / 40), (4, 16 / 40), (7, 1 - 9 / 60), (10, 1), (0, 0)):
        assert uncertainty.quantile(triangle, np.array([q])) == pytest.approx([x])
    assert uncertainty.quantile(believed(2, 10, 3, shape="uniform"), np.array([0, 0.25, 1])).tolist() == [2, 4, 10]
    assert uncertainty.quantile(believed(2, 32, 3, shape="loguniform"), np.array([0, 0.25, 0.5, 1])) == pytest.approx(
        [2, 4, 8, 32]
    )
    assert uncertainty.quantile(believed(3, 3, 3), np.array([0.1, 0.9])).tolist() == [3, 3]


RATE, SIZE, HOST = "memory.dram.bandwidth", "memory.dram.capacity", "links.host.bandwidth"


def doubted(**luck: tuple[str, float]) -> Chip:
    """The plain chip with three figures anywhere between half and all of what they are; `luck` ties some together."""
    numbers = dict(plain().numbers)
    for name, path in (("rate", RATE), ("size", SIZE), ("host", HOST)):
        group, strength = luck.get(name, ("", 1.0))
        one = numbers[path]
        numbers[path] = replace(
            one, low=0.5 * one.value, high=one.value, shape="uniform", correlates_with=group, correlation=strength
        )
    return replace(plain(), numbers=numbers)


def places(chip: Chip, path: str) -> np.ndarray:
    """How far up their range the samples of a figure lie."""
    top = plain()[path]
    return np.asarray((chip[path] / top - 0.5) / 0.5)


def test_samples_are_even_over_their_range() -> None:
    """One in each of so many equal slices; of a Sobol sequence of a power of two the same."""
    for method in ("hypercube", "sobol"):
        chip = uncertainty.sample(doubted(), 64, seed=5, method=method)
        for path in (RATE, SIZE, HOST):
            assert sorted(np.floor(places(chip, path) * 64).astype(int)) == list(range(64))
        assert abs(np.corrcoef(places(chip, RATE), places(chip, SIZE))[0, 1]) < 0.5
    assert uncertainty.sobol(2, 5, 0).shape == (5, 2)
    assert uncertainty.sobol(2, 1, 0).shape == (1, 2)
    for count, trailing, method in ((0, 0, "sobol"), (1, -1, "sobol"), (1, 0, "dice")):
        with pytest.raises(rl.BadWorkload):
            uncertainty.sample(doubted(), count, trailing=trailing, method=method)


def test_luck_that_is_shared() -> None:
    """Wholly: both as far up their range. In part: normal scores that correlate with the root of the two strengths,
    0.6 for 0.9 and 0.4; of what is tied to nothing else, none."""
    whole = uncertainty.sample(doubted(rate=("node", 1.0), size=("node", 1.0)), 64)
    assert places(whole, RATE) == pytest.approx(places(whole, SIZE))
    assert uncertainty.chances(doubted(rate=("node", 1.0), size=("node", 1.0))) == ("plain:node", f"plain:{HOST}")
    parts = doubted(rate=("node", 0.9), size=("node", 0.4))
    assert set(uncertainty.chances(parts)) == {"plain:node", f"plain:{RATE}", f"plain:{SIZE}", f"plain:{HOST}"}
    drawn = uncertainty.sample(parts, 2048, method="sobol")
    score = np.vectorize(NormalDist().inv_cdf)
    normal = {path: score(places(drawn, path)) for path in (RATE, SIZE, HOST)}
    assert np.corrcoef(normal[RATE], normal[SIZE])[0, 1] == pytest.approx(math.sqrt(0.9 * 0.4), abs=0.03)
    assert np.corrcoef(normal[RATE], normal[HOST])[0, 1] == pytest.approx(0, abs=0.05)
    for scores in normal.values():
        assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.03))


@functools.cache
def forked() -> Chip:
    """A chip that has HBM, 4 TB/s or a little less, with a probability of a quarter; else what is in its figures."""
    rate = plain().numbers[RATE]
    usual = Scenario(0.75, {RATE: rate})
    hbm = Scenario(0.25, {RATE: replace(rate, value=4e12, low=3e12, high=4e12, shape="uniform")})
    return replace(doubted(), scenarios={"usual": usual, "hbm": hbm})


def test_a_doubted_rate_widens_an_interval_and_a_doubted_price_does_not() -> None:
    """A batch of one waits for its weights: a memory of half to all of 1 TB/s lets it take up to twice as long."""

    def width(chip: Chip) -> float:
        low, high = rl.estimate("llama-3.1-8b", chip, output=2).interval(0.9, "tpot_s")
        return float(high / low)

    assert 1.5 < width(doubted()) / width(plain()) < 2
    numbers = dict(plain().numbers)
    share = numbers["power.idle_share"]
    numbers["power.idle_share"] = replace(share, low=0.01, high=0.9)
    assert width(replace(plain(), numbers=numbers)) == width(plain())


def test_scenarios_come_true_as_often_as_they_are_believed() -> None:
    """Of 64 even chances 48 and 16; a figure that a scenario does not touch stays as it was."""
    drawn = uncertainty.sample(forked(), 64, scenarios=True)
    assert drawn.scenarios == {}
    high = drawn[RATE] > 2e12
    assert high.sum() == 16
    assert drawn[RATE][~high].tolist() == [1e12] * 48
    assert np.all((drawn[RATE][high] >= 3e12) & (drawn[RATE][high] <= 4e12))
    assert sorted(np.floor(places(drawn, SIZE) * 64).astype(int)) == list(range(64))
    assert uncertainty.chances(forked())[-1] == "plain:scenario"
    # As its figures stand, in the usual way.
    plainly = uncertainty.sample(forked(), 64)
    assert plainly[RATE].max() <= 1e12
    assert set(plainly.scenarios) == {"usual", "hbm"}


def test_a_scenario_may_be_chosen_and_a_what_if_settles_it() -> None:
    chosen = forked().scenario("hbm")
    assert (chosen[RATE], chosen[SIZE], chosen.scenarios) == (4e12, 100e9, {})
    assert chosen.name == "plain[scenario=hbm]"
    with pytest.raises(rl.UnknownName, match="hbm"):
        forked().scenario("hbn")
    settled = forked().what_if({RATE: "2 TB/s"})
    assert settled.scenarios == {}
    assert set(forked().what_if({SIZE: "50 GB"}).scenarios) == {"usual", "hbm"}


def test_the_central_interval_reaches_to_what_is_expected() -> None:
    samples = np.arange(1.0, 101.0)
    low, high = uncertainty.central(samples, 0.9, 50.0)
    assert (low, high) == (pytest.approx(5.5, abs=0.51), pytest.approx(95.5, abs=0.51))
    assert uncertainty.central(samples, 0.9, 2.0) == (2.0, high)
    assert uncertainty.central(samples, 0.9, 99.0) == (low, 99.0)


def test_a_value_of_13_digits_is_written_whole() -> None:
    """What twelve digits do not give back stands there as Python writes it, in the unit without a prefix."""
    twelve = plain().what_if({"memory.dram.bandwidth": 1.23456789012e12})
    assert twelve.changes == {"memory.dram.bandwidth": "1.23456789012 TB/s"}
    more = plain().what_if({"memory.dram.bandwidth": 1234567890123.0})
    assert more.changes == {"memory.dram.bandwidth": "1234567890123.0 B/s"}
