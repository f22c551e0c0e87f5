"""Measurement tables: what is read, what is refused, and which rows are named as bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import roofline as rl
from roofline.evidence import measurements
from roofline.fidelity import exclusions, validation
from roofline.work import op

H100 = rl.load_chip("h100-sxm")
GEMM = {"op": "gemm", "dtype": "bf16", "m": 64, "n": 4096, "k": 4096, "time_s": 2e-5}
ATTENTION = {
    "op": "attention",
    "dtype": "bf16",
    "batch": 8,
    "heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "q_len": 1,
    "kv_len": 4096,
    "time_s": 4e-5,
}
MOE = {
    "op": "moe",
    "dtype": "bf16",
    "tokens": 64,
    "hidden": 4096,
    "inter": 2048,
    "topk": 2,
    "experts": 8,
    "time_s": 3e-4,
}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return measurements.read(pd.DataFrame(list(rows)))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (GEMM | {"time_s": None}, "time_s is missing"),
        (GEMM | {"time_s": "fast"}, "time_s is missing or no number"),
        (GEMM | {"time_s": -1e-5}, "time_s is not positive"),
        (GEMM | {"time_s": 0.0}, "time_s is not positive"),
        (GEMM | {"time_s": float("inf")}, "time_s is not positive"),
        (GEMM | {"time_s": 1e-9}, "faster than the lower bound"),
        (GEMM | {"time_s": 20.0}, "in seconds?"),
        (GEMM | {"m": None}, "m is missing"),
        (GEMM | {"n": -4}, "n is not positive"),
        (GEMM | {"k": 0}, "k is not positive"),
        (GEMM | {"k": "many"}, "k is no number"),
        (GEMM | {"op": "gem"}, "did you mean 'gemm'"),
        (GEMM | {"dtype": "bf17"}, "did you mean 'bf16'"),
        (GEMM | {"dtype": "fp4"}, "no fp4 rate"),
        (GEMM | {"reuse": "perhaps"}, "reuse must be true or false"),
        (ATTENTION | {"heads": 30}, "multiple of kv_heads"),
        (ATTENTION | {"q_len": 8192}, "kv_len counts the new tokens"),
        (MOE | {"topk": 16}, "at most the number of experts"),
        ({"op": "all_reduce", "bytes": 1e6, "devices": 0, "time_s": 1e-5}, "devices is not positive"),
    ],
)
def test_a_bad_row_is_named_and_the_good_one_beside_it_is_not(row: dict[str, Any], reason: str) -> None:
    found = measurements.faults(table(GEMM, row), H100)
    assert list(found.index) == [2]
    assert reason in found[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as CSV"),
        ("op,time_s\n", "no rows"),
        ("op,time\ngemm,1\n", "no column 'time_s'; is it 'time'"),
        ("operator,time_s\ngemm,1\n", "no column 'op'"),
        ("op,time_s,time_s \ngemm,1,2\n", "is there twice"),
        ("op,m,time_s,m\ngemm,1,1,2\n", "column 'm' is there twice"),
        ("op;dtype;time_s\ngemm;bf16;1\n", "expected commas"),
        ("op,time_s\ngemm,True\n", "time_s: expected seconds as numbers, found bool"),
        ("op,time_s\nmatmul,1\n", "unknown operator 'matmul'"),
        ('op,time_s\n"gemm,1\n', "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(text)
    with pytest.raises(rl.BadData, match=r"rows\.csv") as error:
        measurements.read(file)
    assert message in str(error.value)


def test_missing_files_folders_and_false_parquet_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(rl.BadData):
            measurements.read(path)
    false = tmp_path / "rows.parquet"
    false.write_bytes(b"op,time_s\ngemm,1\n")
    with pytest.raises(rl.BadData, match="as Parquet"):
        measurements.read(false)


def test_a_class_without_times_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("op,dtype,m,n,k,rows,cols,time_s\ngemm,bf16,64,4096,4096,,,1e-5\nsoftmax,bf16,,,,64,4096,\n")
    found = rl.validate(file, "h100-sxm")
    assert found.rows["class"].tolist() == ["gemm"]
    assert found.bad.to_dict("records") == [{"chip": "h100-sxm", "row": 2, "reason": "time_s is missing or no number"}]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("m", [1, 2], "m is no number"), ("m", 10**400, "m is not positive and finite"), ("m", True, "m is no number"),
        ("m", "1" * 5000, "m is no"), ("m", pd.Timestamp(2026, 1, 1), "m is no number"),
        ("m", 1e300, "m must be a number from 1 to 10^15"),
        ("time_s", [1.0], "time_s is missing or no number"), ("time_s", 10**400, "time_s is not positive and finite"),
        ("op", ["gemm"], "unknown operator"), ("op", 7, "unknown operator"), ("dtype", [1], "unknown dtype '[1]'"),
        ("reuse", {"a": 1}, "reuse must be true or false"), ("k", pd.NA, "k is missing"),
    ],
)  # fmt: skip
def test_things_that_are_no_numbers_are_named(column: str, value: Any, reason: str) -> None:
    frame = pd.DataFrame([GEMM, GEMM]).astype(object)
    frame[column] = pd.Series([frame.get(column, pd.Series([None]))[0], value], dtype=object)
    found = measurements.faults(measurements.read(frame), H100)
    assert list(found.index) == [2]
    assert reason in found[2]


def test_when_no_row_can_be_used_the_first_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    pd.DataFrame([GEMM | {"m": "many"}] * 3 + [GEMM | {"k": None}]).to_csv(file, index=False)
    words = r"rows\.csv can be used: 3 x m is no number \(row 1 the first\); 1 x k is missing \(row 4 the first\)"
    with pytest.raises(rl.BadData, match=words):
        rl.validate(file, "h100-sxm")
    with pytest.raises(rl.BadData, match=words):
        rl.calibrate("h100-sxm", file)


def test_rows_are_numbered_from_one_below_the_header(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    pd.DataFrame([GEMM, GEMM | {"m": "x"}, GEMM]).to_csv(file, index=False)
    assert list(measurements.faults(measurements.read(file), H100).index) == [2]


def test_predictions_are_those_of_single_operators() -> None:
    rows = table(GEMM, ATTENTION, GEMM | {"m": 1, "reuse": "true"}, MOE | {"skew": 1.5})
    predicted = measurements.predict(measurements.numeric(rows), H100)
    ops = [
        op.gemm(m=64, n=4096, k=4096),
        op.attention(batch=8, heads=32, kv_heads=8, head_dim=128, q_len=1, kv_len=4096),
        op.gemm(m=1, n=4096, k=4096, reuse=True),
        op.moe(tokens=64, hidden=4096, inter=2048, topk=2, experts=8, skew=1.5),
    ]
    np.testing.assert_allclose(predicted["predicted_s"], [rl.cost(o, H100).time_s for o in ops])
    assert (predicted["lower_s"] <= predicted["predicted_s"]).all()
    assert (predicted["naive_s"] > 0).all()


def test_a_column_that_looks_mistyped_is_reported() -> None:
    notes = measurements.unused(table(GEMM | {"quantise": True, "source": "mine"}))
    assert notes == ["column 'quantise' is not used; did you mean 'quantize'?"]


def test_regimes() -> None:
    assert list(measurements.regime(np.array([1e-6, 5e-6, 50e-6, 0.5e-3, 1.0]))) == [0, 1, 2, 3, 4]


def test_shipped_rows_are_usable_and_attributed() -> None:
    rows = validation.shipped()
    assert set(rows["chip"]) == {"h100-sxm", "h200", "a100-sxm-80gb", "b200"}
    assert set(rows["role"]) == {"calibrate", "test-shapes", "test-chip"}
    assert (rows["role"] == "test-chip").eq(rows["chip"] == "h200").all()
    folder = Path(validation.__file__).parent.parent / "evidence" / "measured"
    assert sum(f.stat().st_size for f in folder.iterdir() if f.is_file()) < 3_000_000
    assert "Apache" in (folder / "README.md").read_text()


def test_exclusion_rules_know_every_flag_that_is_shipped() -> None:
    flags = validation.shipped()["flags"].dropna()
    assert {f for text in flags.unique() for f in text.split(";")} <= set(exclusions.BY_FLAG)
    early, late = exclusions.excluded(flags), exclusions.excluded(flags, late=True)
    assert ((early == "") | (late != "")).all()
    assert not any(exclusions.BY_FLAG[f].late for f in early.unique() if f)
