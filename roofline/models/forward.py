"""What the blocks of a language model share: one forward pass, and a group of weights."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.base.units import DTYPE_BYTES
from roofline.work import op


@dataclass(frozen=True, slots=True)
class Weights:
    """Parameters of one kind, as a checkpoint names them.

    Attributes
    ----------
    name : str
        The operator that reads them: ``"qkv_proj"``.
    elements : int
        Of one instance (one layer, or the whole model).
    count : int
        Instances: the layers that have them.
    shard : str
        How tensor and expert parallelism split them; see ``parallel.py``.
    scope : str
        ``"layer"`` for what a repeated layer holds, else ``"model"``.
    storage : str
        ``"linear"``, ``"attention"`` and ``"expert"`` weights are what quantisers store narrower, each part as the
        checkpoint has it; ``"wide"`` ones (norms, routers, embeddings) stay in 16 bits, or in the arithmetic's own
        dtype if that is wider.
    active : float
        The share of them that one token uses: top-k over experts for routed experts, else 1.
    biases : int
        Of the elements, those that are added and not multiplied, which nobody quantises.
    width : int
        Outputs, inputs or an expert's width, whichever `shard` splits; 0 where its shares are of no consequence.
    """

    name: str
    elements: int
    count: int = 1
    shard: str = ""
    scope: str = "layer"
    storage: str = "linear"
    active: float = 1.0
    biases: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: its shape and its dtypes, the same for every layer.

    Attributes
    ----------
    batch, q_len, kv_len : number or array
        Sequences, new tokens a sequence, and tokens attended to at the first of `steps`, including the new ones.
    steps : number or array
        Consecutive passes of which this is the mean.
    causal : bool
        Whether a token sees only itself and what came before.
    dtype : str
        Of the matrix arithmetic.
    weight_dtype : str
        Of the weights of linear layers in memory, before the model puts in what its checkpoint stores them in.
    unquantised_dtype : str
        Of what is not quantised: embeddings, routers, the output projection.
    kv_dtype : str
        Of the KV cache in memory.
    source : number or array
        States of an encoder, or of an image, that layers attend across to.
    """

    batch: Numeric
    q_len: Numeric
    kv_len: Numeric
    steps: Numeric
    causal: bool
    dtype: str
    weight_dtype: str
    unquantised_dtype: str
    kv_dtype: str
    source: Numeric = 0

    @property
    def tokens(self) -> Numeric:
        """New tokens of all sequences: the rows of every GEMM."""
        return self.batch * self.q_len

    @property
    def mean_kv_len(self) -> Numeric:
        """Tokens attended to by a full-attention layer, the mean over `steps`."""
        return mean_context(self.kv_len, self.steps, self.q_len)

    def linear(self, name: str, n: int, k: int, count: int, shard: str = "") -> op.Op:
        """A linear layer of `k` inputs and `n` outputs; without `shard` every chip computes it for all its tokens."""
        return op.gemm(
            m=self.tokens,
            n=n,
            k=k,
            dtype=self.dtype,
            quantize=self.quantize,
            weight_dtype=self.weight_dtype,
            name=name,
            count=count,
            shard=shard,
        )

    @property
    def wide(self) -> str:
        """The dtype that activations travel in."""
        return op.wide(self.dtype)

    @property
    def attention_dtype(self) -> str:
        """The dtype of attention arithmetic: fp8 kernels exist, and want the cache in fp8 too; else 16 bits."""
        return "fp8" if self.dtype == self.kv_dtype == "fp8" else self.wide

    @property
    def quantize(self) -> bool:
        """Whether activations arrive wider than the arithmetic takes them."""
        return DTYPE_BYTES[self.dtype] <= 1


def mean_context(
    first: Numeric, steps: Numeric = 1, growth: Numeric = 1, window: int | None = None, chunked: bool = False
) -> Numeric:
    """Tokens that a decoding query sees, the mean over steps during which the context grows; exact.

    Parameters
    ----------
    first : number or array
        Tokens in the context at the first step, the new one included.
    steps, growth : number or array
        Steps, and tokens that each adds (one in decode; windows and chunks are exact only for one).
    window : int, optional
        Most tokens a query sees.
    chunked : bool
        Whether the window is a chunk with fixed borders (a query sees what its own chunk holds so far) rather than a
        sliding one (a query sees the last `window` tokens).

    Examples
    --------
    >>> mean_context(1024, 3), mean_context(1, 4, window=2), mean_context(1, 4, window=2, chunked=True)
    (1025.0, 1.75, 1.5)
    """
    if window is None:
        return first + growth * (steps - 1) / 2
    last, before = first + steps - 1, first - 1
    seen = _seen_chunked if chunked else _seen_sliding
    return (seen(last, window) - seen(before, window)) / steps


def _seen_sliding(n: Numeric, window: int) -> Numeric:
    """Sum of min(i, window) for i = 1 .. n."""
    short = numeric.minimum(n, window)
    return short * (short + 1) / 2 + window * (n - short)


def _seen_chunked(n: Numeric, chunk: int) -> Numeric:
    """Sum of ((i - 1) mod chunk) + 1 for i = 1 .. n."""
    whole = n // chunk
    rest = n - whole * chunk
    return whole * (chunk * (chunk + 1) / 2) + rest * (rest + 1) / 2
