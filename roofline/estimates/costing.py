"""Where an operator meets a chip: its kernel's arguments bound by name, and what one call costs.

The operator's own arguments come first, then the chip's machine numbers, then the efficiency parameters of the operator
class. Plain numbers run the kernel as plain Python; any array among them, of the operator or of the chip, makes the
result an array of the shape they broadcast to.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from roofline import kernels
from roofline.base.errors import BadWorkload, RooflineError
from roofline.base.face import of, takes
from roofline.base.numeric import anywhere, broadcastable
from roofline.catalog.load import CHIP, as_chip
from roofline.estimates import blocks, plainly
from roofline.hardware.machine import LINK_NUMBERS, REGIME_EDGES_S
from roofline.kernels.sums import INSTANT
from roofline.work.op import Op

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip

COST = kernels.COST
_FIELD = {name: i for i, name in enumerate(COST)}
_FLOPS, _VECTOR_FLOPS = _FIELD["flops"], _FIELD["vector_flops"]
_LOWER, _TIME, _UPPER = _FIELD["lower_s"], _FIELD["time_s"], _FIELD["upper_s"]
_BUSY = slice(_FIELD["compute_s"], _FIELD["overhead_s"] + 1)  # compute, memory, cache, network, overhead

OPERATOR = of("an operator, such as roofline.gemm(m=1, n=1, k=1)", Op)


@functools.cache
def _kernels() -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
    return {name: (f, tuple(inspect.signature(f).parameters)) for name, f in kernels.by_name().items()}


class Bound(NamedTuple):
    """A kernel and what the chip answers of its arguments."""

    function: Callable[..., Any]
    own: Callable[[dict[str, Any]], tuple[Any, ...]]  # the operator's arguments in the kernel's order
    others: tuple[Any, ...]  # the chip's
    varied: bool  # whether any of those is an array
    rate: Any  # of the matrix engine at the operator's dtype, FLOP/s; None where the kernel has no use for it


def bind(op: Op, chip: Chip) -> Bound:
    """The kernel of an operator with all that it asks of a chip.

    Raises
    ------
    BadWorkload
        When the chip has no rate for the operator's dtype, or no way to other chips.
    """
    key = (op.kind, op.kernel, op.dtype)
    bound: Bound | None = chip.bound_cache.get(key)
    if bound is None:
        function, names = _kernels()[op.kernel]
        own = names[: len(op.args)]  # first come the operator's own
        values = {name: _figure(name, op, chip) for name in names[len(own) :]}
        others = tuple(float(v) if not isinstance(v, np.ndarray) else np.asarray(v, float) for v in values.values())
        varied = any(isinstance(value, np.ndarray) for value in others)
        rate = values.get("matrix_flops")
        bound = chip.bound_cache[key] = Bound(function, _in_order(own), others, varied, rate)
    return bound


def _in_order(names: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda named: tuple(named[name] for name in names)


def _figure(name: str, op: Op, chip: Chip) -> Any:
    """What the chip answers of one argument of the operator's kernel."""
    if name == "matrix_flops":
        return chip.rate(op.dtype)
    if name in chip.machine:
        return chip.machine[name]
    parameter = chip.parameter(name, (op.kind, op.kernel), op.dtype)
    if parameter is None and name in LINK_NUMBERS:
        raise BadWorkload(f"{op.name}: {chip.name} describes no way to other chips ({LINK_NUMBERS[name]})")
    if parameter is None:
        raise RooflineError(
            f"{chip.name}: neither the chip nor the family {chip.family} has efficiency.{op.kind}.{name}"
        )
    return parameter.value


def job(op: Op, chip: Chip, same: Callable[[Any], Any] = lambda value: value) -> blocks.Job:
    """An operator on a chip as something to be costed over a grid; `same` may tell equal arrays to be one."""
    bound = bind(op, chip)
    broadcastable(op.name, {**op.args, **{str(i): v for i, v in enumerate(bound.others)}, "count": op.count})
    own = tuple(same(np.asarray(a, float)) if isinstance(a, np.ndarray) else float(a) for a in bound.own(op.args))
    count = same(np.asarray(op.count, float)) if isinstance(op.count, np.ndarray) else float(op.count)
    return blocks.Job(bound.function, own + bound.others, count)


def evaluate_op(op: Op, chip: Chip) -> tuple[Any, ...]:
    """The cost of one call of an operator on a chip.

    Returns
    -------
    tuple
        The quantities of :data:`roofline.kernels.COST`, each a float, or an array of the shape that the operator's
        arguments and the chip's numbers broadcast to.
    """
    function, own, others, varied, _ = bind(op, chip)
    arguments = own(op.args)
    if not varied and np.ndarray not in map(type, arguments):
        return function(*arguments, *others)  # type: ignore[no-any-return]
    one = job(op, chip)
    one.count = 1.0
    return tuple(blocks.costs(one))


