"""The vocabulary of a recommendation model's description: the types of block that its dense part is made of.

Each ``[[block]]`` of a model file is one of these types. A block takes features (named groups of vectors), checks that
they have the shape it needs, and plans itself: the feature it hands on, and the steps that compute it.
Adding a block type takes one class here, and its name in :data:`Block`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from roofline.models.steps import Gram, Linear, Pointwise, Product, SequenceAttention, Step

# Bounds keep a hostile file from asking for absurd work; each is far above any model that was ever served.
Width = Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
Count = Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
Depth = Annotated[int, Field(strict=True, gt=0, le=1000)]
Layers = Annotated[list[Width], Field(min_length=2, max_length=200)]
Name = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


def as_list(value: Any) -> Any:
    """A single value as a list of one, so that a key takes either."""
    return value if isinstance(value, list) else [value]


class Strict(BaseModel):
    """A table of the file: no keys but these."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Feature:
    """What flows between blocks: for each sample, groups of vectors, as (how many, elements of each)."""

    name: str
    groups: tuple[tuple[int, int], ...]

    @property
    def vectors(self) -> int:
        """Vectors a sample has of it."""
        return sum(count for count, _ in self.groups)

    @property
    def width(self) -> int:
        """Elements a sample has of it, all vectors laid end to end."""
        return sum(count * dim for count, dim in self.groups)

    @property
    def dim(self) -> int:
        """Elements of each vector; ValueError where they differ."""
        dims = sorted({dim for _, dim in self.groups})
        if len(dims) > 1:
            raise ValueError(f"expected vectors of one width, found the widths {dims} in {self.name!r}")
        return dims[0]


def flat(name: str, width: int) -> Feature:
    """A feature of one vector."""
    return Feature(name, ((1, width),))


def _join(inputs: Sequence[Feature]) -> Feature:
    """All vectors of all inputs, as one feature."""
    return Feature(" + ".join(f.name for f in inputs), tuple(g for f in inputs for g in f.groups))


Plan = tuple[Feature, list[Step]]


class _Block(Strict):
    """What every block says: its type, a name (default: its type) and the features it takes.

    `input` defaults to what the block before it hands on. A block that needs one vector or one stack of vectors and
    is given several features concatenates them first, which is a copy. With ``once = true`` it runs once for a request
    of `pairs_per_request` samples: the part of the user; what a later block takes of it is copied to every sample.
    """

    type: str
    name: Name = ""
    input: Annotated[list[Name], BeforeValidator(as_list), Field(max_length=1000, default_factory=list)]
    once: Annotated[bool, Field(strict=True)] = False

    @property
    def label(self) -> str:
        """The name in breakdowns, and by which later blocks refer to it."""
        return self.name or self.type

    @property
    def takes(self) -> list[str]:
        """The features to plan with, by name, in order."""
        return self.input

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        """The feature that this block hands on, and the steps that compute it; ValueError if `inputs` do not fit."""
        raise NotImplementedError

    def _concat(self, inputs: Sequence[Feature]) -> list[Step]:
        if len(inputs) < 2:
            return []
        return [Pointwise(f"{self.label}.concat", "copy", sum(f.width for f in inputs))]

    def _layers(self, widths: Sequence[int], found: int, of: str, **options: Any) -> list[Step]:
        if widths[0] != found:
            raise ValueError(
                f"layers: the first number is the width of what comes in, so expected {found} (the width of {of}), "
                f"found {widths[0]}"
            )
        return [Linear(f"{self.label}.{i}", k, n, **options) for i, (k, n) in enumerate(pairwise(widths))]


