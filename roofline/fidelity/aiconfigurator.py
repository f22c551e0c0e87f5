"""Operator times of NVIDIA's aiconfigurator-core 0.12.0 (Apache-2.0), as :mod:`roofline.evidence.measurements` has.

The package holds one Parquet file for each chip, class, framework and version, in names of its own. What its columns
mean, where the package does not say:

- ``latency`` is in ms, of one call; sizes of collectives count elements, not bytes;
- fp8 products include the quantisation of their bf16 activations; ``sq`` is int8 SmoothQuant;
- weights: TensorRT-LLM cycles through as many copies as fill the cache, at most 5, vLLM through 6; how many SGLang
  has is not told, and its fitted rows say that they are cold;
- in decode the cache holds ``step`` tokens and the new one; over an fp8 cache Hopper's kernels and Blackwell's compute
  in fp8;
- TensorRT-LLM expands DeepSeek's latents in prefill, and so does its kernel that SGLang calls on Blackwell: plain
  attention with keys of 192 and values of 128;
- ``nvfp4`` products include the quantisation of their bf16 activations, as those in fp8.

Only the folders of :data:`CHIPS` are ever opened.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import reading
from roofline.base.errors import BadData
from roofline.catalog.load import load_chip
from roofline.evidence import measurements
from roofline.fidelity import exclusions, tuning

if TYPE_CHECKING:
    import pandas as pd

VERSION = "0.12.0"

#: Their folders -> our chips.
CHIPS = {"h100_sxm": "h100-sxm", "h200_sxm": "h200", "a100_sxm": "a100-sxm-80gb", "b200_sxm": "b200"}

#: The tables, and the columns that decide whether a shape was held out of every fit.
CLASSES = {
    "gemm": ("n", "k"), "attention": ("heads", "kv_heads", "head_dim", "causal"), "mla_attention": ("heads",),
    "moe": ("hidden", "inter", "experts"), "collectives": ("bytes", "devices"), "quantize": ("cols",),
}  # fmt: skip

_FIRST = ["op", "chip", "framework", "version", "kernel", "role", "variant", "dtype"]
_FRAMEWORKS = {"TRTLLM": "trtllm", "VLLM": "vllm", "vLLM": "vllm", "SGLang": "sglang"}
_EXPONENT = {"power_law_1.01": 1.01, "power_law_1.2": 1.2}
_DTYPE = {"bfloat16": "bf16", "half": "fp16", "float16": "fp16", "fp8": "fp8", "int8": "int8"}

#: gemm_dtype -> variant, dtype, weight dtype, whether activations are quantised first.
_GEMM = {
    "bfloat16": ("", "bf16", None, False), "fp8": ("per-tensor", "fp8", None, True),
    "fp8_block": ("block", "fp8", None, True), "sq": ("smoothquant", "int8", None, True),
    "nvfp4": ("", "fp4", None, True),
    "int8_wo": ("int8 weights", "bf16", "int8", False), "int4_wo": ("int4 weights", "bf16", "int4", False),
}  # fmt: skip
_MOE = {
    "bfloat16": ("", "bf16", None, False), "fp8": ("per-tensor", "fp8", None, False),
    "fp8_block": ("block", "fp8", None, True), "int4_wo": ("int4 weights", "bf16", "int4", False),
    "w4a16_mxfp4": ("fp4 weights", "bf16", "fp4", False), "w4a8_mxfp4_mxfp8": ("fp4 weights", "fp8", "fp4", True),
    "nvfp4": ("", "fp4", None, False),
}  # fmt: skip

#: What an engine's name of a kernel says of the library behind it, where one engine calls several for one dtype on
#: Blackwell: told apart by the variant of a row.
_LIBRARIES = {
    "fused_moe_triton": "triton", "flashinfer_cutlass": "cutlass", "min_latency": "min-latency",
    "mxfp4moe_marlin": "marlin",
}  # fmt: skip
_WIDTH = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "fp4": 0.5}

#: Layers of Nemotron 3, whose experts are not gated (hidden, inter, topk, experts): TensorRT-LLM's kernels say so in
#: their names. vLLM's collection of this version, and SGLang's of the B200, ran two matrices an expert as well (their
#: rows take 0.7 times as long as three would at the least), older ones of the same shapes three.
_NOT_GATED = {
    (2048, 5120, 22, 512), (8192, 5120, 22, 512), (2688, 1856, 6, 128), (4096, 2688, 22, 512), (1024, 2688, 22, 512),
}  # fmt: skip
_NOT_GATED_IN = {"vllm": "0.24.0", "sglang": "0.5.14"}

#: A set of weight copies larger than this share of the last-level cache is cold at every call.
_WARM = 0.8


def _spread_out(frame: pd.DataFrame, table: dict[str, tuple[str, str, str | None, bool]]) -> pd.DataFrame:
    frame = frame[frame["dtype"].isin(table)]
    parts = frame["dtype"].map(table)
    return frame.assign(
        variant=parts.str[0],
        dtype=parts.str[1],
        weight_dtype=parts.str[2].where(parts.str[2].notna(), None),
        quantize=parts.str[3].astype(bool),
    )


def _ordered(frame: pd.DataFrame, *arguments: str) -> pd.DataFrame:
    return frame[[*_FIRST, *arguments, "time_s"]].reset_index(drop=True)


def gemm_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Products; takes chip, framework, version, kernel, role, dtype (their name), m, n, k, copies and time_s."""
    frame = _spread_out(frame, _GEMM).assign(op="gemm")
    # TensorRT-LLM's 4-bit products: its tuner chooses among libraries when an engine starts, and the collector
    # (collector/trtllm/collect_gemm.py, read November 2026) never calls it, so the first of the list ran.
    untuned = frame["framework"].eq("trtllm") & frame["dtype"].eq("fp4")
    frame["variant"] = frame["variant"].where(~untuned, "untuned")
    width = frame["weight_dtype"].fillna(frame["dtype"]).map(_WIDTH)
    cache = frame["chip"].map({name: load_chip(name)["memory.cache.capacity"] for name in frame["chip"].unique()})
    weights = frame["copies"].fillna(np.inf) * frame["n"].astype(float) * frame["k"] * width
    frame = frame.assign(reuse=weights <= _WARM * cache)
    return _ordered(frame, "m", "n", "k", "weight_dtype", "quantize", "reuse")


