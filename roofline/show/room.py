"""Room for labels on a picture: what is taken on the page, and what covering it costs. Knows no matplotlib.

Everything is a box (left, bottom, right, top) in typographic points; a line is many small ones.
"""

from __future__ import annotations

import numpy as np

#: What it costs to cover a label or to leave the frame, a point, and each piece of a line.
LABEL, POINT, LINE = 1000.0, 100.0, 20.0


def boxes(spots: np.ndarray, reach: float | np.ndarray) -> np.ndarray:
    """Boxes around places; `reach` is half their width, one for all or one each."""
    half = np.broadcast_to(np.asarray(reach, dtype=float), len(spots))[:, None]
    return np.hstack([spots - half, spots + half])


def along(spots: np.ndarray, reach: float, step: float = 3.0) -> np.ndarray:
    """Boxes along the line through some places."""
    length = np.append(0.0, np.cumsum(np.hypot(*np.diff(spots, axis=0).T)))
    at = np.arange(0.0, length[-1] + step, step)
    return boxes(np.column_stack([np.interp(at, length, spots[:, i]) for i in (0, 1)]), reach)


def apart(wanted: np.ndarray, least: float, low: float, high: float) -> np.ndarray:
    """Places as near as can be to those wanted, in the same order, at least some distance from each other.

    Parameters
    ----------
    wanted : array
        Ascending.
    least : float
        The distance.
    low, high : float
        Where the first and the last may be at the outermost; as long as there is room for all.
    """
    shift = least * np.arange(len(wanted))
    groups: list[list[float]] = []  # sum and number of wanted places that stand next to each other
    for place in wanted - shift:
        groups.append([place, 1.0])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            last = groups.pop()
            groups[-1] = [groups[-1][0] + last[0], groups[-1][1] + last[1]]
    placed = np.concatenate([np.full(int(n), total / n) for total, n in groups])
    return np.asarray(np.clip(placed, low, max(low, high - shift[-1])) + shift)


class Room:
    """A frame and what has been put into it."""

    def __init__(self, frame: np.ndarray) -> None:
        self.frame = frame
        self.taken: dict[float, np.ndarray] = {}

    def take(self, price: float, what: np.ndarray) -> None:
        """Put boxes there; whoever covers one of them later pays the price."""
        self.taken[price] = np.vstack([self.taken.get(price, np.empty((0, 4))), what])

    def cost(self, what: np.ndarray) -> float:
        """What it costs to put these boxes there."""
        outside = np.any((what[:, :2] < self.frame[:2] + 1) | (what[:, 2:] > self.frame[2:] - 1))
        total = LABEL * float(outside)
        if not len(what):
            return 0.0
        low, high = what[:, :2].min(axis=0), what[:, 2:].max(axis=0)
        for price, every in self.taken.items():
            # Only what lies near all of them together is compared with each: the rest is most of the page.
            other = every[(every[:, :2] < high).all(axis=1) & (every[:, 2:] > low).all(axis=1)]
            clear = (what[:, None, :2] >= other[None, :, 2:]) | (other[None, :, :2] >= what[:, None, 2:])
            total += price * int((~clear.any(axis=2)).any(axis=0).sum())
        return total
