"""Which rows are looked up how often, and which of them a cache holds: popularity by Zipf's law, misses by Che."""

from __future__ import annotations

from math import exp, expm1, log, log1p, sqrt

from roofline.kernels._jit import inner

# 1 - exp(-x) as a sum of clipped ramps, sum of W * min(1, x / T): the best three in relative error, exact at both ends.
T1, T2, T3 = 0.16171477, 0.57880776, 2.53425018
W1, W2, W3 = 0.04045171, 0.27846892, 0.68107937
LOG_T1, LOG_T2, LOG_T3 = log(T1), log(T2), log(T3)
EVEN, UNEVEN = 0.25, 0.5  # skew up to which rows count as equally popular, and from which ramps alone are taken
MARKED = 0.8  # skew from which ramps see fewer distinct rows than there are of equally popular ones
NEWTON_STEPS = 6
LEAST_SLOPE = 1e-3  # of ln(distinct rows) over ln(draws), below which a table is as good as seen
FAR = 1e300  # draws that see every row
INDEX_BYTES = 8.0  # of one lookup's index


@inner
def first_rank(skew: float) -> float:
    """Logarithm of the rank at which a continuum of ranks begins: such that its mass is that of the sum over ranks."""
    return log(0.5 + 0.058 * skew)


@inner
def distinct(draws: float, rows: float, skew: float, first: float, last: float) -> tuple[float, float]:
    """Expected number of distinct rows among `draws` Zipf draws from `rows` rows, and its slope.

    Row r is drawn draws / total * r**-skew times. With ranks as a continuum, a ramp min(1, x / T) counts the ranks
    before its edge once and the others by their draws: closed form. `first` and `last` are the logarithms of the
    outermost ranks. Where popularity hardly differs, the exact form for equal rows takes over.
    """
    even = even_count = even_slope = 0.0
    if skew < UNEVEN:
        even = min(1.0, (UNEVEN - skew) / (UNEVEN - EVEN))
        even_count, even_slope = -rows * expm1(-draws / rows), exp(-draws / rows)
        if even == 1.0:
            return even_count, even_slope
    power = 1.0 - skew
    if abs(power) < 1e-9:
        power = 1e-9  # the integral of 1 / r, near enough
    all_mass = expm1(power * last)
    total = (all_mass - expm1(power * first)) / power
    head = log(draws / total)
    edge1 = min(last, max(first, (head - LOG_T1) / skew))
    edge2 = min(last, max(first, (head - LOG_T2) / skew))
    edge3 = min(last, max(first, (head - LOG_T3) / skew))
    # Share of the draws that fall on ranks beyond each edge, over T.
    slope = W1 / T1 * (all_mass - expm1(power * edge1))
    slope += W2 / T2 * (all_mass - expm1(power * edge2))
    slope += W3 / T3 * (all_mass - expm1(power * edge3))
    slope /= power * total
    count = W1 * exp(edge1) + W2 * exp(edge2) + W3 * exp(edge3) - exp(first) + draws * slope
    return count + even * (even_count - count), slope + even * (even_slope - slope)


@inner
def lookback(held: float, rows: float, skew: float, first: float, last: float) -> float:
    """Draws of which a cache of the `held` last used rows remembers every row: its characteristic time, in draws.

    Newton's method on logarithms: there the curve of distinct rows is concave, and nearly a line, so that it comes from
    below. A cache of all rows remembers for ever.
    """
    if held >= rows:
        return FAR
    draws = held
    count, slope = distinct(draws, rows, skew, first, last)
    for _ in range(NEWTON_STEPS):
        draws *= (max(held / count, 1.0)) ** (1.0 / max(draws * slope / count, LEAST_SLOPE))
        if draws >= FAR:
            return FAR
        count, slope = distinct(draws, rows, skew, first, last)
    return draws


@inner
def least_popular(held: float, rows: float, skew: float, first: float, last: float) -> float:
    """Share of the draws that ask for another row than the `held` most popular ones."""
    even = 1.0 - held / rows
    if skew < EVEN:
        return even
    power = 1.0 - skew
    if abs(power) < 1e-9:
        power = 1e-9
    all_mass = expm1(power * last)
    beyond = (all_mass - expm1(power * log(held + 0.5))) / (all_mass - expm1(power * first))
    return min(1.0, beyond) + max(0.0, (UNEVEN - skew) / (UNEVEN - EVEN)) * (even - min(1.0, beyond))


@inner
def rows_of(lists: float, rows: float, together: float) -> float:
    """Rows that so many different lists cover, each a list of `together` rows at random; lists of one are rows."""
    if together <= 1.0:
        return lists
    return -rows * expm1(-lists * together / rows)


@inner
def lists_over(held: float, rows: float, together: float) -> float:
    """Lists that cover `held` rows: :func:`rows_of` solved for them; as many as there are, where none cover so many."""
    if together <= 1.0:
        return held
    if held >= -rows * expm1(-together):
        return rows
    return min(rows, -rows / together * log1p(-held / rows))


@inner
def since(fresh: float, batch: float, repeat: float) -> float:
    """Draws that hold so many `fresh` ones, where from the second batch on a share of the draws only repeats."""
    return fresh if fresh <= batch else batch + (fresh - batch) / (1.0 - repeat)


