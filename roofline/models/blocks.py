"""The vocabulary of a recommendation model's description: the types of block that its dense part is made of.

Each ``[[block]]`` of a model file is one of these types. A block takes features (named groups of vectors), checks that
they have the shape it needs, and plans itself: the feature it hands on, and the steps that compute it.
Adding a block type takes one class here or in ``ensembles.py``, and its name in :data:`Block`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from roofline.models.block import BlockBase, Count, Depth, Feature, Layers, Name, Plan, Width, flat, join
from roofline.models.ensembles import Dhen, SelfAttention, Wukong
from roofline.models.steps import Gram, Linear, Pointwise, SequenceAttention, Step


class Mlp(BlockBase):
    """Fully connected layers, each with a bias and a nonlinearity; the first width is that of the input.

    With ``each = true`` it runs on every vector of the input apart (the tokens of a sequence), else on all of them
    laid end to end.
    """

    type: Literal["mlp"]
    layers: Layers
    each: Annotated[bool, Field(strict=True)] = False

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        if self.each:
            steps = self._layers(self.layers, feature.dim, f"each vector of {feature.name}", rows=feature.vectors)
            return Feature(self.label, ((feature.vectors, self.layers[-1]),)), self._concat(inputs) + steps
        steps = self._layers(self.layers, feature.width, feature.name)
        return flat(self.label, self.layers[-1]), self._concat(inputs) + steps


class Towers(BlockBase):
    """One MLP of this shape for each task, with weights of its own; hands on the outputs of all."""

    type: Literal["towers"]
    tasks: Count = 1
    layers: Layers

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        steps = self._layers(self.layers, feature.width, feature.name, copies=self.tasks)
        return Feature(self.label, ((self.tasks, self.layers[-1]),)), self._concat(inputs) + steps


class Concat(BlockBase):
    """All inputs laid end to end; with ``each = true`` vector by vector: token i of one beside token i of the other."""

    type: Literal["concat"]
    each: Annotated[bool, Field(strict=True)] = False

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        if not self.each:
            return flat(self.label, join(inputs).width), self._concat(inputs)
        counts = [f.vectors for f in inputs]
        if len(set(counts)) > 1:
            raise ValueError(f"each: expected inputs of equally many vectors, found {counts}")
        return Feature(self.label, ((counts[0], sum(f.dim for f in inputs)),)), self._concat(inputs)


class Combine(BlockBase):
    """The elementwise sum or product of vectors of one width: of the inputs, if they are several, else within it."""

    type: Literal["combine"]
    how: Literal["sum", "product"]

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        shapes = {(f.vectors, f.dim) for f in inputs}
        if len(shapes) > 1:
            raise ValueError(f"expected inputs of one shape, found (vectors, width) of {sorted(shapes)}")
        ((vectors, dim),) = shapes
        terms, kept = (len(inputs), vectors) if len(inputs) > 1 else (vectors, 1)
        if terms < 2:
            raise ValueError(f"expected at least two vectors to combine, found one of width {dim}")
        step = Pointwise(self.label, "elementwise", dim, rows=kept, reads=terms, flops=terms - 1)
        return Feature(self.label, ((kept, dim),)), [step]


class Dot(BlockBase):
    """DLRM's interaction: the dot products of all pairs of vectors, and `keep`, an input passed on beside them."""

    type: Literal["dot"]
    keep: Name | None = None

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        kept = [f.width for f in inputs if f.name == self.keep]
        if self.keep is not None and not kept:
            raise ValueError(f"keep: expected one of the inputs {[f.name for f in inputs]}, found {self.keep!r}")
        gram = Gram(self.label, feature.vectors, feature.dim)
        if not gram.pairs:
            raise ValueError("expected at least two vectors, found one")
        out = gram.pairs + sum(kept)
        # The triangle is picked out of the square and written behind what is kept.
        pick = Pointwise(f"{self.label}.pick", "copy", out)
        return flat(self.label, out), [*self._concat(inputs), gram, pick]


class Cross(BlockBase):
    """DCN-v2's cross network: ``x0 * (W x + b) + x``, `layers` times; W of full rank unless `rank` is given."""

    type: Literal["cross"]
    layers: Depth
    rank: Width | None = None

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        width = join(inputs).width
        steps = self._concat(inputs)
        for i in range(self.layers):
            name = f"{self.label}.{i}"
            if self.rank is None:
                steps.append(Linear(name, width, width, activation=False))
            else:
                steps.append(Linear(f"{name}.down", width, self.rank, activation=False, bias=False))
                steps.append(Linear(f"{name}.up", self.rank, width, activation=False))
            steps.append(Pointwise(f"{name}.combine", "gate", width, reads=3, flops=2))
        return flat(self.label, width), steps


