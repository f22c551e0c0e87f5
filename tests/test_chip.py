"""Chips: worked ridge points, the laws of what-if, and what every built-in chip must have."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.base.errors import BadWorkload, UnknownName
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from tests.strategies import CHIPS, changes, chip_names, chips_and_figures


def values(chip: Chip) -> dict[str, Any]:
    return {path: number.value for path, number in {**chip.defaults, **chip.numbers}.items()}


# Worked numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "level", "ridge"),
    [
        # 989.4 TFLOP/s over 3.35 TB/s: NVIDIA's H100 SXM data sheet.
        ("h100-sxm", "bf16", "main", 295),
        # 102.4 TOP/s and 51.2 TFLOP/s over 176 GB/s of DRAM and 800 GB/s of SRAM: MTIA 2i, ISCA 2025, table 2.
        ("mtia-v1", "int8", "main", 582),
        ("mtia-v1", "fp16", "main", 291),
        ("mtia-v1", "int8", "sram", 128),
        ("mtia-v1", "fp16", "cache", 64),
        # 354 TOP/s and 177 TFLOP/s over 204.8 GB/s and 2.7 TB/s: the same table.
        ("mtia-2i", "int8", "main", 1729),
        ("mtia-2i", "fp16", "dram", 864),
        ("mtia-2i", "int8", "cache", 131),
        ("mtia-2i", "fp16", "sram", 66),
        # 197 TFLOP/s over 819 GB/s: Google's TPU v5e page, and the 240 of "How to scale your model".
        ("tpu-v5e", "bf16", "main", 240),
    ],
)
def test_ridge_points(name: str, dtype: str, level: str, ridge: float) -> None:
    assert rl.load_chip(name).ridge_point(dtype, level) == pytest.approx(ridge, abs=0.6)


def test_figures_per_core_are_summed_over_the_chip() -> None:
    chip = rl.load_chip("mtia-v1")  # 64 PEs of 128 KiB and 0.4 TB/s: 25.6 TB/s in all (ISCA 2025, table 2)
    assert chip.level("local", "bandwidth") == pytest.approx(25.6e12)
    assert chip.level("local", "capacity") == 64 * 128 * 1024
    assert chip.level("sram", "bandwidth") == 0.8e12


def test_peaks() -> None:
    h100 = rl.load_chip("h100")
    assert h100.peak("fp8") == 1978.9e12
    assert h100.peak("bfloat16") == h100.peak("bf16") == 989.4e12
    assert h100.peak("fp32") == h100["engines.vector.fp32"]  # no such matrix rate
    assert h100.peak("bf16", sparse=True) == pytest.approx(2 * 989.4e12)


@pytest.mark.parametrize(
    ("name", "dtype", "sparse", "words"),
    [
        ("h100", "int4", False, ["no int4 rate", "bf16", "weight_dtype='int4'"]),
        ("h100", "bf17", False, ["unknown dtype 'bf17'", "did you mean 'bf16'"]),
        ("h100", "fp32", True, ["no sparse fp32 rate", "bf16"]),
        ("tpu-v5e", "bf16", True, ["no sparse bf16 rate", "none"]),
    ],
)
def test_a_rate_that_the_chip_lacks(name: str, dtype: str, sparse: bool, words: list[str]) -> None:
    with pytest.raises(BadWorkload) as error:
        rl.load_chip(name).peak(dtype, sparse)
    assert [w for w in words if w not in str(error.value)] == [], str(error.value)


@pytest.mark.parametrize("level", ["hmb", "", "main.bandwidth", "register"])
def test_a_level_that_the_chip_lacks(level: str) -> None:
    with pytest.raises(UnknownName, match="memory level with a bandwidth on h100-sxm"):
        rl.load_chip("h100").ridge_point("bf16", level)


# Names of figures -----------------------------------------------------------------------------------------------


@given(chip_names)
def test_main_and_cache_mean_the_last_levels(name: str) -> None:
    chip = rl.load_chip(name)
    assert chip["memory.main.bandwidth"] == chip[f"memory.{chip.levels[-1]}.bandwidth"]
    assert chip["memory.cache.capacity"] == chip[f"memory.{chip.levels[-2:][0]}.capacity"]
    assert chip.number("memory.main.capacity") is chip.number(f"memory.{chip.main_level}.capacity")


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("memory.hbm.bandwith", "memory.hbm.bandwidth"),
        ("memory.main.bandwith", "memory.hbm.bandwidth"),
        ("memory.HBM.bandwidth", "memory.hbm.bandwidth"),
        ("engines.matrix.bf61", "engines.matrix.bf16"),
        ("power.tpd", "power.tdp"),
        ("clok", "clock"),
    ],
)
def test_an_unknown_figure_suggests_the_nearest(path: str, near: str) -> None:
    chip = rl.load_chip("h100")
    for ask in (chip.number, chip.__getitem__, lambda p: chip.what_if({p: "x2"})):
        with pytest.raises(UnknownName) as error:
            ask(path)
        assert near in error.value.close
    assert chip.get(path) is None


@pytest.mark.parametrize("path", ["", ".", "memory", "memory.main", "nonsense", "a" * 10_000, 5, None])
def test_nonsense_for_a_figure(path: Any) -> None:
    with pytest.raises(UnknownName) as error:
        rl.load_chip("h100").what_if({path: "x2"})
    assert len(str(error.value)) < 400


# What-if: laws --------------------------------------------------------------------------------------------------


def under_stacks(path: str, chip: Chip) -> set[str]:
    """The same figure under the chip's stacks: a what-if holds there too."""
    return {f"stack.{name}.{path}" for name in chip.stacks}


