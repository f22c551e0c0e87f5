"""Recurrences, short convolutions and sparse attention by hand: on the plain chip, and the counts of papers.

The plain chip (``plain.py``): 100 TFLOP/s in bf16, 200 in fp8, 10 on the vector engine, 1 TB/s of memory, a cache of
100 MB with 10 TB/s, 100 cores.
"""

from __future__ import annotations

from typing import Any

import pytest

import roofline as rl
from roofline.work import op as operators
from tests.plain import plain, worked

NS, US = 1e-9, 1e-6


# A state a head -------------------------------------------------------------------------------------------------------


def test_one_token_reads_and_writes_the_state() -> None:
    """4 heads of 16 x 64 in fp32, 2 sequences: 2 x 4,096 numbers, read and written; 5 FLOP each.

    In and out go 2 groups' query and key of 16, and 4 heads' value, output (64) and gate: 2 x (64 + 516) x 2 B.
    """
    op = rl.recurrence(batch=2, heads=4, groups=2, key_dim=16, value_dim=64, q_len=1)
    state, through = 2 * 4096 * 4 * 2, 2 * (64 + 516) * 2
    worked(
        op,
        flops=0,
        vector_flops=2 * 4096 * 5,
        bytes=state + through,
        memory_bytes=state,
        cache_bytes=state + through,
        compute_s=4.096 * NS,
        memory_s=65.536 * NS,
        cache_s=6.7856 * NS,
        time_s=65.536 * NS,
        lower_s=65.536 * NS,
        upper_s=(4.096 + 65.536 + 6.7856) * NS,
    )
    fresh = rl.recurrence(batch=2, heads=4, groups=2, key_dim=16, value_dim=64, q_len=1, resumed=0)
    worked(fresh, memory_bytes=state / 2)
    worked(
        rl.recurrence(batch=2, heads=4, groups=2, key_dim=16, value_dim=64, q_len=1, delta=True),
        vector_flops=2 * 4096 * 7,
    )


def test_chunks_are_products_of_matrices() -> None:
    """1,024 tokens in chunks of 128, 8 heads of 128 x 64 that share queries and keys.

    A token: with the state 2 x 2 x 128 x 64 x 8 = 262,144 FLOP, a pair 2 x (128 + 8 x 64) = 1,280, of which it has 64.5
    on average, and the engine computes 128. On the vector engine 8 heads x (4 FLOP a pair, 2 a number of the state once
    a chunk). The 8 states of chunks pass the cache 4 times in fp32.
    """
    op = rl.recurrence(batch=1, heads=8, groups=1, key_dim=128, value_dim=64, q_len=1024, chunk=128, resumed=0)
    state, through = 8 * 128 * 64 * 4, 1024 * (2 * 128 + 8 * (2 * 64 + 1)) * 2
    flops, busy = 1024 * (262_144 + 1280 * 64.5), 1024 * (262_144 + 1280 * 128)
    vector = 1024 * 8 * (4 * 64.5 + 2 * 64)
    worked(
        op,
        flops=flops,
        vector_flops=vector,
        bytes=state + through,
        memory_bytes=state,
        cache_bytes=state + through + 8 * 4 * state,
        compute_s=busy / 100e12 + vector / 10e12,
        time_s=4.36207616 * US + 0.3162112 * US,
        lower_s=3.52976896 * US,
    )


def test_chunks_of_the_delta_rule() -> None:
    """64 tokens in chunks of 32, 4 heads of 64 x 64 in 2 groups: every head has scores of its own.

    A token: three products with the state, 2 x 3 x 64 x 64 x 4 = 98,304 FLOP; a pair has three products of keys and two
    of values, 2 x 4 x (3 x 64 + 2 x 64) = 2,560; a chunk's inverse is 32^3 / 3 a head. States of chunks pass in 16
    bits, written and read; keys and values, two of them, are written anew and read.
    """
    op = rl.recurrence(batch=1, heads=4, groups=2, key_dim=64, value_dim=64, q_len=64, chunk=32, delta=True, resumed=0)
    state, through = 4 * 64 * 64 * 4, 64 * (2 * 2 * 64 + 4 * (2 * 64 + 1)) * 2
    inverse = 4 * 32**2 / 3
    busy = 64 * (98_304 + 2560 * 32 + inverse)
    vector = 64 * 4 * (4 * 16.5 + 2 * 64 * 64 / 32)
    between = 2 * 4 * 64 * 64 * 2 * 2 + 2 * 64 * 4 * (64 + 2 * 64) * 2
    worked(
        op,
        flops=64 * (98_304 + 2560 * 16.5 + inverse),
        vector_flops=vector,
        memory_bytes=state,
        cache_bytes=state + through + between,
        time_s=busy / 100e12 + vector / 10e12,
    )


