"""What runs need beside their requests, and what of it is checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roofline.base.errors import DoesNotFit
from roofline.estimates.language import LanguageEstimate
from roofline.serving import percentiles
from roofline.serving.loop import Servers
from roofline.serving.passes import Passes
from roofline.serving.server import ServingEstimate
from roofline.serving.traffic import Requests

#: What an SLO may limit.
LIMITS = ("ttft_s", "tpot_s", "e2e_s")


@dataclass(frozen=True)
class Setting:
    """What a run needs.

    Attributes
    ----------
    static : LanguageEstimate
        Model, chip, plan and dtypes.
    served : ServingEstimate
        The same server in steady state: its memory.
    servers : Servers
    passes : Passes
    """

    static: LanguageEstimate
    served: ServingEstimate
    servers: Servers
    passes: Passes


def fitting(setting: Setting, requests: Requests) -> None:
    """Refuse requests of which one has no room even alone.

    Raises
    ------
    DoesNotFit
    """
    servers, static = setting.servers, setting.static
    block, plan = servers.policy.block, static.request.plan
    longest = int((requests.prompt.astype(np.int64) + requests.output).max())
    if -(-longest // block) + 1 > servers.blocks:  # one more, as the last token of a prompt is always computed
        room = servers.blocks * block
        raise DoesNotFit(
            f"simulate: the longest request, {longest:,} tokens, does not fit: a replica of {static.model.name} on "
            f"{plan.devices // plan.dp} x {static.chip.name} has room for {room:,} tokens of KV cache",
            float(longest),
            float(room),
            [],
        )


def limits(slo: object) -> dict[str, float]:
    """The limits of an SLO (s), by what they limit; see :func:`roofline.serving.percentiles.limits`."""
    return percentiles.limits(slo, LIMITS, '{"ttft_s": 0.5}')
