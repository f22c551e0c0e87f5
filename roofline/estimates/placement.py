"""Where the tables of a recommendation model lie: which chip, which memory, whole or in parts.

A :class:`Placement` is a list of shards that one can read (``.frame``), change (``.moved``) and hand to
``estimate(placement=)``. Kinds of splitting, in the words of TorchRec:

- ``table``: whole, on one chip; its pooled vectors are sent to the chips whose samples they are of;
- ``row``: rows spread evenly over all chips by hashing; each sends its partial sums of every sample;
- ``column``: the columns spread over some chips; each looks up every index, for its part of the width;
- ``replicated``: whole on every chip, which looks up its own samples; nothing is sent.

and of memories: ``sram`` (whole in the chip's scratchpad), ``memory`` (the chip's main memory, of which the last level
of cache or scratchpad holds what it can), ``host`` (gathered by the host's cores), ``kept`` (in the host's memory,
the rows that were used last kept on the chip) and ``remote`` (gathered by a server behind the network).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.units import dtype_bytes
from roofline.models.recommender import Recommender
from roofline.models.tables import Share, TableGroup, gathered
from roofline.work.embedding import scales

if TYPE_CHECKING:
    import pandas as pd

#: How a table may be split, and where it may lie.
HOW = ("table", "row", "column", "replicated")
TIERS = ("sram", "memory", "host", "kept", "remote")

#: The other memories as a sentence has them.
_WORDS = {"sram": "SRAM", "host": "host", "kept": "kept", "remote": "remote"}

#: Device of a shard that all chips have a part of.
ALL = -1


@dataclass(frozen=True, slots=True)
class Shard:
    """A table, or the part of it that one chip has.

    Attributes
    ----------
    group, index : int
        Which group of tables of the model, and which table of it.
    how : str
        One of :data:`HOW`.
    tier : str
        One of :data:`TIERS`.
    device : int
        The chip; :data:`ALL` for what is split by rows or replicated.
    columns : float
        Share of the columns; 1 unless split by columns.
    """

    group: int
    index: int
    how: str = "table"
    tier: str = "memory"
    device: int = 0
    columns: float = 1.0


@dataclass(frozen=True)
class Placement:
    """Where every table lies.

    Attributes
    ----------
    model : Recommender
    devices : int
    shards : tuple of Shard
    table_dtype : str
        Of the rows.
    kept_bytes : float
        Of each chip's memory, for rows that are kept of tables in the host's.
    scale_bytes : float, optional
        Of the scale and the bias beside each row; None for those that such rows usually have.
    """

    model: Recommender
    devices: int
    shards: tuple[Shard, ...]
    table_dtype: str
    kept_bytes: float = 0.0
    scale_bytes: float | None = None

    def __post_init__(self) -> None:
        covered: dict[tuple[int, int], float] = {}
        for one in self.shards:
            if one.how not in HOW:
                raise UnknownName("way to split a table", one.how, HOW)
            if one.tier not in TIERS:
                raise UnknownName("memory for a table", one.tier, TIERS)
            if not (one.device == ALL if one.how in ("row", "replicated") else 0 <= one.device < self.devices):
                raise BadWorkload(
                    f"{self._name(one)}: expected a device from 0 to {self.devices - 1}, or {ALL} for what all have, "
                    f"found {shown(one.device)} for how={one.how!r}"
                )
            key = (one.group, one.index)
            covered[key] = covered.get(key, 0.0) + one.columns
        wanted = {(g, i) for g, group in enumerate(self.model.tables) for i in range(group.tables)}
        wrong = [key for key in wanted | covered.keys() if abs(covered.get(key, 0.0) - (key in wanted)) > 1e-6]
        if wrong:
            group, index = min(wrong)
            raise BadWorkload(
                f"placement of {self.model.name}: expected every table once, found table {index} of group {group} "
                f"{covered.get((group, index), 0.0):g} times"
            )

    def _name(self, one: Shard) -> str:
        return f"{self.model.tables[one.group].name}[{one.index}]"

    @property
    def frame(self) -> pd.DataFrame:
        """One row a shard: table, rows, dim, pooling, how, tier, device, columns (share), bytes (on each chip)."""
        import pandas as pd

        records = []
        for one in self.shards:
            group = self.model.tables[one.group]
            records.append(
                {
                    "table": self._name(one),
                    "rows": group.rows[one.index],
                    "dim": group.dim,
                    "pooling": group.pooling[one.index] * max(1, group.sequence),
                    "how": one.how,
                    "tier": one.tier,
                    "device": one.device,
                    "columns": one.columns,
                    "bytes": self.bytes_of(one),
                }
            )
        return pd.DataFrame.from_records(records)

    @classmethod
    def of(
        cls, model: Recommender, frame: pd.DataFrame, devices: int, table_dtype: str, kept_bytes: float = 0.0
    ) -> Any:
        """A placement out of a frame as :attr:`frame` has it, changed at will; columns but the last are read."""
        known = {f"{g.name}[{i}]": (n, i) for n, g in enumerate(model.tables) for i in range(g.tables)}
        shards = []
        for record in frame.to_dict("records"):
            if record["table"] not in known:
                raise UnknownName(f"table of {model.name}", str(record["table"]), known)
            group, index = known[record["table"]]
            shards.append(
                Shard(
                    group,
                    index,
                    str(record["how"]),
                    str(record["tier"]),
                    int(record["device"]),
                    float(record["columns"]),
                )
            )
        return cls(model, devices, tuple(shards), table_dtype, kept_bytes)

    def moved(self, table: str, *, how: str = "table", tier: str = "memory", device: int = 0) -> Placement:
        """The same with one table somewhere else, by its name in :attr:`frame`.

        Raises
        ------
        UnknownName, BadWorkload
        """
        names = {self._name(one) for one in self.shards}
        if table not in names:
            raise UnknownName(f"table of {self.model.name}", table, sorted(names))
        moved = next(one for one in self.shards if self._name(one) == table)
        new = replace(moved, how=how, tier=tier, device=ALL if how in ("row", "replicated") else device, columns=1.0)
        kept = tuple(one for one in self.shards if self._name(one) != table)
        return replace(self, shards=(*kept, new))

    def bytes_of(self, one: Shard) -> float:
        """Bytes of a shard on each chip (or host) that has it."""
        group = self.model.tables[one.group]
        beside = float(scales("placement", self.table_dtype, self.scale_bytes)["scale_bytes"])
        row = group.dim * one.columns * dtype_bytes(self.table_dtype) + beside
        return group.rows[one.index] * row * group.owned / (self.devices if one.how == "row" else 1)

    @functools.cached_property
    def device_bytes(self) -> tuple[float, ...]:
        """Bytes of tables, and of rows kept of others, in each chip's memory."""
        total = [0.0] * self.devices
        for one in self.shards:
            for device in self._on(one):
                total[device] += self.bytes_of(one) if one.tier == "memory" else 0.0
        kept = {d for one in self.shards if one.tier == "kept" for d in self._on(one)}
        return tuple(size + (self.kept_bytes if device in kept else 0.0) for device, size in enumerate(total))

    def _on(self, one: Shard) -> Iterable[int]:
        return range(self.devices) if one.device == ALL else (one.device,)

    @functools.cached_property
    def shares(self) -> tuple[Share, ...]:
        """What each chip looks up and sends."""
        return tuple(self._share(device) for device in range(self.devices))

    def _share(self, device: int) -> Share:
        here = [one for one in self.shards if one.device in (ALL, device)]
        indices = sent = 0.0
        for one in here:
            group = self.model.tables[one.group]
            own = one.how == "replicated"
            lookups = group.pooling[one.index] * max(1, group.sequence) / group.samples
            indices += lookups / (self.devices if one.how in ("row", "replicated") else 1)
            sent += 0.0 if own else max(1, group.sequence) * group.dim * one.columns / group.samples
        by_tier = {tier: gathered(self._groups([one for one in here if one.tier == tier])) for tier in TIERS}
        return Share(
            bags=by_tier["memory"],
            pinned=by_tier["sram"],
            hosted=by_tier["host"],
            kept=by_tier["kept"],
            remote=by_tier["remote"],
            kept_bytes=self.kept_bytes,
            indices=indices,
            sent=sent if self.devices > 1 else 0.0,
        )

    def _groups(self, shards: Sequence[Shard]) -> tuple[TableGroup, ...]:
        """The parts that a chip has, as groups of tables: fewer rows and lookups, or columns, or samples."""
        groups = []
        for one in shards:
            group = self.model.tables[one.group]
            part = self.devices if one.how == "row" else 1
            groups.append(
                replace(
                    group,
                    rows=(max(1, round(group.rows[one.index] / part)),),
                    pooling=(group.pooling[one.index] / part,),
                    dim=max(1, round(group.dim * one.columns)),
                    samples=group.samples * (self.devices if one.how == "replicated" else 1),
                    # A list of rows is spread with its rows.
                    together=group.together and one.how != "row",
                )
            )
        return tuple(groups)

    @property
    def words(self) -> str:
        """How many shards lie how, such as ``"12 column, 3 table in host"``."""
        counts: dict[str, int] = {}
        for one in self.shards:
            words = one.how if one.tier == "memory" else f"{one.how} in {_WORDS[one.tier]}"
            counts[words] = counts.get(words, 0) + 1
        return ", ".join(f"{n} {words}" for words, n in sorted(counts.items()))

    def __repr__(self) -> str:
        return f"<Placement of {self.model.name} on {self.devices}: {self.words}>"


def even(model: Recommender, devices: int, table_dtype: str) -> Placement:
    """Every table split by rows over all chips."""
    shards = (
        Shard(g, i, "row", "memory", ALL) if devices > 1 else Shard(g, i)
        for g, group in enumerate(model.tables)
        for i in range(group.tables)
    )
    return Placement(model, devices, tuple(shards), table_dtype)
