"""A matrix product cut into tiles, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """A tile of the output: the rows and columns of it that exist, and those of the tile shape."""

    rows: int
    cols: int
    full_rows: int
    full_cols: int


def tiles(m: int, n: int, batch: int, rows: int, cols: int) -> Iterator[Tile]:
    """All tiles of `batch` outputs of m x n, in order."""
    for _ in range(batch):
        for top in range(0, m, rows):
            for left in range(0, n, cols):
                yield Tile(min(rows, m - top), min(cols, n - left), rows, cols)
