"""What lies in a chip's cache or scratchpad from one batch of a recommendation model to the next.

Activations come first, then the weights of the dense part, which every batch reads whole; what they leave is the rows'.
All tables share it: a cache of the last used rows looks back on the same samples of every table (Che, Tung and Wang
2002), and software that pins rows takes those that are asked for most often for their bytes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.numeric import anywhere, choose, everywhere, maximum, minimum
from roofline.base.units import text
from roofline.hardware.chip import Chip
from roofline.kernels import lookups
from roofline.kernels.reference import lookups as arrays
from roofline.work.op import Op
from roofline.work.workload import Workload

#: Points of the curve of what tables take of a cache together.
CURVE_POINTS = 400

#: Steps of Newton's method (on logarithms) for the samples that a cache looks back on; of halving for what is pinned.
NEWTON_STEPS, HALVINGS = 8, 50

#: A table's rows count as differing in popularity by at least this exponent when software chooses which to pin.
LEAST_SKEW = 0.05

#: Logarithm of the most steps that a cache looks back on: for ever.
MOST_LOG = 600.0

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


@dataclass(frozen=True, slots=True)
class _Share:
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

    def seen(self, steps: Any) -> tuple[Any, Any]:
        """Bytes of the different rows drawn in a number of steps, and the slope of that."""
        fresh, part = _fresh(steps, self.repeat)
        draws = fresh * self.draws
        if any(isinstance(v, np.ndarray) for v in (draws, self.rows, self.skew)):
            count, slope = arrays.distinct(draws, self.rows, self.skew)  # type: ignore[no-untyped-call]
        else:
            first, last = lookups.first_rank(self.skew), math.log(self.rows + 0.5)
            count, slope = lookups.distinct(draws, self.rows, self.skew, first, last)
        covered, each = _covered(count, self.rows, self.together)
        return self.tables * self.size * covered, self.tables * self.size * each * slope * part * self.draws


def _fresh(steps: Any, repeat: Any) -> tuple[Any, Any]:
    """Steps' worth of draws that repeat none before them, and the slope of that."""
    share = choose(steps > 1.0, 1.0 - repeat, 1.0)
    return minimum(steps, 1.0) + (1.0 - repeat) * maximum(steps - 1.0, 0.0), share


def _covered(lists: Any, rows: Any, together: Any) -> tuple[Any, Any]:
    """Rows that different lists of `together` rows cover, and the slope of that; lists of one row are rows."""
    if not anywhere(together > 1.0):
        return lists, 1.0
    left = _exp(-lists * together / rows)
    several = together > 1.0
    return choose(several, rows * (1.0 - left), lists), choose(several, together * left, 1.0)


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
    if len(parts) == 1:
        return [minimum(room, parts[0].whole)]
    if not _plain(*(value for one in parts for value in _apart(one))):
        return _set_by_set(parts, room)
    first = parts[0]
    repeats = any(one.repeat > 0 for one in parts)  # a step is then a length of its own, and the curve no other's
    alike = all(_plain(one.rows) and _ratio(one, first) for one in parts)
    if alike and (not repeats or _plain(first.tables, first.draws)):
        tables, draws = (1.0, 1.0) if repeats else (_one(first.tables), _one(first.draws))
        key = tuple((_one(one.tables) / tables, one.rows, _one(one.draws) / draws, *_apart(one)) for one in parts)
        log_room, shares = _curve(key)
        at = np.log(np.maximum(room / (tables if repeats else first.tables), 1e-300))
        rooms = [np.interp(at, log_room, share) * room for share in shares]
        if not isinstance(at, np.ndarray):
            rooms = [float(size) for size in rooms]
        return [minimum(size, one.whole) for size, one in zip(rooms, parts, strict=True)]
    return _solved(parts, room)


