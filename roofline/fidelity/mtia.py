"""Published ratios and efficiencies of Meta's accelerators, and what the model says to each.

No absolute throughput of MTIA is public, but shares of a peak, ratios between generations and limits met or missed are.
They stand in ``roofline/evidence/measured/mtia.csv``, a range each; a prediction inside it is a hit, any other a miss.
Rows with `set_on` had a part in setting the descriptors' parameters and show no more than that they were set; the
others do.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.catalog.load import load_chip
from roofline.estimates.estimate import estimate
from roofline.estimates.inference import cost
from roofline.models import description
from roofline.work import op

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

#: The nine models of figure 6 of the MTIA 2i paper, by their FLOP a sample, and their batches: those of LC1, LC2 and
#: HC1 are published, the others ours. Shapes are ours (see the models' notes).
_BATCHES = {
    "meta-lc1": 4096, "meta-lc2": 512, "meta-lc3": 1024, "meta-lc4": 1024, "meta-lc5": 1024, "meta-hc1": 2048,
    "meta-hc2": 1024, "meta-hc3": 1024, "meta-hc4": 1024, "meta-late-stage": 1024,
}  # fmt: skip
MODELS = tuple(name for name in _BATCHES if name != "meta-late-stage")
DTYPE = "fp16"

#: Models of low and of high complexity, where a published figure is of either.
LOW, HIGH = ("meta-lc1", "meta-lc2", "meta-lc3"), ("meta-hc1", "meta-hc2", "meta-hc3", "meta-hc4")

#: Share of the throughput that error correction in the memory controller takes, which the paper's figures include and
#: the descriptor does not: 10 to 15 %, as the paper says itself.
CORRECTION = 0.125

#: A table-batched embedding as it is in production: many tables, pooled rows of 128 B, skewed as Criteo's are.
BAG = {"batch": 1024, "tables": 26, "rows": 5_000_000, "dim": 64, "pooling": 20, "dtype": "fp16", "skew": 1.05}


def _matrix_share(chip: Chip, m: int, n: int, k: int, dtype: str, **options: Any) -> float:
    product = cost(op.gemm(m=m, n=n, k=k, dtype=dtype, **options), chip)
    return float(product.flops / (chip.peak(dtype) * product.time_s))


def _ranked(model: str, chip: Chip) -> Any:
    """One of :data:`MODELS` at its batch, with its own distribution of indices."""
    return estimate(model, chip, batch=_BATCHES[model], dtype=DTYPE, check=False)


def _gains(faster: Chip, slower: Chip) -> np.ndarray:
    """Throughput on one chip over that on another, for each of :data:`MODELS`."""
    return np.array([_ranked(m, faster).samples_per_s / _ranked(m, slower).samples_per_s for m in MODELS])


def _watt_gains(chip: Chip, other: Chip, models: Iterable[str] = MODELS) -> np.ndarray:
    """Throughput a watt on one chip over that on another, batches in a pipeline, watts at the wall."""
    ratios, kept = [], 1 - CORRECTION if chip.name == "mtia-2i" else 1.0
    for model in models:
        one, two = _ranked(model, chip), _ranked(model, other)
        rate = one.pipelined_samples_per_s / two.pipelined_samples_per_s
        ratios.append(kept * rate * two.power_w / one.power_w)
    return np.array(ratios)


def _hits(chip: Chip, model: str, sparse: bool) -> float:
    """Share of the bytes of lookups, or of all other work, that the level before main memory answers."""
    est, missed, asked = _ranked(model, chip), 0.0, 0.0
    for one, values in zip(est.step.workload, est.step.costs, strict=True):
        if (one.kind == "embedding_bag") == sparse:
            missed += one.count * values.memory_bytes
            asked += one.count * values.cache_bytes
    return float(1 - missed / asked)


def _clock_gains(chip: Chip) -> np.ndarray:
    return _gains(chip, chip.what_if({"clock": "1.1 GHz"})) - 1


def _elementwise_share(chip: Chip, level: str, rows: int, dtype: str = "fp16", reads: int = 1) -> float:
    """Share of a level's bandwidth that a map over rows x 4096 elements reaches."""
    work = cost(op.elementwise(rows=rows, cols=4096, reads=reads, writes=1, dtype=dtype, reuse=True), chip)
    return float(work.bytes / (chip.level(level, "bandwidth") * work.time_s))


def _bag(chip: Chip, **changes: Any) -> Any:
    return cost(op.embedding_bag(**{**BAG, **changes}), chip)


def _looked_up(chip: Chip) -> float:
    """Bytes a second of rows of 512 B, all of them in SRAM, by the kernel written by hand."""
    work = _bag(chip.on_stack("handwritten"), rows=2000, dim=256, reuse=True)
    return float(work.cache_bytes / work.time_s)


def _streamed(chip: Chip) -> float:
    """Share of main memory's bandwidth that lookups reach whose rows no cache has."""
    work = _bag(chip, skew=0)
    return float(work.memory_bytes / (chip.machine["memory_bandwidth"] * work.time_s))


def _spill(chip: Chip) -> float:
    """Work on tensors that fill most of the SRAM, and on three times as much: the loss of throughput a byte."""
    fits = int(0.8 * chip.level(chip.cache_level, "capacity") / (2 * 2 * 4096))
    rows = np.array([fits, 3 * fits])
    work = cost(op.elementwise(rows=rows, cols=4096, reads=1, writes=1, dtype="fp16", reuse=True), chip)
    rate = work.bytes / work.time_s
    return float(1 - rate[1] / rate[0])


