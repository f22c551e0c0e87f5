"""Attention whose queries and outputs are projected by experts (JetMoE): keys and values are the same for all."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.models.forward import Pass, Weights
from roofline.models.mixers import Mixer, Span
from roofline.work import op
from roofline.work.op import Op
from roofline.work.splittable import Heads


@dataclass(frozen=True, slots=True)
class RoutedAttention(Mixer):
    """A mixture of attention heads (Shen et al. 2023, 2024): a token's query heads are those of its top-k experts.

    An expert has a matrix that makes as many query heads as there are key/value heads, and one that takes their
    outputs back; together they are two matrices of a routed block, with attention between them.

    Attributes
    ----------
    experts, topk : int
        Experts, and how many of them a token goes to.
    kv_heads, head_dim : int
        Key/value heads, and query heads of one expert; and the size of each.
    """

    experts: int
    topk: int
    kv_heads: int
    head_dim: int

    @property
    def heads(self) -> int:
        """Query heads of a token."""
        return self.topk * self.kv_heads

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Query heads, and the key/value heads that they share."""
        return (Heads(self.heads, self.kv_heads, f"{self.heads} heads and {self.kv_heads} key/value heads"),)

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return f"{self.kv_heads} key/value heads, queries of {self.topk} of {self.experts} experts"

    @property
    def width(self) -> int:
        """Numbers that an expert makes of a token."""
        return self.kv_heads * self.head_dim

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one token."""
        return 2 * self.width * width

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence, on one of `tp` chips: at least one key/value head."""
        share = numeric.maximum(1, self.kv_heads / tp) / self.kv_heads
        return span.resident(context) * self.token_bytes(width) * share

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        matrices = 2 * self.experts * hidden * self.width
        active = self.topk / self.experts
        return [
            Weights("attention_router", self.experts * hidden, count, storage="wide"),
            Weights("attention_experts", matrices, count, "experts", storage="expert", active=active, width=self.width),
            Weights("kv_proj", 2 * self.width * hidden, count, self._tag, storage="attention"),
        ]

    @property
    def _tag(self) -> str:
        return f"heads 0+2x{self.kv_heads}"

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """The block's operators in one pass; `spans` says how many layers there are (all see everything)."""
        m, wide, count = run.tokens, run.wide, sum(spans.values())
        rotated = (self.heads + self.kv_heads) * self.head_dim
        return [
            op.gemm(
                m=m,
                n=self.experts,
                k=hidden,
                dtype=wide,
                weight_dtype=run.unquantised_dtype,
                name="attention_router",
                count=count,
            ),
            op.moe(
                tokens=m,
                hidden=hidden,
                inter=self.width,
                topk=self.topk,
                experts=self.experts,
                dtype=run.dtype,
                weight_dtype=run.weight_dtype,
                gated=False,
                quantize=run.quantize,
                name="attention_experts",
                count=count,
            ),
            op.gemm(
                m=m,
                n=2 * self.width,
                k=hidden,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name="kv_proj",
                count=count,
                shard=self._tag,
            ),
            op.rope(rows=m, cols=rotated, dtype=wide, count=count, shard=f"heads {self.heads}+1x{self.kv_heads}"),
            op.copy(
                rows=m,
                cols=2 * self.width,
                dtype=wide,
                out_dtype=run.kv_dtype,
                name="kv_write",
                count=count,
                shard=self._tag,
            ),
            op.attention(
                batch=run.batch,
                heads=self.heads,
                kv_heads=self.kv_heads,
                head_dim=self.head_dim,
                q_len=run.q_len,
                kv_len=run.mean_kv_len,
                dtype=run.attention_dtype,
                kv_dtype=run.kv_dtype,
                causal=run.causal,
                count=count,
            ),
        ]

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the block's widest point: its copies, queries, keys, values and output."""
        return self.topk * hidden / numeric.minimum(tp, ep) + 2 * self.head_dim * (
            self.heads / tp + numeric.maximum(1, self.kv_heads / tp)
        )
