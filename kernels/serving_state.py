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
(SERVING, STARTED, TURN_ON) = range(
    14, 17
)  # replicas that requests are sent to, those ordered; turns of those who decode
RUN = 24

# What was asked of the servers: `how`, and a second one of those that decode where others read.
(BLOCK, BLOCKS, MOST, CHUNK, CHUNKED, MIXED, RESERVE, CACHING, REPLICAS, ROUTER, SEGMENTS, CLOSED) = range(12)
# The row of a replica and that of a heap, replicas that requests come to, tokens of a step's sequence, ranks in step.
(WIDTH, HEAP, READERS, EACH, RANKS) = range(12, 17)
HOW = 24

# The same, in seconds: `waits`; and how many tokens a step gives a sequence.
(HOST, LAG, TIMEOUT, THINK, AHEAD, GAIN) = range(6)
WAITS = 8

# How the number of replicas follows the load: `scale`. What was asked (s, requests, replicas), and what is known.
(EVERY, STARTUP, TARGET, COOLDOWN, FEWEST, LARGEST, UNIT) = range(7)  # the unit: lanes that a replica has
(CHECK, CALM_SINCE, CALM_MOST) = range(7, 10)
SCALE = 12

# A request: `req`. Before what is shared and after it: what came with the request, and what became of it.
(PROMPT, OUTPUT, SEGMENT, SHARED, EMITTED, HELD, JOINED, HITS, OWN, BEFORE, AFTER, OLDER, YOUNGER, PLACE, KEY) = range(
    15
)
(PREEMPTED, CACHED, STATE, REPLICA, READER) = range(15, 20)
REQUEST = 20
(ARRIVED, ELIGIBLE, ADMITTED, FIRST, SENDS) = range(5)  # its times: `at`; the last is what sending its cache takes
TIMES = 5

# What a request is doing.
WAITS_NOW, READS, DECODES, DONE, SENT = range(5)

# A replica: `rep`. Lists are pairs: the first and the last.
(WAITING, WAITING_LAST, RUNNING, RUNNING_LAST, LIVING, LIVING_LAST, SENDING, SENDING_LAST) = range(8)
(RELEASED, RELEASED_LAST) = range(8, 10)
(QUEUED, ACTIVE, DECODING, CONTEXT, STEP, FREE, PLAIN, PARTIAL, FRESH, HEAPED, STEPPING, JOINING) = range(10, 22)
(PIECES, TOKENS, CAUSE, READ, WRITTEN, KEYS, UNDER_WAY, GAINED) = range(22, 30)
PHASES = 32  # from here on, as many as a block has tokens
(WAKE, TOOK, STEPPED, JOINED_AT, SQUARES, BEFORE_THEM) = range(6)  # its times, and two sums: `clock`
(SENT_AT, LINK_FREE) = range(6, 8)  # when the cache at the head of those sent is there, and when its link is free
SPENT, CAUSES = 8, 4  # time by why requests waited, and how many reasons there are
(DUE, READY, SINCE, ON_S) = range(12, 16)  # part of a token that is due; when a replica serves, is on since, was on
CLOCK = 16

# Why requests wait during a pass: nobody does, KV blocks, the tokens of a pass, the most sequences.
NOBODY, BY_BLOCKS, BY_TOKENS, BY_SEQUENCES = range(4)

# A shared beginning of prompts on a replica: `seg`.
(HELD_BY, RESIDENT, SIZE, BEHIND, SOONER, LATER, WHOLE) = range(7)
SEGMENT_ROW = 8

# What is told of a request that ended: `told`, and its times: `told_at`.
(WHICH, ENDED, TOLD_OUTPUT, TOLD_CACHED, TOLD_PREEMPTED, TOLD_REPLICA, TOLD_PROMPT, TOLD_READER) = range(8)
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
def insert(req: Places, mask: int, ends: Places, first: int, link: int, one: int) -> None:
    """Put a request into a list that is in the order in which requests came, where it belongs: mostly at the end."""
    before, after = ends[first + 1], NONE
    while before != NONE and before > one:
        after, before = before, req[row(mask, before) + link]
    mine = row(mask, one) + link
    req[mine], req[mine + 1] = before, after
    if before == NONE:
        ends[first] = one
    else:
        req[row(mask, before) + link + 1] = one
    if after == NONE:
        ends[first + 1] = one
    else:
        req[row(mask, after) + link] = one


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
