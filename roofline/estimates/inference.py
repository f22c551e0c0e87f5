"""The meeting point: operators and a chip go in, the time of a step and what bounds it come out.

What one operator costs is the business of :mod:`roofline.estimates.costing`; here the operators of a step are summed.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from roofline.base.errors import RooflineError
from roofline.base.face import NUMBER, Kind, takes
from roofline.base.numeric import MOST, broadcastable, everywhere
from roofline.catalog.load import CHIP, as_chip
from roofline.estimates import blocks
from roofline.estimates.costing import (
    COST,
    OPERATOR,
    Cost,
    bind,
    bound_names,
    cost,
    evaluate_op,
    job,
    leading,
    naive_parts,
    names_of,
    op_spread,
    places,
    spread_of,
)
from roofline.work.op import Op
from roofline.work.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

_FIELD = {name: i for i, name in enumerate(COST)}
_LOWER, _TIME, _UPPER = _FIELD["lower_s"], _FIELD["time_s"], _FIELD["upper_s"]
_ERRORS = 2**15  # points from which on the errors alone are summed, in compiled loops
_LONG = 500  # operators from which on telling equal ones apart is worth its time

_OPERATORS = Kind(
    "a workload, such as a model's step, or a list of operators",
    lambda value: (
        isinstance(value, Workload)
        or (isinstance(value, list | tuple) and len(value) > 0 and all(map(OPERATOR.holds, value)))
    ),
)


def _is_factor(value: Any) -> bool:
    plain = type(value) is np.ndarray and value.dtype.kind in "iuf" and value.size
    return bool((plain or NUMBER.holds(value)) and everywhere((value > 0) & (value < MOST)))


_FACTOR = Kind("a positive, finite factor, or an array of them", _is_factor)


def _plain_costs(workload: Workload, chip: Chip) -> list[tuple[Any, ...]] | None:
    """The cost of each operator, where all that they and the chip ask for are plain numbers; else None.

    What the chip cannot run is refused in either case. A long workload repeats itself: equal operators share theirs.
    """
    bounds = [bind(op, chip) for op in workload]
    known: dict[Any, tuple[Any, ...]] = {}
    long = len(bounds) >= _LONG
    costs = []
    for op, (function, own, others, varied, _) in zip(workload, bounds, strict=True):
        arguments = own(op.args)
        if varied or np.ndarray in map(type, arguments) or type(op.count) is np.ndarray:
            return None
        if not long:
            costs.append(function(*arguments, *others))
            continue
        key = (op.kind, op.kernel, op.dtype, arguments)
        if key not in known:
            known[key] = function(*arguments, *others)
        costs.append(known[key])
    return costs


def _costs(workload: Workload, chip: Chip) -> list[tuple[Any, ...]]:
    """The cost of each operator over a grid; equal ones share theirs."""
    known: dict[Any, tuple[Any, ...]] = {}
    costs = []
    for op in workload:
        sizes = ((name, id(v)) if isinstance(v, np.ndarray) else (name, "", v) for name, v in op.args.items())
        key = (op.kind, op.kernel, op.dtype, *sizes)
        if key not in known:
            known[key] = evaluate_op(op, chip)
        costs.append(known[key])
    return costs


#: What runs on the host or on the way to and from it.
_OFF_CHIP = ("step_overhead", "host_copy")


class Phase:
    """One step of a workload on a chip, operators in sequence: prefill, a decode step, a recommendation batch.

    Attributes
    ----------
    chip : Chip
    scale : float or array
        Time of the phase over the time of the operators, for a pipeline that fills and drains; else 1.
    also : tuple of str
        Of sums beside the times (``"work"``, ``"spread"``, ``"bounds"``, ``"on_chip"``), those that will be asked for:
        over a grid they then take no pass of their own.
    """

    _make: Callable[[], Workload]
    _ops: Sequence[Op]
    _counts: Sequence[Any]

    def __init__(self, workload: Workload, chip: Chip, scale: Any = 1.0, also: tuple[str, ...] = ()) -> None:
        self.workload = workload
        self.chip = chip
        self.scale = scale
        self.also = also
        self._found: dict[str, Any] = {}
        plain = None if isinstance(scale, np.ndarray) else _plain_costs(workload, chip)
        self._varied = plain is None
        if plain is None:
            self._refuse_what_does_not_broadcast()
        else:
            self._ops, self._counts, self.costs = workload.ops, [op.count for op in workload], plain

    @classmethod
    def of(
        cls,
        make: Callable[[], Workload],
        chip: Chip,
        scale: float,
        ops: Sequence[Op],
        counts: Sequence[float],
        costs: list[tuple[Any, ...]],
    ) -> Self:
        """A phase of plain numbers whose costs are known: of each of `ops` once, which runs so many times.

        `make` gives the workload, which few ask for. Of `ops` only the names and classes are looked at.
        """
        phase = cls.__new__(cls)
        phase._make, phase.chip, phase.scale, phase.also = make, chip, scale, ()
        phase._found, phase._varied = {}, False
        phase._ops, phase._counts, phase.costs = ops, counts, costs
        return phase

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs, with the workload made."""
        return {name: value for name, value in {**vars(self), "workload": self.workload}.items() if name != "_make"}

    @functools.cached_property
    def workload(self) -> Workload:
        """The operators that one chip runs."""
        return self._make()

    @functools.cached_property
    def costs(self) -> list[tuple[Any, ...]]:
        """All of :data:`COST` of one call of each operator; over a grid, arrays that are made where asked for."""
        return _costs(self.workload, self.chip)

    @property
    def nbytes(self) -> int:
        """Bytes that the phase takes where it is one of arrays: those of its operators, and its sums."""
        if not self._varied:
            return 0
        arrays = {id(a): a for op in self.workload for a in (*op.args.values(), op.count) if isinstance(a, np.ndarray)}
        kinds = len({op.kind for op in self.workload})
        return sum(a.nbytes for a in arrays.values()) + math.prod(self._shape) * 8 * (4 + kinds)

    # Over a grid -------------------------------------------------------------------------------------------------

    def _refuse_what_does_not_broadcast(self) -> None:
        arrays = {
            f"{op.name}: {name}": value
            for op in self.workload
            for name, value in (*op.args.items(), ("count", op.count))
            if isinstance(value, np.ndarray)
        }
        different = {value.shape: (name, value) for name, value in arrays.items()}
        broadcastable("a step", {**dict(different.values()), "scale": self.scale})

    @functools.cached_property
    def _shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(np.shape(self.scale), *(one.shape for _, one in self._jobs()))

    def _jobs(self) -> list[tuple[Op, blocks.Job]]:
        """The operators as jobs, equal ones together: how often they run in all."""
        same = _Same()
        jobs: dict[Any, tuple[Op, blocks.Job]] = {}
        for op in self.workload:
            one = job(op, self.chip, same)
            key = (
                op.kind,
                op.kernel,
                op.dtype,
                *(id(a) if isinstance(a, np.ndarray) else ("", a) for a in one.arguments),
            )
            if key in jobs:
                one = blocks.Job(one.function, one.arguments, jobs[key][1].count + one.count)
            jobs[key] = (op, one)
        return list(jobs.values())

    def _summed(self, what: str) -> Any:
        """Sums over the grid, by name; a pass makes all that are known to be wanted and not there yet."""
        if what not in self._found:
            if what == "spread" and math.prod(self._shape) >= _ERRORS:
                self._errors()
            else:
                self._pass(tuple(dict.fromkeys((what, *(name for name in self.also if name not in self._found)))))
        return self._found[what]

    def _pass(self, wanted: tuple[str, ...]) -> None:
        jobs = self._jobs()
        places: dict[str, list[int]] = {}
        rows = 0
        for name in wanted:
            parts = self._extras(name, jobs)
            places[name] = []
            for part in parts:
                for (_, one), extra in zip(jobs, part, strict=True):
                    if extra is not None:
                        one.extras.append((rows, extra))
                places[name].append(rows)
                rows += 1
        names = bound_names(self.chip)
        merged = len(set(names)) < len(names)
        total = blocks.total([one for _, one in jobs], self.scale, rows, "bounds" in wanted, merged)
        sums = {"lower": total.lower_s, "time": total.time_s, "upper": total.upper_s, "codes": total.bound_codes}
        self._found = {**sums, **self._found}
        if total.time_by_bound is not None:
            self._found["bounds"] = total.time_by_bound
        for name, own in places.items():
            if own:
                self._found[name] = total.extras[own[0] : own[-1] + 1]
        if "spread" in wanted:
            self._found["spread"] = np.sqrt(np.square(self._found["spread"]).sum(axis=0)) * self.scale

    def _errors(self) -> None:
        """The sums that samples ask for, and no others: over many points they take a loop of their own."""
        jobs = self._jobs()
        kinds = list(dict.fromkeys(op.kind for op, _ in jobs))
        for op, one in jobs:
            one.extras.append((kinds.index(op.kind), spread_of(op, self.chip)))
        found = blocks.errors([one for _, one in jobs], self.scale, len(kinds))
        self._found = {"lower": found.lower_s, "time": found.time_s, **self._found, "spread": found.error_s}

    def _extras(self, name: str, jobs: list[tuple[Op, blocks.Job]]) -> list[list[blocks.Extra | None]]:
        """What each operator adds to each of the further sums of a name."""
        if name == "work":
            plain: list[list[blocks.Extra | None]] = [
                [_quantity(_FIELD[n]) for _ in jobs] for n in ("flops", "bytes", "memory_bytes")
            ]
            rates = [bind(op, self.chip).rate for op, _ in jobs]
            return [*plain, [None if rate is None else _ideal(rate) for rate in rates]]
        if name == "on_chip":
            return [
                [None if op.kind in _OFF_CHIP else _quantity(quantity) for op, _ in jobs]
                for quantity in (_LOWER, _TIME)
            ]
        if name == "spread":
            kinds = dict.fromkeys(op.kind for op, _ in jobs)
            return [[spread_of(op, self.chip) if op.kind == kind else None for op, _ in jobs] for kind in kinds]
        return []

    # Sums --------------------------------------------------------------------------------------------------------

    def _sum(self, index: int) -> Any:
        return sum([n * values[index] for n, values in zip(self._counts, self.costs, strict=True)])

    @functools.cached_property
    def time_s(self) -> Any:
        """Expected time (s)."""
        return self._summed("time") if self._varied else self._sum(_TIME) * self.scale

    @functools.cached_property
    def lower_s(self) -> Any:
        """What no machine of that description can beat (s)."""
        return self._summed("lower") if self._varied else self._sum(_LOWER) * self.scale

    @functools.cached_property
    def upper_s(self) -> Any:
        """Nothing overlapped, every overhead (s)."""
        return self._summed("upper") if self._varied else self._sum(_UPPER) * self.scale

    @functools.cached_property
    def flops(self) -> Any:
        """Matrix-engine FLOP of one chip."""
        return self._summed("work")[0] if self._varied else self._sum(_FIELD["flops"])

    @functools.cached_property
    def bytes(self) -> Any:
        """Bytes of one chip, every tensor of every operator once."""
        return self._summed("work")[1] if self._varied else self._sum(_FIELD["bytes"])

    @functools.cached_property
    def memory_bytes(self) -> Any:
        """Expected main-memory traffic of one chip (bytes)."""
        return self._summed("work")[2] if self._varied else self._sum(_FIELD["memory_bytes"])

    @functools.cached_property
    def model_flops_s(self) -> Any:
        """The ideal time of the matrix work at each operator's own peak (s): MFU is this over `time_s`."""
        if self._varied:
            return self._summed("work")[3]
        total: Any = 0.0
        for op, n, values in zip(self._ops, self._counts, self.costs, strict=True):
            if values[0]:
                total = total + n * values[0] / self.chip.rate(op.dtype)
        return total

    @functools.cached_property
    def on_chip_s(self) -> tuple[Any, Any]:
        """Least and expected time (s) of what runs on the chip: not on the host, nor on the way to and from it."""
        if self._varied:
            lower, time = self._summed("on_chip")
            return lower * self.scale, time * self.scale
        calls = zip(self._ops, self._counts, self.costs, strict=True)
        own = [(n, v) for op, n, v in calls if op.kind not in _OFF_CHIP]
        lower, time = (sum((n * v[i] for n, v in own), 0.0) * self.scale for i in (_LOWER, _TIME))
        return lower, time

    @property
    def mfu(self) -> Any:
        """Model FLOP utilisation: useful matrix FLOP over what the peaks would do in the same time."""
        return self.model_flops_s / self.time_s

    @property
    def mbu(self) -> Any:
        """Memory bandwidth utilisation: expected main-memory bytes over what the peak would move in the same time."""
        return self.memory_bytes / (self.chip.machine["memory_bandwidth"] * self.time_s)

    @functools.cached_property
    def time_by_bound(self) -> dict[str, Any]:
        """Expected time (s) of the operators that each resource bounds."""
        names = bound_names(self.chip)
        total: dict[str, Any] = dict.fromkeys(names, 0.0)
        if self._varied:
            times = self._summed("bounds")
            return {name: times[names.index(name)] for name in total}
        for n, values, bound in zip(self._counts, self.costs, self._bounds, strict=True):
            total[bound] += n * values[_TIME] * self.scale
        return total

    @functools.cached_property
    def _bounds(self) -> list[str]:
        """What bounds each operator."""
        names = bound_names(self.chip)
        return [names[leading(values)] for values in self.costs]

    @functools.cached_property
    def bound_codes(self) -> Any:
        """:attr:`bound` as a number, or array of uint8: its place in :func:`bound_names` of the chip."""
        if self._varied:
            return self._summed("codes")
        times = list(self.time_by_bound.values())
        return places(self.chip)[times.index(max(times))]

    @property
    def bound(self) -> Any:
        """The resource that bounds the operators with the largest share of the time."""
        return names_of(self.bound_codes, self.chip)

    @functools.cached_property
    def spread(self) -> Any:
        """Standard deviation of ln(measured / predicted) of the phase.

        Errors within an operator class are taken as fully correlated, those of different classes as independent:
        the classes' spreads add in quadrature, each weighted by its share of the time. An operator's spread is that
        of its class and regime (by naive roofline time) on measured rows. What a serving engine does beside its
        operators (scheduling, other kernels, other batches) adds the family's ``overheads.engine_spread``.
        """
        if self._varied:
            operators = self._summed("spread") / self.time_s
        else:
            sums: dict[str, Any] = {}
            for op, n, values in zip(self._ops, self._counts, self.costs, strict=True):
                sigma = op_spread(op, values, self.chip)
                sums[op.kind] = sums.get(op.kind, 0.0) + sigma * n * values[_TIME]
            operators = math.sqrt(sum([(s * self.scale) ** 2 for s in sums.values()])) / self.time_s
        return np.sqrt(operators**2 + self.chip.get("overheads.engine_spread", 0.0) ** 2)

    @functools.cached_property
    def records(self) -> list[dict[str, Any]]:
        """The breakdown as plain records, one an operator; :attr:`ops` has the same as a DataFrame."""
        if self._varied:
            raise RooflineError("a breakdown shows one point; take one from the sweep and estimate it alone")
        rows, whole, scale = [], self.time_s, self.scale
        for op, n, values, bound in zip(self._ops, self._counts, self.costs, self._bounds, strict=True):
            flops, vector_flops, size, _, _, _, lower, time, upper, *_ = values
            work, s = flops + vector_flops, n * scale
            rows.append(
                {
                    "op": op.name,
                    "kind": op.kind,
                    "dtype": op.dtype,
                    "count": n,
                    "flops": n * work,
                    "bytes": n * size,
                    "intensity": work / size if size else 0.0,
                    "time_s": s * time,
                    "share": s * time / whole,
                    "bound": bound,
                    "lower_s": s * lower,
                    "upper_s": s * upper,
                }
            )
        return rows

    @property
    def ops(self) -> pd.DataFrame:
        """The breakdown, one row an operator.

        Columns: op, kind, dtype, count; flops and bytes (all calls together), intensity (FLOP/B); time_s, share,
        bound; lower_s, upper_s. The times sum to those of the phase. Only for a phase of plain numbers.
        """
        import pandas as pd

        return pd.DataFrame.from_records(self.records)


