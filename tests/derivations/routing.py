"""Tokens sent to experts, token by token, with dice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pairs_of_experts(
    tokens: int, topk: int, experts: int, popularity: NDArray[np.float64] | None, random: np.random.Generator
) -> NDArray[np.int64]:
    """How many tokens each expert gets, where every token picks `topk` different ones.

    With a popularity the pick is weighted by it: the `topk` largest of log(popularity) + Gumbel noise, which is a draw
    without putting back.
    """
    scores = random.gumbel(size=(tokens, experts))
    if popularity is not None:
        scores += np.log(popularity)
    chosen = np.argpartition(scores, experts - topk, axis=1)[:, experts - topk :]
    return np.bincount(chosen.ravel(), minlength=experts)


def gamma_popularity(experts: int, variance: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Popularities of mean one and this variance, gamma distributed."""
    return np.maximum(random.gamma(1 / variance, variance, experts), 1e-300)
