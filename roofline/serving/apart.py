"""Pools apart that serve a load within limits: how many replicas read, how many decode, on which chips and plans.

What a reader holds and what a decoder holds is found for each alone: prompts with one token to write, and outputs whose
prompts are read elsewhere in no time. As many of each as the load takes are then simulated together, the cache sent
over the link, and where that does not hold one more of both is tried.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from roofline.kernels import serving_passes
from roofline.serving.loop import Decoders, Outcome, Servers, simulated
from roofline.serving.passes import Table
from roofline.serving.policies import Policy
from roofline.serving.preparing import MOST_REPLICAS
from roofline.serving.runs import Run
from roofline.serving.settings import Setting

#: Pairs of plans that are simulated together of every pair of chips, those with the fewest chips first, and how often
#: one more replica of both is tried.
_PAIRS, _MORE = 2, 4

#: How long requests come to them, and the most of these: long beside the time that a large system takes to fill.
_SPAN_S, _MANY = 600, 100_000

#: The run of the same requests at the largest rate that holds for a share of them; None where none does.
Largest = Callable[[Run, float], Run | None]


class Side(NamedTuple):
    """Replicas that read, or that decode: what they are, and the requests per second that one of them holds."""

    setting: Setting
    rate: float

    def replicas(self, load: float) -> int:
        """As many as a load takes."""
        return max(1, math.ceil(load / self.rate - 1e-9))

    def devices(self, load: float) -> int:
        """Chips of as many."""
        return self.replicas(load) * self.setting.devices


class Decoding(Run):
    """A run of replicas that only decode: prompts are read elsewhere in no time, and their caches are there at once."""

    @functools.cached_property
    def outcome(self) -> Outcome:
        """What the loop tells."""
        servers = self.setting.servers
        policy = replace(servers.policy, prefix_caching=False)
        others = Decoders(replace(servers, policy=policy), self.table, np.zeros(len(self.drawn)))
        ideal = Servers(Policy(chunk=1 << 20, max_seqs=servers.policy.max_seqs), 1 << 40)
        return simulated(ideal, _no_time(), self.drawn, decoders=others)


def _no_time() -> Table:
    """Passes that take no time."""
    shape = np.zeros(serving_passes.SHAPE, np.int64)
    for to in ("TOKENS_TO", "SCORED_TO", "DECODE_TO", "CONTEXTS_TO", "READS_TO", "PARTS_TO", "PREFIXES_TO", "EACH_HAS"):
        shape[getattr(serving_passes, to)] = 1
    return Table(np.zeros(1), shape)


def reading(run: Run, share: float, largest: Largest) -> Side | None:
    """What a replica of a run holds that only reads; None where it holds nothing."""
    drawn = replace(run.drawn, output=np.ones_like(run.drawn.output))
    within = {name: limit for name, limit in run.slo.items() if name == "ttft_s"}
    servers = replace(run.setting.servers, policy=replace(run.setting.servers.policy, reserve=False))
    setting = replace(run.setting, servers=servers)
    found = largest(Run(setting, drawn, run.traffic, slo=within, seed=run.seed), share)
    return None if found is None else Side(setting, _rate(found))


def decoding(run: Run, share: float, largest: Largest) -> Side | None:
    """The same of one that only decodes."""
    within = {name: limit for name, limit in run.slo.items() if name != "ttft_s"}
    found = largest(Decoding(run.setting, run.drawn, run.traffic, slo=within, seed=run.seed), share)
    return None if found is None else Side(run.setting, _rate(found))


def _rate(run: Run) -> float:
    arrival = run.drawn.arrival_s
    return (len(arrival) - 1) / float(np.ptp(arrival))


def systems(run: Run, readers: Sequence[Side], decoders: Sequence[Side], load: float, share: float) -> list[Run]:
    """Runs of the pairs with the fewest chips that hold a load together, some of every pair of chips.

    Parameters
    ----------
    run : Run
        Of the load: its requests, limits and seed.
    readers, decoders : sequence of Side
    load : float
        Requests per second.
    share : float
        Of the requests that must be answered within the limits.
    """
    pairs = sorted(itertools.product(readers, decoders), key=lambda pair: sum(side.devices(load) for side in pair))
    seen: dict[tuple[str, ...], int] = {}
    found = []
    for pair in pairs:
        chips = tuple(side.setting.static.chip.name for side in pair)
        seen[chips] = seen.get(chips, 0) + 1
        held = _held(run, pair, load, share) if seen[chips] <= _PAIRS else None
        if held is not None:
            found.append(held)
    return found


def _held(run: Run, pair: tuple[Side, Side], load: float, share: float) -> Run | None:
    """The run of a pair with as few replicas as hold a load; None where a few more than each needs alone do not."""
    for more in range(_MORE):
        counts = [side.replicas(load) + more for side in pair]
        if max(counts) > MOST_REPLICAS:
            break
        whole = Run(_together(*pair, counts), run.drawn, run.traffic, run.slo, run.seed)
        tried = whole.sped_up(1.0, least=min(int(load * _SPAN_S), _MANY))
        if not tried.saturated and tried.slo_attainment >= share:
            return tried
    return None


def _together(reads: Side, decodes: Side, counts: Sequence[int]) -> Setting:
    """A setting of so many readers and so many decoders."""
    first, second = (
        replace(side.setting.servers, replicas=count * side.setting.servers.replicas, router="least_loaded")
        for side, count in zip((reads, decodes), counts, strict=True)
    )
    second = replace(second, policy=replace(second.policy, prefix_caching=False))
    return replace(reads.setting, servers=first, decoders=replace(decodes.setting, servers=second))