@given(chips_and_figures())
def test_the_same_value_changes_no_number(drawn: tuple[Chip, str, Number]) -> None:
    chip, path, number = drawn
    for same in (number.value, "x1"):
        changed = chip.what_if({path: same}) if number.value or number.dimension == "time" else chip
        before, after = values(chip), values(changed)
        for below in under_stacks(path, chip) & before.keys() if same != "x1" else ():
            assert after.pop(below) == number.value
            before.pop(below)
        assert after == before
        assert changed.machine == chip.machine


@given(chips_and_figures(), st.data())
def test_a_change_changes_that_figure_and_nothing_else(drawn: tuple[Chip, str, Number], data: st.DataObject) -> None:
    chip, path, number = drawn
    before = values(chip)
    changed = chip.what_if({path: data.draw(changes(path, number))})
    assert changed.number(path).kind == "what-if"
    assert changed.number(path).low is None
    followers = {"clock": ("engines.", "memory."), "cores.count": ("engines.", "efficiency.", "stack.")}.get(path, ())
    if path.endswith(".channels"):
        followers = (path.replace("channels", "bandwidth"),)
    others = {p for p in before if p != path and not p.startswith(followers)} - under_stacks(path, chip)
    after = values(changed)
    assert {p: after[p] for p in others} == {p: before[p] for p in others}
    assert values(chip) == before  # the chip itself is as it was


@given(chip_names, st.lists(st.floats(0.25, 4.0), min_size=1, max_size=5))
def test_an_array_is_its_values_one_by_one(name: str, factors: list[float]) -> None:
    chip = rl.load_chip(name)
    bandwidths = [f * chip["memory.main.bandwidth"] for f in factors]
    together = chip.what_if({"memory.main.bandwidth": bandwidths}).ridge_point(chip.widest_matrix)
    apart = [chip.what_if({"memory.main.bandwidth": b}).ridge_point(chip.widest_matrix) for b in bandwidths]
    assert together.tolist() == apart


