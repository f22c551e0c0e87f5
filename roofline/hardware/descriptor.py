"""A descriptor file, parsed -> checked, flat, sourced figures.

A descriptor is data. Reading one never evaluates anything: TOML in, numbers with their provenance out, or a
:class:`~roofline.base.errors.BadDescriptor` that names the file, the key, what was found and what was expected.
`Chip` (in ``chip.py``) is what the rest of the library sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from roofline.base import units
from roofline.base.errors import BadDescriptor, UnknownName, closest
from roofline.hardware import ranges
from roofline.hardware.explain import explain
from roofline.hardware.number import Number, Scenario
from roofline.hardware.schema import Descriptor, Figure, Text, parameter_schema


def validate(raw: dict[str, Any], file: str, schema: type[BaseModel] = Descriptor) -> dict[str, Number]:
    """Check a raw descriptor against the schema and flatten its figures.

    Parameters
    ----------
    raw : dict
        The parsed TOML, ``extends`` already merged in. Not to be changed afterwards: figures are remembered as checked.
    file : str
        For error messages.
    schema : type, optional
        :class:`Descriptor` or :class:`FamilyDefaults`.

    Returns
    -------
    dict of str to Number
        ``"memory.hbm.bandwidth" -> Number``.

    Raises
    ------
    BadDescriptor
        With every problem found, each naming its key.
    """
    try:
        checked = schema.model_validate(raw)
    except ValidationError as error:
        raise BadDescriptor(file, explain(error, schema)) from None
    sources = raw.get("sources", {})
    numbers: dict[str, Number] = {}
    problems: list[str] = []
    for name, value in checked:
        if name == "efficiency":
            _flatten_efficiency(value, sources, numbers, problems)
        elif name == "stack":
            for stack, table in value.items():
                _flatten_efficiency(table.efficiency, sources, numbers, problems, f"stack.{stack}.efficiency")
                _flatten(f"stack.{stack}.serving", table.serving, sources, numbers)
        elif name not in ("calibration", "scenario"):
            _flatten(name, value, sources, numbers)
    problems += _mistyped_sources(numbers, sources)
    problems += [problem for path, number in numbers.items() if (problem := _out_of_range(path, number))]
    if isinstance(checked, Descriptor):
        problems += _consistency(checked, numbers)
    if problems:
        raise BadDescriptor(file, problems)
    return numbers


def scenarios(raw: dict[str, Any], file: str, numbers: dict[str, Number]) -> dict[str, Scenario]:
    """The scenarios of a descriptor that :func:`validate` has passed, their figures checked as the chip's own are.

    Parameters
    ----------
    raw, file
        As for :func:`validate`.
    numbers : dict of str to Number
        What that returned.

    Raises
    ------
    BadDescriptor
        For figures that the chip does not have, and weights that do not sum to 1.
    """
    tables, problems = raw.get("scenario", {}), []
    found: dict[str, Scenario] = {}
    for name, table in tables.items():
        own: dict[str, Number] = {}
        for path, figure in _leaves(table.get("figures", {})):
            place = f"scenario.{name}.figures.{path}"
            if path not in numbers:
                problems.append(f"{place}: {UnknownName('figure of the chip', path, numbers)}")
                continue
            schema = _SCHEMA_OF[numbers[path].dimension]
            try:
                own[path] = _number(_figure(schema, figure), raw.get("sources", {}))
            except ValidationError as error:
                problems.extend(explain(error, schema, place))
                continue
            wrong = _out_of_range(path, own[path])
            problems += [f"scenario.{name}.figures.{wrong}"] if wrong else []
        found[name] = Scenario(float(table["weight"]), own, table.get("note", ""))
    whole = sum(one.weight for one in found.values())
    if found and abs(whole - 1) > 1e-3:
        problems.append(f"scenario: expected weights that sum to 1, found {whole:.6g} of {', '.join(found)}")
    if problems:
        raise BadDescriptor(file, problems)
    return found


def _leaves(table: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The figures of nested tables, each with its path."""
    for key, value in table.items():
        if isinstance(value, dict) and "value" not in value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


#: The schema of a figure of each dimension.
_FIGURES: tuple[type[Figure], ...] = (Figure, *Figure.__subclasses__())
_SCHEMA_OF = {one.dimension: one for one in _FIGURES}


def _out_of_range(path: str, number: Number) -> str:
    if ranges.is_spread(path) and number.low is not None:
        return f"{path}: expected one value without low and high, since a spread is itself a doubt"
    given = [v for v in (number.value, number.low, number.high) if v is not None]
    wanted = ranges.outside(path, number.dimension, *given)
    if not wanted:
        return ""
    unit = units.DIMENSIONS[number.dimension][0]
    return f"{path}: {wanted}, found {' and '.join(units.text(v, unit, 6) for v in dict.fromkeys(given))}"


def _number(figure: Figure, sources: dict[str, str]) -> Number:
    si = figure._numbers
    return Number(
        si["value"],
        figure.dimension,
        figure.kind,
        sources.get(figure.source, figure.source),
        figure.note,
        si.get("low"),
        si.get("high"),
        figure.shape or "triangular",
        correlates_with=figure.correlates_with or "",
        correlation=figure.correlation or 1.0,
    )


