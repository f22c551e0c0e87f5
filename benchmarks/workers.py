"""What a second worker process is worth: ``python benchmarks/workers.py``.

The same sweep in one thread without a cluster, then on a cluster of one worker and of two, a thread each, into memory
and into a store. Walls say what a second worker is worth here and now. On two cores they hold what the scheduler and
this process take, too, and whatever else runs. Processor times say where it goes whatever else runs: that of the sweep
alone is what is useful; the workers' own is more by what they serialise and write; that of this process, the scheduler
in it, is for the messages and for the answers, of which into a store there are none. So beside the ratio of the walls
stand the one that the workers allow, were there a third core for all else, and the most that two cores allow. What
the processes take while nothing is asked (heartbeats) is left out of the processor times: it grows with the wall.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from distributed import Client, LocalCluster

import roofline as rl
from roofline.base import cpus

AXES: dict[str, Any] = {
    "tp": 8,
    "output": 256,
    "figures": ["ttft_s", "tpot_s", "tokens_per_s"],
    "batch": range(1, 1001),
    "prompt": range(16, 16_001, 16),
    "memory.main.bandwidth": [f"x{0.5 + i / 8}" for i in range(4)],
}


class Times(NamedTuple):
    """Seconds: by the clock, of the workers' processors, and of this process's."""

    wall: float
    workers: float
    beside: float

    def less(self, idle: Times) -> Times:
        """Without what the processes take while they do nothing, in as much time."""
        share = self.wall / idle.wall
        return Times(self.wall, self.workers - share * idle.workers, self.beside - share * idle.beside)


def sweep(**more: Any) -> None:
    rl.sweep("llama-3.1-70b", "h100-sxm", progress=False, **{**AXES, **more})


def spent(workers: list[psutil.Process], work: Callable[[], object]) -> Times:
    """What some work takes."""

    def now() -> Times:
        times = (worker.cpu_times() for worker in workers)
        return Times(time.perf_counter(), sum(one.user + one.system for one in times), time.process_time())

    before = now()
    work()
    return Times(*(after - start for after, start in zip(now(), before, strict=True)))


def timed(workers: list[psutil.Process], **more: Any) -> Times:
    return spent(workers, lambda: sweep(**more))


def alone() -> float:
    """Processor time of the sweep in one thread, without a cluster."""
    os.environ["NUMBA_NUM_THREADS"] = "1"
    cpus.available.cache_clear()
    return min(timed([]).beside for _ in range(3))


def on_a_cluster(count: int) -> dict[str, Times]:
    """With so many workers, into memory and into a store; of two sweeps each the one that took less of processors."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        workers = [psutil.Process(worker.pid) for worker in cluster.workers.values()]
        place, found = Path(scratch, "grid.zarr"), {}
        time.sleep(5)
        idle = spent(workers, lambda: time.sleep(5))
        for where, more in (("memory", {}), ("a store", {"to": place})):
            times = []
            for _ in range(3):
                times.append(timed(workers, client=client, **more))
                shutil.rmtree(place, ignore_errors=True)
            rested = (one.less(idle) for one in times[1:])  # the first one loads what all others find loaded
            found[where] = min(rested, key=lambda one: one.workers + one.beside)
        return found


def main() -> None:
    """Measure, and print tables."""
    useful = alone()
    found = {count: on_a_cluster(count) for count in (1, 2)}
    print(f"The sweep alone takes {useful:.2f} core-s.\n")
    print("| into | workers | wall (s) | workers' core-s | beside (core-s) | lost, of cores x wall |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for where in found[1]:
        for count, one in ((count, found[count][where]) for count in found):
            lost = 1 - useful / (count * one.wall)
            print(f"| {where} | {count} | {one.wall:.2f} | {one.workers:.2f} | {one.beside:.2f} | {lost:.0%} |")
    print("\n| into | ratio of walls | that the workers allow | the most on two cores |\n| --- | ---: | ---: | ---: |")
    for where in found[1]:
        one, two = found[1][where], found[2][where]
        allowed = 2 * one.workers / two.workers
        here = min(allowed, max(one.workers, one.beside) / ((two.workers + two.beside) / 2))
        print(f"| {where} | {one.wall / two.wall:.2f} | {allowed:.2f} | {here:.2f} |")


if __name__ == "__main__":
    main()
