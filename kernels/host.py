"""Lookups in tables that the chip does not hold: gathered by the host, or read over the link row by row and kept."""

from __future__ import annotations

from math import ceil

from roofline.kernels._jit import inner, kernel
from roofline.kernels.lookups import lookups_missed
from roofline.kernels.quantities import Quantities


@inner
def fetched_from(
    batch: float,
    tables: float,
    rows: float,
    dim: float,
    pooling: float,
    skew: float,
    together: float,
    repeat: float,
    width: float,
    scale_bytes: float,
    out_width: float,
    gathers: float,
    kept_bytes: float,
    row_s: float,
    launches: float,
    link_bandwidth: float,
    link_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    host_fraction: float,
    memory_fraction: float,
    transaction_bytes: float,
) -> Quantities:
    """Cost of lookups in tables behind a link: see :func:`host_lookup`."""
    draws = batch * pooling
    row_bytes = dim * width + scale_bytes
    kept_rows = kept_bytes / (tables * row_bytes)
    unique, missed = lookups_missed(draws, rows, skew, together, repeat, kept_rows, kept_rows, 0.0)
    fetched = tables * missed
    out_bytes = batch * tables * dim * out_width
    padded = ceil(row_bytes / transaction_bytes) * transaction_bytes
    link_bytes = gathers * out_bytes + (1.0 - gathers) * fetched * padded
    least_bytes = gathers * out_bytes
    least_bytes += (1.0 - gathers) * max(0.0, tables * unique * row_bytes - kept_bytes)
    memory_bytes = (1.0 - gathers) * tables * draws * row_bytes + out_bytes  # rows that are here, results
    ideal_s = max(least_bytes / link_bandwidth, out_bytes / memory_bandwidth)
    network_s = fetched * row_s + link_bytes / (link_bandwidth * host_fraction)
    memory_s = memory_bytes / (memory_bandwidth * memory_fraction)
    overhead_s = launches * (launch_s + link_latency)
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


@kernel("batch")
def host_lookup(
    batch: float,
    tables: float,
    rows: float,
    dim: float,
    pooling: float,
    skew: float,
    together: float,
    repeat: float,
    width: float,
    scale_bytes: float,
    out_width: float,
    gathers: float,
    kept_bytes: float,
    row_s: float,
    launches: float,
    host_bandwidth: float,
    host_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    host_fraction: float,
    memory_fraction: float,
    transaction_bytes: float,
) -> Quantities:
    """Cost of `tables` embedding bags whose tables lie in the host's memory.

    Parameters
    ----------
    batch, tables, rows, dim, pooling : samples, tables, rows of each table, elements of a row, lookups a bag.
    skew : Zipf exponent of the indices.
    together, repeat : rows that one draw brings, and share of a batch's draws that repeat those of the batch before.
    width, out_width : bytes per element of the tables and of the pooled result.
    scale_bytes : B of the scale and the bias that lie beside each row.
    gathers : 1.0 where the host's cores gather and sum, and pooled vectors cross the link; 0.0 where rows do.
    kept_bytes : B of the chip's memory in which rows of these tables are kept, the last used ones.
    row_s : s that a row costs the host, all of its cores at work: found, read and written where the link takes it.
    launches : kernels that it takes: 1.0, 0.0 for a part of a kernel that another one starts.
    host_bandwidth : B/s of the link, per direction.
    host_latency : s.
    memory_bandwidth : B/s of the chip's memory.
    launch_s : s, the start of it on host and chip.
    host_fraction, memory_fraction : sustained share of either bandwidth, in (0, 1].
    transaction_bytes : B, the unit in which rows cross the link.

    Returns
    -------
    The 14 quantities of a cost. What the host takes counts as network.
    """
    link_bandwidth, link_latency = host_bandwidth, host_latency
    return fetched_from(
        batch,
        tables,
        rows,
        dim,
        pooling,
        skew,
        together,
        repeat,
        width,
        scale_bytes,
        out_width,
        gathers,
        kept_bytes,
        row_s,
        launches,
        link_bandwidth,
        link_latency,
        memory_bandwidth,
        launch_s,
        host_fraction,
        memory_fraction,
        transaction_bytes,
    )


@kernel("batch")
def remote_lookup(
    batch: float,
    tables: float,
    rows: float,
    dim: float,
    pooling: float,
    skew: float,
    together: float,
    repeat: float,
    width: float,
    scale_bytes: float,
    out_width: float,
    gathers: float,
    kept_bytes: float,
    row_s: float,
    launches: float,
    network_bandwidth: float,
    network_latency: float,
    memory_bandwidth: float,
    launch_s: float,
    host_fraction: float,
    memory_fraction: float,
    transaction_bytes: float,
) -> Quantities:
    """The same for tables in the memory of a server behind the network.

    Parameters
    ----------
    network_bandwidth : B/s.
    network_latency : s.
    The others: as for :func:`host_lookup`.

    Returns
    -------
    The 14 quantities of a cost.
    """
    link_bandwidth, link_latency = network_bandwidth, network_latency
    return fetched_from(
        batch,
        tables,
        rows,
        dim,
        pooling,
        skew,
        together,
        repeat,
        width,
        scale_bytes,
        out_width,
        gathers,
        kept_bytes,
        row_s,
        launches,
        link_bandwidth,
        link_latency,
        memory_bandwidth,
        launch_s,
        host_fraction,
        memory_fraction,
        transaction_bytes,
    )


@kernel("fixed_s")
def serving(
    fixed_s: float,
) -> Quantities:
    """Cost of a serving process's own work on a batch: all of it is overhead.

    Parameters
    ----------
    fixed_s : s.

    Returns
    -------
    The 14 quantities of a cost.
    """
    return Quantities(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, fixed_s, fixed_s, 0.0, 0.0, 0.0, 0.0, fixed_s)
