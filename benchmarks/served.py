"""How well ``simulate`` predicts published runs of servers: ``python benchmarks/served.py DIR [--fit]``.

DIR holds ``blis_training_vllm_h100.csv`` and ``blis_trainval_vllm.csv`` (inference-sim/training and
inference-sim/sim-to-real-accuracy-validation on GitHub, reshaped), ``llm_pilot_tgis.csv`` (IBM, CDLA-Permissive-2.0)
and so on. They do not ship: of the first two no licence is stated. The table goes into ``docs/served.md``.

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
        row.model, "h100-sxm", traffic, tp=int(row.tp), dtype=row.dtype, stack="vllm_0_11", max_seqs=128, chunk=2048,
        **policy,
    )  # fmt: skip


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
                "model": row.model, "workload": row.workload, "rate": row.rate, "failed": row.failed, **ratios,
                "tpot_mean_ratio": run.tpot_s.mean / measured, "served_ratio": run.requests_per_s / row.served,
                "gave_up": run.gave_up / len(run.requests), "saturated": run.saturated, "pass_ms": run.tpot_s.p50 * 1e3,
                "saturates_at": run.saturation_rate if row.failed else math.nan,
                "ttft_ms": found["ttft_mean"] * 1e3, "measured_ttft_ms": row.ttft_mean * 1e3,
            }
        )  # fmt: skip
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--host", type=float, default=None)
    parser.add_argument("--lag", type=float, default=None)
    asked = parser.parse_args()
    pd.set_option("display.width", 250, "display.max_columns", 30, "display.max_rows", 200)
    first = training(asked.folder)
    if asked.fit:
        print(fitted(first))
        return
    policy = {name: value for name, value in (("host_s", asked.host), ("lag", asked.lag)) if value is not None}
    for name, table in (("fitted on", first), ("others", others(asked.folder))):
        frame = scored(table, **policy)
        print(name, frame.round(3).to_string(), sep="\n")
        fine = frame[frame["failed"] == 0]
        signed = fine.filter(like="_ratio") - 1
        print(pd.DataFrame({"middle error": signed.abs().median(), "middle": signed.median()}).round(3).to_string())


if __name__ == "__main__":
    main()
