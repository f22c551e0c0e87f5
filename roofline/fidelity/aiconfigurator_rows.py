"""What the columns of aiconfigurator-core's tables mean: rows of theirs in the columns of measurements.

- ``latency`` is in ms, of one call; sizes of collectives count elements, not bytes;
- fp8 products include the quantisation of their bf16 activations; ``sq`` is int8 SmoothQuant;
- weights: TensorRT-LLM cycles through as many copies as fill the cache, at most 5, vLLM through 6; how many SGLang
  has is not told, and its fitted rows say that they are cold;
- in decode the cache holds ``step`` tokens and the new one; over an fp8 cache Hopper's kernels and Blackwell's compute
  in fp8;
- TensorRT-LLM expands DeepSeek's latents in prefill, and so does its kernel that SGLang calls on Blackwell: plain
  attention with keys of 192 and values of 128;
- ``nvfp4`` products include the quantisation of their bf16 activations, as those in fp8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.catalog.load import load_chip

if TYPE_CHECKING:
    import pandas as pd

#: The columns that every table has first.
FIRST = ["op", "chip", "framework", "version", "kernel", "role", "variant", "dtype"]
#: Their words for frameworks and dtypes -> ours; bytes of a number of each dtype.
FRAMEWORKS = {"TRTLLM": "trtllm", "VLLM": "vllm", "vLLM": "vllm", "SGLang": "sglang"}
_EXPONENT = {"power_law_1.01": 1.01, "power_law_1.2": 1.2}
DTYPES = {"bfloat16": "bf16", "half": "fp16", "float16": "fp16", "fp8": "fp8", "int8": "int8"}

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
WIDTHS = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "fp4": 0.5}

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
    return frame[[*FIRST, *arguments, "time_s"]].reset_index(drop=True)


def gemm_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Products; takes chip, framework, version, kernel, role, dtype (their name), m, n, k, copies and time_s."""
    frame = _spread_out(frame, _GEMM).assign(op="gemm")
    # TensorRT-LLM's 4-bit products: its tuner chooses among libraries when an engine starts, and the collector
    # (collector/trtllm/collect_gemm.py, read November 2026) never calls it, so the first of the list ran.
    untuned = frame["framework"].eq("trtllm") & frame["dtype"].eq("fp4")
    frame["variant"] = frame["variant"].where(~untuned, "untuned")
    width = frame["weight_dtype"].fillna(frame["dtype"]).map(WIDTHS)
    cache = frame["chip"].map({name: load_chip(name)["memory.cache.capacity"] for name in frame["chip"].unique()})
    weights = frame["copies"].fillna(np.inf) * frame["n"].astype(float) * frame["k"] * width
    frame = frame.assign(reuse=weights <= _WARM * cache)
    return _ordered(frame, "m", "n", "k", "weight_dtype", "quantize", "reuse")


def attention_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Attention; takes also variant (prefill, decode, encoder), kv_dtype, sizes, window (0: none) and causal."""
    frame = frame.assign(op="attention", dtype=frame["dtype"].map(DTYPES), kv_dtype=frame["kv_dtype"].map(DTYPES))
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
    dtype = frame["dtype"].map(DTYPES)
    frame = frame.assign(
        op=np.where(expanded, "attention", "mla_attention"),
        variant=np.where(expanded, "expanded", frame["variant"]),
        dtype=dtype.where(~narrow, "fp8"),
        kv_dtype=frame["kv_dtype"].map(DTYPES),
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
    frame = frame.assign(op=frame["op"].replace({"alltoall": "all_to_all"}), variant=frame["dtype"].map(DTYPES))
    frame = frame.assign(dtype="")
    return _ordered(frame, "bytes", "devices")


def quantize_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Static quantisation of bf16 to fp8; takes rows and cols."""
    frame = frame.assign(op="quantize", variant="static", dtype="bf16", to="fp8", reuse=True)
    return _ordered(frame, "to", "rows", "cols", "reuse")
