"""Attention whose queries are made in two steps, through a narrow middle that all heads share (Step 3)."""

from __future__ import annotations

from dataclasses import dataclass

from roofline.models.attention import Attention
from roofline.models.forward import Pass, Weights
from roofline.models.mixers import Span
from roofline.work import op
from roofline.work.op import Op


@dataclass(frozen=True, slots=True)
class FactoredAttention(Attention):
    """Multi-matrix factorisation attention (StepFun 2025): low-rank queries, one head of keys and values.

    Attributes
    ----------
    q_rank : int
        Width of the middle, which has a norm of its own. Every chip makes it, as it makes keys and values.
    """

    q_rank: int = 0

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        queries, made = self.heads * self.head_dim, self.q_rank + self.kv_elements
        return [
            Weights("qkv_a_proj", hidden * made, count, storage="attention"),
            Weights("q_norm", self.q_rank, count, storage="wide"),
            Weights("q_b_proj", self.q_rank * queries, count, "column", storage="attention", width=queries),
            *Attention.weights(self, hidden, count)[1:],
        ]

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """The block's operators in one pass; `spans` says how many layers see how far."""
        count = sum(spans.values())
        return [
            run.linear("qkv_a_proj", self.q_rank + self.kv_elements, hidden, count),
            op.rms_norm(rows=run.tokens, cols=self.q_rank, dtype=run.wide, name="q_norm", count=count),
            run.linear("q_b_proj", self.heads * self.head_dim, self.q_rank, count, "column"),
            *Attention.ops(self, run, hidden, spans)[1:],
        ]
