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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit, UnknownName, shown
from roofline.base.face import NUMBER, TEXT, optional, takes
from roofline.base.units import dtype_bytes, dtype_name, text
from roofline.catalog.load import CHIP, MODEL, Model, as_chip, as_model
from roofline.estimates.costing import COST
from roofline.estimates.inference import evaluate_op
from roofline.estimates.placement import ALL, TIERS, Placement, Shard
from roofline.estimates.request import USABLE_MEMORY, Request, between, usable_share, whole, zipf
from roofline.hardware.chip import Chip
from roofline.models.recommender import Recommender
from roofline.work import op

_TIME, _OVERHEAD = COST.index("time_s"), COST.index("overhead_s")

#: Plans up to which all of them are tried.
MOST_TRIED = 4000

#: Power of the chips' times that a search makes the sum of less.
POWER = 8

#: Rounds over all tables in search of a better place.
MOST_ROUNDS = 20

#: Exchanges of two tables that are tried in a round.
MOST_EXCHANGES = 2000

#: Parts that a table is split into by columns, and columns that a part has at least.
COLUMN_PARTS, LEAST_COLUMNS = (2, 4, 8), 16

#: What planners may be asked for: every way, or whole tables alone, or one way for all.
WAYS = ("auto", "table", "row", "replicated")


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way in which a table can lie: seconds and bytes that it costs each chip, as arrays over chips."""

    how: str
    tier: str
    devices: tuple[int, ...]
    seconds: np.ndarray
    size: np.ndarray


class _Costs:
    """What lookups cost on one chip, a batch."""

    def __init__(
        self, model: Recommender, chip: Chip, devices: int, batch: int, dtype: str, skew: float | None
    ) -> None:
        self.model, self.chip, self.devices, self.batch, self.dtype, self.skew = (
            model,
            chip,
            devices,
            batch,
            dtype,
            skew,
        )
        # A number sent takes as long as in one large exchange.
        self.number_s = 0.0
        if devices > 1:
            size = 1 << 26
            exchange = evaluate_op(op.all_to_all(bytes=size, devices=devices), chip)
            self.number_s = float(exchange[_TIME] - exchange[_OVERHEAD]) / size * 2
        self.tables = [(g, i) for g, group in enumerate(model.tables) for i in range(group.tables)]

    def seconds(
        self, table: tuple[int, int], *, rows: float = 1, samples: float = 1, columns: int = 1, tier: str
    ) -> float:
        """Looking up a table, or the part of it that one chip has: a share of its rows, or samples, or columns."""
        group = self.model.tables[table[0]]
        sizes: dict[str, Any] = {
            "batch": max(1.0, self.batch * samples / group.samples) * max(1, group.sequence), "tables": 1,
            "rows": max(1.0, group.rows[table[1]] * rows), "dim": max(1, group.dim // columns),
            "pooling": group.pooling[table[1]] * rows, "dtype": self.dtype,
            "skew": group.skew if self.skew is None else self.skew,
        }  # fmt: skip
        if tier == "memory":
            one = op.embedding_bag(**sizes, warm=True).with_args(room_share=1 / len(self.tables), launches=0.0)
        else:
            one = op.host_lookup(**sizes, gathers=tier != "kept").with_args(launches=0.0)
        return float(evaluate_op(one, self.chip)[_TIME])

    def shape(self, table: tuple[int, int]) -> tuple[Any, ...]:
        """What tells a table's costs from those of others."""
        group = self.model.tables[table[0]]
        return table[0], group.rows[table[1]], group.pooling[table[1]]

    def size(self, table: tuple[int, int]) -> float:
        """Bytes of a table."""
        group = self.model.tables[table[0]]
        return group.rows[table[1]] * group.dim * dtype_bytes(self.dtype) * group.owned

    def sent_s(self, table: tuple[int, int], columns: int = 1) -> float:
        """Sending its vectors, of all samples, to the chips whose samples they are of."""
        group = self.model.tables[table[0]]
        numbers = self.batch / group.samples * max(1, group.sequence) * group.dim / columns
        return numbers * self.number_s

    def part_s(self, table: tuple[int, int], how: str, tier: str, parts: int = 1) -> float:
        """What one chip that has a part of a table does for a batch: its lookups, and sending what they give (s)."""
        n = self.devices
        if how == "table" or n == 1:
            return self.seconds(table, tier=tier) + self.sent_s(table)
        if how == "row":  # hashed rows: as many lookups on each, and a partial sum of every sample from each
            return self.seconds(table, rows=1 / n, tier=tier) + self.sent_s(table)
        if how == "replicated":  # its own samples
            return self.seconds(table, samples=1 / n, tier=tier)
        return self.seconds(table, columns=parts, tier=tier) + self.sent_s(table, parts)

    def choices(self, table: tuple[int, int], ways: Sequence[str], tiers: Sequence[str]) -> list[_Choice]:
        """Every way in which a table can lie, whole ones first."""
        n, size, dim = self.devices, self.size(table), self.model.tables[table[0]].dim
        every, none = tuple(range(n)), np.zeros(n)
        out: list[_Choice] = []

        def add(how: str, tier: str, where: Sequence[tuple[int, ...]], parts: int, part_of: int) -> None:
            """One choice for each of the sets of chips: each chip has one of `part_of` parts of the bytes."""
            seconds = self.part_s(table, how, tier, parts)
            for devices in where:
                each, held = none.copy(), none.copy()
                each[list(devices)] = seconds
                held[list(devices)] = size / part_of if tier == "memory" else 0.0
                out.append(_Choice(how, tier, devices, each, held))

        for tier in tiers:
            if "table" in ways:
                add("table", tier, [(device,) for device in every], 1, 1)
            if n > 1 and "row" in ways:
                add("row", tier, [every], 1, n)
            if n > 1 and "replicated" in ways and tier == "memory":
                add("replicated", tier, [every], 1, 1)
            if n > 1 and "column" in ways and tier == "memory":
                for parts in COLUMN_PARTS:
                    if parts <= n and dim % parts == 0 and dim // parts >= LEAST_COLUMNS:
                        sets = [every[first : first + parts] for first in range(0, n - parts + 1, parts)]
                        add("column", tier, sets, parts, parts)
        return out


