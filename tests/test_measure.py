"""Measuring a machine: the whole loop on a made-up one. No test asserts a speed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from roofline.base.errors import BadData, BadWorkload, UnknownName
from roofline.catalog import load as catalog
from roofline.command import measure as cli_measure
from roofline.estimates.inference import evaluate_op
from roofline.evidence import calibration, measurements
from roofline.measure import Session, backend, levels, measure, record, suites, system, timing
from roofline.measure.backend import CannotMeasure, Prepared, Probe
from roofline.measure.planning import TOO_FAST, operator
from roofline.measure.system import Cache, System

KIB, MIB, GIB = 2**10, 2**20, 2**30
CURVE = ((96 * KIB, 150e9), (4 * MIB, 95e9), (64 * MIB, 42e9), (1e18, 20e9))


def bandwidth_at(size: float) -> float:
    return next(rate for capacity, rate in CURVE if size <= capacity)


class Made:
    """A machine that does what it is told: ceilings as written above, operators at a known distance from the model."""

    name, kind, framework, version, devices = "made", "cpu", "none", "1", 1

    def __init__(self, stop_after: int = 10**9, hasty: int = 0, wrong: int = 0, busy: float = 0.0) -> None:
        caches = (Cache("l1", 96 * KIB, True), Cache("l2", 4 * MIB, True), Cache("l3", 64 * MIB, False))
        self.system = System("Made Up 2000", "Nobody", "core", 2, caches, 16.0 * GIB, 2e9, {"none": "1"})
        self.stop_after, self.hasty, self.wrong, self.calls = stop_after, hasty, wrong, 0
        self.busy = np.random.default_rng(0).exponential(busy, 10_000)  # what other programs add, in logs
        self.peak = 250e9

    def probes(self, size: str, names: tuple[str, ...] = ()) -> Iterator[Callable[[], list[Probe]]]:
        wanted = names or ("launch", "peak", "bandwidth", "latency")
        made = [Probe("launch", "", "", 0, 4e-6, 5e-6, 9), Probe("latency", "chain", "", 2**27, 1.1e-7, 1.2e-7, 5)]
        for n, dtype in ((1, "fp32"), (2, "fp64")):
            made.append(Probe("peak", "gemm 1024", dtype, 0, self.peak / n, self.peak / n, 9))
        for mode, share in (("read", 1.0), ("write", 0.5), ("copy", 0.9), ("triad", 0.95)):
            for size_bytes in suites.stream_sizes(64 * MIB, 16 * GIB, "quick"):
                rate = share * bandwidth_at(size_bytes)
                made.append(Probe("bandwidth", mode, "fp64", size_bytes, rate, rate, 5))
        return iter([partial(list, [p]) for p in made if p.probe in wanted])

    def prepare(self, case: suites.Case) -> Prepared:
        self.calls += 1
        if self.calls > self.stop_after:
            raise KeyboardInterrupt
        if case.get("dtype") == "fp64":
            raise CannotMeasure("no fp64 today")
        self.case, number = case, self.calls
        return Prepared(lambda i: None, lambda: 1.0 if number <= self.wrong else 0.0, 1e-3)

    def time(self, prepared: Prepared, budget_s: float) -> timing.Timing:
        cost = evaluate_op(operator(self.case), self.model)
        seconds = 1e-9 if self.calls <= self.hasty else 1.3 * float(cost[7]) * np.exp(self.busy[self.calls])
        return timing.Timing(seconds, seconds, 0.01 * seconds, 9, 1)

    model: Any = None


def _make_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators of the made-up machine are 1.3 times as slow as the model says before it is fitted."""
    first = Session.chip

    def chip(self: Session) -> Any:
        found = first(self)
        if isinstance(self.backend, Made) and self.backend.model is None:
            self.backend.model = found
        return found

    monkeypatch.setattr(Session, "chip", chip)
    monkeypatch.setattr("roofline.measure.planning.LONGEST_S", dict.fromkeys(suites.SIZES, 10.0))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type[Made]:
    """The made-up machine."""
    _make_up(monkeypatch)
    return Made


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a finished run leaves behind."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        _make_up(patch)
        measure(using=Made(), out=folder, name="x", size="tiny", names=("gemm",))
    return folder / "x"


@pytest.fixture
def finished(finished_run: Path, made: type[Made], tmp_path: Path) -> Callable[[], Any]:
    """A finished run, x in the test's folder; called, it is gone on with."""
    shutil.copytree(finished_run, tmp_path / "x")
    return lambda: measure(using=made(), out=tmp_path, name="x", size="tiny", names=("gemm",), resume=True)


