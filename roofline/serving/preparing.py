"""What runs need beside their requests, from what was asked of :func:`roofline.simulate`: servers, times of passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, DoesNotFit, UnknownName, shown
from roofline.base.face import NUMBER
from roofline.base.units import text
from roofline.catalog.load import as_chip
from roofline.estimates import stacks
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.request import language_request, whole
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving.drafting import Drafting
from roofline.serving.loop import ROUTERS, Servers
from roofline.serving.passes import Passes
from roofline.serving.policies import Policy, policy_of
from roofline.serving.sending import reachable
from roofline.serving.server import ServingEstimate, ServingRequest
from roofline.serving.settings import Setting, fitting
from roofline.serving.systems import Autoscale, Draft, Pool
from roofline.serving.traffic import Requests

#: Replicas that one run has at most.
MOST_REPLICAS = 1024


def prepared(model: LanguageModel, chip: Chip, drawn: Sequence[Requests], asked: dict[str, Any]) -> Setting:
    """All that runs need beside their requests: servers and times of passes.

    Parameters
    ----------
    model : LanguageModel
    chip : Chip
    drawn : sequence of Requests
        All that will be asked.
    asked : dict
        Options of :func:`roofline.simulate`, without `slo` and `seed`.

    Raises
    ------
    BadWorkload, UnknownName, DoesNotFit
    """
    if any(not len(one.prompt) for one in drawn):
        raise BadWorkload("simulate: expected traffic of prompts and outputs, found queries of pairs, or none")
    if model.encoder is not None:
        raise BadWorkload(f"simulate: {model.name} is an encoder with a decoder, which no server plays; use estimate")
    options = dict(asked)
    draft = options.pop("draft", None)
    if draft is not None and not isinstance(draft, Draft):
        raise BadWorkload(f'simulate: draft: expected a Draft, such as Draft("ngram", 3, 0.5), found {shown(draft)}')
    pools = {name: options.pop(name, None) for name in ("prefill", "decode")}
    if pools["prefill"] is None and pools["decode"] is None:
        setting = _server(model, chip, drawn, options, draft)
    else:
        setting = _apart(model, chip, drawn, options, draft, pools)
    for one in drawn:
        fitting(setting, one)
    return setting


def _apart(
    model: LanguageModel,
    chip: Chip,
    drawn: Sequence[Requests],
    options: dict[str, Any],
    draft: Draft | None,
    pools: dict[str, Any],
) -> Setting:
    """A pool that reads and one that decodes, each as its Pool says and, where that says nothing, as the call does."""
    made = []
    for name, pool in pools.items():
        if pool is not None and not isinstance(pool, Pool):
            raise BadWorkload(f"simulate: {name}: expected a Pool, such as Pool(tp=4, replicas=2), found {shown(pool)}")
        pool = Pool() if pool is None else pool
        mine = options | pool.options
        if pool.chip is not None and pool.stack is None:  # a stack is one chip's
            mine.pop("stack", None)
        if isinstance(mine.get("replicas"), Autoscale):
            raise BadWorkload(f"simulate: {name}: expected a number of replicas: an Autoscale goes without pools")
        one = _server(model, chip if pool.chip is None else as_chip(pool.chip), drawn, mine, draft)
        made.append(replace(one, link=reachable(one.static.chip, pool.link)))
    reads, decodes = made
    if reads.static.request.kv_dtype != decodes.static.request.kv_dtype:
        raise BadWorkload("simulate: expected one kv_dtype, as the cache is sent as it is")  # of the call, so it is one
    servers = replace(
        reads.servers, policy=replace(reads.servers.policy, reserve=False)
    )  # outputs are written elsewhere
    others = replace(decodes.servers, policy=replace(decodes.servers.policy, prefix_caching=False))
    return replace(reads, servers=servers, decoders=replace(decodes, servers=others))


def _server(
    model: LanguageModel, chip: Chip, drawn: Sequence[Requests], asked: dict[str, Any], draft: Draft | None
) -> Setting:
    """Replicas of one plan on one chip."""
    options = dict(asked)
    scale = options.pop("replicas", 1)
    autoscale = scale if isinstance(scale, Autoscale) else None
    replicas = whole("simulate: replicas", scale if autoscale is None else autoscale.most)
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
    lanes = int(plan.dp * plan.pp)
    if replicas * lanes > MOST_REPLICAS:
        raise BadWorkload(f"simulate: expected at most {MOST_REPLICAS} replicas, found {replicas * lanes}")
    plain = {name: getattr(request, name) for name in type(request).__dataclass_fields__}
    served = ServingEstimate(model, chip, ServingRequest(**plain, chunk=policy.chunk, reserve=policy.reserve))
    static = LanguageEstimate(model, chip, request)
    drafting = None if draft is None else Drafting(draft, static)
    longest = max(int((one.prompt.astype(np.int64) + one.output).max()) for one in drawn)
    tokens = _room(served, room, longest)
    if drafting is not None and room is None:
        tokens = drafting.room(tokens, longest)
    together = max(one.concurrency or len(one) for one in drawn)
    most = min(policy.max_seqs // plan.pp, together)
    if drafting is not None and policy.mixed:
        most = min(most, policy.chunk // (drafting.draft.tokens + 1))
    policy = replace(policy, max_seqs=max(1, most))
    passes = Passes(
        static,
        tokens=policy.chunk if policy.chunked_prefill else max(policy.chunk, longest),
        sequences=policy.max_seqs,
        context=longest,
        prompt=longest,
        drafting=drafting,
    )
    servers = Servers(
        policy,
        blocks=min(int(tokens) // plan.pp // policy.block, 1 << 40),
        replicas=replicas * lanes,
        router=router,
        # Where experts are spread over data-parallel ranks all of these meet in every layer that has some.
        ranks=int(plan.dp) if model.experts and plan.ep > plan.tp else 1,
        gain=1.0 if draft is None else draft.tokens_per_pass,
        autoscale=autoscale,
        lanes=lanes,
    )
    return Setting(static, served, servers, passes)


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
