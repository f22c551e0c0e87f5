"""A run of a simulated server: what its requests saw, what the server did, and whether it kept up."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import NotKnown
from roofline.base.units import text
from roofline.kernels import serving_state as at_
from roofline.serving import costs, run_tables, saturation
from roofline.serving.loop import Decoders, Outcome, simulated
from roofline.serving.passes import Table
from roofline.serving.percentiles import STATISTICS, Percentiles, figure_of
from roofline.serving.sending import sends_s
from roofline.serving.settings import Setting, fitting
from roofline.serving.traffic import Requests, Traffic

if TYPE_CHECKING:
    import pandas as pd

#: What requests wait for, by the numbers that the loop has for it.
CAUSES = {at_.NOBODY: "arrivals", at_.BY_BLOCKS: "kv", at_.BY_TOKENS: "prefill", at_.BY_SEQUENCES: "max_seqs"}

#: A server is saturated where it answers less than this share of what comes, once it is full.
KEEPS_UP = 0.97


class Run:
    """What became of traffic on simulated servers. Figures are per system unless the name says per chip.

    Parameters
    ----------
    setting : Setting
    drawn : Requests
    traffic : Traffic
        What they were drawn from.
    slo : dict of str to float
        Limits (s) of ``ttft_s``, ``tpot_s``, ``e2e_s``.
    seed : int
    times : str
        Which times of a pass: ``"time_s"``, the expected, ``"lower_s"`` or ``"upper_s"``.
    factor : float
        By which every pass takes longer than that.
    """

    def __init__(
        self,
        setting: Setting,
        drawn: Requests,
        traffic: Traffic,
        slo: Mapping[str, float] | None = None,
        seed: int = 0,
        times: str = "time_s",
        factor: float = 1.0,
    ) -> None:
        self.setting, self.drawn, self.traffic, self.slo, self.seed = setting, drawn, traffic, dict(slo or {}), seed
        self.times, self.factor = times, factor

    # What is asked ----------------------------------------------------------------------------------------------

    @property
    def model(self) -> Any:
        """The model."""
        return self.setting.static.model

    @property
    def chip(self) -> Any:
        """The chip, on its stack."""
        return self.setting.static.chip

    @property
    def plan(self) -> Any:
        """How the model is split over chips."""
        return self.setting.static.request.plan

    @property
    def policy(self) -> Any:
        """What decides who runs."""
        return self.setting.servers.policy

    @property
    def devices(self) -> int:
        """Chips in all; of replicas that come and go, those of as many as there may be."""
        return sum(one.devices for one in self.setting.pools)

    @property
    def pools(self) -> tuple[tuple[str, int, Any], ...]:
        """What the replicas do, ``"reading"`` and ``"decoding"`` or ``"both"``, on how many chips, and on which."""
        pools = self.setting.pools
        names = ("both",) if len(pools) == 1 else ("reading", "decoding")
        return tuple((name, one.devices, one.static.chip) for name, one in zip(names, pools, strict=True))

    @property
    def kv_tokens(self) -> int:
        """Tokens that the KV cache of one replica has room for."""
        return self.setting.servers.blocks * self.policy.block

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken where nothing was asked, and what rests on too few requests, a sentence each."""
        few = [f"{name}: {note}" for name in ("ttft_s",) if (note := getattr(self, name).note)]
        blocks: tuple[str, ...] = ()
        if self.drawn.block_tokens:
            blocks = ("names of blocks are not looked at: prompts that begin alike are read each for itself",)
        return (*self.setting.static.request.notes, *blocks, *few)

    # What happened ----------------------------------------------------------------------------------------------

    @functools.cached_property
    def table(self) -> Table:
        """Times of passes."""
        return self._table(self.setting)

    def _table(self, setting: Setting) -> Table:
        table = setting.passes.tables[self.times]
        return table if self.factor == 1.0 else table.times(self.factor)

    @functools.cached_property
    def outcome(self) -> Outcome:
        """What the loop tells."""
        fitting(self.setting, self.drawn)
        other = self.setting.decoders
        decoders = None
        if other is not None:
            decoders = Decoders(other.servers, self._table(other), sends_s(self.setting, self.drawn.prompt))
        return simulated(self.setting.servers, self.table, self.drawn, decoders=decoders)

    @functools.cached_property
    def _order(self) -> np.ndarray:
        """Requests in the order of arrival."""
        return np.argsort(self.outcome.told[:, at_.WHICH], kind="stable")

    @functools.cached_property
    def _told(self) -> np.ndarray:
        return self.outcome.told[self._order]

    @functools.cached_property
    def _at(self) -> np.ndarray:
        return self.outcome.told_at[self._order]

    @functools.cached_property
    def _answered(self) -> np.ndarray:
        return self._told[:, at_.ENDED] == at_.ANSWERED

    @functools.cached_property
    def _seen(self) -> dict[str, np.ndarray]:
        """Of every request in the order of arrival, what it saw (s); NaN where it never came to it."""
        arrived, _, first, end = self._at.T
        output = self._told[:, at_.TOLD_OUTPUT]
        known = first >= 0
        ttft = np.where(known, first - arrived, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            tpot = np.where(known & (output > 1), (end - first) / (output - 1), np.nan)
        e2e = np.where(self._answered, end - arrived, np.nan)
        return {"ttft_s": ttft, "tpot_s": np.where(self._answered, tpot, np.nan), "e2e_s": e2e}

    def _percentiles(self, name: str) -> Percentiles:
        values = self._seen[name][self._answered]
        return Percentiles([values[~np.isnan(values)]])

    @functools.cached_property
    def ttft_s(self) -> Percentiles:
        """Time to first token (s) of the requests that were answered, from their arrival on."""
        return self._percentiles("ttft_s")

    @functools.cached_property
    def tpot_s(self) -> Percentiles:
        """Time per output token after the first (s), the mean of each request."""
        return self._percentiles("tpot_s")

    @functools.cached_property
    def e2e_s(self) -> Percentiles:
        """From the arrival of a request to its last token (s)."""
        return self._percentiles("e2e_s")

    @functools.cached_property
    def itl_s(self) -> Percentiles:
        """Gaps between tokens (s), each token by itself.

        They are counted in classes of 1.5 %. The gap of a request that was evicted and came back is not among them.
        """
        counts = self.outcome.gaps[2:]
        there = np.flatnonzero(counts)
        middles = at_.LEAST_GAP * 2.0 ** ((there + 0.5) / at_.GAPS_PER_OCTAVE)
        return Percentiles([middles], [counts[there]])

    @property
    def answered(self) -> int:
        """Requests that were answered."""
        return int(self._answered.sum())

    @property
    def gave_up(self) -> int:
        """Requests whose clients had gone before the answer was complete."""
        return int((~self._answered).sum())

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last answer (s)."""
        return float(self._at[:, at_.TOLD_END].max() - self._at[:, at_.TOLD_ARRIVED].min())

    @property
    def requests_per_s(self) -> float:
        """Requests answered in a second."""
        return self.answered / self.duration_s

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of the requests that were answered, in a second."""
        return float(self._told[self._answered, at_.TOLD_OUTPUT].sum()) / self.duration_s

    @property
    def total_tokens_per_s(self) -> float:
        """Prompt and output tokens of the requests that were answered, in a second."""
        both = self._told[self._answered][:, [at_.TOLD_OUTPUT, at_.TOLD_PROMPT]]
        return float(both.sum()) / self.duration_s

    @property
    def tokens_per_s_per_chip(self) -> float:
        """`tokens_per_s` over the number of chips that were on."""
        return self.tokens_per_s / self.mean_devices

    @property
    def cached_share(self) -> float:
        """Share of the prompts' tokens that the prefix cache had."""
        return float(self._told[:, at_.TOLD_CACHED].sum() / self._told[:, at_.TOLD_PROMPT].sum())

    @property
    def preemptions(self) -> int:
        """How often a request was evicted for want of blocks."""
        return int(self._told[:, at_.TOLD_PREEMPTED].sum())

    # Whether it is good enough -----------------------------------------------------------------------------------

    @functools.cached_property
    def _good(self) -> np.ndarray:
        good = self._answered.copy()
        for name, limit in self.slo.items():
            values = self._seen[name]
            good &= np.isnan(values) & (name == "tpot_s") | (values <= limit)  # one token has no time per token
        return good

    @property
    def slo_attainment(self) -> float:
        """Share of all requests that were answered within the limits."""
        return float(self._good.mean())

    @property
    def goodput(self) -> float:
        """Requests answered within the limits, in a second."""
        return float(self._good.sum()) / self.duration_s

    @functools.cached_property
    def saturated(self) -> bool:
        """Whether requests come faster than they are answered, so that the queue grows as long as they come.

        Looked at while they come, from the middle on; a closed loop is never so, as its clients wait.
        """
        if self.drawn.concurrency:
            return False
        arrived, ended = self._at[:, at_.TOLD_ARRIVED], np.sort(self._at[:, at_.TOLD_END])
        last, middle = float(arrived.max()), float(np.median(arrived))
        came, before = int((arrived > middle).sum()), int(np.searchsorted(ended, middle, side="right"))
        went = int(np.searchsorted(ended, last, side="right")) - before
        inside = len(arrived) - came - before
        # How many are inside changes by luck: by their root, and three of these are no luck.
        grew = came - went > (1 - KEEPS_UP) * came + 3 * np.sqrt(2 * inside + 1)
        return bool(grew or self.gave_up > (1 - KEEPS_UP) * len(arrived))

    @functools.cached_property
    def saturation_rate(self) -> float:
        """The rate (1/s) from which on the same requests, coming faster or slower, saturate the servers, within 2 %.

        Of a closed loop the rate at which its clients are answered.

        Raises
        ------
        NotKnown
            Where there are too few requests for a queue to show: they all find room at once.
        """
        return self.requests_per_s if self.drawn.concurrency else saturation.rate(self)

    def sped_up(self, factor: float, least: int = 0) -> Run:
        """The same requests, so many times as fast, again and again until they are enough for a queue to show.

        And until they are `least`.
        """
        drawn = saturation.faster(self.drawn, factor, least)
        return type(self)(self.setting, drawn, self.traffic, self.slo, self.seed, self.times, self.factor)

    @functools.cached_property
    def waited_for(self) -> dict[str, float]:
        """Shares of the time of all passes by what the next request waited for.

        ``arrivals`` (nobody waited), ``kv`` (blocks of the KV cache), ``prefill`` (tokens of a pass), ``max_seqs``.
        """
        spent = self.outcome.clock[:, at_.SPENT : at_.SPENT + len(CAUSES)].sum(axis=0)
        return {name: float(spent[code] / spent.sum()) for code, name in CAUSES.items()}

    @property
    def busy_share(self) -> float:
        """Share of the time in which a pass is under way, the mean over replicas."""
        spent = self.outcome.clock[:, at_.SPENT : at_.SPENT + len(CAUSES)]
        return float(spent.sum() / len(spent) / self.duration_s)

    # What it draws and costs -------------------------------------------------------------------------------------

    @functools.cached_property
    def mean_devices(self) -> float:
        """Chips that were on, the mean over the run: fewer than `devices` where replicas come and go."""
        return costs.mean_devices(self.setting, self.outcome)

    @functools.cached_property
    def _shares(self) -> list[costs.Share]:
        in_flight = self.requests_per_s * self.e2e_s.mean if self.answered else 0.0
        return costs.shares(self.setting, self.outcome, self.duration_s, in_flight)

    @property
    def power_w(self) -> float:
        """Mean power of the system at the wall (W), with what its chips draw while they wait for requests.

        Raises
        ------
        NotKnown
        """
        return sum(one.wall_w for one in self._shares)

    @property
    def tokens_per_joule(self) -> float:
        """Output tokens of the requests that were answered, for a joule at the wall."""
        return self.tokens_per_s / self.power_w

    @property
    def usd_per_hour(self) -> float:
        """What the system costs in an hour (USD).

        Raises
        ------
        NotKnown
            Where a chip has no price, and none was given.
        """
        return sum(one.hour_usd for one in self._shares)

    @property
    def usd_per_million_tokens(self) -> float:
        """What a million output tokens cost (USD)."""
        return self.usd_per_hour / (self.tokens_per_s * 3600) * 1e6

    @property
    def bound(self) -> str:
        """What requests waited for most of the time; ``"arrivals"`` where the servers mostly waited for requests."""
        shares = self.waited_for
        return max(shares, key=lambda name: shares[name])

    # Tables ------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def requests(self) -> pd.DataFrame:
        """Each request in the order of arrival: when it came, was let in, had its first token and its end (s)."""
        return run_tables.requests(self._told, self._at, self._seen, apart=self.setting.decoders is not None)

    @functools.cached_property
    def timeline(self) -> pd.DataFrame:
        """The state of a replica at the beginning of passes, some thousands of them, evenly chosen."""
        pools = [one.servers for one in self.setting.pools]
        blocks = np.repeat([one.blocks for one in pools], [one.replicas for one in pools])
        return run_tables.timeline(self.outcome.samples, blocks)

    # How sure ----------------------------------------------------------------------------------------------------

    def _again(self, **changes: Any) -> Run:
        given = {"slo": self.slo, "seed": self.seed, "times": self.times, "factor": self.factor}
        return Run(self.setting, self.drawn, self.traffic, **{**given, **changes})

    @functools.cached_property
    def lower(self) -> Run:
        """The same requests where every pass takes its lower bound: what no machine of that description can beat."""
        return self._again(times="lower_s")

    @functools.cached_property
    def upper(self) -> Run:
        """The same requests where nothing of a pass overlaps, and every overhead is paid."""
        return self._again(times="upper_s")

    def figure(self, name: str) -> float:
        """A figure by its name: ``"goodput"``, ``"ttft_s.p99"``.

        Raises
        ------
        UnknownName
        """
        return figure_of(self, name, tuple(FIGURES), tuple(SEEN))

    def interval(self, level: float = 0.9, figure: str = "ttft_s.mean", seeds: int = 1) -> tuple[float, float]:
        """Where a figure lies, as far as the model's error and the luck of arrivals go.

        All passes take longer, or less long, by what the model errs in a step; of each so many seeds are run, and the
        lowest and the highest figure are returned.

        Parameters
        ----------
        level : float
            How often the interval of the times of passes holds.
        figure : str
            As for :meth:`figure`.
        seeds : int
            Draws of the traffic, this run's first.
        """
        low, high = self.setting.served.interval(level, "tpot_s")
        expected = self.setting.served.tpot_s
        found = [self.figure(figure)]
        for seed in range(self.seed, self.seed + max(1, seeds)):
            drawn = self.drawn if seed == self.seed else self.traffic.drawn(seed)
            for factor in (float(low / expected), float(high / expected)):
                one = Run(self.setting, drawn, self.traffic, self.slo, seed, self.times, self.factor * factor)
                found.append(one.figure(figure))
        return min(found), max(found)

    def as_dict(self) -> dict[str, object]:
        """The figures by name, as ``vllm bench serve`` names those that it has."""
        out: dict[str, object] = {
            "completed": self.answered,
            "failed": self.gave_up,
            "duration": self.duration_s,
            "request_throughput": self.requests_per_s,
            "request_goodput": self.goodput,
            "output_throughput": self.tokens_per_s,
            "total_token_throughput": self.total_tokens_per_s,
        }
        for name in SEEN:
            found = getattr(self, name)
            for part in STATISTICS:
                stat = {"p50": "median"}.get(part, part)
                key = f"{stat}_{name.removesuffix('_s')}_ms"
                out[key.replace("e2e", "e2el")] = 1e3 * getattr(found, part) if found.count else None
        return {
            **out,
            "slo_attainment": self.slo_attainment,
            "saturated": self.saturated,
            "bound": self.bound,
            "cached_share": self.cached_share,
            "preemptions": self.preemptions,
            "kv_tokens": self.kv_tokens,
            "devices": self.devices,
            **{name: known(self, name) for name in ("power_w", "tokens_per_joule", "usd_per_million_tokens")},
        }

    def __repr__(self) -> str:
        what = f"{self.model.name} on {self.devices} x {self.chip.name}, {len(self._told):,} requests"
        if not self.answered:
            return f"<Run: {what}: none answered>"
        full = "; saturated" if self.saturated else ""
        return (
            f"<Run: {what}: TTFT p50 {text(self.ttft_s.p50, 's', 3)}, p99 {text(self.ttft_s.p99, 's', 3)}, "
            f"{self.requests_per_s:,.3g} requests/s, {self.tokens_per_s:,.0f} tokens/s{full}>"
        )


def known(run: Run, figure: str) -> float | None:
    """A figure, or None where a price or a power that it rests on is not known, or nothing was answered."""
    try:
        return float(getattr(run, figure))
    except (NotKnown, ZeroDivisionError):
        return None


#: The figures of a run that are numbers, with their units, and those that are distributions.
FIGURES = {
    "requests_per_s": "1/s",
    "tokens_per_s": "tokens/s",
    "total_tokens_per_s": "tokens/s",
    "tokens_per_s_per_chip": "tokens/s",
    "goodput": "1/s",
    "slo_attainment": "1",
    "saturation_rate": "1/s",
    "cached_share": "1",
    "preemptions": "1",
    "busy_share": "1",
    "duration_s": "s",
    "mean_devices": "1",
    "power_w": "W",
    "tokens_per_joule": "tokens/J",
    "usd_per_hour": "USD/h",
    "usd_per_million_tokens": "USD",
}
SEEN = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
