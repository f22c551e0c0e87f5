"""`roofline new`: a file whose blanks are listed, and which is a chip once they are filled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import roofline as rl
from roofline.base.errors import BadDescriptor, UnknownName
from roofline.catalog.load import read_chip
from roofline.hardware.plausible import warnings
from roofline.hardware.starter import FAMILIES, starter
from tests.conftest import Run

#: What somebody puts in for each blank: by the last word of its path, and where that says nothing by the whole path.
FILLED = {
    "vendor": '"Us"', "year": "2027", "sources.plan": '"our plan, revision 7"', "cores.count": "96",
    "bf16": '"400 TFLOP/s"', "fp16": '"400 TFLOP/s"', "int8": '"800 TOP/s"', "fp8": '"800 TFLOP/s"',
    "fp32": '"12 TFLOP/s"', "engines.vector.bf16": '"24 TFLOP/s"', "capacity": '"96 GB"', "bandwidth": '"2.4 TB/s"',
    "links.host.bandwidth": '"64 GB/s"', "memory.l2.capacity": '"2 MiB"', "memory.l3.capacity": '"300 MiB"',
    "memory.vmem.capacity": '"128 MiB"', "memory.sram.capacity": '"256 MB"',
}  # fmt: skip


def blanks(path: Path) -> list[str]:
    """What `check` says is still to be filled in."""
    with pytest.raises(BadDescriptor) as error:
        read_chip(path)
    says = re.compile(r'([\w.]+): is still blank \("\?"\)(?:: expected a .+)?')
    found = [says.fullmatch(line) for line in error.value.problems]
    assert all(found), error.value.problems
    return [match[1] for match in found if match]


def fill(path: Path, key: str) -> None:
    """Put a figure in the place of one blank, found by its table and name."""
    table, _, name = key.rpartition(".")
    head, found, rest = path.read_text().partition(f"[{table}]" if table else "schema = 1")
    assert found
    value = FILLED.get(key) or FILLED[name]
    path.write_text(head + found + re.sub(rf'(?m)^{name} = "\?"', f"{name} = {value}", rest, count=1))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_starter_is_a_chip_once_its_blanks_are_filled(family: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(starter("mine", family))
    left = blanks(path)
    assert len(left) == path.read_text().count(' = "?"')
    while left:
        fill(path, left[0])
        if len(left) == 1:
            break
        assert blanks(path) == left[1:]
        left = left[1:]
    chip = read_chip(path)
    assert (chip.name, chip.family, chip.year, chip.vendor) == ("mine", family, 2027, "Us")
    assert {(n.source, n.kind) for n in chip.numbers.values()} == {("our plan, revision 7", "estimated")}
    assert warnings(chip.numbers) == []
    assert rl.estimate("llama-3.1-8b", chip, check=False).tpot_s > 0
    assert rl.estimate("dlrm-v2", chip, batch=64, dtype=chip.widest_matrix, check=False).latency_s > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_commented_out_is_right_as_it_stands(family: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = starter("mine", family)
    known = re.sub(r"(?m)^# (?=\[|\w+ = )", "", text)
    assert len(known) < len(text)
    path.write_text(known)
    for key in blanks(path):
        fill(path, key)
    chip = read_chip(path)
    assert chip["links.scale_up.domain"] == 8
    assert chip["power.tdp"] == 300


def test_new_writes_a_file_that_check_explains(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("new", "my-chip", "--family", "npu")
    assert (code, out) == (0, "")
    assert "wrote my-chip.toml" in err
    code, out, err = run("check", "my-chip.toml")
    assert (code, out) == (1, "")
    told = " ".join(err.split())
    for words in ("vendor: is still blank", "cores.count: is still blank", "expected a bandwidth such as '3.35 TB/s'"):
        assert words in told
    for key in blanks(Path("my-chip.toml")):
        fill(Path("my-chip.toml"), key)
    code, out, err = run("check", "my-chip.toml")
    assert (code, out, err) == (0, "my-chip.toml: my-chip is valid: 9 figures\n", "")


def test_new_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "there.toml"
    path.write_text("mine")
    code, _, err = run("new", "there", "--family", "gpu", "--out", str(path))
    assert code == 2
    assert "is there already" in " ".join(err.replace("\u2502", " ").split())
    assert path.read_text() == "mine"
    code, _, err = run("new", "there", "--family", "gpu", "--out", str(tmp_path / "absent" / "x.toml"))
    assert code == 2
    assert "does not exist" in " ".join(err.replace("\u2502", " ").split())


@pytest.mark.parametrize(
    ("name", "family", "error", "words"),
    [
        ("my-chip", "npx", UnknownName, "did you mean 'npu'"),
        ("my-chip", "", UnknownName, "known: cpu, dataflow, gpu, npu, tpu"),
        ("My Chip", "npu", BadDescriptor, "expected lower-case letters, digits and any of"),
        ("../x", "npu", BadDescriptor, "found '../x'"),
        ("x" * 65, "npu", BadDescriptor, "64 at most"),
    ],
)
def test_a_starter_of_nothing_is_refused(name: str, family: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        starter(name, family)
