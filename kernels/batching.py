"""Queries to a recommendation model: they wait until a batch is full or their patience is at an end, and share it.

One queue, first come, first served. A query of more pairs than `split` is cut into parts, nearly alike, that go in
batches of their own; it is answered when the last of them is. A batch leaves

- when the next part would not fit into the most pairs of a batch, or it holds that many;
- or when the first of its parts has waited for the window;
- and not before one of the workers is free, and the pace has passed since the batch before: the pipeline on the chip
  takes the next batch before it has answered the last.

``tests/test_batching.py`` has a naive twin on simpy, to be read first.
"""

from __future__ import annotations

import math

from roofline.kernels._jit import inner
from roofline.kernels.sums import Places, Scratch

#: Places in `how`: queries, clients (0: an open loop), workers, points of the tables, factors. What is written there:
#: the number of batches, the queries whose arrival is known, clients that pause, and of a batch the query and its part
#: that come after it.
QUERIES, CLIENTS, WORKERS, POINTS, FACTORS, BATCHES, KNOWN, PAUSING, NEXT, NEXT_PART = range(10)
HOW = 10

#: Places in `limits`: window (s), most pairs of a batch, pairs above which a query is split, a client's pause (s), and
#: what it waits before it gives up (s). What is written there: when a batch leaves (s), and its pairs.
WINDOW, MOST, SPLIT, THINK, TIMEOUT, LEAVES, SIZE = range(7)
LIMITS = 7

#: In `done`: the client gave up before a batch took all of its query.
GAVE_UP = -1.0


@inner
def between(sizes: Scratch, values: Scratch, points: int, size: float) -> float:
    """The value at a size, on straight lines between the points of a table."""
    low, high = 0, points - 1
    if size <= sizes[0] or points == 1:
        return float(values[0])
    while high - low > 1:
        middle = (low + high) // 2
        if sizes[middle] <= size:
            low = middle
        else:
            high = middle
    return float(values[low] + (values[high] - values[low]) * (size - sizes[low]) / (sizes[high] - sizes[low]))


@inner
def parts_of(pairs: float, split: float) -> int:
    """How many parts a query is cut into."""
    return int(math.ceil(pairs / split))  # noqa: RUF046 (a float where this is compiled)


@inner
def part_size(pairs: float, parts: int, i: int) -> float:
    """Pairs of one of the parts: the first ones have one more where it does not come out even."""
    even = math.floor(pairs / parts)
    return even + (1.0 if i < pairs - even * parts else 0.0)


@inner
def push(heap: Scratch, size: int, time: float) -> None:
    """Put a time into a heap that holds `size` of them."""
    place = size
    while place > 0 and heap[(place - 1) // 2] > time:
        heap[place] = heap[(place - 1) // 2]
        place = (place - 1) // 2
    heap[place] = time


@inner
def pop(heap: Scratch, size: int) -> float:
    """Take the least time out of a heap that holds `size` of them."""
    least, last, place, left = heap[0], heap[size - 1], 0, size - 1
    while 2 * place + 1 < left:
        child = 2 * place + 1
        if child + 1 < left and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= last:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = last
    return float(least)


@inner
def first_free(free: Scratch, workers: int) -> int:
    """The worker that is free first."""
    found = 0
    for i in range(1, workers):
        if free[i] < free[found]:
            found = i
    return found


@inner
def comes(how: Places, arrival: Scratch, clients: Scratch, query: int, last: float) -> bool:
    """Whether a query comes by a time; of a closed loop, the pause of a client ends with it."""
    if query >= how[KNOWN]:
        if how[PAUSING] == 0 or clients[0] > last:
            return False
        arrival[query] = pop(clients, how[PAUSING])
        how[PAUSING] -= 1
        how[KNOWN] = query + 1
    return bool(arrival[query] <= last)


@inner
def gather(
    how: Places,
    limits: Scratch,
    arrival: Scratch,
    pairs: Scratch,
    clients: Scratch,
    head: int,
    part: int,
    soonest: float,
) -> None:
    """Who is in the batch that begins with a part of a query, how large it is, and when it leaves."""
    last = max(soonest, arrival[head] + limits[WINDOW])
    limits[LEAVES], size, query, i = last, 0.0, head, part
    while query < how[QUERIES] and comes(how, arrival, clients, query, last):
        parts = parts_of(pairs[query], limits[SPLIT])
        more = part_size(pairs[query], parts, i)
        if size + more > limits[MOST]:
            limits[LEAVES] = max(soonest, arrival[query])
            break
        size += more
        if size >= limits[MOST]:
            limits[LEAVES] = max(soonest, arrival[query])
        i += 1
        if i == parts:
            query, i = query + 1, 0
        if size >= limits[MOST]:
            break
    limits[SIZE], how[NEXT], how[NEXT_PART] = size, query, i


def serve_queries(
    how: Places,
    limits: Scratch,
    arrival: Scratch,
    pairs: Scratch,
    sizes: Scratch,
    latency: Scratch,
    pace: Scratch,
    factor: Scratch,
    free: Scratch,
    clients: Scratch,
    started: Scratch,
    done: Scratch,
    left: Scratch,
    answered: Scratch,
    filled: Scratch,
) -> None:
    """Serve all queries.

    Parameters
    ----------
    how, limits : array
        See the names above.
    arrival : array
        When each query comes (s), increasing; in a closed loop this is written.
    pairs : array
        Of each query.
    sizes, latency, pace : array
        Pairs of a batch, and what one of that size takes from leaving to its answer and until the next may leave (s).
    factor : array
        What the times of one batch after the other are multiplied by, in a circle.
    free, clients : array
        Scratch: as many as workers and as clients; zeros.
    started, done : array
        Of each query: when its first part left, and when its last part was answered (s); :data:`GAVE_UP` in `done`.
        Zeros to begin with.
    left, answered, filled : array
        Of each batch, as many as parts: when it left, when it was answered (s), and its pairs.
    """
    head, part, batch, paced = 0, 0, 0, 0.0
    how[PAUSING] = how[CLIENTS]
    how[KNOWN] = 0 if how[CLIENTS] > 0 else how[QUERIES]
    while head < how[QUERIES]:
        comes(how, arrival, clients, head, math.inf)
        worker = first_free(free, how[WORKERS])
        soonest = max(free[worker], paced)
        if soonest - arrival[head] > limits[TIMEOUT]:
            done[head] = GAVE_UP
            head, part = head + 1, 0
            continue
        gather(how, limits, arrival, pairs, clients, head, part, soonest)
        leaves, size = limits[LEAVES], limits[SIZE]
        slower = factor[batch % how[FACTORS]]
        ends = leaves + slower * between(sizes, latency, how[POINTS], size)
        free[worker] = ends
        paced = leaves + slower * between(sizes, pace, how[POINTS], size)
        left[batch], answered[batch], filled[batch] = leaves, ends, size
        batch += 1
        while head < how[NEXT] or part < how[NEXT_PART]:
            if part == 0:
                started[head] = leaves
            done[head] = max(done[head], ends)
            if head == how[NEXT]:
                part = how[NEXT_PART]
            else:
                if how[CLIENTS] > 0:
                    push(clients, how[PAUSING], done[head] + limits[THINK])
                    how[PAUSING] += 1
                head, part = head + 1, 0
    how[BATCHES] = batch
