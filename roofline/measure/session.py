"""The whole loop: ceilings, operators, a descriptor, its calibration, and what the model says of the machine."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadData, BadWorkload, RooflineError, UnknownName
from roofline.catalog import load as catalog
from roofline.estimates.inference import COST, evaluate_op
from roofline.evidence import columns, measurements
from roofline.measure import collectives, describe, suites, system
from roofline.measure.backend import Backend, CannotMeasure, Probe
from roofline.measure.record import FITTED, MEASUREMENT, PROBE, REFUSED, TEST, Table, check, key, merged, read_json
from roofline.measure.suites import Case
from roofline.measure.timing import Timing
from roofline.work import op as operators

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip

#: By size: time for all but what follows the last operator, for the samples of one case in one round, and the longest
#: call worth measuring (s).
LIMIT_S = {"tiny": 60.0, "quick": 85.0, "full": 510.0}
CASE_S = {"tiny": 0.004, "quick": 0.08, "full": 0.15}
LONGEST_S = {"tiny": 0.05, "quick": 0.08, "full": 0.4}

#: Times that every case is measured, some minutes apart: what else a shared machine does comes and goes in minutes, and
#: would otherwise fall on one class of operators and not on the next. Fewer where the time does not reach.
ROUNDS = {"tiny": 1, "quick": 2, "full": 4}

#: A case whose first call and check take longer (s) is left: its samples would take the time of many others.
MOST_S = 3.0

_LOWER, _TIME = COST.index("lower_s"), COST.index("time_s")

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
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.size not in suites.SIZES:
            raise UnknownName("size", self.size, suites.SIZES)
        for suite in self.names:
            if suite not in suites.NAMES:
                raise UnknownName("suite", suite, suites.NAMES)
        self.folder.mkdir(parents=True, exist_ok=True)
        paths = [self.folder / f"{n}.csv" for n in ("measurements", "refused", "probes")]
        if not self.resume:
            old = [p.name for p in paths if p.exists()]
            if old:
                raise BadWorkload(
                    f"{self.folder} holds the rows of an earlier run ({', '.join(old)}): --resume goes on with it, "
                    f"another --out or --name starts anew"
                )
        self.rows, self.refused = Table(paths[0], MEASUREMENT), Table(paths[1], REFUSED)
        self.probes = Table(paths[2], PROBE)
        for kept in (self.rows, self.refused):
            check(kept)
        self.begin = time.monotonic()
        self._done = 0.0
        self._given_up: set[Any] = set()
        self._apart: set[Any] = set()

    # Ceilings ---------------------------------------------------------------------------------------------------

    def _tell(self, total: float, text: str) -> None:
        if self.progress:
            self.progress(min(self._done, total), total, text)

    def measured_probes(self) -> list[Probe]:
        """The ceilings on file."""
        try:
            return [
                Probe(r["probe"], r["mode"], r["dtype"], int(r["bytes"]), float(r["value"]), float(r["median"]),
                      int(r["samples"])) for r in self.probes.rows()
            ]  # fmt: skip
        except ValueError as error:
            raise BadData(f"{self.probes.path}: {error}") from None

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
        return bool(read_json(self.folder / "run.json").get("ceilings"))

    def _mark_complete(self) -> None:
        path = self.folder / "run.json"
        old = read_json(path)
        record = {
            "ceilings": True, "size": self.size, "suites": list(self.names), "device": self.backend.name,
            "machine": self.backend.system.title, "cores": self.backend.system.cores,
            "clock_Hz": self.backend.system.clock_hz, "software": self.backend.system.software,
            "framework": f"{self.backend.framework} {self.backend.version}", "date": system.now(),
            "load_average": system.load_average(),
        }  # fmt: skip
        path.write_text(json.dumps({**old, **record}, indent=2) + "\n", encoding="utf-8")
        load, cores = system.load_average(), self.backend.system.cores
        if load is not None and load > 1.5 * cores:
            self.notes.append(
                f"the load was {load:g} on {cores} cores: other programs ran, and the figures are theirs as well; "
                "measure again when the machine is idle"
            )

    def chip(self) -> Chip:
        """The machine as far as it is measured, with its family's efficiency parameters; writes the descriptor."""
        run = read_json(self.folder / "run.json")
        record = {"date": run.get("date", system.now()), "framework": run.get("framework", "")}
        if run.get("load_average") is not None:
            record["load average at the start"] = run["load_average"]
        text = describe.descriptor(self.name, self.backend.system, self.backend.kind, self.measured_probes(), record)
        path = self.folder / f"{self.name}.toml"
        path.write_text(text, encoding="utf-8")
        return catalog.read_chip(path)

    # Operators --------------------------------------------------------------------------------------------------

    def plan(self, chip: Chip) -> list[tuple[Case, float, int]]:
        """The cases still to measure, what each takes a round (s), and in how many rounds, cut to the time there is."""
        cache = self.backend.system.cache_bytes or float(chip.machine["cache_capacity"])
        done: dict[Any, int] = {key(row): ROUNDS[self.size] for row in self.refused.rows() if row["reason"] != TOO_FAST}
        for row in [*self.rows.rows(), *(row for row in self.refused.rows() if row["reason"] == TOO_FAST)]:
            done[key(row)] = done.get(key(row), 0) + int(row["rounds"])
        flush_s = 1.5 * cache / float(chip.machine["memory_bandwidth"])
        planned = []
        grid = suites.cases(self.backend.kind, self.size, self.names, cache)
        drawn = suites.held_out(self.backend.kind, self.size, self.names, cache)
        self._apart = {key(case) for case in drawn}
        for case in [*grid, *drawn]:
            rounds = ROUNDS[self.size] - done.get(key(case), 0)
            if case["op"] in _COLLECTIVE:
                if self.backend.devices < 2:
                    self._leave_out("one device: no collectives")
                    continue
                case["devices"] = self.backend.devices
                rounds = int(key(case) not in done)
            if rounds < 1:
                continue
            if case["op"] in _COLLECTIVE:
                planned.append((case, 0.2, rounds))  # nothing is known yet of the links
                continue
            try:
                call = float(evaluate_op(operator(case), chip)[_TIME])
            except BadWorkload:
                self._leave_out(f"no {case.get('dtype')} rate on this machine")
                continue
            if call > LONGEST_S[self.size]:
                self._leave_out(f"a call over {LONGEST_S[self.size]:g} s")
                continue
            flushed = flush_s if case["op"] in ("embedding_bag", "token_embedding") else 0.0
            planned.append((case, max(CASE_S[self.size], 7 * (call + flushed)) + 0.02, rounds))
        left = LIMIT_S[self.size] - (time.monotonic() - self.begin)
        once = sum(s for _, s, _ in planned)
        if once > left:
            share = max(left, 1.0) / once
            apart = [p for p in planned if key(p[0]) in self._apart]
            others = [p for p in planned if key(p[0]) not in self._apart]
            kept = {id(p) for part in (apart, others) if part
                    for p in random.Random(0).sample(part, max(1, int(share * len(part))))}  # noqa: S311  no secret  # fmt: skip
            self._leave_out("no time left in this run", len(planned) - len(kept))
            planned = [p for p in planned if id(p) in kept]
        return planned

    def _leave_out(self, why: str, count: int = 1) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + count

    def run(self, chip: Chip) -> None:
        """Measure every planned case, in rounds; each row is on disk before the next begins."""
        planned = self.plan(chip)
        links = [case for case, _, _ in planned if case["op"] in _COLLECTIVE]
        planned = [p for p in planned if p[0]["op"] not in _COLLECTIVE]
        left = LIMIT_S[self.size] - (time.monotonic() - self.begin)
        total = max(min(left, sum(s * rounds for _, s, rounds in planned)), sum(s for _, s, _ in planned))
        self._done = 0.0
        for number in range(max((rounds for _, _, rounds in planned), default=0)):
            if number and self._late():
                break
            for step in self.backend.probes(self.size, ("main",)):  # what neighbours leave of it changes most of all
                self._file(step)
            # In another order each time, so that what is measured late in one round is not in the next.
            self._round(number, random.Random(number).sample(planned, len(planned)), chip, total)  # noqa: S311  no secret
        if links:
            self._tell(total, "collectives")
            self.measure_links(links)
        self._tell(total, "done")

    def _late(self) -> bool:
        return time.monotonic() > self.begin + LIMIT_S[self.size]

    def _round(self, number: int, planned: list[tuple[Case, float, int]], chip: Chip, total: float) -> None:
        for n, (case, seconds, rounds) in enumerate(planned):
            if number >= rounds or key(case) in self._given_up:
                continue
            if self._late():
                if number == 0:
                    self._leave_out("no time left in this run", len(planned) - n)
                return
            self._tell(total, f"{case['op']} {case.get('dtype', '')}")
            if not self.measure_case(case, chip, checked=number > 0):
                self._given_up.add(key(case))
            self._done += seconds

    def measure_links(self, cases: list[Case]) -> None:
        """Collectives between the devices of this machine: all in one set of processes, a row on disk after each."""
        try:
            for case, timing in collectives.measure(cases, self.backend.devices):
                self.rows.append(self._row(case, timing, 0.0))
        except RooflineError as error:
            self._leave_out(f"collectives: {error}")

    def _row(self, case: Case, timing: Timing, error: float) -> dict[str, Any]:
        return {
            **case, "time_s": timing.median_s, "time_std_s": timing.spread_s, "low_s": timing.low_s,
            "samples": timing.samples, "rounds": 1, "error": error, "framework": self.backend.framework,
            "version": self.backend.version, "role": TEST if key(case) in self._apart else FITTED,
        }  # fmt: skip

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
            self._leave_out(str(reason))
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


TOO_FAST = f"faster than the machine's own ceilings by more than {measurements.MARGIN:.0%}"

_COLLECTIVE = collectives.KINDS


def operator(case: Case | dict[str, str]) -> operators.Op:
    """The operator of a case, or of a row as text."""
    found: operators.Op = getattr(operators, str(case["op"]))(**columns.arguments(case))
    return found


def too_fast(case: Case | dict[str, str], time_s: float, chip: Chip) -> bool:
    """Whether a time beats what the machine's ceilings allow, by more than the margin of a measurement."""
    return time_s < float(evaluate_op(operator(case), chip)[_LOWER]) * (1 - measurements.MARGIN)
