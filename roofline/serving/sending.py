"""What it takes to send the KV cache of a prompt from where it was read to where it is decoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from roofline.base.errors import UnknownName
from roofline.base.numeric import ceil_div
from roofline.hardware.chip import Chip
from roofline.serving.settings import Setting
from roofline.serving.systems import LINKS
from roofline.work import parallel
from roofline.work.op import wide


def reachable(chip: Chip, link: str) -> str:
    """The link, if the chip has it.

    Raises
    ------
    UnknownName
        With the links that it has.
    """
    known = [name for name in LINKS if chip.get(f"links.{name}.bandwidth") is not None]
    if link not in known:
        raise UnknownName(f"link of {chip.name} with a known bandwidth", link, known)
    return link


def link_s(chip: Chip, link: str, sent: Any) -> Any:
    """Time to pass bytes through a link of one chip (s): what a copy takes to begin, and the rate that is reached."""
    kind = "host_copy" if link == "host" else "send"
    rate = chip[f"links.{link}.bandwidth"] * chip.get(LINKS[link], 1.0)
    return chip.get(f"efficiency.{kind}.launch_s", 0.0) + chip.get(f"links.{link}.latency", 0.0) + sent / rate


def sends_s(setting: Setting, prompt: np.ndarray) -> np.ndarray:
    """Of each prompt, the time until its cache is on the replica that decodes (s).

    Every chip of a replica sends its share through its own link, and every chip of the other takes what it keeps: with
    more tensor parallelism than key-value heads that is a copy each, and a latent lies whole on all of them. The slower
    end tells. Blocks are here until the last byte is there; layers do not go ahead of others.

    Parameters
    ----------
    setting : Setting
        Of the replicas that read, with `decoders`.
    prompt : array
        Tokens.
    """
    assert setting.decoders is not None
    lengths, places = np.unique(prompt, return_inverse=True)
    ends = [_share(one, lengths, copied) for one, copied in ((setting, False), (setting.decoders, True))]
    found: np.ndarray = np.maximum(*ends)[places]
    return found


def _share(setting: Setting, tokens: np.ndarray, copied: bool) -> np.ndarray:
    """Time that one chip of a replica takes to send its share of a cache, or to receive what it keeps (s)."""
    one = setting.static
    r, plan = one.request, one.request.plan
    kv_dtype = r.kv_dtype or wide(r.dtype)
    if copied:
        size = parallel.kv_bytes(one.model, plan, 1, tokens, kv_dtype) + parallel.state_bytes(one.model, plan, 1)
    else:
        stage = ceil_div(one.model.num_layers, plan.pp) / one.model.num_layers
        size = (one.model.kv_bytes(1, tokens, kv_dtype) + one.model.state_bytes(1)) * stage / plan.tp
    found: np.ndarray = np.broadcast_to(link_s(one.chip, setting.link, size), tokens.shape)
    return found