def attention_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Attention; takes also variant (prefill, decode, encoder), kv_dtype, sizes, window (0: none) and causal."""
    frame = frame.assign(op="attention", dtype=frame["dtype"].map(_DTYPE), kv_dtype=frame["kv_dtype"].map(_DTYPE))
    frame = frame.assign(window=frame["window"].astype(float).where(frame["window"] > 0), reuse=True)
    # Over an fp8 cache the query is cast and the arithmetic is fp8. (TensorRT-LLM's prefill too: on calibrate rows over
    # 1 ms it takes 0.99 times as long as with fp8 throughout, and 0.77 times as long as with a 16-bit cache.)
    cast = frame["dtype"].eq("bf16") & frame["kv_dtype"].eq("fp8") & ~frame["chip"].str.startswith("a100")
    # Heads of 192 are MiMo-V2-Flash's (its config.json: 64 heads on 4 and 8, windows of 128), whose values are 128;
    # SGLang keeps them so, the others fill them up to 192.
    unequal = frame["head_dim"].eq(192) & frame["framework"].eq("sglang") & frame["causal"].astype(bool)
    frame = frame.assign(value_dim=unequal.map({True: 128.0, False: np.nan}))
    # Windows of 8192 are Llama 4's chunks (its config.json: 40 heads on 8); SGLang runs prefill by chunks.
    chunked = frame["window"].eq(8192) & frame["framework"].eq("sglang") & frame["variant"].eq("prefill")
    frame = frame.assign(chunked=chunked.map({True: True, False: None}))
    frame = frame.assign(query_dtype=cast.map({True: "bf16", False: None}), dtype=frame["dtype"].where(~cast, "fp8"))
    return _ordered(
        frame,
        "kv_dtype",
        "query_dtype",
        "batch",
        "heads",
        "kv_heads",
        "head_dim",
        "value_dim",
        "q_len",
        "kv_len",
        "window",
        "chunked",
        "causal",
        "reuse",
    )


def mla_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Latent attention; takes also variant (prefill, decode), kv_dtype, batch, heads, q_len and kv_len."""
    # TensorRT-LLM's own kernels, and those of its that SGLang calls on Blackwell.
    library = frame["framework"].eq("trtllm") | frame["kernel"].eq("trtllm_mla")
    expanded = frame["variant"].eq("prefill") & library
    # On Blackwell expanded latents over an fp8 cache are cast too: long prompts take 0.86 times as long.
    narrow = library & (frame["variant"].eq("decode") | frame["chip"].eq("b200")) & frame["kv_dtype"].eq("fp8")
    narrow &= ~frame["chip"].str.startswith("a100")  # no fp8 arithmetic there
    dtype = frame["dtype"].map(_DTYPE)
    frame = frame.assign(
        op=np.where(expanded, "attention", "mla_attention"),
        variant=np.where(expanded, "expanded", frame["variant"]),
        dtype=dtype.where(~narrow, "fp8"),
        kv_dtype=frame["kv_dtype"].map(_DTYPE),
        causal=True,
        reuse=True,
        kv_lora_rank=np.where(expanded, np.nan, 512.0),
        rope_dim=np.where(expanded, np.nan, 64.0),
        head_dim=np.where(expanded, 192.0, np.nan),
        value_dim=np.where(expanded, 128.0, np.nan),
        stored=expanded.map({True: False, False: None}),
        query_dtype=(narrow & expanded).map({True: "bf16", False: None}),
    )
    return _ordered(
        frame,
        "kv_dtype",
        "query_dtype",
        "batch",
        "heads",
        "q_len",
        "kv_len",
        "kv_lora_rank",
        "rope_dim",
        "head_dim",
        "value_dim",
        "stored",
        "causal",
        "reuse",
    )