class Mlp(_Block):
    """Fully connected layers, each with a bias and a nonlinearity; the first width is that of the input.

    With ``each = true`` it runs on every vector of the input apart (the tokens of a sequence), else on all of them
    laid end to end.
    """

    type: Literal["mlp"]
    layers: Layers
    each: Annotated[bool, Field(strict=True)] = False

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = _join(inputs)
        if self.each:
            steps = self._layers(self.layers, feature.dim, f"each vector of {feature.name}", rows=feature.vectors)
            return Feature(self.label, ((feature.vectors, self.layers[-1]),)), self._concat(inputs) + steps
        steps = self._layers(self.layers, feature.width, feature.name)
        return flat(self.label, self.layers[-1]), self._concat(inputs) + steps


class Towers(_Block):
    """One MLP of this shape for each task, with weights of its own; hands on the outputs of all."""

    type: Literal["towers"]
    tasks: Count = 1
    layers: Layers

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = _join(inputs)
        steps = self._layers(self.layers, feature.width, feature.name, copies=self.tasks)
        return Feature(self.label, ((self.tasks, self.layers[-1]),)), self._concat(inputs) + steps


class Concat(_Block):
    """All inputs laid end to end; with ``each = true`` vector by vector: token i of one beside token i of the other."""

    type: Literal["concat"]
    each: Annotated[bool, Field(strict=True)] = False

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        if not self.each:
            return flat(self.label, _join(inputs).width), self._concat(inputs)
        counts = [f.vectors for f in inputs]
        if len(set(counts)) > 1:
            raise ValueError(f"each: expected inputs of equally many vectors, found {counts}")
        return Feature(self.label, ((counts[0], sum(f.dim for f in inputs)),)), self._concat(inputs)


class Combine(_Block):
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


class Dot(_Block):
    """DLRM's interaction: the dot products of all pairs of vectors, and `keep`, an input passed on beside them."""

    type: Literal["dot"]
    keep: Name | None = None

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = _join(inputs)
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


class Cross(_Block):
    """DCN-v2's cross network: ``x0 * (W x + b) + x``, `layers` times; W of full rank unless `rank` is given."""

    type: Literal["cross"]
    layers: Depth
    rank: Width | None = None

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        width = _join(inputs).width
        steps = self._concat(inputs)
        for i in range(self.layers):
            name = f"{self.label}.{i}"
            if self.rank is None:
                steps.append(Linear(name, width, width, activation=False))
            else:
                steps.append(Linear(f"{name}.down", width, self.rank, activation=False, bias=False))
                steps.append(Linear(f"{name}.up", self.rank, width, activation=False))
            steps.append(Pointwise(f"{name}.combine", "elementwise", width, reads=3, flops=2, follows=True))
        return flat(self.label, width), steps


class LocalAttention(_Block):
    """DIN's activation unit: an MLP on ``[u; q; u + q]`` for each behaviour u against the query q, and their sum."""

    type: Literal["local_attention"]
    query: Name
    layers: Layers

    @property
    def takes(self) -> list[str]:
        return [*self.input, self.query]

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        *behaviours, query = inputs
        feature = _join(behaviours)
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
            follows=self.layers[-1] == dim,
        )
        return flat(self.label, dim), [build, *layers, total]


_GATES = {"basic": 1, "gru": 3, "lstm": 4}


class Rnn(_Block):
    """A recurrent network over the vectors of the input, in their order; hands on the last state, or all of them."""

    type: Literal["rnn"]
    hidden: Width
    cell: Literal["basic", "gru", "lstm"] = "gru"
    output: Literal["last", "all"] = "last"

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = _join(inputs)
        count, gates = feature.vectors, _GATES[self.cell] * self.hidden
        steps: list[Step] = [
            # The inputs of all steps are known beforehand: one product. The states are not: a product a step.
            Linear(f"{self.label}.input", feature.dim, gates, rows=count, activation=False),
            Linear(f"{self.label}.state", self.hidden, gates, repeats=count),
        ]
        kept = count if self.output == "all" else 1
        return Feature(self.label, ((kept, self.hidden),)), self._concat(inputs) + steps


