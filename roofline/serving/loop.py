"""The arrays of a simulated server, and the loop over its events: compiled, or plain Python where little is to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from roofline.kernels import _jit, serving_loop, serving_state as at_
from roofline.kernels.serving_passes import EACH_HAS
from roofline.serving.passes import Table
from roofline.serving.policies import Policy
from roofline.serving.systems import Autoscale
from roofline.serving.traffic import Requests

ROUTERS = {"round_robin": 0, "least_loaded": 1, "prefix_aware": 2}

#: Requests that the loop is given at a time, slots of the ring at the start, and samples of the timeline.
_AT_A_TIME, _SLOTS, _SAMPLES = 1 << 17, 1 << 10, 4096

#: Points of a kernel that take as long as a request in plain Python.
_POINTS_A_REQUEST = 50


@dataclass(frozen=True)
class Servers:
    """What the loop runs: how many replicas, and what each has.

    Attributes
    ----------
    policy : Policy
    blocks : int
        KV blocks of a replica.
    replicas : int
    router : str
        One of :data:`ROUTERS`.
    ranks : int
        Replicas, one after the other, whose passes begin together: data-parallel ranks that share experts.
    gain : float
        Tokens that a sequence gets from a pass, in the mean.
    autoscale : Autoscale, optional
        How many of the replicas there are at a time; and how many of those here make one of its own.
    lanes : int
    """

    policy: Policy
    blocks: int
    replicas: int = 1
    router: str = "round_robin"
    ranks: int = 1
    gain: float = 1.0
    autoscale: Autoscale | None = None
    lanes: int = 1


@dataclass(frozen=True)
class Decoders:
    """Replicas that decode what others have read.

    Attributes
    ----------
    servers : Servers
    table : Table
        Times of their passes.
    sends_s : array of float64
        Of each request, what it takes to send its KV cache to them (s).
    """

    servers: Servers
    table: Table
    sends_s: np.ndarray


@dataclass
class Outcome:
    """What became of the requests, in the order in which they ended.

    Attributes
    ----------
    told : array of int64
        Shape (requests, TOLD).
    told_at : array of float64
        Shape (requests, 4): arrival, admission, first token, end (s); -1 for what never came.
    gaps : array of float64
        Gaps between tokens; see :mod:`roofline.kernels.serving_state`.
    samples : array of float64
        Shape (samples, SAMPLE): states at the beginning of passes.
    clock : array of float64
        Shape (replicas, CLOCK).
    replicas : array of int64
        Shape (replicas, ...): their state at the end; those that decode alone come last.
    serving : int
        Replicas that requests come to at the end.
    """

    told: np.ndarray
    told_at: np.ndarray
    gaps: np.ndarray
    samples: np.ndarray
    clock: np.ndarray
    replicas: np.ndarray
    serving: int


@dataclass
class _Arrays:
    """All arrays that the loop works in, in the order of its parameters."""

    run: np.ndarray
    how: np.ndarray
    waits: np.ndarray
    table: np.ndarray
    shape: np.ndarray
    how_on: np.ndarray
    waits_on: np.ndarray
    table_on: np.ndarray
    shape_on: np.ndarray
    scale: np.ndarray
    arrival: np.ndarray
    come: np.ndarray
    sends: np.ndarray
    req: np.ndarray
    at: np.ndarray
    rep: np.ndarray
    clock: np.ndarray
    heap: np.ndarray
    seg: np.ndarray
    told: np.ndarray
    told_at: np.ndarray
    later: np.ndarray
    gaps: np.ndarray
    seen: np.ndarray

    NAMES: ClassVar = (
        (
            "run",
            "how",
            "waits",
            "table",
            "shape",
            "how_on",
            "waits_on",
            "table_on",
            "shape_on",
            "scale",
            "arrival",
            "come",
            "sends",
        ),
        ("req", "at", "rep", "clock", "heap", "seg", "told", "told_at", "later", "gaps", "seen"),
    )

    def advance(self, compiled: bool, base: int, more: bool) -> None:
        """Run the loop until it comes back."""
        before, after = self.NAMES
        if compiled:
            places = [[getattr(self, name).ctypes.data for name in names] for names in self.NAMES]
            _jit.step(serving_loop.advance)(*places[0], base, *places[1], int(more))
            return
        lists = {name: getattr(self, name).tolist() for name in (*before, *after)}
        first, second = ([lists[name] for name in names] for names in self.NAMES)
        plainly: Any = serving_loop.advance
        plainly(*first, base, *second, int(more))
        for name in (*before, *after):
            getattr(self, name)[:] = lists[name]

    def grow(self) -> None:
        """Twice as many slots for requests: each stands at its number."""
        old, run = int(self.run[at_.MASK]) + 1, self.run
        for name, width in (("req", at_.REQUEST), ("at", at_.TIMES)):
            rows = getattr(self, name).reshape(-1, width)
            setattr(self, name, np.concatenate([rows, rows]).reshape(-1))
        alive = np.arange(run[at_.OLDEST], run[at_.NEXT])
        assert len(alive) <= old
        run[at_.MASK] = 2 * old - 1
        self.make_room()

    def make_room(self) -> None:
        """Room to tell of twice as many requests as there are slots."""
        room = 2 * (int(self.run[at_.MASK]) + 1)
        self.run[at_.ROOM] = room
        told, told_at = np.zeros(room * at_.TOLD, np.int64), np.zeros(room * 4)
        finished = int(self.run[at_.FINISHED])
        told[: finished * at_.TOLD], told_at[: finished * 4] = (
            self.told[: finished * at_.TOLD],
            self.told_at[: finished * 4],
        )
        self.told, self.told_at = told, told_at


def simulated(
    servers: Servers,
    table: Table,
    requests: Requests,
    compiled: bool | None = None,
    decoders: Decoders | None = None,
) -> Outcome:
    """Run requests through servers, until all have been answered or have given up.

    Parameters
    ----------
    servers : Servers
    table : Table
        Times of passes.
    requests : Requests
    compiled : bool, optional
        Whether by the compiled loop. Default: where that is sooner done.
    decoders : Decoders, optional
        Other replicas that decode; those of `servers` then read prompts alone.
    """
    if compiled is None:
        compiled = _jit.worth_compiling(serving_loop.advance, "step", len(requests) * _POINTS_A_REQUEST)
    arrays = _arrays(servers, table, requests, decoders)
    told, told_at = [], []
    count, base = len(requests), 0
    while True:
        end = min(base + _AT_A_TIME, count)
        arrays.arrival, arrays.come = _part(requests, base, end)
        arrays.sends = np.zeros(end - base) if decoders is None else decoders.sends_s[base:end].astype(float)
        arrays.run[at_.COUNT] = end
        while True:
            before = int(arrays.run[at_.NEXT])
            arrays.advance(compiled, base, end < count)
            run = arrays.run
            finished = int(run[at_.FINISHED])
            told.append(arrays.told[: finished * at_.TOLD].reshape(-1, at_.TOLD).copy())
            told_at.append(arrays.told_at[: finished * 4].reshape(-1, 4).copy())
            run[at_.FINISHED] = 0
            if run[at_.NEXT] - run[at_.OLDEST] > run[at_.MASK]:
                arrays.grow()
            elif run[at_.NEXT] >= end and (end < count or run[at_.ALIVE] == 0):
                break
            elif finished == 0 and run[at_.NEXT] == before:
                raise AssertionError("the simulation stands still")  # a request that fits nowhere was let in
        if end == count:
            break
        base = end
    samples = arrays.seen[: int(arrays.run[at_.SAMPLES]) * at_.SAMPLE].reshape(-1, at_.SAMPLE)
    return Outcome(
        told=np.concatenate(told),
        told_at=np.concatenate(told_at),
        gaps=arrays.gaps,
        samples=samples,
        clock=arrays.clock.reshape(-1, at_.CLOCK),
        replicas=arrays.rep.reshape(len(arrays.clock) // at_.CLOCK, -1),
        serving=int(arrays.run[at_.SERVING]),
    )


def _part(requests: Requests, base: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Some of the requests as the loop takes them; the first of a closed loop come at once."""
    come = np.empty((end - base, 4), np.int64)
    come[:, serving_loop.COMES_PROMPT], come[:, serving_loop.COMES_OUTPUT] = (
        requests.prompt[base:end],
        requests.output[base:end],
    )
    come[:, serving_loop.COMES_SEGMENT] = requests.prefix_id[base:end]
    come[:, serving_loop.COMES_SHARED] = requests.prefix_tokens[base:end]
    arrival = np.zeros(end - base) if requests.concurrency else requests.arrival_s[base:end].astype(float)
    return arrival, come.reshape(-1)


