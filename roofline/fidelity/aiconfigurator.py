"""Operator times of NVIDIA's aiconfigurator-core 0.12.0 (Apache-2.0), as :mod:`roofline.evidence.measurements` has.

The package holds one Parquet file for each chip, class, framework and version, in names of its own; what its columns
mean is told in :mod:`roofline.fidelity.aiconfigurator_rows`.

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
from roofline.fidelity import aiconfigurator_rows as meaning, exclusions, tuning

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


def with_naive(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with their naive roofline time (s) on the chip of each, which strata and some rules need."""
    naive = np.full(len(frame), np.nan)
    arguments = frame.drop(columns=meaning.FIRST[1:-1]).assign(op=frame["op"])
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
                framework=frame["framework"].map(meaning.FRAMEWORKS) if "framework" in frame else "",
            )
            frames.append(frame.drop(columns=["latency", "device"], errors="ignore"))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _tables(root: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables of each class that has any rows."""
    for name, cases, rows in (
        ("gemm", _gemm_cases, meaning.gemm_rows),
        ("attention", _attention_cases, meaning.attention_rows),
        ("mla_attention", _mla_cases, meaning.mla_rows),
        ("moe", moe_cases, meaning.moe_rows),
        ("collectives", _collective_cases, meaning.collective_rows),
        ("quantize", _quantize_cases, meaning.quantize_rows),
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
    frame["bytes"] = frame["bytes"] * frame["dtype"].map(meaning.DTYPES).map({**meaning.WIDTHS, "fp16": 2.0})
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
