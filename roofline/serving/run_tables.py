"""What became of each request, and what the servers did, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from roofline.kernels import serving_state as at_

if TYPE_CHECKING:
    import pandas as pd


def requests(told: np.ndarray, at: np.ndarray, seen: Mapping[str, np.ndarray], apart: bool) -> pd.DataFrame:
    """Each request in the order in which its row stands; `apart` where one replica read it and another decoded."""
    import pandas as pd

    at = np.where(at < 0, np.nan, at)
    reader = {"prefill_replica": told[:, at_.TOLD_READER]} if apart else {}
    return pd.DataFrame(
        {
            "arrival_s": at[:, at_.TOLD_ARRIVED],
            "admitted_s": at[:, at_.TOLD_ADMITTED],
            "first_token_s": at[:, at_.TOLD_FIRST],
            "end_s": at[:, at_.TOLD_END],
            "prompt": told[:, at_.TOLD_PROMPT],
            "output": told[:, at_.TOLD_OUTPUT],
            "cached": told[:, at_.TOLD_CACHED],
            "preemptions": told[:, at_.TOLD_PREEMPTED],
            **reader,
            "replica": told[:, at_.TOLD_REPLICA],
            "answered": told[:, at_.ENDED] == at_.ANSWERED,
            **seen,
        }
    )


def timeline(rows: np.ndarray, blocks: np.ndarray) -> pd.DataFrame:
    """States of replicas, of which each has so many KV blocks."""
    import pandas as pd

    replica = rows[:, at_.SEEN_REPLICA].astype(int)
    return pd.DataFrame(
        {
            "time_s": rows[:, at_.WHEN],
            "replica": replica,
            "waiting": rows[:, at_.SEEN_WAITING].astype(int),
            "running": rows[:, at_.SEEN_RUNNING].astype(int),
            "decoding": rows[:, at_.SEEN_DECODING].astype(int),
            "prompt_tokens": rows[:, at_.SEEN_TOKENS].astype(int),
            "kv_share": rows[:, at_.SEEN_BLOCKS] / blocks[replica],
            "pass_s": rows[:, at_.SEEN_TOOK],
        }
    )
