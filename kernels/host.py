"""Lookups in tables that the chip does not hold: gathered by the host, or read over the link row by row and kept."""

from __future__ import annotations

from math import ceil

from roofline.kernels._jit import kernel
from roofline.kernels.lookups import lookups_missed
from roofline.kernels.quantities import Quantities


@kernel
def host_lookup(
    batch: float,
    tables: float,
    rows: float,
    dim: float,
    pooling: float,
    skew: float,
    width: float,
    out_width: float,
    gathers: float,
    kept_bytes: float,
    launches: float,
    host_bandwidth: float,
    host_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    host_fraction: float,
    memory_fraction: float,
    row_s: float,
    transaction_bytes: float,
) -> Quantities:
    """Cost of `tables` embedding bags whose tables lie in the host's memory.

    Parameters
    ----------
    batch, tables, rows, dim, pooling : samples, tables, rows of each table, elements of a row, lookups a bag.
    skew : Zipf exponent of the indices.
    width, out_width : bytes per element of the tables and of the pooled result.
    gathers : 1.0 where the host's cores gather and sum, and pooled vectors cross the link; 0.0 where rows do.
    kept_bytes : B of the chip's memory in which rows of these tables are kept, the last used ones.
    launches : kernels that it takes: 1.0, 0.0 for a part of a kernel that another one starts.
    host_bandwidth : B/s of the link, per direction.
    host_latency : s.
    memory_bandwidth : B/s of the chip's memory.
    launch_s : s, the start of it on host and chip.
    host_fraction, memory_fraction : sustained share of either bandwidth, in (0, 1].
    row_s : s that a row costs the host, all of its cores at work: found, read and written where the link takes it.
    transaction_bytes : B, the unit in which rows cross the link.

    Returns
    -------
    The 14 quantities of a cost. What the host takes counts as network.
    """
    draws = batch * pooling
    row_bytes = dim * width
    kept_rows = kept_bytes / (tables * row_bytes)
    unique, missed = lookups_missed(draws, rows, skew, kept_rows, kept_rows, 0.0)
    fetched = tables * missed
    out_bytes = batch * tables * dim * out_width
    padded = ceil(row_bytes / transaction_bytes) * transaction_bytes
    link_bytes = gathers * out_bytes + (1.0 - gathers) * fetched * padded
    least_bytes = gathers * out_bytes
    least_bytes += (1.0 - gathers) * max(0.0, tables * unique * row_bytes - kept_bytes)
    memory_bytes = (1.0 - gathers) * tables * draws * row_bytes + out_bytes  # rows that are here, results
    ideal_s = max(least_bytes / host_bandwidth, out_bytes / memory_bandwidth)
    network_s = fetched * row_s + link_bytes / (host_bandwidth * host_fraction)
    memory_s = memory_bytes / (memory_bandwidth * memory_fraction)
    overhead_s = launches * (launch_s + host_latency)
    time_s = max(ideal_s, overhead_s + network_s + memory_s)
    return Quantities(
        0.0,
        (1.0 - gathers) * tables * draws * dim,
        tables * unique * row_bytes + out_bytes,
        memory_bytes,
        memory_bytes,
        link_bytes,
        ideal_s,
        time_s,
        time_s,
        0.0,
        memory_s,
        0.0,
        network_s,
        overhead_s,
    )
