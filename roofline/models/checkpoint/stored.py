"""How a checkpoint stores the weights of each part of a model: the dtype, the bytes with scales, the arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from roofline.base.units import DTYPE_BYTES, dtype_bytes
from roofline.work.op import wide


@dataclass(frozen=True, slots=True)
class Stored:
    """How some weights are stored, and what the products with them compute in.

    Attributes
    ----------
    dtype : str
        Of one weight: ``"fp4"``, ``"int4"``, ``"int3"``; empty for weights that are not quantised.
    bytes_per_weight : float
        With its share of scales and zero points: 17/32 for MXFP4, a scale byte for 32 weights of half a byte.
    compute : str
        The dtype that the arithmetic was made for; empty where weights are widened before they are multiplied
        (weight-only quantisation), or are not quantised.
    block_n, block_k : int
        Outputs and inputs that share a scale: a shard of a matrix holds a multiple of them. 1 where any split will do.
    pad_inter, pad_hidden : int
        Multiples that engines pad an expert's width, on each chip, and the model's to when they load such weights.
    """

    dtype: str = ""
    bytes_per_weight: float = 2.0
    compute: str = ""
    block_n: int = 1
    block_k: int = 1
    pad_inter: int = 1
    pad_hidden: int = 1

    @property
    def quantised(self) -> bool:
        """Whether it is stored narrower than it was trained."""
        return bool(self.dtype)

    @property
    def data_bytes(self) -> float:
        """Bytes of one weight without scales."""
        return bits_of(self.dtype) / 8

    def weight_only(self) -> Stored:
        """The same weights, widened before they are multiplied."""
        return replace(self, compute="")


def bits_of(dtype: str) -> int:
    """Bits of one weight of a dtype such as ``"int3"``."""
    return round(DTYPE_BYTES[dtype] * 8) if dtype in DTYPE_BYTES else int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz"))


#: Weights that a quantised checkpoint leaves as they were.
LEFT = Stored()


def per_tensor(dtype: str, compute: str = "") -> Stored:
    """One scale for a whole matrix: next to nothing."""
    return Stored(dtype, bits_of(dtype) / 8, compute)


def per_channel(dtype: str, inputs: int, compute: str = "", scale_bytes: float = 4.0) -> Stored:
    """One scale for every output of a matrix of so many inputs."""
    return Stored(dtype, bits_of(dtype) / 8 + scale_bytes / inputs, compute)


def grouped(dtype: str, group: int, compute: str = "", scale_bytes: float = 2.0, zero_bytes: float = 0.0) -> Stored:
    """One scale, and perhaps a zero point, for a group of inputs of every output (AWQ, GPTQ, NVFP4, MXFP4)."""
    return Stored(dtype, bits_of(dtype) / 8 + (scale_bytes + zero_bytes) / group, compute, block_k=group)


def blocked(dtype: str, n: int, k: int, compute: str = "", scale_bytes: float = 4.0) -> Stored:
    """One scale for a block of n outputs and k inputs, as DeepSeek-V3 introduced it for fp8: 128 x 128."""
    return Stored(dtype, bits_of(dtype) / 8 + scale_bytes / (n * k), compute, block_n=n, block_k=k)


#: Two floats of 4 bits a byte and a scale byte for every 16 (NVFP4, in fp8, and a second scale a tensor) or 32 (MXFP4,
#: a power of two): OCP Microscaling Formats v1.0, section 5; NVIDIA, "Introducing NVFP4", 2025.
NVFP4 = grouped("fp4", 16, "fp4", scale_bytes=1.0)
MXFP4 = grouped("fp4", 32, "fp4", scale_bytes=1.0)
MXFP6 = grouped("fp6", 32, "fp6", scale_bytes=1.0)
MXFP8 = grouped("fp8", 32, "fp8", scale_bytes=1.0)

#: MXFP4 experts beside 16-bit activations, as Marlin's kernels hold them: vLLM pads an expert's width on a chip to 128
#: and the model's to 256 (``fused_moe/oracle/mxfp4.py``, read in November 2026; other kernels: 64 to 256). Experts in
#: integers are not padded: where their width on a chip is no multiple of 64 and of the group, or the model's none of
#: 128, vLLM takes a kernel without Marlin's layout (``marlin_utils.check_moe_marlin_supports_layer``, read then too).
MXFP4_EXPERTS = replace(MXFP4, compute="", pad_inter=128, pad_hidden=256)

#: Some of the weights of a part, and their share of it: layers need not be alike.
Mix = tuple[tuple[Stored, float], ...]

#: A part that is stored as it was trained.
NOTHING_QUANTISED: Mix = ((LEFT, 1.0),)


@dataclass(frozen=True)
class Checkpoint:
    """What the weights of a checkpoint are stored in, part by part.

    Attributes
    ----------
    wide : str
        The dtype of what is not quantised.
    parts : tuple of (str, Mix)
        How each part is stored, by the name of its weights (``"qkv_proj"``) or by their kind (``"linear"``,
        ``"attention"``, ``"expert"``, which holds for the parts of that kind that are not named).
    scheme : str
        What the checkpoint calls its quantisation, for people: ``"fp8 in blocks of 128 x 128"``; empty for none.
    """

    wide: str = "bf16"
    parts: tuple[tuple[str, Mix], ...] = ()
    scheme: str = ""

    @cached_property
    def _by_name(self) -> dict[str, Mix]:
        return dict(self.parts)

    @property
    def quantised(self) -> bool:
        """Whether any weights are stored narrower than they were trained."""
        return bool(self.parts)

    def mix(self, part: str, kind: str = "") -> Mix:
        """How a part is stored, by the name of its weights and their kind; as trained where nothing is said."""
        found = self._by_name.get(part)
        if found is None and kind != "wide":
            found = self._by_name.get(kind)
        return found or NOTHING_QUANTISED

    @cached_property
    def narrowest(self) -> str:
        """The narrowest dtype that any part computes in."""
        computes = {stored.compute for _, mix in self.parts for stored, _ in mix if stored.compute}
        return min(sorted(computes), key=lambda dtype: DTYPE_BYTES[dtype], default=self.wide)

    # -- As it runs, in some arithmetic ----------------------------------------------------------------------------

    def arithmetic(self, stored: Stored, dtype: str) -> str:
        """What the products with such weights compute in, where the model as a whole computes in `dtype`.

        No part computes narrower than it was made for: what a checkpoint leaves alone stays in 16 bits beside fp8
        layers, fp8 attention stays so beside fp4 experts. Arithmetic narrower than all of it, or than 16 bits where
        weights alone are narrow, was asked for, and all that is quantised takes it.
        """
        if not self.quantised:
            return dtype
        if not stored.quantised:
            return wide(dtype)
        own = stored.compute or wide(dtype)
        asked_for = DTYPE_BYTES[dtype] < DTYPE_BYTES[self.narrowest]
        return own if DTYPE_BYTES[own] > DTYPE_BYTES[dtype] and not asked_for else dtype

    def bytes_per_weight(self, stored: Stored, dtype: str) -> float:
        """Bytes in memory of one of the weights that are stored so, where the model computes in `dtype`.

        Weights that the checkpoint quantises stay as they are unless their arithmetic is narrower still; the others are
        held in the dtype that they are multiplied in.
        """
        computed = dtype_bytes(self.arithmetic(stored, dtype))
        return stored.bytes_per_weight if stored.quantised and stored.data_bytes <= computed else computed


#: Nothing quantised, in 16 bits.
UNQUANTISED = Checkpoint()


def uniform(wide_dtype: str = "bf16", **kinds: Stored) -> Checkpoint:
    """A checkpoint of one way to store each kind: ``uniform(linear=per_tensor("fp8", "fp8"))``."""
    return Checkpoint(wide_dtype, tuple((kind, ((stored, 1.0),)) for kind, stored in kinds.items()))


def mixed(pieces: Iterable[tuple[Stored, float]]) -> Mix:
    """Pieces of a part, and their sizes, as shares of it; the largest first."""
    sizes: dict[Stored, float] = {}
    for stored, size in pieces:
        sizes[stored] = sizes.get(stored, 0.0) + size
    total = sum(sizes.values())
    return tuple(sorted(((stored, size / total) for stored, size in sizes.items()), key=lambda one: -one[1]))
