"""Collectives among the devices of a scale-up domain and across the network around it; copies to and from the host.

`bytes` is the whole buffer of one device, as the nccl-tests count it: what every device holds before an all-reduce,
a reduce-scatter or an all-to-all, and after an all-gather. One device alone has nothing to do and pays nothing.
"""

from __future__ import annotations

from math import ceil, log2, sqrt

from roofline.kernels._jit import Quantities, inner, kernel


@inner
def steps(members: float) -> float:
    """Dependent steps of one phase: a ring has members - 1, a tree log2(members) levels of two children each."""
    return min(members - 1.0, 2.0 * log2(members))


@inner
def transfer(
    sent: float, lower_s: float, overhead_s: float, network_s: float, hidden_s: float, copied: float, copy_s: float
) -> Quantities:
    """The cost of `sent` bytes, `hidden_s` of whose time on links or network is hidden behind the other."""
    time_s = overhead_s + network_s + copy_s
    upper_s = time_s + hidden_s
    return 0.0, 0.0, sent, copied, 0.0, sent, lower_s, time_s, upper_s, 0.0, copy_s, 0.0, network_s, overhead_s


@inner
def pipelined(seconds: float, chunk_s: float) -> float:
    """Time to pass `seconds` of traffic on in k chunks, x + x / k + k * chunk_s, at the best k."""
    return seconds + 2.0 * sqrt(seconds * chunk_s)


