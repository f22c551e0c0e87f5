"""Collectives among the devices of a scale-up domain and across the network around it; copies to and from the host.

`bytes` is the whole buffer of one device, as the nccl-tests count it: what every device holds before an all-reduce,
a reduce-scatter or an all-to-all, and after an all-gather. One device alone has nothing to do and pays nothing.

What is sent is read from main memory, and what is received is written there, so no transfer is faster than that.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2, sqrt

from roofline.kernels._jit import inner, kernel
from roofline.kernels.quantities import Quantities


@inner
def steps(members: float) -> float:
    """Dependent steps of one phase: a ring has members - 1, a tree log2(members) levels of two children each."""
    return min(members - 1.0, 2.0 * log2(members))


@inner
def transfer(
    sent: float,
    lower_s: float,
    overhead_s: float,
    network_s: float,
    hidden_s: float,
    copied: float,
    copy_s: float,
    passing_s: float,
) -> Quantities:
    """The cost of `sent` bytes, `hidden_s` of whose time on links or network is hidden behind the other.

    `passing_s` is how long main memory takes to give and take them, all the while that they are on their way.
    """
    time_s = overhead_s + network_s + copy_s
    memory_s = copy_s
    if passing_s > network_s + copy_s:
        time_s = overhead_s + passing_s
        memory_s = passing_s
    upper_s = time_s + hidden_s
    return Quantities(
        0.0, 0.0, sent, copied, 0.0, sent, lower_s, time_s, upper_s, 0.0, memory_s, 0.0, network_s, overhead_s
    )


@inner
def nothing() -> Quantities:
    """The cost of a collective of one device."""
    return Quantities(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@inner
def domains_of(devices: float, link_domain: float) -> tuple[float, float]:
    """Devices in the largest of the scale-up domains that `devices` fill, and how many domains that are."""
    local = min(devices, max(link_domain, 1.0))
    return local, float(ceil(devices / local))


@inner
def latency(phases: float, local: float, domains: float, link_step_s: float, network_step_s: float) -> float:
    """What the dependent steps of some phases take, s, inside a domain and across domains."""
    return phases * (steps(local) * link_step_s + steps(domains) * network_step_s)


@inner
def way(
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    link_bisection: float,
    peer_bandwidth: float,
    peer_latency: float,
    peer_domain: float,
    peer_bisection: float,
) -> tuple[float, float, float, float, float]:
    """Bandwidth, latency, domain and bisection of what joins `devices` of one server: links, or the bus past those.

    A ring that leaves a bridged pair runs at the rate of the bus all round, so that the bridges no longer matter. The
    last is 1.0 for the bus: a card has one port to it, through which it reaches the network, too.
    """
    if link_domain < devices and link_domain < peer_domain:
        return peer_bandwidth, peer_latency, peer_domain, peer_bisection, 1.0
    one_port = 0.0
    return link_bandwidth, link_latency, link_domain, link_bisection, one_port


@inner
def narrowest(local: float, link_domain: float, link_bandwidth: float, link_bisection: float) -> float:
    """Bandwidth of a ring of `local` devices: of the bisection where they lie on both sides of it."""
    return min(link_bandwidth, link_bisection) if 2.0 * local > link_domain else link_bandwidth


@inner
def crossing(bytes: float, local: float, link_domain: float) -> float:
    """Bytes that pass the bisection of a domain one way as each of `local` devices sends each other its part."""
    near = max(link_domain / 2.0, 1.0)
    return max(near * (local - near) / local * bytes, 0.0)


@inner
def pipelined(seconds: float, chunk_s: float) -> float:
    """Time to pass `seconds` of traffic on in k chunks, x + x / k + k * chunk_s, at the best k."""
    return seconds + 2.0 * sqrt(seconds * chunk_s)


@inner
def exchange(
    phases: float,
    bytes: float,
    devices: float,
    local: float,
    domains: float,
    scattered: float,
    one_port: float,
    link_bandwidth: float,
    link_rate: float,
    network_bandwidth: float,
    network_rate: float,
    switch_rate: float,
    crossing_s: float,
    memory_bandwidth: float,
    memory_rate: float,
    overhead_s: float,
    chunk_s: float,
) -> Quantities:
    """`phases` times: pass on all of the buffer but the own shard, inside the domain and then across domains.

    Across, each device and its peers of the same rank exchange the shard, or if `scattered` the buffer. Links and
    network work on different chunks at once. The own shard is copied in memory, before or after.

    Parameters
    ----------
    phases, bytes, devices, local, domains
        `local` devices lie in each of the `domains`.
    scattered : float
        1.0: every part has a device of its own.
    one_port : float
        1.0: what goes across domains passes a device's port to the links, too.
    link_bandwidth, network_bandwidth, memory_bandwidth
        Of the datasheet, B/s.
    link_rate, network_rate, memory_rate
        Sustained, B/s.
    switch_rate : float
        That of the link while its switch reduces, 0.0 where it does not.
    crossing_s : float
        What passes the bisection of the domain takes there, s.
    overhead_s, chunk_s : float
        What nothing hides; the fixed cost of one chunk of a pipelined message; s.
    """
    if devices <= 1.0:
        return nothing()
    shard = bytes / local
    inside = bytes - shard
    across = (bytes if scattered > 0.0 else shard) * (domains - 1.0) / domains

    link_s = max((inside + one_port * across) / link_rate, crossing_s)
    across_s = across / network_rate
    network_s = pipelined(max(link_s, across_s), chunk_s)
    # The copy is never slower than a detour over the wire.
    copied = shard if local > 1.0 else bytes / domains
    # Scattered, all but the own part is read and written; else a phase reads or writes the whole buffer.
    passing = 2.0 * (bytes - bytes / devices) if scattered > 0.0 else bytes
    wire_rate = link_rate if local > 1.0 else network_rate
    copy_s = copied * min(2.0 / memory_rate, 1.0 / wire_rate)
    if switch_rate > 0.0 and local > 1.0:
        # Over all phases a device sends its buffer once and receives the sum once, whatever the number of devices.
        inside = min(inside, bytes / phases)
        switch_s = bytes / phases / switch_rate
        link_s = min(link_s, switch_s)
        switched_s = pipelined(max(switch_s, across_s), chunk_s)
        if switched_s < network_s + copy_s:
            network_s, copied, copy_s = switched_s, 0.0, 0.0
    least = inside
    if scattered > 0.0:
        # No need to pass on what comes from other domains: sent straight to its device it spares the links. A device in
        # the largest of the domains has at least this many parts for others in its own.
        least = bytes * max(1.0 / domains - 1.0 / devices, 0.0)
    wires_s = max((least + one_port * across) / link_bandwidth, across / network_bandwidth)
    sent, lower_s = phases * (inside + across), phases * max(wires_s, passing / memory_bandwidth)
    hidden_s, passing_s = phases * min(link_s, across_s), phases * passing / memory_rate
    network_s, copied, copy_s = phases * network_s, phases * 2.0 * copied, phases * copy_s
    return transfer(sent, lower_s, overhead_s, network_s, hidden_s, copied, copy_s, passing_s)


@kernel("bytes")
def all_reduce(
    bytes: float,
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    link_bisection: float,
    switch_reduction: float,
    peer_bandwidth: float,
    peer_latency: float,
    peer_domain: float,
    peer_bisection: float,
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
    link_bisection : B/s one way between the halves of a full domain, of all its devices together.
    peer_bandwidth, peer_latency, peer_domain, peer_bisection : the same of the bus that joins the domains of a server;
        its domain is 1 where there is none.
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
    phases, scattered, crossing_s = 2.0, 0.0, 0.0
    one_shot = shot_share > 0.0 and 1.0 < devices <= link_domain
    link_bandwidth, link_latency, link_domain, link_bisection, one_port = way(
        devices,
        link_bandwidth,
        link_latency,
        link_domain,
        link_bisection,
        peer_bandwidth,
        peer_latency,
        peer_domain,
        peer_bisection,
    )
    local, domains = domains_of(devices, link_domain)
    link_rate = narrowest(local, link_domain, link_bandwidth, link_bisection) * link_fraction
    network_rate = network_bandwidth * network_fraction
    switch_rate = link_bandwidth * switch_fraction if switch_reduction > 0.0 else 0.0
    memory_rate = memory_bandwidth * copy_fraction
    overhead_s = launch_s + latency(phases, local, domains, link_latency + hop_s, network_latency + hop_s)
    cost = exchange(
        phases,
        bytes,
        devices,
        local,
        domains,
        scattered,
        one_port,
        link_bandwidth,
        link_rate,
        network_bandwidth,
        network_rate,
        switch_rate,
        crossing_s,
        memory_bandwidth,
        memory_rate,
        overhead_s,
        chunk_s,
    )
    if one_shot:
        peers = devices - 1.0
        sent, lower_s, overhead_s = peers * bytes, cost.lower_s, launch_s + link_latency + peers * peer_s
        crossed_s = crossing(bytes * devices, devices, link_domain) / (link_bisection * shot_share)
        network_s, passing_s = max(sent / (link_bandwidth * shot_share), crossed_s), 2.0 * bytes / memory_rate
        if overhead_s + max(network_s, passing_s) < cost.time_s:
            hidden_s = copied = copy_s = 0.0
            return transfer(sent, lower_s, overhead_s, network_s, hidden_s, copied, copy_s, passing_s)
    return cost


def _one_phase(name: str, scattered: float, doc: str) -> Callable[..., Quantities]:
    """A collective of a single phase: what it is called, whether parts go to their own devices, what it does."""

    def collective(
        bytes: float,
        devices: float,
        link_bandwidth: float,
        link_latency: float,
        link_domain: float,
        link_bisection: float,
        peer_bandwidth: float,
        peer_latency: float,
        peer_domain: float,
        peer_bisection: float,
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
        phases, switch_rate = 1.0, 0.0
        link_bandwidth, link_latency, link_domain, link_bisection, one_port = way(
            devices,
            link_bandwidth,
            link_latency,
            link_domain,
            link_bisection,
            peer_bandwidth,
            peer_latency,
            peer_domain,
            peer_bisection,
        )
        local, domains = domains_of(devices, link_domain)
        link_rate, crossing_s = link_bandwidth * link_fraction, 0.0
        if scattered > 0.0:
            crossing_s = crossing(bytes, local, link_domain) / (link_bisection * link_fraction)
        else:
            link_rate = narrowest(local, link_domain, link_bandwidth, link_bisection) * link_fraction
        network_rate = network_bandwidth * network_fraction
        memory_rate = memory_bandwidth * copy_fraction
        overhead_s = launch_s + latency(phases, local, domains, link_latency + hop_s, network_latency + hop_s)
        return exchange(
            phases,
            bytes,
            devices,
            local,
            domains,
            scattered,
            one_port,
            link_bandwidth,
            link_rate,
            network_bandwidth,
            network_rate,
            switch_rate,
            crossing_s,
            memory_bandwidth,
            memory_rate,
            overhead_s,
            chunk_s,
        )

    collective.__name__ = collective.__qualname__ = name
    collective.__doc__ = f"{doc}\n\n    The other arguments are those of `all_reduce`.\n    "
    return kernel("bytes")(collective)


all_gather = _one_phase("all_gather", 0.0, "Cost of collecting every device's shard of `bytes` on each device.")
reduce_scatter = _one_phase("reduce_scatter", 0.0, "Cost of summing `bytes` over devices, a shard on each.")
all_to_all = _one_phase(
    "all_to_all",
    1.0,
    """Cost of sending each device its own part of every other's buffer of `bytes`.

    What leaves the domain goes to the device of the same rank there and is passed on inside, so the links carry
    (l-1)/l of the buffer in a domain of l devices and the network (d-1)/d of it among d domains. `lower_s` does without
    passing on: of n devices' parts the links carry those of the (l-1)/n that stay in the domain.""",
)


