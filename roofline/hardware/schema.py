"""The schema of a chip descriptor: the tables and figures of the file, what each may say, and why it is refused.

Every table may give a `source` and a `kind` for the plain numbers in it and below; ``provenance.py`` hands them down
before the schema sees a file, so that each figure it checks names its own.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from roofline.base import units
from roofline.base.errors import shown

#: `recalled`: of a datasheet or paper, written down from memory and not read again.
Kind = Literal["datasheet", "recalled", "measured", "derived", "estimated"]
Family = Literal["gpu", "tpu", "npu", "cpu", "dataflow"]
Status = Literal["shipping", "announced", "estimated", "retired"]


#: A word that can stand between the dots of a figure's path.
Word = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
LevelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Source = Annotated[str, Field(pattern=r"\S")]
NAME = r"^[a-z0-9][a-z0-9.+_-]*$"
LONGEST_NAME = 64


class _Strict(BaseModel):
    # Strict: `year = "2022"` and `value = true` are mistakes, not numbers.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


def _or_plain(found: dict[str, Any], handler: Any, types: list[str]) -> dict[str, Any]:
    """The JSON Schema of a figure: its table, whose source and kind may stand further out, or its value alone."""
    handler.resolve_ref_schema(found)["required"] = ["value"]
    return {"anyOf": [found, *({"type": name} for name in types)]}


class _Table(_Strict):
    """A table of figures, and what holds for those in it and below that do not say it themselves."""

    source: Source | None = Field(default=None, description="Where the figures below were read that do not say it.")
    kind: Kind | None = Field(default=None, description="The kind of the figures below that do not say it.")


def _also_defaults(found: dict[str, Any]) -> None:
    """In the JSON Schema of tables with names of one's own: `source` and `kind` are none of them."""
    found["properties"] = {"source": {"type": "string", "pattern": r"\S"}, "kind": {"enum": list(get_args(Kind))}}
    for pattern in list(found.get("patternProperties", {})):
        own = pattern.replace("^", "^(?!(?:source|kind)$)", 1)
        found["patternProperties"][own] = found["patternProperties"].pop(pattern)


class Figure(_Strict):
    """One figure of a chip: a quantity in human units, where it comes from, and how sure it is."""

    dimension: ClassVar[str] = "count"

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        bare = [] if units.DIMENSIONS[cls.dimension][0] else ["number"]  # counts and fractions have no unit
        return _or_plain(handler(core), handler, ["string", *bare])

    value: str | float = Field(description='The figure with its unit, such as "3.35 TB/s"; counts and fractions bare.')
    source: Source = Field(description="Where it was read: a key of [sources], or the reference itself.")
    kind: Kind = Field(description="datasheet, recalled (from memory), measured, derived (by arithmetic) or estimated.")
    low: str | float | None = Field(default=None, description="The lowest value that is believed possible.")
    high: str | float | None = Field(default=None, description="The highest value that is believed possible.")
    shape: Literal["uniform", "triangular", "loguniform"] | None = Field(
        default=None, description="Shape of the belief from low to high; triangular (the default) peaks at value."
    )
    note: str = Field(default="", description="Why a range; which sources disagree; what was assumed.")
    correlates_with: Word | None = Field(
        default=None,
        description="What the figure shares its luck with, in one word (clock, process): all that name it lie high or "
        "low in their ranges together.",
    )
    correlation: float | None = Field(
        default=None, gt=0, le=1, description="How closely two such figures do so, from above 0 to 1; the default is 1."
    )

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
        if self.correlates_with is not None and "low" not in numbers:
            raise ValueError("correlates_with needs low and high")
        if self.correlation is not None and self.correlates_with is None:
            raise ValueError("a correlation needs correlates_with")
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

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return _or_plain(handler(core), handler, ["string"])

    value: str = Field(description="In words.")
    source: Source = Field(description="Where it was read: a key of [sources], or the reference itself.")
    kind: Kind = Field(description="As of a figure.")
    note: str = Field(default="", description="What was assumed; which sources disagree.")


class Cores(_Table):
    """The units that run tiles in parallel: SM, CU, PE, TensorCore, CPU core."""

    name: str = Field(description="What the vendor calls one: SM, CU, PE, TensorCore, core.")
    count: Figure = Field(description="How many work on tiles of their own.")


#: What an engine does at a dtype, if it has it.
Peak = Annotated[Rate | None, Field(description="Dense peak at this dtype, of all cores together.")]


