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

from roofline.kernels._jit import apart, inner
from roofline.kernels.serving_replica import compose, sample
from roofline.kernels.serving_requests import complete, deliver, end, switch_off
from roofline.kernels.serving_state import (
    ACTIVE,
    ADMITTED,
    ALIVE,
    ARRIVED,
    BEFORE,
    CACHED,
    CALM_MOST,
    CALM_SINCE,
    CAUSE,
    CHECK,
    CLOCK,
    CLOSED,
    COOLDOWN,
    COUNT,
    ELIGIBLE,
    EMITTED,
    EVERY,
    FEWEST,
    FINISHED,
    FIRST,
    HEAD,
    HELD,
    HITS,
    HOST,
    LAG,
    LARGEST,
    LIVING,
    MASK,
    NEXT,
    NONE,
    OLDER,
    OLDEST,
    OUTPUT,
    OWN,
    PREEMPTED,
    PROMPT,
    QUEUED,
    RANKS,
    READER,
    READERS,
    READY,
    REPLICA,
    REPLICAS,
    RESIDENT,
    ROOM,
    ROUTER,
    SEGMENT,
    SEGMENT_ROW,
    SEGMENTS,
    SENDS,
    SENT_AT,
    SERVING,
    SHARED,
    SINCE,
    SPENT,
    STARTED,
    STARTUP,
    STATE,
    STEPPING,
    TAIL,
    TARGET,
    TIMEOUT,
    TIMES,
    TOOK,
    TURN,
    TURN_ON,
    UNDER_WAY,
    UNIT,
    WAITING,
    WAITS_NOW,
    WAKE,
    WIDTH,
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
def least_loaded(how: Places, rep: Places, first: int, end: int) -> int:
    """Of some replicas that with the fewest requests, the first of them."""
    best, fewest = first, -1
    for r in range(first, end):
        mine = r * how[WIDTH]
        load = rep[mine + QUEUED] + rep[mine + ACTIVE]
        if fewest < 0 or load < fewest:
            best, fewest = r, load
    return best


@inner
def routed(run: Places, how: Places, rep: Places, seg: Places, one: int) -> int:
    """The replica that a request with a beginning of a number, or none, is sent to."""
    if run[SERVING] == 1:
        return 0
    if how[ROUTER] == ROUND_ROBIN:
        run[TURN] += 1
        return (run[TURN] - 1) % run[SERVING]
    best = least_loaded(how, rep, 0, run[SERVING])
    if how[ROUTER] == PREFIX_AWARE and one != NONE:
        fewest = -1
        for r in range(run[SERVING]):
            load = rep[r * how[WIDTH] + QUEUED] + rep[r * how[WIDTH] + ACTIVE]
            there = seg[(r * how[SEGMENTS] + one) * SEGMENT_ROW + RESIDENT] == 1
            if there and (fewest < 0 or load < fewest):
                best, fewest = r, load
    return best


@inner
def routed_on(run: Places, how: Places, rep: Places) -> int:
    """The replica that decodes for a request that was read elsewhere."""
    if how[ROUTER] == ROUND_ROBIN:
        run[TURN_ON] += 1
        return how[READERS] + (run[TURN_ON] - 1) % (how[REPLICAS] - how[READERS])
    return least_loaded(how, rep, how[READERS], how[REPLICAS])


@inner
def arrive(
    run: Places,
    how: Places,
    waits: Scratch,
    come: Places,
    sends: Scratch,
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
    mine = r * how[WIDTH]
    req[its + PROMPT], req[its + OUTPUT] = come[new + COMES_PROMPT], come[new + COMES_OUTPUT]
    req[its + SEGMENT], req[its + SHARED] = come[new + COMES_SEGMENT], come[new + COMES_SHARED]
    req[its + EMITTED], req[its + HELD], req[its + HITS], req[its + OWN] = 0, 0, 0, 0
    req[its + PREEMPTED], req[its + CACHED], req[its + STATE], req[its + REPLICA] = 0, 0, WAITS_NOW, r
    req[its + READER] = r
    lag = waits[LAG] * clock[r * CLOCK + TOOK] if rep[mine + UNDER_WAY] == 1 else 0.0
    at[when + ARRIVED], at[when + ELIGIBLE] = now, now + waits[HOST] + lag
    at[when + ADMITTED], at[when + FIRST], at[when + SENDS] = -1.0, -1.0, sends[one - base]
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


# How many replicas there are ------------------------------------------------------------------------------------------


@inner
def changes_next(run: Places, scale: Scratch, clock: Scratch) -> float:
    """When the number of replicas is looked at next, or one that was ordered is ready."""
    if scale[EVERY] == 0:
        return math.inf
    if run[STARTED] > run[SERVING]:
        return min(scale[CHECK], clock[run[SERVING] * CLOCK + READY])
    return scale[CHECK]


@apart
def rescale(run: Places, how: Places, scale: Scratch, rep: Places, clock: Scratch, now: float) -> None:
    """Take what is ready into service, and order more replicas, or fewer, for the requests that there are."""
    while run[SERVING] < run[STARTED] and clock[run[SERVING] * CLOCK + READY] <= now:
        run[SERVING] += 1
    if scale[CHECK] > now:
        return
    scale[CHECK] += scale[EVERY]
    wanted = min(max(math.ceil(run[ALIVE] / scale[TARGET]), scale[FEWEST]), scale[LARGEST]) * scale[UNIT]
    if wanted >= run[STARTED]:
        scale[CALM_SINCE], scale[CALM_MOST] = now, 0.0
        while run[STARTED] < wanted:
            its = run[STARTED] * CLOCK
            clock[its + READY] = now
            if clock[its + SINCE] < 0:  # off; else it still has requests, and goes on
                clock[its + SINCE], clock[its + READY] = now, now + scale[STARTUP]
            run[STARTED] += 1
        while run[SERVING] < run[STARTED] and clock[run[SERVING] * CLOCK + READY] <= now:
            run[SERVING] += 1
        return
    scale[CALM_MOST] = max(scale[CALM_MOST], wanted)
    if now - scale[CALM_SINCE] < scale[COOLDOWN]:
        return
    while run[STARTED] > scale[CALM_MOST]:
        run[STARTED] -= 1
        r = run[STARTED]
        if r < run[SERVING]:
            run[SERVING] = r
        if rep[r * how[WIDTH] + ACTIVE] + rep[r * how[WIDTH] + QUEUED] == 0:
            switch_off(clock, r, now)
    scale[CALM_SINCE], scale[CALM_MOST] = now, 0.0


# All of it -----------------------------------------------------------------------------------------------------------


@inner
def first_to_wake(how: Places, clock: Scratch) -> int:
    """The replica whose pass ends first."""
    best = 0
    for r in range(1, how[REPLICAS]):
        if clock[r * CLOCK + WAKE] < clock[best * CLOCK + WAKE]:
            best = r
    return best


@inner
def first_to_deliver(how: Places, clock: Scratch) -> int:
    """The replica whose cache on its way is there first."""
    best = 0
    if how[READERS] < how[REPLICAS]:
        for r in range(1, how[READERS]):
            if clock[r * CLOCK + SENT_AT] < clock[best * CLOCK + SENT_AT]:
                best = r
    return best


@inner
def step_together(how: Places, rep: Places, clock: Scratch, first: int, now: float) -> None:
    """Ranks whose passes have begun wait for the one that takes longest, and so do those that have nothing to do."""
    took = -1.0
    for r in range(first, first + how[RANKS]):
        if rep[r * how[WIDTH] + UNDER_WAY] == 1:
            took = max(took, clock[r * CLOCK + TOOK])
    if took < 0:
        return
    for r in range(first, first + how[RANKS]):
        mine, sums = r * how[WIDTH], r * CLOCK
        if rep[mine + UNDER_WAY] == 1:
            clock[sums + SPENT + rep[mine + CAUSE]] += took - clock[sums + TOOK]
        else:
            rep[mine + UNDER_WAY], rep[mine + STEPPING] = 1, 0
        clock[sums + TOOK], clock[sums + WAKE] = took, now + took


@inner
def turn(
    run: Places, how: Places, waits: Scratch, table: Scratch, shape: Places, req: Places, at: Scratch, rep: Places,
    clock: Scratch, heap: Places, seg: Places, told: Places, told_at: Scratch, later: Scratch, gaps: Scratch,
    seen: Scratch, first: int, now: float,
) -> None:  # fmt: skip
    """Ranks in step, or a replica alone: the pass under way ends, clients give up, and the next pass begins."""
    end_of_ranks = first + how[RANKS]
    for r in range(first, end_of_ranks):
        mine = r * how[WIDTH]
        if rep[mine + UNDER_WAY] == 1:
            complete(run, how, waits, req, at, rep, mine, clock, heap, seg, told, told_at, later, gaps, r, now)
        one = rep[mine + LIVING]
        while one != NONE and at[(one & run[MASK]) * TIMES + ARRIVED] + waits[TIMEOUT] <= now:
            end(run, how, waits, req, at, rep, mine, clock, heap, seg, told, told_at, later, r, one, now)
            one = rep[mine + LIVING]
    for r in range(first, end_of_ranks):
        mine = r * how[WIDTH]
        compose(run, how, waits, table, shape, req, at, rep, mine, clock, heap, seg, r, now)
    if how[RANKS] > 1:
        step_together(how, rep, clock, first, now)
    for r in range(first, end_of_ranks):
        if rep[r * how[WIDTH] + UNDER_WAY] == 1:
            sample(run, how, rep, r * how[WIDTH], clock, seen, r, now)


def advance(
    run: Places,
    how: Places,
    waits: Scratch,
    table: Scratch,
    shape: Places,
    how_on: Places,
    waits_on: Scratch,
    table_on: Scratch,
    shape_on: Places,
    scale: Scratch,
    arrival: Scratch,
    come: Places,
    sends: Scratch,
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
) -> None:
    """Go on from event to event; see the module's text.

    Parameters
    ----------
    run, how, waits, scale, req, at, rep, clock, heap, seg, told, told_at, gaps, seen
        As :mod:`roofline.kernels.serving_state` says.
    table, shape
        Times of passes; see :mod:`roofline.kernels.serving_passes`.
    how_on, waits_on, table_on, shape_on
        The same of the replicas that decode what others have read, where there are such.
    arrival, come, sends, base
        When requests come, what they are, what it takes to send the cache of each (s), and the number of the first.
    later
        When the clients of a closed loop come again, in a ring.
    more : int
        1 where further requests follow those that are given: it then comes back when it has no more of them.
    """
    while True:
        if run[NEXT] >= run[COUNT] and more == 1:
            return
        if run[FINISHED] + run[ALIVE] + 1 > run[ROOM]:
            return
        coming = comes_next(run, how, arrival, later, base)
        r, sender = first_to_wake(how, clock), first_to_deliver(how, clock)
        now, sent = clock[r * CLOCK + WAKE], clock[sender * CLOCK + SENT_AT]
        soonest, changes = min(coming, now, sent), changes_next(run, scale, clock)
        if soonest == math.inf:
            return
        if changes <= soonest:
            rescale(run, how, scale, rep, clock, changes)
        elif coming == soonest:
            if run[NEXT] - run[OLDEST] > run[MASK]:
                return
            arrive(run, how, waits, come, sends, req, at, rep, clock, seg, base, coming)
        elif sent == soonest:
            deliver(how, req, run[MASK], at, rep, clock, seg, sender, routed_on(run, how_on, rep), sent)
        else:
            reads = r < how[READERS]
            asked, seconds = (how, waits) if reads else (how_on, waits_on)
            times, sizes = (table, shape) if reads else (table_on, shape_on)
            first = r - (r - (0 if reads else how[READERS])) % asked[RANKS]
            turn(
                run, asked, seconds, times, sizes, req, at, rep, clock, heap, seg, told, told_at, later, gaps, seen,
                first, now,
            )  # fmt: skip
