"""Nsight Compute CSV -> points: time, DRAM bytes and FLOP of each kernel launch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from roofline.base.errors import BadData, shown
from roofline.profiles import tensor
from roofline.profiles.numerals import decimal_mark, number

#: Names of the metrics that are read; the second of a pair is what the report's sections call it.
TIME = ("gpu__time_duration.sum", "gpu__time_duration.avg", "Duration")
BYTES = ("dram__bytes.sum",)
READ_WRITE = ("dram__bytes_read.sum", "dram__bytes_write.sum")
THROUGHPUT = ("dram__bytes.sum.per_second", "Memory Throughput")

#: FLOP of one thread's instruction.
_SASS = re.compile(r"(?:sm|smsp)__sass_thread_inst_executed_op_([dfh])(add|mul|fma)_pred_on\.sum")
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

#: Said of a product or attention whose profile has counters of the vector units alone.
VECTOR_ONLY = "FLOP of the vector units alone: no counter of the tensor pipe was collected"

_NOTHING = ("", "n/a", "nan", "no data")


@dataclass
class Launch:
    """One launch of a kernel (or, in a summary, one kernel): how many there were, and its metrics in SI units."""

    kernel: str
    count: float
    capability: float | None
    metrics: dict[str, float] = field(default_factory=dict)


def points(rows: list[dict[str, str]], file: str, capability: float | None = None) -> Iterator[dict[str, object]]:
    """One point a kernel launch (or kernel, in a summary).

    Parameters
    ----------
    rows : list of dict
    file : str
    capability : float, optional
        Compute capability of the chip where the export has no column ``CC``.

    Raises
    ------
    BadData
        When the export lacks the time, naming the metric to ask for, a unit or number is not understood, or tensor
        instructions were counted whose size nothing tells.
    """
    launches = _launches(rows, file)
    if not any(any(t in launch.metrics for t in TIME) for launch in launches):
        raise BadData(
            f"{file}: no metric {TIME[0]!r} (nor the section's 'Duration'): profile with --metrics {TIME[0]},"
            f"{BYTES[0]},... or --section SpeedOfLight"
        )
    for launch in launches:
        kernel, count, metrics = launch.kernel, launch.count, launch.metrics
        time = next((metrics[t] for t in TIME if t in metrics), None)
        if time is None or time <= 0:
            continue
        of_tensors, note = tensor.flops(kernel, metrics, launch.capability or capability, file)
        of_vectors = _vector_flops(metrics)
        if of_vectors and kind(kernel) in ("gemm", "attention") and not any(tensor.counts(name) for name in metrics):
            note = VECTOR_ONLY
        yield {
            "op": short_name(kernel),
            "kind": kind(kernel),
            "count": count,
            "time_s": count * time,
            "flops": count * (of_vectors + of_tensors),
            "bytes": count * _bytes(metrics, time),
            "key": kernel,
            "note": note,
        }


def short_name(kernel: str) -> str:
    """A kernel's name without its template arguments, parameters and namespaces."""
    name = re.sub(r"^(void|static|__global__)\s+", "", kernel.strip())
    head = re.split(r"[<(]", name, maxsplit=1)[0].strip() or name
    return head.rpartition("::")[2][:60] or kernel[:60]


def kind(kernel: str) -> str:
    """The operator class that a kernel's name suggests; "" if none."""
    return next((name for name, pattern in _KINDS if pattern.search(kernel)), "")


def _launches(rows: list[dict[str, str]], file: str) -> list[Launch]:
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
    single = value == "Metric Value"  # the mean of a count over launches may have a fraction
    mark = _mark(((row["Metric Name"].strip(), row["Metric Unit"], row[value]) for row in rows), file, single)
    found: dict[object, Launch] = {}
    for line, row in enumerate(rows, 2):
        name, cell = row["Metric Name"].strip(), row[value].strip()
        if not wanted(name) or _of_peak(name, row["Metric Unit"]):
            continue
        key = (row.get("Process ID"), row.get("ID", row["Kernel Name"]))
        where = f"{file}: row {line}"
        count = number(row["Invocations"], f"{where}, column 'Invocations'", mark, True) if "Invocations" in row else 1
        launch = found.setdefault(key, Launch(row["Kernel Name"], float(count), _capability(row, where)))
        if cell.lower() not in _NOTHING:
            whole = single and _whole(name)
            launch.metrics[name] = _si(cell, row["Metric Unit"], f"{where}, metric {name!r}", mark, whole)
    return list(found.values())


