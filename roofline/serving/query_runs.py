"""A run of a simulated recommendation server: what its queries saw, and whether it kept up."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from roofline.base.face import NUMBER
from roofline.base.numeric import Label
from roofline.base.units import text
from roofline.estimates.estimate import estimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.hardware.chip import Chip
from roofline.models.recommender import Recommender
from roofline.serving.batching import Played, Policy, Service, backlogged_rate, play
from roofline.serving.percentiles import STATISTICS, Percentiles, figure_of
from roofline.serving.traffic import Requests, Traffic

if TYPE_CHECKING:
    import pandas as pd

#: The figures of a run that are numbers, with their units; those that are distributions; and what is shown of these.
FIGURES = {
    "qps": "1/s",
    "samples_per_s": "samples/s",
    "samples_per_s_per_chip": "samples/s",
    "goodput": "1/s",
    "slo_attainment": "1",
    "saturation_rate": "1/s",
    "batch": "samples",
    "busy": "1",
    "duration_s": "s",
}
SEEN = ("latency_s", "queue_s")


class QueryServer(NamedTuple):
    """What serves the queries.

    Attributes
    ----------
    model : Recommender
    chip : Chip
    options : dict
        Of :func:`roofline.estimate`, without `batch`.
    policy : Policy
    service : Service
    devices : int
        Chips of the server.
    """

    model: Recommender
    chip: Chip
    options: dict[str, Any]
    policy: Policy
    service: Service
    devices: int

    def at(self, batch: float) -> RecommendationEstimate:
        """The estimate of one batch."""
        return estimate(self.model, self.chip, batch=max(self.devices, round(batch)), **self.options)


class QueryRun:
    """What became of queries to a recommendation model. Figures are of the whole server unless named per chip.

    Parameters
    ----------
    server : QueryServer
    traffic : Traffic
    drawn : Requests
        What the seed made of it.
    slo : dict of str to float
        Limits (s) of ``latency_s`` and ``queue_s``.
    seed : int
    factor : float
        By which every batch takes longer than expected.
    """

    def __init__(
        self,
        server: QueryServer,
        traffic: Traffic,
        drawn: Requests,
        slo: Mapping[str, float] | None = None,
        seed: int = 0,
        factor: float = 1.0,
    ) -> None:
        self.server, self.traffic, self.drawn = server, traffic, drawn
        self.slo, self.seed, self.factor = dict(slo or {}), seed, factor

    @functools.cached_property
    def _service(self) -> Service:
        return self.server.service if self.factor == 1 else self.server.service.slower(self.factor)

    @functools.cached_property
    def played(self) -> Played:
        """What the queue's loop tells, query by query and batch by batch."""
        return play(self.drawn, self._service, self.server.policy, self.seed)

    # What queries saw -------------------------------------------------------------------------------------------

    @functools.cached_property
    def latency_s(self) -> Percentiles:
        """From a query's arrival to its answer (s), of those that were answered."""
        return Percentiles([self.played.latency_s])

    @functools.cached_property
    def queue_s(self) -> Percentiles:
        """From a query's arrival until it, or the first part of it, leaves in a batch (s)."""
        return Percentiles([self.played.queue_s])

    @property
    def answered(self) -> int:
        """Queries that were answered in time for their clients."""
        return int(self.played.answered.sum())

    @property
    def gave_up(self) -> int:
        """Queries whose clients had gone before the answer."""
        return len(self.played.pairs) - self.answered

    # What the server did ----------------------------------------------------------------------------------------

    @property
    def duration_s(self) -> float:
        """From the start to the last answer (s)."""
        return self.played.duration_s

    @property
    def qps(self) -> float:
        """Queries answered in a second."""
        return self.answered / self.duration_s

    @property
    def samples_per_s(self) -> float:
        """Samples (user-item pairs) of the queries that were answered, in a second."""
        return float(self.played.pairs[self.played.answered].sum()) / self.duration_s

    @property
    def samples_per_s_per_chip(self) -> float:
        """`samples_per_s` over the number of chips."""
        return self.samples_per_s / self.server.devices

    @property
    def batch(self) -> float:
        """Mean samples of a batch."""
        return float(self.played.filled.mean()) if len(self.played.filled) else 0.0

    @property
    def busy(self) -> float:
        """Share of the time in which the slowest stage of the pipeline works, or all workers wait for answers."""
        service, played = self._service, self.played
        paced = np.interp(played.filled, service.sizes, service.pace_s).sum()
        held = (played.answered_s - played.left_s).sum() / self.server.policy.workers
        return min(1.0, float(max(paced, held)) / self.duration_s)

    @functools.cached_property
    def saturation_rate(self) -> float:
        """Queries per second that the server answers when there are always more: what is measured offline."""
        return backlogged_rate(self.drawn, self._service, self.server.policy, self.seed)

    @functools.cached_property
    def saturated(self) -> bool:
        """Whether queries come faster than the server can answer them, so that the queue grows as long as they come.

        A closed loop is never so, as its clients wait.
        """
        if self.drawn.concurrency:
            return False
        rate, last = self.traffic.rate, float(self.drawn.arrival_s[-1])
        if not isinstance(rate, float):  # steps
            rate = len(self.drawn) / last if last else math.inf
        return bool(rate > self.saturation_rate)

    @property
    def bound(self) -> Label:
        """What bounds a saturated server: what sets the pace of its batches, or ``"workers"``; else ``"arrivals"``."""
        if not self.saturated:
            return "arrivals"
        full, service = self.batch, self._service
        latency, pace = (np.interp(full, service.sizes, one) for one in (service.latency_s, service.pace_s))
        return "workers" if latency / self.server.policy.workers > pace else self.server.at(full).pipelined_bound

    # Whether it is good enough ----------------------------------------------------------------------------------

    @functools.cached_property
    def _good(self) -> np.ndarray:
        played, good = self.played, self.played.answered.copy()
        seen = {"latency_s": played.done_s, "queue_s": played.started_s}
        for name, limit in self.slo.items():
            good &= seen[name] - played.arrival_s <= limit
        return good

    @property
    def slo_attainment(self) -> float:
        """Share of all queries that were answered within the limits."""
        return float(self._good.mean())

    @property
    def goodput(self) -> float:
        """Queries answered within the limits, in a second."""
        return float(self._good.sum()) / self.duration_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken where nothing was asked, and what rests on too few queries, a sentence each."""
        few = [f"{name}: {note}" for name in SEEN if (note := getattr(self, name).note)]
        return (*self.server.at(self.server.policy.max_batch).request.notes, *few)

    # Tables -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def requests(self) -> pd.DataFrame:
        """Each query as it came: when it came, left in a batch and was answered (s); NaN where its client gave up."""
        import pandas as pd

        played = self.played
        there = played.done_s >= 0
        started, end = (np.where(there, one, np.nan) for one in (played.started_s, played.done_s))
        return pd.DataFrame(
            {
                "arrival_s": played.arrival_s,
                "started_s": started,
                "end_s": end,
                "pairs": played.pairs.astype(int),
                "answered": played.answered,
                "latency_s": np.where(played.answered, end - played.arrival_s, np.nan),
                "queue_s": np.where(played.answered, started - played.arrival_s, np.nan),
            }
        )

    @functools.cached_property
    def timeline(self) -> pd.DataFrame:
        """Each batch: when it left and was answered (s), its samples, queries left waiting, batches under way."""
        import pandas as pd

        played = self.played
        under_way = np.arange(1, len(played.left_s) + 1) - np.searchsorted(
            np.sort(played.answered_s), played.left_s, side="right"
        )
        return pd.DataFrame(
            {
                "time_s": played.left_s,
                "answered_s": played.answered_s,
                "batch": played.filled.astype(int),
                "waiting": played.waiting,
                "running": under_way,
            }
        )

    # How sure ---------------------------------------------------------------------------------------------------

    def figure(self, name: str) -> float:
        """A figure by its name: ``"goodput"``, ``"latency_s.p99"``.

        Raises
        ------
        UnknownName
        """
        return figure_of(self, name, tuple(FIGURES), tuple(SEEN))

    def interval(self, level: float = 0.9, figure: str = "latency_s.p99", seeds: int = 1) -> tuple[float, float]:
        """Where a figure lies, as far as the model's error and the luck of arrivals go.

        All batches take longer, or less long, by what the model errs in one of the mean size; of each so many seeds
        are run, and the lowest and the highest figure are returned.

        Parameters
        ----------
        level : float
            How often the interval of the time of a batch holds.
        figure : str
            As for :meth:`figure`.
        seeds : int
            Draws of the traffic, this run's first.

        Raises
        ------
        BadWorkload, UnknownName
        """
        one = self.server.at(self.batch)
        found = [self.figure(figure)]
        for seed in range(self.seed, self.seed + max(1, int(seeds) if NUMBER.holds(seeds) else 1)):
            drawn = self.drawn if seed == self.seed else self.traffic.drawn(seed)
            for time in one.interval(level, "latency_s"):
                factor = self.factor * float(time) / float(one.latency_s)
                found.append(QueryRun(self.server, self.traffic, drawn, self.slo, seed, factor).figure(figure))
        return min(found), max(found)

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        out: dict[str, Any] = {"answered": self.answered, "gave_up": self.gave_up}
        out |= {name: getattr(self, name) for name in FIGURES}
        for name in SEEN:
            found = getattr(self, name)
            out |= {f"{part}_{name}": getattr(found, part) if found.count else None for part in STATISTICS}
        return {**out, "saturated": self.saturated, "bound": self.bound, "devices": self.server.devices}

    def __repr__(self) -> str:
        what = f"{self.server.model.name} on {self.server.devices} x {self.server.chip.name}"
        if not self.answered:
            return f"<QueryRun: {what}, {len(self.drawn):,} queries: none answered>"
        full = f"; saturated above {self.saturation_rate:,.4g}/s" if self.saturated else ""
        return (
            f"<QueryRun: {what}, {len(self.drawn):,} queries: p50 {text(self.latency_s.p50, 's', 3)}, "
            f"p99 {text(self.latency_s.p99, 's', 3)}, {self.qps:,.4g} queries/s in batches of {self.batch:,.0f}{full}>"
        )
