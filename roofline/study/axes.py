"""What may be an axis of a grid, and its values: models, chips, stacks, chip figures, options, draws."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.numeric import as_numeric, not_negative
from roofline.catalog.load import Model
from roofline.estimates import terms
from roofline.estimates.hosts import process
from roofline.estimates.request import LEAST, flag, repeated, scales, usable_share, whole, zipf
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender

#: Options that no array can hold, and what each value may be: each of them is a slab of its own.
DTYPES = ("dtype", "weight_dtype", "kv_dtype", "table_dtype")
FLAGS = ("compiled", "fused", "reserve", "whole_cache")
CHOICES = ("placement", "host")
WORDS = (*DTYPES, *FLAGS, *CHOICES)


#: What a numeric option's value is by itself; what several of them have to agree on is a rule (`estimates/rules`).
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "usable_memory": usable_share,
    "skew": zipf,
    "repeat": repeated,
    "scale_bytes": scales,
    "prompt_sd": lambda value: not_negative("serve", prompt_sd=value)["prompt_sd"],
    "output_sd": lambda value: not_negative("serve", output_sd=value)["output_sd"],
    **{name: functools.partial(terms.checked, name) for name in terms.TERMS},
}

#: What an option's numbers are, for labels: unit and name.
_SAID = {
    "batch": ("1", "batch"),
    "prompt": ("tokens", "prompt"),
    "output": ("tokens", "output"),
    "prefix": ("tokens", "cached prefix of the prompt"),
    "concurrency": ("requests", "requests in flight"),
    "tp": ("1", "tensor parallelism"),
    "pp": ("1", "pipeline parallelism"),
    "ep": ("1", "expert parallelism"),
    "dp": ("1", "data parallelism"),
    "devices": ("1", "chips that share the tables"),
    "skew": ("1", "Zipf exponent of the indices"),
    "repeat": ("1", "share of the lookups that repeat the last batch's"),
    "scale_bytes": ("B", "scale and bias of a row"),
    "usable_memory": ("1", "share of the memory that the model may fill"),
    "prompt_sd": ("tokens", "standard deviation of the prompt"),
    "output_sd": ("tokens", "standard deviation of the output"),
    "chunk": ("tokens", "prompt tokens of a pass"),
    "beams": ("1", "beams"),
    **terms.LABELS,
}


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a grid.

    Attributes
    ----------
    name : str
        Of the dimension.
    kind : str
        ``model``, ``chip``, ``stack``, ``word`` (one value a slab), ``figure``, ``size`` or ``draw`` (numbers).
    values : sequence
        What is asked at each point: an object, a word, a number. Of a figure: SI numbers, or factors where `relative`.
    labels : ndarray
        The coordinate.
    relative : ndarray of bool, optional
        Of a figure: which of its values are factors of the chip's own.
    attrs : dict
        Of the coordinate: `units`, `long_name`.
    """

    name: str
    kind: str
    values: Any
    labels: np.ndarray
    relative: np.ndarray | None = None
    attrs: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def numeric(self) -> bool:
        """Whether a slab may hold several of its values as an array."""
        return self.kind in ("figure", "size", "draw")

    def on(self, chip: Chip) -> np.ndarray:
        """The values of a figure on a chip, in SI units: factors are of the chip's own."""
        factors = np.where(self.relative, chip[self.name], 1.0)  # type: ignore[arg-type]
        return np.asarray(self.values * factors)


def is_one(given: Any) -> bool:
    """Whether a single model or chip is given."""
    return isinstance(given, str | os.PathLike | LanguageModel | Recommender | Chip)


def named(what: str, given: Any, load: Callable[[Any], Any]) -> Axis:
    """The axis of the models or chips that were given, one or several.

    Raises
    ------
    BadWorkload
        Where none is given, and for two of one name.
    """
    try:
        items = [given] if is_one(given) else list(given)
    except TypeError:
        raise BadWorkload(f"sweep: expected a {what}, its name or its path, or several, found {shown(given)}") from None
    if not items:
        raise BadWorkload(f"sweep: expected at least one {what}, found {shown(given)}")
    loaded = tuple(load(item) for item in items)
    names = [one.name for one in loaded]
    _refuse_twice(what, names)
    return Axis(what, what, loaded, np.array(names))