def test_a_chunk_of_few_tokens_fills_the_engine_up() -> None:
    """Chunks of 8 are computed as 16: a pair costs 2 x (64 + 64) a head, and each has 4.5 of them."""
    chip = plain().what_if({"efficiency.recurrence.token_s": "1 ms"})  # so that chunks are taken
    op = rl.recurrence(batch=64, heads=64, key_dim=64, value_dim=64, q_len=64, chunk=8, resumed=0)
    tokens, across = 64 * 64, 2 * 64 * 2 * 64 * 64
    vector = tokens * 64 * (4 * 4.5 + 2 * 64 * 64 / 8)
    worked(
        op,
        chip,
        flops=tokens * (across + 64 * 256 * 4.5),
        compute_s=tokens * (across + 64 * 256 * 16) / 100e12 + vector / 10e12,
    )


def test_a_scan_has_no_products() -> None:
    """Mamba: 7 FLOP a number of the state and token, on the vector engine alone, in chunks or not."""
    op = rl.recurrence(batch=1, heads=1024, groups=1, key_dim=16, value_dim=1, q_len=100, matrix=False)
    worked(op, flops=0, vector_flops=100 * 1024 * 16 * 7, compute_s=100 * 1024 * 16 * 7 / 10e12)
    slow = plain().what_if({"efficiency.recurrence.token_s": "1 us"})  # so that the chunks are taken
    worked(op, slow, vector_flops=100 * 1024 * 16 * 7, compute_s=100 * 1024 * 16 * 7 / 10e12)


def test_steps_take_turns() -> None:
    """100 sequences of 8 heads, 128 columns each in blocks of 64: 1,600 of them, 400 side by side, four turns."""
    sizes: dict[str, Any] = {"batch": 100, "heads": 8, "key_dim": 16, "value_dim": 128}

    def chip(**figures: str) -> rl.Chip:
        return plain().what_if({f"efficiency.recurrence.{name}": value for name, value in figures.items()})

    token = chip(token_s="100 us", chunk_s="1 ms")
    worked(rl.recurrence(q_len=5, **sizes), token, compute_s=5 * 400 * US, time_s=2000 * US)
    chunk = chip(token_s="1 ms", chunk_s="100 us", launch_s="20 us", chunked_s="30 us")
    worked(rl.recurrence(q_len=640, chunk=64, **sizes), chunk, compute_s=10 * 400 * US, time_s=50 * US + 4000 * US)
    worked(rl.recurrence(q_len=32, chunk=64, **sizes), chunk, compute_s=400 * US)
    few: dict[str, Any] = {"batch": 1, "heads": 8, "key_dim": 16, "value_dim": 32}
    worked(rl.recurrence(q_len=5, **few), token, compute_s=5 * 100 * US)


def test_what_passes_comes_from_memory_where_it_does_not_fit() -> None:
    """125,000 tokens of 960 B are 120 MB, of which a cache of 100 MB loses three bytes for each too many: half."""
    op = rl.recurrence(
        batch=1, heads=4, groups=1, key_dim=16, value_dim=56, gate_dim=0, q_len=125_000, matrix=False, resumed=0
    )
    state = 4 * 16 * 56 * 4
    worked(op, bytes=state + 120e6, memory_bytes=state + 60e6, cache_bytes=state + 120e6)
    long = rl.recurrence(
        batch=1, heads=4, groups=1, key_dim=1, value_dim=60, gate_dim=0, q_len=10**6, matrix=False, resumed=0
    )
    worked(long, lower_s=(4 * 60 * 4 + 964e6 - 100e6) / 1e12)
    # Chunks: their states too, 16 bytes a number in all.
    chunked = rl.recurrence(
        batch=1, heads=100, groups=1, key_dim=64, value_dim=64, gate_dim=0, q_len=1000, chunk=50, resumed=0
    )
    state, through, between = 100 * 64 * 64 * 4, 1000 * (2 * 64 + 100 * 128) * 2, 20 * 100 * 64 * 64 * 16
    passing = through + between
    worked(chunked, cache_bytes=state + passing, memory_bytes=state + min(passing, 3 * (passing - 100e6)))


