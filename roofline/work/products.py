"""Matrix products: plain ones, a recommendation model's interactions, and the grouped ones of routed experts."""

from __future__ import annotations

from typing import Any

from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric, NumericLike, anywhere, broadcastable, flags
from roofline.base.units import DTYPE_BYTES, dtype_name, width
from roofline.work.elementwise import elementwise
from roofline.work.operator import Op, wide
from roofline.work.sizes import MOST_IMBALANCE, mean, whole, within


def gemm(
    *,
    m: NumericLike,
    n: NumericLike,
    k: NumericLike,
    batch: NumericLike = 1,
    dtype: str = "bf16",
    weight_dtype: str | None = None,
    out_dtype: str | None = None,
    quantize: bool = False,
    reuse: bool = False,
    name: str = "gemm",
    count: Numeric = 1,
    shard: str = "",
    scope: str = "layer",
) -> Op:
    """Matrix product ``C[m, n] = A[m, k] @ B[k, n]``, `batch` of them with their own B.

    Parameters
    ----------
    m, n, k, batch : number or array
        Sizes; 2 * m * n * k * batch FLOP. `m` and `batch` may be means over calls.
    dtype : str
        Of the arithmetic, and of A.
    weight_dtype : str, optional
        Of B in memory; narrower than `dtype` for weight-only quantisation. Default: `dtype`.
    out_dtype : str, optional
        Of C. Default: `dtype`, but at least 16 bits.
    quantize : bool, optional
        Whether A arrives in 16 bits and is quantised to `dtype` by a kernel of its own first.
        Default: no; the language models pass True for 8-bit arithmetic.
    reuse : bool, optional
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
        For sizes outside of those that ``sizes.py`` states, or unknown dtypes.

    Examples
    --------
    >>> import roofline as rl
    >>> product = rl.gemm(m=[1, 4096], n=4096, k=4096)
    >>> cost = rl.cost(product, "h100-sxm")
    >>> cost.flops.tolist()
    [33554432.0, 137438953472.0]
    >>> cost.bound.tolist()
    ['memory:hbm', 'compute']
    """
    dtype = dtype_name(dtype)
    args = {
        **mean(name, m=m, batch=batch),
        **whole(name, n=n, k=k),
        "width": DTYPE_BYTES[dtype],
        "weight_width": width(weight_dtype, dtype),
        "out_width": width(out_dtype, wide(dtype)),
        **flags(name, quantize=quantize),
        "warm_weights": flags(name, reuse=reuse)["reuse"],
    }
    return Op("gemm", name, dtype, args, count, shard, scope)


def moe(
    *,
    tokens: NumericLike,
    hidden: NumericLike,
    inter: NumericLike,
    topk: NumericLike,
    experts: NumericLike,
    tp: NumericLike = 1,
    ep: NumericLike = 1,
    dtype: str = "bf16",
    weight_dtype: str | None = None,
    gated: bool = True,
    skew: NumericLike = 0,
    quantize: bool = False,
    reuse: bool = False,
    tuned: bool = True,
    name: str = "moe",
    count: Numeric = 1,
    shard: str = "experts",
    scope: str = "layer",
) -> Op:
    """A routed mixture-of-experts feed-forward layer on one rank: permute, grouped GEMMs, activation, combine.

    Parameters
    ----------
    tokens : number or array
        Tokens before top-k that the expert-parallel group receives; may be a mean over calls.
    hidden, inter : number or array
        Model width and the width of one expert (before tensor sharding).
    topk, experts : number or array
        Experts a token goes to, and experts in all.
    tp, ep : number or array
        Ranks that share one expert, and ranks over which experts are spread.
    dtype, weight_dtype : str
        Of the arithmetic, and of the weights in memory (default: `dtype`).
    gated : bool
        Three matrices an expert (gate, up, down) rather than two.
    skew : number or array
        Imbalance of the routing: 0 is balanced, 1 at random, above it popularity differs; at most 1000.
    quantize : bool
        Whether activations arrive in 16 bits and are quantised to `dtype` first.
    reuse : bool
        Whether the same tensors are used again and again, as in a benchmark loop.
    tuned : bool
        Whether the library has timed its kernels for this layer, as engines do when they start, and takes the best.
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
        For sizes outside of those that ``sizes.py`` states or more active experts than there are.

    Examples
    --------
    >>> import roofline as rl
    >>> layer = rl.moe(tokens=[8, 4096], hidden=4096, inter=14336, topk=2, experts=8)
    >>> rl.cost(layer, "h100-sxm").bound.tolist()
    ['memory:hbm', 'compute']
    """
    values = mean(name, tokens=tokens)
    values |= whole(name, hidden=hidden, inter=inter, topk=topk, experts=experts, tp=tp, ep=ep)
    broadcastable(name, values)
    if anywhere(values["topk"] > values["experts"]):
        raise BadWorkload(f"{name}: topk is at most the number of experts, found {shown(topk)} of {shown(experts)}")
    if anywhere(values["ep"] > values["experts"]):
        raise BadWorkload(f"{name}: ep is at most the number of experts, found {shown(ep)} of {shown(experts)}")
    dtype = dtype_name(dtype)
    args = {
        **values,
        **flags(name, gated=gated),
        **within(name, 0, MOST_IMBALANCE, skew=skew),
        "width": DTYPE_BYTES[dtype],
        "weight_width": width(weight_dtype, dtype),
        "out_width": DTYPE_BYTES[wide(dtype)],
        **flags(name, quantize=quantize, tuned=tuned),
        "warm_weights": flags(name, reuse=reuse)["reuse"],
    }
    return Op("moe", name, dtype, args, count, shard, scope)


def interaction_dot(
    *, batch: NumericLike, features: NumericLike, dim: NumericLike, dtype: str = "bf16", **options: Any
) -> Op:
    """DLRM's dot interaction: the features x features Gram matrix of each sample (Naumov et al. 2019).

    Counted as the batched product that libraries run; a sample uses the lower triangle of it.
    Keywords as for :func:`gemm`.
    """
    options = {"name": "interaction_dot", "scope": "model", **options}
    return gemm(m=features, n=features, k=dim, batch=batch, dtype=dtype, **options)


def interaction_cross(
    *, batch: NumericLike, width: NumericLike, rank: NumericLike, dtype: str = "bf16", **options: Any
) -> tuple[Op, ...]:
    """One low-rank layer of a DCN-v2 cross network, ``x0 * (W (V x) + b) + x`` (Wang et al. 2021).

    Parameters
    ----------
    batch, width, rank : number or array
        Samples, width of x, and rank of the factorised weight.
    """
    options = {"scope": "model", **options}
    return (
        gemm(m=batch, n=rank, k=width, dtype=dtype, name="cross_down", **options),
        gemm(m=batch, n=width, k=rank, dtype=dtype, name="cross_up", **options),
        elementwise(
            rows=batch,
            cols=width,
            reads=3,
            writes=1,
            dtype=wide(dtype_name(dtype)),
            flops_per_element=3,
            name="cross_combine",
            scope="model",
        ),
    )
