"""One request at a simulated server: it joins those that decode, is put back, is sent on, ends.

Called by :mod:`roofline.kernels.serving_replica` and :mod:`roofline.kernels.serving_loop`.
"""

from __future__ import annotations

import math

from roofline.kernels._jit import apart, inner
from roofline.kernels.serving_blocks import blocks_of, give_back
from roofline.kernels.serving_state import (
    ACTIVE,
    ADMITTED,
    AFTER,
    ALIVE,
    ANSWERED,
    ARRIVED,
    BEFORE,
    BLOCK,
    CACHED,
    CLOCK,
    CLOSED,
    CONTEXT,
    DECODES,
    DECODING,
    DONE,
    ELIGIBLE,
    EMITTED,
    ENDED,
    FINISHED,
    FIRST,
    FRESH,
    GAINED,
    GAPS,
    GAPS_PER_OCTAVE,
    GAVE_UP,
    HEAP,
    HEAPED,
    HELD,
    HITS,
    JOINED,
    JOINED_AT,
    JOINING,
    KEY,
    KEYS,
    LEAST_GAP,
    LINK_FREE,
    LIVING,
    MASK,
    NEXT,
    NONE,
    OLDER,
    OLDEST,
    ON_S,
    OUTPUT,
    OWN,
    PARTIAL,
    PHASES,
    PREEMPTED,
    PROMPT,
    QUEUED,
    READER,
    READERS,
    REPLICA,
    REPLICAS,
    RESERVE,
    RUNNING,
    SEGMENT_ROW,
    SEGMENTS,
    SENDING,
    SENDS,
    SENT,
    SENT_AT,
    SERVING,
    SINCE,
    STATE,
    STEP,
    STEPPED,
    STEPPING,
    TAIL,
    THINK,
    TIMEOUT,
    TIMES,
    TOLD,
    TOLD_ADMITTED,
    TOLD_ARRIVED,
    TOLD_CACHED,
    TOLD_END,
    TOLD_FIRST,
    TOLD_OUTPUT,
    TOLD_PREEMPTED,
    TOLD_PROMPT,
    TOLD_READER,
    TOLD_REPLICA,
    UNDER_WAY,
    WAITING,
    WAITS_NOW,
    WAKE,
    WHICH,
    WIDTH,
    Places,
    Scratch,
    append,
    insert,
    prepend,
    pull,
    remove,
    rise,
    row,
)

# One request ---------------------------------------------------------------------------------------------------------


@inner
def stop(
    how: Places, req: Places, mask: int, rep: Places, mine: int, heap: Places, seg: Places, r: int, one: int
) -> None:
    """Take a request out of those that run, with all that it holds."""
    its, block = row(mask, one), how[BLOCK]
    remove(req, mask, rep, mine + RUNNING, BEFORE, one)
    rep[mine + ACTIVE] -= 1
    if req[its + STATE] == DECODES:
        pull(heap, r * how[HEAP], rep[mine + HEAPED], req, mask, one)
        steps = rep[mine + STEP] - req[its + JOINED]
        rep[mine + PHASES + (req[its + HELD] - req[its + JOINED]) % block] -= 1
        req[its + HELD] += steps
        req[its + EMITTED] = min(req[its + EMITTED] + steps, req[its + OUTPUT])
        rep[mine + HEAPED] -= 1
        rep[mine + DECODING] -= 1
        rep[mine + CONTEXT] -= req[its + HELD] + 1
        rep[mine + KEYS] -= req[its + KEY]
        if how[RESERVE] == 0:
            req[its + OWN] = blocks_of(req[its + HELD], block) - req[its + HITS]
    elif rep[mine + PARTIAL] == one:
        rep[mine + PARTIAL] = NONE
    give_back(rep, mine, seg, r * how[SEGMENTS] * SEGMENT_ROW, req, its)


@apart
def put_back(
    how: Places, req: Places, mask: int, rep: Places, mine: int, heap: Places, seg: Places, r: int, one: int
) -> None:
    """Evict a request: it waits again, before all others, and will read again what it has read and written."""
    stop(how, req, mask, rep, mine, heap, seg, r, one)
    its = row(mask, one)
    req[its + HELD], req[its + STATE] = 0, WAITS_NOW
    req[its + PREEMPTED] += 1
    prepend(req, mask, rep, mine + WAITING, BEFORE, one)
    rep[mine + QUEUED] += 1