def several(value: Any) -> bool:
    """Whether a value is a list of some kind, and so an axis."""
    if not (isinstance(value, list | tuple | range) or hasattr(value, "__array__")):
        return False
    return not hasattr(value, "ndim") or bool(np.ndim(value))


def option(name: str, given: Any) -> Axis:
    """The axis of an option with these values.

    Raises
    ------
    BadWorkload
        For an axis that is empty or not flat, or has a value twice, and for a value that the option cannot have.
    """
    values = flat(name, given)
    if name == "stack":
        for value in values:
            if not (value is None or isinstance(value, str)):
                raise BadWorkload(f"stack: expected the name of a software stack, or '', found {shown(value)}")
        labels = ["default" if value is None else value for value in values]
        return Axis(name, "stack", tuple(values), _labels(name, labels), attrs={"long_name": "software stack"})
    if name in FLAGS:
        flags = tuple(flag(name, value) for value in values)
        _refuse_twice(name, list(flags))
        return Axis(name, "word", flags, np.array(flags))
    if name in CHOICES:
        for value in values:
            _check_choice(name, value)
        labels = ["default" if value is None else value if isinstance(value, str) else repr(value) for value in values]
        return Axis(name, "word", tuple(values), _labels(name, labels))
    if name in DTYPES:
        named = [None if value is None else units.dtype_name(value) for value in values]
        _refuse_twice(name, named)
        labels = ["default" if value is None else value for value in values]
        return Axis(name, "word", tuple(named), _labels(name, labels))
    checked = np.asarray(checked_size(name, _numbers(name, values)))
    _refuse_twice(name, checked.tolist())
    unit, said = _SAID.get(name, ("1", name))
    shown_as = checked if np.any(checked % 1) else checked.astype(np.int64)
    return Axis(name, "size", checked, shown_as, attrs={"units": unit, "long_name": said})


def _check_choice(name: str, value: Any) -> None:
    """What can be told of a choice before a model and a chip are looked at."""
    if name == "host":
        process(value)
    elif isinstance(value, str) and value not in ("even", "auto"):
        raise UnknownName("placement", value, ("even", "auto"))


def single(name: str, value: Any) -> Any:
    """An option's one value, checked like those of an axis; None, and what is left to the estimate, stay."""
    value = value.item() if isinstance(value, np.ndarray) else value
    if value is None and name in (
        *DTYPES,
        *CHOICES,
        *terms.TERMS,
        "stack",
        "skew",
        "repeat",
        "scale_bytes",
        "usable_memory",
        "concurrency",
    ):
        return None
    return option(name, [value]).values[0] if name in (*WORDS, "stack") else checked_size(name, value)


def checked_size(name: str, value: Any) -> Any:
    """A numeric option's value, or an array of them, as it may be by itself.

    Raises
    ------
    BadWorkload
    """
    return _CHECKS[name](value) if name in _CHECKS else whole(name, value, LEAST.get(name, 1))


def figure(path: str, given: Any, chips: Sequence[Chip]) -> Axis:
    """The axis of a chip figure: SI numbers, texts with units, factors such as ``"x1.1"``, or a mixture.

    Raises
    ------
    UnknownName
        For a figure that none of the chips has.
    BadWorkload
        For a value that is no quantity of the figure's dimension.
    """
    number = next((found for chip in chips if (found := _number(chip, path)) is not None), None)
    if number is None:
        chips[0].number(path)  # raises, with the nearest
        raise AssertionError
    values = flat(path, given)
    pairs = [_quantity(path, value, number.dimension) for value in values]
    relative = np.array([factor for _, factor in pairs])
    numbers = np.array([value for value, _ in pairs], dtype=float)
    unit = units.DIMENSIONS[number.dimension][0]
    if relative.all():
        labels, attrs = numbers, {"units": "1", "long_name": f"{path}, times the chip's own", "figure": path}
    elif not relative.any():
        labels, attrs = numbers, {"units": unit, "long_name": path, "figure": path}
    else:
        texts = [f"x{v:g}" if r else units.text(v, unit, 12) for v, r in zip(numbers, relative, strict=True)]
        labels, attrs = np.array(texts), {"long_name": path, "figure": path}
    _refuse_twice(path, labels.tolist())
    return Axis(path, "figure", numbers, labels, relative, attrs)


