"""The costs of many operators added up over a grid, block by block.

A phase of arrays asks for sums over its operators, not for the cost of each. So nothing is kept an operator: its costs
on a block of points go into a scratch that fits a core's own cache, are added to the sums there, and the next operator
overwrites them. Operators are grouped by the axes that they vary along: one that varies along a single axis of a grid
is costed on that axis alone, and its sums are spread over the others.

In a block only some arguments of a kernel vary, its columns (batch, tokens, lengths); the others (widths, figures of
the chip) are one number, and what they alone make is computed once. So axes along which others vary go outside.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from roofline.base import cpus, freed
from roofline.estimates import grids, plainly, programs
from roofline.estimates.grids import Part
from roofline.estimates.programs import Program
from roofline.kernels import _jit, _loops, sums

#: Points of a large grid: more than one thread is worth starting; below, whoever asks may run threads of its own.
MANY = 2**18

#: Points in a row along which only columns vary, from which on a block is made of such points alone; points along an
#: axis from which on a loop of its own is worth compiling where the whole grid is large.
LONG, SIDE = _loops.POINTS // 8, 64

_TIMES = _loops.FREE - _loops.SUMS
_COSTS = slice(_loops.COST, _loops.TEMP)

#: A figure of the chip -> what it is at the points at hand.
At: TypeAlias = Callable[[Any], Any]

#: What an operator adds to a further sum: from its costs, and the figures of the chip, at the points at hand.
Extra: TypeAlias = Callable[[np.ndarray, At], Any]


@dataclass(frozen=True)
class Spread:
    """An operator's error in seconds, as a further sum: in a compiled loop where enough points ask for it.

    Attributes
    ----------
    plainly : callable
        The same from costs and figures.
    figures : tuple
        What :func:`roofline.kernels.sums.add_error` takes, numbers and arrays.
    """

    plainly: Extra
    figures: tuple[Any, ...]

    def __call__(self, costs: np.ndarray, at: At) -> Any:
        """The error of one call."""
        return self.plainly(costs, at)


@dataclass
class Job:
    """One operator, bound to a chip, and what it adds to.

    Attributes
    ----------
    function : callable
        Its kernel.
    arguments : tuple
        The kernel's arguments: floats and float64 arrays.
    count : float or ndarray
        How often it runs.
    extras : list of (int, callable)
        Further sums: which one, and what the operator adds to it, once.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    count: Any
    extras: list[tuple[int, Extra]] = field(default_factory=list)

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """What arguments and count broadcast to."""
        arrays = (a for a in (*self.arguments, self.count) if isinstance(a, np.ndarray))
        return np.broadcast_shapes(*(a.shape for a in arrays))

    @property
    def spread(self) -> Spread | None:
        """The only further sum that it adds to, where that is one of errors."""
        only = self.extras[0][1] if len(self.extras) == 1 else None
        return only if isinstance(only, Spread) else None

    @functools.cached_property
    def alone(self) -> list[Any]:
        """The arguments that are no columns of a block."""
        return [a for a, column in zip(self.arguments, _jit.are_columns(self.function), strict=True) if not column]


@dataclass
class Sums:
    """What operators add up to; arrays of one shape. Times in s."""

    lower_s: np.ndarray
    time_s: np.ndarray
    upper_s: np.ndarray
    bound_codes: np.ndarray
    time_by_bound: np.ndarray | None
    extras: np.ndarray


