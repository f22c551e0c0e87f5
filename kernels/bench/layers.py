"""Operators of a model over rows x cols: maps, norms, softmax, lookups, attention over cached keys and values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from roofline.kernels.bench import loop, part


@part
def _scale(y: Any, x: Any, factor: Any) -> None:
    for i in range(y.size):
        y[i] = factor * x[i]


@part
def _add(y: Any, a: Any, b: Any) -> None:
    for i in range(y.size):
        y[i] = a[i] + b[i]


@part
def _silu_mul(y: Any, a: Any, b: Any) -> None:
    one = y.dtype.type(1)
    for i in range(y.size):
        y[i] = a[i] / (one + math.exp(-a[i])) * b[i]


@part
def _rms_norm(y: Any, x: Any, weight: Any, epsilon: Any) -> None:
    total = x.dtype.type(0)
    for i in range(x.size):
        total += x[i] * x[i]
    factor = x.dtype.type(1.0 / math.sqrt(total / x.size + epsilon))
    for i in range(x.size):
        y[i] = x[i] * factor * weight[i]


@part
def _layer_norm(y: Any, x: Any, weight: Any, bias: Any, epsilon: Any) -> None:
    total, square = x.dtype.type(0), x.dtype.type(0)
    for i in range(x.size):
        total += x[i]
        square += x[i] * x[i]
    mean = total / x.dtype.type(x.size)
    variance = max(square / x.size - mean * mean, 0.0)
    factor = x.dtype.type(1.0 / math.sqrt(variance + epsilon))
    for i in range(x.size):
        y[i] = (x[i] - mean) * factor * weight[i] + bias[i]


@part
def _softmax(y: Any, x: Any) -> None:
    highest = x[0]
    for i in range(x.size):
        highest = max(highest, x[i])
    total = x.dtype.type(0)
    for i in range(x.size):
        value = math.exp(x[i] - highest)
        y[i] = value
        total += value
    inverse = x.dtype.type(1) / total
    for i in range(x.size):
        y[i] *= inverse


@loop
def scale(y: Any, x: Any, factor: Any, threads: int) -> None:
    """``y = factor * x``, flat."""
    for t in prange(threads):
        low, high = t * y.size // threads, (t + 1) * y.size // threads
        _scale(y[low:high], x[low:high], factor)


@loop
def add(y: Any, a: Any, b: Any, threads: int) -> None:
    """``y = a + b``, flat."""
    for t in prange(threads):
        low, high = t * y.size // threads, (t + 1) * y.size // threads
        _add(y[low:high], a[low:high], b[low:high])


@loop
def silu_mul(y: Any, a: Any, b: Any, threads: int) -> None:
    """``y = silu(a) * b``, flat."""
    for t in prange(threads):
        low, high = t * y.size // threads, (t + 1) * y.size // threads
        _silu_mul(y[low:high], a[low:high], b[low:high])


@loop
def rms_norm(y: Any, x: Any, weight: Any, epsilon: Any, threads: int) -> None:
    """Root-mean-square norm of each row."""
    rows = x.shape[0]
    for t in prange(threads):
        for r in range(t * rows // threads, (t + 1) * rows // threads):
            _rms_norm(y[r], x[r], weight, epsilon)


@loop
def layer_norm(y: Any, x: Any, weight: Any, bias: Any, epsilon: Any, threads: int) -> None:
    """Layer norm of each row."""
    rows = x.shape[0]
    for t in prange(threads):
        for r in range(t * rows // threads, (t + 1) * rows // threads):
            _layer_norm(y[r], x[r], weight, bias, epsilon)


@loop
def softmax(y: Any, x: Any, threads: int) -> None:
    """Softmax of each row."""
    rows = x.shape[0]
    for t in prange(threads):
        for r in range(t * rows // threads, (t + 1) * rows // threads):
            _softmax(y[r], x[r])


@part
def _gather(y: Any, table: Any, indices: Any) -> None:
    for i in range(indices.size):
        row, out = table[indices[i]], y[i]
        for c in range(out.size):
            out[c] = row[c]


@loop
def gather(y: Any, table: Any, indices: Any, threads: int) -> None:
    """``y[i] = table[indices[i]]``; unsigned indices."""
    for t in prange(threads):
        low, high = t * indices.size // threads, (t + 1) * indices.size // threads
        _gather(y[low:high], table, indices[low:high])


@part
def _bag(out: Any, table: Any, indices: Any) -> None:
    for c in range(out.size):
        out[c] = 0.0
    for i in range(indices.size):
        row = table[indices[i]]
        for c in range(out.size):
            out[c] += row[c]


@loop
def embedding_bag(out: Any, table: Any, indices: Any, threads: int) -> None:
    """Sum rows of tables: `out` [tables, batch, dim], `table` [tables, rows, dim], `indices` [tables, batch, pooling].

    The bags of all tables are dealt out in order, so that one table is worked on at a time.
    """
    batch = out.shape[1]
    bags = out.shape[0] * batch
    for t in prange(threads):
        for b in range(t * bags // threads, (t + 1) * bags // threads):
            _bag(out[b // batch, b % batch], table[b // batch], indices[b // batch, b % batch])


@part
def _bag_int8(out: Any, table: Any, scales: Any, indices: Any) -> None:
    for c in range(out.size):
        out[c] = 0.0
    for i in range(indices.size):
        row, factor = table[indices[i]], scales[indices[i]]
        for c in range(out.size):
            out[c] += factor * np.float32(row[c])


@loop
def embedding_bag_int8(out: Any, table: Any, scales: Any, indices: Any, threads: int) -> None:
    """As :func:`embedding_bag`, of 8-bit rows with a scale each: `scales` [tables, rows]."""
    batch = out.shape[1]
    bags = out.shape[0] * batch
    for t in prange(threads):
        for b in range(t * bags // threads, (t + 1) * bags // threads):
            a, s = b // batch, b % batch
            _bag_int8(out[a, s], table[a], scales[a], indices[a, s])


@part
def _dot(a: Any, b: Any) -> Any:
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@part
def _accumulate(out: Any, row: Any, factor: Any) -> None:
    for i in range(out.size):
        out[i] += factor * row[i]


@part
def _attend(out: Any, q: Any, k: Any, v: Any, scores: Any, factor: Any) -> None:
    """All query heads of one group over the keys and values they share; `scores` [group, keys] is scratch."""
    group, keys = q.shape[0], k.shape[0]
    for j in range(keys):
        for g in range(group):
            scores[g, j] = factor * _dot(q[g], k[j])
    for g in range(group):
        _softmax(scores[g], scores[g])
        out[g, :] = 0.0
    for j in range(keys):
        for g in range(group):
            _accumulate(out[g], v[j], scores[g, j])


@loop
def decode_attention(out: Any, q: Any, k: Any, v: Any, scores: Any, factor: Any, threads: int) -> None:
    """Attention of one new token a sequence.

    `q` and `out` [sequences x kv_heads, group, head_dim], `k` and `v` [sequences x kv_heads, keys, head_dim], `scores`
    [threads, group, keys].
    """
    blocks = q.shape[0]
    for t in prange(threads):
        for b in range(t * blocks // threads, (t + 1) * blocks // threads):
            _attend(out[b], q[b], k[b], v[b], scores[t], factor)
