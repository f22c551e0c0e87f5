"""How long the tool takes: ``python benchmarks/speed.py``. Prints a Markdown table of figures against their budgets.

Times are medians of repeats; machines are shared and noisy, so compare ratios from one run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

import roofline as rl
from roofline.estimates import inference
from roofline.work import parallel
from roofline.work.engine import fused

REQUEST = {"tp": 8, "batch": 64, "prompt": 1024, "output": 256}
COMMAND = [sys.executable, "-m", "roofline", "estimate", "llama-3.1-70b", "--chip", "h100-sxm", "--tp", "8"]


def median_s(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def one_estimate() -> float:
    model, chip = rl.load_model("llama-3.1-70b"), rl.load_chip("h100-sxm")

    def run() -> None:
        est = rl.estimate(model, chip, **REQUEST)
        assert est.time_s > 0
        assert len(est.prefill.records) + len(est.decode.records) > 20

    run()
    return median_s(run, 200)


def fresh_process(command: list[str], cold: bool) -> float:
    def run() -> None:
        environment = dict(os.environ)
        with tempfile.TemporaryDirectory() as scratch:
            if cold:  # nothing cached: no bytecode, no user caches
                environment |= {"PYTHONPYCACHEPREFIX": scratch, "XDG_CACHE_HOME": scratch}
            subprocess.run(command, env=environment, check=True, capture_output=True)

    if not cold:
        run()
    return median_s(run, 3 if cold else 7)


BATCH = np.arange(1.0, 1001.0)[:, None]
CONTEXT = np.arange(1.0, 1001.0)[None, :] * 16


def steps_per_s() -> float:
    """Full Llama-70B decode steps, batch x context: a million points, every operator costed."""
    model, chip, plan = rl.load_model("llama-3.1-70b"), rl.load_chip("h100-sxm"), parallel.Plan(tp=8)

    def run() -> None:
        step = parallel.shard(fused(model.step(BATCH, 1, CONTEXT)), plan, model)
        assert np.shape(inference.run(step, chip).time_s) == (1000, 1000)

    run()
    return 1e6 / median_s(run, 5)


def estimates_per_s() -> float:
    """The same as whole estimates: prefill as well."""
    model, chip = rl.load_model("llama-3.1-70b"), rl.load_chip("h100-sxm")

    def run() -> None:
        est = rl.estimate(model, chip, tp=8, batch=BATCH, prompt=CONTEXT, output=256, check=False)
        assert np.shape(est.tpot_s) == (1000, 1000)

    run()
    return 1e6 / median_s(run, 3)


def main() -> None:
    rows = [
        ("one `rl.estimate` with its breakdown, warm", 1e3 * one_estimate(), "ms", "1 ms"),
        ("first answer of a fresh process, nothing cached", fresh_process(COMMAND, cold=True), "s", "3 s"),
        ("the same, caches warm", fresh_process(COMMAND, cold=False), "s", "1 s"),
        ("`roofline chips`, caches warm", fresh_process([*COMMAND[:3], "chips"], cold=False), "s", "1 s"),
        ("sweep of Llama-70B decode steps", steps_per_s() / 1e6, "M points/s", "20 M points/s"),
        ("sweep of whole estimates, prefill and decode", estimates_per_s() / 1e6, "M points/s", ""),
    ]
    print("| what | measured | budget |\n| --- | ---: | ---: |")
    for what, value, unit, budget in rows:
        print(f"| {what} | {value:.3g} {unit} | {budget} |")


if __name__ == "__main__":
    main()
