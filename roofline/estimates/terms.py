"""What is paid and what is burned for it: the arguments of an estimate that turn time into watts, dollars and CO2.

None of them changes how fast anything is. ``docs/power.md`` says where the defaults come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import MOST, Numeric, NumericLike, everywhere, number

#: USD for a kWh: the mean of the twelve months of 2025 for industry in the United States (EIA, Electric Power Monthly).
ELECTRICITY = 0.086

#: Watts that a site draws for each watt of its servers. Judgement: between what the largest operators report of
#: themselves (1.1) and the mean of the industry (over 1.5), both from memory.
PUE = 1.2

#: Years over which a purchase is written off. Judgement: operators' accounts have 4 to 6.
AMORTISE_YEARS = 5.0

#: Share of the paid hours in which the system does this work. All of them: what a busy hour costs.
UTILISATION = 1.0

#: Grams of CO2 equivalent for a kWh: the world's mean of 2022 (Ember, Global Electricity Review 2023).
CARBON = 436.0


@dataclass(frozen=True)
class Terms:
    """What a chip and its electricity cost; each a number or an array.

    Attributes
    ----------
    price_per_hour : number or array, optional
        USD for one chip for one hour, its server and electricity with it. It goes before everything else.
    price : number or array, optional
        USD for one chip, bought; its server and network come on top (the chip's ``server.price_factor``).
    electricity : number or array
        USD for a kWh.
    pue : number or array
        Watts that the site draws for each watt of its servers.
    amortise_years : number or array
        Years over which a purchase is written off.
    utilisation : number or array
        Share of the paid hours in which the system does this work; in the others it idles, and is paid for.
    carbon : number or array
        Grams of CO2 for a kWh.
    """

    price_per_hour: Numeric | None = None
    price: Numeric | None = None
    electricity: Numeric = ELECTRICITY
    pue: Numeric = PUE
    amortise_years: Numeric = AMORTISE_YEARS
    utilisation: Numeric = UTILISATION
    carbon: Numeric = CARBON


class TermOptions(TypedDict, total=False):
    """The options of an estimate that are terms: those that :class:`Terms` describes."""

    price_per_hour: NumericLike | None
    price: NumericLike | None
    electricity: NumericLike | None
    pue: NumericLike | None
    amortise_years: NumericLike | None
    utilisation: NumericLike | None
    carbon: NumericLike | None


#: The names of these options.
TERMS = tuple(TermOptions.__annotations__)

#: What each is, for labels: unit and name.
LABELS = {
    "price_per_hour": ("USD", "price of a chip and an hour"),
    "price": ("USD", "price of a chip"),
    "electricity": ("USD/kWh", "price of electricity"),
    "pue": ("1", "power usage effectiveness"),
    "amortise_years": ("years", "years of a purchase"),
    "utilisation": ("1", "share of the paid hours in use"),
    "carbon": ("g/kWh", "grid intensity"),
}

#: What each may be: least, most, and what it is in words.
_WANTED: dict[str, tuple[float, float, str]] = {
    "price_per_hour": (0.0, MOST, "USD for a chip and an hour, not negative"),
    "price": (0.0, MOST, "USD for a chip, not negative"),
    "electricity": (0.0, MOST, "USD for a kWh, not negative"),
    "pue": (1.0, 100.0, "site watts for each watt of its servers, from 1 to 100"),
    "amortise_years": (1e-3, 1e3, "years, from 0.001 to 1000"),
    "utilisation": (1e-6, 1.0, "a fraction above 0 and at most 1"),
    "carbon": (0.0, MOST, "grams of CO2 for a kWh, not negative"),
}


def terms_of(options: Mapping[str, object]) -> Terms:
    """The terms among the options of an estimate; the others are left alone.

    Raises
    ------
    BadWorkload
        For a term that is no number, or none that it can be.
    """
    return Terms(**{name: checked(name, options[name]) for name in TERMS if options.get(name) is not None})


def checked(name: str, value: object) -> Numeric:
    """A term as a float or an array of floats.

    Raises
    ------
    BadWorkload
    """
    least, most, words = _WANTED[name]
    found = number("terms", name, value)
    if isinstance(value, bool) or not everywhere((found >= least) & (found <= most)):
        raise BadWorkload(f"{name}: expected {words}, found {shown(value)}")
    return found if isinstance(found, np.ndarray) else float(found)
