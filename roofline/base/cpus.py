"""How many processors this process may use, and threads that use them."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_CGROUP = Path("/sys/fs/cgroup")


@functools.cache
def available() -> int:
    """Processors that threads of this process can keep busy, at least one.

    Those that it is bound to (``taskset``, a batch system), no more than its control group has time for (a container's
    limit), and no more than ``NUMBA_NUM_THREADS`` where that is set.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    asked = os.environ.get("NUMBA_NUM_THREADS", "")
    limits = [_share(), int(asked) if asked.isdecimal() and int(asked) else math.inf]
    return int(max(1, min(count, *limits)))


def in_threads(count: int, run: Callable[[int, int], Any], most: int) -> None:
    """Do so many things in at most so many threads: each runs a range of them, from the first to before the last.

    They help where `run` gives the interpreter's lock back, as compiled loops do.
    """
    threads = min(available(), most, count)
    if threads < 2:
        run(0, count)
        return
    edges = [count * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, edges[:-1], edges[1:]))


def _share() -> float:
    """Processors that the control group has time for, rounded up; infinity where it has no limit."""
    found = math.inf
    for folder in (_CGROUP, _CGROUP / _own_group()):
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            if quota != "max":
                found = min(found, math.ceil(int(quota) / int(period)))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return found


def _own_group() -> str:
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
