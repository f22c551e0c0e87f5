"""What a second worker process is worth: ``python benchmarks/workers.py``. Two cores have to be free for it.

The same sweep on a cluster of one worker and of two, a thread each, into memory and into a store; and the core time
that everything but the workers took (the scheduler, this process), which is what a third core would be for.

With two cores and no third, that part comes off the workers: where it was 1.3 to 1.6 core-s of a sweep of 5 to 6 s into
memory, two workers could be at most about 1.6 times as fast as one. Readings beside other work scatter (in November
2026, three runs one after the other on two busy cores: 1.27 to 1.36 into memory, 1.36 to 2.10 into a store), and say
nothing of what a second worker is worth.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

import roofline as rl

FIGURES = ["ttft_s", "tpot_s", "tokens_per_s"]
AXES: dict[str, Any] = {
    "tp": 8,
    "output": 256,
    "figures": FIGURES,
    "batch": range(1, 1001),
    "prompt": range(16, 16_001, 16),
    "memory.main.bandwidth": [f"x{0.5 + i / 8}" for i in range(8)],
}


def timed(client: Client, to: Path | None) -> tuple[float, float]:
    """Seconds, and core seconds of this process, that holds the scheduler too."""
    core, start = time.process_time(), time.perf_counter()
    rl.sweep("llama-3.1-70b", "h100-sxm", client=client, to=to, progress=False, **AXES)
    return time.perf_counter() - start, time.process_time() - core


def main() -> None:
    """Measure, and print a table."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for workers in (1, 2):
            with (
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
                Client(cluster) as client,
            ):
                small = AXES | {"batch": range(1, 200), "memory.main.bandwidth": ["x1", "x2", "x3", "x4"]}
                rl.sweep("llama-3.1-70b", "h100-sxm", client=client, progress=False, **small)  # so that all is loaded
                for where in ("memory", "store"):
                    to = Path(scratch, "grid.zarr") if where == "store" else None
                    found[where, workers] = min(timed(client, to) for _ in range(1 if to else 2))
                    shutil.rmtree(Path(scratch, "grid.zarr"), ignore_errors=True)
    print("| into | one worker | two | ratio | core time beside the workers |\n| --- | ---: | ---: | ---: | ---: |")
    for where in ("memory", "store"):
        (one, _), (two, beside) = found[where, 1], found[where, 2]
        print(f"| {where} | {one:.1f} s | {two:.1f} s | {one / two:.2f} | {beside:.1f} s |")


if __name__ == "__main__":
    main()
