"""What a type checker knows of the public face. The house's mypy run reads this file; nothing runs it.

An ``assert_type`` that is wrong is an error, and so is a ``type: ignore`` where there is nothing to ignore.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import pandas as pd

import roofline as rl
from roofline.base.numeric import Label, Numeric, Truth
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender
from roofline.serving.server import ServingEstimate
from roofline.work.operator import Op


def an_estimate_is_of_the_kind_of_its_model(llama: LanguageModel, dlrm: Recommender, h100: rl.Chip) -> None:
    est = assert_type(rl.estimate(llama, h100, batch=[1, 8], tp=8, dtype="fp8"), LanguageEstimate)
    assert_type(est.ttft_s, Numeric)
    assert_type(est.bound, Label)
    assert_type(est.fits, Truth)
    assert_type(est.interval(0.9, "ttft_s"), tuple[Numeric, Numeric])
    assert_type(est.interval(0.9), dict[str, tuple[Numeric, Numeric]])
    assert_type(rl.estimate(dlrm, "h100", batch=np.arange(8), skew=1.05), RecommendationEstimate)
    rl.estimate(llama, h100, devices=8)  # type: ignore[call-overload]
    rl.estimate(dlrm, h100, tp=8)  # type: ignore[call-overload]
    rl.estimate(llama, h100, bacth=8)  # type: ignore[call-overload]
    rl.estimate(llama, h100, dtype=8)  # type: ignore[call-overload]


def what_a_name_stands_for_is_left_open(chip: rl.Chip) -> None:
    assert_type(rl.estimate("llama-3.1-70b", chip, batch=64, tp=8), Any)
    assert_type(rl.estimate(rl.load_model("dlrm-v2"), chip, batch=64, devices=8), Any)
    llama: LanguageModel = rl.load_model("llama-3.1-70b")
    assert_type(rl.estimate(llama, chip), LanguageEstimate)
    rl.estimate("llama-3.1-70b", chip, bacth=64)  # type: ignore[call-overload]


def servers_know_their_options(llama: LanguageModel, chip: rl.Chip) -> None:
    assert_type(rl.serve(llama, chip, concurrency=range(8), prompt=1024, chunk=2048), ServingEstimate)
    assert_type(rl.fewest_chips(llama, chip, ttft_s=0.5, chunk=2048, output=256), pd.DataFrame)
    assert_type(rl.sensitivity(llama, chip, "tpot_s", batch=8), pd.DataFrame)
    rl.serve(llama, chip, batch=8)  # type: ignore[call-arg]
    rl.fewest_chips(llama, chip, concurrency=8)  # type: ignore[call-arg]


def operators_take_whatever_holds_numbers(column: pd.Series[int]) -> None:
    assert_type(rl.gemm(m=[1, 2], n=range(8), k=column, dtype="bf16"), Op)
    assert_type(rl.rms_norm(rows=np.int64(8), cols=[[1, 2], [3, 4]], out_dtype="fp8"), Op)
    assert_type(rl.all_reduce(bytes=1e6, devices=np.arange(1, 9)), Op)
    rl.gemm(m="1", n=1, k=1)  # type: ignore[arg-type]
    rl.rms_norm(rows=1, cols=1, row=1)  # type: ignore[call-arg]
