"""Embedding bags: pooled lookups of table rows."""

from __future__ import annotations

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric, NumericLike, anywhere, broadcastable, flags, maximum, not_negative
from roofline.base.units import DTYPE_BYTES, dtype_name, width
from roofline.work.operator import Op, wide
from roofline.work.sizes import MOST_REPEAT, MOST_SCALE_BYTES, MOST_SKEW, amount, mean, whole, within

#: What a row in a host's memory costs it (s), judgement: a miss of its caches of 100 ns, some ten at a time.
ROW_S = 1e-8

#: Bytes of the scale and the bias, 16 bits each, beside a row of integers, as FBGEMM's inference stores them
#: (``DEFAULT_SCALE_BIAS_SIZE_IN_BYTES`` of pytorch/FBGEMM, read November 2026); its rows of fp8 have none.
ROW_SCALE_BYTES = {"int8": 4.0, "int4": 4.0}

#: A bag that shares neither the cache nor its launch with another.
_ALONE: dict[str, Numeric] = {"room_share": 1.0, "warm_share": 0.0, "launches": 1.0}


def embedding_bag(
    *,
    batch: NumericLike,
    tables: NumericLike,
    rows: NumericLike,
    dim: NumericLike,
    pooling: NumericLike,
    dtype: str = "fp32",
    skew: NumericLike = 0,
    together: NumericLike = 1,
    repeat: NumericLike = 0,
    scale_bytes: NumericLike | None = None,
    out_dtype: str | None = None,
    reuse: bool = False,
    warm: bool = False,
    name: str = "embedding_bag",
    count: Numeric = 1,
    shard: str = "tables",
    scope: str = "model",
) -> Op:
    """Pooled lookup: for each sample and table, the sum of `pooling` rows of `dim` elements.

    Parameters
    ----------
    batch, tables, rows, dim, pooling : number or array
        Samples, tables of equal shape, rows a table, row width in elements, lookups a sample and table. `batch` and
        `rows` may be means; so may `pooling`, which may be less than one.
    dtype : str
        Of the rows in memory.
    skew : number or array
        Zipf exponent of the index distribution; 0 is uniform, 5 the most.
    together : number or array
        Rows that one index brings, at most `pooling`: 1, or more where an index stands for a list of rows.
    repeat : number or array
        Share of the lookups that repeat those of the batch before, at most 0.99; they are found where a cache looks
        back on a batch.
    scale_bytes : number or array, optional
        Bytes of the scale and the bias beside each row. Default: 4 for rows of int8 and int4, as FBGEMM stores them,
        else 0; 0 also where a table has one scale for all of its rows.
    out_dtype : str, optional
        Of the sums. Default: `dtype`, but at least 16 bits.
    reuse : bool
        Whether the same batch is looked up again and again, as in a benchmark loop.
    warm : bool
        Whether other batches went before, so that the cache holds what it found then; and nothing but lookups ran
        between them.
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
        For sizes outside of those that ``sizes.py`` states.

    Examples
    --------
    >>> import roofline as rl
    >>> shape = {"batch": 4096, "tables": 26, "rows": 1_000_000, "dim": 128, "pooling": 20}
    >>> seconds = rl.cost(rl.embedding_bag(**shape, dtype="fp16", skew=[0, 1.05]), "h100-sxm").time_s
    >>> bool(seconds[1] < seconds[0])  # what is asked for often is found in the cache
    True
    """
    values = {
        **mean(name, batch=batch),
        **whole(name, tables=tables),
        **mean(name, rows=rows),
        **whole(name, dim=dim),
        **amount(name, pooling=pooling),
        **mean(name, together=together),
    }
    broadcastable(name, values)
    most = maximum(values["pooling"], 1)
    if anywhere(values["together"] > most):
        raise BadWorkload(f"{name}: together is at most pooling={shown(pooling)}, found {shown(together)}")
    dtype = dtype_name(dtype)
    args = {
        **values,
        **within(name, 0, MOST_SKEW, skew=skew),
        **within(name, 0, MOST_REPEAT, repeat=repeat),
        "width": DTYPE_BYTES[dtype],
        **scales(name, dtype, scale_bytes),
        "out_width": width(out_dtype, wide(dtype)),
        **flags(name, reuse=reuse),
        **_ALONE,
        "warm_share": flags(name, warm=warm)["warm"],
    }
    return Op("embedding_bag", name, dtype, args, count, shard, scope)


def scales(name: str, dtype: str, scale_bytes: NumericLike | None) -> dict[str, Numeric]:
    """The bytes of scale and bias beside a row: as given, else as rows of that dtype usually have."""
    given = ROW_SCALE_BYTES.get(dtype, 0.0) if scale_bytes is None else scale_bytes
    return within(name, 0, MOST_SCALE_BYTES, scale_bytes=given)


def host_lookup(
    *,
    batch: Numeric,
    tables: Numeric,
    rows: Numeric,
    dim: Numeric,
    pooling: Numeric,
    dtype: str = "fp32",
    skew: Numeric = 0,
    together: Numeric = 1,
    repeat: Numeric = 0,
    scale_bytes: Numeric | None = None,
    out_dtype: str | None = None,
    gathers: bool = True,
    kept_bytes: Numeric = 0,
    row_s: Numeric = ROW_S,
    remote: bool = False,
    name: str = "host_lookup",
    count: Numeric = 1,
    shard: str = "tables",
    scope: str = "model",
) -> Op:
    """Pooled lookup in tables of the host's memory; sizes as for :func:`embedding_bag`.

    Parameters
    ----------
    gathers : bool
        Whether the host gathers and sums, so that pooled vectors cross the link; else rows do.
    kept_bytes : number or array
        Bytes of the chip's memory in which the rows that were used last are kept; for ``gathers=False``.
    row_s : number or array
        What a row costs the host (s), all of its cores at work.
    remote : bool
        Whether the host is a server behind the network, and not the chip's own.

    Raises
    ------
    BadWorkload
        For sizes outside of those that ``sizes.py`` states.
    """
    dtype = dtype_name(dtype)
    args = {
        **mean(name, batch=batch), **whole(name, tables=tables), **mean(name, rows=rows), **whole(name, dim=dim),
        **amount(name, pooling=pooling), **within(name, 0, MOST_SKEW, skew=skew), **mean(name, together=together),
        **within(name, 0, MOST_REPEAT, repeat=repeat), "width": DTYPE_BYTES[dtype], **scales(name, dtype, scale_bytes),
        "out_width": width(out_dtype, wide(dtype)), **flags(name, gathers=gathers),
        **not_negative(name, kept_bytes=kept_bytes, row_s=row_s), "launches": 1.0,
    }  # fmt: skip
    broadcastable(name, args)
    return Op("remote_lookup" if remote else "host_lookup", name, dtype, args, count, shard, scope)