def moe_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Routed layers; takes also tokens, hidden, inter, topk, experts, tp, ep, gated, distribution and tuned."""
    frame = _spread_out(frame, _MOE).assign(op="moe", reuse=True)
    frame = frame.assign(skew=_skew(frame), variant=_with_library(frame), gated=_gated(frame))
    return _ordered(
        frame,
        "weight_dtype",
        "tokens",
        "hidden",
        "inter",
        "topk",
        "experts",
        "tp",
        "ep",
        "gated",
        "skew",
        "quantize",
        "reuse",
        "tuned",
        "distribution",
    )


def _gated(frame: pd.DataFrame) -> np.ndarray:
    """Whether experts have three matrices: as the kernel's name says, and as the model of that shape has it."""
    layers = zip(*(frame[column].astype(int) for column in ("hidden", "inter", "topk", "experts")), strict=True)
    plain = np.array([layer in _NOT_GATED for layer in layers], dtype=bool)
    ran_so = frame["version"].eq(frame["framework"].map(_NOT_GATED_IN))
    ran_so &= frame["framework"].eq("vllm") | frame["chip"].eq("b200")
    return frame["gated"].to_numpy(bool) & ~(plain & ran_so.to_numpy(bool))


def _with_library(frame: pd.DataFrame) -> pd.Series[str]:
    """The variant of each routed layer, with the library behind its kernel where that is not the engine's usual one."""
    variant = frame["variant"].astype(object)
    for part, library in _LIBRARIES.items():
        taken = frame["chip"].eq("b200") & frame["kernel"].astype(str).str.contains(part)
        variant = variant.where(~taken, (variant + " " + library).str.strip())
    return variant


def moe_cases(root: Path) -> pd.DataFrame:
    """The package's rows of routed layers in its own words, and whether the kernels of each were tuned."""
    names = {
        "num_tokens": "tokens",
        "hidden_size": "hidden",
        "inter_size": "inter",
        "num_experts": "experts",
        "moe_tp_size": "tp",
        "moe_ep_size": "ep",
        "moe_dtype": "dtype",
    }
    frame = _files(_root(root), "moe/*/*/moe_perf.parquet", names)
    if len(frame):
        frame = frame.assign(gated=~frame["kernel"].str.contains("nongated"), tuned=True)
        hopper = frame[frame["framework"].eq("trtllm") & frame["chip"].isin(["h100-sxm", "h200"])]
        for _, part in hopper.groupby(["chip", "version"], sort=False):
            frame.loc[part.index, "tuned"] = tuning.tuned(part)
    return frame


