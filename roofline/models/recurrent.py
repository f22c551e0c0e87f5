"""Mixers with a state instead of a cache: state-space models, gated delta rules, linear attention, short convolutions.

All are projections around a recurrence: matrices that make its queries, keys, values and gates of the hidden state, a
short convolution over some of them, the recurrence, a norm and a gate, a matrix back.
"""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.base.units import dtype_bytes
from roofline.models.forward import Pass, Weights
from roofline.models.mixers import Mixer, Span
from roofline.work import op
from roofline.work.op import Op
from roofline.work.splittable import Heads

#: Bytes of a number of a convolution's state, or of a token's that is kept: engines keep it as activations are.
CONV_STATE_BYTES = 2


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear layer of a mixer.

    Attributes
    ----------
    name : str
        The operator's label.
    inputs, outputs : int
        Its sizes.
    shard : str
        How tensor parallelism splits it; see ``parallel.py``.
    bias : bool
        Whether it adds one.
    """

    name: str
    inputs: int
    outputs: int
    shard: str = "column"
    bias: bool = False

    def weights(self, count: int) -> Weights:
        """Its parameters, in `count` layers."""
        return Weights(self.name, self.outputs * (self.inputs + self.bias), count, self.shard)

    def op(self, run: Pass, count: int) -> Op:
        """Its operator in one pass."""
        return op.gemm(
            m=run.tokens,
            n=self.outputs,
            k=self.inputs,
            dtype=run.dtype,
            quantize=run.quantize,
            weight_dtype=run.weight_dtype,
            name=self.name,
            count=count,
            shard=self.shard,
        )


@dataclass(frozen=True, slots=True)
class Convolution:
    """A short causal convolution, a filter of its own for every channel.

    Attributes
    ----------
    channels : int
        Channels that are dealt out over chips.
    taps : int
        Tokens that a filter spans.
    bias : bool
        Whether it adds one.
    shared, groups : int
        Further channels, `shared` for each of `groups`, which chips copy where there are more of them than groups.
    """

    channels: int
    taps: int
    bias: bool = False
    shared: int = 0
    groups: int = 1

    @property
    def _shard(self) -> str:
        return f"heads {self.channels}+{self.shared}x{self.groups}"

    def weights(self, count: int) -> Weights:
        """Its parameters, in `count` layers."""
        width = self.channels + self.shared * self.groups
        return Weights("causal_conv", width * (self.taps + self.bias), count, self._shard, storage="wide")

    def op(self, run: Pass, count: int) -> Op:
        """Its operator in one pass."""
        return op.causal_conv(
            rows=run.tokens,
            cols=self.channels + self.shared * self.groups,
            sequences=run.batch,
            taps=self.taps,
            dtype=run.wide,
            count=count,
            shard=self._shard,
        )

    def state_bytes(self, tp: Numeric = 1) -> Numeric:
        """Bytes of its last inputs of one sequence, on one of `tp` chips."""
        own = self.channels / tp + self.shared * numeric.maximum(1, self.groups / tp)
        return (self.taps - 1) * own * CONV_STATE_BYTES


@dataclass(frozen=True, slots=True)
class Recurrent(Mixer):
    """A layer whose tokens meet in a state of fixed size.

    Attributes
    ----------
    kind : str
        What it is called: ``"Mamba-2"``.
    heads, groups : int
        Heads with a state each, and groups of them that share queries and keys (C and B of a state-space model).
    key_dim, value_dim : int
        Rows and columns of a head's state.
    inputs : tuple of Projection
        What makes queries, keys, values and gates.
    output : Projection
        The way back.
    convolution : Convolution, optional
        Over values, and perhaps queries and keys, before the recurrence.
    gate_dim : int
        Numbers of a head's gates for a token.
    chunk : int
        Tokens that a prefill takes together.
    matrix, delta : bool
        Whether chunks are products of matrices; whether the state is corrected (the delta rule).
    normed, gated : bool
        Whether the result is normalised, and multiplied by a gate.
    vectors : int
        Parameters that are few: decays, step sizes, norms.
    state_dtype : str
        Of the state in memory.
    last : int
        Numbers of the last token's inputs that are kept beside the state, as wide as activations (token shift).
    """

    kind: str
    heads: int
    groups: int
    key_dim: int
    value_dim: int
    inputs: tuple[Projection, ...]
    output: Projection
    convolution: Convolution | None = None
    gate_dim: int = 1
    chunk: int = 64
    matrix: bool = True
    delta: bool = False
    normed: bool = True
    gated: bool = True
    vectors: int = 0
    state_dtype: str = "fp32"
    last: int = 0

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Heads and the groups that they share; engines deal out the key heads of a delta rule and copy none."""
        if self.delta:
            return (Heads(self.groups, self.groups, f"{self.groups} key heads of {self.kind}"),)
        return (Heads(self.heads, self.groups, f"{self.heads} heads in {self.groups} groups of {self.kind}"),)

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return f"{self.kind}, {self.heads} states of {self.key_dim} x {self.value_dim}"

    @property
    def width(self) -> int:
        """Values of all heads."""
        return self.heads * self.value_dim

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """Its parameters, in `count` layers."""
        out = [projection.weights(count) for projection in (*self.inputs, self.output)]
        if self.convolution:
            out.append(self.convolution.weights(count))
        if self.vectors:
            out.append(Weights("recurrence", self.vectors, count, "column", storage="wide"))
        return out

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """Its operators in one pass; `spans` says how many layers there are (how far they see does not matter)."""
        m, wide, count = run.tokens, run.wide, sum(spans.values())
        out = [projection.op(run, count) for projection in self.inputs]
        if self.convolution:
            out.append(self.convolution.op(run, count))
        out.append(
            op.recurrence(
                batch=run.batch,
                heads=self.heads,
                groups=self.groups,
                key_dim=self.key_dim,
                value_dim=self.value_dim,
                gate_dim=self.gate_dim,
                q_len=run.q_len,
                chunk=self.chunk,
                matrix=self.matrix,
                delta=self.delta,
                resumed=numeric.choose(run.kv_len > run.q_len, 1.0, 0.0),
                dtype=wide,
                state_dtype=self.state_dtype,
                count=count,
            )
        )
        if self.normed:
            reads, flops = (2, 9) if self.gated else (1, 4)
            name = "gated_norm" if self.gated else "norm_output"
            out.append(
                op.rms_norm(
                    rows=m,
                    cols=self.width,
                    dtype=wide,
                    reads=reads,
                    flops_per_element=flops,
                    name=name,
                    count=count,
                    shard="column",
                )
            )
        elif self.gated:
            out.append(op.silu_mul(rows=m, cols=self.width, dtype=wide, name="gate", count=count, shard="column"))
        out.append(self.output.op(run, count))
        return out

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at its widest point, on one chip: what a recurrence takes and gives."""
        return (sum(projection.outputs for projection in self.inputs) + self.width) / tp

    def state_bytes(self, tp: Numeric = 1) -> Numeric:
        """Bytes of a layer's state of one sequence, on one of `tp` chips."""
        state: Numeric = self.heads * self.key_dim * self.value_dim * dtype_bytes(self.state_dtype) / tp
        state = state + self.last * CONV_STATE_BYTES
        return state + self.convolution.state_bytes(tp) if self.convolution else state


