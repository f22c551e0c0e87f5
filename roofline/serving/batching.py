"""Queries to a recommendation model under load: they wait for a batch, share it, and are answered together.

What a batch of any size takes is the estimate's: its latency from the host and back, and the pace at which the
pipeline takes the next one. Both are asked for at a few hundred sizes in one call, and lie on straight lines between
them (within 1 % of the exact ones, a test says). :mod:`roofline.kernels.batching` plays the queue.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.face import NUMBER
from roofline.estimates.estimate import estimate
from roofline.estimates.hosts import JITTER
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.kernels import _jit, batching
from roofline.serving.traffic import Requests

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip
    from roofline.models.recommender import Recommender

#: Most pairs of a batch unless told, and batches that are in the pipeline at a time: one on the chip, one that comes,
#: one that goes, and one that the host prepares.
MOST_PAIRS, WORKERS = 8192, 4

#: Sizes up to which every batch is asked for; then those of whole tiles and one more, at which times may jump: up to a
#: size, the tile; then, where one tile more is little, how many at evenly spaced ratios.
_EACH, _TILES, _MORE = 128, ((512, 16), (8192, 64)), 192

#: Batches of a run in which everything waits from the beginning, of which the pace is taken.
_BACKLOG = 64

#: Factors of the times of batches, in a circle.
_FACTORS = 2**14

#: Most workers, most pairs of a batch.
_MOST_WORKERS, _LARGEST = 1024, 2**31


@dataclass(frozen=True)
class Policy:
    """How queries are put into batches.

    Attributes
    ----------
    window_s : float
        What the first query of a batch waits for others (s): Triton's ``max_queue_delay``.
    max_batch : float
        Most pairs of a batch.
    split : float
        Pairs above which a query is split into parts.
    workers : int
        Batches in the pipeline at a time; with 1 each waits for the answer of the one before.
    jitter : float
        Standard deviation of the logarithm of a batch's time, from one to the next.
    """

    window_s: float
    max_batch: float
    split: float
    workers: int
    jitter: float


@dataclass(frozen=True)
class Service:
    """What batches take.

    Attributes
    ----------
    sizes : array
        Pairs of a batch, increasing.
    latency_s, pace_s : array
        Of each size: from leaving to its answer, and until the next may leave (s).
    """

    sizes: np.ndarray
    latency_s: np.ndarray
    pace_s: np.ndarray

    @classmethod
    def of(cls, est: RecommendationEstimate) -> Service:
        """From an estimate at an array of batches."""
        sizes = np.asarray(est.request.batch, float)
        latency = np.broadcast_to(np.asarray(est.latency_s, float), sizes.shape)
        # A batch is answered no sooner than the pipeline could take the next one.
        pace = np.minimum(sizes / np.asarray(est.pipelined_samples_per_s, float), latency)
        return cls(sizes, latency.copy(), pace)

    def slower(self, factor: float | np.ndarray) -> Service:
        """All times by a factor, one or one a size."""
        return replace(self, latency_s=self.latency_s * factor, pace_s=self.pace_s * factor)


def sizes_up_to(most: float) -> np.ndarray:
    """Sizes of batches at which times are asked for."""
    found, reached = [np.arange(1.0, _EACH + 1)], float(_EACH)
    for until, tile in _TILES:
        whole = np.arange(reached, until + 1, tile)
        found += [whole, whole + 1]
        reached = float(until)
    if most > reached:
        found.append(np.rint(np.geomspace(reached, most, _MORE)))
    sizes = np.unique(np.concatenate(found))
    return np.append(sizes[sizes < most], most)


def estimated(model: Recommender, chip: Chip, most: float, options: dict[str, Any]) -> RecommendationEstimate:
    """The estimate at all sizes up to the largest batch.

    Raises
    ------
    BadWorkload, DoesNotFit, UnknownName
    """
    if "batch" in options:
        raise BadWorkload(
            "simulate: expected max_batch, found batch: a server's batches are as full as the traffic has it"
        )
    devices = options.get("devices", 1)
    sizes = np.unique(np.maximum(sizes_up_to(most), devices if NUMBER.holds(devices) else 1))
    return estimate(model, chip, batch=sizes, **options)


# One run --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """What became of the queries of one seed, and of their batches.

    Attributes
    ----------
    arrival_s, pairs : array
        Of each query, in the order of arrival.
    started_s : array
        When the first of its parts left (s).
    done_s : array
        When the last of its parts was answered (s); negative where the client had given up before it left.
    left_s, answered_s, filled : array
        Of each batch: when it left and was answered (s), and its pairs.
    timeout_s : float
        After which clients give up.
    """

    arrival_s: np.ndarray
    pairs: np.ndarray
    started_s: np.ndarray
    done_s: np.ndarray
    left_s: np.ndarray
    answered_s: np.ndarray
    filled: np.ndarray
    timeout_s: float

    @functools.cached_property
    def answered(self) -> np.ndarray:
        """Which queries were answered before their clients gave up."""
        found: np.ndarray = (self.done_s >= 0) & (self.done_s - self.arrival_s <= self.timeout_s)
        return found

    @property
    def latency_s(self) -> np.ndarray:
        """From arrival to answer, of the queries that were answered (s)."""
        found: np.ndarray = (self.done_s - self.arrival_s)[self.answered]
        return found

    @property
    def queue_s(self) -> np.ndarray:
        """From arrival to leaving, of the queries that were answered (s)."""
        found: np.ndarray = (self.started_s - self.arrival_s)[self.answered]
        return found

    @property
    def duration_s(self) -> float:
        """From the start to the last answer or arrival (s)."""
        return float(max(self.arrival_s[-1], self.answered_s.max(initial=0.0)))

    @property
    def waiting(self) -> np.ndarray:
        """Queries that wait when a batch leaves, those that leave with it not counted."""
        began = np.sort(self.started_s[self.done_s >= 0])
        gone = np.sort(self.arrival_s[self.done_s < 0] + self.timeout_s)
        came = np.searchsorted(self.arrival_s, self.left_s, side="right")
        return (
            came - np.searchsorted(began, self.left_s, side="right") - np.searchsorted(gone, self.left_s, side="right")
        )


def play(requests: Requests, service: Service, policy: Policy, seed: int) -> Played:
    """Serve the queries of one seed.

    Raises
    ------
    BadWorkload
        For requests of language models.
    """
    n = len(requests.pairs)
    pairs = requests.pairs.astype(float)
    arrival = requests.arrival_s.copy() if requests.concurrency == 0 else np.zeros(n)
    parts = int(np.ceil(pairs / policy.split).sum())
    clients = min(requests.concurrency, n)
    how, limits = np.zeros(batching.HOW, np.int64), np.zeros(batching.LIMITS)
    how[:5] = n, clients, policy.workers, len(service.sizes), _FACTORS
    limits[:5] = policy.window_s, policy.max_batch, policy.split, requests.think_s, requests.timeout_s
    tables = [np.ascontiguousarray(one, float) for one in (service.sizes, service.latency_s, service.pace_s)]
    queries, batches = np.zeros((2, n)), np.zeros((3, parts))
    arrays = [how, limits, arrival, pairs, *tables, factors(policy.jitter, seed), np.zeros(policy.workers)]
    arrays += [np.zeros(max(clients, 1)), *queries, *batches]
    if _jit.worth_compiling(batching.serve_queries, "step", 10 * parts):
        _jit.step(batching.serve_queries)(*(one.ctypes.data for one in arrays))
    else:
        batching.serve_queries(*arrays)
    count = int(how[batching.BATCHES])
    left, answered, filled = (one[:count] for one in batches)
    return Played(arrival, pairs, queries[0], queries[1], left, answered, filled, requests.timeout_s)


def factors(jitter: float, seed: int) -> np.ndarray:
    """What batches' times are multiplied by, one after the other: log-normal, of mean 1."""
    luck = np.random.default_rng(np.random.SeedSequence(int(seed)).spawn(5)[4]).standard_normal(_FACTORS)
    found: np.ndarray = np.exp(jitter * luck - jitter**2 / 2)
    return found


