"""What each way in which a table can lie costs each chip: seconds of its lookups, bytes of its memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.units import dtype_bytes
from roofline.estimates.costing import COST
from roofline.estimates.inference import evaluate_op
from roofline.estimates.residence import managed, residence, room_of
from roofline.hardware.chip import Chip
from roofline.models.recommender import Recommender
from roofline.work import op
from roofline.work.embedding import scales

TIME, OVERHEAD = COST.index("time_s"), COST.index("overhead_s")

#: Parts that a table is split into by columns, and columns that a part has at least.
COLUMN_PARTS, LEAST_COLUMNS = (2, 4, 8), 16


@dataclass(frozen=True, slots=True)
class Choice:
    """One way in which a table can lie: seconds that it costs each chip, bytes of each main memory and scratchpad."""

    how: str
    tier: str
    devices: tuple[int, ...]
    seconds: np.ndarray
    size: np.ndarray


@dataclass(frozen=True, slots=True)
class Rows:
    """How rows are stored and drawn: dtype; skew, repeat and bytes of scales where one asks for others than usual."""

    dtype: str
    skew: float | None = None
    repeat: float | None = None
    scale_bytes: float | None = None


class Costs:
    """What lookups cost on one chip, a batch."""

    def __init__(
        self, model: Recommender, chip: Chip, devices: int, batch: int, rows: Rows, sram: float | None = None
    ) -> None:
        self.model, self.chip, self.devices, self.batch, self.rows = model, chip, devices, batch, rows
        # Bytes of the scratchpad that tables may be placed in, and what each table of main memory has of it.
        self.sram = sram
        self.own_sram = 0.0 if sram is None else (1 - 1e-9) * sram / sum(group.tables for group in model.tables)
        # A number sent takes as long as in one large exchange.
        self.number_s = 0.0
        if devices > 1:
            size = 1 << 26
            exchange = evaluate_op(op.all_to_all(bytes=size, devices=devices), chip)
            self.number_s = float(exchange[TIME] - exchange[OVERHEAD]) / size * 2
        self.tables = [(g, i) for g, group in enumerate(model.tables) for i in range(group.tables)]

    def seconds(
        self, table: tuple[int, int], *, rows: float = 1, samples: float = 1, columns: int = 1, tier: str
    ) -> float:
        """Looking up a table, or the part of it that one chip has: a share of its rows, or samples, or columns."""
        group = self.model.tables[table[0]]
        sizes: dict[str, Any] = {
            "batch": max(1.0, self.batch * samples / group.samples) * max(1, group.sequence), "tables": 1,
            "rows": max(1.0, group.rows[table[1]] * rows), "dim": max(1, group.dim // columns),
            "pooling": group.pooling[table[1]] * rows, "dtype": self.rows.dtype,
            "skew": group.skew if self.rows.skew is None else self.rows.skew,
            "repeat": group.repeat if self.rows.repeat is None else self.rows.repeat,
            "scale_bytes": self.rows.scale_bytes,
        }  # fmt: skip
        if tier in ("sram", "memory"):
            one = op.embedding_bag(**sizes, warm=True)
            size, share = room_of(one, self.chip)
            if tier == "memory":  # an equal part of what rows can have of the level before main memory
                share = 1 / len(self.tables) if self.sram is None else share * self.own_sram / size
        else:
            one, share = op.host_lookup(**sizes, gathers=tier != "kept"), None
        one = one.with_args(launches=0.0, **({} if share is None else {"room_share": min(1.0, float(share))}))
        return float(evaluate_op(one, self.chip)[TIME])

    def sram_bytes(self, table: tuple[int, int], part_of: int) -> float:
        """Bytes of the scratchpad that a part of a table takes, whole."""
        group = self.model.tables[table[0]]
        one = op.embedding_bag(
            batch=1,
            tables=1,
            rows=group.rows[table[1]],
            dim=group.dim,
            pooling=1,
            dtype=self.rows.dtype,
            scale_bytes=self.rows.scale_bytes,
        )
        return float(room_of(one, self.chip)[0]) / part_of

    def shape(self, table: tuple[int, int]) -> tuple[Any, ...]:
        """What tells a table's costs from those of others."""
        group = self.model.tables[table[0]]
        return table[0], group.rows[table[1]], group.pooling[table[1]]

    def size(self, table: tuple[int, int]) -> float:
        """Bytes of a table."""
        group = self.model.tables[table[0]]
        beside = float(scales("place", self.rows.dtype, self.rows.scale_bytes)["scale_bytes"])
        return group.rows[table[1]] * (group.dim * dtype_bytes(self.rows.dtype) + beside) * group.owned

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

    def choices(self, table: tuple[int, int], ways: Sequence[str], tiers: Sequence[str]) -> list[Choice]:
        """Every way in which a table can lie, whole ones first."""
        n, size, dim = self.devices, self.size(table), self.model.tables[table[0]].dim
        every, none = tuple(range(n)), np.zeros(n)
        padded = 0.0 if self.sram is None else self.sram_bytes(table, 1)
        out: list[Choice] = []

        def add(how: str, tier: str, where: Sequence[tuple[int, ...]], parts: int, part_of: int) -> None:
            """One choice for each of the sets of chips: each chip has one of `part_of` parts of the bytes."""
            seconds = self.part_s(table, how, tier, parts)
            for devices in where:
                each, held = none.copy(), np.zeros(2 * n)  # of the main memories, then of the scratchpads
                each[list(devices)] = seconds
                held[list(devices)] = size / part_of if tier == "memory" else 0.0
                here = padded / part_of if tier in ("sram", "memory") else 0.0
                held[[n + device for device in devices]] = here if tier == "sram" else min(here, self.own_sram)
                out.append(Choice(how, tier, devices, each, held))

        for tier in tiers:
            if "table" in ways:
                add("table", tier, [(device,) for device in every], 1, 1)
            if n > 1 and "row" in ways:
                add("row", tier, [every], 1, n)
            if n > 1 and "replicated" in ways and tier in ("sram", "memory"):
                add("replicated", tier, [every], 1, 1)
            if n > 1 and "column" in ways and tier in ("sram", "memory"):
                for parts in COLUMN_PARTS:
                    if parts <= n and dim % parts == 0 and dim // parts >= LEAST_COLUMNS:
                        sets = [every[first : first + parts] for first in range(0, n - parts + 1, parts)]
                        add("column", tier, sets, parts, parts)
        return out


def sram_room(model: Recommender, chip: Chip, devices: int, batch: int, dtype: str) -> float:
    """Bytes of a chip's scratchpad that activations and weights leave to tables while a batch runs.

    Raises
    ------
    BadWorkload
        Where hardware fills the level before main memory.
    """
    if not managed(chip):
        raise BadWorkload(
            f"tiers: sram is a scratchpad that software fills; the {chip.cache_level or 'cache'} of {chip.name} is none"
        )
    step = model.step(batch, dtype, devices=devices)
    rows = float(residence(step, model.dense_bytes(dtype), chip).rows_bytes)
    share = chip.parameter("cache_share", ("embedding_bag",), dtype)
    return rows * (1.0 if share is None else float(share.value))


def plain(chip: Chip) -> Chip:
    """The chip with plain numbers: the middle of those that are arrays."""
    numbers = {p: replace(n, value=float(np.median(n.value))) for p, n in chip.numbers.items() if np.ndim(n.value)}
    defaults = {p: replace(n, value=float(np.median(n.value))) for p, n in chip.defaults.items() if np.ndim(n.value)}
    if not numbers and not defaults:
        return chip
    return replace(chip, numbers={**chip.numbers, **numbers}, defaults={**chip.defaults, **defaults})