@inner
def exchange(
    phases: float,
    bytes: float,
    devices: float,
    scattered: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    switch_reduction: float,
    network_bandwidth: float,
    network_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    hop_s: float,
    link_fraction: float,
    switch_fraction: float,
    network_fraction: float,
    chunk_s: float,
    copy_fraction: float,
) -> Quantities:
    """`phases` times: pass on all of the buffer but the own shard, inside the domain and then across domains.

    Across, each device and its peers of the same rank exchange the shard, or if `scattered` the buffer. Links and
    network work on different chunks at once. The own shard is copied in memory, before or after.
    """
    if devices <= 1.0:
        return transfer(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    local = min(devices, max(link_domain, 1.0))
    domains = ceil(devices / local)
    shard = bytes / local
    inside = bytes - shard
    across = (bytes if scattered > 0.0 else shard) * (domains - 1.0) / domains

    link_rate = link_bandwidth * link_fraction
    network_rate = network_bandwidth * network_fraction
    link_s = inside / link_rate
    across_s = across / network_rate
    network_s = pipelined(max(link_s, across_s), chunk_s)
    # The copy is never slower than a detour over the wire.
    copied = shard if local > 1.0 else bytes / domains
    copy_s = copied * min(2.0 / (memory_bandwidth * copy_fraction), 1.0 / (link_rate if local > 1.0 else network_rate))
    if switch_reduction > 0.0 and local > 1.0:
        # Over all phases a device sends its buffer once and receives the sum once, whatever the number of devices.
        inside = min(inside, bytes / phases)
        switch_s = bytes / phases / (link_bandwidth * switch_fraction)
        link_s = min(link_s, switch_s)
        switched_s = pipelined(max(switch_s, across_s), chunk_s)
        if switched_s < network_s + copy_s:
            network_s, copied, copy_s = switched_s, 0.0, 0.0
    hops_s = steps(local) * (link_latency + hop_s) + steps(domains) * (network_latency + hop_s)
    return transfer(
        phases * (inside + across),
        phases * max(inside / link_bandwidth, across / network_bandwidth),
        launch_s + phases * hops_s,
        phases * network_s,
        phases * min(link_s, across_s),
        phases * 2.0 * copied,
        phases * copy_s,
    )


@kernel
def all_reduce(
    bytes: float,
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    switch_reduction: float,
    network_bandwidth: float,
    network_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    hop_s: float,
    link_fraction: float,
    switch_fraction: float,
    network_fraction: float,
    chunk_s: float,
    copy_fraction: float,
    shot_share: float,
    peer_s: float,
) -> Quantities:
    """Cost of summing a buffer over devices and giving each the sum: the best of what the library offers.

    The ring is a reduce-scatter and an all-gather: 2 (n-1)/n of the buffer a device. A switch that reduces in flight
    brings that to one buffer. In one shot, every device reads all peers' buffers: n-1 buffers, but a single step.

    Parameters
    ----------
    bytes : B, the buffer of each device.
    devices : taking part.
    link_bandwidth, network_bandwidth, memory_bandwidth : B/s a chip; link and network per direction.
    link_latency, network_latency : s.
    link_domain : devices in one scale-up domain.
    switch_reduction : 1.0 where the scale-up switch reduces in flight, else 0.0.
    launch_s : s, start of the kernel and first synchronisation.
    hop_s : s, what a step between two devices adds to the wire: flag, fence, reduction.
    link_fraction, switch_fraction, network_fraction : sustained share of the bandwidths, in (0, 1]; `switch_fraction`
        that of the link while the switch reduces.
    chunk_s : s, fixed cost of one chunk of a pipelined message.
    copy_fraction : sustained share of memory bandwidth in the copy of the own shard, in (0, 1].
    shot_share : sustained share of the link bandwidth in one shot; 0.0 where the library has no such algorithm.
    peer_s : s, cost of each peer in one shot.

    Returns
    -------
    The 14 quantities of a cost, in the order that every kernel returns them.
    """
    cost = exchange(
        2.0, bytes, devices, 0.0, link_bandwidth, link_latency, link_domain, switch_reduction, network_bandwidth,
        network_latency, memory_bandwidth, launch_s, hop_s, link_fraction, switch_fraction, network_fraction, chunk_s,
        copy_fraction,
    )  # fmt: skip
    if shot_share > 0.0 and 1.0 < devices <= link_domain:
        peers = devices - 1.0
        overhead_s = launch_s + link_latency + peers * peer_s
        link_s = peers * bytes / (link_bandwidth * shot_share)
        if overhead_s + link_s < cost[7]:
            return transfer(peers * bytes, cost[6], overhead_s, link_s, 0.0, 0.0, 0.0)
    return cost


@kernel
def all_gather(
    bytes: float,
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    network_bandwidth: float,
    network_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    hop_s: float,
    link_fraction: float,
    network_fraction: float,
    chunk_s: float,
    copy_fraction: float,
) -> Quantities:
    """Cost of collecting every device's shard of `bytes` on each device; the arguments are those of `all_reduce`."""
    return exchange(
        1.0, bytes, devices, 0.0, link_bandwidth, link_latency, link_domain, 0.0, network_bandwidth, network_latency,
        memory_bandwidth, launch_s, hop_s, link_fraction, 1.0, network_fraction, chunk_s, copy_fraction,
    )  # fmt: skip


@kernel
def reduce_scatter(
    bytes: float,
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    network_bandwidth: float,
    network_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    hop_s: float,
    link_fraction: float,
    network_fraction: float,
    chunk_s: float,
    copy_fraction: float,
) -> Quantities:
    """Cost of summing `bytes` over devices, a shard on each; the arguments are those of `all_reduce`."""
    return exchange(
        1.0, bytes, devices, 0.0, link_bandwidth, link_latency, link_domain, 0.0, network_bandwidth, network_latency,
        memory_bandwidth, launch_s, hop_s, link_fraction, 1.0, network_fraction, chunk_s, copy_fraction,
    )  # fmt: skip


@kernel
def all_to_all(
    bytes: float,
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    network_bandwidth: float,
    network_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    hop_s: float,
    link_fraction: float,
    network_fraction: float,
    chunk_s: float,
    copy_fraction: float,
) -> Quantities:
    """Cost of sending each device its own part of every other's buffer of `bytes`.

    What leaves the domain goes to the device of the same rank there and is passed on inside, so the links carry
    (l-1)/l of the buffer in a domain of l devices and the network (d-1)/d of it among d domains. The other arguments
    are those of `all_reduce`.
    """
    return exchange(
        1.0, bytes, devices, 1.0, link_bandwidth, link_latency, link_domain, 0.0, network_bandwidth, network_latency,
        memory_bandwidth, launch_s, hop_s, link_fraction, 1.0, network_fraction, chunk_s, copy_fraction,
    )  # fmt: skip


@kernel
def send(
    bytes: float,
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    network_bandwidth: float,
    network_latency: float,
    launch_s: float,
    hop_s: float,
    link_fraction: float,
    network_fraction: float,
    chunk_s: float,
) -> Quantities:
    """Cost of passing `bytes` to one peer in a group of `devices`: over the network if the group leaves the domain.

    The other arguments are those of `all_reduce`.
    """
    if devices <= 1.0:
        return transfer(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    link_s = lower_s = latency_s = across_s = 0.0
    if link_domain > 1.0:
        lower_s = bytes / link_bandwidth
        link_s = lower_s / link_fraction
        latency_s = link_latency + hop_s
    if devices > link_domain:
        lower_s = max(lower_s, bytes / network_bandwidth)
        across_s = bytes / (network_bandwidth * network_fraction)
        latency_s += network_latency + hop_s
    network_s = pipelined(max(link_s, across_s), chunk_s)
    return transfer(bytes, lower_s, launch_s + latency_s, network_s, min(link_s, across_s), 0.0, 0.0)


@kernel
def host_copy(
    bytes: float, host_bandwidth: float, host_latency: float, launch_s: float, host_fraction: float
) -> Quantities:
    """Cost of copying `bytes` between the host's memory and the chip's.

    Parameters
    ----------
    bytes : B.
    host_bandwidth : B/s, per direction.
    host_latency : s.
    launch_s : s, the driver's cost of a copy.
    host_fraction : sustained share of the bandwidth, in (0, 1].

    Returns
    -------
    The 14 quantities of a cost, in the order that every kernel returns them.
    """
    lower_s = bytes / host_bandwidth
    return transfer(bytes, lower_s, launch_s + host_latency, lower_s / host_fraction, 0.0, bytes, 0.0)