def _number(chip: Chip, path: str) -> Any:
    try:
        return chip.number(path)
    except UnknownName:
        return None


def _quantity(path: str, value: Any, dimension: str) -> tuple[float, bool]:
    """A value in SI units, or a factor, and whether it is one."""
    if isinstance(value, str):
        text = value.strip()
        factor = text[:1] in ("x", "*", "\u00d7")
        try:
            found = units.parse(text[1:] if factor else text, "count" if factor else dimension)
        except ValueError as error:
            wanted = f"expected a factor such as 'x1.1', found {shown(value)}" if factor else error
            raise BadWorkload(f"sweep: {path}: {wanted}") from None
        return found, factor
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise BadWorkload(
            f"sweep: {path}: {units.expected(dimension)}, or a factor such as 'x1.1', found {shown(value)}"
        )
    return float(value), False


def flat(name: str, given: Any) -> list[Any]:
    """The values of an axis as a list.

    Raises
    ------
    BadWorkload
        For a masked array, an axis with dimensions of its own, and one without a value.
    """
    array = np.asarray(as_numeric(given, f"sweep: {name}"))
    if array.ndim > 1:
        raise BadWorkload(
            f"sweep: an axis is a flat list, found {name} of shape {array.shape}; give each dimension an option"
        )
    if not array.size:
        raise BadWorkload(f"sweep: the axis {name} is empty")
    return list(given)


def _numbers(name: str, values: list[Any]) -> np.ndarray:
    """The values as an array; what holds no numbers is left to be refused by the option's own check."""
    for value in values:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            checked_size(name, value)
            raise BadWorkload(f"sweep: {name}: expected numbers, found {shown(value)}")
    return np.array(values, dtype=float)


def draws(count: Any, seed: Any) -> Axis:
    """The axis of draws of the chips' uncertain figures.

    Raises
    ------
    BadWorkload
    """
    wanted = whole("sweep: draws", count)
    whole("sweep: seed", seed, 0)
    if np.ndim(wanted):
        raise BadWorkload(f"sweep: draws: expected a whole number such as 256, found {shown(count)}")
    numbers = np.arange(wanted)
    said = "draw of the chip's uncertain figures"
    return Axis("draw", "draw", numbers, numbers, attrs={"units": "1", "long_name": said})


def _labels(name: str, values: Sequence[Any]) -> np.ndarray:
    _refuse_twice(name, list(values))
    return np.array(values)


def _refuse_twice(axis: str, labels: list[Any]) -> None:
    """Two points of one name could not be told apart."""
    if len(set(labels)) == len(labels):
        return
    twice = [label for label, times in Counter(labels).items() if times > 1]
    found = ", ".join(f"{label:g}" if isinstance(label, float) else str(label) for label in twice)
    raise BadWorkload(f"sweep: the axis {axis} has {found} more than once; each value makes one coordinate")


def known_figure(path: str, chips: Sequence[Chip]) -> bool:
    """Whether any of the chips, or its family, has a figure of this path."""
    return any(_number(chip, path) is not None for chip in chips)


def options_of(models: Sequence[Model], language: tuple[str, ...], recommendation: tuple[str, ...]) -> tuple[str, ...]:
    """The options that any of the models knows, in order."""
    known: list[str] = []
    if any(isinstance(model, LanguageModel) for model in models):
        known += language
    if any(isinstance(model, Recommender) for model in models):
        known += recommendation
    return tuple(dict.fromkeys(known))