class Engine(_Table):
    """Dense peak rates by dtype; `sparse` holds the 2:4 structured-sparsity rates where they exist."""

    fp64: Peak = None
    fp32: Peak = None
    tf32: Peak = None
    bf16: Peak = None
    fp16: Peak = None
    fp8: Peak = None
    int8: Peak = None
    fp6: Peak = None
    fp4: Peak = None
    int4: Peak = None


class MatrixEngine(Engine):
    sparse: Engine | None = Field(default=None, description="The same at 2:4 structured sparsity.")


class Engines(_Table):
    matrix: MatrixEngine | None = Field(default=None, description="Engines for products of matrices.")
    vector: Engine = Field(description="Engines for everything else.")


class Level(_Table):
    """One memory level. Levels are listed from the core outward; the last is main memory."""

    type: Literal["scratchpad", "cache", "dram"] = Field(
        description="Filled by the program, filled by itself, or main memory."
    )
    per: Literal["core", "chip"] = Field(default="chip", description="Whether the figures are of one core or the chip.")
    capacity: Capacity = Field(description="Of one core or of the chip, as `per` says.")
    reserved: Capacity | None = Field(
        default=None, description="What the driver keeps of it for itself: programs see the capacity less this."
    )
    bandwidth: Bandwidth | None = Field(default=None, description="Read bandwidth.")
    latency: Duration | None = Field(default=None, description="Until the first byte arrives.")
    channels: Figure | None = Field(default=None, description="Channels that answer independently of each other.")


class Link(_Table):
    """A way off the chip. Bandwidth is per direction and per chip."""

    bandwidth: Bandwidth = Field(description="What one chip sends one way.")
    latency: Duration | None = Field(default=None, description="Of one hop.")
    domain: Figure | None = Field(default=None, description="Chips that reach each other over this link.")
    bisection: Bandwidth | None = Field(
        default=None,
        description="What passes one way between the two halves of a full domain, of all its chips together (sockets, "
        "or switches each under one root port); as much as their links bring where not given.",
    )
    topology: Literal["switch", "mesh", "ring", "torus2d", "torus3d", "bridge", "tree"] | None = Field(
        default=None, description="How the chips of a domain are joined."
    )
    switch_reduction: bool = Field(default=False, description="The switch adds all-reduce operands in flight.")
    name: str = Field(default="", description="What the vendor calls it.")


class Links(_Table):
    scale_up: Link | None = Field(
        default=None, description="To chips of its kind in its domain: NVLink, ICI, Infinity Fabric."
    )
    peers: Link | None = Field(
        default=None,
        description="PCIe to the other cards of the server: all the scale-up of cards without another, else what joins "
        "the domains (pairs under a bridge).",
    )
    network: Link | None = Field(default=None, description="To other domains.")
    host: Link | None = Field(default=None, description="To its host: PCIe and the like.")


class Overheads(_Table):
    launch: Duration | None = Field(default=None, description="Fixed cost of one kernel (job) on the device.")
    step: Duration | None = Field(default=None, description="Fixed cost of one inference step: framework and host.")
    engine_spread: Figure | None = Field(
        default=None, description="Standard deviation of ln(measured / predicted) of a model, beyond its operators'."
    )


class Latencies(_Table):
    """What a way in or out takes where its own table gives no latency."""

    memory: Duration | None = Field(default=None, description="Main memory.")
    cache: Duration | None = Field(default=None, description="A cache or scratchpad.")
    link: Duration | None = Field(default=None, description="A hop of the scale-up link.")
    network: Duration | None = Field(default=None, description="A hop of the network between domains.")
    host: Duration | None = Field(default=None, description="The link to the host.")


class Channels(_Table):
    """Channels of main memory where its own table does not say how many it has."""

    memory: Figure | None = Field(default=None, description="How many answer independently of each other.")


