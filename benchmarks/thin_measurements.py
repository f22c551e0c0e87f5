"""Make the sample of measured operator times that roofline ships: roofline/evidence/measured/*.csv.gz.

    python benchmarks/thin_measurements.py FOLDER PACKAGE

FOLDER holds gemm.parquet, attention_prefill.parquet, attention_decode.parquet, mla_attention.parquet, moe.parquet,
collectives.parquet and elementwise.parquet: operator times of aiconfigurator-core 0.12.0 with a role beside each row
(calibrate, test-shapes, test-chip) and whether it may be shipped. PACKAGE is the folder that the package itself was
unpacked to: the order of its files tells which MoE kernels were tuned, and the B200's rows are taken from it (of the
current versions alone). Rows are drawn at random (fixed seed) within
strata of operator class, framework, dtype, chip, role and regime of time. Beside the sample it writes `counts.csv`,
what the exclusion rules take of the complete data, and `roles.csv`, the role of every shape.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from roofline.base.files import replacing
from roofline.evidence import measurements
from roofline.fidelity import exclusions
from roofline.fidelity.aiconfigurator import (
    CLASSES,
    attention_rows,
    collective_rows,
    current,
    gemm_rows,
    mla_rows,
    moe_cases,
    moe_rows,
    quantize_rows,
    read,
    with_naive,
)

OUT = Path(__file__).parents[1] / "roofline" / "evidence" / "measured"
CHIPS = {"H100-SXM-80GB": "h100-sxm", "H200-SXM-141GB": "h200", "A100-SXM-80GB": "a100-sxm-80gb"}

#: Rows a stratum (a regime of one framework, dtype, variant, chip and role): (H100 test shapes, everything else).
QUOTA = {
    "gemm": (110, 40),
    "attention": (110, 40),
    "mla_attention": (120, 50),
    "moe": (110, 45),
    "collectives": (500, 500),
    "quantize": (100, 60),
}

#: The same of the B200: (its test shapes, everything else).
QUOTA_B200 = {
    "gemm": (30, 20),
    "attention": (30, 20),
    "mla_attention": (30, 20),
    "moe": (30, 20),
    "collectives": (60, 40),
    "quantize": (30, 20),
}

#: Of rows that a rule not marked as late excludes, one in so many of the quota: enough to see that the rule is right.
EXCLUDED_SHARE = 8


def complete(folder: Path, package: Path) -> dict[str, pd.DataFrame]:
    """Every row that may be shipped, by class, in the columns of the sample."""

    def load(name: str) -> pd.DataFrame:
        frame = pd.read_parquet(folder / f"{name}.parquet")
        frame = frame[frame["may_ship"]]
        for column in frame.columns:
            if isinstance(frame[column].dtype, pd.CategoricalDtype):
                frame[column] = frame[column].astype(str)
        return frame.assign(chip=frame["chip"].map(CHIPS))

    prefill = load("attention_prefill")
    prefill["causal"] = prefill["op"] != "attention_encoder"
    prefill["variant"] = np.where(prefill["causal"], "prefill", "encoder")
    decode = load("attention_decode").assign(variant="decode", causal=True)
    mla = load("mla_attention")
    mla["variant"] = mla["op"].str.removeprefix("mla_attention_")
    moe = load("moe").rename(columns={"moe_tp": "tp", "moe_ep": "ep"})
    keys = [
        "chip",
        "framework",
        "version",
        "kernel",
        "dtype",
        "hidden",
        "inter",
        "topk",
        "experts",
        "tp",
        "ep",
        "distribution",
    ]
    cases = moe_cases(package)[[*keys, "tuned"]].drop_duplicates(keys)
    moe = moe.merge(cases, on=keys, how="left").fillna({"tuned": True})
    moves = load("collectives").rename(columns={"library": "framework", "n_devices": "devices"})
    moves = moves[moves["op"].isin(["all_reduce", "all_gather", "reduce_scatter", "alltoall"])]
    stream = load("elementwise")
    stream = stream[stream["op"] == "fp8_static_quant"]
    tables = {
        "gemm": gemm_rows(load("gemm").rename(columns={"weight_copies_cycled": "copies"})),
        "attention": attention_rows(pd.concat([prefill, decode], ignore_index=True)),
        "mla_attention": mla_rows(mla),
        "moe": moe_rows(moe),
        "collectives": collective_rows(moves),
        "quantize": quantize_rows(stream),
    }
    for name, table in tables.items():
        tables[name] = with_naive(table.reset_index(drop=True))
        tables[name]["flags"] = exclusions.flag(tables[name])
    return tables


def of_the_b200(package: Path) -> dict[str, pd.DataFrame]:
    """Every row of the B200 in the package, by class."""
    table = read(package)
    table = table[table["chip"] == "b200"].reset_index(drop=True)
    collective = table["op"].isin(["all_reduce", "all_gather", "reduce_scatter", "all_to_all"])
    latent = table["op"].eq("mla_attention") | table["variant"].eq("expanded")
    kind = table["op"].where(~collective, "collectives").where(~latent, "mla_attention")
    return {name: part.reset_index(drop=True).dropna(axis=1, how="all") for name, part in table.groupby(kind)}


def thin(
    name: str, table: pd.DataFrame, generator: np.random.Generator, quotas: dict[str, tuple[int, int]]
) -> pd.DataFrame:
    """The rows of the sample."""
    test, others = quotas[name]
    early = exclusions.excluded(table["flags"])
    regime = measurements.regime(table["naive_s"])
    keys = ["op", "framework", "dtype", "kv_dtype", "variant", "chip", "role"]
    keys = [table[k].fillna("").astype(str) for k in keys if k in table.columns] + [regime, early]
    chosen = []
    for key, index in table.groupby(keys, sort=True).groups.items():
        quota = test if "test-shapes" in key and ("h100-sxm" in key or "b200" in key) else others
        quota = quota if key[-1] == "" else max(2, others // EXCLUDED_SHARE)
        rows = np.asarray(index)
        chosen.append(rows if len(rows) <= quota else generator.choice(rows, quota, replace=False))
    return table.loc[np.sort(np.concatenate(chosen))]


def main(folder: Path, package: Path) -> None:
    """Write the sample, the counts and the roles."""
    generator = np.random.default_rng(0)
    counts, roles, total = [], [], 0
    newest, generator_b200 = of_the_b200(package), np.random.default_rng(0)
    for name, table in complete(folder, package).items():
        keys = ["op", "dtype", "variant", "framework", "chip", "role", "rule"]
        by = table.assign(rule=table["flags"].fillna("")).groupby(keys, dropna=False)
        counts.append(by.size().rename("rows").reset_index())
        by = newest[name].assign(rule=newest[name]["flags"].fillna("")).groupby(keys, dropna=False)
        counts.append(by.size().rename("rows").reset_index())
        keys = list(CLASSES[name])
        fitted = table[table["role"] != "test-chip"]
        roles.append(fitted[[*keys, "role"]].drop_duplicates().assign(table=name))
        sample = thin(name, table, generator, QUOTA)
        others = thin(name, current(newest[name]), generator_b200, QUOTA_B200)
        sample = pd.concat([sample, others], ignore_index=True)
        sample = sample.drop(columns=["kernel", "naive_s"]).dropna(axis=1, how="all")
        for column in sample.columns:
            whole = sample[column].dropna()
            if whole.dtype.kind == "f" and len(whole) and (whole % 1 == 0).all() and column != "time_s":
                sample[column] = sample[column].astype("Int64")
        path = OUT / f"{name}.csv.gz"
        text = sample.to_csv(index=False, float_format="%.5g").encode()
        with replacing(path) as scratch:
            scratch.write_bytes(gzip.compress(text, mtime=1))  # the same bytes every time
        total += path.stat().st_size
        print(f"{name}: {len(table):,} rows -> {len(sample):,}, {path.stat().st_size:,} bytes", file=sys.stderr)
    with replacing(OUT / "counts.csv") as scratch:
        pd.concat(counts).to_csv(scratch, index=False)
    keys = list(dict.fromkeys(k for columns in CLASSES.values() for k in columns))
    table = pd.concat(roles)[["table", *keys, "role"]]
    with replacing(OUT / "roles.csv") as scratch:
        table.convert_dtypes().to_csv(scratch, index=False)
    print(f"{total:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
