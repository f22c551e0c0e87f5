"""Kernels on a plain machine: round rates, every efficiency one, no fixed cost, nothing that is not asked for."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from roofline import kernels
from roofline.kernels import reference

MACHINE = {
    "matrix_flops": 1e14, "vector_flops": 1e13, "memory_bandwidth": 1e12, "cache_bandwidth": 1e13,
    "cache_capacity": 1e8, "core_count": 100.0, "clock": 1e9, "memory_latency": 0.0,
    "memory_channels": 1.0,
    "cache_latency": 0.0, "link_bandwidth": 1e11, "link_latency": 0.0, "link_domain": 8.0, "switch_reduction": 0.0,
    "link_bisection": 1e30, "peer_bandwidth": 1e10, "peer_latency": 0.0, "peer_domain": 1.0, "peer_bisection": 1e30,
    "network_bandwidth": 1e10, "network_latency": 0.0,
}  # fmt: skip
SHAPE = {
    "batch": 1.0, "causal": 1.0, "window": 0.0, "value_dim": 0.0, "width": 2.0, "weight_width": 2.0, "kv_width": 2.0,
    "out_width": 2.0, "reuse": 0.0, "warm_weights": 0.0, "scattered": 0.0, "tensors": 1.0, "quantize": 0.0,
    "gated": 1.0, "skew": 0.0, "tuned": 1.0,
    "tp": 1.0, "ep": 1.0, "together": 1.0, "repeat": 0.0, "scale_bytes": 0.0, "tables": 1.0, "room_share": 1.0,
    "warm_share": 0.0,
    "launches": 1.0, "merged": 0.0, "cold_reads": 0.0, "passes": 1.0,
}  # fmt: skip
#: Parameters that neither end in `_s` (no fixed cost: 0) nor in `_fraction` (efficiency: 1).
EFFECTS = {
    "fetch_share": 0.0, "operand_share": 1.0, "epilogue_share": 0.0, "throttle_share": 0.0, "pack_passes": 0.0,
    "tail_share": 0.0, "tile_min": 128.0, "tile_max": 128.0, "row_step": 1.0, "cache_share": 1.0,
    "pinned_share": 0.0, "inflight_bytes": 1e12, "inflight_rows": 1e9,
    "transaction_bytes": 1.0, "issue_cycles": 0.0, "bag_cycles": 0.0,
    "page_walk_cycles": 0.0, "tlb_reach_bytes": 1e30, "overlap_share": 1.0, "narrow_tile": 128.0,
    "decode_rows": 64.0, "fetch_rows": 64.0, "port_cores": 1.0, "pack_heads": 1.0, "cut_prompts": 1.0,
    "fused_experts": 1e9, "fused_choices": 1e9,
    "quantize_pairs": 0.0, "overflow": 0.0, "padding": 0.0, "row_cores": 1e9, "row_cycles": 0.0, "shot_share": 0.0,
}  # fmt: skip


def cost(kernel: str, **given: float) -> dict[str, float]:
    """The quantities of one kernel's cost, by name; arguments that are not given are those of the plain machine.

    The kernel's reference twin has to say the same, here as at every other point that is asked for.
    """
    function = kernels.by_name()[kernel]
    arguments = {}
    for name in inspect.signature(function).parameters:
        usual = {**MACHINE, **SHAPE, **EFFECTS}.get(name)
        if usual is None:
            usual = 0.0 if name.endswith("_s") else 1.0 if name.endswith("_fraction") else None
        arguments[name] = given.pop(name, usual)
    assert not given, f"{kernel} takes no {list(given)}"
    assert None not in arguments.values(), f"{kernel} needs {[n for n, v in arguments.items() if v is None]}"
    found = dict(zip(kernels.COST, function(**arguments), strict=True))
    twin = reference.by_name()[kernel](**{name: np.array([value], float) for name, value in arguments.items()})
    for name, value in zip(kernels.COST, twin, strict=True):
        assert found[name] == pytest.approx(float(np.ravel(value)[0]), rel=1e-9, abs=1e-30), f"{kernel}'s twin: {name}"
    return found
