"""The schema of a chip descriptor: a TOML file -> checked, flat, sourced figures.

A descriptor is data. Reading one never evaluates anything: TOML in, numbers with their provenance out, or a
:class:`~roofline.errors.BadDescriptor` that names the file, the key, what was found and what was expected.
`Chip` (in ``chip.py``) is what the rest of the library sees.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from roofline import units
from roofline.errors import BadDescriptor, closest

#: Larger than any honest descriptor; a file beyond it is refused unread.
MAX_FILE_BYTES = 1_000_000

Kind = Literal["datasheet", "measured", "derived", "estimated"]
Family = Literal["gpu", "tpu", "npu", "cpu", "dataflow"]
Status = Literal["shipping", "announced", "estimated", "retired"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Figure(_Strict):
    """One figure of a chip: a quantity in human units, where it comes from, and how sure it is."""

    dimension: ClassVar[str] = "count"

    value: str | float = Field(description='The figure with its unit, such as "3.35 TB/s"; counts and fractions bare.')
    source: str = Field(min_length=1, description="Where it was read: a key of [sources], or the reference itself.")
    kind: Kind = Field(description="datasheet, measured, derived (by arithmetic) or estimated.")
    low: str | float | None = Field(None, description="The lowest value that is believed possible.")
    high: str | float | None = Field(None, description="The highest value that is believed possible.")
    shape: Literal["uniform", "triangular", "loguniform"] | None = Field(
        None, description="Shape of the belief between low and high; triangular peaks at value. Default: triangular."
    )
    note: str = Field("", description="Why a range; which sources disagree; what was assumed.")

    @model_validator(mode="after")
    def _check(self) -> Figure:
        numbers = {name: self._si(name) for name in ("value", "low", "high") if getattr(self, name) is not None}
        if ("low" in numbers) != ("high" in numbers):
            raise ValueError("a range needs both low and high")
        if "low" in numbers and not numbers["low"] <= numbers["value"] <= numbers["high"]:
            raise ValueError(f"expected low <= value <= high, found {self.low!r}, {self.value!r}, {self.high!r}")
        if self.shape is not None and "low" not in numbers:
            raise ValueError("a shape needs low and high")
        return self

    def _si(self, name: str) -> float:
        number = units.parse(getattr(self, name), self.dimension)
        if number < 0 or (number == 0 and self.dimension not in ("time", "count")):
            raise ValueError(f"{name}: expected a positive {self.dimension}, found {getattr(self, name)!r}")
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
    source: str = Field(min_length=1)
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
    per: Literal["core", "chip"] = Field("chip", description="Whether the figures are for one core or for the chip.")
    capacity: Capacity
    bandwidth: Bandwidth | None = Field(None, description="Read bandwidth.")
    latency: Duration | None = None


class Link(_Strict):
    """A way off the chip. Bandwidth is per direction and per chip."""

    bandwidth: Bandwidth
    latency: Duration | None = None
    domain: Figure | None = Field(None, description="Chips that reach each other over this link.")
    topology: Literal["switch", "mesh", "ring", "torus2d", "torus3d", "bridge", "tree"] | None = None
    switch_reduction: bool = Field(False, description="The switch adds all-reduce operands in flight.")
    name: str = ""


class Links(_Strict):
    scale_up: Link | None = None
    network: Link | None = None
    host: Link | None = None


class Overheads(_Strict):
    launch: Duration | None = Field(None, description="Fixed cost of one kernel (job) on the device.")
    step: Duration | None = Field(None, description="Fixed cost of one inference step: framework and host.")


class PowerTable(_Strict):
    tdp: Power | None = None
    typical: Power | None = None


class Price(_Strict):
    purchase: Money | None = None


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
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.+_-]*$", max_length=64)
    title: str = Field("", description="The chip's full name.")
    extends: str = Field("", description="Name of the chip whose figures this one starts from.")
    without: list[str] = Field([], description="Inherited tables or figures that this chip does not have.")
    aliases: list[str] = []
    vendor: str
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
    memory: dict[str, Level] = Field(min_length=1)
    links: Links = Links()
    overheads: Overheads = Overheads()
    power: PowerTable = PowerTable()
    price: Price = Price()
    efficiency: dict[str, dict[str, Any]] = {}
    calibration: dict[str, Calibration] = {}


class FamilyDefaults(_Strict):
    """Defaults of a family of chips (``chips/families/``): what a chip without its own figures inherits."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    family: Family
    note: str = ""
    sources: dict[str, str] = {}
    latency: dict[str, Duration] = {}
    overheads: Overheads = Overheads()
    efficiency: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Number:
    """One resolved figure: SI value, provenance and range.

    Attributes
    ----------
    value : float or ndarray
        In SI units.
    dimension : str
        Key of :data:`roofline.units.DIMENSIONS`.
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


def read_toml(path: Path) -> dict[str, Any]:
    """Parse one TOML file, with its size bounded and its syntax errors named."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BadDescriptor(str(path), [f"expected at most {MAX_FILE_BYTES:,} bytes, found {size:,}"])
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadDescriptor(str(path), [f"cannot be read: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise BadDescriptor(str(path), [f"not valid TOML: {error}"]) from None
    except RecursionError:
        raise BadDescriptor(str(path), ["nested too deeply"]) from None


def validate(raw: dict[str, Any], file: str, schema: type[BaseModel] = Descriptor) -> dict[str, Number]:
    """Check a raw descriptor against the schema and flatten its figures.

    Parameters
    ----------
    raw : dict
        The parsed TOML, ``extends`` already merged in.
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
        raise BadDescriptor(file, [_explain(problem, raw) for problem in error.errors()]) from None
    sources = raw.get("sources", {})
    numbers: dict[str, Number] = {}
    problems: list[str] = []
    for name, value in checked:
        if name == "efficiency":
            _flatten_efficiency(value, sources, numbers, problems)
        elif name != "calibration":
            _flatten(name, value, sources, numbers)
    if isinstance(checked, Descriptor):
        problems += _consistency(checked, numbers)
    if problems:
        raise BadDescriptor(file, problems)
    return numbers


def _number(figure: Figure, sources: dict[str, str]) -> Number:
    def si(x: str | float | None) -> float | None:
        return None if x is None else units.parse(x, figure.dimension)

    return Number(
        si(figure.value), figure.dimension, figure.kind, sources.get(figure.source, figure.source), figure.note,
        si(figure.low), si(figure.high), figure.shape or "triangular",
    )  # fmt: skip


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
    for ending, schema in (("_s", Duration), ("_fraction", Fraction), ("_share", Fraction), ("_Bps", Bandwidth), ("_bytes", Capacity)):
        if name.endswith(ending):
            return schema
    return Figure


def _flatten_efficiency(
    table: dict[str, dict[str, Any]], sources: dict[str, str], out: dict[str, Number], problems: list[str]
) -> None:
    """``[efficiency.gemm] launch_s = {...}`` and, for one dtype only, ``[efficiency.gemm.fp8] launch_s = {...}``."""

    def read(path: str, name: str, figure: Any) -> None:
        try:
            out[path] = _number(parameter_schema(name).model_validate(figure), sources)
        except ValidationError as error:
            for problem in error.errors():
                words = _explain(problem, figure)
                problems.append(f"{path}.{words}" if problem["loc"] else f"{path}: {words}")

    for operator, parameters in table.items():
        for name, figure in parameters.items():
            path = f"efficiency.{operator}.{name}"
            if name in units.DTYPE_BYTES and isinstance(figure, dict):
                for inner_name, inner in figure.items():
                    read(f"{path}.{inner_name}", inner_name, inner)
            else:
                read(path, name, figure)


def _consistency(d: Descriptor, numbers: dict[str, Number]) -> list[str]:
    problems = []
    if d.memory and list(d.memory.values())[-1].bandwidth is None:
        problems.append(f"memory.{list(d.memory)[-1]}.bandwidth: main memory (the last level) needs a bandwidth")
    if not float(numbers["cores.count"].value).is_integer() or numbers["cores.count"].value < 1:
        problems.append(f"cores.count: expected a whole number of at least 1, found {d.cores.count.value!r}")
    if not any(p.startswith("engines.vector.") for p in numbers):
        problems.append("engines.vector: expected at least one rate, such as fp32")
    for path, number in numbers.items():
        if path.startswith("links.") and path.endswith(".domain") and not float(number.value).is_integer():
            problems.append(f"{path}: expected a whole number of chips, found {number.value:g}")
    return problems


_TYPE_WORDS = {"missing": "is required but missing", "string_type": "expected text", "dict_type": "expected a table"}


def _explain(problem: Any, raw: Any) -> str:
    """One pydantic error as a sentence: key, what was found, what was expected, the nearest right thing."""
    # pydantic puts union branches and model names into the location; keep what stands in the file.
    location = [str(part) for part in problem["loc"] if not re.match(r"(str|float|int)$|function-|tagged-", str(part))]
    key, found = ".".join(location), problem.get("input")
    kind = problem["type"]
    if kind == "extra_forbidden":
        siblings = problem.get("ctx", {}).get("known") or _known_keys(location[:-1])
        near = closest(location[-1], siblings, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(siblings)}" if siblings else ""
        return f"{key}: unknown key{hint}"
    if kind == "missing" and location and location[-1] == "source":
        return f"{key}: every figure needs a source"
    if kind == "value_error":
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    if kind == "literal_error":
        return f"{key}: expected {problem['ctx']['expected']}, found {found!r}"
    if kind == "model_type" or (kind == "missing" and not isinstance(found, dict)):
        return f"{key}: expected a figure such as {{ value = ..., source = ..., kind = ... }}, found {found!r}"
    words = _TYPE_WORDS.get(kind, problem["msg"])
    return f"{key}: {words}" + ("" if kind == "missing" else f", found {found!r}")


def _known_keys(location: list[str]) -> list[str]:
    """The keys that the schema knows at a location of the file."""
    model: Any = Descriptor
    for part in location:
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            break
        field = model.model_fields.get(part)
        annotation = str(field.annotation) if field else ""
        names = re.findall(r"\bdescriptor\.(\w+)", annotation)
        model = globals().get(names[-1]) if names else None
        if annotation.startswith("dict["):
            model = ("of", model)
    if isinstance(model, tuple):
        model = model[1]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


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
    if not all(math.isfinite(float(n.value)) for n in numbers.values()):
        found.append("a figure is not finite")
    return found
