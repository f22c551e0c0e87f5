"""Many operators over a grid in one go: the loop behind a sweep.

A grid is worked through part by part. The columns of a part are gathered into the scratch (see
:mod:`roofline.kernels._loops`); each operator's loop, which is compiled by itself, is called there by its address; and
the sums are written out. Figures of the chip that differ from point to point lie in the scratch, as columns do: a part
is cut in runs of points that share them.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from roofline.kernels import _loops
from roofline.kernels._jit import inner
from roofline.kernels._native import address_of, call
from roofline.kernels.sums import finish

Scratch: TypeAlias = np.ndarray  # of float64, flat
Codes: TypeAlias = np.ndarray  # of uint8
Places: TypeAlias = np.ndarray  # of int64

ROW = _loops.ROW
SUMS, FREE = _loops.SUMS, _loops.FREE

#: What a step of a program says, in order: where the loop is; where the operator's part of the tables of numbers, of
#: values and of places begins; where the row is that says how often it runs, or -1; and which of the pairs of a number
#: and the row that it comes from are its own, from the first to before the last.
FIELDS = ("address", "numbers", "values", "places", "times_place", "pairs", "pairs_end")
ADDRESS, NUMBERS, VALUES, PLACES, TIMES_PLACE, PAIRS, PAIRS_END = range(len(FIELDS))
STEP = len(FIELDS)

#: What is said of an array to be gathered: the row that it comes to, 1 where it is added to what is there, its address
#: and, in numbers, how far apart neighbours along each axis lie.
ROW_OF, ADDED, SOURCE, STRIDES = range(4)

#: What becomes of the sums of a part.
LEAVE, KEEP, FINISH = range(3)


@inner
def add_up(
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
            address, times_place = steps[step + ADDRESS], steps[step + TIMES_PLACE]
            number, value, place = steps[step + NUMBERS], steps[step + VALUES], steps[step + PLACES]
            often, size = times[i], length
            call(address, scratch, first, numbers, number, values, value, places, place, often, times_place, size)


@inner
def gather(scratch: Scratch, said: Places, about: int, begins: Places, part: int, axes: int) -> None:
    """Copy or add what an array holds at a part of the grid to its row of the scratch.

    The part's first point and its length along each axis stand in `begins` from `part` on.
    """
    source, to = address_of(said[about + SOURCE]), said[about + ROW_OF] * ROW
    added, strides, lengths = said[about + ADDED] > 0, about + STRIDES, part + axes
    stride, length = said[strides + axes - 1], begins[lengths + axes - 1]
    rows, start = 1, begins[part + axes - 1] * stride
    for axis in range(axes - 1):
        rows *= begins[lengths + axis]
        start += begins[part + axis] * said[strides + axis]
    for row in range(rows):
        at, left = start, row
        for axis in range(axes - 2, -1, -1):
            at += left % begins[lengths + axis] * said[strides + axis]
            left //= begins[lengths + axis]
        if added:
            for p in range(length):
                scratch[to + p] += source[at + p * stride]
        elif stride == 0:
            value = source[at]
            for p in range(length):
                scratch[to + p] = value
        elif stride == 1:
            for p in range(length):
                scratch[to + p] = source[at + p]
        else:
            for p in range(length):
                scratch[to + p] = source[at + p * stride]
        to += length


@inner
def keep(scratch: Scratch, out: Scratch, whole: int, first: int, size: int) -> None:
    """Write the sums of a part, from point `first` on, of arrays of `whole` points one after the other."""
    for row in range(FREE - SUMS):
        for p in range(size):
            out[row * whole + first + p] = scratch[(SUMS + row) * ROW + p]


def run(
    scratch: Scratch,
    numbers: Scratch,
    values: Scratch,
    places: Places,
    times: Scratch,
    steps: Places,
    pairs: Places,
    operators: int,
    said: Places,
    arrays: int,
    parts: Places,
    first_part: int,
    last_part: int,
    axes: int,
    apart: int,
    begun: int,
    end: int,
    whole: int,
    scale: float,
    scale_place: int,
    merged: int,
    lower: Scratch,
    time: Scratch,
    upper: Scratch,
    codes: Codes,
    first: int,
) -> None:
    """Sums of operators over parts of a grid.

    Parameters
    ----------
    scratch
        Of this thread.
    numbers, values, places, times, steps, pairs, operators
        The program; see :data:`FIELDS`.
    said, arrays
        What is gathered for each part, and how much; see :data:`STRIDES`.
    parts, first_part, last_part, axes
        The parts, of which this is to work through some: first point, then length, along each axis.
    apart : int
        Along how many of the last axes the figures of the chip are alike.
    begun : int
        1 where the sums stand in the scratch or among what is gathered, else they begin with nothing.
    end : int
        What becomes of the sums: :data:`LEAVE`, :data:`KEEP` or :data:`FINISH`.
    whole, lower, first
        To keep them: how many points they are, where they go, and the first point.
    scale, scale_place, merged, lower, time, upper, codes, first
        To finish them: as for :func:`roofline.kernels.sums.finish`.
    """
    for i in range(first_part, last_part):
        part = i * 2 * axes
        size = length = 1
        for axis in range(axes):
            size *= parts[part + axes + axis]
            length *= parts[part + axes + axis] if axis >= axes - apart else 1
        if begun == 0:
            for row in range(SUMS, FREE):
                for p in range(size):
                    scratch[row * ROW + p] = 0.0
        for array in range(arrays):
            gather(scratch, said, array * (STRIDES + axes), parts, part, axes)
        add_up(scratch, numbers, values, places, times, steps, pairs, operators, size // length, length)
        if end == KEEP:
            keep(scratch, lower, whole, first, size)
        elif end == FINISH:
            finish(scratch, scale, scale_place, merged, lower, time, upper, codes, first, size)
        first += size
