"""The schema of a chip descriptor: a TOML file -> checked, flat, sourced figures.

A descriptor is data. Reading one never evaluates anything: TOML in, numbers with their provenance out, or a
:class:`~roofline.base.errors.BadDescriptor` that names the file, the key, what was found and what was expected.
`Chip` (in ``chip.py``) is what the rest of the library sees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from roofline.base import units
from roofline.base.errors import BadDescriptor, closest, shown
from roofline.hardware.explain import explain

Kind = Literal["datasheet", "measured", "derived", "estimated"]
Family = Literal["gpu", "tpu", "npu", "cpu", "dataflow"]
Status = Literal["shipping", "announced", "estimated", "retired"]


#: A word that can stand between the dots of a figure's path.
Word = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
LevelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Source = Annotated[str, Field(pattern=r"\S")]
NAME = r"^[a-z0-9][a-z0-9.+_-]*$"


class _Strict(BaseModel):
    # Strict: `year = "2022"` and `value = true` are mistakes, not numbers.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Figure(_Strict):
    """One figure of a chip: a quantity in human units, where it comes from, and how sure it is."""

    dimension: ClassVar[str] = "count"

    value: str | float = Field(description='The figure with its unit, such as "3.35 TB/s"; counts and fractions bare.')
    source: Source = Field(description="Where it was read: a key of [sources], or the reference itself.")
    kind: Kind = Field(description="datasheet, measured, derived (by arithmetic) or estimated.")
    low: str | float | None = Field(default=None, description="The lowest value that is believed possible.")
    high: str | float | None = Field(default=None, description="The highest value that is believed possible.")
    shape: Literal["uniform", "triangular", "loguniform"] | None = Field(
        default=None, description="Shape of the belief from low to high; triangular (the default) peaks at value."
    )
    note: str = Field(default="", description="Why a range; which sources disagree; what was assumed.")

    _numbers: dict[str, float] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Figure:
        given = [name for name in ("value", "low", "high") if getattr(self, name) is not None]
        numbers = self._numbers = {name: self._si(name) for name in given}
        if ("low" in numbers) != ("high" in numbers):
            raise ValueError("a range needs both low and high")
        if "low" in numbers and not numbers["low"] <= numbers["value"] <= numbers["high"]:
            raise ValueError(f"expected low <= value <= high, found {self.low!r}, {self.value!r}, {self.high!r}")
        if self.shape is not None and "low" not in numbers:
            raise ValueError("a shape needs low and high")
        if self.shape == "loguniform" and not numbers["low"] > 0:
            raise ValueError(f"expected a low above zero for shape loguniform, found {self.low!r}")
        return self

    def _si(self, name: str) -> float:
        number = units.parse(getattr(self, name), self.dimension)
        if number < 0 or (number == 0 and self.dimension not in ("time", "count")):
            raise ValueError(f"{name}: expected a positive {self.dimension}, found {shown(getattr(self, name))}")
        if self.dimension == "fraction" and number > 1:
            raise ValueError(f"{name}: expected a fraction of at most 1, found {getattr(self, name)!r}")
        return number


class Bandwidth(Figure):
    dimension = "bandwidth"


class Rate(Figure):
    dimension = "rate"


class Capacity(Figure):
    dimension = "capacity"


class Duration(Figure):
    dimension = "time"


class Frequency(Figure):
    dimension = "frequency"


class Power(Figure):
    dimension = "power"


class Area(Figure):
    dimension = "area"


class Money(Figure):
    dimension = "money"


class Fraction(Figure):
    dimension = "fraction"


class Text(_Strict):
    """A fact in words, with its source."""

    value: str
    source: Source
    kind: Kind
    note: str = ""


class Cores(_Strict):
    """The units that run tiles in parallel: SM, CU, PE, TensorCore, CPU core."""

    name: str = Field(description="What the vendor calls one: SM, CU, PE, TensorCore, core.")
    count: Figure


class Engine(_Strict):
    """Dense peak rates by dtype; `sparse` holds the 2:4 structured-sparsity rates where they exist."""

    fp64: Rate | None = None
    fp32: Rate | None = None
    tf32: Rate | None = None
    bf16: Rate | None = None
    fp16: Rate | None = None
    fp8: Rate | None = None
    int8: Rate | None = None
    fp6: Rate | None = None
    fp4: Rate | None = None
    int4: Rate | None = None


class MatrixEngine(Engine):
    sparse: Engine | None = None


class Engines(_Strict):
    matrix: MatrixEngine | None = None
    vector: Engine


class Level(_Strict):
    """One memory level. Levels are listed from the core outward; the last is main memory."""

    type: Literal["scratchpad", "cache", "dram"]
    per: Literal["core", "chip"] = Field(default="chip", description="Whether the figures are of one core or the chip.")
    capacity: Capacity
    bandwidth: Bandwidth | None = Field(default=None, description="Read bandwidth.")
    latency: Duration | None = None


class Link(_Strict):
    """A way off the chip. Bandwidth is per direction and per chip."""

    bandwidth: Bandwidth
    latency: Duration | None = None
    domain: Figure | None = Field(default=None, description="Chips that reach each other over this link.")
    topology: Literal["switch", "mesh", "ring", "torus2d", "torus3d", "bridge", "tree"] | None = None
    switch_reduction: bool = Field(default=False, description="The switch adds all-reduce operands in flight.")
    name: str = ""


class Links(_Strict):
    scale_up: Link | None = None
    network: Link | None = None
    host: Link | None = None


class Overheads(_Strict):
    launch: Duration | None = Field(default=None, description="Fixed cost of one kernel (job) on the device.")
    step: Duration | None = Field(default=None, description="Fixed cost of one inference step: framework and host.")
    engine_spread: Figure | None = Field(
        default=None, description="Standard deviation of ln(measured / predicted) of a model, beyond its operators'."
    )


class Latencies(_Strict):
    """What a way in or out takes where its own table gives no latency."""

    memory: Duration | None = None
    link: Duration | None = None
    network: Duration | None = None
    host: Duration | None = None


class PowerTable(_Strict):
    tdp: Power | None = None
    typical: Power | None = None


class Price(_Strict):
    purchase: Money | None = None


class Stack(_Strict):
    """Efficiency parameters under one software stack (engine, library); the others stay as they are."""

    note: str = ""
    efficiency: dict[Word, dict[Word, Any]] = {}


class Calibration(_Strict):
    """What the efficiency parameters of an operator class were fitted on."""

    data: str
    rows: int = Field(ge=1)
    error: float = Field(ge=0, description="Mean absolute error (fraction) on rows that were not fitted.")
    date: str = ""
    note: str = ""


class Descriptor(_Strict):
    """A chip descriptor file, schema 1."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str = Field(pattern=NAME, max_length=64)
    title: str = Field(default="", description="The chip's full name.")
    extends: str = Field(default="", description="Name of the chip whose figures this one starts from.")
    without: list[str] = Field(default=[], description="Inherited tables or figures that this chip does not have.")
    aliases: list[str] = []
    vendor: str = Field(pattern=r"\S")
    family: Family
    year: int = Field(ge=1990, le=2100, description="Year of availability, or of the estimate.")
    status: Status
    note: str = ""
    sources: dict[str, str] = {}
    process: Text | None = None
    die_area: Area | None = None
    clock: Frequency | None = None
    cores: Cores
    engines: Engines
    memory: dict[LevelName, Level] = Field(min_length=1)
    latency: Latencies = Latencies()
    links: Links = Links()
    overheads: Overheads = Overheads()
    power: PowerTable = PowerTable()
    price: Price = Price()
    efficiency: dict[Word, dict[Word, Any]] = {}
    stack: dict[Word, Stack] = Field(default={}, description="Parameters that differ by software: on_stack(NAME).")
    calibration: dict[Word, Calibration] = {}