@given(chip_names, st.floats(0.5, 2.0))
def test_the_clock_takes_engines_and_on_chip_memory_with_it(name: str, factor: float) -> None:
    chip = rl.load_chip(name)
    if "clock" not in chip.numbers:
        with pytest.raises(UnknownName):
            chip.what_if({"clock": f"x{factor!r}"})
        return
    faster = chip.what_if({"clock": f"x{factor!r}"})
    for dtype in chip.dtypes:
        assert faster.peak(dtype) == pytest.approx(factor * chip.peak(dtype), rel=1e-12)
    for level in chip.levels[:-1]:
        if (bandwidth := chip.level(level, "bandwidth")) is not None and chip.flags[f"memory.{level}.type"] != "dram":
            assert faster.level(level, "bandwidth") == pytest.approx(factor * bandwidth, rel=1e-12)
    assert faster["memory.main.bandwidth"] == chip["memory.main.bandwidth"]
    assert faster["memory.main.capacity"] == chip["memory.main.capacity"]


def test_what_is_changed_as_well_does_not_follow_the_clock() -> None:
    h100 = rl.load_chip("h100")
    changed = h100.what_if({"clock": "x0.5", "engines.matrix.bf16": "989.4 TFLOP/s"})
    assert changed.peak("bf16") == 989.4e12
    assert changed.peak("fp8") == pytest.approx(1978.9e12 / 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("4.8 TB/s", 4.8e12),
        ("4800 GB/s", 4.8e12),
        (4.8e12, 4.8e12),
        (4_800_000_000_000, 4.8e12),
        (np.float32(2.0**42), 2.0**42),
        (np.int64(5 * 10**12), 5e12),
        ("x2", 6.7e12),
        ("X2".lower(), 6.7e12),
        (" * 2 ", 6.7e12),
        ("\u00d72", 6.7e12),
        (["x2", "4.8 TB/s", 1e12], [6.7e12, 4.8e12, 1e12]),
        (("x1", "x2"), [3.35e12, 6.7e12]),
        ([["x1"], ["x2"]], [[3.35e12], [6.7e12]]),
        (np.array(["1 TB/s", "x2"]), [1e12, 6.7e12]),
        (np.array([1e12, 2e12]), [1e12, 2e12]),
    ],
)
def test_spellings_of_a_new_value(value: Any, expected: Any) -> None:
    changed = rl.load_chip("h100").what_if({"memory.hbm.bandwidth": value})
    assert np.array_equal(changed["memory.main.bandwidth"], expected)
    assert np.shape(changed["memory.main.bandwidth"]) == np.shape(expected)