@dataclass
class Errors:
    """What operators add up to, with the root of the sum of the squares of their classes' errors. Times in s."""

    lower_s: np.ndarray
    time_s: np.ndarray
    error_s: np.ndarray


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
    grid = _Grid(jobs, scale, extras)
    whole, shape, scale, back = grid.whole, grid.shape, grid.scale, grid.axes.back
    lower, time, upper = (np.empty(shape) for _ in range(3))
    codes = np.empty(shape, np.uint8)
    times = np.empty((sums.BOUNDS if by_bound else 0, *shape))
    others = np.empty((extras, *shape))
    factor = 0.0 if isinstance(scale, np.ndarray) else float(scale)
    factors = whole.place(scale)
    if whole.quick and not (by_bound or extras):
        ending = {"lower": lower, "time": time, "upper": upper, "codes": codes}
        whole.finish(grid.start, scale=factor, scale_place=factors, merged=int(merged), **ending)
        return Sums(back(lower), back(time), back(upper), back(codes), None, back(others))

    flat: list[Any] = [array.reshape(-1) for array in (lower, time, upper, codes)]
    finish: Callable[..., None] = plainly.finish
    if _jit.worth_compiling(sums.finish, "step", lower.size):
        finish, flat = _jit.step(sums.finish), [array.ctypes.data for array in flat]

    def fill(part: Part) -> None:
        rows, found = whole.summed(part, grid.start)
        scratch = rows.reshape(-1) if finish is plainly.finish else _SCRATCH.address
        first = sum(axis.start * step for axis, step in zip(part, lower.strides, strict=True)) // lower.itemsize
        finish(scratch, factor, factors, int(merged), *flat, first, found[0].size)
        if by_bound:
            times[(slice(None), *part)] = found[3:_TIMES] * grid.scale_on(part)
        others[(slice(None), *part)] = found[_TIMES:]

    _each(whole.parts(), fill, lower.size)
    return Sums(back(lower), back(time), back(upper), back(codes), back(times) if by_bound else None, back(others))


def errors(jobs: Sequence[Job], scale: Any, classes: int) -> Errors:
    """Add up times and, for each of some classes of operators, errors: each job's only further sum, by class.

    Parameters
    ----------
    jobs, scale
        As for :func:`total`.
    classes : int
        How many classes there are.
    """
    grid = _Grid(jobs, scale, classes, errors=True)
    lower, time, error = (np.empty(grid.shape) for _ in range(3))

    def fill(part: Part) -> None:
        _, found = grid.whole.summed(part, grid.start)
        here = grid.scale_on(part)
        np.multiply(found[0], here, out=lower[part])
        np.multiply(found[1], here, out=time[part])
        np.multiply(np.sqrt(np.square(found[_TIMES:]).sum(axis=0)), here, out=error[part])

    _each(grid.whole.parts(), fill, lower.size)
    return Errors(*map(grid.axes.back, (lower, time, error)))


def costs(job: Job) -> np.ndarray:
    """The quantities of one operator that varies, [quantity, *shape]."""
    axes = _Axes([job], job.shape)
    group = _Group([axes.moved(job)], axes.shape, 0, axes, math.prod(axes.shape), summed=False)
    out = np.empty((_loops.TEMP - _loops.COST, *axes.shape))

    def fill(part: Part) -> None:
        here = out[(slice(None), *part)]
        here[...] = group.only(part)

    _each(group.parts(), fill, out[0].size)
    return axes.back(out)


class _Grid:
    """Operators over a grid: those that vary along all of its axes, and what all others begin with."""

    def __init__(self, jobs: Sequence[Job], scale: Any, extras: int, errors: bool = False) -> None:
        freed.keep()
        shape = np.broadcast_shapes(np.shape(scale), *(job.shape for job in jobs))
        self.axes = _Axes(jobs, shape)
        self.shape, self.scale = self.axes.shape, self.axes.of(scale)
        groups: dict[tuple[int, ...], list[Job]] = {}
        for job in (self.axes.moved(job) for job in jobs):
            groups.setdefault((1,) * (len(shape) - len(job.shape)) + job.shape, []).append(job)
        made = functools.partial(_Group, extras=extras, axes=self.axes, whole=math.prod(self.shape), errors=errors)
        self.whole = made(groups.pop(self.shape, []), self.shape)
        self.start = grids.together([made(own, lesser).kept() for lesser, own in groups.items()])

    def scale_on(self, part: Part) -> Any:
        """What times are multiplied by on a part."""
        return self.scale[grids.place(self.scale, part)] if isinstance(self.scale, np.ndarray) else self.scale


