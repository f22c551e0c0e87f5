"""Recommendation models: embedding tables, then an ordered list of dense blocks, read from a short TOML file.

A description names its tables and its blocks (see ``blocks.py`` for the vocabulary)::

    title = "My ranker"
    source = "our design note 7"
    dense_features = 13
    tables = [{ rows = 1_000_000, count = 26, dim = 64, pooling = 4 }]
    block = [
      { type = "mlp", name = "bottom_mlp", input = "dense", layers = [13, 512, 64] },
      { type = "dot", input = ["bottom_mlp", "embedding"], keep = "bottom_mlp" },
      { type = "mlp", name = "top_mlp", layers = [415, 256, 1] },
    ]

A block's `input` is ``"dense"``, ``"embedding"`` (all tables), a group of tables or an earlier block, by name; without
one it is what the block before hands on. A file is data: nothing in it is evaluated, and its size is bounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.numeric import Numeric, ceil_div
from roofline.base.units import dtype_bytes, dtype_name
from roofline.models.steps import requests
from roofline.work import op
from roofline.work.op import Op
from roofline.work.sizes import whole
from roofline.work.workload import Workload

if TYPE_CHECKING:
    from roofline.models.steps import Step


#: Dense features arrive, and predictions leave, as fp32.
HOST_BYTES = 4

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


@dataclass(frozen=True)
class Recommender:
    """A recommendation model: what it looks up, and what it computes on that.

    Attributes
    ----------
    name, title, source, note : str
        The file's name, what people call the model, where its figures were read, and what to know about them.
    aliases : tuple of str
        Other names it goes by.
    dense_features : int
        Numbers that arrive with each sample.
    tables : tuple of TableGroup
    blocks : tuple of (str, str)
        Name and type of each block, in order.
    steps : tuple of Step
        What the dense part runs, in order.
    outputs : int
        Numbers that the model answers with for each sample.
    pairs_per_request : float
        Samples (user-item pairs) that one request asks to score, on average; 1 where a sample is a request.
    """

    name: str
    title: str
    source: str
    dense_features: int
    tables: tuple[TableGroup, ...]
    blocks: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    outputs: int
    pairs_per_request: float = 1
    aliases: tuple[str, ...] = ()
    note: str = ""
    bags: tuple[Bag, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "bags", _bags(self.tables))

    # Sizes, per sample where nothing else is said ---------------------------------------------------------------

    @property
    def embedding_params(self) -> int:
        """Elements of all embedding tables."""
        return sum(group.params for group in self.tables)

    @property
    def dense_params(self) -> int:
        """Weights and biases outside the embedding tables."""
        return sum(step.params for step in self.steps)

    @property
    def params(self) -> int:
        """All parameters."""
        return self.embedding_params + self.dense_params

    def table_bytes(self, dtype: str = "fp32") -> float:
        """Bytes of all embedding tables, rows stored in `dtype`."""
        return self.embedding_params * dtype_bytes(dtype)

    def dense_bytes(self, dtype: str = "fp32") -> float:
        """Bytes of the dense part's parameters, which every chip holds whole."""
        return self.dense_params * dtype_bytes(dtype)

    @property
    def lookups(self) -> float:
        """Embedding rows that a sample reads."""
        return sum(group.lookups for group in self.tables)

    @property
    def embedding_width(self) -> float:
        """Elements that the lookups hand to the dense part."""
        return sum(group.vectors * group.dim / group.samples for group in self.tables)

    @property
    def flops_per_sample(self) -> float:
        """Matrix FLOP that a sample needs, two a multiply-add; pooling and elementwise work are not counted."""
        return 2 * sum(step.macs for step in self.steps)

    def gathered_bytes(self, dtype: str = "fp32") -> float:
        """Bytes of the embedding rows that a sample reads, rows stored in `dtype`."""
        return sum(group.lookups * group.dim for group in self.tables) * dtype_bytes(dtype)

    # The work of one batch --------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """The shape in words and numbers, as ``roofline models NAME`` shows it."""
        return {
            "name": self.name,
            "title": self.title,
            "parameters": int(self.params),
            "of which outside the tables": int(self.dense_params),
            "tables": sum(group.tables for group in self.tables if group.owned),
            "lookups a sample": self.lookups,
            "MFLOP a sample": round(self.flops_per_sample / 1e6, 4),
            "bytes gathered a sample (fp32)": int(self.gathered_bytes("fp32")),
            "table bytes (fp32)": int(self.table_bytes("fp32")),
            "blocks": ", ".join(name for name, *_ in self.blocks),
            "samples a request": self.pairs_per_request,
            "source": self.source,
            "note": self.note,
        }

    def step(
        self,
        batch: Numeric,
        dtype: str = "fp32",
        table_dtype: str | None = None,
        devices: Numeric = 1,
        skew: Numeric | None = None,
        *,
        index_bytes: int = 8,
        fused: bool = True,
    ) -> Workload:
        """The operators that one of `devices` chips runs to score one batch.

        The tables are spread over the chips, the dense part is replicated: a chip looks up its share of every sample
        of the batch, an all-to-all brings each sample's vectors together, and the chip runs the dense part on its
        ``ceil(batch / devices)`` samples. Placement is taken as even: each chip holds and looks up 1/devices of every
        table, as a planner comes close to by splitting tables that are larger than a chip by rows. The imbalance of
        a placement by whole tables, and the partial sums of a split one, are not modelled.

        Parameters
        ----------
        batch : number or array
            Samples in the batch, over all chips.
        dtype : str
            Of the dense arithmetic and weights. Activations travel in it, but in no less than 16 bits.
        table_dtype : str, optional
            Of the embedding rows in memory. Default: `dtype`.
        devices : number or array
            Chips that share the work.
        skew : number or array
            Zipf exponent of the index distribution; 0 is uniform. Default: each table's own.
        index_bytes : int
            Of one index sent by the host: 8 as PyTorch has it by default, or 4.
        fused : bool
            Whether nonlinearities run in the epilogue of their product, and one kernel looks up all tables, as
            inference libraries and compilers have it, rather than kernels of their own.

        Returns
        -------
        Workload
            Operators in order; those of the sparse part have ``shard == "tables"``.

        Raises
        ------
        BadWorkload
            For a batch or a number of devices that is no whole number of at least 1, a skew below 0 or above 5, an
            unknown dtype.
        """
        batch, devices = whole(self.name, batch=batch, devices=devices).values()
        dtype = dtype_name(dtype)
        table_dtype = dtype_name(table_dtype or dtype)
        travel = op.wide(dtype)
        own = ceil_div(batch, devices)
        alone = not isinstance(devices, np.ndarray) and devices == 1

        # Each chip is sent the dense features of its samples, and every sample's indices into its tables.
        inputs = own * (self.dense_features * HOST_BYTES) + batch * (self.lookups * index_bytes) / devices
        ops: list[Op] = [op.host_copy(bytes=inputs, name="input_copy")]
        for place, bag in enumerate(self.bags):
            lookup = op.embedding_bag(
                batch=requests(batch, bag.samples) * max(1, bag.sequence),
                tables=bag.tables,
                rows=bag.rows,
                dim=bag.dim,
                pooling=bag.pooling,
                dtype=table_dtype,
                out_dtype=travel,
                skew=bag.skew or 0.0 if skew is None or bag.skew is None else skew,
                together=max(1.0, bag.pooling) if bag.together else 1,
                name=bag.name,
            )
            # One kernel looks up all tables, or one each.
            launches = float(place == 0) if fused else bag.tables
            ops.append(lookup.with_args(launches=launches, tables=bag.tables if alone else bag.tables / devices))
        if not alone:
            sent = batch * (self.embedding_width * dtype_bytes(travel)) / devices
            ops.append(op.all_to_all(bytes=sent, devices=devices, name="embedding_all_to_all", scope="model"))
        for step in self.steps:
            ops.extend(step.ops(own, dtype, fused))
        ops.append(op.host_copy(bytes=own * (self.outputs * HOST_BYTES), name="output_copy"))
        return Workload(tuple(ops))


