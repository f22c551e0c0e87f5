"""Collectives and host copies in plain numpy: who sends how much, in how many steps.

With n devices and a buffer of S bytes on each (nccl-tests' convention), one device sends in each direction

    reduce-scatter, all-gather, all-to-all      S (n-1)/n
    all-reduce on a ring                        2 S (n-1)/n     (the first two after each other)
    all-reduce in the switch                    S
    all-reduce in one shot                      S (n-1)

Across d domains of l devices the first three run inside a domain first, and then each device with its d-1 peers:
on S/l bytes, or for an all-to-all on S. Thakur, Rabenseifner and Gropp (2005) derive the first two rows.
"""

from __future__ import annotations

import numpy as np


def steps(members):
    """Dependent steps of one phase: along a ring, or down a binary tree that serves two children at each level."""
    return np.minimum(members - 1, 2 * np.log2(members))


def shape(devices, link_domain):
    """Devices in a domain, and domains."""
    local = np.minimum(devices, np.maximum(link_domain, 1.0))
    return local, np.ceil(devices / local)


def cost(devices, sent, lower_s, overhead_s, link_s, across_s, fill_s, copied, copy_s):
    """The 14 quantities: links and network are busy at once with different chunks, the rest is one after the other."""
    network_s = np.maximum(link_s, across_s) + fill_s
    time_s = overhead_s + network_s + copy_s
    upper_s = overhead_s + link_s + across_s + fill_s + copy_s
    quantities = (0, 0, sent, copied, 0, sent, lower_s, time_s, upper_s, 0, copy_s, 0, network_s, overhead_s)
    return tuple(np.where(devices > 1, *np.broadcast_arrays(q, 0.0 * time_s)) for q in quantities)


def phases_of(
    phases, inside, across, buffer, devices, link_s, link_bandwidth, link_latency, link_domain, network_bandwidth,
    network_latency, memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
):  # fmt: skip
    """`phases` times: `inside` bytes over the links (in link_s), `across` over the network, the own shard in memory.

    A transfer of x seconds in k chunks passes a pipeline in x + x/k + k chunk_s; the best k makes that
    x + 2 sqrt(x chunk_s).
    """
    local, domains = shape(devices, link_domain)
    across_s = across / (network_fraction * network_bandwidth)
    hops_s = steps(local) * (link_latency + hop_s) + steps(domains) * (network_latency + hop_s)
    fill_s = 2 * np.sqrt(np.maximum(link_s, across_s) * chunk_s)
    shard = buffer / devices
    by_memory = 2 * shard / (copy_fraction * memory_bandwidth)
    by_link = shard / (link_fraction * link_bandwidth)
    lower_s = phases * np.maximum(inside / link_bandwidth, across / network_bandwidth)
    return cost(
        devices, phases * (inside + across), lower_s, launch_s + phases * hops_s, phases * link_s, phases * across_s,
        phases * fill_s, phases * 2 * shard, phases * np.minimum(by_memory, by_link),
    )  # fmt: skip


def all_gather(
    bytes, devices, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency, memory_bandwidth,
    launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
):  # fmt: skip
    """Every device's shard on each device."""
    local, domains = shape(devices, link_domain)
    inside = bytes * (local - 1) / local
    across = bytes / local * (domains - 1) / domains
    return phases_of(
        1, inside, across, bytes, devices, inside / (link_fraction * link_bandwidth), link_bandwidth, link_latency,
        link_domain, network_bandwidth, network_latency, memory_bandwidth, launch_s, hop_s, link_fraction,
        network_fraction, chunk_s, copy_fraction,
    )  # fmt: skip


reduce_scatter = all_gather  # the same transfers, backwards


def all_reduce(
    bytes, devices, link_bandwidth, link_latency, link_domain, switch_reduction, network_bandwidth, network_latency,
    memory_bandwidth, launch_s, hop_s, link_fraction, switch_fraction, network_fraction, chunk_s, copy_fraction,
    shot_fraction, peer_s,
):  # fmt: skip
    """The sum of all buffers on each device: ring or switch for the bandwidth, one shot for the latency."""
    local, domains = shape(devices, link_domain)
    inside = bytes * (local - 1) / local
    across = bytes / local * (domains - 1) / domains
    link_s = inside / (link_fraction * link_bandwidth)
    switch = switch_reduction > 0
    inside = np.where(switch, np.minimum(inside, bytes / 2), inside)
    link_s = np.where(switch, np.minimum(link_s, bytes / 2 / (switch_fraction * link_bandwidth)), link_s)
    ring = phases_of(
        2, inside, across, bytes, devices, link_s, link_bandwidth, link_latency, link_domain, network_bandwidth,
        network_latency, memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
    )  # fmt: skip

    peers = devices - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        link_s = peers * bytes / (shot_fraction * link_bandwidth)
    overhead_s = launch_s + link_latency + peers * peer_s
    shot = cost(devices, peers * bytes, ring[6], overhead_s, link_s, 0.0, 0.0, 0.0, 0.0)
    better = (np.asarray(shot_fraction) > 0) & (devices <= link_domain) & (shot[7] < ring[7])
    return tuple(np.where(better, s, r) for s, r in zip(shot, ring, strict=True))


def all_to_all(
    bytes, devices, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency, memory_bandwidth,
    launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
):  # fmt: skip
    """A part of each buffer to every device; what arrives from another domain is passed on inside."""
    local, domains = shape(devices, link_domain)
    inside = bytes * (local - 1) / local
    across = bytes * (domains - 1) / domains
    return phases_of(
        1, inside, across, bytes, devices, inside / (link_fraction * link_bandwidth), link_bandwidth, link_latency,
        link_domain, network_bandwidth, network_latency, memory_bandwidth, launch_s, hop_s, link_fraction,
        network_fraction, chunk_s, copy_fraction,
    )  # fmt: skip


def send(
    bytes, devices, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
    launch_s, hop_s, link_fraction, network_fraction, chunk_s,
):  # fmt: skip
    """The whole buffer to one peer: over the links of the domain, and over the network if the group is larger."""
    linked = np.asarray(link_domain) > 1
    leaves = devices > np.asarray(link_domain)
    link_s = np.where(linked, bytes / (link_fraction * link_bandwidth), 0.0)
    across_s = np.where(leaves, bytes / (network_fraction * network_bandwidth), 0.0)
    lower_s = np.maximum(link_s * link_fraction, across_s * network_fraction)
    latency_s = linked * (link_latency + hop_s) + leaves * (network_latency + hop_s)
    fill_s = 2 * np.sqrt(np.maximum(link_s, across_s) * chunk_s)
    return cost(devices, bytes, lower_s, launch_s + latency_s, link_s, across_s, fill_s, 0.0, 0.0)


def host_copy(bytes, host_bandwidth, host_latency, launch_s, host_fraction):
    """A buffer between the host's memory and the chip's."""
    ideal = bytes / host_bandwidth
    return cost(2, bytes, ideal, launch_s + host_latency, ideal / host_fraction, 0.0, 0.0, bytes, 0.0)
