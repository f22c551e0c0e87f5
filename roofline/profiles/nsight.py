"""Nsight Compute CSV -> points: time, DRAM bytes and FLOP of each kernel launch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from roofline.base.errors import BadData
from roofline.profiles.points import number

#: Names of the metrics that are read; the second of a pair is what the report's sections call it.
TIME = ("gpu__time_duration.sum", "gpu__time_duration.avg", "Duration")
BYTES = ("dram__bytes.sum",)
READ_WRITE = ("dram__bytes_read.sum", "dram__bytes_write.sum")
THROUGHPUT = ("dram__bytes.sum.per_second", "Memory Throughput")
TENSOR_INSTRUCTIONS = ("sm__inst_executed_pipe_tensor.sum", "smsp__inst_executed_pipe_tensor.sum")

#: FLOP of one tensor-pipe instruction of a warp where only instructions are counted (Volta's; later chips count FLOP).
TENSOR_FLOPS = 512.0

#: FLOP of one thread's instruction.
_SASS = re.compile(r"(?:sm|smsp)__sass_thread_inst_executed_op_([dfh])(add|mul|fma)_pred_on\.sum")
_OPS = re.compile(r"sm__ops_path_tensor_[\w]+\.sum")  # counts operations itself
_KINDS = (
    ("attention", re.compile(r"flash|fmha|attention|sdpa", re.I)),
    ("embedding_bag", re.compile(r"embedding", re.I)),
    ("gemm", re.compile(r"gemm|xmma|cutlass|matmul|wgmma|nvjet", re.I)),
    ("softmax", re.compile(r"softmax", re.I)),
    ("layer_norm", re.compile(r"layer_?norm", re.I)),
    ("rms_norm", re.compile(r"rms_?norm", re.I)),
    ("all_reduce", re.compile(r"nccl", re.I)),
    ("elementwise", re.compile(r"elementwise|vectorized", re.I)),
)


def points(rows: list[dict[str, str]], file: str) -> Iterator[dict[str, Any]]:
    """One point a kernel launch (or kernel, in a summary).

    Raises
    ------
    BadData
        When the export lacks the time, naming the metric to ask for, or a unit is not understood.
    """
    launches = _launches(rows, file)
    if not any(any(t in metrics for t in TIME) for _, _, metrics in launches):
        raise BadData(f"{file}: no metric {TIME[0]!r} (nor the section's 'Duration'): profile with --metrics {TIME[0]},"
                      f"{BYTES[0]},... or --section SpeedOfLight")  # fmt: skip
    for kernel, count, metrics in launches:
        time = next((metrics[t] for t in TIME if t in metrics), None)
        if time is None or time <= 0:
            continue
        yield {
            "op": short_name(kernel), "kind": kind(kernel), "count": count, "time_s": count * time,
            "flops": count * _flops(metrics), "bytes": count * _bytes(metrics, time), "key": kernel,
        }  # fmt: skip


def short_name(kernel: str) -> str:
    """A kernel's name without its template arguments, parameters and namespaces."""
    name = re.sub(r"^(void|static|__global__)\s+", "", kernel.strip())
    head = re.split(r"[<(]", name, maxsplit=1)[0].strip() or name
    return head.rpartition("::")[2][:60] or kernel[:60]


def kind(kernel: str) -> str:
    """The operator class that a kernel's name suggests; "" if none."""
    return next((name for name, pattern in _KINDS if pattern.search(kernel)), "")


