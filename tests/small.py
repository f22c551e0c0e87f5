"""Small language models whose every number can be followed: two layers, 64 wide, four heads of 16."""

from __future__ import annotations

from roofline.models.attention import Attention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.llm import LanguageModel, Layers
from roofline.models.mixers import Span

ATTENTION = Attention(heads=4, kv_heads=2, head_dim=16, rope_dim=16)


def two_layers(feed_forward: FeedForward | Experts, attention: Attention = ATTENTION) -> LanguageModel:
    layers = (Layers(2, attention, feed_forward, Span()),)
    return LanguageModel("two-layers", hidden=64, vocab=1000, layers=layers, max_positions=100_000)


DENSE = two_layers(FeedForward(256))
#: 8 experts, two a token, and a shared one that every token visits.
ROUTED = two_layers(Experts(8, 2, inter=32, shared=FeedForward(32)))
