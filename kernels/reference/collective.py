"""Collectives and host copies in plain numpy: who sends how much, in how many steps.

With n devices and a buffer of S bytes on each (nccl-tests' convention), one device sends in each direction

    reduce-scatter, all-gather, all-to-all      S (n-1)/n
    all-reduce on a ring                        2 S (n-1)/n     (the first two after each other)
    all-reduce in the switch                    S
    all-reduce in one shot                      S (n-1)

Each device also reads its memory once for what it sends and writes it once for what it gets: S a phase, or in an
all-to-all, where the own part stays, 2 S (n-1)/n.

Across d domains of l devices the first three run inside a domain first, and then each device with its d-1 peers:
on S/l bytes, or for an all-to-all on S. Thakur, Rabenseifner and Gropp (2005) derive the first two rows.

More devices than a domain has use the bus of the server, if it has one, in place of the links. Where devices lie on
both sides of a domain's bisection, a ring passes it once in each direction, and an l/2 x l/2 block of an exchange does.
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


def way(devices, links, bus):
    """Bandwidth, latency, domain, bisection: of the links, or of the server's bus for more than their domain holds.

    Last whether it is the bus, whose one port to a card carries what goes to and comes from the network, too.
    """
    past = (np.asarray(links[2]) < devices) & (np.asarray(links[2]) < bus[2])
    return *(np.where(past, theirs, own) for own, theirs in zip(links, bus, strict=True)), past


def ring_bandwidth(local, link_domain, link_bandwidth, link_bisection):
    """Of one flow in each direction through every link, and through the bisection if both sides take part."""
    both = local > np.asarray(link_domain) / 2
    return np.where(both, np.minimum(link_bandwidth, link_bisection), link_bandwidth)


def crossing(bytes, local, link_domain):
    """Bytes through the bisection one way: from each device on the fuller side a part for each on the other."""
    near = np.minimum(local, np.maximum(np.asarray(link_domain) / 2, 1))
    return near * (local - near) * (bytes / local)


def pipelined(seconds, chunk_s):
    """A transfer cut into k chunks passes in seconds + seconds / k + k chunk_s: here at the best k."""
    return seconds + 2 * np.sqrt(seconds * chunk_s)


def cost(devices, sent, lower_s, overhead_s, network_s, hidden_s, copied, copy_s, passing_s):
    """The 14 quantities; `hidden_s` is the time of links or network that the other one hides. One device: nothing.

    Main memory gives and takes what passes in `passing_s`, at the same time as the wires carry it.
    """
    slow = passing_s > network_s + copy_s
    time_s = overhead_s + np.where(slow, passing_s, network_s + copy_s)
    memory_s = np.where(slow, passing_s, copy_s)
    upper_s = time_s + hidden_s
    quantities = (0, 0, sent, copied, 0, sent, lower_s, time_s, upper_s, 0, memory_s, 0, network_s, overhead_s)
    return tuple(np.where(devices > 1, *np.broadcast_arrays(q, np.zeros_like(time_s))) for q in quantities)


def exchange(
    phases,
    across_buffer,
    passing,
    bytes,
    devices,
    link_bandwidth,
    link_latency,
    link_domain,
    link_bisection,
    switch_reduction,
    network_bandwidth,
    network_latency,
    memory_bandwidth,
    launch_s,
    hop_s,
    link_fraction,
    switch_fraction,
    network_fraction,
    chunk_s,
    copy_fraction,
    one_port,
    scattered=False,
):
    """`phases` times: the buffer but one shard inside the domain, then `across_buffer` but one share across domains.

    Main memory is read or written for `passing` bytes a phase. `scattered`: every part has a device of its own.
    """
    local, domains = shape(devices, link_domain)
    if scattered:
        ring_rate, crossing_s = link_bandwidth, crossing(bytes, local, link_domain) / (link_fraction * link_bisection)
    else:
        ring_rate, crossing_s = ring_bandwidth(local, link_domain, link_bandwidth, link_bisection), 0.0
    inside = bytes * (1 - 1 / local)
    across = across_buffer * (1 - 1 / domains)
    across_s = across / (network_fraction * network_bandwidth)

    # On rings: the own shard has to be copied as well, through memory or, if that is faster, as if it were sent.
    linked = local > 1
    copied = bytes / np.where(linked, local, domains)
    wire = np.where(linked, link_fraction * ring_rate, network_fraction * network_bandwidth)
    copy_s = copied / np.maximum(wire, copy_fraction * memory_bandwidth / 2)
    ported = inside + np.where(one_port, across, 0.0)
    ring_link_s = np.maximum(ported / (link_fraction * ring_rate), crossing_s)
    ring_s = pipelined(np.maximum(ring_link_s, across_s), chunk_s)

    # In the switch: one buffer over all phases, and no copy.
    can = linked & (np.asarray(switch_reduction) > 0)
    switch_link_s = bytes / phases / (switch_fraction * link_bandwidth)
    switch_s = pipelined(np.maximum(switch_link_s, across_s), chunk_s)
    better = can & (switch_s < ring_s + copy_s)
    inside = np.where(can, np.minimum(inside, bytes / phases), inside)
    link_s = np.where(can, np.minimum(ring_link_s, switch_link_s), ring_link_s)

    hops_s = steps(local) * (link_latency + hop_s) + steps(domains) * (network_latency + hop_s)
    # Parts that go to a device each need not be passed on: the links carry what stays in a domain, l - 1 of n parts.
    needed = np.where(scattered, bytes * np.maximum(1 / domains - 1 / devices, 0), inside)
    needed = needed + np.where(one_port, across, 0.0)
    ideal_s = np.maximum(needed / link_bandwidth, across / network_bandwidth)
    return cost(
        devices,
        phases * (inside + across),
        phases * np.maximum(ideal_s, passing / memory_bandwidth),
        launch_s + phases * hops_s,
        phases * np.where(better, switch_s, ring_s),
        phases * np.minimum(link_s, across_s),
        phases * np.where(better, 0.0, 2 * copied),
        phases * np.where(better, 0.0, copy_s),
        phases * passing / (copy_fraction * memory_bandwidth),
    )


def all_reduce(
    bytes,
    devices,
    link_bandwidth,
    link_latency,
    link_domain,
    link_bisection,
    switch_reduction,
    peer_bandwidth,
    peer_latency,
    peer_domain,
    peer_bisection,
    network_bandwidth,
    network_latency,
    memory_bandwidth,
    launch_s,
    hop_s,
    link_fraction,
    switch_fraction,
    network_fraction,
    chunk_s,
    copy_fraction,
    shot_share,
    peer_s,
):
    """The sum of all buffers on each device: ring or switch for the bandwidth, one shot for the latency."""
    linked = devices <= np.asarray(link_domain)
    link_bandwidth, link_latency, link_domain, link_bisection, one_port = way(
        devices,
        (link_bandwidth, link_latency, link_domain, link_bisection),
        (peer_bandwidth, peer_latency, peer_domain, peer_bisection),
    )
    local, _ = shape(devices, link_domain)
    ring = exchange(
        2,
        bytes / local,
        bytes,
        bytes,
        devices,
        link_bandwidth,
        link_latency,
        link_domain,
        link_bisection,
        switch_reduction,
        network_bandwidth,
        network_latency,
        memory_bandwidth,
        launch_s,
        hop_s,
        link_fraction,
        switch_fraction,
        network_fraction,
        chunk_s,
        copy_fraction,
        one_port,
    )
    peers = devices - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = crossing(devices * bytes, devices, link_domain)
        read_s = np.maximum(peers * bytes / link_bandwidth, crossed / link_bisection) / shot_share
    # In one shot, too, the buffer is read and the sum written.
    passing_s = 2 * bytes / (copy_fraction * memory_bandwidth)
    overhead_s = launch_s + link_latency + peers * peer_s
    shot = cost(devices, peers * bytes, ring[6], overhead_s, read_s, 0.0, 0.0, 0.0, passing_s)
    better = (np.asarray(shot_share) > 0) & linked & (shot[7] < ring[7])
    return tuple(np.where(better, s, r) for s, r in zip(shot, ring, strict=True))


def all_gather(
    bytes,
    devices,
    link_bandwidth,
    link_latency,
    link_domain,
    link_bisection,
    peer_bandwidth,
    peer_latency,
    peer_domain,
    peer_bisection,
    network_bandwidth,
    network_latency,
    memory_bandwidth,
    launch_s,
    hop_s,
    link_fraction,
    network_fraction,
    chunk_s,
    copy_fraction,
):
    """Every device's shard on each device."""
    link_bandwidth, link_latency, link_domain, link_bisection, one_port = way(
        devices,
        (link_bandwidth, link_latency, link_domain, link_bisection),
        (peer_bandwidth, peer_latency, peer_domain, peer_bisection),
    )
    local, _ = shape(devices, link_domain)
    return exchange(
        1,
        bytes / local,
        bytes,
        bytes,
        devices,
        link_bandwidth,
        link_latency,
        link_domain,
        link_bisection,
        0.0,
        network_bandwidth,
        network_latency,
        memory_bandwidth,
        launch_s,
        hop_s,
        link_fraction,
        1.0,
        network_fraction,
        chunk_s,
        copy_fraction,
        one_port,
    )


