"""Watts, joules, dollars and grams of CO2: what follows from how busy a chip is, and from what it costs.

A chip draws its idle power, and above it a share of the way to its TDP that goes with its load:

    load = active + compute * MFU + memory * MBU        (while it works; nothing while it waits for other stages)
    power = idle + (TDP - idle) * load                  (never above the TDP)

`active` is the load of a chip that runs kernels at all: clocks up, caches and links awake. `compute` and `memory` are
the loads of the matrix engine and of main memory at the rates of the datasheet. So an operation and a byte cost the
same energy however fast they come. No chip reaches those rates in both at once: where the sum passes 1, the power limit
holds the clocks down, and the sustained efficiencies of the chip have that in them already. Where a chip has a
`typical` power, load becomes watts along two straight lines that meet there, at `typical_load`.

The parameters are figures of the chip or its family (``power.*``, ``server.*``); ``docs/power.md`` says what they were
set on and how far off they are. The server takes its share at any load (``server.power`` where it is known, else
``server.power_share`` of the TDP: host, network, idling fans), and the wall sees all of it times ``server.factor``
(power supplies, fans that follow the heat).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

import numpy as np

from roofline.base.errors import NotKnown, UnknownName
from roofline.base.numeric import Numeric, broadcastable, choose, maximum, minimum
from roofline.estimates import grids
from roofline.estimates.terms import TERMS, TermOptions, Terms, terms_of
from roofline.hardware import limits

if TYPE_CHECKING:
    from roofline.estimates.inference import Phase
    from roofline.estimates.request import Request
    from roofline.hardware.chip import Chip

HOUR_S = 3600.0
YEAR_H = 8766.0
KWH_J = 3.6e6


# One chip --------------------------------------------------------------------------------------------------------


def _needs(chip: Chip, path: str, what: str) -> Numeric:
    value = chip.get(path)
    if value is None:
        raise NotKnown(f"{what} of {chip.name} is not known: neither its descriptor nor its family has {path}")
    return value


def idle_w(chip: Chip) -> Numeric:
    """Watts of a chip with nothing to do: its own figure, or its family's share of the TDP."""
    tdp = _needs(chip, "power.tdp", "the power")
    own = chip.get("power.idle")
    return minimum(own if own is not None else _needs(chip, "power.idle_share", "the power") * tdp, tdp)


def load(chip: Chip, phase: Phase, busy: Numeric = 1.0) -> Numeric:
    """How far a chip is from idle (0) to its TDP (1) while it runs a phase.

    Parameters
    ----------
    chip : Chip
    phase : Phase
    busy : number or array
        Share of the phase's time in which the chip works; else it waits for another stage of a pipeline.
    """
    share = {name: _needs(chip, f"power.{name}_share", "the power") for name in ("active", "compute", "memory")}
    working = phase.time_s / phase.scale  # of the operators alone
    mfu = limits.clock_of(chip) * phase.model_flops_s / working  # of the rate without a limit
    mbu = phase.memory_bytes / (chip.machine["memory_bandwidth"] * working)
    return busy * minimum(share["active"] + share["compute"] * mfu + share["memory"] * mbu, 1.0)


def watts(chip: Chip, load: Numeric) -> Numeric:
    """Watts that a chip draws at a load from 0 to 1, never more than it is held to."""
    return minimum(_free_w(chip, load), chip.get("power.limit_share", 1.0) * chip["power.tdp"])


def _free_w(chip: Chip, load: Numeric) -> Numeric:
    """Watts of a chip that nothing holds below its TDP."""
    idle, tdp = idle_w(chip), chip["power.tdp"]
    typical = chip.get("power.typical")
    if typical is None:
        return idle + (tdp - idle) * load
    at = _needs(chip, "power.typical_load", "the power")
    typical = minimum(maximum(typical, idle), tdp)
    rising = idle + (typical - idle) * load / at
    return choose(load < at, rising, typical + (tdp - typical) * (load - at) / maximum(1 - at, 1e-9))


def wall_w(chip: Chip, chip_w: Numeric) -> Numeric:
    """Watts at the wall for a chip that draws so much: with its share of the server, and what the supplies lose."""
    server = chip.get("server.power")
    if server is None:
        server = _needs(chip, "server.power_share", "the power of the server") * chip["power.tdp"]
    return (chip_w + server) * _needs(chip, "server.factor", "the power of the server")