BANDWIDTH = "memory.hbm.bandwidth"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (BANDWIDTH, "4.8 TFLOP/s", "expected a bandwidth"),
        (BANDWIDTH, "4.8 TB", "expected a bandwidth"),
        (BANDWIDTH, "fast", "expected a bandwidth"),
        (BANDWIDTH, "", "expected a bandwidth"),
        (BANDWIDTH, "4,8 TB/s", "a comma only groups thousands"),
        (BANDWIDTH, 0, "positive, finite bandwidth, found 0"),
        (BANDWIDTH, "0 TB/s", "positive, finite bandwidth"),
        (BANDWIDTH, -1e12, "positive, finite bandwidth, found -1"),
        (BANDWIDTH, "-1 TB/s", "positive, finite bandwidth, found '-1 TB/s'"),
        (BANDWIDTH, math.nan, "positive, finite bandwidth, found nan"),
        (BANDWIDTH, "nan", "found 'nan'"),
        (BANDWIDTH, "4.8", "found a number without a unit"),
        (BANDWIDTH, 4.8, "more than 10^9 away"),
        (BANDWIDTH, math.inf, "positive, finite bandwidth"),
        (BANDWIDTH, 10**400, "expected a bandwidth"),
        (BANDWIDTH, [1e12, math.nan], "positive, finite bandwidth"),
        (BANDWIDTH, np.array([1e12, -1.0]), "positive, finite bandwidth"),
        (BANDWIDTH, [], "at least one bandwidth"),
        (BANDWIDTH, np.array([]), "at least one bandwidth"),
        (BANDWIDTH, [[1e12, 2e12], [3e12]], "rows of one length"),
        (BANDWIDTH, "x", "expected a factor such as 'x2' or 'x0.5', found 'x'"),
        (BANDWIDTH, "x0", "positive, finite bandwidth"),
        (BANDWIDTH, "x-1", "positive, finite bandwidth"),
        (BANDWIDTH, "xnan", "expected a factor such as 'x2'"),
        (BANDWIDTH, "x2x", "expected a factor such as 'x2' or 'x0.5', found 'x2x'"),
        (BANDWIDTH, "2x", "did you mean 'x2'?"),
        (BANDWIDTH, "1e308 B/s", "expected from 1 B/s to 1000 EB/s"),
        (BANDWIDTH, "1e-300 B/s", "expected from 1 B/s to 1000 EB/s"),
        (BANDWIDTH, 1e21 * 1.001, "expected from 1 B/s to 1000 EB/s"),
        (BANDWIDTH, "x2 TB/s", "expected a factor such as 'x2' or 'x0.5', found 'x2 TB/s'"),
        (BANDWIDTH, "x1e300", "positive, finite bandwidth"),
        (BANDWIDTH, True, "expected a bandwidth, found True"),
        (BANDWIDTH, np.array([True]), "expected a bandwidth, found True"),
        (BANDWIDTH, None, "expected a bandwidth, found None"),
        (BANDWIDTH, np.ma.masked_array([1e12, 2e12], [True, False]), "found a masked array"),
        (BANDWIDTH, [10**5000], "an integer of 16,610 bits"),
        (BANDWIDTH, np.ones((1,) * 20), "expected at most 16 axes, found 20"),
        (BANDWIDTH, {"value": 1e12}, "expected a bandwidth"),
        (BANDWIDTH, 1e12 + 1j, "expected a bandwidth"),
        (BANDWIDTH, "9" * 10_000, "..."),
        ("memory.hbm.capacity", "74.5 GiB", "not a whole number of GiB"),
        ("cores.count", 1.5, "whole number"),
        ("cores.count", [132, 66.5], "whole number"),
        ("cores.count", "132 SM", "without a unit"),
        ("links.scale_up.domain", 7.5, "whole number"),
        ("efficiency.gemm.compute_fraction", 1.01, "fraction of at most 1"),
        ("efficiency.gemm.compute_fraction", "80", "fraction of at most 1"),
        ("efficiency.gemm.compute_fraction", "120 %", "fraction of at most 1"),
        ("efficiency.gemm.compute_fraction", 0, "positive, finite fraction"),
        ("efficiency.embedding_bag.overlap_share", 1.5, "expected from 0 to 1, found 1.5"),
        ("efficiency.attention.decode_rows", [64, 0.5], "expected from 1 to 1,024"),
        ("efficiency.gemm.operand_share", 0, "positive, finite count, found 0"),
        ("efficiency.gemm.operand_share", 1e-4, "expected from 0.001 to 1,000, found 0.0001"),
        ("efficiency.all_reduce.shot_share", 10, "expected from 0 to 1, found 10"),
        ("efficiency.gemm.launch_s", "1 min", "expected from 0 s to 10 s, found '1 min'"),
        ("efficiency.gemm.spread", 11, "expected from 0 to 10, found 11"),
        ("efficiency.gemm.spread", [0.1, 0.2], "expected one value, found 2"),
        ("efficiency.gemm.spread_over_1ms", [0.1], "expected one value, found 1"),
        ("overheads.engine_spread", np.array([0.1, 0.2, 0.3]), "expected one value, found 3"),
        ("latency.memory", "0 s", "expected a positive, finite time"),
        ("latency.memory", [0.0, 1e-6], "expected a positive, finite time"),
        ("latency.memory", "2 s", "expected from 0.001 ns to 1 s"),
        ("cores.count", 1e300, "expected a whole number from 1 to 1,000,000,000"),
        ("cores.count", 10**400, "expected a count"),
        ("clock", "x100000000", "expected from 1 kHz to 10 THz"),
        ("overheads.step", "-1 us", "positive, finite time"),
        ("overheads.step", [1e-6, -1e-6], "positive, finite time"),
    ],
)
def test_a_value_that_the_figure_cannot_have(path: str, value: Any, words: str) -> None:
    with pytest.raises(BadWorkload) as error:
        rl.load_chip("h100").what_if({path: value})
    assert words in str(error.value), str(error.value)
    assert str(error.value).startswith(f"what-if {path}: ")
    assert len(str(error.value)) < 400


