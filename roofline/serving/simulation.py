"""``simulate(model, chip, traffic)``: a server under load, pass by pass, and what its requests saw.

The loop (:mod:`roofline.kernels.serving_loop`) takes the times of its passes from tables that the operator model has
filled (:mod:`roofline.serving.passes`), the room for its KV cache from the same memory model as everything else, and
who runs from the policy of an engine (:mod:`roofline.serving.policies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit, UnknownName, shown
from roofline.base.face import NUMBER, Kind, takes
from roofline.base.units import text
from roofline.catalog.load import CHIP, MODEL, Model, Name, as_chip, as_model
from roofline.estimates import stacks
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.request import RequestOptions, language_request, refuse_unknown, whole
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving import curves
from roofline.serving.loop import ROUTERS, Servers
from roofline.serving.passes import Passes
from roofline.serving.policies import Policy, policy_of
from roofline.serving.queries import simulate_queries
from roofline.serving.runs import Run
from roofline.serving.server import ServingEstimate, ServingRequest
from roofline.serving.settings import Setting, fitting, limits
from roofline.serving.traffic import Requests, Traffic


class SimulationOptions(RequestOptions, total=False):
    """What :func:`simulate` takes beside model, chip and traffic, and says what each is."""

    replicas: int
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

#: Replicas that one run has at most.
MOST_REPLICAS = 1024

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
        `replicas` (servers of that plan, 1), `router` (``"round_robin"``, ``"least_loaded"`` or ``"prefix_aware"``),
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


def prepared(model: LanguageModel, chip: Chip, drawn: Sequence[Requests], asked: dict[str, Any]) -> Setting:
    """All that runs need beside their requests: servers and times of passes.

    Parameters
    ----------
    model : LanguageModel
    chip : Chip
    drawn : sequence of Requests
        All that will be asked.
    asked : dict
        Options of :func:`simulate`, without `slo` and `seed`.

    Raises
    ------
    BadWorkload, UnknownName, DoesNotFit
    """
    if any(not len(one.prompt) for one in drawn):
        raise BadWorkload("simulate: expected traffic of prompts and outputs, found queries of pairs, or none")
    if model.encoder is not None:
        raise BadWorkload(f"simulate: {model.name} is an encoder with a decoder, which no server plays; use estimate")
    options = dict(asked)
    replicas = whole("simulate: replicas", options.pop("replicas", 1))
    router = options.pop("router", "round_robin")
    if not isinstance(router, str) or router not in ROUTERS:
        raise UnknownName("router", router if isinstance(router, str) else shown(router), ROUTERS)
    room = options.pop("kv_tokens", None)
    wanted = {name: options.pop(name, None) for name in Policy.__dataclass_fields__}
    chip, notes = stacks.chosen(model, chip, options)
    policy = policy_of(chip, wanted)
    prompt, output = (max(1, round(float(one.mean()))) for one in (drawn[0].prompt, drawn[0].output))
    one_each = whole("simulate: dp", options.get("dp", 1))  # sequences: each data-parallel rank has at least one
    request = language_request(model, chip, {**options, "prompt": prompt, "output": output, "batch": one_each}, notes)
    plan: Any = request.plan  # of whole numbers, as is seen to here
    for name in ("tp", "pp", "ep", "dp"):
        if np.ndim(getattr(plan, name)):
            raise BadWorkload(f"simulate: expected one {name}, found {shown(getattr(plan, name))}")
    lanes = int(replicas * plan.dp * plan.pp)
    if lanes > MOST_REPLICAS:
        raise BadWorkload(f"simulate: expected at most {MOST_REPLICAS} replicas, found {lanes}")
    plain = {name: getattr(request, name) for name in type(request).__dataclass_fields__}
    served = ServingEstimate(model, chip, ServingRequest(**plain, chunk=policy.chunk, reserve=policy.reserve))
    longest = max(int((one.prompt.astype(np.int64) + one.output).max()) for one in drawn)
    blocks = min(int(_room(served, room, longest)) // plan.pp // policy.block, 1 << 40)
    together = max(one.concurrency or len(one) for one in drawn)
    policy = replace(policy, max_seqs=max(1, min(policy.max_seqs // plan.pp, together)))
    passes = Passes(
        LanguageEstimate(model, chip, request),
        tokens=policy.chunk if policy.chunked_prefill else max(policy.chunk, longest),
        sequences=policy.max_seqs,
        context=longest,
        prompt=longest,
    )
    setting = Setting(passes.static, served, Servers(policy, blocks, lanes, router), passes)
    for one in drawn:
        fitting(setting, one)
    return setting


def _room(served: ServingEstimate, asked: Any, longest: int) -> float:
    """Tokens of KV cache that a replica has room for.

    Raises
    ------
    DoesNotFit, BadWorkload
    """
    if asked is not None:
        if not (NUMBER.holds(asked) and asked >= 1):
            raise BadWorkload(f"simulate: kv_tokens: expected a number of tokens of at least 1, found {shown(asked)}")
        return float(asked)
    if not served.fits:
        memory = served.least_memory
        raise DoesNotFit(
            f"simulate: {served.model.name} with one request does not fit on {served.request.plan.devices} x "
            f"{served.chip.name}: each chip needs {text(float(memory.total_bytes), 'B')} and has "
            f"{text(float(memory.usable_bytes), 'B')} usable",
            float(memory.total_bytes),
            float(memory.usable_bytes),
            [],
        )
    tokens = float(served.kv_tokens)
    if tokens > 0:
        return tokens
    # A model without a KV cache: of its states as many fit as the memory model says.
    return float(served.memory.largest_batch) * longest * 2
