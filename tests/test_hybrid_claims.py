"""What hybrids of attention and states are said to save over long contexts, within a quarter of what is estimated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hybrids import CLAIMS, WITHIN, Claim, model

PAGE = (Path(__file__).parent.parent / "docs" / "hybrids.md").read_text()

#: Claims that hold, by models and figure; the page has those that are missed, too.
HELD = {
    ("jamba-v0.1", "mixtral-8x7b"), ("jamba-v0.1", "llama-2-7b"), ("nemotron-h-56b", "llama-3.1-70b"),
    ("nemotron-h-56b", "qwen2.5-72b"),
}  # fmt: skip


def holds(claim: Claim) -> bool:
    kimi = claim.what.startswith("kimi") and claim.figure in ("KV cache, share", "decode")
    return kimi or (claim.what, claim.against) in HELD


@pytest.mark.parametrize("claim", [one for one in CLAIMS if holds(one)], ids=lambda one: f"{one.what} {one.figure}")
def test_what_a_paper_claims(claim: Claim) -> None:
    assert abs(claim.off) <= WITHIN


def test_the_page_has_every_claim() -> None:
    for one in CLAIMS:
        assert f"| {one.what} | {one.against} | {one.figure} | {one.setting} |" in PAGE


@pytest.mark.parametrize(
    ("name", "token_bytes", "state_mb"),
    [
        # 10 attention layers of 8 heads of 128 for keys and values; 54 states of 256 heads, 64 x 256 in fp32, and the
        # last 3 inputs of 16,384 + 2 x 8 x 256 channels in 16 bits.
        ("nemotron-h-56b", 10 * 2 * 8 * 128 * 2, 54 * (256 * 64 * 256 * 4 + 3 * (16384 + 4096) * 2) / 1e6),
        # 10 attention layers; 70 states of 64 heads of 128 x 128 in fp32.
        ("minimax-m1", 10 * 2 * 8 * 128 * 2, 70 * 64 * 128 * 128 * 4 / 1e6),
    ],
)
def test_bytes_of_a_token_and_of_a_sequence(name: str, token_bytes: int, state_mb: float) -> None:
    assert model(name).kv_bytes_per_token() == token_bytes
    assert float(model(name).state_bytes(1)) / 1e6 == pytest.approx(state_mb)


def test_a_long_context_costs_a_hybrid_less_for_every_token() -> None:
    """From 8,192 to 131,072 tokens, what a step moves of the cache grows by what a token caches, and the state not."""
    jamba, mixtral = model("jamba-v0.1"), model("mixtral-8x7b")
    grown = [float(one.kv_bytes(1, 131072) - one.kv_bytes(1, 8192)) for one in (jamba, mixtral)]
    assert grown[1] == 8 * grown[0]
    assert jamba.state_bytes(1) == 28 * 8192 * (16 * 4 + 3 * 2)
