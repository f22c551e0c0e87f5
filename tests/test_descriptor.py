"""Chip descriptors: what is accepted, the mistakes that people make and what they are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.base.errors import BadDescriptor, UnknownName
from roofline.catalog.load import read_chip
from roofline.hardware import plausible

TINY = """\
schema = 1
name = "tiny"
title = "Acme Tiny"
aliases = ["tiny-1"]
vendor = "Acme"
family = "npu"
year = 2025
status = "shipping"

[sources]
sheet = "Acme Tiny data sheet, 2025"

[clock]
value = "1 GHz"
source = "sheet"
kind = "datasheet"

[cores]
name = "core"
count = { value = 16, source = "sheet", kind = "datasheet" }

[engines.matrix]
bf16 = { value = "100 TFLOP/s", source = "sheet", kind = "datasheet" }

[engines.vector]
fp32 = { value = "2 TFLOP/s", source = "sheet", kind = "datasheet" }

[memory.sram]
type = "scratchpad"
capacity = { value = "64 MiB", source = "sheet", kind = "datasheet" }
bandwidth = { value = "4 TB/s", source = "sheet", kind = "datasheet" }

[memory.hbm]
type = "dram"
capacity = { value = "16 GiB", source = "sheet", kind = "datasheet" }
bandwidth = { value = "1 TB/s", low = "0.9 TB/s", high = "1.1 TB/s", source = "sheet", kind = "datasheet" }

[links.scale_up]
topology = "ring"
bandwidth = { value = "100 GB/s", source = "sheet", kind = "datasheet" }
domain = { value = 8, source = "sheet", kind = "datasheet" }

[power]
tdp = { value = "120 W", source = "an earlier press report", kind = "measured" }

[efficiency.gemm]
compute_fraction = { value = 0.8, source = "sheet", kind = "measured" }

[efficiency.gemm.bf16]
launch_s = { value = "2 us", source = "sheet", kind = "measured" }