def _tripled(chip: Chip) -> float:
    """HC3 with three times as many tables, a third of the rows and lookups each: the loss of throughput."""
    path = resources.files("roofline.models.recommenders") / "meta-hc3.toml"
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    (tables,) = raw["tables"]
    tables |= {"count": 3 * tables["count"], "rows": tables["rows"] // 3, "pooling": tables["pooling"] / 3}
    more = estimate(description.read(raw, "meta-hc3"), chip, batch=_BATCHES["meta-hc3"], dtype=DTYPE, check=False)
    return float(1 - more.samples_per_s / _ranked("meta-hc3", chip).samples_per_s)


def _watts(chip: Chip, other: Chip) -> float:
    rates = [
        float(2 * 8192**3 / cost(op.gemm(m=8192, n=8192, k=8192, dtype="int8"), c).time_s) / c["power.tdp"]
        for c in (chip, other)
    ]
    return float(rates[0] / rates[1])


def _main_share(chip: Chip) -> float:
    """Share of main memory's bandwidth that an addition of two large tensors reaches."""
    work = cost(op.residual_add(rows=65536, cols=16384, dtype="bf16", cold_reads=2), chip)
    return float(work.bytes / (chip.machine["memory_bandwidth"] * work.time_s))


def _language(chip: Chip, model: str, figure: str) -> float:
    return float(getattr(estimate(model, chip, prompt=1024, output=128, dtype="fp16", check=False), figure))


def _fc_dram(chip: Chip) -> float:
    product = cost(op.gemm(m=512, n=2048, k=26592, dtype="fp16"), chip)
    return float(26592 * 2048 * 2 / (chip.machine["memory_bandwidth"] * product.time_s))


def _dynamic(chip: Chip) -> float:
    shape: dict[str, Any] = {"m": 2048, "n": 2048, "k": 2048, "reuse": True}
    wide = cost(op.gemm(**shape, dtype="fp16"), chip)
    return float(wide.time_s / cost(op.gemm(**shape, dtype="int8", quantize=True), chip).time_s)


#: What answers for each row of the table, given the row's chip.
PREDICTIONS: dict[str, Callable[[Chip], float]] = {
    "gemm-2048": lambda c: _matrix_share(c, 2048, 2048, 2048, "fp16", reuse=True),
    "fc-sram": lambda c: _matrix_share(c, 2048, 2048, 8192, "fp16", reuse=True),
    "fc-dram": _fc_dram,
    "int8-dynamic": _dynamic,
    "clock": lambda c: float(_clock_gains(c).min()),
    "clock-most": lambda c: float(_clock_gains(c).max()),
    "spill": _spill,
    "spill-hc3": _tripled,
    "sparse-hits": lambda c: _hits(c, "meta-late-stage", True),
    "dense-hits": lambda c: _hits(c, "meta-late-stage", False),
    "perf-watt": lambda c: float(_watt_gains(c, load_chip("h100-sxm")).mean()),
    "perf-watt-least": lambda c: float(_watt_gains(c, load_chip("h100-sxm")).min()),
    "perf-watt-most": lambda c: float(_watt_gains(c, load_chip("h100-sxm")).max()),
    "low-watt": lambda c: float(_watt_gains(c, load_chip("a100"), LOW).max()),
    "high-watt": lambda c: float(_watt_gains(c, load_chip("a100"), HIGH).max()),
    "tbe-v2": lambda c: float(_bag(load_chip("mtia-v1")).time_s / _bag(c).time_s),
    "llama2-prefill": lambda c: _language(c, "llama-2-7b", "ttft_s"),
    "llama2-decode": lambda c: _language(c, "llama-2-7b", "tpot_s"),
    "llama3-decode": lambda c: _language(c, "llama-3-8b", "tpot_s"),
    "v2-over-v1": lambda c: float(np.median(_gains(c, load_chip("mtia-v1")))),
    "tbe-dram": _streamed,
    "tbe-sram": _looked_up,
    "elementwise-sram": lambda c: _elementwise_share(c, c.cache_level, 5000),
    "elementwise-dram": lambda c: _elementwise_share(c, c.main_level, 1 << 18),
    "gemm-watt": lambda c: _watts(c, load_chip("a100")),
    "add-300": _main_share,
    "gemm-300": lambda c: _matrix_share(c, 8192, 8192, 8192, "bf16"),
    "tbe-300": lambda c: float(_bag(load_chip("h200")).time_s / _bag(c).time_s),
    "add-h200": _main_share,
    "gemm-h200": lambda c: _matrix_share(c, 8192, 8192, 8192, "bf16"),
}


def ratios() -> pd.DataFrame:
    """Each published figure with the model's, hit or miss.

    Returns
    -------
    DataFrame
        id, chip, what, low, high, predicted (in `unit`: a share, ``x`` for a ratio, s or B/s), hit, set_on, source.
    """
    import pandas as pd

    path = resources.files("roofline.evidence.measured") / "mtia.csv"
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, keep_default_na=False, na_values={"low": [""], "high": [""]})
    table["predicted"] = [PREDICTIONS[i](load_chip(c)) for i, c in zip(table["id"], table["chip"], strict=True)]
    table["hit"] = (table["predicted"] >= table["low"]) & (table["predicted"] <= table["high"])
    table["set_on"] = table["set_on"] == "yes"
    return table[["id", "chip", "what", "low", "high", "unit", "predicted", "hit", "set_on", "source"]]
