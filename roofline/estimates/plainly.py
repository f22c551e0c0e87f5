"""What compiled loops over a block of points do, in plain numpy: where compiling them would take longer."""

from __future__ import annotations

from typing import Any

import numpy as np

from roofline.kernels import _loops, sums

_COSTS = slice(_loops.COST, _loops.TEMP)


def add(scratch: np.ndarray, count: float, place: int, size: int) -> None:
    """What :func:`roofline.kernels.sums.add` does."""
    rows = scratch.reshape(-1, _loops.ROW)[:, :size]
    cost, found = rows[_COSTS], rows[_loops.SUMS : _loops.FREE]
    times = count if place < 0 else rows[place]
    time_s = times * cost[7]
    found[0] += times * cost[6]
    found[1] += time_s
    found[2] += times * cost[8]
    found[3:] += np.where(np.arange(sums.BOUNDS)[:, None] == np.argmax(busy(cost), axis=0), time_s, 0.0)


def busy(cost: Any) -> Any:
    """Busy times (s) of compute, memory, cache, network and overhead, as far as each can bound an operator.

    Without FLOP there is nothing to compute: cycles that cores spend all the same (to begin a row) are overhead, and so
    is, for want of another word, what takes no time at all.
    """
    compute, memory, cache, network, overhead = cost[9:]
    without = cost[0] + cost[1] == 0
    starting = np.where(without, np.maximum(overhead + compute, sums.INSTANT), overhead)
    return np.stack(np.broadcast_arrays(np.where(without, 0.0, compute), memory, cache, network, starting))


def finish(
    scratch: np.ndarray,
    scale: float,
    place: int,
    merged: int,
    lower: np.ndarray,
    time: np.ndarray,
    upper: np.ndarray,
    codes: np.ndarray,
    first: int,
    size: int,
) -> None:
    """What :func:`roofline.kernels.sums.finish` does."""
    rows = scratch.reshape(-1, _loops.ROW)[:, :size]
    found, here = rows[_loops.SUMS : _loops.FREE], slice(first, first + size)
    if merged:
        found[4] += found[5]
        found[5] = 0.0
    for row, out in enumerate((lower, time, upper)):
        out[here] = found[row] * (scale if place < 0 else rows[place])
    codes[here] = np.argmax(found[3:], axis=0)
