"""Which of Meta's workloads would Artemis serve? A chip of which nothing was public, asked as of February 2024.

    python examples/artemis.py            # writes examples/artemis/README.md and its pictures; some minutes
    python examples/artemis.py --small    # a small grid, in seconds, into a folder of its own

Everything that is in doubt (the ranges of the chips' figures, LPDDR or HBM, the model's own error) is drawn once for
all chips and workloads; in each draw every chip takes its best plan; what is told are shares of the draws.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from pages import compared, odds, ratio, save, spread, table, within, write

import roofline as rl

HERE = Path(__file__).parent

# What is asked ------------------------------------------------------------------------------------------------------

#: The nine models of the MTIA 2i paper (ISCA 2025, figure 6), by MFLOP a sample.
RECOMMENDATION = {
    "meta-lc1": 15, "meta-lc2": 50, "meta-lc3": 57, "meta-lc4": 91, "meta-lc5": 105,
    "meta-hc1": 480, "meta-hc2": 600, "meta-hc3": 940, "meta-hc4": 1000,
}  # fmt: skip
BATCHES = (256, 1024, 4096)

#: A sample waits at most for the batch that runs when it comes, and for its own: half of 100 ms for a batch.
WITHIN = {"latency_s": 0.05}

#: Time to first token and time per output token (s).
LANGUAGE = {
    "llama-2-7b": {"ttft_s": 0.6, "tpot_s": 0.06},
    "llama-3.1-8b": {"ttft_s": 0.6, "tpot_s": 0.06},
    "llama-3.1-70b": {"ttft_s": 2.0, "tpot_s": 0.2},
}
PROMPT, OUTPUT = 1024, 256
SEQUENCES = (1, 8, 32)

#: The most chips that one copy of a model is split over: two of a module, or eight of a server.
MOST = {"recommendation": 2, "language": 8}

#: Chips of a server: Yosemite V3 with MTIA v1 (a summary of ISCA 2023), Grand Teton with MTIA 2i (ISCA 2025), HGX.
SERVER = {"mtia-v1": 12, "mtia-2i": 24, "h100-sxm": 8}

LPDDR, HBM = "artemis[scenario=lpddr]", "artemis[scenario=hbm]"
TITLES = {
    "mtia-v1": "MTIA v1", "artemis": "Artemis", LPDDR: "with LPDDR", HBM: "with HBM", "mtia-2i": "MTIA 2i",
    "h100-sxm": "H100",
}  # fmt: skip


def chips() -> list[Any]:
    """The chips, Artemis as it is (in each draw one of its scenarios) and in each scenario."""
    artemis = rl.load_chip("artemis")
    return ["mtia-v1", artemis, artemis.scenario("lpddr"), artemis.scenario("hbm"), "mtia-2i", "h100-sxm"]


def plans(small: bool) -> dict[str, list[dict[str, Any]]]:
    """Every plan that a chip may choose from, of each model; fp16 throughout."""
    models = ["meta-lc1", "meta-hc4"] if small else RECOMMENDATION
    batches = BATCHES[:1] if small else BATCHES
    found = {m: [{"dtype": "fp16", "batch": b, "devices": n} for n in (1, 2) for b in batches] for m in models}
    shape = {"dtype": "fp16", "prompt": PROMPT, "output": OUTPUT}
    for model in ["llama-2-7b"] if small else LANGUAGE:
        widths, batches = ((1,), SEQUENCES[:1]) if small else ((1, 2, 4, 8), SEQUENCES)
        found[model] = [{**shape, "batch": b, "tp": tp} for tp in widths for b in batches]
    return found


def limits(model: str) -> dict[str, float]:
    """The latency targets of a model (s)."""
    return LANGUAGE.get(model, WITHIN)


# What is found ------------------------------------------------------------------------------------------------------


def study(small: bool = False) -> dict[str, Any]:
    """All that the page tells: of each model and chip the rate per chip and watt in each draw, alone and split."""
    asked = plans(small)
    found = compared(chips(), asked, 16 if small else 1024)
    best = {(m, c): within(found, m, c, limits(m)) for m in asked for c in TITLES}
    alone = {(m, c): within(found, m, c, limits(m), most=1)[0] for m in asked for c in TITLES}
    artemis = rl.load_chip("artemis")
    lpddr = artemis.scenario("lpddr")
    language = [m for m in asked if m in LANGUAGE]
    small_models = [m for m in language if m != "llama-3.1-70b"]
    bandwidths = np.geomspace(150e9, 3.5e12, 8 if small else 48)
    options = {"batch": 1, "prompt": PROMPT, "output": OUTPUT, "dtype": "fp16"}
    grid = rl.sweep(small_models, lpddr, draws=16 if small else 256, figures=["tpot_s"], **options,
                    **{"memory.main.bandwidth": bandwidths})  # fmt: skip
    needed = {
        m: rl.solve(m, lpddr, "tpot_s", LANGUAGE[m]["tpot_s"], vary="memory.main.bandwidth", **options)
        for m in small_models
    }
    doubts = {m: rl.indices(m, "artemis", draws=16 if small else 128, **asked[m][0]) for m in asked if m in
              ("meta-lc1", "meta-hc4", "llama-2-7b")}  # fmt: skip
    return {"asked": asked, "comparison": found["comparison"], "best": best, "alone": alone, "grid": grid,
            "needed": needed, "doubts": doubts, "artemis": artemis}  # fmt: skip
