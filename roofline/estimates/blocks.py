"""The costs of many operators added up over a grid, block by block.

A phase of arrays asks for sums over its operators, not for the cost of each. So nothing is kept an operator: its costs
on a block of points go into a scratch that fits a core's own cache, are added to the sums there, and the next operator
overwrites them. Operators are grouped by the axes that they vary along: one that varies along a single axis of a grid
is costed on that axis alone, and its sums are spread over the others.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roofline.base import cpus
from roofline.estimates import grids
from roofline.estimates.grids import Part
from roofline.kernels import _jit, _loops, sums

#: Points from which on more than one thread is worth starting; below, whoever asks may run threads of its own.
MANY = 2**18

#: Points in a row that do not share the figures of a varied chip, from which on a block has only one set of them.
LONG = _loops.POINTS // 4

_LOWER, _TIME, _UPPER = range(_loops.SUMS, _loops.SUMS + 3)
_TIMES = range(_loops.SUMS, _loops.FREE)
_COSTS = slice(_loops.COST, _loops.TEMP)


@dataclass
class Job:
    """One operator, bound to a chip, and what it adds to.

    Attributes
    ----------
    function : callable
        Its kernel.
    own, others : tuple
        The kernel's arguments: the operator's own, and those of the chip. Floats and float64 arrays.
    count : float or ndarray
        How often it runs.
    extras : sequence of (int, callable)
        Further sums: which one, and what the operator adds to it, given its costs on a part of the grid.
    """

    function: Callable[..., Any]
    own: tuple[Any, ...]
    others: tuple[Any, ...]
    count: Any
    extras: Sequence[tuple[int, Callable[[np.ndarray, Part], Any]]] = ()
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.shape = np.broadcast_shapes(*(a.shape for a in self.arrays()))

    def arrays(self) -> list[np.ndarray]:
        """The arrays among the arguments and the count."""
        return [a for a in (*self.own, *self.others, self.count) if isinstance(a, np.ndarray)]


class _Scratch(threading.local):
    """A thread's own scratch, kept from block to block and from phase to phase."""

    flat = np.empty(0)

    def rows(self, count: int) -> np.ndarray:
        """At least so many rows of points; what they hold is left over from before."""
        if self.flat.size < count * _loops.ROW:
            self.flat = np.zeros(count * _loops.ROW)
        return self.flat.reshape(-1, _loops.ROW)


_SCRATCH = _Scratch()


