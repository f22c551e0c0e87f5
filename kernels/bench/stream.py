"""Bandwidth, latency and the cost of starting a parallel loop (the streams follow McCalpin's STREAM)."""

from __future__ import annotations

from typing import Any

from numba import prange

from roofline.kernels.bench import loop, part


@part
def _sum(a: Any) -> Any:
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i]
    return total


@part
def _fill(a: Any, value: Any) -> None:
    for i in range(a.size):
        a[i] = value


@part
def _copy(a: Any, b: Any) -> None:
    for i in range(a.size):
        a[i] = b[i]


@part
def _triad(a: Any, b: Any, c: Any, scale: Any) -> None:
    for i in range(a.size):
        a[i] = b[i] + scale * c[i]


@loop
def empty(out: Any, threads: int) -> None:
    """Nothing, on every thread: what is left is starting and joining them."""
    for t in prange(threads):
        out[16 * t] += 1.0


@loop
def read(a: Any, repeats: int, out: Any, threads: int) -> None:
    """Sum `a`, `repeats` times; the sums land in every sixteenth place of `out`."""
    for t in prange(threads):
        mine = a[t * a.size // threads : (t + 1) * a.size // threads]
        for _ in range(repeats):
            out[16 * t] += _sum(mine)


@loop
def write(a: Any, value: Any, repeats: int, threads: int) -> None:
    """Fill `a`, each time with another number."""
    for t in prange(threads):
        mine = a[t * a.size // threads : (t + 1) * a.size // threads]
        for r in range(repeats):
            _fill(mine, value + r)


@loop
def copy(a: Any, b: Any, repeats: int, threads: int) -> None:
    """``a = b``."""
    for t in prange(threads):
        low, high = t * a.size // threads, (t + 1) * a.size // threads
        for _ in range(repeats):
            _copy(a[low:high], b[low:high])


@loop
def triad(a: Any, b: Any, c: Any, scale: Any, repeats: int, threads: int) -> None:
    """``a = b + scale * c``."""
    for t in prange(threads):
        low, high = t * a.size // threads, (t + 1) * a.size // threads
        for _ in range(repeats):
            _triad(a[low:high], b[low:high], c[low:high], scale)


@part
def chase(following: Any, start: int, steps: int) -> Any:
    """Walk a chain of indices, each of which must arrive before the next can be asked for."""
    at = start
    for _ in range(steps):
        at = following[at]
    return at
