"""The operators of a group as a program: what the compiled loop behind a sweep is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from roofline.kernels import _jit, programs
from roofline.kernels.programs import STEP


class Program:
    """Operators whose costs one call adds up over a block of points.

    Parameters
    ----------
    plans : sequence
        How to cost each, with a loop that adds up.
    place : callable
        Row of the scratch that an array is copied to.
    """

    def __init__(self, plans: Sequence[Any], place: Callable[[Any], int]) -> None:
        self._loop = _jit.step(programs.run)
        self._numbers = _joined([plan.numbers for plan in plans], float)
        values, places = (_joined([getattr(plan, name) for plan in plans], kind)
                          for name, kind in (("values", float), ("places", np.int64)))  # fmt: skip
        times = np.array([plan.times for plan in plans], dtype=float)
        steps = np.zeros((len(plans), STEP), dtype=np.int64)
        pairs: list[tuple[int, int]] = []
        number = column = 0
        for step, plan in zip(steps, plans, strict=True):
            begun = len(pairs)
            pairs += [(number + i, place(plan.alone[i])) for i in plan.varied]
            step[:] = plan.loop.address, number, column, column, plan.times_place, begun, len(pairs)
            number, column = number + len(plan.numbers), column + len(plan.places)
        self._operators, self._varied = len(plans), bool(pairs)
        self._tables = values, places, times, steps, np.array([*pairs, (0, 0)], dtype=np.int64)
        self._addresses = tuple(table.ctypes.data for table in self._tables)

    def run(self, scratch: int, runs: int, length: int) -> None:
        """Add up the costs in the scratch at an address, at `runs` runs of points, each of one chip."""
        numbers = self._numbers.copy() if self._varied else self._numbers
        values, places, times, steps, pairs = self._addresses
        self._loop(
            scratch, numbers.ctypes.data, values, places, times, steps, pairs, self._operators, runs, length
        )  # fmt: skip


def _joined(tables: Sequence[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate([*tables, np.zeros(1)]).astype(kind)