class _Group:
    """Operators that vary along the same axes, ready to be costed on any part of them."""

    def __init__(self, jobs: Sequence[Job], shape: tuple[int, ...], extras: int, merged: bool) -> None:
        self.jobs, self.shape, self.extras, self.merged = jobs, shape, extras, merged
        self.first = _loops.FREE + extras  # row of the first column
        self.columns: list[np.ndarray] = []
        known: dict[int, int] = {}
        size = math.prod(shape)
        self.inner = self._inner()
        self.plans = [self._plan(job, known, size) for job in jobs]
        self.add = sums.add if not _jit.worth_compiling(sums.add, "step", size * len(jobs)) else _jit.step(sums.add)

    def _row(self, value: Any, known: dict[int, int]) -> int:
        """Row of the scratch that an array is copied to, -1 for a number."""
        if not isinstance(value, np.ndarray):
            return -1
        if id(value) not in known:
            known[id(value)] = self.first + len(self.columns)
            self.columns.append(value)
        return known[id(value)]

    def _plan(self, job: Job, known: dict[int, int], size: int) -> tuple[Any, ...]:
        rows = np.array([self._row(a, known) for a in job.own], dtype=np.int64)
        values = np.array([0.0 if isinstance(a, np.ndarray) else a for a in job.own], dtype=float)
        varied = [i for i, a in enumerate(job.others) if isinstance(a, np.ndarray)]
        numbers = np.array([0.0 if isinstance(a, np.ndarray) else a for a in job.others], dtype=float)
        count = -1.0 if isinstance(job.count, np.ndarray) else float(job.count)
        alike = not varied or self.inner >= LONG or size == 1
        loop = _jit.block(job.function, len(job.own), size) if alike else None
        return job, loop, numbers, values, rows, varied, count, self._row(job.count, known)

    def parts(self) -> Iterable[Part]:
        """The grid in blocks, in each of which a varied chip has one set of figures if its rows of points are long."""
        return grids.parts(self.shape, min(_loops.POINTS, self.inner) if self.inner >= LONG else _loops.POINTS)

    def _inner(self) -> int:
        """Points in a row that share the figures of the chip."""
        figures = [a.shape for job in self.jobs for a in job.others if isinstance(a, np.ndarray)]
        varied = np.broadcast_shapes(*figures)[::-1]
        apart = next((i for i, n in enumerate(varied) if n > 1), len(self.shape))
        return math.prod(self.shape[len(self.shape) - apart :])

    def cost(self, part: Part, start: Iterable[Any], summed: bool = True) -> np.ndarray:
        """The scratch with the sums of all operators on a part, from what others begin with; or the last one's cost."""
        scratch = _SCRATCH.rows(self.first + len(self.columns))
        shape = tuple(s.stop - s.start for s in part)
        size = math.prod(shape)
        for row, column in enumerate(self.columns, self.first):
            scratch[row, :size].reshape(shape)[...] = column[grids.place(column, part)]
        begin = scratch[_loops.SUMS : self.first, :size].reshape(-1, *shape)
        begin[...] = 0.0
        for values in start:
            begin += values[(slice(None), *grids.place(values[0], part))]
        for plan in self.plans:
            self._cost(plan, scratch, part, shape, size)
            if summed:
                self._add(plan, scratch, part, shape, size)
        return scratch

    def _cost(self, plan: tuple[Any, ...], scratch: np.ndarray, part: Part, shape: tuple[int, ...], size: int) -> None:
        job, loop, numbers, values, rows, varied, *_ = plan
        figures = [job.others[i][grids.place(job.others[i], part)] for i in varied]
        alike = all(figure.size == 1 for figure in figures)
        if figures and alike:
            numbers = numbers.copy()
            numbers[varied] = [figure.item() for figure in figures]
        if loop is not None and alike:
            loop(scratch.reshape(-1), numbers, values, rows, size)
        else:
            own = [value if row < 0 else scratch[row, :size] for row, value in zip(rows, values.tolist(), strict=True)]
            others = numbers.tolist()
            if not alike:
                for i, figure in zip(varied, figures, strict=True):
                    others[i] = np.broadcast_to(figure, shape).reshape(-1)
            run = _jit.plainly if alike else _jit.evaluate
            scratch[_COSTS, :size] = run(job.function, [*own, *others], size)

    def _add(self, plan: tuple[Any, ...], scratch: np.ndarray, part: Part, shape: tuple[int, ...], size: int) -> None:
        job, *_, count, counts = plan
        if self.add is sums.add:
            _add_plainly(scratch, count if counts < 0 else scratch[counts, :size], size)
        else:
            self.add(scratch.reshape(-1), count, counts, size)
        for row, extra in job.extras:
            costs = scratch[_COSTS, :size].reshape(-1, *shape)
            times = count if counts < 0 else scratch[counts, :size].reshape(shape)
            scratch[_loops.FREE + row, :size].reshape(shape)[...] += times * extra(costs, part)


@dataclass
class Sums:
    """What operators add up to; arrays of one shape. Times in s."""

    lower_s: np.ndarray
    time_s: np.ndarray
    upper_s: np.ndarray
    bound_codes: np.ndarray
    time_by_bound: np.ndarray | None
    extras: np.ndarray