class Hstu(_Block):
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
        feature = _join(inputs)
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
            ),
            Pointwise(f"{self.label}.gate", "layer_norm", value, reads=2, flops=9, weights=2 * value, **size),
            Linear(f"{self.label}.out", value, dim, activation=False, **size),
        ]
        return Feature(self.label, ((self.candidates or 1, dim),)), self._concat(inputs) + steps


def _all_over_all(name: str, count: int, dim: int, heads: int, copies: int = 1) -> list[Step]:
    """Attention of a few vectors over each other: two batched products and a softmax, as libraries run short ones."""
    return [
        Product(f"{name}.scores", count, count, dim, copies),
        Pointwise(f"{name}.softmax", "softmax", count, rows=count * heads, flops=5, copies=copies),
        Product(f"{name}.values", count, dim, count, copies),
    ]


class Wukong(_Block):
    """Wukong layers (Zhang et al. 2024): a factorisation machine with an MLP beside a linear compression, and a skip.

    Of n vectors of width d: ``X (X^T Y)`` with Y of n x `rank`, its n x rank numbers through a norm and the MLP `hidden`
    to `fm_vectors` vectors; beside it `linear_vectors` weighted sums of the n. Hands on both, as vectors of width d.
    """

    type: Literal["wukong"]
    layers: Depth
    rank: Width
    fm_vectors: Width
    linear_vectors: Width
    hidden: Annotated[list[Width], Field(max_length=20, default_factory=list)]

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = _join(inputs)
        count, dim = feature.vectors, feature.dim
        steps = self._concat(inputs)
        for i in range(self.layers):
            name = f"{self.label}.{i}"
            widths = [count * self.rank, *self.hidden, self.fm_vectors * dim]
            out = self.fm_vectors + self.linear_vectors
            steps += [
                Linear(f"{name}.project", count, self.rank, rows=dim, activation=False, bias=False),
                Product(f"{name}.fm", count, self.rank, dim),
                Pointwise(f"{name}.fm_norm", "layer_norm", count * self.rank, flops=8, weights=2 * count * self.rank),
                *(Linear(f"{name}.mlp.{j}", k, n) for j, (k, n) in enumerate(pairwise(widths))),
                Linear(f"{name}.linear", count, self.linear_vectors, rows=dim, activation=False, bias=False),
            ]
            if count != out:  # the skip goes through a weighted sum as well
                steps.append(Linear(f"{name}.skip", count, out, rows=dim, activation=False, bias=False))
            steps.append(Pointwise(f"{name}.norm", "layer_norm", dim, rows=out, reads=2, flops=9, weights=2 * dim))
            count = out
        return Feature(self.label, ((count, dim),)), steps


