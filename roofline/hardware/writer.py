"""A chip as the text of a descriptor that stands alone: everything inherited or changed written out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roofline.base import tomlfile, units
from roofline.base.errors import BadWorkload
from roofline.base.tomlfile import Table
from roofline.hardware.schema import LONGEST_NAME, NAME

if TYPE_CHECKING:
    from roofline.hardware.number import Number, Scenario


def to_toml(
    head: Table,
    flags: Mapping[str, Any],
    numbers: Mapping[str, Number],
    calibration: Mapping[str, object],
    default_stack: Mapping[str, object],
    scenarios: Mapping[str, Scenario],
) -> str:
    """The text of a descriptor that loads to the same figures; see :meth:`roofline.hardware.chip.Chip.to_toml`.

    Parameters
    ----------
    head : dict
        The plain keys at its top, without ``schema``.
    flags : dict
        What is not a number, by dotted path (``levels`` apart).
    numbers : dict of str to Number
    calibration : dict
    default_stack : dict
    scenarios : dict of str to Scenario
    """
    table: Table = {"schema": 1, **head}
    for level in flags["levels"]:
        _put(table, f"memory.{level}", {})  # the order of the levels is part of what the file says
    process = {key.removeprefix("process."): flag for key, flag in flags.items() if key.startswith("process.")}
    if process:
        table["process"] = {"value": flags["process"], **process}
    _put(table, "cores.name", flags["core"])
    for path, flag in flags.items():
        if path.startswith(("memory.", "links.")):
            _put(table, path, flag)
    for path, number in numbers.items():
        _put(table, path, figure(path, number))
    for name, scenario in scenarios.items():
        _put(table, f"scenario.{name}.weight", scenario.weight)
        _put(table, f"scenario.{name}.note", scenario.note)
        for path, number in scenario.numbers.items():
            _put(table, f"scenario.{name}.figures.{path}", figure(path, number))
    for key, one in (("default_stack", default_stack), ("calibration", calibration)):
        if one:
            table[key] = one
    return tomlfile.write(table)


def _put(table: Table, path: str, value: object) -> None:
    *outer, last = path.split(".")
    for part in outer:
        table = table.setdefault(part, {})
    table[last] = value


def identifier(text: str) -> str:
    """A name that a descriptor may have, made of a title or of the name of a variant."""
    if re.fullmatch(NAME, text) and len(text) <= LONGEST_NAME:
        return text
    return re.sub(r"[^a-z0-9.+_]+", "-", text.lower()).strip(".+_-")[:LONGEST_NAME] or "machine"


def figure(path: str, number: Number) -> Table:
    """A figure as the table that a descriptor has of it.

    Raises
    ------
    BadWorkload
        For an array, or a figure without a source.
    """
    if not isinstance(number.value, int | float):
        raise BadWorkload(f"{path} is an array: a descriptor holds one value for each figure")
    if not number.source.strip():
        raise BadWorkload(f"{path} has no source: a descriptor says of every figure where it was read")
    figure: Table = {"value": _quantity(number.value, number.dimension)}
    if number.low is not None and number.high is not None:
        figure |= {"low": _quantity(number.low, number.dimension), "high": _quantity(number.high, number.dimension)}
        figure["shape"] = number.shape
        if number.correlates_with:
            figure |= {"correlates_with": number.correlates_with, "correlation": number.correlation}
    figure |= {"source": number.source, "kind": "estimated" if number.kind == "what-if" else number.kind}
    return figure | ({"note": number.note} if number.note else {})


def _quantity(value: float, dimension: str) -> str | float:
    """The shortest text that reads back as exactly this value; counts and fractions bare."""
    unit = units.DIMENSIONS[dimension][0]
    if not unit:
        return int(value) if value == int(value) else float(value)
    exact = f"{float(value)!r} {unit}"
    short = [units.text(value, unit, digits).replace(",", "") for digits in (4, 6, 9, 12)]
    if dimension == "capacity":
        binary = ((value / 2**power, name) for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")))
        short[1:1] = [f"{count:.0f} {name}" for count, name in binary if count >= 1 and count % 1 == 0]
    return next((text for text in short if units.parse(text, dimension) == value), exact)