def reduce_scatter(
    bytes,
    devices,
    link_bandwidth,
    link_latency,
    link_domain,
    link_bisection,
    peer_bandwidth,
    peer_latency,
    peer_domain,
    peer_bisection,
    network_bandwidth,
    network_latency,
    memory_bandwidth,
    launch_s,
    hop_s,
    link_fraction,
    network_fraction,
    chunk_s,
    copy_fraction,
):
    """A shard of the sum on each device: the transfers of an all-gather, backwards."""
    return all_gather(
        bytes,
        devices,
        link_bandwidth,
        link_latency,
        link_domain,
        link_bisection,
        peer_bandwidth,
        peer_latency,
        peer_domain,
        peer_bisection,
        network_bandwidth,
        network_latency,
        memory_bandwidth,
        launch_s,
        hop_s,
        link_fraction,
        network_fraction,
        chunk_s,
        copy_fraction,
    )


def all_to_all(
    bytes,
    devices,
    link_bandwidth,
    link_latency,
    link_domain,
    link_bisection,
    peer_bandwidth,
    peer_latency,
    peer_domain,
    peer_bisection,
    network_bandwidth,
    network_latency,
    memory_bandwidth,
    launch_s,
    hop_s,
    link_fraction,
    network_fraction,
    chunk_s,
    copy_fraction,
):
    """A part of each buffer to every device; what arrives from another domain is passed on inside."""
    link_bandwidth, link_latency, link_domain, link_bisection, one_port = way(
        devices,
        (link_bandwidth, link_latency, link_domain, link_bisection),
        (peer_bandwidth, peer_latency, peer_domain, peer_bisection),
    )
    passing = 2 * bytes * (1 - 1 / devices)  # the own part stays where it is
    return exchange(
        1,
        bytes,
        passing,
        bytes,
        devices,
        link_bandwidth,
        link_latency,
        link_domain,
        link_bisection,
        0.0,
        network_bandwidth,
        network_latency,
        memory_bandwidth,
        launch_s,
        hop_s,
        link_fraction,
        1.0,
        network_fraction,
        chunk_s,
        copy_fraction,
        one_port,
        scattered=True,
    )