[calibration.gemm]
data = "measured.csv"
rows = 12
error = 0.08
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadDescriptor) as error:
        read_chip(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert len(message) < 2000
    assert all(c.isprintable() or c == "\n" for c in message)
    return message.removeprefix(str(path))


def test_a_valid_descriptor_loads(tiny: Path) -> None:
    chip = read_chip(tiny)
    assert (chip.name, chip.aliases, chip.levels) == ("tiny", ("tiny-1",), ("sram", "hbm"))
    assert chip["memory.hbm.capacity"] == 16 * 2**30
    bandwidth = chip.number("memory.main.bandwidth")
    assert (bandwidth.value, bandwidth.low, bandwidth.high, bandwidth.shape) == (1e12, 0.9e12, 1.1e12, "triangular")
    assert bandwidth.source == "Acme Tiny data sheet, 2025"
    assert chip.number("power.tdp").source == "an earlier press report"
    assert chip["efficiency.gemm.bf16.launch_s"] == 2e-6
    assert chip.calibration["gemm"]["rows"] == 12
    assert plausible.warnings(chip.numbers) == []


def test_a_byte_order_mark_and_windows_line_ends_are_harmless(tiny: Path) -> None:
    expected = read_chip(tiny).numbers
    tiny.write_bytes(b"\xef\xbb\xbf" + TINY.replace("\n", "\r\n").encode())
    assert read_chip(tiny).numbers == expected


FP32 = 'fp32 = { value = "2 TFLOP/s", source = "sheet", kind = "datasheet" }'
TDP = 'tdp = { value = "120 W", source = "an earlier press report", kind = "measured" }'
FRACTION = 'compute_fraction = { value = 0.8, source = "sheet", kind = "measured" }'
OVERLAP = '\n[efficiency.embedding_bag]\noverlap_share = { value = 1.5, source = "sheet", kind = "measured" }'
LAUNCH = 'launch_s = { value = "2 us", source = "sheet", kind = "measured" }'
SRAM = "[memory.sram]"
HBM_LINE = 'bandwidth = { value = "1 TB/s", low = "0.9 TB/s", high = "1.1 TB/s", source = "sheet", kind = "datasheet" }'

L3 = '[memory.l3]\ntype = "cache"\ncapacity = { value = "1 MB", source = "s", kind = "measured" }'

# What was written -> what was put in its place, and what the message must say: the key, what was found, what was
# expected.
MISTAKES: dict[str, tuple[str, str, list[str]]] = {
    "unknown table": ("[links.scale_up]", "[link.scale_up]", ["link: unknown key", "did you mean 'links'"]),
    "unknown key of a figure": ("count = { value", "count = { vlaue = 1, value", ["cores.count.vlaue", "'value'"]),
    "unknown key of a level": ('type = "dram"', 'type = "dram"\nbandwith = 1', ["memory.hbm.bandwith", "'bandwidth'"]),
    "unknown dtype": ("bf16 = { value", "bf61 = { value", ["engines.matrix.bf61: unknown key", "did you mean 'bf16'"]),
    "unknown link": ("links.scale_up", "links.scaleup", ["links.scaleup: unknown key", "did you mean 'scale_up'"]),
    "unknown efficiency operator": ("[efficiency.gemm]", "[efficiency.gemn]", ["'gemn'", "did you mean 'gemm'"]),
    "unknown efficiency parameter": ("compute_fraction", "comput_fraction", ["did you mean 'compute_fraction'"]),
    "unknown key of an efficiency figure": ("0.8, source", "0.8, sourec", ["compute_fraction.sourec", "'source'"]),
    "unknown dtype of an efficiency": ("gemm.bf16]", "gemm.bf17]", ["efficiency.gemm.bf17", "expected a dtype"]),
    "a rate for a bandwidth": ('"4 TB/s"', '"4 TFLOP/s"', ["sram.bandwidth", "expected a bandwidth", "'TFLOP/s'"]),
    "a capacity for a bandwidth": ('"4 TB/s"', '"4 TB"', ["memory.sram.bandwidth", "expected a bandwidth", "'TB'"]),
    "a bandwidth for a rate": ('"2 TFLOP/s"', '"2 TB/s"', ["engines.vector.fp32", "expected a rate", "'TB/s'"]),
    "no unit": ('"64 MiB"', "64", ["memory.sram.capacity", "expected a capacity", "number without a unit"]),
    "no unit, in quotes": ('"120 W"', '"120"', ["power.tdp", "expected a power", "number without a unit"]),
    "a unit on a count": ("value = 16", 'value = "16 cores"', ["cores.count", "without a unit", "'cores'"]),
    "mistyped unit": ('"64 MiB"', '"64 Mib/"', ["memory.sram.capacity", "'Mib/'"]),
    "a decimal comma": ('"4 TB/s"', '"3,35 TB/s"', ["memory.sram.bandwidth", "',35 TB/s'", "comma only groups"]),
    "GiB of a GB": ('"16 GiB"', '"74.5 GiB"', ["memory.hbm.capacity", "'74.5 GiB'", "79.99 GB"]),
    "not a number": ('"120 W"', '"nan W"', ["power.tdp", "expected a power", "'nan W'"]),
    "TOML nan": ("value = 16", "value = nan", ["cores.count", "not finite"]),
    "TOML inf": ("value = 0.8", "value = inf", ["efficiency.gemm.compute_fraction", "not finite"]),
    "too large for a float": ('"4 TB/s"', '"1e308 TB/s"', ["memory.sram.bandwidth", "not finite"]),
    "true for a number": ("value = 16", "value = true", ["cores.count.value", "expected a quantity", "found True"]),
    "a date for a number": ("value = 16", "value = 2025-01-01", ["cores.count.value", "found datetime.date"]),
    "a list for a number": ("value = 16", "value = [16, 32]", ["cores.count.value", "found [16, 32]"]),
    "negative": ('"120 W"', '"-120 W"', ["power.tdp", "expected a positive power", "'-120 W'"]),
    "zero bandwidth": ('"4 TB/s"', '"0 TB/s"', ["memory.sram.bandwidth", "expected a positive bandwidth", "'0 TB/s'"]),
    "zero capacity": ('"64 MiB"', '"0 MiB"', ["memory.sram.capacity", "expected a positive capacity"]),
    "share above one": (FRACTION, FRACTION + OVERLAP, ["overlap_share", "expected from 0 to 1", "found 1.5"]),
    "fraction above one": ("value = 0.8", "value = 80", ["compute_fraction", "fraction of at most 1", "found 80"]),
    "percent above one": ("value = 0.8", 'value = "120 %"', ["compute_fraction", "fraction of at most 1", "'120 %'"]),
    "fractional cores": ("value = 16", "value = 16.5", ["cores.count", "a whole number", "16.5"]),
    "no cores": ("value = 16", "value = 0", ["cores.count", "a whole number from 1 to 1,000,000,000", "found 0"]),
    "no chip in the domain": ("value = 8", "value = 0", ["links.scale_up.domain", "from 1 to", "found 0"]),
    "range the wrong way round": ("0.9 TB/s", "1.2 TB/s", ["memory.hbm.bandwidth", "low <= value <= high", "1.2 TB/s"]),
    "value outside its range": ('"1 TB/s"', '"2 TB/s"', ["memory.hbm.bandwidth", "low <= value <= high", "2 TB/s"]),
    "half a range": (', high = "1.1 TB/s"', "", ["memory.hbm.bandwidth", "both low and high"]),
    "a range in other units": ('"0.9 TB/s"', '"0.9 TFLOP/s"', ["memory.hbm.bandwidth", "'TFLOP/s'"]),
    "unknown shape": ('high = "1.1 TB/s"', 'high = "1.1 TB/s", shape = "normal"', ["hbm.bandwidth.shape", "'normal'"]),
    "a shape without a range": ("value = 16", 'value = 16, shape = "uniform"', ["cores.count", "needs low and high"]),
    "loguniform from zero": ("value = 8", 'value = 8, low = 0, high = 9, shape = "loguniform"', ["above zero"]),
    "missing source": ('16, source = "sheet"', "16", ["cores.count.source", "every figure needs a source"]),
    "empty source": ('16, source = "sheet"', '16, source = " "', ["cores.count.source", "figure needs a source"]),
    "mistyped source": ('16, source = "sheet"', '16, source = "shet"', ["count.source", "did you mean 'sheet'"]),
    "missing kind": (FP32, 'fp32 = { value = "2 TFLOP/s", source = "sheet" }', ["vector.fp32.kind", "needs a kind"]),
    "bad kind": ('kind = "measured" }\n\n[eff', 'kind = "guess" }\n\n[eff', ["tdp.kind", "'guess'", "'estimated'"]),
    "a bare figure": (
        TDP,
        'tdp = "120 W"',
        [
            "power.tdp",
            "expected a figure such as {",
            "or `source` and `kind` once for its table or for the file; found '120 W'",
        ],
    ),
    "a bare figure with a source in reach": (
        "[power]",
        '[power]\nsource = "s"\ntypical = "1 W"',
        ["power.typical.kind: every figure needs a kind, its own or once for its table or for the file"],
    ),
    "a bare figure with a kind in reach": (
        "[power]",
        '[power]\nkind = "derived"\ntypical = "1 W"',
        ["power.typical.source: every figure needs a source, its own or once for its table or for the file"],
    ),
    "a kind that there is not, for a table": (
        "[power]",
        '[power]\nkind = "guess"',
        ["power.kind: expected 'datasheet' or 'recalled' or 'measured' or 'derived' or 'estimated', found 'guess'"],
    ),
    "a kind that there is not, for the file": ("[sources]", "kind = 3\n[sources]", [": kind: expected", "found 3"]),
    "a blank source for a table": ("[memory.hbm]", '[memory]\nsource = " "\n[memory.hbm]', ["memory.source: "]),
    "a blank source in the list": ("Acme Tiny data sheet, 2025", " ", ["sources.sheet: expected some text, found ' '"]),
    "a mistyped source for a table": (
        "[power]",
        '[power]\nsource = "shet"\nkind = "derived"\ntypical = "1 W"',
        ["power.typical.source: [sources] has no 'shet'; did you mean 'sheet'"],
    ),
    "an absurd bandwidth": ('"4 TB/s"', '"1e308 B/s"', ["sram.bandwidth: expected from 1 B/s to 1000 EB/s", "EB/s"]),
    "a bandwidth of nothing": ('"4 TB/s"', '"1e-300 B/s"', ["sram.bandwidth: expected from 1 B/s", "1e-300 B/s"]),
    "an absurd count": ("value = 16", "value = 1e300", ["cores.count: expected a whole number from 1", "1e+300"]),
    "an absurd range": ("0.9 TB/s", "1e-9 B/s", ["memory.hbm.bandwidth: expected from 1 B/s", "1e-09 B/s"]),
    "no operands": (
        FRACTION,
        'operand_share = { value = 0, source = "sheet", kind = "measured" }',
        ["efficiency.gemm.operand_share: expected from 0.001 to 1,000, found 0"],
    ),
    "a memory that answers at once": (
        "[power]",
        '[latency]\nmemory = { value = "0 s", source = "s", kind = "derived" }\n[power]',
        ["latency.memory: expected from 0.001 ns to 1 s, found 0 s"],
    ),
    "a shot at ten times the link": (
        "[calibration",
        '[efficiency.all_reduce]\nshot_share = { value = 10, source = "s", kind = "measured" }\n[calibration',
        ["all_reduce.shot_share: expected from 0 to 1, found 10"],
    ),
    "a range of a spread": (
        FRACTION,
        'spread = { value = 0.3, low = 0.2, high = 0.4, source = "s", kind = "derived" }',
        ["gemm.spread: expected one value without low and high"],
    ),
    "two main memories": (
        "[memory.hbm]",
        '[memory.ddr]\ntype = "dram"\ncapacity = { value = "1 GB", source = "s", kind = "measured" }\n[memory.hbm]',
        [
            "memory.hbm: expected one main memory, found ddr",
            'without = ["memory.ddr"]',
            "in front of the main one is of type cache",
        ],
    ),
    "a number of 5,000 digits": ("value = 16", "value = " + "9" * 5000, ["line", "at most 4,000 characters"]),
    "a number of 5,000 digits on lines": ("value = 16", "value = [\n" + "1,\n" * 2500 + "]", ["cores"]),
    "1,000 lists in lists, on lines": ("[sources]", "a = " + "[\n" * 1000 + "]\n" * 1000 + "[sources]", ["too deeply"]),
    "1,000 tables in tables": ("[sources]", "a = " + "{a=" * 990 + "1" + "}" * 990 + "\n[sources]", ["too deeply"]),
    "1,000 tables by name": ("[sources]", "[a" + ".a" * 1000 + "]\n[sources]", ["line 10", "too deeply"]),
    "1,000 tables by quoted name": ("[sources]", "[a" + '."a"' * 900 + "]\n[sources]", ["line 10", "too deeply"]),
    "a bare efficiency": (FRACTION, "compute_fraction = 0.8", ["gemm.compute_fraction", "expected a figure", "0.8"]),
    "efficiency without a source": (FRACTION, 'operand_share = { value = 0.8, kind = "measured" }', ["needs a source"]),
    "efficiency in another unit": ('"2 us"', '"2 GB"', ["efficiency.gemm.bf16.launch_s", "expected a time", "'GB'"]),
    "efficiency without a unit": ('"2 us"', "2", ["efficiency.gemm.bf16.launch_s", "number without a unit"]),
    "no main bandwidth": (HBM_LINE, "", ["memory.hbm.bandwidth", "main memory", "needs a bandwidth"]),
    "main memory first": (SRAM, '[memory.hbm]\ntype = "dram"\n[memory.sram]', ["TOML", "twice"]),
    "a cache outside main memory": ("[links.", f"{L3}\n[links.", ["memory.l3", "main memory last", "cache after hbm"]),
    "unknown level type": ('type = "dram"', 'type = "hbm3e"', ["memory.hbm.type", "'dram'", "'hbm3e'"]),
    "per SM": ('type = "dram"', 'type = "dram"\nper = "sm"', ["memory.hbm.per", "'core' or 'chip'", "'sm'"]),
    "a level with a dot": (SRAM, '[memory."l1.5"]', ["memory.l1.5", "letters, digits and _"]),
    "a level called main": (SRAM, "[memory.main]", ["memory.main", "this name means the last level"]),
    "no vector engine": ("[engines.vector]\n" + FP32, "", ["engines.vector", "is required but missing"]),
    "empty vector engine": (FP32, "", ["engines.vector", "at least one of fp32"]),
    "only a narrow vector engine": ("fp32 = {", "fp4 = {", ["engines.vector", "at least one of fp32"]),
    "no cores at all": ('[cores]\nname = "core"\ncount', "[price]\npurchase", ["cores: is required but missing"]),
    "schema 2": ("schema = 1", "schema = 2", ["schema", "expected 1", "found 2"]),
    "missing schema": ("schema = 1\n", "", ["schema", "is required but missing"]),
    "schema as text": ("schema = 1", 'schema = "1"', ["schema", "expected 1", "found '1'"]),
    "name with spaces": ('name = "tiny"', 'name = "Acme Tiny"', ["name", "lower-case letters", "'Acme Tiny'"]),
    "upper-case name": ('name = "tiny"', 'name = "TINY"', ["name", "lower-case letters", "'TINY'"]),
    "name with a slash": ('name = "tiny"', 'name = "../tiny"', ["name", "lower-case letters", "'../tiny'"]),
    "no name": ('name = "tiny"\n', "", ["name: is required but missing"]),
    "empty vendor": ('vendor = "Acme"', 'vendor = ""', ["vendor", "expected some text"]),
    "unknown family": ('family = "npu"', 'family = "asic"', ["family", "'npu'", "'asic'"]),
    "unknown status": ('status = "shipping"', 'status = "sampling"', ["status", "'announced'", "'sampling'"]),
    "year as text": ("year = 2025", 'year = "2025"', ["year", "a whole number", "'2025'"]),
    "year as a date": ("year = 2025", "year = 2025-03-01", ["year", "a whole number", "datetime.date"]),
    "a distant year": ("year = 2025", "year = 20255", ["year", "2100", "20255"]),
    "aliases as text": ('aliases = ["tiny-1"]', 'aliases = "tiny-1"', ["aliases", "expected a list", "'tiny-1'"]),
    "aliases of numbers": ('aliases = ["tiny-1"]', "aliases = [1]", ["aliases", "expected text", "found 1"]),
    "sources as a list": ("[sources]\nsheet =", "[[sources]]\nsheet =", ["sources", "expected a table"]),
    "memory as text": (TINY[TINY.index(SRAM) : TINY.index("[links")], "", ["memory", "is required but missing"]),
    "switch reduction in words": ('"ring"', '"ring"\nswitch_reduction = "yes"', ["switch_reduction", "true or false"]),
    "unknown topology": ('"ring"', '"torus"', ["links.scale_up.topology", "'torus'", "'torus2d'"]),
    "rows as text": ("rows = 12", 'rows = "12"', ["calibration.gemm.rows", "a whole number", "'12'"]),
    "negative error": ("error = 0.08", "error = -0.1", ["calibration.gemm.error", "-0.1"]),
    "without but no extends": ("[sources]", 'without = ["clock"]\n[sources]', ["without", "extends another"]),
    "TOML: no quotes": ('value = "120 W"', "value = 120 W", ["not valid TOML", "line 44"]),
    "TOML: a key twice": ("year = 2025", "year = 2025\nyear = 2026", ["not valid TOML", "line 8"]),
    "TOML: open string": ('vendor = "Acme"', 'vendor = "Acme', ["not valid TOML", "line 5"]),
    "JSON": (TINY, '{"schema": 1, "name": "tiny"}', ["not valid TOML", "line 1"]),
    "nothing": (TINY, "", ["schema: is required", "memory: is required"]),
    "a list on top": (TINY, "[1, 2, 3]", ["not valid TOML", "line 1"]),
    "deep keys": ("[sources]", "a" + ".a" * 1000 + " = 1\n[sources]", ["line 10", "nested too deeply"]),
    "deep arrays": ("[sources]", "a = " + "[" * 3000 + "\n[sources]", ["nested too deeply"]),
    "deep tables": ("[sources]", "a = {" + "a." * 30 + "a = 1}\n[sources]", ["nested too deeply"]),
    "a digit too many": ("year = 2025", "year = " + "9" * 4400, ["line 7"]),
    "a very long number": ("value = 16", "value = " + "9" * 3000, ["cores.count.value", "at most 64 bits"]),
    "a very long text": ('"120 W"', '"' + "9" * 3000 + ' W"', ["power.tdp", "expected a power", "..."]),
    "terminal escape": ('vendor = "Acme"', r'vendor = "\u001b[2J"', ["vendor", "control character", r"\x1b"]),
    "terminal escape in a key": ("[sources]", '[sources]\n"\\u001b[2J" = "x"', ["control character", r"\x1b"]),
    "huge": ("[sources]", "#\n" * 300_000 + "[sources]", ["at most 500,000 bytes", "found 60"]),
}


#: A number of too many digits wherever there is a number: what stands there, and its key.
NUMBERS = {
    "year": "year = 2025",
    "schema": "schema = 1",
    "cores.count.value": "value = 16",
    "calibration.gemm.rows": "rows = 12",
    "calibration.gemm.error": "error = 0.08",
    "efficiency.gemm.compute_fraction.value": "value = 0.8",
}


@pytest.mark.parametrize("digits", ["9" * 400, "-" + "9" * 400, "0x" + "f" * 3900])
@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_that_nothing_holds_are_refused(tiny: Path, key: str, digits: str) -> None:
    old = NUMBERS[key]
    tiny.write_text(TINY.replace(old, f"{old.partition(' = ')[0]} = {digits}", 1))
    assert f"{key}: expected a number of at most 64 bits, found" in refusal(tiny)


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_key(tiny: Path, old: str, new: str, words: list[str]) -> None:
    assert TINY.count(old) >= 1
    tiny.write_text(TINY.replace(old, new, 1))
    message = refusal(tiny)
    assert [w for w in words if w not in message] == [], message


def test_every_problem_is_told_at_once(tiny: Path) -> None:
    tiny.write_text(TINY.replace("= 2025", '= "2025"').replace("120 W", "120 w").replace("64 MiB", "64"))
    with pytest.raises(BadDescriptor) as error:
        read_chip(tiny)
    assert {problem.split(":")[0] for problem in error.value.problems} >= {"year", "power.tdp", "memory.sram.capacity"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(range(256)) * 20, "UTF-8"),
        ("schema = 1".encode("utf-16"), "UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "not valid TOML"),
        (b"\x00" * 1000, "not valid TOML"),
    ],
    ids=["bytes", "UTF-16", "ELF", "zeros"],
)
def test_what_is_no_text_is_refused(tiny: Path, data: bytes, words: str) -> None:
    tiny.write_bytes(data)
    assert words in refusal(tiny)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "found a folder" in refusal(tmp_path / "folder.toml")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.toml")  # reading one would wait for ever
        assert "device or pipe" in refusal(tmp_path / "pipe.toml")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser reads every file")