def _bags(groups: tuple[TableGroup, ...]) -> tuple[Bag, ...]:
    """Gather the tables into a few bags, as fused kernels over many tables do.

    Every table apart would be a launch apart, and a breakdown that nobody reads. Tables of about one size go together:
    their rows and lookups are summed exactly, only how the lookups repeat within a table becomes an average.
    """
    gathered: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    within: dict[str, set[Any]] = {}  # the bags that each group lies in
    inside: dict[Any, dict[str, None]] = {}  # and the groups in each bag
    for group in groups:
        for rows, pooling in zip(group.rows, group.pooling, strict=True):
            size = next(i for i, (limit, _) in enumerate(SIZE_CLASSES) if rows < limit)
            # Rows of one class are equally popular: to a cache the class is a table of its own.
            parts = group.popularity or ((1.0, 1.0),)
            for part, (of_rows, of_lookups) in enumerate(parts):
                measured = part + 1 if group.popularity else 0
                key = (group.dim, group.sequence, size, group.together, group.skew, group.samples, measured)
                gathered.setdefault(key, []).append((max(1.0, rows * of_rows), pooling * of_lookups))
                within.setdefault(group.name, set()).add(key)
                inside.setdefault(key, {})[group.name] = None
    dims, sequences, sizes = ({key[i] for key in gathered} for i in range(3))
    bags = []
    for key, tables in sorted(gathered.items()):
        dim, sequence, size, together, skew, samples, measured = key
        # A label says what tells the bags of this model apart, and no more: what the file calls them, else their size.
        parts = [
            f"dim{dim}" if len(dims) > 1 else "",
            SIZE_CLASSES[size][1] if len(sizes) > 1 else "",
            f"seq{sequence}" if len(sequences) > 1 and sequence else "",
        ]
        if len(inside[key]) <= 3 and all(
            _is_given(name) and {k[:6] for k in within[name]} == {key[:6]} for name in inside[key]
        ):
            parts = ["+".join(inside[key])]
        n = len(tables)
        mean_rows, mean_pooling = sum(r for r, _ in tables) / n, sum(p for _, p in tables) / n
        # Users, distributions and classes of popularity come apart, and are told by number where names are not enough.
        apart = {k[4:] for k in gathered if k[:4] == key[:4]}
        if len(apart) > 1:
            parts.append(f"part{sorted(apart).index(key[4:]) + 1}")
        label = ".".join(["embedding", *filter(None, parts)])
        bags.append(
            Bag(label, n, mean_rows, dim, mean_pooling, sequence, together, None if measured else skew, samples)
        )
    return tuple(bags)


def _is_given(name: str) -> bool:
    """Whether a group has a name of its own; one that the file leaves unnamed gets a number."""
    return name != "embedding" and not (name.startswith("tables_") and name[7:].isdigit())
