"""The page ``docs/recommendation.md``.

Made by ``python -m roofline.fidelity.recommendation_report > docs/recommendation.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roofline.base.units import text
from roofline.fidelity import mtia, recommendation

if TYPE_CHECKING:
    import pandas as pd

_HEAD = """\
# Recommendation models: predicted against published

Made by `python -m roofline.fidelity.recommendation_report > docs/recommendation.md`. Figures that a parameter was
set on are marked "set on": they show that it was set, and no more. The others test. A miss stays a miss.

"""

_MLPERF = """
## MLPerf Inference v4.1, DLRM-v2 offline

Requests a second (of 270 user-item pairs) of one accelerator, or socket, with one set of constants for all GPUs
(those of the family, the H100's and what power leaves of its clock) and one for processors. int8 throughout,
indices by Zipf 1.05 (from memory), batches in a pipeline. The GPUs' dense part is compiled whole, the Xeon runs
PyTorch's kernels; its batch is ours. Nothing was fitted to these figures, but they had been seen: see
docs/end-to-end.md for what was read up after.

"""

_TRITON = """
## NVIDIA's Triton guides: DLRM and DCNv2 on A100, A30 and T4

252 curves' points of "Server Compute Infer" by batch (DeepLearningExamples,
TensorFlow2/Recommendation/DLRM_and_DCNv2/doc, read November 2026). Which backend keeps what where, as the guides
say it: TensorFlow puts the smallest tables on the GPU up to a limit, and the host gathers the others; Merlin HPS
keeps a tenth of the rows on the GPU and the rest in the host's memory. The limit is given for the A100 (60 GB). For
the A30 and the T4 none is given: their curves grow with the batch by what it takes to carry the vectors of all 26
tables over PCIe, so that all tables are taken to be the host's there. Four constants a process (fixed time, more of
it with tables on the host, copies between the parts of the ensemble, a row on the host) were read off the slopes
and ends of DLRM's curves, which are marked; DCNv2's are the test. Median error over a GPU's points:

"""

_TRITON_BY = """
By model, precision and backend: median ratio of predicted to measured, and the largest error.

"""

_LOOKUPS = """
## Lookups on an H100

FBGEMM's table-batched embedding, kernel times. The family's shares of bandwidth were set by hand on three other
public rows (`chips/families/gpu.toml`).

"""

_MTIA = """
## Meta's accelerators

Published ratios and shares (`roofline/evidence/measured/mtia.csv`). "The nine models" are those of figure 6 of the
MTIA 2i paper: shapes of ours with the published FLOP a sample (`roofline models meta-lc1`, ..., `meta-hc4`), at the
published batches of LC1, LC2 and HC1 and at 1,024 else. Throughput a watt is at the wall, batches in a pipeline,
against an H100: the paper does not name its GPU. It comes out too high, most of all where the H100 waits for its
host (LC2, a batch of 512).

"""

_WHY = """
## Why the H200's 1.43 times the bandwidth buys 1.07 times the throughput

Time of a batch of DLRM-v2 by what bounds it:

"""


def _rows(header: list[str], lines: list[list[Any]]) -> str:
    out = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*out, *("| " + " | ".join(map(str, line)) + " |" for line in lines)]) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _value(value: float, unit: str) -> str:
    if unit == "share":
        return _percent(value)
    return f"{value:.2f}" if unit == "x" else text(value, unit, 3)


def _range(row: dict[Any, Any]) -> str:
    low, high = _value(row["low"], row["unit"]), _value(row["high"], row["unit"])
    return f"over {low}" if row["high"] == float("inf") else f"{low} to {high}"


def _mlperf() -> str:
    lines = [
        [r["chip"], r["by"], f"{r['published']:,.0f}", f"{r['predicted']:,.0f}", f"{r['ratio']:.2f}", r["bound"],
         "hit" if abs(r["ratio"] - 1) <= 0.2 else "miss"]
        for r in recommendation.mlperf().to_dict("records")
    ]  # fmt: skip
    return _rows(["chip", "submission", "published", "predicted", "ratio", "bound", "within 20 %"], lines)


def _why() -> str:
    lines = []
    for chip in ("h100-sxm", "h200"):
        est: Any = recommendation.ranked(chip)
        total = est.step.time_by_bound
        lines.append(
            [chip, *(f"{1e3 * float(total.get(b, 0.0)):.2f} ms" for b in ("compute", "memory:l2", "memory:hbm"))]
        )
    words = (
        "\nThe rows come out of the L2 more often than out of the HBM (lists of rows come together); products and rows "
        "are bound by compute and by the L2, which the H200 has as the H100: little is left for bandwidth to buy.\n"
    )
    return _rows(["chip", "compute", "L2", "HBM"], lines) + words


def _triton(table: pd.DataFrame) -> str:
    lines = []
    for chip, rows in table.groupby("chip"):
        parts = [rows, rows[rows["set_on"]], rows[~rows["set_on"]]]
        lines.append([chip, *(f"{len(p)}: {_percent(p['error'].median())}" for p in parts)])
    return _rows(["GPU", "all points", "DLRM (set on)", "DCNv2"], lines)


def _triton_by(table: pd.DataFrame) -> str:
    lines = []
    for (chip, model, precision, backend), rows in table.groupby(["chip", "model", "precision", "backend"]):
        lines.append(
            [chip, model, precision, backend, len(rows), f"{rows['ratio'].median():.2f}", _percent(rows["error"].max())]
        )
    return _rows(["GPU", "model", "precision", "backend", "points", "median ratio", "largest error"], lines)


def _lookups() -> str:
    lines = [
        [r["what"], text(r["measured_s"], "s", 3), text(r["predicted_s"], "s", 3), f"{r['ratio']:.2f}", r["source"]]
        for r in recommendation.lookups().to_dict("records")
    ]
    return _rows(["what", "measured", "predicted", "ratio", "source"], lines)


def _mtia() -> str:
    table = mtia.ratios()
    lines = [
        [r["chip"], r["what"], _range(r), _value(r["predicted"], r["unit"]), "hit" if r["hit"] else "miss",
         "set on" if r["set_on"] else ""]
        for r in table.to_dict("records")
    ]  # fmt: skip
    free = table[~table["set_on"]]
    said = f"\nOf {len(free)} figures that none was set on, {int(free['hit'].sum())} are hit.\n"
    return _rows(["chip", "what", "published", "predicted", "", ""], lines) + said


def page() -> str:
    """The page as Markdown."""
    table = recommendation.triton()
    return "".join(
        [
            _HEAD, _MLPERF, _mlperf(), _WHY, _why(), _TRITON, _triton(table), _TRITON_BY, _triton_by(table), _LOOKUPS,
            _lookups(), _MTIA, _mtia(),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    print(page(), end="")
