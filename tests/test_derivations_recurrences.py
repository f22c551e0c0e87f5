"""Chunked recurrences against their definition, token by token; and what the kernel counts against what they do."""

from __future__ import annotations

import numpy as np
import pytest

import roofline as rl
from tests.derivations.recurrences import Work, corrected_in_chunks, in_chunks, token_by_token
from tests.plain import plain

#: A chip on which chunks are taken: a step from token to token takes long.
CHIP = plain().what_if({"efficiency.recurrence.token_s": "1 ms"})


def drawn(tokens: int, width: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(tokens, width))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize(("heads", "rows", "columns", "chunk"), [(1, 4, 4, 4), (3, 5, 2, 8), (2, 3, 6, 24)])
def test_chunks_with_decays(heads: int, rows: int, columns: int, chunk: int) -> None:
    """Outputs are those of the definition; products, other work and the states' way are what the kernel counts."""
    tokens, work = 24, Work()
    queries, keys = drawn(tokens, rows, 1), drawn(tokens, rows, 2)
    values = np.array([drawn(tokens, columns, 3 + head) for head in range(heads)])
    decays = np.random.default_rng(0).uniform(0.5, 1.0, (heads, tokens))
    found = in_chunks(queries, keys, values, decays, chunk, work)
    for head in range(heads):
        expected = token_by_token(queries, keys, values[head], decays[head], corrected=False)
        np.testing.assert_allclose(found[head], expected, atol=1e-12)
    op = rl.recurrence(
        batch=1, heads=heads, groups=1, key_dim=rows, value_dim=columns, q_len=tokens, chunk=chunk, resumed=0
    )
    cost = rl.cost(op, CHIP)
    assert cost.flops == pytest.approx(work.products)
    assert cost.vector_flops == pytest.approx(work.others)
    through = tokens * (2 * rows + heads * (2 * columns + 1)) * 2 + heads * rows * columns * 4
    assert cost.cache_bytes == pytest.approx(through + 4 * work.moved)


@pytest.mark.parametrize(("rows", "columns", "chunk"), [(4, 6, 8), (3, 3, 16), (8, 4, 48)])
def test_chunks_of_the_delta_rule(rows: int, columns: int, chunk: int) -> None:
    """As many products as the kernel counts, but for a token's meeting with itself, which it counts with the others.

    A chunk's keys meet those before, and the inverse has ones on its diagonal: the kernel counts chunk (chunk + 1) / 2
    pairs of each, the computation chunk fewer of the first. An inverse takes a third of a cube, less what is linear.
    """
    tokens, work = 48, Work()
    queries, keys, values = drawn(tokens, rows, 1), drawn(tokens, rows, 2), drawn(tokens, columns, 3)
    found = corrected_in_chunks(queries, keys, values, chunk, work)
    np.testing.assert_allclose(found, token_by_token(queries, keys, values, np.ones(tokens), True), atol=1e-12)
    op = rl.recurrence(
        batch=1, heads=1, key_dim=rows, value_dim=columns, q_len=tokens, chunk=chunk, delta=True, resumed=0
    )
    cost = rl.cost(op, CHIP)
    inverses = tokens * chunk**2 / 3
    assert work.inverses == pytest.approx(inverses, rel=1.5 / chunk**2)
    assert cost.flops == pytest.approx(work.products + 2 * rows * tokens + inverses)


@pytest.mark.parametrize("tokens", [1, 5, 64])
def test_token_by_token_counts_every_number_of_the_state(tokens: int) -> None:
    """A decay, an outer product added (2), a product with the query (2); the delta rule looks up the key first (2)."""
    for delta, flops in ((False, 5), (True, 7)):
        op = rl.recurrence(batch=3, heads=2, key_dim=4, value_dim=8, q_len=tokens, delta=delta)
        slow = plain().what_if({"efficiency.recurrence.chunked_s": "1 ms"})
        assert rl.cost(op, slow).vector_flops == 3 * 2 * 4 * 8 * flops * tokens
