"""Requests a CPU second of the loop of a simulated server: ``python benchmarks/served_speed.py``. Prints a table.

Llama-3.1-8B on one H100, prompts of 1,155 tokens and outputs of 211 on average (Azure's conversations), Poisson
arrivals at 20 requests a second, vLLM's policy. Processor time of the process: machines are shared. The simpy twin
of the tests runs the same requests, fewer of them, with the same times of passes, in the same process. Drawing the
traffic, filling the tables of pass times and the percentiles are timed apart.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import roofline as rl
from roofline.serving.loop import simulated
from roofline.serving.runs import Run
from roofline.serving.traffic import Requests

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests import serving_twin

MANY, LOADS, EACH, NAIVE = 1_000_000, 50, 10_000, 1_000

#: BLIS (inference-sim, Go), requests a CPU second of 20,000: measured for this project in November 2026, not here.
BLIS = 340


def traffic(requests: int, rate: Any = 20.0) -> rl.Traffic:
    return rl.Traffic(
        rate=rate, prompt=rl.lognormal(1155, 1000, 8000), output=rl.lognormal(211, 160, 1500), requests=requests
    )


def cpu_s(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Least processor time of some repeats, and what came out."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = function()
        times.append(time.process_time() - start)
    return min(times), found


def simulate(asked: rl.Traffic) -> Any:
    return rl.simulate("llama-3.1-8b", "h100-sxm", asked, stack="vllm_0_11")


def naively(run: Run, drawn: Requests) -> None:
    """The same on simpy, with the same times of passes."""

    def pass_time(contexts: list[int], pieces: list[tuple[int, int]]) -> float:
        tokens = sum(piece for piece, _ in pieces)
        squares, before = sum(piece**2 for piece, _ in pieces), sum(piece * b for piece, b in pieces)
        return run.table.time(len(contexts), sum(contexts), len(pieces), tokens, float(squares), float(before))

    clients = serving_twin.simulated(run.policy, run.setting.servers.blocks, drawn, pass_time)
    ours = simulated(run.setting.servers, run.table, drawn)
    ends = np.sort([one.end for one in clients])
    np.testing.assert_allclose(np.sort(ours.told_at[:, 3]), ends, rtol=1e-6)


def looks(run: Run) -> None:
    for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s"):
        assert getattr(run, name).p99 > 0


def main() -> None:
    cold, first = cpu_s(lambda: simulate(traffic(MANY // 4)))  # compiles what is not kept, or reads it
    servers, table = first.setting.servers, first.table
    draw_s, drawn = cpu_s(lambda: traffic(MANY).drawn(0))
    loop_s, _ = cpu_s(lambda: simulated(servers, table, drawn, compiled=True), 3)
    whole_s, run = cpu_s(lambda: simulate(traffic(MANY)), 3)
    looks_s, _ = cpu_s(lambda: looks(run))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rates = np.linspace(1, 50, LOADS).tolist()
    start = time.perf_counter()
    curve_s, _ = cpu_s(lambda: simulate(traffic(EACH, rates)), 3)
    wall_s = (time.perf_counter() - start) / 3
    few = traffic(NAIVE).drawn(0)
    naive_s, _ = cpu_s(lambda: naively(run, few))
    per_s, naive = MANY / loop_s, NAIVE / naive_s
    print("| what | CPU s | requests a CPU second |\n| --- | ---: | ---: |")
    for what, seconds, requests in (
        (f"first run of a process, {MANY // 4:,} requests", cold, MANY // 4),
        (f"loop alone, {MANY:,} requests, one replica", loop_s, MANY),
        ("the same as a user calls it: traffic drawn, tables filled, loop", whole_s, MANY),
        ("of it, traffic drawn", draw_s, MANY),
        ("all percentiles of it", looks_s, MANY),
        (f"curve of {LOADS} loads of {EACH:,}, percentiles in it", curve_s, LOADS * EACH),
        (f"the simpy twin, {NAIVE:,} requests", naive_s, NAIVE),
    ):
        print(f"| {what} | {seconds:.3g} | {requests / seconds:,.0f} |")
    print(f"\nThe loop over simpy {per_s / naive:,.0f}x; over BLIS's {BLIS} (not in this run) {per_s / BLIS:,.0f}x.")
    print(f"The curve takes {wall_s:.2g} s of wall time, the mean of three, on {os.cpu_count()} cores.")
    print(f"Most memory until then {memory:,.0f} MiB, {MANY:,} requests kept one by one.")


if __name__ == "__main__":
    main()