def total(jobs: Sequence[Job], scale: Any, extras: int, by_bound: bool, merged: bool) -> Sums:
    """Add up the costs of operators, at least one of which, or `scale`, varies.

    Parameters
    ----------
    jobs : sequence of Job
    scale : float or ndarray
        What the times are multiplied by in the end; the further sums are not.
    extras : int
        How many further sums there are.
    by_bound : bool
        Whether to keep the time that each resource bounds.
    merged : bool
        Whether cache and main memory are one level.
    """
    shape = np.broadcast_shapes(np.shape(scale), *(job.shape for job in jobs))
    groups: dict[tuple[int, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault((1,) * (len(shape) - len(job.shape)) + job.shape, []).append(job)
    whole = _Group(groups.pop(shape, []), shape, extras, merged)
    start = [_apart(own, size, extras, merged) for size, own in groups.items()]
    rows = len(_TIMES) + extras

    out = Sums(
        np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape, np.uint8),
        np.empty((sums.BOUNDS, *shape)) if by_bound else None, np.empty((extras, *shape)),
    )  # fmt: skip
    lead = _jit.step(sums.lead) if _jit.worth_compiling(sums.lead, "step", out.lower_s.size) else None

    def fill(part: Part) -> None:
        scratch = whole.cost(part, start)
        size_of = tuple(s.stop - s.start for s in part)
        size = math.prod(size_of)
        found = scratch[_loops.SUMS : _loops.SUMS + rows, :size].reshape(rows, *size_of)
        factor = scale[grids.place(scale, part)] if isinstance(scale, np.ndarray) else scale
        np.multiply(found[0], factor, out=out.lower_s[part])
        np.multiply(found[1], factor, out=out.time_s[part])
        np.multiply(found[2], factor, out=out.upper_s[part])
        if lead is None:
            codes = _lead_plainly(scratch, merged, size)
        else:
            codes = np.empty(size, np.uint8)
            lead(scratch.reshape(-1), codes, int(merged), size)
        out.bound_codes[part] = codes.reshape(size_of)
        if out.time_by_bound is not None:
            np.multiply(found[3:8], factor, out=out.time_by_bound[(slice(None), *part)])
        out.extras[(slice(None), *part)] = found[8:]

    _each(list(whole.parts()), fill, out.lower_s.size)
    return out


def costs(job: Job) -> np.ndarray:
    """The quantities of one operator that varies, [quantity, *shape]."""
    out = np.empty((_loops.TEMP - _loops.COST, *job.shape))
    group = _Group([job], job.shape, 0, merged=False)

    def fill(part: Part) -> None:
        scratch = group.cost(part, (), summed=False)
        here = out[(slice(None), *part)]
        here[...] = scratch[_COSTS, : here[0].size].reshape(here.shape)

    _each(list(group.parts()), fill, out[0].size)
    return out


def _apart(jobs: Sequence[Job], shape: tuple[int, ...], extras: int, merged: bool) -> np.ndarray:
    """All sums of operators that vary along some of the axes only, [sum, *shape]."""
    group = _Group(jobs, shape, extras, merged)
    rows = len(_TIMES) + extras
    out = np.empty((rows, *shape))
    for part in group.parts():
        size_of = tuple(s.stop - s.start for s in part)
        scratch = group.cost(part, ())
        out[(slice(None), *part)] = scratch[_loops.SUMS : _loops.SUMS + rows, : math.prod(size_of)].reshape(
            rows, *size_of
        )
    return out


def _each(parts: list[Part], fill: Callable[[Part], None], size: int) -> None:
    """Fill every part; a large grid by several threads, each a range of the parts."""
    threads = min(cpus.available(), size // (MANY // 2))
    if threads < 2:
        for part in parts:
            fill(part)
        return
    edges = [len(parts) * i // threads for i in range(threads + 1)]

    def run(first: int, last: int) -> None:
        for part in parts[first:last]:
            fill(part)

    with ThreadPoolExecutor(threads) as pool:  # the compiled loops give the interpreter's lock back
        list(pool.map(run, edges[:-1], edges[1:]))


# In plain numpy, where compiling would take longer -------------------------------------------------------------------


def _add_plainly(scratch: np.ndarray, times: Any, size: int) -> None:
    """What :func:`roofline.kernels.sums.add` does."""
    cost = scratch[_COSTS, :size]
    total = scratch[_loops.SUMS : _loops.FREE, :size]
    time_s = times * cost[7]
    total[0] += times * cost[6]
    total[1] += time_s
    total[2] += times * cost[8]
    total[3:] += np.where(np.arange(sums.BOUNDS)[:, None] == np.argmax(busy(cost), axis=0), time_s, 0.0)


def busy(cost: Any) -> Any:
    """Busy times (s) of compute, memory, cache, network and overhead, as far as each can bound an operator.

    Without FLOP there is nothing to compute: cycles that cores spend all the same (to begin a row) are overhead, and so
    is, for want of another word, what takes no time at all.
    """
    compute, memory, cache, network, overhead = cost[9:]
    without = cost[0] + cost[1] == 0
    starting = np.where(without, np.maximum(overhead + compute, sums.INSTANT), overhead)
    return np.stack(np.broadcast_arrays(np.where(without, 0.0, compute), memory, cache, network, starting))


def _lead_plainly(scratch: np.ndarray, merged: bool, size: int) -> np.ndarray:
    """What :func:`roofline.kernels.sums.lead` does."""
    times = scratch[_loops.SUMS + 3 : _loops.FREE, :size]
    if merged:
        times[1] += times[2]
        times[2] = 0.0
    return np.asarray(np.argmax(times, axis=0))