class Dhen(_Block):
    """Layers of a hierarchical ensemble (DHEN, Zhang et al. 2022): several interactions of the same vectors, summed.

    Each of the `modules` makes `vectors` vectors of the layer's input: ``"linear"`` weighted sums; ``"dot"`` the products
    of all pairs through an MLP of `hidden`; ``"attention"`` self-attention of `heads`, then weighted sums; ``"cross"`` a
    layer of DCN-v2 of rank `hidden[0]` over all of them laid end to end. Their sum and the skip go through a norm.
    """

    type: Literal["dhen"]
    layers: Depth
    vectors: Width
    modules: Annotated[list[Literal["linear", "dot", "attention", "cross"]], Field(min_length=1, max_length=20)]
    heads: Count = 1
    hidden: Annotated[list[Width], Field(max_length=20, default_factory=list)]

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = _join(inputs)
        count, dim = feature.vectors, feature.dim
        if "attention" in self.modules and dim % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {dim}, found {self.heads}")
        if "cross" in self.modules and not self.hidden:
            raise ValueError("hidden: expected the rank of the cross module first, found nothing")
        steps = self._concat(inputs)
        for i in range(self.layers):
            name = f"{self.label}.{i}"
            for j, module in enumerate(self.modules):
                steps += self._module(
                    f"{name}.{module}{j if self.modules.count(module) > 1 else ''}", module, count, dim
                )
            if count != self.vectors:
                steps.append(self._sums(f"{name}.skip", count, dim))
            steps.append(
                Pointwise(f"{name}.norm", "layer_norm", dim, rows=self.vectors, reads=len(self.modules) + 1,
                          flops=8 + len(self.modules), weights=2 * dim)
            )  # fmt: skip
            count = self.vectors
        return Feature(self.label, ((count, dim),)), steps

    def _sums(self, name: str, count: int, dim: int) -> Step:
        """`vectors` weighted sums of `count` vectors."""
        return Linear(name, count, self.vectors, rows=dim, activation=False, bias=False)

    def _module(self, name: str, module: str, count: int, dim: int) -> list[Step]:
        if module == "linear":
            return [self._sums(name, count, dim)]
        if module == "attention":
            return [
                Linear(f"{name}.qkv", dim, 3 * dim, rows=count, activation=False),
                *_all_over_all(name, count, dim, self.heads),
                Linear(f"{name}.out", dim, dim, rows=count, activation=False),
                self._sums(f"{name}.sums", count, dim),
            ]
        if module == "dot":
            gram = Gram(f"{name}.gram", count, dim)
            if not gram.pairs:
                raise ValueError("modules: expected at least two vectors to multiply, found one")
            widths = [gram.pairs, *self.hidden, self.vectors * dim]
            return [gram, *(Linear(f"{name}.mlp.{j}", k, n) for j, (k, n) in enumerate(pairwise(widths)))]
        width, rank = count * dim, self.hidden[0]
        return [
            Linear(f"{name}.down", width, rank, activation=False, bias=False),
            Linear(f"{name}.up", rank, width, activation=False),
            Pointwise(f"{name}.combine", "elementwise", width, reads=3, flops=2, follows=True),
            self._sums(f"{name}.sums", count, dim),
        ]


class SelfAttention(_Block):
    """Transformer layers over the vectors of the input: attention of all over all, and a feed-forward of `hidden`.

    With ``pool = true`` it hands on their mean, else all of them.
    """

    type: Literal["self_attention"]
    layers: Depth
    heads: Count
    hidden: Width
    pool: Annotated[bool, Field(strict=True)] = False

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        feature = _join(inputs)
        count, dim = feature.vectors, feature.dim
        if dim % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {dim}, found {self.heads}")
        size: dict[str, Any] = {"rows": count, "copies": self.layers}
        steps: list[Step] = [
            Pointwise(f"{self.label}.norm", "layer_norm", dim, flops=8, weights=2 * dim, **size),
            Linear(f"{self.label}.qkv", dim, 3 * dim, activation=False, **size),
            *_all_over_all(self.label, count, dim, self.heads, self.layers),
            Linear(f"{self.label}.out", dim, dim, activation=False, **size),
            Pointwise(f"{self.label}.ffn_norm", "layer_norm", dim, reads=2, flops=9, weights=2 * dim, **size),
            Linear(f"{self.label}.up", dim, self.hidden, **size),
            Linear(f"{self.label}.down", self.hidden, dim, activation=False, **size),
        ]  # fmt: skip
        if self.pool:
            steps.append(Pointwise(f"{self.label}.mean", "elementwise", dim, rows=count, writes=1 / count, flops=1))
        kept = 1 if self.pool else count
        return Feature(self.label, ((kept, dim),)), self._concat(inputs) + steps


Block = Annotated[
    Mlp | Towers | Concat | Combine | Dot | Cross | LocalAttention | SelfAttention | Rnn | Hstu | Wukong | Dhen,
    Field(discriminator="type"),
]

BLOCKS: dict[str, type[_Block]] = {
    "mlp": Mlp, "towers": Towers, "concat": Concat, "combine": Combine, "dot": Dot, "cross": Cross,
    "local_attention": LocalAttention, "self_attention": SelfAttention, "rnn": Rnn, "hstu": Hstu, "wukong": Wukong,
    "dhen": Dhen,
}  # fmt: skip
