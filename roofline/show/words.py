"""What is said of an estimate in words: which model on which chips, what was asked, what there is to see.

The one place that asks what kind of estimate it has; everything else in this room takes its words from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roofline.base import units
from roofline.estimates import setaside
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.one_pass import PassEstimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.estimates.setaside import USABLE_MEMORY
from roofline.serving.steady import ServingEstimate

if TYPE_CHECKING:
    from roofline.estimates.inference import Phase

Estimate = LanguageEstimate | RecommendationEstimate | ServingEstimate


class Words:
    """What all kinds have in common.

    Parameters
    ----------
    est : LanguageEstimate, RecommendationEstimate or ServingEstimate
        Of one point.
    """

    #: Figures beside the headline that a program may want.
    facts: tuple[str, ...] = ("lower_s", "upper_s", "mfu", "mbu")

    #: Options that a program gets back as they were understood.
    asked_for: tuple[str, ...] = ()

    #: What the largest batch that memory holds is called.
    most = "largest batch that fits"

    def __init__(self, est: Any) -> None:
        self.est, self.request = est, est.request

    def on_what(self) -> str:
        """Which model on which chips, split how."""
        raise NotImplementedError

    def asked(self) -> list[str]:
        """What was asked of them."""
        raise NotImplementedError

    def phases(self) -> list[tuple[str, Phase]]:
        """The phases with their names."""
        raise NotImplementedError

    def shares(self) -> list[float | None]:
        """How often each phase comes, where they are kinds of pass that take turns."""
        return [None] * len(self.phases())

    def use(self) -> str:
        """One sentence on how much of the peaks is used."""
        raise NotImplementedError

    def cache(self) -> str:
        """What a KV cache is counted for, said where it is."""
        return ""

    def room(self) -> str:
        """How many tokens there is room for, said where tokens are cached."""
        return ""

    def counted(self) -> dict[str, Any]:
        """That as plain data."""
        return {}

    def labels(self) -> dict[str, str]:
        """What figures are called that mean something of their own here."""
        return {}

    def remarks(self) -> list[str]:
        """Sentences that only this kind has, and what was taken because nothing else was wording."""
        return list(getattr(self.est, "notes", ()))

    def chips(self) -> int:
        """Chips in all."""
        return int(self.request.plan.devices)

    def options(self) -> dict[str, Any]:
        """What was asked, as plain data."""
        return {name: getattr(self.request, name) for name in (*self.asked_for, "usable_memory")}

    def _usual_share(self) -> Any:
        """The share of the memory that a model may fill if nobody says how much."""
        return USABLE_MEMORY

    def _usable(self) -> list[str]:
        usable = self.request.usable_memory
        return [] if usable == self._usual_share() else [f"{units.text(100 * usable, '', 4)}% of the memory usable"]


class _Tokens(Words):
    """What is said where tokens come out."""

    how = "on"
    asked_for: tuple[str, ...] = ("prompt", "output", "prefix", "dtype", "weight_dtype", "kv_dtype")

    def on_what(self) -> str:
        plan = self.request.plan
        split = ", ".join(f"{k}={v}" for k in ("tp", "pp", "ep", "dp") if (v := getattr(plan, k)) > 1)
        return f"{self.est.model.title} {self.how} {self.chips()} x {self.est.chip.title}" + (
            f" ({split})" if split else ""
        )

    def _lengths(self) -> list[str]:
        r = self.request
        return [f"prompt {r.prompt:,}", f"output {r.output:,}"]

    def _types(self) -> list[str]:
        r = self.request
        wanted = ((r.weight_dtype, "weights"), (r.kv_dtype, "KV cache"))
        return [r.dtype, *(f"{dtype} {what}" for dtype, what in wanted if dtype and dtype != r.dtype)]

    def room(self) -> str:
        tokens = self.est.kv_tokens
        return f"; room in it for a KV cache of {tokens:,.0f} tokens" if tokens else ""

    def counted(self) -> dict[str, Any]:
        return {"kv_tokens": self.est.kv_tokens}

    def _usual_share(self) -> Any:
        return setaside.usable_share(self.est.chip, self.request.plan)

    def _prefix(self) -> list[str]:
        return [f"prefix {self.request.prefix:,}"] if self.request.prefix else []

    def options(self) -> dict[str, Any]:
        plan = {name: getattr(self.request.plan, name) for name in ("tp", "pp", "ep", "dp")}
        return super().options() | plan


class _Language(_Tokens):
    """A batch of prompts, prefilled together and decoded to the end."""

    asked_for = ("batch", *_Tokens.asked_for)

    def asked(self) -> list[str]:
        seen = [*self._seen(), *self._prefix(), *self._types(), *self._usable()]
        return [f"batch {self.request.batch:,}", *self._lengths(), *seen]

    def _seen(self) -> list[str]:
        """Images and sound of a request, in words."""
        r = self.request
        size = "" if r.image_size is None else f" of {r.image_size:g} px"
        length = "" if r.audio_s is None else f" of {r.audio_s:g} s"
        images = [f"{r.images:,} image{'s' if r.images > 1 else ''}{size}"] if r.images else []
        return images + ([f"{r.audio:,} piece{'s' if r.audio > 1 else ''} of sound{length}"] if r.audio else [])

    def options(self) -> dict[str, Any]:
        seen = ("images", "image_size", "audio", "audio_s") if self.request.sees else ()
        return super().options() | {name: getattr(self.request, name) for name in seen}

    def phases(self) -> list[tuple[str, Phase]]:
        return [("prefill", self.est.prefill), ("decode step", self.est.decode)]

    def use(self) -> str:
        return f"MFU {self.est.prefill.mfu:.1%} in prefill, MBU {self.est.decode.mbu:.1%} in decode."


class _Pass(_Language):
    """A batch that is answered in one pass."""

    asked_for = ("batch", *(name for name in _Tokens.asked_for if name != "output"))

    def _lengths(self) -> list[str]:
        return super()._lengths()[:1]

    def phases(self) -> list[tuple[str, Phase]]:
        return [("pass", self.est.prefill)]

    def use(self) -> str:
        return f"MFU {self.est.prefill.mfu:.1%}, MBU {self.est.prefill.mbu:.1%}."

    def labels(self) -> dict[str, str]:
        return {
            "tokens_per_s": "tokens read",
            "tokens_per_s_per_chip": "tokens read, per chip",
            "tokens_per_joule": "tokens read for a joule",
            "co2_g_per_million_tokens": "CO2 for a million tokens read",
            "usd_per_million_tokens": "cost of a million tokens read",
        }


class _Serving(_Tokens):
    """A server with requests in flight."""

    how = "served on"
    most = "requests that fit"
    facts = ("active", "mixed_share")
    own = ("prompt_sd", "output_sd", "chunk", "beams", "reserve", "whole_cache")
    asked_for = (*_Tokens.asked_for, *own)

    def _lengths(self) -> list[str]:
        r, spreads = self.request, (self.request.prompt_sd, self.request.output_sd)
        sd = [f" (sd {spread:,.4g})" if spread else "" for spread in spreads]
        return [length + more for length, more in zip(super()._lengths(), sd, strict=True)] + [f"chunk {r.chunk:,}"]

    def asked(self) -> list[str]:
        r = self.request
        beams = [f"beams {r.beams:,}"] if r.beams > 1 else []
        kept = ["whole outputs reserved"] * r.reserve + ["whole context kept"] * r.whole_cache
        return [
            f"concurrency {r.batch:,}",
            *self._lengths(),
            *beams,
            *self._prefix(),
            *self._types(),
            *kept,
            *self._usable(),
        ]

    def phases(self) -> list[tuple[str, Phase]]:
        return [("decoding pass", self.est.decoding), ("mixed pass", self.est.mixed)]

    def shares(self) -> list[float | None]:
        return [1 - self.est.mixed_share, self.est.mixed_share]

    def use(self) -> str:
        used = [f"{label} MFU {phase.mfu:.1%}, MBU {phase.mbu:.1%}" for label, phase, _ in occurring(self.est)]
        return f"Of the peaks: {'; '.join(used)}."

    def cache(self) -> str:
        return " of whole outputs" if self.request.reserve else " with outputs half done"

    def remarks(self) -> list[str]:
        passes = (
            f"{self.est.active:,.0f} of {self.request.batch:,} requests in flight; {self.est.mixed_share:.0%} of the "
            "passes carry prompt tokens."
        )
        return [passes, *super().remarks()]

    def options(self) -> dict[str, Any]:
        return {"concurrency": self.request.batch} | super().options()


class _Recommendation(Words):
    """A recommendation model that scores batches."""

    asked_for = ("batch", "devices", "dtype", "table_dtype", "skew", "repeat", "compiled", "fused")

    def chips(self) -> int:
        return int(self.request.devices)

    def on_what(self) -> str:
        return f"{self.est.model.title} on {self.chips()} x {self.est.chip.title}"

    def asked(self) -> list[str]:
        r = self.request
        tables = [f"{r.table_dtype} tables"] if r.table_dtype and r.table_dtype != r.dtype else []
        skew = [f"skew {r.skew:g}"] if r.skew else []
        skew += [f"repeat {r.repeat:g}"] if r.repeat else []
        whole = ["dense part compiled whole"] * bool(r.compiled) + ["kernels one by one"] * (not r.fused)
        return [f"batch {r.batch:,}", r.dtype, *tables, *skew, *whole, *self._usable()]

    def phases(self) -> list[tuple[str, Phase]]:
        return [("batch", self.est.step)]

    def use(self) -> str:
        est = self.est
        busiest = est.imbalance
        uneven = f" Lookups of the busiest chip take {busiest:.2f} times the mean." if busiest > 1.005 else ""
        return f"Sparse part {est.sparse_share:.0%} of the time.{uneven} MFU {est.mfu:.1%}, MBU {est.mbu:.1%}."


_KINDS: tuple[tuple[type, type[Words]], ...] = (
    (PassEstimate, _Pass),
    (LanguageEstimate, _Language),
    (ServingEstimate, _Serving),
    (RecommendationEstimate, _Recommendation),
)


def words(est: Estimate) -> Words:
    """What is said of this kind of estimate."""
    for kind, wording in _KINDS:
        if isinstance(est, kind):
            return wording(est)
    raise TypeError(f"expected an estimate, found {type(est).__name__}")


def heading(est: Estimate) -> str:
    """Which model on which chips, and below it what was asked of them."""
    wording = words(est)
    return f"{wording.on_what()}\n{', '.join(wording.asked())}"


def phases(est: Estimate) -> list[tuple[str, Phase]]:
    """The phases of an estimate with their names."""
    return words(est).phases()


def occurring(est: Estimate) -> list[tuple[str, Phase, str]]:
    """The phases that there are, each with how often it comes where it is one of several kinds of pass."""
    wording = words(est)
    return [
        (label, phase, "" if share is None else f" ({share:.0%} of the passes)")
        for (label, phase), share in zip(wording.phases(), wording.shares(), strict=True)
        if share is None or share > 0
    ]
