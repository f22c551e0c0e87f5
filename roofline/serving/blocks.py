"""Blocks of prompts by name: equal names at the beginning of two prompts are equal tokens, which a cache may hold.

As Mooncake's traces have them: a name stands for a block and all before it, so that a name that was there before means
that the whole beginning was.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from roofline.base.errors import BadData, shown

#: Tokens of a block, as engines and traces have them.
BLOCK_TOKENS = (16, 32, 64, 128, 256, 512, 1024)


class Blocks(NamedTuple):
    """Names of blocks (int64), request after request; where each begins, and the end; tokens of one."""

    names: np.ndarray
    start: np.ndarray
    tokens: int

    @classmethod
    def none(cls) -> Blocks:
        """No names."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), 0)


def from_lists(where: str, lists: Sequence[Sequence[object]]) -> Blocks:
    """From a list of names a request; tokens are not known yet.

    Raises
    ------
    BadData
        For names that are no whole numbers.
    """
    flat = list(chain.from_iterable(lists))
    bad = next((one for one in flat if type(one) is not int or not -(2**63) <= one < 2**63), None)
    if bad is not None:
        raise BadData(f"{where}: expected names of blocks, whole numbers of 64 bits, found {shown(bad)}")
    return Blocks(np.array(flat, np.int64), _starts([len(one) for one in lists]), 0)


def from_text(where: str, cells: Sequence[object]) -> Blocks:
    """From text with names separated by spaces, a request each; an empty cell has none; tokens are not known yet.

    Raises
    ------
    BadData
    """
    words = ["" if cell is None or cell != cell else str(cell) for cell in cells]  # NaN where a cell is empty
    try:
        lists = [[int(word) for word in text.replace(",", " ").strip(" []").split()] for text in words]
    except ValueError as error:
        raise BadData(f"{where}: expected names of blocks separated by spaces: {str(error)[:200]}") from None
    return from_lists(where, lists)


def block_tokens(where: str, prompt: np.ndarray, blocks: np.ndarray) -> int:
    """Tokens of a block: the size of which each prompt has as many as are named, the last one perhaps not full.

    Raises
    ------
    BadData
        When there is no such size.
    """
    for tokens in BLOCK_TOKENS:
        if np.array_equal(-(-prompt // tokens), blocks) or np.array_equal(prompt // tokens, blocks):
            return tokens
    at = int(np.argmax(blocks))
    raise BadData(
        f"{where}: expected blocks of {', '.join(map(str, BLOCK_TOKENS))} tokens, "
        f"found {blocks[at]:,} for a prompt of {prompt[at]:,.0f} tokens"
    )


def leading_known(names: np.ndarray, start: np.ndarray) -> np.ndarray:
    """How many of each request's first blocks an earlier request had: what an endless cache would hold.

    Parameters
    ----------
    names, start : array
        As in :class:`Blocks`.

    Returns
    -------
    array of int64
        One number a request.
    """
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    counts = np.diff(start)
    owner = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(names)) - start[owner]
    known = first[inverse] < start[owner]
    found = counts.copy()
    np.minimum.at(found, owner[~known], place[~known])
    return found


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
