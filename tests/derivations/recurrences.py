"""Recurrences over a matrix of state, computed: token by token as they are defined, and chunk by chunk as GPUs do it.

The chunked forms count what they do. Sources: Dao & Gu 2024 (state-space duality), section 6; Yang, Kautz & Hatamizadeh
2024 (the gated delta rule), section 3.3, without its gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Work:
    """FLOP of products of matrices, of all else on numbers and of inverses; numbers of states that pass the cache."""

    products: int = 0
    others: int = 0
    inverses: int = 0
    moved: int = 0

    def dot(self, a: np.ndarray, b: np.ndarray) -> float:
        """A product of two vectors: a multiply and an add for each of their numbers."""
        self.products += 2 * len(a)
        return float(a @ b)

    def times(self, matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """A product of a matrix and a vector."""
        return np.array([self.dot(row, vector) for row in matrix])


def token_by_token(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray, decays: np.ndarray, corrected: bool
) -> np.ndarray:
    """The outputs of one head as the recurrence is defined: S' = decay S + k v, y = q S'.

    With the delta rule v is first corrected by what the state holds for k. Shapes: tokens x rows of the state twice,
    tokens x columns, tokens.
    """
    state = np.zeros((keys.shape[1], values.shape[1]))
    outputs = []
    for q, k, v, decay in zip(queries, keys, values, decays, strict=True):
        state = decay * state
        state = state + np.outer(k, v - k @ state if corrected else v)
        outputs.append(q @ state)
    return np.array(outputs)


def in_chunks(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray, decays: np.ndarray, chunk: int, work: Work
) -> np.ndarray:
    """The outputs of heads that share queries and keys, with decays, from three kernels: `values` and `decays` by head.

    What each chunk adds to the state; the state carried from chunk to chunk; pairs within a chunk and the state before.
    """
    heads, tokens, columns = values.shape
    outputs = np.zeros((heads, tokens, columns))
    starts = range(0, tokens, chunk)
    logs = np.log(decays)
    added, before = {}, {}
    for head in range(heads):
        for start in starts:
            here = slice(start, start + chunk)
            to_end = np.exp([logs[head, t + 1 : start + chunk].sum() for t in range(start, start + chunk)])
            weighed = values[head, here] * to_end[:, None]
            added[head, start] = np.array([work.times(weighed.T, k) for k in keys[here].T])
            work.moved += added[head, start].size  # written
        state = np.zeros((keys.shape[1], columns))
        for start in starts:
            before[head, start] = state
            state = np.exp(logs[head, start : start + chunk].sum()) * state + added[head, start]
            work.others += 2 * state.size
            work.moved += 2 * state.size  # read and written
    for start in starts:
        for t in range(start, start + chunk):
            scores = {s: work.dot(queries[t], keys[s]) for s in range(start, t + 1)}  # once for all heads
            for head in range(heads):
                for s, score in scores.items():
                    weight = score * np.exp(logs[head, s + 1 : t + 1].sum())
                    work.others += 4  # the difference of two sums of logarithms, its exponential, the mask, the product
                    outputs[head, t] += weight * values[head, s]
                    work.products += 2 * columns
                read = work.times(before[head, start].T, queries[t])
                outputs[head, t] += np.exp(logs[head, start : t + 1].sum()) * read
    work.moved += sum(state.size for state in before.values())  # read
    return outputs


def corrected_in_chunks(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray, chunk: int, work: Work
) -> np.ndarray:
    """The outputs of one head under the delta rule without decays, in the WY form.

    A chunk's corrections of each other are the inverse of a unit triangular matrix.
    """
    tokens, columns = values.shape
    outputs = np.zeros((tokens, columns))
    state = np.zeros((keys.shape[1], columns))
    for start in range(0, tokens, chunk):
        k, v, q = (one[start : start + chunk] for one in (keys, values, queries))
        met = np.array([[work.dot(a, b) if i > j else 0.0 for j, b in enumerate(k)] for i, a in enumerate(k)])
        inverse = np.eye(chunk)
        for i in range(1, chunk):  # forward substitution
            for j in range(i):
                inverse[i, j] = -met[i, j:i] @ inverse[j:i, j]
                work.inverses += 2 * (i - j)
        lower = [slice(0, i + 1) for i in range(chunk)]
        new_keys = np.array([work.times(k[seen].T, inverse[i, seen]) for i, seen in enumerate(lower)])
        new_values = np.array([work.times(v[seen].T, inverse[i, seen]) for i, seen in enumerate(lower)])
        corrected = new_values - np.array([work.times(state.T, one) for one in new_keys])
        for i, seen in enumerate(lower):
            scores = np.array([work.dot(q[i], one) for one in k[seen]])
            outputs[start + i] = work.times(corrected[seen].T, scores) + work.times(state.T, q[i])
        state = state + np.array([work.times(corrected.T, row) for row in k.T])
    return outputs
