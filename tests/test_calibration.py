"""Calibration: parameters that are known come back; what cannot be fitted stays; the descriptor loads again."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import roofline as rl
from roofline.catalog.places import files_of
from roofline.command.main import app
from roofline.evidence import fitting, measurements
from roofline.work.workload import workload

H100 = rl.load_chip("h100-sxm")
TRUTH = {
    "gemm": {"launch_s": "6 us", "compute_fraction": 0.6, "memory_fraction": 0.65},
    "all_reduce": {"launch_s": "9 us", "link_fraction": 0.6, "chunk_s": "2 us"},
    "silu_mul": {"launch_s": "3 us", "memory_fraction": 0.4, "cache_fraction": 0.2},
}


def rows(
    kind: str,
    count: int = 200,
    noise: float = 0.02,
    seed: int = 0,
    chip: rl.Chip = H100,
    parameters: dict[str, Any] | None = None,
) -> tuple[pd.DataFrame, rl.Chip]:
    """Rows of one class, measured on a machine whose parameters we know."""
    generator = np.random.default_rng(seed)

    def sizes(low: int, high: int) -> Any:
        return np.round(np.exp(generator.uniform(np.log(low), np.log(high), count)))

    columns: dict[str, Any] = {
        "gemm": {"dtype": "bf16", "m": sizes(1, 16384), "n": sizes(128, 16384), "k": sizes(128, 16384)},
        "all_reduce": {"bytes": sizes(1 << 10, 1 << 30), "devices": generator.choice([2, 4, 8], count)},
        "silu_mul": {"dtype": "bf16", "rows": sizes(1, 65536), "cols": sizes(512, 16384)},
    }[kind]
    truth = chip.what_if({f"efficiency.{kind}.{n}": value for n, value in (parameters or TRUTH[kind]).items()})
    frame = pd.DataFrame({"op": kind, **columns, "time_s": 1.0})
    exact = measurements.predict(measurements.numeric(measurements.checked(frame)), truth)["predicted_s"].to_numpy()
    return frame.assign(time_s=exact * np.exp(generator.normal(0, noise, count))), truth


@functools.cache
def fitted(kind: str) -> Any:
    """What the usual rows of a class give."""
    return rl.calibrate("h100", rows(kind)[0], source="bench 'one'\\ \"two\"")


@pytest.mark.parametrize("kind", list(TRUTH))
def test_known_parameters_are_recovered(kind: str) -> None:
    _, truth = rows(kind)
    result = fitted(kind)
    assert result.bad.empty
    fresh, _ = rows(kind, 300, noise=0.0, seed=1)  # shapes that the fit has not seen
    predicted = measurements.predict(measurements.numeric(measurements.checked(fresh)), result.chip)["predicted_s"]
    off = np.abs(np.log(predicted.to_numpy() / fresh["time_s"].to_numpy()))
    assert off.mean() < 0.03
    assert np.quantile(off, 0.95) < 0.10
    fit = result.fits[0]
    assert fit.held_out < 0.06 < fit.before
    assert fit.parameters["launch_s"] == pytest.approx(truth.number(f"efficiency.{kind}.launch_s").value, rel=0.1)
    assert all(0 < s < 0.2 for s in fit.spread.values())


def test_outliers_do_not_move_the_fit() -> None:
    frame, _ = rows("silu_mul")
    frame.loc[::15, "time_s"] *= 5
    fit = rl.calibrate(H100, frame).fits[0]
    assert fit.parameters["launch_s"] == pytest.approx(3e-6, rel=0.15)


def test_a_fit_stays_within_what_a_descriptor_may_say(tmp_path: Path) -> None:
    epyc = rl.load_chip("epyc-9654")
    frame, _ = rows("gemm", noise=0.05, seed=1, chip=epyc, parameters={"tail_share": 1.0})
    result = rl.calibrate(epyc, frame)
    assert result.fits[0].parameters["tail_share"] <= 1.0
    again = rl.load_chip(result.save(tmp_path / "mine.toml"))
    found = again.parameter("tail_share", ("gemm", "gemm"), "bf16")
    assert found is not None
    assert found.value == pytest.approx(result.fits[0].parameters["tail_share"], rel=1e-3)


def test_a_chip_that_is_right_already_is_left_alone() -> None:
    frame, truth = rows("gemm", noise=0.0)
    result = rl.calibrate(truth, frame)
    assert not result.fits[0].parameters
    assert "stay" in result.fits[0].note
    assert result.fits[0].held_out == result.fits[0].held_out_before


def test_parameters_of_the_hardware_are_never_fitted() -> None:
    from roofline.work import op

    free = fitting.free_parameters(H100, op.gemm(m=1, n=1, k=1))
    assert "launch_s" in free
    assert not {"tile_min", "tile_max", "resident_fraction"} & set(free)


def test_the_descriptor_extends_the_original_and_loads_again(tmp_path: Path) -> None:
    result = fitted("gemm")
    loaded = rl.load_chip(result.save(tmp_path / "mine.toml"))
    assert loaded.name == "mine"
    fresh, _ = rows("gemm", 50, seed=2)
    fresh = measurements.numeric(measurements.checked(fresh))
    one, two = (measurements.predict(fresh, chip) for chip in (result.chip, loaded))
    pd.testing.assert_frame_equal(one, two)
    assert loaded.number("efficiency.gemm.bf16.launch_s").kind == "measured"
    assert loaded.number("efficiency.gemm.launch_s").inherited == "h100-sxm"
    assert loaded.calibration["gemm_bf16"]["rows"] == result.fits[0].rows
    assert loaded["memory.hbm.bandwidth"] == H100["memory.hbm.bandwidth"]
    # the same silicon: what was not fitted anew is not doubted more
    assert loaded.spreads(("moe",), "bf16") == H100.spreads(("moe",), "bf16")


def test_a_chip_known_only_by_its_file_is_written_whole(tmp_path: Path) -> None:
    """As a copy of the H200, whose spreads are in part the H100's and therefore wider."""
    base = rl.load_chip("h200")
    own = tmp_path / "mine" / "h200x.toml"
    own.parent.mkdir()
    extends = Path(files_of("chips")["h200"][1]).read_text()
    own.write_text(re.sub(r"(?m)^aliases = .*$", "", extends).replace('name = "h200"', 'name = "h200x"'))
    frame, _ = rows("silu_mul", 120)
    file = tmp_path / "rows.csv"
    frame.to_csv(file, index=False)
    out = tmp_path / "elsewhere.toml"
    done = CliRunner().invoke(app, ["calibrate", str(own), str(file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    own.unlink()
    loaded = rl.load_chip(out)
    assert loaded.name == "elsewhere"
    assert loaded["memory.hbm.bandwidth"] == base["memory.hbm.bandwidth"]
    assert loaded.number("efficiency.silu_mul.bf16.launch_s").kind == "measured"
    assert loaded.spreads(("moe",), "bf16") == pytest.approx(base.spreads(("moe",), "bf16"))


def test_what_a_name_does_not_give_back_is_written_whole(tmp_path: Path) -> None:
    """A what-if, a stack, a file that would extend itself, a stranger of that name beside it."""
    frame, _ = rows("silu_mul", 120)
    fast = rl.calibrate(H100.what_if({"memory.hbm.bandwidth": "4 TB/s"}), frame)
    assert rl.load_chip(fast.save(tmp_path / "fast.toml"))["memory.hbm.bandwidth"] == 4e12
    vllm = rl.calibrate(H100.on_stack("vllm"), frame)
    loaded = rl.load_chip(vllm.save(tmp_path / "on-vllm.toml"))
    assert (
        loaded.parameter("launch_s", ("moe",), "bf16").value == vllm.base.parameter("launch_s", ("moe",), "bf16").value
    )
    plain = fitted("silu_mul")
    assert "extends" in plain.save(tmp_path / "plain.toml").read_text()
    itself = plain.save(tmp_path / "h100-sxm.toml")
    assert rl.load_chip(itself).numbers.keys() == plain.chip.numbers.keys()
    assert "extends" not in plain.save(tmp_path / "beside.toml").read_text()


def test_bad_rows_are_counted_and_few_rows_left_alone() -> None:
    frame, _ = rows("silu_mul")
    frame.loc[3, "time_s"] = -1.0
    few, _ = rows("gemm", 10)
    result = rl.calibrate(H100, pd.concat([frame, few], ignore_index=True))
    assert list(result.bad.index) == [4]
    assert list(result.skipped) == ["gemm bf16"]
    assert result.report["class"].tolist() == ["silu_mul.bf16"]


def test_nothing_to_fit_is_an_error() -> None:
    frame, _ = rows("gemm", 10)
    with pytest.raises(rl.BadData, match="too few rows"):
        rl.calibrate(H100, frame)
    with pytest.raises(rl.BadData, match="no row of measured rows can be used: 10 x time_s"):
        rl.calibrate(H100, frame.assign(time_s=0.0))


def test_stacks_go_before_the_plain_figures(tmp_path: Path) -> None:
    plain, vllm = H100.parameter("launch_s", ("gemm",), "bf16"), H100.on_stack("vllm")
    assert plain is not None
    assert vllm.parameter("launch_s", ("gemm",), "bf16") == H100.numbers["stack.vllm.efficiency.gemm.launch_s"]
    assert vllm.parameter("launch_s", ("gemm",), "bf16") != plain
    assert vllm.parameter("launch_s", ("rope",), "bf16") == H100.parameter("launch_s", ("rope",), "bf16")
    assert {"vllm", "sglang", "trtllm"} <= set(rl.load_chip("h200").stacks)
    with pytest.raises(rl.UnknownName, match="vllm"):
        H100.on_stack("vlm")
    file = tmp_path / "whole.toml"
    file.write_text(vllm.to_toml())
    again = rl.load_chip(file)
    assert {name: number.value for name, number in again.numbers.items()} == {
        name: number.value for name, number in vllm.numbers.items()
    }
    engine = {name for name in H100.on_stack("sglang").numbers if name.startswith("serving.")}
    assert again.on_stack("sglang").numbers.keys() == vllm.numbers.keys() | engine


def test_a_stack_is_checked_as_figures_are(tmp_path: Path) -> None:
    head = 'schema = 1\nname = "mine"\nextends = "h100-sxm"\n'
    for lines, problem in (
        ('[stack.mine.efficiency.gemm]\nlaunch_s = { value = "3 TB/s", source = "me", kind = "measured" }', "launch_s"),
        ('[stack.mine.efficiency.gem]\nlaunch_s = { value = "3 us", source = "me", kind = "measured" }', "'gemm'"),
        ("[stack.mine]\nspeed = 3", "speed"),
    ):
        file = tmp_path / "mine.toml"
        file.write_text(head + lines)
        with pytest.raises(rl.BadDescriptor, match=problem):
            rl.load_chip(file)


def test_spreads_are_by_regime_and_wider_where_they_are_inherited() -> None:
    own, sibling = (rl.load_chip(name).spreads(("gemm",), "bf16") for name in ("h100-sxm", "h200"))
    assert len(set(own)) > 1
    np.testing.assert_allclose(sibling, 1.25 * np.array(own))
    small, large = (rl.run(workload(rl.gemm(m=m, n=8192, k=8192)), rl.load_chip("h100-sxm")) for m in (1, 16384))
    engine = rl.load_chip("h100-sxm")["overheads.engine_spread"]  # a whole step has that doubt beside its operators'
    for phase in (small, large):
        assert any(np.isclose(phase.spread, np.hypot(spread, engine)) for spread in own)
    assert small.spread != large.spread
    both = rl.run(workload(rl.gemm(m=np.array([1.0, 16384.0]), n=8192, k=8192)), rl.load_chip("h100-sxm"))
    np.testing.assert_allclose(both.spread, [small.spread, large.spread])


def test_the_command_writes_the_descriptor_and_the_bad_rows(tmp_path: Path) -> None:
    frame, _ = rows("silu_mul", 120)
    frame.loc[0, "cols"] = np.nan
    file, out, bad = tmp_path / "rows.csv", tmp_path / "my-h100.toml", tmp_path / "bad.csv"
    frame.to_csv(file, index=False)
    done = CliRunner().invoke(app, ["calibrate", "h100", str(file), "-o", str(out), "--bad", str(bad), "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["classes"][0]["parameters"]["launch_s"] > 0
    assert pd.read_csv(bad).to_dict("records") == [{"row": 1, "reason": "cols is missing"}]
    assert rl.load_chip(out).name == "my-h100"
    shown = CliRunner().invoke(app, ["calibrate", "h100", str(file)])
    assert "held out" in shown.stdout
    assert "1 rows were not used: 1 x cols is missing" in shown.stdout


def test_times_in_another_unit_are_doubted() -> None:
    frame, _ = rows("silu_mul", 60)
    assert not fitted("silu_mul").notes
    assert any(
        "are they in seconds?" in note for note in rl.calibrate(H100, frame.assign(time_s=frame.time_s * 900)).notes
    )


@pytest.mark.parametrize(
    ("out", "bad", "words"),
    [
        ("rows.csv", None, "twice"), ("new.toml", "new.toml", "twice"), ("no/new.toml", None, "does not exist"),
        ("My Chip.toml", None, "lower-case"),
    ],
)  # fmt: skip
def test_the_command_writes_over_nothing(tmp_path: Path, out: str, bad: str | None, words: str) -> None:
    frame, _ = rows("gemm", 60)
    file = tmp_path / "rows.csv"
    frame.to_csv(file, index=False)
    before = file.read_bytes()
    options = ["--bad", str(tmp_path / bad)] if bad else []
    done = CliRunner().invoke(app, ["calibrate", "h100", str(file), "--out", str(tmp_path / out), *options])
    assert done.exit_code
    assert words in re.sub(r"[│\s]+", " ", done.output) + str(done.exception)  # in a frame, its lines folded
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]
