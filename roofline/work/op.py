"""All operators by name: what is computed, never on what.

Each is a function that returns an :class:`Op`: shapes as plain numbers (any of them may be an array; they broadcast),
dtypes as names. Which chip runs it, and how long that takes, is the business of ``inference.py``; how the work is split
over chips, of ``parallel.py``.

Adding an operator takes three places: a function in the file of its kin and its name here, a kernel of the same name in
``kernels/`` and its reference twin in ``kernels/reference/``. The kernel's operator arguments are the keys of
`Op.args`, bound by name.
"""

from roofline.work.attention import attention, mla_attention
from roofline.work.collective import (
    all_gather,
    all_reduce,
    all_to_all,
    host_copy,
    reduce_scatter,
    send,
    serving,
    step_overhead,
)
from roofline.work.elementwise import (
    activation,
    copy,
    dequantize,
    elementwise,
    layer_norm,
    quantize,
    residual_add,
    rms_norm,
    rope,
    sampling,
    silu_mul,
    softmax,
    token_embedding,
)
from roofline.work.embedding import embedding_bag, host_lookup
from roofline.work.operator import Op, wide
from roofline.work.products import gemm, interaction_cross, interaction_dot, moe
from roofline.work.recurrence import causal_conv, recurrence
from roofline.work.sparse import index_scores, sparse_attention, top_k

__all__ = [
    "Op",
    "activation",
    "all_gather",
    "all_reduce",
    "all_to_all",
    "attention",
    "causal_conv",
    "copy",
    "dequantize",
    "elementwise",
    "embedding_bag",
    "gemm",
    "host_copy",
    "host_lookup",
    "index_scores",
    "interaction_cross",
    "interaction_dot",
    "layer_norm",
    "mla_attention",
    "moe",
    "quantize",
    "recurrence",
    "reduce_scatter",
    "residual_add",
    "rms_norm",
    "rope",
    "sampling",
    "send",
    "serving",
    "silu_mul",
    "softmax",
    "sparse_attention",
    "step_overhead",
    "token_embedding",
    "top_k",
    "wide",
]
