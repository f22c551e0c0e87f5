"""Attention to chosen and to compressed tokens, worked out by hand: an indexer of 4 heads of 8, what it scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from roofline.models.compressed import CompressedAttention
from roofline.models.forward import Pass
from roofline.models.mixers import Span
from roofline.models.sparse import Indexer, SparseAttention, SparseLatentAttention, seen
from roofline.work.op import Op

INDEXER = Indexer(heads=4, dim=8, rank=24)
LATENT = SparseLatentAttention(
    heads=4, q_lora_rank=24, kv_lora_rank=16, rope_dim=4, nope_dim=8, value_dim=6, indexer=INDEXER, chosen=4
)
GROUPED = SparseAttention(heads=8, kv_heads=4, head_dim=16, rope_dim=16, indexer=replace(INDEXER, narrow=False))


def run(q_len: Any = 10, kv_len: Any = 10, **change: Any) -> Pass:
    usual = Pass(
        batch=2,
        q_len=q_len,
        kv_len=kv_len,
        steps=1,
        causal=True,
        dtype="bf16",
        weight_dtype="bf16",
        unquantised_dtype="bf16",
        kv_dtype="bf16",
    )
    return replace(usual, **change)


def named(ops: list[Op]) -> dict[str, dict[str, Any]]:
    return {one.name: one.args for one in ops}


def weights(mixer: Any, hidden: int = 64) -> dict[str, int]:
    return {w.name: w.elements for w in mixer.weights(hidden, 1)}


def test_what_an_indexer_keeps_of_a_token() -> None:
    """8 numbers in 8 bits and a scale in 32, or 8 in 16; of four tokens together a quarter."""
    assert (INDEXER.key_bytes, INDEXER.token_bytes) == (12, 12)
    assert replace(INDEXER, narrow=False).key_bytes == 16
    assert replace(INDEXER, ratio=4).token_bytes == 3


def test_what_an_indexer_has_learned() -> None:
    """Queries from a rank of 24; a key and the weights of 4 heads from 64 numbers; a scale and a shift of the norm.

    Where four tokens become one key: keys and gates of two overlapping blocks, a scale, and 4 x 8 positions of each.
    """
    assert weights(INDEXER) == {"index_q_proj": 32 * 24, "index_k_proj": 12 * 64, "index_norm": 16}
    four = weights(replace(INDEXER, ratio=4))
    assert (four["index_k_proj"], four["index_norm"]) == ((4 * 8 + 4) * 64, 8 + 2 * 4 * 8)
    assert weights(replace(INDEXER, weighted=False))["index_k_proj"] == 8 * 64


def test_every_key_is_scored_and_the_best_are_chosen() -> None:
    found = named(INDEXER.ops(run(), 64, 3))
    assert {
        name: (found[name]["m"], found[name]["n"], found[name]["k"]) for name in ("index_q_proj", "index_k_proj")
    } == {"index_q_proj": (20, 32, 24), "index_k_proj": (20, 12, 64)}
    assert [found[name]["cols"] for name in ("index_norm", "index_rope", "index_write")] == [8, 5 * 8, 8]
    assert (found["index_write"]["width"], found["index_write"]["out_width"]) == (2, 1)
    scores = found["index_scores"]
    sizes = {"batch": 2, "index_heads": 4, "index_dim": 8, "key_bytes": 12, "q_len": 10, "kv_len": 10, "block": 1}
    assert {name: scores[name] for name in sizes} == sizes
    assert (scores["causal"], scores["width"]) == (1, 2)
    assert (found["top_k"]["rows"], found["top_k"]["cols"]) == (20, 10)
    assert "index_pool" not in found


def test_tokens_that_share_a_key() -> None:
    """9 queries after 31 tokens, four to a key: 10 keys at the end, (40 - 4) / 4 before a query on average."""
    found = named(replace(INDEXER, ratio=4).ops(run(9, 40), 64, 1))
    assert (found["index_scores"]["kv_len"], found["index_scores"]["causal"]) == (9, 0)
    assert found["top_k"]["cols"] == 10
    pool = found["index_pool"]
    assert (pool["rows"], pool["cols"], pool["reads"], pool["writes"]) == (18, 8, 2, 1 / 4)
    few = named(replace(INDEXER, ratio=4).ops(run(1, 2), 64, 1))
    assert (few["index_scores"]["kv_len"], few["top_k"]["cols"]) == (1, 1)


def test_keys_that_are_chosen_together() -> None:
    """Blocks of 4 keys have one score for each head, where no weights make one of all heads."""
    found = named(replace(INDEXER, block=4, weighted=False).ops(run(10, 42), 64, 1))
    assert found["index_scores"]["block"] == 4
    assert (found["top_k"]["rows"], found["top_k"]["cols"]) == (2 * 10 * 4, 11)


@pytest.mark.parametrize(
    ("dtype", "narrow", "scored"), [("bf16", True, "bf16"), ("fp8", True, "fp8"), ("int8", True, "int8"),
                                    ("fp4", True, "fp8"), ("fp8", False, "bf16")]
)  # fmt: skip
def test_scores_are_as_wide_as_the_arithmetic_has_them(dtype: str, narrow: bool, scored: str) -> None:
    ops = replace(INDEXER, narrow=narrow).choice(run(dtype=dtype), 1)
    assert ops[0].dtype == scored


def test_what_latent_attention_keeps_of_a_token() -> None:
    """In 16 bits 16 + 4 numbers; in 8 bits 16, a scale for up to 128 of them, and the rotary 4 in 16; the key beside.

    DeepSeek-V3.2: 512 B, four scales and 128 B, the 656 B of FlashMLA's layout, and 132 B of its indexer.
    """
    assert LATENT.token_bytes(2.0) == 20 * 2 + 12
    assert LATENT.token_bytes(1.0) == 16 + 4 + 4 * 2 + 12
    assert replace(LATENT, indexer=None).token_bytes(1.0) == 28
    deepseek = SparseLatentAttention(128, 1536, 512, 64, 128, 128, indexer=Indexer(64, 128, 1536))
    assert deepseek.token_bytes(1.0) == 656 + 132
    assert deepseek.about == "latent (MLA) over 2,048 chosen tokens"
    assert replace(deepseek, indexer=None).about.endswith("chosen tokens by an earlier layer")
    assert weights(LATENT).keys() - weights(replace(LATENT, indexer=None)).keys() == weights(INDEXER).keys()


def test_latent_attention_to_the_chosen() -> None:
    """4 heads attend over 16 + 4 numbers and sum 16; ten queries choose 1, 2, 3 and then 4 tokens: 3.4 on average."""
    found = named(LATENT.ops(run(kv_dtype="fp8"), 64, {Span(): 3}))
    chosen = found["sparse_attention"]
    sizes = {"heads": 4, "kv_heads": 1, "key_dim": 20, "value_dim": 16, "q_len": 10, "kv_len": 10, "causal": 0}
    assert {name: chosen[name] for name in sizes} == sizes
    assert chosen["token_bytes"] == 16 + 4 + 8
    assert chosen["chosen"] == pytest.approx(3.4)
    assert "index_scores" in found
    assert "index_scores" not in named(replace(LATENT, indexer=None).ops(run(), 64, {Span(): 3}))


def test_grouped_attention_to_the_chosen() -> None:
    """4 key/value heads of 16: 128 numbers a token, and 16 B of the indexer's key on every chip."""
    assert GROUPED.token_bytes(2.0) == 128 * 2 + 16
    assert GROUPED.cache_bytes(100, 2.0, Span(), 2) == 100 * (128 + 16)
    assert GROUPED.cache_bytes(100, 2.0, Span(), 8) == 100 * (64 + 16)
    found = named(GROUPED.ops(run(), 64, {Span(): 3}))["sparse_attention"]
    sizes = {"heads": 8, "kv_heads": 4, "key_dim": 16, "value_dim": 16, "token_bytes": 64, "chosen": 5.5}
    assert {name: found[name] for name in sizes} == sizes
    assert GROUPED.about == "4 key/value heads over 2,048 chosen tokens"
    assert set(weights(GROUPED)) == {"qkv_proj", "o_proj", *weights(INDEXER)}


