"""Measured rows that no cost model should be held to: every rule, its reason, and whether it came late.

The rules speak of the shipped and public operator times (the columns of :mod:`roofline.evidence.measurements` plus
chip, framework, version, kernel and variant). A rule written after residuals were looked at is `late`, as
far as its author says; nothing shows when the others were thought of. The table's figures do not use late ones, they
are shown beside. Every rule's rows are counted, never dropped silently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roofline.evidence.measurements import MARGIN

if TYPE_CHECKING:
    import pandas as pd

#: The versions that a descriptor's stacks describe; on chips that only older ones were measured on, those.
CURRENT = {"trtllm": ("1.3.0rc20", "1.3.0rc23"), "vllm": ("0.24.0",), "sglang": ("0.5.14",)}
CURRENT_A100 = {"trtllm": ("1.0.0",), "vllm": ("0.14.0",), "sglang": ("0.5.10",)}

#: Attention kernels that engines take on Blackwell where TensorRT-LLM's (trtllm-gen), their usual one, lacks a shape.
OTHER_BACKENDS = ("flashinfer", "torch_flow_flashinfer", "vllm_triton_attn")

_MOE_CASE = (
    "chip",
    "framework",
    "version",
    "kernel",
    "dtype",
    "variant",
    "hidden",
    "inter",
    "topk",
    "experts",
    "tp",
    "ep",
    "gated",
    "distribution",
)


@dataclass(frozen=True)
class Rule:
    """One rule: the flag that it sets, why, whether it came late, and the rows that it takes."""

    flag: str
    reason: str
    late: bool
    rows: Callable[[pd.DataFrame], pd.Series[bool]]


def _impossible(frame: pd.DataFrame) -> pd.Series[bool]:
    if "lower_s" not in frame.columns:  # nothing was predicted yet
        return frame["op"].eq("none")
    return frame["time_s"] < frame["lower_s"] * (1 - MARGIN)


def _engine(frame: pd.DataFrame, *names: str) -> pd.Series[bool]:
    return frame["framework"].isin(names)


def _eager(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame["op"].eq("gemm") & _engine(frame, "vllm") & frame["variant"].eq("block")


def _eager_collective(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame["op"].eq("all_reduce") & frame["kernel"].str.endswith("_eager")


def _fallback(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame["op"].eq("attention") & _engine(frame, "sglang") & frame["kernel"].eq("triton")


def _other_backend(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame["op"].eq("attention") & frame["chip"].eq("b200") & frame["kernel"].isin(OTHER_BACKENDS)


def _large_group(frame: pd.DataFrame) -> pd.Series[bool]:
    decode = frame["op"].eq("attention") & frame["variant"].eq("decode") & _engine(frame, "trtllm")
    return decode & (frame["heads"].astype(float) > 32.0 * frame["kv_heads"].astype(float))


def _slow_quantise(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame["op"].eq("quantize") & _engine(frame, "sglang")


def _int8_reduce(frame: pd.DataFrame) -> pd.Series[bool]:
    return frame["op"].eq("all_reduce") & frame["variant"].eq("int8") & ~frame["chip"].str.startswith("a100")


def _other_kernel(frame: pd.DataFrame) -> pd.Series[bool]:
    later = frame["variant"].eq("encoder") & frame["chip"].eq("b200")  # Blackwell's usual kernel there
    return frame["op"].eq("attention") & frame["kernel"].str.endswith("_fa4") & ~later


def _older(frame: pd.DataFrame) -> pd.Series[bool]:
    a100 = frame["chip"].str.startswith("a100")
    old = frame["op"].eq("none")
    for framework in CURRENT:
        mine = frame["framework"].eq(framework)
        old |= mine & ~a100 & ~frame["version"].isin(CURRENT[framework])
        old |= mine & a100 & ~frame["version"].isin(CURRENT_A100[framework])
    return old


def _slow_mode(frame: pd.DataFrame) -> pd.Series[bool]:
    out = frame["op"].eq("none")
    moe = frame[frame["op"].eq("moe") & frame["variant"].ne("block")]
    if len(moe):
        case = moe[list(_MOE_CASE)].astype(str).agg("|".join, axis=1)
        slow = (moe["time_s"] / (30e-6 + moe["naive_s"] / 0.8)).groupby(case).transform("median")
        out[moe.index] = slow > 2.5
    return out


#: The rule that asks the model and not the data alone: the complete data's rows are not counted for it.
IMPOSSIBLE = "faster_than_bound"

RULES = (
    Rule(
        IMPOSSIBLE,
        "faster than the lower bound, which no machine of that description can beat, by more than "
        f"{MARGIN:.0%}: something other was measured than the row states, or the bound is wrong",
        False,
        _impossible,
    ),
    Rule(
        "eager_host_bound",
        "vLLM's block-scaled fp8 products were timed eagerly, without a CUDA graph: 55-150 us of "
        "host time in every row",
        False,
        _eager,
    ),
    Rule(
        "eager_launch_floor",
        "the engine's all-reduce timed eagerly: 19-30 us of host time; the rows in a CUDA graph are kept",
        False,
        _eager_collective,
    ),
    Rule(
        "slow_fallback_kernel",
        "SGLang's Triton attention for head_dim 256 and 512: a fallback several times slower "
        "than its kernel for the others",
        False,
        _fallback,
    ),
    Rule(
        "other_backend",
        "attention on Blackwell by FlashInfer or Triton, which engines take where TensorRT-LLM's kernel lacks the "
        "shape: other kernels, not described (written before a residual of that chip was looked at)",
        False,
        _other_backend,
    ),
    Rule(
        "large_group_fallback",
        "TensorRT-LLM decode with more than 32 query heads a KV head: a generic kernel, 15-19 times slower",
        False,
        _large_group,
    ),
    Rule(
        "slow_quantise_kernel",
        "SGLang's static fp8 quantisation runs at 0.34 TB/s whatever the shape",
        False,
        _slow_quantise,
    ),
    Rule(
        "int8_all_reduce",
        "NCCL does not add int8 in the switch, and an all_reduce operator has no dtype",
        False,
        _int8_reduce,
    ),
    Rule(
        "other_kernel",
        "vLLM calls FlashAttention 4 at head_dim 512: another kernel, 2.7 times slow in decode",
        True,
        _other_kernel,
    ),
    Rule("older_version", "not the version of the framework that the stack's parameters describe", True, _older),
    Rule(
        "moe_slow_mode",
        "a configuration and routing, not block-scaled, whose rows take, in the median, more than "
        "2.5 times 30 us and the roofline at 80 %: nearly all ran kernels that were not tuned (tuning.py), and are "
        "labelled as such where they count",
        True,
        _slow_mode,
    ),
)

BY_FLAG = {rule.flag: rule for rule in RULES}


def flag(frame: pd.DataFrame) -> pd.Series[str]:
    """The flags of every rule that takes a row, joined by ``;``.

    Parameters
    ----------
    frame : DataFrame
        A complete data set (some rules look at a row's neighbours) with `naive_s` beside the columns of the rules.
    """
    import pandas as pd

    frame = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *_MOE_CASE, "heads", "kv_heads"])))
    words = ["chip", "framework", "version", "kernel", "variant", "dtype"]
    frame = frame.assign(**{c: frame[c].astype(object).where(frame[c].notna(), "").astype(str) for c in words})
    out = pd.Series("", index=frame.index, dtype=object)
    for rule in RULES:
        taken = rule.rows(frame).to_numpy(dtype=bool)
        out = out.where(~taken, out + np.where(out == "", "", ";") + rule.flag)
    return out


def excluded(flags: pd.Series[str], late: bool = False) -> pd.Series[str]:
    """The first rule that takes each row, or an empty text; late rules only if asked for."""
    import pandas as pd

    names = [rule.flag for rule in RULES if late or not rule.late]
    out = pd.Series("", index=flags.index, dtype=object)
    split = flags.fillna("").astype(str)
    for name in reversed(names):
        hit = (";" + split + ";").str.contains(f";{name};", regex=False)
        out[hit] = name
    return out
