"""What kernels ask of a chip: figures by path, rates by dtype, links, and efficiency parameters."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload, UnknownName
from roofline.base.face import FLAG, TEXT, takes
from roofline.base.frozen import read_only

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.number import Number

#: Where each machine number of a kernel comes from, for those that are one figure of the descriptor.
LINK_NUMBERS = {
    "link_bandwidth": "links.scale_up.bandwidth",
    "link_latency": "links.scale_up.latency",
    "link_domain": "links.scale_up.domain",
    "link_bisection": "links.scale_up.bisection",
    "peer_bandwidth": "links.peers.bandwidth",
    "peer_latency": "links.peers.latency",
    "peer_domain": "links.peers.domain",
    "peer_bisection": "links.peers.bisection",
    "network_bandwidth": "links.network.bandwidth",
    "network_latency": "links.network.latency",
    "host_bandwidth": "links.host.bandwidth",
    "host_latency": "links.host.latency",
}

#: The regimes of an operator's naive roofline time: their upper ends (s) and the names of their spreads.
REGIME_EDGES_S = (5e-6, 20e-6, 100e-6, 1000e-6)
SPREADS = ("spread_under_5us", "spread_5_20us", "spread_20_100us", "spread_100_1000us", "spread_over_1ms")

#: Standard deviation of ln(measured / predicted) where an operator class has no `spread` of its own.
UNKNOWN_SPREAD = 0.5

#: Parameters fitted on the chip that this one extends are doubted by this factor more. Decided beforehand (a quarter
#: more for the same cores with other memory or clocks), and checked, never fitted, on a chip that no fit has seen.
INHERITED_SPREAD = 1.25


@dataclass(frozen=True, eq=False)
class Machine:
    """A set of named numbers, and what a kernel asks of it. All of it is read-only.

    Attributes
    ----------
    name, family : str
        `family` is one of gpu, tpu, npu, cpu, dataflow.
    numbers : mapping of str to Number
        The chip's own figures: ``"memory.hbm.bandwidth"`` and so on, in SI units, with provenance.
    defaults : mapping of str to Number
        The figures of its family, used where the chip has none of its own.
    flags : mapping
        What is not a number: level types, topology, core name, process.
    bound_cache : dict
        What has been looked up. It belongs to this object alone: no copy takes it over, and it is not pickled.
    """

    name: str
    family: str
    numbers: Mapping[str, Number]
    defaults: Mapping[str, Number]
    flags: Mapping[str, Any]
    bound_cache: dict[Any, Any] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.init and isinstance(value, dict):
                object.__setattr__(self, one.name, read_only(value))

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init} | {"bound_cache": {}}

    # Figures ----------------------------------------------------------------------------------------------------

    def __getitem__(self, path: str) -> Any:
        """The value of a figure in SI units: ``chip["memory.hbm.bandwidth"]``; ``memory.main`` is the last level."""
        return self.number(path).value

    def number(self, path: str) -> Number:
        """A figure with its provenance.

        Parameters
        ----------
        path : str
            Such as ``"memory.hbm.bandwidth"``; ``memory.main`` and ``memory.cache`` are understood on every chip.

        Returns
        -------
        Number
            Its value, range, source and kind.

        Raises
        ------
        UnknownName
            With the nearest paths.
        """
        path = self.path(path)
        return self.numbers.get(path) or self.defaults[path]

    def path(self, path: str) -> str:
        """The figure's own path: ``memory.main.bandwidth`` is ``memory.hbm.bandwidth`` on a chip with HBM.

        Parameters
        ----------
        path : str
            Such as ``"memory.hbm.bandwidth"``; ``memory.main`` and ``memory.cache`` are understood on every chip.

        Returns
        -------
        str
            The path in the descriptor.

        Raises
        ------
        UnknownName
            With the nearest paths.
        """
        resolved = self._resolve(str(path))
        if resolved not in self.numbers and resolved not in self.defaults:
            known = [*self.numbers, *self.defaults]
            raise UnknownName(f"figure of {self.name}", resolved, known, f"(roofline chips {self.name} lists them)")
        return resolved

    @takes(path=TEXT)
    def get(self, path: str, default: object = None) -> Any:
        """The value of a figure, or `default` where neither the chip nor its family has it.

        Parameters
        ----------
        path : str
            Such as ``"memory.hbm.bandwidth"``; ``memory.main`` and ``memory.cache`` are understood on every chip.
        default : object
            What else to answer.

        Returns
        -------
        float, array or default
            SI.
        """
        path = self._resolve(path)
        found = self.numbers.get(path) or self.defaults.get(path)
        return default if found is None else found.value

    def _resolve(self, path: str) -> str:
        for alias, level in (("memory.main.", self.levels[-1]), ("memory.cache.", self.cache_level)):
            if path.startswith(alias):
                return f"memory.{level}." + path.removeprefix(alias)
        return path

    @property
    def frame(self) -> pd.DataFrame:
        """Every figure of the chip and its family: value, range, kind, source, note."""
        import pandas as pd

        rows = []
        for path, n in {**self.defaults, **self.numbers}.items():
            unit = units.DIMENSIONS[n.dimension][0]
            rows.append(
                {
                    "figure": path,
                    "value": n.value,
                    "unit": unit,
                    "low": n.low,
                    "high": n.high,
                    "kind": n.kind,
                    "from": n.inherited or self.name,
                    "source": n.source,
                    "note": n.note,
                }
            )
        return pd.DataFrame.from_records(rows).set_index("figure")

    # What a kernel asks -----------------------------------------------------------------------------------------

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the memory levels, from the core outward; the last is main memory."""
        return self.flags["levels"]  # type: ignore[no-any-return]

    @property
    def main_level(self) -> str:
        """Name of main memory."""
        return self.levels[-1]

    @functools.cached_property
    def cache_level(self) -> str:
        """Name of the last level before main memory: last-level cache or shared scratchpad; main memory if none."""
        return self.levels[-2] if len(self.levels) > 1 else self.levels[-1]

    def level(self, name: str, what: str) -> Any:
        """Capacity, bandwidth or latency of a memory level, summed over the cores where it is given per core.

        Parameters
        ----------
        name : str
            Of a memory level, such as ``"hbm"``.
        what : str
            ``"capacity"``, ``"bandwidth"`` or ``"latency"``.

        Returns
        -------
        float or array
            SI.
        """
        value = self.get(f"memory.{name}.{what}")
        if value is not None and what != "latency" and self.flags[f"memory.{name}.per"] == "core":
            value = value * self["cores.count"]
        return value

    @property
    def visible_bytes(self) -> Any:
        """Main memory that programs see (bytes): its capacity less what the driver keeps."""
        reserved = self.get(f"memory.{self.main_level}.reserved")
        capacity = self.level(self.main_level, "capacity")
        return capacity if reserved is None else capacity - reserved

    @takes(sparse=FLAG)
    def peak(self, dtype: str, sparse: bool = False) -> Any:
        """Dense peak FLOP/s for a dtype: of the matrix engine if it has that dtype, else of the vector engine.

        With `sparse`, the rate at 2:4 sparsity, where the descriptor has one.

        Parameters
        ----------
        dtype : str
            Such as ``"bf16"``.
        sparse : bool
            Whether at 2:4 structured sparsity.

        Returns
        -------
        float or array
            FLOP/s.

        Raises
        ------
        BadWorkload
            When the chip has no rate for that dtype, with the ones it has.
        """
        dtype = units.dtype_name(dtype)
        if sparse:
            found = self.numbers.get(f"engines.matrix.sparse.{dtype}")
            if found is None:
                has = [p.rpartition(".")[2] for p in self.numbers if p.startswith("engines.matrix.sparse.")]
                raise BadWorkload(f"{self.name} has no sparse {dtype} rate; it has {', '.join(has) or 'none'}")
            return found.value
        found = self.numbers.get(f"engines.matrix.{dtype}") or self.numbers.get(f"engines.vector.{dtype}")
        if found is None:
            raise BadWorkload(f"{self.name} has no {dtype} rate; it has {self._instead(dtype)}")
        return found.value

    def _instead(self, dtype: str) -> str:
        """The dtypes that there is a rate for, and what stands in best for one that there is none for."""
        vector = [p.rpartition(".")[2] for p in self.numbers if p.startswith("engines.vector.")]
        every, width = list(dict.fromkeys((*self.dtypes, *vector))), units.DTYPE_BYTES
        if width[dtype] < width[self.widest_matrix]:
            hint = f"Narrow weights with wider arithmetic: weight_dtype={dtype!r}, dtype={self.widest_matrix!r}"
        else:
            wide = [d for d in every if width[d] >= width[dtype]]
            nearest = min(wide, key=width.__getitem__) if wide else max(every, key=width.__getitem__)
            hint = f"The nearest: dtype={nearest!r}"
        return f"{', '.join(every)}. {hint}"

    def rate(self, dtype: str) -> Any:
        """The peak that an operator runs at: :meth:`peak`, where bf16 and fp16 stand in for each other.

        What stays in 16 bits beside narrower arithmetic (attention, output projection) takes the 16-bit format that
        the chip has.

        Parameters
        ----------
        dtype : str
            Such as ``"bf16"``.

        Returns
        -------
        float or array
            FLOP/s.
        """
        other = {"bf16": "fp16", "fp16": "bf16"}.get(dtype, dtype)
        return self.peak(dtype if dtype in self.dtypes or other not in self.dtypes else other)

    @functools.cached_property
    def dtypes(self) -> list[str]:
        """The dtypes that the matrix engine (else the vector engine) has a dense rate for."""
        own = [p.rpartition(".")[2] for p in self.numbers if p.startswith("engines.matrix.") and p.count(".") == 2]
        return own or [p.rpartition(".")[2] for p in self.numbers if p.startswith("engines.vector.")]

    @functools.cached_property
    def widest_matrix(self) -> str:
        """The 16-bit dtype of the matrix engine, or what it has that is nearest."""
        return next((d for d in ("bf16", "fp16", "tf32", "fp32", "int8") if d in self.dtypes), self.dtypes[0])

    @takes(level=TEXT)
    def ridge_point(self, dtype: str, level: str = "main") -> Any:
        """Arithmetic intensity (FLOP per byte) at which a level's bandwidth just feeds the peak of a dtype.

        Parameters
        ----------
        dtype : str
            Such as ``"bf16"``.
        level : str
            Name of a memory level; ``"main"`` and ``"cache"`` are understood on every chip.

        Returns
        -------
        float or array
            FLOP per byte.

        Raises
        ------
        UnknownName
            For a level the chip does not have.
        """
        name = {"main": self.main_level, "cache": self.cache_level}.get(level, level)
        bandwidth = self.level(name, "bandwidth") if name in self.levels else None
        if bandwidth is None:
            known = [v for v in self.levels if self.get(f"memory.{v}.bandwidth") is not None]
            raise UnknownName(f"memory level with a bandwidth on {self.name}", level, ["main", *known])
        return self.peak(dtype) / bandwidth

    @functools.cached_property
    def machine(self) -> dict[str, Any]:
        """The machine numbers that kernels take by name (SI units), all but the dtype's own ``matrix_flops``."""
        main, cache = self.main_level, self.cache_level
        bandwidth = self.level(main, "bandwidth")
        has_cache = cache != main and self.level(cache, "bandwidth") is not None
        cores = self["cores.count"]
        inner = self.levels[0]
        inner_capacity = self.get(f"memory.{inner}.capacity")
        vector = next(
            n.value for d in units.VECTOR_DTYPES if (n := self.numbers.get(f"engines.vector.{d}")) is not None
        )
        latency = self.get(f"memory.{main}.latency")
        channels = self.get(f"memory.{main}.channels")
        cache_latency = self.get(f"memory.{cache}.latency", self["latency.cache"]) if has_cache else None
        numbers = {
            "vector_flops": vector,
            "memory_bandwidth": bandwidth,
            "memory_latency": self["latency.memory"] if latency is None else latency,
            "memory_channels": self["channels.memory"] if channels is None else channels,
            "cache_bandwidth": self.level(cache, "bandwidth") if has_cache else bandwidth,
            "cache_latency": self["latency.memory" if latency is None else f"memory.{main}.latency"]
            if cache_latency is None
            else cache_latency,
            "cache_capacity": self.level(cache, "capacity") if has_cache else 0.0,
            "core_count": cores,
            "core_memory": inner_capacity if self.flags[f"memory.{inner}.per"] == "core" else inner_capacity / cores,
            "clock": self.get("clock", 1e9),
            "switch_reduction": 1.0 if self.flags.get("links.scale_up.switch_reduction") else 0.0,
            "step_s": self["overheads.step"],
        }
        return numbers | self._link_numbers()

    def _link_numbers(self) -> dict[str, Any]:
        """Links by name. A chip without a link of some kind goes the next way out: scale-up, peers, network, host.

        What it has no way of doing at all is left out.
        """
        numbers = {name: self.get(path) for name, path in LINK_NUMBERS.items()}
        if numbers["link_bandwidth"] is None:  # each chip a domain of its own, joined by the bus of the server
            numbers["link_bandwidth"], numbers["link_domain"] = numbers["peer_bandwidth"], 1.0
        host = numbers["host_bandwidth"]
        if numbers["network_bandwidth"] is None:
            numbers["network_bandwidth"] = host if host is not None else numbers["link_bandwidth"]
            if numbers["network_latency"] is None:
                numbers["network_latency"] = self["latency.host"]
        if numbers["link_bandwidth"] is None:
            numbers["link_bandwidth"], numbers["link_domain"] = numbers["network_bandwidth"], 1.0
        for name, family in (("link", "link"), ("peer", "link"), ("network", "network"), ("host", "host")):
            if numbers[f"{name}_latency"] is None:
                numbers[f"{name}_latency"] = self[f"latency.{family}"]
        if numbers["peer_bandwidth"] is None:  # no such bus: never taken, as its domain is of one device
            numbers["peer_bandwidth"], numbers["peer_domain"] = numbers["link_bandwidth"], 1.0
        for name in ("link", "peer"):
            if numbers[f"{name}_domain"] is None:
                numbers[f"{name}_domain"] = 1.0
            if numbers[f"{name}_bisection"] is None and numbers[f"{name}_bandwidth"] is not None:
                halves = np.maximum(np.divide(numbers[f"{name}_domain"], 2.0), 1.0)
                numbers[f"{name}_bisection"] = numbers[f"{name}_bandwidth"] * halves
        return {name: value for name, value in numbers.items() if value is not None}

    @functools.cached_property
    def has_links(self) -> bool:
        """Whether any way off the chip is described."""
        return any(p.startswith("links.") for p in self.numbers)

    def parameter(self, name: str, classes: tuple[str, ...], dtype: str) -> Number | None:
        """An efficiency parameter of an operator class, looked up from the special to the general.

        The chip's own figure for each class (its dtype's first), its ``overheads.launch`` for launches, then the same
        of its family.

        Parameters
        ----------
        name : str
            ``"compute_fraction"``.
        classes : tuple of str
            Operator classes, the most particular first: ``("rms_norm", "elementwise")``.
        dtype : str
            A figure for this dtype alone goes before the figure of the class.

        Returns
        -------
        Number or None
            The figure with its provenance; None where neither the chip nor its family has it.
        """
        for numbers in (self.numbers, self.defaults):
            for operator in classes:
                for path in (f"efficiency.{operator}.{dtype}.{name}", f"efficiency.{operator}.{name}"):
                    if path in numbers:
                        return numbers[path]
            if name == "launch_s" and "overheads.launch" in numbers:
                return numbers["overheads.launch"]
        return None

    def spreads(self, classes: tuple[str, ...], dtype: str) -> tuple[float, ...]:
        """Standard deviation of ln(measured / predicted) of an operator class in each regime of :data:`SPREADS`.

        A place in the descriptor is asked for the regime's own figure, then for its plain `spread`, before the next
        one is. Figures from the chip that this one extends are multiplied by :data:`INHERITED_SPREAD`, unless the two
        differ in parameters alone.

        Parameters
        ----------
        classes : tuple of str
            Operator classes, the most particular first.
        dtype : str
            A figure for this dtype alone goes before the figure of the class.

        Returns
        -------
        tuple of float
            One a regime of time, the shortest first.
        """
        key = ("spreads", classes, dtype)
        if key not in self.bound_cache:
            self.bound_cache[key] = tuple(self._spread(name, classes, dtype) for name in SPREADS)
        return self.bound_cache[key]  # type: ignore[no-any-return]

    def _spread(self, name: str, classes: tuple[str, ...], dtype: str) -> float:
        for numbers in (self.numbers, self.defaults):
            for operator in classes:
                for place in (f"efficiency.{operator}.{dtype}", f"efficiency.{operator}"):
                    found = numbers.get(f"{place}.{name}") or numbers.get(f"{place}.spread")
                    if found is not None:
                        return float(found.value) * (self._widening(found) if numbers is self.numbers else 1.0)
        return UNKNOWN_SPREAD

    def _widening(self, spread: Number) -> float:
        """What the doubt of a figure of this descriptor grows by where it was fitted on another chip."""
        return INHERITED_SPREAD if spread.inherited and self._other_hardware else 1.0

    @functools.cached_property
    def _other_hardware(self) -> bool:
        """Whether any hardware figure is the chip's own, and not that of the chip it extends."""
        hardware = ("engines.", "memory.", "cores.", "clock", "links.")
        return any(not n.inherited and path.startswith(hardware) for path, n in self.numbers.items())
