"""How well ``simulate`` predicts published runs of servers: ``python benchmarks/served.py DIR [--part PART] [--fit]``.

DIR holds ``blis_training_vllm_h100.csv`` and ``blis_trainval_vllm.csv`` (inference-sim/training and
inference-sim/sim-to-real-accuracy-validation on GitHub, reshaped), ``llm_pilot_tgis.csv`` (IBM, CDLA-Permissive-2.0)
and so on. They do not ship: of the first two no licence is stated. The table goes into ``docs/served.md``. Parts other
than ``open`` are in ``served_elsewhere.py``.

``--fit`` fits the two constants of a server that no operator has, on the first file's rows that kept up: the host's
time a request, and the passes for which a request waits. Nothing else is fitted, and no row of another file is
looked at.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import served_elsewhere

import roofline as rl

MODELS = {
    "meta-llama/Llama-2-7b-hf": "llama-2-7b",
    "meta-llama/Llama-2-70b-hf": "llama-2-70b",
    "mistralai/Mixtral-8x7B-v0.1": "mixtral-8x7b",
    "codellama/CodeLlama-34b-Instruct-hf": "codellama-34b",
    "meta-llama/Llama-3.1-70B-Instruct": "llama-3.1-70b",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2.5-7b",
    "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic": "llama-4-scout",
}

#: The runs' clients go after so many seconds, and so many requests of a run are enough.
TIMEOUT, REQUESTS = 300.0, 3000


def training(folder: Path) -> pd.DataFrame:
    """Runs on H100 whose rows the constants may be fitted on."""
    table = pd.read_csv(folder / "blis_training_vllm_h100.csv")
    return pd.DataFrame(
        {
            "model": table["model"].map(MODELS),
            "tp": table["tp"],
            "workload": table["workload"],
            "rate": table["rate_per_s"],
            "seconds": table["duration_s"],
            "prompt": table["prompt_tokens_mean"].round().astype(int),
            "output": table["output_tokens_asked"],
            "prompts": table["system_prompts"] * table["users_per_system_prompt"],
            "failed": table["failed"] / table["sent"],
            "served": table["requests_per_sec"],
            "kv_blocks": np.nan,
            "dtype": "bf16",
            **{f"{m}_{s}": table[f"{m}_s_{s}"] for m in ("ttft", "e2e") for s in ("mean", "p90", "p99")},
        }
    )


def others(folder: Path) -> pd.DataFrame:
    """Further runs of the same rig on H100, stage by stage, those of models that are here."""
    table = pd.read_csv(folder / "blis_trainval_vllm.csv")
    table = table[(table["chip"] == "H100-SXM-80GB") & table["rate_per_s"].notna() & table["model"].isin(list(MODELS))]
    table = table[~table["model"].eq("meta-llama/Llama-2-7b-hf") | table["workload"].eq("reasoning")]
    return pd.DataFrame(
        {
            "model": table["model"].map(MODELS),
            "tp": table["tp"],
            "workload": table["workload"],
            "rate": table["rate_per_s"],
            "seconds": table["duration_s"],
            "prompt": table["question_len"] + table["system_prompt_len"],
            "output": table["output_len"],
            "prompts": table["num_unique_system_prompts"] * table["num_users_per_system_prompt"],
            "failed": 0.0,
            "served": table["rate_per_s"],
            "kv_blocks": table["kv_blocks"],
            "dtype": table["precision"].map({"FP8": "fp8", "FP16": "fp16"}),
            **{f"{m}_{s}": table[f"{m}_{s}_ms"] / 1e3 for m in ("ttft", "e2e") for s in ("mean", "p90", "p99")},
        }
    )


def predicted(row: Any, **policy: Any) -> Any:
    """The run of a row: prompts come round again and again, evenly spaced, and their cache is warm."""
    traffic = rl.Traffic(
        rate=row.rate,
        burstiness=math.inf,
        prompt=int(row.prompt),
        output=int(row.output),
        shared_prefix=(int(row.prompt), int(row.prompts)),
        requests=int(row.rate * row.seconds) if row.failed else min(REQUESTS, int(row.rate * row.seconds)),
        timeout_s=TIMEOUT,
    )
    return rl.simulate(
        row.model,
        "h100-sxm",
        traffic,
        tp=int(row.tp),
        dtype=row.dtype,
        stack="vllm_0_11",
        max_seqs=128,
        chunk=2048,
        **policy,
    )


def scored(table: pd.DataFrame, **policy: Any) -> pd.DataFrame:
    """Each row with what is predicted of it over what was measured."""
    rows = []
    for row in table.itertuples():
        run = predicted(row, **policy)
        seen = [(m, s) for m in ("ttft", "e2e") for s in ("mean", "p90", "p99")]
        found = {f"{m}_{s}": getattr(getattr(run, f"{m}_s"), s) for m, s in seen}
        measured = (row.e2e_mean - row.ttft_mean) / (row.output - 1)
        ratios = {f"{name}_ratio": value / getattr(row, name) for name, value in found.items()}
        rows.append(
            {
                "model": row.model,
                "workload": row.workload,
                "rate": row.rate,
                "failed": row.failed,
                **ratios,
                "tpot_mean_ratio": run.tpot_s.mean / measured,
                "served_ratio": run.requests_per_s / row.served,
                "gave_up": run.gave_up / len(run.requests),
                "saturated": run.saturated,
                "pass_ms": run.tpot_s.p50 * 1e3,
                "saturates_at": run.saturation_rate if row.failed else math.nan,
                "ttft_ms": found["ttft_mean"] * 1e3,
                "measured_ttft_ms": row.ttft_mean * 1e3,
            }
        )
    return pd.DataFrame(rows)


def fitted(table: pd.DataFrame) -> tuple[float, float]:
    """Host's time (s) and passes, where the middle error of mean and p90 of TTFT on rows that kept up is least."""
    table = table[table["failed"] == 0]
    best = (math.inf, 0.0, 0.0)
    for lag in np.arange(0.75, 2.1, 0.25):
        frame = scored(table, lag=float(lag))
        base, measured = frame["ttft_ms"].to_numpy() / 1e3, frame["measured_ttft_ms"].to_numpy() / 1e3
        for host in np.arange(0, 0.0201, 0.0005):
            error = float(np.abs(np.log((base + host) / measured)).mean())
            best = min(best, (error, float(host), float(lag)))
        print(f"lag {lag:.2f}: best so far {best}")
    return best[1], best[2]


