"""What a run of servers draws and costs: its chips while they work, while they wait, and the hours they are on."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from roofline.estimates import power
from roofline.kernels import serving_state as at_
from roofline.serving.loop import Outcome
from roofline.serving.server import ServingEstimate
from roofline.serving.settings import Setting


class Share(NamedTuple):
    """Of a pool of replicas: chips that are on in the mean, and what each of them draws (W)."""

    setting: Setting
    devices: float
    chip_w: float

    @property
    def wall_w(self) -> float:
        """Watts at the wall of all of them, with their share of the servers."""
        return self.devices * float(power.wall_w(self.setting.static.chip, self.chip_w))

    @property
    def hour_usd(self) -> float:
        """USD that all of them cost in an hour."""
        static = self.setting.static
        return self.devices * float(power.hour_usd(static.chip, static.request.terms, self.chip_w))


def mean_devices(setting: Setting, outcome: Outcome) -> float:
    """Chips that are on, the mean over a run."""
    return sum(one.devices * float(_on(outcome, which).mean()) for one, which in _pools(setting))


def shares(setting: Setting, outcome: Outcome, duration_s: float, in_flight: float) -> list[Share]:
    """What each pool of a run draws, in the mean over it.

    A chip draws what its pool's passes draw for as long as one is under way, and idles for the rest. Passes of a pool
    that reads are those of the mean prompt, of the others those in which as many sequences are as in the mean:
    `in_flight` in all. `duration_s` is how long the run took.

    Raises
    ------
    NotKnown
        For a chip whose power is not known.
    """
    found = []
    for one, which in _pools(setting):
        on, chip = _on(outcome, which), one.static.chip
        passes = outcome.clock[which, at_.SPENT : at_.SPENT + at_.CAUSES].sum()
        busy = min(1.0, float(passes) / max(float(on.sum()) * duration_s, 1e-12))
        alone = setting.decoders is None
        working = _reading_w(one) if one.decoders is not None else _decoding_w(one, in_flight, alone)
        chip_w = busy * working + (1 - busy) * float(power.idle_w(chip))
        found.append(Share(one, one.devices * float(on.mean()), chip_w))
    return found


def _pools(setting: Setting) -> list[tuple[Setting, slice]]:
    """Each pool, and its replicas' rows."""
    found, first = [], 0
    for one in setting.pools:
        found.append((one, slice(first, first + one.servers.replicas)))
        first += one.servers.replicas
    return found


def _on(outcome: Outcome, which: slice) -> np.ndarray:
    """Of each replica, the share of the run in which it was on."""
    clock = outcome.clock[which]
    end = float(outcome.told_at[:, at_.TOLD_END].max())
    since = clock[:, at_.SINCE]
    found: np.ndarray = (clock[:, at_.ON_S] + np.where(since >= 0, end - since, 0.0)) / end
    return found


def _reading_w(setting: Setting) -> float:
    """Watts of a chip that reads prompts."""
    static = setting.static
    return float(power.watts(static.chip, power.load(static.chip, static.prefill)))


def _decoding_w(setting: Setting, in_flight: float, alone: bool) -> float:
    """Watts of a chip in passes with as many sequences as there are in the mean; `alone` it reads their prompts too."""
    served = setting.served
    one = ServingEstimate(served.model, served.chip, replace(served.request, batch=max(1, round(in_flight))))
    if alone:
        return float(one.chip_power_w)
    return float(power.watts(served.chip, power.load(served.chip, one.decoding)))
