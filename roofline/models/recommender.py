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

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.numeric import Numeric, ceil_div
from roofline.base.units import dtype_bytes, dtype_name
from roofline.models.steps import requests
from roofline.models.tables import Bag, Share, TableGroup, gathered
from roofline.work import op
from roofline.work.embedding import scales
from roofline.work.op import Op
from roofline.work.sizes import whole
from roofline.work.workload import Workload

if TYPE_CHECKING:
    from roofline.models.steps import Step


#: Dense features arrive, and predictions leave, as fp32.
HOST_BYTES = 4


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
        object.__setattr__(self, "bags", gathered(self.tables))

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

    def table_bytes(self, dtype: str = "fp32", scale_bytes: Numeric | None = None) -> Any:
        """Bytes of all embedding tables, rows stored in `dtype`, each with its scale and bias where it has them."""
        beside = scales(self.name, dtype, scale_bytes)["scale_bytes"]
        rows = sum(sum(group.rows) for group in self.tables if group.owned)
        return self.embedding_params * dtype_bytes(dtype) + rows * beside

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
        repeat: Numeric | None = None,
        scale_bytes: Numeric | None = None,
        share: Share | None = None,
    ) -> Workload:
        """The operators that one of `devices` chips runs to score one batch.

        The tables are spread over the chips, the dense part is replicated: a chip looks up its share of every sample
        of the batch, an all-to-all brings each sample's vectors together, and the chip runs the dense part on its
        ``ceil(batch / devices)`` samples. Without a `share` the placement is taken as even: each chip holds and looks
        up 1/devices of every table, and sends as much. That is a bound which a planner comes close to, and no plan.

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
        repeat : number or array
            Share of a batch's lookups that repeat those of the batch before. Default: each table's own.
        scale_bytes : number or array
            Bytes of the scale and the bias beside each row. Default: those that `table_dtype` usually has.
        share : Share, optional
            What the chip has of the tables under a placement.

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

        look = _Lookups(batch, table_dtype, travel, skew, repeat, scale_bytes)
        # Each chip is sent the dense features of its samples, and every sample's indices into its tables.
        if share is None:
            part = 1 if alone else 1 / devices
            indices, sent = self.lookups * part, self.embedding_width * part
            lookups = [look.up(bag, bag.tables if alone else bag.tables / devices) for bag in self.bags]
        else:
            indices, sent = share.indices, share.sent
            lookups = [look.up(bag, bag.tables) for bag in share.bags]
            lookups += [look.pinned(bag) for bag in share.pinned]
            lookups += [look.hosted(bag, "hosted") for bag in share.hosted]
            lookups += [look.hosted(bag, "kept", share.kept_bytes_of(bag)) for bag in share.kept]
            lookups += [look.hosted(bag, "remote") for bag in share.remote]
        inputs = own * (self.dense_features * HOST_BYTES) + batch * (indices * index_bytes)
        ops: list[Op] = []
        if share is None or self.dense_features or indices:  # a chip without tables may have nothing to be sent
            ops.append(op.host_copy(bytes=inputs, name="input_copy"))
        started: set[str] = set()
        for one in lookups:  # one kernel looks up all tables of a kind, or one each
            launches = float(one.kind not in started) if fused else one.args["tables"]
            ops.append(one.with_args(launches=launches))
            started.add(one.kind)
        if not alone and (share is None or share.sent):
            exchanged = batch * (sent * dtype_bytes(travel))
            ops.append(op.all_to_all(bytes=exchanged, devices=devices, name="embedding_all_to_all", scope="model"))
        for step in self.steps:
            ops.extend(step.ops(own, dtype, fused))
        ops.append(op.host_copy(bytes=own * (self.outputs * HOST_BYTES), name="output_copy"))
        return Workload(tuple(ops))


@dataclass(frozen=True, slots=True)
class _Lookups:
    """The lookups of one batch: in which dtypes, and how skewed."""

    batch: Numeric
    dtype: str
    travel: str
    skew: Numeric | None
    repeat: Numeric | None
    scale_bytes: Numeric | None

    def _sizes(self, bag: Bag) -> dict[str, Any]:
        own = bag.skew or 0.0
        return {
            "batch": requests(self.batch, bag.samples) * max(1, bag.sequence),
            "tables": bag.tables,
            "rows": bag.rows,
            "dim": bag.dim,
            "pooling": bag.pooling,
            "dtype": self.dtype,
            "out_dtype": self.travel,
            "skew": own if self.skew is None or bag.skew is None else self.skew,
            "repeat": bag.repeat if self.repeat is None else self.repeat,
            "together": max(1.0, bag.pooling) if bag.together else 1,
            "scale_bytes": self.scale_bytes,
        }

    def up(self, bag: Bag, tables: Numeric) -> Op:
        """In the chip's own memory, `tables` of them."""
        return op.embedding_bag(**self._sizes(bag), name=bag.name).with_args(tables=tables)

    def pinned(self, bag: Bag) -> Op:
        """In its scratchpad, whole: warm whatever ran before."""
        name = bag.name.replace("embedding", "embedding.sram", 1)
        return op.embedding_bag(**self._sizes(bag), warm=True, name=name)

    def hosted(self, bag: Bag, where: str, kept_bytes: float = 0.0) -> Op:
        """In the host's memory, or behind the network."""
        name = bag.name.replace("embedding", f"embedding.{where}", 1)
        return op.host_lookup(
            **self._sizes(bag), gathers=where != "kept", kept_bytes=kept_bytes, remote=where == "remote", name=name
        )