@apart
def end(
    run: Places, how: Places, waits: Scratch, req: Places, at: Scratch, rep: Places, mine: int, clock: Scratch,
    heap: Places, seg: Places, told: Places, told_at: Scratch, later: Scratch, r: int, one: int, now: float,
) -> None:  # fmt: skip
    """A request leaves: it has its answer, or its client has given up before."""
    mask = run[MASK]
    its, when = row(mask, one), (one & mask) * TIMES
    deadline = at[when + ARRIVED] + waits[TIMEOUT]
    if req[its + STATE] == WAITS_NOW:
        remove(req, mask, rep, mine + WAITING, BEFORE, one)
        rep[mine + QUEUED] -= 1
    else:
        stop(how, req, mask, rep, mine, heap, seg, r, one)
    remove(req, mask, rep, mine + LIVING, OLDER, one)
    req[its + STATE] = DONE
    here, there = run[FINISHED] * TOLD, run[FINISHED] * 4
    told[here + WHICH] = one
    told[here + ENDED] = GAVE_UP if now > deadline or req[its + EMITTED] < req[its + OUTPUT] else ANSWERED
    told[here + TOLD_OUTPUT], told[here + TOLD_CACHED] = req[its + EMITTED], req[its + CACHED]
    told[here + TOLD_PREEMPTED], told[here + TOLD_REPLICA] = req[its + PREEMPTED], r
    told[here + TOLD_PROMPT], told[here + TOLD_READER] = req[its + PROMPT], req[its + READER]
    told_at[there + TOLD_ARRIVED], told_at[there + TOLD_ADMITTED] = at[when + ARRIVED], at[when + ADMITTED]
    told_at[there + TOLD_FIRST], told_at[there + TOLD_END] = at[when + FIRST], min(now, deadline)
    run[FINISHED] += 1
    run[ALIVE] -= 1
    while run[OLDEST] < run[NEXT] and req[row(mask, run[OLDEST]) + STATE] == DONE:
        run[OLDEST] += 1
    if how[CLOSED] > 0:
        later[run[TAIL] % how[CLOSED]] = now + waits[THINK]
        run[TAIL] += 1
    if r >= run[SERVING] and r < how[READERS] and rep[mine + ACTIVE] + rep[mine + QUEUED] == 0:
        switch_off(clock, r, now)


@inner
def switch_off(clock: Scratch, r: int, now: float) -> None:
    """A replica that is wanted no longer has nothing left to do."""
    clock[r * CLOCK + ON_S] += now - clock[r * CLOCK + SINCE]
    clock[r * CLOCK + SINCE] = -1.0


# What a pass has done ------------------------------------------------------------------------------------------------


@inner
def count_gap(gaps: Scratch, gap: float, times: float) -> None:
    """Remember how long sequences waited for a token."""
    octaves = math.log2(max(gap, LEAST_GAP) / LEAST_GAP)
    gaps[2 + min(int(octaves * GAPS_PER_OCTAVE), GAPS - 3)] += times
    gaps[0] += times
    gaps[1] += times * gap


@inner
def count_gaps(rep: Places, mine: int, clock: Scratch, its: int, gaps: Scratch, now: float) -> None:
    """Those who decoded in the step that ends: since the step before, or since their first token."""
    new = min(rep[mine + JOINING], rep[mine + DECODING])
    if rep[mine + DECODING] > new:
        count_gap(gaps, now - clock[its + STEPPED], float(rep[mine + DECODING] - new))
    if new > 0:
        count_gap(gaps, now - clock[its + JOINED_AT] / rep[mine + JOINING], float(new))
    rep[mine + JOINING] = 0
    clock[its + JOINED_AT] = 0.0
    clock[its + STEPPED] = now


@inner
def join(how: Places, req: Places, mask: int, rep: Places, mine: int, heap: Places, r: int, one: int) -> None:
    """A request that has read its prompt decodes from the next step on."""
    its = row(mask, one)
    req[its + STATE], req[its + JOINED] = DECODES, rep[mine + STEP]
    req[its + KEY] = rep[mine + STEP] + req[its + OUTPUT] - req[its + EMITTED]
    rise(heap, r * how[HEAP], req, mask, rep[mine + HEAPED], one)
    rep[mine + HEAPED] += 1
    rep[mine + DECODING] += 1
    rep[mine + KEYS] += req[its + KEY]
    rep[mine + CONTEXT] += req[its + HELD] + 1
    rep[mine + PHASES + (req[its + HELD] - req[its + JOINED]) % how[BLOCK]] += 1


