"""Servers under load, pass by pass: who comes, who is let in, who reads, who decodes, who is put back, who is done.

What makes it fast is that nothing is done for a request in a pass that it merely takes part in. Its last token is the
number of a step, in a heap; the tokens attended to are a running sum; the blocks that a step needs are those of one
phase, the place in its block at which a sequence stands, and the phases are counted. Only arrivals, first tokens, last
tokens and evictions look at single requests. ``tests/test_simulation_twin.py`` has a naive twin, to be read first.

:func:`advance` goes on until there is nothing left to do, and comes back before if it needs room or requests; what it
knows stands in the arrays of :mod:`roofline.kernels.serving_state`.
"""

from __future__ import annotations

import math

from roofline.kernels._jit import inner
from roofline.kernels.serving_replica import complete, compose, end, sample
from roofline.kernels.serving_state import (
    ACTIVE,
    ADMITTED,
    ALIVE,
    ARRIVED,
    BEFORE,
    BLOCK,
    CACHED,
    CLOCK,
    CLOSED,
    COUNT,
    ELIGIBLE,
    EMITTED,
    FINISHED,
    FIRST,
    HEAD,
    HELD,
    HITS,
    HOST,
    LAG,
    LIVING,
    MASK,
    NEXT,
    NONE,
    OLDER,
    OLDEST,
    OUTPUT,
    OWN,
    PHASES,
    PREEMPTED,
    PROMPT,
    QUEUED,
    REPLICA,
    REPLICAS,
    RESIDENT,
    ROOM,
    ROUTER,
    SEGMENT,
    SEGMENT_ROW,
    SEGMENTS,
    SHARED,
    STATE,
    TAIL,
    TIMEOUT,
    TIMES,
    TOOK,
    TURN,
    UNDER_WAY,
    WAITING,
    WAITS_NOW,
    WAKE,
    Places,
    Scratch,
    append,
    row,
)

# Who is sent where.
ROUND_ROBIN, LEAST_LOADED, PREFIX_AWARE = range(3)

# Requests as they come: rows of `come`.
(COMES_PROMPT, COMES_OUTPUT, COMES_SEGMENT, COMES_SHARED) = range(4)

# Who comes -----------------------------------------------------------------------------------------------------------


@inner
def least_loaded(how: Places, rep: Places) -> int:
    """The replica with the fewest requests, the first of them."""
    best, fewest, width = 0, -1, PHASES + how[BLOCK]
    for r in range(how[REPLICAS]):
        load = rep[r * width + QUEUED] + rep[r * width + ACTIVE]
        if fewest < 0 or load < fewest:
            best, fewest = r, load
    return best


@inner
def routed(run: Places, how: Places, rep: Places, seg: Places, one: int) -> int:
    """The replica that a request with a beginning of a number, or none, is sent to."""
    if how[REPLICAS] == 1:
        return 0
    if how[ROUTER] == ROUND_ROBIN:
        run[TURN] += 1
        return (run[TURN] - 1) % how[REPLICAS]
    best = least_loaded(how, rep)
    if how[ROUTER] == PREFIX_AWARE and one != NONE:
        width, fewest = PHASES + how[BLOCK], -1
        for r in range(how[REPLICAS]):
            load = rep[r * width + QUEUED] + rep[r * width + ACTIVE]
            there = seg[(r * how[SEGMENTS] + one) * SEGMENT_ROW + RESIDENT] == 1
            if there and (fewest < 0 or load < fewest):
                best, fewest = r, load
    return best


