"""Bandwidth by working set -> memory levels: their capacities and what each sustains."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roofline.base.errors import BadData
from roofline.measure.system import Cache

#: A level must be this much faster than the next one outward to be told from it.
STEP = 1.2

#: A cache counts as smaller than nominal when its bandwidth is lost before this share of it is used.
WHOLE = 0.6


@dataclass(frozen=True)
class Level:
    """A memory level as measured.

    Attributes
    ----------
    name : str
    capacity : float
        Bytes, of all instances together.
    bandwidth, low : float
        B/s over all cores: of the fastest stream within the level, and of the slowest kind of stream (both at their
        best over the repeats).
    per_core : bool
    nominal : float
        Capacity that the system states; 0 where it states none.
    note : str
    """

    name: str
    capacity: float
    bandwidth: float
    low: float
    per_core: bool = False
    nominal: float = 0.0
    note: str = ""


def find(curves: dict[str, dict[int, float]], caches: Sequence[Cache], memory_bytes: float) -> list[Level]:
    """The levels, from the core outward; the last is main memory.

    Parameters
    ----------
    curves : dict
        Kind of stream -> working set (bytes) -> bandwidth (B/s).
    caches : sequence of Cache
        What the system states; if empty, the steps of the curve are taken for the levels.
    memory_bytes : float
        Capacity of main memory.

    Raises
    ------
    BadData
        Without a curve.
    """
    sizes = np.array(sorted({s for curve in curves.values() for s in curve}), dtype=float)
    if len(sizes) == 0:
        raise BadData("no bandwidth was measured, so no memory level can be told")
    table = np.array([[curve.get(int(s), np.nan) for s in sizes] for curve in curves.values()])
    top, low = np.nanmax(table, axis=0), np.nanmin(table, axis=0)
    stated = list(caches) or [Cache(f"l{i + 1}", c, False) for i, c in enumerate(steps(sizes, top))]
    found: list[Level] = []
    inner = 0.0
    for cache in stated:
        inside = (sizes > 1.3 * inner) & (sizes <= 0.7 * cache.capacity)
        if not inside.any():
            inside = sizes == sizes[np.argmin(np.abs(np.log(sizes / cache.capacity)))]
        found.append(_level(cache.name, cache.capacity, inside, top, low, cache.per_core, cache.capacity))
        inner = cache.capacity
    outside = sizes >= 2.5 * inner
    if not outside.any():
        outside = sizes == sizes[-1]
    main = _level("dram", memory_bytes, outside, top, low)
    # A level that is no faster than the one around it cannot be told from it.
    kept = [main]
    for level in reversed(found):
        if level.bandwidth >= STEP * kept[0].bandwidth:
            kept.insert(0, level)
    shared = [level for level in kept[:-1] if not level.per_core]
    if shared and caches:
        last, place = shared[-1], kept.index(shared[-1])
        kept[place] = _effective(last, kept[place + 1].bandwidth, sizes, top)
    return kept


def _level(
    name: str,
    capacity: float,
    inside: np.ndarray,
    top: np.ndarray,
    low: np.ndarray,
    per_core: bool = False,
    nominal: float = 0.0,
) -> Level:
    return Level(name, capacity, float(np.nanmax(top[inside])), float(np.nanmedian(low[inside])), per_core, nominal)


def _effective(level: Level, outer: float, sizes: np.ndarray, top: np.ndarray) -> Level:
    """A shared cache, cut to the working set at which half of its advantage (in logs) is gone."""
    middle = math.sqrt(level.bandwidth * outer)
    beyond = np.flatnonzero((top < middle) & (sizes > 0.1 * level.nominal))
    if not len(beyond) or beyond[0] == 0:
        return level
    a, b = beyond[0] - 1, beyond[0]
    share = math.log(top[a] / middle) / max(math.log(top[a] / top[b]), 1e-9)
    seen = float(sizes[a] * (sizes[b] / sizes[a]) ** min(max(share, 0.0), 1.0))
    if seen >= WHOLE * level.nominal:
        return level
    stated = f"{level.nominal / 2**20:.0f} MiB"
    note = f"Half of its advantage is gone at this working set; the system states {stated}, shared."
    return Level(level.name, seen, level.bandwidth, level.low, level.per_core, level.nominal, note)


def steps(sizes: np.ndarray, bandwidth: np.ndarray) -> list[float]:
    """Capacities (bytes) of the caches that a bandwidth curve shows: where it steps down.

    The curve is cut into stretches of constant bandwidth by least squares on logs, at a price a cut; a stretch of one
    point between two others is the slope of a step, not a level.
    """
    y = np.log(np.asarray(bandwidth, dtype=float))
    count = len(y)
    if count < 4:
        return []
    price = 3.0 * math.log(STEP) ** 2
    sums, squares = np.concatenate([[0.0], np.cumsum(y)]), np.concatenate([[0.0], np.cumsum(y * y)])

    def loss(i: int, j: int) -> float:
        return float(squares[j] - squares[i] - (sums[j] - sums[i]) ** 2 / (j - i))

    cost, cut = [0.0] + [math.inf] * count, [0] * (count + 1)
    for j in range(1, count + 1):
        for i in range(j):
            option = cost[i] + loss(i, j) + price
            if option < cost[j]:
                cost[j], cut[j] = option, i
    j = count
    stretches: list[tuple[int, int]] = []
    while j > 0:
        stretches.insert(0, (cut[j], j))
        j = cut[j]
    plateaus = [s for n, s in enumerate(stretches) if s[1] - s[0] > 1 or n in (0, len(stretches) - 1)]
    merged = [plateaus[0]]
    for begin, end in plateaus[1:]:
        before = (sums[merged[-1][1]] - sums[merged[-1][0]]) / (merged[-1][1] - merged[-1][0])
        if before - (sums[end] - sums[begin]) / (end - begin) >= math.log(STEP):
            merged.append((begin, end))
        else:
            merged[-1] = (merged[-1][0], end)
    return [float(math.sqrt(sizes[a[1] - 1] * sizes[b[0]])) for a, b in itertools.pairwise(merged)]
