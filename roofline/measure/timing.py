"""Timing: many calls, medians with their spread, on a host clock or with device events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

#: A sample shorter than this (s) is a batch of calls: the clock and its overhead must not be seen.
SHORTEST_SAMPLE = 100e-6


@dataclass(frozen=True)
class Timing:
    """Times of one call (s): median and lowest sample, spread as a standard deviation (from the quartiles).

    `samples` were taken, each of `calls` calls.
    """

    median_s: float
    low_s: float
    spread_s: float
    samples: int
    calls: int


def summary(samples: list[float], calls: int) -> Timing:
    """The samples (s a call) as one figure each."""
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return Timing(float(middle), float(min(samples)), float((high - low) / 1.349), len(samples), calls)


def on_host(
    run: Callable[[int], object],
    budget_s: float,
    flush: Callable[[], None] | None = None,
    least: int = 5,
    most: int = 100,
) -> Timing:
    """Time a function of a call's number on the monotonic host clock.

    Parameters
    ----------
    run : callable
        Runs call i to its end; other i, other buffers.
    budget_s : float
        Time for the samples (s), warm-up and flushing included; twice as much where they scatter.
    flush : callable, optional
        Empties the caches; run before every call, outside the clock.
    least, most : int
        Samples.
    """
    clock = time.perf_counter
    run(0)
    start = clock()
    run(1)
    once = clock() - start
    calls = 1 if flush else max(1, int(np.ceil(SHORTEST_SAMPLE / max(once, 1e-7))))
    number = 2
    samples: list[float] = []
    begin, allowed = clock(), budget_s
    while len(samples) < least or (len(samples) < most and clock() - begin < allowed):
        if flush:
            flush()
        start = clock()
        for i in range(number, number + calls):
            run(i)
        samples.append((clock() - start) / calls)
        number += calls
        if len(samples) == least or clock() - begin > budget_s:
            found = summary(samples, calls)
            if found.spread_s > 0.1 * found.median_s:  # somebody else is using the machine: look longer
                allowed = 2.0 * budget_s
    return summary(samples, calls)


def best(run: Callable[[], object], repeats: int) -> tuple[float, list[float]]:
    """The shortest of several runs (s), and all of them: for ceilings, which disturbances only ever lower."""
    run()
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return min(samples), samples


def zipf(generator: np.random.Generator, rows: int, skew: float, size: Any) -> np.ndarray:
    """Random row numbers, the r-th most popular row with probability ~ r**-skew, the popular ones scattered.

    Exact for the first ranks; beyond them the power law as a continuum, where it is as good.
    """
    if skew <= 0.0:
        return np.asarray(generator.integers(0, rows, size))
    head = min(rows, 4096)
    mass = np.cumsum(np.arange(1, head + 1, dtype=float) ** -skew)
    power, low, high = 1.0 - skew, head + 0.5, rows + 0.5
    if abs(power) < 1e-9:
        power = 1e-9
    tail = (high**power - low**power) / power if rows > head else 0.0
    draw = generator.random(size) * (mass[-1] + tail)
    ranks = np.searchsorted(mass, draw)
    beyond = draw > mass[-1]
    where = (low**power + power * (draw[beyond] - mass[-1])) ** (1.0 / power)
    ranks[beyond] = np.clip(np.rint(where) - 1, head, rows - 1)
    # A multiplier that shares no divisor with `rows` deals the ranks out over the table.
    step = next(p for p in (2654435761, 40503, 7919, 1) if np.gcd(p, rows) == 1)
    return np.asarray((ranks * step) % rows)


def relative_error(found: object, wanted: object) -> float:
    """``|found - wanted| / |wanted|`` (Frobenius), in float64; a NaN counts as infinite."""
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    error = float(np.linalg.norm(found - wanted) / max(float(np.linalg.norm(wanted)), 1e-300))
    return error if np.isfinite(error) else float("inf")
