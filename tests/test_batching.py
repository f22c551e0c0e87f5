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

import roofline as rl
from roofline.kernels import _jit, batching as kernel
from roofline.serving import batching
from roofline.serving.batching import Policy, Service
from roofline.serving.traffic import Requests, Traffic

Steps = Generator[Any, Any, None]
NONE = np.empty(0, np.int32)


def requests(arrival_s: Any, pairs: Any, **more: Any) -> Requests:
    pairs, none = np.asarray(pairs, np.int32), np.empty(0, np.int64)
    return Requests(np.asarray(arrival_s, float), NONE, NONE, pairs, NONE, NONE, none, none, **more)


# The twin -------------------------------------------------------------------------------------------------------------


class Twin:
    """A server as processes that sleep and wake: when queries left and were answered (-1: given up), batches' pairs."""

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


def test_the_compiled_loop_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(np.array([1.0, 64.0, 512.0]), np.array([0.2, 0.4, 1.0]), np.array([0.1, 0.3, 0.8]))
    policy = Policy(0.05, 512, 200, 3, 0.1)
    open_loop = Traffic(5, pairs=rl.uniform(1, 300), requests=400, timeout_s=2)
    for traffic in (open_loop, Traffic(concurrency=9, think_s=0.1, pairs=rl.lognormal(90, 80), requests=400)):
        runs = []
        for compiled in (False, True):
            monkeypatch.setattr(_jit, "worth_compiling", lambda *_, compiled=compiled: compiled)
            runs.append(batching.play(traffic.drawn(1), service, policy, 1))
        for name in ("arrival_s", "started_s", "done_s", "left_s", "filled"):
            np.testing.assert_array_equal(getattr(runs[0], name), getattr(runs[1], name))


# Laws -----------------------------------------------------------------------------------------------------------------


@given(st.data(), service_times, policies)
@settings(max_examples=60)
def test_queries_and_pairs_are_conserved_and_nobody_is_overtaken(data: Any, service: Service, policy: Policy) -> None:
    n = data.draw(st.integers(1, 60))
    timeout = data.draw(st.sampled_from([math.inf, 2.0]))
    traffic = Traffic(data.draw(st.floats(0.1, 20)), pairs=rl.uniform(1, 90), requests=n, timeout_s=timeout)
    asked = traffic.drawn(data.draw(st.integers(0, 99)))
    played = batching.play(asked, service, policy, 0)
    there = played.done_s >= 0
    assert len(played.done_s) == there.sum() + (played.done_s == kernel.GAVE_UP).sum() == n
    if math.isinf(timeout):
        assert played.filled.sum() == asked.pairs.sum()
    assert (played.filled <= policy.max_batch).all()
    assert (np.diff(played.left_s) >= 0).all()
    assert (np.diff(played.started_s[there]) >= 0).all()
    assert (played.started_s[there] >= played.arrival_s[there]).all()
    assert (played.done_s[there] > played.started_s[there]).all()
    # Never more batches under way than workers, and each patient at most for its window when a worker is free.
    under_way = np.searchsorted(np.sort(played.answered_s), played.left_s, side="right")
    assert (np.arange(len(played.left_s)) - under_way < policy.workers).all()
    assert (played.waiting >= 0).all()


@given(service_times, policies, st.integers(0, 9))
@settings(max_examples=30)
def test_slower_batches_and_more_load_never_answer_sooner(service: Service, policy: Policy, seed: int) -> None:
    """With batches of one query each, where no batch is luckier than another; and Little's law."""
    alone = Policy(0.0, 64, 64, policy.workers, 0.0)
    traffic = Traffic(0.5, pairs=rl.uniform(33, 64), requests=200)
    first = batching.play(traffic.drawn(seed), service, alone, seed)
    slower = batching.play(traffic.drawn(seed), service.slower(1.3), alone, seed)
    faster = batching.play(traffic.scaled(1.5).drawn(seed), service, alone, seed)
    assert (slower.latency_s >= first.latency_s - 1e-9).all()
    assert (faster.latency_s >= first.latency_s - 1e-9).all()
    edges = np.sort(np.concatenate([first.arrival_s, first.done_s]))
    inside = np.searchsorted(first.arrival_s, edges[:-1], side="right") - np.searchsorted(
        np.sort(first.done_s), edges[:-1], side="right"
    )
    assert inside @ np.diff(edges) == pytest.approx(first.latency_s.sum())


def test_a_closed_loop_has_its_clients_in_it() -> None:
    """Clients over what each takes for a round: Little's law of the whole."""
    service = Service(np.array([1.0, 512.0]), np.array([0.5, 1.5]), np.array([0.4, 1.2]))
    drawn = Traffic(concurrency=6, think_s=2, pairs=rl.uniform(1, 99), requests=4000).drawn(2)
    played = batching.play(drawn, service, Policy(0.0, 256, 256, 2, 0.1), 2)
    rate = len(drawn) / played.duration_s
    assert rate * (played.latency_s.mean() + 2) == pytest.approx(6, rel=0.01)


