"""Sparse attention: an indexer's scores of every cached token, the choice among them, attention to the chosen."""

from __future__ import annotations

from typing import Any

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric, NumericLike, anywhere, broadcastable, flags
from roofline.base.units import DTYPE_BYTES, dtype_name
from roofline.work.elementwise import elementwise
from roofline.work.operator import Op
from roofline.work.sizes import amount, mean, whole


def index_scores(
    *,
    batch: NumericLike,
    index_heads: NumericLike,
    index_dim: NumericLike,
    q_len: NumericLike,
    kv_len: NumericLike,
    key_bytes: NumericLike | None = None,
    block: NumericLike = 1,
    causal: bool = True,
    dtype: str = "fp8",
    name: str = "index_scores",
    count: Numeric = 1,
    shard: str = "",
    scope: str = "layer",
) -> Op:
    """A lightning indexer's score of every query and key: a few narrow heads over one key a token (DeepSeek-V3.2).

    Parameters
    ----------
    batch, q_len, kv_len : number or array
        Sequences, new tokens of each, and keys including theirs; may be means over calls.
    index_heads, index_dim : number or array
        Heads of the indexer, and the size of each.
    key_bytes : number or array, optional
        Of a key in the indexer's cache. Default: `index_dim` numbers of `dtype`, and a scale in fp32 where it has 8
        bits or fewer.
    block : number or array
        Keys that share one score.
    causal : bool
        Whether a query sees only itself and what came before.
    dtype : str
        Of the arithmetic and of the queries.
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
        For sizes outside of those that ``sizes.py`` states or `kv_len` below `q_len` under a causal mask.

    Examples
    --------
    >>> import roofline as rl
    >>> scores = rl.index_scores(batch=8, index_heads=64, index_dim=128, q_len=1, kv_len=65536)
    >>> rl.cost(scores, "h100-sxm").bound
    'memory:hbm'
    """
    dtype = dtype_name(dtype)
    width = DTYPE_BYTES[dtype]
    sizes = whole(name, index_heads=index_heads, index_dim=index_dim)
    values = {**mean(name, batch=batch), **sizes}
    stored = sizes["index_dim"] * width + (4 if width <= 1 else 0)
    values |= {"key_bytes": stored} if key_bytes is None else amount(name, key_bytes=key_bytes)
    values |= {**mean(name, q_len=q_len, kv_len=kv_len), **whole(name, block=block)}
    broadcastable(name, values)
    given = flags(name, causal=causal)
    _sees_itself(name, bool(given["causal"]), values, q_len, kv_len)
    args = {**values, **given, "width": width}
    return Op("index_scores", name, dtype, args, count, shard, scope)


def top_k(*, rows: NumericLike, cols: NumericLike, dtype: str = "fp32", **options: Any) -> Op:
    """The choice of the best of `cols` scores in every row, by counting digits in a few sweeps (radix select).

    Keywords as for :func:`~roofline.work.elementwise.elementwise`.
    """
    usual: dict[str, object] = {"writes": 0, "flops_per_element": 4, "passes": 3, "kind": "top_k"}
    return elementwise(rows=rows, cols=cols, dtype=dtype, **{**usual, **options})


def sparse_attention(
    *,
    batch: NumericLike,
    heads: NumericLike,
    key_dim: NumericLike,
    value_dim: NumericLike,
    token_bytes: NumericLike,
    q_len: NumericLike,
    kv_len: NumericLike,
    chosen: NumericLike,
    kv_heads: NumericLike = 1,
    causal: bool = True,
    dtype: str = "bf16",
    name: str = "sparse_attention",
    count: Numeric = 1,
    shard: str = "heads",
    scope: str = "layer",
) -> Op:
    """Attention of every query over tokens chosen for it (DeepSeek Sparse Attention and its kin).

    Parameters
    ----------
    batch, q_len, kv_len : number or array
        Sequences, new tokens of each, and tokens to choose from including theirs; may be means over calls.
    heads, kv_heads : number or array
        Query heads, and key/value heads that they share: 1 for a latent that all heads attend over.
    key_dim, value_dim : number or array
        Numbers of a head's key and value: 576 and 512 for DeepSeek's latent.
    token_bytes : number or array
        What the cache holds of a token for one key/value head: keys, values and scales.
    chosen : number or array
        Most tokens that a query attends to.
    causal : bool
        Whether a query sees only itself and what came before.
    dtype : str
        Of the arithmetic.
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
        For sizes outside of those that ``sizes.py`` states, `kv_len` below `q_len` under a causal mask, or heads not a
        multiple of `kv_heads`.

    Examples
    --------
    >>> import roofline as rl
    >>> shape = {"batch": 8, "heads": 128, "key_dim": 576, "value_dim": 512, "token_bytes": 656}
    >>> few = rl.sparse_attention(**shape, q_len=1, kv_len=65536, chosen=[2048, 65536])
    >>> seconds = rl.cost(few, "h100-sxm").time_s
    >>> bool(seconds[0] < seconds[1])
    True
    """
    dtype = dtype_name(dtype)
    values = {
        **mean(name, batch=batch),
        **whole(name, heads=heads, kv_heads=kv_heads, key_dim=key_dim, value_dim=value_dim),
        **amount(name, token_bytes=token_bytes),
        **mean(name, q_len=q_len, kv_len=kv_len, chosen=chosen),
    }
    broadcastable(name, values)
    given = flags(name, causal=causal)
    _sees_itself(name, bool(given["causal"]), values, q_len, kv_len)
    if anywhere(values["heads"] % values["kv_heads"]):
        raise BadWorkload(f"{name}: heads must be a multiple of kv_heads, found {shown(heads)} and {shown(kv_heads)}")
    args = {**values, **given, "width": DTYPE_BYTES[dtype]}
    return Op("sparse_attention", name, dtype, args, count, shard, scope)


def _sees_itself(name: str, causal: bool, values: dict[str, Numeric], q_len: NumericLike, kv_len: NumericLike) -> None:
    if causal and anywhere(values["kv_len"] < values["q_len"]):
        raise BadWorkload(
            f"{name}: kv_len counts the new tokens too, so it is at least q_len; "
            f"found q_len={shown(q_len)}, kv_len={shown(kv_len)}"
        )
