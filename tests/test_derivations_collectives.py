"""Collectives against rings, trees and exchanges that are stepped message by message, with what they carry checked."""

from __future__ import annotations

import numpy as np
import pytest

from tests.derivations import network
from tests.derivations.network import Buffers, Wire
from tests.derivations.plain import cost

LINK, NETWORK = 1e11, 1e10  # B/s, of the plain machine
HOP, FAR_HOP = 2e-6, 9e-6  # s of a step inside a domain and across
SIZE = 48e6  # bytes of a buffer
WHOLE = {"bytes": SIZE, "link_latency": HOP, "network_latency": FAR_HOP, "memory_bandwidth": 1e30}


def buffers(devices: int, shards: int) -> Buffers:
    return np.random.default_rng(devices).integers(0, 1000, (devices, shards)).astype(float)


@pytest.mark.parametrize("devices", [2, 3, 4, 5, 6])
def test_a_ring_reduces_and_gathers(devices: int) -> None:
    """Few devices: the ring's steps are also the fewest, so bytes, steps and time are the ring's to the digit."""
    start, wire = buffers(devices, devices), Wire(LINK, HOP)
    held = network.ring_reduce_scatter(start, wire, SIZE / devices)
    own = [(device + 1) % devices for device in range(devices)]
    assert np.array_equal(held[np.arange(devices), own], start.sum(axis=0)[own])
    scattered = cost("reduce_scatter", devices=devices, **WHOLE)
    assert scattered["network_bytes"] == pytest.approx(wire.most)
    assert scattered["time_s"] == pytest.approx(wire.seconds)

    gathering = Wire(LINK, HOP)
    held = network.ring_all_gather(held, gathering, SIZE / devices)
    assert np.array_equal(held, np.tile(start.sum(axis=0), (devices, 1)))
    gathered = cost("all_gather", devices=devices, **WHOLE)
    assert gathered["network_bytes"] == pytest.approx(gathering.most)
    assert gathered["time_s"] == pytest.approx(gathering.seconds)

    whole = cost("all_reduce", devices=devices, **WHOLE)
    assert whole["network_bytes"] == pytest.approx(wire.most + gathering.most)
    assert whole["time_s"] == pytest.approx(wire.seconds + gathering.seconds)
    assert whole["lower_s"] == pytest.approx((wire.most + gathering.most) / LINK)


@pytest.mark.parametrize("devices", [8, 16, 32, 64, 128])
@pytest.mark.parametrize(("kind", "phases"), [("all_gather", 1), ("reduce_scatter", 1), ("all_reduce", 2)])
def test_a_tree_has_fewer_steps_than_a_long_ring(kind: str, phases: int, devices: int) -> None:
    found = cost(kind, devices=devices, **{**WHOLE, "link_domain": 128})
    # Two children at each of log2(n) levels: the tree stepped here, whose lowest level is not full, saves up to two.
    steps = found["overhead_s"] / HOP / phases
    assert network.tree_steps(devices) <= steps <= network.tree_steps(devices) + 2 < devices
    assert found["time_s"] - found["overhead_s"] == pytest.approx(phases * SIZE * (devices - 1) / devices / LINK)


@pytest.mark.parametrize("devices", [2, 5, 8])
def test_every_pair_exchanges_its_part(devices: int) -> None:
    start, wire = buffers(devices, devices), Wire(LINK, HOP)
    assert np.array_equal(network.pairwise_exchange(start, wire, SIZE / devices), start.T)
    found = cost("all_to_all", devices=devices, **WHOLE)
    assert found["network_bytes"] == pytest.approx(wire.most)
    assert found["time_s"] - found["overhead_s"] == pytest.approx(wire.seconds - wire.steps * HOP)
    assert found["overhead_s"] <= wire.steps * HOP


