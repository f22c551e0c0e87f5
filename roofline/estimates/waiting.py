"""What lookups wait for: the latency of a memory, or its bandwidth."""

from __future__ import annotations

from typing import Any

from roofline.estimates.costing import COST
from roofline.hardware.chip import Chip
from roofline.work.op import Op

#: A memory that is busy this much longer than its bandwidth asks for is waited for.
WAITED = 1.5

_MEMORY, _CACHE = COST.index("memory_s"), COST.index("cache_s")
_MEMORY_BYTES, _CACHE_BYTES = COST.index("memory_bytes"), COST.index("cache_bytes")


def waits(one: Op, values: tuple[Any, ...], bound: str, chip: Chip) -> str:
    """``"latency"`` or ``"bandwidth"`` of the memory that bounds an operator's lookups; empty for all else.

    Parameters
    ----------
    one : Op
    values : tuple of float
        Its cost, in the order of :data:`roofline.kernels.COST`.
    bound : str
        As its breakdown has it.
    chip : Chip
    """
    if one.kernel != "embedding_bag" or not bound.startswith("memory:"):
        return ""
    main = bound == f"memory:{chip.main_level}"
    name = "memory_fraction" if main else "cache_fraction"
    fraction = chip.parameter(name, (one.kind, one.kernel), one.dtype)
    share = 1.0 if fraction is None else fraction.value
    if main:
        busy, moving = values[_MEMORY], values[_MEMORY_BYTES] / (chip.machine["memory_bandwidth"] * share)
    else:
        busy, moving = values[_CACHE], values[_CACHE_BYTES] / (chip.machine["cache_bandwidth"] * share)
    return "latency" if busy > WAITED * moving else "bandwidth"
