"""Embedding tables: groups as a model file has them, the bags that kernels look up, and what one chip has of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

#: Tables are looked up in up to three groups, by rows: those that any cache holds, and those that none does.
SIZE_CLASSES = ((100_000, "small"), (10_000_000, "medium"), (math.inf, "large"))


@dataclass(frozen=True, slots=True)
class TableGroup:
    """Embedding tables of one width that feed one feature.

    Attributes
    ----------
    name : str
    rows : tuple of int
        Rows of each table.
    dim : int
        Elements of a row.
    pooling : tuple of float
        Rows that a sample looks up in each table and sums; all 1 for a sequence.
    sequence : int
        Rows that a sample looks up in each table and keeps apart; 0 for a pooled group.
    owned : bool
        False where another group owns the tables, and this one only reads them.
    together : bool
        Whether an index stands for a fixed list of rows, so that the rows of a bag always come together.
    skew : float
        Zipf exponent of the indices, where nobody asks for another; 0 is uniform.
    repeat : float
        Share of a batch's lookups that repeat those of the batch before, where nobody asks for another.
    popularity : tuple of (float, float)
        Measured instead: share of the rows and share of the lookups that they get, class by class; within a class rows
        are equally popular. Each list of shares sums to 1.
    samples : float
        Samples that share one lookup: those of a request, where the table is of its user; else 1.
    """

    name: str
    rows: tuple[int, ...]
    dim: int
    pooling: tuple[float, ...]
    sequence: int = 0
    owned: bool = True
    together: bool = False
    skew: float = 0.0
    popularity: tuple[tuple[float, float], ...] = ()
    samples: float = 1.0
    repeat: float = 0.0

    @property
    def tables(self) -> int:
        """Tables in the group."""
        return len(self.rows)

    @property
    def vectors(self) -> int:
        """Vectors a sample gets from it: one a table, or one a table and position of the sequence."""
        return self.tables * max(1, self.sequence)

    @property
    def lookups(self) -> float:
        """Rows a sample reads."""
        return sum(self.pooling) * max(1, self.sequence) / self.samples

    @property
    def params(self) -> int:
        """Elements of the tables that it owns."""
        return sum(self.rows) * self.dim if self.owned else 0


@dataclass(frozen=True, slots=True)
class Bag:
    """Tables of about one size, looked up by one kernel: sums and means that keep the rows and the lookups exact."""

    name: str
    tables: int
    rows: float
    dim: int
    pooling: float
    sequence: int
    together: bool = False
    skew: float | None = 0.0
    samples: float = 1.0
    repeat: float = 0.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one chip looks up, sends and is sent under a placement.

    Attributes
    ----------
    bags : tuple of Bag
        In the chip's own memory.
    pinned : tuple of Bag
        Whole in its scratchpad.
    hosted, kept, remote : tuple of Bag
        In the host's memory, gathered there; the same with the rows that were used last kept on the chip; in the memory
        of a server behind the network.
    kept_bytes : float
        Of the chip's memory, for the rows that are kept.
    indices : float
        Indices that the chip is sent for each sample of the whole batch.
    sent : float
        Numbers that it sends to other chips for each sample of the whole batch: pooled vectors and partial sums.
    """

    bags: tuple[Bag, ...]
    pinned: tuple[Bag, ...] = ()
    hosted: tuple[Bag, ...] = ()
    kept: tuple[Bag, ...] = ()
    remote: tuple[Bag, ...] = ()
    kept_bytes: float = 0.0
    indices: float = 0.0
    sent: float = 0.0

    def kept_bytes_of(self, bag: Bag) -> float:
        """The part of `kept_bytes` that a bag's rows have, by its size."""
        sizes = {one.name: one.tables * one.rows * one.dim for one in self.kept}
        return self.kept_bytes * sizes[bag.name] / sum(sizes.values())


def gathered(groups: tuple[TableGroup, ...]) -> tuple[Bag, ...]:
    """Gather the tables into a few bags, as fused kernels over many tables do.

    Every table apart would be a launch apart, and a breakdown that nobody reads. Tables of about one size go together:
    their rows and lookups are summed exactly, only how the lookups repeat within a table becomes an average.
    """
    alike: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    within: dict[str, set[Any]] = {}  # the bags that each group lies in
    inside: dict[Any, dict[str, None]] = {}  # and the groups in each bag
    for group in groups:
        for rows, pooling in zip(group.rows, group.pooling, strict=True):
            size = next(i for i, (limit, _) in enumerate(SIZE_CLASSES) if rows < limit)
            # Rows of one class are equally popular: to a cache the class is a table of its own.
            classes = group.popularity or ((1.0, 1.0),)
            for part, (of_rows, of_lookups) in enumerate(classes):
                measured = part + 1 if group.popularity else 0
                key = (
                    group.dim,
                    group.sequence,
                    size,
                    group.together,
                    group.skew,
                    group.samples,
                    group.repeat,
                    measured,
                )
                alike.setdefault(key, []).append((max(1.0, rows * of_rows), pooling * of_lookups))
                within.setdefault(group.name, set()).add(key)
                inside.setdefault(key, {})[group.name] = None
    dims, sequences, sizes = ({key[i] for key in alike} for i in range(3))
    bags = []
    for key, tables in sorted(alike.items()):
        dim, sequence, size, together, skew, samples, repeat, measured = key
        # A label says what tells the bags of this model apart, and no more: what the file calls them, else their size.
        parts = [
            f"dim{dim}" if len(dims) > 1 else "",
            SIZE_CLASSES[size][1] if len(sizes) > 1 else "",
            f"seq{sequence}" if len(sequences) > 1 and sequence else "",
        ]
        named = len(inside[key]) <= 3 and all(
            _is_given(name) and {k[:6] for k in within[name]} == {key[:6]} for name in inside[key]
        )
        if named:
            parts = ["+".join(inside[key])]
        n = len(tables)
        mean_rows, mean_pooling = sum(r for r, _ in tables) / n, sum(p for _, p in tables) / n
        # What a name or a size does not tell apart (users, skews, classes of popularity) is told by number.
        apart = {k[6:] if named else k[4:] for k in alike if k[:4] == key[:4] and (not named or k[:6] == key[:6])}
        if len(apart) > 1:
            parts.append(f"part{sorted(apart).index(key[6:] if named else key[4:]) + 1}")
        label = ".".join(["embedding", *filter(None, parts)])
        bags.append(
            Bag(label, n, mean_rows, dim, mean_pooling, sequence, together, None if measured else skew, samples, repeat)
        )
    return tuple(bags)


def _is_given(name: str) -> bool:
    """Whether a group has a name of its own; one that the file leaves unnamed gets a number."""
    return name != "embedding" and not (name.startswith("tables_") and name[7:].isdigit())