class FamilyDefaults(_Strict):
    """Defaults of a family of chips (``chips/families/``): what a chip without its own figures inherits."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    family: Family
    note: str = ""
    sources: dict[str, str] = {}
    latency: Latencies = Latencies()
    overheads: Overheads = Overheads()
    efficiency: dict[Word, dict[Word, Any]] = {}


@dataclass(frozen=True, slots=True)
class Number:
    """One resolved figure: SI value, provenance and range.

    Attributes
    ----------
    value : float or ndarray
        In SI units.
    dimension : str
        Key of :data:`roofline.base.units.DIMENSIONS`.
    kind, source, note : str
        Provenance; `kind` is ``"what-if"`` for a figure that a caller changed.
    low, high : float or None
        The believed range, in SI units.
    shape : str
        ``uniform``, ``triangular`` or ``loguniform``.
    inherited : str
        Name of the chip or family that the figure comes from; empty for the chip's own.
    """

    value: Any
    dimension: str
    kind: str
    source: str
    note: str = ""
    low: float | None = None
    high: float | None = None
    shape: str = "triangular"
    inherited: str = ""


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
        elif name != "calibration":
            _flatten(name, value, sources, numbers)
    problems += _mistyped_sources(numbers, sources)
    if isinstance(checked, Descriptor):
        problems += _consistency(checked, numbers)
    if problems:
        raise BadDescriptor(file, problems)
    return numbers


def _number(figure: Figure, sources: dict[str, str]) -> Number:
    si = figure._numbers
    return Number(
        si["value"], figure.dimension, figure.kind, sources.get(figure.source, figure.source), figure.note,
        si.get("low"), si.get("high"), figure.shape or "triangular",
    )  # fmt: skip


def _mistyped_sources(numbers: dict[str, Number], sources: dict[str, str]) -> list[str]:
    """A source that is one word and nearly a key of ``[sources]``; any other text is the reference itself."""
    written = set(sources.values())
    problems = []
    for path, number in numbers.items():
        if number.source not in written and " " not in number.source and sources:
            near = closest(number.source, sources, 1)
            if near:
                problems.append(f"{path}.source: [sources] has no {number.source!r}; did you mean {near[0]!r}?")
    return problems


def _flatten(path: str, value: Any, sources: dict[str, str], out: dict[str, Number]) -> None:
    if isinstance(value, Figure):
        out[path] = _number(value, sources)
    elif isinstance(value, BaseModel):
        for name, child in value:
            _flatten(f"{path}.{name}", child, sources, out)
    elif isinstance(value, dict):
        for name, child in value.items():
            _flatten(f"{path}.{name}", child, sources, out)


def parameter_schema(name: str) -> type[Figure]:
    """The schema of an efficiency parameter, told by the ending of its name."""
    return next((schema for ending, schema in _ENDINGS.items() if name.endswith(ending)), Figure)


_ENDINGS: dict[str, type[Figure]] = {
    "_s": Duration, "_fraction": Fraction, "_Bps": Bandwidth, "_bytes": Capacity,
}  # fmt: skip


#: Figures remembered as checked: some ten times what the built-in chips have.
MOST_CHECKED = 20_000

#: Figures checked before, by identity: a chip that extends another shares the parsed figures that it inherits.
_checked: dict[tuple[int, type[Figure]], tuple[Any, Figure]] = {}


def _figure(schema: type[Figure], raw: Any) -> Figure:
    known = _checked.get((id(raw), schema))
    if known is None or known[0] is not raw:
        if len(_checked) > MOST_CHECKED:
            _checked.clear()
        known = _checked[id(raw), schema] = (raw, schema.model_validate(raw))
    return known[1]


def _flatten_efficiency(
    table: dict[str, dict[str, Any]], sources: dict[str, str], out: dict[str, Number], problems: list[str],
    place: str = "efficiency",
) -> None:  # fmt: skip
    """``[efficiency.gemm] launch_s = {...}`` and, for one dtype only, ``[efficiency.gemm.fp8] launch_s = {...}``."""

    def read(path: str, name: str, figure: Any) -> None:
        schema = parameter_schema(name)
        try:
            number = out[path] = _number(_figure(schema, figure), sources)
        except ValidationError as error:
            problems.extend(explain(error, schema, path))
            return
        given = [v for v in (number.value, number.low, number.high) if v is not None]
        wanted = units.out_of_limits(path, min(given), max(given))
        if wanted:
            problems.append(f"{path}: {wanted}, found {number.value:g}")

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
    for outer, inner in zip(levels[1:], levels, strict=False):
        if d.memory[inner].type == "dram" != d.memory[outer].type:
            problems.append(
                f"memory.{outer}: expected levels from the core outward with main memory last, found this "
                f'{d.memory[outer].type} after {inner} (to insert a level, restate [memory]: without = ["memory"])'
            )
    for name, place in (("main", levels[-1:]), ("cache", levels[-2:][:1])):
        if name in levels and name not in place:
            problems.append(f"memory.{name}: this name means the {'last' if name == 'main' else 'last but one'} level")
    for path in [p for p in numbers if p == "cores.count" or p.endswith(".domain")]:
        value = numbers[path].value
        if value < 1 or value % 1:
            problems.append(f"{path}: expected a whole number of at least 1, found {value:g}")
    if not any(f"engines.vector.{dtype}" in numbers for dtype in units.VECTOR_DTYPES):
        problems.append(f"engines.vector: expected a rate for at least one of {', '.join(units.VECTOR_DTYPES)}")
    return problems


def warnings(numbers: dict[str, Number]) -> list[str]:
    """Figures outside the range of known chips. Warnings only: a what-if may leave the range on purpose.

    Bounds: the lowest and highest of the built-in descriptors, widened by about three times.
    """
    levels = [p.split(".")[1] for p in numbers if re.fullmatch(r"memory\.\w+\.capacity", p)]
    main = numbers[f"memory.{levels[-1]}.bandwidth"].value
    peaks = {p.split(".")[2]: n.value for p, n in numbers.items() if re.fullmatch(r"engines\.matrix\.\w+", p)}
    peaks = peaks or {p.split(".")[2]: n.value for p, n in numbers.items() if re.fullmatch(r"engines\.vector\.\w+", p)}
    found = []

    def check(what: str, value: float, low: float, high: float, unit: str) -> None:
        if not low <= value <= high:
            found.append(f"{what} is {value:.3g} {unit}, outside the {low:g} to {high:g} of known chips")

    dtype, peak = max(peaks.items(), key=lambda item: item[1])
    check(f"the {dtype} ridge point", peak / main, 0.25, 10_000.0, "FLOP per byte of main memory")
    if "power.tdp" in numbers:
        check(f"the {dtype} efficiency", peak / numbers["power.tdp"].value / 1e12, 0.01, 30.0, "TFLOP/s per watt")
    capacity = numbers[f"memory.{levels[-1]}.capacity"].value
    check("the time to read all of main memory", capacity / main, 1e-6, 3.0, "s")
    for wide, narrow in (("bf16", "fp32"), ("fp8", "bf16"), ("fp4", "fp8"), ("int8", "bf16")):
        if wide in peaks and narrow in peaks and peaks[wide] < peaks[narrow] * 0.99 and wide != "int8":
            found.append(f"{wide} ({peaks[wide]:.3g} FLOP/s) is slower than the wider {narrow} ({peaks[narrow]:.3g})")
    return found
