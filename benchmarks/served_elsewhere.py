"""How well ``simulate`` predicts servers on which nothing was fitted: the rest of ``benchmarks/served.py``.

Closed loops (``llm_pilot_tgis.csv``: IBM/LLM-performance-prediction on GitHub, CDLA-Permissive-2.0), requests one by
one (``llmservingsim_vllm_requests.csv``: casys-kaist/LLMServingSim, MIT), and MLPerf Inference v4.1, Server over
Offline (``mlperf_llm.csv``, ``mlperf_dlrm.csv``: mlcommons/inference_results_v4.1, Apache-2.0). What is assumed of
each was settled before its rows were looked at, and nothing was changed afterwards.
"""

from __future__ import annotations

import functools
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import roofline as rl
from roofline.base.errors import DoesNotFit
from roofline.fidelity.recommendation import MLPERF, SKEW

#: Chips that no part of the project has seen: their rows are not read.
SEALED = r"L40S|B300|GB200|GB300"

STATISTICS = ("mean", "p50", "p90", "p99")

# Closed loops ---------------------------------------------------------------------------------------------------------

#: The first LLaMA models have the shapes of the second at these sizes.
PILOT_MODELS = {
    "llama-7b": "llama-2-7b",
    "llama-13b": "llama-2-13b",
    "EleutherAI/gpt-neox-20b": "gpt-neox-20b",
}
#: Which A100 and which H100 it was is not said: taken as these.
PILOT_CHIPS = {"H100": "h100-sxm", "A100": "a100-sxm-40gb", "A10": "a10", "T4": "t4"}

#: TGIS batches as they come, reads prompts whole and in passes of their own, lets a request in when its whole output
#: has room, and keeps no prompts. Of the stacks the nearest is vLLM's of the same year (2023), also on PyTorch.
TGIS: dict[str, Any] = {
    "stack": "vllm_0_2", "chunked_prefill": False, "mixed": False, "reserve": True, "prefix_caching": False,
    "max_seqs": 256, "dtype": "fp16",
}  # fmt: skip

#: Rows of which a larger share of the requests failed tell of the survivors alone.
MOST_FAILED = 0.05


def closed(folder: Path) -> pd.DataFrame:
    """Closed loops of 1 to 128 users: predicted over measured, a row each; NaN where it does not fit."""
    table = pd.read_csv(folder / "llm_pilot_tgis.csv")
    table = table[table["model"].isin(list(PILOT_MODELS)) & table["gpu"].isin(list(PILOT_CHIPS))]
    rows = []
    for row in table.itertuples():
        found: dict[str, Any] = {"model": row.model, "gpu": row.gpu, "tp": row.n_gpus, "users": row.users}
        found["kept"] = row.errors <= MOST_FAILED * row.requests
        rows.append(found)
        if not found["kept"]:
            continue
        lengths = [(row.prompt_tokens_mean, row.prompt_tokens_sd), (row.output_tokens_mean, row.output_tokens_sd)]
        prompt, output = (rl.lognormal(max(mean, 1.0), max(sd, 0.1), most=2000) for mean, sd in lengths)
        # Longer than the run, so that it is full most of the time: at least ten rounds of all users.
        requests = int(min(max(row.requests, 10 * row.users, 200), 3000))
        traffic = rl.Traffic(
            concurrency=int(row.users), prompt=prompt, output=output, requests=requests, timeout_s=120.0
        )
        try:
            run = rl.simulate(PILOT_MODELS[row.model], PILOT_CHIPS[row.gpu], traffic, tp=int(row.n_gpus), **TGIS)
        except DoesNotFit:
            continue
        for name in ("ttft", "tpot", "e2e"):
            for part in STATISTICS:
                measured = getattr(row, f"{name}_s_{part}")
                found[f"{name}_{part}"] = getattr(getattr(run, f"{name}_s"), part) / measured
        found["ttft_ms"], found["measured_ttft_ms"] = run.ttft_s.mean * 1e3, row.ttft_s_mean * 1e3
        found["tpot_ms"], found["measured_tpot_ms"] = run.tpot_s.mean * 1e3, row.tpot_s_mean * 1e3
    return pd.DataFrame(rows)


