"""Tables in the host's memory, in plain numpy."""

from __future__ import annotations

import numpy as np

from roofline.kernels.reference.lookups import lookups_missed


def host_lookup(
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
    host_bandwidth,
    host_latency,
    memory_bandwidth,
    launch_s,
    host_fraction,
    memory_fraction,
    transaction_bytes,
):
    """Pooled lookups in tables of the host: it gathers, then vectors cross the link; or rows do that are not kept here.

    Rows that the chip keeps are found as in a cache of the last used ones, batch after batch. Finding a row, the link
    and the chip's own reading come one after the other.
    """
    row, draws = dim * width + scale_bytes, batch * pooling
    kept = kept_bytes / (tables * row)
    unique, missed = lookups_missed(draws, rows, skew, together, repeat, kept, kept, 0.0)
    vectors = batch * tables * dim * out_width
    by_row = np.asarray(gathers) == 0
    sent = np.where(by_row, tables * missed * np.ceil(row / transaction_bytes) * transaction_bytes, vectors)
    least = np.where(by_row, np.maximum(0.0, tables * unique * row - kept_bytes), vectors)
    here = np.where(by_row, tables * draws * row, 0.0) + vectors
    lower = np.maximum(least / host_bandwidth, vectors / memory_bandwidth)
    network_s = tables * missed * row_s + sent / (host_bandwidth * host_fraction)
    memory_s = here / (memory_bandwidth * memory_fraction)
    overhead_s = launches * (launch_s + host_latency)
    time = np.maximum(lower, overhead_s + network_s + memory_s)
    zero = np.zeros_like(time)
    work = np.where(by_row, tables * draws * dim, 0.0)
    return tuple(
        np.broadcast_arrays(
            zero,
            work,
            tables * unique * row + vectors,
            here,
            here,
            sent,
            lower,
            time,
            time,
            zero,
            memory_s,
            zero,
            network_s,
            overhead_s,
        )
    )


def remote_lookup(
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
    network_bandwidth,
    network_latency,
    memory_bandwidth,
    launch_s,
    host_fraction,
    memory_fraction,
    transaction_bytes,
):
    """The same over the network."""
    return host_lookup(
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
        network_bandwidth,
        network_latency,
        memory_bandwidth,
        launch_s,
        host_fraction,
        memory_fraction,
        transaction_bytes,
    )


def serving(fixed_s):
    """A process's own work: overhead."""
    zero = 0.0 * fixed_s
    return zero, zero, zero, zero, zero, zero, zero, fixed_s, fixed_s, zero, zero, zero, zero, fixed_s