def _skew(frame: pd.DataFrame) -> Any:
    """The skew of a benchmark's routing: 0 for its round robin, else 1 and the relative variance of its power law.

    The tokens of an expert are drawn with density x^-a between 1 and 0.8 of the tokens, or between 0.01 and 2 where
    there are fewer pairs than experts.
    """
    exponent = frame["distribution"].map(_EXPONENT).to_numpy(float)
    tokens = frame["tokens"].to_numpy(float)
    many = tokens * frame["topk"].to_numpy(float) > frame["experts"].to_numpy(float)
    low = np.where(many, 1.0, 0.01)
    high = np.maximum(np.where(many, 0.8 * tokens, 2.0), 1.0001 * low)

    def moment(order: int) -> Any:
        power = order + 1 - exponent
        return (high**power - low**power) / power

    variance = moment(2) * moment(0) / moment(1) ** 2 - 1
    return np.where(np.isnan(exponent), 0.0, 1 + variance)


def collective_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Collectives; takes op (their name), dtype, bytes and devices."""
    frame = frame.assign(op=frame["op"].replace({"alltoall": "all_to_all"}), variant=frame["dtype"].map(_DTYPE))
    frame = frame.assign(dtype="")
    return _ordered(frame, "bytes", "devices")


def quantize_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Static quantisation of bf16 to fp8; takes rows and cols."""
    frame = frame.assign(op="quantize", variant="static", dtype="bf16", to="fp8", reuse=True)
    return _ordered(frame, "to", "rows", "cols", "reuse")