def two_levels(kind: str, local: int, domains: int) -> tuple[Wire, Wire]:
    """Inside each domain first and then among the devices of one rank in all domains, as each collective needs it."""
    devices = local * domains
    start, links, far = buffers(devices, devices), Wire(LINK, HOP), Wire(NETWORK, FAR_HOP)
    at = start.reshape(domains, local, domains, local)  # [domain, rank, ...] holds what is for [..., domain, rank]
    if kind == "all_to_all":
        # Over the network to the same rank of the other domain, all that is for that domain; then inside to the rank.
        crossed = np.empty_like(at)  # [at domain, rank, from domain, for rank]
        for rank in range(local):
            for part in range(local):
                exchanged = network.pairwise_exchange(at[:, rank, :, part], Wire(NETWORK, 0), 0)
                crossed[:, rank, :, part] = exchanged
        network.pairwise_exchange(at[:, 0, :, 0], far, local * SIZE / devices)  # local parts a message
        ended = np.empty_like(at)  # [at domain, at rank, from domain, from rank]
        for domain in range(domains):
            for origin in range(domains):
                ended[domain, :, origin] = network.pairwise_exchange(crossed[domain, :, origin], Wire(LINK, 0), 0)
        network.pairwise_exchange(crossed[0, :, 0], links, domains * SIZE / devices)
        assert np.array_equal(ended.reshape(devices, devices), start.T)
        return links, far

    # A buffer as `local` shards, each of `domains` pieces: the shard's sum in a domain, then over the domains.
    shards = start.reshape(devices, local, domains)
    pieces = np.empty((domains, local, domains))
    for domain in range(domains):
        inside = shards[domain * local : (domain + 1) * local]
        for piece in range(domains):
            wire = links if domain == piece == 0 else Wire(LINK, 0)
            summed = network.ring_reduce_scatter(inside[:, :, piece], wire, SIZE / local)
            pieces[domain, :, piece] = [summed[(shard - 1) % local, shard] for shard in range(local)]
    for shard in range(local):
        wire = far if shard == 0 else Wire(NETWORK, 0)
        summed = network.ring_reduce_scatter(pieces[:, shard], wire, SIZE / local / domains)
        if kind == "all_reduce":
            summed = network.ring_all_gather(summed, wire, SIZE / local / domains)
        total = shards.sum(axis=0)[shard]
        assert all(summed[(piece - 1) % domains, piece] == total[piece] for piece in range(domains))
    if kind == "all_reduce":
        network.ring_all_gather(np.zeros((local, local)), links, SIZE / local)
    return links, far


@pytest.mark.parametrize(("local", "domains"), [(2, 2), (4, 2), (4, 3), (2, 6)])
@pytest.mark.parametrize("kind", ["reduce_scatter", "all_reduce", "all_to_all"])
def test_across_domains_links_and_network_work_side_by_side(kind: str, local: int, domains: int) -> None:
    """In chunks as small as one likes the slower of the two hides the other; one after the other they add up."""
    links, far = two_levels(kind, local, domains)
    found = cost(kind, devices=local * domains, **{**WHOLE, "link_domain": local})
    assert found["network_bytes"] == pytest.approx(links.most + far.most)
    busy = [wire.most / wire.bandwidth for wire in (links, far)]
    assert found["lower_s"] == pytest.approx(max(busy))
    assert found["network_s"] == pytest.approx(max(busy))
    assert found["overhead_s"] == pytest.approx(links.steps * HOP + far.steps * FAR_HOP)
    assert found["upper_s"] == pytest.approx(found["overhead_s"] + sum(busy))


@pytest.mark.parametrize(("local", "domains"), [(8, 2), (4, 4), (2, 6), (1, 8), (8, 1)])
@pytest.mark.parametrize("far_bandwidth", [5e9, 50e9, 500e9])
def test_no_exchange_beats_the_ideal_time_of_an_all_to_all(local: int, domains: int, far_bandwidth: float) -> None:
    """Straight to its device a part takes one wire alone, either of which may be the slower: nothing is passed on."""
    devices = local * domains
    links, far = Wire(64e9, 0), Wire(far_bandwidth, 0)
    for step in range(1, devices):
        for device in range(devices):
            near = device // local == (device + step) % devices // local
            (links if near else far).step({device: SIZE / devices})
    direct_s = max(wire.most / wire.bandwidth for wire in (links, far))
    given = {"bytes": SIZE, "link_domain": local, "link_bandwidth": 64e9, "network_bandwidth": far_bandwidth}
    found = cost("all_to_all", devices=devices, **given, memory_bandwidth=1e30)
    assert found["lower_s"] == pytest.approx(direct_s)
    assert found["time_s"] >= found["lower_s"]


def test_gathering_is_scattering_backwards() -> None:
    for devices in (2, 7, 8, 12, 16):
        given = {"devices": devices, **WHOLE, "link_domain": 4}
        assert cost("all_gather", **given) == cost("reduce_scatter", **given)


