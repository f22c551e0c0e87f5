"""The software stack that a model is costed on: the one that was named, else the one best known on the chip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roofline.base.errors import BadWorkload, shown
from roofline.base.units import dtype_name
from roofline.catalog.load import Model
from roofline.hardware.chip import Chip
from roofline.hardware.variants import PLAIN
from roofline.models.llm import LanguageModel


def chosen(model: Model, chip: Chip, options: Mapping[str, Any]) -> tuple[Chip, tuple[str, ...]]:
    """The chip on the stack that was named, or that its descriptor takes for such a model, and what is to be said.

    Parameters
    ----------
    model : LanguageModel or Recommender
    chip : Chip
        Where it was put on a stack before, that one was named.
    options : dict
        Of the estimate: `stack` and, as it decides what experts run on, `weight_dtype`.

    Raises
    ------
    BadWorkload, UnknownName
        For a stack that is no text, or that the chip does not have.
    """
    asked = options.get("stack")
    if asked is not None:
        if not isinstance(asked, str):
            raise BadWorkload(
                f"stack: expected one software stack, {PLAIN!r} for none (sweep takes several), found {shown(asked)}"
            )
        laid = chip.on_stack(asked)
        return laid, () if _is_timed(laid) else (
            f"software: {laid.stack}, of which only the memory that it sets aside is known; operators take the chip's "
            "own figures",
        )
    best = best_known(model, chip, options.get("weight_dtype"))
    if not best:
        return chip, ()
    return chip.on_stack(best), (
        f"software: {best}, the best known of this chip; stack={PLAIN!r} for the chip's own figures",
    )


def _is_timed(chip: Chip) -> bool:
    """Whether any stack that a chip is on has figures of operators, or it is on none."""
    laid = chip.stack.split("+") if chip.stack not in ("", PLAIN) else []
    return not laid or any(path.startswith(tuple(f"stack.{one}.efficiency." for one in laid)) for path in chip.numbers)


def best_known(model: Model, chip: Chip, weight_dtype: Any = None) -> str:
    """The stacks that the chip's ``[default_stack]`` has for such a model, joined by ``+``; empty: none.

    None for a chip that was put on a stack, or on its plain figures, before; and none for an encoder, with a decoder or
    without, as stacks were measured where keys and values are written to a cache.
    """
    if chip.stack or not isinstance(model, LanguageModel) or not model.causal or model.encoder is not None:
        return ""
    experts = model.expert_dtype if weight_dtype is None else dtype_name(weight_dtype)
    holds = {
        "language": True,
        "multi_head": model.kv_heads == model.heads,
        "fp4_experts": model.experts > 0 and experts == "fp4",
    }
    return "+".join(chip.default_stack[kind]["value"] for kind in holds if holds[kind] and kind in chip.default_stack)
