"""Random sound and broken inputs on every front, as many as asked; what broke is printed, minimised.

    python benchmarks/fuzz.py --cases 100000 --seed 7
    python benchmarks/fuzz.py --front descriptors --front operators --cases 2000

The fronts and what must hold on each are those of ``tests/fronts.py``. Cases run in batches, each with a seed of its
own that a failure is printed with: ``--front NAME --seed THAT --cases 1`` runs that batch again. A warning counts as a
failure. Exit code 1 when anything broke.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed as seeded, settings
from hypothesis.errors import HypothesisWarning

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fronts import FRONTS

#: Bytes of memory that a process may take: a case that wants more fails, and not the machine.
MEMORY = 4 * 2**30

#: Cases that share a seed: enough for Hypothesis to vary what it draws, few enough to be run again.
BATCH = 500


def bounded() -> None:
    """Keep this process from taking more than :data:`MEMORY`, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(task: tuple[str, int]) -> tuple[str, int, int, float, str, str]:
    """One batch: (front, seed, cases, seconds of processor time, where it broke, the minimised case)."""
    name, seed = task
    front, count = FRONTS[name], 0

    @seeded(seed)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    @given(front.inputs)
    def case(given_input: object) -> None:
        nonlocal count
        count += 1
        front.check(given_input)

    start = time.process_time()
    where = what = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Hypothesis' own, that a case is long to print, would stand in the place of what broke on it.
            warnings.simplefilter("default", HypothesisWarning)
            case()
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        what = "\n".join([f"{type(error).__name__}: {error}"[:1000], *getattr(error, "__notes__", [])])
    return name, seed, count, time.process_time() - start, where, what


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="in all, spread evenly over the fronts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--front", action="append", choices=sorted(FRONTS), help="default: all")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    names = asked.front or list(FRONTS)
    batches = max(1, round(asked.cases / BATCH / len(names)))
    tasks = [(name, asked.seed + i) for i in range(batches) for name in names]
    cases, seconds = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    broken: dict[tuple[str, str], tuple[int, str]] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.workers, mp_context=spawn, initializer=bounded) as pool:
        for done, one in enumerate(as_completed([pool.submit(run, task) for task in tasks]), 1):
            name, seed, count, took, where, what = one.result()
            cases[name] += count
            seconds[name] += took
            if where and (name, where) not in broken:
                broken[name, where] = (seed, what)
                print(f"\nBROKEN {name}: {where} (seed {seed})\n{what}\n", flush=True)
            if done % 20 == 0 or done == len(tasks):
                print(f"{done} of {len(tasks)} batches, {sum(cases.values()):,} cases", file=sys.stderr, flush=True)
    for name in names:
        print(f"{name:>14}: {cases[name]:>9,} cases, {seconds[name]:8.1f} s of processor time")
    print(f"{len(broken)} kinds of failure in {sum(cases.values()):,} cases (seed {asked.seed})")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
