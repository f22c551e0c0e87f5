"""How long the answers of a study take: ``python benchmarks/answers.py``. Prints a Markdown table.

Process time, the second of two runs: nothing is compiled any more. Machines are shared, so compare figures of one run.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import roofline as rl
from roofline.study.frontiers import unbeaten

POINTS = 2_000_000


def core_s(function: Callable[[], object]) -> float:
    function()
    start = time.process_time()
    function()
    return time.process_time() - start


def scattered(objectives: int) -> np.ndarray:
    """Points all over the cube: few of them are on the frontier."""
    return np.random.default_rng(objectives).random((POINTS, objectives))


def trading(objectives: int, points: int) -> np.ndarray:
    """Points that trade one objective for another: all of them are on the frontier."""
    drawn = np.random.default_rng(objectives).standard_exponential((points, objectives))
    found: np.ndarray = drawn / drawn.sum(axis=1, keepdims=True)
    return found


def main() -> None:
    rows: list[tuple[str, Callable[[], object]]] = []
    for k in (2, 3, 4, 5):
        rows.append((f"frontier of {POINTS:,} points, {k} objectives", lambda k=k: unbeaten(scattered(k))))  # type: ignore[misc]
    for k, points in ((2, POINTS), (3, POINTS), (4, POINTS // 10)):
        rows.append(
            (
                f"the same, all {points:,} of them unbeaten, {k} objectives",
                lambda k=k, n=points: unbeaten(trading(k, n)),
            )  # type: ignore[misc]
        )
    llama, bandwidth = "llama-3.1-8b", "memory.main.bandwidth"
    est, chips = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=64), ["artemis", "mtia-v1", "h100-sxm"]
    vary, limit = {bandwidth: ("x0.5", "x4"), "batch": (1, 256)}, {"tpot_s": (None, 0.1)}
    rows += [
        ("solve for a chip's figure", lambda: rl.solve(llama, "mtia-v1", "tpot_s", 0.06, vary=bandwidth)),
        ("solve for the largest batch", lambda: rl.solve(llama, "h100-sxm", "tpot_s", 0.02, vary="batch")),
        ("takeovers along the bandwidth", lambda: rl.takeovers(llama, "h100-sxm", vary=bandwidth)),
        ("explain", lambda: rl.explain(est)),
        ("compare three chips on two models, 256 draws", lambda: rl.compare(chips, ["dlrm-v2", llama])),
        ("indices, first order and total, 512 draws", lambda: rl.indices(llama, "artemis")),
        ("search over two variables", lambda: rl.search(llama, "artemis", vary=vary, subject_to=limit)),
    ]
    print("| what | core seconds |\n| --- | ---: |")
    for what, function in rows:
        print(f"| {what} | {core_s(function):.2g} |", flush=True)


if __name__ == "__main__":
    main()
