"""What a language model has beside its layers' two halves: a linear layer, a table, a few numbers a layer."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base.numeric import Numeric, maximum
from roofline.models.forward import Pass, Weights
from roofline.work import op
from roofline.work.op import Op


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix that every token passes, such as a projection between two widths.

    Attributes
    ----------
    name : str
        What the operator is called: ``"per_layer_gate"``.
    n, k : int
        Outputs and inputs.
    count : int
        How many there are.
    bias : bool
        Whether it adds one.
    scope : str
        ``"layer"`` for what a repeated layer holds, else ``"model"``.
    pooled : bool
        Whether one vector of each sequence passes it, rather than every token.
    share : float
        Vectors that pass it for each token: 1/4 behind layers that merge four into one.
    """

    name: str
    n: int
    k: int
    count: int = 1
    bias: bool = False
    scope: str = "layer"
    pooled: bool = False
    share: float = 1.0

    def weights(self) -> list[Weights]:
        """Its parameters."""
        return [Weights(self.name, self.n * (self.k + self.bias), self.count, scope=self.scope)]

    def _vectors(self, run: Pass) -> Numeric:
        """Vectors that pass it."""
        if self.pooled:
            return run.batch
        return run.tokens if self.share == 1.0 else maximum(1.0, run.tokens * self.share)

    def ops(self, run: Pass) -> list[Op]:
        """Its operator in one pass."""
        return [
            op.gemm(
                m=self._vectors(run),
                n=self.n,
                k=self.k,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name=self.name,
                count=self.count,
                scope=self.scope,
            )
        ]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of which every token reads one: learned positions, embeddings of the layers' own.

    Attributes
    ----------
    name : str
        What the operator is called: ``"position_embedding"``.
    rows, cols : int
        How many rows, and how wide.
    """

    name: str
    rows: int
    cols: int

    def weights(self) -> list[Weights]:
        """Its parameters."""
        return [Weights(self.name, self.rows * self.cols, scope="model", storage="wide")]

    def ops(self, run: Pass) -> list[Op]:
        """Its operator in one pass."""
        return [
            op.token_embedding(
                rows=run.tokens,
                cols=self.cols,
                dtype=run.unquantised_dtype,
                out_dtype=run.wide,
                name=self.name,
                scope="model",
            )
        ]


@dataclass(frozen=True, slots=True)
class Few:
    """Parameters that are too few to cost time: scales, gates of one number a head, norms inside a block.

    Attributes
    ----------
    name : str
        What they are: ``"sub_norm"``.
    elements : int
        How many, of one instance.
    count : int
        Instances.
    scope : str
        ``"layer"`` for what a repeated layer holds, else ``"model"``.
    """

    name: str
    elements: int
    count: int = 1
    scope: str = "layer"

    def weights(self) -> list[Weights]:
        """The parameters."""
        return [Weights(self.name, self.elements, self.count, scope=self.scope, storage="wide")]

    def ops(self, run: Pass) -> list[Op]:
        """None: they are part of operators that are counted elsewhere."""
        return []


@dataclass(frozen=True, slots=True)
class Stream:
    """A pass over a few tensors of the hidden state: residual streams that are weighed anew before a half.

    Attributes
    ----------
    name : str
        What the operator is called: ``"attention_residual"``.
    cols : int
        Width of a tensor.
    reads, writes : float
        Tensors read and written for each token.
    count : int
        How often it runs.
    flops_per_element : float
        Vector-engine FLOP for each element of one tensor.
    """

    name: str
    cols: int
    reads: float
    writes: float
    count: int = 1
    flops_per_element: float = 1.0

    def weights(self) -> list[Weights]:
        """None of its own."""
        return []

    def ops(self, run: Pass) -> list[Op]:
        """Its operator in one pass."""
        return [
            op.elementwise(
                rows=run.tokens,
                cols=self.cols,
                reads=self.reads,
                writes=self.writes,
                dtype=run.wide,
                flops_per_element=self.flops_per_element,
                name=self.name,
                count=self.count,
            )
        ]


#: Whatever stands beside the layers' halves.
Beside = Linear | Table | Few | Stream