def price_basis(chip: Chip, terms: Terms) -> tuple[str, Numeric]:
    """What a chip-hour is reckoned from, "hour" or "purchase", and that price (USD).

    What is asked goes before what the descriptor has, and in each a price of an hour before a purchase.

    Raises
    ------
    NotKnown
        Where there is neither.
    """
    found = (
        ("hour", terms.price_per_hour),
        ("purchase", terms.price),
        ("hour", chip.get("price.hour")),
        ("purchase", chip.get("price.purchase")),
    )
    for basis, price in found:
        if price is not None:
            return basis, price
    raise NotKnown(
        f"the price of {chip.name} is not known: give price_per_hour= (USD for a chip and an hour) or price= (USD for "
        "a chip, bought)"
    )


def hour_usd(chip: Chip, terms: Terms, chip_w: Numeric) -> Numeric:
    """USD that one chip costs in a mean paid hour, in part of which it works and draws `chip_w`."""
    basis, price = price_basis(chip, terms)
    if basis == "hour":
        return price
    bought = price * _needs(chip, "server.price_factor", "the price of the server")
    return bought / (terms.amortise_years * YEAR_H) + _site_kwh(chip, terms, chip_w) * terms.electricity


def _site_kwh(chip: Chip, terms: Terms, chip_w: Numeric) -> Numeric:
    """kWh that the site draws for one chip in a mean paid hour: at work for a share of it, idle for the rest."""
    use = terms.utilisation
    mean = use * wall_w(chip, chip_w) + (1 - use) * wall_w(chip, idle_w(chip))
    return mean * terms.pue / 1000


# Estimates -------------------------------------------------------------------------------------------------------


class Powered:
    """What an estimate draws and costs; a mixin. Nothing of it is worked out before it is asked for."""

    #: Figures beside the headline ones, and their units: those of power and money.
    EXTRA: ClassVar[dict[str, str]] = {}

    #: What is counted: ``tokens`` or ``samples``.
    COUNTED: ClassVar[str]

    #: The headline figure that is their rate.
    RATE: ClassVar[str]

    chip: Chip
    request: Request

    @property
    def devices(self) -> Numeric:
        """Chips in all."""
        raise NotImplementedError

    @property
    def _shape(self) -> tuple[int, ...]:
        """The shape of the whole grid."""
        raise NotImplementedError

    def _loads(self) -> list[tuple[Phase, Numeric, Numeric]]:
        """Each phase, what it takes of a mean second, in any unit, and the share of it in which a chip works."""
        raise NotImplementedError

    @functools.cached_property
    def chip_power_w(self) -> Numeric:
        """Mean power of one chip while it does this work (W), as its own sensor reports it."""
        parts = [(weight, watts(self.chip, load(self.chip, phase, busy))) for phase, weight, busy in self._loads()]
        return sum(weight * power for weight, power in parts) / sum(weight for weight, _ in parts)

    @property
    def power_w(self) -> Numeric:
        """Mean power of the system at the wall (W): its chips with their share of host, fans, network and supplies."""
        return self._power_figures["power_w"]

    @property
    def price_basis(self) -> tuple[str, Numeric]:
        """What the cost rests on: ``("hour", USD)``, a rent with everything in it, or ``("purchase", USD)``."""
        return price_basis(self.chip, self.request.terms)

    @functools.cached_property
    def _power_figures(self) -> dict[str, Numeric]:
        return self._of_power(self.chip_power_w, getattr(self, self.RATE))

    @functools.cached_property
    def _money_figures(self) -> dict[str, Numeric]:
        return self._of_money(self.chip_power_w, getattr(self, self.RATE))

    def _of_power(self, chip_w: Numeric, rate: Numeric) -> dict[str, Numeric]:
        """Figures of power, from the power of a chip (W) and what the system gets done (1/s)."""
        wall = self.devices * wall_w(self.chip, chip_w)
        terms = self.request.terms
        each = _site_kwh(self.chip, terms, chip_w) * self.devices / (rate * terms.utilisation * HOUR_S)
        return {
            "chip_power_w": chip_w,
            "power_w": wall,
            f"{self.COUNTED}_per_joule": rate / wall,
            f"co2_g_per_million_{self.COUNTED}": 1e6 * each * terms.carbon,
        }

    def _of_money(self, chip_w: Numeric, rate: Numeric) -> dict[str, Numeric]:
        terms = self.request.terms
        hour = hour_usd(self.chip, terms, chip_w) * self.devices
        return {f"usd_per_million_{self.COUNTED}": 1e6 * hour / (rate * terms.utilisation * HOUR_S)}

    @property
    def unknown(self) -> dict[str, str]:
        """The figures of :attr:`EXTRA` that cannot be given, and what is missing, in words."""
        missing: dict[str, str] = {}
        for name in self.EXTRA:
            try:
                getattr(self, name)
            except NotKnown as error:
                missing[name] = str(error)
        return missing

    def with_terms(self, **terms: Unpack[TermOptions]) -> Self:
        """The same estimate under other terms: prices, electricity, utilisation. Nothing else is worked out again.

        Parameters
        ----------
        **terms
            `price_per_hour`, `price`, `electricity`, `pue`, `amortise_years`, `utilisation`, `carbon`: see
            :class:`roofline.estimates.terms.Terms`.

        Raises
        ------
        BadWorkload, UnknownName
        """
        for name in terms:
            if name not in TERMS:
                raise UnknownName("term", name, TERMS)
        new = dataclasses.replace(self.request.terms, **{n: getattr(terms_of(terms), n) for n in terms})
        request = dataclasses.replace(self.request, terms=new)
        broadcastable(f"{request.dtype} on {self.chip.name}", grids.arrays(request, self.chip))
        twin = self._sharing(request=request)
        twin.__dict__.pop("_shape", None)
        if twin._shape != self._shape:  # samples lie along an axis before those of the grid
            for name in ("_sampled", "_samples"):
                twin.__dict__.pop(name, None)
        return twin

    def _sharing(self, **changes: object) -> Self:
        """A copy with other terms or another chip of the same speed: the phases stay, what it draws and costs goes."""
        twin = copy.copy(self)
        for name in ("chip_power_w", "_power_figures", "_money_figures", "_extra_samples"):
            twin.__dict__.pop(name, None)
        twin.__dict__.update(changes)
        return twin

    def _extra_with_errors(self, rate: np.ndarray, factors: np.ndarray) -> dict[str, Any]:
        """The figures that are known, with the error of the model of power: a factor on the watts above idle."""
        idle, tdp = idle_w(self.chip), self.chip["power.tdp"]
        errors = np.exp(np.log(factors) * self.chip.get("power.spread", 0.0))
        chip_w = np.minimum(idle + (self.chip_power_w - idle) * errors, tdp)
        found = self._of_power(chip_w, rate)
        return found | self._of_money(chip_w, rate) if not self.unknown else found


