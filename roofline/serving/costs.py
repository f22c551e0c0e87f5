"""What a run of servers draws and costs: its chips while they work, while they wait, and the hours they are on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from roofline.estimates import power
from roofline.kernels import serving_state as at_
from roofline.serving.server import ServingEstimate
from roofline.serving.settings import Setting

if TYPE_CHECKING:
    from roofline.serving.runs import Run


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


def mean_devices(run: Run) -> float:
    """Chips that are on, the mean over a run."""
    return sum(setting.devices * float(_on(run, which).mean()) for setting, which in _pools(run))


def shares(run: Run) -> list[Share]:
    """What each pool of a run draws, in the mean over it.

    A chip draws what its pool's passes draw for as long as one is under way, and idles for the rest. Passes of a pool
    that reads are those of the mean prompt, of the others those in which as many sequences are as in the mean.

    Raises
    ------
    NotKnown
        For a chip whose power is not known.
    """
    found = []
    for setting, which in _pools(run):
        on, chip = _on(run, which), setting.static.chip
        passes = run.outcome.clock[which, at_.SPENT : at_.SPENT + at_.CAUSES].sum()
        busy = min(1.0, float(passes) / max(float(on.sum()) * run.duration_s, 1e-12))
        working = _reading_w(setting) if setting.decoders is not None else _decoding_w(run, setting)
        chip_w = busy * working + (1 - busy) * float(power.idle_w(chip))
        found.append(Share(setting, setting.devices * float(on.mean()), chip_w))
    return found


def _pools(run: Run) -> list[tuple[Setting, slice]]:
    """Each pool, and its replicas' rows."""
    found, first = [], 0
    for setting in run.setting.pools:
        found.append((setting, slice(first, first + setting.servers.replicas)))
        first += setting.servers.replicas
    return found


def _on(run: Run, which: slice) -> np.ndarray:
    """Of each replica, the share of the run in which it was on."""
    clock = run.outcome.clock[which]
    end = float(run.outcome.told_at[:, at_.TOLD_END].max())
    since = clock[:, at_.SINCE]
    found: np.ndarray = (clock[:, at_.ON_S] + np.where(since >= 0, end - since, 0.0)) / end
    return found


def _reading_w(setting: Setting) -> float:
    """Watts of a chip that reads prompts."""
    static = setting.static
    return float(power.watts(static.chip, power.load(static.chip, static.prefill)))


def _decoding_w(run: Run, setting: Setting) -> float:
    """Watts of a chip in passes with as many sequences as there are in the mean; alone it reads their prompts too."""
    served = setting.served
    in_flight = max(1, round(run.requests_per_s * run.e2e_s.mean)) if run.answered else 1
    one = ServingEstimate(served.model, served.chip, replace(served.request, batch=in_flight))
    if setting is run.setting:
        return float(one.chip_power_w)
    return float(power.watts(served.chip, power.load(served.chip, one.decoding)))
