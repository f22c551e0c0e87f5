"""Many operators over a block of points in one go: the loop behind a sweep.

Each operator's loop (see :mod:`roofline.kernels._loops`) is compiled by itself, and is called here by its address, one
after the other on the same points. Figures of the chip that differ from point to point lie in the scratch, as columns
do; a block is cut in runs of points that share them.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from roofline.kernels import _loops
from roofline.kernels._native import call

Scratch: TypeAlias = np.ndarray  # of float64, flat
Places: TypeAlias = np.ndarray  # of int64

ROW = _loops.ROW

#: What a step of a program says, in order: where the loop is; where the operator's part of the tables of numbers, of
#: values and of places begins; where the row is that says how often it runs, or -1; and which of the pairs of a number
#: and the row that it comes from are its own, from the first to before the last.
FIELDS = ("address", "numbers", "values", "places", "times_place", "pairs", "pairs_end")
ADDRESS, NUMBERS, VALUES, PLACES, TIMES_PLACE, PAIRS, PAIRS_END = range(len(FIELDS))
STEP = len(FIELDS)


def run(
    scratch: Scratch,
    numbers: Scratch,
    values: Scratch,
    places: Places,
    times: Scratch,
    steps: Places,
    pairs: Places,
    operators: int,
    runs: int,
    length: int,
) -> None:
    """Add up the costs of operators at `runs` runs of `length` points each, all of whose chip figures are alike."""
    for own in range(runs):
        first = own * length
        for i in range(operators):
            step = i * STEP
            for pair in range(steps[step + PAIRS], steps[step + PAIRS_END]):
                numbers[pairs[2 * pair]] = scratch[pairs[2 * pair + 1] * ROW + first]
            call(
                steps[step + ADDRESS],
                scratch,
                first,
                numbers,
                steps[step + NUMBERS],
                values,
                steps[step + VALUES],
                places,
                steps[step + PLACES],
                times[i],
                steps[step + TIMES_PLACE],
                length,
            )