def test_chips_without_links_exchange_over_the_network() -> None:
    start, far = buffers(4, 4), Wire(NETWORK, FAR_HOP)
    network.ring_reduce_scatter(start, far, SIZE / 4)
    found = cost("reduce_scatter", devices=4, **{**WHOLE, "link_domain": 1})
    assert found["network_bytes"] == pytest.approx(far.most)
    assert found["time_s"] == pytest.approx(far.seconds)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_a_switch_that_adds_takes_each_buffer_once(devices: int) -> None:
    start, wire = buffers(devices, 1), Wire(LINK, 0)
    assert np.array_equal(network.in_the_switch(start, wire, SIZE), np.tile(start.sum(axis=0), (devices, 1)))
    # With the copy of the own shard at no more than wire speed a ring is never faster than the switch.
    found = cost("all_reduce", devices=devices, **{**WHOLE, "memory_bandwidth": 1e12}, switch_reduction=1)
    assert found["network_s"] == pytest.approx(wire.seconds)
    assert found["network_bytes"] == pytest.approx(wire.most)
    assert found["memory_bytes"] == 0


def test_a_switch_that_is_slower_than_the_ring_is_left_alone() -> None:
    ring = cost("all_reduce", devices=8, **WHOLE)
    found = cost("all_reduce", devices=8, **WHOLE, switch_reduction=1, switch_fraction=0.3)
    assert found["time_s"] == ring["time_s"]


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_one_shot_sends_more_in_a_single_step(devices: int) -> None:
    """Taken for small buffers, where steps are what costs; a large one goes round the ring."""
    start = buffers(devices, 1)
    for size in (1e3, 1e9):
        given = {**WHOLE, "bytes": size, "devices": devices, "launch_s": 5e-6}
        ring = cost("all_reduce", **given)
        wire = Wire(LINK, HOP)
        assert np.array_equal(network.one_shot(start, wire, size), np.tile(start.sum(axis=0), (devices, 1)))
        shot_s = 5e-6 + wire.seconds + (devices - 1) * 1e-7
        found = cost("all_reduce", **given, shot_share=1, peer_s=1e-7)
        assert found["time_s"] == pytest.approx(min(shot_s, ring["time_s"]))
        if size < 1e6 or devices == 2:  # two devices swap their buffers either way
            assert found["time_s"] == pytest.approx(shot_s)
            assert found["network_bytes"] == pytest.approx(wire.most)


def test_nobody_reads_peers_in_one_shot_across_domains() -> None:
    given = {**WHOLE, "bytes": 1e3, "devices": 8, "link_domain": 4}
    assert cost("all_reduce", **given, shot_share=1) == cost("all_reduce", **given)


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_to_all"])
@pytest.mark.parametrize(("devices", "domain"), [(2, 8), (4, 8), (8, 4), (4, 1)])
def test_the_own_shard_is_copied_in_memory(kind: str, devices: int, domain: int) -> None:
    """Read and written: 2 bytes moved a byte. Across domains the shard is a domain's; without links a device's."""
    own = SIZE / min(devices, domain) if domain > 1 else SIZE / devices
    found = cost(kind, devices=devices, **{**WHOLE, "link_domain": domain, "memory_bandwidth": 1e12})
    assert found["memory_bytes"] == pytest.approx(2 * own)
    assert found["memory_s"] == pytest.approx(2 * own / 1e12)
    wire = LINK if domain > 1 else NETWORK
    slow = cost(kind, devices=devices, **{**WHOLE, "link_domain": domain, "memory_bandwidth": 1.9 * wire})
    assert slow["memory_s"] == pytest.approx(own / wire)  # as if it were sent


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_to_all"])
@pytest.mark.parametrize(("devices", "domain"), [(2, 8), (4, 8), (8, 4), (4, 1)])
def test_a_memory_slower_than_the_wires_is_waited_for(kind: str, devices: int, domain: int) -> None:
    """Byte by byte: what is sent is read, what is received is written, and the own part of an exchange stays."""
    found = cost(kind, devices=devices, **{**WHOLE, "link_domain": domain, "memory_bandwidth": 1e9})
    parts = SIZE / devices
    read, written = {
        "all_gather": (0, SIZE),
        "reduce_scatter": (SIZE, 0),
        "all_to_all": (SIZE - parts, SIZE - parts),
    }[kind]
    assert found["memory_s"] == pytest.approx((read + written) / 1e9)
    assert found["time_s"] == pytest.approx(found["overhead_s"] + found["memory_s"])
    assert found["lower_s"] == pytest.approx(found["memory_s"])


