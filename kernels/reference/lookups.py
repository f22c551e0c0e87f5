"""Popularity and caches in plain numpy: how many distinct rows, and which lookups miss.

A row's popularity is Zipf's; a cache of the last used rows misses by Che's approximation.
"""

from __future__ import annotations

import numpy as np

INDEX_BYTES = 8
# 1 - exp(-x) is close to the sum of WEIGHT * min(1, x / KNEE), and exact for small and for large x.
KNEE = np.array([0.16171477, 0.57880776, 2.53425018])
WEIGHT = np.array([0.04045171, 0.27846892, 0.68107937])
EVEN, UNEVEN = 0.25, 0.5
MARKED = 0.8
NEWTON_STEPS = 6
LEAST_SLOPE = 1e-3
FAR = 1e300


def distinct(draws, rows, skew):
    """Expected distinct rows U among N draws from R rows, and dU/dN; arrays that broadcast.

    U = sum over rows of 1 - (1 - p)^N ~ sum of 1 - exp(-N p). Uniform rows give R (1 - exp(-N / R)). For Zipf's law
    p(r) = r^-a / H the sum becomes an integral over ranks from x0 to R + 1/2, where x0 is chosen so that the integral
    of r^-a is its sum. One ramp min(1, N p / T) of 1 - exp(-N p) is at 1 up to the rank e where N p(e) = T, and then
    follows the popularity: its integral is (e - x0) + N / T x (share of the popularity beyond e). Ramps are rough for
    nearly equal rows, so up to a skew of 1/4 the uniform formula is taken, up to 1/2 a mean of both.
    """
    draws, rows, skew = np.broadcast_arrays(*(np.asarray(x, float) for x in (draws, rows, skew)))
    even = np.clip((UNEVEN - skew) / (UNEVEN - EVEN), 0.0, 1.0)
    a = np.maximum(skew, EVEN)[..., None]
    power = np.where(np.abs(1 - a) < 1e-9, 1e-9, 1 - a)
    first, last = 0.5 + 0.058 * a, rows[..., None] + 0.5

    def popularity(rank):  # integral of r**-a from 1 to rank
        return np.expm1(power * np.log(rank)) / power

    total = popularity(last) - popularity(first)
    n = draws[..., None]
    edge = np.exp(np.clip(np.log(n / total / KNEE) / a, np.log(first), np.log(last)))
    beyond = (popularity(last) - popularity(edge)) / total
    count = (WEIGHT * (edge - first + n / KNEE * beyond)).sum(-1)
    slope = (WEIGHT / KNEE * beyond).sum(-1)
    even_count, even_slope = -rows * np.expm1(-draws / rows), np.exp(-draws / rows)
    return even * even_count + (1 - even) * count, even * even_slope + (1 - even) * slope


def lookback(held, rows, skew):
    """Draws N at which U(N) = held, by Newton's method in ln U over ln N; FAR where the cache holds every row."""
    held, rows, skew = np.broadcast_arrays(*(np.asarray(x, float) for x in (held, rows, skew)))
    draws = np.where(held > 0, held, 1.0)
    target = draws
    with np.errstate(all="ignore"):
        for _ in range(NEWTON_STEPS):
            count, slope = distinct(draws, rows, skew)
            elasticity = np.maximum(draws * slope / count, LEAST_SLOPE)
            draws = np.minimum(draws * np.maximum(target / count, 1.0) ** (1 / elasticity), FAR)
    return np.where(held >= rows, FAR, draws)


def least_popular(held, rows, skew):
    """Share of the popularity beyond the `held` most popular rows: the integral of r**-a beyond that rank."""
    a = np.maximum(skew, EVEN)
    power = np.where(np.abs(1 - a) < 1e-9, 1e-9, 1 - a)

    def popularity(rank):
        return np.expm1(power * np.log(rank)) / power

    whole = popularity(rows + 0.5) - popularity(0.5 + 0.058 * a)
    zipf = np.minimum(1.0, (popularity(rows + 0.5) - popularity(held + 0.5)) / whole)
    even = np.clip((UNEVEN - skew) / (UNEVEN - EVEN), 0.0, 1.0)
    return even * (1 - held / rows) + (1 - even) * zipf


