"""Recurrences over a state that does not grow: state spaces, linear attention, delta rules, short convolutions."""

from __future__ import annotations

from typing import Any

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric, NumericLike, anywhere, broadcastable, flags
from roofline.base.units import DTYPE_BYTES, dtype_name
from roofline.work.elementwise import elementwise
from roofline.work.operator import Op
from roofline.work.sizes import mean, whole, within

#: FLOP that a token costs for each number of the state: decay, outer product added, product with the query (a multiply
#: and an add each but the decay). The delta rule looks up what the state holds for the key first, a selective scan
#: makes each number's own decay, an exponential of a product: two more.
DECAYED, CORRECTED, SELECTIVE = 5, 7, 7


def recurrence(
    *,
    batch: NumericLike,
    heads: NumericLike,
    key_dim: NumericLike,
    value_dim: NumericLike,
    q_len: NumericLike,
    groups: NumericLike | None = None,
    gate_dim: NumericLike = 1,
    chunk: NumericLike = 64,
    matrix: bool = True,
    delta: bool = False,
    resumed: NumericLike = 1,
    dtype: str = "bf16",
    state_dtype: str = "fp32",
    name: str = "recurrence",
    count: Numeric = 1,
    shard: str = "heads",
    scope: str = "layer",
) -> Op:
    """A recurrence with a matrix of state a head: `q_len` tokens of each sequence, chunked or token by token.

    Mamba-2's state-space scan is ``recurrence(heads=128, groups=8, key_dim=128, value_dim=64, chunk=256)``: B and C
    are its keys and queries. A gated delta rule (Gated DeltaNet, Kimi Delta Attention, RWKV-7) has ``delta=True``,
    linear attention (Lightning, RetNet, RWKV-6) has not. Mamba's selective scan has a head for every channel,
    ``value_dim=1``, and no matrix form.

    Parameters
    ----------
    batch, q_len : number or array
        Sequences, and new tokens of each; may be means over calls.
    heads, groups : number or array
        Heads with a state each, and groups that share queries and keys (default: every head has its own).
    key_dim, value_dim : number or array
        Rows and columns of a head's state.
    gate_dim : number or array
        Numbers that a head's gates have for one token: 1 for a decay, 2 with a step size, `key_dim` where every row of
        the state decays by itself.
    chunk : number or array
        Tokens that the chunked form takes together.
    matrix : bool
        Whether a chunk can be computed as products of matrices; if not it is scanned.
    delta : bool
        Whether the state is corrected rather than added to.
    resumed : number or array
        Share of the sequences that have a state from before, which is read: 1 in decode, 0 for a fresh prompt.
    dtype, state_dtype : str
        Of the arithmetic, and of the state in memory.
    name : str
        Its label in breakdowns.
    count : number or array
        How often it runs in a step.
    shard : str
        How tensor parallelism splits it; empty for not at all.
    scope : str
        ``"layer"`` for what a repeated layer holds, else ``"model"``.

    Returns
    -------
    Op
        To be costed with :func:`roofline.cost` or :func:`roofline.run`.

    Raises
    ------
    BadWorkload
        For sizes outside of those that ``sizes.py`` states or that do not broadcast, heads not a multiple of `groups`.

    Examples
    --------
    >>> import roofline as rl
    >>> shape = {"heads": 128, "groups": 8, "key_dim": 128, "value_dim": 64}  # Mamba-2
    >>> decode = rl.recurrence(batch=64, q_len=1, **shape)
    >>> rl.cost(decode, "h100-sxm").bound
    'memory:hbm'
    """
    groups = heads if groups is None else groups
    values = {
        **mean(name, batch=batch),
        **whole(name, heads=heads, groups=groups, key_dim=key_dim, value_dim=value_dim),
        **whole(name, 0, gate_dim=gate_dim),
        **mean(name, q_len=q_len),
        **whole(name, chunk=chunk),
    }
    broadcastable(name, values)
    if anywhere(values["heads"] % values["groups"]):
        raise BadWorkload(f"{name}: heads must be a multiple of groups, found {shown(heads)} and {shown(groups)}")
    dtype = dtype_name(dtype)
    args = {
        **values,
        **flags(name, matrix=matrix, delta=delta),
        "update_flops": float(CORRECTED if delta else DECAYED if matrix else SELECTIVE),
        **within(name, 0, 1, resumed=resumed),
        "width": DTYPE_BYTES[dtype],
        "state_width": DTYPE_BYTES[dtype_name(state_dtype)],
    }
    return Op("recurrence", name, dtype, args, count, shard, scope)


def causal_conv(
    *,
    rows: NumericLike,
    cols: NumericLike,
    sequences: NumericLike,
    taps: NumericLike = 4,
    dtype: str = "bf16",
    **options: Any,
) -> Op:
    """A short convolution along the tokens, a filter of its own for every channel, and its nonlinearity.

    The last ``taps - 1`` inputs of a sequence are a state that is read first and written after.

    Parameters
    ----------
    rows, cols : number or array
        Tokens of all sequences, and channels.
    sequences : number or array
        Sequences that the tokens are of.
    taps : number or array
        Tokens that the filter spans.
    dtype : str
        Of the arithmetic, and of the state.
    **options
        Keywords of :func:`~roofline.work.elementwise.elementwise`.

    Returns
    -------
    Op
        To be costed with :func:`roofline.cost` or :func:`roofline.run`.

    Raises
    ------
    BadWorkload
        For sizes outside of those that ``sizes.py`` states.

    Examples
    --------
    >>> import roofline as rl
    >>> conv = rl.causal_conv(rows=64, cols=10240, sequences=64)
    >>> rl.cost(conv, "h100-sxm").bound
    'memory:l2'
    """
    name = options.get("name") or "causal_conv"
    sizes = {**mean(name, rows=rows, sequences=sequences), **whole(name, taps=taps)}
    broadcastable(name, sizes)
    kept = (sizes["taps"] - 1) * sizes["sequences"] / sizes["rows"]
    usual: dict[str, Any] = {
        "reads": 1 + kept,
        "writes": 1 + kept,
        "cold_reads": kept,
        "flops_per_element": 2 * sizes["taps"] + 4,
        "kind": "causal_conv",
    }
    return elementwise(rows=rows, cols=cols, dtype=dtype, **{**usual, **options})