def _set_by_set(parts: Sequence[_Share], room: Any) -> list[Any]:
    """The same where the bytes of a row or what tells how they are drawn vary: one curve for each set of them."""
    varied = np.stack(np.broadcast_arrays(*(value for one in parts for value in _apart(one))))
    sets, which = np.unique(varied.reshape(len(varied), -1), axis=1, return_inverse=True)
    out: list[Any] = [0.0] * len(parts)
    for i, own in enumerate(sets.T.tolist()):
        values = zip(parts, *(own[k::4] for k in range(4)), strict=True)
        changed = [replace(one, size=s, skew=a, together=t, repeat=r) for one, s, a, t, r in values]
        found = _last_used(changed, room)
        here = which.reshape(varied.shape[1:]) == i
        out = [np.where(here, new, old) for new, old in zip(found, out, strict=True)]
    return out


def _apart(one: _Share) -> tuple[Any, Any, Any, Any]:
    """What a curve is one for: size, skew, together, repeat."""
    return one.size, one.skew, one.together, one.repeat


def _plain(*values: Any) -> bool:
    return not any(isinstance(value, np.ndarray) for value in values)


def _one(value: Any) -> float:
    return float(value.flat[0]) if isinstance(value, np.ndarray) else float(value)


def _ratio(one: _Share, first: _Share) -> bool:
    """Whether a part has as many tables and draws for each of the first one's at every point."""
    for own, other in ((one.tables, first.tables), (one.draws, first.draws)):
        ratio = own / other
        if isinstance(ratio, np.ndarray) and not np.allclose(ratio, ratio.flat[0], rtol=1e-9):
            return False
    return True


@functools.lru_cache(maxsize=1024)
def _curve(parts: tuple[tuple[float, ...], ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logarithm of the bytes that parts take together as a cache looks back further and further, and the share of each.

    Parameters
    ----------
    parts : tuple
        Of each: tables, rows, draws a step, bytes of a row, skew, together, repeat; tables and draws over those of the
        first.
    """
    steps = np.geomspace(1e-3, 1e16, CURVE_POINTS)
    sizes = []
    for tables, rows, draws, size, skew, together, repeat in parts:
        count, _ = arrays.distinct(_fresh(steps, repeat)[0] * draws, rows, skew)  # type: ignore[no-untyped-call]
        covered, _ = _covered(np.minimum(count, rows), rows, np.float64(together))
        sizes.append(tables * size * covered)
    total = np.maximum.accumulate(np.sum(sizes, axis=0))
    return np.log(total), [size / total for size in sizes]


def _solved(parts: Sequence[_Share], room: Any) -> list[Any]:
    """The same where tables and draws of the parts vary each in its own way: by Newton's method at every point."""
    different = sum(part.tables * part.size * part.draws * part.together for part in parts)
    log_steps = _log(maximum(room / different, 1e-300))  # as if all were different: too few
    for _ in range(NEWTON_STEPS):
        seen = [part.seen(_exp(log_steps)) for part in parts]
        size, slope = maximum(sum(s for s, _ in seen), 1e-300), sum(s for _, s in seen)
        elasticity = maximum(_exp(log_steps) * slope / size, lookups.LEAST_SLOPE)
        log_steps = minimum(log_steps + _log(maximum(room, 1e-300) / size) / elasticity, MOST_LOG)
    steps = _exp(log_steps)
    sizes = [minimum(part.seen(steps)[0], part.whole) for part in parts]
    total = maximum(sum(sizes), 1e-300)
    scale = minimum(1.0, room / total)  # where Newton ended a little above
    whole = room >= sum(part.whole for part in parts)
    return [choose(whole, part.whole, size * scale) for part, size in zip(parts, sizes, strict=True)]


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
            covered, _ = _covered(minimum(rank, part.rows), part.rows, part.together)
            out.append(part.tables * part.size * covered)
        return out

    low, high = -200.0 + 0.0 * room, 200.0 + 0.0 * room
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fits = sum(chosen(middle)) <= room
        low, high = choose(fits, low, middle), choose(fits, middle, high)
    return [minimum(size, room) for size in chosen(high)]


def _log(value: Any) -> Any:
    return np.log(value) if isinstance(value, np.ndarray) else math.log(value)


def _exp(value: Any) -> Any:
    return np.exp(value) if isinstance(value, np.ndarray) else math.exp(value)


def _power(base: Any, exponent: Any) -> Any:
    return np.exp(exponent * np.log(base))
