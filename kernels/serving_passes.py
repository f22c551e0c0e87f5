"""How long a pass takes: a sum of four parts, read off a table that the operators' costs have filled.

A forward pass runs products, norms and collectives over all its tokens, the output projection over the sequences that
get a token, attention over those that decode, and attention over the pieces of prompts that are read. The first two
are known for every number of tokens and of sequences, the others at knots, and are linear between those.
"""

from __future__ import annotations

from roofline.kernels._jit import inner
from roofline.kernels.serving_state import Places, Scratch

# Where the parts stand in the table, and of how many numbers each is: `shape`.
(LINEAR, TOKENS_TO, SCORED, SCORED_TO, DECODE, DECODE_TO, CONTEXTS, CONTEXTS_TO) = range(8)
(PREFILL, READS, READS_TO, PARTS, PARTS_TO, PREFIXES, PREFIXES_TO) = range(8, 15)
EACH_HAS = 15  # tokens that a sequence that decodes has in a pass: what was drafted is looked at with the next
SHAPE = 16


@inner
def between(table: Scratch, first: int, count: int, value: float) -> float:
    """The place of a value among knots: whole at a knot, and a fraction between two; that of the last beyond it."""
    if value <= table[first]:
        return 0.0
    if value >= table[first + count - 1]:
        return count - 1.0
    low, high = first, first + count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if table[middle] <= value:
            low = middle
        else:
            high = middle
    return low - first + (value - table[low]) / (table[low + 1] - table[low])


@inner
def along(table: Scratch, first: int, stride: int, place: float, last: int) -> float:
    """Of numbers a stride apart, the one at a place."""
    low = min(int(place), last - 1)
    part = place - low
    if last == 0:
        return table[first]
    value = table[first + low * stride]
    return value + part * (table[first + (low + 1) * stride] - value)


@inner
def prefill_time(table: Scratch, shape: Places, tokens: float, squares: float, before: float) -> float:
    """Attention of pieces of prompts (s): their tokens, the sum of their squares, and of each by the tokens before it.

    As many equal pieces as have the same work: a token's share of its own piece, and of what was read before it.
    """
    reads = between(table, shape[READS], shape[READS_TO], squares / tokens)
    parts = between(table, shape[PARTS], shape[PARTS_TO], tokens * tokens / squares)
    prefix = between(table, shape[PREFIXES], shape[PREFIXES_TO], before / tokens)
    across = shape[PREFIXES_TO]
    plane = across * shape[PARTS_TO]
    low = max(min(int(reads), shape[READS_TO] - 2), 0)
    side = max(min(int(parts), shape[PARTS_TO] - 2), 0)
    more, wider = reads - low, parts - side
    corner = shape[PREFILL] + low * plane + side * across
    last = across - 1
    one = along(table, corner, 1, prefix, last)
    if more > 0:
        one += more * (along(table, corner + plane, 1, prefix, last) - one)
    if wider > 0:
        two = along(table, corner + across, 1, prefix, last)
        if more > 0:
            two += more * (along(table, corner + plane + across, 1, prefix, last) - two)
        one += wider * (two - one)
    return one


@inner
def pass_time(
    table: Scratch, shape: Places, decoding: int, context: int, pieces: int, tokens: int, squares: float, before: float
) -> float:
    """Time of a pass (s).

    Parameters
    ----------
    table, shape
        As :mod:`roofline.serving.passes` fills them.
    decoding, context : int
        Sequences that decode, and the tokens that they attend to in all.
    pieces, tokens : int
        Pieces of prompts, and their tokens in all.
    squares, before : float
        Sum over the pieces of their tokens squared, and of their tokens times those before them.
    """
    new = decoding * shape[EACH_HAS]
    time = table[shape[LINEAR] + min(new + tokens, shape[TOKENS_TO] - 1)]
    time += table[shape[SCORED] + min(new + pieces, shape[SCORED_TO] - 1)]
    if decoding > 0:
        place = between(table, shape[CONTEXTS], shape[CONTEXTS_TO], context / decoding)
        first = shape[DECODE] + min(decoding, shape[DECODE_TO] - 1) * shape[CONTEXTS_TO]
        time += along(table, first, 1, place, shape[CONTEXTS_TO] - 1)
    if tokens > 0:
        time += prefill_time(table, shape, tokens, squares, before)
    return time
