"""Validation: figures, goals, the shipped data end to end, the raw layout of the public package."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import roofline as rl
from roofline.command.main import app
from roofline.evidence import measurements
from roofline.fidelity import (
    aiconfigurator,
    aiconfigurator_rows,
    exclusions,
    goals,
    scores,
    tuning,
    validation,
    validation_report,
)


def own(noise: float = 0.05, count: int = 400) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "op": "gemm",
            "dtype": "bf16",
            "m": np.exp(generator.uniform(0, 10, count)).round() + 1,
            "n": 4096,
            "k": 4096,
            "time_s": 1.0,
        }
    )
    predicted = measurements.predict(measurements.checked(frame).astype({"n": float, "k": float}), rl.load_chip("h100"))
    return frame.assign(time_s=predicted["predicted_s"].to_numpy() * np.exp(generator.normal(0, noise, count)))


def test_figures_of_rows_that_are_known() -> None:
    rows = pd.DataFrame(
        {
            "predicted_s": [1.1, 0.9, 2.2, 4.0],
            "measured_s": [1.0, 1.0, 2.0, 4.0],
            "naive_s": [0.5, 0.5, 1.0, 2.0],
            "three_s": [1.0, 1.0, 2.0, 4.0],
            "low_s": [0.9, 0.8, 2.1, 3.0],
            "high_s": [1.2, 1.1, 2.4, 5.0],
            "regime": [0, 0, 0, 1],
        }
    )
    figures = scores.summary(rows)
    assert figures["mape"] == pytest.approx((0.1 + 0.0) / 2)
    assert figures["coverage"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["naive"] == pytest.approx(0.5)
    assert figures["three"] == pytest.approx(0)
    assert figures["bias"] == pytest.approx(0.05)
    assert figures["spearman"] > 0.9


def test_own_measurements_noise_is_what_is_found() -> None:
    found = validation.validate(own(), "h100")
    whole = found.table[found.table["regime"] == "all"].iloc[0]
    assert whole["rows"] == 400
    assert whole["mape"] == pytest.approx(0.04, abs=0.01)  # mean absolute value of a normal of 0.05
    assert abs(whole["bias"]) < 0.02
    assert found.goals.empty
    assert 0 < whole["three"] < 1


def test_own_measurements_need_a_chip() -> None:
    with pytest.raises(rl.BadData, match="--chip"):
        rl.validate(own())
    with pytest.raises(rl.UnknownName):
        rl.validate(own().assign(chip="h100-sx"))
    assert len(rl.validate(own().assign(chip="h100-sxm")).rows) == 400
    with pytest.raises(rl.BadData, match="found both"):
        rl.validate(own(), "h100", full=True)


def test_a_chip_given_by_its_file_is_the_one_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    slow = rl.load_chip("h100-sxm").what_if({"memory.hbm.bandwidth": "x0.5"})
    file.write_text(dataclasses.replace(slow, name="mine", aliases=()).to_toml())
    rows = tmp_path / "rows.csv"
    own().to_csv(rows, index=False)
    out = CliRunner().invoke(app, ["validate", str(rows), "--chip", str(file), "--json"])
    assert out.exit_code == 0, out.output
    known = validation.validate(own().assign(chip="mine"), str(file))
    assert known.table["chip"].unique().tolist() == ["mine"]
    assert json.loads(out.stdout)["table"][0]["mape"] == pytest.approx(known.table["mape"][0])
    assert known.table["mape"][0] > 1.5 * validation.validate(own(), "h100").table["mape"][0]


def test_the_shipped_rows_end_to_end(found: validation.Validation) -> None:
    assert len(found.rows) > 30_000
    assert found.rows[["predicted_s", "low_s", "high_s"]].notna().all().all()
    assert (found.rows["low_s"] <= found.rows["high_s"]).all()
    assert len(found.bad) < 0.01 * len(found.rows)
    assert set(found.goals["goal"]) == {g.name for g in goals.GOALS}
    assert (found.goals["rows"] > 0).all()
    assert found.table["mape"].notna().all()
    fitted = found.goals.dropna(subset="three")
    assert (fitted["reached"] < fitted["naive"]).all()
    assert (fitted["reached"] < fitted["three"]).all()


def test_intervals_hold_on_shapes_that_no_fit_has_seen(found: validation.Validation) -> None:
    """The promise of the library; a wide margin here, the tracked figures are in docs/validation.md."""
    met = found.goals[found.goals["result"].isin(["must", "stretch"]) & ~found.goals["goal"].str.startswith("A100")]
    assert met["coverage"].between(0.75, 1.0).all()
    assert met["coverage"].mean() > 0.85


def test_excluded_rows_are_in_the_table_of_exclusions(found: validation.Validation) -> None:
    table = validation_report.excluded_table(found)
    assert len(table.rows) == len(exclusions.RULES)
    assert found.excluded.attrs["complete_rows"] > 500_000
    assert (found.rows["rule"] != "").any()
    kept = found.rows[found.rows["rule"] == ""]
    assert found.table[found.table["regime"] == "all"]["rows"].sum() == len(kept)


def test_rows_that_no_machine_could_measure_are_listed(found: validation.Validation) -> None:
    """None is dropped unseen: a rule takes them, and the page lists them by class, chip and framework with a cause."""
    assert found.bad.empty
    bound = found.rows["measured_s"] < 0.97 * found.rows["lower_s"]
    taken = found.rows[found.rows["rule"] == exclusions.IMPOSSIBLE]
    assert taken.index.tolist() == found.rows.index[bound].tolist()
    alone = taken[~taken["chip"].str.contains("<")]
    assert 0 < len(alone) < 0.0015 * (~found.rows["chip"].str.contains("<")).sum()
    listed = found.excluded[found.excluded["rule"] == exclusions.IMPOSSIBLE]
    assert listed["rows"].sum() == len(alone)
    assert not listed["late"].any()
    table = validation_report.impossible_table(found)
    assert sum(int(row[4]) for row in table.rows) == len(alone)
    assert ["attention decode", "bf16", "a100-sxm-80gb", "trtllm", "34"] in [row[:5] for row in table.rows]
    assert all(float(least) <= float(median) <= 0.97 for *_, least, median, _ in table.rows)
    page = validation_report.page(found)
    assert f"{len(alone)} of " in page
    assert {row[-1] for row in table.rows if row[2] != "b200"}.isdisjoint({"open", ""})
    assert "Not usable" not in page
    # They are in no figure, and one such row of one's own is a slip to be told of.
    kept = found.rows[(found.rows["rule"] == "") & (found.rows["class"] == "attention decode")]
    assert (kept["measured_s"] >= 0.97 * kept["lower_s"]).all()
    slip = own(count=20)
    slip.loc[3, "time_s"] *= 1e-3
    assert validation.validate(slip, "h100").bad["reason"].tolist() == [measurements.TOO_FAST]


def test_page_and_machine_readable_forms(found: validation.Validation) -> None:
    page = validation_report.page(found)
    assert "not shippable" in page
    json.dumps(validation_report.as_json(found), allow_nan=False)
    assert {"class", "regime", "mape", "coverage"} <= set(validation_report.records(found)[0])


def test_the_picture(found: validation.Validation, tmp_path: Path) -> None:
    from roofline.show import plot

    axes = plot.plot_validation(found.rows.head(2000))
    assert axes.get_xscale() == axes.get_yscale() == "log"
    plot.save(axes, str(tmp_path / "v.png"))
    with pytest.raises(rl.BadWorkload):
        plot.plot_validation(found.rows.head(0))


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    own().to_csv(file, index=False)
    out = CliRunner().invoke(app, ["validate", str(file), "--chip", "h100", "--csv"])
    assert out.exit_code == 0, out.output
    assert out.stdout.startswith("class,dtype,chip")
    page = tmp_path / "page.md"
    out = CliRunner().invoke(app, ["validate", str(file), "-c", "h100", "--json", "--markdown", str(page)])
    assert json.loads(out.stdout)["table"]
    assert "gemm" in page.read_text()
    assert "gemm" in CliRunner().invoke(app, ["validate", str(file), "-c", "h100"]).stdout


# The public package's own files ----------------------------------------------------------------------------------


def write(root: Path, path: str, **columns: Any) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(file)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "systems" / "data"
    same = {"device": "NVIDIA H100 80GB HBM3"}
    write(
        root,
        "h100_sxm/gemm/vllm/0.24.0/gemm_perf.parquet",
        framework="VLLM",
        op_name="gemm",
        kernel_source="x",
        gemm_dtype=["bfloat16", "fp8_block", "sq"],
        m=[64, 64, 64],
        n=4096,
        k=4096,
        latency=[0.013, 0.09, 0.02],
        **same,
    )
    write(
        root,
        "h100_sxm/gemm/trtllm/1.3.0rc20/gemm_perf.parquet",
        framework="TRTLLM",
        op_name="gemm",
        kernel_source="x",
        gemm_dtype=["bfloat16", "fp8"],
        m=[64, 1],
        n=[65536, 512],
        k=[8192, 512],
        latency=[0.4, 0.013],
        **same,
    )
    write(
        root,
        "h200_sxm/attention/sglang/0.5.14/generation_attention_perf.parquet",
        framework="SGLang",
        op_name="generation_attention",
        kernel_source=["fa3", "triton"],
        batch_size=8,
        isl=1,
        num_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        attn_dtype="bfloat16",
        kv_cache_dtype=["fp8", "bfloat16"],
        step=4095,
        window_size=0,
        latency=[0.05, 0.09],
    )
    write(
        root,
        "a100_sxm/comm/nccl/2.27.3/nccl_perf.parquet",
        framework="TRTLLM",
        op_name=["alltoall", "all_reduce"],
        kernel_source="NCCL",
        nccl_dtype=["half", "int8"],
        num_gpus=8,
        message_size=[1 << 20, 1 << 20],
        latency=[0.05, 0.06],
    )
    return tmp_path


def test_the_raw_layout(raw: Path) -> None:
    rows = aiconfigurator.read(raw)
    assert rows["chip"].value_counts().to_dict() == {"h100-sxm": 5, "h200": 2, "a100-sxm-80gb": 2}
    gemm = rows[rows["op"] == "gemm"].set_index(["framework", "dtype", "variant"])
    assert gemm.loc[("vllm", "fp8", "block"), "flags"] == "eager_host_bound"
    assert gemm.loc[("vllm", "bf16", ""), "time_s"] == pytest.approx(13e-6)
    assert not gemm.loc[("trtllm", "bf16", ""), "reuse"]  # a gigabyte of weights
    assert bool(gemm.loc[("trtllm", "fp8", "per-tensor"), "quantize"])
    moves = rows[rows["op"].isin(["all_to_all", "all_reduce"])].set_index("op")
    assert moves.loc["all_to_all", "bytes"] == 2 << 20
    assert moves.loc["all_reduce", "bytes"] == 1 << 20
    decode = rows[rows["op"] == "attention"]
    assert decode["kv_len"].eq(4096).all()
    assert decode["role"].eq("test-chip").all()
    assert decode["dtype"].tolist() == ["fp8", "bf16"]
    assert decode["flags"].tolist() == ["", "slow_fallback_kernel"]


def test_the_raw_layout_end_to_end(raw: Path) -> None:
    found = rl.validate(full_from=raw)
    assert len(found.rows) >= 7
    assert found.source.startswith("aiconfigurator-core 0.12.0")


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(rl.BadData, match="no folder h100_sxm"):
        rl.validate(full_from=tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(rl.BadData, match=r"pip install aiconfigurator-core==0\.12\.0"):
        aiconfigurator.read()


def test_the_stacks_of_a_row() -> None:
    h100 = rl.load_chip("h100-sxm")
    assert validation.stacks_of(h100, "trtllm", "", "moe", "1.3.0rc20") == ()
    assert validation.stacks_of(h100, "trtllm", "block", "moe", "1.3.0rc10") == ("trtllm_block", "trtllm_1_3_0rc10")
    assert validation.stacks_of(h100, "vllm", "", "moe", "0.24.0") == ("vllm",)


def test_a_kernel_of_another_library_has_a_stack_of_its_own() -> None:
    b200 = rl.load_chip("b200")
    assert validation.stacks_of(b200, "sglang", "block triton", "moe", "0.5.14") == ("sglang_block_triton",)
    assert validation.stacks_of(b200, "sglang", "block", "moe", "0.5.14") == ("sglang_block",)
    assert validation.stacks_of(b200, "trtllm", "fp4 weights", "moe", "1.3.0rc20") == ("trtllm_fp4",)


def test_the_roles_of_the_b200() -> None:
    """Two folds of five by a sum of the shape's sizes: 31 n + 17 k, heads // 8, bits of a message and its devices."""
    products = pd.DataFrame({"n": [1, 2, 3, 4, 5], "k": [0, 0, 0, 0, 0]})
    folds = aiconfigurator.role_by_fold("gemm", products)
    assert folds.tolist() == ["test-shapes"] + ["calibrate"] * 3 + ["test-shapes"]
    latent = aiconfigurator.role_by_fold("mla_attention", pd.DataFrame({"heads": [4, 16, 128]}))
    assert latent.tolist() == ["test-shapes", "calibrate", "test-shapes"]
    moved = aiconfigurator.role_by_fold("collectives", pd.DataFrame({"bytes": [1024, 2048], "devices": [4, 4]}))
    assert moved.tolist() == ["test-shapes", "test-shapes"]