def test_an_unreadable_file_is_refused(tiny: Path) -> None:
    tiny.chmod(0)
    assert "Permission denied" in refusal(tiny)


@given(data=st.binary(max_size=400))
def test_any_bytes_are_a_chip_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    with pytest.raises(BadDescriptor):
        read_chip(path)


# extends --------------------------------------------------------------------------------------------------------

CHILD = 'schema = 1\nname = "child"\nextends = "tiny"\n'


@pytest.fixture
def child(tiny: Path) -> Path:
    path = tiny.with_name("child.toml")
    path.write_text(CHILD)
    return path


def test_a_child_has_its_parents_figures_and_says_so(tiny: Path, child: Path) -> None:
    child.write_text(CHILD + '[power.tdp]\nvalue = "150 W"\nsource = "guess"\nkind = "estimated"\n')
    parent, variant = read_chip(tiny), read_chip(child)
    assert variant["power.tdp"] == 150.0
    assert variant.number("power.tdp").inherited == ""
    assert variant.number("memory.hbm.bandwidth").inherited == "tiny"
    assert {p: n.value for p, n in variant.numbers.items()} == {
        **{p: n.value for p, n in parent.numbers.items()},
        "power.tdp": 150.0,
    }
    assert (variant.aliases, variant.title, variant.status) == ((), "child", parent.status)