def _how(servers: Servers, table: Table, **common: int) -> np.ndarray:
    policy = servers.policy
    how = np.zeros(at_.HOW, np.int64)
    for place, value in {
        at_.BLOCK: policy.block,
        at_.BLOCKS: servers.blocks,
        at_.MOST: policy.max_seqs,
        at_.CHUNK: policy.chunk,
        at_.CHUNKED: policy.chunked_prefill,
        at_.MIXED: policy.mixed,
        at_.RESERVE: policy.reserve,
        at_.CACHING: policy.prefix_caching,
        at_.ROUTER: ROUTERS[servers.router],
        at_.EACH: table.shape[EACH_HAS],
        at_.RANKS: servers.ranks,
    }.items():
        how[place] = value
    for name, value in common.items():
        how[getattr(at_, name)] = value
    return how


def _waits(servers: Servers, requests: Requests) -> np.ndarray:
    policy, waits = servers.policy, np.zeros(at_.WAITS)
    waits[at_.HOST], waits[at_.LAG], waits[at_.AHEAD] = policy.host_s, policy.lag, policy.ahead
    waits[at_.TIMEOUT], waits[at_.THINK], waits[at_.GAIN] = requests.timeout_s, requests.think_s, servers.gain
    return waits


def _scale(servers: Servers) -> np.ndarray:
    scale, asked = np.zeros(at_.SCALE), servers.autoscale
    if asked is not None:
        scale[[at_.EVERY, at_.STARTUP, at_.TARGET]] = asked.every_s, asked.startup_s, asked.target
        scale[[at_.COOLDOWN, at_.FEWEST, at_.LARGEST]] = asked.cooldown_s, asked.fewest, asked.most
        scale[[at_.UNIT, at_.CHECK]] = servers.lanes, asked.every_s
    return scale


