"""One replica of a server under load: who is let in, who reads, who decodes, who is put back, who is done in a pass.

Called by :mod:`roofline.kernels.serving_loop`, whose docstring says what makes it fast.
"""

from __future__ import annotations

import math

from roofline.kernels._jit import inner
from roofline.kernels.serving_blocks import blocks_of, found, give_back, hold, share, take
from roofline.kernels.serving_passes import pass_time
from roofline.kernels.serving_state import (
    ACTIVE,
    ADMITTED,
    AFTER,
    AHEAD,
    ALIVE,
    ANSWERED,
    ARRIVED,
    BEFORE,
    BEFORE_THEM,
    BLOCK,
    BLOCKS,
    BY_BLOCKS,
    BY_SEQUENCES,
    BY_TOKENS,
    CACHED,
    CAUSE,
    CHUNK,
    CHUNKED,
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
    FREE,
    FRESH,
    GAPS,
    GAPS_PER_OCTAVE,
    GAVE_UP,
    HEAPED,
    HELD,
    HELD_BY,
    HITS,
    JOINED,
    JOINED_AT,
    JOINING,
    KEY,
    KEYS,
    LEAST_GAP,
    LIVING,
    MASK,
    MIXED,
    MOST,
    NEXT,
    NOBODY,
    NONE,
    OLDER,
    OLDEST,
    OUTPUT,
    OWN,
    PARTIAL,
    PASSES,
    PHASES,
    PIECES,
    PREEMPTED,
    PROMPT,
    QUEUED,
    READ,
    READS,
    RESERVE,
    RUNNING,
    RUNNING_LAST,
    SAMPLE,
    SAMPLE_ROOM,
    SAMPLES,
    SEEN_BLOCKS,
    SEEN_DECODING,
    SEEN_REPLICA,
    SEEN_RUNNING,
    SEEN_TOKENS,
    SEEN_TOOK,
    SEEN_WAITING,
    SEGMENT,
    SEGMENT_ROW,
    SEGMENTS,
    SIZE,
    SPENT,
    SQUARES,
    STATE,
    STEP,
    STEPPED,
    STEPPING,
    STRIDE,
    TAIL,
    THINK,
    TIMEOUT,
    TIMES,
    TOKENS,
    TOLD,
    TOLD_ADMITTED,
    TOLD_ARRIVED,
    TOLD_CACHED,
    TOLD_END,
    TOLD_FIRST,
    TOLD_OUTPUT,
    TOLD_PREEMPTED,
    TOLD_PROMPT,
    TOLD_REPLICA,
    TOOK,
    UNDER_WAY,
    WAITING,
    WAITS_NOW,
    WAKE,
    WHEN,
    WHICH,
    WRITTEN,
    Places,
    Scratch,
    append,
    prepend,
    pull,
    remove,
    rise,
    row,
)  # fmt: skip

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
        pull(heap, r * how[MOST], rep[mine + HEAPED], req, mask, one)
        steps = rep[mine + STEP] - req[its + JOINED]
        rep[mine + PHASES + (req[its + HELD] - req[its + JOINED]) % block] -= 1
        req[its + HELD] += steps
        req[its + EMITTED] += steps
        rep[mine + HEAPED] -= 1
        rep[mine + DECODING] -= 1
        rep[mine + CONTEXT] -= req[its + HELD] + 1
        rep[mine + KEYS] -= req[its + KEY]
        if how[RESERVE] == 0:
            req[its + OWN] = blocks_of(req[its + HELD], block) - req[its + HITS]
    elif rep[mine + PARTIAL] == one:
        rep[mine + PARTIAL] = NONE
    give_back(rep, mine, seg, r * how[SEGMENTS] * SEGMENT_ROW, req, its)


@inner
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


