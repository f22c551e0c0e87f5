"""Inverse questions: what it takes to reach a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.catalog.load import load_model
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender
from roofline.study.grids import sweep

if TYPE_CHECKING:
    import pandas as pd


def fewest_chips(
    model: LanguageModel | str,
    chip: Chip | str,
    *,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
    tokens_per_s: float | None = None,
    most: int = 64,
    **options: Any,
) -> pd.DataFrame:
    """How many chips serve a language model within latency and throughput targets.

    Every tensor-parallel width that divides the heads, up to `most`, is tried with batches in powers of two.

    Parameters
    ----------
    model, chip, **options
        As for :func:`roofline.estimate`, without `tp` and `batch`.
    ttft_s, tpot_s : float, optional
        Latency limits (s).
    tokens_per_s : float, optional
        Output tokens per second that the whole must reach; replicas are added until it does.
    most : int
        Widest tensor parallelism to try.

    Returns
    -------
    DataFrame
        The best batch for each width that meets the limits: tp, batch, replicas, chips, and the figures; fewest chips
        first. Empty when nothing meets them.
    """
    import pandas as pd

    served = model if isinstance(model, LanguageModel | Recommender) else load_model(model)
    if not isinstance(served, LanguageModel):
        raise BadWorkload(f"fewest_chips is for language models; {served.name} is none")
    for name in ("tp", "batch"):
        if name in options:
            raise BadWorkload(f"fewest_chips: {name} is what it looks for; leave it out")
    for name, limit in (("ttft_s", ttft_s), ("tpot_s", tpot_s), ("tokens_per_s", tokens_per_s), ("most", most)):
        if limit is not None and not (isinstance(limit, int | float) and limit > 0):
            raise BadWorkload(f"fewest_chips: {name}: expected a positive number, found {limit!r}")
    widths = [t for t in (2**i for i in range(int(np.log2(most)) + 1)) if served.heads % t == 0]
    grid = sweep(served, chip, tp=widths, batch=[2**i for i in range(13)], **options)
    frame = grid.to_dataframe().reset_index()
    good = frame["fits"].astype(bool)
    for limit, column in ((ttft_s, "ttft_s"), (tpot_s, "tpot_s")):
        if limit is not None:
            good &= frame[column] <= limit
    frame = frame[good].sort_values("tokens_per_s", ascending=False).drop_duplicates("tp")
    replicas = np.ceil((tokens_per_s or 0) / frame["tokens_per_s"]).clip(lower=1)
    frame = frame.assign(replicas=replicas.astype(int), chips=(replicas * frame["tp"]).astype(int))
    columns = ["tp", "batch", "replicas", "chips", "ttft_s", "tpot_s", "tokens_per_s", "tokens_per_s_per_chip", "bound"]
    return pd.DataFrame(frame[columns].sort_values(["chips", "tpot_s"]).reset_index(drop=True))