def test_the_loop_ends_with_a_descriptor_of_the_machine(made: type[Made], tmp_path: Path) -> None:
    seen = []
    result = measure(
        using=made(),
        out=tmp_path,
        name="Made Up",
        size="quick",
        names=("elementwise", "gemm"),
        progress=lambda done, total, text: seen.append((done, total, text)),
    )
    chip = catalog.load_chip(tmp_path / "made-up" / "made-up.toml")
    assert chip.levels == ("l1", "l2", "l3", "dram")
    assert chip.level("l2", "bandwidth") == pytest.approx(95e9, rel=1e-4)
    assert chip.level("l3", "bandwidth") == pytest.approx(42e9, rel=1e-4)
    assert chip["memory.main.bandwidth"] == pytest.approx(20e9, rel=1e-4)
    assert chip.peak("fp32") == pytest.approx(250e9, rel=1e-4)
    assert chip.number("memory.main.bandwidth").kind == "measured"
    assert chip["cores.count"] == 2
    assert "none 1" in chip.note
    assert chip.number("memory.dram.latency").value == pytest.approx(1.1e-7)
    assert set(result.validation["kind"]) == {"gemm", "elementwise", "residual_add", "rms_norm", "softmax", "all"}
    assert (result.validation["after"] <= result.validation["before"] + 1e-9).all()
    unseen = result.table[result.table["role"] == record.TEST]
    assert len(unseen) == result.validation["test_rows"].iloc[-1] > 20
    assert result.validation["rows"].iloc[-1] == len(result.table) - len(unseen)
    assert result.calibrated.calibration["gemm_fp32"]["rows"] < result.validation.set_index("kind")["rows"]["gemm"]
    assert (result.table["rounds"] == 2).all()
    assert result.validation["after"].median() < 0.1 < result.validation["before"].median()
    assert result.refused.empty
    assert len(measurements.read(result.files["measurements"])) == len(result.table)
    assert result.files["picture"].stat().st_size > 10_000
    assert result.left_out["no bf16 rate on this machine"] == 24 + suites.TEST_SHAPES["quick"]
    assert all(done <= total for done, total, _ in seen)
    assert result.fit_for_use
    assert record.read_json(tmp_path / "made-up" / "run.json")["fit_for_use"] is True


def test_a_run_on_a_busy_machine_is_not_fit_for_use(made: type[Made], tmp_path: Path) -> None:
    result = measure(using=made(busy=2.0), out=tmp_path, name="x", size="quick", names=("gemm",))
    assert not result.fit_for_use
    errors = result.validation.set_index("kind").loc["all"]
    assert f"the model is {errors['after']:.0%} off in the median on the rows that it was fitted to" in result.why[0]
    assert any("times of one shape scatter by" in why for why in result.why)
    assert catalog.load_chip(result.files["descriptor"]).note.startswith("NOT FIT FOR USE: the model is")
    assert record.read_json(tmp_path / "x" / "run.json")["why"] == result.why


def test_a_run_that_could_fit_nothing_is_not_fit_for_use(made: type[Made], tmp_path: Path) -> None:
    result = measure(using=made(), out=tmp_path, name="x", size="tiny", names=("gemm",))
    assert result.why == ["no class of operators had enough rows to fit its parameters"]
    result = measure(using=made(hasty=10), out=tmp_path, name="y", size="tiny", names=("gemm",))
    assert "77% of the rows were refused, more than 50%" in result.why


def test_an_interrupted_run_keeps_its_rows_and_goes_on(made: type[Made], tmp_path: Path) -> None:
    names = ("gemm", "gather")
    with pytest.raises(KeyboardInterrupt):
        measure(using=made(stop_after=7), out=tmp_path, name="x", size="tiny", names=names)
    path = tmp_path / "x" / "measurements.csv"
    assert len(pd.read_csv(path)) == 7
    with path.open("a") as stream:
        stream.write("gemm,0.00")  # as a kill in the middle of a write leaves it
    with pytest.raises(BadWorkload, match="--resume"):
        measure(using=made(), out=tmp_path, name="x", size="tiny", names=names)
    again = made()
    result = measure(using=again, out=tmp_path, name="x", size="tiny", names=names, resume=True)
    keys = [record.key(row) for row in result.table.to_dict("records")]
    wanted = [*suites.cases("cpu", "tiny", names, 64 * MIB), *suites.held_out("cpu", "tiny", names, 64 * MIB)]
    assert len(keys) == len(set(keys)) == len(wanted)
    assert again.calls == len(wanted) - 7
    probes = pd.read_csv(tmp_path / "x" / "probes.csv")
    assert not probes.duplicated().any(), "finished ceilings are not measured again"


