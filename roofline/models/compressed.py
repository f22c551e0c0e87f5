"""Compressed attention (DeepSeek-V4): a short window of tokens, and entries that stand for blocks of older ones.

Counted from the public code of ``transformers`` (deepseek_v4) and FlashMLA's layout of an 8-bit entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.base.units import DTYPE_BYTES
from roofline.models.forward import Pass, Weights
from roofline.models.mixers import Mixer, Span
from roofline.models.sparse import Indexer, pooled, seen
from roofline.work import op
from roofline.work.op import Op
from roofline.work.splittable import Heads

#: Numbers of an entry that share one scale, of a byte, where the cache is narrower than 16 bits.
SCALED = 64


@dataclass(frozen=True, slots=True)
class CompressedAttention(Mixer):
    """Attention of all heads over one key a token, which is its value too, in a window and over compressed entries.

    Attributes
    ----------
    heads, dim : int
        Query heads, and the size of each: of the one key/value head as well.
    rope_dim : int
        How much of it is rotated.
    q_rank : int
        Rank of the query projection.
    o_groups, o_rank : int
        Groups of heads whose output is projected by themselves, and the rank of each.
    window : int
        Latest tokens that are attended to as they are.
    ratio : int
        Tokens that make one compressed entry; 0 for a layer that sees its window only.
    indexer : Indexer, optional
        What chooses among the entries; None where all of them are attended to.
    chosen : int
        Most entries that a query attends to, where there is an indexer.
    """

    heads: int
    dim: int
    rope_dim: int
    q_rank: int
    o_groups: int
    o_rank: int
    window: int
    ratio: int = 0
    indexer: Indexer | None = None
    chosen: int = 0

    @property
    def head_counts(self) -> tuple[Heads, ...]:
        """Query heads, by groups; the one key/value head lies on every chip."""
        return (Heads(self.heads, 1, f"{self.heads} heads and 1 key/value heads"),)

    @property
    def about(self) -> str:
        """What it is, in a few words."""
        if not self.ratio:
            return f"a window of {self.window} tokens"
        some = f", {self.chosen} of them chosen" if self.indexer else ""
        return f"a window of {self.window} tokens, older ones {self.ratio} to an entry{some}"

    @property
    def _pools(self) -> int:
        """Entries that a token is part of: neighbouring ones overlap where one of them is chosen."""
        return 2 if self.indexer else 1

    def _entry_bytes(self, width: float) -> float:
        """Bytes of a key, of a token or of a block: in 8 bits its rotary part stays wide, the rest has scales."""
        if width >= 2:
            return self.dim * width
        plain = self.dim - self.rope_dim
        return plain * width + 2 * self.rope_dim + -(-plain // SCALED) + 1

    def token_bytes(self, width: float) -> float:
        """Bytes that a layer caches for one more token that is in the window and part of an entry."""
        entry = self._entry_bytes(width)
        return entry + (entry / self.ratio if self.ratio else 0.0) + (self.indexer.token_bytes if self.indexer else 0.0)

    def cache_bytes(self, context: Numeric, width: float, span: Span, tp: Numeric = 1) -> Numeric:
        """Bytes that a layer caches of one sequence, the same on every chip."""
        entry = self._entry_bytes(width)
        total: Numeric = entry * numeric.minimum(context, self.window)
        if self.ratio:
            total = total + entry * context / self.ratio
        return total + (context * self.indexer.token_bytes if self.indexer else 0.0)

    def weights(self, hidden: int, count: int) -> list[Weights]:
        """Its parameters, in `count` layers."""
        out = [
            Weights("qkv_a_proj", (self.q_rank + self.dim) * hidden, count, storage="attention"),
            Weights("latent_norm", self.q_rank + self.dim, count, storage="wide"),
            Weights("q_b_proj", self.q_rank * self.heads * self.dim, count, "column", storage="attention"),
            Weights("o_a_proj", self.heads * self.dim * self.o_rank, count, "column", storage="attention"),
            Weights("o_b_proj", self.o_groups * self.o_rank * hidden, count, "row", storage="attention"),
            Weights("sinks", self.heads, count, storage="wide"),
        ]
        if self.ratio:
            made = self._pools * self.dim
            out += [
                Weights("compress_proj", 2 * made * hidden, count, storage="attention"),
                Weights("compress", self.ratio * made + self.dim, count, storage="wide"),
            ]
        return out + (self.indexer.weights(hidden, count) if self.indexer else [])

    def ops(self, run: Pass, hidden: int, spans: dict[Span, int]) -> list[Op]:
        """Its operators in one pass; `spans` says how many layers there are."""
        m, wide, count = run.tokens, run.wide, sum(spans.values())
        both = f"heads {self.heads}+1x1"
        out = [
            run.linear("qkv_a_proj", self.q_rank + self.dim, hidden, count),
            op.rms_norm(rows=m, cols=self.q_rank + self.dim, dtype=wide, name="latent_norm", count=count),
            run.linear("q_b_proj", self.heads * self.dim, self.q_rank, count, "column"),
            op.rms_norm(rows=m, cols=self.heads * self.dim, dtype=wide, name="q_norm", count=count, shard="column"),
            # Queries and keys are rotated before attention, and what comes of it back again.
            op.rope(rows=m, cols=(self.heads + 1) * self.rope_dim, dtype=wide, count=2 * count, shard=both),
            op.copy(rows=m, cols=self.dim, dtype=wide, out_dtype=run.kv_dtype, name="kv_write", count=count),
        ]
        if self.ratio:
            made = self._pools * self.dim
            out += [
                run.linear("compress_proj", 2 * made, hidden, count),
                pooled(run, "compress", made, self.ratio, count),
            ]
        if self.indexer:
            out += self.indexer.ops(run, hidden, count)
        out += [
            self._attended(run, count),
            op.gemm(
                m=m,
                n=self.o_rank,
                k=self.heads * self.dim // self.o_groups,
                batch=self.o_groups,
                dtype=run.dtype,
                quantize=run.quantize,
                weight_dtype=run.weight_dtype,
                name="o_a_proj",
                count=count,
                shard="heads",
            ),
            run.linear("o_b_proj", hidden, self.o_groups * self.o_rank, count, "row"),
        ]
        return out

    def _attended(self, run: Pass, count: int) -> Op:
        """One kernel over the window and the entries, which lie in one list of places."""
        keys: Numeric = numeric.minimum(run.mean_kv_len, self.window)
        chosen = seen(run, self.window)
        if self.ratio:
            keys = keys + run.mean_kv_len / self.ratio
            # So many entries are there to choose from once the context is as many times as long.
            most = self.chosen * self.ratio if self.indexer else None
            chosen = chosen + seen(run, most) / self.ratio
        return op.sparse_attention(
            batch=run.batch,
            heads=self.heads,
            key_dim=self.dim,
            value_dim=self.dim,
            token_bytes=self._entry_bytes(DTYPE_BYTES[run.kv_dtype]),
            q_len=run.q_len,
            kv_len=numeric.maximum(keys, 1),
            chosen=numeric.maximum(chosen, 1),
            causal=False,
            dtype=run.wide,
            name="attention",
            count=count,
        )

    def live_elements(self, hidden: int, tp: Numeric = 1, ep: Numeric = 1) -> Numeric:
        """Elements that a token holds at its widest point, on one chip: queries and outputs, twice."""
        return 2 * self.heads * self.dim / tp + self.dim
