"""What lies in a chip's cache or scratchpad from one batch of a recommendation model to the next.

Activations come first, then the weights of the dense part, which every batch reads whole; what they leave is the rows'.
All tables share it: a cache of the last used rows looks back on the same samples of every table (Che, Tung and Wang
2002), and software that pins rows takes those that are asked for most often for their bytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.numeric import anywhere, choose, everywhere, maximum, minimum
from roofline.base.units import text
from roofline.hardware.chip import Chip
from roofline.kernels import lookups
from roofline.kernels.reference import lookups as arrays
from roofline.work.op import Op
from roofline.work.workload import Workload

#: Steps that a cache looks back on: the points of the curve of what tables take of it together.
STEPS = np.geomspace(1e-3, 1e16, 400)

#: Steps at which the sizes of parts are looked at where each point has a curve of its own.
LOOKS = math.ceil(math.log2(len(STEPS))) + 2

#: Steps of halving for what is pinned: until roundings are all that is left.
HALVINGS = 58

#: A table's rows count as differing in popularity by at least this exponent when software chooses which to pin.
LEAST_SKEW = 0.05

#: Bytes lost to a cache of the last used lines for every byte too many, as of a matrix product's operands.
THRASH = 3.0


@dataclass(frozen=True, slots=True)
class Residence:
    """Bytes of the last level before main memory: who has them. Floats, or arrays.

    Attributes
    ----------
    capacity_bytes : float or array
    activations_bytes : float or array
        Inputs and results of the largest step; may be more than there is.
    weights_bytes, rows_bytes : float or array
        Weights of the dense part that stay from batch to batch, and what the rows have then.
    weights_share : float or array
        Share of the dense part's weights that stays: all where they fit beside the activations; as they are read in the
        same order batch after batch, a cache of the last used lines soon loses them where they do not.
    """

    capacity_bytes: Any
    activations_bytes: Any
    weights_bytes: Any
    rows_bytes: Any
    weights_share: Any


def residence(step: Workload, dense_bytes: float, chip: Chip) -> Residence:
    """Who has how much of the chip's last level before main memory while a step runs over and over.

    Parameters
    ----------
    step : Workload
        Of a recommendation model, as one chip runs it.
    dense_bytes : float
        Weights of its dense part.
    chip : Chip
    """
    capacity = chip.machine["cache_capacity"]
    live: Any = 0.0
    for one in step:
        live = maximum(live, _live_bytes(one))
    both = maximum(live + dense_bytes, 1.0)
    share = 1.0 - minimum(1.0, THRASH * maximum(both - capacity, 0.0) / both)
    left = maximum(capacity - live, 0.0)
    return Residence(capacity, live, minimum(left, share * dense_bytes), maximum(left - dense_bytes, 0.0), share)


def managed(chip: Chip) -> bool:
    """Whether software keeps activations in a part of that level of their own, where no row can displace them."""
    return bool(chip.flags.get(f"memory.{chip.cache_level}.type") == "scratchpad")


def _live_bytes(one: Op) -> Any:
    """Bytes of an operator's inputs and results beside weights and table rows."""
    a = one.args
    if one.kernel == "gemm":
        # A product of activations by activations has as many right-hand sides as left-hand ones.
        own = a["m"] * a["k"] * a["width"] + a["m"] * a["n"] * a["out_width"]
        return a["batch"] * own
    if one.kernel == "elementwise":
        return a["rows"] * a["cols"] * (a["reads"] * a["width"] + a["writes"] * a["out_width"])
    if one.kernel == "embedding_bag":
        return a["batch"] * a["tables"] * (a["pooling"] * lookups.INDEX_BYTES + a["dim"] * a["out_width"])
    return 0.0


# Rows of all tables in one cache ------------------------------------------------------------------------------------


class _Share(NamedTuple):
    """A bag's lookups as a cache sees them: `tables` tables of `rows` rows of `size` bytes, `draws` each a step.

    A draw brings a list of `together` rows, and a share `repeat` of a step's draws repeats those of the step before:
    see :func:`roofline.kernels.lookups.lookups_missed`.
    """

    tables: Any
    rows: Any
    size: Any
    draws: Any
    skew: Any
    together: Any = 1.0
    repeat: Any = 0.0

    @property
    def whole(self) -> Any:
        return self.tables * self.rows * self.size

    def seen(self, steps: np.ndarray) -> Any:
        """Bytes of the different rows drawn in a number of steps."""
        draws = _fresh(steps, self.repeat) * self.draws
        count, _ = arrays.distinct(draws, self.rows, self.skew)  # type: ignore[no-untyped-call]
        return self.tables * self.size * _covered(np.minimum(count, self.rows), self.rows, self.together)


def _fresh(steps: Any, repeat: Any) -> Any:
    """Steps' worth of draws that repeat none before them."""
    return minimum(steps, 1.0) + (1.0 - repeat) * maximum(steps - 1.0, 0.0)


