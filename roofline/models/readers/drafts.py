"""Draft heads of speculative decoding: a layer or two that guess the next tokens from a larger model's states."""

from __future__ import annotations

from roofline.models.besides import Few, Linear
from roofline.models.fields import Fields
from roofline.models.readers.parts import Parts, attention, biases, dense, depth_of, uniform


def eagle3(c: Fields) -> Parts:
    """EAGLE-3 (Li et al. 2025) beside a Llama: three of its states in, queries, keys and values of two widths.

    The layer sees the token's embedding and the projected states side by side, each behind a norm of its own; the
    output has a vocabulary of its own, with a table of each direction between it and the target's.
    """
    hidden, vocab, depth = c.integer("hidden_size"), c.integer("vocab_size", limit="vocab"), depth_of(c)
    made = attention(c, **biases(c))
    qkv = (made.heads + 2 * made.kv_heads) * made.head_dim
    target = c.integer("target_hidden_size", default=hidden)
    outputs = c.integer("draft_vocab_size", default=vocab, limit="vocab")
    if outputs > vocab:
        c.fail("draft_vocab_size", f"found {outputs}, expected at most vocab_size = {vocab}")
    besides = (
        Linear("target_states_proj", hidden, 3 * target, scope="model"),
        Linear("qkv_proj_of_states", qkv, hidden),
        Few("states_norm", hidden),
    )
    parts = uniform(c, made, dense(c, c.flag("mlp_bias", False)), besides=besides)
    return parts | {"outputs": outputs, "max_positions": 2048 if depth else 0}


def eagle(c: Fields) -> Parts:
    """EAGLE (Li et al. 2024) beside a Llama: the token's embedding and one state of the target side by side, one layer.

    Its output projection is the target's, which every guess passes; as the embedding's is, it is counted once. The
    layer has no norm before its attention, and none follows the last (vLLM's ``llama_eagle.py``, November 2026).
    """
    hidden = c.integer("hidden_size")
    made = attention(c, **biases(c))
    joined = Linear("states_proj", hidden, 2 * hidden, scope="model")
    layer = dense(c, c.flag("mlp_bias", False))
    parts = uniform(c, made, layer, besides=(joined,), norms_per_layer=1, final_norm=False)
    return parts | {"tied": True}  # whatever the file says of its target
