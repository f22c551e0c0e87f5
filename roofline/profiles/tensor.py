"""FLOP of a GPU's tensor pipe from what Nsight Compute counts of it.

Counters of operations say it themselves. Where only instructions were counted, their size must be known, and NVIDIA's
answer to what it is: "There are too many variants of the MMA instruction and the answer differs per variant and per
architecture. There are metrics for calculating the FLOPs" (forums.developer.nvidia.com/t/275450, /t/285256, which list
``sm__ops_path_tensor_src_*_dst_*`` and their ``_sparsity_on`` and ``_sparsity_off`` parts). So an instruction's size is
taken from the shape in the kernel's name, else from the chip's generation where that has one size for a kind, else the
file is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from roofline.base.errors import BadData, shown

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip

#: Counters of operations: of one kind of instruction (``op_``) or all, by types, of sparse or dense operands or both.
OPERATIONS = re.compile(
    r"sm__ops_path_tensor(?:_op_(?P<op>[a-z0-9]+))?(?:_src_(?P<src>[a-z0-9]+))?(?:_dst_(?P<dst>[a-z0-9]+))?"
    r"(?:_sparsity_(?P<sparsity>on|off))?\.sum"
)
_ANY_OPERATIONS = re.compile(r"sm__ops_path_tensor[a-z0-9_]*\.sum")
_QUALIFIERS = ("op", "src", "dst", "sparsity")

#: Counters of instructions, of all or one kind; both families count the same ones.
INSTRUCTIONS = re.compile(r"(?:sm|smsp)__inst_executed_pipe_tensor(?:_(?:op|subpipe)_([a-z0-9_]+))?\.sum")

#: What to ask for instead.
ASK = (
    "sm__ops_path_tensor_src_bf16_dst_fp32.sum (and those of the other types that it computes in: "
    "ncu --query-metrics | grep sm__ops_path_tensor)"
)

#: Shapes of one warp's instruction (m, n, k), as kernels' names have them: HMMA.16816 multiplies 16 x 8 by 16. From
#: NVIDIA's PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions" (mma.m16n8k16 and the rest).
_SHAPES = {
    "884": (8, 8, 4),
    "1684": (16, 8, 4),
    "1688": (16, 8, 8),
    "16816": (16, 8, 16),
    "16832": (16, 8, 32),
    "16864": (16, 8, 64),
    "8816": (8, 8, 16),
    "8832": (8, 8, 32),
}

#: The compute capability from which a chip has each (the same source): where a name and a chip contradict each other.
_SINCE = {"884": 7.0, "1684": 8.0, "1688": 7.5, "16816": 8.0, "16832": 8.0, "16864": 8.0, "8816": 7.5, "8832": 7.5}

# cutlass_80_tensorop_s1688tf32gemm, ampere_bf16_s16816gemm, volta_h884gemm; sm80_xmma_gemm_..._tensor16x8x16_...
_NAMED = re.compile(r"(?:^|_)([shdi])(884|1684|1688|16816|16832|16864|8816|8832)(?:[a-z0-9]{2,5}?)?gemm")
_TILED = re.compile(r"_tensor([0-9]{1,2})x([0-9]{1,2})x([0-9]{1,2})_")
_SPARSE = re.compile(r"sp(?:arse)?gemm|_sparse_|spmma")

#: FLOP of an instruction that accumulates in 16 bits on Volta (HMMA.884.F16, two steps a product of four 8 x 8 x 4;
#: in 32 bits it takes four steps, and each is 512).
_VOLTA_HALF = 1024.0

#: Generation (least, and below what compute capability) -> FLOP of the instruction that its compilers emit, by kind:
#: HMMA of 16-bit floats, IMMA of int8, DMMA. Volta HMMA.884 (F32), Turing HMMA.1688 and IMMA.8816, Ampere and Ada
#: HMMA.16816, IMMA.16832 and DMMA.884. Hopper's HGMMA and Blackwell's UTC*MMA have no one size.
_GENERATIONS = (
    ("Volta", 7.0, 7.5, {"hmma": 512.0}),
    ("Turing", 7.5, 8.0, {"hmma": 2048.0, "imma": 2048.0}),
    ("Ampere and Ada", 8.0, 9.0, {"hmma": 4096.0, "imma": 8192.0, "dmma": 512.0, "tf32": 2048.0}),
)

#: What a kernel's name says of the types that it multiplies, where its shape is not named. Over an fp8 cache it may
#: compute in either width: no size is known for those.
_TYPES = (
    ("tf32", re.compile(r"tf32")),
    ("fp8", re.compile(r"e4m3|e5m2|fp8")),
    ("imma", re.compile(r"imma|igemm|s8s8|i8i8")),
    ("dmma", re.compile(r"dmma|dgemm|\bdouble\b|(?<![a-z0-9])fp?64(?![0-9])")),
)


def counts(name: str) -> bool:
    """Whether a metric counts what the tensor pipe does."""
    return bool(_ANY_OPERATIONS.fullmatch(name) or INSTRUCTIONS.fullmatch(name))


def flops(kernel: str, metrics: Mapping[str, float], capability: float | None, file: str) -> tuple[float, str]:
    """FLOP of the tensor pipe in one launch, and a note where they rest on the size of an instruction.

    Parameters
    ----------
    kernel : str
        Its name as the profiler has it.
    metrics : mapping
        Counters that were collected.
    capability : float or None
        Compute capability of the chip, such as 8.0; None if nothing tells it.
    file : str
        For messages.

    Raises
    ------
    BadData
        When only instructions were counted and nothing tells their size, or what was counted overlaps.
    """
    operations = {name: value for name, value in metrics.items() if _ANY_OPERATIONS.fullmatch(name)}
    for name in operations:
        if not OPERATIONS.fullmatch(name):
            raise BadData(f"{file}: what {name} counts is not understood: collect {ASK}")
    counted = _operations(kernel, operations, file)
    if counted:
        return counted, ""
    # None were counted, or of other types than the kernel's: then its instructions say so.
    instructions: dict[str, float] = {}
    for name, value in metrics.items():
        match = INSTRUCTIONS.fullmatch(name)
        if match:  # sm__ and smsp__ count the same
            instructions[match[1] or ""] = max(value, instructions.get(match[1] or "", 0.0))
    if not any(instructions.values()):
        return 0.0, ""
    kinds = {kind: value for kind, value in instructions.items() if kind} or instructions
    if kinds is not instructions and "" in instructions:  # of what no kind was counted of
        rest = instructions[""] - sum(kinds.values())
        kinds = {**kinds, "": rest} if rest > 0 else kinds
    total, taken = 0.0, []
    for kind, count in kinds.items():
        if count > 0:
            size, what = _size(kernel, kind, capability, file)
            total += count * size
            taken.append(what)
    return total, f"FLOP from tensor instructions, taken for {' and '.join(dict.fromkeys(taken))}"


def _operations(kernel: str, counters: Mapping[str, float], file: str) -> float:
    """The sum of counters that count nothing twice: one that others are parts of stands for them."""
    parsed = {name: _qualifiers(name) for name in counters}
    kept = [n for n, q in parsed.items() if not any(_contains(parsed[m], q) for m in parsed if m != n)]
    for i, one in enumerate(kept):
        for other in kept[i + 1 :]:
            a, b = parsed[one], parsed[other]
            differ = any(a[q] and b[q] and a[q] != b[q] for q in _QUALIFIERS)
            if not differ and counters[one] and counters[other]:
                raise BadData(
                    f"{file}: kernel {shown(kernel[:60])}: {one} and {other} overlap, and neither is a part "
                    f"of the other: collect one of them, or {ASK}"
                )
    return sum(counters[name] for name in kept)


def _qualifiers(name: str) -> dict[str, str]:
    match = OPERATIONS.fullmatch(name)
    return {q: (match[q] if match else None) or "" for q in _QUALIFIERS}


def _contains(whole: dict[str, str], part: dict[str, str]) -> bool:
    """Whether one counter counts all that another does, and more."""
    return whole != part and all(not whole[q] or whole[q] == part[q] for q in _QUALIFIERS)


def _size(kernel: str, kind: str, capability: float | None, file: str) -> tuple[float, str]:
    """FLOP of one instruction of a kernel, and what it was taken for."""
    name = kernel.lower()
    where = f"{file}: kernel {shown(kernel[:60])}"
    named, tiled = _NAMED.search(name), _TILED.search(name)
    shape = named[2] if named else "".join(tiled.groups()) if tiled else ""
    if shape in _SHAPES and not _SPARSE.search(name):
        of_volta = shape == "884" and not (named is not None and named[1] == "d")
        least, below = (7.0, 7.5) if of_volta else (max(_SINCE[shape], 8.0 if shape == "884" else 0.0), math.inf)
        m, n, k = _SHAPES[shape]
        if capability is not None and not least <= capability < below:
            raise BadData(
                f"{where}: its name says instructions of {m}x{n}x{k}, which a chip of compute capability "
                f"{capability:g} does not have: collect {ASK}"
            )
        size = _VOLTA_HALF if of_volta and named is not None and named[1] == "h" else 2.0 * m * n * k
        return size, f"{m}x{n}x{k} ({size:,.0f} each) by the kernel's name"
    for generation, least, below, sizes in _GENERATIONS:
        if capability is not None and least <= capability < below and not _SPARSE.search(name):
            # A counter of one kind says it; what HMMA multiplies, the kernel's name may say.
            typed = next((t for t, pattern in _TYPES if pattern.search(name)), "hmma")
            form = typed if kind in ("", "hmma") else kind
            if form in sizes:
                return sizes[form], f"{generation}'s {form.upper()} ({sizes[form]:,.0f} each)"
    known = "nothing tells the chip's generation" if capability is None else f"compute capability {capability:g}"
    raise BadData(
        f"{where}: tensor instructions were counted and not their FLOP, and their size differs ({known}): collect {ASK}"
    )


def capability_of(chip: Chip) -> float | None:
    """The compute capability of a generation of NVIDIA's that a descriptor tells by what its matrix engine computes.

    Volta's has fp16 alone, Turing's adds int8, Ampere's bf16; from fp8 on it is Ada, Hopper or later: None.
    """
    dtypes = {p.rpartition(".")[2] for p in chip.numbers if p.startswith("engines.matrix.") and ".sparse." not in p}
    if chip.vendor != "NVIDIA" or "fp16" not in dtypes or "fp8" in dtypes:
        return None
    return 8.0 if "bf16" in dtypes else 7.5 if "int8" in dtypes else 7.0
