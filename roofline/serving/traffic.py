"""Traffic: when requests come, and how long they are.

Two kinds. In an *open loop* requests come at a rate, whatever the server does: the gaps between them are those of a
gamma distribution, whose shape is the burstiness. In a *closed loop* so many clients each send their next request when
the last one is answered (and they have thought about it).

The luck of arrivals, prompts, outputs and prefixes comes from streams of their own, and arrivals are drawn at a rate of
one and then sped up: the same seed at another rate gives the same requests, in the same order, closer together. So
curves over the rate are smooth, and differences between two servers are differences of the servers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.face import NUMBER
from roofline.base.numeric import as_numeric
from roofline.serving.lengths import Lengths, as_lengths

#: Most requests of one run, and most clients of a closed loop.
MOST_REQUESTS = 50_000_000

#: Requests a run has unless told how many or how long.
REQUESTS = 10_000

#: What a language model is asked unless told, as for ``estimate`` (tokens).
PROMPT, OUTPUT = 1024, 256

_SHORTEST, _LONGEST = 1e-9, 1e9  # of a rate, its inverse and a time (1/s, s)


@dataclass(frozen=True)
class Requests:
    """What one seed makes of traffic, in the order of arrival. Arrays of `n` requests are not to be written into.

    Attributes
    ----------
    arrival_s : array of float64
        Seconds after the start, never decreasing. Empty for a closed loop: a client's next request follows its last.
    prompt, output : array of int32
        Tokens; of queries to a recommendation model, empty.
    pairs : array of int32
        User-item pairs of a query to a recommendation model; of language models, empty.
    prefix_id : array of int32
        Which of the shared prefixes the prompt begins with; -1 for none.
    prefix_tokens : array of int32
        Tokens of that prefix, part of the prompt; 0 for none.
    blocks : array of int64
        Names of the prompts' blocks, one request after the other, where a trace says them; else empty. Equal names at
        the beginning of two prompts are equal tokens.
    block_start : array of int64
        Where in `blocks` each request begins, and the end: ``n + 1`` numbers; else empty.
    block_tokens : int
        Tokens of a block; 0 where there are none.
    concurrency : int
        Clients of a closed loop; 0 for an open one.
    think_s : float
        Between an answer and the same client's next request (s).
    timeout_s : float
        After which a client gives up (s); infinite where it never does.
    """

    arrival_s: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    pairs: np.ndarray
    prefix_id: np.ndarray
    prefix_tokens: np.ndarray
    blocks: np.ndarray
    block_start: np.ndarray
    block_tokens: int = 0
    concurrency: int = 0
    think_s: float = 0.0
    timeout_s: float = math.inf

    def __len__(self) -> int:
        return max(len(self.prompt), len(self.pairs))

    def head(self, requests: int) -> Self:
        """The first so many."""
        rows = {
            name: getattr(self, name)[:requests]
            for name in ("arrival_s", "prompt", "output", "pairs", "prefix_id", "prefix_tokens")
        }
        start = self.block_start[: requests + 1]
        return replace(self, **rows, block_start=start, blocks=self.blocks[: start[-1] if start.size else 0])


@dataclass(frozen=True)
class Steps:
    """A rate that changes in steps, such as over a day.

    Attributes
    ----------
    start_s : array
        When each step begins (s), increasing, the first at 0.
    rate : array
        Requests per second during each.
    end_s : float
        When the last one ends.
    """

    start_s: np.ndarray
    rate: np.ndarray
    end_s: float

    @property
    def mean(self) -> float:
        """Requests per second over the whole time."""
        return float(self.expected[-1] / self.end_s)

    @property
    def expected(self) -> np.ndarray:
        """Requests expected until the beginning of each step, and until the end."""
        return np.concatenate([[0.0], np.cumsum(self.rate * np.diff(self.start_s, append=self.end_s))])

    def when(self, count: np.ndarray) -> np.ndarray:
        """The time (s) by which so many requests are expected. What is due in a step of rate 0 comes when it ends."""
        found: np.ndarray = np.interp(count, self.expected, np.append(self.start_s, self.end_s))
        return found

    def until(self, time_s: float) -> float:
        """Requests expected until a time (s)."""
        return float(np.interp(time_s, np.append(self.start_s, self.end_s), self.expected))

    def sped_up(self, factor: float) -> Steps:
        """So many times the requests in the same time."""
        return replace(self, rate=self.rate * factor)


class Traffic:
    """Requests to a server: how many, when, and how long.

    Parameters
    ----------
    rate : number or list
        Requests per second, in an open loop. A list makes an axis: each is run for itself.
    burstiness : number
        Shape of the gamma distribution of the gaps, as ``vllm bench serve --burstiness`` has it: 1 is a Poisson
        process, less comes in bursts, more is more even, ``float("inf")`` is evenly spaced. That command also
        stretches the time so that the last request comes exactly when it is expected; here the draw stays as it is.
    concurrency : number or list
        Clients, in a closed loop. A list makes an axis.
    think_s : number
        What a client of a closed loop waits before it asks again (s; 0).
    prompt, output : number or distribution
        Tokens (1024, 256): a number, ``rl.lognormal(mean, sd)``, ``rl.uniform(low, high)``, ``rl.empirical(lengths)``.
    shared_prefix : number or pair
        Tokens with which every prompt begins; ``(tokens, prefixes)`` where there are several such beginnings, of which
        each request has one at random. They are part of the prompt; of a prompt that is shorter, all.
    pairs : number or distribution
        User-item pairs of a query, for a recommendation model; then without `prompt`, `output` and `shared_prefix`.
    requests : number
        Requests in all (10,000), where there is no `duration_s`.
    duration_s : number
        Seconds during which they come, in an open loop.
    timeout_s : number, optional
        Seconds after which a client gives up. Default, and infinity: never.

    Raises
    ------
    BadWorkload
        For what cannot be, and for both or neither of `rate` and `concurrency`.

    Examples
    --------
    >>> import roofline as rl
    >>> rl.Traffic(rate=8, prompt=1155, output=211, requests=600)
    <Traffic: 600 requests at 8/s, prompt 1155, output 211>
    """

    def __init__(
        self,
        rate: Any = None,
        *,
        burstiness: float = 1.0,
        concurrency: Any = None,
        think_s: float = 0.0,
        prompt: float | Lengths | None = None,
        output: float | Lengths | None = None,
        shared_prefix: Any = 0,
        pairs: float | Lengths | None = None,
        requests: float | None = None,
        duration_s: float | None = None,
        timeout_s: float | None = None,
    ) -> None:
        if (rate is None) == (concurrency is None):
            found = "neither" if rate is None else "both"
            raise BadWorkload(f"Traffic: expected rate (open loop) or concurrency (closed loop), found {found}")
        self.rate: Any = None if rate is None else _rates(rate)
        self.concurrency: Any = None if concurrency is None else _clients(concurrency)
        self.burstiness = math.inf if _endless(burstiness) else between("burstiness", burstiness, 1e-3, 1e6)
        self.think_s = between("think_s", think_s, 0, _LONGEST)
        self.timeout_s = patience(timeout_s)
        if pairs is not None and not (prompt is None and output is None and shared_prefix == 0):
            raise BadWorkload(
                "Traffic: expected pairs (recommendation) or prompt, output and shared_prefix (language), found both"
            )
        self.pairs = None if pairs is None else as_lengths("Traffic: pairs", pairs)
        self.prompt = None if pairs is not None else as_lengths("Traffic: prompt", PROMPT if prompt is None else prompt)
        self.output = None if pairs is not None else as_lengths("Traffic: output", OUTPUT if output is None else output)
        self.shared_prefix = _prefix(shared_prefix)
        self.requests, self.duration_s = self._extent(requests, duration_s)

    def _extent(self, requests: float | None, duration_s: float | None) -> tuple[int | None, float | None]:
        """How many requests, or how long they come."""
        if requests is not None and duration_s is not None:
            raise BadWorkload("Traffic: expected requests or duration_s, found both")
        if duration_s is None:
            if requests is None:
                return (None, self.rate.end_s) if isinstance(self.rate, Steps) else (REQUESTS, None)
            return count("requests", requests), None
        if self.rate is None:
            raise BadWorkload("Traffic: duration_s goes with a rate; of a closed loop say how many requests")
        if isinstance(self.rate, Steps) and duration_s > self.rate.end_s:
            raise BadWorkload(
                f"Traffic: duration_s: expected at most the {self.rate.end_s:g} s of the rates, found {duration_s!r}"
            )
        return None, between("duration_s", duration_s, _SHORTEST, _LONGEST)

    # What it is -----------------------------------------------------------------------------------------------------

    @property
    def axis(self) -> tuple[str, np.ndarray] | None:
        """The name and the values of what was given as a list, `rate` or `concurrency`; None where nothing was."""
        for name in ("rate", "concurrency"):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                return name, value
        return None

    def each(self) -> Iterator[Traffic]:
        """Itself, or one of each value of its axis."""
        if self.axis is None:
            yield self
        else:
            name, values = self.axis
            for value in values.tolist():
                yield self.changed(**{name: value})

    def changed(self, **changes: Any) -> Traffic:
        """The same with some of the parameters changed.

        Raises
        ------
        BadWorkload
        """
        given: dict[str, Any] = {
            "rate": self.rate,
            "burstiness": self.burstiness,
            "concurrency": self.concurrency,
            "think_s": self.think_s,
            "prompt": self.prompt,
            "output": self.output,
            "shared_prefix": self.shared_prefix if self.shared_prefix[0] else 0,
            "pairs": self.pairs,
            "requests": self.requests,
            "duration_s": self.duration_s,
            "timeout_s": self.timeout_s,
        }
        return Traffic(**given | changes)

    def scaled(self, factor: float) -> Traffic:
        """So many times the load: requests come so many times as fast, or as many more clients ask.

        Raises
        ------
        BadWorkload
        """
        by = between("scaled: factor", factor, 1e-6, 1e6)
        if self.concurrency is not None:
            return self.changed(concurrency=np.maximum(1, np.rint(self.concurrency * by)))
        if isinstance(self.rate, Steps):
            return self.changed(rate=self.rate.sped_up(by))
        return self.changed(rate=self.rate * by)

    def head(self, requests: float | None = None, *, seconds: float | None = None) -> Traffic:
        """The first so many requests, or those of the first so many seconds.

        Raises
        ------
        BadWorkload
        """
        if seconds is not None:
            return self.changed(requests=None, duration_s=seconds)
        first = count("head: requests", requests)
        return self.changed(requests=first if self.requests is None else min(first, self.requests), duration_s=None)

    # What a seed makes of it ----------------------------------------------------------------------------------------

    def drawn(self, seed: int = 0) -> Requests:
        """The requests that a seed gives.

        Parameters
        ----------
        seed : int
            Not negative.

        Raises
        ------
        BadWorkload
            For a seed that is none; for traffic with an axis (draw each of :meth:`each`), with too many requests to
            hold, or with none.
        """
        if self.axis is not None:
            raise BadWorkload(f"Traffic: expected one {self.axis[0]}, found {len(self.axis[1])}: draw one at a time")
        arrivals, first, second, prefixes = (np.random.default_rng(s) for s in _seeds(seed))
        arrival_s = np.empty(0) if self.rate is None else self._arrivals(arrivals)
        n = len(arrival_s) if self.requests is None or len(arrival_s) else self.requests
        none, no_blocks = np.empty(0, np.int32), np.empty(0, np.int64)
        sizes = [none if one is None else one.drawn(rng.random(n)) for one, rng in self._sizes(first, second)]
        pairs, prompt, output = sizes
        tokens, kinds = self.shared_prefix
        return Requests(
            arrival_s=arrival_s,
            prompt=prompt,
            output=output,
            pairs=pairs,
            prefix_id=prefixes.integers(kinds, size=n, dtype=np.int32) if tokens else np.full(n, -1, np.int32),
            prefix_tokens=np.minimum(prompt, tokens, dtype=np.int32) if tokens else np.zeros(n, np.int32),
            blocks=no_blocks,
            block_start=no_blocks,
            concurrency=0 if self.concurrency is None else int(self.concurrency),
            think_s=self.think_s,
            timeout_s=self.timeout_s,
        )

    def _sizes(self, *streams: np.random.Generator) -> list[tuple[Lengths | None, np.random.Generator]]:
        first, second = streams
        return [(self.pairs, first), (self.prompt, first), (self.output, second)]

    def _arrivals(self, rng: np.random.Generator) -> np.ndarray:
        """Times of arrival (s), not decreasing."""
        steps = self.rate if isinstance(self.rate, Steps) else None
        if self.requests is not None:
            counts = np.cumsum(self._gaps(rng, self.requests))
            return counts / self.rate if steps is None else steps.when(counts[counts <= steps.expected[-1]])
        duration = self.duration_s or 0.0
        due = duration * self.rate if steps is None else steps.until(duration)
        if due > MOST_REQUESTS:
            raise BadWorkload(
                f"Traffic: expected at most {MOST_REQUESTS:,} requests, found {due:,.3g} in {duration:g} s; "
                "scaled(0.1) and head(seconds=3600) make less of it"
            )
        counts = np.cumsum(self._gaps(rng, int(due) + 64))
        while counts[-1] <= due:
            more = self._gaps(rng, int((due - counts[-1]) * 1.1) + 64)
            counts = np.concatenate([counts, counts[-1] + np.cumsum(more)])
        counts = counts[counts <= due]
        if not counts.size:
            raise BadWorkload(f"Traffic: no request comes in {duration:g} s at {_few(due / duration)}/s")
        return counts / self.rate if steps is None else steps.when(counts)

    def _gaps(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Gaps between arrivals at a rate of one."""
        if math.isinf(self.burstiness):
            return np.ones(n)
        return rng.standard_gamma(self.burstiness, n) / self.burstiness

    def __repr__(self) -> str:
        return f"<Traffic: {self._extent_text()} {self._load_text()}, {self._length_text()}>"

    def _extent_text(self) -> str:
        return f"{self.requests:,} requests" if self.requests is not None else f"{self.duration_s:g} s"

    def _load_text(self) -> str:
        if self.concurrency is not None:
            return f"of {_few(self.concurrency)} clients"
        return f"at {_few(self.rate.mean if isinstance(self.rate, Steps) else self.rate)}/s"

    def _length_text(self) -> str:
        sizes = {"pairs": self.pairs, "prompt": self.prompt, "output": self.output}
        return ", ".join(f"{name} {one.mean:.6g}" for name, one in sizes.items() if one is not None)


