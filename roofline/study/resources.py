"""What this process may use of the machine: processors and memory, as its affinity and its control group allow."""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def cpus() -> int:
    """Processors that this process may use: its affinity, its control group's quota, ``NUMBA_NUM_THREADS``."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("NUMBA_NUM_THREADS", "")
    return max(1, min(usable, _quota(), int(asked) if asked.isdecimal() and int(asked) else usable))


def _quota() -> int:
    """Whole processors of the control group's quota; very many where it has none."""
    for group in _own_groups():
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            return max(1, math.ceil(int(quota) / int(period)))
    return 1 << 20


def memory_bytes() -> float:
    """Memory that is free for this process (bytes); infinite where the system does not say."""
    free = math.inf
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = float(line.split()[1]) * 1024
    for group in _own_groups():
        for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit, taken = _text(group / most), _text(group / used)
            if limit.isdecimal() and taken.isdecimal():
                free = min(free, max(0.0, float(limit) - float(taken)))
    return free


def _own_groups() -> list[Path]:
    """The folders of this process's control groups, those of the first version by controller."""
    found = [_GROUPS]
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        found += [_GROUPS / name / path.lstrip("/") for name in controllers.split(",")]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
