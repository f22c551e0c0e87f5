"""How much memory this process may use."""

from __future__ import annotations

import math
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


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