class PowerTable(_Table):
    """What a chip draws, and how that goes with its load: see ``estimates/power.py``."""

    tdp: Power | None = Field(default=None, description="The most that it draws for long.")
    typical: Power | None = Field(default=None, description="What it draws in the vendor's or owner's usual work.")
    idle: Power | None = Field(default=None, description="What it draws with nothing to do.")
    idle_share: Fraction | None = Field(default=None, description="The same as a share of the TDP, where not known.")
    typical_load: Fraction | None = Field(default=None, description="The load at which `typical` is drawn.")
    limit_share: Fraction | None = Field(
        default=None, description="Share of the TDP that it is held to. Its clock and rates are those under it."
    )
    floor_share: Fraction | None = Field(
        default=None, description="Share of the TDP that does not go with the clock: leakage, memory, links."
    )
    active_share: Figure | None = Field(default=None, description="Load while anything runs at all.")
    compute_share: Figure | None = Field(default=None, description="Load of the matrix engine at its datasheet's rate.")
    memory_share: Figure | None = Field(default=None, description="Load of main memory at its datasheet's bandwidth.")
    spread: Figure | None = Field(default=None, description="Standard deviation of ln(measured / predicted) power.")


class Server(_Table):
    """What a chip's server takes beside it."""

    power: Power | None = Field(
        default=None, description="A chip's share of host, network and idling fans, drawn at any load."
    )
    power_share: Figure | None = Field(
        default=None, description="The same for each watt of the chip's TDP, where not known."
    )
    factor: Figure | None = Field(
        default=None, description="Watts at the wall for each watt inside: power supplies, and fans that follow it."
    )
    price_factor: Figure | None = Field(
        default=None, description="Price of a server with its network for each dollar of its chips."
    )


class Price(_Table):
    purchase: Money | None = Field(default=None, description="Of one chip.")
    hour: Money | None = Field(default=None, description="Of renting one chip for an hour, with its server and power.")


#: Operator class -> parameter -> figure, or dtype -> parameter -> figure. Checked one by one: see ``descriptor.py``.
Efficiency = Annotated[dict[Word, dict[Word, Any]], Field(json_schema_extra=_also_defaults)]


class Serving(_Table):
    """What a serving engine takes of main memory beside weights and KV cache: see ``estimates/setaside.py``."""

    fraction: Fraction | None = Field(default=None, description="Share of main memory that it takes unless told.")
    spared: Figure | None = Field(
        default=None, description="1 where the fraction is one of what the model leaves free, 0 where of all of it."
    )
    kept: Capacity | None = Field(default=None, description="In place of a fraction: what is kept free in any case,")
    kept_token: Capacity | None = Field(default=None, description="beside it for each token of a pass,")
    kept_chip: Capacity | None = Field(default=None, description="and for each chip that the model is split over.")
    context: Capacity | None = Field(default=None, description="Context, libraries and their buffers, as it counts.")
    communication: Capacity | None = Field(default=None, description="Buffers of collectives, with tp above 1.")
    graph_layer: Capacity | None = Field(default=None, description="CUDA graphs, for each layer, if it counts them.")
    rotary_width: Figure | None = Field(
        default=None, description="Bytes of a number of its table of rotary positions, which has a row for each."
    )
    large: Capacity | None = Field(
        default=None, description="Main memory from which the limits are not the small ones."
    )
    tokens: Figure | None = Field(default=None, description="Most tokens of a pass.")
    small_tokens: Figure | None = Field(default=None, description="The same where main memory is smaller than `large`.")
    sequences: Figure | None = Field(default=None, description="Most sequences of a pass.")
    small_sequences: Figure | None = Field(
        default=None, description="The same where main memory is smaller than `large`."
    )
    profiled: Figure | None = Field(
        default=None, description="1 where it runs a full pass when it starts, and sets the peak of that aside."
    )
    residuals: Figure | None = Field(default=None, description="Copies of a pass's hidden states beside a block's own.")
    logit_width: Figure | None = Field(default=None, description="Bytes that sampling takes for each logit.")
    workspace: Capacity | None = Field(default=None, description="What else lives through sampling.")
    expert_buffers: Figure | None = Field(default=None, description="1 where buffers of routed experts stay.")
    fp4_multiple: Figure | None = Field(
        default=None, description="Fp4 experts are filled up to a width that is a multiple of it."
    )
    block: Figure | None = Field(default=None, description="Tokens of a block of its KV cache.")
    window_share: Figure | None = Field(
        default=None,
        description="In its count of tokens, what layers with a window are given for each token of the others; "
        "0: what they hold at the model's longest context.",
    )
    grouped: Figure | None = Field(
        default=None, description="1 where its cache is dealt to equal groups of layers, the last of a kind filled up."
    )


class Stack(_Table):
    """Figures under one software stack (engine, library); the others stay as they are."""

    note: str = Field(default="", description="What it is, and where its figures are from.")
    efficiency: Efficiency = {}
    serving: Serving = Serving()