def _covered(lists: Any, rows: Any, together: Any) -> Any:
    """Rows that different lists of `together` rows cover; lists of one row are rows."""
    several = together > 1.0
    return choose(several, -rows * np.expm1(-lists * together / rows), lists) if anywhere(several) else lists


def room_of(bag: Op, chip: Chip) -> tuple[Any, Any]:
    """Bytes that a bag's tables take of the last level before main memory, and that share of what rows can have."""
    share = chip.parameter("cache_share", ("embedding_bag",), bag.dtype)
    transaction = chip.parameter("transaction_bytes", ("embedding_bag",), bag.dtype)
    if share is None or transaction is None:  # which every family has
        return 0.0, 0.0
    size = _part(bag, transaction.value).whole
    return size, (1 + 1e-9) * size / maximum(share.value * chip.machine["cache_capacity"], 1.0)


def shared(step: Workload, chip: Chip, held: Residence) -> Workload:
    """The step with each bag told which part of the cache its rows have, and how much of that from batches before.

    A bag that is warm before it is told has its tables in the scratchpad by their placement: they come before the rows
    of others.

    Raises
    ------
    BadWorkload
        When such tables do not fit beside activations and weights.
    """
    if any(map(_stays, step)):
        step, held = _placed(step, chip, held)
    bags = [one for one in step if one.kernel == "embedding_bag" and not _stays(one)]
    if not bags:
        return step
    capacity = held.capacity_bytes
    share = chip.parameter("cache_share", ("embedding_bag",), bags[0].dtype)
    pinned = chip.parameter("pinned_share", ("embedding_bag",), bags[0].dtype)
    transaction = chip.parameter("transaction_bytes", ("embedding_bag",), bags[0].dtype)
    if share is None or pinned is None or transaction is None:  # which every family has
        return step
    usable = share.value * chip.machine["cache_capacity"]
    if not anywhere(usable > 0):
        return step
    apart = maximum(capacity - held.activations_bytes, 0.0) if managed(chip) else capacity
    room = share.value * apart  # while the lookups run
    kept = minimum(room, share.value * held.rows_bytes)  # when they begin, after weights and activations passed through
    if anywhere(pinned.value > 0):
        room = kept
    parts = [_part(one, transaction.value) for one in bags]
    split = _pinned if anywhere(pinned.value > 0) else _last_used
    rooms = split(parts, room)
    keeps = rooms if room is kept else split(parts, kept)
    told = iter(
        {
            "room_share": minimum(1.0, own / maximum(usable, 1.0)),
            "warm_share": minimum(1.0, still / maximum(own, 1e-9)),
        }
        for own, still in zip(rooms, keeps, strict=True)
    )
    return step.map(lambda one: one.with_args(**next(told)) if any(one is bag for bag in bags) else one)


def _stays(one: Op) -> bool:
    """Whether it looks up tables that lie in the scratchpad."""
    return one.kernel == "embedding_bag" and everywhere(one.args["warm_share"] == 1.0)


def _placed(step: Workload, chip: Chip, held: Residence) -> tuple[Workload, Residence]:
    """The step with the tables in the scratchpad told that all of their rows are there, and who has the rest of it."""
    rooms = {one.name: room_of(one, chip) for one in step if _stays(one)}
    taken = sum(size for size, _ in rooms.values())
    if not managed(chip):
        raise BadWorkload(
            f"placement: tables in SRAM want a scratchpad that software fills; the {chip.cache_level} of "
            f"{chip.name} is a cache"
        )
    if anywhere(taken > held.rows_bytes):
        raise BadWorkload(
            f"placement: tables of {text(float(np.max(taken)), 'B')} in SRAM, where activations and weights leave "
            f"{text(float(np.min(held.rows_bytes)), 'B')} of the {chip.cache_level} to rows; place fewer there"
        )
    step = step.map(lambda one: one.with_args(room_share=minimum(1.0, rooms[one.name][1])) if _stays(one) else one)
    return step, replace(held, capacity_bytes=held.capacity_bytes - taken, rows_bytes=held.rows_bytes - taken)


def _part(one: Op, transaction: Any) -> _Share:
    a = one.args
    row = np.ceil((a["dim"] * a["width"] + a["scale_bytes"]) / transaction) * transaction
    row = row if isinstance(row, np.ndarray) else float(row)
    together = a["together"]
    draws = a["batch"] * a["pooling"] / together
    return _Share(a["tables"], a["rows"], row, draws, a["skew"], together, a["repeat"])


