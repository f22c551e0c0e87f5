"""One replica of a server under load: who is let in, who reads, who decodes, who is put back in a pass.

Called by :mod:`roofline.kernels.serving_loop`, whose docstring says what makes it fast.
"""

from __future__ import annotations

import math

from roofline.kernels._jit import apart, inner
from roofline.kernels.serving_blocks import blocks_of, found, hold, share, take
from roofline.kernels.serving_passes import pass_time
from roofline.kernels.serving_requests import join, put_back
from roofline.kernels.serving_state import (
    ACTIVE,
    ADMITTED,
    AHEAD,
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
    CONTEXT,
    DECODING,
    DUE,
    EACH,
    ELIGIBLE,
    EMITTED,
    FIRST,
    FREE,
    FRESH,
    GAIN,
    GAINED,
    HELD,
    HELD_BY,
    HITS,
    JOINED_AT,
    JOINING,
    KEYS,
    MASK,
    MIXED,
    MOST,
    NOBODY,
    NONE,
    OUTPUT,
    OWN,
    PARTIAL,
    PASSES,
    PHASES,
    PIECES,
    PROMPT,
    QUEUED,
    READ,
    READERS,
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
    SENDING,
    SIZE,
    SPENT,
    SQUARES,
    STATE,
    STEP,
    STEPPING,
    STRIDE,
    TIMES,
    TOKENS,
    TOOK,
    UNDER_WAY,
    WAITING,
    WAKE,
    WHEN,
    Places,
    Scratch,
    append,
    remove,
    row,
)

# What the next pass will do -------------------------------------------------------------------------------------------


@apart
def for_drafts(how: Places, rep: Places, mine: int) -> int:
    """Of these blocks, those for the tokens after the first."""
    block, need = how[BLOCK], 0
    for token in range(1, rep[mine + GAINED]):
        need += rep[mine + PHASES + (block - (rep[mine + STEP] + token) % block) % block]
    return need


@inner
def to_step(how: Places, rep: Places, mine: int) -> int:
    """Blocks that the tokens of the next step need: those of the sequences whose last block is full when each comes."""
    block = how[BLOCK]
    need = rep[mine + PHASES + (block - rep[mine + STEP] % block) % block]
    return need if rep[mine + GAINED] == 1 else need + for_drafts(how, rep, mine)


@inner
def make_room(how: Places, req: Places, mask: int, rep: Places, mine: int, heap: Places, seg: Places, r: int) -> bool:
    """Blocks for one more token of each that decodes, the last admitted evicted until there are; whether any was."""
    evicted = False
    if how[RESERVE] == 1:
        return evicted
    while to_step(how, rep, mine) > rep[mine + FREE]:
        put_back(how, req, mask, rep, mine, heap, seg, r, rep[mine + RUNNING_LAST])
        evicted = True
    take(rep, mine, seg, r * how[SEGMENTS] * SEGMENT_ROW, to_step(how, rep, mine))
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
def receive(
    how: Places, req: Places, mask: int, at: Scratch, rep: Places, mine: int, clock: Scratch, heap: Places,
    seg: Places, r: int,
) -> int:  # fmt: skip
    """Let those decode whose cache has come from where they were read; why the next one has to go on waiting."""
    while True:
        one = rep[mine + WAITING]
        if one == NONE or req[row(mask, one) + HELD] == 0:
            return NOBODY
        if rep[mine + ACTIVE] >= how[MOST]:
            return BY_SEQUENCES
        its = row(mask, one)
        need = blocks_of(req[its + HELD], how[BLOCK])
        step = to_step(how, rep, mine) + blocks_of(req[its + HELD] + rep[mine + GAINED], how[BLOCK]) - need
        if how[RESERVE] == 1:
            need, step = blocks_of(req[its + PROMPT] + req[its + OUTPUT], how[BLOCK]), 0
        if rep[mine + ACTIVE] > 0 and need + step > rep[mine + FREE]:
            return BY_BLOCKS
        remove(req, mask, rep, mine + WAITING, BEFORE, one)
        rep[mine + QUEUED] -= 1
        append(req, mask, rep, mine + RUNNING, BEFORE, one)
        rep[mine + ACTIVE] += 1
        take(rep, mine, seg, r * how[SEGMENTS] * SEGMENT_ROW, need)
        req[its + OWN] = need
        join(how, req, mask, rep, mine, heap, r, one)
        rep[mine + JOINING] += 1
        clock[r * CLOCK + JOINED_AT] += at[(one & mask) * TIMES + FIRST]


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
        if req[its + HELD] > 0:  # its cache has come: it reads nothing
            return BY_TOKENS
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
    rep[mine + GAINED] = max(int(clock[sums + DUE] + waits[GAIN]), 1)
    if r >= how[READERS]:
        cause = receive(how, req, mask, at, rep, mine, clock, heap, seg, r)
    if how[MIXED] == 1:
        evicted = make_room(how, req, mask, rep, mine, heap, seg, r)
        budget -= rep[mine + DECODING] * how[EACH]
    evicted = read_on(how, req, mask, rep, mine, clock, heap, seg, r, budget) or evicted
    if evicted and rep[mine + WAITING] != NONE:
        cause = BY_BLOCKS
    elif cause == NOBODY:
        cause = admit(how, waits, req, mask, at, rep, mine, clock, seg, r, budget, now)
    if how[MIXED] == 0 and rep[mine + TOKENS] == 0:
        make_room(how, req, mask, rep, mine, heap, seg, r)
    decoding = rep[mine + DECODING] if how[MIXED] == 1 or rep[mine + TOKENS] == 0 else 0
    if decoding == 0 and rep[mine + TOKENS] == 0:
        head, clock[sums + WAKE] = rep[mine + WAITING], math.inf
        if head != NONE and (cause == NOBODY or evicted or rep[mine + SENDING] == NONE):
            clock[sums + WAKE] = max(now, at[(head & mask) * TIMES + ELIGIBLE])
        return
    took = pass_time(
        table, shape, decoding, rep[mine + CONTEXT], rep[mine + PIECES], rep[mine + TOKENS], clock[sums + SQUARES],
        clock[sums + BEFORE_THEM],
    )  # fmt: skip
    if decoding > 0:
        rep[mine + STEPPING] = 1
        clock[sums + DUE] += waits[GAIN] - rep[mine + GAINED]
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