def open_loops(folder: Path, policy: dict[str, float]) -> None:
    """vLLM on H100 at a rate: each row, and the middle errors of those that kept up."""
    for name, table in (("fitted on", training(folder)), ("others", others(folder))):
        frame = scored(table, **policy)
        print(name, frame.round(3).to_string(), sep="\n")
        signed = frame[frame["failed"] == 0].filter(like="_ratio") - 1
        print(pd.DataFrame({"middle error": signed.abs().median(), "middle": signed.median()}).round(3).to_string())


def closed_loops(folder: Path) -> None:
    """LLM-Pilot: each row, and the middle errors over all, by chip and by users."""
    frame = served_elsewhere.closed(folder)
    print(frame.round(3).to_string())
    kept = frame[frame["kept"]]
    fits = kept[kept["ttft_mean"].notna()]
    print(f"{len(frame)} rows, {len(frame) - len(kept)} with failures, {len(kept) - len(fits)} do not fit")
    names = [f"{m}_{s}" for m in ("ttft", "tpot", "e2e") for s in served_elsewhere.STATISTICS]
    signed = fits[names] - 1
    print(pd.DataFrame({"middle error": signed.abs().median(), "middle": signed.median()}).round(3).to_string())
    for by in ("gpu", "users", "model", "tp"):
        groups = signed.groupby(fits[by])[["ttft_mean", "tpot_mean"]]
        print(pd.concat([groups.median(), groups.agg(lambda v: v.abs().median())], axis=1).round(2).to_string())


def ranked(folder: Path) -> None:
    """MLPerf, Server over Offline: the middle error of the ratio by model."""
    frame = served_elsewhere.mlperf(folder)
    print(f"{len(frame)} pairs, {int(frame['predicted'].isna().sum())} not described")
    frame = frame.dropna(subset=["predicted"])
    frame["error"], frame["of one"] = (frame["ratio"] - 1).abs(), (1 / frame["measured"] - 1).abs()
    columns = ["measured", "predicted", "ratio", "error", "of one"]
    for by in (["model"], ["model", "chip"]):
        groups = frame.groupby(by)[columns]
        print(groups.median().join(groups.size().rename("pairs")).round(3).to_string())
    language = frame[frame["model"] != "dlrm-v2"]
    print("language models together:", language[columns].median().round(3).to_dict(), len(language))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", choices=("open", "closed", "single", "mlperf"), default="open")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--host", type=float, default=None)
    parser.add_argument("--lag", type=float, default=None)
    asked = parser.parse_args()
    pd.set_option("display.width", 250, "display.max_columns", 30, "display.max_rows", 300)
    if asked.fit:
        print(fitted(training(asked.folder)))
    elif asked.part == "closed":
        closed_loops(asked.folder)
    elif asked.part == "single":
        print(served_elsewhere.single(asked.folder).round(3).to_string())
    elif asked.part == "mlperf":
        ranked(asked.folder)
    else:
        policy = {name: value for name, value in (("host_s", asked.host), ("lag", asked.lag)) if value is not None}
        open_loops(asked.folder, policy)


if __name__ == "__main__":
    main()
