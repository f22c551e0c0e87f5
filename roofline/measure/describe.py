"""Ceilings -> a descriptor with ``kind = "measured"``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from roofline.base import tomlfile
from roofline.base.errors import BadData
from roofline.measure import levels
from roofline.measure.backend import Probe
from roofline.measure.system import System

_SOURCE = "measured"


def ceilings(probes: Iterable[Probe]) -> dict[tuple[str, str, str, int], Probe]:
    """The best that each probe has shown; a ceiling that was measured twice can only rise."""
    found: dict[tuple[str, str, str, int], Probe] = {}
    for p in probes:
        key = (p.probe, p.mode, p.dtype, p.bytes)
        better = min if p.probe in ("launch", "latency") else max
        found[key] = p if key not in found else better(found[key], p, key=lambda q: q.value)
    return found


def descriptor(name: str, system: System, kind: str, probes: Iterable[Probe], record: dict[str, object]) -> str:
    """The text of a descriptor.

    Parameters
    ----------
    name : str
        Of the chip.
    system : System
    kind : str
        ``"cpu"`` or ``"gpu"``: the family whose efficiency parameters it starts from.
    probes : iterable of Probe
    record : dict
        Of the run: ``date`` at least; what else there is goes into the note.

    Raises
    ------
    BadData
        When no bandwidth or no peak was measured.
    """
    best = list(ceilings(probes).values())
    found = _levels(best, system)
    peaks = _peaks(best)
    table = _head(name, system, kind, record)
    if system.clock_hz > 0:
        note = "As stated; the clock under load may differ."
        table["clock"] = _figure(f"{system.clock_hz / 1e9:.6g} GHz", "system", note=note)
    table["engines"] = _engines(kind, peaks)
    table["memory"] = _memory(found, best, system)
    table["links"] = {"host": _host_link(best, found[-1])}
    launch = _first(best, "launch")
    if launch is not None:
        note = "The smallest kernel, or an empty parallel loop."
        table["overheads"] = {"launch": _figure(f"{launch.value:.4g} s", _SOURCE, note=note)}
    if kind == "cpu":
        # A starting point for the fit: a call of numpy's BLAS packs both operands, each read and written about once.
        packing = {"value": 3, "source": "BLAS libraries lay operands out anew in every call", "kind": "estimated"}
        table["efficiency"] = {"gemm": {"pack_passes": packing}}
    return tomlfile.write(table)


def _levels(best: list[Probe], system: System) -> list[levels.Level]:
    """The levels of memory, from the bandwidths measured over sizes."""
    curves: dict[str, dict[int, float]] = {}
    for p in best:
        if p.probe == "bandwidth":
            curves.setdefault(p.mode, {})[p.bytes] = p.value
    return levels.find(curves, system.caches, system.memory_bytes)


def _peaks(best: list[Probe]) -> dict[str, Probe]:
    """The highest rate of each dtype."""
    peaks: dict[str, Probe] = {}
    for p in best:
        if p.probe == "peak" and (p.dtype not in peaks or p.value > peaks[p.dtype].value):
            peaks[p.dtype] = p
    if not peaks:
        raise BadData("no peak rate was measured")
    return peaks


def _first(best: list[Probe], what: str) -> Probe | None:
    return next((p for p in best if p.probe == what), None)


def _head(name: str, system: System, kind: str, record: dict[str, object]) -> dict[str, object]:
    """What a descriptor says of the chip and of the run before its figures begin."""
    date = str(record["date"])
    rest = {k: v for k, v in record.items() if k != "date"}
    stack = "; ".join(f"{k} {v}" for k, v in system.software.items())
    return {
        "schema": 1,
        "name": name,
        "title": system.title,
        "vendor": system.vendor,
        "family": kind,
        "year": int(date[:4]),
        "status": "shipping",
        "note": f"Measured, not read: {date}. {stack}." + "".join(f" {k}: {v}." for k, v in rest.items()),
        "sources": {
            _SOURCE: f"roofline measure on this machine, {date}",
            "system": f"What the operating system or driver states, {date}",
        },
        "cores": {"name": system.core_name, "count": _figure(system.cores, "system")},
    }


def _memory(found: list[levels.Level], best: list[Probe], system: System) -> dict[str, dict[str, object]]:
    """A table for each level of memory; the last is main memory, with its latency."""
    tables: dict[str, dict[str, object]] = {}
    latency = _first(best, "latency")
    for n, level in enumerate(found):
        last = n == len(found) - 1
        cores = system.cores if level.per_core else 1
        capacity = _figure(
            f"{level.capacity / cores:.6g} B", "system" if last or not level.note else _SOURCE, note=level.note
        )
        bandwidth = _figure(
            f"{level.bandwidth / cores:.6g} B/s",
            _SOURCE,
            low=f"{min(level.low, level.bandwidth) / cores:.6g} B/s",
            high=f"{level.bandwidth / cores:.6g} B/s",
            note="Fastest stream; low: the slowest kind (writes), median.",
        )
        tables[level.name] = {
            "type": "dram" if last else "cache",
            "per": "core" if level.per_core else "chip",
            "capacity": capacity,
            "bandwidth": bandwidth,
        }
        if last and latency is not None:
            note = "One dependent access at a time, random lines."
            tables[level.name]["latency"] = _figure(f"{latency.value:.4g} s", _SOURCE, note=note)
    return tables


def _figure(value: object, source: str, **more: object) -> dict[str, object]:
    return {"value": value, "source": source, "kind": "measured", **{k: v for k, v in more.items() if v}}


def _engines(kind: str, peaks: dict[str, Probe]) -> dict[str, Any]:
    """A GPU's wide floats are its vector engine's, its narrow ones its matrix engine's; a processor's are vectors."""
    vector: dict[str, object] = {}
    matrix: dict[str, object] = {}
    for dtype, p in sorted(peaks.items()):
        figure = _figure(f"{p.value:.6g} FLOP/s", _SOURCE, note=f"The best matrix product: {p.mode}.")
        target = vector if kind == "cpu" or dtype in ("fp32", "fp64") else matrix
        target[dtype] = figure
    if not vector:
        raise BadData("no peak rate of the vector engine (fp32) was measured")
    return {"vector": vector} | ({"matrix": matrix} if matrix else {})


def _host_link(best: list[Probe], main: levels.Level) -> dict[str, object]:
    copies = [p.value for p in best if p.probe == "host_copy"]
    if copies:
        return {"name": "host", "bandwidth": _figure(f"{max(copies):.6g} B/s", _SOURCE)}
    return {
        "name": "its own DRAM",
        "bandwidth": {
            **_figure(f"{main.bandwidth:.6g} B/s", _SOURCE),
            "kind": "derived",
            "note": "The processor is its own host: a transfer is a copy in memory.",
        },
    }
