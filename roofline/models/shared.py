"""A transformer block that several layers share, stored once and run in each of them (Zamba)."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.models.attention import Attention
from roofline.models.feed_forward import FeedForward
from roofline.models.forward import Pass, Weights
from roofline.models.mixers import Mixer, Span
from roofline.models.recurrent import Projection
from roofline.work import op
from roofline.work.op import Op
from roofline.work.splittable import Heads


@dataclass(frozen=True, slots=True)
class SharedBlock(Mixer):
    """Attention and feed-forward over the hidden state and the embedding side by side (Glorioso et al. 2024).

    Its weights are those of a few blocks that layers take in turn; each layer has a projection behind it, and perhaps
    low-rank adapters, of its own. The cache is every layer's own.

    Attributes
    ----------
    attention : Attention
        Queries, keys and values are projected from both, twice the model's width.
    feed_forward : FeedForward
    stored : int
        Blocks that the layers share.
    qkv_rank, up_rank : int
        Ranks of the adapters of queries, keys and values (each), and of the first matrix of the feed-forward; 0: none.
    """

    attention: Attention
    feed_forward: FeedForward
    stored: int = 1
    qkv_rank: int = 0
    up_rank: int = 0

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Those of its attention."""
        return self.attention.head_counts

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return f"{self.attention.about} in one of {self.stored} shared blocks"

    def _own(self, hidden: int) -> list[Projection]:
        """What a layer has of its own."""
        out = [Projection("shared_block_proj", hidden, hidden, "")]
        if self.qkv_rank:
            width = 2 * hidden
            for name in ("q", "k", "v"):
                out.append(Projection(f"{name}_adapter_down", width, self.qkv_rank, ""))
                out.append(Projection(f"{name}_adapter_up", self.qkv_rank, width))
        if self.up_rank:
            columns = (1 + self.feed_forward.gated) * self.feed_forward.inter
            out.append(Projection("up_adapter_down", hidden, self.up_rank, ""))
            out.append(Projection("up_adapter_up", self.up_rank, columns))
        return out

    def _of_embedding(self, hidden: int) -> Projection:
        """The half of the projection to queries, keys and values that sees the embedding."""
        attention = self.attention
        return Projection(
            "qkv_proj_of_embedding", hidden, (attention.heads + 2 * attention.kv_heads) * attention.head_dim
        )

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """Its parameters: the shared ones once for each stored block, the others in `count` layers."""
        return [
            *self.attention.weights(hidden, self.stored),
            self._of_embedding(hidden).weights(self.stored),
            *self.feed_forward.weights(hidden, self.stored),
            Weights("shared_norms", 3 * hidden, self.stored, storage="wide"),
            *(projection.weights(count) for projection in self._own(hidden)),
        ]

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """Its operators in one pass; `spans` says how many layers see how far."""
        m, count = run.tokens, sum(spans.values())
        return [
            op.rms_norm(rows=m, cols=2 * hidden, dtype=run.wide, name="shared_norm", count=count),
            *self.attention.ops(run, hidden, spans),
            self._of_embedding(hidden).op(run, count),
            op.rms_norm(rows=m, cols=hidden, dtype=run.wide, name="shared_norm", count=count),
            *self.feed_forward.ops(run, hidden, count),
            *(projection.op(run, count) for projection in self._own(hidden)),
        ]

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at the widest point, on one chip."""
        inside = numeric.maximum(
            self.attention.live_elements(hidden, tp, ep), self.feed_forward.live_elements(hidden, tp, ep)
        )
        return inside + 2 * hidden

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one more token."""
        return self.attention.token_bytes(width)

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence, on one of `tp` chips."""
        return self.attention.cache_bytes(context, width, span, tp)
