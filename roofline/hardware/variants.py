"""Variants of a chip: the new values that a what-if gives, read and checked, and what the variant is called."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import MOST_AXES, broadcastable, is_masked
from roofline.hardware import ranges
from roofline.hardware.number import Number

#: Characters of a list of changes beyond which a name or a title counts them instead.
LONGEST_NAME, LONGEST_TITLE = 60, 80

#: What stands among the changes for the software stacks that were laid on a chip.
STACK = "stack"

#: The name of no stack: the chip's own figures.
PLAIN = "plain"
#: What stands among them for the scenario that was chosen.
SCENARIO = "scenario"


# Values -----------------------------------------------------------------------------------------------------------


def changed(path: str, value: object, old: Number) -> Number:
    """The figure with the value that a what-if gives it.

    Parameters
    ----------
    path : str
        The figure's own path, for its range and for errors.
    value : str, float, list or ndarray
        As for :meth:`roofline.hardware.chip.Chip.what_if`.
    old : Number

    Raises
    ------
    BadWorkload
        For a value that the figure cannot have, or that is more than nine orders of magnitude away.
    """
    new = _what_if(old, _read(path, value, old), f"what-if: was {_text(old)}")
    if np.any(np.asarray(old.value) > 0):
        ratio = np.asarray(new.value, dtype=float) / np.max(np.asarray(old.value))
        if np.any((ratio > 1e9) | ((ratio < 1e-9) & (ratio > 0))):  # a slip of units, not a what-if
            raise BadWorkload(f"what-if {path}: {_text(new)} is more than 10^9 away from the present {_text(old)}")
    return new


def followed(path: str, old: Number, ratio: Any, driver: str) -> Number:
    """The figure as it follows another one that a what-if changes, `ratio` times as large.

    Raises
    ------
    BadWorkload
        When that takes it out of its range, or arrays do not broadcast.
    """
    broadcastable("what-if", {path: old.value, f"what {driver} grows by": ratio})
    value = _frozen(old.value * ratio)
    wanted = ranges.outside(path, old.dimension, value)
    if wanted:
        raise BadWorkload(f"what-if {driver}: {path} follows it, and would be {_found(value, old)}; {wanted}")
    return _what_if(old, value, f"what-if: scaled with {driver}")


def under_stacks(paths: Mapping[str, Any], numbers: Mapping[str, Number]) -> tuple[dict[str, Number], dict[str, str]]:
    """What a what-if makes of the same figures under the chip's stacks, and why it can hold on some of them not.

    So a what-if holds on whatever stack the chip is put afterwards, and a factor is one of that stack's figure: the
    order of the two does not matter. Who changes a stack's own figure (``stack.vllm.efficiency...``) means that one.

    Parameters
    ----------
    paths : mapping
        Figure -> new value, as for :func:`changed`.
    numbers : mapping of str to Number
        The chip's own figures.
    """
    wanted = {path for path in paths if path.startswith("efficiency.")}
    new: dict[str, Number] = {}
    unfit: dict[str, str] = {}
    for path, number in numbers.items() if wanted else ():
        if not path.startswith("stack.") or path in paths or (plain := path.split(".", 2)[2]) not in wanted:
            continue
        try:
            new[path] = changed(path, paths[plain], number)
        except BadWorkload as error:
            unfit[path] = str(error)
    return new, unfit


def releases(name: str, known: Collection[str]) -> list[str]:
    """The stacks to lay for one name: itself, or of a version its engine and what changed last up to that version.

    Parameters
    ----------
    name : str
        ``"vllm"``, ``"vllm_0_14"``, ``"vllm 0.14.1"``.
    known : collection of str
        The stacks that there are.
    """
    match = re.fullmatch(r"([a-z]+)[\s_=-]+v?(\d+(?:[._]\d+)*)", name.lower())
    if (name in known and match is None) or match is None or match[1] not in known:
        return [name]
    asked = _version(match[2])
    releases = (re.fullmatch(rf"{match[1]}_(\d[\d_]*)", one) for one in known)
    dated = {_version(found[1]): found[0] for found in releases if found}
    before = [version for version in dated if version <= asked]
    return [match[1], dated[max(before)]] if before else [name]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.split(r"[._]", text))


def still_best(default: Mapping[str, Any], numbers: Mapping[str, Number], own: Collection[str]) -> dict[str, Any]:
    """The default stacks that do not lay what was found on another chip over figures of this one's own.

    Parameters
    ----------
    default : mapping
        Class of model -> the stack, as in a descriptor's ``[default_stack]``.
    numbers : mapping of str to Number
    own : collection of str
        The figures of `numbers` that are not inherited.
    """
    mine = [path for path in own if path.startswith("efficiency.")]

    def covers(name: str) -> bool:
        laid = (f"stack.{name}.{path}" for path in mine)
        return any(path in numbers and path not in own for path in laid)

    return {key: one for key, one in default.items() if not any(covers(n.strip()) for n in one["value"].split("+"))}


def _what_if(old: Number, value: object, source: str) -> Number:
    return dataclasses.replace(
        old,
        value=value,
        kind="what-if",
        source=source,
        low=None,
        high=None,
        shape="triangular",
        inherited="",
        correlates_with="",
        correlation=1.0,
    )


def _frozen(value: object) -> Any:
    """A plain number, or an array that nobody can change."""
    if isinstance(value, np.ndarray):
        if not value.ndim:
            return float(value)
        value.setflags(write=False)
    return value


def _read(path: str, value: object, old: Number) -> Any:
    """A what-if's new value in SI units, a float or an array; :class:`BadWorkload` if it cannot be one."""
    try:
        result = _numbers(path, value, old)
    except RecursionError:
        raise BadWorkload(f"what-if {path}: expected a {old.dimension} or a list of some, nested less deeply") from None
    if np.ndim(result) > MOST_AXES:
        raise BadWorkload(f"what-if {path}: expected at most {MOST_AXES} axes, found {np.ndim(result)}")
    if ranges.is_spread(path) and np.ndim(result):
        raise BadWorkload(
            f"what-if {path}: expected one value, found {np.size(result)}: the doubt of a class is no axis, "
            "so estimate with each by itself"
        )
    if np.size(result) == 0:
        raise BadWorkload(f"what-if {path}: expected at least one {old.dimension}, found {shown(value)}")
    allowed = ranges.of(path, old.dimension)
    lowest, highest = np.min(result), np.max(result)  # NaN if any is
    if not (lowest >= 0 if allowed.least == 0 else lowest > 0) or not math.isfinite(highest):
        raise BadWorkload(f"what-if {path}: expected a positive, finite {old.dimension}, found {shown(value)}")
    if old.dimension == "fraction" and highest > 1:
        raise BadWorkload(f"what-if {path}: expected a fraction of at most 1, found {shown(value)}")
    wanted = ranges.outside(path, old.dimension, result)
    if wanted:
        raise BadWorkload(f"what-if {path}: {wanted}, found {shown(value)}")
    return _frozen(result)


