"""Embedding bags: pooled lookups of table rows."""

from __future__ import annotations

from roofline.base.errors import BadWorkload
from roofline.base.numeric import Numeric, anywhere, broadcastable, flags, maximum, not_negative, positive
from roofline.base.units import DTYPE_BYTES, dtype_name
from roofline.work.operator import Op, wide


def embedding_bag(
    *, batch: Numeric, tables: Numeric, rows: Numeric, dim: Numeric, pooling: Numeric, dtype: str = "fp32",
    skew: Numeric = 0, together: Numeric = 1, out_dtype: str | None = None, reuse: bool = False,
    name: str = "embedding_bag",
    count: Numeric = 1, shard: str = "tables", scope: str = "model",
) -> Op:  # fmt: skip
    """Pooled lookup: for each sample and table, the sum of `pooling` rows of `dim` elements.

    Parameters
    ----------
    batch, tables, rows, dim, pooling : number or array
        Samples, tables of equal shape, rows a table, row width in elements, lookups a sample and table.
    dtype : str
        Of the rows in memory.
    skew : number or array
        Zipf exponent of the index distribution; 0 is uniform.
    together : number or array
        Rows that one index brings, at most `pooling`: 1, or more where an index stands for a list of rows.

    Raises
    ------
    BadWorkload
        For sizes that are not positive.
    """
    values = positive(name, batch=batch, tables=tables, rows=rows, dim=dim, pooling=pooling, together=together)
    broadcastable(name, values)
    most = maximum(values["pooling"], 1)
    if anywhere(values["together"] < 1) or anywhere(values["together"] > most):
        raise BadWorkload(f"{name}: together is at least 1 and at most pooling={pooling!r}, found {together!r}")
    dtype = dtype_name(dtype)
    args = {
        **values, **not_negative(name, skew=skew), "width": DTYPE_BYTES[dtype],
        "out_width": DTYPE_BYTES[dtype_name(out_dtype or wide(dtype))], **flags(name, reuse=reuse),
    }  # fmt: skip
    return Op("embedding_bag", name, dtype, args, count, shard, scope)