class _Search:
    """Plans over the choices of each table, by the time of the busiest chip, then by that of all."""

    def __init__(self, costs: _Costs, choices: list[list[_Choice]], room: float) -> None:
        self.costs, self.choices, self.room = costs, choices, room
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
        seconds, size = np.zeros(self.costs.devices), np.zeros(self.costs.devices)

        def weight(t: int) -> float:
            one = self.choices[t][0]
            return float(one.size.max() if by_size else one.seconds.max())

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
        return min([*firsts, *map(self.improved, firsts)], key=self.value)


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
    tiers: Sequence[str] = ("memory",),
    kept_share: float = 0.1,
    usable_memory: float = USABLE_MEMORY,
) -> Placement:
    """A placement of a recommendation model's tables over chips and memories, by what the lookups cost.

    Parameters
    ----------
    model : Recommender or str
    chip : Chip or str
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
    skew : float, optional
        Zipf exponent of the indices; default each table's own.
    tiers : sequence of str
        Memories to use, the preferred first: ``"memory"`` (the chip's), ``"host"`` (gathered by the host), ``"kept"``
        (the host's, the last used rows kept on the chip), ``"remote"``.
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
    """
    one, chip = as_model(model), as_chip(chip)
    if not isinstance(one, Recommender):
        raise BadWorkload(f"place: expected a recommendation model, found {one.name}, a language model")
    devices, batch, usable = whole("devices", devices), whole("batch", batch), usable_share(usable_memory)
    if how not in WAYS:
        raise UnknownName("way to place tables", how, WAYS)
    known = isinstance(tiers, list | tuple) and all(isinstance(tier, str) and tier in TIERS for tier in tiers)
    if not known or not tiers:
        raise BadWorkload(f"tiers: expected some of memory, host, kept and remote, found {shown(tiers)}")
    if devices > 1 and not chip.has_links:
        raise BadWorkload(f"{chip.name} describes no link to another chip: devices must be 1")
    dtype = dtype_name(chip.widest_matrix if dtype is None else dtype)
    table_dtype = dtype if table_dtype is None else dtype_name(table_dtype)
    skew = None if skew is None else float(zipf(skew))
    kept_part = float(between("kept_share", kept_share, "a fraction from 0 to 1", lambda v: (v >= 0) & (v <= 1)))
    capacity = float(np.mean(chip.level(chip.main_level, "capacity"))) * float(np.mean(usable))
    room = capacity - one.dense_bytes(dtype)
    kept = kept_part * capacity if "kept" in tiers else 0.0
    costs = _Costs(one, _plain(chip), devices, batch, table_dtype, skew)
    ways = ("table", "row", "column", "replicated") if how == "auto" else (how,)
    if how in ("row", "replicated") and devices == 1:
        ways = ("table",)
    alike: dict[Any, list[_Choice]] = {}  # tables of one shape cost alike
    choices = [
        alike.get(shape) or alike.setdefault(shape, costs.choices(table, ways, tiers))
        for table, shape in zip(costs.tables, map(costs.shape, costs.tables), strict=True)
    ]
    search = _Search(costs, choices, room - kept)
    plan = min((search.first(b) for b in (False, True)), key=search.value) if how == "table" else search.best()
    over, *_ = search.value(plan)
    if over > 0:
        needs, has = one.table_bytes(table_dtype) + devices * one.dense_bytes(dtype), devices * capacity
        raise DoesNotFit(
            f"the tables of {one.name} in {table_dtype} do not fit {devices} x {chip.name} this way: they need "
            f"{text(needs, 'B')}, and {text(has, 'B')} are usable",
            needs, has, [f"devices={2 * devices}", "tiers=('memory', 'host')"],
        )  # fmt: skip
    return Placement(one, devices, tuple(_shards(costs.tables, choices, plan)), table_dtype, kept)