def bound_of(cost: tuple[Any, ...], chip: Chip) -> Any:
    """The name of the resource that is busy longest, or an array of them."""
    if isinstance(cost[_TIME], np.ndarray):
        return np.array(bound_names(chip))[np.argmax(plainly.busy(cost), axis=0)]
    return bound_names(chip)[leading(cost)]


def leading(cost: tuple[float, ...]) -> int:
    """The place in :func:`bound_names` of what a cost of plain numbers is busy with longest."""
    compute, memory, cache, network, overhead = cost[_BUSY]
    if not cost[_FLOPS] + cost[_VECTOR_FLOPS]:  # as in `plainly.busy`
        compute, overhead = 0.0, (overhead + compute) or INSTANT
    busy = compute, memory, cache, network, overhead
    return busy.index(max(busy))


def naive_parts(
    op: Op, values: Any, chip: Chip, at: Callable[[Any], Any] = lambda figure: figure
) -> tuple[Any, Any, Any]:
    """The naive roofline of a cost, s: FLOP over peak, compulsory bytes over memory bandwidth, sent bytes over link.

    `values` may be those of a part of a grid; then `at` gives that part of a figure of the chip.
    """
    flops, vector_flops, size, sent = (values[_FIELD[n]] for n in ("flops", "vector_flops", "bytes", "network_bytes"))
    compute = vector_flops / at(chip.machine["vector_flops"])
    if anywhere(flops):
        compute = np.maximum(compute, flops / at(chip.rate(op.dtype)))
    bandwidth = at(chip.machine["memory_bandwidth"])
    if not anywhere(sent):
        return compute, size / bandwidth, 0.0 * sent
    memory = np.where(np.equal(sent, 0.0), size / bandwidth, 0.0)
    return compute, memory, sent / at(chip.machine["link_bandwidth"])


def op_spread(op: Op, values: Any, chip: Chip, at: Callable[[Any], Any] = lambda figure: figure) -> Any:
    """Standard deviation of ln(measured / predicted) of an operator: its class's figure for its regime of time."""
    spreads = chip.spreads((op.kind, op.kernel, "default"), op.dtype)
    if min(spreads) == max(spreads):
        return spreads[0]
    compute, memory, link = naive_parts(op, values, chip, at)
    naive = np.maximum(np.maximum(compute, memory), link)
    return np.asarray(spreads)[np.searchsorted(REGIME_EDGES_S, naive, side="right")]


def spread_of(op: Op, chip: Chip) -> blocks.Spread:
    """An operator's part of the sum of its class's errors over a grid: what :func:`op_spread` says, times its time."""
    machine, rate = chip.machine, bind(op, chip).rate
    figures = (
        *chip.spreads((op.kind, op.kernel, "default"), op.dtype),
        *REGIME_EDGES_S,
        machine["vector_flops"],
        1.0 if rate is None else rate,  # then there is no matrix work
        machine["memory_bandwidth"],
        machine.get("link_bandwidth", 1.0),  # without a link nothing is sent
    )
    return blocks.Spread(lambda costs, at: op_spread(op, costs, chip, at) * costs[_TIME], figures)


def bound_names(chip: Chip) -> tuple[str, ...]:
    """What can bound an operator on this chip; memory bounds name their level."""
    names = chip.bound_cache.get("bounds")
    if names is None:
        names = ("compute", f"memory:{chip.main_level}", f"memory:{chip.cache_level}", "network", "overhead")
        chip.bound_cache["bounds"] = names
    return names


def places(chip: Chip) -> Any:
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
        return bound_of(self.values, self.chip)

    def __repr__(self) -> str:
        if isinstance(self.time_s, np.ndarray):
            return f"<Cost of {self.op.name} on {self.chip.name}: shape {self.time_s.shape}>"
        return f"<Cost of {self.op.name} on {self.chip.name}: {self.time_s * 1e6:.3g} us, {self.bound}>"


@takes(op=OPERATOR, chip=CHIP)
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

    Examples
    --------
    >>> import roofline as rl
    >>> cost = rl.cost(rl.gemm(m=[1, 64, 4096], n=4096, k=4096, dtype="bf16"), "h100-sxm")
    >>> cost.bound.tolist()
    ['memory:hbm', 'memory:hbm', 'compute']
    >>> bool((cost.lower_s <= cost.time_s).all())
    True
    """
    chip = as_chip(chip)
    return Cost(op, chip, evaluate_op(op, chip))
