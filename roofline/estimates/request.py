"""What is asked of an estimate: the options of the two kinds of model, checked, with their defaults filled in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.numeric import Numeric, NumericLike, anywhere, as_numeric, broadcastable
from roofline.base.units import dtype_bytes, dtype_name
from roofline.estimates import rules, seen, setaside
from roofline.estimates.hosts import HostProcess, process
from roofline.estimates.setaside import USABLE_MEMORY
from roofline.estimates.terms import TermOptions, Terms, terms_of
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.work.parallel import Plan
from roofline.work.sizes import MOST_REPEAT, MOST_SCALE_BYTES, MOST_SKEW


class RequestOptions(TermOptions, total=False):
    """What any question about a language model takes; :func:`roofline.estimate` says what each is."""

    prompt: NumericLike
    output: NumericLike
    prefix: NumericLike
    tp: NumericLike
    pp: NumericLike
    ep: NumericLike
    dp: NumericLike
    dtype: str | None
    weight_dtype: str | None
    kv_dtype: str | None
    stack: str | None
    usable_memory: NumericLike | None


class LanguageOptions(RequestOptions, total=False):
    """The options of an estimate of a language model."""

    batch: NumericLike
    images: NumericLike
    image_size: NumericLike | None
    audio: NumericLike
    audio_s: NumericLike | None


class RecommendationOptions(TermOptions, total=False):
    """The options of an estimate of a recommendation model."""

    batch: NumericLike
    devices: NumericLike
    dtype: str | None
    table_dtype: str | None
    skew: NumericLike
    repeat: NumericLike
    scale_bytes: NumericLike
    compiled: bool
    fused: bool
    placement: Any
    host: str | None
    stack: str | None
    usable_memory: NumericLike | None


class Options(LanguageOptions, RecommendationOptions, total=False):
    """The options of an estimate of a model of either kind, such as one that is given by its name."""


#: The names of the options of each kind.
LANGUAGE = tuple(LanguageOptions.__annotations__)
RECOMMENDATION = tuple(RecommendationOptions.__annotations__)

#: What is taken where a size is left out, of a language model and of a recommendation model.
USUAL_LANGUAGE = {"batch": 1, "prompt": 1024, "output": 256, "prefix": 0, "tp": 1, "pp": 1, "ep": 1, "dp": 1}
USUAL_RECOMMENDATION = {"batch": 1024, "devices": 1}


def usual_language(model: LanguageModel) -> dict[str, int]:
    """What is taken where a size of a language model's request is left out: no more than it can read and make."""
    prompt, output = USUAL_LANGUAGE["prompt"], USUAL_LANGUAGE["output"]
    if model.encoder is not None:
        return USUAL_LANGUAGE | {
            "prompt": min(prompt, model.encoder.max_positions),
            "output": min(output, model.max_positions),
        }
    if not model.decodes:
        return USUAL_LANGUAGE | {"output": 0, "prompt": min(prompt, model.max_positions)}
    if prompt + output <= model.max_positions:
        return USUAL_LANGUAGE
    output = min(output, max(1, model.max_positions // 4))
    return USUAL_LANGUAGE | {"output": output, "prompt": max(1, min(prompt, model.max_positions - output))}


#: The least that a size may be, where that is not 1.
LEAST = {"prefix": 0}


@dataclass(frozen=True)
class Request:
    """The arguments of an estimate, resolved: what was asked, and what the defaults made of it.

    `unasked` is true where a placement is one that nobody asked for, and so none for other chips or rows.
    `notes` say, in a sentence each, what was taken where nothing was asked and a reader may have expected otherwise.
    """

    batch: Numeric
    dtype: str
    prompt: Numeric = 0
    output: Numeric = 0
    prefix: Numeric = 0
    images: Numeric = 0
    image_size: Numeric | None = None
    audio: Numeric = 0
    audio_s: Numeric | None = None
    plan: Plan = field(default_factory=Plan)
    weight_dtype: str | None = None
    kv_dtype: str | None = None
    table_dtype: str | None = None
    devices: Numeric = 1
    skew: Numeric | None = None
    repeat: Numeric | None = None
    scale_bytes: Numeric | None = None
    compiled: bool = False
    fused: bool = True
    placement: Any = None
    unasked: bool = False
    host: HostProcess | None = None
    usable_memory: Numeric = USABLE_MEMORY
    terms: Terms = field(default_factory=Terms)
    notes: tuple[str, ...] = ()

    @property
    def sees(self) -> bool:
        """Whether a tower has something to do: images, or sound."""
        return anywhere(self.images > 0) or anywhere(self.audio > 0)


def refuse_unknown(options: Iterable[str], known: tuple[str, ...], what: str) -> None:
    """Raise UnknownName for an option that does not exist."""
    for name in options:
        if name not in known:
            raise UnknownName(f"option for {what}", name, known)


def between(where: str, value: object, expected: str, holds: Callable[[Any], Any]) -> Numeric:
    """A number, or an array of numbers, for which `holds` is true everywhere; else an error: what is expected."""
    if (type(value) is float or type(value) is int) and holds(value):  # the usual one is not looked at twice
        return float(value)
    found = as_numeric(value, where)
    array = np.asarray(found)
    is_number = not isinstance(found, bool | np.bool_) and array.dtype.kind in "iuf" and array.size
    if not (is_number and np.all(holds(array))):
        raise BadWorkload(f"{where}: expected {expected}, found {shown(found)}")
    return found if isinstance(found, np.ndarray) else float(found)


def usable_share(value: object) -> Numeric:
    """The share of the memory that the model may fill, above 0."""
    return between("usable_memory", value, "a fraction above 0 and at most 1", lambda v: (v > 0) & (v <= 1))


def zipf(value: object) -> Numeric:
    """A Zipf exponent: from 0 (uniform) to the most (nearly every index the same)."""
    return between("skew", value, f"a Zipf exponent between 0 and {MOST_SKEW}", lambda v: (v >= 0) & (v <= MOST_SKEW))


def repeated(value: object) -> Numeric:
    """The share of a batch's lookups that repeat those of the batch before."""
    return between("repeat", value, f"a share from 0 to {MOST_REPEAT}", lambda v: (v >= 0) & (v <= MOST_REPEAT))


def scales(value: object) -> Numeric:
    """Bytes of the scale and the bias beside a row of a table."""
    expected = f"bytes beside each row, from 0 to {MOST_SCALE_BYTES}"
    return between("scale_bytes", value, expected, lambda v: (v >= 0) & (v <= MOST_SCALE_BYTES))


def flag(where: str, value: object) -> bool:
    """What is True or False and nothing else."""
    if not isinstance(value, bool | np.bool_):
        raise BadWorkload(f"{where} is True or False, found {shown(value)}")
    return bool(value)


def _dtype(options: Mapping[str, Any], name: str) -> str | None:
    """The dtype of an option; None where it was left out."""
    value = options.get(name)
    return None if value is None else dtype_name(value)


def whole(where: str, value: Any, least: int = 1) -> Any:
    """A whole number of at least `least`, or an array of them."""
    if type(value) is int and least <= value < 2**53:
        return value
    value = as_numeric(value, where)
    array = np.asarray(value)
    if type(value) is int and value >= 2**53:
        raise BadWorkload(f"{where}: expected a whole number of at least {least} below 2^53, found {shown(value)}")
    if isinstance(value, bool | np.bool_) or array.dtype.kind not in "iuf" or array.size == 0:
        raise BadWorkload(f"{where}: expected a whole number of at least {least}, found {shown(value)}")
    flat = np.atleast_1d(array).ravel()
    good = (flat >= least) & (flat < 2**53)
    good[good] = flat[good] % 1 == 0
    if not good.all():
        limit = " below 2^53" if np.any(flat[~good] >= 2**53) else ""
        raise BadWorkload(f"{where}: expected a whole number of at least {least}{limit}, found {flat[~good][0]:g}")
    return value if isinstance(value, np.ndarray) else int(value)


def language_request(
    model: LanguageModel, chip: Chip, options: Mapping[str, Any], notes: tuple[str, ...] = ()
) -> Request:
    """The request for a language model; see :func:`roofline.estimate` for the options.

    `notes` are those of the stack, which `chip` is on already (:func:`roofline.estimates.stacks.chosen`).

    Raises
    ------
    BadWorkload, UnknownName
    """
    refuse_unknown(options, LANGUAGE, model.name)
    least = LEAST if model.decodes else LEAST | {"output": 0}
    usual = usual_language(model)
    sizes = {name: whole(name, options.get(name, size), least.get(name, 1)) for name, size in usual.items()}
    beside = _seen(model, options)
    terms, asked = terms_of(options), options.get("usable_memory")
    usable = None if asked is None else usable_share(asked)
    given = {name: value for name, value in beside.items() if value is not None}
    given["usable_memory"] = USABLE_MEMORY if usable is None else usable
    broadcastable(model.name, sizes | given | vars(terms))
    plan = Plan(sizes["tp"], sizes["pp"], sizes["ep"], sizes["dp"])
    ruled = sizes | beside | {"plan": plan, "weight_dtype": options.get("weight_dtype")}
    rules.check(rules.LANGUAGE_RULES, model, chip, ruled)
    dtype, remarks = _arithmetic(model, chip, options.get("dtype"))
    chip.peak(dtype)
    return Request(
        batch=sizes["batch"],
        dtype=dtype,
        prompt=sizes["prompt"],
        output=sizes["output"],
        prefix=sizes["prefix"],
        plan=plan,
        weight_dtype=_dtype(options, "weight_dtype"),
        kv_dtype=_dtype(options, "kv_dtype"),
        usable_memory=setaside.usable_share(chip, plan) if usable is None else usable,
        terms=terms,
        notes=(*notes, *remarks),
        **beside,
    )


def _seen(model: LanguageModel, options: Mapping[str, Any]) -> dict[str, Any]:
    """How many images and pieces of sound a request has, and how large they are."""
    found: dict[str, Any] = {}
    for kind, (often, large) in seen.OPTIONS.items():
        size = options.get(large)
        found[often] = whole(often, options.get(often, 0), 0)
        found[large] = None if size is None else between(large, size, "a number above 0", lambda v: v > 0)
        seen.check(model, kind, found[often], found[large])
    return found


def _arithmetic(model: LanguageModel, chip: Chip, asked: str | None) -> tuple[str, tuple[str, ...]]:
    """The dtype to compute in, and what is to be said of it.

    Where nothing is asked: a quantised checkpoint's own where the chip has a rate for it, else the chip's 16-bit one.
    """
    if asked is not None:
        return dtype_name(asked), ()
    usual, own = chip.widest_matrix, model.dtype
    if dtype_bytes(own) >= dtype_bytes(usual):
        return usual, ()
    if own in chip.dtypes:
        return own, (f"computes in {own}, as its checkpoint does; dtype={usual!r} for 16 bits",)
    return usual, (f"computes in {usual}: its checkpoint is made for {own}, which {chip.name} has no rate for",)


def recommendation_request(name: str, chip: Chip, options: Mapping[str, Any]) -> Request:
    """The request for a recommendation model; see :func:`roofline.estimate` for the options.

    Raises
    ------
    BadWorkload, UnknownName
    """
    refuse_unknown(options, RECOMMENDATION, name)
    sizes = {name: whole(name, options.get(name, usual)) for name, usual in USUAL_RECOMMENDATION.items()}
    checks = {"skew": zipf, "repeat": repeated, "scale_bytes": scales}
    own = {key: None if options.get(key) is None else check(options[key]) for key, check in checks.items()}
    asked, terms = options.get("usable_memory"), terms_of(options)
    usable = USABLE_MEMORY if asked is None else usable_share(asked)
    broadcastable(
        name, sizes | {k: 0.0 if v is None else v for k, v in own.items()} | {"usable_memory": usable} | vars(terms)
    )
    dtype = _dtype(options, "dtype") or dtype_name(chip.widest_matrix)
    chip.peak(dtype)
    rules.check(rules.RECOMMENDATION_RULES, None, chip, sizes)
    compiled, fused = flag("compiled", options.get("compiled", False)), flag("fused", options.get("fused", True))
    if compiled and not fused:
        raise BadWorkload(f"{name}: an engine compiled whole is fused; expected compiled=False beside fused=False")
    return Request(
        batch=sizes["batch"],
        dtype=dtype,
        devices=sizes["devices"],
        table_dtype=_dtype(options, "table_dtype"),
        skew=own["skew"],
        repeat=own["repeat"],
        scale_bytes=own["scale_bytes"],
        compiled=compiled,
        fused=fused,
        host=process(options.get("host")),
        usable_memory=usable,
        terms=terms,
    )