def test_what_physics_does_not_allow_is_refused(made: type[Made], tmp_path: Path) -> None:
    result = measure(using=made(hasty=3), out=tmp_path, name="x", size="tiny", names=("gemm",))
    assert list(result.refused["reason"]) == [TOO_FAST] * 3
    assert len(result.table) == 10
    assert len(measurements.faults(result.table, result.chip)) == 0


def test_rows_come_back_when_the_ceilings_had_been_too_low(made: type[Made], tmp_path: Path) -> None:
    machine = made()
    machine.peak = 250e6  # as if something else had run meanwhile
    session = Session(machine, tmp_path / "x", "x", "tiny", ("gemm",))
    session.probe()
    low = session.chip()
    machine.peak = 250e9
    machine.model = low.what_if({"engines.vector.fp32": 250e9, "engines.vector.fp64": 125e9})
    session.run(low)
    assert session.refused.rows()
    chip = session.judge()
    assert chip.peak("fp32") == pytest.approx(250e9, rel=1e-4)
    assert not session.refused.rows()
    assert len(session.rows.rows()) == 13


def test_rounds_become_one_row_a_shape() -> None:
    row = {
        "op": "gemm",
        "m": "8",
        "n": "8",
        "k": "8",
        "dtype": "fp32",
        "error": "0",
        "rounds": "1",
        "samples": "5",
        "time_std_s": "1e-7",
        "role": "",
    }
    times = ("3e-6", "1e-6", "2e-6")
    found = record.merged([{**row, "time_s": t, "low_s": t} for t in times] + [{**row, "m": "9", "time_s": "1"}])
    assert [f["m"] for f in found] == ["8", "9"]
    assert (found[0]["time_s"], found[0]["low_s"], found[0]["samples"], found[0]["rounds"]) == (2e-6, 1e-6, 15, 3)
    assert found[0]["time_std_s"] == pytest.approx(1e-6)


def test_a_run_cut_off_between_rounds_measures_only_what_is_missing(made: type[Made], tmp_path: Path) -> None:
    cases = len(suites.cases("cpu", "quick", ("gather",), 64 * MIB)) + suites.TEST_SHAPES["quick"]
    with pytest.raises(KeyboardInterrupt):
        measure(using=made(stop_after=cases + 5), out=tmp_path, name="x", size="quick", names=("gather",))
    rows = pd.read_csv(tmp_path / "x" / "measurements.csv")
    assert len(rows) == cases + 5
    again = made()
    result = measure(using=again, out=tmp_path, name="x", size="quick", names=("gather",), resume=True)
    assert again.calls == cases - 5
    assert list(result.table["rounds"]) == [2] * cases
    finished = made()
    same = measure(using=finished, out=tmp_path, name="x", size="quick", names=("gather",), resume=True)
    assert finished.calls == 0
    pd.testing.assert_frame_equal(result.table, same.table)


def test_shapes_apart_are_none_of_the_grid_and_the_same_whatever_else_is_measured() -> None:
    for kind in ("cpu", "gpu"):
        for size in suites.SIZES:
            grid = suites.cases(kind, size, (), 50e6)
            drawn = suites.held_out(kind, size, (), 50e6)
            classes = {(c["op"], c["dtype"]) for c in grid if "dtype" in c}
            assert not {record.key(c) for c in grid} & {record.key(c) for c in drawn}
            counts = pd.Series([(c["op"], c["dtype"]) for c in drawn]).value_counts()
            assert counts.to_dict() == dict.fromkeys(classes, suites.TEST_SHAPES[size])
            alone = suites.held_out(kind, size, ("embedding",), 50e6)
            assert alone == [c for c in drawn if c["op"] == "embedding_bag"]
            for case in drawn:
                operator(case)


@pytest.mark.parametrize(
    ("column", "value"),
    [("rounds", ""), ("rounds", "1.0"), ("time_s", "abc"), ("time_s", "nan"), ("time_s", "-1"), ("low_s", "0"),
     ("samples", "two"), ("time_std_s", "inf"), ("op", "frobnicate"), ("m", "1e300"), ("m", "0"), ("n", "64.5"),
     ("k", "1" * 400), ("dtype", "fp99"), ("role", "test-chip"), ("role", ""), ("reuse", "perhaps"), ("time_s", "1e6"),
     ("skew", "500"), ("samples", "1" * 30), ("low_s", "50")],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_rows_that_no_run_has_written_are_named(
    finished: Callable[[], Any], tmp_path: Path, column: str, value: str
) -> None:
    path = tmp_path / "x" / "measurements.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[2, column] = value
    frame.to_csv(path, index=False)
    with pytest.raises(BadData, match=rf"measurements\.csv: row 3: {column}: found '{value[:20]}.*expected"):
        finished()


def test_a_row_that_is_no_operator_is_named(finished: Callable[[], Any], tmp_path: Path) -> None:
    path = tmp_path / "x" / "measurements.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[1, "k"] = ""
    frame.to_csv(path, index=False)
    with pytest.raises(BadData, match=r"measurements\.csv: row 2 \(gemm\): .*k"):
        finished()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], "gemm,1e-5", *lines[3:]]) + "\n")
    with pytest.raises(BadData, match=r"row 2: expected 30 columns, found fewer"):
        finished()