def test_which_layers_are_gated() -> None:
    """Nemotron 3's are not, in the collections that ran them so; the kernel's name goes first."""
    rows = pd.DataFrame(
        {
            "hidden": [2048, 2048, 2048], "inter": [5120, 5120, 768], "topk": [22, 22, 8], "experts": [512, 512, 128],
            "version": ["0.24.0", "0.22.0", "0.24.0"], "gated": [True, True, True], "framework": "vllm", "chip": "b200",
        }
    )  # fmt: skip
    assert aiconfigurator_rows._gated(rows).tolist() == [False, True, True]
    assert not aiconfigurator_rows._gated(rows.assign(gated=False)).any()
    other = rows.assign(framework="sglang", version="0.5.14")
    assert aiconfigurator_rows._gated(other).tolist() == [False, False, True]
    assert aiconfigurator_rows._gated(other.assign(chip="h100-sxm")).all()


def test_which_kernels_the_benchmark_tuned() -> None:
    """The file of a configuration is the first whose name begins as its own: then nothing is tuned."""

    def case(experts: int, ep: int, topk: int = 8, dtype: str = "bfloat16") -> tuple[Any, ...]:
        return ("moe_torch_flow_cutlass", dtype, 4096.0, 2048.0, topk, experts, 1, ep, "balanced")

    expected = [
        (case(256, 256), True),  # one expert a rank, and no file yet
        (case(256, 16), True),
        (case(256, 128), True),
        (case(512, 256), False),  # two experts a rank: the file of 256 / 128 is of another split
        (case(512, 16), True),
        (case(96, 32), False),  # three experts a rank: that of 32 begins so
        (case(256, 16, topk=6), False),
        (case(256, 16, topk=6, dtype="fp8_block"), True),
    ]
    names = ["kernel", "dtype", "hidden", "inter", "topk", "experts", "tp", "ep", "distribution"]
    frame = pd.DataFrame([one for one, _ in expected], columns=names).assign(version="1.3.0rc10")
    assert tuning.tuned(frame).tolist() == [true for _, true in expected]
    assert tuning.tuned(frame.assign(version="1.3.0rc23")).all()
