"""What each figure of a chip may be: one place, for descriptors and what-ifs alike.

Machines: bounds far outside every real thing, which keep a slip of units from becoming an absurd answer. Efficiency
parameters and latencies: what physics allows, so that no kernel divides by zero and no expected time leaves its bounds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from roofline.base import units
from roofline.base.numeric import everywhere


@dataclass(frozen=True, slots=True)
class Range:
    """Least and most that a figure may be, in SI units; `whole` for what is counted."""

    least: float
    most: float
    whole: bool = False


#: By dimension: what a figure may be that no table below names.
DIMENSIONS: dict[str, Range] = {
    "bandwidth": Range(1.0, 1e21),
    "rate": Range(1.0, 1e24),
    "capacity": Range(1.0, 1e21),
    "time": Range(0.0, 100.0),
    "frequency": Range(1e3, 1e13),
    "power": Range(1e-6, 1e9),
    "area": Range(1e-6, 1e9),
    "money": Range(0.01, 1e12),
    "count": Range(0.0, 1e9),
    "fraction": Range(1e-6, 1.0),
}

_CORES = Range(1.0, 1e9, whole=True)
_MEMORY_LATENCY = Range(1e-12, 1.0)  # by Little's law, no memory with open requests answers in no time
_FRACTION = DIMENSIONS["fraction"]  # sustained over nominal
_SHARE = Range(0.0, 1.0)
_FIXED = Range(0.0, 10.0)  # s, a call of a kernel
_ITEM = Range(0.0, 1e-3)  # s, a sequence, token, expert, peer, tile or step of a loop
_ELEMENT = Range(0.0, 1e-6)  # s, a number
_CYCLES = Range(0.0, 1e6)
_ROWS = Range(1.0, 1024.0)
_TILE = Range(1.0, 4096.0)
_SPREAD = Range(0.0, 10.0)  # of a logarithm

#: Efficiency parameters, by name.
PARAMETERS: dict[str, Range] = {
    # Sustained shares of a rate.
    **dict.fromkeys((
        "activation_fraction", "cache_fraction", "compute_fraction", "copy_fraction", "decode_compute_fraction",
        "decode_vector_fraction", "edge_fraction", "fresh_fraction", "host_fraction", "link_fraction",
        "memory_fraction", "network_fraction", "prefill_compute_fraction", "prefill_vector_fraction",
        "quantize_fraction", "resident_fraction", "switch_fraction", "vector_fraction", "write_fraction",
    ), _FRACTION),
    # Shares of something that is done or not.
    **dict.fromkeys((
        "cache_share", "cut_prompts", "epilogue_share", "fetch_share", "overlap_share", "pack_heads", "pinned_share",
        "quantize_pairs", "shot_share",
        "tail_share", "throttle_share",
    ), _SHARE),
    # Times, s.
    **dict.fromkeys((
        "launch_s", "chunk_s", "chunked_s", "convert_s", "decode_fill_s", "decode_split_s", "fallback_s", "hop_s",
        "prologue_s",
        "quantize_s", "scatter_s", "sort_s", "split_s", "throttle_s", "widen_s",
    ), _FIXED),
    **dict.fromkeys((
        "block_s", "channel_row_s", "expert_s", "k_step_s", "peer_s", "quantize_row_s", "sequence_s", "token_s",
        "token_write_s",
    ), _ITEM),
    **dict.fromkeys(("scatter_element_s", "score_s", "widen_element_s"), _ELEMENT),
    # Cycles of a core.
    **dict.fromkeys(("bag_cycles", "issue_cycles", "page_walk_cycles", "row_cycles"), _CYCLES),
    # Rows and tiles.
    **dict.fromkeys(("decode_rows", "fetch_rows"), _ROWS),
    **dict.fromkeys(("narrow_tile", "row_step", "tile_max", "tile_min"), _TILE),
    "port_cores": Range(1e-9, 1e9),
    "row_cores": Range(1e-9, 1e18),
    # Bytes.
    "inflight_bytes": Range(1.0, 1e12),
    "inflight_rows": Range(1.0, 1e9),
    "tlb_reach_bytes": Range(1.0, 1e21),
    "transaction_bytes": Range(1.0, 1e6),
    # The rest.
    "fused_choices": Range(0.0, 1e6),
    "fused_experts": Range(0.0, 1e6),
    "operand_share": Range(1e-3, 1e3),
    "overflow": Range(0.0, 100.0),
    "padding": Range(0.0, 100.0),
    "pack_passes": Range(0.0, 100.0),
}  # fmt: skip

#: Figures of what a chip and its server draw and cost, by path.
POWER: dict[str, Range] = {
    "power.limit_share": Range(1e-3, 1.0),
    "power.active_share": _SHARE,
    "power.compute_share": Range(0.0, 10.0),
    "power.memory_share": Range(0.0, 10.0),
    "server.power_share": Range(0.0, 10.0),
    "server.factor": Range(1.0, 10.0),
    "server.price_factor": Range(1.0, 100.0),
}


@functools.lru_cache(maxsize=4096)
def of(path: str, dimension: str) -> Range:
    """What a figure may be.

    Parameters
    ----------
    path : str
        ``"memory.hbm.bandwidth"``, ``"efficiency.gemm.fp8.launch_s"``, or the name of an efficiency parameter alone.
    dimension : str
        Key of :data:`roofline.base.units.DIMENSIONS`.
    """
    name = path.rpartition(".")[2]
    if is_spread(path):
        return _SPREAD
    if path in POWER:
        return POWER[path]
    if path == name or "efficiency." in path:
        return PARAMETERS.get(name, DIMENSIONS[dimension])
    if path == "cores.count" or name in ("domain", "channels") or path == "channels.memory":
        return _CORES
    if path in ("latency.memory", "latency.cache") or (path.startswith("memory.") and name == "latency"):
        return _MEMORY_LATENCY
    return DIMENSIONS[dimension]


def is_spread(path: str) -> bool:
    """Whether a figure is the doubt of a class of operators, or of a whole model: one value, never an axis."""
    return path.rpartition(".")[2].startswith("spread") or path == "overheads.engine_spread"


def outside(path: str, dimension: str, *values: object) -> str:
    """What is expected of a figure some of whose values are not in its range; empty if all are.

    Parameters
    ----------
    path, dimension
        As for :func:`of`.
    *values : float or ndarray
        SI.
    """
    allowed = of(path, dimension)
    if all(_within(value, allowed) for value in values):
        return ""
    unit = units.DIMENSIONS[dimension][0]
    number = "a whole number " if allowed.whole else ""
    return f"expected {number}from {units.text(allowed.least, unit)} to {units.text(allowed.most, unit)}"


def _within(value: Any, allowed: Range) -> bool:
    inside = (allowed.least <= value) & (value <= allowed.most)
    return everywhere(inside & (value % 1 == 0) if allowed.whole else inside)


def is_power_or_price(path: str) -> bool:
    """Whether a figure tells what a chip draws or costs, and nothing of how fast it is."""
    return path.startswith(("power.", "server.", "price."))