def _arrays(servers: Servers, table: Table, requests: Requests, decoders: Decoders | None) -> _Arrays:
    pools = [servers] if decoders is None else [servers, decoders.servers]
    replicas = sum(one.replicas for one in pools)
    whole = np.zeros(int(requests.prefix_id.max(initial=-1)) + 1, np.int64)
    there = requests.prefix_id >= 0
    np.maximum.at(whole, requests.prefix_id[there], requests.prefix_tokens[there])
    segments = max(len(whole), 1)
    seg = np.zeros((replicas, segments, at_.SEGMENT_ROW), np.int64)
    seg[:, : len(whole), at_.WHOLE] = whole
    width, row = at_.PHASES + max(one.policy.block for one in pools), max(one.policy.max_seqs for one in pools)
    common = {
        "REPLICAS": replicas,
        "SEGMENTS": segments,
        "CLOSED": requests.concurrency,
        "WIDTH": width,
        "HEAP": row,
        "READERS": servers.replicas,
    }
    rep = np.zeros((replicas, width), np.int64)
    rep[:, : at_.RELEASED_LAST + 1] = rep[:, [at_.PARTIAL, at_.FRESH]] = at_.NONE
    rep[:, [at_.FREE, at_.PLAIN]] = np.repeat([one.blocks for one in pools], [one.replicas for one in pools])[:, None]
    clock = np.zeros((replicas, at_.CLOCK))
    clock[:, [at_.WAKE, at_.SENT_AT]] = np.inf
    run = np.zeros(at_.RUN, np.int64)
    run[at_.MASK], run[at_.STRIDE], run[at_.SAMPLE_ROOM] = _SLOTS - 1, 1, _SAMPLES
    serving = servers.replicas if servers.autoscale is None else servers.autoscale.fewest * servers.lanes
    run[[at_.SERVING, at_.STARTED]] = serving
    clock[serving : servers.replicas, at_.SINCE] = -1.0
    other, times = (servers, table) if decoders is None else (decoders.servers, decoders.table)
    arrays = _Arrays(
        run=run,
        how=_how(servers, table, **common),
        waits=_waits(servers, requests),
        table=table.numbers,
        shape=table.shape,
        how_on=_how(other, times, **common),
        waits_on=_waits(other, requests),
        table_on=times.numbers,
        shape_on=times.shape,
        scale=_scale(servers),
        arrival=np.empty(0),
        come=np.empty(0, np.int64),
        sends=np.empty(0),
        req=np.zeros(_SLOTS * at_.REQUEST, np.int64),
        at=np.zeros(_SLOTS * at_.TIMES),
        rep=rep.reshape(-1),
        clock=clock.reshape(-1),
        heap=np.zeros(replicas * row, np.int64),
        seg=seg.reshape(-1),
        told=np.zeros(0, np.int64),
        told_at=np.zeros(0),
        later=np.zeros(max(requests.concurrency, 1)),
        gaps=np.zeros(at_.GAPS),
        seen=np.zeros(_SAMPLES * at_.SAMPLE),
    )
    arrays.make_room()
    return arrays