def _wide(rows: list[dict[str, str]], file: str) -> Iterable[Launch]:
    """The raw page: a column a metric, and a first row that holds their units."""
    names = [c for c in rows[0] if wanted(c)]
    if not names:
        raise BadData(f"{file}: no column 'Metric Name', and none named like a metric ({TIME[0]}) either")
    units = rows[0] if not rows[0].get("Kernel Name", "").strip() else {}
    names = [n for n in names if not _of_peak(n, units.get(n, ""))]
    body = rows[1 if units else 0 :]
    mark = _mark(((n, units.get(n, ""), row[n]) for row in body for n in row if "__" in n), file)
    for line, row in enumerate(body, 3 if units else 2):
        where = f"{file}: row {line}"
        metrics = {
            n: _si(row[n], units.get(n, _default_unit(n)), f"{where}, column {n!r}", mark, _whole(n))
            for n in names
            if row[n].strip().lower() not in _NOTHING
        }
        yield Launch(row["Kernel Name"], 1.0, _capability(row, where), metrics)


def _mark(cells: Iterable[tuple[str, str, str]], file: str, single: bool = True) -> str:
    """The decimal mark of a file, told by the metrics that are read and, if they leave it open, by all with units.

    Cells are the name of a metric, its unit and its value, of a `single` launch or the mean of several.
    """
    every = [(name, unit.strip(), value) for name, unit, value in cells if value.strip().lower() not in _NOTHING]
    mine = [(value, single and _whole(name)) for name, _, value in every if wanted(name)]
    try:
        return decimal_mark(mine, file)
    except BadData:
        others = [(value, False) for name, unit, value in every if unit and not wanted(name)]
        if not others:
            raise
        return decimal_mark(mine + others, file)


def _capability(row: dict[str, str], where: str) -> float | None:
    """What the column ``CC`` says, such as 9.0."""
    text = row.get("CC", "").strip().replace(",", ".")
    if text.lower() in _NOTHING:
        return None
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,2})?", text):
        raise BadData(f"{where}, column 'CC': expected a compute capability such as 9.0, found {shown(text)}")
    return float(text)


def wanted(name: str) -> bool:
    """Whether a metric is one that points are made of."""
    plain = (*TIME, *BYTES, *READ_WRITE, *THROUGHPUT)
    return name in plain or bool(_SASS.fullmatch(name)) or tensor.counts(name)


def _of_peak(name: str, unit: str) -> bool:
    """Whether a metric is a share of the peak: one section calls that what another calls a rate."""
    return name == "Memory Throughput" and unit.strip() == "%"


def _whole(name: str) -> bool:
    """Whether a metric counts something, of which there are no fractions."""
    return bool(_SASS.fullmatch(name)) or tensor.counts(name)


def _default_unit(name: str) -> str:
    return "nsecond" if name in TIME else ""


def _si(cell: str, unit: str, where: str, mark: str, whole: bool) -> float:
    """A value in seconds, bytes, bytes/s or as a count."""
    text = unit.strip()
    rate = re.fullmatch(r"(.*?)(?:/s|/second|/sec)", text)
    text = rate[1] if rate else text
    if text in ("", "inst", "#", "ops", "flop", "cycle"):
        return number(cell, where, mark, whole)
    value = number(cell, where, mark)
    match = re.fullmatch(r"([nuµmkKMGT]?)(i?)(bytes?|B|seconds?|sec|s)", text)
    if not match:
        raise BadData(f"{where}: unit {shown(unit)} is not understood")
    prefix, binary, base = match.groups()
    if base in ("byte", "bytes", "B"):
        power = "KMGT".find(prefix.upper()) + 1 if prefix else 0
        return value * (1024.0 if binary else 1000.0) ** power
    if prefix not in ("", "n", "u", "µ", "m"):
        raise BadData(f"{where}: unit {shown(unit)} is not understood")
    return value * {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3}[prefix]


def _vector_flops(metrics: dict[str, float]) -> float:
    families = {"smsp": 0.0, "sm": 0.0}
    for name, value in metrics.items():
        match = _SASS.fullmatch(name)
        if match:
            families["smsp" if name.startswith("smsp") else "sm"] += value * (2.0 if match[2] == "fma" else 1.0)
    return max(families.values())  # both count the same instructions


def _bytes(metrics: dict[str, float], time_s: float) -> float:
    if BYTES[0] in metrics:
        return metrics[BYTES[0]]
    if any(name in metrics for name in READ_WRITE):
        return sum(metrics.get(name, 0.0) for name in READ_WRITE)
    return next((metrics[t] * time_s for t in THROUGHPUT if t in metrics), 0.0)
