"""The operators of a group as a program: what the compiled loop behind a sweep is told of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from roofline.estimates.grids import Part
from roofline.kernels import _jit, _loops, programs
from roofline.kernels.programs import STEP, STRIDES

_SUMS = _loops.FREE - _loops.SUMS


class Program:
    """Operators whose costs one call adds up over the parts of a grid.

    Parameters
    ----------
    plans : sequence
        How to cost each, with a loop that adds up.
    shape : tuple of int
        Of the grid.
    apart : int
        Along how many of its last axes no figure of a chip differs.
    place : callable
        Row of the scratch that an array is copied to.
    """

    def __init__(self, plans: Sequence[Any], shape: tuple[int, ...], apart: int, place: Callable[[Any], int]) -> None:
        self._loop = _jit.step(programs.run)
        self._shape, self._apart = shape, apart
        self._numbers = _joined([plan.numbers for plan in plans], float)
        values, places = (
            _joined([getattr(plan, name) for plan in plans], kind)
            for name, kind in (("values", float), ("places", np.int64))
        )
        times = np.array([plan.times for plan in plans], dtype=float)
        steps = np.zeros((len(plans), STEP), dtype=np.int64)
        pairs: list[tuple[int, int]] = []
        number = column = 0
        for step, plan in zip(steps, plans, strict=True):
            begun = len(pairs)
            pairs += [(number + i, place(plan.alone[i])) for i in plan.varied]
            step[:] = plan.loop.address, number, column, column, plan.times_place, begun, len(pairs)
            number, column = number + len(plan.numbers), column + len(plan.places)
        self._varied = bool(pairs)
        self._tables = values, places, times, steps, np.array([*pairs, (0, 0)], dtype=np.int64)
        self._program = (*(table.ctypes.data for table in self._tables), len(plans))

    def add(self, scratch: int, part: Part) -> None:
        """Add up the costs in the scratch at an address, where the columns of a part stand already."""
        self._run(scratch, sides([part]), (0, 1), (), 1, programs.LEAVE)

    def keep(self, scratch: int, parts: Sequence[Part], columns: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """All sums over all parts, [sum, *shape]; `columns` are the rows of the scratch and what comes to each."""
        out = np.empty((_SUMS, *self._shape))
        self._run(
            scratch,
            sides(parts),
            (0, len(parts)),
            columns,
            0,
            programs.KEEP,
            whole=math.prod(self._shape),
            lower=out.ctypes.data,
        )
        return out

    def finish(
        self,
        scratch: int,
        parts: np.ndarray,
        some: tuple[int, int],
        columns: Sequence[tuple[int, np.ndarray]],
        start: Sequence[np.ndarray],
        **ending: Any,
    ) -> None:
        """Sums over some of the parts, on top of what others begin with, finished; see :func:`programs.run`.

        Parameters
        ----------
        scratch : int
            Its address.
        parts : ndarray
            All of the grid's, from :func:`sides`.
        some : (int, int)
            The first of those that are asked for, and the one after the last.
        columns : sequence of (int, ndarray)
            Rows of the scratch, and what comes to each.
        start : sequence of ndarray
            What the sums begin with, each [sum, *shape].
        **ending
            `scale`, `scale_place` and `merged`, and the addresses of `lower`, `time`, `upper` and `codes`.
        """
        begins = [(_loops.SUMS + row, values[row]) for values in start for row in range(_SUMS)]
        first = int(parts[: some[0], 1].prod(axis=1).sum())
        self._run(scratch, parts, some, [*begins, *columns], int(bool(start)), programs.FINISH, first=first, **ending)

    def _run(
        self,
        scratch: int,
        parts: np.ndarray,
        some: tuple[int, int],
        columns: Sequence[tuple[int, np.ndarray]],
        begun: int,
        end: int,
        whole: int = 0,
        scale: float = 1.0,
        scale_place: int = -1,
        merged: int = 0,
        lower: int = 0,
        time: int = 0,
        upper: int = 0,
        codes: int = 0,
        first: int = 0,
    ) -> None:
        numbers = self._numbers.copy() if self._varied else self._numbers  # what varies is written there
        axes = parts.shape[-1]
        said = np.zeros((len(columns) + 1, STRIDES + axes), dtype=np.int64)
        seen: set[int] = set()
        for (row, array), about in zip(columns, said, strict=False):
            steps = np.broadcast_to(array, self._shape).strides
            about[:STRIDES] = row, row in seen, array.ctypes.data
            about[STRIDES + axes - len(steps) :] = np.array(steps, dtype=np.int64) // array.itemsize
            seen.add(row)
        self._loop(
            scratch,
            numbers.ctypes.data,
            *self._program,
            said.ctypes.data,
            len(columns),
            parts.ctypes.data,
            *some,
            axes,
            self._apart,
            begun,
            end,
            whole,
            scale,
            scale_place,
            merged,
            lower,
            time,
            upper,
            codes,
            first,
        )


def sides(parts: Sequence[Part]) -> np.ndarray:
    """Parts as the loop takes them: [part, first point or length, axis], with an axis where a grid has none."""
    sides = [[[side.start for side in part] or [0], [side.stop - side.start for side in part] or [1]] for part in parts]
    return np.array(sides, dtype=np.int64)


def _joined(tables: Sequence[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate([*tables, np.zeros(1)]).astype(kind)