class LocalAttention(BlockBase):
    """DIN's activation unit: an MLP on ``[u; q; u + q]`` for each behaviour u against the query q, and their sum."""

    type: Literal["local_attention"]
    query: Name
    layers: Layers

    @property
    def takes(self) -> list[str]:
        return [*self.input, self.query]

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        *behaviours, query = inputs
        feature = join(behaviours)
        if query.vectors != 1 or query.dim != feature.dim:
            raise ValueError(
                f"query: expected one vector of width {feature.dim}, as the behaviours have, "
                f"found {query.vectors} of width {query.dim}"
            )
        if self.layers[-1] not in (1, feature.dim):
            raise ValueError(
                f"layers: the last number weights a behaviour, expected 1 or {feature.dim}, found {self.layers[-1]}"
            )
        count, dim = feature.vectors, feature.dim
        build = Pointwise(f"{self.label}.pair", "copy", 3 * dim, rows=count, reads=1 / 3, flops=1 / 3)
        layers = self._layers(self.layers, 3 * dim, "behaviour, query and their sum", rows=count)
        total = Pointwise(
            f"{self.label}.sum",
            "elementwise",
            dim,
            rows=count,
            reads=2,
            writes=1 / count,
            flops=2,
        )
        return flat(self.label, dim), [build, *layers, total]


_GATES = {"basic": 1, "gru": 3, "lstm": 4}


class Rnn(BlockBase):
    """A recurrent network over the vectors of the input, in their order; hands on the last state, or all of them."""

    type: Literal["rnn"]
    hidden: Width
    cell: Literal["basic", "gru", "lstm"] = "gru"
    output: Literal["last", "all"] = "last"

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        count, gates = feature.vectors, _GATES[self.cell] * self.hidden
        steps: list[Step] = [
            # The inputs of all steps are known beforehand: one product. The states are not: a product a step.
            Linear(f"{self.label}.input", feature.dim, gates, rows=count, activation=False),
            Linear(f"{self.label}.state", self.hidden, gates, repeats=count),
        ]
        kept = count if self.output == "all" else 1
        return Feature(self.label, ((kept, self.hidden),)), self._concat(inputs) + steps


class Hstu(BlockBase):
    """HSTU layers (Zhai et al. 2024) over a sequence; its last `candidates` vectors see the history, not each other.

    Each layer: norm; one product for U, V, Q, K with SiLU; attention without softmax; norm and gate by U; a product
    back to the width. Hands on the candidates or, where there are none, the last vector. Sequences are jagged, and
    nothing is padded: their number of vectors is a mean, and `jagged` their standard deviation over it.
    """

    type: Literal["hstu"]
    layers: Depth
    heads: Count
    qk_dim: Width
    linear_dim: Width
    candidates: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    jagged: Annotated[float, Field(strict=True, ge=0, le=10, allow_inf_nan=False)] = 0.0

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = join(inputs)
        tokens, dim, value = feature.vectors, feature.dim, self.heads * self.linear_dim
        if self.candidates >= tokens:
            raise ValueError(
                f"candidates: expected fewer than the {tokens} vectors of the sequence, found {self.candidates}"
            )
        wide = 2 * (value + self.heads * self.qk_dim)
        size: dict[str, Any] = {"rows": tokens, "copies": self.layers}
        steps: list[Step] = [
            Pointwise(f"{self.label}.norm", "layer_norm", dim, flops=8, weights=2 * dim, **size),
            Linear(f"{self.label}.uvqk", dim, wide, **size),
            SequenceAttention(
                f"{self.label}.attention",
                self.heads,
                self.qk_dim,
                self.linear_dim,
                tokens - self.candidates,
                self.candidates,
                self.layers,
                jagged=self.jagged,
            ),
            Pointwise(f"{self.label}.gate", "layer_norm", value, reads=2, flops=9, weights=2 * value, **size),
            Linear(f"{self.label}.out", value, dim, activation=False, **size),
        ]
        return Feature(self.label, ((self.candidates or 1, dim),)), self._concat(inputs) + steps


Block = Annotated[
    Mlp | Towers | Concat | Combine | Dot | Cross | LocalAttention | SelfAttention | Rnn | Hstu | Wukong | Dhen,
    Field(discriminator="type"),
]

BLOCKS: dict[str, type[BlockBase]] = {
    "mlp": Mlp, "towers": Towers, "concat": Concat, "combine": Combine, "dot": Dot, "cross": Cross,
    "local_attention": LocalAttention, "self_attention": SelfAttention, "rnn": Rnn, "hstu": Hstu, "wukong": Wukong,
    "dhen": Dhen,
}  # fmt: skip