def _few(value: Any) -> str:
    values = np.atleast_1d(value)
    return f"{values[0]:g}" if values.size == 1 else f"{values[0]:g} to {values[-1]:g}"


# What is asked ------------------------------------------------------------------------------------------------------


def _seeds(seed: Any) -> list[np.random.SeedSequence]:
    if not (NUMBER.holds(seed) and 0 <= seed < 2**63 and seed == int(seed)):
        raise BadWorkload(f"Traffic: seed: expected a whole number, not negative, found {shown(seed)}")
    return np.random.SeedSequence(int(seed)).spawn(4)


def between(name: str, value: Any, least: float, most: float) -> float:
    """A number within bounds, or the error that says so."""
    if not (NUMBER.holds(value) and least <= value <= most):
        raise BadWorkload(f"Traffic: {name}: expected a number from {least:g} to {most:g}, found {shown(value)}")
    return float(value)


def _endless(value: object) -> bool:
    return isinstance(value, float) and value == math.inf


def patience(timeout_s: Any) -> float:
    """After how many seconds a client gives up; infinite for None."""
    if timeout_s is None or _endless(timeout_s):
        return math.inf
    return between("timeout_s", timeout_s, _SHORTEST, _LONGEST)


def count(name: str, value: Any) -> int:
    """A whole number of requests, or the error that says so."""
    if not (NUMBER.holds(value) and 1 <= value <= MOST_REQUESTS and value == int(value)):
        raise BadWorkload(f"Traffic: {name}: expected a whole number from 1 to {MOST_REQUESTS:,}, found {shown(value)}")
    return int(value)


