"""A model as it runs on the weights of its checkpoint: each product in the dtype of its part, each share whole."""

from __future__ import annotations

import math
from dataclasses import replace

from roofline.base import numeric
from roofline.base.numeric import Numeric
from roofline.base.units import dtype_bytes
from roofline.models.checkpoint.stored import Checkpoint, Mix, Stored
from roofline.work.op import Op

#: Operators that are not called like the weights that they read.
READERS = {"qkv_a_proj": "q_a_proj", "q_absorb": "kv_b_proj", "v_absorb": "kv_b_proj"}


def as_stored(one: Op, mix: Mix | None, checkpoint: Checkpoint, dtype: str) -> list[Op]:
    """A product as it runs on weights that are stored as the checkpoint has them; several where layers differ.

    Parameters
    ----------
    one : Op
        As a block lays it out, as if all weights were in `dtype`.
    mix : Mix, optional
        How its weights are stored; None where nobody stores them otherwise.
    checkpoint : Checkpoint
    dtype : str
        What the model as a whole computes in.
    """
    if mix is None or one.kind not in ("gemm", "moe"):
        return [one]
    pieces = []
    for stored, share in mix:
        args = one.args | {"weight_width": checkpoint.bytes_per_weight(stored, dtype)}
        compute = one.dtype
        if compute == dtype:  # what is wide by design stays so: latent attention's products with absorbed weights
            compute = checkpoint.arithmetic(stored, dtype)
            args |= {"width": dtype_bytes(compute), "quantize": float(dtype_bytes(compute) <= 1)}
        piece = replace(one, dtype=compute, args=args)
        pieces.append(piece if share == 1 else piece.times(share))
    return pieces


def padded(size: Numeric, multiple: int) -> Numeric:
    """By how much a size grows to the next multiple."""
    return numeric.ceil_div(size, multiple) * multiple / size


def side_by_side(stored: Stored, shard: str) -> int:
    """Weights side by side that a split may not part, as they share a scale; 1 where any split will do."""
    if stored.pad_inter > 1:
        return 1
    if shard == "experts":  # their width is the outputs of one matrix and the inputs of another
        return math.lcm(stored.block_n, stored.block_k)
    return stored.block_n if shard == "column" else stored.block_k