def test_what_a_query_sees_at_most() -> None:
    """Decoding 10 tokens after 99: 100 to 109 are seen, or 100, 101 and then 102. Without a mask all that there is."""
    decoding = run(1, 100, steps=10)
    assert seen(decoding, None) == pytest.approx(104.5)
    assert seen(decoding, 102) == pytest.approx((100 + 101 + 8 * 102) / 10)
    assert seen(run(4, 10), None) == pytest.approx((7 + 8 + 9 + 10) / 4)
    assert seen(run(4, 10), 8) == pytest.approx((7 + 8 + 8 + 8) / 4)
    assert seen(run(4, 10, causal=False), 8) == 8
    assert seen(run(4, 10, causal=False), None) == 10
    np.testing.assert_allclose(seen(run(np.array([1, 4]), 10), 8), [8, 31 / 4])


# Compressed attention -------------------------------------------------------------------------------------------------

#: A window of 16 tokens; older ones four to an entry of 32 numbers, of which an indexer chooses five.
ENTRIES = CompressedAttention(
    heads=8,
    dim=32,
    rope_dim=8,
    q_rank=24,
    o_groups=2,
    o_rank=10,
    window=16,
    ratio=4,
    indexer=replace(INDEXER, ratio=4),
    chosen=5,
)
ALL = replace(ENTRIES, indexer=None)
WINDOW = replace(ALL, ratio=0)


