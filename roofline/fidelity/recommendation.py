"""Recommendation models against what is published of them: MLPerf, serving curves, kernels, ratios of accelerators.

- MLPerf Inference v4.1, DLRM-v2 offline, one accelerator of each kind (:data:`MLPERF`);
- the time of a batch in NVIDIA's Triton guides (``evidence/measured/triton.csv``: 252 points);
- FBGEMM's lookups on an H100 (:data:`LOOKUPS`);
- ratios and shares of Meta's accelerators (``mtia.py``).

Rows that a parameter was set on are marked; the others test. A miss stays.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any

from roofline.catalog.load import load_chip, load_model
from roofline.estimates.estimate import estimate
from roofline.estimates.inference import cost
from roofline.estimates.placement import Placement, Shard
from roofline.work import op

if TYPE_CHECKING:
    import pandas as pd

    from roofline.models.recommender import Recommender

#: User-item pairs of an MLPerf request, on average.
PAIRS = 270

#: Published requests a second of one accelerator (a socket), and the batch and software of the submission: chip ->
#: (requests/s, batch of pairs, whether the dense part is compiled whole, whose). Batches of GPUs are those of NVIDIA's
#: configurations; that of the Xeon, which runs PyTorch, is ours. A table has one scale (NVIDIA's code quantises
#: table by table; taken for Intel's too).
MLPERF: dict[str, tuple[float, int, bool, str]] = {
    "h100-sxm": (74_457, 600_000, True, "NVIDIA, 8 chips"),
    "h100-pcie": (46_082, 51_200, True, "ASUSTeK, 8 cards"),
    "h100-nvl": (52_053, 51_200, True, "Dell, 4 cards"),
    "h200": (79_668, 600_000, True, "NVIDIA, 8 chips"),
    "gh200-144": (86_731, 600_000, True, "NVIDIA, 1 chip"),
    "l40s": (28_856, 7_500, True, "Quanta, 4 cards"),
    "xeon-8592": (9_949 / 2, 4_320, False, "two sockets"),
}

#: Zipf exponent of Criteo's indices, from memory.
SKEW = 1.05

#: Share of the A100's 80 GB that the TensorFlow guide gives to tables, smallest first (``--memory-threshold-gb 60``).
THRESHOLD_BYTES = 60e9

#: Share of the rows that HPS keeps on the GPU (``--hps_gpucacheper 0.1``).
KEPT = 0.1

#: Table-batched lookups of an H100 that were measured: what, arguments, s, where read, whether it set a parameter.
LOOKUPS: list[tuple[str, dict[str, Any], float, str, bool]] = [
    (
        "1,048,570 lookups of 512 B in ten tables, not pooled, Zipf 1.05: forward",
        {"batch": 104_857, "tables": 10, "rows": 1_677_721, "dim": 128, "pooling": 1, "dtype": "fp32", "skew": 1.05},
        347e-6, "NVIDIA/recsys-examples corelib/dynamicemb/benchmark", False,
    ),
    (
        "the same: evaluation",
        {"batch": 104_857, "tables": 10, "rows": 1_677_721, "dim": 128, "pooling": 1, "dtype": "fp32", "skew": 1.05},
        457e-6, "NVIDIA/recsys-examples corelib/dynamicemb/benchmark", False,
    ),
]  # fmt: skip


def ranked(chip: str) -> Any:
    """The estimate of DLRM-v2 as MLPerf runs it on one of :data:`MLPERF`."""
    _, batch, compiled, _ = MLPERF[chip]
    return estimate(
        "dlrm-v2", chip, batch=batch, dtype="int8", skew=SKEW, compiled=compiled, scale_bytes=0, check=False
    )


@functools.cache
def mlperf() -> pd.DataFrame:
    """MLPerf's DLRM-v2 offline: chip, by, published and predicted (requests/s), ratio, bound."""
    import pandas as pd

    rows = []
    for chip, (published, _, _, by) in MLPERF.items():
        est = ranked(chip)
        predicted = float(est.pipelined_samples_per_s) / PAIRS
        rows.append(
            {
                "chip": chip,
                "by": by,
                "published": published,
                "predicted": predicted,
                "ratio": predicted / published,
                "bound": est.pipelined_bound,
            }
        )
    return pd.DataFrame.from_records(rows)


