"""What a system of servers is made of beside replicas: pools apart, drafts of tokens, replicas that come and go."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.face import NUMBER
from roofline.catalog.load import CHIP, MODEL, Model, Name
from roofline.hardware.chip import Chip

#: The links of a chip that a KV cache may be sent over, and the figure that says how much of one is reached.
LINKS = {
    "scale_up": "efficiency.send.link_fraction",
    "peers": "efficiency.send.link_fraction",
    "network": "efficiency.send.network_fraction",
    "host": "efficiency.host_copy.host_fraction",
}

#: Who drafts, where it is no model of its own.
MTP, NGRAM = "mtp", "ngram"


@dataclass(frozen=True)
class Pool:
    """Replicas that only read prompts, or only decode, on a chip and a plan of their own.

    ``simulate(..., prefill=rl.Pool(...), decode=rl.Pool(...))`` reads each prompt on a replica of the one, which gives
    the first token, and decodes on a replica of the other. What is None is as the call has it: of both pools, or of the
    one that is not given.

    Parameters
    ----------
    chip : Chip or str, optional
        A chip, or its name or path.
    replicas : int, optional
        Servers of that plan.
    tp, pp, ep, dp : int, optional
        How the model is split on this pool.
    dtype, weight_dtype, stack : str, optional
        The KV cache is of one dtype, the call's.
    chunk, max_seqs, kv_tokens : int, optional
        Tokens of a pass, sequences at once, and room of a replica's KV cache.
    link : str
        The link of this pool's chips over which KV caches come or go: ``"network"``, ``"scale_up"``, ``"peers"`` or
        ``"host"``.

    Raises
    ------
    BadWorkload, UnknownName

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=4, prompt=512, output=64, requests=50)
    >>> run = rl.simulate("llama-3.1-8b", "h100-sxm", traffic, decode=rl.Pool("mtia-300", tp=2))
    >>> [(what, devices) for what, devices, chip in run.pools]
    [('reading', 1), ('decoding', 2)]
    """

    chip: Chip | Name | None = None
    replicas: int | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    dp: int | None = None
    dtype: str | None = None
    weight_dtype: str | None = None
    stack: str | None = None
    chunk: int | None = None
    max_seqs: int | None = None
    kv_tokens: float | None = None
    link: str = "network"

    def __post_init__(self) -> None:
        if self.chip is not None and not CHIP.holds(self.chip):
            raise BadWorkload(f"Pool: chip: expected {CHIP.words}, found {shown(self.chip)}")
        if not isinstance(self.link, str) or self.link not in LINKS:
            raise UnknownName("link of a pool", self.link if isinstance(self.link, str) else shown(self.link), LINKS)

    @property
    def options(self) -> dict[str, Any]:
        """What it says of its replicas, as options of a simulation."""
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("chip", "link")}
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Draft:
    """Speculative decoding: each pass looks at some drafted tokens of every sequence beside its next one.

    Of `tokens` drafts, each accepted with probability `acceptance` if all before it were, a pass keeps
    ``(1 - a^(k + 1)) / (1 - a)`` tokens in the mean, its own included (Leviathan, Kalman and Matias, "Fast Inference
    from Transformers via Speculative Decoding", ICML 2023, equation 1). All sequences advance by that mean.

    Parameters
    ----------
    model : LanguageModel or str
        Who drafts: a model, or its name or path (EAGLE heads too); ``"mtp"``: one more layer of the model itself for
        each token, as DeepSeek-V3's multi-token prediction; ``"ngram"``: what followed the same tokens before, which
        costs the chip nothing.
    tokens : int
        Drafted for each pass.
    acceptance : float
        Probability that a drafted token is kept, where those before it were: 0 to 1.

    Raises
    ------
    BadWorkload

    Examples
    --------
    >>> import roofline as rl
    >>> rl.Draft("ngram", tokens=2, acceptance=0.5).tokens_per_pass
    1.75
    """

    model: Model | Name
    tokens: int = 3
    acceptance: float = 0.7

    def __post_init__(self) -> None:
        if not MODEL.holds(self.model):
            raise BadWorkload(f"Draft: model: expected {MODEL.words}, {MTP!r} or {NGRAM!r}, found {shown(self.model)}")
        if not (_whole(self.tokens) and 1 <= self.tokens <= 64):
            raise BadWorkload(f"Draft: tokens: expected a whole number from 1 to 64, found {shown(self.tokens)}")
        if not (NUMBER.holds(self.acceptance) and 0 <= self.acceptance <= 1):
            raise BadWorkload(f"Draft: acceptance: expected a share from 0 to 1, found {shown(self.acceptance)}")

    @property
    def tokens_per_pass(self) -> float:
        """Tokens that a sequence gets from a pass, in the mean: from 1 to ``tokens + 1``."""
        return float(sum(self.acceptance**i for i in range(self.tokens + 1)))


@dataclass(frozen=True)
class Autoscale:
    """Replicas that come and go with the load: ``simulate(..., replicas=rl.Autoscale(1, 8, target=32))``.

    Every `every_s` as many replicas are wanted as there are requests in the system over `target`, within the limits.
    More are ordered at once and serve `startup_s` later; fewer are kept once no more were wanted for `cooldown_s`, and
    those given up end what they have. So does Kubernetes' horizontal autoscaler, with a stabilisation window.

    Parameters
    ----------
    fewest, most : int
        Replicas. It starts with the fewest.
    target : float
        Requests, waiting and running, for each replica.
    startup_s : float
        From the order of a replica until it serves: a machine, an image, weights (s).
    every_s : float
        Between two looks at the load (s).
    cooldown_s : float
        During which no more were wanted, before any is given up (s).

    Raises
    ------
    BadWorkload

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=4, prompt=512, output=64, requests=50)
    >>> run = rl.simulate("llama-3.1-8b", "h100-sxm", traffic, replicas=rl.Autoscale(1, 4, target=100))
    >>> run.devices, run.mean_devices
    (4, 1.0)
    """

    fewest: int = 1
    most: int = 8
    target: float = 32.0
    startup_s: float = 120.0
    every_s: float = 15.0
    cooldown_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("fewest", "most"):
            if not (_whole(getattr(self, name)) and getattr(self, name) >= 1):
                raise BadWorkload(
                    f"Autoscale: {name}: expected replicas, 1 or more, found {shown(getattr(self, name))}"
                )
        if self.most < self.fewest:
            raise BadWorkload(
                f"Autoscale: most: expected no fewer replicas than the fewest, {self.fewest}, found {self.most}"
            )
        for name, least in (("target", 1e-9), ("every_s", 1e-3), ("startup_s", 0.0), ("cooldown_s", 0.0)):
            value = getattr(self, name)
            if not (NUMBER.holds(value) and least <= value < math.inf):
                words = "requests a replica, above 0" if name == "target" else f"seconds, {least:g} or more"
                raise BadWorkload(f"Autoscale: {name}: expected {words}, found {shown(value)}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


__all__ = ["Autoscale", "Draft", "Pool"]
