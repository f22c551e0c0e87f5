"""Kills sweeps and workers at random moments and compares bytes: ``python benchmarks/kills.py --kills 50``.

Half of the kills hit a process that sweeps into a store: it is started again until the store is whole. The other half
hit workers of a cluster on this machine while a sweep runs on it. Every store has to end with the bytes of one that
nobody disturbed; the script says so, or exits with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import roofline as rl
from roofline.study import definition

MODELS, CHIPS = ["llama-3.1-8b", "dlrm-v2"], ["h100-sxm", "artemis"]
AXES: dict[str, Any] = {
    "batch": range(1, 65),
    "tp": [1, 2, 3],  # the last is impossible
    "dtype": [None, "int8"],
    "stack": ["", "vllm"],
    "draws": 8,
    "memory.main.bandwidth": ["x0.5", "x1", "x1.5", "x2"],
}


def sweep(path: Path, client: Any = None) -> None:
    """The sweep that is disturbed, in slabs of a few thousand points."""
    definition.MOST = 1024
    rl.sweep(MODELS, CHIPS, to=path, client=client, progress=False, **AXES)


def bytes_of(path: Path) -> dict[str, str]:
    """A digest of every file of a store."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def differs(path: Path, straight: Path) -> bool:
    """Whether a store has other bytes than the undisturbed one; which of its chunks, and how far apart, on stderr."""
    found, expected = bytes_of(path), bytes_of(straight)
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            print(f"other bytes: {name}{_apart(path, straight, name)}", file=sys.stderr)
    return found != expected


def _apart(path: Path, straight: Path, name: str) -> str:
    """How far the numbers of a variable are apart, and at how many points."""
    variable = name.split("/")[0]
    if "/c/" not in name:
        return ""
    found, expected = (zarr.open_array(store / variable, mode="r")[...] for store in (path, straight))
    other = ~((found == expected) | ((found != found) & (expected != expected)))
    first = next(zip(*np.nonzero(other), strict=True), None)
    if first is None:
        return ": the same numbers"
    furthest = np.max(np.abs(found[other].astype(float) / expected[other] - 1))
    return f": {other.sum()} points of the variable, by up to {furthest:.3g}; the first at {[int(i) for i in first]}"


def kill_sweeps(kills: int, folder: Path, straight: Path, luck: random.Random) -> tuple[int, int]:
    """Kill the process that sweeps, so many times; stores that became whole, and those of them that differ."""
    path, whole, wrong, longest = folder / "killed.zarr", 0, 0, 8.0
    while kills:
        start = time.monotonic()
        child = subprocess.Popen([sys.executable, __file__, "--child", str(path)])
        try:
            child.wait(timeout=luck.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills -= 1
            continue
        if child.returncode:
            raise SystemExit(f"the sweep failed by itself: {child.returncode}")
        longest = max(2.0, time.monotonic() - start)
        whole, wrong = whole + 1, wrong + differs(path, straight)
        shutil.rmtree(path)
    sweep(path)  # the last one to its end, undisturbed
    return whole + 1, wrong + differs(path, straight)


def kill_workers(kills: int, folder: Path, straight: Path, luck: random.Random) -> tuple[int, int]:
    """Kill workers while a sweep runs on them, so many times; stores that became whole, and those that differ."""
    from distributed import Client, LocalCluster

    path, whole, wrong = folder / "workers.zarr", 0, 0
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60) as cluster,
        Client(cluster) as client,
    ):
        cluster.adapt(minimum=2, maximum=2, interval="1s")  # a worker that dask gives up is replaced
        while kills:
            running = threading.Thread(target=sweep, args=(path, client))
            running.start()
            while kills and running.is_alive():
                running.join(timeout=luck.uniform(0.2, 6.0))
                # Those that have begun to work: what dies while it starts does so nowhere near a slab.
                there = cluster.scheduler.workers
                alive = [one.pid for one in cluster.workers.values() if one.pid and one.worker_address in there]
                if running.is_alive() and alive:
                    os.kill(luck.choice(alive), signal.SIGKILL)
                    kills -= 1
                    print(f"{kills} to go", end="\r", file=sys.stderr)
            running.join()
            whole, wrong = whole + 1, wrong + differs(path, straight)
            shutil.rmtree(path)
    return whole, wrong


def main() -> None:
    """Kill, compare, say what came of it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.child:
        return sweep(given.child)
    luck, bad = random.Random(given.seed), 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        straight = folder / "straight.zarr"
        sweep(straight)
        print(f"undisturbed: {len(bytes_of(straight))} files", flush=True)
        for what, kill, count in (
            ("the sweep's process", kill_sweeps, given.kills - given.kills // 2),
            ("workers", kill_workers, given.kills // 2),
        ):
            whole, wrong = kill(count, folder, straight, luck)
            print(f"{count} kills of {what}: {whole} stores became whole, {wrong} of them with other bytes", flush=True)
            bad += wrong
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