def _numbers(path: str, value: object, old: Number) -> Any:
    if is_masked(value):
        raise BadWorkload(f"what-if {path}: expected a {old.dimension} in every place, found a masked array")
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iuf":
        value = value.tolist()
    if isinstance(value, list | tuple):
        parts = [_numbers(path, v, old) for v in value]
        try:
            return np.array(parts, dtype=float)
        except ValueError:
            raise BadWorkload(f"what-if {path}: expected rows of one length, found {shown(value)}") from None
    return value.astype(float) if isinstance(value, np.ndarray) else _number(path, value, old)


def _number(path: str, value: Any, old: Number) -> Any:
    try:
        if isinstance(value, str):
            text = value.strip()
            if text[:1] in ("x", "*", "\u00d7"):
                return old.value * _factor(text)
            return units.parse(text, old.dimension)
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(value, str):
            raise BadWorkload(f"what-if {path}: {error}{_factor_meant(value)}") from None
    raise BadWorkload(f"what-if {path}: expected a {old.dimension}, found {shown(value)}")


def _factor(text: str) -> float:
    try:
        return units.parse(text[1:], "count")
    except ValueError:
        raise ValueError(f"expected a factor such as 'x2' or 'x0.5', found {shown(text)}") from None


def _factor_meant(text: str) -> str:
    """A hint where somebody wrote 2x for x2."""
    number = re.fullmatch(r"([0-9.]+)\s*[x*\u00d7]", text.strip())
    return f"; did you mean 'x{number[1]}'?" if number else ""


# Names ------------------------------------------------------------------------------------------------------------


def name_of(base: str, changes: Mapping[str, str]) -> str:
    """What a variant is called: ``h100-sxm[clock=2.013GHz]``. Changes that take a line are counted and digested.

    Parameters
    ----------
    base : str
        Name of the chip that was loaded.
    changes : mapping of str to str
        Figure -> new value, as :func:`text_of` writes it; empty: no variant.
    """
    if not changes:
        return base
    parts = [f"{p}={t if t.endswith('values') else t.replace(' ', '')}" for p, t in sorted(changes.items())]
    text = ", ".join(parts)
    if len(text) > LONGEST_NAME:
        text = f"{len(parts)} changes {hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return f"{base}[{text}]"


def title_of(base: str, changes: Mapping[str, str]) -> str:
    """The title of a variant: ``NVIDIA H100 SXM5 80GB [clock = 2.013 GHz] [stack vllm]``."""
    return base + _suffix(changes)


def base_title(title: str, changes: Mapping[str, str]) -> str:
    """The title of the chip that a variant was made of."""
    return title.removesuffix(_suffix(changes))


def _suffix(changes: Mapping[str, str]) -> str:
    figures = [f"{path} = {text}" for path, text in changes.items() if path != STACK]
    text = ", ".join(figures)
    shown = f" [{text if len(text) <= LONGEST_TITLE else f'{len(figures)} figures changed'}]" if figures else ""
    return shown + (f" [stack {changes[STACK]}]" if STACK in changes else "")


def text_of(number: Number) -> str:
    """A figure's value as a name shows it: the shortest text that tells it from its neighbours; "4 values"."""
    if isinstance(number.value, np.ndarray):
        return _text(number)
    unit = units.DIMENSIONS[number.dimension][0]
    for digits in (4, 6, 9, 12):
        text = units.text(number.value, unit, digits).replace(",", "")
        if math.isclose(units.parse(text, number.dimension), number.value, rel_tol=1e-15):
            return text
    return f"{float(number.value)!r} {unit}".rstrip()


def _text(number: Number) -> str:
    return _found(number.value, number)


def _found(value: Any, number: Number) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.size} values"
    return units.text(value, units.DIMENSIONS[number.dimension][0])