def test_a_child_may_leave_out_a_table_or_a_figure(child: Path) -> None:
    child.write_text(CHILD + 'without = ["links", "power.tdp"]\n')
    numbers = read_chip(child).numbers
    assert [p for p in numbers if p.startswith(("links", "power"))] == []
    assert "clock" in numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "tinny"', ["extends", "no chip is called 'tinny'", "did you mean 'tiny'"]),
        ('extends = "child"', ["extends", "'child' extends itself"]),
        ("extends = 3", ["extends", "expected the name of a chip", "found 3"]),
        (f'extends = "{"é" * 300}"', ["extends", "no chip is called"]),  # no file can have that name
        ('extends = "../tiny"', ["extends", "expected the name of a chip", "'../tiny'"]),
        ('extends = "tiny"\nwithout = ["price"]', ["without", "no inherited key is called 'price'"]),
        ('extends = "tiny"\nwithout = ["power.typical"]', ["without", "'power.typical'"]),
        ('extends = "tiny"\nwithout = ["clock.value.x"]', ["without", "'clock.value.x'", "did you mean"]),
        ('extends = "tiny"\nwithout = "links"', ["without", "expected a list", "'links'"]),
        ('extends = "tiny"\nwithout = [1]', ["without", "expected a list", "[1]"]),
        ('extends = "tiny"\nwithout = ["memory"]', ["memory", "is required but missing"]),
        (f'extends = "tiny"\n{L3}', ["memory.l3", "main memory last", "without"]),
        ('extends = "tiny"\n[power.tdp]\nvalue = "150 W"', ["power.tdp.source", "power.tdp.kind"]),
    ],
)
def test_mistakes_in_a_child(child: Path, text: str, words: list[str]) -> None:
    child.write_text(f'schema = 1\nname = "child"\n{text}\n')
    message = refusal(child)
    assert [w for w in words if w not in message] == [], message


def test_a_circle_is_refused(child: Path, tiny: Path) -> None:
    tiny.write_text(TINY.replace("[sources]", 'extends = "child"\n[sources]'))
    with pytest.raises(BadDescriptor, match=r"extends: goes round in a circle: tiny -> child -> tiny"):
        read_chip(child)


def test_a_long_chain_is_refused(tiny: Path) -> None:
    for i in range(12):
        parent = "tiny" if i == 0 else f"c{i - 1}"
        tiny.with_name(f"c{i}.toml").write_text(f'schema = 1\nname = "c{i}"\nextends = "{parent}"\n')
    assert read_chip(tiny.with_name("c5.toml"))["clock"] == 1e9
    with pytest.raises(BadDescriptor, match="extends"):
        read_chip(tiny.with_name("c11.toml"))


def test_the_file_names_the_unknown_chip() -> None:
    with pytest.raises(UnknownName, match=r"no descriptor file is called 'h100-sxm\.tom/x\.toml'"):
        rl.load_chip("h100-sxm.tom/x.toml")
