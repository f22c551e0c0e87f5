"""The compiled loop of a simulated server against its naive twin, request by request."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from roofline.kernels import serving_passes as p, serving_state as s
from roofline.serving.loop import Servers, simulated
from roofline.serving.passes import Table
from roofline.serving.policies import Policy
from roofline.serving.traffic import Requests
from tests import serving_twin


def _line(tokens: int = 400) -> Table:
    """Times of passes that are easy to follow: linear in everything."""
    knots = {"contexts": [1.0, 2001.0], "reads": [1.0, 401.0], "parts": [1.0, 33.0], "prefixes": [0.0, 2000.0]}
    linear = [0.0, *(1e-3 + 1e-5 * i for i in range(1, tokens))]
    scored = [1e-6 * i for i in range(64)]
    decode = [1e-7 * n * c for n in range(64) for c in knots["contexts"]]
    prefill = [1e-7 * q * k * (b + q / 2) for q in knots["reads"] for k in knots["parts"] for b in knots["prefixes"]]
    shape, numbers = np.zeros(p.SHAPE, np.int64), []
    for place, part in ((p.LINEAR, linear), (p.SCORED, scored), (p.DECODE, decode), (p.PREFILL, prefill)):
        shape[place] = len(numbers)
        numbers += part
    shape[p.TOKENS_TO], shape[p.SCORED_TO], shape[p.DECODE_TO] = tokens, 64, 64
    places = ((p.CONTEXTS, p.CONTEXTS_TO), (p.READS, p.READS_TO), (p.PARTS, p.PARTS_TO), (p.PREFIXES, p.PREFIXES_TO))
    for (place, count), part in zip(places, knots.values(), strict=True):
        shape[place], shape[count] = len(numbers), len(part)
        numbers += part
    return Table(np.array(numbers), shape)


LINE = _line()


def _pass_time(contexts: list[int], pieces: list[tuple[int, int]]) -> float:
    tokens = sum(piece for piece, _ in pieces)
    squares, before = (sum(float(f(piece, b)) for piece, b in pieces) for f in (lambda q, _: q * q, lambda q, b: q * b))
    return LINE.time(len(contexts), sum(contexts), len(pieces), tokens, squares, before)


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


def _compare(policy: Policy, blocks: int, requests: Requests, replicas: int, router: str, compiled: bool) -> None:
    outcome = simulated(Servers(policy, blocks, replicas, router), LINE, requests, compiled=compiled)
    order = np.argsort(outcome.told[:, s.WHICH])
    told, at = outcome.told[order], outcome.told_at[order]
    twins = serving_twin.simulated(policy, blocks, requests, _pass_time, replicas, router)
    assert told[:, s.WHICH].tolist() == list(range(len(twins)))
    for row, times, one in zip(told, at, twins, strict=True):
        expected = (one.answered, one.written, one.cached, one.evictions)
        found = (row[s.ENDED] == s.ANSWERED, row[s.TOLD_OUTPUT], row[s.TOLD_CACHED], row[s.TOLD_PREEMPTED])
        assert found == expected, one
        np.testing.assert_allclose(times, (one.arrival, one.admitted, one.first, one.end), rtol=1e-9)
    # Every block came back, and none was held twice.
    block_rows = outcome.replicas
    assert block_rows[:, s.FREE].tolist() == [blocks] * replicas


def requests_of(arrival_s: np.ndarray, prompt: np.ndarray, output: np.ndarray, **policy: Any) -> np.ndarray:
    """Arrival, admission, first token and end of requests on one server whose passes are linear, in order."""
    none, n = np.empty(0, np.int64), len(prompt)
    requests = Requests(arrival_s, prompt, output, none, np.full(n, -1), np.zeros(n, np.int64), none, none)
    outcome = simulated(Servers(Policy(**policy), 100_000), LINE, requests, compiled=False)
    return outcome.told_at[np.argsort(outcome.told[:, s.WHICH])]


@settings(max_examples=100)
@given(_POLICIES, st.sampled_from([220, 300, 2000]), _requests(), st.sampled_from([1, 1, 3]), _ROUTERS)
def test_equals_the_naive_server(policy: Policy, tokens: int, requests: Requests, replicas: int, router: str) -> None:
    _compare(policy, tokens // policy.block + 1, requests, replicas, router, compiled=False)


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
    _compare(policy, 100, requests, 2, "least_loaded", compiled=True)
    servers = Servers(policy, 100, 2, "least_loaded")
    compiled, plain = (simulated(servers, LINE, requests, compiled=one) for one in (True, False))
    np.testing.assert_array_equal(compiled.told, plain.told)
    np.testing.assert_allclose(compiled.told_at, plain.told_at, rtol=1e-12)
