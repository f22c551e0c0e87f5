"""A plain chip, on which a student can work a cost out by hand: round rates, all efficiencies one, nothing fixed.

Whatever a chip may say of itself is said here, so that nothing comes from its family. What cannot be nought or one is
as harmless as can be: 1 us to main memory and 1 ps to the cache (lookups wait for the one and the
other), spreads of 0.1.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from roofline.catalog.load import read_chip
from roofline.estimates.inference import Cost
from roofline.hardware.chip import Chip
from roofline.work.op import Op

HARDWARE = """
schema = 1
name = "plain"
vendor = "nobody"
family = "gpu"
year = 2026
status = "estimated"
clock = {VALUE "1 GHz"}

[cores]
name = "core"
count = {VALUE 100}

[engines]
matrix.bf16 = {VALUE "100 TFLOP/s"}
matrix.fp8 = {VALUE "200 TFLOP/s"}
vector.fp32 = {VALUE "10 TFLOP/s"}

[memory.cache]
type = "cache"
capacity = {VALUE "100 MB"}
bandwidth = {VALUE "10 TB/s"}

[memory.dram]
type = "dram"
capacity = {VALUE "100 GB"}
bandwidth = {VALUE "1 TB/s"}
latency = {VALUE "1 us"}
channels = {VALUE 1}

[latency]
memory = {VALUE "1 us"}
cache = {VALUE "0.001 ns"}
link = {VALUE "0 s"}
network = {VALUE "0 s"}
host = {VALUE "0 s"}

[links.scale_up]
bandwidth = {VALUE "100 GB/s"}
latency = {VALUE "0 s"}
domain = {VALUE 8}
switch_reduction = SWITCH

[links.network]
bandwidth = {VALUE "10 GB/s"}
latency = {VALUE "0 s"}

[links.host]
bandwidth = {VALUE "50 GB/s"}
latency = {VALUE "0 s"}

[overheads]
step = {VALUE "0 s"}
engine_spread = {VALUE 0}

[channels]
memory = {VALUE 1}

[power]
idle_share = {VALUE 0.1}
typical_load = {VALUE 1}
active_share = {VALUE 0}
floor_share = {VALUE 0.2}
limit_share = {VALUE 1}
compute_share = {VALUE 0.5}
memory_share = {VALUE 0.5}
spread = {VALUE 0.1}

[server]
power_share = {VALUE 0}
factor = {VALUE 1}
price_factor = {VALUE 1}
"""

_ATTENTION = """
    launch_s 0 convert_s 0 sequence_s 0 block_s 0 memory_fraction 1 cache_fraction 1 edge_fraction 1 fresh_fraction 1
    prefill_compute_fraction 1 prefill_vector_fraction 1 decode_compute_fraction 1 decode_vector_fraction 1
    decode_fill_s 0 decode_split_s 0 decode_rows 64 fetch_rows 64 port_cores 1
"""
_STREAM = """
    launch_s 0 memory_fraction 1 cache_fraction 1 compute_fraction 1 cache_share 1 row_cores 100 row_cycles 0
