"""What must hold between the arguments of an estimate: a request refuses what breaks a rule, a grid marks it.

Each argument by itself is checked in ``request.py``; here stands what two of them, the model and the chip have to agree
on. A rule takes numbers and arrays alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import anywhere
from roofline.estimates import seen
from roofline.hardware.chip import Chip
from roofline.work.parallel import Plan


class Rule(NamedTuple):
    """One rule.

    Attributes
    ----------
    word : str
        What a grid calls it.
    text : str
        What it says, of whatever model and chip.
    broken : callable
        ``(model, chip, arguments)`` to True or False, or an array of them.
    refuse : callable
        ``(model, chip, arguments)`` raises BadWorkload, with the numbers.
    """

    word: str
    text: str
    broken: Callable[[Any, Chip, dict[str, Any]], Any]
    refuse: Callable[[Any, Chip, dict[str, Any]], None]


def check(rules: tuple[Rule, ...], model: object, chip: Chip, asked: dict[str, Any]) -> None:
    """Raise BadWorkload for the first rule that is broken anywhere."""
    for rule in rules:
        if anywhere(rule.broken(model, chip, asked)):
            rule.refuse(model, chip, asked)


def _refusing(message: Callable[[Any, Chip, dict[str, Any]], str]) -> Callable[[Any, Chip, dict[str, Any]], None]:
    def refuse(model: object, chip: Chip, asked: dict[str, Any]) -> None:
        raise BadWorkload(message(model, chip, asked))

    return refuse


def _unsuited(model: Any, chip: Chip, asked: dict[str, Any]) -> Any:
    """Where the plan does not suit the model: each distinct plan is looked at once."""
    stored = asked.get("weight_dtype")
    degrees = [asked["plan"].tp, asked["plan"].pp, asked["plan"].ep, asked["plan"].dp]
    if all(type(degree) is int for degree in degrees):
        return not asked["plan"].suits(model, stored)
    every = np.broadcast_arrays(*degrees)
    plans = list(zip(*(degree.ravel().tolist() for degree in every), strict=True))
    suited = {plan: Plan(*plan).suits(model, stored) for plan in set(plans)}
    return ~np.array([suited[plan] for plan in plans]).reshape(every[0].shape)


def _beyond(model: Any, chip: Chip, asked: dict[str, Any]) -> Any:
    if model.encoder is not None:
        return (asked["prompt"] > model.encoder.max_positions) | (asked["output"] > model.max_positions)
    return asked["prompt"] + asked["output"] > model.max_positions


def _positions(model: Any, chip: Chip, asked: dict[str, Any]) -> str:
    if model.encoder is not None:
        return (
            f"{model.name} reads at most {model.encoder.max_positions:,} positions and makes at most "
            f"{model.max_positions:,}; found prompt={shown(asked['prompt'])}, output={shown(asked['output'])}"
        )
    most = int(np.max(np.asarray(asked["prompt"]) + np.asarray(asked["output"])))
    return f"{model.name} was made for {model.max_positions:,} positions; prompt + output asks for {most:,}"


#: What the arguments of a language model's estimate have to agree on: `batch`, `prompt`, `output`, `prefix`, `plan`.
LANGUAGE_RULES = (
    Rule(
        "plan",
        "the plan does not split the model evenly",
        _unsuited,
        lambda model, chip, asked: asked["plan"].check(model, asked.get("weight_dtype")),
    ),
    Rule(
        "output",
        "a model that answers in one pass makes no tokens",
        lambda model, chip, asked: False if model.decodes else asked["output"] > 0,
        _refusing(
            lambda model, chip, asked: (
                f"output: {model.name} answers in one pass and makes no tokens; leave output out, "
                f"found {shown(asked['output'])}"
            )
        ),
    ),
    Rule(
        "prefix",
        "at least one token of the prompt must be new",
        lambda model, chip, asked: asked["prefix"] >= asked["prompt"],
        _refusing(
            lambda model, chip, asked: (
                f"prefix: at least one token of the prompt is new, found prefix={shown(asked['prefix'])} "
                f"of prompt={shown(asked['prompt'])}"
            )
        ),
    ),
    Rule(
        "images",
        "the tokens of images and sound are among those of the prompt",
        lambda model, chip, asked: False if model.attends_across else seen.tokens(model, asked) > asked["prompt"],
        _refusing(
            lambda model, chip, asked: (
                f"prompt: expected at least the {shown(seen.tokens(model, asked))} tokens that its images and sound "
                f"become, found {shown(asked['prompt'])}"
            )
        ),
    ),
    Rule(
        "encoder",
        "an encoder with a decoder reads every prompt anew, and runs on one stage",
        lambda model, chip, asked: False if model.encoder is None else (asked["prefix"] > 0) | (asked["plan"].pp > 1),
        _refusing(
            lambda model, chip, asked: (
                f"{model.name} is an encoder with a decoder: it reads every prompt anew and runs on one stage; "
                f"expected prefix=0 and pp=1, found {shown(asked['prefix'])} and {shown(asked['plan'].pp)}"
            )
        ),
    ),
    Rule(
        "positions",
        "prompt and output exceed the positions that the model was made for",
        _beyond,
        _refusing(_positions),
    ),
    Rule(
        "replicas",
        "every replica or chip needs at least one sequence or sample",
        lambda model, chip, asked: asked["batch"] < asked["plan"].dp,
        _refusing(
            lambda model, chip, asked: (
                f"batch: {shown(asked['plan'].dp)} data-parallel replicas need at least one sequence each, "
                f"found batch={shown(asked['batch'])}"
            )
        ),
    ),
    Rule(
        "links",
        "the chip describes no link to another chip",
        lambda model, chip, asked: False if chip.has_links else asked["plan"].devices > 1,
        _refusing(
            lambda model, chip, asked: f"{chip.name} describes no link to another chip: tp, pp, ep and dp must be 1"
        ),
    ),
)

#: What those of a recommendation model's estimate have to agree on: `batch` and `devices`.
RECOMMENDATION_RULES = (
    Rule(
        "links",
        "the chip describes no link to another chip",
        lambda model, chip, asked: False if chip.has_links else asked["devices"] > 1,
        _refusing(lambda model, chip, asked: f"{chip.name} describes no link to another chip: devices must be 1"),
    ),
    Rule(
        "replicas",
        "every replica or chip needs at least one sequence or sample",
        lambda model, chip, asked: asked["batch"] < asked["devices"],
        _refusing(
            lambda model, chip, asked: (
                f"batch: {shown(asked['devices'])} chips need at least one sample each, "
                f"found batch={shown(asked['batch'])}"
            )
        ),
    ),
)