@inner
def arrive(
    run: Places,
    how: Places,
    waits: Scratch,
    come: Places,
    req: Places,
    at: Scratch,
    rep: Places,
    clock: Scratch,
    seg: Places,
    base: int,
    now: float,
) -> None:
    """The next request comes and is sent to a replica, where it waits until its host has looked at it."""
    one, mask = run[NEXT], run[MASK]
    its, when, new = row(mask, one), (one & mask) * TIMES, (one - base) * 4
    r = routed(run, how, rep, seg, come[new + COMES_SEGMENT])
    mine = r * (PHASES + how[BLOCK])
    req[its + PROMPT], req[its + OUTPUT] = come[new + COMES_PROMPT], come[new + COMES_OUTPUT]
    req[its + SEGMENT], req[its + SHARED] = come[new + COMES_SEGMENT], come[new + COMES_SHARED]
    req[its + EMITTED], req[its + HELD], req[its + HITS], req[its + OWN] = 0, 0, 0, 0
    req[its + PREEMPTED], req[its + CACHED], req[its + STATE], req[its + REPLICA] = 0, 0, WAITS_NOW, r
    lag = waits[LAG] * clock[r * CLOCK + TOOK] if rep[mine + UNDER_WAY] == 1 else 0.0
    at[when + ARRIVED], at[when + ELIGIBLE] = now, now + waits[HOST] + lag
    at[when + ADMITTED], at[when + FIRST] = -1.0, -1.0
    append(req, mask, rep, mine + WAITING, BEFORE, one)
    append(req, mask, rep, mine + LIVING, OLDER, one)
    rep[mine + QUEUED] += 1
    run[ALIVE] += 1
    run[NEXT] += 1
    if how[CLOSED] > 0 and one >= how[CLOSED]:
        run[HEAD] += 1
    if rep[mine + UNDER_WAY] == 0:
        clock[r * CLOCK + WAKE] = min(clock[r * CLOCK + WAKE], at[when + ELIGIBLE])


@inner
def comes_next(run: Places, how: Places, arrival: Scratch, later: Scratch, base: int) -> float:
    """When the next request comes; never, where none is left or every client waits for an answer."""
    one = run[NEXT]
    if one >= run[COUNT]:
        return math.inf
    if how[CLOSED] > 0 and one >= how[CLOSED]:
        return later[run[HEAD] % how[CLOSED]] if run[HEAD] < run[TAIL] else math.inf
    return arrival[one - base]


# All of it -----------------------------------------------------------------------------------------------------------


@inner
def first_to_wake(how: Places, clock: Scratch) -> int:
    """The replica whose pass ends first."""
    best = 0
    for r in range(1, how[REPLICAS]):
        if clock[r * CLOCK + WAKE] < clock[best * CLOCK + WAKE]:
            best = r
    return best


def advance(
    run: Places,
    how: Places,
    waits: Scratch,
    table: Scratch,
    shape: Places,
    arrival: Scratch,
    come: Places,
    base: int,
    req: Places,
    at: Scratch,
    rep: Places,
    clock: Scratch,
    heap: Places,
    seg: Places,
    told: Places,
    told_at: Scratch,
    later: Scratch,
    gaps: Scratch,
    seen: Scratch,
    more: int,
    until: float,
) -> None:
    """Go on from event to event; see the module's text.

    Parameters
    ----------
    run, how, waits, req, at, rep, clock, heap, seg, told, told_at, gaps, seen
        As :mod:`roofline.kernels.serving_state` says.
    table, shape
        Times of passes; see :mod:`roofline.kernels.serving_passes`.
    arrival, come, base
        When requests come, what they are, and the number of the first of them.
    later
        When the clients of a closed loop come again, in a ring.
    more : int
        1 where further requests follow those that are given: it then comes back when it has no more of them.
    until : float
        When to come back at the latest (s).
    """
    width = PHASES + how[BLOCK]
    while True:
        if run[NEXT] >= run[COUNT] and more == 1:
            return
        if run[FINISHED] + run[ALIVE] + 1 > run[ROOM]:
            return
        coming = comes_next(run, how, arrival, later, base)
        r = first_to_wake(how, clock)
        now = clock[r * CLOCK + WAKE]
        if coming <= now:
            if coming == math.inf or coming > until or run[NEXT] - run[OLDEST] > run[MASK]:
                return
            arrive(run, how, waits, come, req, at, rep, clock, seg, base, coming)
            continue
        if now > until:
            return
        mine = r * width
        if rep[mine + UNDER_WAY] == 1:
            complete(run, how, waits, req, at, rep, mine, clock, heap, seg, told, told_at, later, gaps, r, now)
        one = rep[mine + LIVING]
        while one != NONE and at[(one & run[MASK]) * TIMES + ARRIVED] + waits[TIMEOUT] <= now:
            end(run, how, waits, req, at, rep, mine, heap, seg, told, told_at, later, r, one, now)
            one = rep[mine + LIVING]
        compose(run, how, waits, table, shape, req, at, rep, mine, clock, heap, seg, r, now)
        if rep[mine + UNDER_WAY] == 1:
            sample(run, how, rep, mine, clock, seen, r, now)