def test_the_bound_is_that_of_the_cheaper_form() -> None:
    """One token of 64 heads of 64 x 64: 5 FLOP a number token by token; in a chunk of one 2, and 4 for its pair."""
    op = rl.recurrence(batch=1000, heads=64, key_dim=64, value_dim=64, q_len=8, chunk=8, resumed=0, state_dtype="fp8")
    tokens = 8000
    vector = tokens * 64 * (4 * 4.5 + 2 * 64 * 64 / 8)
    flops = tokens * (2 * 64 * 2 * 64 * 64 + 64 * 256 * 4.5)
    state = 1000 * 64 * 64 * 64
    through = tokens * 64 * (2 * 64 + 2 * 64 + 1) * 2
    assert max(flops / 100e12, vector / 10e12) < tokens * 64 * 64 * 64 * 5 / 10e12
    worked(op, lower_s=max(flops / 100e12, vector / 10e12, (state + through - 100e6) / 1e12, (state + through) / 10e12))


# A short convolution --------------------------------------------------------------------------------------------------


def test_a_convolution_keeps_its_last_inputs() -> None:
    """1,000 tokens of 10 sequences, 64 channels, 4 taps: 3 inputs a sequence are read, cold, and written again."""
    op = rl.causal_conv(rows=1000, cols=64, sequences=10, taps=4)
    kept = 10 * 3 * 64 * 2
    worked(op, vector_flops=1000 * 64 * (2 * 4 + 4), bytes=2 * 1000 * 64 * 2 + 2 * kept, memory_bytes=kept)


# Sparse attention -----------------------------------------------------------------------------------------------------


def test_scores_of_every_key() -> None:
    """The last 4 of 1,000 tokens see 997 to 1,000: 3,994 pairs; 32 heads of 128 in fp8, keys of 128 B and a scale.

    128 rows fill two tiles of 64; these and 1,000 / 128 tiles of keys, twice, keep 31.25 of 100 cores busy.
    """
    op = rl.index_scores(batch=2, index_heads=32, index_dim=128, q_len=4, kv_len=1000)
    pairs, keys = 2 * 3994, 2 * 1000 * 132
    passing = 2 * 4 * 32 * 128 + pairs * 4
    worked(
        op,
        flops=2 * 32 * 128 * pairs,
        vector_flops=3 * 32 * pairs,
        bytes=keys + passing,
        memory_bytes=keys,
        cache_bytes=keys + passing,
        compute_s=2 * 32 * 128 * pairs / (200e12 * 0.3125),
        memory_s=keys / 1e12,
        lower_s=2 * 32 * 128 * pairs / 200e12,
        time_s=2 * 32 * 128 * pairs / (200e12 * 0.3125),
    )
    worked(
        rl.index_scores(batch=2, index_heads=32, index_dim=128, q_len=4, kv_len=1000, causal=False),
        flops=2 * 32 * 128 * 2 * 4000,
    )


def test_few_rows_of_scores_fill_the_engine_up() -> None:
    """One query of 4 heads is 4 rows of 64. Scores of blocks of 128 keys are one each."""
    op = rl.index_scores(batch=200, index_heads=4, index_dim=64, q_len=1, kv_len=128_000, block=128)
    flops = 2 * 4 * 64 * 200 * 128_000
    worked(op, flops=flops, compute_s=16 * flops / 200e12, cache_bytes=200 * (128_000 * 68 + 4 * 64 + 1000 * 4))


def test_narrow_scores_wait_for_the_vector_engine() -> None:
    """16 numbers a head: 32 FLOP at 200 TFLOP/s, beside which 3 at 10 TFLOP/s take longer."""
    op = rl.index_scores(batch=1, index_heads=64, index_dim=16, q_len=5000, kv_len=6000, causal=False)
    pairs, queries = 5000 * 6000, 5000 * 64 * 16
    worked(op, compute_s=3 * 64 * pairs / 10e12)
    # Queries and scores are 125.12 MB, keys 6,000 x 20 B.
    worked(op, memory_bytes=6000 * 20 + 3 * (queries + 4 * pairs - 100e6))


def test_the_choice_sweeps_three_times() -> None:
    """10 rows of 1,000 scores in fp32: read three times, the first as they were left, nothing written."""
    worked(operators.top_k(rows=10, cols=1000), bytes=40_000, cache_bytes=120_000, vector_flops=4 * 10_000)