def _last_used(parts: Sequence[_Share], room: Any) -> list[Any]:
    """Bytes of each part in a cache of the last used things: what all were drawn in the same last steps."""
    first, *others = parts
    if not others:
        return [minimum(room, first.whole)]
    # Over the tables and draws of the first, so that batches share a curve; where draws repeat those of the step
    # before, a step is a length of its own.
    repeats = sum(one.repeat for one in parts) > 0
    tables, draws = choose(repeats, 1.0, first.tables), choose(repeats, 1.0, first.draws)
    scaled = [one._replace(tables=one.tables / tables, draws=one.draws / draws) for one in parts]
    log_room = np.log(maximum(room / tables, 1e-300))
    same = [one for one in map(_same, scaled) if one is not None]
    shares = _on_curve(tuple(same), log_room) if len(same) == len(parts) else _between(scaled, log_room)
    return [minimum(share * room, one.whole) for share, one in zip(shares, parts, strict=True)]


def _same(one: _Share) -> _Share | None:
    """The part in plain numbers, where they are the same at every point up to their rounding; None where they vary."""
    values = []
    for value in one:
        if isinstance(value, np.ndarray):
            first = value.flat[0]
            if not np.allclose(value, first, rtol=1e-14, atol=0.0):
                return None
            value = first
        values.append(float(value))
    return _Share(*values)


def _on_curve(parts: tuple[_Share, ...], log_room: Any) -> list[Any]:
    """Share of the room that each part has, read off the one curve that all points have."""
    log_total, shares = _curve(parts)
    found = [np.interp(log_room, log_total, share) for share in shares]
    return found if isinstance(log_room, np.ndarray) else [float(share) for share in found]


@functools.lru_cache(maxsize=1024)
def _curve(parts: tuple[_Share, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logarithm of the bytes that parts take together as a cache looks back further and further, and the share of each.

    The parts are in plain numbers.
    """
    sizes = [one.seen(STEPS) for one in parts]
    total = np.maximum.accumulate(np.sum(sizes, axis=0))
    return np.log(total), [size / total for size in sizes]


def _between(parts: Sequence[_Share], log_room: Any) -> list[Any]:
    """The same where points have curves of their own: of each the two steps that enclose the room, by halving."""
    shape = np.broadcast_shapes(np.shape(log_room), *(np.shape(value) for one in parts for value in one))
    sizes_at = _sizes(parts, shape)
    low, high = np.zeros(shape, int), np.full(shape, len(STEPS) - 1)
    while anywhere(high - low > 1):
        middle = (low + high) // 2
        fits = np.log(sum(sizes_at(middle))) <= log_room
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    before, after = sizes_at(low), sizes_at(high)
    total_before, total_after = sum(before), sum(after)
    start, end = np.log(total_before), np.log(total_after)
    way = np.clip((log_room - start) / np.maximum(end - start, 1e-300), 0.0, 1.0)
    return [
        old / total_before + way * (new / total_after - old / total_before)
        for old, new in zip(before, after, strict=True)
    ]


def _sizes(parts: Sequence[_Share], shape: tuple[int, ...]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """What gives the bytes of each part at steps of :data:`STEPS`, of which there is one for each point of a shape.

    Where many points have a curve in common (those of one batch in samples of a chip), curves are made whole.
    """
    own = [np.broadcast_shapes(*map(np.shape, one)) for one in parts]
    if len(STEPS) * math.prod(np.broadcast_shapes(*own)) > LOOKS * math.prod(shape):
        return lambda at: [one.seen(STEPS[at]) for one in parts]
    steps = STEPS.reshape(-1, *(1,) * len(shape))
    curves = [np.asarray(one.seen(steps)) for one in parts]
    return lambda at: [np.take_along_axis(curve, at[None], 0)[0] for curve in curves]


def _pinned(parts: Sequence[_Share], room: Any) -> list[Any]:
    """Bytes of each part where the things most often asked for, for their bytes, are pinned."""

    def chosen(threshold: Any) -> list[Any]:
        """Bytes of the things that are drawn more often a byte and step than a threshold, given as its logarithm."""
        out = []
        for part in parts:
            skew = maximum(part.skew, LEAST_SKEW)
            power = 1.0 - skew
            power = choose(np.abs(power) < 1e-9, 1e-9, power)
            mass = (_power(part.rows + 0.5, power) - _power(0.5 + 0.058 * skew, power)) / power
            of_list = part.size * part.together
            rank = np.exp(np.clip((np.log(part.draws / mass / of_list) - threshold) / skew, -60.0, 60.0))
            covered = _covered(minimum(rank, part.rows), part.rows, part.together)
            out.append(part.tables * part.size * covered)
        return out

    low, high = -200.0 + 0.0 * room, 200.0 + 0.0 * room
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = sum(chosen(middle)) <= room
        low, high = choose(fits, low, middle), choose(fits, middle, high)
    return [minimum(size, room) for size in chosen(high)]


def _power(base: Any, exponent: Any) -> Any:
    return np.exp(exponent * np.log(base))
