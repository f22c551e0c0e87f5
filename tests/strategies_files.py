"""Files that somebody may hand to a reader: well-formed ones with one thing wrong, and what must hold of any of them.

Each front is a strategy of file contents and a check of one file: nothing but a :class:`RooflineError` may come out of
a reader, and what it accepts has finite figures. The suite runs a few hundred cases of each; for more, walk through
:data:`FRONTS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st

import roofline as rl
from roofline import profiles
from roofline.evidence import measurements
from roofline.measure.record import PROBE
from roofline.measure.session import Session
from roofline.measure.system import Cache, System

__all__ = ["FRONTS", "ceiling_csvs", "measurement_csvs", "nsight_csvs", "plain_csvs", "torch_traces"]

#: What a cell or value may be that nobody expects in it.
TEXTS = (
    "",
    " ",
    "0",
    "-1",
    "-0",
    "nan",
    "inf",
    "1e999",
    "1e308",
    "5e-324",
    "1" * 400,
    "1" * 5000,
    "9" * 19,
    "1,5",
    "1,234",
    "1.234",
    "1.234,5",
    "1 234,5",
    "1_000",
    "0x10",
    "\u0661\u0662",
    "\u00bd",
    "true",
    "None",
    "NA",
    "[1, 2]",
    "{}",
    "=1+1",
    "\x00",
    "\u202e",
    '"',
    "'",
    "\n",
    "\r",
    ",",
    ";",
    "gemm",
    "bf16",
    "x" * 3000,
    "\U0001f600",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    10**400,
    0.5,
    -1e-300,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x",
    "7",
    "\x00",
    [],
    {},
    [1, 2],
    [[1, 2], [3]],
    {"a": 1},
    [[[[[[]]]]]],
    ["float", 3],
    "1" * 400,
)

_ROWS: tuple[dict[str, str], ...] = (
    {"op": "gemm", "dtype": "bf16", "m": "64", "n": "4096", "k": "4096", "time_s": "2e-5", "quantize": "", "reuse": ""},
    {"op": "gemm", "dtype": "fp8", "m": "1", "n": "512", "k": "512", "time_s": "1e-5", "quantize": "true"},
    {"op": "softmax", "dtype": "bf16", "rows": "64", "cols": "4096", "time_s": "4e-6"},
    {"op": "softmax", "dtype": "bf16", "rows": "64", "cols": "4096", "time_s": ""},
    {"op": "attention", "dtype": "bf16", "batch": "8", "heads": "32", "kv_heads": "8", "head_dim": "128", "q_len": "1",
     "kv_len": "4096", "causal": "true", "window": "", "time_s": "4e-5"},
    {"op": "embedding_bag", "dtype": "fp16", "batch": "512", "tables": "8", "rows": "100000", "dim": "64",
     "pooling": "20", "skew": "1.05", "time_s": "1e-4"},
    {"op": "moe", "dtype": "bf16", "tokens": "64", "hidden": "4096", "inter": "2048", "topk": "2", "experts": "8",
     "ep": "1", "time_s": "3e-4"},
    {"op": "all_reduce", "bytes": "1e6", "devices": "8", "time_s": "3e-5"},
    {"op": "quantize", "dtype": "bf16", "to": "fp8", "rows": "512", "cols": "4096", "time_s": "5e-6"},
)  # fmt: skip

_METRICS: tuple[tuple[str, str, str], ...] = (
    ("gpu__time_duration.sum", "usecond", "210.5"), ("gpu__time_duration.avg", "us", "1,210.50"),
    ("dram__bytes.sum", "Mbyte", "104.86"), ("dram__bytes_read.sum", "KiB", "7"), ("Duration", "us", "12.5"),
    ("Memory Throughput", "Tbyte/s", "2.71"), ("Memory Throughput", "%", "48.2"),
    ("sm__ops_path_tensor_src_bf16_dst_fp32.sum", "", "137,438,953,472"),
    ("sm__ops_path_tensor_src_bf16_dst_fp32_sparsity_off.sum", "", "137,438,953,472"),
    ("sm__ops_path_tensor_op_hmma_src_bf16_dst_fp32.sum", "", "0"),
    ("sm__inst_executed_pipe_tensor.sum", "inst", "6,000,000"),
    ("smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", "inst", "1048576"), ("SM Frequency", "Ghz", "1.41"),
)  # fmt: skip
_KERNELS = (
    "ampere_bf16_s16816gemm_bf16",
    "void mine<float>(float*)",
    "flash_fwd_kernel",
    "nvjet_hsh_128x256",
    "vectorized_elementwise_kernel",
)

_EVENTS: tuple[dict[str, Any], ...] = (
    {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 100,
     "args": {"External id": 1, "Input Dims": [[64, 32], [32, 128]], "Input type": ["c10::BFloat16"] * 2}},
    {"ph": "X", "cat": "cpu_op", "name": "aten::_embedding_bag", "pid": 1, "tid": 1, "ts": 10, "dur": 20,
     "args": {"External id": 2, "Input Dims": [[1000, 32], [128], [17]], "Input type": ["float", "long", "long"],
              "Concrete Inputs": ["", "", "", "False", "0", "False", "", "True"]}},
    {"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 1, "tid": "2", "ts": 200.5, "dur": 3.25,
     "args": {"Input Dims": [[64, 32], []], "Input type": ["float", "Scalar"]}},
    {"ph": "X", "cat": "cpu_op", "name": "aten::_scaled_dot_product_flash_attention", "pid": 1, "tid": 1, "ts": 300,
     "dur": 40, "args": {"Input Dims": [[2, 4, 32, 16]] * 3, "Input type": ["float"] * 3, "Concrete Inputs": ["True"]}},
    {"ph": "X", "cat": "kernel", "name": "void cutlass::gemm<int>(int)", "pid": 0, "tid": 7, "ts": 50, "dur": 90,
     "args": {"External id": 1}},
    {"ph": "M", "name": "process_name", "pid": 1},
)  # fmt: skip


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _text(table: list[list[str]], quote: bool) -> str:
    lines = ([_quoted(c) if quote or set(c) & set(',"\n\r') else c for c in row] for row in table)
    return "\n".join(map(",".join, lines)) + "\n"


@st.composite
def _mutated(draw: Any, table: list[list[str]], quote: bool) -> str:
    """A table as CSV with one thing wrong (or nothing)."""
    row = draw(st.integers(0, len(table) - 1))
    column = draw(st.integers(0, max(0, len(table[row]) - 1)))
    what = draw(
        st.sampled_from(
            ["nothing", "cell", "cell", "cell", "header", "drop", "more", "twice", "column", "cut", "mark", "insert"]
        )
    )
    table = [list(cells) for cells in table]
    if what == "cell":
        table[row][column] = draw(st.one_of(st.sampled_from(TEXTS), st.text(max_size=12)))
    elif what == "header":
        table[0][column % len(table[0])] = draw(st.sampled_from([*TEXTS, *table[0]]))
    elif what == "drop":
        del table[row][column]
    elif what == "more":
        table[row].append(draw(st.sampled_from(TEXTS)))
    elif what == "twice":
        table.insert(row, table[row])
    elif what == "column":
        for cells in table:
            del cells[column % len(cells)]
    text = _text(table, quote)
    if what == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if what == "mark":
        return text.replace(".", draw(st.sampled_from([",", ";", " ", "\t"])))
    if what == "insert":
        place = draw(st.integers(0, len(text)))
        return text[:place] + draw(st.sampled_from(TEXTS)) + text[place:]
    return text


def _table(rows: list[dict[str, str]], first: list[str]) -> list[list[str]]:
    header = list(dict.fromkeys([*first, *(key for row in rows for key in row)]))
    return [header, *([row.get(key, "") for key in header] for row in rows)]


_some_rows = st.lists(st.sampled_from(_ROWS), min_size=1, max_size=4)


@st.composite
def measurement_csvs(draw: Any) -> str:
    """A table of measured operator times with one thing wrong."""
    return str(draw(_mutated(_table(draw(_some_rows), ["op", "time_s"]), draw(st.booleans()))))


@st.composite
def plain_csvs(draw: Any) -> str:
    """A profile as plain CSV, with FLOP and bytes or the arguments of operators, with one thing wrong."""
    rows: list[dict[str, str]] = draw(_some_rows)
    if draw(st.booleans()):
        rows = [{"op": row["op"], "time_s": "1e-5", "flops": "1e9", "bytes": "1e6", "count": "3"} for row in rows]
    return str(draw(_mutated(_table(rows, ["op", "time_s"]), draw(st.booleans()))))


@st.composite
def nsight_csvs(draw: Any) -> str:
    """An export of Nsight Compute, a row a metric or a column a metric, with one thing wrong."""
    launches = range(draw(st.integers(1, 3)))
    kernels = [draw(st.sampled_from(_KERNELS)) for _ in launches]
    metrics = draw(st.lists(st.sampled_from(_METRICS), min_size=1, max_size=6, unique_by=lambda m: m[0]))
    metrics = [_METRICS[0], *(m for m in metrics if m[0] != _METRICS[0][0])]
    capability = draw(st.sampled_from(["7.0", "8.0", "9.0", "8,0", ""]))
    if draw(st.booleans()):
        head = ["ID", "Kernel Name", "CC", "Metric Name", "Metric Unit", "Metric Value"]
        rows = [[str(n), kernels[n], capability, *metric] for n in launches for metric in metrics]
    else:
        head = ["ID", "Kernel Name", "CC", *(name for name, _, _ in metrics)]
        units = ["", "", "", *(unit for _, unit, _ in metrics)]
        rows = [units, *([str(n), kernels[n], capability, *(value for _, _, value in metrics)] for n in launches)]
    return str(draw(_mutated([head, *rows], True)))


_PROBES = (
    ["launch", "", "", "0", "4e-06", "5e-06", "9"], ["latency", "chain", "", "134217728", "1.1e-07", "1.2e-07", "5"],
    ["peak", "gemm 1024", "fp32", "0", "2.5e+11", "2.4e+11", "9"],
    ["peak", "gemm 512", "fp64", "0", "1e+11", "9e10", "9"],
    ["host_copy", "to the device", "", "268435456", "2e10", "1.9e10", "10"],
)  # fmt: skip


@st.composite
def ceiling_csvs(draw: Any) -> str:
    """The ceilings that a measuring run has on file, with one thing wrong."""
    sizes = draw(st.lists(st.sampled_from([2**e for e in range(14, 31)]), min_size=1, max_size=6, unique=True))
    rates = st.floats(1e3, 1e13).map(lambda r: f"{r:.6g}")
    streams = [
        ["bandwidth", mode, "fp64", str(size), draw(rates), draw(rates), "5"]
        for size in sizes
        for mode in draw(st.sampled_from([("read",), ("read", "write")]))
    ]
    return str(draw(_mutated([list(PROBE), *_PROBES, *streams], False)))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of dicts and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in _places(child, (*path, key)))]


@st.composite
def torch_traces(draw: Any) -> str:
    """A trace of the PyTorch profiler with one value replaced, one key gone, or its end cut off."""
    events = draw(st.lists(st.sampled_from(_EVENTS), min_size=1, max_size=5))
    trace: Any = json.loads(json.dumps({"schemaVersion": 1, "traceEvents": events}))
    *outer, last = draw(st.sampled_from(_places(trace)[1:]))
    holder = trace
    for key in outer:
        holder = holder[key]
    what = draw(st.sampled_from(["value", "value", "value", "gone", "cut", "deep", "nothing"]))
    if what == "value":
        holder[last] = draw(st.one_of(st.sampled_from(VALUES), st.integers(), st.floats(), st.text(max_size=8)))
    elif what == "gone":
        del holder[last]
    elif what == "deep":
        holder[last] = "deep"
    text = json.dumps(trace).replace('"deep"', "[" * 5000 + "]" * 5000)
    return text[: draw(st.integers(0, len(text)))] if what == "cut" else text


# What must hold ----------------------------------------------------------------------------------------------------


def _names(error: Exception, file: str) -> None:
    assert file in str(error), f"the message does not name the file: {error}"


def _read_profile(name: str) -> Callable[[str, Path], None]:
    def check(text: str, folder: Path) -> None:
        path = folder / name
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        try:
            frame = profiles.read(path)
            predicted = profiles.predict(frame, rl.load_chip("a100"))
        except rl.RooflineError as error:
            return _names(error, name)
        figures = frame[["count", "flops", "bytes", "intensity", "time_s", "share"]].to_numpy(float)
        assert np.isfinite(figures).all()
        assert (figures >= 0).all()
        assert (frame["time_s"] > 0).all()
        assert not np.isinf(predicted["ratio"]).any()

    return check


def _read_measurements(text: str, folder: Path) -> None:
    path = folder / "rows.csv"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    try:
        frame = measurements.read(path)
        found = rl.validate(path, "h100-sxm")
    except rl.RooflineError as error:
        return None if isinstance(error, rl.UnknownName) else _names(error, "rows.csv")  # a chip is known by its name
    assert len(found.rows) + len(found.bad) <= len(frame)
    figures = found.rows[["measured_s", "predicted_s", "lower_s", "naive_s", "low_s", "high_s"]].to_numpy(float)
    assert np.isfinite(figures).all()
    assert (figures > 0).all()
    assert found.bad["reason"].str.len().gt(0).all()


def _resume(text: str, folder: Path) -> None:
    (folder / "probes.csv").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    caches = (Cache("l1", 98304.0, True), Cache("l3", 67108864.0, False))
    machine: Any = SimpleNamespace(kind="cpu", system=System("Made Up", "Nobody", "core", 2, caches, 16e9, 2e9, {}))
    try:
        chip = Session(machine, folder, "made-up", "tiny", resume=True).chip()
    except rl.RooflineError as error:
        return _names(error, "probes.csv")
    for level in chip.levels:
        assert 0 < float(chip.level(level, "bandwidth")) < 1e19
    for dtype in chip.dtypes:
        cost = rl.cost(rl.gemm(m=64, n=64, k=64, dtype=dtype), chip)
        assert 0 < cost.lower_s <= cost.time_s <= cost.upper_s < float("inf")


#: Front -> its strategy, and the check that takes a file's text and an empty folder.
FRONTS: dict[str, tuple[st.SearchStrategy[str], Callable[[str, Path], None]]] = {
    "measurements": (measurement_csvs(), _read_measurements),
    "plain profiles": (plain_csvs(), _read_profile("mine.csv")),
    "Nsight Compute": (nsight_csvs(), _read_profile("ncu.csv")),
    "ceilings": (ceiling_csvs(), _resume),
    "PyTorch traces": (torch_traces(), _read_profile("trace.json")),
}
