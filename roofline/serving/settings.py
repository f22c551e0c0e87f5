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
    link : str
        Over which KV caches leave these chips, or come to them.
    decoders : Setting, optional
        Of the replicas that decode, where those of this setting only read prompts.
    """

    static: LanguageEstimate
    served: ServingEstimate
    servers: Servers
    passes: Passes
    link: str = "network"
    decoders: Setting | None = None

    @property
    def pools(self) -> tuple[Setting, ...]:
        """This one, and that of the replicas that decode."""
        return (self,) if self.decoders is None else (self, self.decoders)

    @property
    def devices(self) -> int:
        """Chips of this setting's replicas."""
        plan = self.static.request.plan
        return int(self.servers.replicas // (plan.dp * plan.pp) * plan.devices)


def fitting(setting: Setting, requests: Requests) -> None:
    """Refuse requests of which one has no room even alone.

    Raises
    ------
    DoesNotFit
    """
    for one in setting.pools:
        _fitting(one, requests)


def _fitting(setting: Setting, requests: Requests) -> None:
    servers, static = setting.servers, setting.static
    block, plan = servers.policy.block, static.request.plan
    longest = int((requests.prompt.astype(np.int64) + requests.output).max()) + setting.passes.each - 1
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