@kernel("bytes")
def send(
    bytes: float,
    devices: float,
    link_bandwidth: float,
    link_latency: float,
    link_domain: float,
    link_bisection: float,
    peer_bandwidth: float,
    peer_latency: float,
    peer_domain: float,
    peer_bisection: float,
    network_bandwidth: float,
    network_latency: float,
    memory_bandwidth: float,
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
        return nothing()
    passing_s = lower_s = bytes / memory_bandwidth
    link_s = latency_s = across_s = 0.0
    link_bandwidth, link_latency, link_domain, link_bisection, one_port = way(  # noqa: RUF059  called as it is returned
        devices,
        link_bandwidth,
        link_latency,
        link_domain,
        link_bisection,
        peer_bandwidth,
        peer_latency,
        peer_domain,
        peer_bisection,
    )
    if link_domain > 1.0:
        lower_s = max(lower_s, bytes / link_bandwidth)
        local = min(devices, link_domain)
        link_s = bytes / (narrowest(local, link_domain, link_bandwidth, link_bisection) * link_fraction)
        latency_s = link_latency + hop_s
    if devices > link_domain:
        lower_s = max(lower_s, bytes / network_bandwidth)
        across_s = bytes / (network_bandwidth * network_fraction)
        latency_s += network_latency + hop_s
    network_s = pipelined(max(link_s, across_s), chunk_s)
    sent, overhead_s, hidden_s = bytes, launch_s + latency_s, min(link_s, across_s)
    copied = copy_s = 0.0
    return transfer(sent, lower_s, overhead_s, network_s, hidden_s, copied, copy_s, passing_s)


@kernel("bytes")
def host_copy(
    bytes: float,
    host_bandwidth: float,
    host_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    host_fraction: float,
) -> Quantities:
    """Cost of copying `bytes` between the host's memory and the chip's.

    Parameters
    ----------
    bytes : B.
    host_bandwidth : B/s, per direction.
    host_latency : s.
    memory_bandwidth : B/s.
    launch_s : s, the driver's cost of a copy.
    host_fraction : sustained share of the bandwidth, in (0, 1].

    Returns
    -------
    The 14 quantities of a cost, in the order that every kernel returns them.
    """
    host_s, passing_s = bytes / host_bandwidth, bytes / memory_bandwidth
    sent, copied, copy_s, hidden_s = bytes, bytes, 0.0, 0.0
    lower_s, overhead_s, network_s = max(host_s, passing_s), launch_s + host_latency, host_s / host_fraction
    return transfer(sent, lower_s, overhead_s, network_s, hidden_s, copied, copy_s, passing_s)
