"""``place(model, chip, devices=8)``: where the tables go, by what they cost there.

Every way that a table can lie is costed by the operators that look it up. A first plan puts whole tables, dearest
first, where the least is to do; then tables are moved, split, copied and exchanged as long as the busiest chip gets
less to do. So it is never worse than the first plan, and for few tables every plan is tried.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit, UnknownName, shown
from roofline.base.face import NUMBER, TEXT, optional, takes
from roofline.base.units import dtype_name, text
from roofline.catalog.load import CHIP, MODEL, Model, as_chip, as_model
from roofline.estimates.placement import ALL, TIERS, Placement, Shard
from roofline.estimates.placement_costs import Choice, Costs, Rows, plain, sram_room
from roofline.estimates.request import (
    Request,
    between,
    repeated,
    scales,
    usable_share,
    whole,
    zipf,
)
from roofline.estimates.setaside import USABLE_MEMORY
from roofline.hardware.chip import Chip
from roofline.models.recommender import Recommender

#: Plans up to which all of them are tried.
MOST_TRIED = 4000

#: Power of the chips' times that a search makes the sum of less.
POWER = 8

#: Rounds over all tables in search of a better place.
MOST_ROUNDS = 20

#: Exchanges of two tables that are tried in a round.
MOST_EXCHANGES = 2000

#: What planners may be asked for: every way, or whole tables alone, or one way for all.
WAYS = ("auto", "table", "row", "replicated")

#: What is compared at most, kinds of tables by the square of the chips: half a gigabyte and some seconds.
MOST_COMPARED = 2**22


class TooManyChips(BadWorkload):
    """More chips than tables are placed over."""


class _Search:
    """Plans over the choices of each table, by the time of the busiest chip, then by that of all."""

    def __init__(self, costs: Costs, choices: list[list[Choice]], room: float) -> None:
        self.costs, self.choices = costs, choices
        self.room = np.repeat([room, 0.0 if costs.sram is None else costs.sram], costs.devices)
        self._seconds = [np.array([one.seconds for one in own]) for own in choices]
        self._sizes = [np.array([one.size for one in own]) for own in choices]

    def sums(self, plan: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and bytes of each chip."""
        chosen = [self.choices[t][c] for t, c in enumerate(plan)]
        return np.sum([one.seconds for one in chosen], axis=0), np.sum([one.size for one in chosen], axis=0)

    def value(self, plan: Sequence[int]) -> tuple[float, float, float]:
        """Bytes too many, time of the busiest chip, and of all of them."""
        seconds, size = self.sums(plan)
        return float(np.maximum(size - self.room, 0.0).sum()), float(seconds.max()), float(seconds.sum())

    def weight(self, seconds: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a search makes less of: bytes too many, and times to a high power.

        By the busiest chip alone a step that takes much from one and gives a little to all would seem to be of no use.
        """
        over = np.maximum(size - self.room, 0.0).sum(axis=-1)
        return over, (seconds**POWER).sum(axis=-1) ** (1 / POWER)

    def first(self, by_size: bool) -> list[int]:
        """Whole tables, the dearest first (or the largest), each where least is to do and where it fits."""
        plan = [0] * len(self.choices)
        seconds, size = np.zeros(self.costs.devices), np.zeros(2 * self.costs.devices)

        def weight(t: int) -> float:
            one = self.choices[t][0]
            return float(one.size[: self.costs.devices].max() if by_size else one.seconds.max())

        for t in sorted(range(len(self.choices)), key=weight, reverse=True):
            best: tuple[Any, ...] | None = None
            for c, one in enumerate(self.choices[t]):
                over = float(np.maximum(size + one.size - self.room, 0.0).sum())
                # Whole tables go first; another way only where none of them fits.
                key = (over, one.how != "table" or one.tier != "memory", float((seconds + one.seconds).max()), c)
                if best is None or key < best[0]:
                    best = (key, c)
            assert best is not None
            plan[t] = best[1]
            seconds, size = seconds + self.choices[t][plan[t]].seconds, size + self.choices[t][plan[t]].size
        return plan

    def improved(self, plan: list[int]) -> list[int]:
        """Moves of one table, then exchanges of two, as long as they help."""
        plan = list(plan)
        seconds, size = self.sums(plan)
        value = tuple(map(float, self.weight(seconds, size)))
        for _ in range(MOST_ROUNDS):
            before = value
            for t in sorted(range(len(plan)), key=lambda t: -float(self.choices[t][plan[t]].seconds.max())):
                own = self.choices[t]
                rest_s, rest = seconds - own[plan[t]].seconds, size - own[plan[t]].size
                all_s, all_size = self._seconds[t] + rest_s, self._sizes[t] + rest
                over, norm = self.weight(all_s, all_size)
                best = int(np.lexsort((norm, over))[0])
                new = (float(over[best]), float(norm[best]))
                if _less(new, value):
                    plan[t], value, seconds, size = best, new, all_s[best], all_size[best]
            value, seconds, size = self._exchanged(plan, value, seconds, size)
            if not _less(value, before):
                break
        return plan

    def _exchanged(self, plan: list[int], value: Any, seconds: np.ndarray, size: np.ndarray) -> tuple[Any, Any, Any]:
        """The same after two whole tables, one of the busiest chip, have changed places, if that helps."""
        busiest = int(np.argmax(seconds))
        mine = [t for t, c in enumerate(plan) if self.choices[t][c].devices == (busiest,)]
        others = [t for t, c in enumerate(plan) if len(self.choices[t][c].devices) == 1 and t not in mine]
        for one, other in itertools.islice(itertools.product(mine, others), MOST_EXCHANGES):
            first, second = self.choices[one][plan[one]], self.choices[other][plan[other]]
            if first.seconds.max() <= second.seconds.max():  # the busiest chip would get no less to do
                continue
            there, back = self._whole(one, second.devices, plan), self._whole(other, first.devices, plan)
            gain = [self.choices[one][there], self.choices[other][back]]
            all_s = seconds - first.seconds - second.seconds + gain[0].seconds + gain[1].seconds
            all_size = size - first.size - second.size + gain[0].size + gain[1].size
            new = tuple(map(float, self.weight(all_s, all_size)))
            if _less(new, value):
                plan[one], plan[other] = there, back
                return new, all_s, all_size
        return value, seconds, size

    def _whole(self, t: int, where: tuple[int, ...], plan: Sequence[int]) -> int:
        tier = self.choices[t][plan[t]].tier
        return next(c for c, one in enumerate(self.choices[t]) if one.devices == where and one.tier == tier)

    def best(self) -> list[int]:
        """Every plan where they are few, else the best that was come upon."""
        if math.prod(len(one) for one in self.choices) <= MOST_TRIED:
            plans = [list(plan) for plan in itertools.product(*(range(len(one)) for one in self.choices))]
            return min(plans, key=self.value)
        firsts = [self.first(by_size) for by_size in (False, True)]
        firsts += [plan for how in ("row", "replicated") if (plan := self.all_of(how)) is not None]
        return min([*firsts, *map(self.improved, firsts)], key=self.value)

    def all_of(self, how: str) -> list[int] | None:
        """Every table in that way and in main memory; None where one cannot be."""
        plan = [
            next((c for c, one in enumerate(own) if (one.how, one.tier) == (how, "memory")), -1) for own in self.choices
        ]
        return None if -1 in plan else plan


def _less(new: tuple[float, ...], old: tuple[float, ...]) -> bool:
    """Whether a plan is better by more than rounding."""
    for a, b in zip(new, old, strict=True):
        if a < b * (1 - 1e-9):
            return True
        if a > b * (1 + 1e-9):
            return False
    return False


@takes(model=MODEL, chip=CHIP, devices=NUMBER, batch=NUMBER, how=TEXT, dtype=optional(TEXT), table_dtype=optional(TEXT))
def place(
    model: Model | str | os.PathLike[str],
    chip: Chip | str | os.PathLike[str],
    *,
    devices: int = 1,
    batch: int = 4096,
    how: str = "auto",
    dtype: str | None = None,
    table_dtype: str | None = None,
    skew: float | None = None,
    repeat: float | None = None,
    scale_bytes: float | None = None,
    tiers: Sequence[str] = ("memory",),
    kept_share: float = 0.1,
    usable_memory: float = USABLE_MEMORY,
) -> Placement:
    """A placement of a recommendation model's tables over chips and memories, by what the lookups cost.

    Parameters
    ----------
    model : Recommender or str
        A recommendation model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    devices : int
        Chips that share the tables.
    batch : int
        Samples in a batch, over all chips, that the costs are those of.
    how : str
        ``"auto"``: whole, by rows, by columns or replicated, whichever is least to do for the busiest chip;
        ``"table"``: whole tables where least is to do, dearest first, and nothing else; ``"row"``, ``"replicated"``:
        all tables that way.
    dtype, table_dtype : str, optional
        As for :func:`roofline.estimate`.
    skew, repeat, scale_bytes : float, optional
        As for :func:`roofline.estimate`.
    tiers : sequence of str
        Memories to use, the preferred first: ``"sram"`` (whole in the chip's scratchpad, as far as activations and
        weights leave it; main memory's rows have what is left over), ``"memory"`` (the chip's main memory),
        ``"host"`` (gathered by the host), ``"kept"`` (the host's, the last used rows kept on the chip), ``"remote"``.
    kept_share : float
        Share of the chip's usable memory for rows that are kept, where ``"kept"`` is among the tiers.
    usable_memory : float
        Share of the chip's memory that the model may fill.

    Returns
    -------
    Placement
        ``.frame`` to read, ``.moved(...)`` to override, and an argument of ``estimate(placement=)``.

    Raises
    ------
    DoesNotFit
        When the tables do not fit into these memories.
    BadWorkload, UnknownName
        Also for more chips than can be compared: some hundreds, fewer where tables are of many kinds.

    Examples
    --------
    >>> import roofline as rl
    >>> plan = rl.place("dlrm-kaggle", "h100-sxm", devices=2)
    >>> len(plan.frame), rl.estimate("dlrm-kaggle", "h100-sxm", devices=2, placement=plan).fits
    (26, True)
    """
    one, chip = as_model(model), as_chip(chip)
    if not isinstance(one, Recommender):
        raise BadWorkload(f"place: expected a recommendation model, found {one.name}, a language model")
    devices, batch, usable = whole("devices", devices), whole("batch", batch), usable_share(usable_memory)
    if how not in WAYS:
        raise UnknownName("way to place tables", how, WAYS)
    known = isinstance(tiers, list | tuple) and all(isinstance(tier, str) and tier in TIERS for tier in tiers)
    if not known or not tiers:
        raise BadWorkload(f"tiers: expected some of {', '.join(TIERS)}, found {shown(tiers)}")
    if devices > 1 and not chip.has_links:
        raise BadWorkload(f"{chip.name} describes no link to another chip: devices must be 1")
    dtype = dtype_name(chip.widest_matrix if dtype is None else dtype)
    table_dtype = dtype if table_dtype is None else dtype_name(table_dtype)
    skew = None if skew is None else float(zipf(skew))
    kept_part = float(between("kept_share", kept_share, "a fraction from 0 to 1", lambda v: (v >= 0) & (v <= 1)))
    capacity = float(np.mean(chip.level(chip.main_level, "capacity"))) * float(np.mean(usable))
    room = capacity - one.dense_bytes(dtype)
    kept = kept_part * capacity if "kept" in tiers else 0.0
    repeat = None if repeat is None else float(repeated(repeat))
    beside = None if scale_bytes is None else float(scales(scale_bytes))
    fixed = plain(chip)
    sram = sram_room(one, fixed, devices, batch, dtype) if "sram" in tiers else None
    costs = Costs(one, fixed, devices, batch, Rows(table_dtype, skew, repeat, beside), sram)
    most = math.isqrt(MOST_COMPARED // len(set(map(costs.shape, costs.tables)))) if costs.tables else devices
    if devices > most:
        raise TooManyChips(
            f"place: expected at most {most:,} chips for the tables of {one.name}, found devices={devices:,}; "
            "placement='even' takes an even split over any number"
        )
    ways = ("table", "row", "column", "replicated") if how == "auto" else (how,)
    if how in ("row", "replicated") and devices == 1:
        ways = ("table",)
    alike: dict[Any, list[Choice]] = {}  # tables of one shape cost alike
    choices = [
        alike.get(shape) or alike.setdefault(shape, costs.choices(table, ways, tiers))
        for table, shape in zip(costs.tables, map(costs.shape, costs.tables), strict=True)
    ]
    search = _Search(costs, choices, room - kept)
    plan = min((search.first(b) for b in (False, True)), key=search.value) if how == "table" else search.best()
    over, *_ = search.value(plan)
    if over > 0:
        needs, has = float(one.table_bytes(table_dtype, beside)) + devices * one.dense_bytes(dtype), devices * capacity
        raise DoesNotFit(
            f"the tables of {one.name} in {table_dtype} do not fit {devices} x {chip.name} this way: they need "
            f"{text(needs, 'B')}, and {text(has, 'B')} are usable",
            needs,
            has,
            [f"devices={2 * devices}", "tiers=('memory', 'host')"],
        )
    return Placement(one, devices, tuple(_shards(costs.tables, choices, plan)), table_dtype, kept, beside)


def loads(
    placement: Placement,
    chip: Chip | str | os.PathLike[str],
    *,
    batch: int = 4096,
    skew: float | None = None,
    repeat: float | None = None,
) -> np.ndarray:
    """What each chip has to do under a placement, as :func:`place` weighs it.

    Parameters
    ----------
    placement : Placement
    chip : Chip or str
    batch : int
        Samples, over all chips.
    skew, repeat : float, optional

    Returns
    -------
    ndarray
        Shape (devices,), s: lookups and sending what they give, for one batch; no launches.
    """
    n, fixed = placement.devices, plain(as_chip(chip))
    rows = Rows(placement.table_dtype, skew, repeat, placement.scale_bytes)
    in_sram = any(shard.tier == "sram" for shard in placement.shards)
    sram = sram_room(placement.model, fixed, n, batch, dtype_name(fixed.widest_matrix)) if in_sram else None
    costs = Costs(placement.model, fixed, n, batch, rows, sram)
    total = np.zeros(n)
    for one in placement.shards:
        where = slice(None) if one.device == ALL else one.device
        total[where] += costs.part_s((one.group, one.index), one.how, one.tier, round(1 / one.columns))
    return total


def placed(model: Recommender, chip: Chip, request: Request, asked: object) -> Request:
    """The request with the placement that was asked for: a plan for all of its batches, on the chip's plain figures.

    Raises
    ------
    BadWorkload, UnknownName
        For what is no placement, or one of another model, number of chips or dtype.
    """
    several = bool(np.ndim(request.devices) or request.devices > 1)
    usual = asked is None
    if usual and not several:
        return request
    if usual:
        asked = "auto" if _one_point(request, chip) else "even"
    if isinstance(asked, str) and asked == "even":
        return _evenly(request, several)
    table_dtype = request.table_dtype or request.dtype
    if isinstance(asked, Placement):
        pairs: list[tuple[str, Any, Any]] = [
            ("model", model.name, asked.model.name),
            ("devices", request.devices, asked.devices),
            ("table dtype", table_dtype, asked.table_dtype),
        ]
        wrong = [f"{name} {shown(wanted)}, found {found}" for name, wanted, found in pairs if np.any(wanted != found)]
        if wrong:
            raise BadWorkload(f"placement: expected one for {', '.join(wrong)}")
        return replace(request, placement=asked)
    if not isinstance(asked, str):
        raise BadWorkload(f"placement: expected 'even', 'auto' or a placement of rl.place, found {shown(asked)}")
    if asked != "auto":
        raise UnknownName("placement", asked, ("even", "auto"))
    if isinstance(request.devices, np.ndarray):
        raise BadWorkload("placement='auto': expected one number of devices, found several; place them one by one")
    try:
        plan = _planned(model, chip, request, table_dtype)
    except (DoesNotFit, TooManyChips):
        if not usual:
            raise
        return _evenly(request, several)  # whose refusal says what would fit
    if usual:
        note = f"tables placed by cost: {plan.words}; placement='even' takes an even split, a bound"
        request = replace(request, notes=(*request.notes, note), unasked=True)
    return replace(request, placement=plan)


def _evenly(request: Request, several: bool) -> Request:
    """The request without a placement, and the note that says so."""
    note = "tables split evenly over the chips, which is a bound; placement='auto' places them"
    return replace(request, notes=(*request.notes, note)) if several else request


def _one_point(request: Request, chip: Chip) -> bool:
    """Whether neither the request nor the chip has an array: what is placed for one point is for no other."""
    sizes = (request.batch, request.devices, request.skew, request.repeat, request.scale_bytes, request.usable_memory)
    figures = (*chip.numbers.values(), *chip.defaults.values())
    values = (*sizes, *(one.value for one in figures))
    return not any(isinstance(value, np.ndarray) for value in values)


def _planned(model: Recommender, chip: Chip, request: Request, table_dtype: str) -> Placement:
    """The plan for all of a request's batches: at the median of what varies."""
    skew, repeat, beside = (
        None if value is None else float(np.median(value))
        for value in (request.skew, request.repeat, request.scale_bytes)
    )
    plan: Placement = place(
        model,
        chip,
        devices=int(request.devices),
        batch=int(np.median(request.batch)),
        dtype=request.dtype,
        table_dtype=table_dtype,
        skew=skew,
        repeat=repeat,
        scale_bytes=beside,
        usable_memory=float(np.median(request.usable_memory)),
    )
    return plan


def _shards(tables: Sequence[tuple[int, int]], choices: Sequence[list[Choice]], plan: Sequence[int]) -> list[Shard]:
    shards = []
    for (group, index), own, chosen in zip(tables, choices, plan, strict=True):
        one = own[chosen]
        if one.how in ("row", "replicated"):
            shards.append(Shard(group, index, one.how, one.tier, ALL))
        else:
            part = 1 / len(one.devices)
            shards += [Shard(group, index, one.how, one.tier, device, part) for device in one.devices]
    return shards