def test_attention_to_the_chosen() -> None:
    """2 x 4 queries choose 64 of 1,000 tokens of 100 B; 16 heads share each, padded to 64 rows; 8 of 100 cores work."""
    op = rl.sparse_attention(
        batch=2, heads=16, key_dim=48, value_dim=32, token_bytes=100, q_len=4, kv_len=1000, chosen=64
    )
    pairs, through, indices = 2 * 4 * 64, 2 * 4 * 16 * 80 * 2, 2 * 4 * 64 * 4
    compute = 4 * (2 * 80 * 16 * pairs / 100e12 + 5 * 16 * pairs / 10e12) / 0.08
    worked(
        op,
        flops=2 * 80 * 16 * pairs,
        vector_flops=5 * 16 * pairs,
        bytes=2 * 64 * 100 + through,
        memory_bytes=pairs * 100,
        cache_bytes=pairs * 100 + through + indices,
        compute_s=compute,
        time_s=compute,
        lower_s=2 * 80 * 16 * pairs / 100e12,
    )


def test_queries_share_what_they_choose() -> None:
    """100 queries choose 6,400 times among 1,000 tokens: memory gives each once, the cache every time.

    Of 1.2 million tokens of 100 B a cache of 100 MB loses half, and gives half of what is asked for again; sequences
    that fit one by one lose nothing, however many there are.
    """
    sizes: dict[str, Any] = {"heads": 1, "key_dim": 1, "value_dim": 1, "token_bytes": 100, "causal": False}
    some = rl.sparse_attention(batch=1, q_len=100, kv_len=1000, chosen=64, **sizes)
    worked(some, memory_bytes=1000 * 100, cache_bytes=6400 * 104 + 100 * 4)
    many = rl.sparse_attention(batch=1, q_len=20_000, kv_len=1_200_000, chosen=100, **sizes)
    worked(many, memory_bytes=120e6 + 0.5 * 80e6)
    two = rl.sparse_attention(batch=2, q_len=20_000, kv_len=600_000, chosen=100, **sizes)
    worked(two, memory_bytes=2 * 60e6)
    # Under a mask the first of 1,000 queries have fewer to choose from: 1 + ... + 99, and 901 times 100.
    worked(
        rl.sparse_attention(batch=1, q_len=1000, kv_len=1000, chosen=100, **{**sizes, "causal": True}),
        flops=2 * 2 * (99 * 100 / 2 + 901 * 100),
    )


def test_a_prompt_and_a_token_have_rates_of_their_own() -> None:
    sizes: dict[str, Any] = {"heads": 64, "key_dim": 64, "value_dim": 64, "token_bytes": 256, "chosen": 128}
    chip = plain().what_if({"efficiency.sparse_attention.decode_compute_fraction": 0.5})
    pairs = 100 * 128
    matrix, vector = 2 * 128 * 64 * pairs / 100e12, 5 * 64 * pairs / 10e12
    worked(rl.sparse_attention(batch=100, q_len=1, kv_len=1000, **sizes), chip, compute_s=2 * matrix + vector)
    worked(rl.sparse_attention(batch=1, q_len=100, kv_len=1000, **sizes), chip, compute_s=matrix + vector)


# The counts of papers and public code ---------------------------------------------------------------------------------


def test_a_step_of_mamba_2_reads_and_writes_its_state() -> None:
    """128 heads of 128 x 64 in fp32 are 4 MiB a sequence; five FLOP a number and token."""
    cost = rl.cost(rl.recurrence(batch=64, heads=128, groups=8, key_dim=128, value_dim=64, q_len=1), "h100-sxm")
    state = 128 * 128 * 64
    assert cost.vector_flops == 64 * state * 5
    assert cost.memory_bytes >= 2 * 64 * state * 4
    assert cost.bound == "memory:hbm"


def test_a_prompt_in_chunks_of_state_space_duality() -> None:
    """A token costs 4 N P a head with the state, and (Q + 1) (N / heads of a group + P) within its chunk."""
    cost = rl.cost(
        rl.recurrence(batch=1, heads=128, groups=8, key_dim=128, value_dim=64, q_len=8192, chunk=256), "h100-sxm"
    )
    assert cost.flops == pytest.approx(8192 * 128 * (4 * 128 * 64 + 257 * (128 / 16 + 64)))


def test_scores_and_chosen_tokens_of_deepseek_v3_2() -> None:
    """64 heads of 128 over 65,536 keys of 132 B; 2,048 tokens of 656 B attended to with 576 + 512 numbers a head."""
    scores = rl.cost(rl.index_scores(batch=2, index_heads=64, index_dim=128, q_len=1, kv_len=65536), "h100-sxm")
    assert scores.flops == 2 * 64 * 128 * 2 * 65536
    assert scores.memory_bytes >= 2 * 65536 * 132
    chosen = rl.sparse_attention(
        batch=2, heads=128, key_dim=576, value_dim=512, token_bytes=656, q_len=1, kv_len=65536, chosen=2048
    )
    assert rl.cost(chosen, "h100-sxm").flops == 2 * (576 + 512) * 128 * 2 * 2048
