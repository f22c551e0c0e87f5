"""Blocks of the KV cache of a simulated server: given out, given back, and kept for prompts that begin alike.

Blocks that nobody holds stand in a queue, in the order in which they were given back, and are given out from its
front: what was used last stays longest (LRU). Those of a shared beginning stand in it together, and can be taken back
out of it; the moment the queue reaches them they are blocks like others. So the queue is a list of shared beginnings,
and between two of them the number of other blocks.
"""

from __future__ import annotations

from roofline.kernels._jit import inner
from roofline.kernels.serving_state import (
    BEHIND,
    BLOCK,
    CACHING,
    FREE,
    HELD,
    HELD_BY,
    HITS,
    LATER,
    NONE,
    OWN,
    PLAIN,
    PROMPT,
    RELEASED,
    RELEASED_LAST,
    RESIDENT,
    SEGMENT,
    SEGMENT_ROW,
    SHARED,
    SIZE,
    SOONER,
    WHOLE,
    Places,
)


@inner
def blocks_of(tokens: int, block: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + block - 1) // block


@inner
def take(rep: Places, mine: int, seg: Places, segs: int, count: int) -> None:
    """Give out blocks, of which there are enough: shared beginnings at the front of the queue are lost."""
    rep[mine + FREE] -= count
    rep[mine + PLAIN] -= count
    while rep[mine + PLAIN] < 0:
        lost = rep[mine + RELEASED]
        its = segs + lost * SEGMENT_ROW
        rep[mine + PLAIN] += seg[its + SIZE] + seg[its + BEHIND]
        seg[its + RESIDENT] = 0
        rep[mine + RELEASED] = seg[its + LATER]
        if seg[its + LATER] == NONE:
            rep[mine + RELEASED_LAST] = NONE
        else:
            seg[segs + seg[its + LATER] * SEGMENT_ROW + SOONER] = NONE


@inner
def give_back(rep: Places, mine: int, seg: Places, segs: int, req: Places, its: int) -> None:
    """All that a request holds: its own blocks, and its part in a shared beginning."""
    rep[mine + FREE] += req[its + OWN]
    last = rep[mine + RELEASED_LAST]
    if last == NONE:
        rep[mine + PLAIN] += req[its + OWN]
    else:
        seg[segs + last * SEGMENT_ROW + BEHIND] += req[its + OWN]
    req[its + OWN] = 0
    if req[its + HITS] > 0:
        req[its + HITS] = 0
        one = req[its + SEGMENT]
        place = segs + one * SEGMENT_ROW
        seg[place + HELD_BY] -= 1
        if seg[place + HELD_BY] == 0:
            seg[place + BEHIND], seg[place + SOONER], seg[place + LATER] = 0, last, NONE
            if last == NONE:
                rep[mine + RELEASED] = one
            else:
                seg[segs + last * SEGMENT_ROW + LATER] = one
            rep[mine + RELEASED_LAST] = one
            rep[mine + FREE] += seg[place + SIZE]


@inner
def hold(rep: Places, mine: int, seg: Places, segs: int, one: int) -> None:
    """Take part in a shared beginning that is there; out of the queue with it, if it stands there."""
    place = segs + one * SEGMENT_ROW
    seg[place + HELD_BY] += 1
    if seg[place + HELD_BY] > 1:
        return
    rep[mine + FREE] -= seg[place + SIZE]
    sooner, later = seg[place + SOONER], seg[place + LATER]
    if sooner == NONE:
        rep[mine + RELEASED] = later
        rep[mine + PLAIN] += seg[place + BEHIND]
    else:
        seg[segs + sooner * SEGMENT_ROW + LATER] = later
        seg[segs + sooner * SEGMENT_ROW + BEHIND] += seg[place + BEHIND]
    if later == NONE:
        rep[mine + RELEASED_LAST] = sooner
    else:
        seg[segs + later * SEGMENT_ROW + SOONER] = sooner


@inner
def found(how: Places, seg: Places, segs: int, req: Places, its: int, tokens: int) -> int:
    """Blocks of the beginning of a request that are there, when it has `tokens` to read: one at least is computed."""
    one = req[its + SEGMENT]
    if how[CACHING] == 0 or one == NONE:
        return 0
    place = segs + one * SEGMENT_ROW
    if seg[place + RESIDENT] == 0:
        return 0
    return min(req[its + SHARED], tokens - 1, seg[place + SIZE] * how[BLOCK]) // how[BLOCK]


@inner
def share(how: Places, seg: Places, segs: int, req: Places, its: int) -> None:
    """Let others have the beginning that a request has read, if it has all of it and nobody let them before."""
    one = req[its + SEGMENT]
    if how[CACHING] == 0 or one == NONE or req[its + HITS] > 0:
        return
    place = segs + one * SEGMENT_ROW
    size = seg[place + WHOLE] // how[BLOCK]
    whole = req[its + SHARED] >= seg[place + WHOLE] and req[its + HELD] >= seg[place + WHOLE]
    if seg[place + RESIDENT] == 1 or not whole or size == 0 or req[its + PROMPT] < seg[place + WHOLE]:
        return
    seg[place + RESIDENT], seg[place + HELD_BY], seg[place + SIZE] = 1, 1, size
    req[its + HITS] = size
    req[its + OWN] -= size
