"""Attention of a decoder to the states of something else: of an encoder that read the prompt, or of an image.

Keys and values of those states are made once for a sequence and kept; every token of the decoder attends to all of
them (Vaswani et al. 2017, section 3.2.3).
"""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.models.attention import Attention
from roofline.models.forward import Pass, Weights
from roofline.models.mixers import Mixer, Span
from roofline.work import op
from roofline.work.op import Op
from roofline.work.splittable import Heads


@dataclass(frozen=True, slots=True)
class CrossAttention(Mixer):
    """A layer's attention to states of fixed number, behind its own attention or in the place of it.

    Attributes
    ----------
    across : Attention
        Its heads and biases, and the norms of its queries and keys.
    source : int
        Width of the states.
    own : Attention, optional
        What the layer's tokens see each other with before; None where they do not in this layer (Llama 3.2 Vision).
    """

    across: Attention
    source: int
    own: Attention | None = None

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Those of both."""
        return tuple(dict.fromkeys((*(self.own.head_counts if self.own else ()), *self.across.head_counts)))

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        across = f"{self.across.kv_heads} key/value heads over the states of an encoder"
        return f"{self.own.about} and {across}" if self.own else across

    @property
    def _widths(self) -> tuple[int, int]:
        """Columns of queries, and of keys and values together."""
        return self.across.heads * self.across.head_dim, 2 * self.across.kv_heads * self.across.head_dim

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The layer's parameters, in `count` layers."""
        (queries, pairs), one = self._widths, self.across
        bias = one.qkv_bias
        tag, both = f"heads {one.heads}+0x{one.kv_heads}", f"heads 0+2x{one.kv_heads}"
        out = self.own.weights(hidden, count) if self.own else []
        return [
            *out,
            Weights("cross_q_proj", queries * (hidden + bias), count, tag, storage="attention", biases=queries * bias),
            Weights(
                "cross_kv_proj",
                pairs * (self.source + bias),
                count,
                both,
                storage="attention",
                biases=pairs * bias,
            ),
            Weights(
                "cross_o_proj",
                (queries + one.out_bias) * hidden,
                count,
                "row",
                storage="attention",
                biases=one.out_bias * hidden,
                width=queries,
            ),
            *([Weights("cross_qk_norm", one.qk_norm_weights, count, storage="wide")] if one.qk_norm_weights else ()),
        ]

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """The layer's operators in one pass, keys and values of the states being there."""
        count, one = sum(spans.values()), self.across
        out = self.own.ops(run, hidden, spans) if self.own else []
        queries = self._widths[0]
        out.append(run.linear("cross_q_proj", queries, hidden, count, f"heads {one.heads}+0x{one.kv_heads}"))
        if one.qk_norm:
            out.append(
                op.rms_norm(
                    rows=run.tokens, cols=queries, dtype=run.wide, name="cross_q_norm", count=count, shard="column"
                )
            )
        out.append(
            op.attention(
                batch=run.batch,
                heads=one.heads,
                kv_heads=one.kv_heads,
                head_dim=one.head_dim,
                q_len=run.q_len,
                kv_len=run.source,
                dtype=run.attention_dtype,
                kv_dtype=run.kv_dtype,
                causal=False,
                name="cross_attention",
                count=count,
            )
        )
        out.append(run.linear("cross_o_proj", hidden, queries, count, "row"))
        return out

    def reading(self, run: Pass, count: int) -> list[Op]:
        """What makes keys and values of the states and keeps them, once for a sequence."""
        pairs, kv_heads = self._widths[1], self.across.kv_heads
        rows, shard = run.batch * run.source, f"heads 0+2x{kv_heads}"
        norm: list[Op] = []
        if self.across.qk_norm:
            keys = f"heads 0+1x{kv_heads}"
            norm.append(
                op.rms_norm(rows=rows, cols=pairs // 2, dtype=run.wide, name="cross_k_norm", count=count, shard=keys)
            )
        return [
            op.gemm(
                m=rows,
                n=pairs,
                k=self.source,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name="cross_kv_proj",
                count=count,
                shard=shard,
            ),
            *norm,
            op.copy(
                rows=rows,
                cols=pairs,
                dtype=run.wide,
                out_dtype=run.kv_dtype,
                name="cross_kv_write",
                count=count,
                shard=shard,
            ),
        ]

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the widest point, on one chip."""
        across = 2 * self._widths[0] / tp
        return numeric.maximum(self.own.live_elements(hidden, tp, ep), across) if self.own else across

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one more token of the decoder."""
        return self.own.token_bytes(width) if self.own else 0.0

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence of the decoder's own tokens, on one of `tp` chips."""
        return self.own.cache_bytes(context, width, span, tp) if self.own else 0.0

    def source_bytes(self, width: float, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer keeps of one state, on one of `tp` chips: at least one key/value head."""
        share = numeric.maximum(1, self.across.kv_heads / tp) / self.across.kv_heads
        return self._widths[1] * width * share
