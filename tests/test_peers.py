"""Cards of one server that reach each other over PCIe, with and without a bridge, and figures of such cards."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.hardware.chip import Chip
from roofline.kernels import collective

MIB = 2**20
HALVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


def seconds(chip: Chip | str, kind: str, size: float, devices: int) -> float:
    return float(rl.cost(getattr(rl, kind)(bytes=size, devices=devices), chip).time_s)


def bus_bandwidth(chip: Chip | str, devices: int, size: float = 2048 * MIB) -> float:
    """B/s of the ring that an all-reduce takes, as nccl-tests count it."""
    return 2 * (devices - 1) / devices * size / seconds(chip, "all_reduce", size, devices)


# Against what was measured: the descriptors say where -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("chip", "devices", "low", "high"),
    [
        # github.com/voipmonitor/rtx6kpro: NCCL over eight cards, two kinds of servers; pairs by p2pBandwidthLatencyTest
        ("rtx-pro-6000", 8, 37.6e9, 41.7e9),
        ("rtx-pro-6000", 2, 50e9, 56.6e9),
        # NVIDIA/nccl issue 1639, through the host's memory
        ("rtx-5090", 8, 27e9, 29e9),
        ("rtx-5090", 4, 34e9, 36e9),
        # NVIDIA/nccl-tests issue 178: once the ring leaves the bridged pair
        ("a100-pcie-80gb", 8, 18e9, 22e9),
    ],
)
def test_worked_rings_over_pcie(chip: str, devices: int, low: float, high: float) -> None:
    assert low * 0.97 < bus_bandwidth(chip, devices) < high * 1.03


def test_worked_small_sums_over_pcie() -> None:
    """24 us over eight RTX PRO 6000 (voipmonitor/rtx6kpro), 42 us over eight RTX 4090 (NVIDIA/nccl issue 1530)."""
    assert seconds("rtx-pro-6000", "all_reduce", 256, 8) == pytest.approx(24e-6, rel=0.1)
    assert seconds("rtx-4090", "all_reduce", 8, 8) == pytest.approx(42e-6, rel=0.1)


# Laws -----------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 8), st.integers(2, 16))
def test_what_crosses_the_bisection_is_what_pairs_on_both_sides_send(half: int, devices: int) -> None:
    domain = 2 * half
    local = min(devices, domain)
    pairs = itertools.permutations(range(local), 2)
    one_way = sum(1 for a, b in pairs if a < half <= b)
    assert collective.crossing(local * 1.0, local, domain) == pytest.approx(one_way)


@pytest.mark.parametrize("kind", HALVES)
def test_devices_on_one_side_do_not_feel_the_bisection(kind: str) -> None:
    chip = rl.load_chip("l40s")
    narrow = chip.what_if({"links.peers.bisection": "2 GB/s"})
    for devices in (2, 4):
        assert seconds(narrow, kind, 64e6, devices) == seconds(chip, kind, 64e6, devices)
    for devices in (5, 8):
        assert seconds(narrow, kind, 64e6, devices) > 5 * seconds(chip, kind, 64e6, devices)


@pytest.mark.parametrize("kind", HALVES)
def test_a_bridge_helps_the_pair_alone(kind: str) -> None:
    """Past the pair all is as if there were no bridge; beyond the server the network joins in."""
    bridged = rl.load_chip("a30")
    assert bridged["links.scale_up.domain"] == 2
    faster = bridged.what_if({"links.scale_up.bandwidth": "x2"})
    assert seconds(faster, kind, 64e6, 2) < 0.7 * seconds(bridged, kind, 64e6, 2)
    for devices in (4, 8, 16):
        assert seconds(faster, kind, 64e6, devices) == seconds(bridged, kind, 64e6, devices)
    wider = bridged.what_if({"links.peers.bandwidth": "x2", "links.peers.bisection": "x2"})
    assert seconds(wider, kind, 64e6, 2) == seconds(bridged, kind, 64e6, 2)
    assert seconds(wider, kind, 64e6, 8) < 0.7 * seconds(bridged, kind, 64e6, 8)


@pytest.mark.parametrize("kind", HALVES)
def test_cards_without_a_bus_are_as_before(kind: str) -> None:
    """A full bisection, which every link has that says nothing of it, holds nothing up."""
    plain = rl.load_chip("h100-sxm")
    assert "links.peers.bandwidth" not in plain.numbers
    full = plain["links.scale_up.bandwidth"] * plain["links.scale_up.domain"] / 2
    assert plain.machine["link_bisection"] == full
    for devices in (2, 3, 8, 16, 64):
        cost = rl.cost(getattr(rl, kind)(bytes=1e9, devices=devices), plain)
        assert math.isfinite(cost.time_s)
        assert cost.lower_s <= cost.time_s <= cost.upper_s


def test_a_bus_in_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_text(
        'schema = 1\nname = "card"\nextends = "l4"\n[links.peers]\nsource = "measured here"\nkind = "recalled"\n'
        'bandwidth = "20 GB/s"\nbisection = "10 GB/s"\ndomain = 4\n'
    )
    card = rl.load_chip(path)
    assert card.number("links.peers.bisection").kind == "recalled"
    assert bus_bandwidth(card, 4) < 10e9 < bus_bandwidth(card, 2) < 20e9


# Figures --------------------------------------------------------------------------------------------------------------

#: FLOP of an SM in a clock: bf16 with fp32 accumulation, and fp32 outside the tensor units.
A_CLOCK = {
    **dict.fromkeys(("a10", "a40", "rtx-pro-6000"), (1024, 256)),
    **dict.fromkeys(("rtx-3090", "l40", "rtx-4090", "rtx-5090", "dgx-spark"), (512, 256)),
    "jetson-thor": (8192, 256),
    "a30": (2048, 128),
}


@pytest.mark.parametrize("name", A_CLOCK)
def test_rates_are_units_times_clock(name: str) -> None:
    chip = rl.load_chip(name)
    units = chip["cores.count"] * chip["clock"]
    matrix, vector = A_CLOCK[name]
    assert chip.peak("bf16") == pytest.approx(units * matrix, rel=0.01)
    assert chip["engines.vector.fp32"] == pytest.approx(units * vector, rel=0.01)


def test_worked_figures_of_servers_and_racks() -> None:
    """What is published of a whole, and of a part: HGX B200 62 TB/s, LPX 315 PFLOP/s, Atlas 950 31.1 PFLOP/s."""
    assert 8 * rl.load_chip("b200")["memory.main.bandwidth"] == pytest.approx(62e12, rel=0.01)
    assert 256 * rl.load_chip("groq-3-lpu").peak("fp8") == pytest.approx(315e15, rel=0.01)
    assert 256 * rl.load_chip("groq-3-lpu")["memory.main.capacity"] == pytest.approx(128e9, rel=0.01)
    assert 64 * rl.load_chip("ascend-950dt").peak("bf16") == pytest.approx(31.1e15, rel=0.01)
    assert 16 * rl.load_chip("sambanova-sn40l")["memory.main.bandwidth"] == pytest.approx(25.6e12, rel=0.01)
    six_stacks = {rl.load_chip(name)["memory.l2.capacity"] for name in ("h200", "h200-nvl", "h100-nvl", "gh200", "h20")}
    assert six_stacks == {60 * MIB}
