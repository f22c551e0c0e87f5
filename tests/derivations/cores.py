"""Work handed out to cores, piece by piece."""

from __future__ import annotations

import heapq
from collections.abc import Iterable


def makespan(pieces: Iterable[float], cores: int) -> float:
    """When the last core ends, if each piece of work goes to the core that is free first, in the order given."""
    free = [0.0] * cores
    for piece in pieces:
        heapq.heapreplace(free, free[0] + piece)
    return max(free)
