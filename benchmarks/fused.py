"""A decode step of Llama-70B fused by hand: ``python benchmarks/fused.py`` prints core-ns a point.

A limit to run beside ours, not a model: one loop that somebody writes for one model, one plan and one chip, operators
as ideal rooflines (FLOP over the peak, bytes over the bandwidth, a launch), nothing else of what ours knows: no tiles,
no waves, no splits, no bounds, no sums by what bounds, no figure but the time.
"""

from __future__ import annotations

import time

import numba
import numpy as np

LAYERS, HIDDEN, INNER, HEADS, KV_HEADS, HEAD, VOCABULARY, TP = 80, 8192.0, 28672.0, 64.0, 8.0, 128.0, 128256.0, 8.0
PEAK, BANDWIDTH, LINK, LAUNCH_S, HOP_S = 989e12, 3.35e12, 450e9, 3e-6, 1e-5


@numba.njit(inline="always")
def product(m: float, n: float, k: float) -> float:
    return max(2.0 * m * n * k / PEAK, 2.0 * (m * k + k * n + m * n) / BANDWIDTH) + LAUNCH_S


@numba.njit(inline="always")
def streamed(m: float, width: float) -> float:
    return 2.0 * m * width / BANDWIDTH + LAUNCH_S


@numba.njit(inline="always")
def summed(m: float) -> float:
    return 2.0 * (TP - 1.0) / TP * 2.0 * m * HIDDEN / LINK + HOP_S


@numba.njit
def steps(batch: np.ndarray, context: np.ndarray, out: np.ndarray) -> None:
    for i in range(batch.size):
        m = batch[i]
        for j in range(context.size):
            pairs = m * context[j]
            cache = max(4.0 * pairs * HEADS / TP * HEAD / PEAK, 4.0 * pairs * KV_HEADS / TP * HEAD / BANDWIDTH)
            layer = product(m, (HEADS + 2.0 * KV_HEADS) * HEAD / TP, HIDDEN) + cache + LAUNCH_S
            layer += product(m, HIDDEN, HEADS * HEAD / TP) + product(m, 2.0 * INNER / TP, HIDDEN)
            layer += product(m, HIDDEN, INNER / TP) + 4.0 * streamed(m, 2.0 * HIDDEN) + 2.0 * summed(m)
            layer += streamed(m, 3.0 * INNER / TP) + streamed(m, 2.0 * (HEADS + KV_HEADS) * HEAD / TP)
            out[i, j] = LAYERS * layer + product(m, VOCABULARY / TP, HIDDEN)


def core_ns() -> float:
    """Processor time a point (ns) over the grid of ``speed.py``: the best of five."""
    batch, context = np.arange(1.0, 1001.0), np.arange(1.0, 1001.0) * 16
    out = np.empty((batch.size, context.size))
    times = []
    for _ in range(6):
        start = time.process_time()
        steps(batch, context, out)
        times.append(time.process_time() - start)
    return 1e9 * min(times[1:]) / out.size


if __name__ == "__main__":
    print(core_ns())
