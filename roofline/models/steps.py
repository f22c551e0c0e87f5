"""What the dense part of a recommendation model runs: a few kinds of step, each knowing its size and its operators.

A block of a model's description (see ``blocks.py``) is planned once into steps; a step then answers for its
parameters and multiply-adds and, given a batch, for its operators. Sizes are per sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from roofline.base.numeric import Numeric, maximum
from roofline.base.units import DTYPE_BYTES
from roofline.work import op
from roofline.work.op import Op

#: Steps up to which each is named in a breakdown; more than any model that was ever served has.
MOST_NAMED = 500


class Step(Protocol):
    """One kernel or a few: named, sized per sample."""

    @property
    def name(self) -> str:
        """The label in breakdowns."""

    @property
    def copies(self) -> int:
        """Times that it is there, each with weights of its own."""

    @property
    def params(self) -> int:
        """Weights and biases."""

    @property
    def macs(self) -> float:
        """Multiply-adds of matrix arithmetic a sample needs; elementwise work is not counted."""

    def ops(self, batch: Numeric, dtype: str, fused: bool) -> tuple[Op, ...]:
        """The operators of `batch` samples in the arithmetic `dtype`."""


def _nameless(step: Any) -> Step:
    """A step as it would be called if it had no name, and were there once: equal for what costs the same."""
    if isinstance(step, Once):
        return Once(_nameless(step.step), step.samples)
    return replace(step, name="", copies=1)  # type: ignore[no-any-return]


def _more(step: Any, copies: int) -> Step:
    """A step that is there so many times more."""
    if isinstance(step, Once):
        return Once(_more(step.step, copies), step.samples)
    return replace(step, copies=step.copies + copies)  # type: ignore[no-any-return]


def merged(steps: Sequence[Step]) -> list[Step]:
    """The same steps; where they are more than anybody reads, each shape once with a count, under its first name."""
    if len(steps) <= MOST_NAMED:
        return list(steps)
    first: dict[Step, Any] = {}
    for step in steps:
        shape = _nameless(step)
        met = first.get(shape)
        first[shape] = step if met is None else _more(met, step.copies)
    return list(first.values())


@dataclass(frozen=True, slots=True)
class Linear:
    """A fully connected layer of k inputs and n outputs.

    Attributes
    ----------
    rows : int
        Vectors a sample sends through it at once (1, or the length of a sequence).
    repeats : int
        Times it runs one after another with the same weights: the steps of a recurrent network.
    copies : int
        Layers of this shape with weights of their own: task towers, stacked blocks.
    activation : bool
        Whether a nonlinearity follows; a kernel of its own unless fused into the product's epilogue.
    bias : bool
        Whether it adds one (always in the epilogue).
    """

    name: str
    k: int
    n: int
    rows: int = 1
    repeats: int = 1
    copies: int = 1
    activation: bool = True
    bias: bool = True

    @property
    def params(self) -> int:
        return (self.k + self.bias) * self.n * self.copies

    @property
    def macs(self) -> int:
        return self.k * self.n * self.rows * self.repeats * self.copies

    def ops(self, batch: Numeric, dtype: str, fused: bool) -> tuple[Op, ...]:
        rows, count = batch * self.rows, self.repeats * self.copies
        product = op.gemm(
            m=rows,
            n=self.n,
            k=self.k,
            dtype=dtype,
            quantize=DTYPE_BYTES[dtype] <= 1,
            name=self.name,
            count=count,
            scope="model",
        )
        if fused or not self.activation:
            return (product,)
        after = op.activation(
            rows=rows, cols=self.n, dtype=op.wide(dtype), name=f"{self.name}.activation", count=count, scope="model"
        )
        return product, after


@dataclass(frozen=True, slots=True)
class Gram:
    """The dot product of every pair of a sample's vectors.

    A sample needs each pair once, ``macs`` counts that; libraries run the full square, the operator counts that.
    """

    name: str
    vectors: int
    dim: int
    copies: int = 1
    params: int = 0

    @property
    def pairs(self) -> int:
        """Unordered pairs of different vectors."""
        return self.vectors * (self.vectors - 1) // 2

    @property
    def macs(self) -> int:
        return self.pairs * self.dim * self.copies

    def ops(self, batch: Numeric, dtype: str, fused: bool) -> tuple[Op, ...]:
        # 8-bit engines leave the interaction in 16 bits: its inputs are activations and it has no weights to shrink.
        return (
            op.interaction_dot(
                batch=batch,
                features=self.vectors,
                dim=self.dim,
                dtype=op.wide(dtype),
                name=self.name,
                count=self.copies,
            ),
        )


@dataclass(frozen=True, slots=True)
class Product:
    """A product of two matrices that a sample brings, m x k by k x n: no weights."""

    name: str
    m: int
    n: int
    k: int
    copies: int = 1
    params: int = 0

    @property
    def macs(self) -> int:
        return self.m * self.n * self.k * self.copies

    def ops(self, batch: Numeric, dtype: str, fused: bool) -> tuple[Op, ...]:
        # As the interaction of all pairs: 8-bit engines leave it in 16 bits.
        return (
            op.gemm(
                m=self.m,
                n=self.n,
                k=self.k,
                batch=batch,
                dtype=op.wide(dtype),
                name=self.name,
                count=self.copies,
                scope="model",
            ),
        )


@dataclass(frozen=True, slots=True)
class Once:
    """A step that runs once for a request and not for each of its samples: the part of the user, of many candidates.

    Attributes
    ----------
    step : Step
    samples : float
        Samples of a request, on average.
    """

    step: Any
    samples: float

    @property
    def name(self) -> str:
        return str(self.step.name)

    @property
    def copies(self) -> int:
        return int(self.step.copies)

    @property
    def params(self) -> int:
        return int(self.step.params)

    @property
    def macs(self) -> float:
        return float(self.step.macs / self.samples)

    def ops(self, batch: Numeric, dtype: str, fused: bool) -> tuple[Op, ...]:
        ops: tuple[Op, ...] = self.step.ops(requests(batch, self.samples), dtype, fused)
        return ops


def requests(batch: Numeric, samples: float) -> Numeric:
    """Requests that a batch of samples comes from, at least one."""
    return maximum(1.0, batch / samples)


@dataclass(frozen=True, slots=True)
class Pointwise:
    """Elementwise work on rows x cols elements a sample: copies, sums, gates, norms.

    Attributes
    ----------
    kind : str
        The operator class that the chip's efficiency parameters know: ``"copy"``, ``"layer_norm"``, ``"elementwise"``,
        ``"gate"`` (a tensor times another plus a third).
    reads, writes : float
        Tensors of rows x cols elements read and written.
    flops : float
        Vector FLOP an element.
    copies : int
        Times it runs, each with `params` of its own.
    """

    name: str
    kind: str
    cols: int
    rows: int = 1
    reads: float = 1
    writes: float = 1
    flops: float = 0
    copies: int = 1
    weights: int = 0

    @property
    def params(self) -> int:
        return self.weights * self.copies

    @property
    def macs(self) -> int:
        return 0

    def ops(self, batch: Numeric, dtype: str, fused: bool) -> tuple[Op, ...]:
        one = op.elementwise(
            rows=batch * self.rows,
            cols=self.cols,
            reads=self.reads,
            writes=self.writes,
            dtype=op.wide(dtype),
            flops_per_element=self.flops,
            kind=self.kind,
            name=self.name,
            count=self.copies,
            scope="model",
        )
        return (one,)


@dataclass(frozen=True, slots=True)
class SequenceAttention:
    """HSTU's attention: history causally over itself, each candidate over the history and itself only.

    Not `causal`: every vector over every other. `jagged` is the standard deviation of the history's length over its
    mean: pairs grow with its square, and nothing is padded.

    Its pointwise SiLU stands where softmax's exponential stood, and costs the vector engine about as much, so
    the operator is plain attention.
    """

    name: str
    heads: int
    qk_dim: int
    value_dim: int
    history: int
    candidates: int = 0
    copies: int = 1
    params: int = 0
    causal: bool = True
    jagged: float = 0.0

    @property
    def macs(self) -> int:
        own = self.square * self.square if not self.causal else self.square * (self.square + 1) // 2
        pairs = own + self.candidates * (self.history + 1)
        return pairs * self.heads * (self.qk_dim + self.value_dim) * self.copies

    @property
    def square(self) -> int:
        """The length whose square is the mean square of the history's."""
        return round(self.history * math.sqrt(1 + self.jagged**2)) if self.jagged else self.history

    def ops(self, batch: Numeric, dtype: str, fused: bool) -> tuple[Op, ...]:
        # The scores are not quantised: attention stays in 16 bits when the layers around it run in 8.
        def attend(name: str, q_len: int, kv_len: int, causal: bool) -> Op:
            return op.attention(
                batch=batch,
                heads=self.heads,
                head_dim=self.qk_dim,
                value_dim=self.value_dim,
                q_len=q_len,
                kv_len=kv_len,
                causal=causal,
                stored=False,
                dtype=op.wide(dtype),
                name=name,
                count=self.copies,
                scope="model",
            )

        own = attend(self.name, self.square, self.square, self.causal)
        if not self.candidates:
            return (own,)
        return own, attend(f"{self.name}.candidates", self.candidates, self.history + 1, False)
