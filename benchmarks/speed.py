"""How long the tool takes: ``python benchmarks/speed.py``. Prints Markdown tables of figures against their budgets.

Times are medians of repeats; machines are shared and noisy, so compare ratios from one run: ``--against FOLDER`` runs
the sweeps on another checkout in turn. Core-ns are the processor time of all threads over the points.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import roofline as rl
from roofline.estimates import inference
from roofline.models.llm import LanguageModel
from roofline.work import parallel
from roofline.work.engine import fused

COMMAND = [sys.executable, "-m", "roofline", "estimate", "llama-3.1-70b", "--chip", "h100-sxm", "--tp", "8"]


def median_s(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


#: Estimates after which kernels run compiled even where nothing was compiled before.
MANY = 25_000


def one_estimate() -> tuple[float, float]:
    """Of sizes that differ from call to call: of the first ones, in plain Python, and of those after very many."""
    model, chip = rl.load_model("llama-3.1-70b"), rl.load_chip("h100-sxm")
    calls = itertools.count()

    def run() -> None:
        i = next(calls)
        est = rl.estimate(model, chip, tp=8, batch=1 + i % 128, prompt=128 + i % 1000, output=2 + i % 700)
        assert est.time_s > 0
        assert len(est.prefill.records) + len(est.decode.records) > 20

    for _ in range(20):
        run()
    first = median_s(run, 150)
    for _ in range(MANY):
        run()
    return first, median_s(run, 1000)


def interval(figure: str) -> float:
    """Processor time a point (s) of the 90 % interval of a figure over 200 x 200 points, loops compiled."""
    batch, prompt = np.arange(1.0, 201.0)[:, None], np.arange(1.0, 201.0)[None, :] * 16

    def run() -> float:
        start = time.process_time()
        est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=batch, prompt=prompt, output=256, check=False)
        low, high = est.interval(0.9, figure)
        assert np.all(low < high)
        return (time.process_time() - start) / (batch.size * prompt.size)

    return min([run() for _ in range(4)][1:])


def fresh_process(command: list[str], cold: bool) -> float:
    def run() -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with tempfile.TemporaryDirectory() as scratch:
            if cold:  # nothing cached: no bytecode, no user caches
                environment |= {"PYTHONPYCACHEPREFIX": scratch, "XDG_CACHE_HOME": scratch}
            subprocess.run(command, env=environment, check=True, capture_output=True)

    if not cold:
        run()
    return median_s(run, 3 if cold else 7)


def first_sweep() -> float:
    """Of a process that finds nothing compiled: on a copy of the library without its caches."""
    here = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("chips", "kernels", "roofline"):
            shutil.copytree(
                here / name, Path(scratch) / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        environment = {**os.environ, "PYTHONPATH": scratch, "XDG_CACHE_HOME": scratch}
        command = [sys.executable, __file__, "--small"]
        start = time.perf_counter()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return time.perf_counter() - start


# Sweeps --------------------------------------------------------------------------------------------------------------

BATCH = np.arange(1.0, 1001.0)[:, None]
CONTEXT = np.arange(1.0, 1001.0)[None, :] * 16
POINTS = BATCH.size * CONTEXT.size


def decode_steps() -> None:
    """Full Llama-70B decode steps, batch x context: a million points, every operator costed."""
    model, chip, plan = rl.load_model("llama-3.1-70b"), rl.load_chip("h100-sxm"), parallel.Plan(tp=8)
    assert isinstance(model, LanguageModel)
    step = parallel.shard(fused(model.step(BATCH, 1, CONTEXT)), plan, model)
    assert np.shape(inference.run(step, chip).time_s) == (1000, 1000)


def whole_estimates(**figures: Any) -> None:
    """Whole estimates, prefill and decode, in slabs of 125,000 points: all figures, bounds, and what fits."""
    model, chip = rl.load_model("llama-3.1-70b"), rl.load_chip("h100-sxm")
    for first in range(0, len(BATCH), 125):
        varied = chip.what_if({path: values[first // 125] for path, values in figures.items()}) if figures else chip
        batch = BATCH[:125] if figures else BATCH[first : first + 125]
        est = rl.estimate(model, varied, tp=8, batch=batch, prompt=CONTEXT, output=256, check=False)
        assert np.shape(est.figures()["tpot_s"]) == (125, 1000)
        assert np.shape(est.lower_s) == np.shape(est.upper_s) == np.shape(est.fits) == (125, 1000)
        # A tree from before codes has the texts alone.
        assert np.shape(est.bound_codes if hasattr(est, "bound_codes") else est.bound) == (125, 1000)


def two_chip_figures() -> None:
    """The same, with another main memory and another clock in each slab."""
    whole_estimates(
        **{"memory.main.bandwidth": np.linspace(2e12, 6e12, 8).tolist(), "clock": np.linspace(1e9, 2e9, 8).tolist()}
    )


def labelled_grid() -> None:
    """The whole estimates by `rl.sweep`, a Dataset of all headline figures; in a fresh process with all it imports."""
    grid = rl.sweep("llama-3.1-70b", "h100-sxm", tp=8, batch=BATCH[:, 0], prompt=CONTEXT[0], output=256)
    assert grid["tpot_s"].shape == grid["fits"].shape == grid["bound"].shape == (1000, 1000)


def imports_alone() -> None:
    """Of these imports the two that are not ours."""
    import pandas
    import xarray

    assert pandas.Index
    assert xarray.Dataset


def small_sweep() -> None:
    """A first sweep of 10,000 points."""
    grid = rl.sweep("llama-3.1-70b", "h100-sxm", tp=8, batch=list(range(1, 101)), prompt=list(range(64, 6464, 64)))
    assert grid["tpot_s"].size == 10_000


SWEEPS = {f.__name__: f for f in (decode_steps, whole_estimates, two_chip_figures, labelled_grid, imports_alone)}


def core_ns(name: str, fresh: bool) -> float:
    """Processor time a point (ns) of all threads: of the first run of this process, or the best of three later ones."""
    times = []
    for _ in range(1 if fresh else 5):
        start = time.process_time()
        SWEEPS[name]()
        times.append(time.process_time() - start)
    return 1e9 * min(times[-3:]) / POINTS


def in_process(name: str, fresh: bool, tree: str) -> float:
    """:func:`core_ns` in a process of its own, on the library of a tree."""
    environment = {**os.environ, "PYTHONPATH": tree}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # bytecode is kept where a user works, too
    command = [sys.executable, __file__, "--sweep", name, *(["--fresh"] if fresh else [])]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=tree)
    return float(done.stdout)


def sweeps(against: str | None) -> None:
    """A table of core-ns a point, with ratios to another tree where one is given."""
    here = str(Path(__file__).parent.parent)
    print("| sweep of 10^6 points, Llama-70B | core-ns a point | budget | other tree | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, fresh, budget in (
        ("decode_steps", False, 20),
        ("whole_estimates", False, 400),
        ("whole_estimates", True, 400),
        ("two_chip_figures", True, 500),
        ("labelled_grid", False, 400),
        ("labelled_grid", True, 400),
        ("imports_alone", True, ""),
    ):
        # One run to keep what is compiled; then in turn, as other work on the machine comes and goes.
        trees = [here, *([against] if against else [])]
        for tree in trees:
            in_process(name, False, tree)
        found = [
            min(times) for times in zip(*([in_process(name, fresh, t) for t in trees] for _ in range(3)), strict=True)
        ]
        other, ratio = (f"{found[1]:.3g}", f"{found[1] / found[0]:.1f}x") if against else ("", "")
        what = name.replace("_", " ") + (", fresh process" if fresh else ", warm")
        print(f"| {what} | {found[0]:.3g} | {budget} | {other} | {ratio} |", flush=True)


def main() -> None:
    first, later = one_estimate()
    rows = [
        ("one `rl.estimate` with its breakdown, warm", 1e3 * later, "ms", "0.25 ms"),
        ("the same of the first few hundred of a process", 1e3 * first, "ms", ""),
        ("first answer of a fresh process, nothing cached", fresh_process(COMMAND, cold=True), "s", ""),
        ("the same, caches warm", fresh_process(COMMAND, cold=False), "s", "0.35 s"),
        ("`roofline chips`, caches warm", fresh_process([*COMMAND[:3], "chips"], cold=False), "s", "0.35 s"),
        ("first sweep of 10^4 points, nothing compiled yet", first_sweep(), "s", "3 s"),
        ("interval of `tpot_s` over a grid, a point", 1e6 * interval("tpot_s"), "us", ""),
        ("interval of `tokens_per_s`, prefill in it, a point", 1e6 * interval("tokens_per_s"), "us", ""),
    ]
    print("| what | measured | budget |\n| --- | ---: | ---: |")
    for what, value, unit, budget in rows:
        print(f"| {what} | {value:.3g} {unit} | {budget} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", help="folder of another checkout, to be measured in turn with this one")
    parser.add_argument("--sweep", choices=SWEEPS, help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--fresh", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.small:
        small_sweep()
    elif asked.sweep:
        print(core_ns(asked.sweep, asked.fresh))
    else:
        main()
        print()
        sweeps(asked.against)