"""
_RING = "launch_s 0 hop_s 0 link_fraction 1 network_fraction 1 chunk_s 0 copy_fraction 1"

#: The kinds of operator that stream a tensor or two.
STREAMS = (
    "elementwise",
    "residual_add",
    "rms_norm",
    "layer_norm",
    "softmax",
    "sampling",
    "silu_mul",
    "activation",
    "rope",
    "copy",
    "quantize",
    "dequantize",
    "token_embedding",
)

#: Operator class -> its efficiency parameters: seconds, bytes and bare numbers.
PARAMETERS = {
    "gemm": """
        launch_s 0 compute_fraction 1 memory_fraction 1 fetch_share 0 write_fraction 1 resident_fraction 1
        operand_share 1 prologue_s 0 k_step_s 0 epilogue_share 0 throttle_share 0 throttle_s 0 split_s 0 pack_passes 0
        tail_share 0 tile_min 64 tile_max 128 row_step 1 quantize_s 0 quantize_fraction 1 quantize_row_s 0
    """,
    "moe": """
        launch_s 0 fused_experts 1000 fused_choices 1000 fallback_s 0 score_s 0 sort_s 0 expert_s 0 k_step_s 0
        compute_fraction 1 memory_fraction 1 activation_fraction 1 quantize_pairs 1 resident_fraction 1 prologue_s 0
        overflow 0 padding 0 operand_share 1 port_cores 1 tile_min 64 tile_max 128
    """,
    "attention": f"""
        {_ATTENTION} scatter_s 0 scatter_element_s 0 token_write_s 0 narrow_tile 128 pack_heads 1 cut_prompts 1
    """,
    "mla_attention": f"{_ATTENTION} widen_s 0 widen_element_s 0",
    "recurrence": """
        launch_s 0 chunked_s 0 token_s 0 chunk_s 0 compute_fraction 1 vector_fraction 1 memory_fraction 1
        cache_fraction 1 resident_fraction 1
    """,
    "index_scores": """
        launch_s 0 compute_fraction 1 vector_fraction 1 memory_fraction 1 cache_fraction 1 resident_fraction 1
    """,
    "sparse_attention": """
        launch_s 0 prefill_compute_fraction 1 decode_compute_fraction 1 vector_fraction 1 memory_fraction 1
        cache_fraction 1 resident_fraction 1 decode_rows 64
    """,
    **dict.fromkeys((*STREAMS, "gate"), _STREAM),
    "embedding_bag": """
        launch_s 0 memory_fraction 1 cache_fraction 1 compute_fraction 1 cache_share 1 pinned_share 0
        inflight_bytes 1e12 inflight_rows 1e9 channel_row_s 0 transaction_bytes 64
        issue_cycles 0 bag_cycles 0 page_walk_cycles 0 tlb_reach_bytes 1e15 overlap_share 1
    """,
    "all_reduce": f"{_RING} switch_fraction 1 shot_share 0 peer_s 0",
    **dict.fromkeys(("all_gather", "reduce_scatter", "all_to_all"), _RING),
    "send": "launch_s 0 hop_s 0 link_fraction 1 network_fraction 1 chunk_s 0",
    "host_copy": "launch_s 0 host_fraction 1",
    **dict.fromkeys(
        ("host_lookup", "remote_lookup"), "launch_s 0 host_fraction 1 memory_fraction 1 transaction_bytes 128"
    ),
    "serving": "",
    "step_overhead": "",
}

#: Spreads in every regime of naive time, so that none is inherited.
SPREADS = "spread spread_under_5us spread_5_20us spread_20_100us spread_100_1000us spread_over_1ms"


def descriptor(switch: bool = False) -> str:
    """The descriptor as text; with `switch`, of a chip whose scale-up switch adds up on the way."""
    lines = [HARDWARE.replace("SWITCH", str(switch).lower())]
    for kind, parameters in PARAMETERS.items():
        words = parameters.split() + [w for name in SPREADS.split() for w in (name, "0.1")]
        lines.append(f"[efficiency.{kind}]")
        for name, value in zip(words[::2], words[1::2], strict=True):
            unit = " s" if name.endswith("_s") else " B" if name.endswith("_bytes") else ""
            lines.append(f'{name} = {{VALUE "{value}{unit}"}}' if unit else f"{name} = {{VALUE {value}}}")
    return "\n".join(lines).replace("{VALUE ", '{ source = "round", kind = "derived", value = ')


@functools.cache
def plain(switch: bool = False) -> Chip:
    """The plain chip."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.toml"
        path.write_text(descriptor(switch), encoding="utf-8")
        return read_chip(path)


def worked(op: Op, chip: Chip | None = None, **expected: Any) -> Cost:
    """Hold the cost of an operator against numbers worked out by hand, to nine digits; what is named is checked."""
    cost = rl.cost(op, chip or plain())
    for name, value in expected.items():
        found = getattr(cost, name)
        same = found == value if isinstance(value, str) else found == pytest.approx(value, rel=1e-9, abs=1e-18)
        assert same, f"{name} of {op.name}: expected {value!r}, found {found!r}"
    return cost