def test_what_compressed_attention_keeps() -> None:
    """An entry: 32 numbers in 16 bits; or 24 in 8 with a scale and a byte that fills up, and the rotary 8 in 16.

    DeepSeek-V4: 448 + 128 + 7 + 1 = 584 B.
    """
    assert [one.token_bytes(2.0) for one in (ENTRIES, ALL, WINDOW)] == [64 + 16 + 3, 64 + 16, 64]
    assert WINDOW.token_bytes(1.0) == 24 + 16 + 1 + 1
    assert replace(WINDOW, dim=512, rope_dim=64).token_bytes(1.0) == 584
    assert ENTRIES.cache_bytes(100, 2.0, Span(), 8) == 64 * 16 + 64 * 25 + 100 * 3
    assert ENTRIES.cache_bytes(10, 2.0, Span()) == 64 * 10 + 64 * 2.5 + 10 * 3
    assert ALL.cache_bytes(100, 2.0, Span()) == 64 * 41
    assert WINDOW.cache_bytes(np.array([10, 100]), 2.0, Span()).tolist() == [640, 1024]
    assert [(one.heads, one.shared) for one in ENTRIES.head_counts] == [(8, 1)]
    assert ENTRIES.live_elements(64, 4) == 2 * 8 * 32 / 4 + 32
    assert [one.about for one in (ENTRIES, ALL, WINDOW)] == [
        "a window of 16 tokens, older ones 4 to an entry, 5 of them chosen",
        "a window of 16 tokens, older ones 4 to an entry",
        "a window of 16 tokens",
    ]


def test_what_compressed_attention_has_learned() -> None:
    """An entry is a sum of four tokens by learned gates; where entries are chosen each overlaps the one before."""
    plain = {
        "qkv_a_proj": 56 * 64,
        "latent_norm": 56,
        "q_b_proj": 24 * 256,
        "o_a_proj": 256 * 10,
        "o_b_proj": 20 * 64,
        "sinks": 8,
    }
    assert weights(WINDOW) == plain
    assert weights(ALL) == {**plain, "compress_proj": 2 * 32 * 64, "compress": 4 * 32 + 32}
    chosen = {"compress_proj": 2 * 64 * 64, "compress": 4 * 64 + 32, **weights(replace(INDEXER, ratio=4))}
    assert weights(ENTRIES) == {**plain, **chosen}


@pytest.mark.parametrize(
    ("mixer", "kv_len", "keys", "chosen"),
    [(ENTRIES, 100, 16 + 25, 16 + 5), (ALL, 100, 16 + 25, 16 + 25), (WINDOW, 100, 16, 16),
     (ENTRIES, 10, 10 + 2.5, 10 + 2.5), (ENTRIES, 18, 16 + 4.5, 16 + 4.5), (WINDOW, 1, 1, 1)],
)  # fmt: skip
def test_a_token_attends_to_its_window_and_to_entries(
    mixer: CompressedAttention, kv_len: int, keys: float, chosen: float
) -> None:
    found = named(mixer.ops(run(1, kv_len), 64, {Span(): 3}))["attention"]
    assert (found["kv_len"], found["chosen"]) == (keys, chosen)
    assert (found["key_dim"], found["value_dim"], found["token_bytes"], found["causal"]) == (32, 32, 64, 0)


def test_the_operators_around_compressed_attention() -> None:
    ops = ENTRIES.ops(run(), 64, {Span(): 3})
    found, counts = named(ops), {one.name: one.count for one in ops}
    sizes = {"qkv_a_proj": (56, 64), "q_b_proj": (256, 24), "compress_proj": (128, 64), "o_b_proj": (64, 20)}
    assert {name: (found[name]["n"], found[name]["k"]) for name in sizes} == sizes
    groups = found["o_a_proj"]
    assert (groups["m"], groups["n"], groups["k"], groups["batch"]) == (20, 10, 128, 2)
    cols = {"latent_norm": 56, "q_norm": 256, "rope": 9 * 8, "kv_write": 32, "compress": 64}
    assert {name: found[name]["cols"] for name in cols} == cols
    assert (counts["rope"], counts["kv_write"]) == (6, 3)  # there and back again
    assert found["compress"]["writes"] == 1 / 4
    assert "compress" not in named(WINDOW.ops(run(), 64, {Span(): 3}))
    assert named(ALL.ops(run(), 64, {Span(): 3}))["compress"]["cols"] == 32
