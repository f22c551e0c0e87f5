"""The whole loop: ceilings, operators, a descriptor, its calibration, and what the model says of the machine."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline import calibration, catalog, measurements, op as operators
from roofline.errors import BadData, BadWorkload, RooflineError, UnknownName
from roofline.inference import COST, evaluate_op
from roofline.measure import collectives, describe, suites, system
from roofline.measure.backend import Backend, CannotMeasure, Probe
from roofline.measure.record import MEASUREMENT, PROBE, REFUSED, Table, key
from roofline.measure.suites import Case
from roofline.measure.timing import Timing

if TYPE_CHECKING:
    import pandas as pd

    from roofline.chip import Chip

#: By size: time for all but what follows the last operator, for the samples of one case, and the longest call worth
#: measuring (s).
LIMIT_S = {"tiny": 60.0, "quick": 85.0, "full": 510.0}
CASE_S = {"tiny": 0.004, "quick": 0.15, "full": 0.35}
LONGEST_S = {"tiny": 0.05, "quick": 0.08, "full": 0.4}

#: A case whose first call and check take longer (s) is left: its samples would take the time of many others.
MOST_S = 3.0

_LOWER, _TIME = COST.index("lower_s"), COST.index("time_s")

Progress = Callable[[float, float, str], None]


@dataclass
class Result:
    """What a measuring run leaves behind.

    Attributes
    ----------
    chip, calibrated : Chip
        With the measured figures and its family's efficiency parameters; with fitted ones (the same where there were
        too few rows to fit).
    table : DataFrame
        The rows, in the columns of :mod:`roofline.measurements`.
    refused : DataFrame
        Rows that were not believed, with the reason.
    validation : DataFrame
        By class: rows; median of the absolute relative error with the family's parameters, with the fitted ones, and
        the fit's mean error on shapes that were held out.
    left_out : dict of str to int
        Why cases were not measured -> how many.
    files : dict of str to Path
    """

    chip: Chip
    calibrated: Chip
    table: pd.DataFrame
    refused: pd.DataFrame
    validation: pd.DataFrame
    left_out: dict[str, int]
    files: dict[str, Path]


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
        self.begin = time.monotonic()
        self._done = 0.0

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
            for found in step():
                self.probes.append(dataclasses.asdict(found))
        self._mark_complete()

    def _complete(self) -> bool:
        return bool(_read_json(self.folder / "run.json").get("ceilings"))

    def _mark_complete(self) -> None:
        path = self.folder / "run.json"
        old = _read_json(path)
        record = {
            "ceilings": True, "size": self.size, "suites": list(self.names), "device": self.backend.name,
            "machine": self.backend.system.title, "cores": self.backend.system.cores,
            "clock_Hz": self.backend.system.clock_hz, "software": self.backend.system.software,
            "framework": f"{self.backend.framework} {self.backend.version}", "date": system.now(),
            "load_average": system.load_average(),
        }  # fmt: skip
        path.write_text(json.dumps({**old, **record}, indent=2) + "\n", encoding="utf-8")

    def chip(self) -> Chip:
        """The machine as far as it is measured, with its family's efficiency parameters; writes the descriptor."""
        run = _read_json(self.folder / "run.json")
        record = {"date": run.get("date", system.now()), "framework": run.get("framework", "")}
        if run.get("load_average") is not None:
            record["load average at the start"] = run["load_average"]
        text = describe.descriptor(self.name, self.backend.system, self.backend.kind, self.measured_probes(), record)
        path = self.folder / f"{self.name}.toml"
        path.write_text(text, encoding="utf-8")
        return catalog.read_chip(path)

    # Operators --------------------------------------------------------------------------------------------------

    def plan(self, chip: Chip) -> list[tuple[Case, float]]:
        """The cases still to measure and what each will take (s), cut to the time there is."""
        cache = self.backend.system.cache_bytes or float(chip.machine["cache_capacity"])
        found = suites.cases(self.backend.kind, self.size, self.names, cache)
        done = {key(row) for table in (self.rows, self.refused) for row in table.rows()}
        flush_s = 1.5 * cache / float(chip.machine["memory_bandwidth"])
        planned = []
        for case in found:
            if case["op"] in _COLLECTIVE and self.backend.devices < 2:
                self._leave_out("one device: no collectives")
                continue
            if case["op"] in _COLLECTIVE:
                case["devices"] = self.backend.devices
            if key(case) in done:
                continue
            if case["op"] in _COLLECTIVE:
                planned.append((case, 0.2))  # nothing is known yet of the links
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
            planned.append((case, max(CASE_S[self.size], 7 * (call + flushed)) + 0.02))
        left = LIMIT_S[self.size] - (time.monotonic() - self.begin)
        total = sum(s for _, s in planned)
        if total > left:
            share = max(left, 1.0) / total
            kept = random.Random(0).sample(planned, max(1, int(share * len(planned))))  # noqa: S311
            self._leave_out("no time left in this run", len(planned) - len(kept))
            planned = [p for p in planned if any(p is q for q in kept)]
        return planned

    def _leave_out(self, why: str, count: int = 1) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + count

    def run(self, chip: Chip) -> None:
        """Measure every planned case; each row is on disk before the next begins."""
        planned = self.plan(chip)
        total = sum(s for _, s in planned)
        deadline = self.begin + LIMIT_S[self.size]
        self._done = 0.0
        links = [case for case, _ in planned if case["op"] in _COLLECTIVE]
        planned = [p for p in planned if p[0]["op"] not in _COLLECTIVE]
        for n, (case, seconds) in enumerate(planned):
            if time.monotonic() > deadline:
                self._leave_out("no time left in this run", len(planned) - n)
                return
            self._tell(total, f"{case['op']} {case.get('dtype', '')}")
            self.measure_case(case, chip)
            self._done += seconds
        if links:
            self._tell(total, "collectives")
            self.measure_links(links)
        self._tell(total, "done")

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
            "samples": timing.samples, "error": error, "framework": self.backend.framework,
            "version": self.backend.version,
        }  # fmt: skip

    def measure_case(self, case: Case, chip: Chip) -> None:
        """Measure one case and file its row, or why it is not believed."""
        try:
            prepared = self.backend.prepare(case)
            prepared.run(0)  # compiles what is to be compiled
            begin = time.monotonic()
            error = prepared.check()
            if time.monotonic() - begin > MOST_S:
                raise CannotMeasure(f"a call and its check took over {MOST_S:g} s")
            timing = self.backend.time(prepared, CASE_S[self.size])
        except CannotMeasure as reason:
            self._leave_out(str(reason))
            return
        row = self._row(case, timing, error)
        if error > prepared.tolerance:
            self.refused.append({**row, "reason": f"its output is off the reference by {error:.2g}"})
        elif too_fast(case, timing.median_s, chip):
            self.refused.append({**row, "reason": TOO_FAST})
        else:
            self.rows.append(row)

    def judge(self, chip: Chip) -> Chip:
        """Hold every row to the ceilings once more; where rows beat them, measure the ceilings again first.

        A ceiling that was measured while something else ran is too low, and would have true rows refused.
        """
        fast = [row for row in self.refused.rows() if row["reason"] == TOO_FAST]
        if fast:
            for step in self.backend.probes("tiny" if self.size == "tiny" else "quick", ("peak", "bandwidth")):
                for found in step():
                    self.probes.append(dataclasses.asdict(found))
            chip = self.chip()
        kept = self.rows.rows()
        back = [row for row in fast if not too_fast(row, float(row["time_s"]), chip)]
        if back:
            names = {id(row) for row in back}
            self.refused.replace(row for row in self.refused.rows() if key(row) not in {key(b) for b in back})
            self.rows.replace([*kept, *({k: v for k, v in row.items() if k != "reason"} for row in back)])
            self._leave_out("(taken back: the ceilings had been measured too low)", len(names))
        return chip


