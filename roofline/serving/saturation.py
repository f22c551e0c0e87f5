"""The rate at which a run's servers saturate, from the same requests coming faster or slower."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from roofline.base.errors import NotKnown
from roofline.serving.traffic import Requests


class Loaded(Protocol):
    """What is asked of a run."""

    drawn: Requests

    @property
    def saturated(self) -> bool:
        """Whether requests come faster than they are answered."""

    def sped_up(self, factor: float) -> Loaded:
        """The same requests, so many times as fast."""


_LONG_RUN = 6000  # requests of a run that looks for saturation
_DOUBLINGS = 24  # of a rate, until servers saturate or do not
_NEAR = 1.02  # how near the rate comes


def rate(run: Loaded) -> float:
    """Requests per second from which on the servers saturate, within 2 %.

    Raises
    ------
    NotKnown
        Where there are too few requests for a queue to show: they all find room at once.
    """
    n, span = len(run.drawn), _span(run.drawn)
    offered = n / span if span > 0 else 0.0
    low, high, factor = 0.0, 0.0, 1.0
    for _ in range(_DOUBLINGS):  # a factor that saturates and one that does not
        if run.sped_up(factor).saturated:
            high = factor
        else:
            low = factor
        if low and high:
            break
        factor = factor * 2 if low else factor / 2
    else:
        raise NotKnown(f"saturation_rate: {n:,} requests are too few to fill the servers: ask for more")
    while high > _NEAR * low:
        factor = math.sqrt(low * high)
        low, high = (low, factor) if run.sped_up(factor).saturated else (factor, high)
    return offered * math.sqrt(low * high)


def faster(drawn: Requests, factor: float, least: int = 0) -> Requests:
    """The same requests, so many times as fast, again and again until they are enough for a queue to show.

    At `least` so many, where a system is so large that the others would be over before it is full.
    """
    n, span = len(drawn), _span(drawn)
    again = -(-max(_LONG_RUN, least) // n)
    arrival = (drawn.arrival_s - drawn.arrival_s[0]) / factor
    rows: dict[str, Any] = {
        name: np.tile(getattr(drawn, name), again) for name in ("prompt", "output", "prefix_id", "prefix_tokens")
    }
    starts = np.repeat(np.arange(again) * span / factor, n)
    return replace(drawn, arrival_s=np.tile(arrival, again) + starts, **rows)


def _span(drawn: Requests) -> float:
    """From the first arrival until the next one after the last would be due (s)."""
    n = len(drawn)
    return float(np.ptp(drawn.arrival_s)) * n / max(n - 1, 1)