@pytest.mark.parametrize("chunk_s", [1e-7, 1e-6, 1e-5])
def test_chunks_are_as_many_as_is_best(chunk_s: float) -> None:
    """Two stages, so many chunks that filling the pipeline and starting chunks cost the least together.

    The kernel's best number of chunks need not be whole, and it does not count the last chunk's start.
    """
    stage_s = SIZE / 2 / LINK
    best = min(network.pipeline(stage_s, chunk_s, chunks) for chunks in range(1, 400))
    found = cost("all_gather", devices=2, **{**WHOLE, "link_latency": 0}, chunk_s=chunk_s)
    assert found["time_s"] + chunk_s == pytest.approx(best, rel=0.01)


def test_a_message_to_one_peer_crosses_what_lies_between() -> None:
    """A link; a link and then the network, in chunks side by side; the network alone. Alone: nothing."""
    given = {"bytes": SIZE, "link_latency": HOP, "network_latency": FAR_HOP}
    for devices in (2, 8):
        near = cost("send", devices=devices, **given)
        assert near["time_s"] == near["upper_s"] == pytest.approx(SIZE / LINK + HOP)
    far = cost("send", devices=9, **given)
    assert far["time_s"] == pytest.approx(SIZE / NETWORK + HOP + FAR_HOP)
    assert far["upper_s"] - far["time_s"] == pytest.approx(SIZE / LINK)
    assert far["lower_s"] == pytest.approx(SIZE / NETWORK)
    assert cost("send", devices=2, **{**given, "link_domain": 1})["time_s"] == pytest.approx(SIZE / NETWORK + FAR_HOP)
    for kind in ("send", "all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        assert set(cost(kind, bytes=SIZE, devices=1, launch_s=1.0).values()) == {0.0}


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_to_all", "all_reduce", "send"])
def test_sustained_rates_and_fixed_costs_apply_where_they_are_named(kind: str) -> None:
    """16 devices in domains of 4. Links at half speed do not show behind the network, nor the other way round."""
    given = {"bytes": SIZE, "devices": 16, "link_domain": 4}
    far, near = cost(kind, **given), cost(kind, **given, network_bandwidth=1e30)
    assert cost(kind, **given, network_fraction=0.5)["network_s"] == pytest.approx(2 * far["network_s"])
    assert cost(kind, **given, link_fraction=0.9)["network_s"] == far["network_s"]
    slow = cost(kind, **given, network_bandwidth=1e30, link_fraction=0.5)
    assert slow["network_s"] == pytest.approx(2 * near["network_s"])
    assert slow["lower_s"] == near["lower_s"]
    assert cost(kind, **given, launch_s=7e-6)["overhead_s"] == pytest.approx(7e-6)
    # A hop adds the same to every step, of links and network: their latencies both.
    latencies = cost(kind, **given, link_latency=HOP, network_latency=HOP)
    assert cost(kind, **given, hop_s=HOP)["time_s"] == pytest.approx(latencies["time_s"])
    assert latencies["time_s"] > far["time_s"]
    # Nothing is computed, nothing but the own shard goes through memory.
    assert far["flops"] == far["vector_flops"] == far["cache_bytes"] == far["compute_s"] == far["cache_s"] == 0
    assert far["bytes"] == far["network_bytes"]
    if kind != "send":
        half = cost(kind, **given, copy_fraction=0.5)
        assert half["memory_s"] == pytest.approx(2 * far["memory_s"])


def test_a_switch_in_each_of_several_domains() -> None:
    """4 domains of 4: the switch adds up the buffer inside, the rings across carry a quarter of it."""
    given = {**WHOLE, "devices": 16, "link_domain": 4, "switch_reduction": 1}
    start, inside, far = buffers(4, 4), Wire(LINK, 0), Wire(NETWORK, 0)
    network.in_the_switch(start, inside, SIZE)
    network.ring_all_gather(network.ring_reduce_scatter(start, far, SIZE / 16), far, SIZE / 16)
    found = cost("all_reduce", **given)
    assert found["network_bytes"] == pytest.approx(inside.most + far.most)
    assert found["network_s"] == pytest.approx(max(inside.seconds, far.seconds))
    assert found["upper_s"] - found["time_s"] == pytest.approx(min(inside.seconds, far.seconds))
    quick = {**given, "network_bandwidth": 1e30, "memory_bandwidth": 1.0}  # so that no ring copies its shard
    slow = cost("all_reduce", **quick, switch_fraction=0.8)
    assert slow["network_s"] == pytest.approx(inside.seconds / 0.8)