TOO_FAST = f"faster than the machine's own ceilings by more than {measurements.MARGIN:.0%}"

_COLLECTIVE = collectives.KINDS


def operator(case: Case | dict[str, str]) -> operators.Op:
    """The operator of a case, or of a row as text."""
    found: operators.Op = getattr(operators, str(case["op"]))(**measurements.arguments(case))
    return found


def too_fast(case: Case | dict[str, str], time_s: float, chip: Chip) -> bool:
    """Whether a time beats what the machine's ceilings allow, by more than the margin of a measurement."""
    return time_s < float(evaluate_op(operator(case), chip)[_LOWER]) * (1 - measurements.MARGIN)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, OSError) as error:
        raise BadData(f"{path}: cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}


def measure(
    device: str = "cpu", *, out: str | Path = "measured", name: str = "", size: str = "full",
    names: Sequence[str] = (), resume: bool = False, engine: str = "", progress: Progress | None = None,
    using: Backend | None = None,
) -> Result:  # fmt: skip
    """Measure the machine this runs on: ceilings, operators, a descriptor, its calibration, a validation.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"`` (needs the extra ``gpu``).
    out : path
        Folder; the files go into ``out/name``.
    name : str, optional
        Of the descriptor; default: made from what the machine calls itself.
    size : str
        ``"full"`` (under ten minutes), ``"quick"`` (under two) or ``"tiny"`` (a trial of the loop).
    names : sequence of str, optional
        Of :data:`roofline.measure.suites.NAMES`; default: all.
    resume : bool
        Go on with the rows of an interrupted run.
    engine : str, optional
        ``"torch"`` measures a processor through PyTorch.
    progress : callable, optional
        Called with (done, total, what) in seconds of work.
    using : Backend, optional
        In place of `device` and `engine`.

    Returns
    -------
    Result

    Raises
    ------
    BadWorkload
        When the folder holds an earlier run, or the device is not there.
    BadData
        When the files of the run to go on with are damaged, or nothing could be measured.
    """
    machine = using or backend(device, engine)
    name = describe.identifier(name or machine.system.title)
    session = Session(machine, Path(out) / name, name, size, tuple(names), resume, progress)
    session.probe()
    chip = session.chip()
    session.run(chip)
    return finish(session, session.judge(chip))


def finish(session: Session, chip: Chip) -> Result:
    """From the rows on file to the calibrated chip, the validation and the files that a run ends with."""
    import pandas as pd

    path = session.folder / f"{session.name}.toml"
    table = measurements.read(session.rows.path)
    refused = pd.read_csv(session.refused.path)
    if table.empty:
        raise BadData(f"{session.rows.path}: no row was measured; left out: {session.left_out}")
    shapes = table[["op", "time_s", "dtype", *(c for c in table.columns if c in measurements_columns())]]
    source = f"roofline measure, {_read_json(session.folder / 'run.json').get('date', '')}"
    calibrated, held = fit(shapes, chip, source, session)
    if calibrated is not chip:
        path.write_text(calibrated.to_toml(), encoding="utf-8")
        calibrated = catalog.read_chip(path)
    validation = validate(shapes, chip, calibrated, held)
    validation.to_csv(session.folder / "validation.csv", index=False)
    files = {"descriptor": path, "measurements": session.rows.path, "validation": session.folder / "validation.csv",
             "probes": session.probes.path, "refused": session.refused.path}  # fmt: skip
    files["picture"] = picture(shapes, calibrated, session.folder / "roofline.png")
    return Result(chip, calibrated, table, refused, validation, session.left_out, files)


def fit(table: pd.DataFrame, chip: Chip, source: str, session: Session) -> tuple[Chip, dict[tuple[str, str], float]]:
    """The calibrated chip, and by class the error on shapes that were not fitted.

    One operator after the other, so that one with too few rows spoils nothing for the others.
    """
    held: dict[tuple[str, str], float] = {}
    for name, rows in table.groupby("op", sort=False):
        try:
            fitted = calibration.calibrate(chip, rows.dropna(axis=1, how="all"), source=source)
        except (RooflineError, ImportError) as error:
            session._leave_out(f"(not calibrated: {name}: {error})")
            continue
        chip = fitted.chip
        held |= {(f.kind, f.dtype): f.held_out for f in fitted.fits}
    return chip, held


def measurements_columns() -> tuple[str, ...]:
    """The columns of a row that say what was measured; the others say how."""
    from roofline.measure.record import SHAPE

    return SHAPE


def validate(table: pd.DataFrame, before: Chip, after: Chip, held: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Predicted against measured, by class; see :attr:`Result.validation`."""
    import pandas as pd

    first, second = measurements.predict(table, before), measurements.predict(table, after)
    time_s = table["time_s"].to_numpy(dtype=float)
    rows = []
    for (kind, dtype), part in first.groupby(["kind", "dtype"], sort=True):
        measured = time_s[table.index.get_indexer(part.index)]
        fit = second.loc[part.index, "predicted_s"].to_numpy()
        rows.append({
            "kind": kind, "dtype": dtype, "rows": len(part),
            "before": float(np.median(np.abs(part["predicted_s"].to_numpy() / measured - 1))),
            "after": float(np.median(np.abs(fit / measured - 1))),
            "held_out": held.get((str(kind), str(dtype)), math.nan),
        })  # fmt: skip
    return pd.DataFrame(rows)


def points(table: pd.DataFrame, chip: Chip) -> dict[str, pd.DataFrame]:
    """The rows as points on a roofline, by class: op, kind, intensity, flops, bytes, time_s, share."""
    import pandas as pd

    found: dict[str, list[pd.DataFrame]] = {}
    for index, op in measurements.groups(table):
        cost = dict(zip(COST, (np.broadcast_to(v, len(index)) for v in evaluate_op(op, chip)), strict=True))
        flops = cost["flops"] + cost["vector_flops"]
        frame = pd.DataFrame({
            "op": op.kind, "kind": op.kind, "flops": flops, "bytes": cost["bytes"],
            "intensity": flops / np.maximum(cost["bytes"], 1.0), "time_s": table.loc[index, "time_s"].to_numpy(float),
        })  # fmt: skip
        found.setdefault(f"{op.kind} {op.dtype}".strip(), []).append(frame)
    frames = {label: pd.concat(parts, ignore_index=True) for label, parts in found.items()}
    return {k: f.assign(share=0.02) for k, f in frames.items() if (f["flops"] > 0).any()}


def picture(table: pd.DataFrame, chip: Chip, path: Path) -> Path:
    """The machine's roofline with its measured operators on it."""
    from roofline import plot

    ax = plot.plot_roofline(chip, ops=points(table, chip), label_share=2.0, title=f"{chip.title}, measured")
    plot.save(ax, str(path))
    return path