class _Axes:
    """The axes of a grid in another order: first those along which more than columns vary."""

    def __init__(self, jobs: Sequence[Job], shape: tuple[int, ...]) -> None:
        alone = [a.shape for job in jobs for a in job.alone if isinstance(a, np.ndarray)]
        varied = np.broadcast_shapes((1,) * len(shape), *alone)
        self.order = sorted(range(len(shape)), key=lambda axis: varied[axis] == 1)
        self.shape = tuple(shape[axis] for axis in self.order)
        self._same = self.order == list(range(len(shape)))
        self._moved: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def of(self, value: Any) -> Any:
        """A number as it is, an array with its axes in this order."""
        if self._same or not isinstance(value, np.ndarray):
            return value
        if id(value) not in self._moved:
            full = value.reshape((1,) * (len(self.order) - value.ndim) + value.shape)
            self._moved[id(value)] = value, full.transpose(self.order)
        return self._moved[id(value)][1]

    def moved(self, job: Job) -> Job:
        """A job with all its arrays in this order."""
        if self._same:
            return job
        return Job(job.function, tuple(self.of(a) for a in job.arguments), self.of(job.count), job.extras)

    def back(self, array: np.ndarray) -> np.ndarray:
        """An array whose last axes are in this order, with them in the order of the grid."""
        if self._same:
            return array
        before = array.ndim - len(self.order)
        return array.transpose([*range(before), *(before + int(axis) for axis in np.argsort(self.order))])


class _Scratch(threading.local):
    """A thread's own scratch, kept from block to block and from phase to phase."""

    flat = np.empty(0)
    address = 0

    def rows(self, count: int) -> np.ndarray:
        """At least so many rows of points; what they hold is left over from before."""
        if self.flat.size < count * _loops.ROW:
            self.flat = np.zeros(count * _loops.ROW)
            self.address = self.flat.ctypes.data
        return self.flat.reshape(-1, _loops.ROW)


_SCRATCH = _Scratch()


class _Plan(NamedTuple):
    """How to cost a job on a block."""

    job: Job
    loop: Any  # compiled, or None
    adds: bool  # whether that adds up the costs: then as one of a program
    alone: list[Any]  # the arguments that are no columns
    numbers: np.ndarray  # the same as numbers
    varied: list[int]  # which of them are arrays after all
    values: np.ndarray  # the columns where they are constant
    places: np.ndarray  # their rows in the scratch, -1 where constant
    times: float  # how often it runs
    times_place: int

    @property
    def adds_itself(self) -> bool:
        """Whether its loop adds up its costs."""
        return self.adds and self.loop is not None