def _mistyped_sources(numbers: dict[str, Number], sources: dict[str, str]) -> list[str]:
    """A source that is one word and nearly a key of ``[sources]``; any other text is the reference itself."""
    written = set(sources.values())
    where: dict[str, list[str]] = {}
    for path, number in numbers.items():
        if number.source not in written and " " not in number.source:
            where.setdefault(number.source, []).append(path)
    problems = []
    for source, (first, *more) in where.items():
        near = closest(source, sources, 1)
        if near:
            others = f" (and in {len(more)} more figures)" if more else ""
            problems.append(f"{first}.source: [sources] has no {source!r}; did you mean {near[0]!r}?{others}")
    return problems


def _flatten(path: str, value: object, sources: dict[str, str], out: dict[str, Number]) -> None:
    if isinstance(value, Figure):
        out[path] = _number(value, sources)
    elif isinstance(value, BaseModel):
        for name, child in value:
            _flatten(f"{path}.{name}", child, sources, out)
    elif isinstance(value, dict):
        for name, child in value.items():
            _flatten(f"{path}.{name}", child, sources, out)


#: Figures remembered as checked: some ten times what the built-in chips have.
MOST_CHECKED = 20_000

#: Figures checked before, by identity: a chip that extends another shares the parsed figures that it inherits.
_checked: dict[tuple[int, type[Figure]], tuple[object, Figure]] = {}


def _figure(schema: type[Figure], raw: object) -> Figure:
    known = _checked.get((id(raw), schema))
    if known is None or known[0] is not raw:
        if len(_checked) > MOST_CHECKED:
            _checked.clear()
        known = _checked[id(raw), schema] = (raw, schema.model_validate(raw))
    return known[1]


def _flatten_efficiency(
    table: dict[str, dict[str, object]],
    sources: dict[str, str],
    out: dict[str, Number],
    problems: list[str],
    place: str = "efficiency",
) -> None:
    """``[efficiency.gemm] launch_s = {...}`` and, for one dtype only, ``[efficiency.gemm.fp8] launch_s = {...}``."""

    def read(path: str, name: str, figure: object) -> None:
        schema = parameter_schema(name)
        try:
            out[path] = _number(_figure(schema, figure), sources)
        except ValidationError as error:
            problems.extend(explain(error, schema, path))

    for operator, parameters in table.items():
        for name, figure in parameters.items():
            path = f"{place}.{operator}.{name}"
            if isinstance(figure, dict) and "value" not in figure and any(isinstance(v, dict) for v in figure.values()):
                if name not in units.DTYPE_BYTES:
                    problems.append(f"{path}: expected a dtype, one of {', '.join(units.DTYPE_BYTES)}, found {name!r}")
                for inner_name, inner in figure.items():
                    read(f"{path}.{inner_name}", inner_name, inner)
            else:
                read(path, name, figure)


def _consistency(d: Descriptor, numbers: dict[str, Number]) -> list[str]:
    problems = []
    levels = list(d.memory)
    if d.memory[levels[-1]].bandwidth is None:
        problems.append(f"memory.{levels[-1]}.bandwidth: main memory (the last level) needs a bandwidth")
    mains = [name for name in levels if d.memory[name].type == "dram"]
    if len(mains) > 1:
        problems.append(
            f"memory.{mains[-1]}: expected one main memory, found {' and '.join(mains)} of type dram: what is replaced "
            f'goes by without = ["memory.{mains[0]}"], and a memory in front of the main one is of type cache'
        )
    elif mains and mains[0] != levels[-1]:
        problems.append(
            f"memory.{levels[-1]}: expected levels from the core outward with main memory last, found this "
            f'{d.memory[levels[-1]].type} after {mains[0]} (to insert a level, restate [memory]: without = ["memory"])'
        )
    for name, place in (("main", levels[-1:]), ("cache", levels[-2:][:1])):
        if name in levels and name not in place:
            problems.append(f"memory.{name}: this name means the {'last' if name == 'main' else 'last but one'} level")
    problems += _unknown_stacks(d, numbers)
    if not any(f"engines.vector.{dtype}" in numbers for dtype in units.VECTOR_DTYPES):
        problems.append(f"engines.vector: expected a rate for at least one of {', '.join(units.VECTOR_DTYPES)}")
    return problems


def _unknown_stacks(d: Descriptor, numbers: dict[str, Number]) -> list[str]:
    """Default stacks that the descriptor has no figures of."""
    known = dict.fromkeys(path.split(".")[1] for path in numbers if path.startswith("stack."))
    problems = []
    for key, text in d.default_stack:
        for name in text.value.split("+") if isinstance(text, Text) else ():
            name = name.strip()
            if name in d.stack and name not in known:
                problems.append(f"default_stack.{key}: the table of the stack {name!r} has no figures")
            elif name not in known:
                near = closest(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known) or 'none'}"
                problems.append(f"default_stack.{key}: the chip has no stack {name!r}{hint}")
    return problems
