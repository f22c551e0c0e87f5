"""Room for a KV cache as engines' start logs have it, beside what an estimate says.

Rows stand in ``roofline/evidence/measured/memory.csv``. `set` says what a row had to do with the figures of
``[stack.*.serving]``: ``chosen`` (forms or figures were taken from it or in sight of it), ``seen`` (known before; no
figure was taken from it but where its note says so) or ``held out`` (found after the figures were committed).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from roofline.catalog.load import load_chip
from roofline.estimates.estimate import estimate
from roofline.fidelity import end_to_end

if TYPE_CHECKING:
    import pandas as pd

    from roofline.estimates.language import LanguageEstimate

_DTYPES = ("dtype", "weight_dtype", "kv_dtype")


def published() -> pd.DataFrame:
    """Every log, one a row: `tokens` and `kv_gib` as it printed them, one of them where it printed only that."""
    return end_to_end.read("memory.csv", {name: [""] for name in ("tokens", "kv_gib", "usable_memory")})


def predict(row: dict[str, Any]) -> LanguageEstimate:
    """The estimate of a row, of one short request: what an engine sets aside does not depend on it."""
    types = {name: row[name] for name in _DTYPES if isinstance(row[name], str) and row[name]}
    est: LanguageEstimate = estimate(
        row["model"],
        load_chip(row["chip"]),
        check=False,
        stack=row["stack"],
        batch=1,
        prompt=64,
        output=8,
        tp=int(row["tp"]),
        pp=int(row["pp"]),
        usable_memory=float(row["usable_memory"]),
        **types,
    )
    return est


def rows() -> pd.DataFrame:
    """Every log beside its prediction.

    Returns
    -------
    DataFrame
        The columns of :func:`published`; `predicted`: tokens, or GiB where the log has no tokens; `logged`; `ratio`:
        of the two, NaN where the engine did not start; `starts`: whether there is room for a cache at all.
    """
    import pandas as pd

    out = []
    for record in published().to_dict("records"):
        row = {str(k): v for k, v in record.items()}
        est = predict(row)
        in_tokens = not math.isnan(row["tokens"])
        predicted = float(est.kv_tokens) if in_tokens else float(est.memory.room_bytes) / 2**30
        logged = row["tokens"] if in_tokens else row["kv_gib"]
        ratio = predicted / logged if logged > 0 else math.nan
        starts = bool(est.memory.room_bytes > 0)
        out.append({**row, "predicted": predicted, "logged": logged, "ratio": ratio, "starts": starts})
    return pd.DataFrame(out)
