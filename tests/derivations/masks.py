"""Which query attends to which key, as a table of trues and falses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def causal(queries: int, keys: int, window: int = 0) -> NDArray[np.bool_]:
    """The last `queries` of `keys` positions: each sees itself and what came before, `window` positions at most."""
    query = np.arange(keys - queries, keys)[:, None]
    key = np.arange(keys)[None]
    return (key <= query) & ((key > query - window) if window else True)


def chunked(queries: int, chunk: int) -> NDArray[np.bool_]:
    """New tokens in chunks with fixed borders: each sees what came before in its own chunk."""
    query, key = np.arange(queries)[:, None], np.arange(queries)[None]
    return (key <= query) & (key // chunk == query // chunk)


def tiled(mask: NDArray[np.bool_], tile: int) -> NDArray[np.bool_]:
    """Tiles of rows and keys with anything in them to compute: the last tile of either may be filled in part."""
    rows, keys = (-(-size // tile) for size in mask.shape)
    padded = np.zeros((rows * tile, keys * tile), bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded.reshape(rows, tile, keys, tile).any(axis=(1, 3))
