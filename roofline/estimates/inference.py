"""The meeting point: operators and a chip go in, costs come out.

A kernel's arguments are bound by name: the operator's own first, then the chip's machine numbers, then the efficiency
parameters of the operator class. Plain numbers run the kernel as plain Python; any array among them, of the operator
or of the chip, makes the result an array of the shape they broadcast to.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from roofline import kernels
from roofline.base.errors import BadWorkload, RooflineError
from roofline.base.face import NUMBER, Kind, of, takes
from roofline.base.numeric import MOST, anywhere, broadcastable, everywhere
from roofline.catalog.load import CHIP, as_chip
from roofline.hardware.machine import LINK_NUMBERS, REGIME_EDGES_S
from roofline.kernels._jit import evaluate
from roofline.work.op import Op
from roofline.work.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

COST = kernels.COST
_FIELD = {name: i for i, name in enumerate(COST)}
_FLOPS, _VECTOR_FLOPS = _FIELD["flops"], _FIELD["vector_flops"]
_LOWER, _TIME, _UPPER = _FIELD["lower_s"], _FIELD["time_s"], _FIELD["upper_s"]
_BUSY = slice(_FIELD["compute_s"], _FIELD["overhead_s"] + 1)  # compute, memory, cache, network, overhead
_LONG = 500  # operators from which on telling equal ones apart is worth its time
_INSTANT = 1e-300  # s: above zero, below every time

_OPERATOR = of("an operator, such as roofline.gemm(m=1, n=1, k=1)", Op)
_OPERATORS = Kind(
    "a workload, such as a model's step, or a list of operators",
    lambda value: (
        isinstance(value, Workload)
        or (isinstance(value, list | tuple) and len(value) > 0 and all(map(_OPERATOR.holds, value)))
    ),
)


def _is_factor(value: Any) -> bool:
    plain = type(value) is np.ndarray and value.dtype.kind in "iuf" and value.size
    return bool((plain or NUMBER.holds(value)) and everywhere((value > 0) & (value < MOST)))


_FACTOR = Kind("a positive, finite factor, or an array of them", _is_factor)


@functools.cache
def _kernels() -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
    return {name: (f, tuple(inspect.signature(f).parameters)) for name, f in kernels.by_name().items()}


class _Bound(NamedTuple):
    """A kernel and what the chip answers of its arguments."""

    function: Callable[..., Any]
    values: dict[str, Any]
    varied: bool  # whether any of the values is an array
    in_order: Callable[[dict[str, Any]], tuple[Any, ...]]  # named arguments -> as the kernel takes them


def _bind(op: Op, chip: Chip) -> _Bound:
    key = (op.kind, op.kernel, op.dtype)
    bound = chip.bound_cache.get(key)
    if bound is None:
        function, names = _kernels()[op.kernel]
        values: dict[str, Any] = {}
        for name in names:
            if name in op.args:
                continue
            if name == "matrix_flops":
                values[name] = chip.rate(op.dtype)
            elif name in chip.machine:
                values[name] = chip.machine[name]
            else:
                parameter = chip.parameter(name, (op.kind, op.kernel), op.dtype)
                if parameter is None and name in LINK_NUMBERS:
                    raise BadWorkload(f"{op.name}: {chip.name} describes no way to other chips ({LINK_NUMBERS[name]})")
                if parameter is None:
                    raise RooflineError(
                        f"{chip.name}: neither the chip nor the family {chip.family} has efficiency.{op.kind}.{name}"
                    )
                values[name] = parameter.value
        varied = any(isinstance(value, np.ndarray) for value in values.values())
        in_order = itemgetter(*names) if len(names) > 1 else lambda named: (named[names[0]],)
        bound = chip.bound_cache[key] = _Bound(function, values, varied, in_order)
    return bound


def evaluate_op(op: Op, chip: Chip) -> tuple[Any, ...]:
    """The cost of one call of an operator on a chip.

    Returns
    -------
    tuple
        The quantities of :data:`roofline.kernels.COST`, each a float, or an array of the shape that the operator's
        arguments and the chip's numbers broadcast to.
    """
    function, values, varied, in_order = _bind(op, chip)
    named = {**values, **op.args}
    arguments = in_order(named)
    if not varied and np.ndarray not in map(type, op.args.values()):
        return function(*arguments)  # type: ignore[no-any-return]
    broadcastable(op.name, named)
    shape = np.broadcast_shapes(*(a.shape for a in arguments if isinstance(a, np.ndarray)))
    columns = [
        np.ascontiguousarray(np.broadcast_to(a, shape), dtype=float).ravel() if isinstance(a, np.ndarray) else float(a)
        for a in arguments
    ]
    return tuple(evaluate(function, columns, int(np.prod(shape))).reshape(len(COST), *shape))


def _busy(cost: tuple[Any, ...]) -> tuple[Any, ...]:
    """Busy times (s) of compute, memory, cache, network and overhead, as far as each can bound the operator.

    Without FLOP there is nothing to compute: cycles that cores spend all the same (to begin a row) are overhead, and so
    is, for want of another word, what takes no time at all.
    """
    compute, memory, cache, network, overhead = cost[_BUSY]
    work = cost[_FLOPS] + cost[_VECTOR_FLOPS]
    if not isinstance(work, np.ndarray):
        return cost[_BUSY] if work else (0.0, memory, cache, network, (overhead + compute) or _INSTANT)
    without = work == 0
    starting = np.where(without, np.maximum(overhead + compute, _INSTANT), overhead)
    return np.where(without, 0.0, compute), memory, cache, network, starting


def _bound(cost: tuple[Any, ...], chip: Chip) -> Any:
    names = bound_names(chip)
    busy = _busy(cost)
    if isinstance(cost[_TIME], np.ndarray):
        return np.array(names)[np.argmax(np.stack(np.broadcast_arrays(*busy)), axis=0)]
    return names[busy.index(max(busy))]


def naive_parts(op: Op, values: tuple[Any, ...], chip: Chip) -> tuple[Any, Any, Any]:
    """The naive roofline of a cost, s: FLOP over peak, compulsory bytes over memory bandwidth, sent bytes over link."""
    flops, vector_flops, size, sent = (values[_FIELD[n]] for n in ("flops", "vector_flops", "bytes", "network_bytes"))
    compute = vector_flops / chip.machine["vector_flops"]
    if anywhere(flops):
        compute = np.maximum(compute, flops / chip.rate(op.dtype))
    if not anywhere(sent):
        return compute, size / chip.machine["memory_bandwidth"], 0.0 * sent
    memory = np.where(np.equal(sent, 0.0), size / chip.machine["memory_bandwidth"], 0.0)
    return compute, memory, sent / chip.machine["link_bandwidth"]


def op_spread(op: Op, values: tuple[Any, ...], chip: Chip) -> Any:
    """Standard deviation of ln(measured / predicted) of an operator: its class's figure for its regime of time."""
    spreads = chip.spreads((op.kind, op.kernel, "default"), op.dtype)
    if min(spreads) == max(spreads):
        return spreads[0]
    compute, memory, link = naive_parts(op, values, chip)
    naive = np.maximum(np.maximum(compute, memory), link)
    return np.asarray(spreads)[np.searchsorted(REGIME_EDGES_S, naive, side="right")]