def _tables_of(model: Recommender, chip: str, backend: str) -> Placement:
    """Where a backend keeps the tables (fp32).

    HPS: all in the host's memory, a tenth of the rows kept on the GPU. TensorFlow: the smallest on the GPU, up to a
    limit, the others gathered by the host. The guide names the A100's limit. Of the A30 and T4 none is given; their
    curves grow by what it takes to carry the vectors of all tables over PCIe, so that all are taken to be the host's.
    """
    (group,) = model.tables
    sizes = [rows * group.dim * 4.0 for rows in group.rows]
    if backend == "triton-hps":
        shards = tuple(Shard(0, i, "table", "kept") for i in range(group.tables))
        return Placement(model, 1, shards, "fp32", kept_bytes=KEPT * sum(sizes))
    room = THRESHOLD_BYTES if chip.startswith("a100") else 0.0
    placed = []
    for i in sorted(range(group.tables), key=sizes.__getitem__):
        room -= sizes[i]
        placed.append(Shard(0, i, "table", "memory" if room >= 0 else "host"))
    return Placement(model, 1, tuple(placed), "fp32")


@functools.cache
def triton() -> pd.DataFrame:
    """NVIDIA's Triton curves: chip, model, precision, backend, batch, time_s, predicted_s, ratio, error, set_on.

    The measured time is "Server Compute Infer", all parts of the ensemble; predicted is the batch without its copies
    from and to the host. `set_on` marks DLRM's rows, off whose slopes the serving processes' constants were read.
    """
    import numpy as np
    import pandas as pd

    with (resources.files("roofline.evidence.measured") / "triton.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    parts = []
    for (chip_name, name, precision, backend), rows in table.groupby(["chip", "model", "precision", "backend"]):
        chip, model = load_chip(str(chip_name)), load_model(str(name))
        dtype = "fp16" if precision == "fp16" else "tf32" if "tf32" in chip.dtypes else "fp32"
        plan = _tables_of(model, str(chip_name), str(backend))
        predicted = []
        for batch in rows["batch"]:
            est: Any = estimate(
                model,
                chip,
                batch=int(batch),
                dtype=dtype,
                table_dtype="fp32",
                skew=SKEW,
                compiled=True,
                check=False,
                placement=plan,
                host=str(backend),
            )
            copies = sum(r["time_s"] for r in est.step.records if r["kind"] == "host_copy")
            predicted.append(est.latency_s - copies)
        parts.append(rows.assign(predicted_s=np.array(predicted)))
    out = pd.concat(parts, ignore_index=True)
    out["ratio"] = out["predicted_s"] / out["time_s"]
    out["error"] = (out["ratio"] - 1).abs()
    out["set_on"] = out["model"].str.startswith("dlrm")
    return out


def lookups() -> pd.DataFrame:
    """Measured lookups of an H100: what, measured_s, predicted_s, ratio, set_on, source."""
    import pandas as pd

    rows = []
    for what, sizes, measured, source, set_on in LOOKUPS:
        predicted = float(cost(op.embedding_bag(**sizes, out_dtype="fp32"), "h100-sxm").time_s)
        rows.append(
            {
                "what": what,
                "measured_s": measured,
                "predicted_s": predicted,
                "ratio": predicted / measured,
                "set_on": set_on,
                "source": source,
            }
        )
    return pd.DataFrame.from_records(rows)


#: Classes of model, and the batch, that the worth of a figure is asked of.
CLASSES = {
    "meta-retrieval": 4096, "meta-early-stage": 4096, "meta-late-stage": 1024, "meta-hstu-retrieval": 8,
    "meta-hstu-ranking": 8, "dlrm-v2": 4096, "rm2": 1024,
}  # fmt: skip

#: What is changed, in words and as a what-if.
CHANGES = {
    "SRAM x2": {"memory.cache.capacity": "x2"},
    "SRAM x4": {"memory.cache.capacity": "x4"},
    "DRAM bandwidth x2": {"memory.main.bandwidth": "x2"},
    "DRAM bandwidth x8": {"memory.main.bandwidth": "x8"},
    "DRAM latency / 2": {"memory.main.latency": "x0.5"},
    "cores x2": {"cores.count": "x2"},
    "rows under way x2": {
        "efficiency.embedding_bag.inflight_rows": "x2",
        "efficiency.embedding_bag.inflight_bytes": "x2",
    },
}


def worth(chip: str, dtype: str = "fp16") -> pd.DataFrame:
    """What a change of a chip is worth to each class of model: its throughput over that of the chip as it is.

    Parameters
    ----------
    chip : str
    dtype : str

    Returns
    -------
    DataFrame
        Index: class; columns: `samples/s` of the chip as it is, batches in a pipeline, then a ratio for each change.
    """
    import pandas as pd

    plain, rows = load_chip(chip), {}
    for name, batch in CLASSES.items():
        options: dict[str, Any] = {"batch": batch, "dtype": dtype, "check": False}
        options["skew"] = SKEW if name in ("dlrm-v2", "rm2") else None
        before = estimate(name, plain, **options).pipelined_samples_per_s
        rows[name] = {"samples/s": before} | {
            words: estimate(name, plain.what_if(change), **options).pipelined_samples_per_s / before
            for words, change in CHANGES.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index")
