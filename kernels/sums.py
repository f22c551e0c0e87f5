"""What the costs of operators add up to, over a block of points: the loops behind a phase of arrays.

The costs of one operator stand in the scratch (see :mod:`roofline.kernels._loops`), and are added to its sums.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from roofline.kernels import _loops
from roofline.kernels._jit import inner
from roofline.kernels.quantities import Quantities

Scratch: TypeAlias = np.ndarray  # of float64, flat
Codes: TypeAlias = np.ndarray  # of uint8

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


@inner
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


@inner
def add(scratch: Scratch, count: float, column: int, size: int) -> None:
    """Add the times of an operator that runs `count` times, or as often as a column says where that is not negative.

    Without FLOP there is nothing to compute: cycles that cores spend all the same (to begin a row) are overhead, and so
    is, for want of another word, what takes no time at all.
    """
    for p in range(size):
        scratch[N + p] = count
    if column >= 0:
        for p in range(size):
            scratch[N + p] = scratch[column * ROW + p]
    for p in range(size):
        times = scratch[N + p]
        time_s = times * scratch[TIME + p]
        scratch[SUMS + p] += times * scratch[LOWER + p]
        scratch[SUMS + ROW + p] += time_s
        scratch[SUMS + 2 * ROW + p] += times * scratch[UPPER + p]

        idle = scratch[FLOPS + p] + scratch[VECTOR_FLOPS + p] == 0.0
        compute, overhead = scratch[COMPUTE + p], scratch[OVERHEAD + p]
        starting = max(overhead + compute, INSTANT) if idle else overhead
        busy = 0.0 if idle else compute
        memory, cache, network = scratch[MEMORY + p], scratch[CACHE + p], scratch[NETWORK + p]
        longest = max(max(max(max(busy, memory), cache), network), starting)
        # The first of the longest gets all of the time.
        scratch[BY_BOUND + p] += time_s if busy == longest else 0.0
        left = 0.0 if busy == longest else time_s
        scratch[BY_BOUND + ROW + p] += left if memory == longest else 0.0
        left = 0.0 if memory == longest else left
        scratch[BY_BOUND + 2 * ROW + p] += left if cache == longest else 0.0
        left = 0.0 if cache == longest else left
        scratch[BY_BOUND + 3 * ROW + p] += left if network == longest else 0.0
        left = 0.0 if network == longest else left
        scratch[BY_BOUND + 4 * ROW + p] += left


@inner
def lead(scratch: Scratch, codes: Codes, merged: int, size: int) -> None:
    """Which of the five bounds has most of the time, the first of equal ones.

    `merged` is 1 where cache and main memory are the same level, whose times then count together.
    """
    if merged > 0:
        for p in range(size):
            scratch[BY_BOUND + ROW + p] += scratch[BY_BOUND + 2 * ROW + p]
            scratch[BY_BOUND + 2 * ROW + p] = 0.0
    for p in range(size):
        most = scratch[BY_BOUND + p]
        code = 0
        for bound in range(1, BOUNDS):
            time_s = scratch[BY_BOUND + bound * ROW + p]
            code = bound if time_s > most else code
            most = time_s if time_s > most else most
        codes[p] = code