def loads(
    placement: Placement, chip: Chip | str | os.PathLike[str], *, batch: int = 4096, skew: float | None = None
) -> np.ndarray:
    """What each chip has to do under a placement, as :func:`place` weighs it.

    Parameters
    ----------
    placement : Placement
    chip : Chip or str
    batch : int
        Samples, over all chips.
    skew : float, optional

    Returns
    -------
    ndarray
        Shape (devices,), s: lookups and sending what they give, for one batch; no launches.
    """
    n = placement.devices
    costs = _Costs(placement.model, _plain(as_chip(chip)), n, batch, placement.table_dtype, skew)
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
    if asked is None or (isinstance(asked, str) and asked == "even"):
        several = np.ndim(request.devices) or request.devices > 1
        note = "tables split evenly over the chips, which is a bound; placement='auto' places them"
        return replace(request, notes=(*request.notes, note) if several else request.notes)
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
    plan = place(
        model, chip, devices=int(request.devices), batch=int(np.median(request.batch)), dtype=request.dtype,
        table_dtype=table_dtype, skew=None if request.skew is None else float(np.median(request.skew)),
        usable_memory=float(np.median(request.usable_memory)),
    )  # fmt: skip
    return replace(request, placement=plan)


def _plain(chip: Chip) -> Chip:
    """The chip with plain numbers: the middle of those that are arrays."""
    numbers = {p: replace(n, value=float(np.median(n.value))) for p, n in chip.numbers.items() if np.ndim(n.value)}
    defaults = {p: replace(n, value=float(np.median(n.value))) for p, n in chip.defaults.items() if np.ndim(n.value)}
    if not numbers and not defaults:
        return chip
    return replace(chip, numbers={**chip.numbers, **numbers}, defaults={**chip.defaults, **defaults})


def _shards(tables: Sequence[tuple[int, int]], choices: Sequence[list[_Choice]], plan: Sequence[int]) -> list[Shard]:
    shards = []
    for (group, index), own, chosen in zip(tables, choices, plan, strict=True):
        one = own[chosen]
        if one.how in ("row", "replicated"):
            shards.append(Shard(group, index, one.how, one.tier, ALL))
        else:
            part = 1 / len(one.devices)
            shards += [Shard(group, index, one.how, one.tier, device, part) for device in one.devices]
    return shards
