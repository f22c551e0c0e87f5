"""What a language model reads beside text: images and sound, which its towers turn into tokens or into states.

Behind most towers stand tokens that the language model reads as it does words; they are part of the prompt. In Llama
3.2 Vision they are states that some layers attend across to, beside the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric, anywhere, choose, maximum
from roofline.models.intake import Intake
from roofline.models.llm import LanguageModel
from roofline.work.engine import fused
from roofline.work.parallel import Plan, shard
from roofline.work.workload import Workload

#: The option that says how many, and the one that says how large, of each kind that a tower takes in.
OPTIONS = {"image": ("images", "image_size"), "audio": ("audio", "audio_s")}

#: Pixels of a side, or seconds, that no tower is asked for.
_MOST = {"image": 65_536, "audio": 1e6}


def tower_of(model: LanguageModel, kind: str) -> tuple[LanguageModel, Intake] | None:
    """The tower of a model for ``"image"`` or ``"audio"``, and what it takes in; None where it has none."""
    return next(((t, t.intake) for t in model.towers if t.intake is not None and t.intake.kind == kind), None)


def size_of(intake: Intake, asked: Mapping[str, Any]) -> Numeric:
    """Pixels of an image's side, or seconds of a piece of sound, as asked or as usual."""
    found = asked.get(OPTIONS[intake.kind][1])
    return intake.usual if found is None else found


def check(model: LanguageModel, kind: str, count: Any, size: Any) -> None:
    """Refuse images or sound that a model cannot read, and sizes that none has.

    Raises
    ------
    BadWorkload
        For a model without such a tower, a size that is no number above 0, or another than a tower's only one.
    """
    often, large = OPTIONS[kind]
    if size is not None and not anywhere(count > 0):
        raise BadWorkload(f"{large}: expected {often} beside it, found {large}={shown(size)} alone")
    if not anywhere(count > 0):
        return
    found = tower_of(model, kind)
    if found is None:
        other = "; " + model.left_out[0] if model.left_out else ""
        raise BadWorkload(f"{often}: {model.name} has no tower that reads {_words(kind)}{other}")
    intake = found[1]
    if size is None:
        return
    if anywhere((size <= 0) | (size > _MOST[kind])):
        raise BadWorkload(f"{large}: expected a number above 0 and at most {_MOST[kind]:g}, found {shown(size)}")
    if kind == "image" and intake.fixed and anywhere(size != intake.usual):
        raise BadWorkload(
            f"image_size: the tower of {model.name} brings every image to {intake.usual:g} pixels a side; "
            f"expected that or nothing, found {shown(size)}; an image that is cut into tiles counts as one a tile"
        )


def _words(kind: str) -> str:
    return "images" if kind == "image" else "sound"


def tokens(model: LanguageModel, asked: Mapping[str, Any]) -> Numeric:
    """Tokens, or states, of a request's images and sound together."""
    found: Numeric = 0
    for kind, (often, _) in OPTIONS.items():
        count, tower = asked.get(often, 0), tower_of(model, kind)
        if tower is not None and anywhere(count > 0):
            found = found + count * tower[1].handed_on(size_of(tower[1], asked))
    return found


def tower_passes(
    model: LanguageModel, asked: Mapping[str, Any], plan: Plan, sequences: Numeric, dtype: str
) -> Workload:
    """The passes of a model's towers over what so many sequences bring, on one chip.

    A tower whose heads the chips do not split evenly runs whole on each of them, as engines have it.
    """
    steps = Workload(())
    for kind, (often, _) in OPTIONS.items():
        count, found = asked.get(often, 0), tower_of(model, kind)
        if found is None or not anywhere(count > 0):
            continue
        tower, intake = found
        vectors = intake.vectors(size_of(intake, asked))
        step = tower.step(sequences * maximum(1, count), vectors, vectors, dtype=dtype)
        steps = steps + once(step, plan, tower).times(choose(count > 0, 1, 0))
    return steps


def once(step: Workload, plan: Plan, model: LanguageModel) -> Workload:
    """A step of an encoder on the chips of the first stage, split over as many as divide its heads."""
    across = Plan(plan.tp)
    split = shard(fused(step), across if across.suits(model) else Plan(), model)
    return split.map(lambda one: replace(one, name=f"{model.name}.{one.name}"))
