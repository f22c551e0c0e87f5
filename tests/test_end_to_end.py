"""The table of published results: it parses, it names what exists, and every row has a prediction."""

from __future__ import annotations

import math

import numpy as np
import pytest

import roofline as rl
from roofline.fidelity import end_to_end, end_to_end_report, mtia


@pytest.fixture(scope="module")
def table():
    return end_to_end.rows(None)


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


def test_intervals_hold_the_prediction():
    some = end_to_end.rows(0.9, source="trtllm-0.5")
    assert (some["low"] < some["predicted"]).all()
    assert (some["predicted"] < some["high"]).all()


def test_every_ratio_of_mtia_has_a_prediction():
    said = mtia.ratios()
    assert set(said["id"]) == set(mtia.PREDICTIONS)
    assert said["predicted"].map(math.isfinite).all()
    assert said["hit"].any()
    assert not said["hit"].all()  # a miss stays a miss


def test_every_large_miss_says_what_is_known(table):
    for row in table.to_dict("records"):
        assert end_to_end_report._why(row) != "not explained", row["id"]
