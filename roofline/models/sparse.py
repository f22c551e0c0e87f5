"""Attention over chosen tokens: an indexer scores all that is cached in a few narrow heads, and the best are attended.

Counted from DeepSeek's public code: DeepSeek-V3.2-Exp, FlashMLA (the layout of its 8-bit cache), DeepGEMM (the scores).
"""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.base.units import DTYPE_BYTES
from roofline.models.attention import Attention, LatentAttention
from roofline.models.forward import Pass, Weights, mean_context
from roofline.models.mixers import Span
from roofline.work import op
from roofline.work.op import Op

#: Numbers of a latent that share one scale, in fp32, where the cache is narrower than 16 bits; its rotary part is not.
SCALED, SCALE_BYTES, ROTARY_BYTES = 128, 4, 2


@dataclass(frozen=True, slots=True)
class Indexer:
    """What scores the cached tokens: `heads` of `dim` numbers over one key a token.

    Attributes
    ----------
    heads, dim : int
        Its heads, and the size of each.
    rank : int
        Width of what its queries are projected from.
    ratio : int
        Tokens that share one key (DeepSeek-V4 compresses before it scores).
    block : int
        Keys that are chosen together, by the largest of their scores (MiniMax-M3).
    weighted : bool
        Whether the input weighs the heads, whose scores then make one.
    narrow : bool
        Whether keys are kept in 8 bits with a scale rather than in 16.
    """

    heads: int
    dim: int
    rank: int
    ratio: int = 1
    block: int = 1
    weighted: bool = True
    narrow: bool = True

    @property
    def key_bytes(self) -> int:
        """Bytes of a key in its cache."""
        return self.dim + SCALE_BYTES if self.narrow else 2 * self.dim

    @property
    def token_bytes(self) -> float:
        """Bytes of its cache for one more token."""
        return self.key_bytes / self.ratio

    @property
    def _columns(self) -> int:
        """Columns of the projection of the input: the key, or those of two blocks with gates; weights."""
        return self.dim * (1 if self.ratio == 1 else 4) + self.weighted * self.heads

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """Its parameters, in `count` layers."""
        few = 2 * self.dim if self.ratio == 1 else self.dim * (1 + 2 * self.ratio)
        return [
            Weights("index_q_proj", self.heads * self.dim * self.rank, count, storage="attention"),
            Weights("index_k_proj", self._columns * hidden, count, storage="attention"),
            Weights("index_norm", few, count, storage="wide"),
        ]

    def ops(self, run: Pass, hidden: int, count: int) -> list[Op]:
        """Its operators in one pass: projections, a norm, the keys' place in the cache, then scores and choice."""
        m, wide = run.tokens, run.wide
        kept = "fp8" if self.narrow else wide
        return [
            run.linear("index_q_proj", self.heads * self.dim, self.rank, count),
            run.linear("index_k_proj", self._columns, hidden, count),
            *([pooled(run, "index_pool", self.dim, self.ratio, count)] if self.ratio > 1 else []),
            op.layer_norm(rows=m, cols=self.dim, dtype=wide, name="index_norm", count=count),
            op.rope(rows=m, cols=(self.heads + 1) * self.dim, dtype=wide, name="index_rope", count=count),
            op.copy(rows=m, cols=self.dim, dtype=wide, out_dtype=kept, name="index_write", count=count),
            *self.choice(run, count),
        ]

    def choice(self, run: Pass, count: int) -> list[Op]:
        """Scores of all keys, and the best of them, for every query."""
        keys = numeric.maximum(1, run.mean_kv_len / self.ratio)
        scored = numeric.maximum(1, keys / self.block)
        # Queries and keys are 8 bits wide where the arithmetic is; elsewhere keys are widened as they are read.
        dtype = run.wide if DTYPE_BYTES[run.dtype] > 1 else run.dtype if DTYPE_BYTES[run.dtype] == 1 else "fp8"
        # Compressed, a query scores the whole blocks before it: on average half of those after the prefix.
        before = keys if self.ratio == 1 else numeric.maximum(1, (run.mean_kv_len - (run.q_len - 1) / 2) / self.ratio)
        scores = op.index_scores(
            batch=run.batch,
            index_heads=self.heads,
            index_dim=self.dim,
            key_bytes=self.key_bytes,
            q_len=run.q_len,
            kv_len=keys if self.ratio == 1 else before,
            block=self.block,
            causal=run.causal and self.ratio == 1,
            dtype=dtype if self.narrow else run.wide,
            count=count,
        )
        rows = run.tokens * (1 if self.weighted else self.heads)
        return [scores, op.top_k(rows=rows, cols=numeric.ceil_div(scored, 1), count=count)]