@pytest.mark.parametrize(
    ("probe", "column", "value"),
    [("bandwidth", "value", "1e300"), ("bandwidth", "value", "nan"), ("bandwidth", "bytes", "0"),
     ("bandwidth", "bytes", "1e9"), ("bandwidth", "bytes", "9" * 40), ("peak", "value", "-5"),
     ("peak", "dtype", "fp99"), ("launch", "value", "3600"), ("latency", "median", ""), ("peak", "samples", "0"),
     ("peak", "probe", "peek")],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_damaged_ceiling_is_named_and_not_the_descriptor_made_of_it(
    finished: Callable[[], Any], tmp_path: Path, probe: str, column: str, value: str
) -> None:
    path = tmp_path / "x" / "probes.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    row = frame.index[frame["probe"] == probe][0]
    frame.loc[row, column] = value
    frame.to_csv(path, index=False)
    with pytest.raises(BadData, match=rf"probes\.csv: row {row + 1}: {column}: found '{value}', expected"):
        finished()


def test_ceilings_that_make_no_chip_are_blamed_themselves(finished: Callable[[], Any], tmp_path: Path) -> None:
    path = tmp_path / "x" / "probes.csv"
    rows = [line for line in path.read_text().splitlines() if "peak" not in line]
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(BadData, match=r"probes\.csv: no peak rate was measured"):
        finished()
    (tmp_path / "x" / "run.json").write_text('{"ceilings": true, "date": [2026]}')
    with pytest.raises(BadData, match=r"run\.json: date: found \[2026\], expected a date"):
        finished()


@pytest.mark.usefixtures("finished")
def test_there_must_be_a_run_to_go_on_with(made: type[Made], tmp_path: Path) -> None:
    with pytest.raises(BadWorkload, match="no run to go on with: found x in"):
        measure(using=made(), out=tmp_path, name="xx", size="tiny", resume=True)
    assert not (tmp_path / "xx").exists()


def test_a_finished_run_measures_nothing_again(finished: Callable[[], Any], tmp_path: Path) -> None:
    before = (tmp_path / "x" / "probes.csv").read_text()
    finished()
    assert (tmp_path / "x" / "probes.csv").read_text() == before


def test_rows_apart_are_not_fitted_by_calibrate_either(made: type[Made], tmp_path: Path) -> None:
    result = measure(using=made(), out=tmp_path, name="x", size="quick", names=("gather",))
    again = calibration.calibrate(result.chip, result.files["measurements"])
    unseen = (result.table["role"] == record.TEST).sum()
    assert sum(f.rows + f.held_out_rows for f in again.fits) == len(result.table) - unseen
    assert any("were not fitted" in note for note in again.notes)


def test_a_fit_that_is_not_taken_is_told(made: type[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.evidence.calibration.FEWEST_ROWS", 10**6)
    result = measure(using=made(), out=tmp_path, name="x", size="tiny", names=("gemm",))
    assert any("gemm" in note for note in result.notes)


def test_wrong_outputs_are_refused(made: type[Made], tmp_path: Path) -> None:
    result = measure(using=made(wrong=2), out=tmp_path, name="x", size="tiny", names=("gemm",))
    assert result.refused["reason"].str.contains("off the reference").sum() == 2


def test_bad_requests_name_what_there_is(made: type[Made], tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="gemm"):
        measure(using=made(), out=tmp_path, names=("gemms",))
    with pytest.raises(UnknownName, match="full"):
        measure(using=made(), out=tmp_path, size="ful")
    with pytest.raises(UnknownName, match="cuda"):
        backend("cud")
    folder = tmp_path / "x"
    folder.mkdir()
    for header in ("a,b", " probe,mode,dtype,bytes,value,median,samples"):
        (folder / "probes.csv").write_text(f"{header}\n1,2\n")
        with pytest.raises(BadData, match=r"probes\.csv: expected the columns"):
            measure(using=made(), out=tmp_path, name="x", resume=True)


# Parts -----------------------------------------------------------------------------------------------------------


def test_levels_are_the_steps_of_the_curve() -> None:
    sizes = [int(2**e) for e in np.arange(14, 31, 0.5)]
    curves = {"read": {s: bandwidth_at(s) for s in sizes}, "write": {s: 0.4 * bandwidth_at(s) for s in sizes}}
    found = levels.find(curves, (), 8 * GIB)
    assert [round(level.bandwidth / 1e9) for level in found] == [150, 95, 42, 20]
    for level, (capacity, _) in zip(found, CURVE, strict=False):
        assert level.name == "dram" or 0.6 * capacity < level.capacity < 1.6 * capacity
    assert found[-1].capacity == 8 * GIB
    assert found[2].low == pytest.approx(0.4 * 42e9)


def test_a_cache_that_others_use_too_counts_for_what_is_left_of_it() -> None:
    sizes = [int(2**e) for e in np.arange(14, 31, 0.5)]
    caches = (Cache("l2", 4 * MIB, True), Cache("l3", 512 * MIB, False))
    found = levels.find({"read": {s: bandwidth_at(s) for s in sizes}}, caches, 8 * GIB)
    l3 = found[1]
    assert l3.name == "l3"
    assert 60 * MIB < l3.capacity < 100 * MIB
    assert "512 MiB" in l3.note
    with pytest.raises(BadData, match="no bandwidth"):
        levels.find({}, caches, GIB)


def test_caches_are_read_from_the_system(tmp_path: Path) -> None:
    for cpu in (0, 1):
        for n, (level, kind, size, shared) in enumerate(
            [
                (1, "Data", "48K", cpu),
                (1, "Instruction", "32K", cpu),
                (2, "Unified", "2M", cpu),
                (3, "Unified", "30720K", "0-1"),
            ]
        ):
            folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{n}"
            folder.mkdir(parents=True)
            for file, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                (folder / file).write_text(f"{text}\n")
    found = system._caches([0, 1], 2, tmp_path)
    assert [(c.name, c.capacity, c.per_core) for c in found] == [
        ("l1", 96 * KIB, True),
        ("l2", 4 * MIB, True),
        ("l3", 30 * MIB, False),
    ]
    assert system._caches([0], 1, tmp_path / "nothing") == ()


def test_zipf_draws_follow_the_law() -> None:
    draws = timing.zipf(np.random.default_rng(0), 100_000, 1.1, 400_000)
    assert draws.min() >= 0
    assert draws.max() < 100_000
    counts = np.sort(np.bincount(draws))[::-1]
    assert counts[0] / counts[9] == pytest.approx(10**1.1, rel=0.15)
    assert len(np.unique(timing.zipf(np.random.default_rng(0), 50, 0.0, 10_000))) == 50


def test_a_nan_is_never_close() -> None:
    assert timing.relative_error(np.array([np.nan, 1.0]), np.ones(2)) == float("inf")


def test_every_case_is_an_operator_of_the_model() -> None:
    for kind in ("cpu", "gpu"):
        for size in suites.SIZES:
            for case in suites.cases(kind, size, (), 50e6):
                operator({**case, "devices": 8} if "bytes" in case else case)
    sweep = pd.DataFrame(suites.cases("gpu", "full", ("bags",), 50e6))
    assert set(sweep["dtype"]) == {"fp32", "fp16", "int8"}
    assert (sweep["dim"].min(), sweep["dim"].max()) == (32, 512)
    assert (sweep["batch"].min(), sweep["batch"].max()) == (64, 65536)
    assert (sweep["pooling"].min(), sweep["pooling"].max()) == (1, 128)


def test_the_command(made: type[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.measure.run.backend", lambda device, engine: made())
    app = typer.Typer()
    cli_measure.register(app)
    done = CliRunner().invoke(app, ["--out", str(tmp_path), "--name", "x", "--suite", "gemm", "--quick"])
    assert done.exit_code == 0, done.output
    assert "gemm" in done.stdout
    assert "predicted against measured" in done.stdout
    assert "descriptor:" in done.stderr
    monkeypatch.setattr("roofline.measure.run.backend", lambda device, engine: made(busy=2.0))
    done = CliRunner().invoke(app, ["--out", str(tmp_path), "--name", "y", "--suite", "gemm", "--quick"])
    assert done.exit_code == 1
    assert "not fit for use: the model is" in " ".join(done.stderr.split())
    assert (tmp_path / "y" / "y.toml").exists()
    assert dataclasses.is_dataclass(Probe)