def with_naive(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with their naive roofline time (s) on the chip of each, which strata and some rules need."""
    naive = np.full(len(frame), np.nan)
    arguments = frame.drop(columns=_FIRST[1:-1]).assign(op=frame["op"])
    for name, index in arguments.groupby(frame["chip"]).groups.items():
        part = measurements.numeric(arguments.loc[index].dropna(axis=1, how="all"))
        naive[index] = measurements.predict(part, load_chip(str(name)))["naive_s"]
    return frame.assign(naive_s=naive)


# The package's own files -----------------------------------------------------------------------------------------


def folder() -> Path:
    """The folder of the data of the installed package.

    Raises
    ------
    BadData
        When it is not installed.
    """
    found = importlib.util.find_spec("aiconfigurator_core")
    places = list(found.submodule_search_locations or []) if found else []
    for place in places:
        data = Path(place) / "systems" / "data"
        if data.is_dir():
            return data
    raise BadData(
        f"the package aiconfigurator-core is not installed: pip install aiconfigurator-core=={VERSION}, "
        "or name a folder that it was unpacked to"
    )


def read(place: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Every H100, H200, A100 and B200 row of the package that an operator of ours describes.

    Parameters
    ----------
    place : str or path, optional
        Its folder ``systems/data``, or one above it. Default: where the package is installed.

    Returns
    -------
    DataFrame
        In the columns of :mod:`roofline.evidence.measurements`, with chip, framework, version, kernel, variant, role
        and flags.

    Raises
    ------
    BadData
        When there is no such data.
    """
    import pandas as pd

    root = _root(Path(place)) if place is not None else folder()
    roles = pd.read_csv(Path(__file__).parent.parent / "evidence" / "measured" / "roles.csv")
    found = []
    for name, rows in _tables(root):
        keys = list(CLASSES[name])
        known = roles[roles["table"] == name][[*keys, "role"]].drop_duplicates(keys)
        if name == "attention":
            known["causal"] = known["causal"].astype(bool)
        seen = rows.drop(columns="role").merge(known, on=keys, how="left")["role"].fillna("unseen").to_numpy()
        rows["role"] = np.where(rows["chip"] == "h200", "test-chip", seen)
        rows.loc[rows["chip"] == "b200", "role"] = role_by_fold(name, rows[rows["chip"] == "b200"])
        rows = with_naive(rows)
        rows["flags"] = exclusions.flag(rows)
        found.append(rows)
    if not found:
        raise BadData(f"{root}: no operator times of {', '.join(CHIPS)}")
    return pd.concat(found, ignore_index=True)


def current(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that are of no older version of a framework than its stacks describe."""
    return rows[~rows["flags"].str.contains("older_version")].reset_index(drop=True)


def role_by_fold(name: str, rows: pd.DataFrame) -> np.ndarray:
    """The role of rows of the B200: two folds of five, a sum of a shape's sizes modulo 5, are held out of every fit.

    Parameters
    ----------
    name : str
        Of the table: a key of :data:`CLASSES`.
    rows : DataFrame
        In the columns of measurements.
    """

    def size(column: str) -> np.ndarray:
        return np.asarray(rows[column].astype(float).fillna(0.0), dtype=np.int64)

    if name == "gemm":
        total = 31 * size("n") + 17 * size("k")
    elif name == "attention":
        total = 7 * size("heads") + 13 * size("kv_heads") + size("head_dim")
    elif name == "mla_attention":
        total = size("heads") // 8
    elif name == "moe":
        total = size("hidden") // 64 + size("inter") // 64 + size("experts")
    elif name == "collectives":
        total = np.array([int(n).bit_length() for n in size("bytes")], dtype=np.int64) + size("devices")
    else:
        total = size("cols") // 64
    return np.where(total % 5 < 2, "test-shapes", "calibrate")


def _root(place: Path) -> Path:
    for inner in ("", "systems/data", "aiconfigurator_core/systems/data"):
        if any((place / inner / chip).is_dir() for chip in CHIPS):
            return place / inner
    raise BadData(
        f"{place}: no folder {', '.join(CHIPS)} in it, as aiconfigurator-core {VERSION} has under systems/data"
    )


def _files(root: Path, pattern: str, names: dict[str, str]) -> pd.DataFrame:
    """All files of a pattern under every chip, in one frame, columns renamed; empty if there are none."""
    import pandas as pd

    frames = []
    for theirs, chip in CHIPS.items():
        for path in sorted((root / theirs).glob(pattern)):
            frame = reading.parquet_table(path)
            if "latency" not in frame.columns:
                continue
            frame = frame.rename(columns={"kernel_source": "kernel", "op_name": "op", **names})
            for column in frame.columns:
                if not pd.api.types.is_numeric_dtype(frame[column]):
                    frame[column] = frame[column].astype(object)
            frame = frame.assign(
                chip=chip,
                time_s=frame["latency"] * 1e-3,
                role="",
                version=path.parent.name,
                framework=frame["framework"].map(_FRAMEWORKS) if "framework" in frame else "",
            )
            frames.append(frame.drop(columns=["latency", "device"], errors="ignore"))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _tables(root: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables of each class that has any rows."""
    for name, cases, rows in (
        ("gemm", _gemm_cases, gemm_rows),
        ("attention", _attention_cases, attention_rows),
        ("mla_attention", _mla_cases, mla_rows),
        ("moe", moe_cases, moe_rows),
        ("collectives", _collective_cases, collective_rows),
        ("quantize", _quantize_cases, quantize_rows),
    ):
        found = cases(root)
        if len(found):
            yield name, rows(found)


def _together(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The tables that have rows, one below the other."""
    import pandas as pd

    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _gemm_cases(root: Path) -> pd.DataFrame:
    frame = _files(root, "gemm/*/*/gemm_perf.parquet", {"gemm_dtype": "dtype"})
    return frame.assign(copies=_copies(frame)) if len(frame) else frame


def _prefill(frame: pd.DataFrame, **columns: bool) -> pd.DataFrame:
    """Prompts: so many new tokens after so many that were there before."""
    if not len(frame):
        return frame
    return frame.assign(variant="prefill", **columns, q_len=frame["isl"], kv_len=frame["isl"] + frame["step"])


def _decode(frame: pd.DataFrame, **columns: bool) -> pd.DataFrame:
    """Steps of decoding: one token after so many."""
    return frame.assign(variant="decode", **columns, q_len=1, kv_len=frame["step"] + 1) if len(frame) else frame


def _encoder(frame: pd.DataFrame) -> pd.DataFrame:
    """Encoders: every token attends to every other, all heads have keys of their own."""
    if not len(frame):
        return frame
    own: dict[str, Any] = {"kv_heads": frame["heads"], "kv_dtype": frame["dtype"], "window": 0}
    return frame.assign(variant="encoder", causal=False, q_len=frame["isl"], kv_len=frame["isl"], **own)


def _attention_cases(root: Path) -> pd.DataFrame:
    names = {
        "batch_size": "batch",
        "num_heads": "heads",
        "num_key_value_heads": "kv_heads",
        "attn_dtype": "dtype",
        "kv_cache_dtype": "kv_dtype",
        "window_size": "window",
    }
    found = _together(
        [
            _prefill(_files(root, "attention/*/*/context_attention_perf.parquet", names), causal=True),
            _decode(_files(root, "attention/*/*/generation_attention_perf.parquet", names), causal=True),
            _encoder(_files(root, "encoder_attention/*/*/encoder_attention_perf.parquet", names)),
        ]
    )
    if len(found):
        found["kv_heads"] = found["kv_heads"].where(found["kv_heads"] > 0, found["heads"])
    return found


def _mla_cases(root: Path) -> pd.DataFrame:
    names = {"batch_size": "batch", "num_heads": "heads", "mla_dtype": "dtype", "kv_cache_dtype": "kv_dtype"}
    found = _together(
        [
            _prefill(_files(root, "mla/*/*/context_mla_perf.parquet", names)),
            _decode(_files(root, "mla/*/*/generation_mla_perf.parquet", names)),
        ]
    )
    if not len(found):
        return found
    return found[~found["version"].eq("") & found["op"].isin(["mla_context", "mla_generation"])].reset_index(drop=True)


def _collective_cases(root: Path) -> pd.DataFrame:
    names = {"num_gpus": "devices", "message_size": "bytes", "allreduce_dtype": "dtype", "nccl_dtype": "dtype"}
    frame = _together(
        [
            _files(root, "comm/nccl/*/nccl_perf.parquet", names).assign(framework="nccl"),
            _files(root, "comm/*/*/custom_allreduce_perf.parquet", names),
        ]
    )
    if not len(frame):
        return frame
    if "backend" in frame:
        eager = frame["backend"].astype(str).str.endswith("_eager") & ~frame["kernel"].str.endswith("_eager")
        frame["kernel"] = frame["kernel"].where(~eager, frame["kernel"] + "_eager")
    frame = frame.dropna(subset=["dtype", "bytes", "devices"])
    frame["bytes"] = frame["bytes"] * frame["dtype"].map(_DTYPE).map({**_WIDTH, "fp16": 2.0})
    return frame


def _quantize_cases(root: Path) -> pd.DataFrame:
    return _files(root, "quantize/*/*/scale_matrix_perf.parquet", {"m": "rows", "k": "cols"})


def _copies(frame: pd.DataFrame) -> Any:
    """How many copies of the weights the benchmark went through, so that the cache does not hold them.

    SGLang's is not known; taken as vLLM's: its small products take what the others' warm ones do (within 1.5 % up to
    4 MB of weights), those of 6 MB and more what their cold ones do, on rows that may be fitted.
    """
    width = frame["dtype"].map({"bfloat16": 2.0, "sq": 2.0, "int4_wo": 0.5}).fillna(1.0)
    cache = frame["chip"].map({name: load_chip(name)["memory.cache.capacity"] for name in frame["chip"].unique()})
    filling = np.minimum(5.0, np.ceil(cache / (frame["n"].astype(float) * frame["k"] * width)))
    return np.select(
        [frame["framework"] == "trtllm", frame["framework"].isin(["vllm", "sglang"])], [filling, 6.0], np.inf
    )