@dataclass(frozen=True, slots=True)
class ShortConvolution(Mixer):
    """A convolution between two gates and nothing else (LFM2).

    Attributes
    ----------
    inputs, output : Projection
        Gates and values side by side, and the way back.
    convolution : Convolution
    """

    inputs: Projection
    output: Projection
    convolution: Convolution

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Channels, of which each chip has some."""
        channels = self.convolution.channels
        return (Heads(channels, 1, f"{channels} channels of the short convolution"),)

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return f"short convolution of {self.convolution.taps} tokens"

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """Its parameters, in `count` layers."""
        return [part.weights(count) for part in (self.inputs, self.convolution, self.output)]

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """Its operators in one pass."""
        count = sum(spans.values())
        gate = op.silu_mul(
            rows=run.tokens,
            cols=self.convolution.channels,
            dtype=run.wide,
            flops_per_element=1,
            name="gate",
            count=2 * count,
            shard="column",
        )
        return [self.inputs.op(run, count), self.convolution.op(run, count), gate, self.output.op(run, count)]

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at its widest point, on one chip."""
        return (self.inputs.outputs + self.output.inputs) / tp

    def state_bytes(self, tp: Numeric = 1) -> Numeric:
        """Bytes of a layer's last inputs of one sequence, on one of `tp` chips."""
        return self.convolution.state_bytes(tp)


@dataclass(frozen=True, slots=True)
class SideBySide(Mixer):
    """Several mixers of the same input, their results added (Falcon-H1).

    Attributes
    ----------
    mixers : tuple of Mixer
    """

    mixers: tuple[Mixer, ...]

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Of all of them, those that attend first."""
        ordered = sorted(self.mixers, key=lambda mixer: not mixer.token_bytes(1.0))
        return tuple(counts for mixer in ordered for counts in mixer.head_counts)

    @property
    def about(self) -> str:
        """What they are, in a few words."""
        return " beside ".join(mixer.about for mixer in self.mixers)

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """Their parameters, in `count` layers."""
        return [weights for mixer in self.mixers for weights in mixer.weights(hidden, count)]

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """Their operators in one pass, and the sums."""
        out = [one for mixer in self.mixers for one in mixer.ops(run, hidden, spans)]
        sums = (len(self.mixers) - 1) * sum(spans.values())
        return [*out, op.residual_add(rows=run.tokens, cols=hidden, dtype=run.wide, name="mixers_add", count=sums)]

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the widest point, on one chip."""
        most: Numeric = 0
        for mixer in self.mixers:
            most = numeric.maximum(most, mixer.live_elements(hidden, tp, ep))
        return most

    def token_bytes(self, width: float) -> float:
        """Bytes that they cache for one more token."""
        return sum(mixer.token_bytes(width) for mixer in self.mixers)

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that they cache of one sequence, on one of `tp` chips."""
        total: Numeric = 0
        for mixer in self.mixers:
            total = total + mixer.cache_bytes(context, width, span, tp)
        return total

    def state_bytes(self, tp: Numeric = 1) -> Numeric:
        """Bytes of their states of one sequence, on one of `tp` chips."""
        total: Numeric = 0
        for mixer in self.mixers:
            total = total + mixer.state_bytes(tp)
        return total
