"""Where things stand in the arrays of a simulated server, and the lists and the heap that its requests are in.

A request is known by its number, in the order of arrival. What is known of it stands in a ring of slots, as many as a
power of two, so that memory holds those that are in the system and no others. Of every kind of thing there is one flat
array of whole numbers, and one of times where there are any; the names here are places in a row of it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from roofline.kernels._jit import inner

Scratch: TypeAlias = np.ndarray  # of float64, flat
Places: TypeAlias = np.ndarray  # of int64, flat

NONE = -1

# The run as a whole: `run`.
(NEXT, OLDEST, COUNT, FINISHED, ALIVE, MASK, ROOM, TURN, HEAD, TAIL, SAMPLES, STRIDE, PASSES, SAMPLE_ROOM) = range(14)
RUN = 16

# What was asked of the servers: `how`.
(BLOCK, BLOCKS, MOST, CHUNK, CHUNKED, MIXED, RESERVE, CACHING, REPLICAS, ROUTER, SEGMENTS, CLOSED) = range(12)
HOW = 16

# The same, in seconds: `waits`.
(HOST, LAG, TIMEOUT, THINK, AHEAD) = range(5)
WAITS = 8

# A request: `req`. Before what is shared and after it: what came with the request, and what became of it.
(PROMPT, OUTPUT, SEGMENT, SHARED, EMITTED, HELD, JOINED, HITS, OWN, BEFORE, AFTER, OLDER, YOUNGER, PLACE, KEY) = range(
    15
)
(PREEMPTED, CACHED, STATE, REPLICA) = range(15, 19)
REQUEST = 20
(ARRIVED, ELIGIBLE, ADMITTED, FIRST) = range(4)  # its times: `at`
TIMES = 4

# What a request is doing.
WAITS_NOW, READS, DECODES, DONE = range(4)

# A replica: `rep`. Lists are pairs: the first and the last.
(WAITING, WAITING_LAST, RUNNING, RUNNING_LAST, LIVING, LIVING_LAST, RELEASED, RELEASED_LAST) = range(8)
(QUEUED, ACTIVE, DECODING, CONTEXT, STEP, FREE, PLAIN, PARTIAL, FRESH, HEAPED, STEPPING, JOINING) = range(8, 20)
(PIECES, TOKENS, CAUSE, READ, WRITTEN, KEYS, UNDER_WAY) = range(20, 27)
PHASES = 32  # from here on, as many as a block has tokens
(WAKE, TOOK, STEPPED, JOINED_AT, SQUARES, BEFORE_THEM) = range(6)  # its times, and two sums: `clock`
SPENT = 8  # time by why requests waited
CLOCK = 16

# Why requests wait during a pass: nobody does, KV blocks, the tokens of a pass, the most sequences.
NOBODY, BY_BLOCKS, BY_TOKENS, BY_SEQUENCES = range(4)

# A shared beginning of prompts on a replica: `seg`.
(HELD_BY, RESIDENT, SIZE, BEHIND, SOONER, LATER, WHOLE) = range(7)
SEGMENT_ROW = 8

# What is told of a request that ended: `told`, and its times: `told_at`.
(WHICH, ENDED, TOLD_OUTPUT, TOLD_CACHED, TOLD_PREEMPTED, TOLD_REPLICA, TOLD_PROMPT) = range(7)
TOLD = 8
(TOLD_ARRIVED, TOLD_ADMITTED, TOLD_FIRST, TOLD_END) = range(4)
ANSWERED, GAVE_UP = 0, 1

# A sample of the timeline: `seen`.
(WHEN, SEEN_WAITING, SEEN_RUNNING, SEEN_BLOCKS, SEEN_TOKENS, SEEN_DECODING, SEEN_REPLICA, SEEN_TOOK) = range(8)
SAMPLE = 8

# Gaps between tokens: `gaps` counts them by their logarithm, after their number and their sum.
GAPS, LEAST_GAP, GAPS_PER_OCTAVE = 2048, 2.0**-24, 48


@inner
def row(mask: int, one: int) -> int:
    """Where the row of a request begins."""
    return (one & mask) * REQUEST


# Lists ---------------------------------------------------------------------------------------------------------------


@inner
def append(req: Places, mask: int, ends: Places, first: int, link: int, one: int) -> None:
    """Put a request at the end of the list whose ends stand at `first`, by the links at `link`."""
    mine, last = row(mask, one) + link, ends[first + 1]
    req[mine], req[mine + 1] = last, NONE
    ends[first + 1] = one
    if last == NONE:
        ends[first] = one
    else:
        req[row(mask, last) + link + 1] = one


@inner
def prepend(req: Places, mask: int, ends: Places, first: int, link: int, one: int) -> None:
    """Put a request at the beginning of a list."""
    mine, head = row(mask, one) + link, ends[first]
    req[mine], req[mine + 1] = NONE, head
    ends[first] = one
    if head == NONE:
        ends[first + 1] = one
    else:
        req[row(mask, head) + link] = one


@inner
def remove(req: Places, mask: int, ends: Places, first: int, link: int, one: int) -> None:
    """Take a request out of a list, wherever it stands."""
    mine = row(mask, one) + link
    before, after = req[mine], req[mine + 1]
    if before == NONE:
        ends[first] = after
    else:
        req[row(mask, before) + link + 1] = after
    if after == NONE:
        ends[first + 1] = before
    else:
        req[row(mask, after) + link] = before


# The heap of those who decode: by the step of the replica in which the last token comes -------------------------------


@inner
def sooner(req: Places, mask: int, one: int, other: int) -> bool:
    """Whether a request ends before another; of those that end in one step the first to come goes first."""
    key, against = req[row(mask, one) + KEY], req[row(mask, other) + KEY]
    return key < against or (key == against and one < other)


@inner
def rise(heap: Places, base: int, req: Places, mask: int, place: int, one: int) -> None:
    """Let a request rise from a place until none above ends later."""
    while place > 0:
        above = heap[base + (place - 1) // 2]
        if sooner(req, mask, above, one):
            break
        heap[base + place] = above
        req[row(mask, above) + PLACE] = place
        place = (place - 1) // 2
    heap[base + place] = one
    req[row(mask, one) + PLACE] = place


@inner
def pull(heap: Places, base: int, size: int, req: Places, mask: int, one: int) -> None:
    """Take a request out of a heap of `size`, wherever it stands; the last one fills the gap."""
    place, moved = req[row(mask, one) + PLACE], heap[base + size - 1]
    if moved == one:
        return
    while 2 * place + 1 < size - 1:
        below = 2 * place + 1
        if below + 1 < size - 1 and sooner(req, mask, heap[base + below + 1], heap[base + below]):
            below += 1
        under = heap[base + below]
        if sooner(req, mask, moved, under):
            break
        heap[base + place] = under
        req[row(mask, under) + PLACE] = place
        place = below
    rise(heap, base, req, mask, place, moved)
