"""One estimate after the other of the same model on the same chip: the operators written down once, done again.

Which operators a request comes to, and how their kernels' arguments follow from its sizes, is the same from one
request to the next where they differ in those sizes alone (``Estimate.NUMBERS``). So after a few requests the way from
the sizes to the arguments is written down (:mod:`roofline.base.traced`), and what stays the same is kept: the kernels,
what the chip answers them, the operators' names. Answers are those of the long way, to the bit.

In plain Python kernels take most of what is left; once many estimates have come by they run compiled, all calls of one
kernel in one loop (:func:`roofline.kernels._jit.rows`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np

from roofline.base.errors import RooflineError
from roofline.base.traced import Tape, Traced
from roofline.estimates import grids
from roofline.estimates.costing import COST, bind
from roofline.estimates.inference import Phase
from roofline.estimates.request import Request
from roofline.kernels import _jit
from roofline.work.op import Op

if TYPE_CHECKING:
    from roofline.base.numeric import Numeric
    from roofline.hardware.chip import Chip
    from roofline.work.workload import Workload

#: Requests of a kind that go the long way before it is written down, which takes as long as about so many of them.
FIRST = 12

#: Ways that a kind of request may go, by its sizes; with more, none is worth looking for.
MOST_WAYS = 12

#: Kinds of request that are kept for one chip; with more, what was kept is forgotten.
MOST_KINDS = 64

#: What a kind keeps.
Constant = TypeVar("Constant")

#: Of the request: what no operator depends on.
_NO_MATTER = ("usable_memory", "terms", "notes")


class Estimate(Protocol):
    """An estimate, as far as it is looked at here."""

    PHASES: ClassVar[tuple[str, ...]]
    NUMBERS: ClassVar[tuple[str, ...]]
    model: Any
    chip: Chip
    request: Request

    def __init__(self, model: Any, chip: Chip, request: Request) -> None: ...

    def work(self, phase: str) -> tuple[Workload, Numeric]:
        """The operators of one of :attr:`PHASES` and its scale."""
        ...


class _Step(NamedTuple):
    """A phase as far as it stays the same."""

    name: str
    ops: tuple[Op, ...]  # their names and classes; what they are called with is elsewhere
    rows: tuple[int, ...]  # of each operator, its call
    often: tuple[Any, ...]  # of each operator, how often it runs: a number, or the place of one among the results
    scale: Any


class _Calls(NamedTuple):
    """All calls of one kernel."""

    function: Callable[..., Any]
    first: int  # where the arguments of the first begin
    often: int
    width: int


class _Place(int):
    """A number that is one of the results of what was written down."""


def written(est: Estimate) -> tuple[Tape, list[tuple[str, Workload, Any]]]:
    """What makes the phases of an estimate of plain numbers of its sizes, and the phases, with their scales, of that.

    Raises
    ------
    TypeError, RooflineError
        Where something is done to the sizes that is no arithmetic.
    """
    tape = Tape({name: getattr(est.request, name) for name in est.NUMBERS})
    sizes: dict[str, Any] = dict(tape.numbers)
    own = type(est)(est.model, est.chip, replace(est.request, **sizes))
    return tape, [(name, *own.work(name)) for name in est.PHASES]


class Way:
    """What was written down of one request, and what it takes to do it again for another.

    Parameters
    ----------
    chip : Chip
        None of whose figures is an array.
    tape, phases
        See :func:`written`.
    """

    def __init__(self, chip: Chip, tape: Tape, phases: list[tuple[str, Workload, Any]]) -> None:
        results: dict[str, _Place] = {}
        found: list[Any] = []

        def place(value: Any) -> Any:
            if type(value) is not Traced:
                return value
            if value.name not in results:
                results[value.name] = _Place(len(found))
                found.append(value)
            return results[value.name]

        calls: dict[Callable[..., Any], dict[Any, tuple[Any, ...]]] = {}
        steps = []
        for name, step, scale in phases:
            keys = []
            for op in step:
                bound = bind(op, chip)
                arguments = tuple(place(a) for a in bound.own(op.args))
                key = (op.kind, op.kernel, op.dtype, tuple((type(a), a) for a in arguments))
                calls.setdefault(bound.function, {}).setdefault(key, arguments + bound.others)
                keys.append((bound.function, key))
            steps.append((name, step.ops, keys, tuple(place(op.count) for op in step), place(scale)))

        numbers: list[Any] = []
        rows: dict[Any, int] = {}
        self.calls = []
        for function, own_calls in calls.items():
            width = len(next(iter(own_calls.values())))
            self.calls.append(_Calls(function, len(numbers), len(own_calls), width))
            for key, arguments in own_calls.items():
                rows[function, key] = len(rows)
                numbers += arguments
        self.steps = [
            _Step(name, tuple(_bare(op) for op in ops), tuple(rows[key] for key in keys), counts, scale)
            for name, ops, keys, counts, scale in steps
        ]
        self.cells = [(at, int(one)) for at, one in enumerate(numbers) if type(one) is _Place]
        self.numbers = [0.0 if type(one) is _Place else one for one in numbers]
        self.table = np.array(self.numbers, dtype=float)
        self._at = np.array([at for at, _ in self.cells], dtype=np.intp)
        self._from = _picked([one for _, one in self.cells])
        self._rows, self._functions = len(rows), [one.function for one in self.calls]
        self.again = tape.function(found)

    def phases(self, est: Estimate, sizes: tuple[Any, ...]) -> dict[str, Phase] | None:
        """The phases of an estimate; None where its sizes go another way."""
        found = self.again(*sizes)
        if found is None:
            return None
        loops = _jit.rows(self._functions, self._rows)
        costs = self._plainly(found) if loops is None else self._compiled(found, loops)
        out = {}
        for name, ops, rows, counts, scale in self.steps:
            out[name] = Phase.of(
                lambda name=name: est.work(name)[0],  # type: ignore[misc]
                est.chip,
                found[scale] if type(scale) is _Place else scale,
                ops,
                [found[n] if type(n) is _Place else n for n in counts],
                [costs[row] for row in rows],
            )
        return out

    def _plainly(self, found: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        numbers = self.numbers.copy()
        for at, one in self.cells:
            numbers[at] = found[one]
        costs = []
        for function, first, count, width in self.calls:
            for at in range(first, first + count * width, width) if width else [first] * count:
                costs.append(function(*numbers[at : at + width]))
        return costs

    def _compiled(self, found: tuple[Any, ...], loops: list[Any]) -> list[tuple[Any, ...]]:
        table, out = self.table.copy(), np.empty(self._rows * len(COST))
        table[self._at] = self._from(found)
        begin, place = table.ctypes.data, out.ctypes.data
        for loop, (_, first, count, _) in zip(loops, self.calls, strict=True):
            loop(begin + first * table.itemsize, place, count)
            place += count * len(COST) * out.itemsize
        return list(map(tuple, out.reshape(-1, len(COST)).tolist()))


def _picked(places: list[int]) -> Callable[[tuple[Any, ...]], Any]:
    """What takes the numbers at some places out of a tuple."""
    if len(places) > 1:
        return operator.itemgetter(*places)
    return lambda found: tuple(found[place] for place in places)


def _bare(op: Op) -> Op:
    """The operator without what it is called with."""
    return replace(op, args={}, count=1)


@dataclass
class Kind:
    """Requests that differ in their sizes alone: what they have in common, and the ways that they went."""

    model: Any  # kept, so that no other comes by its id
    constants: dict[str, Any] = field(default_factory=dict)
    ways: list[Way] = field(default_factory=list)
    long: int = 0  # requests that went the long way since one was written down
    given_up: bool = False

    def constant(self, name: str, make: Callable[[], Constant]) -> Constant:
        """What the sizes do not change, made once."""
        if name not in self.constants:
            self.constants[name] = make()
        found: Constant = self.constants[name]
        return found

    def phases(self, est: Estimate) -> dict[str, Phase]:
        """The phases of an estimate, where others came before it; empty where they have to be made the long way."""
        sizes = tuple([getattr(est.request, name) for name in est.NUMBERS])
        for i, way in enumerate(self.ways):
            found = way.phases(est, sizes)
            if found is not None:
                if i:  # what went last goes first
                    self.ways = [way, *(other for other in self.ways if other is not way)]
                return found
        self.long += 1
        if self.long < FIRST or self.given_up:
            return {}
        try:
            tape, phases = written(est)
        except (TypeError, RooflineError):
            self.given_up = True
            return {}
        way = Way(est.chip, tape, phases)
        self.ways = [way, *self.ways]
        self.long, self.given_up = 0, len(self.ways) >= MOST_WAYS
        return way.phases(est, sizes) or {}


def kind_of(est: Estimate) -> Kind | None:
    """The kind of an estimate of plain numbers; None where there are arrays among them."""
    request = est.request
    if (
        not est.NUMBERS
        or grids.varied(est.chip)
        or not all(type(getattr(request, name)) is int for name in est.NUMBERS)
    ):
        return None
    key = (type(est), id(est.model), _structure(est.NUMBERS)(request))
    kinds: dict[Any, Kind] = est.chip.bound_cache.setdefault("replays", {})
    try:
        kind = kinds.get(key)
    except TypeError:  # an array is no key
        return None
    if kind is None:
        if len(kinds) >= MOST_KINDS:
            kinds.clear()
        kind = kinds.setdefault(key, Kind(est.model))
    return kind


_STRUCTURES: dict[tuple[str, ...], Callable[[Request], Any]] = {}


def _structure(numbers: tuple[str, ...]) -> Callable[[Request], Any]:
    """All of a request that decides what runs, beside some sizes."""
    if numbers not in _STRUCTURES:
        left_out = (*numbers, *_NO_MATTER)
        _STRUCTURES[numbers] = operator.attrgetter(*(f.name for f in fields(Request) if f.name not in left_out))
    return _STRUCTURES[numbers]
