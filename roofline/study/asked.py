"""What a study asks of a model on a chip: an estimate, or, where `concurrency` is given, a server's steady state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from roofline.base.errors import BadWorkload
from roofline.catalog.load import Model
from roofline.estimates.estimate import estimate
from roofline.estimates.request import LANGUAGE, RECOMMENDATION, Options
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.serving.steady import SERVING, LoadOptions, serve


class Asked(Options, LoadOptions, total=False):
    """The options of an estimate and of a server together."""

    concurrency: Any


def answer(model: Model, chip: Chip, options: Mapping[str, Any], check: bool = False) -> Any:
    """The estimate that is asked for, of a server where `concurrency` is among the options.

    Raises
    ------
    BadWorkload, UnknownName
        As :func:`roofline.estimate` and :func:`roofline.serve`; with `check` DoesNotFit, too.
    """
    ask: Any = serve if "concurrency" in options else estimate
    return ask(model, chip, check=check, **options)


def settled(what: str, model: Model, options: Mapping[str, Any], varied: Iterable[str] = ()) -> dict[str, Any]:
    """The options of a question, for :func:`answer`: of a server where `concurrency` is among them, or varied.

    Raises
    ------
    BadWorkload
        For options of a server where none is asked for, a batch where one is, and a model that nothing serves so.
    """
    varied = list(varied)
    found = {name: value for name, value in options.items() if name not in varied or value is not None}
    served = "concurrency" in (*options, *varied)
    if served:
        refuse_unserved(what, model)
        found.setdefault("concurrency", None)
    refuse_misplaced(what, [*options, *varied], served)
    return found


def options_of(model: Model, served: bool = False) -> tuple[str, ...]:
    """The options that the model knows; where it is `served`, those of a server."""
    if not isinstance(model, LanguageModel):
        return RECOMMENDATION
    return SERVING if served else LANGUAGE


def refuse_unserved(what: str, model: Model) -> None:
    """Refuse a model of which there is no steady state.

    Raises
    ------
    BadWorkload
        For a recommendation model.
    """
    if not isinstance(model, LanguageModel):
        raise BadWorkload(
            f"{what}: {model.name} is a recommendation model, which has no tokens; a server's steady state, asked for "
            "by concurrency, is that of language models"
        )


def refuse_misplaced(what: str, names: Iterable[str], served: bool) -> None:
    """Refuse options of a server where none is asked for, and a batch where one is.

    Raises
    ------
    BadWorkload
        With what to give instead.
    """
    for name in names:
        if served and name == "batch":
            raise BadWorkload(f"{what}: expected concurrency, found batch: a server has no fixed batch")
        if not served and name in SERVING and name not in (*LANGUAGE, *RECOMMENDATION):
            raise BadWorkload(
                f"{what}: {name} is an option of a server: give concurrency, or concurrency=None for as many requests "
                "as the memory holds"
            )