def test_one_figure_under_two_names_is_refused() -> None:
    with pytest.raises(BadWorkload, match="changed twice"):
        rl.load_chip("h100").what_if({"memory.main.bandwidth": "x2", "memory.hbm.bandwidth": "x3"})


def test_a_link_may_answer_at_once_but_no_memory() -> None:
    chip = rl.load_chip("h100").what_if({"latency.network": "0 s"})
    assert chip.machine["network_latency"] == 0.0
    with pytest.raises(BadWorkload, match=r"what-if latency\.memory: expected a positive, finite time"):
        chip.what_if({"latency.memory": 0})


def test_a_level_with_a_latency_of_its_own_may_be_an_array(tmp_path: Any) -> None:
    path = tmp_path / "own.toml"
    figure = '{ value = "0.5 us", source = "s", kind = "measured" }'
    path.write_text(
        f'schema = 1\nname = "own"\nvendor = "a"\nfamily = "gpu"\nyear = 2025\nextends = "h100-sxm"\n'
        f"[memory.hbm]\nlatency = {figure}\n"
    )
    chip = rl.load_chip(path)
    assert chip.machine["memory_latency"] == 5e-7
    assert chip.what_if({"memory.main.latency": "10 ns"}).machine["memory_latency"] == 1e-8
    arrays = chip.what_if({"memory.main.latency": ["10 ns", "1 us"]})
    assert arrays.machine["memory_latency"].tolist() == [1e-8, 1e-6]


def test_engines_follow_the_clock_and_the_cores_at_once() -> None:
    h100 = rl.load_chip("h100")
    changed = h100.what_if({"clock": "x1.5", "cores.count": "x2"})
    assert changed.peak("bf16") == pytest.approx(3 * h100.peak("bf16"), rel=1e-12)
    assert changed.level("l2", "bandwidth") == pytest.approx(1.5 * h100.level("l2", "bandwidth"), rel=1e-12)
    apart = h100.what_if({"clock": "x1.5"}).what_if({"cores.count": "x2"})
    assert values(changed) == values(apart)


@given(chip_names, st.integers(2, 8))
def test_each_figure_follows_the_cores_once(name: str, factor: int) -> None:
    """A row's share of the cores, too, where both the chip and its family have a figure of it.

    And the width of a core's port to a cache that all share, which is counted in cores' shares of the cache.
    """
    chip = rl.load_chip(name)
    more = chip.what_if({"cores.count": f"x{factor}"})
    shared = chip.flags[f"memory.{chip.cache_level}.per"] != "core"
    for path in {**chip.numbers, **chip.defaults}:
        follows = path == "cores.count" or path.startswith("engines.") or path.endswith(".row_cores")
        follows |= shared and path.endswith(".port_cores")
        assert more[path] == chip[path] * (factor if follows else 1), path


def test_a_clock_and_cores_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(BadWorkload, match="arrays do not broadcast against each other"):
        rl.load_chip("h100").what_if({"clock": [1e9, 2e9], "cores.count": [100, 120, 132]})
    grid = rl.load_chip("h100").what_if({"clock": [[1e9], [2e9]], "cores.count": [100, 120, 132]})
    assert grid.peak("bf16").shape == (2, 3)


def test_what_follows_stays_in_its_range_too() -> None:
    fast = rl.load_chip("h100").what_if({"engines.matrix.fp8": "x4e8"})
    with pytest.raises(BadWorkload, match=r"what-if cores\.count: engines\.matrix\.fp8 follows it, and would be"):
        fast.what_if({"cores.count": "x2"})


# Every built-in chip --------------------------------------------------------------------------------------------

