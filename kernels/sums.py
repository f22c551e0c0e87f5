"""What the costs of operators add up to, over a block of points: the loops behind a phase of arrays.

The costs of one operator stand in the scratch (see :mod:`roofline.kernels._loops`), and are added to its sums.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from roofline.kernels import _loops
from roofline.kernels.quantities import Quantities

Scratch: TypeAlias = np.ndarray  # of float64, flat
Codes: TypeAlias = np.ndarray  # of uint8
Places: TypeAlias = np.ndarray  # of int64

INSTANT = 1e-300  # s: above zero, below every time
BOUNDS = 5  # what can bound an operator: compute, memory, cache, network, overhead

# Where things stand in the scratch.
ROW = _loops.ROW
N = (_loops.OWN - 1) * ROW  # how often the operator runs: a row that no kernel has a column for
FLOPS = _loops.COST * ROW
VECTOR_FLOPS = FLOPS + ROW
LOWER = FLOPS + 6 * ROW
TIME = FLOPS + 7 * ROW
UPPER = FLOPS + 8 * ROW
COMPUTE = FLOPS + 9 * ROW
MEMORY = FLOPS + 10 * ROW
CACHE = FLOPS + 11 * ROW
NETWORK = FLOPS + 12 * ROW
OVERHEAD = FLOPS + 13 * ROW
SUMS = _loops.SUMS * ROW
BY_BOUND = SUMS + 3 * ROW
ERROR = CODE = _loops.TEMP * ROW  # what a block form remembered there is no longer needed


def store(scratch: Scratch, p: int, cost: Quantities) -> None:
    """Leave the cost of an operator at one point where it is looked for."""
    scratch[FLOPS + p] = cost.flops
    scratch[VECTOR_FLOPS + p] = cost.vector_flops
    scratch[FLOPS + 2 * ROW + p] = cost.bytes
    scratch[FLOPS + 3 * ROW + p] = cost.memory_bytes
    scratch[FLOPS + 4 * ROW + p] = cost.cache_bytes
    scratch[FLOPS + 5 * ROW + p] = cost.network_bytes
    scratch[LOWER + p] = cost.lower_s
    scratch[TIME + p] = cost.time_s
    scratch[UPPER + p] = cost.upper_s
    scratch[COMPUTE + p] = cost.compute_s
    scratch[MEMORY + p] = cost.memory_s
    scratch[CACHE + p] = cost.cache_s
    scratch[NETWORK + p] = cost.network_s
    scratch[OVERHEAD + p] = cost.overhead_s


def set_times(scratch: Scratch, times: float, place: int, size: int) -> None:
    """How often an operator runs at each point: a number, or the column at a place that is not negative."""
    if place < 0:
        for p in range(size):
            scratch[N + p] = times
    else:
        for p in range(size):
            scratch[N + p] = scratch[place * ROW + p]


def add_cost(scratch: Scratch, p: int, cost: Quantities) -> None:
    """Add an operator's times at one point, as often as it runs there, and give them to what it waits for longest.

    Without FLOP there is nothing to compute: cycles that cores spend all the same (to begin a row) are overhead, and so
    is, for want of another word, what takes no time at all.
    """
    times = scratch[N + p]
    time_s = times * cost.time_s
    scratch[SUMS + p] += times * cost.lower_s
    scratch[SUMS + ROW + p] += time_s
    scratch[SUMS + 2 * ROW + p] += times * cost.upper_s

    idle = cost.flops + cost.vector_flops == 0.0
    starting = max(cost.overhead_s + cost.compute_s, INSTANT) if idle else cost.overhead_s
    busy = 0.0 if idle else cost.compute_s
    longest = max(max(max(max(busy, cost.memory_s), cost.cache_s), cost.network_s), starting)
    # The first of the longest gets all of the time.
    scratch[BY_BOUND + p] += time_s if busy == longest else 0.0
    left = 0.0 if busy == longest else time_s
    scratch[BY_BOUND + ROW + p] += left if cost.memory_s == longest else 0.0
    left = 0.0 if cost.memory_s == longest else left
    scratch[BY_BOUND + 2 * ROW + p] += left if cost.cache_s == longest else 0.0
    left = 0.0 if cost.cache_s == longest else left
    scratch[BY_BOUND + 3 * ROW + p] += left if cost.network_s == longest else 0.0
    left = 0.0 if cost.network_s == longest else left
    scratch[BY_BOUND + 4 * ROW + p] += left


def leave(scratch: Scratch, p: int, cost: Quantities, summed: int) -> None:
    """Add a cost up at once, or leave it where it is looked for: `summed` is a constant where this is compiled."""
    if summed > 0:
        add_cost(scratch, p, cost)
    else:
        store(scratch, p, cost)


def cost_at(scratch: Scratch, p: int) -> Quantities:
    """The cost that an operator left at one point."""
    return Quantities(
        scratch[FLOPS + p],
        scratch[VECTOR_FLOPS + p],
        scratch[FLOPS + 2 * ROW + p],
        scratch[FLOPS + 3 * ROW + p],
        scratch[FLOPS + 4 * ROW + p],
        scratch[FLOPS + 5 * ROW + p],
        scratch[LOWER + p],
        scratch[TIME + p],
        scratch[UPPER + p],
        scratch[COMPUTE + p],
        scratch[MEMORY + p],
        scratch[CACHE + p],
        scratch[NETWORK + p],
        scratch[OVERHEAD + p],
    )


def add(scratch: Scratch, times: float, place: int, size: int) -> None:
    """Add the costs of an operator that stand in the scratch; `times` and `place` as for :func:`set_times`."""
    set_times(scratch, times, place, size)
    for p in range(size):
        add_cost(scratch, p, cost_at(scratch, p))


def add_error(
    scratch: Scratch, figures: Scratch, values: Scratch, places: Places, times: float, times_place: int, size: int
) -> None:
    """Add up the least and the expected time of the operator whose cost stands in the scratch, and its error.

    That (s, one standard deviation) is its time and the spread of its class in the regime of its naive roofline time,
    where what is sent is not counted as read. It takes what the loop of a kernel takes (`_loops.BLOCK`): `figures` are
    those spreads, shortest regime first, the upper ends of all regimes but the last (s), and the rates of the roofline:
    vector and matrix engine (FLOP/s), main memory and the link (B/s); `places` says in which row errors are added up.
    """
    first, second, third, fourth, fifth = figures[0], figures[1], figures[2], figures[3], figures[4]
    end, second_end, third_end, fourth_end = figures[5], figures[6], figures[7], figures[8]
    vector_flops, matrix_flops, memory_bandwidth, link_bandwidth = figures[9], figures[10], figures[11], figures[12]
    set_times(scratch, times, times_place, size)
    for p in range(size):
        sent = scratch[FLOPS + 5 * ROW + p]
        moved = scratch[FLOPS + 2 * ROW + p] if sent == 0.0 else sent
        moving_s = moved / (memory_bandwidth if sent == 0.0 else link_bandwidth)
        naive_s = max(max(scratch[VECTOR_FLOPS + p] / vector_flops, scratch[FLOPS + p] / matrix_flops), moving_s)
        spread = fifth if naive_s >= fourth_end else fourth
        spread = spread if naive_s >= third_end else third
        spread = spread if naive_s >= second_end else second
        spread = spread if naive_s >= end else first
        scratch[ERROR + p] = spread * (scratch[N + p] * scratch[TIME + p])
        scratch[SUMS + p] += scratch[N + p] * scratch[LOWER + p]
        scratch[SUMS + ROW + p] += scratch[N + p] * scratch[TIME + p]
    row = places[0] * ROW
    for p in range(size):
        scratch[row + p] += scratch[ERROR + p]


def finish(
    scratch: Scratch,
    scale: float,
    place: int,
    merged: int,
    lower: Scratch,
    time: Scratch,
    upper: Scratch,
    codes: Codes,
    first: int,
    size: int,
) -> None:
    """Write the sums of a block, `scale` times or as a column says, and what bounds most of the time, from `first` on.

    Of equal bounds the first leads. `merged` is 1 where cache and main memory are the same level, whose times then
    count together.
    """
    set_times(scratch, scale, place, size)
    if merged > 0:
        for p in range(size):
            scratch[BY_BOUND + ROW + p] += scratch[BY_BOUND + 2 * ROW + p]
            scratch[BY_BOUND + 2 * ROW + p] = 0.0
    for p in range(size):
        lower[first + p] = scratch[SUMS + p] * scratch[N + p]
    for p in range(size):
        time[first + p] = scratch[SUMS + ROW + p] * scratch[N + p]
    for p in range(size):
        upper[first + p] = scratch[SUMS + 2 * ROW + p] * scratch[N + p]
    for p in range(size):  # codes as numbers first: vectors hold one type
        most = scratch[BY_BOUND + p]
        code = 0.0
        for bound in range(1, BOUNDS):
            time_s = scratch[BY_BOUND + bound * ROW + p]
            code = float(bound) if time_s > most else code
            most = time_s if time_s > most else most
        scratch[CODE + p] = code
    for p in range(size):
        codes[first + p] = int(scratch[CODE + p])


#: What compiled loops may call.
HELPERS = (store, set_times, add_cost, leave, cost_at, add, add_error, finish)
