"""Sources and kinds said once for a table or a file: which one a figure gets, and what a variant inherits."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import roofline as rl
from roofline.base.errors import BadDescriptor
from roofline.catalog.load import read_chip
from roofline.hardware.chip import Chip
from roofline.hardware.schema import Descriptor
from tests.test_plausible import conform

SHORT = """\
schema = 1
name = "short"
vendor = "Us"
family = "npu"
year = 2027
status = "estimated"
source = "plan"
kind = "estimated"
clock = "1.2 GHz"
process = "5 nm"

[sources]
plan = "our architecture document, revision 7"
sheet = "the data sheet"

[cores]
name = "PE"
count = 96

[engines.matrix]
source = "sheet"
bf16 = { value = "400 TFLOP/s", low = "350 TFLOP/s", high = "420 TFLOP/s" }
int8 = { value = "800 TOP/s", kind = "derived" }

[engines.vector]
fp32 = "12 TFLOP/s"

[memory]
kind = "datasheet"

[memory.sram]
type = "scratchpad"
capacity = "256 MB"
bandwidth = { value = "6 TB/s", source = "a talk", kind = "measured" }

[memory.hbm]
source = "sheet"
type = "dram"
capacity = "96 GB"
bandwidth = { value = "2.4 TB/s", source = "a talk" }

[links.host]
bandwidth = "64 GB/s"

[efficiency]
kind = "measured"

[efficiency.gemm]
source = "runs"
compute_fraction = 0.8

[efficiency.gemm.fp8]
kind = "derived"
launch_s = "3 us"

