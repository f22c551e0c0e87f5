"""Caches and random lookups, access by access."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def popularity(rows: int, skew: float) -> NDArray[np.float64]:
    """Zipf's law: the probability of each rank, r**-skew over the sum of them all."""
    mass = np.arange(1, rows + 1, dtype=float) ** -skew
    return mass / mass.sum()


def distinct(draws: int, rows: int, skew: float) -> float:
    """Expected number of different rows among the draws, exactly: a row is missed by all with (1 - p)**draws."""
    return float(-np.expm1(draws * np.log1p(-popularity(rows, skew))).sum()) if rows > 1 else 1.0


def lru_misses(accesses: Iterable[int], held: int) -> int:
    """Accesses that miss a cache, empty at first, of the `held` last used things."""
    cache: OrderedDict[int, None] = OrderedDict()
    misses = 0
    for thing in accesses:
        if thing in cache:
            cache.move_to_end(thing)
            continue
        misses += 1
        cache[thing] = None
        if len(cache) > held:
            cache.popitem(last=False)
    return misses


def steady_misses(batches: Iterable[Iterable[int]], held: int, kept: int) -> float:
    """Misses a batch, in the later half of the batches: after each, all but the `kept` last used things are gone."""
    cache: OrderedDict[int, None] = OrderedDict()
    counts = []
    for batch in batches:
        misses = 0
        for thing in batch:
            if thing in cache:
                cache.move_to_end(thing)
                continue
            misses += 1
            cache[thing] = None
            if len(cache) > held:
                cache.popitem(last=False)
        counts.append(misses)
        while len(cache) > kept:
            cache.popitem(last=False)
    return float(np.mean(counts[len(counts) // 2 :]))


def random_replacement_misses(accesses: Iterable[int], held: int, seed: int = 0) -> int:
    """The same for a cache that throws out anything, not the oldest."""
    places = iter(np.random.default_rng(seed).integers(0, held, 1_000_000).tolist())
    slots: list[int] = []
    cached: set[int] = set()
    misses = 0
    for thing in accesses:
        if thing in cached:
            continue
        misses += 1
        cached.add(thing)
        if len(slots) < held:
            slots.append(thing)
        else:
            place = next(places)
            cached.remove(slots[place])
            slots[place] = thing
    return misses


def bytes_through(cores: int, open_bytes: float, latency_s: float, request_bytes: float, seconds: float) -> float:
    """Bytes that arrive where each core keeps `open_bytes` of requests on the way and asks anew as one arrives."""
    arrived = 0.0
    for _ in range(cores):
        for _request in range(int(open_bytes // request_bytes)):
            clock = latency_s  # of the arrival of this slot's next request
            while clock <= seconds:
                arrived += request_bytes
                clock += latency_s
    return arrived


def closed_network(customers: int, wait_s: float, service_s: float, servers: int) -> float:
    """Customers a second that go round between a wait and one of some servers at random, by mean value analysis."""
    queue, rate = 0.0, 0.0
    for present in range(1, customers + 1):
        response = service_s * (1 + queue)
        rate = present / (wait_s + response)
        queue = rate * response / servers
    return rate
