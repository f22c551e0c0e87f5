"""Recurrences and sparse attention by hand: the counts of papers and public code."""

from __future__ import annotations

import pytest

import roofline as rl


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