class _Group:
    """Operators that vary along the same axes, ready to be costed on any part of them."""

    def __init__(
        self, jobs: Sequence[Job], shape: tuple[int, ...], extras: int, axes: _Axes, whole: int, *,
        summed: bool = True, errors: bool = False,
    ) -> None:  # fmt: skip
        self.shape, self.axes, self.sums, self.errors = shape, axes, summed, errors
        self.first = _loops.FREE + extras  # row of the first column
        self.columns: list[np.ndarray] = []
        alone = np.broadcast_shapes(*(a.shape for job in jobs for a in job.alone if isinstance(a, np.ndarray)))
        if errors:
            figures = [axes.of(f) for job in jobs if job.spread is not None for f in job.spread.figures]
            alone = np.broadcast_shapes(alone, *(f.shape for f in figures if isinstance(f, np.ndarray)))
        self.apart = next((i for i, n in enumerate(alone[::-1]) if n > 1), len(shape))
        self.inner = math.prod(shape[len(shape) - self.apart :])  # points in a row along which only columns vary
        self._known: dict[int, int] = {}
        size = math.prod(shape)
        # Whoever asks for a large grid has the loops of those that vary along one of its axes compiled, too: for good.
        seen = whole if size >= SIDE and whole >= MANY else size
        plans = [self._plan(job, size, seen) for job in jobs]
        self.plans = [plan for plan in plans if not plan.adds_itself]
        self.compiled = _jit.worth_compiling(sums.add, "step", size)  # in numpy it is fast, too
        # In the operators' order, whatever of them is compiled yet: sums are the same to the last bit.
        self.steps: list[Program | _Plan] = [] if plans or not self.compiled else [self._program([])]
        for itself, run in itertools.groupby(plans, lambda plan: plan.adds_itself):
            several = list(run)
            self.steps += [self._program(several)] if itself else several
        self.add = _jit.step(sums.add) if self.compiled else plainly.add

    def place(self, value: Any) -> int:
        """Row of the scratch that an array is copied to, -1 for a number."""
        if not isinstance(value, np.ndarray):
            return -1
        if id(value) not in self._known:
            self._known[id(value)] = self.first + len(self.columns)
            self.columns.append(value)
        return self._known[id(value)]

    def _plan(self, job: Job, size: int, seen: int) -> _Plan:
        columns = [a for a, own in zip(job.arguments, _jit.are_columns(job.function), strict=True) if own]
        varied = [i for i, a in enumerate(job.alone) if isinstance(a, np.ndarray)]
        form = "summed" if self.sums and not job.extras else "block"
        adds = form == "summed" or (self.errors and job.spread is not None)
        vectors = adds or not varied or self.inner >= LONG or size == 1
        return _Plan(
            job=job,
            loop=_jit.block(job.function, form, seen) if vectors else None,
            adds=adds,
            alone=job.alone,
            numbers=np.array([0.0 if isinstance(a, np.ndarray) else a for a in job.alone], dtype=float),
            varied=varied,
            values=np.array([0.0 if isinstance(a, np.ndarray) else a for a in columns], dtype=float),
            places=np.array([self.place(a) for a in columns], dtype=np.int64),
            times=0.0 if isinstance(job.count, np.ndarray) else job.count,
            times_place=self.place(job.count),
        )

    def _program(self, plans: list[_Plan]) -> Program:
        """What adds up the costs of some operators in one call, and their errors where these are asked for."""
        steps = [step for plan in plans for step in (plan, self._error(plan))] if self.errors else plans
        return Program(steps, self.shape, self.apart, self.place)

    def _error(self, plan: _Plan) -> _Plan:
        """What adds up a job's times and error, after what leaves its costs."""
        ((row, spread),) = plan.job.extras
        figures = [self.axes.of(figure) for figure in spread.figures]  # type: ignore[attr-defined]
        return plan._replace(
            loop=_jit.step(sums.add_error),
            alone=figures,
            numbers=np.array([0.0 if isinstance(f, np.ndarray) else f for f in figures], dtype=float),
            varied=[i for i, f in enumerate(figures) if isinstance(f, np.ndarray)],
            values=np.zeros(1),
            places=np.array([_loops.FREE + row], dtype=np.int64),
        )

    def parts(self) -> list[Part]:
        """The grid in blocks, along each of which only columns vary where such rows of points are long."""
        most = min(_loops.POINTS, self.inner) if self.plans and self.inner >= LONG else _loops.POINTS
        return list(grids.parts(self.shape, most))

    def summed(self, part: Part, start: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The sums of all operators on a part, from what others begin with: rows of the scratch, and [sum, *shape]."""
        rows, shape, size = self._begin(part)
        flat: Any = _SCRATCH.address if self.compiled else rows.reshape(-1)
        found = rows[_loops.SUMS : self.first, :size].reshape(-1, *shape)
        found[...] = 0.0 if not start else start[0][(slice(None), *grids.place(start[0][0], part))]
        for values in start[1:]:
            found += values[(slice(None), *grids.place(values[0], part))]
        for plan in self.steps:
            if isinstance(plan, Program):
                plan.add(_SCRATCH.address, part)
                continue
            self._cost(part, plan, rows, shape, size)
            self.add(flat, plan.times, plan.times_place, size)
            if plan.job.extras:
                cost = rows[_COSTS, :size].reshape(-1, *shape)
                times = plan.times if plan.times_place < 0 else rows[plan.times_place, :size].reshape(shape)
                for row, extra in plan.job.extras:
                    found[_TIMES + row] += times * extra(cost, self._at(part))
        return rows, found

    @property
    def quick(self) -> bool:
        """Whether all operators are in one program."""
        return len(self.steps) == 1 and isinstance(self.steps[0], Program)

    def finish(self, start: Sequence[np.ndarray], **ending: Any) -> None:
        """Write the sums of all operators, on top of what others begin with, as :meth:`Program.finish` says."""
        program, parts = self.steps[0], programs.sides(self.parts())
        assert isinstance(program, Program)
        ending = {name: a.ctypes.data if isinstance(a, np.ndarray) else a for name, a in ending.items()}

        def some(first: int, last: int) -> None:
            _SCRATCH.rows(self.first + len(self.columns))
            program.finish(_SCRATCH.address, parts, (first, last), list(self._columns()), start, **ending)

        cpus.in_threads(len(parts), some, math.prod(self.shape) // (MANY // 2))

    def kept(self) -> np.ndarray:
        """All sums of all operators, [sum, *shape]."""
        program = self.steps[0] if self.quick else None
        if self.first == _loops.FREE and isinstance(program, Program):
            _SCRATCH.rows(self.first + len(self.columns))
            return program.keep(_SCRATCH.address, self.parts(), list(self._columns()))
        out = np.empty((self.first - _loops.SUMS, *self.shape))
        for part in self.parts():
            out[(slice(None), *part)] = self.summed(part, ())[1]
        return out

    def _columns(self) -> Iterable[tuple[int, np.ndarray]]:
        return enumerate(self.columns, self.first)

    def only(self, part: Part) -> np.ndarray:
        """The quantities of the only operator on a part, [quantity, *shape]."""
        rows, shape, size = self._begin(part)
        self._cost(part, self.plans[0], rows, shape, size)
        return rows[_COSTS, :size].reshape(-1, *shape)

    def _cost(self, part: Part, plan: _Plan, rows: np.ndarray, shape: tuple[int, ...], size: int) -> None:
        """Leave the cost of an operator in the scratch."""
        numbers, alike, figures = plan.numbers, True, []
        if plan.varied:
            figures = [plan.alone[i][grids.place(plan.alone[i], part)] for i in plan.varied]
            alike = all(figure.size == 1 for figure in figures)
            if alike:
                numbers = numbers.copy()
                numbers[plan.varied] = [figure.item() for figure in figures]
        if plan.loop is not None and alike:
            tables = (table.ctypes.data for table in (numbers, plan.values, plan.places))
            plan.loop(_SCRATCH.address, *tables, plan.times, plan.times_place, size)
            return
        others: list[Any] = numbers.tolist()
        if not alike:
            for i, figure in zip(plan.varied, figures, strict=True):
                others[i] = np.broadcast_to(figure, shape).reshape(-1)
        columns = [
            value if place < 0 else rows[place, :size]
            for value, place in zip(plan.values.tolist(), plan.places.tolist(), strict=True)
        ]
        sources = [columns if own else others for own in _jit.are_columns(plan.job.function)]
        run = _jit.plainly if alike else _jit.evaluate
        rows[_COSTS, :size] = run(plan.job.function, [source.pop(0) for source in sources], size)

    def _begin(self, part: Part) -> tuple[np.ndarray, tuple[int, ...], int]:
        """The scratch with all columns of a part, the part's shape and its size."""
        shape = tuple([axis.stop - axis.start for axis in part])
        size = math.prod(shape)
        rows = _SCRATCH.rows(self.first + len(self.columns))
        for row, column in enumerate(self.columns, self.first):
            rows[row, :size].reshape(shape)[...] = column[grids.place(column, part)]
        return rows, shape, size

    def _at(self, part: Part) -> At:
        def at(figure: Any) -> Any:
            figure = self.axes.of(figure)
            return figure[grids.place(figure, part)] if isinstance(figure, np.ndarray) else figure

        return at


def _each(parts: list[Part], fill: Callable[[Part], None], size: int) -> None:
    """Fill every part."""

    def some(first: int, last: int) -> None:
        for part in parts[first:last]:
            fill(part)

    cpus.in_threads(len(parts), some, size // (MANY // 2))
