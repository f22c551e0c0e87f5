"""Embedding bags in plain numpy: how many distinct rows, which repeats a cache catches, how fast the rest comes."""

from __future__ import annotations

import numpy as np

from roofline.kernels.reference.lookups import INDEX_BYTES, lookups_missed


def embedding_bag(
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
    reuse,
    room_share,
    warm_share,
    launches,
    vector_flops,
    memory_bandwidth,
    memory_latency,
    memory_channels,
    cache_bandwidth,
    cache_latency,
    cache_capacity,
    core_count,
    clock,
    launch_s,
    memory_fraction,
    cache_fraction,
    compute_fraction,
    cache_share,
    pinned_share,
    inflight_bytes,
    inflight_rows,
    channel_row_s,
    transaction_bytes,
    issue_cycles,
    bag_cycles,
    page_walk_cycles,
    tlb_reach_bytes,
    overlap_share,
):
    """Cost of `tables` pooled lookups, as arrays that broadcast.

    Traffic: every missed row from main memory, padded to whole transactions; every row, index and result through the
    cache. Rows come at the rate of a closed network: so many are under way, each waits for its latency, a hit's or a
    miss's, and misses queue for a channel.
    Work: one addition per element looked up, the issue of each lookup (and the way to its page, as far as
    the table is larger than the address cache reaches) and the beginning and end of each bag. What of the times is
    not the longest counts as far as it does not overlap.
    """
    draws = batch * pooling
    lookups = tables * draws
    row = dim * width + scale_bytes
    padded = np.ceil(row / transaction_bytes) * transaction_bytes
    stream = lookups * INDEX_BYTES + batch * tables * dim * out_width
    work = lookups * dim
    held = cache_share * room_share * cache_capacity / (tables * padded)
    unique, missed = lookups_missed(draws, rows, skew, together, repeat, held, warm_share * held, pinned_share)

    def memory_traffic(row_bytes, again):
        once = row_bytes + np.maximum(0.0, stream - cache_capacity)
        return (1 - again) * once + again * np.maximum(0.0, row_bytes + stream - cache_capacity)

    warm = np.where((warm_share > 0) | (pinned_share > 0), 1.0, reuse)
    ideal = memory_traffic(tables * unique * row, warm) / memory_bandwidth
    lower = np.maximum(np.maximum(ideal, (lookups * row + stream) / cache_bandwidth), work / vector_flops)

    memory_bytes = memory_traffic(tables * missed * padded, reuse)
    cache_bytes = lookups * padded + stream
    # Mean value analysis of `places` lookups that go round between a wait and one of the channels (Schweitzer): at a
    # rate of x lookups a second a channel has q = (places - x * wait) / channels in it, of which a newcomer finds all
    # but its own part, and x = places / (wait + service * (1 + q * (places - 1) / places)). A quadratic in x.
    places = core_count * np.minimum(inflight_rows, inflight_bytes / padded)
    row_s = padded / (memory_fraction * memory_bandwidth / memory_channels) + channel_row_s  # of a channel
    miss = memory_bytes / padded / lookups
    misses_wait = np.minimum(1, miss) * memory_latency
    hits_wait = np.maximum(0, 1 - miss) * np.minimum(cache_latency, memory_latency)
    wait, service = misses_wait + hits_wait, miss * row_s
    met = np.maximum(0.0, 1 - 1 / places) / memory_channels
    a, b, c = service * wait * met, wait + service * (1 + met * places), places
    rows_s = lookups * (b + np.sqrt(np.maximum(0.0, b**2 - 4 * a * c))) / (2 * c)
    stream_s = cache_bytes / (cache_fraction * cache_bandwidth)
    unreached = np.maximum(0.0, 1 - tlb_reach_bytes / (tables * rows * row))
    cycles = lookups * (issue_cycles + unreached * page_walk_cycles) + batch * tables * bag_cycles
    compute_s = work / (compute_fraction * vector_flops) + cycles / (core_count * clock)
    overhead_s = launches * (launch_s + memory_latency)
    longest = np.maximum(np.maximum(rows_s, stream_s), compute_s)
    whole = rows_s + stream_s + compute_s
    time = np.maximum(lower, overhead_s + overlap_share * longest + (1 - overlap_share) * whole)
    by_memory = misses_wait + service >= hits_wait
    memory_s = np.where(by_memory, rows_s, lookups * service / memory_channels)
    cache_s = np.where(by_memory, stream_s, np.maximum(rows_s, stream_s))
    zero = np.zeros_like(time)
    return tuple(
        np.broadcast_arrays(
            zero,
            work,
            tables * unique * row + stream,
            memory_bytes,
            cache_bytes,
            zero,
            lower,
            time,
            np.maximum(time, overhead_s + whole),
            compute_s,
            memory_s,
            cache_s,
            zero,
            overhead_s,
        )
    )
