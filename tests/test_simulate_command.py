"""`roofline simulate` and `roofline capacity`: what they print, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.conftest import Run

FAST = ("llama-3.1-8b", "--chip", "h100-sxm", "--stack", "vllm", "--max-seqs", "8", "--chunk", "512")
FAST += ("--prompt", "200", "--output", "20", "--requests", "60")


def test_one_run_is_a_table(run: Run) -> None:
    code, out, _ = run("simulate", *FAST, "--rate", "5", "--slo", "ttft=0.5")
    assert code == 0
    for words in ("time to first token", "60 requests answered", "Within ttft 500 ms: 100.0%", "The servers keep up"):
        assert words in out


def test_several_rates_are_a_row_each(run: Run) -> None:
    code, out, _ = run("simulate", *FAST, "--rate", "2,4", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["rate"] for row in rows] == ["2.0", "4.0"]
    assert all(float(row["p99_ttft_ms"]) >= float(row["median_ttft_ms"]) > 0 for row in rows)
    _, out, _ = run("simulate", *FAST, "--rate", "2,4")
    assert out.count("keeps up") == 2


def test_json_has_the_names_of_vllm_bench_serve(run: Run) -> None:
    _, out, _ = run("simulate", *FAST, "--concurrency", "4", "--output-sd", "10", "--json")
    found = json.loads(out)
    assert found["completed"] == 60
    assert {"request_throughput", "output_throughput", "mean_ttft_ms", "p99_tpot_ms", "mean_e2el_ms"} <= set(found)


def test_a_trace_is_what_was_recorded(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,5\n1,200,1\n2.5,300,7\n")
    options = ["--chip", "h100-sxm", "--stack", "vllm", "--trace", str(file)]
    _, out, _ = run("simulate", "llama-3.1-8b", *options, "--each", "--json")
    rows = json.loads(out)
    assert [row["prompt"] for row in rows] == [100, 200, 300]
    assert rows[1]["tpot_s"] is None
    assert rows[2]["arrival_s"] == 2.5
    code, _, err = run("simulate", "llama-3.1-8b", *options, "--prompt", "3")
    assert code == 2
    assert "--prompt" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "found none of them"),
        (["--rate", "fast"], "expected a number"),
        (["--rate", "1", "--slo", "ttft"], "LIMIT=SECONDS"),
        (["--rate", "1", "--router", "random"], "no router"),
    ],
)
def test_bad_input_is_told(run: Run, options: list[str], words: str) -> None:
    code, out, err = run("simulate", *FAST, *options)
    assert code == 2
    assert not out
    assert words in " ".join(err.replace("│", " ").split())


def test_capacity_serves_a_load_at_the_least(run: Run) -> None:
    options = ["--rate", "30", "--tp", "1,2", "--slo", "ttft=0.5"]
    code, out, _ = run("capacity", *FAST, *options, "--json")
    plans = json.loads(out)["plans"]
    assert code == 0
    assert plans == sorted(plans, key=lambda plan: plan["chips"])
    for plan in plans:
        assert plan["ttft_p99_s"] <= 0.5
        assert (plan["replicas"] - 1) * plan["rate"] < 30.5 < (plan["replicas"] + 1) * plan["rate"] * 1.1
    code, out, _ = run("capacity", *FAST, "--rate", "30", "--tp", "1", "--slo", "ttft=0.0001")
    assert code == 1
    assert "Nothing holds the limits" in out