def _launches(rows: list[dict[str, str]], file: str) -> list[tuple[str, float, dict[str, float]]]:
    columns = rows[0]
    if "Metric Name" not in columns:
        return list(_wide(rows, file))
    value = next((c for c in ("Metric Value", "Average") if c in columns), None)
    for needed in ("Kernel Name", "Metric Unit"):
        if needed not in columns:
            raise BadData(f"{file}: no column {needed!r} found: {', '.join(columns)[:200]}")
    if value is None:
        found_names = ", ".join(columns)[:200]
        raise BadData(f"{file}: no column 'Metric Value' (nor 'Average' of a summary) found: {found_names}")
    found: dict[Any, tuple[str, float, dict[str, float]]] = {}
    for line, row in enumerate(rows, 2):
        name, cell = row["Metric Name"].strip(), row[value].strip()
        if not wanted(name):
            continue
        if name == "Memory Throughput" and row["Metric Unit"].strip() == "%":
            continue  # the same name stands for a share of the peak in another section
        key = (row.get("Process ID"), row.get("ID", row["Kernel Name"]))
        count = number(row["Invocations"], f"{file}: row {line}, column 'Invocations'") if "Invocations" in row else 1.0
        launch = found.setdefault(key, (row["Kernel Name"], count, {}))
        if cell.lower() not in ("", "n/a", "nan"):
            launch[2][name] = _si(cell, row["Metric Unit"], f"{file}: row {line}, metric {name!r}")
    return list(found.values())


def _wide(rows: list[dict[str, str]], file: str) -> Iterable[tuple[str, float, dict[str, float]]]:
    """The raw page: a column a metric, and a first row that holds their units."""
    names = [c for c in rows[0] if wanted(c)]
    if not names:
        raise BadData(f"{file}: no column 'Metric Name', and none named like a metric ({TIME[0]}) either")
    units = rows[0] if not rows[0].get("Kernel Name", "").strip() else {}
    for line, row in enumerate(rows[1 if units else 0 :], 3 if units else 2):
        metrics = {
            n: _si(row[n], units.get(n, _default_unit(n)), f"{file}: row {line}, column {n!r}")
            for n in names
            if row[n].strip().lower() not in ("", "n/a", "nan")
        }
        yield row["Kernel Name"], 1.0, metrics


def wanted(name: str) -> bool:
    """Whether a metric is one that points are made of."""
    plain = (*TIME, *BYTES, *READ_WRITE, *THROUGHPUT, *TENSOR_INSTRUCTIONS)
    return name in plain or bool(_SASS.fullmatch(name) or _OPS.fullmatch(name))


def _default_unit(name: str) -> str:
    return "nsecond" if name in TIME else ""


def _si(cell: str, unit: str, where: str) -> float:
    """A value in seconds, bytes, bytes/s or as a count."""
    value, text = number(cell, where), unit.strip()
    rate = re.fullmatch(r"(.*?)(?:/s|/second|/sec)", text)
    text = rate[1] if rate else text
    if text in ("", "inst", "#", "ops", "flop", "cycle"):
        return value
    match = re.fullmatch(r"([nuµmkKMGT]?)(i?)(bytes?|B|seconds?|sec|s)", text)
    if not match:
        raise BadData(f"{where}: unit {unit!r} is not understood")
    prefix, binary, base = match.groups()
    if base in ("byte", "bytes", "B"):
        power = "KMGT".find(prefix.upper()) + 1 if prefix else 0
        return value * (1024.0 if binary else 1000.0) ** power
    if prefix not in ("", "n", "u", "µ", "m"):
        raise BadData(f"{where}: unit {unit!r} is not understood")
    return value * {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3}[prefix]


def _flops(metrics: dict[str, float]) -> float:
    total = 0.0
    families = {"smsp": 0.0, "sm": 0.0}
    for name, value in metrics.items():
        match = _SASS.fullmatch(name)
        if match:
            families["smsp" if name.startswith("smsp") else "sm"] += value * (2.0 if match[2] == "fma" else 1.0)
    total += max(families.values())  # both count the same instructions
    counted = sum(value for name, value in metrics.items() if _OPS.fullmatch(name))
    instructions = max((metrics[t] for t in TENSOR_INSTRUCTIONS if t in metrics), default=0.0)
    return total + (counted or TENSOR_FLOPS * instructions)


def _bytes(metrics: dict[str, float], time_s: float) -> float:
    if BYTES[0] in metrics:
        return metrics[BYTES[0]]
    if any(name in metrics for name in READ_WRITE):
        return sum(metrics.get(name, 0.0) for name in READ_WRITE)
    return next((metrics[t] * time_s for t in THROUGHPUT if t in metrics), 0.0)
