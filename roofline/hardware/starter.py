"""The file that somebody who describes a chip begins with: every figure it needs, blank, and what each means."""

from __future__ import annotations

import re
import typing
from dataclasses import dataclass

from roofline.base.errors import BadDescriptor, UnknownName, shown
from roofline.hardware.explain import SPELLING
from roofline.hardware.provenance import BLANK
from roofline.hardware.schema import LONGEST_NAME, NAME, Family

#: Where comments beside figures begin.
COLUMN = 24

FAMILIES: tuple[str, ...] = typing.get_args(Family)


@dataclass(frozen=True)
class _Level:
    name: str
    type: str
    what: str
    per_core: bool = False


@dataclass(frozen=True)
class _Kind:
    """What chips of a family have."""

    core: str
    cores: str
    matrix: tuple[str, ...]
    vector: tuple[str, ...]
    levels: tuple[_Level, ...]
    host: str = "the way to the host: PCIe and the like, one direction"


_HBM = _Level("hbm", "dram", "main memory")
_KINDS = {
    "gpu": _Kind(
        "SM",
        "streaming multiprocessors, compute units",
        ("bf16", "fp8"),
        ("fp32",),
        (_Level("l2", "cache", "the last cache before main memory"), _HBM),
    ),
    "tpu": _Kind(
        "TensorCore",
        "large, compiler-scheduled cores",
        ("bf16", "int8"),
        ("fp32",),
        (_Level("vmem", "scratchpad", "on-chip memory", per_core=True), _HBM),
    ),
    "npu": _Kind(
        "PE",
        "processing elements",
        ("bf16", "int8"),
        ("fp32",),
        (_Level("sram", "scratchpad", "on-chip memory that all cores share"), _Level("dram", "dram", "main memory")),
    ),
    "cpu": _Kind(
        "core",
        "processor cores",
        (),
        ("fp32", "bf16"),
        (
            _Level("l2", "cache", "a core's own cache", per_core=True),
            _Level("l3", "cache", "the last cache before main memory"),
            _Level("ddr", "dram", "main memory"),
        ),
        "a processor is its own host: the bandwidth of its main memory",
    ),
    "dataflow": _Kind(
        "core",
        "units that work through tiles in parallel",
        ("fp16", "int8"),
        ("fp32",),
        (_Level("sram", "scratchpad", "on-chip memory, here the main one"),),
    ),
}


def starter(name: str, family: str) -> str:
    """A commented descriptor whose blanks are ``"?"``: valid once they are filled.

    Parameters
    ----------
    name : str
        Of the chip.
    family : str
        gpu, tpu, npu, cpu or dataflow.

    Raises
    ------
    BadDescriptor
        For a name that no descriptor may have.
    UnknownName
        For a family that there is not.
    """
    if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
        raise BadDescriptor(shown(name), [f"name: {SPELLING}, {LONGEST_NAME} at most, found {shown(name)}"])
    if family not in _KINDS:
        raise UnknownName("family of chips", family, _KINDS)
    kind = _KINDS[family]
    blocks = [_head(name, family), _cores(kind), _engines(kind), *map(_level, kind.levels), _links(kind), _OPTIONAL]
    return _aligned("\n".join(blocks))


def _aligned(text: str) -> str:
    """The text with what its lines say of themselves in one column."""
    return re.sub(r"(?m)^(.+?)  # ", lambda line: f"{line[1]:<{COLUMN}}# ", text)


def _head(name: str, family: str) -> str:
    return f'''\
# A chip of yours. Put a figure, or words, in place of every "{BLANK}": `roofline check` on this file lists
# those that are left. Lines that are commented out may stay so: what is not known comes from the family.
schema = 1
name = "{name}"
# title = "Its full name"
vendor = "{BLANK}"
family = "{family}"  # {", ".join(FAMILIES)}
year = "{BLANK}"  # of availability, or of the estimate: 2027, without quotes
status = "estimated"  # shipping, announced, estimated or retired

# Said once for all figures below. A table, or a figure, may say its own:
#   capacity = {{ value = "64 GB", source = "sheet", kind = "datasheet", note = "sold as 64" }}
# and where a figure is not certain, what it may be: {{ value = "64 GB", low = "48 GB", high = "96 GB" }}
source = "plan"  # a key of [sources], or the reference itself
kind = "estimated"  # datasheet, recalled (from memory), measured, derived (by arithmetic) or estimated

# clock = "1.2 GHz"  # so that a what-if on the clock takes engines and on-chip memory with it

[sources]
plan = "{BLANK}"  # what the figures were read in: title, edition, date
'''


def _cores(kind: _Kind) -> str:
    return f'''\
[cores]
name = "{kind.core}"
count = "{BLANK}"  # {kind.cores}: 96, without quotes
'''


def _engines(kind: _Kind) -> str:
    rate = f'"{BLANK}"'
    matrix = [f"{dtype} = {rate}" for dtype in kind.matrix]
    if matrix:
        table = '[engines.matrix]      # dense peaks, all cores together: "400 TFLOP/s"; int8 in TOP/s\n'
    else:
        table = "# [engines.matrix]  # if it has one: dense peaks, all cores together\n# "
        matrix = ['bf16 = "100 TFLOP/s"']
    vector = [f"{dtype} = {rate}" for dtype in kind.vector]
    return f"{table}{_lines(matrix)}\n[engines.vector]\n{_lines(vector)}"


def _level(level: _Level) -> str:
    main = ", the last level" if level.what.startswith("main") else ""
    per = 'per = "core"  # the figures below are of one core\n' if level.per_core else ""
    return f'''\
[memory.{level.name}]  # {level.what}{main}
type = "{level.type}"
{per}capacity = "{BLANK}"  # "64 GB" (10^9 bytes) or "64 GiB" (2^30)
bandwidth = "{BLANK}"  # reading: "2.4 TB/s"
'''


def _links(kind: _Kind) -> str:
    return f'''\
[links.host]  # {kind.host}
bandwidth = "{BLANK}"  # "64 GB/s"

# [links.scale_up]  # to chips of its kind, for models on several of them
# bandwidth = "100 GB/s"
# domain = 8  # chips that reach each other over it
# topology = "switch"  # switch, mesh, ring, torus2d, torus3d, bridge or tree
'''


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


_OPTIONAL = """\
# [power]
# tdp = "300 W"

# [price]
# purchase = "15000 USD"
"""
