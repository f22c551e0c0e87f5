"""What the project says of served models is what its code makes: coverage, medians, figures in words, the pages.

A figure that moves here moves in docs/evidence/index.md as well, or in README, and under docs/ by ``python -m
roofline.fidelity.end_to_end_report > docs/end-to-end.md``, ``python -m roofline.fidelity.recommendation_report >
docs/recommendation.md`` and ``python benchmarks/artemis.py > docs/artemis.md``. `table` and `beside`: conftest.py.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest

from roofline.fidelity import end_to_end, end_to_end_report, mtia, recommendation, recommendation_report

ROOT = Path(__file__).parent.parent
PAGE = " ".join((ROOT / "docs" / "evidence" / "index.md").read_text().split())
README = " ".join((ROOT / "README.md").read_text().split())

#: Rows inside their 90 % interval, and all rows, by source.
COVERED = {
    "trtllm-overview": (33, 39),
    "trtllm-0.6.1": (23, 23),
    "trtllm-0.5": (22, 24),
    "serving-h100": (58, 59),
    "dstack": (22, 32),
    "mlperf-4.1": (20, 25),
}

#: Median error over systems in per cent, by source and metric.
MEDIANS = {
    ("dstack", "throughput"): 40.0, ("mlperf-4.1", "samples_per_s"): 4.0, ("mlperf-4.1", "throughput"): 13.1,
    ("serving-h100", "tpot_s"): 7.7, ("trtllm-0.5", "throughput"): 4.5, ("trtllm-0.5", "ttft_s"): 14.1,
    ("trtllm-0.6.1", "throughput"): 3.0, ("trtllm-overview", "throughput"): 10.0, ("all", "samples_per_s"): 4.0,
    ("all", "throughput"): 7.4, ("all", "tpot_s"): 7.7, ("all", "ttft_s"): 14.1, ("all", "TPOT and throughput"): 7.4,
    ("all", "TPOT and throughput, without the rows of engine_spread"): 12.8,
}  # fmt: skip


def test_coverage_by_source(table: pd.DataFrame) -> None:
    counts = table.groupby("source")["covered"].agg(["sum", "size"])
    assert {source: (int(a), int(b)) for source, (a, b) in counts.iterrows()} == COVERED


def test_medians_by_source(table: pd.DataFrame) -> None:
    errors = end_to_end.summary(table).set_index(["source", "metric"])["error"]
    assert set(errors.index) == set(MEDIANS)
    for name, error in MEDIANS.items():
        assert 100 * errors[name] == pytest.approx(error, abs=0.3), name


def test_served_models_on_the_page(table: pd.DataFrame, beside: dict[str, pd.DataFrame]) -> None:
    """The headline is of the rows that the width of the intervals was not set on."""
    counted = end_to_end.with_and_without(table).set_index("rows_of")
    whole, width, others = (counted.loc[n] for n in ("all", "those that engine_spread was set on", "all but these"))
    clock = counted.loc["all but these and those of clock"]
    counts = end_to_end.sensitivity(table, beside).set_index("counted")
    (default, without), (plain, plain_without) = (
        (counts.loc[f"as the first, {name}"], counts.loc[f"as the first, {name}, without the rows of engine_spread"])
        for name in ("no stack named", "plain parameters")
    )
    for sentence in (
        f"off by {100 * others['error']:.1f} % in the median over {others['systems']:.0f} systems (a naive roofline: "
        f"{100 * others['naive_error']:.0f} %), {100 * others['within_15']:.0f} % of the systems are within 15 %, and "
        f"{100 * others['coverage']:.0f} % of the rows inside their 90 % interval",
        f"({100 * width['error']:.1f} %, and {100 * width['coverage']:.0f} % inside), with which it is "
        f"{100 * whole['error']:.1f} % over {whole['systems']:.0f} systems and {100 * whole['coverage']:.0f} % inside",
        f"without all of these it is {100 * clock['error']:.1f} % over {clock['systems']:.0f}.",
        f"Who names no `--stack` gets {100 * default['error']:.1f} % in the median over the {default['systems']:.0f} "
        f"systems and {100 * default['within_15']:.0f} % of them within 15 %; without the rows that the intervals were "
        f"set on, {100 * without['error']:.1f} and {100 * without['within_15']:.0f} %.",
        f"With the chips' own figures (`--stack plain`), which was the default before, it is "
        f"{100 * plain['error']:.0f} and {100 * plain['within_15']:.0f} %, and {100 * plain_without['error']:.0f} and "
        f"{100 * plain_without['within_15']:.0f} %.",
    ):
        assert sentence in PAGE
    for sentence in (
        f"off by {100 * others['error']:.1f} % in the median over {others['systems']:.0f} systems (a naive roofline: "
        f"{100 * others['naive_error']:.0f} %)",
        f"and {100 * others['coverage']:.0f} % of the rows inside their 90 % interval",
    ):
        assert sentence in README


def test_recommendation_models_on_the_page(table: pd.DataFrame) -> None:
    ratios = table.loc[table["model"] == "dlrm-v2", "ratio"]
    assert f"DLRM-v2 offline comes out at {ratios.min():.2f} to {ratios.max():.2f}" in PAGE


def test_mtia_on_the_page() -> None:
    free = mtia.ratios().query("not set_on")
    hits = free["hit"].sum()
    assert f"of {len(free)} published figures of theirs and the H200's that none was set on, {hits} are hit" in PAGE


def test_the_page_of_served_models_is_what_the_code_makes(table: pd.DataFrame, beside: dict[str, pd.DataFrame]) -> None:
    assert end_to_end_report.page(table, beside).encode() == (ROOT / "docs" / "end-to-end.md").read_bytes()


def test_the_page_of_artemis_is_what_the_code_makes(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "benchmarks" / "artemis.py"), run_name="__main__")
    assert capsys.readouterr().out.encode() == (ROOT / "docs" / "artemis.md").read_bytes()


def test_the_page_of_recommendation_models_is_what_the_code_makes() -> None:
    assert recommendation_report.page().encode() == (ROOT / "docs" / "recommendation.md").read_bytes()


def test_recommendation_models_are_as_near_as_the_page_has_it() -> None:
    mlperf, curves = recommendation.mlperf(), recommendation.triton()
    assert ((mlperf["ratio"] - 1).abs() <= 0.2).all()
    medians = curves.groupby("chip")["error"].median()
    free = curves[~curves["set_on"]].groupby("chip")["error"].median()
    assert (medians < 0.25).all()
    for sentence in (
        f"MLPerf's DLRM-v2 offline comes out at {mlperf['ratio'].min():.2f} to {mlperf['ratio'].max():.2f} "
        "on six GPUs and a processor",
        f"off by {100 * medians.min():.0f} to {100 * medians.max():.0f} % in the median on A100, A30 and T4 "
        f"({100 * free.min():.0f} to {100 * free.max():.0f} % on those that no constant was read off)",
    ):
        assert sentence in PAGE
