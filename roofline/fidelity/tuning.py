"""Which rows of aiconfigurator's TensorRT-LLM MoE times ran kernels that nobody had tuned: read from its collector.

TensorRT-LLM's autotuner keeps the fastest kernel of each layer under a key that holds top-k, the degrees of
parallelism and the shapes; where it knows none it takes the first of its list, a tile of 128 rows by 16 columns on
Hopper (``setRunnerProfiles`` in cpp/tensorrt_llm/thop/moeOp.cpp and ``get_candidate_tiles_sm90`` in
cutlass_heuristic.cpp, read November 2026). aiconfigurator's collector (collector/trtllm/collect_moe.py, read November
2026) keeps that knowledge in a file named after the dtype, the model width, the rank's expert width and the rank's
number of experts, and takes the first file whose name *begins* so: if there is one, it does not tune. So a
configuration runs untuned where an earlier one had its name but another top-k or parallelism, or a name that goes on
(one expert a rank finds the file of 16 or 128). Rows are kept in the order in which they were taken, so what was
there before can be told without looking at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: The dtypes whose kernels are tuned and kept so: block-scaled fp8 has one kernel, 4-bit weights are not kept.
_TUNED_DTYPES = ("bfloat16", "fp8")

#: The collections that this describes. That of 1.3.0rc23 has three such configurations among the rows that may be
#: fitted, and none of them is slow: its files seem to have been there before.
_VERSIONS = ("1.3.0rc10", "1.3.0rc20")

_CASE = ["kernel", "dtype", "hidden", "inter", "topk", "experts", "tp", "ep", "distribution"]

#: Where the files were gone and everything began anew: version -> the configuration that came first. Not in the source:
#: found on H100 rows that may be fitted (bf16 and fp8), where it takes the contradictions between this reading and the
#: times from 176 to 2 of 2,149 configurations; the cases on H200 come in the same order.
RESTARTS: dict[str, tuple[object, ...]] = {
    "1.3.0rc20": ("moe_torch_flow_cutlass", "bfloat16", 2048, 768, 8, 128, 1, 8, "balanced"),
}


def tuned(frame: pd.DataFrame) -> np.ndarray:
    """Whether the kernels of each row were tuned.

    Parameters
    ----------
    frame : DataFrame
        All rows of one chip and version in the order of their file, dtypes in aiconfigurator's words, in the columns
        kernel, dtype, hidden, inter, topk, experts, tp, ep, distribution, version.

    Returns
    -------
    ndarray of bool
        True also where two files fit, the right one and another: which of them the file system names first is not told.
    """
    version = str(frame["version"].iloc[0])
    if version not in _VERSIONS:
        return np.ones(len(frame), dtype=bool)
    files: dict[str, tuple[object, ...]] = {}
    found: dict[tuple[object, ...], bool] = {}
    restart = RESTARTS.get(version)
    cases = list(frame[_CASE].itertuples(index=False, name=None))
    for case in dict.fromkeys(cases):
        kernel, dtype, hidden, inter, topk, experts, tp, ep, _ = case
        if case == restart:
            files = {}
        name = f"{dtype}_{hidden:.0f}_{inter // tp:.0f}_{experts // ep:.0f}"
        layer = (kernel, topk, tp, ep)
        matching = [files[other] for other in files if other.startswith(name)]
        if not matching:
            files[name] = layer
        found[case] = not matching or layer in matching or dtype not in _TUNED_DTYPES
    return np.array([found[case] for case in cases])