# Against what is known -----------------------------------------------------------------------------------------------

MANY = 200_000


def fixed(time_s: float, most: int = 64) -> Service:
    """Batches that all take the same."""
    return Service(np.array([1.0, most]), np.full(2, time_s), np.full(2, time_s))


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_one_query_a_batch_of_fixed_time_is_m_d_1(load: float) -> None:
    """Mean wait rho D / (2 (1 - rho)), Pollaczek and Khinchine; its distribution Erlang's (1909)."""
    drawn = Traffic(load, pairs=1, requests=MANY).drawn(7)
    wait = batching.play(drawn, fixed(1.0), Policy(0.0, 1, 1, 1, 0.0), 7).queue_s
    assert wait.mean() == pytest.approx(load / (2 * (1 - load)), rel=0.06)
    for at in (0.0, 0.5, 1.7, 3.2):
        k = np.arange(int(at) + 1)
        behind = load * (k - at)
        within = (1 - load) * sum(
            b ** int(i) / math.factorial(int(i)) * math.exp(-b) for i, b in zip(k, behind, strict=True)
        )
        assert (wait <= at + 1e-9).mean() == pytest.approx(within, abs=0.02)


def test_queries_of_several_sizes_are_m_g_1() -> None:
    """Mean wait lambda E[S^2] / (2 (1 - rho)): one query a batch, as no two fit, whose time is its pairs'."""
    service = Service(np.array([1.0, 64.0]), np.array([0.01, 0.64]), np.array([0.01, 0.64]))
    sizes = np.arange(33, 65) / 100
    rate = 0.75 / sizes.mean()
    drawn = Traffic(rate, pairs=rl.uniform(33, 64), requests=MANY).drawn(3)
    wait = batching.play(drawn, service, Policy(0.0, 64, 64, 1, 0.0), 3).queue_s
    assert wait.mean() == pytest.approx(rate * (sizes**2).mean() / (2 * (1 - 0.75)), rel=0.05)


@pytest.mark.parametrize(("load", "most"), [(0.5, 4), (0.85, 4), (0.9, 16)])
def test_batches_of_fixed_time_are_bailey_s_bulk_service(load: float, most: int) -> None:
    """Bailey (1954), with a server that does not wait for company: the chain of those left behind, solved.

    In it x wait when a batch ends; then min(x, most) are served while a Poisson number comes. Between two ends of
    batches those left behind wait all the time, and those that come half of it on average.
    """
    rate, states = load * most, 300
    k = np.arange(states)
    log = np.array([i * math.log(rate) - rate - math.lgamma(i + 1) for i in k])
    comes = np.exp(log)
    left = np.maximum(k - most, 0)
    chain = np.array([np.concatenate([np.zeros(x), comes[: states - x]]) for x in left])
    chain[:, -1] += 1 - chain.sum(axis=1)
    share = np.linalg.solve(np.vstack([(chain.T - np.eye(states))[:-1], np.ones(states)]), np.eye(states)[-1])
    waiting = (share @ left + rate / 2) / (1 + share[0] / rate)
    drawn = Traffic(rate, pairs=1, requests=MANY).drawn(11)
    wait = batching.play(drawn, fixed(1.0), Policy(0.0, most, 1, 1, 0.0), 11).queue_s
    assert wait.mean() == pytest.approx(waiting / rate, rel=0.05)


def test_a_window_makes_the_first_wait_and_the_others_half() -> None:
    """A server that is never busy: batches of 1 + Poisson(rate w), the first waits w, the others w / 2 on average."""
    rate, window = 5.0, 0.8
    drawn = Traffic(rate, pairs=1, requests=MANY).drawn(13)
    played = batching.play(drawn, fixed(1e-9, 4096), Policy(window, 4096, 1, 1, 0.0), 13)
    assert played.queue_s.mean() == pytest.approx((window + rate * window**2 / 2) / (1 + rate * window), rel=0.01)
    assert played.filled.mean() == pytest.approx(1 + rate * window, rel=0.01)


def test_workers_overlap_down_to_the_pace() -> None:
    """A backlog: one worker answers a batch a latency, several two in that time, many one a pace."""
    service = Service(np.array([1.0, 64.0]), np.array([1.0, 1.0]), np.array([0.25, 0.25]))
    drawn = Traffic(1.0, pairs=64, requests=500).drawn(0)
    rates = [batching.backlogged_rate(drawn, service, Policy(0.0, 64, 64, n, 0.0), 0) for n in (1, 2, 4, 9)]
    assert rates == pytest.approx([1, 2, 4, 4], rel=0.01)