@inner
def lookups_missed(
    draws: float,
    rows: float,
    skew: float,
    together: float,
    repeat: float,
    held: float,
    kept: float,
    pinned_share: float,
) -> tuple[float, float]:
    """Distinct rows among the draws, and the lookups that miss the cache.

    Parameters
    ----------
    draws, rows : lookups in a table, rows of the table.
    skew : Zipf exponent.
    together : rows that one draw brings: 1, or a fixed list of so many, of which there are as many as rows, each of
        rows at random. Popular are the lists, and a row may be in several.
    repeat : share of the draws of a batch that repeat those of the batch before, in [0, 1).
    held : rows that the cache has room for while the lookups run, the last used ones.
    kept : rows that it still has of the lookups before, when these begin; at most `held`.
    pinned_share : share of the room in which software keeps the most popular rows for good.

    Notes
    -----
    A cache of the last used rows finds a row if it was drawn within the draws that it looks back on (Che, Tung and
    Wang 2002): as many as it takes to see `held` different ones, and at first, after other work has passed through,
    `kept`. Draw n of these misses with the slope of the curve of distinct rows at min(kept's lookback + n, held's);
    the misses are the integral of that. With nothing kept they follow the curve until the cache is full, with
    everything kept they go on at the slope that they had reached.

    Both what lists bring together and what batches repeat bends the curve, and changes nothing else. D different lists
    cover rows - rows exp(-together D / rows) of the rows. And looking back on N draws, more than a batch of them, is
    looking back on a batch and on the fresh ones among the others: (1 - repeat) of them; a draw that repeats is found
    as soon as the cache looks back on a batch. How batches repeat is taken from FBGEMM's benchmark of table-batched
    embeddings (pytorch/FBGEMM fbgemm_gpu/tbe/utils/requests.py, "inter-batch indices reuse rate", read November 2026).

    No skewed table misses more than one of equally popular rows; where ramps are so rough that they would (by a
    hundredth, or twice as much in a cache of nearly all rows), it misses as many.
    """
    unique, missed = lookups_missed_at(draws, rows, skew, together, repeat, held, kept, pinned_share)
    if EVEN < skew < MARKED:
        most, worst = lookups_missed_at(draws, rows, 0.0, together, repeat, held, kept, pinned_share)
        return min(unique, most), min(missed, worst)
    return unique, missed


@inner
def lookups_missed_at(
    draws: float,
    rows: float,
    skew: float,
    together: float,
    repeat: float,
    held: float,
    kept: float,
    pinned_share: float,
) -> tuple[float, float]:
    """:func:`lookups_missed` as the curve of distinct rows has it, however rough."""
    first, last = first_rank(skew), log(rows + 0.5)
    batch = draws / together
    unique = rows_of(min(batch, rows, distinct(batch, rows, skew, first, last)[0]), rows, together)
    if held <= 0.0:
        return unique, draws
    lists = lists_over(held, rows, together)
    if lists >= rows:
        missed = unique
        if kept >= held or lists_over(kept, rows, together) >= rows:
            return unique, 0.0
    else:
        missed = draws
    full = lookback(lists, rows, skew, first, last)
    seen = seen_rows = 0.0
    if kept > 0.0:
        seen = full
        if kept < held:
            seen = min(full, lookback(lists_over(kept, rows, together), rows, skew, first, last))
        seen_rows = rows_of(distinct(seen, rows, skew, first, last)[0], rows, together)
    begins, fills = since(seen, batch, repeat), since(full, batch, repeat)
    ends = min(fills, begins + batch)
    end = ends if ends <= batch else batch + (1.0 - repeat) * (ends - batch)
    count, slope = distinct(end, rows, skew, first, last)
    if together > 1.0:
        slope *= together * exp(-count * together / rows)
    if ends > batch:
        slope *= 1.0 - repeat
    new = max(0.0, rows_of(count, rows, together) - seen_rows)
    missed = min(missed, new + max(0.0, batch - (ends - begins)) * slope)
    if kept <= 0.0:
        missed = max(missed, unique)
    if pinned_share > 0.0:
        others = least_popular(min(lists, rows), rows, skew, first, last)
        if together > 1.0:  # whose rows are partly those of pinned lists
            others *= max(0.0, 1.0 - held / rows)
        missed += pinned_share * (draws * others - missed)
    return unique, missed


@inner
def lookup_s(in_flight: float, wait_s: float, channel_s: float, channels: float) -> float:
    """Seconds from one lookup to the next where `in_flight` are under way at a time, and the others wait for a place.

    Parameters
    ----------
    in_flight : lookups that are under way at a time.
    wait_s : s that a lookup takes on its own, beside the channel.
    channel_s : s of a channel that it takes, on average over hits and misses.
    channels : of which each miss needs one, at random.

    Notes
    -----
    A closed network of queues, solved as by Schweitzer and Bard (approximate mean value analysis): a lookup that
    arrives at a channel finds what one of the others on average finds there. Few under way: Little's law, wait_s +
    channel_s over in_flight; many: channel_s over the channels; between the two some channels idle while others queue.
    """
    others = max(0.0, in_flight - 1.0) / channels
    whole = wait_s + channel_s * (1.0 + others)
    return (whole + sqrt(max(0.0, whole * whole - 4.0 * wait_s * channel_s * others))) / (2.0 * in_flight)