@inner
def end(
    run: Places, how: Places, waits: Scratch, req: Places, at: Scratch, rep: Places, mine: int, heap: Places,
    seg: Places, told: Places, told_at: Scratch, later: Scratch, r: int, one: int, now: float,
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
    told[here + TOLD_PROMPT] = req[its + PROMPT]
    told_at[there + TOLD_ARRIVED], told_at[there + TOLD_ADMITTED] = at[when + ARRIVED], at[when + ADMITTED]
    told_at[there + TOLD_FIRST], told_at[there + TOLD_END] = at[when + FIRST], min(now, deadline)
    run[FINISHED] += 1
    run[ALIVE] -= 1
    while run[OLDEST] < run[NEXT] and req[row(mask, run[OLDEST]) + STATE] == DONE:
        run[OLDEST] += 1
    if how[CLOSED] > 0:
        later[run[TAIL] % how[CLOSED]] = now + waits[THINK]
        run[TAIL] += 1


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
    rise(heap, r * how[MOST], req, mask, rep[mine + HEAPED], one)
    rep[mine + HEAPED] += 1
    rep[mine + DECODING] += 1
    rep[mine + KEYS] += req[its + KEY]
    rep[mine + CONTEXT] += req[its + HELD] + 1
    rep[mine + PHASES + (req[its + HELD] - req[its + JOINED]) % how[BLOCK]] += 1


@inner
def complete(
    run: Places, how: Places, waits: Scratch, req: Places, at: Scratch, rep: Places, mine: int, clock: Scratch,
    heap: Places, seg: Places, told: Places, told_at: Scratch, later: Scratch, gaps: Scratch, r: int, now: float,
) -> None:  # fmt: skip
    """The pass under way ends: tokens are there, last ones and first ones."""
    mask = run[MASK]
    if rep[mine + STEPPING] == 1:
        rep[mine + STEP] += 1
        count_gaps(rep, mine, clock, r * CLOCK, gaps, now)
        rep[mine + CONTEXT] += rep[mine + DECODING]
        rep[mine + WRITTEN] += rep[mine + DECODING]
        while rep[mine + HEAPED] > 0 and req[row(mask, heap[r * how[MOST]]) + KEY] == rep[mine + STEP]:
            one = heap[r * how[MOST]]
            end(run, how, waits, req, at, rep, mine, heap, seg, told, told_at, later, r, one, now)
    one = rep[mine + FRESH]
    rep[mine + FRESH] = NONE
    while one != NONE and one != rep[mine + PARTIAL]:
        its, when = row(mask, one), (one & mask) * TIMES
        after = req[its + AFTER]
        if at[when + FIRST] < 0:
            at[when + FIRST] = now
        req[its + EMITTED] += 1
        rep[mine + WRITTEN] += 1
        if req[its + EMITTED] == req[its + OUTPUT]:
            end(run, how, waits, req, at, rep, mine, heap, seg, told, told_at, later, r, one, now)
        else:
            join(how, req, mask, rep, mine, heap, r, one)
            rep[mine + JOINING] += 1
            clock[r * CLOCK + JOINED_AT] += now
        one = after
    rep[mine + UNDER_WAY] = 0


# What the next pass will do -------------------------------------------------------------------------------------------


@inner
def make_room(how: Places, req: Places, mask: int, rep: Places, mine: int, heap: Places, seg: Places, r: int) -> bool:
    """Blocks for one more token of each that decodes, the last admitted evicted until there are; whether any was."""
    evicted = False
    if how[RESERVE] == 1:
        return evicted
    block = how[BLOCK]
    phase = mine + PHASES + (block - rep[mine + STEP] % block) % block
    while rep[phase] > rep[mine + FREE]:
        put_back(how, req, mask, rep, mine, heap, seg, r, rep[mine + RUNNING_LAST])
        evicted = True
    take(rep, mine, seg, r * how[SEGMENTS] * SEGMENT_ROW, rep[phase])
    return evicted


@inner
def read(
    how: Places,
    req: Places,
    mask: int,
    rep: Places,
    mine: int,
    clock: Scratch,
    seg: Places,
    r: int,
    one: int,
    piece: int,
) -> None:
    """Let a request that runs read a piece of its prompt in the pass that is put together."""
    its, sums = row(mask, one), r * CLOCK
    rep[mine + PIECES] += 1
    rep[mine + TOKENS] += piece
    clock[sums + SQUARES] += float(piece) * piece
    clock[sums + BEFORE_THEM] += float(piece) * req[its + HELD]
    req[its + HELD] += piece
    rep[mine + PARTIAL] = NONE
    share(how, seg, r * how[SEGMENTS] * SEGMENT_ROW, req, its)
    if req[its + HELD] < req[its + PROMPT] + req[its + EMITTED]:
        rep[mine + PARTIAL] = one
    elif rep[mine + FRESH] == NONE:
        rep[mine + FRESH] = one


@inner
def read_on(
    how: Places, req: Places, mask: int, rep: Places, mine: int, clock: Scratch, heap: Places, seg: Places, r: int,
    budget: int,
) -> bool:  # fmt: skip
    """Go on with the prompt that is read in pieces; whether its request had to be evicted for want of blocks."""
    one = rep[mine + PARTIAL]
    if one == NONE or budget <= 0:
        return False
    its = row(mask, one)
    piece = min(req[its + PROMPT] + req[its + EMITTED] - req[its + HELD], budget)
    if how[RESERVE] == 0:
        need = blocks_of(req[its + HELD] + piece, how[BLOCK]) - req[its + HITS] - req[its + OWN]
        if need > rep[mine + FREE]:
            put_back(how, req, mask, rep, mine, heap, seg, r, one)
            return True
        take(rep, mine, seg, r * how[SEGMENTS] * SEGMENT_ROW, need)
        req[its + OWN] += need
    read(how, req, mask, rep, mine, clock, seg, r, one, piece)
    return False


@inner
def blocks_kept(how: Places, waits: Scratch, rep: Places, mine: int) -> float:
    """Blocks that are left free for a share of what those who decode have still to write."""
    if waits[AHEAD] == 0:
        return 0.0
    to_write = rep[mine + KEYS] - rep[mine + DECODING] * rep[mine + STEP]
    return waits[AHEAD] * to_write / how[BLOCK]


@inner
def piece_of(how: Places, unread: int, left: int, pieces: int) -> int:
    """How much of a prompt is read in a pass with so many tokens left; where it may not be cut, all or nothing.

    One that is longer than any pass has it for itself.
    """
    if unread <= left:
        return unread
    if how[CHUNKED] == 1:
        return left
    return unread if pieces == 0 and unread > how[CHUNK] else 0


@inner
def admit(
    how: Places, waits: Scratch, req: Places, mask: int, at: Scratch, rep: Places, mine: int, clock: Scratch,
    seg: Places, r: int, budget: int, now: float,
) -> int:  # fmt: skip
    """Let those in who wait, in their order; why the next one has to go on waiting."""
    segs, block = r * how[SEGMENTS] * SEGMENT_ROW, how[BLOCK]
    while True:
        one = rep[mine + WAITING]
        if one == NONE or at[(one & mask) * TIMES + ELIGIBLE] > now:
            return NOBODY
        if rep[mine + ACTIVE] >= how[MOST]:
            return BY_SEQUENCES
        left = budget - rep[mine + TOKENS]
        if left <= 0 or rep[mine + PARTIAL] != NONE:
            return BY_TOKENS
        its = row(mask, one)
        whole = req[its + PROMPT] + req[its + EMITTED]
        hits = found(how, seg, segs, req, its, whole)
        piece = piece_of(how, whole - hits * block, left, rep[mine + PIECES])
        if piece == 0:
            return BY_TOKENS
        held = hits * block + piece
        if how[RESERVE] == 1:
            held = req[its + PROMPT] + req[its + OUTPUT]
        need = blocks_of(held, block) - hits
        free = rep[mine + FREE]
        beginning = segs + req[its + SEGMENT] * SEGMENT_ROW
        if hits > 0 and seg[beginning + HELD_BY] == 0:  # nobody holds it: it is among the free
            free -= seg[beginning + SIZE]
        if need > free or (rep[mine + ACTIVE] > 0 and need + blocks_kept(how, waits, rep, mine) > free):
            return BY_BLOCKS
        remove(req, mask, rep, mine + WAITING, BEFORE, one)
        rep[mine + QUEUED] -= 1
        append(req, mask, rep, mine + RUNNING, BEFORE, one)
        rep[mine + ACTIVE] += 1
        if hits > 0:
            hold(rep, mine, seg, segs, req[its + SEGMENT])
        take(rep, mine, seg, segs, need)
        req[its + OWN], req[its + HITS], req[its + HELD], req[its + STATE] = need, hits, hits * block, READS
        req[its + CACHED] += hits * block
        if at[(one & mask) * TIMES + ADMITTED] < 0:
            at[(one & mask) * TIMES + ADMITTED] = now
        read(how, req, mask, rep, mine, clock, seg, r, one, piece)


@inner
def compose(
    run: Places, how: Places, waits: Scratch, table: Scratch, shape: Places, req: Places, at: Scratch, rep: Places,
    mine: int, clock: Scratch, heap: Places, seg: Places, r: int, now: float,
) -> None:  # fmt: skip
    """Put the next pass together and begin it; where there is nothing to do, say when to look again."""
    mask, sums = run[MASK], r * CLOCK
    rep[mine + PIECES], rep[mine + TOKENS], rep[mine + STEPPING] = 0, 0, 0
    clock[sums + SQUARES], clock[sums + BEFORE_THEM] = 0.0, 0.0
    evicted, budget, cause = False, how[CHUNK], NOBODY
    if how[MIXED] == 1:
        evicted = make_room(how, req, mask, rep, mine, heap, seg, r)
        budget -= rep[mine + DECODING]
    evicted = read_on(how, req, mask, rep, mine, clock, heap, seg, r, budget) or evicted
    if not evicted:
        cause = admit(how, waits, req, mask, at, rep, mine, clock, seg, r, budget, now)
    elif rep[mine + WAITING] != NONE:
        cause = BY_BLOCKS
    if how[MIXED] == 0 and rep[mine + TOKENS] == 0:
        make_room(how, req, mask, rep, mine, heap, seg, r)
    decoding = rep[mine + DECODING] if how[MIXED] == 1 or rep[mine + TOKENS] == 0 else 0
    if decoding == 0 and rep[mine + TOKENS] == 0:
        head = rep[mine + WAITING]
        clock[sums + WAKE] = math.inf if head == NONE else max(now, at[(head & mask) * TIMES + ELIGIBLE])
        return
    took = pass_time(
        table, shape, decoding, rep[mine + CONTEXT], rep[mine + PIECES], rep[mine + TOKENS], clock[sums + SQUARES],
        clock[sums + BEFORE_THEM],
    )  # fmt: skip
    rep[mine + STEPPING] = 1 if decoding > 0 else 0
    rep[mine + UNDER_WAY] = 1
    rep[mine + READ] += rep[mine + TOKENS]
    rep[mine + CAUSE] = cause
    clock[sums + TOOK], clock[sums + WAKE] = took, now + took
    clock[sums + SPENT + cause] += took


@inner
def sample(run: Places, how: Places, rep: Places, mine: int, clock: Scratch, seen: Scratch, r: int, now: float) -> None:
    """Remember the state of a replica at the beginning of every so many passes; of twice as many when room runs out."""
    run[PASSES] += 1
    if run[PASSES] % run[STRIDE] != 0:
        return
    if run[SAMPLES] == run[SAMPLE_ROOM]:
        run[SAMPLES] //= 2
        run[STRIDE] *= 2
        for i in range(run[SAMPLES] * SAMPLE):
            seen[i] = seen[(i // SAMPLE * 2 + 1) * SAMPLE + i % SAMPLE]
        if run[PASSES] % run[STRIDE] != 0:
            return
    here = run[SAMPLES] * SAMPLE
    seen[here + WHEN], seen[here + SEEN_REPLICA] = now, float(r)
    seen[here + SEEN_WAITING], seen[here + SEEN_RUNNING] = float(rep[mine + QUEUED]), float(rep[mine + ACTIVE])
    seen[here + SEEN_BLOCKS] = float(how[BLOCKS] - rep[mine + FREE])
    seen[here + SEEN_TOKENS], seen[here + SEEN_DECODING] = float(rep[mine + TOKENS]), float(rep[mine + DECODING])
    seen[here + SEEN_TOOK] = clock[r * CLOCK + TOOK]
    run[SAMPLES] += 1