def send(
    bytes,
    devices,
    link_bandwidth,
    link_latency,
    link_domain,
    link_bisection,
    peer_bandwidth,
    peer_latency,
    peer_domain,
    peer_bisection,
    network_bandwidth,
    network_latency,
    memory_bandwidth,
    launch_s,
    hop_s,
    link_fraction,
    network_fraction,
    chunk_s,
):
    """The whole buffer to one peer: over the links of the domain, and over the network if the group is larger."""
    link_bandwidth, link_latency, link_domain, link_bisection, _ = way(
        devices,
        (link_bandwidth, link_latency, link_domain, link_bisection),
        (peer_bandwidth, peer_latency, peer_domain, peer_bisection),
    )
    linked = np.asarray(link_domain) > 1
    leaves = devices > np.asarray(link_domain)
    passing_s = bytes / memory_bandwidth
    lower_s = np.maximum(linked * bytes / link_bandwidth, leaves * bytes / network_bandwidth)
    lower_s = np.maximum(lower_s, passing_s)
    local, _ = shape(devices, link_domain)
    link_s = linked * bytes / (link_fraction * ring_bandwidth(local, link_domain, link_bandwidth, link_bisection))
    across_s = leaves * bytes / (network_fraction * network_bandwidth)
    latency_s = linked * (link_latency + hop_s) + leaves * (network_latency + hop_s)
    network_s = pipelined(np.maximum(link_s, across_s), chunk_s)
    hidden_s = np.minimum(link_s, across_s)
    return cost(devices, bytes, lower_s, launch_s + latency_s, network_s, hidden_s, 0.0, 0.0, passing_s)


def host_copy(bytes, host_bandwidth, host_latency, memory_bandwidth, launch_s, host_fraction):
    """A buffer between the host's memory and the chip's."""
    ideal_s, passing_s = bytes / host_bandwidth, bytes / memory_bandwidth
    lower_s = np.maximum(ideal_s, passing_s)
    return cost(2, bytes, lower_s, launch_s + host_latency, ideal_s / host_fraction, 0.0, bytes, 0.0, passing_s)
