"""Inverse questions about servers: what it takes to reach a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit, shown
from roofline.base.face import NUMBER, takes
from roofline.base.numeric import MOST, Numeric, as_numeric, maximum
from roofline.base.units import text
from roofline.catalog.load import CHIP, MODEL, Name, as_chip, as_model
from roofline.estimates.request import refuse_unknown, whole
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving.server import ServingEstimate
from roofline.serving.steady import SERVING, LoadOptions, serve
from roofline.work.parallel import Plan

if TYPE_CHECKING:
    import pandas as pd

#: Requests in flight that are tried first, for each of the lanes that share no pass; then as many between two of them.
_COARSE = 2.0 ** np.arange(15)
_FINE = 16

_COLUMNS = (
    "tp",
    "concurrency",
    "replicas",
    "chips",
    "ttft_s",
    "tpot_s",
    "tokens_per_s",
    "tokens_per_s_per_chip",
    "bound",
)


@takes(model=MODEL, chip=CHIP)
def fewest_chips(
    model: LanguageModel | Name,
    chip: Chip | Name,
    *,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    tokens_per_s: float | None = None,
    most: int = 64,
    **options: Unpack[LoadOptions],
) -> pd.DataFrame:
    """How many chips serve a language model within latency and throughput targets.

    Every tensor-parallel width that suits the model, in powers of two up to `most`, serves as many requests at a time
    (in-flight batching, see :func:`roofline.serve`) as the limits and the memory allow.

    Parameters
    ----------
    model : LanguageModel or str
        A model, or its name or path.
    chip : Chip or str
        A chip, or its name or path.
    ttft_s, tpot_s : float, optional
        Latency limits (s). Requests that wait for others' prompts are over any `ttft_s`.
    tokens_per_s : float, optional
        Output tokens per second that the whole must reach; replicas are added until it does.
    most : int
        Widest tensor parallelism to try.
    **options
        As for :func:`roofline.serve`, one value each, without `tp` and `concurrency`.

    Returns
    -------
    DataFrame
        The best load of each width that meets the limits: `tp`, `concurrency` (requests in flight on a replica),
        `replicas`, `chips` of all of them, and the figures of one replica; fewest chips first. Where nothing meets the
        limits it is empty, and ``attrs["why"]`` names the limit that failed and the best there is (else it is "").

    Raises
    ------
    BadWorkload, UnknownName
        For a model that has no tokens, and for options and limits that cannot be.

    Examples
    --------
    >>> import roofline as rl
    >>> plans = rl.fewest_chips("llama-3.1-8b", "h100-sxm", tpot_s=0.02, most=2)
    >>> int(plans.iloc[0]["chips"])
    1
    >>> rl.fewest_chips("llama-3.1-8b", "h100-sxm", tpot_s=1e-6, most=2).attrs["why"] != ""
    True
    """
    import pandas as pd

    served, on = as_model(model), as_chip(chip)
    if not isinstance(served, LanguageModel):
        raise BadWorkload(f"fewest_chips is for language models; {served.name} is none")
    if served.encoder is not None:
        raise BadWorkload(f"fewest_chips: {served.name} is an encoder with a decoder; no server plays it: use estimate")
    if not served.decodes:
        raise BadWorkload(f"fewest_chips: {served.name} answers in one pass, with nothing to decode; use estimate")
    limits = _limits(ttft_s=ttft_s, tpot_s=tpot_s, tokens_per_s=tokens_per_s)
    rate = limits.pop("tokens_per_s", 0.0)
    widths = _widths(served, on, whole("fewest_chips: most", most), _single(options))
    tried = _Loads(served, on, widths, limits, options)
    rows = [_row(tried, i, rate) for i in np.flatnonzero(tried.good.any(axis=1))]
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).sort_values(["chips", "tpot_s"]).reset_index(drop=True)
    table.attrs["why"] = "" if rows else _why(tried, limits)
    return table


class _Loads:
    """Every width under ever more requests in flight, up to what memory holds."""

    def __init__(
        self, model: LanguageModel, chip: Chip, widths: list[int], limits: dict[str, float], options: LoadOptions
    ) -> None:
        self.limits = limits
        self.widths = np.array(widths)[:, None]
        self.lanes = whole("dp", options.get("dp", 1)) * whole("pp", options.get("pp", 1))
        self._fixed: dict[str, Any] = {"model": model, "chip": chip, "tp": self.widths, "check": False, **options}
        room = np.broadcast_to(serve(**self._fixed, concurrency=self.lanes).memory.largest_batch, self.widths.shape)
        self.most = maximum(room, self.lanes)
        self._try(np.minimum(self.lanes * _COARSE[None], self.most))
        if self.good.any():
            at = self.best
            ahead = np.minimum(at + 1, self.concurrency.shape[1] - 1)
            low, high = (np.take_along_axis(self.concurrency, i[:, None], axis=1) for i in (at, ahead))
            self._try(np.floor(low + (high - low) * np.arange(_FINE + 1) / _FINE))

    def _try(self, concurrency: np.ndarray) -> None:
        self.concurrency = concurrency
        self.est: ServingEstimate = serve(**self._fixed, concurrency=concurrency)
        self.figures = {name: np.broadcast_to(v, concurrency.shape) for name, v in self.est.figures().items()}
        self.fits = np.broadcast_to(self.est.fits, concurrency.shape)
        waiting = self.est.active < concurrency * (1 - 1e-9)
        if "ttft_s" in self.limits:
            self.figures["ttft_s"] = np.where(waiting, np.inf, self.figures["ttft_s"])
        met = [self.figures[name] <= limit for name, limit in self.limits.items()]
        self.good = np.logical_and.reduce([self.fits, *met])

    @property
    def best(self) -> np.ndarray:
        """Of each width, the place of the most tokens per second within the limits; of several alike, the first."""
        found: np.ndarray = np.argmax(np.where(self.good, self.figures["tokens_per_s"], -1.0), axis=1)
        return found


def _row(tried: _Loads, i: np.intp, rate: float) -> dict[str, Any]:
    at = (i, tried.best[i])
    found = {name: float(tried.figures[name][at]) for name in _COLUMNS if name in tried.figures}
    tp = int(tried.widths[i, 0])
    replicas = max(1, int(np.ceil(rate / found["tokens_per_s"])))
    return {
        "tp": tp,
        "concurrency": int(tried.concurrency[at]),
        "replicas": replicas,
        "chips": replicas * tp * tried.lanes,
        **found,
        "bound": str(np.broadcast_to(tried.est.bound, tried.concurrency.shape)[at]),
    }


def _why(tried: _Loads, limits: dict[str, float]) -> str:
    """Which limit failed, and the best there is."""
    if not tried.fits.any():
        try:
            serve(**{**tried._fixed, "tp": int(tried.widths.max()), "check": True}, concurrency=tried.lanes)
        except DoesNotFit as error:
            return f"memory: {error}"
    best = {name: _least(tried, name, tried.fits) for name in limits}
    failed = [best[name][1] for name, limit in limits.items() if best[name][0] > limit]
    if failed:
        return "; ".join(failed)
    first, second = limits
    within = _least(tried, second, tried.fits & (tried.figures[first] <= limits[first]))[1]
    return f"{first} and {second} are met apart, not together: under {text(limits[first], 's')} of {first}, {within}"


def _least(tried: _Loads, name: str, among: np.ndarray) -> tuple[float, str]:
    """The least of a latency among some of the loads, and where that is against its limit."""
    values = np.where(among, tried.figures[name], np.inf)
    at = np.unravel_index(np.argmin(values), values.shape)
    here = f"tp={int(tried.widths[at[0], 0])}, {int(tried.concurrency[at]):,} in flight"
    least = float(values[at])
    return (
        least,
        f"{name}: the limit is {text(tried.limits[name], 's')}, the least there is {text(least, 's')} ({here})",
    )


# What is asked ------------------------------------------------------------------------------------------------------


def _limits(**limits: float | None) -> dict[str, float]:
    """The limits that were given, as floats."""
    for name, limit in limits.items():
        if limit is not None and not (NUMBER.holds(limit) and 0 < limit < MOST):
            raise BadWorkload(f"fewest_chips: {name}: expected a positive, finite number, found {shown(limit)}")
    return {name: float(limit) for name, limit in limits.items() if limit is not None}


def _single(options: LoadOptions) -> LoadOptions:
    """The options, each of one value, without those that are looked for."""
    for name in ("tp", "batch", "concurrency"):
        if name in options:
            raise BadWorkload(f"fewest_chips: {name} is what it looks for; leave it out")
    refuse_unknown(options, SERVING, "fewest_chips")
    for name, value in options.items():
        if np.ndim(as_numeric(value, f"fewest_chips: {name}")):
            raise BadWorkload(f"fewest_chips: expected one {name}, found {shown(value)}")
    return options


def _widths(model: LanguageModel, chip: Chip, most: Numeric, options: LoadOptions) -> list[int]:
    """The tensor-parallel widths that suit the model beside the other degrees of its plan."""
    if np.ndim(most):
        raise BadWorkload(f"fewest_chips: expected one width as the most, found {shown(most)}")
    degrees = {name: whole(name, options.get(name, 1)) for name in ("pp", "ep", "dp")}
    widths, stored = [2**i for i in range(int(most).bit_length())], options.get("weight_dtype")
    suit = [tp for tp in widths if Plan(tp=tp, **degrees).suits(model, stored) and (chip.has_links or tp == 1)]
    if not suit:
        Plan(tp=widths[-1], **degrees).check(model, stored)
    return suit