def lookups_missed(draws, rows, skew, together, repeat, held, kept, pinned_share):
    """Distinct rows among the draws, and the draws that miss.

    A cache of the last used rows that remembers N draws misses the next one at the rate U'(N) (Che, Tung and Wang
    2002). It remembers at most N1, where U(N1) = held, and when the draws begin N0, where U(N0) = kept. So the misses
    are U(N0 + n) - U(N0) while it fills, for n up to N1 - N0, and U'(N1) a draw from then on. Rows that software pins,
    the most popular ones, are missed by the draws of all others.

    Here draws are of lists of `together` rows at random, D(N) different ones among N draws: U = R (1 - exp(-t D / R)),
    and D where U is given is -R / t ln(1 - U / R). With a batch of n draws of which a share `repeat` is that of the
    batch before, N draws hold F = min(N, n) + (1 - repeat) max(0, N - n) fresh ones, and it is D(F(N)).

    Below a skew of MARKED, where ramps may be too rough, misses are no more than those of equally popular rows.
    """
    sizes = (draws, rows, together, repeat, held, kept, pinned_share)
    found, of_equal_rows = (lookups_missed_at(*sizes, skew=popularity) for popularity in (skew, 0.0))
    between = (np.asarray(skew) > EVEN) & (np.asarray(skew) < MARKED)
    unique, missed = (np.where(between, np.minimum(*both), both[0]) for both in zip(found, of_equal_rows, strict=True))
    return unique, missed


def lookups_missed_at(draws, rows, together, repeat, held, kept, pinned_share, skew):
    """:func:`lookups_missed` as U has it, however rough."""
    draws, rows, skew, together, repeat, held, kept, pinned_share = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (draws, rows, skew, together, repeat, held, kept, pinned_share))
    )
    listed, n = together > 1, draws / together
    every = np.where(listed, -rows * np.expm1(-together), rows)  # rows that any list has

    def covered(lists):
        return np.where(listed, -rows * np.expm1(-lists * together / rows), lists)

    def lists_of(size):
        with np.errstate(all="ignore"):
            found = np.minimum(rows, -rows / together * np.log1p(-size / rows))
        return np.where(size >= every, rows, np.where(listed, found, size))

    def draws_of(fresh):
        return np.where(fresh <= n, fresh, n + (fresh - n) / (1 - repeat))

    unique = covered(np.minimum(np.minimum(n, rows), distinct(n, rows, skew)[0]))
    full = lookback(lists_of(held), rows, skew)
    seen = np.where(kept > 0, np.minimum(full, lookback(lists_of(kept), rows, skew)), 0.0)
    with np.errstate(all="ignore"):
        before = np.where(seen > 0, covered(distinct(np.where(seen > 0, seen, 1.0), rows, skew)[0]), 0.0)
        begins, fills = draws_of(seen), draws_of(full)
        ends = np.minimum(fills, begins + n)
        end = np.minimum(ends, n) + (1 - repeat) * np.maximum(0.0, ends - n)
        count, slope = distinct(np.where(end > 0, end, 1.0), rows, skew)
        slope = slope * np.where(listed, together * np.exp(-count * together / rows), 1.0)
        slope = slope * np.where(ends > n, 1 - repeat, 1.0)
        rest = np.maximum(0.0, n - (ends - begins)) * slope
        fits = lists_of(held) >= rows
        missed = np.minimum(np.where(fits, unique, draws), np.maximum(0.0, covered(count) - before) + rest)
    missed = np.where(kept > 0, missed, np.maximum(missed, unique))
    stays = fits & ((kept >= held) | (lists_of(kept) >= rows))
    missed = np.where(stays, 0.0, missed)
    others = least_popular(np.clip(lists_of(held), 0.0, rows), rows, skew)
    others = others * np.where(listed, np.maximum(0.0, 1 - held / rows), 1.0)
    missed = np.where((pinned_share > 0) & ~stays, missed + pinned_share * (draws * others - missed), missed)
    return unique, np.where(held > 0, missed, draws)
