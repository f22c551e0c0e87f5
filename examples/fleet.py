"""How many chips serve a stated load of Meta's models, what do they draw and cost, and what share of 350,000 H100 is it?

    python examples/fleet.py            # writes examples/fleet/README.md and its pictures; a minute or two
    python examples/fleet.py --small    # a small grid, in seconds, into a folder of its own

Two answers each time: what is expected, and what is enough nine times in ten, given all that is in doubt.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from pages import compared, save, table, within, write

import roofline as rl

HERE = Path(__file__).parent

# The load -----------------------------------------------------------------------------------------------------------

#: The busiest hour over the mean of a day (assumed), for both families.
PEAK = 2.0
DAY_S = 86400

#: Predictions a day: Facebook's in 2018 (ZDNet). Their split over model classes is assumed.
PREDICTIONS = 200e12
MIX = {"meta-lc1": 0.60, "meta-lc3": 0.25, "meta-hc1": 0.10, "meta-hc4": 0.05}
WITHIN = {"latency_s": 0.05}

#: Requests a day: 50 million users (a quarter of the 185 million weekly ones of August 2024), ten each (assumed).
REQUESTS = 500e6
PROMPT, OUTPUT = 1024, 256
SHARE = {"llama-3.1-405b": 0.1, "llama-3.1-70b": 0.9}
LIMITS = {"llama-3.1-405b": {"ttft_s": 6.0, "tpot_s": 0.175}, "llama-3.1-70b": {"ttft_s": 2.0, "tpot_s": 0.2}}

# The chips ----------------------------------------------------------------------------------------------------------

H100S = 350_000
PRICE = 27_500
TITLES = {"h100-sxm": "H100", "mtia-2i": "MTIA 2i", "artemis": "Artemis", "artemis-hbm": "Artemis with HBM"}

#: The H100 has fp8; the others keep their weights in int8 and compute in fp16. No copy leaves its server.
NUMBERS = {"h100-sxm": {"dtype": "fp8", "kv_dtype": "fp8", "most": 8}}
OTHERS = {"dtype": "fp16", "weight_dtype": "int8", "most": 16}


def samples_per_s(model: str) -> float:
    """Samples a second of a recommendation model in the busiest hour."""
    return PEAK * PREDICTIONS * MIX[model] / DAY_S


def tokens_per_s(model: str) -> float:
    """Output tokens a second of a language model in the busiest hour."""
    return PEAK * REQUESTS * SHARE[model] * OUTPUT / DAY_S


# What is found ------------------------------------------------------------------------------------------------------


def language(model: str, chip: str, small: bool) -> dict[str, Any]:
    """Chips and watts for a language model: as expected, and so that targets and load hold nine times in ten."""
    options = {"prompt": PROMPT, "output": OUTPUT, **NUMBERS.get(chip, OTHERS)}
    most = options.pop("most")
    fewest = rl.fewest_chips(model, chip, **LIMITS[model], tokens_per_s=tokens_per_s(model), most=most, **options)
    if fewest.empty:
        return {"why": fewest.attrs["why"]}
    best = fewest.iloc[0]
    found = {"expected": plan(model, chip, int(best.tp), int(best.concurrency), int(best.replicas), options)}
    widths = np.array([n for n in (1, 2, 4, 8, 16) if n <= most])
    # What fits in nine draws of ten, of those figures of the chip that are in doubt.
    room = rl.sweep(model, chip, tp=widths, concurrency=1, draws=16 if small else 256, **options)["fits"]
    widths = widths[room.mean("draw").values >= 0.9][:, None]
    if not len(widths):
        return found
    loads = np.unique(np.geomspace(1, 1024, 4 if small else 31).round().astype(int))
    est = rl.serve(model, chip, tp=widths, concurrency=loads, check=False, **options)
    # An interval of 80 % leaves a tenth on either side.
    good = np.logical_and.reduce([est.interval(0.8, name)[1] <= limit for name, limit in LIMITS[model].items()])
    replicas = np.ceil(tokens_per_s(model) / est.interval(0.8, "tokens_per_s")[0])
    chips = np.where(good, replicas * widths, np.inf)
    at = np.unravel_index(np.argmin(chips), chips.shape)
    if np.isfinite(chips[at]):
        found["sure"] = plan(model, chip, int(widths[at[0], 0]), int(loads[at[1]]), int(replicas[at]), options)
    return found


def plan(model: str, chip: str, tp: int, concurrency: int, replicas: int, options: dict[str, Any]) -> dict[str, Any]:
    """So many copies of a model, each on `tp` chips with so many requests in flight."""
    est = rl.serve(model, chip, tp=tp, concurrency=concurrency, **options)
    return {"chips": tp * replicas, "watts": replicas * est.power_w, "tp": tp, "concurrency": concurrency,
            "tpot_s": est.tpot_s, "ttft_s": est.ttft_s, "bound": est.bound}  # fmt: skip


def recommendation(chips: list[str], small: bool) -> dict[str, dict[str, Any]]:
    """Chips and watts for the recommendation mix, in each draw; infinite where a model is not served."""
    batches = (1024,) if small else (256, 1024, 4096)
    plans = {m: [{"dtype": "fp16", "batch": b, "devices": n} for n in (1, 2) for b in batches] for m in MIX}
    found = compared(chips, plans, 16 if small else 512)
    out: dict[str, dict[str, Any]] = {}
    for chip in chips:
        best = {model: within(found, model, chip, WITHIN) for model in MIX}
        with np.errstate(divide="ignore"):
            each = {model: samples_per_s(model) / rate for model, (rate, _) in best.items()}
            watts = sum(samples_per_s(model) / per_watt for model, (_, per_watt) in best.items())
        count = sum(each.values())
        served = found["comparison"].probability(np.isfinite(count))
        out[chip] = {"chips": count, "watts": watts, "each": each, "served": served}
    return out


def study(small: bool = False) -> dict[str, Any]:
    """All that the page tells."""
    chips = ["h100-sxm", "mtia-2i", "artemis"]
    served = {(model, chip): language(model, chip, small) for model in SHARE for chip in ([*chips, "artemis-hbm"])}
    concurrency = np.unique(np.geomspace(1, 1024, 5 if small else 40).round().astype(int))
    frontiers = {
        chip: rl.sweep(list(SHARE), chip, tp=[4, 8, 16, 32], concurrency=concurrency, prompt=PROMPT, output=OUTPUT,
                       figures=["tpot_s", "ttft_s", "tokens_per_s_per_chip"],
                       **{k: v for k, v in NUMBERS.get(chip, OTHERS).items() if k != "most"})
        for chip in chips
    }  # fmt: skip
    return {"language": served, "recommendation": recommendation(chips, small), "frontiers": frontiers}
