"""Files of strangers: what they unpack to is bounded, whatever they are packed with."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import roofline as rl
from roofline.base import reading

CSV = "op,dtype,m,n,k,time_s\ngemm,bf16,64,4096,4096,2e-5\n"


def zipped(path: Path, data: bytes, names: tuple[str, ...] = ("rows.csv",)) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)


PACKERS: dict[str, Callable[[Path, bytes], object]] = {
    "csv": lambda path, data: path.write_bytes(data),
    "gz": lambda path, data: path.write_bytes(gzip.compress(data)),
    "bz2": lambda path, data: path.write_bytes(bz2.compress(data)),
    "xz": lambda path, data: path.write_bytes(lzma.compress(data)),
    "zip": zipped,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_tables_are_read_however_they_are_packed(tmp_path: Path, packer: str) -> None:
    path = tmp_path / f"rows.csv.{packer}"
    PACKERS[packer](path, CSV.encode())
    assert reading.csv_table(path).to_dict("records") == [
        {"op": "gemm", "dtype": "bf16", "m": 64, "n": 4096, "k": 4096, "time_s": 2e-5}
    ]
    assert len(rl.validate(path, "h100-sxm").rows) == 1


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("reader", ["validate", "calibrate"])
def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packer: str, reader: str
) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 10_000)
    path = tmp_path / f"rows.csv.{packer}"
    PACKERS[packer](path, CSV.encode() + b"\n" * 20_000)
    with pytest.raises(rl.BadData, match="expected at most 10,000 bytes, found") as error:
        rl.validate(path, "h100-sxm") if reader == "validate" else rl.calibrate("h100-sxm", path)
    assert ("unpacks to more" in str(error.value)) == (packer != "csv")


def test_a_gigabyte_in_a_megabyte_stays_packed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(41):
            stream.write(b"\n" * 10_000_000)
    assert path.stat().st_size < 5_000_000
    with pytest.raises(rl.BadData, match="expected at most 400,000,000 bytes, found a file of"):
        rl.validate(path, "h100-sxm")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    for packer, pack in PACKERS.items():
        if packer == "csv":
            continue
        path = tmp_path / f"rows.{packer}"
        pack(path, CSV.encode() * 100)
        path.write_bytes(path.read_bytes()[:40])
        with pytest.raises(rl.BadData, match=rf"rows\.{packer}: cannot be"):
            reading.unpacked(path)
    zipped(tmp_path / "two.zip", b"a", ("a.csv", "b.csv"))
    with pytest.raises(rl.BadData, match=r"two\.zip: expected a zip archive of one file, found 2"):
        reading.unpacked(tmp_path / "two.zip")


def test_a_table_of_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("op,time_s," + ",".join(f"c{n}" for n in range(1200)) + "\n")
    with pytest.raises(rl.BadData, match="at most 1,000 columns, found 1,202"):
        reading.csv_table(path)
    monkeypatch.setattr(reading, "MAX_ROWS", 10)
    path.write_text(CSV + "gemm,bf16,64,4096,4096,2e-5\n" * 10)
    with pytest.raises(rl.BadData, match="at most 10 rows, found 11"):
        reading.csv_table(path)
    monkeypatch.setattr(reading, "MAX_CELLS", 20)
    path.write_text(CSV + "gemm,bf16,64,4096,4096,2e-5\n" * 4)
    with pytest.raises(rl.BadData, match="at most 20 cells, found 30"):
        reading.csv_table(path)
    path.write_text(CSV.replace("gemm", '"' + "\n" * 30 + 'gemm"'))  # lines within a cell are no rows
    assert len(reading.csv_table(path)) == 1


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "a\0b", "a.*b: "),
        ("x" * 5000, "cannot be read|no such"),
        ("/dev/zero", "is a device or pipe"),
    ):
        with pytest.raises(rl.BadData, match=words):
            reading.unpacked(path)


# Parquet ---------------------------------------------------------------------------------------------------------


def write(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_parquet(path)
    return path


def test_a_column_of_one_long_word_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million rows of one value take a few bytes in the file and a gigabyte in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    word = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 1000]))
    table = pa.table({"op": word, "time_s": pa.array(np.ones(1_000_000))})
    pq.write_table(table, tmp_path / "rows.parquet", store_schema=False)
    assert (tmp_path / "rows.parquet").stat().st_size < 200_000
    with pytest.raises(rl.BadData, match="column 'op': unknown operator 'xxx"):
        rl.validate(tmp_path / "rows.parquet", "h100-sxm")
    monkeypatch.setattr(reading, "MAX_ROWS", 999_999)
    with pytest.raises(rl.BadData, match=r"rows\.parquet: expected at most 999,999 rows, found 1,000,000"):
        rl.validate(tmp_path / "rows.parquet", "h100-sxm")
    monkeypatch.undo()
    monkeypatch.setattr(reading, "MAX_BYTES", 1_000_000)
    with pytest.raises(rl.BadData, match="at most 1,000,000 bytes unpacked, found more"):
        rl.calibrate("h100-sxm", tmp_path / "rows.parquet")


def test_nested_columns_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", pd.DataFrame({"op": ["gemm"], "time_s": [1.0], "m": [[1, 2]]}))
    with pytest.raises(rl.BadData, match=r"column 'm': expected plain values, found 'list<"):
        rl.validate(path, "h100-sxm")


def test_gaps_in_flags_take_the_default(tmp_path: Path) -> None:
    same = {"op": "gemm", "dtype": "bf16", "m": 64, "n": 4096, "k": 4096, "time_s": 2e-5}
    frame = pd.DataFrame([same] * 3)
    frame["reuse"] = pd.array([True, None, False], dtype="boolean")
    frame["batch"] = pd.array([None, 1, 1], dtype="Int64")
    frame["weight_dtype"] = pd.Categorical([None, "bf16", "bf16"])
    found = rl.validate(write(tmp_path / "rows.parquet", frame), "h100-sxm")
    assert found.bad.empty
    plain = rl.validate(pd.DataFrame([same | {"reuse": True}, same, same]), "h100-sxm")
    assert found.rows["predicted_s"].tolist() == plain.rows["predicted_s"].tolist()
    assert found.rows["predicted_s"].nunique() == 2
