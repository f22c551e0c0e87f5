"""A chip as plain lists and texts that JSON holds to the bit, and back again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from roofline.hardware.chip import Chip
from roofline.hardware.number import Number, Scenario

_FIELDS = dataclasses.fields(Number)
_USUAL = [None if one.default is dataclasses.MISSING else one.default for one in _FIELDS]

#: Where in a figure there is text: figures share it, so that each text stands once in a packed chip.
_TEXT_AT = tuple(i for i, one in enumerate(_FIELDS) if one.type in ("str", str))


def packed(chip: Chip) -> dict[str, object]:
    """All fields of a chip that was read from a file, of which no figure is an array."""
    texts: dict[str, int] = {}

    def rows(numbers: Mapping[str, Number]) -> dict[str, list[Any]]:
        found = {}
        for path, number in numbers.items():
            row = [getattr(number, one.name) for one in _FIELDS]
            while row[-1] == _USUAL[len(row) - 1]:
                row.pop()
            for at in _TEXT_AT:
                if at < len(row):
                    row[at] = texts.setdefault(row[at], len(texts))
            found[path] = row
        return found

    fields = {one.name: getattr(chip, one.name) for one in dataclasses.fields(chip) if one.init}
    fields |= {name: rows(fields[name]) for name in ("numbers", "defaults")}
    fields["scenarios"] = {name: [s.weight, rows(s.numbers), s.note] for name, s in chip.scenarios.items()}
    return {"texts": list(texts), "fields": fields}


def unpacked(found: dict[str, Any]) -> Chip:
    """The chip of :func:`packed`, equal to it figure by figure.

    Raises
    ------
    LookupError, TypeError, ValueError
        For anything else.
    """
    texts, fields = found["texts"], found["fields"]

    def numbers(rows: dict[str, list[Any]]) -> dict[str, Number]:
        made = {}
        for path, row in rows.items():
            for at in _TEXT_AT:
                if at < len(row):
                    row[at] = texts[row[at]]
            made[path] = Number(*row)
        return made

    forks = fields["scenarios"].items()
    scenarios = {name: Scenario(weight, numbers(rows), note) for name, (weight, rows, note) in forks}
    fields |= {name: numbers(fields[name]) for name in ("numbers", "defaults")}
    fields["flags"]["levels"] = tuple(fields["flags"]["levels"])
    return Chip(**{**fields, "aliases": tuple(fields["aliases"]), "scenarios": scenarios})
