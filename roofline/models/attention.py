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

    @property
    def kv_elements(self) -> int:
        """Elements that a layer caches for one token."""
        return 2 * self.kv_heads * self.head_dim if self.own_kv else 0

    @property
    def _projected(self) -> int:
        """Tensors of key/value heads that the layer projects."""
        return self.own_kv * (1 + self.own_values)

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
        return self.kv_elements * width

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence, on one of `tp` chips: at least one key/value head."""
        share = numeric.maximum(1, self.kv_heads / tp) / self.kv_heads
        return span.resident(context) * self.token_bytes(width) * share

    def _tag(self, queries: int, tensors: int) -> str:
        return f"heads {queries}+{tensors}x{self.kv_heads}"

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        width = self.heads * self.head_dim
        qkv, both = width + self._projected * self.kv_heads * self.head_dim, self._tag(self.heads, self._projected)
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
        out = [
            op.gemm(
                m=m,
                n=(self.heads + self._projected * self.kv_heads) * dim,
                k=hidden,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name="qkv_proj",
                count=count,
                shard=self._tag(self.heads, self._projected),
            ),
        ]
        pairs, both = self.heads + self.own_kv * self.kv_heads, self._tag(self.heads, int(self.own_kv))
        if self.qk_norm:
            out.append(op.rms_norm(rows=m, cols=pairs * dim, dtype=wide, name="qk_norm", count=count, shard=both))
        if rotated:
            out.append(op.rope(rows=m, cols=pairs * self.rope_dim, dtype=wide, count=rotated, shard=both))
        if self.own_kv:
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
        out += [self._scores(run, span, n) for span, n in spans.items()]
        out.append(
            op.gemm(
                m=m,
                n=hidden,
                k=self.heads * dim,
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
        return (2 * self.heads / tp + 2 * numeric.maximum(1, self.kv_heads / tp)) * self.head_dim

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
    """

    heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int

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
        if self.q_lora_rank is None:
            return [Weights("q_proj", hidden * q_width, count, "column", storage="attention", width=q_width), *out]
        return [
            Weights("q_a_proj", hidden * self.q_lora_rank, count, storage="attention"),
            Weights("q_b_proj", self.q_lora_rank * q_width, count, "column", storage="attention", width=q_width),
            *out,
        ]

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """The block's operators in one pass; `spans` says how many layers there are (all see everything)."""
        m, wide, count = run.tokens, run.wide, sum(spans.values())

        def linear(name: str, n: int, k: int, shard: str) -> Op:
            return op.gemm(
                m=m,
                n=n,
                k=k,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name=name,
                count=count,
                shard=shard,
            )

        q_width, rank = self.heads * (self.nope_dim + self.rope_dim), self.q_lora_rank
        if rank is None:
            out = [linear("q_proj", q_width, hidden, "column"), linear("kv_a_proj", self.kv_elements, hidden, "")]
        else:
            # Both down-projections read the same input: engines run them as one.
            out = [linear("qkv_a_proj", rank + self.kv_elements, hidden, "")]
        out.append(
            op.rms_norm(rows=m, cols=self.kv_lora_rank + (rank or 0), dtype=wide, name="latent_norm", count=count)
        )
        if rank is not None:
            out.append(linear("q_b_proj", q_width, rank, "column"))
        out.append(
            op.rope(
                rows=m, cols=(self.heads + 1) * self.rope_dim, dtype=wide, count=count, shard=f"heads {self.heads}+1x1"
            )
        )
        out.append(
            op.copy(rows=m, cols=self.kv_elements, dtype=wide, out_dtype=run.kv_dtype, name="kv_write", count=count)
        )
        absorb = self.absorbs(run.q_len, run.mean_kv_len)
        if not isinstance(absorb, np.ndarray):
            out += self._absorbed(run, count) if absorb else self._expanded(run, count)
        else:
            # Where the points of a sweep differ, both forms are there, and each runs zero times where the other does.
            out += self._absorbed(run, count * absorb) if absorb.any() else []
            out += self._expanded(run, count * ~absorb) if not absorb.all() else []
        out.append(linear("o_proj", hidden, self.heads * self.value_dim, "row"))
        return out

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point, on one chip: queries, keys, values and output."""
        return self.heads * (2 * self.nope_dim + 2 * self.value_dim + self.rope_dim) / tp

    def _absorbed(self, run: Pass, count: Numeric) -> list[Op]:
        rank = self.kv_lora_rank
        return [
            op.gemm(
                m=run.tokens,
                n=rank,
                k=self.nope_dim,
                batch=self.heads,
                dtype=run.wide,
                weight_dtype=run.weight_dtype,
                name="q_absorb",
                count=count,
                shard="heads",
            ),
            op.mla_attention(
                batch=run.batch,
                heads=self.heads,
                q_len=run.q_len,
                kv_len=run.mean_kv_len,
                kv_lora_rank=rank,
                rope_dim=self.rope_dim,
                dtype=run.attention_dtype,
                kv_dtype=run.kv_dtype,
                causal=run.causal,
                name="attention",
                count=count,
            ),
            op.gemm(
                m=run.tokens,
                n=self.value_dim,
                k=rank,
                batch=self.heads,
                dtype=run.wide,
                weight_dtype=run.weight_dtype,
                name="v_absorb",
                count=count,
                shard="heads",
            ),
        ]

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
