"""The whole loop: ceilings, operators, a descriptor, its calibration, and what the model says of the machine."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadData, BadDescriptor, BadWorkload, RooflineError, UnknownName
from roofline.base.files import write_text
from roofline.catalog import load as catalog
from roofline.measure import collectives, describe, suites, system
from roofline.measure.backend import Backend, CannotMeasure, Probe
from roofline.measure.checking import check_probes, check_record, check_rows
from roofline.measure.planning import CASE_S, LIMIT_S, TOO_FAST, Plan, Work, plan, too_fast
from roofline.measure.record import FITTED, MEASUREMENT, PROBE, REFUSED, TEST, Table, key, merged, read_json, write_json
from roofline.measure.suites import Case
from roofline.measure.timing import Timing

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip

#: A case whose first call and check take longer (s) is left: its samples would take the time of many others.
MOST_S = 3.0

Progress = Callable[[float, float, str], None]


def backend(device: str = "cpu", engine: str = "") -> Backend:
    """The backend for a device.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``.
    engine : str, optional
        ``"torch"`` measures a processor through PyTorch too; default: numpy on a processor, PyTorch elsewhere.

    Raises
    ------
    UnknownName
        For another device.
    BadWorkload
        When PyTorch is needed and not installed, or sees no such device.
    """
    if device == "cpu" and engine in ("", "cpu", "numpy"):
        from roofline.measure.cpu import Cpu

        found: Backend = Cpu()
        return found
    if device not in ("cpu", "cuda"):
        raise UnknownName("device", device, ["cpu", "cuda"])
    from roofline.measure.gpu import Torch

    found = Torch(device)
    return found


@dataclass
class Session:
    """One machine being measured; :func:`measure` runs it to the end."""

    backend: Backend
    folder: Path
    name: str
    size: str = "full"
    names: tuple[str, ...] = ()
    resume: bool = False
    progress: Progress | None = None
    plan: Plan = field(default_factory=Plan)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.size not in suites.SIZES:
            raise UnknownName("size", self.size, suites.SIZES)
        for suite in self.names:
            if suite not in suites.NAMES:
                raise UnknownName("suite", suite, suites.NAMES)
        paths = [self.folder / f"{n}.csv" for n in ("measurements", "refused", "probes")]
        old = [p.name for p in paths if p.exists()]
        if old and not self.resume:
            raise BadWorkload(
                f"{self.folder} holds the rows of an earlier run ({', '.join(old)}): --resume goes on with it, "
                f"another --out or --name starts anew"
            )
        if self.resume and not old:
            raise BadWorkload(f"{self.folder} holds no run to go on with{self._others()}; without --resume one starts")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows, self.refused = Table(paths[0], MEASUREMENT), Table(paths[1], REFUSED)
        self.probes = Table(paths[2], PROBE)
        for kept in (self.rows, self.refused):
            check_rows(kept)
        check_probes(self.probes)
        check_record(read_json(self.record_path), self.record_path)
        self.deadline = time.monotonic() + LIMIT_S[self.size]
        self._done = 0.0
        self._given_up: set[Any] = set()

    def _others(self) -> str:
        """The runs that lie beside the folder."""
        runs = sorted(p.parent.name for p in self.folder.parent.glob("*/probes.csv"))
        return f": found {', '.join(runs[:8])} in {self.folder.parent}" if runs else ""

    @property
    def record_path(self) -> Path:
        """Where what was run on what is written."""
        return self.folder / "run.json"

    @property
    def descriptor_path(self) -> Path:
        """Where the descriptor is written."""
        return self.folder / f"{self.name}.toml"

    # Ceilings ---------------------------------------------------------------------------------------------------

    def _tell(self, total: float, text: str) -> None:
        if self.progress:
            self.progress(min(self._done, total), total, text)

    def measured_probes(self) -> list[Probe]:
        """The ceilings on file."""
        return [
            Probe(
                r["probe"],
                r["mode"],
                r["dtype"],
                int(r["bytes"]),
                float(r["value"]),
                float(r["median"]),
                int(r["samples"]),
            )
            for r in self.probes.rows()
        ]

    def probe(self) -> None:
        """Measure the ceilings, unless a finished set is on file."""
        if self.resume and self._complete():
            return
        steps = list(self.backend.probes(self.size, ()))
        for n, step in enumerate(steps):
            self._done = n
            self._tell(len(steps), "ceilings")
            self._file(step)
        self._mark_complete()

    def _file(self, step: Callable[[], list[Probe]]) -> None:
        for found in step():
            self.probes.append(dataclasses.asdict(found))

    def _complete(self) -> bool:
        return bool(read_json(self.record_path).get("ceilings"))

    def _mark_complete(self) -> None:
        old = read_json(self.record_path)
        record = {
            "ceilings": True,
            "size": self.size,
            "suites": list(self.names),
            "device": self.backend.name,
            "machine": self.backend.system.title,
            "cores": self.backend.system.cores,
            "clock_Hz": self.backend.system.clock_hz,
            "software": self.backend.system.software,
            "framework": f"{self.backend.framework} {self.backend.version}",
            "date": system.now(),
            "load_average": system.load_average(),
        }
        write_json(self.record_path, {**old, **record})
        load, cores = system.load_average(), self.backend.system.cores
        if load is not None and load > 1.5 * cores:
            self.notes.append(
                f"the load was {load:g} on {cores} cores: other programs ran, and the figures are theirs as well; "
                "measure again when the machine is idle"
            )

    def chip(self) -> Chip:
        """The machine as far as it is measured, with its family's efficiency parameters; writes the descriptor."""
        run = read_json(self.record_path)
        record = {"date": run.get("date", system.now()), "framework": run.get("framework", "")}
        if run.get("load_average") is not None:
            record["load average at the start"] = run["load_average"]
        found = self.measured_probes()
        try:
            text = describe.descriptor(self.name, self.backend.system, self.backend.kind, found, record)
        except BadData as error:
            raise BadData(f"{self.probes.path}: {error}") from None
        write_text(self.descriptor_path, text)
        try:
            return catalog.read_chip(self.descriptor_path)
        except BadDescriptor as error:  # made of the ceilings: it is they that are off
            raise BadData(f"{self.probes.path}: these ceilings make no chip: {'; '.join(error.problems)}") from None

    # Operators --------------------------------------------------------------------------------------------------

    def run(self, chip: Chip) -> None:
        """Measure every planned case, in rounds; each row is on disk before the next begins."""
        rows, refused = self.rows.rows(), self.refused.rows()
        self.plan = plan(self.backend, chip, self.size, self.names, rows, refused, self.deadline)
        work = self.plan.work
        left = self.deadline - time.monotonic()
        total = max(min(left, sum(w.seconds * w.rounds for w in work)), sum(w.seconds for w in work))
        self._done = 0.0
        for number in range(max((w.rounds for w in work), default=0)):
            if number and self._late():
                break
            for step in self.backend.probes(self.size, ("main",)):  # what neighbours leave of it changes most of all
                self._file(step)
            # In another order each time, so that what is measured late in one round is not in the next.
            self._round(number, random.Random(number).sample(work, len(work)), chip, total)  # noqa: S311  no secret
        if self.plan.links:
            self._tell(total, "collectives")
            self.measure_links([w.case for w in self.plan.links])
        self._tell(total, "done")

    def _late(self) -> bool:
        return time.monotonic() > self.deadline

    def _round(self, number: int, work: list[Work], chip: Chip, total: float) -> None:
        for n, one in enumerate(work):
            if number >= one.rounds or key(one.case) in self._given_up:
                continue
            if self._late():
                if number == 0:
                    self.plan.leave_out("no time left in this run", len(work) - n)
                return
            self._tell(total, f"{one.case['op']} {one.case.get('dtype', '')}")
            if not self.measure_case(one.case, chip, checked=number > 0):
                self._given_up.add(key(one.case))
            self._done += one.seconds

    def measure_links(self, cases: list[Case]) -> None:
        """Collectives between the devices of this machine: all in one set of processes, a row on disk after each."""
        try:
            for case, timing in collectives.measure(cases, self.backend.devices):
                self.rows.append(self._row(case, timing, 0.0))
        except RooflineError as error:
            self.plan.leave_out(f"collectives: {error}")

    def _row(self, case: Case, timing: Timing, error: float) -> dict[str, Any]:
        return {
            **case,
            "time_s": timing.median_s,
            "time_std_s": timing.spread_s,
            "low_s": timing.low_s,
            "samples": timing.samples,
            "rounds": 1,
            "error": error,
            "framework": self.backend.framework,
            "version": self.backend.version,
            "role": TEST if key(case) in self.plan.unseen else FITTED,
        }

    def measure_case(self, case: Case, chip: Chip, checked: bool = False) -> bool:
        """Measure one case and file its row, or why it is not believed; False if it is not worth another round.

        Its output is compared with the reference unless an earlier round has `checked` it.
        """
        error = 0.0
        try:
            prepared = self.backend.prepare(case)
            prepared.run(0)  # compiles what is to be compiled
            if not checked:
                begin = time.monotonic()
                error = prepared.check()
                if time.monotonic() - begin > MOST_S:
                    raise CannotMeasure(f"a call and its check took over {MOST_S:g} s")
            timing = self.backend.time(prepared, CASE_S[self.size])
        except CannotMeasure as reason:
            self.plan.leave_out(str(reason))
            return False
        row = self._row(case, timing, error)
        if error > prepared.tolerance:
            self.refused.append({**row, "reason": f"its output is off the reference by {error:.2g}"})
            return False
        if too_fast(case, timing.median_s, chip):
            self.refused.append({**row, "reason": TOO_FAST})
        else:
            self.rows.append(row)
        return True

    def judge(self) -> Chip:
        """Hold what beat the ceilings to them once more, and make one row of the rounds of a shape.

        The ceilings are measured again first: one that was measured while something else ran is too low, and would
        have true rows refused.
        """
        fast = [row for row in self.refused.rows() if row["reason"] == TOO_FAST]
        if fast:
            for step in self.backend.probes("tiny" if self.size == "tiny" else "quick", ("peak", "bandwidth")):
                self._file(step)
        chip = self.chip()
        back = [row for row in fast if not too_fast(row, float(row["time_s"]), chip)]
        if back:
            shapes = len({key(row) for row in back})
            self.notes.append(f"{shapes} shapes taken back: the ceilings had been measured too low")
            self.refused.replace(row for row in self.refused.rows() if row not in back)
        self.rows.replace(merged([*self.rows.rows(), *({k: v for k, v in r.items() if k != "reason"} for r in back)]))
        return chip
