"""Collectives over a scale-up domain and the network around it, and copies to and from the host."""

import math

from roofline.kernels._jit import inner, kernel


@inner
def _result(sent, lower_s, network_s, memory_bytes, memory_s, overhead_s):
    time_s = overhead_s + network_s + memory_s
    return (
        0.0, 0.0, sent, memory_bytes, 0.0, sent,
        lower_s, time_s, time_s, 0.0, memory_s, 0.0, network_s, overhead_s,
    )


@inner
def _shard_exchange(
    bytes, devices, phases, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
    memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
):
    if devices <= 1.0:
        return _result(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    local = min(devices, max(1.0, link_domain))
    domains = math.ceil(devices / local)
    inside = phases * bytes * (local - 1.0) / local
    across = phases * bytes / local * (domains - 1.0) / domains
    lower_s = max(inside / link_bandwidth, across / network_bandwidth)
    network_s = max(inside / (link_bandwidth * link_fraction), across / (network_bandwidth * network_fraction))
    hops_s = phases * ((local - 1.0) * (link_latency + hop_s) + (domains - 1.0) * (network_latency + hop_s))
    overhead_s = launch_s + hops_s + 2.0 * math.sqrt(network_s * chunk_s)
    own = bytes / devices
    memory_s = own * min(1.0 / (link_bandwidth * link_fraction), 2.0 / (memory_bandwidth * copy_fraction))
    return _result(inside + across, lower_s, network_s, 2.0 * own, memory_s, overhead_s)


@kernel
def all_reduce(
    bytes, devices, link_bandwidth, link_latency, link_domain, switch_reduction, network_bandwidth, network_latency,
    memory_bandwidth, launch_s, hop_s, link_fraction, switch_fraction, network_fraction, chunk_s, copy_fraction,
    one_shot,
):
    return _shard_exchange(
        bytes, devices, 2.0, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
        memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction)


@kernel
def all_gather(
    bytes, devices, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
    memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
):
    return _shard_exchange(
        bytes, devices, 1.0, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
        memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction)


@kernel
def reduce_scatter(
    bytes, devices, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
    memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
):
    return _shard_exchange(
        bytes, devices, 1.0, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
        memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction)


@kernel
def all_to_all(
    bytes, devices, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
    memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction,
):
    return _shard_exchange(
        bytes, devices, 1.0, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
        memory_bandwidth, launch_s, hop_s, link_fraction, network_fraction, chunk_s, copy_fraction)


@kernel
def send(
    bytes, devices, link_bandwidth, link_latency, link_domain, network_bandwidth, network_latency,
    launch_s, hop_s, link_fraction, network_fraction,
):
    """One device's buffer to the next one, `devices` apart at most."""
    if devices <= 1.0:
        return _result(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if devices <= link_domain:
        lower_s = bytes / link_bandwidth
        return _result(bytes, lower_s, lower_s / link_fraction, 0.0, 0.0, launch_s + link_latency + hop_s)
    lower_s = bytes / network_bandwidth
    return _result(bytes, lower_s, lower_s / network_fraction, 0.0, 0.0, launch_s + network_latency + hop_s)


@kernel
def host_copy(bytes, host_bandwidth, host_latency, launch_s, host_fraction):
    """A copy between host memory and the chip."""
    lower_s = bytes / host_bandwidth
    return _result(bytes, lower_s, lower_s / host_fraction, bytes, 0.0, launch_s + host_latency)
