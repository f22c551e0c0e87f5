"""Loops that a processor is measured with: streams, lookups, norms, softmax, attention over a cache of keys.

Not part of the model: these *do* the work whose cost the kernels beside this package predict. Arrays in, arrays out.
Importing a module of this package imports numba, which is why it is a package of its own: the model's kernels are
imported by name and must start without a compiler.

Every loop cuts its work into `threads` equal parts, one a thread. The parts run helpers that see plain slices: a
compiler that knows an index to start at zero turns the loop into vector instructions.
"""

from __future__ import annotations

import os
from typing import Any

# Threads that sleep between two loops are woken in tens of microseconds on a virtual machine, threads that spin lose
# whole time slices as soon as another process wants their core. So they spin for about a millisecond: from one operator
# to the next, as the threads of an inference engine do. Only before the threads start is this heard.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "100000")

import numba


def part(function: Any) -> Any:
    """Compile a helper that one thread runs."""
    return numba.njit(nogil=True, fastmath={"nsz", "arcp", "contract", "afn", "reassoc"})(function)


def loop(function: Any) -> Any:
    """Compile a parallel loop; kept on disk where that can be written."""
    options: dict[str, Any] = {"parallel": True, "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it
        return numba.njit(**options)(function)


def use_threads(count: int) -> int:
    """Run the loops on `count` threads, or as many as there are; returns how many."""
    count = max(1, min(count, int(numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]
    numba.set_num_threads(count)
    return count


def threading_layer() -> str:
    """What runs the threads, for the record; known once a loop has run."""
    try:
        return str(numba.threading_layer())  # type: ignore[attr-defined]
    except ValueError:
        return "not started"


VERSION: str = numba.__version__
