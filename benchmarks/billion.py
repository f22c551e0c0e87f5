"""A sweep of a billion points to disk: ``python benchmarks/billion.py grid.zarr``; stop it, call it again, it goes on.

Prints points, time, core time and peak memory of the piece that it did; ``--points 1e8`` for a smaller one. With the
one figure that is kept by default the store takes about 6 GB; everything that an estimate has would take 90.
"""

from __future__ import annotations

import argparse
import os
import resource
import threading
import time
from pathlib import Path

import roofline as rl

#: Points of one chip variant, batch x prompt.
BATCH, PROMPT = range(1, 1001), range(16, 16_001, 16)


def main() -> None:
    """Sweep, or go on, and say what it took."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("store", type=Path)
    arguments.add_argument("--points", type=float, default=1e9, help="about so many")
    arguments.add_argument("--figure", action="append", help="figures to keep [default: tpot_s]")
    arguments.add_argument("--seconds", type=float, default=0.0, help="stop after so long, as if killed; 0: never")
    given = arguments.parse_args()
    if given.seconds:
        _stop_after(given.seconds)
    side = max(2, round((given.points / 1e6) ** 0.5))
    variants = [f"x{0.5 + 1.5 * i / (side - 1):.9g}" for i in range(side)]
    start = time.perf_counter()
    grid = rl.sweep(
        "llama-3.1-70b",
        "h100-sxm",
        to=given.store,
        figures=given.figure or ["tpot_s"],
        tp=8,
        output=256,
        **{"memory.main.bandwidth": variants, "clock": variants},
        batch=BATCH,
        prompt=PROMPT,
    )
    _say(grid["fits"].size, time.perf_counter() - start)


def _stop_after(seconds: float) -> None:
    def stop() -> None:
        _say(0, seconds)
        os._exit(3)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()


def _say(points: int, seconds: float) -> None:
    core = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    done = f"{points:,} points" if points else "stopped"
    print(f"{done}: {seconds:,.1f} s, {core:,.1f} core-s, peak memory {peak:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
