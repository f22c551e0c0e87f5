"""Attention over a KV cache: of heads with keys of their own, and over one latent that all heads share."""

from __future__ import annotations

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric, NumericLike, anywhere, broadcastable, choose, flags, minimum
from roofline.base.units import DTYPE_BYTES, dtype_name, width
from roofline.work.operator import Op
from roofline.work.sizes import mean, whole


def attention(
    *,
    batch: NumericLike,
    heads: NumericLike,
    head_dim: NumericLike,
    q_len: NumericLike,
    kv_len: NumericLike,
    kv_heads: NumericLike | None = None,
    dtype: str = "bf16",
    kv_dtype: str | None = None,
    causal: bool = True,
    window: NumericLike | None = None,
    chunked: bool = False,
    value_dim: NumericLike | None = None,
    query_dtype: str | None = None,
    stored: bool = True,
    reuse: bool = False,
    name: str = "attention",
    count: Numeric = 1,
    shard: str = "heads",
    scope: str = "layer",
) -> Op:
    """Scaled dot-product attention over a KV cache, prefill (``q_len > 1``) or decode (``q_len == 1``).

    Parameters
    ----------
    batch, heads, kv_heads, head_dim : number or array
        Sequences, query heads, key/value heads (default: `heads`; 1 is MQA, fewer than `heads` GQA), head size.
    q_len, kv_len : number or array
        New tokens, and tokens attended to including the new ones; a cached prefix is ``kv_len - q_len``. Both, and
        `batch`, may be means over calls.
    dtype, kv_dtype : str
        Of the arithmetic, and of the KV cache in memory (default: `dtype`).
    causal : bool
        Whether a query sees only itself and what came before.
    window : number or array, optional
        Sliding-window length; a query sees at most this many tokens.
    chunked : bool
        Whether the window is a chunk with fixed borders instead (Llama 4), which begins with the new tokens: each chunk
        is a sequence of its own, a shorter last one counted by its pairs, with all of its tensors.
    value_dim : number or array, optional
        Size of a head's value where it is not `head_dim` (DeepSeek's expanded keys are longer than its values).
    query_dtype : str, optional
        Of the query as it arrives, where it is converted to `dtype` first (FlashAttention 3 over an fp8 cache).
    stored : bool
        Whether causal attention writes its new keys and values to a KV cache. Values of another size than the keys
        are written by plain kernels.
    reuse : bool
        Whether the same tensors are used again and again, as in a benchmark loop.
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
        For sizes outside of those that ``sizes.py`` states or that do not broadcast, `kv_len` below `q_len` under a
        causal mask, heads not a multiple of `kv_heads`, chunks without a length.

    Examples
    --------
    >>> import roofline as rl
    >>> decode = rl.attention(batch=64, heads=32, kv_heads=8, head_dim=128, q_len=1, kv_len=4096)
    >>> rl.cost(decode, "h100-sxm").bound
    'memory:hbm'
    """
    given = flags(name, causal=causal, chunked=chunked, stored=stored, reuse=reuse)
    causal, chunked, stored = bool(given["causal"]), bool(given["chunked"]), bool(given["stored"])
    kv_heads = heads if kv_heads is None else kv_heads
    values = {
        **mean(name, batch=batch),
        **whole(name, heads=heads, kv_heads=kv_heads, head_dim=head_dim),
        **mean(name, q_len=q_len, kv_len=kv_len),
    }
    values |= {"window": 0.0, "value_dim": 0.0, "scattered": 0.0, "tensors": 1.0}  # 0: none
    if window is not None:
        values |= whole(name, window=window)
    elif chunked:
        raise BadWorkload(f"{name}: chunked attention needs the length of a chunk: window")
    if value_dim is not None:
        values |= whole(name, 0, value_dim=value_dim)
    broadcastable(name, values)
    if value_dim is not None:
        differs = (values["value_dim"] != values["head_dim"]) & (values["value_dim"] > 0)
        values["scattered"] = choose(differs, 1.0, 0.0) if stored and causal else 0.0
    if causal and anywhere(values["kv_len"] < values["q_len"]):
        raise BadWorkload(
            f"{name}: kv_len counts the new tokens too, so it is at least q_len; "
            f"found q_len={shown(q_len)}, kv_len={shown(kv_len)}"
        )
    if anywhere(values["heads"] % values["kv_heads"]):
        raise BadWorkload(f"{name}: heads must be a multiple of kv_heads, found {shown(heads)} and {shown(kv_heads)}")
    if chunked:
        values |= _chunks(values)
    dtype = dtype_name(dtype)
    args = {
        **values,
        "causal": given["causal"],
        "width": width(query_dtype, dtype),
        "kv_width": width(kv_dtype, dtype),
        "reuse": given["reuse"],
    }
    return Op("attention", name, dtype, args, count, shard, scope)


def _chunks(values: dict[str, Numeric]) -> dict[str, Numeric]:
    """Attention within chunks of `window` tokens as sequences of that length."""
    q_len, window = values["q_len"], values["window"]
    rest = q_len % window
    by_pairs = q_len // window + rest * (rest + 1) / (window * (window + 1))
    return {
        "batch": values["batch"] * choose(q_len > window, by_pairs, 1),
        "q_len": minimum(q_len, window),
        "kv_len": minimum(values["kv_len"], window),
        "window": 0.0,
        "tensors": choose(q_len > window, q_len / window / by_pairs, 1.0),
    }


def mla_attention(
    *,
    batch: NumericLike,
    heads: NumericLike,
    q_len: NumericLike,
    kv_len: NumericLike,
    kv_lora_rank: NumericLike,
    rope_dim: NumericLike,
    dtype: str = "bf16",
    kv_dtype: str | None = None,
    causal: bool = True,
    reuse: bool = False,
    name: str = "mla_attention",
    count: Numeric = 1,
    shard: str = "heads",
    scope: str = "layer",
) -> Op:
    """Multi-head latent attention (DeepSeek): every head attends over one shared latent per token.

    Parameters
    ----------
    batch, heads, q_len, kv_len : number or array
        As for :func:`attention`.
    kv_lora_rank, rope_dim : number or array
        Size of the latent and of the shared rotary key: the cache holds ``kv_lora_rank + rope_dim`` elements a token.
    dtype, kv_dtype : str
        Of the arithmetic, and of the cache in memory (default: `dtype`).
    causal : bool
        Whether a query sees only itself and what came before.
    reuse : bool
        Whether the same tensors are used again and again, as in a benchmark loop.
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
    >>> latent = rl.mla_attention(batch=64, heads=128, q_len=1, kv_len=4096, kv_lora_rank=512, rope_dim=64)
    >>> rl.cost(latent, "h100-sxm").bound
    'memory:l2'
    """
    given = flags(name, causal=causal, reuse=reuse)
    causal = bool(given["causal"])
    values = mean(name, batch=batch, q_len=q_len, kv_len=kv_len)
    values |= whole(name, heads=heads, kv_lora_rank=kv_lora_rank, rope_dim=rope_dim)
    broadcastable(name, values)
    if causal and anywhere(values["kv_len"] < values["q_len"]):
        raise BadWorkload(
            f"{name}: kv_len counts the new tokens too, so it is at least q_len; "
            f"found q_len={shown(q_len)}, kv_len={shown(kv_len)}"
        )
    dtype = dtype_name(dtype)
    args = {
        **values,
        "causal": given["causal"],
        "width": DTYPE_BYTES[dtype],
        "kv_width": width(kv_dtype, dtype),
        "reuse": given["reuse"],
    }
    return Op("mla_attention", name, dtype, args, count, shard, scope)
