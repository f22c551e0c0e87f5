"""What the operating system says of the machine: cores, caches, clock, memory, software."""

from __future__ import annotations

import datetime
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cache:
    """A cache level: capacity of all its instances together (bytes), and whether every core has one of its own."""

    name: str
    capacity: float
    per_core: bool


@dataclass(frozen=True)
class System:
    """A machine as its system describes it.

    Attributes
    ----------
    title : str
        What the maker calls it.
    vendor, core_name : str
    cores : int
        Cores that this process may use.
    caches : tuple of Cache
        From the core outward; empty where the system does not say.
    memory_bytes : float
    clock_hz : float
        As the system reports it; 0 where it does not.
    software : dict
        Versions that the figures depend on.
    """

    title: str
    vendor: str
    core_name: str
    cores: int
    caches: tuple[Cache, ...]
    memory_bytes: float
    clock_hz: float
    software: dict[str, str]

    @property
    def cache_bytes(self) -> float:
        """Capacity of the last-level cache; 0 if unknown."""
        return self.caches[-1].capacity if self.caches else 0.0

    @property
    def private_bytes(self) -> float:
        """Capacity of all caches that single cores own, the largest level of them; 0 if unknown."""
        return max((c.capacity for c in self.caches if c.per_core), default=0.0)


def host() -> System:
    """This machine's processor."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    cores = _physical(usable)
    text = _text(Path("/proc/cpuinfo"))
    title = _match(r"model name\s*:\s*(.+)", text) or platform.processor() or platform.machine() or "processor"
    vendor = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}.get(_match(r"vendor_id\s*:\s*(\S+)", text), "")
    return System(
        title=re.sub(r"\s+", " ", re.sub(r"\((R|TM)\)", "", title)).strip(),
        vendor=vendor or "unknown",
        core_name="core",
        cores=cores,
        caches=_caches(usable, cores),
        memory_bytes=_memory(),
        clock_hz=_clock(text),
        software=software(),
    )


def software() -> dict[str, str]:
    """Versions of what the host's figures depend on."""
    import numpy

    from roofline import __version__

    config: object = numpy.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    return {
        "roofline": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "system": f"{platform.system()} {platform.release()}",
    }


def now() -> str:
    """Date and time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def load_average() -> float | None:
    """Processes that wanted to run in the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:1_000_000]
    except OSError:
        return ""


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1).strip() if found else ""


def _physical(usable: list[int]) -> int:
    """Cores behind the logical processors that may be used: two threads of one core are one."""
    siblings = {_text(Path(f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list")).strip() for n in usable}
    return len(siblings) if "" not in siblings and siblings else max(1, len(usable))


def _caches(usable: list[int], cores: int, root: Path = Path("/sys/devices/system/cpu")) -> tuple[Cache, ...]:
    instances: dict[int, dict[str, float]] = {}
    for cpu in usable:
        for folder in sorted((root / f"cpu{cpu}" / "cache").glob("index*")):
            size = re.fullmatch(r"(\d+)([KMG]?)", _text(folder / "size").strip())
            level = _text(folder / "level").strip()
            if size and level.isdigit() and _text(folder / "type").strip() in ("Data", "Unified"):
                capacity = float(size[1]) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[size[2]]
                instances.setdefault(int(level), {})[_text(folder / "shared_cpu_list").strip()] = capacity
    return tuple(
        Cache(f"l{level}", sum(found.values()), len(found) == cores)
        for level, found in sorted(instances.items())
        if sum(found.values()) > 0
    )


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 8 * 2.0**30


def _clock(cpuinfo: str) -> float:
    highest = _text(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")).strip()
    if highest.isdigit():
        return float(highest) * 1e3
    shown = _match(r"cpu MHz\s*:\s*([\d.]+)", cpuinfo)
    return float(shown) * 1e6 if shown else 0.0