# Requests one by one --------------------------------------------------------------------------------------------------

#: Run -> model and plan, as its configuration says.
RUNS: dict[str, tuple[str, dict[str, int]]] = {
    "RTXPRO6000_Llama-3.1-8B": ("llama-3.1-8b", {"tp": 1}),
    "RTXPRO6000_Qwen3-30B-A3B-Instruct-2507": ("qwen3-30b-a3b", {"dp": 2, "ep": 2}),
    "RTXPRO6000_Qwen3-32B": ("qwen3-32b", {"tp": 2}),
}


def single(folder: Path) -> pd.DataFrame:
    """Three runs of 300 requests on RTX PRO 6000, the very arrivals and lengths: predicted over measured."""
    table = pd.read_csv(folder / "llmservingsim_vllm_requests.csv")
    rows = []
    for name, (model, plan) in RUNS.items():
        one = table[table["run"] == name].sort_values("arrival_s")
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "requests.csv"
            one[["arrival_s", "prompt_tokens", "output_tokens"]].to_csv(file, index=False)
            traffic = rl.load_traffic(file)
        run = rl.simulate(
            model, "rtx-pro-6000", traffic, dtype="bf16", stack="vllm_0_17", max_seqs=128, chunk=2048, **plan
        )
        ttft, e2e = (one[f"{end}_s"] - one["arrival_s"] for end in ("first_token", "last_token"))
        longer = one["output_tokens"] > 1
        tpot = ((e2e - ttft) / (one["output_tokens"] - 1))[longer]
        for figure, measured in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)):
            seen = getattr(run, f"{figure}_s")
            known = [float(measured.mean()), *np.percentile(measured, [50, 90, 99]).tolist()]
            found = {f"{p}_ratio": getattr(seen, p) / value for p, value in zip(STATISTICS, known, strict=True)}
            rows.append({"run": model, "figure": figure, **found, "mean_s": seen.mean, "measured_mean_s": known[0]})
    return pd.DataFrame(rows)


# MLPerf ---------------------------------------------------------------------------------------------------------------

ACCELERATORS = {
    "H100-SXM-80GB": "h100-sxm", "H100-NVL-94GB": "h100-nvl", "H100-PCIe-80GB": "h100-pcie", "H200-SXM-141GB": "h200",
    "Superchip 144GB": "gh200-144", "Superchip 96GB": "gh200", "B200-SXM-180GB": "b200", "MI300X": "mi300x",
}  # fmt: skip

#: 99 % of the requests within: the rules of that round, from memory.
LIMITS = {
    "llama-2-70b": {"ttft_s": 2.0, "tpot_s": 0.2},
    "mixtral-8x7b": {"ttft_s": 2.0, "tpot_s": 0.2},
    "gpt-j-6b": {"e2e_s": 20.0},
}
RANKED = {"llama2-70b": "llama-2-70b", "mixtral-8x7b": "mixtral-8x7b", "gptj": "gpt-j-6b", "dlrm-v2": "dlrm-v2"}

#: Samples of a run of Llama-2-70B by the rules, here of every model; halvings of the rate.
SAMPLES, HALVINGS = 24_576, 7


def pairs(file: Path) -> pd.DataFrame:
    """Submissions with both scenarios: chip, chips, model, measured (Server over Offline)."""
    table = pd.read_csv(file)
    table = table[(table["n_accel_per_node"] > 0) & ~table["accelerator"].fillna("").str.contains(SEALED)]
    keys = ["submitter", "availability", "system", "accelerator", "n_accel_per_node", "model"]
    both = table.pivot_table(index=keys, columns="scenario", values="result", aggfunc="max").dropna().reset_index()
    chips = both["accelerator"].map(lambda name: next(chip for part, chip in ACCELERATORS.items() if part in name))
    models = both["model"].map(lambda name: next(model for part, model in RANKED.items() if name.startswith(part)))
    measured = both["Server"] / both["Offline"]
    return pd.DataFrame(
        {"chip": chips, "chips": both["n_accel_per_node"].astype(int), "model": models, "measured": measured}
    )


