"""Attention over chosen tokens: an indexer scores all that is cached in a few narrow heads, and the best are attended.

Counted from DeepSeek's public code: DeepSeek-V3.2-Exp, FlashMLA (the layout of its 8-bit cache), DeepGEMM (the scores).
"""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.base.units import DTYPE_BYTES
from roofline.models.attention import LatentAttention
from roofline.models.forward import Pass, Weights, mean_context
from roofline.work import op
from roofline.work.op import Op

#: Numbers of a latent that share one scale, in fp32, where the cache is narrower than 16 bits; its rotary part is not.
SCALED, SCALE_BYTES, ROTARY_BYTES = 128, 4, 2


@dataclass(frozen=True, slots=True)
class Indexer:
    """What scores the cached tokens: `heads` of `dim` numbers over one key a token, kept in 8 bits with a scale.

    Attributes
    ----------
    heads, dim : int
        Its heads, and the size of each.
    chosen : int
        Most tokens that a query attends to.
    ratio : int
        Tokens that share one key (DeepSeek-V4 compresses before it scores).
    """

    heads: int
    dim: int
    chosen: int
    ratio: int = 1

    @property
    def token_bytes(self) -> float:
        """Bytes of its cache for one more token."""
        return (self.dim + SCALE_BYTES) / self.ratio

    def weights(self, hidden: int, rank: int, count: int) -> list[Weights]:
        """Its parameters, in `count` layers: queries from the query latent, keys and weights of heads from the input."""
        return [
            Weights("index_q_proj", self.heads * self.dim * rank, count, storage="attention"),
            Weights("index_k_proj", (self.dim + self.heads) * hidden, count, storage="attention"),
            Weights("index_norm", 2 * self.dim, count, storage="wide"),
        ]

    def ops(self, run: Pass, hidden: int, rank: int, count: int) -> list[Op]:
        """Its operators in one pass: projections, a norm, the keys' place in the cache, then scores and choice."""
        m, wide = run.tokens, run.wide
        return [
            _linear(run, "index_q_proj", self.heads * self.dim, rank, count),
            _linear(run, "index_k_proj", self.dim + self.heads, hidden, count),
            op.layer_norm(rows=m, cols=self.dim, dtype=wide, name="index_norm", count=count),
            op.rope(rows=m, cols=(self.heads + 1) * self.dim, dtype=wide, name="index_rope", count=count),
            op.copy(rows=m, cols=self.dim, dtype=wide, out_dtype="fp8", name="index_write", count=count),
            *self.choice(run, count),
        ]

    def choice(self, run: Pass, count: int) -> list[Op]:
        """Scores of all keys, and the best of them, for every query."""
        keys = numeric.maximum(1, run.mean_kv_len / self.ratio)
        # Queries and keys are 8 bits wide where the arithmetic is; elsewhere the keys are widened as they are read.
        dtype = run.wide if DTYPE_BYTES[run.dtype] > 1 else run.dtype if DTYPE_BYTES[run.dtype] == 1 else "fp8"
        scores = op.index_scores(
            batch=run.batch,
            index_heads=self.heads,
            index_dim=self.dim,
            key_bytes=self.dim + SCALE_BYTES,
            q_len=run.q_len,
            kv_len=numeric.maximum(keys, run.q_len),
            causal=run.causal,
            dtype=dtype,
            count=count,
        )
        if self.ratio > 1:
            # Every query scores the whole blocks before it: as many pairs, over a shorter context.
            scores = scores.with_args(q_len=run.q_len, kv_len=keys, causal=0.0)
        return [scores, op.top_k(rows=run.tokens, cols=numeric.ceil_div(keys, 1), count=count)]


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
        """Bytes that a layer caches for one token: the latent, with scales where it is narrow, and the indexer's key."""
        return self._latent_bytes(width) + (self.indexer.token_bytes if self.indexer else 0.0)

    def _latent_bytes(self, width: float) -> float:
        if width >= ROTARY_BYTES:
            return self.kv_elements * width
        scales = numeric.ceil_div(self.kv_lora_rank, SCALED) * SCALE_BYTES
        return float(self.kv_lora_rank * width + scales + self.rope_dim * ROTARY_BYTES)

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """The block's parameters, in `count` layers."""
        out = LatentAttention.weights(self, hidden, count)
        return out + (self.indexer.weights(hidden, self.q_lora_rank or hidden, count) if self.indexer else [])

    def _attend(self, run: Pass, hidden: int, count: int) -> list[Op]:
        """The choice, then attention in the latent space: what each query gathers is shared by all its heads."""
        choice = self.indexer.ops(run, hidden, self.q_lora_rank or hidden, count) if self.indexer else []
        return [
            *choice,
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


def seen(run: Pass, most: int) -> Numeric:
    """Tokens that a query attends to of those up to itself, at most `most`: the mean over queries and steps."""
    if not run.causal:
        return numeric.minimum(run.mean_kv_len, most)
    within = mean_context(run.kv_len - run.q_len + 1, run.q_len, 1, most)
    return numeric.choose(run.q_len == 1, mean_context(run.kv_len, run.steps, 1, most), within)


def _linear(run: Pass, name: str, n: int, k: int, count: int) -> Op:
    """A projection that every chip computes for all its tokens."""
    return op.gemm(
        m=run.tokens,
        n=n,
        k=k,
        dtype=run.dtype,
        quantize=run.quantize,
        weight_dtype=run.weight_dtype,
        name=name,
        count=count,
    )
