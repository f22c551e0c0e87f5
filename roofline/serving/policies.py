"""How serving engines decide who runs: vLLM, SGLang and TensorRT-LLM, as their documentation says.

All three let requests in as they come, put prompts and decoding sequences together pass by pass, and page the KV cache.
They differ in three things, and in their limits:

- *vLLM* (V1) gives each pass a budget of tokens, to those that decode first, then to prompts, of which the last may get
  a piece; where blocks run out it evicts the request that was let in last, which then reads its prompt anew.
  ("Optimization and Tuning", docs.vllm.ai, read November 2026);
- *SGLang* reads prompts in passes of their own, in which nobody decodes, unless ``--enable-mixed-chunk`` is set; a
  prompt is let in where blocks are left for a share of what those that decode have still to write. ("Server Arguments"
  and "Hyperparameter Tuning", docs.sglang.io; read through public mirrors, November 2026; the share is
  ``SGLANG_INIT_NEW_TOKEN_RATIO``, 0.7 at the start, and decays to a seventh of it in 600 steps: recalled);
- *TensorRT-LLM* lets a request in only when its whole output has room (``GUARANTEED_NO_EVICT``), and does not cut
  prompts unless ``enable_chunked_prefill`` is set. ("Useful Runtime Options" and "Paged Attention, IFB, and Request
  Scheduling", nvidia.github.io/TensorRT-LLM, read November 2026).

Tokens of a pass, sequences and the size of a block are those of the stack's file (``[stack.vllm.serving]``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.face import NUMBER
from roofline.hardware.chip import Chip

#: The least share of the output that SGLang keeps blocks free for.
_SGLANG_AHEAD = 0.098


@dataclass(frozen=True)
class Policy:
    """What decides who runs.

    Attributes
    ----------
    chunk : int
        Tokens of a pass: ``max_num_batched_tokens``, ``chunked_prefill_size``, ``max_num_tokens``.
    max_seqs : int
        Sequences that run at once: ``max_num_seqs``, ``max_running_requests``, ``max_batch_size``.
    block : int
        Tokens of a KV block.
    chunked_prefill : bool
        Whether a prompt may be cut where it exceeds what is left of a pass.
    mixed : bool
        Whether sequences decode in the passes in which prompts are read.
    reserve : bool
        Whether a request is let in only when its whole output has room.
    prefix_caching : bool
        Whether the KV cache of prompts is kept for those that begin alike.
    ahead : float
        The share of what running sequences have still to write for which blocks are left when another is let in.
    host_s : float
        From a request's arrival until the scheduler knows of it (s).
    lag : float
        Passes for which a request waits beside the one under way, as engines schedule the next while one runs.
    """

    chunk: int = 8192
    max_seqs: int = 256
    block: int = 16
    chunked_prefill: bool = True
    mixed: bool = True
    reserve: bool = False
    prefix_caching: bool = True
    ahead: float = 0.0
    host_s: float = 0.0
    lag: float = 0.0


#: The host's time a request (s), and the passes that a request waits beside the one under way: asynchronous scheduling
#: decides on the next pass while one runs, and hands out tokens while the next runs. Fitted on 20 published runs of
#: vLLM 0.15.1 on H100 that kept up (``benchmarks/served.py --fit``; inference-sim/training on GitHub, read November
#: 2026), and taken for the other engines, which schedule alike.
_HOST, _LAG = 2.5e-3, 1.25

#: The engines whose policies are known; a stack's name begins with its engine's.
ENGINES = {
    "vllm": Policy(host_s=_HOST, lag=_LAG),
    "sglang": Policy(mixed=False, block=1, ahead=_SGLANG_AHEAD, host_s=_HOST, lag=_LAG),
    "trtllm": Policy(chunked_prefill=False, reserve=True, max_seqs=2048, block=32, host_s=_HOST, lag=_LAG),
}

#: Numbers that may be asked for, with the least and the most that they may be, and whether they are whole.
_NUMBERS = {
    "chunk": (1, 1 << 20, True),
    "max_seqs": (1, 1 << 14, True),
    "block": (1, 1024, True),
    "ahead": (0, 1, False),
    "host_s": (0, 1e3, False),
    "lag": (0, 100, False),
}

#: The names of the options that a policy has.
OPTIONS = tuple(Policy.__dataclass_fields__)


def policy_of(chip: Chip, options: dict[str, Any]) -> Policy:
    """The policy of the engine that a chip is on, with its limits there and what was asked for.

    Parameters
    ----------
    chip : Chip
        On a stack, or not: then as vLLM decides, with sequences and tokens as its server has them.
    options : dict
        Of those in :data:`OPTIONS`, what was asked for; None where nothing was.

    Raises
    ------
    BadWorkload, UnknownName
    """
    laid = chip.stack.split("+")[0]
    engine = next((name for name in ENGINES if laid.startswith(name)), "vllm")
    limits = {
        "chunk": _limit(chip, "tokens"),
        "max_seqs": _limit(chip, "sequences"),
        "block": chip.get("serving.block"),
    }
    known: dict[str, Any] = {name: int(value) for name, value in limits.items() if value is not None}
    policy = replace(ENGINES[engine], **known)
    for name, value in options.items():
        if name not in OPTIONS:
            raise UnknownName("option of a policy", name, OPTIONS)
        if value is not None:
            policy = replace(policy, **{name: _checked(name, value)})
    if policy.max_seqs > policy.chunk and policy.mixed:
        policy = replace(policy, max_seqs=policy.chunk)  # each that decodes takes one of a pass's tokens
    return policy


def _limit(chip: Chip, name: str) -> Any:
    """The most tokens or sequences of a pass: engines schedule less where memory is small."""
    large, small = chip.get("serving.large"), chip.get(f"serving.small_{name}")
    if large is not None and small is not None and float(chip.level(chip.main_level, "capacity")) < large:
        return small
    return chip.get(f"serving.{name}")


def _checked(name: str, value: Any) -> Any:
    if name not in _NUMBERS:
        if not isinstance(value, bool):
            raise BadWorkload(f"simulate: {name} is True or False, found {shown(value)}")
        return value
    least, most, whole = _NUMBERS[name]
    if not (NUMBER.holds(value) and least <= value <= most and (not whole or value == int(value))):
        kind = "a whole number" if whole else "a number"
        raise BadWorkload(f"simulate: {name}: expected {kind} from {least} to {most}, found {shown(value)}")
    return int(value) if whole else float(value)
