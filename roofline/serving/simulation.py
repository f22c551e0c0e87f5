"""``simulate(model, chip, traffic)``: a server under load, pass by pass, and what its requests saw.

The loop (:mod:`roofline.kernels.serving_loop`) takes the times of its passes from tables that the operator model has
filled (:mod:`roofline.serving.passes`), the room for its KV cache from the same memory model as everything else, and
who runs from the policy of an engine (:mod:`roofline.serving.policies`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from roofline.base.face import Kind, takes
from roofline.catalog.load import CHIP, MODEL, Model, Name, as_chip, as_model
from roofline.estimates.request import RequestOptions, refuse_unknown
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving import curves
from roofline.serving.preparing import prepared
from roofline.serving.queries import simulate_queries
from roofline.serving.runs import Run
from roofline.serving.settings import limits
from roofline.serving.systems import Autoscale, Draft, Pool
from roofline.serving.traffic import Traffic


class SimulationOptions(RequestOptions, total=False):
    """What :func:`simulate` takes beside model, chip and traffic, and says what each is."""

    replicas: int | Autoscale
    prefill: Pool | None
    decode: Pool | None
    draft: Draft | None
    router: str
    slo: Mapping[str, float] | None
    seed: int
    kv_tokens: float | None
    chunk: int | None
    max_seqs: int | None
    block: int | None
    chunked_prefill: bool | None
    mixed: bool | None
    reserve: bool | None
    prefix_caching: bool | None
    ahead: float | None
    host_s: float | None
    lag: float | None


#: The names of the options of :func:`simulate`: lengths are the traffic's.
OPTIONS = tuple(name for name in SimulationOptions.__annotations__ if name not in ("prompt", "output", "prefix"))

TRAFFIC = Kind("traffic, such as Traffic(rate=8)", lambda value: hasattr(value, "drawn") and hasattr(value, "each"))


@takes(model=MODEL, chip=CHIP, traffic=TRAFFIC)
def simulate(model: Model | Name, chip: Chip | Name, traffic: Traffic, **options: Unpack[SimulationOptions]) -> Any:
    """What requests see of a server under load: queues, first tokens, gaps, and whether it keeps up.

    Parameters
    ----------
    model : LanguageModel, Recommender or str
        A model, or its name or path. Of a recommendation model see
        :func:`roofline.serving.queries.simulate_queries`: its traffic is of pairs, its options are others.
    chip : Chip or str
        A chip, or its name or path.
    traffic : Traffic
        When requests come, and how long they are: :class:`roofline.Traffic`, or what :func:`roofline.load_traffic`
        returns. Where its rate or concurrency is a list, the result is a Dataset over it.
    **options
        As for :func:`roofline.estimate`: `tp`, `pp`, `ep`, `dp`, `dtype`, `weight_dtype`, `kv_dtype`, `stack`,
        `usable_memory`, and what chips and electricity cost. Beside these:
        `replicas` (servers of that plan, 1, or :class:`roofline.Autoscale`), `prefill` and `decode`
        (:class:`roofline.Pool`: replicas that only read prompts, and only decode), `draft` (:class:`roofline.Draft`:
        speculative decoding), `router` (``"round_robin"``, ``"least_loaded"`` or ``"prefix_aware"``),
        `slo` (limits such as ``{"ttft_s": 0.5, "tpot_s": 0.03}``: what goodput counts), `seed` (0), `kv_tokens` (room
        of a replica's KV cache; default: what the memory model leaves), and the policy, by default that of the stack's
        engine: `chunk` (tokens of a pass), `max_seqs`, `block` (tokens of a KV block), `chunked_prefill`, `mixed`
        (prompts beside decoding), `reserve` (the whole output when a request is let in), `prefix_caching`, `ahead`,
        `host_s` and `lag`; see :class:`roofline.serving.policies.Policy`.

    Returns
    -------
    Run or xarray.Dataset
        ``ttft_s``, ``tpot_s``, ``itl_s``, ``e2e_s`` (mean, p50, p90, p99), ``goodput``, ``slo_attainment``,
        ``saturated``, ``bound``, ``requests``, ``timeline``.

    Raises
    ------
    BadWorkload, UnknownName
        For what cannot be asked.
    DoesNotFit
        Where the model, or the longest of the requests, has no room.

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=4, prompt=512, output=64, requests=50)
    >>> run = rl.simulate("llama-3.1-8b", "h100-sxm", traffic, slo={"ttft_s": 0.5})
    >>> run.saturated, len(run.requests)
    (False, 50)
    """
    loaded = as_model(model)
    if not isinstance(loaded, LanguageModel):
        queries: dict[str, Any] = dict(options)
        return simulate_queries(loaded, as_chip(chip), traffic, **queries)
    refuse_unknown(options, OPTIONS, f"simulate({loaded.name})")
    asked: dict[str, Any] = dict(options)
    slo = limits(asked.pop("slo", None))
    seed = asked.pop("seed", 0)
    drawn = [one.drawn(seed) for one in traffic.each()]
    setting = prepared(loaded, as_chip(chip), drawn, asked)
    runs = [
        Run(setting, requests, one, slo=slo, seed=seed) for requests, one in zip(drawn, traffic.each(), strict=True)
    ]
    if traffic.axis is not None:
        return curves.dataset(*traffic.axis, runs)
    runs[0].outcome  # noqa: B018  what cannot be run is told here, not at the first look at a figure
    return runs[0]