def bound_names(chip: Chip) -> tuple[str, ...]:
    """What can bound an operator on this chip; memory bounds name their level."""
    names = chip.bound_cache.get("bounds")
    if names is None:
        names = ("compute", f"memory:{chip.main_level}", f"memory:{chip.cache_level}", "network", "overhead")
        chip.bound_cache["bounds"] = names
    return names


def _places(chip: Chip) -> Any:
    """Place in :func:`bound_names` of each of the different names: a chip without a cache has one of them twice."""
    names = bound_names(chip)
    return np.array([names.index(name) for name in dict.fromkeys(names)], dtype=np.uint8)


def names_of(codes: Any, chip: Chip) -> Any:
    """What codes of bounds stand for, as text: of one, or of each in an array."""
    names = bound_names(chip)
    return np.array(names)[codes] if isinstance(codes, np.ndarray) else names[codes]


@dataclass(frozen=True)
class Cost:
    """The cost of one operator; every figure is shaped as the arguments broadcast.

    Attributes
    ----------
    op : Op
    chip : Chip
    values : tuple
        In the order of :data:`roofline.kernels.COST`.
    """

    op: Op
    chip: Chip
    values: tuple[Any, ...]

    def __getattr__(self, name: str) -> Any:
        if name in _FIELD:
            return self.values[_FIELD[name]]
        raise AttributeError(f"a Cost has no {name!r}; it has {', '.join(COST)}, intensity and bound")

    @property
    def intensity(self) -> Any:
        """FLOP (both engines) per compulsory byte; infinite work on no bytes does not occur."""
        return (self.flops + self.vector_flops) / np.maximum(self.bytes, 1.0)

    @property
    def bound(self) -> Any:
        """compute, memory:<level>, network or overhead: the resource with the longest busy time.

        A memory is busy, too, while as many requests are in flight as there can be (random lookups of short rows).
        """
        return _bound(self.values, self.chip)

    def __repr__(self) -> str:
        if isinstance(self.time_s, np.ndarray):
            return f"<Cost of {self.op.name} on {self.chip.name}: shape {self.time_s.shape}>"
        return f"<Cost of {self.op.name} on {self.chip.name}: {self.time_s * 1e6:.3g} us, {self.bound}>"