@functools.cache
def _settings() -> pd.DataFrame:
    """What is taken of MLPerf's systems elsewhere: plans, dtypes, lengths, batches."""
    table = pd.read_csv(str(resources.files("roofline.evidence") / "measured" / "end_to_end.csv"))
    return table[(table["source"] == "mlperf-4.1") & ~table["chip"].str.upper().str.contains(SEALED)]


def language_ratio(chip: str, chips: int, model: str) -> float:
    """Server over Offline, predicted: the largest rate whose p99 holds, over all requests handed over at once.

    NaN where no submission of that model and chip is described in ``end_to_end.csv``, or chips are left over.
    """
    known = _settings()
    known = known[(known["chip"] == chip) & (known["model"] == model)]
    if not len(known) or chips % int(known["tp"].iloc[0]):
        return float("nan")
    row = known.iloc[0]
    tp = int(row["tp"])
    options: dict[str, Any] = {"tp": tp, "dtype": row["dtype"], "kv_dtype": row["kv_dtype"], "stack": row["stack"]}
    options |= {"replicas": chips // tp, "router": "least_loaded"}
    if row["concurrency"] > 0:
        options["max_seqs"] = int(row["concurrency"] * tp / row["chips"])
    prompt, output = (rl.lognormal(row[name], row[f"{name}_sd"], most=1024) for name in ("prompt", "output"))
    traffic = rl.Traffic(rate=1e6, prompt=prompt, output=output, requests=SAMPLES)
    offline = rl.simulate(model, chip, traffic, **options)
    holds, low, high = 0.0, 0.3, 1.1
    for _ in range(HALVINGS):
        share = (low + high) / 2
        server = rl.simulate(model, chip, traffic.changed(rate=share * offline.requests_per_s), **options)
        if all(getattr(server, name).p99 <= limit for name, limit in LIMITS[model].items()):
            holds, low = max(holds, server.requests_per_s / offline.requests_per_s), share
        else:
            high = share
    return holds


def queries_ratio(chip: str) -> float:
    """The same of DLRM-v2: 99 % of the queries within 60 ms, batches as submitted."""
    _, batch, compiled, _ = MLPERF["gh200-144" if chip == "gh200" else chip]
    traffic = rl.Traffic(rate=1000, pairs=rl.uniform(100, 440), requests=SAMPLES)
    best = rl.capacity(
        "dlrm-v2",
        chip,
        traffic,
        slo={"latency_s": 0.06},
        max_batch=batch,
        dtype="int8",
        skew=SKEW,
        compiled=compiled,
        scale_bytes=0,
    ).iloc[0]
    return float(best["rate"] / best["saturation_rate"])


def mlperf(folder: Path) -> pd.DataFrame:
    """All pairs, with what is predicted of each."""
    table = pd.concat([pairs(folder / name) for name in ("mlperf_llm.csv", "mlperf_dlrm.csv")])
    kinds = table[["chip", "chips", "model"]].drop_duplicates()
    found = {}
    for kind in kinds.itertuples(index=False):
        ratio = queries_ratio(kind.chip) if kind.model == "dlrm-v2" else language_ratio(*kind)
        found[tuple(kind)] = ratio
        print(f"{kind.model} on {kind.chips} x {kind.chip}: Server over Offline {ratio:.3f}", flush=True)
    table["predicted"] = [found[key] for key in zip(table["chip"], table["chips"], table["model"], strict=True)]
    table["ratio"] = table["predicted"] / table["measured"]
    return table
