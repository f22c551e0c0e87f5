"""Queries that wait for a batch: the loop against a naive twin on simpy, and against what queueing theory knows.

The twin (:class:`Twin`) is to be read first: processes that sleep and wake, as the rules are said.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings, strategies as st

from roofline.serving import batching
from roofline.serving.batching import Policy, Service
from roofline.serving.traffic import Requests

Steps = Generator[Any, Any, None]
NONE = np.empty(0, np.int32)


def requests(arrival_s: Any, pairs: Any, **more: Any) -> Requests:
    pairs, none = np.asarray(pairs, np.int32), np.empty(0, np.int64)
    return Requests(np.asarray(arrival_s, float), NONE, NONE, pairs, NONE, NONE, none, none, **more)


# The twin -------------------------------------------------------------------------------------------------------------


class Twin:
    """A server as processes that sleep and wake: when queries left and were answered (-1: given up), pairs of batches."""

    def __init__(self, asked: Requests, service: Service, policy: Policy, seed: int) -> None:
        self.asked, self.service, self.policy = asked, service, policy
        self.luck = batching.factors(policy.jitter, seed)
        n = len(asked.pairs)
        self.waiting: deque[tuple[int, float, int]] = deque()  # parts: query, arrival, pairs
        self.started: list[float | None] = [None] * n
        self.done, self.missing = [0.0] * n, [0] * n
        self.filled: list[float] = []
        self.env = simpy.Environment()
        self.news = self.env.event()
        self.come = iter(range(n))
        for _ in range(min(asked.concurrency, n)):
            self.env.process(self.client())
        if not asked.concurrency:
            self.env.process(self.open_loop())
        self.env.process(self.dispatcher())
        self.env.run(until=1e7)

    def tell(self) -> None:
        """Wake everybody who waits for news."""
        news, self.news = self.news, self.env.event()
        news.succeed()

    def arrive(self, query: int) -> None:
        pairs = int(self.asked.pairs[query])
        parts = self.missing[query] = math.ceil(pairs / self.policy.split)
        for i in range(parts):
            self.waiting.append((query, self.env.now, pairs // parts + (i < pairs % parts)))
        self.tell()

    def open_loop(self) -> Steps:
        for query in self.come:
            yield self.env.timeout(self.asked.arrival_s[query] - self.env.now)
            self.arrive(query)

    def client(self) -> Steps:
        for query in self.come:
            self.arrive(query)
            while self.missing[query]:
                yield self.news
            yield self.env.timeout(self.done[query] - self.env.now)
            yield self.env.timeout(self.asked.think_s)

    def batch(self) -> tuple[list[tuple[int, float, int]], bool]:
        """The parts that fit into a batch, first come first served, and whether no more would."""
        size, most, batch = 0, self.policy.max_batch, []
        for part in self.waiting:
            if size + part[2] > most:
                return batch, True
            batch.append(part)
            size += part[2]
        return batch, size == most

    def give_up(self) -> None:
        query = self.waiting[0][0]
        while self.waiting and self.waiting[0][0] == query:
            self.waiting.popleft()
        self.done[query], self.missing[query] = -1.0, 0

    def serve(self, slower: float) -> tuple[float, float]:
        """Send a batch away: when it will be answered, and when the next may leave."""
        batch, _ = self.batch()
        size = float(sum(pairs for *_, pairs in batch))
        tables = self.service.latency_s, self.service.pace_s
        ends, paced = (self.env.now + slower * np.interp(size, self.service.sizes, one) for one in tables)
        self.filled.append(size)
        for query, *_ in batch:
            self.waiting.popleft()
            self.missing[query] -= 1
            if self.started[query] is None:
                self.started[query] = self.env.now
            self.done[query] = max(self.done[query], ends)
        self.tell()
        return ends, paced

    def dispatcher(self) -> Steps:
        busy, paced = [0.0] * self.policy.workers, 0.0
        while True:
            while not self.waiting:
                yield self.news
            worker = busy.index(min(busy))
            soonest, came = max(busy[worker], paced), self.waiting[0][1]
            if soonest - came > self.asked.timeout_s:
                self.give_up()
                continue
            last = max(soonest, came + self.policy.window_s)
            while self.env.now < (until := soonest if self.batch()[1] else last):
                yield self.env.timeout(until - self.env.now) | self.news
            for _ in range(4):
                yield self.env.timeout(0)  # all that comes at this moment has come
            busy[worker], paced = self.serve(self.luck[len(self.filled) % len(self.luck)])


service_times = st.builds(
    lambda first, per, overlap: Service(
        np.array([1.0, 8.0, 64.0]), first + per * np.array([1.0, 8.0, 64.0]), overlap * per * np.array([1.0, 8.0, 64.0])
    ),
    st.floats(0.01, 0.5),
    st.floats(0.001, 0.1),
    st.floats(0.1, 1.0),
)
policies = st.builds(
    lambda window, most, share, workers, jitter: Policy(window, most, max(1, round(most * share)), workers, jitter),
    st.sampled_from([0.0, 0.05, 0.7]),
    st.integers(8, 64),
    st.floats(0.1, 1),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.2]),
)


@given(st.data(), service_times, policies)
@settings(max_examples=60)
def test_the_loop_is_its_twin_query_by_query(data: Any, service: Service, policy: Policy) -> None:
    n = data.draw(st.integers(1, 40))
    pairs = data.draw(st.lists(st.integers(1, 90), min_size=n, max_size=n))
    gaps = data.draw(st.lists(st.floats(1e-3, 0.5), min_size=n, max_size=n))
    timeout = data.draw(st.sampled_from([math.inf, 1.0]))
    asked = requests(np.cumsum(gaps), pairs, timeout_s=timeout)
    if data.draw(st.booleans()):
        asked = requests([], pairs, concurrency=data.draw(st.integers(1, 5)), think_s=data.draw(st.floats(0.001, 0.3)))
    played = batching.play(asked, service, policy, 3)
    twin = Twin(asked, service, policy, 3)
    assert played.filled.tolist() == pytest.approx(twin.filled)
    np.testing.assert_allclose(played.done_s, twin.done, rtol=1e-9)
    answered = played.done_s >= 0
    np.testing.assert_allclose(played.started_s[answered], np.array(twin.started, float)[answered], rtol=1e-9)