def _quantity(index: int) -> blocks.Extra:
    return lambda costs, at: costs[index]


def _ideal(rate: Any) -> blocks.Extra:
    return lambda costs, at: costs[0] / at(rate)


class _Same:
    """Tells arrays of equal numbers to be one, so that what is made of them need not be computed twice."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._alike: dict[Any, list[np.ndarray]] = {}

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The first array that was seen of equal shape and numbers, perhaps this one."""
        if id(array) in self._by_id:
            return self._by_id[id(array)][1]
        ends = (array.shape, array.flat[0], array.flat[array.size // 2], array.flat[-1])
        alike = self._alike.setdefault(ends, [])
        one = next((other for other in alike if np.array_equal(other, array)), None)
        if one is None:
            alike.append(one := array)
        self._by_id[id(array)] = (array, one)  # keeps it, so that no other comes by its id
        return one


@takes(workload=_OPERATORS, chip=CHIP, scale=_FACTOR)
def run(
    workload: Workload | Sequence[Op], chip: Chip | str | os.PathLike[str], scale: Any = 1.0, also: tuple[str, ...] = ()
) -> Phase:
    """Cost every operator of a workload, or of a list of operators, on a chip.

    Parameters
    ----------
    workload : Workload or sequence of Op
        What is to be run.
    chip : Chip or str
        A chip, or its name or path; as it is, with its own figures.
    scale : number or array
        What every time is multiplied by.
    also : tuple of str
        What is worked out in the same pass as the bounds.

    Returns
    -------
    Phase
        ``time_s``, ``lower_s``, ``upper_s``, ``bound``, and ``ops``, a DataFrame.

    Raises
    ------
    BadWorkload
        When the chip has no rate for an operator's dtype.

    Examples
    --------
    >>> import roofline as rl
    >>> step = rl.run([rl.gemm(m=8, n=4096, k=4096, count=32), rl.silu_mul(rows=8, cols=4096)], "h100-sxm")
    >>> step.ops["op"].tolist(), step.bound
    (['gemm', 'silu_mul'], 'memory:hbm')
    """
    operators = workload if isinstance(workload, Workload) else Workload(tuple(workload))
    return Phase(operators, as_chip(chip), scale, also)


__all__ = [
    "COST", "Cost", "Phase", "bound_names", "cost", "evaluate_op", "naive_parts", "names_of", "op_spread", "run",
]  # fmt: skip