[stack.ours]
source = "runs of ours"
efficiency.gemm.compute_fraction = 0.85
"""

#: Figure -> its source and kind, the nearest table's that has one.
STATED = {
    "clock": ("our architecture document, revision 7", "estimated"),
    "cores.count": ("our architecture document, revision 7", "estimated"),
    "engines.matrix.bf16": ("the data sheet", "estimated"),
    "engines.matrix.int8": ("the data sheet", "derived"),
    "engines.vector.fp32": ("our architecture document, revision 7", "estimated"),
    "memory.sram.capacity": ("our architecture document, revision 7", "datasheet"),
    "memory.sram.bandwidth": ("a talk", "measured"),
    "memory.hbm.capacity": ("the data sheet", "datasheet"),
    "memory.hbm.bandwidth": ("a talk", "datasheet"),
    "links.host.bandwidth": ("our architecture document, revision 7", "estimated"),
    "efficiency.gemm.compute_fraction": ("runs", "measured"),
    "efficiency.gemm.fp8.launch_s": ("runs", "derived"),
    "stack.ours.efficiency.gemm.compute_fraction": ("runs of ours", "estimated"),
}


def read(folder: Path, text: str, name: str = "short") -> Chip:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return read_chip(path)


def test_each_figure_has_the_source_and_kind_of_the_nearest_table(tmp_path: Path) -> None:
    chip = read(tmp_path, SHORT)
    assert {path: (n.source, n.kind) for path, n in chip.numbers.items()} == STATED
    assert chip["cores.count"] == 96
    assert chip["memory.hbm.capacity"] == 96e9
    assert chip["efficiency.gemm.fp8.launch_s"] == 3e-6
    assert (chip.number("engines.matrix.bf16").low, chip.number("engines.matrix.bf16").high) == (350e12, 420e12)
    assert chip.flags["process"] == "5 nm"
    assert (chip.flags["process.source"], chip.flags["process.kind"]) == STATED["clock"]


def test_the_short_file_is_the_long_one(tmp_path: Path) -> None:
    chip = read(tmp_path, SHORT)
    again = read(tmp_path, chip.to_toml())
    assert again.numbers == chip.numbers
    assert again.flags == chip.flags


def test_the_json_schema_knows_the_short_file() -> None:
    schema = Descriptor.model_json_schema()
    assert conform(tomllib.loads(SHORT), schema, schema["$defs"]) == []
    for wrong, says in (
        ('kind = "datasheet"', ".memory.kind is none of"),
        ('capacity = "96 GB"', ".memory.hbm.capacity is no"),
        ("count = 96", ".cores.count is no"),
    ):
        key = wrong.partition(" = ")[0]
        problems = conform(tomllib.loads(SHORT.replace(wrong, f"{key} = []", 1)), schema, schema["$defs"])
        assert [p.startswith(says) for p in problems] == [True], problems


def test_a_variant_says_its_own(tmp_path: Path) -> None:
    """What one file says once holds for its own figures alone, those of the other keep theirs."""
    read(tmp_path, SHORT)
    head = 'schema = 1\nname = "child"\nextends = "short"\n'
    own = '[memory.hbm]\nsource = "later sheet"\nkind = "measured"\ncapacity = "80 GB"\n'
    child = read(tmp_path, head + own, "child")
    stated = {path: (n.source, n.kind) for path, n in child.numbers.items()}
    assert stated == STATED | {"memory.hbm.capacity": ("later sheet", "measured")}
    assert child["memory.hbm.capacity"] == 80e9
    assert child.number("memory.hbm.capacity").inherited == ""
    assert child.number("memory.hbm.bandwidth").inherited == "short"
    with pytest.raises(BadDescriptor, match=r"memory\.hbm\.capacity: expected a figure such as .* once for its table"):
        read(tmp_path, f'{head}[memory.hbm]\ncapacity = "80 GB"\n', "child")


def test_a_plain_figure_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    read(tmp_path, SHORT)
    head = 'schema = 1\nname = "child"\nextends = "short"\nsource = "s"\nkind = "derived"\n'
    bandwidth = read(tmp_path, f'{head}[engines.matrix]\nbf16 = "500 TFLOP/s"\n', "child").number("engines.matrix.bf16")
    assert (bandwidth.value, bandwidth.low, bandwidth.source, bandwidth.kind) == (500e12, None, "s", "derived")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('source = "plan"\n', "", ["clock.source", "every figure needs a source", "once for its table or"]),
        ('kind = "estimated"\n', "", ["clock.kind", "every figure needs a kind", "cores.count.kind"]),
        ('source = "plan"', 'source = "?"', [': source: is still blank ("?")']),
        ('source = "runs"', 'source = "?"\nkind = "?"', ["gemm.source: is still", "gemm.kind: is still"]),
        ("count = 96", "count = true", ["cores.count: expected a figure", "found True"]),
        ("count = 96", "count = [96]", ["cores.count: expected a figure", "found [96]"]),
        ('capacity = "96 GB"', 'capacity = "96"', ["memory.hbm.capacity", "found a number without a unit"]),
        ('capacity = "96 GB"', 'capacity = { low = "9 GB" }', ["memory.hbm.capacity.value: is required but missing"]),
        ('[memory]\nkind = "datasheet"', "[memory]\nkind = 3", ["memory.kind: expected 'datasheet'", "found 3"]),
        ('source = "runs"', "source = []", ["efficiency.gemm.source: expected some text, found []"]),
        ('process = "5 nm"', "process = 5", ["process.value: expected text, found 5"]),
    ],
)
def test_mistakes_in_what_is_said_once(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in SHORT
    with pytest.raises(BadDescriptor) as error:
        read(tmp_path, SHORT.replace(old, new, 1))
    assert [w for w in words if w not in str(error.value)] == [], str(error.value)


# Two main memories ----------------------------------------------------------------------------------------------

CARD = 'schema = 1\nname = "card"\nextends = "rtx-4090"\nsource = "s"\nkind = "estimated"\n'
GDDR7 = '[memory.gddr7]\ntype = "dram"\ncapacity = "32 GB"\nbandwidth = "1.8 TB/s"\n'


def test_another_main_memory_needs_the_inherited_one_gone(tmp_path: Path) -> None:
    inherited = rl.load_chip("rtx-4090").main_level
    with pytest.raises(BadDescriptor) as error:
        read(tmp_path, CARD + GDDR7, "card")
    words = f"memory.gddr7: expected one main memory, found {inherited} and gddr7 of type dram"
    assert words in str(error.value)
    assert f'without = ["memory.{inherited}"]' in str(error.value)
    replaced = read(tmp_path, CARD + f'without = ["memory.{inherited}"]\n' + GDDR7, "card")
    assert replaced.main_level == "gddr7"
    assert inherited not in replaced.levels
    assert replaced["memory.main.capacity"] == 32e9
    assert replaced.cache_level == rl.load_chip("rtx-4090").cache_level