class TokensPowered(Powered):
    """Of a language model: by output tokens."""

    COUNTED, RATE = "tokens", "tokens_per_s"
    EXTRA: ClassVar = {
        "chip_power_w": "W",
        "power_w": "W",
        "tokens_per_joule": "tokens/J",
        "co2_g_per_million_tokens": "g",
        "usd_per_million_tokens": "USD",
    }

    @property
    def tokens_per_joule(self) -> Numeric:
        """Output tokens for each joule at the wall of the servers."""
        return self._power_figures["tokens_per_joule"]

    @property
    def co2_g_per_million_tokens(self) -> Numeric:
        """Grams of CO2 for a million output tokens: the site's electricity at the grid intensity `carbon`."""
        return self._power_figures["co2_g_per_million_tokens"]

    @property
    def usd_per_million_tokens(self) -> Numeric:
        """USD for a million output tokens; :class:`~roofline.base.errors.NotKnown` where no price is."""
        return self._money_figures["usd_per_million_tokens"]


class SamplesPowered(Powered):
    """Of a recommendation model: by samples, one batch after the other."""

    COUNTED, RATE = "samples", "samples_per_s"
    EXTRA: ClassVar = {
        "chip_power_w": "W",
        "power_w": "W",
        "samples_per_joule": "samples/J",
        "co2_g_per_million_samples": "g",
        "usd_per_million_samples": "USD",
    }

    @property
    def samples_per_joule(self) -> Numeric:
        """Samples for each joule at the wall of the servers."""
        return self._power_figures["samples_per_joule"]

    @property
    def co2_g_per_million_samples(self) -> Numeric:
        """Grams of CO2 for a million samples: the site's electricity at the grid intensity `carbon`."""
        return self._power_figures["co2_g_per_million_samples"]

    @property
    def usd_per_million_samples(self) -> Numeric:
        """USD for a million samples; :class:`~roofline.base.errors.NotKnown` where no price is."""
        return self._money_figures["usd_per_million_samples"]
