"""Attention blocks of a transformer layer: grouped-query and latent (MLA). Weights and operators side by side.

An operator whose width is a number of heads is tagged with what it holds, ``"heads 64+2x8"`` for 64 query heads and
two tensors (keys and values) of 8 key/value heads: tensor parallelism copies key/value heads that it cannot split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.models.forward import Pass, Weights, mean_context
from roofline.models.mixers import Mixer, Span
from roofline.work import op
from roofline.work.op import Op
from roofline.work.splittable import Heads


@dataclass(frozen=True, slots=True)
class Attention(Mixer):
    """Multi-head attention; with fewer key/value heads than heads it is grouped-query, with one multi-query.

    Attributes
    ----------
    heads, kv_heads, head_dim : int
        Query heads, key/value heads, and the size of each.
    rope_dim : int
        How much of a head is rotated.
    qkv_bias, out_bias : bool
        Whether the projections add a bias.
    qk_norm : bool
        Whether queries and keys are normalised head by head.
    qk_norm_weights : int
        Parameters of that norm in a layer.
    sinks : bool
        Whether each head has a learned attention sink (gpt-oss).
    own_kv : bool
        Whether it projects and caches keys and values, rather than reading those of an earlier layer (Gemma 3n).
    own_values : bool
        Whether values have a projection of their own, rather than being the keys' (Gemma 4).
    value_dim : int
        The size of a head's value where it is not `head_dim` (MiMo-V2); 0 where it is.
    gate_dim : int
        Numbers a head by which its output is multiplied, projected from the input: `value_dim` of them (Qwen3-Next),
        1 (Step 3.5), 0 for no gate.
    keeps : bool
        Whether keys and values are kept for tokens to come; those of an encoder are not.
    """

    heads: int
    kv_heads: int
    head_dim: int
    rope_dim: int
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    qk_norm_weights: int = 0
    sinks: bool = False
    own_kv: bool = True
    own_values: bool = True
    value_dim: int = 0
    gate_dim: int = 0
    keeps: bool = True

    @property
    def kv_elements(self) -> int:
        """Elements that a layer caches for one token."""
        return self.kv_heads * (self.head_dim + self._value) if self.own_kv else 0

    @property
    def _value(self) -> int:
        """The size of a head's value."""
        return self.value_dim or self.head_dim

    @property
    def _projected(self) -> tuple[int, str]:
        """Columns of the projection to queries, gates, keys and values; and its tag, in heads or else in columns."""
        queries = self.heads * (self.head_dim + self.gate_dim)
        shared = self.own_kv * (self.head_dim + self.own_values * self._value)
        unit = 1 if queries % self.head_dim or shared % self.head_dim else self.head_dim
        return queries + shared * self.kv_heads, self._tag(queries // unit, shared // unit)

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Query heads, and the key/value heads that they share."""
        return (Heads(self.heads, self.kv_heads, f"{self.heads} heads and {self.kv_heads} key/value heads"),)

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return f"{self.kv_heads} key/value heads"

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one token."""
        return self.kv_elements * width if self.keeps else 0.0

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence, on one of `tp` chips: at least one key/value head."""
        share = numeric.maximum(1, self.kv_heads / tp) / self.kv_heads
        return span.resident(context) * self.token_bytes(width) * share

    def _tag(self, queries: int, tensors: int) -> str:
        return f"heads {queries}+{tensors}x{self.kv_heads}"

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        (qkv, both), width = self._projected, self.heads * self._value
        out = [
            Weights(
                "qkv_proj",
                qkv * (hidden + self.qkv_bias),
                count,
                both,
                storage="attention",
                biases=qkv * self.qkv_bias,
            ),
            Weights(
                "o_proj",
                (width + self.out_bias) * hidden,
                count,
                "row",
                storage="attention",
                biases=self.out_bias * hidden,
                width=width,
            ),
        ]
        if self.qk_norm_weights:
            out.append(Weights("qk_norm", self.qk_norm_weights, count, storage="wide"))
        if self.sinks:
            out.append(Weights("sinks", self.heads, count, storage="wide"))
        return out

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """The block's operators in one pass; `spans` says how many layers see how far."""
        m, wide, dim = run.tokens, run.wide, self.head_dim
        count = sum(spans.values())
        rotated = sum(n for span, n in spans.items() if span.rope) if self.rope_dim else 0
        projected, shard = self._projected
        out = [
            op.gemm(
                m=m,
                n=projected,
                k=hidden,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name="qkv_proj",
                count=count,
                shard=shard,
            ),
        ]
        pairs, both = self.heads + self.own_kv * self.kv_heads, self._tag(self.heads, int(self.own_kv))
        if self.qk_norm:
            out.append(op.rms_norm(rows=m, cols=pairs * dim, dtype=wide, name="qk_norm", count=count, shard=both))
        if rotated:
            out.append(op.rope(rows=m, cols=pairs * self.rope_dim, dtype=wide, count=rotated, shard=both))
        if self.own_kv and self.keeps:
            out.append(
                op.copy(
                    rows=m,
                    cols=self.kv_elements,
                    dtype=wide,
                    out_dtype=run.kv_dtype,
                    name="kv_write",
                    count=count,
                    shard=self._tag(0, 2),
                )
            )
        out += self._attend(run, hidden, spans)
        if self.gate_dim:
            cols = self.heads * self._value
            out.append(op.silu_mul(rows=m, cols=cols, dtype=wide, name="gate", count=count, shard="column"))
        out.append(
            op.gemm(
                m=m,
                n=hidden,
                k=self.heads * self._value,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name="o_proj",
                count=count,
                shard="row",
            )
        )
        return out

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip: queries, keys, values and output."""
        a_head = self.head_dim + self._value
        return a_head * (self.heads / tp + numeric.maximum(1, self.kv_heads / tp)) + self.heads * self.gate_dim / tp

    def _attend(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """Attention itself."""
        return [self._scores(run, span, count) for span, count in spans.items()]

    def _scores(self, run: Pass, span: Span, count: int) -> Op:
        batch, q_len, kv_len, window = run.batch, run.q_len, run.mean_kv_len, span.window
        if window is not None:
            # A single query sees the mean over the steps, exactly; longer ones are masked by the operator itself.
            seen = mean_context(run.kv_len, run.steps, 1, window, span.chunked)
            kv_len = numeric.choose(run.q_len == 1, seen, kv_len)
        return op.attention(
            batch=batch,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            q_len=q_len,
            kv_len=kv_len,
            dtype=run.attention_dtype,
            kv_dtype=run.kv_dtype,
            causal=run.causal,
            window=window,
            chunked=span.chunked,
            value_dim=self.value_dim or None,
            name=span.name,
            count=count,
        )


@dataclass(frozen=True, slots=True)
class LatentAttention(Mixer):
    """Multi-head latent attention (DeepSeek-AI 2024): one compressed key/value vector a token, shared by all heads.

    Prefill expands the cached latents to keys and values per head. Decode absorbs that expansion into queries and
    outputs instead, and attends in the latent space: more FLOP a pair, but none to expand. Engines take the form that
    suits; here it is the one of fewer FLOP.

    Attributes
    ----------
    heads : int
        Query heads.
    q_lora_rank : int, optional
        Rank of the query projection; None for a full one.
    kv_lora_rank, rope_dim : int
        Size of the latent and of the rotary key beside it: together what the cache holds.
    nope_dim, value_dim : int
        Unrotated part of a head's query and key, and a head's value.
    gated : bool
        Whether a projection of the input gates the output (Kimi K3).
    rotated : bool
        Whether the rotary part carries positions (not in Kimi Linear, whose other layers do).
    """

    heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    gated: bool = False
    rotated: bool = True

    @property
    def kv_elements(self) -> int:
        """Elements that a layer caches for one token."""
        return self.kv_lora_rank + self.rope_dim

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Query heads; the latent that they share lies on every chip."""
        return (Heads(self.heads, 1, f"{self.heads} heads and 1 key/value heads"),)

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return "latent (MLA)"

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one token, the same on every chip."""
        return self.kv_elements * width

    def absorbs(self, q_len: Numeric, kv_len: Numeric) -> Numeric:
        """Whether the absorbed form takes fewer FLOP; a lone query, decode, always absorbs.

        Absorbed, each query is projected into the latent space and each pair costs the latent's width twice. Expanded,
        each cached token is projected out of it and each pair costs the head's own widths. Over a long context that
        meets at 170 queries for DeepSeek-V3.
        """
        projection = self.kv_lora_rank * (self.nope_dim + self.value_dim)
        dearer_pair = 2 * self.kv_lora_rank - self.nope_dim - self.value_dim
        return (q_len == 1) | (q_len * kv_len * dearer_pair < (kv_len - q_len) * projection)

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        q_width = self.heads * (self.nope_dim + self.rope_dim)
        kv_width, values = self.heads * (self.nope_dim + self.value_dim), self.heads * self.value_dim
        out = [
            Weights("kv_a_proj", hidden * self.kv_elements, count, storage="attention"),
            Weights("kv_b_proj", self.kv_lora_rank * kv_width, count, "column", storage="attention", width=kv_width),
            Weights("latent_norm", self.kv_lora_rank + (self.q_lora_rank or 0), count, storage="wide"),
            Weights("o_proj", values * hidden, count, "row", storage="attention", width=values),
        ]
        if self.gated:
            out.append(Weights("gate_proj", self.heads * self.value_dim * hidden, count, "column", storage="attention"))
        if self.q_lora_rank is None:
            return [Weights("q_proj", hidden * q_width, count, "column", storage="attention", width=q_width), *out]
        return [
            Weights("q_a_proj", hidden * self.q_lora_rank, count, storage="attention"),
            Weights("q_b_proj", self.q_lora_rank * q_width, count, "column", storage="attention", width=q_width),
            *out,
        ]

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """The block's operators in one pass; `spans` says how many layers there are (all see everything)."""
        count = sum(spans.values())
        out = self._before(run, hidden, count) + self._attend(run, hidden, count)
        if self.gated:
            width = self.heads * self.value_dim
            out.append(run.linear("gate_proj", width, hidden, count, "column"))
            out.append(
                op.silu_mul(rows=run.tokens, cols=width, dtype=run.wide, name="gate", count=count, shard="column")
            )
        out.append(run.linear("o_proj", hidden, self.heads * self.value_dim, count, "row"))
        return out

    def _before(self, run: Pass, hidden: int, count: int) -> list[Op]:
        """What makes queries and latents, and stores these."""
        m, wide = run.tokens, run.wide
        q_width, rank = self.heads * (self.nope_dim + self.rope_dim), self.q_lora_rank
        if rank is None:
            out = [
                run.linear("q_proj", q_width, hidden, count, "column"),
                run.linear("kv_a_proj", self.kv_elements, hidden, count),
            ]
        else:
            # Both down-projections read the same input: engines run them as one.
            out = [run.linear("qkv_a_proj", rank + self.kv_elements, hidden, count)]
        out.append(
            op.rms_norm(rows=m, cols=self.kv_lora_rank + (rank or 0), dtype=wide, name="latent_norm", count=count)
        )
        if rank is not None:
            out.append(run.linear("q_b_proj", q_width, rank, count, "column"))
        if self.rotated:
            cols, shard = (self.heads + 1) * self.rope_dim, f"heads {self.heads}+1x1"
            out.append(op.rope(rows=m, cols=cols, dtype=wide, count=count, shard=shard))
        out.append(
            op.copy(rows=m, cols=self.kv_elements, dtype=wide, out_dtype=run.kv_dtype, name="kv_write", count=count)
        )
        return out

    def _attend(self, run: Pass, hidden: int, count: int) -> list[Op]:
        """Attention itself, in the form of fewer FLOP."""
        absorb = self.absorbs(run.q_len, run.mean_kv_len)
        if not isinstance(absorb, np.ndarray):
            return self._absorbed(run, count) if absorb else self._expanded(run, count)
        # Where the points of a sweep differ, both forms are there, and each runs zero times where the other does.
        out = self._absorbed(run, count * absorb) if absorb.any() else []
        return out + (self._expanded(run, count * ~absorb) if not absorb.all() else [])

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip: queries, keys, values and output."""
        return self.heads * (2 * self.nope_dim + 2 * self.value_dim + self.rope_dim) / tp

    def _absorbed(self, run: Pass, count: Numeric) -> list[Op]:
        return [
            self._absorption(run, "q_absorb", self.kv_lora_rank, self.nope_dim, count),
            op.mla_attention(
                batch=run.batch,
                heads=self.heads,
                q_len=run.q_len,
                kv_len=run.mean_kv_len,
                kv_lora_rank=self.kv_lora_rank,
                rope_dim=self.rope_dim,
                dtype=run.attention_dtype,
                kv_dtype=run.kv_dtype,
                causal=run.causal,
                name="attention",
                count=count,
            ),
            self._absorption(run, "v_absorb", self.value_dim, self.kv_lora_rank, count),
        ]

    def _absorption(self, run: Pass, name: str, n: int, k: int, count: Numeric) -> Op:
        """A part of the expansion, head by head, taken into queries or outputs."""
        return op.gemm(
            m=run.tokens,
            n=n,
            k=k,
            batch=self.heads,
            dtype=run.wide,
            weight_dtype=run.weight_dtype,
            name=name,
            count=count,
            shard="heads",
        )

    def _expanded(self, run: Pass, count: Numeric) -> list[Op]:
        # A cached prefix is kept as latents, so it is expanded again with the new tokens.
        return [
            op.gemm(
                m=run.batch * run.mean_kv_len,
                n=self.heads * (self.nope_dim + self.value_dim),
                k=self.kv_lora_rank,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name="kv_b_proj",
                count=count,
                shard="column",
            ),
            op.attention(
                batch=run.batch,
                heads=self.heads,
                head_dim=self.nope_dim + self.rope_dim,
                value_dim=self.value_dim,
                q_len=run.q_len,
                kv_len=run.mean_kv_len,
                dtype=run.attention_dtype,
                causal=run.causal,
                stored=False,
                name="attention_expanded",
                count=count,
            ),
        ]
