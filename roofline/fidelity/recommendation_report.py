"""The page ``docs/recommendation.md``.

Made by ``python -m roofline.fidelity.recommendation_report > docs/recommendation.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roofline.base.units import text
from roofline.fidelity import mtia, recommendation
from roofline.show.report import Table

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
(those of the family, the H100's and what power leaves of its clock) and one for processors. int8 throughout, one
scale a table, indices by Zipf 1.05 (from memory), batches in a pipeline. The GPUs' dense part is compiled whole, the
Xeon runs PyTorch's kernels; its batch is ours. Nothing was fitted to these figures, but they had been seen: see
docs/end-to-end.md for what was read up after.

One cause was looked for in their residuals. Five of the six GPUs came out 1.09 to 1.19 times too fast while the gate
of a cross layer (its product times the features, plus its input) was taken to run in the epilogue of the product.
NVIDIA's code builds it of two elementwise layers (mlcommons/inference_results_v4.1, DLRMv2TRTNetwork, read November
2026; it has products in int8, indices of 32 bits and one scale a table, too), and TensorRT's epilogues add and do not
multiply (its "Layer Fusion Catalog"; that products of tensors are missing there is recalled). So it is a kernel now,
which streams four tensors, at the shares of bandwidth of a residual addition.

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
published batches of LC1, LC2 and HC1 and at 1,024 else. Throughput a watt is at the wall, batches in a pipeline, one
prepared on each of 8 cores of the host, against an H100: the paper does not name its GPU. MTIA 2i's is less the
12.5 % that error correction in its memory controller takes (10 to 15 %, says the paper, whose figures include it).

"""

#: What is known of why a figure is missed.
_WHY_MISSED = {
    "spill-hc3": "the shapes are ours, and so is the range; a part of the time is compute, which does not spill",
    "low-watt": "the paper's batches are not known: at 64 samples, where the A100 waits for its launches, the three "
    "models come to 2.0, at 1,024 and more to 1.0",
    "high-watt": "at the wall v1 has 1.4 times the A100's matrix rate a watt, and is taken to reach with it what a "
    "tuned product does; Meta said then that its software for models of high complexity was less mature (recalled)",
    "add-h200": "the share of the L2's bandwidth that an addition reaches was fitted on the H100, whose HBM asks for "
    "less of it; nothing is fitted to this figure",
    "gemm-h200": "the H100's measured products, which this carries over, reach three quarters of the peak; the paper "
    "says neither its size, its library nor its power",
}

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


def _within(ratio: float) -> str:
    """A miss, a hit within 20 %, or one within 12 %."""
    return "miss" if abs(ratio - 1) > 0.2 else "hit (12 %)" if abs(ratio - 1) <= 0.12 else "hit"


def _mlperf() -> str:
    lines = [
        [
            r["chip"],
            r["by"],
            f"{r['published']:,.0f}",
            f"{r['predicted']:,.0f}",
            f"{r['ratio']:.2f}",
            r["bound"],
            _within(r["ratio"]),
        ]
        for r in recommendation.mlperf().to_dict("records")
    ]
    return _rows(["chip", "submission", "published", "predicted", "ratio", "bound", "within 20 % (12 %)"], lines)


def _why() -> str:
    lines = []
    for chip in ("h100-sxm", "h200"):
        est: Any = recommendation.ranked(chip)
        total = est.step.time_by_bound
        lines.append(
            [chip, *(f"{1e3 * float(total.get(b, 0.0)):.2f} ms" for b in ("compute", "memory:l2", "memory:hbm"))]
        )
    rates = {r["chip"]: r for r in recommendation.mlperf().to_dict("records")}
    gain = [rates["h200"][which] / rates["h100-sxm"][which] for which in ("predicted", "published")]
    words = (
        "\nRows come out of the L2 more often than out of the HBM (lists of rows come together); they and the products "
        "are bound by the L2 and by compute, which the H200 has as the H100 does. Bandwidth is worth something in what "
        "streams from layer to layer, most of all the gates of the cross layers, until the L2 that it passes is the "
        f"limit: {gain[0]:.2f} times the throughput predicted, {gain[1]:.2f} published.\n"
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
        [
            r["chip"],
            r["what"],
            _range(r),
            _value(r["predicted"], r["unit"]),
            "hit" if r["hit"] else "miss",
            "set on" if r["set_on"] else "",
        ]
        for r in table.to_dict("records")
    ]
    free = table[~table["set_on"]]
    said = f"\nOf {len(free)} figures that none was set on, {int(free['hit'].sum())} are hit. Of the misses:\n\n"
    missed = table[~table["hit"]]
    said += "".join(f"- {r['what']} ({r['chip']}): {_WHY_MISSED[r['id']]}.\n" for r in missed.to_dict("records"))
    return _rows(["chip", "what", "published", "predicted", "", ""], lines) + said


def in_one() -> Table:
    """Every published figure beside the prediction, as the page of the whole validation has it."""
    table = Table(
        "Recommendation models and Meta's accelerators: predicted against published",
        ["of what", ">published", ">predicted", "", "a parameter set on it"],
        prose=["of what"],
    )
    for r in recommendation.mlperf().to_dict("records"):
        what = f"DLRM-v2 offline, {r['chip']}: requests/s ({r['by']})"
        table.rows.append([what, f"{r['published']:,.0f}", f"{r['predicted']:,.0f}", _within(r["ratio"]), ""])
    curves = recommendation.triton()
    for (chip, set_on), rows in curves.groupby(["chip", "set_on"]):
        error = rows["error"].median()
        what = f"{'DLRM' if set_on else 'DCNv2'} behind Triton, {chip}: {len(rows)} times of a batch, median error"
        verdict = "hit" if error < 0.25 else "miss"
        table.rows.append([what, "under 25 %", _percent(error), verdict, "yes" if set_on else ""])
    for r in recommendation.lookups().to_dict("records"):
        verdict = "hit" if abs(r["ratio"] - 1) <= 0.2 else "miss"
        measured, predicted = text(r["measured_s"], "s", 3), text(r["predicted_s"], "s", 3)
        table.rows.append([f"H100, {r['what']}", measured, predicted, verdict, "yes" if r["set_on"] else ""])
    for r in mtia.ratios().to_dict("records"):
        verdict, predicted = "hit" if r["hit"] else "miss", _value(r["predicted"], r["unit"])
        table.rows.append([f"{r['chip']}: {r['what']}", _range(r), predicted, verdict, "yes" if r["set_on"] else ""])
    free = [row for row in table.rows if not row[4]]
    hits = sum(row[3] != "miss" for row in free)
    table.notes.append(
        f"Of {len(free)} figures that no parameter was set on, {hits} are hit (within 20 % where no range is given; "
        "'12 %': within that). How each was run, and what is known of the misses: recommendation.md."
    )
    return table


def page() -> str:
    """The page as Markdown."""
    table = recommendation.triton()
    return "".join(
        [
            _HEAD,
            _MLPERF,
            _mlperf(),
            _WHY,
            _why(),
            _TRITON,
            _triton(table),
            _TRITON_BY,
            _triton_by(table),
            _LOOKUPS,
            _lookups(),
            _MTIA,
            _mtia(),
        ]
    )


if __name__ == "__main__":
    print(page(), end="")