@dataclass(frozen=True, slots=True)
class SparseLatentAttention(LatentAttention):
    """Latent attention to the tokens that an indexer chooses (DeepSeek-V3.2, GLM-5).

    Attributes
    ----------
    indexer : Indexer, optional
        None where a layer takes the choice of the one before it (GLM-5.2).
    chosen : int
        Most tokens that a query attends to.
    """

    indexer: Indexer | None = None
    chosen: int = 2048

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        whose = "" if self.indexer else " by an earlier layer"
        return f"latent (MLA) over {self.chosen:,} chosen tokens{whose}"

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one token: the latent, scales where it is narrow, the indexer's key."""
        return self._latent_bytes(width) + (self.indexer.token_bytes if self.indexer else 0.0)

    def _latent_bytes(self, width: float) -> float:
        if width >= ROTARY_BYTES:
            return self.kv_elements * width
        scales = numeric.ceil_div(self.kv_lora_rank, SCALED) * SCALE_BYTES
        return float(self.kv_lora_rank * width + scales + self.rope_dim * ROTARY_BYTES)

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        out = LatentAttention.weights(self, hidden, count)
        return out + (self.indexer.weights(hidden, count) if self.indexer else [])

    def _attend(self, run: Pass, hidden: int, count: int) -> list[Op]:
        """The choice, then attention in the latent space: what each query gathers is shared by all its heads."""
        return [
            *(self.indexer.ops(run, hidden, count) if self.indexer else []),
            self._absorption(run, "q_absorb", self.kv_lora_rank, self.nope_dim, count),
            op.sparse_attention(
                batch=run.batch,
                heads=self.heads,
                key_dim=self.kv_elements,
                value_dim=self.kv_lora_rank,
                token_bytes=self._latent_bytes(DTYPE_BYTES[run.kv_dtype]),
                q_len=run.q_len,
                kv_len=run.mean_kv_len,
                chosen=seen(run, self.chosen),
                causal=False,
                dtype=run.wide,
                count=count,
            ),
            self._absorption(run, "v_absorb", self.value_dim, self.kv_lora_rank, count),
        ]


@dataclass(frozen=True, slots=True)
class SparseAttention(Attention):
    """Grouped-query attention to blocks of tokens that an indexer chooses for every key/value head (MiniMax-M3).

    Attributes
    ----------
    indexer : Indexer
    chosen : int
        Most tokens that a query attends to.
    """

    indexer: Indexer = Indexer(4, 128, 6144, block=128, weighted=False, narrow=False)
    chosen: int = 2048

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        return f"{self.kv_heads} key/value heads over {self.chosen:,} chosen tokens"

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one token: keys, values, and the indexer's key."""
        return self.kv_elements * width + self.indexer.token_bytes

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence, on one of `tp` chips, each with all of the indexer's keys."""
        share = numeric.maximum(1, self.kv_heads / tp) / self.kv_heads
        return context * (self.kv_elements * width * share + self.indexer.token_bytes)

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        return Attention.weights(self, hidden, count) + self.indexer.weights(hidden, count)

    def _attend(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """The choice, then attention to what was chosen."""
        count = sum(spans.values())
        attended = op.sparse_attention(
            batch=run.batch,
            heads=self.heads,
            kv_heads=self.kv_heads,
            key_dim=self.head_dim,
            value_dim=self.head_dim,
            token_bytes=2 * self.head_dim * DTYPE_BYTES[run.kv_dtype],
            q_len=run.q_len,
            kv_len=run.mean_kv_len,
            chosen=seen(run, self.chosen),
            causal=False,
            dtype=run.wide,
            count=count,
        )
        return [*self.indexer.ops(run, hidden, count), attended]


def seen(run: Pass, most: int | None) -> Numeric:
    """Tokens that a query attends to of those up to itself, at most `most`: the mean over queries and steps."""
    if not run.causal:
        return run.mean_kv_len if most is None else numeric.minimum(run.mean_kv_len, most)
    within = mean_context(run.kv_len - run.q_len + 1, run.q_len, 1, most)
    return numeric.choose(run.q_len == 1, mean_context(run.kv_len, run.steps, 1, most), within)


def pooled(run: Pass, name: str, dim: int, ratio: int, count: int) -> Op:
    """One entry of `dim` numbers for every `ratio` tokens: a sum weighed by a softmax over the tokens' gates."""
    return op.elementwise(
        rows=run.tokens,
        cols=dim,
        reads=2,
        writes=1 / ratio,
        dtype=run.wide,
        flops_per_element=6,
        name=name,
        count=count,
    )
