"""The table of published results: it parses, it names what exists, and every row has a prediction."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import roofline as rl
from roofline.fidelity import end_to_end, end_to_end_report, mtia


def test_every_row_names_a_chip_a_model_and_a_source():
    rows = end_to_end.published()
    assert rows["id"].is_unique
    assert (rows["value"] > 0).all()
    assert set(rows["method"]) == {"serve", "static", "rank"}
    assert not rows["reference"].eq("").any()
    for chip in rows["chip"].unique():
        assert rl.load_chip(chip).name == chip
    for model in rows["model"].unique():
        assert rl.load_model(model).name == model


def test_what_is_recalled_names_columns():
    rows = end_to_end.published()
    for words in rows["recalled"]:
        assert set(words.split()) <= set(rows.columns)


def test_degrees_multiply_to_the_chips():
    rows = end_to_end.published()
    language = rows[rows["method"] != "rank"]
    assert (language["tp"] * language["dp"] == language["chips"]).all()


def test_every_row_is_predicted(table):
    assert len(table) == len(end_to_end.published())
    for column in ("predicted", "naive", "ratio", "error"):
        assert np.isfinite(table[column]).all(), column
    assert (table["predicted"] > 0).all()


def test_no_prediction_beats_the_roofline(table):
    slower = table["metric"].str.endswith("_s") & table["metric"].isin(["tpot_s", "ttft_s"])
    assert (table.loc[slower, "predicted"] >= table.loc[slower, "naive"] * 0.999).all()
    assert (table.loc[~slower, "predicted"] <= table.loc[~slower, "naive"] * 1.001).all()


def test_summary_counts_every_row_once(table):
    summary = end_to_end.summary(table)
    parts = summary[summary["source"] != "all"]
    assert parts["rows"].sum() == len(table)
    assert {"throughput", "tpot_s", "samples_per_s"} <= set(summary["metric"])
    assert summary[["error", "naive_error", "bias"]].notna().all().all()


def test_intervals_hold_the_prediction(table):
    assert (table["low"] < table["predicted"]).all()
    assert (table["predicted"] < table["high"]).all()


def test_one_source_without_intervals_is_predicted_alike(table):
    some = end_to_end.rows(None, source="trtllm-0.5")
    same = table[table["source"] == "trtllm-0.5"]
    assert some["predicted"].tolist() == same["predicted"].tolist()
    assert some[["low", "high"]].isna().all(axis=None)


def test_settings_and_the_rows_that_they_were_made_on():
    rows = end_to_end.published()
    marked = {
        name: rows["set_on"].str.split().map(lambda names, name=name: name in names)
        for name in end_to_end.settings()["setting"]
    }
    assert {name for names in rows["set_on"] for name in names.split()} == set(marked)
    by_source = rows["source"].isin(["trtllm-0.6.1", "serving-h100"])
    assert marked["engine_spread"].equals(by_source)
    assert marked["engine_spread"].sum() == 82
    assert set(rows.loc[marked["clock"], "source"]) == {"mlperf-4.1"}
    assert set(rows.loc[marked["clock"], "chip"]) == {"h200", "h100-pcie", "h100-nvl"}
    assert marked["mi300x"].equals(rows["chip"] == "mi300x")
    assert not end_to_end.settings().isin([""]).any(axis=None)


def test_with_and_without_the_rows_that_something_was_set_on():
    """Four systems of one row each: two that the spread was set on, one of the clock, one of none."""
    table = pd.DataFrame(
        {
            "source": list("aabc"),
            "chip": list("xyxx"),
            "chips": 1,
            "model": "m",
            "metric": "tpot_s",
            "ratio": [1.02, 0.96, 1.3, 1.1],
            "naive_ratio": [0.5, 0.5, 0.2, 0.3],
            "covered": [True, True, False, True],
            "set_on": ["engine_spread", "engine_spread", "clock", ""],
        }
    )
    table["error"] = (table["ratio"] - 1).abs()
    counted = end_to_end.with_and_without(table).set_index("rows_of")
    assert counted["systems"].tolist() == [4, 2, 2, 1, 2, 1]
    assert counted["rows"].tolist() == [4, 2, 2, 1, 2, 1]
    assert counted["error"].tolist() == pytest.approx([0.07, 0.03, 0.2, 0.1, 0.2, 0.1])
    assert counted["naive_error"].tolist() == pytest.approx([0.6, 0.5, 0.75, 0.7, 0.75, 0.7])
    assert counted["within_15"].tolist() == pytest.approx([0.75, 1, 0.5, 1, 0.5, 1])
    assert counted["coverage"].tolist() == pytest.approx([0.75, 1, 0.5, 1, 0.5, 1])
    last = end_to_end.summary(table).iloc[-1]
    assert (last["systems"], last["rows"], last["coverage"]) == (2, 2, 0.5)
    assert last["error"] == pytest.approx(0.2)


def test_every_ratio_of_mtia_has_a_prediction():
    predictions = mtia.ratios()
    assert set(predictions["id"]) == set(mtia.PREDICTIONS)
    assert predictions["predicted"].map(math.isfinite).all()
    assert predictions["hit"].any()
    assert not predictions["hit"].all()  # a miss stays a miss


def test_every_large_miss_says_what_is_known(table):
    for row in table.to_dict("records"):
        assert end_to_end_report._why(row) != "not explained", row["id"]