@takes(op=_OPERATOR, chip=CHIP)
def cost(op: Op, chip: Chip | str | os.PathLike[str]) -> Cost:
    """What one call of one operator costs on one chip (its `count` is the business of a workload).

    Parameters
    ----------
    op : Op
        From :mod:`roofline.work.op`, such as ``gemm(m=[1, 64, 4096], n=4096, k=4096, dtype="bf16")``.
    chip : Chip or str
        A chip, or its name or path. As it is: with its own figures, unless it was put ``on_stack``.

    Returns
    -------
    Cost
        ``time_s``, ``lower_s``, ``upper_s`` (seconds), ``flops``, ``bytes``, ``bound`` ...

    Raises
    ------
    BadWorkload
        When the chip has no rate for the operator's dtype.
    """
    chip = as_chip(chip)
    return Cost(op, chip, evaluate_op(op, chip))


def _costs(workload: Workload, chip: Chip) -> list[tuple[Any, ...]]:
    """The cost of each operator; a long workload repeats itself, and its equal operators share theirs."""
    if len(workload) < _LONG:
        return [evaluate_op(op, chip) for op in workload]
    known: dict[Any, tuple[Any, ...]] = {}
    costs = []
    for op in workload:
        sizes = ((name, id(v)) if isinstance(v, np.ndarray) else (name, "", v) for name, v in op.args.items())
        key = (op.kind, op.kernel, op.dtype, *sizes)
        if key not in known:
            known[key] = evaluate_op(op, chip)
        costs.append(known[key])
    return costs