class DefaultStack(_Table):
    """The stacks that a language model is costed on where none is named: the software best known on this chip.

    What holds for a model is laid one upon the other, in this order. The `note` of each says why it was chosen.
    """

    language: Text | None = Field(default=None, description="For every language model.")
    multi_head: Text | None = Field(default=None, description="For those with as many KV heads as query heads.")
    fp4_experts: Text | None = Field(default=None, description="For those whose routed experts' weights are fp4.")


class Scenario(_Table):
    """One way that what is not known may turn out: its probability, and the figures that are others then."""

    weight: float = Field(gt=0, le=1, description="Its probability; those of all scenarios sum to 1.")
    note: str = Field(default="", description="Why it may turn out so.")
    figures: Efficiency = Field(default={}, description="Figures by their paths, in place of the chip's own.")


class Calibration(_Strict):
    """What the efficiency parameters of an operator class were fitted on."""

    data: str = Field(description="Whose measurements.")
    rows: int = Field(ge=1, description="How many.")
    error: float = Field(ge=0, description="Mean absolute error (fraction) on rows that were not fitted.")
    date: str = Field(default="", description="When it was fitted.")
    note: str = Field(default="", description="What a reader should know of the fit.")


class Descriptor(_Table):
    """A chip descriptor file, schema 1."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str = Field(pattern=NAME, max_length=LONGEST_NAME, description="By which it is loaded.")
    title: str = Field(default="", description="The chip's full name.")
    extends: str = Field(default="", description="Name of the chip whose figures this one starts from.")
    without: list[str] = Field(default=[], description="Inherited tables or figures that this chip does not have.")
    aliases: list[str] = Field(default=[], description="Other names that load it.")
    vendor: str = Field(pattern=r"\S", description="Who makes it.")
    family: Family = Field(description="Where what the file leaves out comes from.")
    year: int = Field(ge=1990, le=2100, description="Year of availability, or of the estimate.")
    status: Status = Field(description="Whether it can be had.")
    note: str = Field(default="", description="What a reader should know of the chip as a whole.")
    sources: dict[str, Source] = Field(default={}, description="Keys that figures name in place of a whole reference.")
    process: Text | None = Field(default=None, description="Of manufacture.")
    die_area: Area | None = None
    clock: Frequency | None = Field(
        default=None, description="Of the cores; a what-if on it takes engines and on-chip memory with it."
    )
    cores: Cores
    engines: Engines
    memory: dict[LevelName, Level] = Field(
        min_length=1,
        description="Levels from the core outward; the last is main memory.",
        json_schema_extra=_also_defaults,
    )
    latency: Latencies = Latencies()
    channels: Channels = Channels()
    links: Links = Links()
    overheads: Overheads = Overheads()
    power: PowerTable = PowerTable()
    server: Server = Server()
    price: Price = Price()
    serving: Serving = Serving()
    efficiency: Efficiency = {}
    stack: dict[Word, Stack] = Field(
        default={}, description="Parameters that differ by software: on_stack(NAME).", json_schema_extra=_also_defaults
    )
    default_stack: DefaultStack = DefaultStack()
    scenario: dict[Word, Scenario] = Field(
        default={}, description="What may be instead, by name: scenario(NAME).", json_schema_extra=_also_defaults
    )
    calibration: dict[Word, Calibration] = Field(
        default={}, description="By class of operators: what its efficiency was fitted on."
    )


class FamilyDefaults(_Table):
    """Defaults of a family of chips (``chips/families/``): what a chip without its own figures inherits."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    family: Family
    note: str = ""
    sources: dict[str, Source] = {}
    latency: Latencies = Latencies()
    channels: Channels = Channels()
    overheads: Overheads = Overheads()
    power: PowerTable = PowerTable()
    server: Server = Server()
    serving: Serving = Serving()
    efficiency: Efficiency = {}
    stack: dict[Word, Stack] = Field(
        default={}, description="What differs by software on every chip.", json_schema_extra=_also_defaults
    )


def parameter_schema(name: str) -> type[Figure]:
    """The schema of an efficiency parameter, told by the ending of its name."""
    return next((schema for ending, schema in _ENDINGS.items() if name.endswith(ending)), Figure)


_ENDINGS: dict[str, type[Figure]] = {
    "_s": Duration,
    "_fraction": Fraction,
    "_Bps": Bandwidth,
    "_bytes": Capacity,
}