def backlogged_rate(requests: Requests, service: Service, policy: Policy, seed: int) -> float:
    """Queries per second of a server that never wants for any: what is measured offline, and where it saturates."""
    pairs = requests.pairs
    needed = math.ceil(_BACKLOG * policy.workers * policy.max_batch / max(float(pairs.sum()), 1.0))
    pairs = np.tile(pairs, needed)
    if len(pairs) > needed * 16:  # of a long run the first batches tell as much
        enough = int(np.searchsorted(np.cumsum(pairs), _BACKLOG * policy.workers * policy.max_batch)) + 1
        pairs = pairs[: max(enough, 1)]
    full = replace(
        requests, pairs=pairs, arrival_s=np.zeros(len(pairs)), concurrency=0, think_s=0.0, timeout_s=math.inf
    )
    played = play(full, service, policy, seed)
    last = played.left_s[-1]
    return float(np.count_nonzero(played.started_s < last) / last) if last > 0 else len(pairs) / played.duration_s


# What is asked --------------------------------------------------------------------------------------------------------


def policy_of(
    window_s: object,
    max_batch: object,
    split: object,
    workers: object,
    jitter: object,
    est: RecommendationEstimate | None = None,
) -> Policy:
    """How queries are batched, checked.

    Raises
    ------
    BadWorkload
    """
    if jitter is None:
        host = None if est is None else est.request.host
        jitter = JITTER if host is None else host.jitter
    most = MOST_PAIRS if max_batch is None else _within("max_batch", max_batch, 1, _LARGEST, whole=True)
    return Policy(
        window_s=_within("window_s", window_s, 0, 1e6),
        max_batch=most,
        split=most if split is None else _within("split", split, 1, most, whole=True),
        workers=int(_within("workers", workers, 1, _MOST_WORKERS, whole=True)),
        jitter=_within("jitter", jitter, 0, 2),
    )


def _within(name: str, value: Any, least: float, most: float, whole: bool = False) -> float:
    fine = NUMBER.holds(value) and least <= value <= most and (not whole or value == int(value))
    if not fine:
        kind = "a whole number" if whole else "a number"
        raise BadWorkload(f"simulate: {name}: expected {kind} from {least:g} to {most:,.12g}, found {shown(value)}")
    return float(value)