class Phase:
    """One step of a workload on a chip, operators in sequence: prefill, a decode step, a recommendation batch.

    Attributes
    ----------
    workload : Workload
        The operators that one chip runs.
    chip : Chip
    scale : float or array
        Time of the phase over the time of the operators, for a pipeline that fills and drains; else 1.
    """

    def __init__(self, workload: Workload, chip: Chip, scale: Any = 1.0) -> None:
        self.workload = workload
        self.chip = chip
        self.scale = scale
        self.costs = _costs(workload, chip)

    @property
    def nbytes(self) -> int:
        """Bytes of the costs that the phase holds, where they are arrays."""
        costs = {id(values): values for values in self.costs}.values()
        return sum(value.nbytes for values in costs for value in values if isinstance(value, np.ndarray))

    def _sum(self, index: int) -> Any:
        by_shape: dict[Any, Any] = {}  # in a sweep most operators vary along few of the axes: these are small sums
        for op, values in zip(self.workload, self.costs, strict=True):
            part = op.count * values[index]
            shape = part.shape if isinstance(part, np.ndarray) else ()
            by_shape[shape] = by_shape.get(shape, 0.0) + part
        return sum(by_shape.values())

    @functools.cached_property
    def time_s(self) -> Any:
        """Expected time (s)."""
        return self._sum(_TIME) * self.scale

    @functools.cached_property
    def lower_s(self) -> Any:
        """What no machine of that description can beat (s)."""
        return self._sum(_LOWER) * self.scale

    @functools.cached_property
    def upper_s(self) -> Any:
        """Nothing overlapped, every overhead (s)."""
        return self._sum(_UPPER) * self.scale

    @functools.cached_property
    def flops(self) -> Any:
        """Matrix-engine FLOP of one chip."""
        return self._sum(_FIELD["flops"])

    @functools.cached_property
    def bytes(self) -> Any:
        """Bytes of one chip, every tensor of every operator once."""
        return self._sum(_FIELD["bytes"])

    @functools.cached_property
    def memory_bytes(self) -> Any:
        """Expected main-memory traffic of one chip (bytes)."""
        return self._sum(_FIELD["memory_bytes"])

    @functools.cached_property
    def model_flops_s(self) -> Any:
        """The ideal time of the matrix work at each operator's own peak (s): MFU is this over `time_s`."""
        total: Any = 0.0
        for op, values in zip(self.workload, self.costs, strict=True):
            if anywhere(values[0]):
                total = total + op.count * values[0] / self.chip.rate(op.dtype)
        return total

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
        total: dict[str, Any] = dict.fromkeys(dict.fromkeys(names), 0.0)
        for op, values in zip(self.workload, self.costs, strict=True):
            bound, time = _bound(values, self.chip), op.count * values[_TIME] * self.scale
            if isinstance(bound, np.ndarray):
                for name in total:
                    total[name] = total[name] + np.where(bound == name, time, 0.0)
            else:
                total[bound] = total[bound] + time
        return total

    @functools.cached_property
    def bound_codes(self) -> Any:
        """:attr:`bound` as a number, or array of uint8: its place in :func:`bound_names` of the chip."""
        times = list(self.time_by_bound.values())
        if any(isinstance(t, np.ndarray) for t in times):
            codes = np.argmax(np.stack(np.broadcast_arrays(*times)), axis=0)
        else:
            codes = times.index(max(times))
        return _places(self.chip)[codes]

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
        by_class: dict[str, Any] = {}
        for op, values in zip(self.workload, self.costs, strict=True):
            sigma = op_spread(op, values, self.chip)
            by_class[op.kind] = by_class.get(op.kind, 0.0) + sigma * op.count * values[_TIME] * self.scale
        operators = sum(s**2 for s in by_class.values()) / self.time_s**2
        return np.sqrt(operators + self.chip.get("overheads.engine_spread", 0.0) ** 2)

    @functools.cached_property
    def records(self) -> list[dict[str, Any]]:
        """The breakdown as plain records, one an operator; :attr:`ops` has the same as a DataFrame."""
        if isinstance(self.time_s, np.ndarray):
            raise RooflineError("a breakdown shows one point; take one from the sweep and estimate it alone")
        rows, whole = [], self.time_s
        for op, values in zip(self.workload, self.costs, strict=True):
            flops, vector_flops, size, _, _, _, lower, time, upper, *_ = values
            n, s, work = op.count, op.count * self.scale, flops + vector_flops
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
                    "bound": _bound(values, self.chip),
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


@takes(workload=_OPERATORS, chip=CHIP, scale=_FACTOR)
def run(workload: Workload | Sequence[Op], chip: Chip | str | os.PathLike[str], scale: Any = 1.0) -> Phase:
    """Cost every operator of a workload, or of a list of operators, on a chip; see :class:`Phase`.

    Raises
    ------
    BadWorkload
        When the chip has no rate for an operator's dtype.
    """
    operators = workload if isinstance(workload, Workload) else Workload(tuple(workload))
    return Phase(operators, as_chip(chip), scale)


__all__ = [
    "COST", "Cost", "Phase", "bound_names", "cost", "evaluate_op", "naive_parts", "names_of", "op_spread", "run",
]  # fmt: skip