def _rates(rate: Any) -> Any:
    if isinstance(rate, Steps):
        return rate
    return _one_or_list("rate", rate, "requests per second", _SHORTEST, _LONGEST)


def _clients(concurrency: Any) -> Any:
    found = _one_or_list("concurrency", concurrency, "clients", 1, MOST_REQUESTS)
    if np.any(found != np.rint(found)):
        raise BadWorkload(f"Traffic: concurrency: expected whole numbers of clients, found {shown(concurrency)}")
    return found


def _one_or_list(name: str, value: Any, what: str, least: float, most: float) -> Any:
    found = as_numeric(value, f"Traffic: {name}")
    array = np.asarray(found)
    fine = array.dtype.kind in "iuf" and array.ndim <= 1 and array.size and not isinstance(value, bool)
    if not fine or not ((array >= least) & (array <= most)).all():
        raise BadWorkload(
            f"Traffic: {name}: expected {what}, {least:g} to {most:g}, one or a list of them, found {shown(value)}"
        )
    return array.astype(float) if array.ndim else float(found)


def _prefix(shared: Any) -> tuple[int, int]:
    """Tokens of a shared prefix, and how many of them there are."""
    pair = tuple(shared) if isinstance(shared, tuple | list) else (shared, 1)
    if len(pair) != 2 or not all(NUMBER.holds(one) and one == int(one) for one in pair):
        raise BadWorkload(
            f"Traffic: shared_prefix: expected tokens, or (tokens, how many such prefixes), found {shown(shared)}"
        )
    tokens, kinds = int(pair[0]), int(pair[1])
    if not (0 <= tokens <= MOST_REQUESTS and 1 <= kinds <= MOST_REQUESTS):
        raise BadWorkload(
            f"Traffic: shared_prefix: expected 0 or more tokens and 1 or more of them, found {shown(shared)}"
        )
    return tokens, kinds


__all__ = ["Requests", "Steps", "Traffic"]