REQUIRED = """
    h100-sxm h100-pcie h100-nvl h200 h20 gh200 a100-sxm-40gb a100-sxm-80gb a100-pcie-40gb a100-pcie-80gb v100-sxm2 t4 l4
    l40s rtx-4090 b200 b300 gb200 mi250x mi300x mi325x mi355x tpu-v4 tpu-v5e tpu-v5p tpu-v6e tpu-v7 gaudi2 gaudi3
    trainium1 trainium2 trainium3 inferentia2 groq-lpu cerebras-wse3 mtia-v1 mtia-2i mtia-300 artemis artemis-hbm
""".split()  # noqa: SIM905


def test_the_promised_chips_are_there() -> None:
    assert [name for name in REQUIRED if name not in CHIPS] == []
    assert any(name.startswith("xeon-") for name in CHIPS)
    assert any(name.startswith("epyc-") for name in CHIPS)
    assert len(CHIPS) >= 35


def test_names_and_aliases_are_unique() -> None:
    owners: dict[str, set[str]] = {}
    for name in CHIPS:
        for spelling in (name, *rl.load_chip(name).aliases):
            owners.setdefault("".join(filter(str.isalnum, spelling.lower())), set()).add(name)
    assert {spelling: names for spelling, names in owners.items() if len(names) > 1} == {}


@pytest.mark.parametrize("name", CHIPS)
def test_every_figure_is_positive_and_has_a_source_and_a_kind(name: str) -> None:
    chip = rl.load_chip(name)
    assert chip.name == name
    for path, number in chip.numbers.items():
        assert math.isfinite(number.value), path
        assert number.value > 0 or (number.value == 0 and number.dimension in ("time", "count")), path
        assert len(number.source) > 3, path
        assert number.kind in ("datasheet", "recalled", "measured", "derived", "estimated"), path
        if number.low is not None and number.high is not None:
            assert number.low <= number.value <= number.high, path
            assert number.low == number.high or number.note or path.startswith("price"), f"{path}: a range says why"


@pytest.mark.parametrize("name", CHIPS)
def test_machine_numbers_are_positive(name: str) -> None:
    chip = rl.load_chip(name)
    may_be_zero = {"switch_reduction", "cache_capacity", "step_s"}
    for key, value in chip.machine.items():
        assert math.isfinite(value), key
        assert value > 0 or (value == 0 and key in may_be_zero), key
    assert ("link_bandwidth" in chip.machine) == chip.has_links
    assert chip.machine["memory_bandwidth"] == chip["memory.main.bandwidth"]
    assert chip.machine["cache_bandwidth"] >= chip.machine["memory_bandwidth"]


@pytest.mark.parametrize("name", CHIPS)
def test_the_ridge_point_is_where_bandwidth_feeds_the_peak(name: str) -> None:
    chip = rl.load_chip(name)
    for dtype in chip.dtypes:
        ridge = chip.ridge_point(dtype)
        assert ridge * chip.level(chip.main_level, "bandwidth") == pytest.approx(chip.peak(dtype), rel=1e-12)


def test_artemis_is_an_estimate_with_ranges() -> None:
    for name in ("artemis", "artemis-hbm"):
        chip = rl.load_chip(name)
        assert chip.status == "estimated"
        kinds = {n.kind for p, n in chip.numbers.items() if p.startswith(("engines.", "memory."))}
        assert kinds <= {"estimated", "derived"}
        assert chip.number("memory.main.bandwidth").low is not None
        assert chip.number("engines.matrix.int8").low is not None


def test_the_frame_shows_every_figure() -> None:
    chip = rl.load_chip("h100")
    frame = chip.frame
    assert set(frame.index) == {*chip.numbers, *chip.defaults}
    assert frame.loc["memory.hbm.bandwidth", "value"] == 3.35e12
    assert frame.loc["memory.hbm.bandwidth", "unit"] == "B/s"


def test_a_chip_travels_between_processes() -> None:
    chip = rl.load_chip("artemis").what_if({"clock": [1e9, 2e9]})
    again = pickle.loads(pickle.dumps(chip))
    assert again.numbers.keys() == chip.numbers.keys()
    assert np.array_equal(again["clock"], chip["clock"])
