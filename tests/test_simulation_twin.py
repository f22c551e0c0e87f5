"""The compiled loop of a simulated server against its naive twin, request by request."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from roofline.kernels import serving_passes as p, serving_state as s
from roofline.serving.loop import Decoders, Servers, simulated
from roofline.serving.passes import Table
from roofline.serving.policies import Policy
from roofline.serving.systems import Autoscale, Draft
from roofline.serving.traffic import Requests
from tests import serving_twin


def line(tokens: int = 400, each: int = 1) -> Table:
    """Times of passes that are easy to follow: linear in everything; of drafts, `each` tokens a sequence."""
    knots = {"contexts": [1.0, 2001.0], "reads": [1.0, 401.0], "parts": [1.0, 33.0], "prefixes": [0.0, 2000.0]}
    linear = [0.0, *(1e-3 + 1e-5 * i for i in range(1, tokens))]
    scored = [1e-6 * i for i in range(300)]
    decode = [1e-7 * n * c for n in range(64) for c in knots["contexts"]]
    prefill = [1e-7 * q * k * (b + q / 2) for q in knots["reads"] for k in knots["parts"] for b in knots["prefixes"]]
    shape, numbers = np.zeros(p.SHAPE, np.int64), []
    for place, part in ((p.LINEAR, linear), (p.SCORED, scored), (p.DECODE, decode), (p.PREFILL, prefill)):
        shape[place] = len(numbers)
        numbers += part
    shape[p.TOKENS_TO], shape[p.SCORED_TO], shape[p.DECODE_TO], shape[p.EACH_HAS] = tokens, 300, 64, each
    places = ((p.CONTEXTS, p.CONTEXTS_TO), (p.READS, p.READS_TO), (p.PARTS, p.PARTS_TO), (p.PREFIXES, p.PREFIXES_TO))
    for (place, count), part in zip(places, knots.values(), strict=True):
        shape[place], shape[count] = len(numbers), len(part)
        numbers += part
    return Table(np.array(numbers), shape)


LINE = line()


def _pass_time(table: Table) -> serving_twin.PassTime:
    def time(contexts: list[int], pieces: list[tuple[int, int]]) -> float:
        tokens = sum(piece for piece, _ in pieces)
        squares, before = sum(float(q * q) for q, _ in pieces), sum(float(q * b) for q, b in pieces)
        return table.time(len(contexts), sum(contexts), len(pieces), tokens, squares, before)

    return time


@st.composite
def _requests(draw: st.DrawFn) -> Requests:
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    closed = draw(st.sampled_from([0, 0, 1, 5]))
    kinds = draw(st.sampled_from([0, 1, 3, 6]))
    prompt = rng.integers(1, 150, n).astype(np.int32)
    prefix = rng.integers(0, kinds, n) if kinds else np.full(n, -1)
    none = np.empty(0, np.int64)
    gaps = rng.exponential(draw(st.sampled_from([1e-4, 5e-3, 5e-2, 0.2])), n)
    return Requests(
        arrival_s=np.empty(0) if closed else np.cumsum(gaps),
        prompt=prompt,
        output=rng.integers(1, 60, n).astype(np.int32),
        pairs=np.empty(0, np.int32),
        prefix_id=prefix.astype(np.int32),
        prefix_tokens=np.minimum(prompt, draw(st.sampled_from([30, 70]))).astype(np.int32) * (kinds > 0),
        blocks=none,
        block_start=none,
        concurrency=closed,
        think_s=draw(st.sampled_from([0.0, 3.3e-3])) if closed else 0.0,
        timeout_s=draw(st.sampled_from([math.inf, math.inf, 0.0903])),
    )


_ROUTERS = st.sampled_from(["round_robin", "least_loaded", "prefix_aware"])
_POLICIES = st.builds(
    Policy,
    chunk=st.sampled_from([24, 64, 200]),
    max_seqs=st.sampled_from([2, 8, 24]),
    block=st.sampled_from([1, 4, 16]),
    chunked_prefill=st.booleans(),
    mixed=st.booleans(),
    reserve=st.booleans(),
    prefix_caching=st.booleans(),
    ahead=st.sampled_from([0.0, 0.3]),
    host_s=st.sampled_from([0.0, 7e-4]),
    lag=st.sampled_from([0.0, 1.4]),
)


@dataclass(frozen=True)
class _System:
    """What there is beside a policy: replicas, and how they work together."""

    replicas: int = 1
    router: str = "round_robin"
    ranks: int = 1
    drafted: int = 0
    acceptance: float = 0.0
    autoscale: Autoscale | None = None
    decoders: int = 0
    sends_s: float = 0.0

    def servers(self, policy: Policy, blocks: int, replicas: int) -> Servers:
        policy = replace(policy, max_seqs=min(policy.max_seqs, policy.chunk // (self.drafted + 1)))
        gain = Draft("ngram", max(self.drafted, 1), self.acceptance).tokens_per_pass if self.drafted else 1.0
        return Servers(policy, blocks, replicas, self.router, gain=gain)


def _compare(policy: Policy, blocks: int, requests: Requests, system: _System, compiled: bool) -> None:
    times, each = line(each=system.drafted + 1), system.drafted + 1
    servers = system.servers(policy, blocks, system.replicas)
    servers = replace(servers, ranks=system.ranks, autoscale=system.autoscale)
    decoders, twins = None, None
    if system.decoders:
        other = system.servers(replace(policy, mixed=True, prefix_caching=False), blocks + 3, system.decoders)
        servers = replace(servers, policy=replace(servers.policy, reserve=False))
        decoders = Decoders(other, times, system.sends_s * requests.prompt)
        twins = (other.policy, other.blocks, other.replicas, decoders.sends_s.tolist())
    outcome = simulated(servers, times, requests, compiled, decoders)
    order = np.argsort(outcome.told[:, s.WHICH])
    told, at = outcome.told[order], outcome.told_at[order]
    twin = serving_twin.simulated(
        servers.policy,
        blocks,
        requests,
        _pass_time(times),
        system.replicas,
        system.router,
        system.ranks,
        (each, servers.gain),
        twins,
        system.autoscale,
    )
    assert told[:, s.WHICH].tolist() == list(range(len(twin.clients)))
    for row, times, one in zip(told, at, twin.clients, strict=True):
        expected = (one.answered, one.written, one.cached, one.evictions)
        found = (row[s.ENDED] == s.ANSWERED, row[s.TOLD_OUTPUT], row[s.TOLD_CACHED], row[s.TOLD_PREEMPTED])
        assert found == expected, one
        np.testing.assert_allclose(times, (one.arrival, one.admitted, one.first, one.end), rtol=1e-9)
    # Every block came back, and none was held twice.
    free = [blocks] * system.replicas + [blocks + 3] * system.decoders
    assert outcome.replicas[:, s.FREE].tolist() == free
    assert outcome.serving == twin.serving
    np.testing.assert_allclose(outcome.clock[: system.replicas, s.ON_S], twin.on_s)


def requests_of(arrival_s: np.ndarray, prompt: np.ndarray, output: np.ndarray, **policy: Any) -> np.ndarray:
    """Arrival, admission, first token and end of requests on one server whose passes are linear, in order."""
    none, n = np.empty(0, np.int64), len(prompt)
    requests = Requests(arrival_s, prompt, output, none, np.full(n, -1), np.zeros(n, np.int64), none, none)
    outcome = simulated(Servers(Policy(**policy), 100_000), LINE, requests, compiled=False)
    return outcome.told_at[np.argsort(outcome.told[:, s.WHICH])]


_SYSTEMS = st.one_of(
    st.builds(_System, st.sampled_from([1, 1, 3]), _ROUTERS),
    st.builds(_System, st.sampled_from([2, 4]), _ROUTERS, ranks=st.just(2)),
    st.builds(
        _System, st.sampled_from([1, 2]), drafted=st.integers(1, 4), acceptance=st.sampled_from([0.0, 0.6, 0.9, 1.0])
    ),
    st.builds(
        _System,
        st.integers(1, 3),
        _ROUTERS,
        decoders=st.integers(1, 3),
        sends_s=st.sampled_from([0.0, 1e-5, 1e-3]),
        drafted=st.sampled_from([0, 0, 2]),
        acceptance=st.just(0.7),
    ),
    st.builds(
        _System,
        st.just(4),
        _ROUTERS,
        autoscale=st.builds(
            Autoscale,
            st.integers(1, 2),
            st.just(4),
            st.sampled_from([1.0, 5.0]),
            startup_s=st.sampled_from([0.0, 0.0503, 2.0]),
            every_s=st.sampled_from([0.0103, 0.101]),
            cooldown_s=st.sampled_from([0.0, 0.0302, 0.7]),
        ),
    ),
)


@settings(max_examples=150)
@given(_POLICIES, st.sampled_from([220, 300, 2000]), _requests(), _SYSTEMS)
def test_equals_the_naive_server(policy: Policy, tokens: int, requests: Requests, system: _System) -> None:
    _compare(policy, tokens // policy.block + 2, requests, system, compiled=False)


@pytest.mark.parametrize("mixed", [True, False])
def test_many_requests_equal_the_naive_server_compiled_and_plain(mixed: bool) -> None:
    rng = np.random.default_rng(7)
    n = 3000  # more than the ring has slots at the start
    prompt = rng.integers(1, 150, n).astype(np.int32)
    requests = Requests(
        np.cumsum(rng.exponential(1e-4, n)),
        prompt,
        rng.integers(1, 8, n).astype(np.int32),
        np.empty(0, np.int32),
        rng.integers(-1, 4, n).astype(np.int32),
        np.minimum(prompt, 40).astype(np.int32),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
    )
    policy = Policy(chunk=64, max_seqs=8, block=4, mixed=mixed)
    _compare(policy, 100, requests, _System(2, "least_loaded"), compiled=True)
    servers = Servers(policy, 100, 2, "least_loaded")
    compiled, plain = (simulated(servers, LINE, requests, compiled=one) for one in (True, False))
    np.testing.assert_array_equal(compiled.told, plain.told)
    np.testing.assert_allclose(compiled.told_at, plain.told_at, rtol=1e-12)