@inner
def send(
    req: Places, mask: int, at: Scratch, rep: Places, mine: int, clock: Scratch, r: int, one: int, now: float
) -> None:
    """A request that has read its prompt here decodes elsewhere: its cache is sent when the link is free, and is here
    until it is there."""
    its, when, sums = row(mask, one), (one & mask) * TIMES, r * CLOCK
    remove(req, mask, rep, mine + RUNNING, BEFORE, one)
    remove(req, mask, rep, mine + LIVING, OLDER, one)
    rep[mine + ACTIVE] -= 1
    req[its + STATE] = SENT
    if rep[mine + SENDING] == NONE:
        clock[sums + SENT_AT] = max(now, clock[sums + LINK_FREE]) + at[when + SENDS]
    at[when + ELIGIBLE] = max(now, clock[sums + LINK_FREE]) + at[when + SENDS]
    clock[sums + LINK_FREE] = at[when + ELIGIBLE]
    append(req, mask, rep, mine + SENDING, BEFORE, one)


@apart
def deliver(
    how: Places, req: Places, mask: int, at: Scratch, rep: Places, clock: Scratch, seg: Places, r: int, there: int,
    now: float,
) -> None:  # fmt: skip
    """The cache at the head of those sent from a replica has come to another, where its request waits to decode."""
    mine, other, segs = r * how[WIDTH], there * how[WIDTH], r * how[SEGMENTS] * SEGMENT_ROW
    one = rep[mine + SENDING]
    its = row(mask, one)
    remove(req, mask, rep, mine + SENDING, BEFORE, one)
    give_back(rep, mine, seg, segs, req, its)
    head = rep[mine + SENDING]
    clock[r * CLOCK + SENT_AT] = math.inf if head == NONE else at[(head & mask) * TIMES + ELIGIBLE]
    if rep[mine + UNDER_WAY] == 0:
        clock[r * CLOCK + WAKE] = min(clock[r * CLOCK + WAKE], now)  # blocks are free
    req[its + STATE], req[its + REPLICA] = WAITS_NOW, there
    append(req, mask, rep, other + WAITING, BEFORE, one)
    insert(req, mask, rep, other + LIVING, OLDER, one)
    rep[other + QUEUED] += 1
    if rep[other + UNDER_WAY] == 0:
        clock[there * CLOCK + WAKE] = min(clock[there * CLOCK + WAKE], now)


@inner
def complete(
    run: Places, how: Places, waits: Scratch, req: Places, at: Scratch, rep: Places, mine: int, clock: Scratch,
    heap: Places, seg: Places, told: Places, told_at: Scratch, later: Scratch, gaps: Scratch, r: int, now: float,
) -> None:  # fmt: skip
    """The pass under way ends: tokens are there, last ones and first ones."""
    mask = run[MASK]
    if rep[mine + STEPPING] == 1:
        gained = rep[mine + GAINED]
        rep[mine + STEP] += gained
        count_gaps(rep, mine, clock, r * CLOCK, gaps, now)
        rep[mine + CONTEXT] += gained * rep[mine + DECODING]
        while rep[mine + HEAPED] > 0 and req[row(mask, heap[r * how[HEAP]]) + KEY] <= rep[mine + STEP]:
            one = heap[r * how[HEAP]]
            end(run, how, waits, req, at, rep, mine, clock, heap, seg, told, told_at, later, r, one, now)
    one = rep[mine + FRESH]
    rep[mine + FRESH] = NONE
    while one != NONE and one != rep[mine + PARTIAL]:
        its, when = row(mask, one), (one & mask) * TIMES
        after = req[its + AFTER]
        if at[when + FIRST] < 0:
            at[when + FIRST] = now
        req[its + EMITTED] += 1
        if req[its + EMITTED] == req[its + OUTPUT]:
            end(run, how, waits, req, at, rep, mine, clock, heap, seg, told, told_at, later, r, one, now)
        elif r < how[READERS] and how[READERS] < how[REPLICAS]:
            send(req, mask, at, rep, mine, clock, r, one, now)
        else:
            join(how, req, mask, rep, mine, heap, r, one)
            rep[mine + JOINING] += 1
            clock[r * CLOCK + JOINED_AT] += now
        one = after
    rep[mine + UNDER_WAY] = 0
