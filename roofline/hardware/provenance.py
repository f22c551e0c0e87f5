"""Sources and kinds, said once: a table's `source` and `kind` hold for the figures in it and below that have none.

Done to each file by itself, before ``extends`` merges it with another: what one file says once is not said for another.
"""

from __future__ import annotations

import functools
import typing
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from roofline.base import units
from roofline.base.errors import BadDescriptor, shown
from roofline.base.tomlfile import Table
from roofline.hardware.schema import Calibration, Descriptor, Figure, Kind, Text

_KINDS = typing.get_args(Kind)

#: What stands in a file for what is still to be filled in.
BLANK = "?"


class _Shared(NamedTuple):
    """The source and kind that the nearest tables give to the figures in them; empty: none."""

    source: str = ""
    kind: str = ""


class _Place(NamedTuple):
    """What the schema has under a key: a figure, a table, tables with names of one's own, efficiency parameters."""

    form: Literal["figure", "table", "tables", "efficiency"]
    model: type[BaseModel] = BaseModel

    def inner(self, key: str) -> _Place | None:
        """What it has under a key of this one; None for what is no figure and holds none."""
        if self.form == "table":
            return _places(self.model).get(key)
        return _Place("table", self.model) if self.form == "tables" else self


def filled(raw: Table, file: str, schema: type[BaseModel] = Descriptor) -> Table:
    """The raw descriptor with every figure a table of its own, and `source` and `kind` in each.

    What has no source or kind in reach is left as it is, for the schema to refuse.

    Parameters
    ----------
    raw : dict
        One parsed file; not changed. Figures that say all themselves are the same objects in the result.
    file : str
        For error messages.
    schema : type, optional
        :class:`~roofline.hardware.schema.Descriptor` or ``FamilyDefaults``.

    Raises
    ------
    BadDescriptor
        For what is still blank, a `source` that is no text, or a `kind` that there is not.
    """
    problems: list[str] = []
    found = _table(raw, _Place("table", schema), _Shared(), "", problems)
    if problems:
        raise BadDescriptor(file, problems)
    return found


def _table(table: Table, place: _Place, above: _Shared, path: str, problems: list[str]) -> Table:
    """A table whose figures have its source and kind, or those of the tables around it."""
    shared = _shared(table, above, path, problems)
    found: Table = {}
    for key, value in table.items():
        if key in _Shared._fields:
            continue  # handed down, and not to be inherited by another file
        inner = place.inner(key)
        where = f"{path}.{key}" if path else key
        if inner is None:
            problems += _blanks(value, where)
            found[key] = value
        elif inner.form == "figure" or (inner.form == "efficiency" and not _is_table(value)):
            dimension = inner.model.dimension if issubclass(inner.model, Figure) else ""
            problems += _blanks(value, where, f": {units.expected(dimension)}" if dimension else "")
            found[key] = _figure(value, shared)
        else:
            found[key] = _table(value, inner, shared, where, problems) if isinstance(value, dict) else value
    return found


def _blanks(value: object, path: str, wanted: str = "") -> list[str]:
    """The blanks in what stands under a key."""
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in _blanks(inner, f"{path}.{key}", wanted)]
    return [f'{path}: is still blank ("{BLANK}"){wanted}'] if value == BLANK else []


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and "value" not in value


def _shared(table: Table, above: _Shared, path: str, problems: list[str]) -> _Shared:
    source, kind = table.get("source", above.source), table.get("kind", above.kind)
    if BLANK in (source, kind):
        problems += [line for key in _Shared._fields for line in _blanks(table.get(key), f"{path}.{key}".lstrip("."))]
        return above
    if "source" in table and not (isinstance(source, str) and source.strip()):
        problems.append(f"{path}.source: expected some text, found {shown(source)}".lstrip("."))
        source = above.source
    if "kind" in table and kind not in _KINDS:
        problems.append(f"{path}.kind: expected {' or '.join(map(repr, _KINDS))}, found {shown(kind)}".lstrip("."))
        kind = above.kind
    return _Shared(source, kind)


def _figure(value: object, shared: _Shared) -> Any:
    """A figure with the source and kind of what is around it, where it has none of its own."""
    plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    table = {"value": value} if plain else value
    if not isinstance(table, dict) or "value" not in table:
        return value
    missing = {name: text for name, text in shared._asdict().items() if text and name not in table}
    return {**table, **missing} if missing else value


@functools.cache
def _places(model: type[BaseModel]) -> dict[str, _Place]:
    """The keys of a table under which the schema has figures."""
    found = {}
    for name, field in model.model_fields.items():
        place = _place(field.annotation)
        if place is not None:
            found[field.alias or name] = place
    return found


def _place(annotation: object) -> _Place | None:
    if typing.get_origin(annotation) is dict:
        inner = typing.get_args(annotation)[1]
        if typing.get_origin(inner) is dict:
            return _Place("efficiency")
        is_table = isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Calibration
        return _Place("tables", inner) if is_table else None
    for option in (annotation, *typing.get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return _Place("figure" if issubclass(option, Figure | Text) else "table", option)
    return None
